/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers of a REST catalog. Whatever a server sends is checked here for as far as it is used;
 * what is not known is passed over, as the protocol asks.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

enum { ERROR_TEXT_MAX = 160, NAME_BYTES_MAX = 1024, LEVELS_MAX = 16, TOKEN_BYTES_MAX = 8192 };

/* A text with a NUL in it would be another text to us than to the server. */
static const char *text_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text != NULL && strlen(text) == json_string_length(value) ? text : NULL;
}

json_t *rest_texts_of(const json_t *object)
{
    json_t *out = json_object();
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (text_of(value) != NULL)
            json_object_set(out, key, value);
    }
    return out;
}

int rest_json_decode(json_t **out, struct slice bytes, struct error *err)
{
    if (bytes.len == 0)
        return error_set(err, ERROR_INPUT, "an empty answer");
    int rc = json_decode(out, bytes, err);
    char *near = rc != OK ? strstr(err->text, " near '") : NULL;
    if (near != NULL)
        *near = 0;
    return rc;
}

/* ---- errors ---- */

void rest_text_put(struct slice text, size_t len_max, struct buf *out)
{
    size_t len = text.len < len_max ? text.len : len_max;
    for (size_t i = 0; i < len; i++)
        buf_put_u8(out, text.data[i] >= ' ' && text.data[i] < 0x7f ? text.data[i] : '?');
    if (len < text.len)
        buf_put_cstr(out, "...");
}

bool rest_error_is(struct slice body)
{
    struct error ignored;
    json_t *document = NULL;
    bool is = json_decode(&document, body, &ignored) == OK &&
              json_is_object(json_object_get(document, "error"));
    json_decref(document);
    return is;
}

void rest_error_put(struct slice body, struct buf *out)
{
    struct error ignored; /* proxies send pages, and nothing */
    json_t *document = NULL;
    if (json_decode(&document, body, &ignored) != OK)
        return;
    const json_t *error = json_object_get(document, "error");
    const char *type = text_of(json_object_get(error, "type"));
    const char *message = text_of(json_object_get(error, "message"));
    if (message == NULL) /* gateways of AWS and Google */
        message = text_of(json_object_get(document, "message"));
    if (type != NULL && *type != 0)
        rest_text_put(slice_cstr(type), 60, out);
    if (type != NULL && *type != 0 && message != NULL)
        buf_put_cstr(out, ": ");
    if (message != NULL)
        rest_text_put(slice_cstr(message), ERROR_TEXT_MAX, out);
    json_decref(document);
}

/* ---- tables ---- */

void rest_table_free(struct rest_table *table)
{
    catalog_table_free(&table->table);
    free(table->etag);
    memory_wipe(&table->bearer);
    json_decref(table->config);
    json_decref(table->credentials);
    *table = (struct rest_table){0};
}

/* [{prefix, config}]: entries that are something else are left out. NULL: none is left. */
static json_t *credentials_of(const json_t *list)
{
    json_t *out = NULL;
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const char *prefix = text_of(json_object_get(entry, "prefix"));
        const json_t *config = json_object_get(entry, "config");
        if (prefix == NULL || !json_is_object(config))
            continue;
        if (out == NULL)
            out = json_array();
        json_array_append_new(
            out, json_pack("{s:s,s:o}", "prefix", prefix, "config", rest_texts_of(config)));
    }
    return out;
}

static int table_take(struct rest_table *out, const json_t *document, struct error *err)
{
    const json_t *location = json_object_get(document, "metadata-location");
    json_t *metadata = json_object_get(document, "metadata");
    const json_t *config = json_object_get(document, "config");
    if (!json_is_object(document))
        return error_set(err, ERROR_INPUT, "no object");
    if (text_of(location) == NULL && (location == NULL || !json_is_null(location)))
        return error_set(err, ERROR_INPUT, "no metadata-location");
    if (json_is_object(metadata)) {
        int rc = metadata_check(metadata, err);
        if (rc != OK)
            return error_wrap(err, "table metadata");
    } else if (json_is_null(location) || (metadata != NULL && !json_is_null(metadata))) {
        return error_set(err, ERROR_INPUT, "no metadata");
    }
    const char *text = text_of(location);
    out->table.metadata_location = memory_copy_cstr(text != NULL ? text : "");
    out->table.metadata = json_is_object(metadata) ? json_incref(metadata) : NULL;
    out->config = json_is_object(config) ? rest_texts_of(config) : NULL;
    out->credentials = credentials_of(json_object_get(document, "storage-credentials"));
    const char *bearer = json_string_value(json_object_get(out->config, "token"));
    if (bearer != NULL && !rest_bearer_is_fine(bearer))
        return error_set(err, ERROR_INPUT, "the table's token is none");
    out->bearer = memory_copy_or_null(bearer);
    return OK;
}

int rest_table_decode(struct rest_table *out, struct slice bytes, struct error *err)
{
    json_t *document = NULL;
    *out = (struct rest_table){0};
    int rc = rest_json_decode(&document, bytes, err);
    if (rc == OK)
        rc = table_take(out, document, err);
    json_decref(document);
    if (rc != OK)
        rest_table_free(out);
    if (rc == ERROR_INPUT)
        rc = err->code = ERROR_CORRUPT;
    return rc == OK ? OK : error_wrap(err, "answer");
}

int rest_credentials_decode(json_t **out, struct slice bytes, struct error *err)
{
    json_t *document = NULL;
    *out = NULL;
    int rc = rest_json_decode(&document, bytes, err);
    if (rc == OK && !json_is_array(json_object_get(document, "storage-credentials")))
        rc = error_set(err, ERROR_INPUT, "no storage-credentials");
    if (rc == OK)
        *out = credentials_of(json_object_get(document, "storage-credentials"));
    json_decref(document);
    if (rc == ERROR_INPUT)
        rc = err->code = ERROR_CORRUPT;
    return rc == OK ? OK : error_wrap(err, "answer");
}

/* ---- names ---- */

/* Levels with dots between them; false: one of them has a dot itself, or is none, and can't be
 * said in our words. */
static bool levels_put(const json_t *levels, struct buf *out)
{
    size_t i;
    const json_t *level;
    json_array_foreach(levels, i, level)
    {
        const char *text = text_of(level);
        if (text == NULL || *text == 0 || strchr(text, '.') != NULL)
            return false;
        buf_printf(out, "%s%s", i > 0 ? "." : "", text);
    }
    return out->len > 0 && !buf_failed(out) && json_array_size(levels) <= LEVELS_MAX;
}

static void name_take(enum rest_list what, const json_t *entry, struct catalog_names *out)
{
    struct buf text;
    buf_init(&text, NAME_BYTES_MAX);
    bool fine;
    if (what == REST_LIST_NAMESPACES) {
        fine = levels_put(entry, &text);
    } else {
        const char *name = text_of(json_object_get(entry, "name"));
        buf_put_cstr(&text, name != NULL ? name : "");
        fine = text.len > 0 && !buf_failed(&text);
    }
    const char *cstr = buf_cstr(&text); /* its NUL counts into the ceiling, too */
    if (fine && !buf_failed(&text)) {
        out->names = memory_resize(out->names, out->count + 1, sizeof *out->names);
        out->names[out->count++] = memory_copy_cstr(cstr);
    }
    buf_free(&text);
}

int rest_page_decode(enum rest_list what, struct slice bytes, struct catalog_names *out,
                     char **token, struct error *err)
{
    const char *member = what == REST_LIST_NAMESPACES ? "namespaces" : "identifiers";
    json_t *document = NULL;
    json_t *list = NULL;
    size_t i;
    const json_t *entry;
    *token = NULL;
    int rc = rest_json_decode(&document, bytes, err);
    if (rc == OK)
        rc = json_get_array(document, "list", member, &list, err);
    if (rc == OK && out->count + json_array_size(list) > REST_NAMES_MAX)
        rc = error_set(err, ERROR_LIMIT, "more than %d %s", REST_NAMES_MAX, member);
    const json_t *next = json_object_get(document, "next-page-token");
    if (rc == OK && next != NULL && !json_is_null(next) &&
        (text_of(next) == NULL || json_string_length(next) > TOKEN_BYTES_MAX))
        rc = error_set(err, ERROR_INPUT, "next-page-token is none");
    if (rc == OK) {
        json_array_foreach(list, i, entry) name_take(what, entry, out);
        if (text_of(next) != NULL && *text_of(next) != 0)
            *token = memory_copy_cstr(text_of(next));
    }
    json_decref(document);
    if (rc == ERROR_INPUT)
        rc = err->code = ERROR_CORRUPT;
    return rc == OK ? OK : error_wrap(err, "answer");
}
