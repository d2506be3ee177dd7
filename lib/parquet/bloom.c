/* SPDX-License-Identifier: Apache-2.0
 *
 * In the file: BloomFilterHeader (Thrift: 1 number of bytes, 2 algorithm, 3 hash,
 * 4 compression, each a union whose only member is 1), then the bits: blocks of 32 bytes,
 * eight words of 32 bits, little-endian. A value is the XXH64 of its PLAIN bytes, without
 * a length: the upper half chooses the block, the lower half a bit of each word.
 *
 * The block is the upper half scaled to the number of blocks. So in a filter of half the
 * size what was in blocks 2i and 2i + 1 is in block i, and the smaller filter is had by
 * joining them.
 */
#include "lib/parquet/bloom.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL /* a call for each short string would cost more than its hash */
#include <xxhash.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "lib/parquet/thrift.h"

enum {
    BLOCK_BYTES = 32,
    BLOCK_WORDS = 8,
    /* 21 / 16 bytes a value are 10.5 bits: less than one in a hundred, with the unequal
     * filling of blocks counted in. */
    VALUE_SIXTEENTHS = 21,
    MAYBE_PERCENT = 1,
};

void bloom_free(struct bloom *bloom)
{
    free(bloom->bits);
    *bloom = (struct bloom){0};
}

void bloom_begin(struct bloom *bloom, size_t values_max)
{
    size_t len = BLOOM_BYTES_MIN;
    while (len < BLOOM_BYTES_MAX && len / VALUE_SIXTEENTHS * 16 < values_max)
        len *= 2;
    if (len > bloom->cap) {
        free(bloom->bits);
        bloom->bits = memory_alloc_raw(len, 1);
        bloom->cap = len;
    }
    memset(bloom->bits, 0, len);
    bloom->len = len;
    bloom->any = false;
}

static void add(struct bloom *bloom, uint64_t hash)
{
    static const uint32_t salts[BLOCK_WORDS] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                                0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};
    uint64_t block = (hash >> 32) * (bloom->len / BLOCK_BYTES) >> 32;
    uint8_t *words = bloom->bits + block * BLOCK_BYTES;
    for (size_t i = 0; i < BLOCK_WORDS; i++) {
        uint32_t bit = ((uint32_t)hash * salts[i]) >> 27;
        put_u32le(words + 4 * i, get_u32le(words + 4 * i) | UINT32_C(1) << bit);
    }
    bloom->any = true;
}

void bloom_add_string(struct bloom *bloom, struct slice value)
{
    add(bloom, XXH64(value.data, value.len, 0));
}

void bloom_add_number(struct bloom *bloom, uint64_t bits, unsigned width)
{
    uint8_t bytes[8];
    put_u64le(bytes, bits);
    add(bloom, XXH64(bytes, width, 0));
}

void bloom_add_double(struct bloom *bloom, uint64_t bits)
{
    static const uint64_t minus_zero = UINT64_C(1) << 63;
    static const uint64_t quiet_nan = UINT64_C(0x7ff8) << 48;
    double value;
    memcpy(&value, &bits, sizeof value);
    bloom_add_number(bloom, bits, sizeof bits);
    if (value == 0)
        bloom_add_number(bloom, bits ^ minus_zero, sizeof bits);
    else if (isnan(value))
        bloom_add_number(bloom, quiet_nan, sizeof bits);
}

void bloom_add_view(struct bloom *bloom, const struct view *view)
{
    const struct parquet_column *column = view->column;
    for (size_t k = 0; k < view->value_count; k++) {
        size_t at = view_at(view, k);
        uint64_t bits = 0;
        switch (view->field->type) {
        case PARQUET_INT32:
            bloom_add_number(bloom, (uint32_t)column->ints[at], sizeof column->ints[at]);
            break;
        case PARQUET_INT64:
        case PARQUET_TIMESTAMP_MICROS_UTC:
            bloom_add_number(bloom, (uint64_t)column->longs[at], sizeof column->longs[at]);
            break;
        case PARQUET_DOUBLE:
            memcpy(&bits, &column->doubles[at], sizeof bits);
            bloom_add_double(bloom, bits);
            break;
        case PARQUET_STRING:
        case PARQUET_BOOLEAN:
            ASSERT(false); /* no numbers; check_field lets no boolean through */
            break;
        }
    }
}

/* Whether a filter whose neighbouring blocks were joined would answer as few as allowed
 * with "maybe". What a block answers so is the product of its words' shares of set bits:
 * of 32 each, so of 2^40 together, and the sum over all blocks fits 64 bits. */
static bool can_fold(const struct bloom *bloom)
{
    uint64_t maybe = 0;
    size_t blocks = bloom->len / BLOCK_BYTES / 2;
    if (blocks == 0)
        return false;
    _Static_assert(BLOOM_BYTES_MAX / BLOCK_BYTES <= 1 << 15, "the sum and its hundredfold");
    for (size_t block = 0; block < blocks; block++) {
        const uint8_t *left = bloom->bits + 2 * block * BLOCK_BYTES;
        uint64_t product = 1;
        for (size_t i = 0; i < BLOCK_WORDS; i++) {
            uint32_t joined = get_u32le(left + 4 * i) | get_u32le(left + BLOCK_BYTES + 4 * i);
            product *= (uint64_t)__builtin_popcount(joined);
        }
        maybe += product;
    }
    return maybe * 100 <= ((uint64_t)blocks * MAYBE_PERCENT) << 40;
}

void bloom_fold(struct bloom *bloom)
{
    while (can_fold(bloom)) {
        for (size_t at = 0; at < bloom->len / 2; at += BLOCK_BYTES) {
            const uint8_t *from = bloom->bits + 2 * at;
            for (size_t i = 0; i < BLOCK_BYTES; i++)
                bloom->bits[at + i] = from[i] | from[BLOCK_BYTES + i];
        }
        bloom->len /= 2;
    }
}

void bloom_put(const struct bloom *bloom, struct buf *out)
{
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_put_i32(&writer, 1, (int32_t)bloom->len);
    for (int16_t id = 2; id <= 4; id++) {
        thrift_begin_struct(&writer, id);
        thrift_put_empty_struct(&writer, 1);
        thrift_end(&writer);
    }
    thrift_end(&writer);
    buf_put(out, bloom->bits, bloom->len);
}
