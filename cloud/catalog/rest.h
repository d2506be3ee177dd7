/* SPDX-License-Identifier: Apache-2.0
 *
 * rest.h: what the files of the REST catalog share.
 *
 * rest.c             open, load, create, commit
 * rest_list.c        namespaces and tables by name
 * rest_credentials.c what the server lends for a table's files
 * rest_lend.c        given to the store that holds them
 * rest_call.c        one request with its sign-in; what a status means
 * rest_auth.h        who asks: a bearer token, AWS's signature
 * rest_config.c      the server's configuration, and which endpoints it has
 * rest_fields.c      header fields
 * rest_path.c        paths
 * rest_answer.c      answers, all of them hostile
 */
#ifndef CLOUD_CATALOG_REST_H
#define CLOUD_CATALOG_REST_H

#include <pthread.h>

#include "cloud/catalog/catalog.h"
#include "cloud/catalog/rest_auth.h"
#include "cloud/catalog/table_cache.h"
#include "lib/base/buf.h"
#include "lib/http_client/http_client.h"
#include "lib/iceberg/iceberg.h"

enum {
    REST_CONFIG_BYTES_MAX = 1 << 20,
    REST_LIST_BYTES_MAX = 16 << 20,
    REST_NAMES_MAX = 100000,
    REST_FIELDS_MAX = 32,
};
#define REST_TABLE_BYTES_MAX ((size_t)METADATA_BYTES_MAX + (1 << 20))

int catalog_rest_open(struct catalog **out, const char *url, const struct catalog_options *options,
                      struct error *err) MUST_USE;

/* ---- configuration ---- */

enum rest_endpoint {
    REST_NAMESPACES_LIST,
    REST_NAMESPACE_CREATE,
    REST_NAMESPACE_LOAD,
    REST_NAMESPACE_HEAD,
    REST_TABLES_LIST,
    REST_TABLE_CREATE,
    REST_TABLE_LOAD,
    REST_TABLE_COMMIT,
    REST_TABLE_CREDENTIALS,
    REST_ENDPOINT_COUNT
};

struct rest_config {
    json_t *properties;    /* defaults, over them the client's, over them overrides; texts */
    const char *prefix;    /* as it came, "" for none; of `properties`, as the next */
    const char *separator; /* of a namespace's levels, percent-encoded */
    const char *uri;       /* where else the catalog is; NULL: where it was asked */
    bool endpoints[REST_ENDPOINT_COUNT];
    bool idempotent;   /* it keeps Idempotency-Key */
    bool token_forced; /* its "token" goes before ours */
};

/* `client`: an object of texts. ERROR_INPUT: this is no catalog's configuration, or one that
 * would lead requests astray. */
int rest_config_decode(struct rest_config *out, const json_t *client, struct slice bytes,
                       struct error *err) MUST_USE;
void rest_config_free(struct rest_config *config);

/* ---- paths ---- */

/* "a.b" as levels, each percent-encoded, with `separator` between them. ERROR_INPUT: a level is
 * empty. */
int rest_namespace_put(const char *ns, const char *separator, struct buf *out,
                       struct error *err) MUST_USE;
/* "/v1/<prefix>/namespaces/<ns>/tables/<table><behind>", without what is NULL. */
int rest_path_make(const struct rest_config *config, const char *ns, const char *table,
                   const char *behind, struct buf *out, struct error *err) MUST_USE;
/* Without the slashes at its end and the port that goes without saying; ERROR_INPUT when it is no
 * http(s) URL. */
int rest_url_check(const char *url, struct buf *out, struct error *err) MUST_USE;

/* ---- a request ---- */

struct rest {
    const struct clock *clock;
    struct objstore *store;
    struct http_client *http;
    char *base; /* without a slash at its end */
    struct rest_config config;
    struct rest_auth *auth;
    size_t field_count; /* of the user and the configuration: "Name: value" */
    char *fields[REST_FIELDS_MAX];
    bool delegated; /* the user asks for credentials by one of them */
    int64_t timeout_ms;
    struct table_cache tables; /* struct rest_table, as each was at its last load */
    /* One of the store's threads at a time. It guards nothing from the catalog's own thread, which
     * waits for the store meanwhile: rest_lend.c. */
    pthread_mutex_t lend_lock;
    size_t loan_count;
    struct rest_loan **loans;
};

struct rest_request {
    const char *method;
    const char *path; /* behind the base */
    const json_t *body;
    const char *etag;         /* NULL: none */
    struct rest_table *table; /* whose own token counts; NULL: none. It is dropped when refused */
    bool once;                /* it changes something: on a connection of its own */
    size_t answer_bytes_max;
};

/* The catalog itself says that there is no such thing. */
bool rest_is_missing(const struct http_reply *reply);

/* Any status is OK, but one that refuses who asks only after a renewal, if there is one, and the
 * request sent again.
 * An error: no answer has come. */
int rest_call(struct rest *rest, const struct rest_request *request, struct http_reply *reply,
              struct error *err) MUST_USE;

/* The error that a status stands for which the caller has no use for: never OK. A request that
 * changes something (`once`) is only refused where the server must have said so itself. */
int rest_refusal(const struct rest *rest, const struct http_reply *reply, bool once,
                 struct error *err) MUST_USE;

/* The later one of a name wins. ERROR_INPUT: it is no field, or one that we set. */
int rest_field_put(struct rest *rest, struct slice name, struct slice value,
                   struct error *err) MUST_USE;
/* The user's: "Name: value", parted by ';' or lines. */
int rest_fields_add(struct rest *rest, const char *text, struct error *err) MUST_USE;
/* Those of the configuration; what is no field, or one that we set, is left out with a warning. */
void rest_fields_take(struct rest *rest);
bool rest_field_is_given(const struct rest *rest, const char *name);

/* ---- answers ---- */

struct rest_table {
    struct catalog_table table; /* metadata NULL: only the location was told */
    char *etag;
    char *bearer;        /* the server's token for this table alone; NULL: none */
    json_t *config;      /* texts; NULL: none */
    json_t *credentials; /* [{prefix, config}], checked; NULL: none */
};
void rest_table_free(struct rest_table *table);
/* LoadTableResult, and what a commit answers. ERROR_CORRUPT. */
int rest_table_decode(struct rest_table *out, struct slice bytes, struct error *err) MUST_USE;
/* `storage-credentials` alone. */
int rest_credentials_decode(json_t **out, struct slice bytes, struct error *err) MUST_USE;

/* One page; names are appended. *token: of the next page, NULL for the last. */
enum rest_list { REST_LIST_NAMESPACES, REST_LIST_TABLES };
int rest_page_decode(enum rest_list what, struct slice bytes, struct catalog_names *out,
                     char **token, struct error *err) MUST_USE;

/* Answers lend credentials: where one ends to be JSON is told, what stands there is not. */
int rest_json_decode(json_t **out, struct slice bytes, struct error *err) MUST_USE;

/* Is that an error of the protocol? The pages of those that stand before a catalog are none. */
bool rest_error_is(struct slice body);
/* "type: message" of an error's body, for messages: printable, short; nothing for a body that
 * says nothing. */
void rest_error_put(struct slice body, struct buf *out);
/* A foreign text's first `len_max` bytes; what is not printable ASCII as '?'. */
void rest_text_put(struct slice text, size_t len_max, struct buf *out);

/* The members of an object that are texts without NUL, as a new one. */
json_t *rest_texts_of(const json_t *object);

/* ---- operations in files of their own ---- */

int rest_create_namespace(void *impl, const char *ns, struct error *err) MUST_USE;
int rest_list_namespaces(void *impl, struct catalog_names *out, struct error *err) MUST_USE;
int rest_list_tables(void *impl, const char *ns, struct catalog_names *out,
                     struct error *err) MUST_USE;

/* ---- what the server lends ---- */

/* For the file `url` of a table, good for five minutes at least: those whose prefix fits it
 * best, asked for before they expire, and with `anew` always. Nothing in `out`: it lends none. */
int rest_credentials(struct rest *rest, const char *ns, const char *table, const char *url,
                     bool anew, struct objstore_lent *out, struct error *err) MUST_USE;
/* Gives the store what was lent with `table`, if it takes any. ERROR_DENIED: nothing was, or what
 * is for another kind of store. */
int rest_lend(struct rest *rest, const char *ns, const char *name, const struct rest_table *table,
              struct error *err) MUST_USE;
void rest_loans_free(struct rest *rest);

/* Those of `list` (or of `config`) whose prefix is the longest that `url` begins with, for
 * whatever kind of store. NULL of both: none, `out` is empty. */
bool rest_credentials_pick(const json_t *list, const json_t *config, const char *url,
                           struct objstore_lent *out);
/* The name of the secret among them, without what is the server's in it. */
const char *rest_credentials_kind(const struct objstore_lent *lent);
/* As the last load showed it; NULL: it was never loaded. */
struct rest_table *rest_known(struct rest *rest, const char *ns, const char *table);

#endif
