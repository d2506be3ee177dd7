/* SPDX-License-Identifier: Apache-2.0
 *
 * hybrid.h: the RLE / bit-packing hybrid of levels and dictionary indexes
 * (parquet-format, Encodings.md, "RLE").
 */
#ifndef LIB_PARQUET_HYBRID_H
#define LIB_PARQUET_HYBRID_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"

/* Bits that hold every value up to `value_max`; 0 for 0. */
unsigned hybrid_width(uint32_t value_max);

/* `n` values, each below 2^width, 1 <= width <= 32; no length in front. */
void hybrid_put(struct buf *out, const uint32_t *values, size_t n, unsigned width);

/* The same for `n` times one value. */
void hybrid_put_run(struct buf *out, uint32_t value, size_t n, unsigned width);

#endif
