/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h: configuration and command line of bidlake-commit and bidlake-table: one row of
 * options.def an option, read from YAML then from flags, then const.
 */
#ifndef CLOUD_CONFIG_H
#define CLOUD_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "cloud/commit.h"
#include "lib/base/arena.h"
#include "lib/base/error.h"
#include "lib/objstore/objstore.h"
#include "lib/options/options.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_REFUSED = 3 };

struct config {
    const char *warehouse;
    int64_t store_parallel;
    struct objstore_s3 s3;
    const char *ns;
    const char *catalog_type;
    const char *catalog_path;
    const char *catalog_name;
    int64_t busy_ms;
    const char *rest_uri;
    const char *rest_warehouse;
    const char *rest_credential_file;
    const char *rest_token_file;
    const char *rest_oauth2_server_uri;
    const char *rest_scope;
    const char *rest_audience;
    const char *rest_resource;
    const char *rest_token_exchange;
    const char *rest_headers;
    const char *rest_access_delegation;
    const char *rest_signing_name;
    const char *rest_signing_region;
    const char *rest_profile;
    const char *rest_ca_file;
    const char *rest_proxy;
    int64_t rest_timeout_ms;
    int64_t interval_ms;
    const char *listen; /* of serve; also by $PORT */
    int64_t notify_pause_ms;
    int64_t file_age_ms;
    int64_t attempt_ms;
    int64_t announcements_max;
    int64_t prune_every;
    int64_t retire_ms;
    int64_t ledger_keep_ms;
    int64_t snapshots_age_ms;
    int64_t snapshots_keep;
    int64_t snapshots_grace_ms;
    struct option_names tables; /* preset families, presets, mapping files */
    const char *catalog_spec;   /* --catalog, or made of type and path or uri */
    bool catalog_must_exist;    /* set by the program: only init makes a catalog */
    bool catalog_only_read;
    bool json;
    const char *by; /* --by COLUMN; NULL */
    bool skip;      /* --skip */
    bool deep;      /* --deep */
    bool anew;      /* --anew */
    size_t argument_count;
    const char **arguments; /* what is no flag, without the command */
    struct arena arena;     /* of all of it */
};

/* argv[0] is the program, argv[1] the command. ERROR_INPUT: usage. */
int config_parse(struct config *out, int argc, char **argv, struct error *err) MUST_USE;
void config_free(struct config *config);
void config_print_help(void);
/* --help and --version, wherever they stand. True: that was all that was asked. */
bool config_answer(int argc, char **argv, const char *program, void (*print_help)(FILE *out));

/* Store and catalog by the configuration, and a committer over them. */
struct service {
    struct objstore *store;
    struct catalog *catalog;
    struct committer committer;
};
/* For root who does by hand what the service does: see owner.h. Before service_open. */
int service_become_owner(const struct config *config, struct error *err) MUST_USE;
/* stop: the committer's, the store's and the catalog's (NULL: never), with no context. exchanged:
 * for the next one that is opened (NULL: none will be); borrowed until the close. */
int service_open(struct service *out, const struct config *config,
                 struct catalog_exchanged *exchanged, bool (*stop)(void *context),
                 struct error *err) MUST_USE;
void service_close(struct service *service);

#endif
