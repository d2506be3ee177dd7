/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/config.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/owner.h"
#include "lib/http/http.h"

#define OPTION(kind, field, key, otherwise, min, max, help)                                        \
    {OPTION_##kind, offsetof(struct config, field), key, otherwise, min, max, help, false},
static const struct option rows[] = {
#include "cloud/options.def"
};
#undef OPTION

static const char *const switches[] = {"--json", "--skip", "--anew", "--deep"};
static const char *const other_flags[] = {"--config", "--catalog", "--tables", "--by",
                                          "--json",   "--skip",    "--anew",   "--deep",
                                          "--help",   "--version"};

static const struct option_table options = {
    .options = rows,
    .count = sizeof rows / sizeof rows[0],
    .other_flags = other_flags,
    .other_flag_count = sizeof other_flags / sizeof other_flags[0],
    .switches = switches,
    .switch_count = sizeof switches / sizeof switches[0],
};

void config_free(struct config *config)
{
    arena_free(&config->arena);
    *config = (struct config){0};
}

static int take_flag(void *context, const char *flag, const char *value, bool *known,
                     struct error *err)
{
    struct config *config = context;
    (void)err;
    if (value == NULL && strcmp(flag, "--json") == 0)
        config->json = true;
    else if (value == NULL && strcmp(flag, "--anew") == 0)
        config->anew = true;
    else if (value == NULL && strcmp(flag, "--deep") == 0)
        config->deep = true;
    else if (value == NULL)
        config->skip = true;
    else if (strcmp(flag, "--catalog") == 0)
        config->catalog_spec = value;
    else if (strcmp(flag, "--by") == 0)
        config->by = value;
    else
        *known = false;
    return OK;
}

/* Cloud Run's contract: serve listens on every address, at the port that $PORT names. To the other
 * programs it is nothing. */
static int take_port(struct config *config, bool serves, struct error *err)
{
    const char *port = getenv("PORT");
    union http_place place;
    if (serves && *config->listen == 0 && port != NULL && *port != 0)
        config->listen = arena_printf(&config->arena, "0.0.0.0:%s", port);
    if (*config->listen != 0 && http_place_parse(config->listen, &place) == 0)
        return error_set(err, ERROR_INPUT,
                         "listen %s: no address; one looks like 127.0.0.1:8080 or [::]:8080",
                         config->listen);
    return OK;
}

static int config_finish(struct config *config, bool serves, struct error *err)
{
    if (*config->warehouse == 0)
        return error_set(err, ERROR_INPUT, "no warehouse: give --warehouse or --config");
    bool rest = strcmp(config->catalog_type, "rest") == 0;
    const char *place = rest ? config->rest_uri : config->catalog_path;
    if (config->catalog_spec == NULL && *place == 0 && rest)
        return error_set(err, ERROR_INPUT,
                         "catalog: rest wants catalog.uri, or --catalog rest:URL");
    if (config->catalog_spec == NULL && *place == 0)
        return error_set(err, ERROR_INPUT,
                         "no catalog: give --catalog sqlite:PATH, --catalog rest:URL or --config");
    if (config->catalog_spec == NULL)
        config->catalog_spec = arena_printf(&config->arena, "%s:%s", config->catalog_type, place);
    if (*config->ns == 0 || strpbrk(config->ns, "/\\ ") != NULL)
        return error_set(err, ERROR_INPUT, "namespace \"%s\" is none", config->ns);
    return take_port(config, serves, err);
}

int config_parse(struct config *out, int argc, char **argv, struct error *err)
{
    static const char *default_tables[] = {"openrtb"};
    *out = (struct config){.tables = {.count = 1, .names = default_tables}};
    options_init(&options, out);
    out->arguments = arena_alloc(&out->arena, (size_t)argc + 1, sizeof *out->arguments);
    struct option_line line = {.fields = out,
                               .tables = &out->tables,
                               .arena = &out->arena,
                               .take = take_flag,
                               .context = out,
                               .arguments = out->arguments};
    int rc = options_parse(&options, &line, argc, argv, err);
    out->argument_count = line.argument_count;
    bool serves = argc > 1 && strcmp(argv[1], "serve") == 0;
    return rc == OK ? config_finish(out, serves, err) : rc;
}

void config_print_help(void)
{
    options_print_help(&options);
}

bool config_answer(int argc, char **argv, const char *program, void (*print_help)(FILE *out))
{
    for (int i = 1; i < argc; i++) {
        bool help = strcmp(argv[i], "--help") == 0;
        bool version = strcmp(argv[i], "--version") == 0;
        if (help)
            print_help(stdout);
        else if (version)
            printf("%s %s\n", program, BIDLAKE_VERSION);
        if (help || version)
            return true;
    }
    return false;
}

/* ---- what it configures ---- */

int service_become_owner(const struct config *config, struct error *err)
{
    static const char sqlite[] = "sqlite:";
    if (strncmp(config->catalog_spec, sqlite, sizeof sqlite - 1) != 0)
        return OK;
    return owner_become(config->catalog_spec + sizeof sqlite - 1, err);
}

/* A secret never stands in the configuration, and a flag would show it to all on the machine. */
static struct catalog_rest_options rest_options(const struct config *config,
                                                struct catalog_exchanged *exchanged)
{
    return (struct catalog_rest_options){
        .warehouse = config->rest_warehouse,
        .credential = getenv("BIDLAKE_CATALOG_CREDENTIAL"),
        .credential_file = config->rest_credential_file,
        .token = getenv("BIDLAKE_CATALOG_TOKEN"),
        .token_file = config->rest_token_file,
        .oauth2_server_uri = config->rest_oauth2_server_uri,
        .scope = config->rest_scope,
        .audience = config->rest_audience,
        .resource = config->rest_resource,
        .token_exchange = config->rest_token_exchange,
        .headers = config->rest_headers,
        .access_delegation = config->rest_access_delegation,
        .signing_name = config->rest_signing_name,
        .signing_region = config->rest_signing_region,
        .profile = config->rest_profile,
        .ca_file = config->rest_ca_file,
        .proxy = config->rest_proxy,
        .timeout_ms = config->rest_timeout_ms,
        .exchanged = exchanged,
    };
}

int service_open(struct service *out, const struct config *config,
                 struct catalog_exchanged *exchanged, bool (*stop)(void *context),
                 struct error *err)
{
    *out = (struct service){0};
    struct objstore_options store_options = {
        .parallel = (unsigned)config->store_parallel, .stop = stop, .s3 = &config->s3};
    int rc = objstore_open(&out->store, config->warehouse, &store_options, err);
    if (rc == OK) {
        struct catalog_rest_options rest = rest_options(config, exchanged);
        struct catalog_options catalog_options = {.rest = &rest,
                                                  .name = config->catalog_name,
                                                  .store = out->store,
                                                  .busy_timeout_ms = config->busy_ms,
                                                  .must_exist = config->catalog_must_exist,
                                                  .only_read = config->catalog_only_read,
                                                  .stop = stop};
        rc = catalog_open(&out->catalog, config->catalog_spec, &catalog_options, err);
    }
    if (rc != OK)
        return rc;
    out->committer = (struct committer){
        .store = out->store,
        .catalog = out->catalog,
        .file_age_ms = config->file_age_ms,
        .attempt_ms = config->attempt_ms,
        .prune_every = (unsigned)config->prune_every,
        .retire_ms = config->retire_ms,
        .ledger_keep_ms = config->ledger_keep_ms,
        .announcements_max = (size_t)config->announcements_max,
        .snapshots_age_ms = config->snapshots_age_ms,
        .snapshots_keep = (size_t)config->snapshots_keep,
        .snapshots_grace_ms = config->snapshots_grace_ms,
        .anew = config->anew,
        .stop = stop,
    };
    return OK;
}

void service_close(struct service *service)
{
    catalog_close(service->catalog);
    objstore_close(service->store);
    *service = (struct service){0};
}
