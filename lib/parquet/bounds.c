/* SPDX-License-Identifier: Apache-2.0
 *
 * Cutting is at character borders also where the input is no valid UTF-8: at most
 * three continuation bytes are given back, and what does not decode is never
 * incremented but dropped, which leaves a larger, still true upper bound.
 */
#include "lib/parquet/bounds.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"

void range_merge(struct range *into, const struct range *from, enum parquet_type type)
{
    if (!from->any)
        return;
    switch (type) {
    case PARQUET_STRING:
        range_add_string(into, from->string_min);
        range_add_string(into, from->string_max);
        break;
    case PARQUET_DOUBLE:
        range_add_double(into, from->double_min);
        range_add_double(into, from->double_max);
        break;
    case PARQUET_BOOLEAN:
    case PARQUET_INT32:
    case PARQUET_INT64:
    case PARQUET_TIMESTAMP_MICROS_UTC:
        range_add_long(into, from->long_min);
        range_add_long(into, from->long_max);
        break;
    }
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* How many bytes a character that begins with this one should have. */
static size_t character_len(uint8_t lead)
{
    if (lead >= 0xf0)
        return 4;
    if (lead >= 0xe0)
        return 3;
    return lead >= 0xc0 ? 2 : 1;
}

/* The longest prefix of at most `max` bytes that ends between characters. */
static size_t cut_bytes(struct slice text, size_t max)
{
    if (text.len <= max)
        return text.len;
    size_t len = max;
    for (int back = 0; back < 3 && len > 0 && is_continuation(text.data[len]); back++)
        len--;
    return len;
}

static size_t cut_characters(struct slice text, size_t max)
{
    size_t len = 0;
    for (size_t i = 0; i < max && len < text.len; i++)
        len += character_len(text.data[len]);
    return len < text.len ? len : text.len;
}

/* The code point of exactly `len` bytes, or -1. */
static int32_t decode_character(const uint8_t *at, size_t len)
{
    static const int32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    static const uint8_t lead_bits[5] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    if (len > 4 || character_len(at[0]) != len || is_continuation(at[0]) || at[0] >= 0xf8)
        return -1;
    int32_t point = at[0] & lead_bits[len];
    for (size_t i = 1; i < len; i++)
        point = point << 6 | (at[i] & 0x3f);
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest[len] || point > 0x10ffff || surrogate ? -1 : point;
}

static size_t encode_character(uint8_t *to, int32_t point)
{
    uint32_t bits = (uint32_t)point;
    if (bits < 0x80) {
        to[0] = (uint8_t)bits;
        return 1;
    }
    size_t len = bits < 0x800 ? 2 : bits < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = len - 1; i > 0; i--) {
        to[i] = (uint8_t)(0x80 | (bits & 0x3f));
        bits >>= 6;
    }
    to[0] = (uint8_t)(lead[len] | bits);
    return len;
}

/* Makes of a prefix the smallest text of at most as many characters that is above
 * all that begin with it. False when there is none. */
static bool increment(struct bound *bound)
{
    size_t len = bound->len;
    while (len > 0) {
        size_t start = len - 1;
        while (start > 0 && len - start < 4 && is_continuation(bound->bytes[start]))
            start--;
        int32_t point = decode_character(bound->bytes + start, len - start);
        if (point >= 0 && point < 0x10ffff) {
            point = point + 1 == 0xd800 ? 0xe000 : point + 1;
            bound->len = (uint8_t)(start + encode_character(bound->bytes + start, point));
            return true;
        }
        len = start;
    }
    return false;
}

static void bound_set(struct bound *bound, struct slice text, size_t len)
{
    ASSERT(len <= BOUND_BYTES_MAX);
    if (len > 0)
        memcpy(bound->bytes, text.data, len);
    bound->len = (uint8_t)len;
    bound->exact = len == text.len;
}

static void encode_long(int64_t value, enum parquet_type type, struct bound *out)
{
    out->exact = true;
    if (type == PARQUET_BOOLEAN) {
        out->bytes[0] = value != 0;
        out->len = 1;
    } else if (type == PARQUET_INT32) {
        put_u32le(out->bytes, (uint32_t)(int32_t)value);
        out->len = 4;
    } else {
        put_u64le(out->bytes, (uint64_t)value);
        out->len = 8;
    }
}

static void encode_double(double value, double zero, struct bound *out)
{
    uint64_t bits;
    if (value == 0)
        value = zero;
    memcpy(&bits, &value, sizeof bits);
    put_u64le(out->bytes, bits);
    out->len = 8;
    out->exact = true;
}

static void encode_number(const struct range *range, enum parquet_type type, struct bound *min,
                          struct bound *max)
{
    if (type == PARQUET_DOUBLE) {
        encode_double(range->double_min, -0.0, min);
        encode_double(range->double_max, 0.0, max);
    } else {
        encode_long(range->long_min, type, min);
        encode_long(range->long_max, type, max);
    }
}

bool bounds_encode(const struct range *range, enum parquet_type type, struct bound *min,
                   struct bound *max)
{
    if (!range->any)
        return false;
    if (type != PARQUET_STRING) {
        encode_number(range, type, min, max);
        return true;
    }
    bound_set(min, range->string_min, cut_bytes(range->string_min, BOUND_BYTES_MAX));
    bound_set(max, range->string_max, cut_bytes(range->string_max, BOUND_BYTES_MAX));
    return max->exact || increment(max);
}

bool bounds_encode_iceberg(const struct range *range, enum parquet_type type, struct bound *min,
                           struct bound *max)
{
    ASSERT(range->any);
    if (type != PARQUET_STRING) {
        encode_number(range, type, min, max);
        return true;
    }
    bound_set(min, range->string_min, cut_characters(range->string_min, BOUND_CHARACTERS_MAX));
    bound_set(max, range->string_max, cut_characters(range->string_max, BOUND_CHARACTERS_MAX));
    return max->exact || increment(max);
}

static double get_double(const struct bound *bound)
{
    uint64_t bits = get_u64le(bound->bytes);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int64_t get_long(const struct bound *bound)
{
    if (bound->len == 1)
        return bound->bytes[0];
    if (bound->len == 4)
        return (int32_t)get_u32le(bound->bytes);
    return (int64_t)get_u64le(bound->bytes);
}

int bound_compare(const struct bound *a, const struct bound *b, enum parquet_type type)
{
    if (type == PARQUET_STRING)
        return slice_compare(bound_slice(a), bound_slice(b));
    if (type == PARQUET_DOUBLE)
        return (get_double(a) > get_double(b)) - (get_double(a) < get_double(b));
    return (get_long(a) > get_long(b)) - (get_long(a) < get_long(b));
}
