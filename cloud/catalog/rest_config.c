/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server says about itself before anything else is asked of it. The prefix may come among
 * the defaults as well as the overrides, so it is read from what they make together. A server
 * that names no endpoints has those of the protocol's first version.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { PREFIX_BYTES_MAX = 1024, SEPARATOR_BYTES_MAX = 16 };

static const struct {
    const char *text;
    bool assumed;
} known_endpoints[REST_ENDPOINT_COUNT] = {
    [REST_NAMESPACES_LIST] = {"GET /v1/{prefix}/namespaces", true},
    [REST_NAMESPACE_CREATE] = {"POST /v1/{prefix}/namespaces", true},
    [REST_NAMESPACE_LOAD] = {"GET /v1/{prefix}/namespaces/{namespace}", true},
    [REST_NAMESPACE_HEAD] = {"HEAD /v1/{prefix}/namespaces/{namespace}", false},
    [REST_TABLES_LIST] = {"GET /v1/{prefix}/namespaces/{namespace}/tables", true},
    [REST_TABLE_CREATE] = {"POST /v1/{prefix}/namespaces/{namespace}/tables", true},
    [REST_TABLE_LOAD] = {"GET /v1/{prefix}/namespaces/{namespace}/tables/{table}", true},
    [REST_TABLE_COMMIT] = {"POST /v1/{prefix}/namespaces/{namespace}/tables/{table}", true},
    [REST_TABLE_CREDENTIALS] =
        {"GET /v1/{prefix}/namespaces/{namespace}/tables/{table}/credentials", false},
};

void rest_config_free(struct rest_config *config)
{
    json_decref(config->properties);
    *config = (struct rest_config){0};
}

static void endpoints_read(struct rest_config *config, const json_t *list)
{
    size_t i;
    const json_t *entry;
    for (int k = 0; k < REST_ENDPOINT_COUNT; k++)
        config->endpoints[k] = !json_is_array(list) && known_endpoints[k].assumed;
    json_array_foreach(list, i, entry)
    {
        const char *text = json_string_value(entry);
        for (int k = 0; text != NULL && k < REST_ENDPOINT_COUNT; k++)
            config->endpoints[k] |= strcmp(text, known_endpoints[k].text) == 0;
    }
}

/* Nothing in it may end the path or climb out of it. */
static bool prefix_is_fine(const char *prefix)
{
    if (strlen(prefix) > PREFIX_BYTES_MAX)
        return false;
    for (const char *p = prefix;; p++) {
        size_t len = strcspn(p, "/");
        if ((len == 1 && *p == '.') || (len == 2 && strncmp(p, "..", 2) == 0))
            return false;
        for (size_t i = 0; i < len; i++)
            if (p[i] <= ' ' || p[i] >= 0x7f || p[i] == '?' || p[i] == '#' || p[i] == '\\')
                return false;
        p += len;
        if (*p == 0)
            return true;
    }
}

static bool separator_is_fine(const char *separator)
{
    size_t len = strlen(separator);
    if (len == 0 || len > SEPARATOR_BYTES_MAX)
        return false;
    return strspn(separator, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                             "-._~%") == len;
}

/* Names of headers are the same in any case. */
static void properties_add(json_t *to, const json_t *from)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)from, key, value)
    {
        char *name = memory_copy_cstr(key);
        for (char *p = name; strncmp(key, "header.", 7) == 0 && *p != 0; p++)
            *p = (char)tolower((unsigned char)*p);
        json_object_set(to, name, value);
        free(name);
    }
}

static int section_take(const json_t *document, const char *name, json_t *to, struct error *err)
{
    const json_t *section = json_object_get(document, name);
    if (section == NULL || json_is_null(section))
        return OK;
    if (!json_is_object(section))
        return error_set(err, ERROR_INPUT, "\"%s\" is no object", name);
    json_t *texts = rest_texts_of(section);
    properties_add(to, texts);
    json_decref(texts);
    return OK;
}

static const char *property_or(const struct rest_config *config, const char *key,
                               const char *otherwise)
{
    const char *text = json_string_value(json_object_get(config->properties, key));
    return text != NULL ? text : otherwise;
}

static int values_read(struct rest_config *config, struct error *err)
{
    config->prefix = property_or(config, "prefix", "");
    config->separator = property_or(config, "namespace-separator", "%1F");
    config->uri = property_or(config, "uri", NULL);
    if (!prefix_is_fine(config->prefix))
        return error_set(err, ERROR_INPUT, "its prefix is no part of a path");
    if (!separator_is_fine(config->separator))
        return error_set(err, ERROR_INPUT, "its namespace-separator is none");
    return OK;
}

int rest_config_decode(struct rest_config *out, const json_t *client, struct slice bytes,
                       struct error *err)
{
    json_t *document = NULL;
    *out = (struct rest_config){.properties = json_object()};
    int rc = rest_json_decode(&document, bytes, err);
    if (rc == OK && (!json_is_object(document) || (json_object_get(document, "defaults") == NULL &&
                                                   json_object_get(document, "overrides") == NULL)))
        rc = error_set(err, ERROR_INPUT, "neither defaults nor overrides");
    if (rc == OK)
        rc = section_take(document, "defaults", out->properties, err);
    if (rc == OK) {
        properties_add(out->properties, client);
        rc = section_take(document, "overrides", out->properties, err);
    }
    if (rc == OK)
        rc = values_read(out, err);
    if (rc == OK) {
        const json_t *lifetime = json_object_get(document, "idempotency-key-lifetime");
        endpoints_read(out, json_object_get(document, "endpoints"));
        out->token_forced =
            json_is_string(json_object_get(json_object_get(document, "overrides"), "token"));
        out->idempotent = lifetime != NULL && !json_is_null(lifetime);
    }
    json_decref(document);
    if (rc != OK)
        rest_config_free(out);
    return rc == OK ? OK : error_wrap(err, "configuration");
}
