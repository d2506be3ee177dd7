/* SPDX-License-Identifier: Apache-2.0
 *
 * catalog.h: one interface to Iceberg catalogs: sqlite (embedded default), rest (a server
 * that speaks Iceberg's REST protocol), memory (tests), later glue, biglake.
 *
 * The words are those of Iceberg's REST protocol: a commit is requirements and
 * updates in its JSON. A server catalog sends them on; a client catalog (sqlite,
 * memory) checks and applies them to the metadata it loaded, writes the new
 * metadata file and swaps the pointer.
 *
 * Errors   ERROR_CONFLICT: a requirement failed, or the pointer moved.
 *          ERROR_RETRY: unknown outcome, or nothing happened: load again, decide again.
 *          ERROR_INPUT: the catalog refuses this for good. ERROR_CORRUPT: what it
 *          points at does not read. ERROR_DENIED: a person must act.
 * Threads  a handle belongs to one thread, and while that is within a call no other uses the
 *          store that the handle was opened with. A catalog that lends the store credentials is
 *          entered for them by any of the store's threads, while the one that called the store
 *          waits for them; they take turns among themselves.
 */
#ifndef CLOUD_CATALOG_CATALOG_H
#define CLOUD_CATALOG_CATALOG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/objstore/objstore.h"

struct catalog;

/* A table as one load showed it. The metadata document is read-only for callers. */
struct catalog_table {
    char *metadata_location;
    json_t *metadata;
};
void catalog_table_free(struct catalog_table *table);

struct catalog_names {
    size_t count;
    char **names;
};
void catalog_names_free(struct catalog_names *names);

/* A namespace is its levels with dots between them ("a.b"); a level holds no dot. */
struct catalog_ops {
    const char *type;
    int (*create_namespace)(void *impl, const char *ns, struct error *err); /* there already: OK */
    int (*list_namespaces)(void *impl, struct catalog_names *out, struct error *err);
    int (*list_tables)(void *impl, const char *ns, struct catalog_names *out, struct error *err);
    /* *found false: no such table; `out` is then untouched. */
    int (*load_table)(void *impl, const char *ns, const char *table, struct catalog_table *out,
                      bool *found, struct error *err);
    /* `request` is REST's CreateTableRequest: name, location, schema, partition-spec,
     * write-order, properties. ERROR_CONFLICT when it exists. Ids may be reassigned:
     * read them from `out`. */
    int (*create_table)(void *impl, const char *ns, const char *table, const json_t *request,
                        struct catalog_table *out, struct error *err);
    /* One swap. `base` is the load that the caller decided on; `out` (may be NULL) is
     * the table after it. */
    int (*commit)(void *impl, const char *ns, const char *table, const struct catalog_table *base,
                  const json_t *requirements, const json_t *updates, struct catalog_table *out,
                  struct error *err);
    void (*close)(void *impl);
};

/* What a token was exchanged for. It outlives the handle that got it, for the next one that is
 * given the same token. All zero is empty. */
struct catalog_exchanged {
    char *given;
    char *bearer;
    const char *type;    /* static */
    bool exchanges;      /* it may be exchanged in turn */
    int64_t renew_at_ms; /* monotonic, as is the next */
    int64_t expires_at_ms;
    char unrenewed[240]; /* why not; "": it was */
};
void catalog_exchanged_free(struct catalog_exchanged *exchanged); /* wipes the texts */

/* For a server that speaks Iceberg's REST protocol; NULL: not given. Of a secret either the
 * text or the file that holds it, which is read again when the server refuses it. */
struct catalog_rest_options {
    const char *warehouse;  /* as the server calls it */
    const char *credential; /* "id:secret" of OAuth2 client credentials */
    const char *credential_file;
    const char *token; /* a bearer token */
    const char *token_file;
    const char *oauth2_server_uri; /* NULL: <uri>/v1/oauth/tokens */
    const char *scope;             /* NULL: "catalog" */
    const char *audience;
    const char *resource;
    const char *token_exchange;    /* "yes", "no"; else as the server says */
    const char *headers;           /* "Name: value", more of them behind ';' or on lines */
    const char *access_delegation; /* "vended-credentials": for the tables' files */
    const char *signing_name;      /* "glue", "s3tables", "execute-api": AWS's SigV4 */
    const char *signing_region;    /* NULL: as AWS's tools find it */
    const char *profile;           /* NULL: credentials as AWS's tools find them */
    const char *ca_file; /* NULL: AWS_CA_BUNDLE of signed requests, the system's authorities */
    const char *proxy;   /* NULL: as https_proxy, no_proxy and so on say */
    int64_t timeout_ms;  /* of one request; 0: 60 s */
    struct catalog_exchanged *exchanged; /* borrowed until the close; NULL: nothing outlives it */
};

struct catalog_options {
    const char *name; /* NULL: "bidlake"; what SQL catalogs call catalog_name */
    /* Where client catalogs read and write metadata files. If it takes credentials
     * (objstore_borrows), it is given what a server lends, from a table's first load on; it is
     * not used any more when the catalog is closed, for that is the catalog's. */
    struct objstore *store;
    const struct clock *clock; /* NULL: the system's */
    int64_t busy_timeout_ms;   /* 0: 10,000: how long to wait for a locked file */
    bool must_exist;           /* a catalog that isn't there is ERROR_INPUT, not made */
    bool only_read;            /* no lock is waited for, nothing is made; commits may fail */
    /* Asked by any thread; once true it stays so, and a request to a server that hangs for five
     * seconds more is ERROR_RETRY. NULL: never. */
    bool (*stop)(void *context);
    void *stop_context;
    const struct catalog_rest_options *rest; /* NULL: nothing but the URL */
};

/* "sqlite:PATH": the file is made when it isn't there, unless it must be. "rest:URL": the
 * server is asked for its configuration. */
int catalog_open(struct catalog **out, const char *spec, const struct catalog_options *options,
                 struct error *err) MUST_USE;
struct catalog *catalog_wrap(const struct catalog_ops *ops, void *impl);
void catalog_close(struct catalog *catalog);

int catalog_create_namespace(struct catalog *catalog, const char *ns, struct error *err) MUST_USE;
int catalog_list_namespaces(struct catalog *catalog, struct catalog_names *out,
                            struct error *err) MUST_USE;
int catalog_list_tables(struct catalog *catalog, const char *ns, struct catalog_names *out,
                        struct error *err) MUST_USE;
int catalog_load_table(struct catalog *catalog, const char *ns, const char *table,
                       struct catalog_table *out, bool *found, struct error *err) MUST_USE;
int catalog_create_table(struct catalog *catalog, const char *ns, const char *table,
                         const json_t *request, struct catalog_table *out,
                         struct error *err) MUST_USE;
int catalog_commit(struct catalog *catalog, const char *ns, const char *table,
                   const struct catalog_table *base, const json_t *requirements,
                   const json_t *updates, struct catalog_table *out, struct error *err) MUST_USE;

#endif
