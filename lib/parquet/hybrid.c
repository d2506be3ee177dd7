/* SPDX-License-Identifier: Apache-2.0
 *
 * A run is ULEB(count << 1) and the value in whole bytes; packed values are
 * ULEB(groups << 1 | 1) and groups of eight, lowest bit first. Only the last
 * packed part may be padded, so a run that follows packed values first gives up
 * as many of its own as fill their last group.
 */
#include "lib/parquet/hybrid.h"

#include "lib/base/assert.h"

unsigned hybrid_width(uint32_t value_max)
{
    return value_max == 0 ? 0 : 32 - (unsigned)__builtin_clz(value_max);
}

static void pack(uint8_t *to, size_t len, const uint32_t *values, size_t n, unsigned width)
{
    uint8_t *end = to + len;
    uint64_t waiting = 0;
    unsigned bits = 0;
    for (size_t i = 0; i < n; i++) {
        waiting |= (uint64_t)values[i] << bits;
        bits += width;
        if (bits >= 32) {
            put_u32le(to, (uint32_t)waiting);
            to += 4;
            waiting >>= 32;
            bits -= 32;
        }
    }
    for (; to < end; to++) {
        *to = (uint8_t)waiting;
        waiting >>= 8;
    }
}

static void put_packed(struct buf *out, const uint32_t *values, size_t n, unsigned width)
{
    if (n == 0)
        return;
    size_t groups = (n + 7) / 8;
    buf_put_uvarint(out, groups << 1 | 1);
    uint8_t *to = buf_extend(out, groups * width);
    if (to != NULL)
        pack(to, groups * width, values, n, width);
}

void hybrid_put_run(struct buf *out, uint32_t value, size_t n, unsigned width)
{
    ASSERT(width >= 1 && width <= 32);
    if (n == 0)
        return;
    uint8_t bytes[4];
    put_u32le(bytes, value);
    buf_put_uvarint(out, (uint64_t)n << 1);
    buf_put(out, bytes, (width + 7) / 8);
}

void hybrid_put(struct buf *out, const uint32_t *values, size_t n, unsigned width)
{
    ASSERT(width >= 1 && width <= 32);
    /* A run costs two headers and a value: below this, packing is no larger. */
    size_t run_min = width >= 4 ? 8 : 32 / width;
    size_t packed = 0; /* values from here to i are still to be packed */
    size_t i = 0;
    while (i < n) {
        size_t end = i + 1;
        while (end < n && values[end] == values[i])
            end++;
        size_t fill = (8 - (i - packed) % 8) % 8;
        if (end - i >= run_min + fill) {
            put_packed(out, values + packed, i + fill - packed, width);
            hybrid_put_run(out, values[i], end - i - fill, width);
            packed = end;
        }
        i = end;
    }
    put_packed(out, values + packed, n - packed, width);
}
