/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/json/json.h"

#include "lib/base/assert.h"

int json_decode(json_t **out, struct slice bytes, struct error *err)
{
    json_error_t at;
    *out = json_loadb((const char *)bytes.data, bytes.len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL,
                      &at);
    if (*out == NULL)
        return error_set(err, ERROR_INPUT, "line %d, column %d: %s", at.line, at.column, at.text);
    return OK;
}

static int put_piece(const char *piece, size_t len, void *context)
{
    buf_put(context, piece, len);
    return 0; /* a buffer that failed says so to whoever asks it */
}

void json_encode(const json_t *value, struct buf *out)
{
    int rc = json_dump_callback(value, put_piece, out, JSON_COMPACT | JSON_ENCODE_ANY);
    ASSERT(rc == 0);
}

void json_encode_sorted(const json_t *value, struct buf *out)
{
    int rc =
        json_dump_callback(value, put_piece, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    ASSERT(rc == 0);
}

static int wrong_type(const json_t *member, const char *what, const char *key, const char *wanted,
                      struct error *err)
{
    if (member == NULL || json_is_null(member))
        return error_set(err, ERROR_INPUT, "%s: no \"%s\"", what, key);
    return error_set(err, ERROR_INPUT, "%s: \"%s\" is not %s", what, key, wanted);
}

int json_get_string(const json_t *object, const char *what, const char *key, const char **out,
                    struct error *err)
{
    const json_t *member = json_object_get(object, key);
    if (!json_is_string(member))
        return wrong_type(member, what, key, "a string", err);
    *out = json_string_value(member);
    return OK;
}

int json_get_i64(const json_t *object, const char *what, const char *key, int64_t *out,
                 struct error *err)
{
    const json_t *member = json_object_get(object, key);
    if (!json_is_integer(member))
        return wrong_type(member, what, key, "an integer", err);
    *out = (int64_t)json_integer_value(member);
    return OK;
}

int json_get_object(const json_t *object, const char *what, const char *key, json_t **out,
                    struct error *err)
{
    json_t *member = json_object_get(object, key);
    if (!json_is_object(member))
        return wrong_type(member, what, key, "an object", err);
    *out = member;
    return OK;
}

int json_get_array(const json_t *object, const char *what, const char *key, json_t **out,
                   struct error *err)
{
    json_t *member = json_object_get(object, key);
    if (!json_is_array(member))
        return wrong_type(member, what, key, "an array", err);
    *out = member;
    return OK;
}

int json_get_bool(const json_t *object, const char *what, const char *key, bool *out,
                  struct error *err)
{
    const json_t *member = json_object_get(object, key);
    if (!json_is_boolean(member))
        return wrong_type(member, what, key, "a boolean", err);
    *out = json_is_true(member);
    return OK;
}

int json_get_i64_or(const json_t *object, const char *what, const char *key, int64_t otherwise,
                    int64_t *out, struct error *err)
{
    const json_t *member = json_object_get(object, key);
    *out = otherwise;
    if (member == NULL || json_is_null(member))
        return OK;
    return json_get_i64(object, what, key, out, err);
}

void json_put_string(struct buf *out, struct slice text)
{
    buf_put_u8(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        if (byte == '"' || byte == '\\') {
            buf_put_u8(out, '\\');
            buf_put_u8(out, byte);
        } else if (byte < 0x20) {
            buf_printf(out, "\\u%04x", byte);
        } else {
            buf_put_u8(out, byte);
        }
    }
    buf_put_u8(out, '"');
}
