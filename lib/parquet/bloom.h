/* SPDX-License-Identifier: Apache-2.0
 *
 * bloom.h: the split-block Bloom filter of one column chunk (parquet-format,
 * BloomFilter.md). Private to lib/parquet.
 *
 * It begins with the room that as many different values as there are entries would need,
 * and is folded in the end to the least power of two that still answers at most one in a
 * hundred absent values with "maybe": so nobody needs to know how many are different.
 */
#ifndef LIB_PARQUET_BLOOM_H
#define LIB_PARQUET_BLOOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"
#include "lib/parquet/view.h"

enum { BLOOM_BYTES_MIN = 32, BLOOM_BYTES_MAX = 1 << 20 };

/* Reused for all chunks of a file; all zero is an empty one. */
struct bloom {
    uint8_t *bits; /* blocks of eight little-endian words */
    size_t len;    /* a power of two */
    size_t cap;
    bool any; /* a value was added */
};

void bloom_free(struct bloom *bloom);

/* Empties it for at most `values_max` different values. */
void bloom_begin(struct bloom *bloom, size_t values_max);

void bloom_add_string(struct bloom *bloom, struct slice value);
/* `bits` are those of a PLAIN number of `width` bytes. */
void bloom_add_number(struct bloom *bloom, uint64_t bits, unsigned width);
/* Of a double also what engines hold for equal to it: both zeros, and one NaN for all. */
void bloom_add_double(struct bloom *bloom, uint64_t bits);
/* All values of a page of numbers. */
void bloom_add_view(struct bloom *bloom, const struct view *view);

/* Halves it as often as that does no harm. */
void bloom_fold(struct bloom *bloom);

/* Header and bits, as they stand in the file. */
void bloom_put(const struct bloom *bloom, struct buf *out);

#endif
