/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/announce/decode.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

/* Each value of a JSON text but the first follows one of these. Those inside strings
 * are counted too: nothing that we name holds any number of them. */
static size_t values_count(struct slice bytes)
{
    size_t count = 1;
    for (size_t i = 0; i < bytes.len; i++)
        count += bytes.data[i] == ',' || bytes.data[i] == '[' || bytes.data[i] == '{';
    return count;
}

int document_bound(const char *what, struct slice bytes, size_t bytes_max, size_t values_max,
                   struct error *err)
{
    if (bytes.len > bytes_max)
        return error_set(err, ERROR_INPUT, "%s: %zu bytes, more than the %zu allowed", what,
                         bytes.len, bytes_max);
    if (bytes.len == 0)
        return error_set(err, ERROR_INPUT, "%s: no bytes at all", what);
    if (values_count(bytes) > values_max)
        return error_set(err, ERROR_INPUT, "%s: more than %zu values", what, values_max);
    return OK;
}

int document_decode(json_t **out, const char *what, struct slice bytes, size_t bytes_max,
                    size_t values_max, struct error *err)
{
    int64_t version = 0;
    json_t *document = NULL;
    *out = NULL;
    int rc = document_bound(what, bytes, bytes_max, values_max, err);
    if (rc != OK)
        return rc;
    rc = json_decode(&document, bytes, err);
    if (rc != OK)
        return error_wrap(err, "%s", what);
    if (!json_is_object(document))
        rc = error_set(err, ERROR_INPUT, "%s: not an object", what);
    if (rc == OK)
        rc = json_get_i64(document, what, "v", &version, err);
    if (rc == OK && version != 1)
        rc = error_set(err, ERROR_INPUT, "%s: version %lld is not known to this program", what,
                       (long long)version);
    if (rc != OK) {
        json_decref(document);
        return rc;
    }
    *out = document;
    return OK;
}

int decode_count(const json_t *object, const char *what, const char *key, uint64_t *out,
                 struct error *err)
{
    int64_t value = 0;
    int rc = json_get_i64(object, what, key, &value, err);
    if (rc == OK && value < 0)
        rc = error_set(err, ERROR_INPUT, "%s: \"%s\" is negative", what, key);
    *out = rc == OK ? (uint64_t)value : 0;
    return rc;
}

int decode_time(const json_t *object, const char *what, const char *key, int64_t *out,
                struct error *err)
{
    int rc = json_get_i64(object, what, key, out, err);
    if (rc == OK && (*out < -TIME_MS_MAX || *out > TIME_MS_MAX))
        rc = error_set(err, ERROR_INPUT, "%s: \"%s\" is no time", what, key);
    return rc;
}

int decode_text(const json_t *object, const char *what, const char *key, size_t len_max,
                const char **out, struct error *err)
{
    int rc = json_get_string(object, what, key, out, err);
    if (rc != OK)
        return rc;
    size_t len = json_string_length(json_object_get(object, key));
    if (len == 0 || len > len_max)
        return error_set(err, ERROR_INPUT, "%s: \"%s\" has %zu bytes, 1 to %zu are allowed", what,
                         key, len, len_max);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)(*out)[i];
        if (c < 0x20 || c == 0x7f)
            return error_set(err, ERROR_INPUT, "%s: \"%s\" has a control character", what, key);
    }
    return OK;
}

static int text_or_null(const json_t *object, const char *what, const char *key, size_t len_max,
                        const char **out, struct error *err)
{
    const json_t *member = json_object_get(object, key);
    *out = NULL;
    if (member == NULL || json_is_null(member))
        return OK;
    return decode_text(object, what, key, len_max, out, err);
}

int decode_uuid_or_null(const json_t *object, const char *what, const char *key, const char **out,
                        struct error *err)
{
    int rc = text_or_null(object, what, key, UUID_BYTES, out, err);
    if (rc != OK || *out == NULL)
        return rc;
    if (strlen(*out) != UUID_BYTES || strspn(*out, "0123456789abcdefABCDEF-") != UUID_BYTES)
        return error_set(err, ERROR_INPUT, "%s: \"%s\" is no UUID", what, key);
    return OK;
}

static int lost_decode_one(const json_t *item, const char *what, uint64_t from, uint64_t to,
                           struct lost_range *out, struct error *err)
{
    int rc = decode_count(item, what, "from", &out->from, err);
    if (rc == OK)
        rc = decode_count(item, what, "to", &out->to, err);
    if (rc == OK)
        rc = decode_count(item, what, "events", &out->events, err);
    if (rc == OK)
        rc = decode_text(item, what, "reason", REASON_MAX, &out->reason, err);
    if (rc != OK)
        return rc;
    if (out->from < from || out->to > to || out->from >= out->to)
        return error_set(err, ERROR_INPUT, "%s: out of order or outside the range", what);
    if (out->events > out->to - out->from)
        return error_set(err, ERROR_INPUT, "%s: more events than positions", what);
    return OK;
}

int decode_lost(const json_t *list, const char *what, uint64_t from, uint64_t to,
                struct lost_range **out, size_t *count, struct error *err)
{
    *out = NULL;
    *count = 0;
    size_t n = json_array_size(list);
    if (list != NULL && !json_is_array(list))
        return error_set(err, ERROR_INPUT, "%s: \"lost\" is not an array", what);
    if (n > LOST_RANGES_MAX)
        return error_set(err, ERROR_INPUT, "%s: more than %d lost ranges", what, LOST_RANGES_MAX);
    if (n == 0)
        return OK;
    struct lost_range *ranges = memory_alloc(n, sizeof *ranges);
    for (size_t i = 0; i < n; i++) {
        uint64_t least = i > 0 ? ranges[i - 1].to : from;
        int rc = lost_decode_one(json_array_get(list, i), "lost range", least, to, &ranges[i], err);
        if (rc != OK) {
            free(ranges);
            return error_wrap(err, "%s", what);
        }
    }
    *out = ranges;
    *count = n;
    return OK;
}

json_t *encode_count(uint64_t value)
{
    ASSERT(value <= INT64_MAX);
    return json_integer((json_int_t)value);
}

json_t *encode_text(const char *text)
{
    json_t *out = json_string(text);
    ASSERT(out != NULL);
    return out;
}

json_t *encode_text_or_null(const char *text)
{
    return text != NULL ? encode_text(text) : json_null();
}

json_t *encode_reason(const char *reason)
{
    if (reason == NULL || *reason == 0)
        return json_string("unknown");
    size_t len = strnlen(reason, REASON_MAX);
    char *copy = memory_copy_slice(slice_of(reason, len));
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)copy[i] < 0x20 || copy[i] == 0x7f)
            copy[i] = '?';
    }
    json_t *out = json_string(copy);
    for (size_t i = 0; out == NULL && i < len; i++) {
        if ((unsigned char)copy[i] >= 0x80)
            copy[i] = '?';
    }
    if (out == NULL)
        out = json_string(copy);
    free(copy);
    return out;
}

json_t *encode_lost(const struct lost_range *lost, const json_t *base)
{
    json_t *out = base != NULL ? json_copy((json_t *)(uintptr_t)base) : json_object();
    json_object_set_new(out, "from", encode_count(lost->from));
    json_object_set_new(out, "to", encode_count(lost->to));
    json_object_set_new(out, "events", encode_count(lost->events));
    json_object_set_new(out, "reason", encode_reason(lost->reason));
    return out;
}
