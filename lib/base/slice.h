/* SPDX-License-Identifier: Apache-2.0
 *
 * slice.h: borrowed bytes, passed by value, never freed through.
 */
#ifndef LIB_BASE_SLICE_H
#define LIB_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

struct slice {
    const uint8_t *data;
    size_t len;
};

static inline struct slice slice_of(const void *data, size_t len)
{
    return (struct slice){.data = data, .len = len};
}

static inline struct slice slice_cstr(const char *text)
{
    return slice_of(text, strlen(text));
}

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool slice_is(struct slice a, const char *text)
{
    return slice_equal(a, slice_cstr(text));
}

/* In any case, as names in HTTP are. */
static inline bool slice_is_word(struct slice a, const char *word)
{
    return a.len == strlen(word) &&
           (a.len == 0 || strncasecmp((const char *)a.data, word, a.len) == 0);
}

static inline bool slice_byte_is(uint8_t byte, const char *any)
{
    for (; *any != 0; any++)
        if (byte == (uint8_t)*any)
            return true;
    return false;
}

/* What is left without the bytes of `blanks` at both ends. */
static inline struct slice slice_trim(struct slice text, const char *blanks)
{
    while (text.len > 0 && slice_byte_is(text.data[0], blanks))
        text = slice_of(text.data + 1, text.len - 1);
    while (text.len > 0 && slice_byte_is(text.data[text.len - 1], blanks))
        text.len--;
    return text;
}

/* Unsigned byte order, the shorter first: the order of Parquet and Iceberg. */
static inline int slice_compare(struct slice a, struct slice b)
{
    size_t n = a.len < b.len ? a.len : b.len;
    int order = n > 0 ? memcmp(a.data, b.data, n) : 0;
    if (order != 0)
        return order;
    return (a.len > b.len) - (a.len < b.len);
}

#endif
