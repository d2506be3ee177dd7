/* SPDX-License-Identifier: Apache-2.0
 *
 * Header fields beside our own: those that the user gives, and those that the server's
 * configuration asks for ("header.<Name>").
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

static bool is_token_char(char c)
{
    return isalnum((unsigned char)c) || strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static int field_check(struct slice name, struct slice value, struct error *err)
{
    static const char *const own[] = {
        "authorization", "accept",          "content-type",  "content-length",
        "host",          "idempotency-key", "if-none-match", "transfer-encoding"};
    for (size_t i = 0; i < name.len; i++)
        if (name.data[i] == 0 || !is_token_char((char)name.data[i]))
            return error_set(err, ERROR_INPUT, "header: a name with a foreign character");
    for (size_t i = 0; i < value.len; i++)
        if ((value.data[i] < ' ' && value.data[i] != '\t') || value.data[i] == 0x7f)
            return error_set(err, ERROR_INPUT, "header: a value with a control character");
    if (name.len == 0 || value.len == 0)
        return error_set(err, ERROR_INPUT, "header: not \"Name: value\"");
    for (size_t i = 0; i < sizeof own / sizeof own[0]; i++)
        if (slice_is_word(name, own[i]))
            return error_set(err, ERROR_INPUT, "header: %s is not to be given", own[i]);
    return OK;
}

static struct slice trimmed(const char *text, size_t len)
{
    return slice_trim(slice_of(text, len), " \t\n\v\f\r");
}

static bool is_field(const char *field, struct slice name)
{
    return strncasecmp(field, (const char *)name.data, name.len) == 0 && field[name.len] == ':';
}

int rest_field_put(struct rest *rest, struct slice name, struct slice value, struct error *err)
{
    int rc = field_check(name, value, err);
    size_t at = 0;
    if (rc != OK)
        return rc;
    while (at < rest->field_count && !is_field(rest->fields[at], name))
        at++;
    if (at == REST_FIELDS_MAX)
        return error_set(err, ERROR_INPUT, "more than %d headers", REST_FIELDS_MAX);
    char *before = rest->fields[at];
    const char *spelled = before != NULL ? before : (const char *)name.data;
    rest->fields[at] = memory_printf("%.*s: %.*s", (int)name.len, spelled, (int)value.len,
                                     (const char *)value.data);
    rest->field_count += before == NULL;
    free(before);
    return OK;
}

bool rest_field_is_given(const struct rest *rest, const char *name)
{
    for (size_t i = 0; i < rest->field_count; i++)
        if (is_field(rest->fields[i], slice_cstr(name)))
            return true;
    return false;
}

void rest_fields_take(struct rest *rest)
{
    static const char prefix[] = "header.";
    const char *key;
    json_t *value;
    json_object_foreach(rest->config.properties, key, value)
    {
        struct error err;
        if (strncmp(key, prefix, sizeof prefix - 1) != 0)
            continue;
        struct slice name = slice_cstr(key + sizeof prefix - 1);
        if (rest_field_put(rest, name, slice_cstr(json_string_value(value)), &err) != OK)
            log_event(LOG_LEVEL_WARN, "catalog",
                      "a header that the server's configuration asks for is left out",
                      "text=\"%s\"", err.text);
    }
}

int rest_fields_add(struct rest *rest, const char *text, struct error *err)
{
    int rc = OK;
    while (rc == OK && text != NULL && *text != 0) {
        size_t len = strcspn(text, ";\n");
        struct slice line = trimmed(text, len);
        const char *colon = line.len > 0 ? memchr(line.data, ':', line.len) : NULL;
        if (line.len > 0 && colon == NULL)
            rc = error_set(err, ERROR_INPUT, "header: not \"Name: value\"");
        else if (line.len > 0) {
            size_t name_len = (size_t)(colon - (const char *)line.data);
            rc = rest_field_put(rest, trimmed((const char *)line.data, name_len),
                                trimmed(colon + 1, line.len - name_len - 1), err);
        }
        text += len + (text[len] != 0);
    }
    return rc;
}
