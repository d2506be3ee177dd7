/* SPDX-License-Identifier: Apache-2.0
 *
 * The spool's records from arbitrary bytes: what a bad disk gives must end as
 * ERROR_CORRUPT, never in a read past the end. First byte: which decoder. A record that
 * is taken must be written back as the same bytes, so that none is taken that we
 * would not have written. The second round mends the checksum first: else nearly no
 * input gets behind it.
 */
#include <stddef.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "spool/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_block(struct slice input)
{
    struct error err;
    struct block_header header;
    struct slice rows;
    uint8_t bytes[BLOCK_HEADER_SIZE];
    if (input.len < RANGE_KEY_SIZE)
        return;
    struct slice key = slice_of(input.data, RANGE_KEY_SIZE);
    struct slice value = slice_of(input.data + RANGE_KEY_SIZE, input.len - RANGE_KEY_SIZE);
    if (block_header_decode(key, value, &header, &err) != OK)
        return;
    block_header_encode(&header, bytes);
    ASSERT(memcmp(bytes, value.data, sizeof bytes) == 0);
    if (block_payload(&header, value, &rows, &err) == OK)
        ASSERT(rows.len == header.payload_len && crc32c(0, rows) == header.payload_crc);
}

static void try_record(uint8_t kind, struct slice input)
{
    struct error err;
    struct buf out = {0};
    struct stream_record stream;
    struct segment_record segment;
    struct lost_record lost;
    int rc = OK;
    if (kind == 1) {
        rc = stream_record_decode(input, &stream, &err);
        if (rc == OK)
            stream_record_encode(&stream, &out);
    } else if (kind == 2) {
        rc = segment_record_decode(0, input, &segment, &err);
        if (rc == OK)
            segment_record_encode(&segment, &out);
    } else {
        rc = lost_record_decode(0, input, &lost, &err);
        if (rc == OK)
            lost_record_encode(&lost, &out);
    }
    ASSERT(rc == OK || rc == ERROR_CORRUPT);
    ASSERT(rc != OK || slice_equal(input, buf_slice(&out)));
    buf_free(&out);
}

static void try_all(uint8_t kind, struct slice input)
{
    if (kind == 0)
        try_block(input);
    else
        try_record(kind, input);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 5)
        return 0;
    uint8_t kind = data[0] % 4;
    size_t len = size - 1;
    uint8_t *copy = memory_alloc_raw(len, 1);
    memcpy(copy, data + 1, len);
    try_all(kind, slice_of(copy, len));
    size_t header_end = RANGE_KEY_SIZE + BLOCK_HEADER_SIZE;
    if (kind == 0 && len >= header_end) {
        uint8_t *header = copy + RANGE_KEY_SIZE;
        memcpy(header + 8, "\0\0\0\0\0\0\0", 8);
        memcpy(copy, "\0\0\0\1\0\0\0\0\0\0\0", RANGE_KEY_SIZE);
        put_u32le(header + 56, 1);
        put_u32le(header + 60, crc32c(0, slice_of(header, 60)));
    } else if (kind != 0) {
        put_u32le(copy + len - 4, crc32c(0, slice_of(copy, len - 4)));
    }
    try_all(kind, slice_of(copy, len));
    free(copy);
    return 0;
}
