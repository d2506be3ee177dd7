/* SPDX-License-Identifier: Apache-2.0
 *
 * Namespaces and tables by name. A list comes in pages; a server that knows none sends all at
 * once. Namespaces below others are asked for one by one, and what comes back is taken only if it
 * lies below: servers with one level answer with the same list again.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/memory.h"

enum { PAGES_MAX = 10000, DEPTH_MAX = 8 };

/* ---- lists ---- */

static int page_get(struct rest *rest, const char *path, enum rest_list what,
                    struct catalog_names *out, char **token, bool *found, struct error *err)
{
    struct http_reply reply = {0};
    struct rest_request request = {
        .method = "GET", .path = path, .answer_bytes_max = REST_LIST_BYTES_MAX};
    int rc = rest_call(rest, &request, &reply, err);
    *found = rc == OK && !rest_is_missing(&reply);
    if (rc == OK && reply.status == 200)
        rc = rest_page_decode(what, buf_slice(&reply.body), out, token, err);
    else if (*found)
        rc = rest_refusal(rest, &reply, false, err);
    http_reply_free(&reply);
    return rc;
}

/* `path` ends with '?' or '&'. Nothing there: an empty list. */
static int pages_get(struct rest *rest, const char *path, enum rest_list what,
                     struct catalog_names *out, struct error *err)
{
    char *token = memory_copy_cstr("");
    bool found = true;
    int rc = OK;
    for (int i = 0; rc == OK && found && token != NULL; i++) {
        struct buf page = {0};
        char *next = NULL;
        buf_printf(&page, "%spageToken=", path);
        http_client_encode(slice_cstr(token), false, &page);
        rc = page_get(rest, buf_cstr(&page), what, out, &next, &found, err);
        if (rc == OK && next != NULL && (strcmp(next, token) == 0 || i == PAGES_MAX))
            rc = error_set(err, ERROR_CORRUPT, "the list has no end");
        buf_free(&page);
        free(token);
        token = next;
    }
    free(token);
    return rc;
}

int rest_list_tables(void *impl, const char *ns, struct catalog_names *out, struct error *err)
{
    struct rest *rest = impl;
    struct buf path = {0};
    *out = (struct catalog_names){0};
    int rc = rest_path_make(&rest->config, ns, NULL, "/tables?", &path, err);
    if (rc == OK && !rest->config.endpoints[REST_TABLES_LIST])
        rc = error_set(err, ERROR_INPUT, "the catalog lists no tables");
    if (rc == OK)
        rc = pages_get(rest, buf_cstr(&path), REST_LIST_TABLES, out, err);
    buf_free(&path);
    if (rc != OK)
        catalog_names_free(out);
    return rc == OK ? OK : error_wrap(err, "tables of %s", ns);
}

static int depth_of(const char *ns)
{
    int depth = 1;
    for (; *ns != 0; ns++)
        depth += *ns == '.';
    return depth;
}

static int children_get(struct rest *rest, const char *parent, struct catalog_names *out,
                        struct error *err)
{
    struct catalog_names found = {0};
    struct buf path = {0};
    int rc = rest_path_make(&rest->config, NULL, NULL, "?parent=", &path, err);
    if (rc == OK)
        rc = rest_namespace_put(parent, rest->config.separator, &path, err);
    buf_put_cstr(&path, "&");
    if (rc == OK)
        rc = pages_get(rest, buf_cstr(&path), REST_LIST_NAMESPACES, &found, err);
    /* A server that knows no levels may refuse the question. */
    if (rc == ERROR_INPUT)
        rc = OK;
    size_t len = strlen(parent);
    for (size_t i = 0; rc == OK && i < found.count; i++) {
        if (strncmp(found.names[i], parent, len) != 0 || found.names[i][len] != '.')
            continue;
        if (out->count == REST_NAMES_MAX)
            rc = error_set(err, ERROR_LIMIT, "more than %d namespaces", REST_NAMES_MAX);
        if (rc != OK)
            break;
        out->names = memory_resize(out->names, out->count + 1, sizeof *out->names);
        out->names[out->count++] = memory_copy_cstr(found.names[i]);
    }
    catalog_names_free(&found);
    buf_free(&path);
    return rc;
}

int rest_list_namespaces(void *impl, struct catalog_names *out, struct error *err)
{
    struct rest *rest = impl;
    struct buf path = {0};
    *out = (struct catalog_names){0};
    int rc = rest_path_make(&rest->config, NULL, NULL, "?", &path, err);
    if (rc == OK && !rest->config.endpoints[REST_NAMESPACES_LIST])
        rc = error_set(err, ERROR_INPUT, "the catalog lists no namespaces");
    if (rc == OK)
        rc = pages_get(rest, buf_cstr(&path), REST_LIST_NAMESPACES, out, err);
    for (size_t i = 0; rc == OK && i < out->count; i++)
        if (depth_of(out->names[i]) < DEPTH_MAX)
            rc = children_get(rest, out->names[i], out, err);
    buf_free(&path);
    if (rc != OK)
        catalog_names_free(out);
    return rc == OK ? OK : error_wrap(err, "namespaces");
}

/* ---- a namespace made ---- */

/* *known false: the server doesn't tell. */
static int level_look(struct rest *rest, const char *ns, bool *exists, bool *known,
                      struct error *err)
{
    const bool *endpoints = rest->config.endpoints;
    struct http_reply reply = {0};
    struct buf path = {0};
    *exists = *known = false;
    if (!endpoints[REST_NAMESPACE_LOAD] && !endpoints[REST_NAMESPACE_HEAD])
        return OK;
    struct rest_request request = {.method = endpoints[REST_NAMESPACE_LOAD] ? "GET" : "HEAD",
                                   .answer_bytes_max = REST_CONFIG_BYTES_MAX};
    int rc = rest_path_make(&rest->config, ns, NULL, NULL, &path, err);
    request.path = buf_cstr(&path);
    if (rc == OK)
        rc = rest_call(rest, &request, &reply, err);
    bool without = rc == OK && (reply.status == 405 || reply.status == 406 || reply.status == 501);
    *exists = rc == OK && (reply.status == 200 || reply.status == 204);
    /* A HEAD's answer has no body by which it could be told from somebody else's. */
    bool missing = rc == OK && (strcmp(request.method, "HEAD") == 0 ? reply.status == 404
                                                                    : rest_is_missing(&reply));
    *known = *exists || missing;
    if (rc == OK && !*known && !without)
        rc = rest_refusal(rest, &reply, false, err);
    http_reply_free(&reply);
    buf_free(&path);
    return rc;
}

static json_t *levels_of(const char *ns)
{
    json_t *levels = json_array();
    for (;;) {
        size_t len = strcspn(ns, ".");
        json_array_append_new(levels, json_stringn(ns, len));
        if (ns[len] == 0)
            return levels;
        ns += len + 1;
    }
}

static int level_make(struct rest *rest, const char *ns, struct error *err)
{
    struct http_reply reply = {0};
    struct buf path = {0};
    json_t *body = json_pack("{s:o,s:{}}", "namespace", levels_of(ns), "properties");
    int rc = rest_path_make(&rest->config, NULL, NULL, NULL, &path, err);
    struct rest_request request = {.method = "POST",
                                   .path = buf_cstr(&path),
                                   .body = body,
                                   .once = true,
                                   .answer_bytes_max = REST_CONFIG_BYTES_MAX};
    if (rc == OK && !rest->config.endpoints[REST_NAMESPACE_CREATE])
        rc = error_set(err, ERROR_INPUT, "the catalog makes no namespaces: make it by hand");
    if (rc == OK)
        rc = rest_call(rest, &request, &reply, err);
    /* 409: it is there already, or somebody was faster. */
    if (rc == OK && reply.status != 200 && reply.status != 204 && reply.status != 409)
        rc = rest_refusal(rest, &reply, true, err);
    json_decref(body);
    http_reply_free(&reply);
    buf_free(&path);
    return rc;
}

/* From the outermost level inwards: some servers want the one above to be there. */
int rest_create_namespace(void *impl, const char *ns, struct error *err)
{
    struct rest *rest = impl;
    bool exists = false;
    bool known = false;
    int rc = level_look(rest, ns, &exists, &known, err);
    for (const char *end = ns; rc == OK && !exists && *end != 0;) {
        bool there = false;
        end += strcspn(end, ".");
        char *level = memory_copy_slice(slice_of(ns, (size_t)(end - ns)));
        if (*end != 0)
            rc = level_look(rest, level, &there, &known, err);
        if (rc == OK && !there)
            rc = level_make(rest, level, err);
        free(level);
        end += *end != 0;
    }
    return rc == OK ? OK : error_wrap(err, "namespace %s", ns);
}
