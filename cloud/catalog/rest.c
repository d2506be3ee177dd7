/* SPDX-License-Identifier: Apache-2.0
 *
 * A server catalog: it checks a commit's requirements, applies its updates, writes the metadata
 * file and moves the pointer, and it alone removes old metadata files. We send what we want, and
 * learn from the answer what became of it; an answer that does not come says nothing, so the next
 * load does (ERROR_RETRY).
 *
 * The answer to a table's last load is kept with its ETag: a table that has not changed costs a
 * request without a body. All snapshots are asked for, always: with fewer nobody could say which
 * are there.
 */
#include "cloud/catalog/rest.h"

#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/metadata_file.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

enum { TIMEOUT_MS = 60000, ETAG_BYTES_MAX = 1024 };

/* ---- what the last loads showed ---- */

struct rest_table *rest_known(struct rest *rest, const char *ns, const char *name)
{
    return table_cache_find(&rest->tables, ns, name);
}

static struct rest_table *known_put(struct rest *rest, const char *ns, const char *name,
                                    const struct rest_table *table)
{
    struct rest_table *known = memory_alloc(1, sizeof *known);
    *known = *table;
    table_cache_put(&rest->tables, ns, name, known);
    return known;
}

static void known_release(void *value)
{
    rest_table_free(value);
    free(value);
}

/* ---- load ---- */

static char *etag_copy(const struct http_reply *reply)
{
    struct slice etag = http_reply_field(reply, "etag");
    if (etag.len == 0 || etag.len > ETAG_BYTES_MAX)
        return NULL;
    for (size_t i = 0; i < etag.len; i++)
        if (etag.data[i] <= ' ' || etag.data[i] >= 0x7f)
            return NULL;
    return memory_copy_slice(etag);
}

/* Some servers tell only where the metadata is. */
static int metadata_complete(struct rest *rest, struct rest_table *table, struct error *err)
{
    if (table->table.metadata != NULL)
        return OK;
    return metadata_file_read(rest->store, table->table.metadata_location, &table->table.metadata,
                              err);
}

/* Of a 200 that shows a table whole: what it lends is the store's before anything is read. */
static int table_take(struct rest *rest, const char *ns, const char *name,
                      const struct http_reply *reply, struct rest_table **out, struct error *err)
{
    struct rest_table table = {0};
    int rc = rest_table_decode(&table, buf_slice(&reply->body), err);
    if (rc != OK)
        return rc;
    struct rest_table *known = known_put(rest, ns, name, &table);
    rc = rest_lend(rest, ns, name, known, err);
    if (rc == OK)
        rc = metadata_complete(rest, known, err);
    if (rc == OK)
        *out = known;
    return rc;
}

/* The table is there, but the file that the pointer names is not. */
static bool is_file_lost(const struct http_reply *reply)
{
    struct buf text = {0};
    rest_error_put(buf_slice(&reply->body), &text);
    bool lost = reply->status == 404 && strncmp(buf_cstr(&text), "NotFoundException", 17) == 0;
    buf_free(&text);
    return lost;
}

static int rest_load(struct rest *rest, const char *ns, const char *name, struct rest_table **out,
                     struct error *err)
{
    struct rest_table *known = rest_known(rest, ns, name);
    struct http_reply reply = {0};
    struct buf path = {0};
    *out = NULL;
    int rc = rest_path_make(&rest->config, ns, name, "?snapshots=all", &path, err);
    struct rest_request request = {.method = "GET",
                                   .path = buf_cstr(&path),
                                   .etag = known != NULL ? known->etag : NULL,
                                   .table = known,
                                   .answer_bytes_max = REST_TABLE_BYTES_MAX};
    if (rc == OK)
        rc = rest_call(rest, &request, &reply, err);
    /* A table's token that was refused took the ETag with it. */
    if (rc == OK && reply.status == 304 && known != NULL && known->etag != NULL) {
        *out = known;
    } else if (rc == OK && reply.status == 200) {
        rc = table_take(rest, ns, name, &reply, out, err);
        if (rc == OK)
            (*out)->etag = etag_copy(&reply);
    } else if (rc == OK && (!rest_is_missing(&reply) || is_file_lost(&reply))) {
        rc = rest_refusal(rest, &reply, false, err);
        if (is_file_lost(&reply))
            rc = err->code = ERROR_CORRUPT;
    }
    http_reply_wipe(&reply);
    buf_free(&path);
    return rc;
}

static void table_copy(struct catalog_table *out, const struct rest_table *from)
{
    out->metadata_location = memory_copy_cstr(from->table.metadata_location);
    out->metadata = json_incref(from->table.metadata);
}

static int rest_load_table(void *impl, const char *ns, const char *name, struct catalog_table *out,
                           bool *found, struct error *err)
{
    struct rest_table *table = NULL;
    int rc = rest_load(impl, ns, name, &table, err);
    *found = rc == OK && table != NULL;
    if (*found)
        table_copy(out, table);
    return rc == OK ? OK : error_wrap(err, "load %s.%s", ns, name);
}

/* ---- change ---- */

/* What a commit answers: the table without what is lent with a load. */
static int commit_take(struct rest *rest, const struct http_reply *reply, struct catalog_table *out,
                       struct error *err)
{
    struct rest_table table = {0};
    int rc = rest_table_decode(&table, buf_slice(&reply->body), err);
    if (rc == OK)
        rc = metadata_complete(rest, &table, err);
    if (rc == OK && out != NULL)
        table_copy(out, &table);
    rest_table_free(&table);
    return rc;
}

/* A success whose answer doesn't read is none that anybody can rely on: load, and see. `create`:
 * the table's name, NULL for a commit to it. */
static int post(struct rest *rest, const char *ns, const char *create, struct rest_table *known,
                const char *path, const json_t *body, struct catalog_table *out, struct error *err)
{
    struct http_reply reply = {0};
    struct rest_table *made = NULL;
    struct rest_request request = {.method = "POST",
                                   .path = path,
                                   .body = body,
                                   .table = known,
                                   .once = true,
                                   .answer_bytes_max = REST_TABLE_BYTES_MAX};
    int rc = rest_call(rest, &request, &reply, err);
    if (rc == OK && reply.status == 200) {
        if (create != NULL)
            rc = table_take(rest, ns, create, &reply, &made, err);
        else
            rc = commit_take(rest, &reply, out, err);
        if (made != NULL && out != NULL)
            table_copy(out, made);
        if (rc != OK && (create == NULL || rc != ERROR_DENIED))
            rc = err->code = ERROR_RETRY;
    } else if (rc == OK) {
        rc = rest_refusal(rest, &reply, true, err);
    }
    http_reply_wipe(&reply);
    return rc;
}

static int rest_create_table(void *impl, const char *ns, const char *name, const json_t *request,
                             struct catalog_table *out, struct error *err)
{
    struct rest *rest = impl;
    struct buf path = {0};
    json_t *body = json_copy((json_t *)(uintptr_t)request);
    /* Where the data files lie (lib/announce/PROTOCOL.md): the table's place holds all of it. */
    char *location = table_location_make(rest->store, ns, name, request);
    json_object_set_new(body, "location", json_string(location));
    json_object_set_new(body, "name", json_string(name));
    json_object_set_new(body, "stage-create", json_false()); /* optional, but not for Nessie */
    int rc = rest_path_make(&rest->config, ns, NULL, "/tables", &path, err);
    if (rc == OK && !rest->config.endpoints[REST_TABLE_CREATE])
        rc = error_set(err, ERROR_INPUT, "the catalog makes no tables: make it by hand");
    if (rc == OK)
        rc = post(rest, ns, name, NULL, buf_cstr(&path), body, out, err);
    json_decref(body);
    free(location);
    buf_free(&path);
    return rc == OK ? OK : error_wrap(err, "create %s.%s", ns, name);
}

static int rest_commit(void *impl, const char *ns, const char *name,
                       const struct catalog_table *base, const json_t *requirements,
                       const json_t *updates, struct catalog_table *out, struct error *err)
{
    (void)base; /* the requirements are of it */
    struct rest *rest = impl;
    struct buf path = {0};
    struct rest_table *known = rest_known(rest, ns, name);
    json_t *body = json_pack("{s:O,s:O}", "requirements", requirements, "updates", updates);
    int rc = rest_path_make(&rest->config, ns, name, NULL, &path, err);
    if (rc == OK && !rest->config.endpoints[REST_TABLE_COMMIT])
        rc = error_set(err, ERROR_INPUT, "the catalog takes no commits");
    if (rc == OK)
        rc = post(rest, ns, NULL, known, buf_cstr(&path), body, out, err);
    /* Whatever came of it: the next load is not to be told that nothing has changed. */
    if (known != NULL) {
        free(known->etag);
        known->etag = NULL;
    }
    json_decref(body);
    buf_free(&path);
    return rc == OK ? OK : error_wrap(err, "commit %s.%s", ns, name);
}

/* ---- open ---- */

static void rest_close(void *impl)
{
    struct rest *rest = impl;
    table_cache_free(&rest->tables);
    for (size_t i = 0; i < rest->field_count; i++)
        free(rest->fields[i]);
    rest_loans_free(rest);
    pthread_mutex_destroy(&rest->lend_lock);
    rest_config_free(&rest->config);
    rest_auth_close(rest->auth);
    http_client_close(rest->http);
    free(rest->base);
    free(rest);
}

static const struct catalog_ops rest_ops = {
    .type = "rest",
    .create_namespace = rest_create_namespace,
    .list_namespaces = rest_list_namespaces,
    .list_tables = rest_list_tables,
    .load_table = rest_load_table,
    .create_table = rest_create_table,
    .commit = rest_commit,
    .close = rest_close,
};

/* What the user gave, in the protocol's words: it goes over the server's defaults. */
static json_t *client_properties(const struct rest *rest,
                                 const struct catalog_rest_options *options)
{
    json_t *properties = json_object();
    if (options->warehouse != NULL && *options->warehouse != 0)
        json_object_set_new(properties, "warehouse", json_string(options->warehouse));
    rest_auth_properties_put(options, properties);
    for (size_t i = 0; i < rest->field_count; i++) {
        const char *colon = strchr(rest->fields[i], ':');
        char *key = memory_printf("header.%.*s", (int)(colon - rest->fields[i]), rest->fields[i]);
        json_object_set_new(properties, key, json_string(colon + 2));
        free(key);
    }
    return properties;
}

static int config_get(struct rest *rest, const struct catalog_rest_options *options,
                      struct error *err)
{
    struct http_reply reply = {0};
    struct buf path = {0};
    const char *warehouse = options->warehouse;
    json_t *client = client_properties(rest, options);
    buf_put_cstr(&path, "/v1/config");
    if (warehouse != NULL && *warehouse != 0) {
        buf_put_cstr(&path, "?warehouse=");
        http_client_encode(slice_cstr(warehouse), false, &path);
    }
    struct rest_request request = {
        .method = "GET", .path = buf_cstr(&path), .answer_bytes_max = REST_CONFIG_BYTES_MAX};
    int rc = rest_call(rest, &request, &reply, err);
    if (rc == OK && reply.status == 200) {
        rc = rest_config_decode(&rest->config, client, buf_slice(&reply.body), err);
        if (rc != OK)
            (void)error_wrap(err, "%.160s answers as no REST catalog does, check catalog.uri",
                             rest->base);
    } else if (rc == OK) {
        rc = rest_refusal(rest, &reply, false, err);
    }
    json_decref(client);
    http_reply_wipe(&reply);
    buf_free(&path);
    return rc;
}

static int config_use(struct rest *rest, struct error *err)
{
    struct buf base = {0};
    rest_fields_take(rest);
    int rc = rest_auth_configure(rest->auth, &rest->config, rest->base, err);
    if (rc == OK && rest->config.uri != NULL) {
        rc = rest_url_check(rest->config.uri, &base, err);
        if (rc == OK && strncmp(rest->base, "https", 5) == 0 &&
            strncmp(buf_cstr(&base), "https", 5) != 0)
            rc = error_set(err, ERROR_INPUT, "its configuration leads away from https");
        if (rc == OK) {
            free(rest->base);
            rest->base = memory_copy_cstr(buf_cstr(&base));
        }
    }
    buf_free(&base);
    return rc;
}

/* It puts each table into a bucket of its own making, and takes no `location`; agents put the data
 * below the warehouse. Also behind Glue, where its catalogs are "s3tablescatalog/BUCKET". */
static int s3_tables_refuse(const char *url, const struct catalog_rest_options *options,
                            struct error *err)
{
    const char *warehouse = options->warehouse != NULL ? options->warehouse : "";
    if (strstr(url, "://s3tables.") == NULL && strstr(warehouse, ":s3tables:") == NULL &&
        strstr(warehouse, "s3tablescatalog/") == NULL)
        return OK;
    return error_set(err, ERROR_INPUT,
                     "Amazon S3 Tables isn't supported: it chooses where a table's files lie, and "
                     "agents put them below the warehouse; use Glue with a bucket of your own");
}

static int rest_begin(struct rest *rest, const char *url, const struct catalog_options *catalog,
                      const struct catalog_rest_options *options, struct error *err)
{
    struct buf base = {0};
    struct http_client_options http = {.ca_file = cstr_or_null(options->ca_file),
                                       .proxy = cstr_or_null(options->proxy),
                                       .stop = catalog->stop,
                                       .stop_context = catalog->stop_context};
    if (http.ca_file == NULL && cstr_or_null(options->signing_name) != NULL)
        http.ca_file = cstr_or_null(getenv("AWS_CA_BUNDLE"));
    int rc = s3_tables_refuse(url, options, err);
    if (rc == OK)
        rc = rest_url_check(url, &base, err);
    if (rc == OK) {
        rest->base = memory_copy_cstr(buf_cstr(&base));
        rc = http_client_open(&rest->http, &http, err);
    }
    buf_free(&base);
    struct rest_auth_options auth = {.http = rest->http,
                                     .clock = rest->clock,
                                     .timeout_ms = rest->timeout_ms,
                                     .base = rest->base,
                                     .given = options};
    if (rc == OK)
        rc = rest_auth_open(&rest->auth, &auth, err);
    if (rc == OK)
        rc = rest_fields_add(rest, options->headers, err);
    if (rc == OK && options->access_delegation != NULL && *options->access_delegation != 0)
        rc = rest_field_put(rest, slice_cstr("X-Iceberg-Access-Delegation"),
                            slice_cstr(options->access_delegation), err);
    rest->delegated = rest_field_is_given(rest, "x-iceberg-access-delegation");
    if (rc == OK)
        rc = config_get(rest, options, err);
    return rc == OK ? config_use(rest, err) : rc;
}

int catalog_rest_open(struct catalog **out, const char *url, const struct catalog_options *options,
                      struct error *err)
{
    static const struct catalog_rest_options nothing = {0};
    const struct catalog_rest_options *given = options->rest != NULL ? options->rest : &nothing;
    struct rest *rest = memory_alloc(1, sizeof *rest);
    rest->clock = options->clock != NULL ? options->clock : &clock_system;
    rest->store = options->store;
    rest->timeout_ms = given->timeout_ms > 0 ? given->timeout_ms : TIMEOUT_MS;
    rest->tables.release = known_release;
    pthread_mutex_init(&rest->lend_lock, NULL);
    int rc = rest_begin(rest, url, options, given, err);
    if (rc != OK) {
        rest_close(rest);
        return error_wrap(err, "catalog");
    }
    *out = catalog_wrap(&rest_ops, rest);
    return OK;
}
