/* SPDX-License-Identifier: Apache-2.0
 *
 * bounds.h: smallest and largest values, and how they are written: for Parquet's
 * footer and column index, and for Iceberg's manifests.
 *
 * NaN never enters a range. A zero is written as -0.0 below and +0.0 above. A long
 * string is cut at a character, and above its last character that can be is
 * incremented, so that the bound still holds; if none can be there is no bound.
 */
#ifndef LIB_PARQUET_BOUNDS_H
#define LIB_PARQUET_BOUNDS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/bytes.h"
#include "lib/base/slice.h"
#include "lib/parquet/parquet.h"

enum {
    BOUND_BYTES_MAX = 64,             /* of a string in footer and column index */
    BOUND_CHARACTERS_MAX = 16,        /* of a string in Iceberg's metrics: truncate(16) */
    BOUND_ROOM = BOUND_BYTES_MAX + 4, /* an increment may take a byte more */
    /* What must be kept of a string for both: one byte more tells that it is longer. */
    BOUND_KEPT = BOUND_BYTES_MAX + 1,
};

struct range {
    bool any;
    int64_t long_min; /* booleans, ints, longs, timestamps */
    int64_t long_max;
    double double_min;
    double double_max;
    struct slice string_min; /* borrowed */
    struct slice string_max;
    uint64_t prefix_min; /* string_prefix of the two */
    uint64_t prefix_max;
};

/* The first eight bytes as a number, zeros behind a shorter string. Where two differ they
 * have the order of the strings. */
static inline uint64_t string_prefix(struct slice value)
{
    if (value.len >= 8)
        return get_u64be(value.data);
    uint64_t prefix = 0;
    for (size_t i = 0; i < value.len; i++)
        prefix |= (uint64_t)value.data[i] << (56 - 8 * i);
    return prefix;
}

static inline void range_add_long(struct range *range, int64_t value)
{
    if (!range->any) {
        *range = (struct range){.any = true, .long_min = value, .long_max = value};
        return;
    }
    range->long_min = value < range->long_min ? value : range->long_min;
    range->long_max = value > range->long_max ? value : range->long_max;
}

/* Not for NaN. */
static inline void range_add_double(struct range *range, double value)
{
    if (!range->any) {
        *range = (struct range){.any = true, .double_min = value, .double_max = value};
        return;
    }
    range->double_min = value < range->double_min ? value : range->double_min;
    range->double_max = value > range->double_max ? value : range->double_max;
}

static inline void range_add_string(struct range *range, struct slice value)
{
    uint64_t prefix = string_prefix(value);
    if (range->any && prefix > range->prefix_min && prefix < range->prefix_max)
        return;
    if (!range->any || prefix < range->prefix_min ||
        (prefix == range->prefix_min && slice_compare(value, range->string_min) < 0)) {
        range->string_min = value;
        range->prefix_min = prefix;
    }
    if (!range->any || prefix > range->prefix_max ||
        (prefix == range->prefix_max && slice_compare(value, range->string_max) > 0)) {
        range->string_max = value;
        range->prefix_max = prefix;
    }
    range->any = true;
}

void range_merge(struct range *into, const struct range *from, enum parquet_type type);

struct bound {
    uint8_t bytes[BOUND_ROOM];
    uint8_t len;
    bool exact;
};

static inline struct slice bound_slice(const struct bound *bound)
{
    return slice_of(bound->bytes, bound->len);
}

/* For footer and column index. False: nothing was seen, or there is no upper bound. */
bool bounds_encode(const struct range *range, enum parquet_type type, struct bound *min,
                   struct bound *max);

/* Iceberg's single values; the range must hold something. False: no upper bound. */
bool bounds_encode_iceberg(const struct range *range, enum parquet_type type, struct bound *min,
                           struct bound *max);

/* Order of two written bounds by the column's order. */
int bound_compare(const struct bound *a, const struct bound *b, enum parquet_type type);

#endif
