/* SPDX-License-Identifier: Apache-2.0
 *
 * Are a file's bytes those that were written? Page headers are read and page checksums
 * compared (CRC-32 over the page as it is stored, levels included); no page is unpacked.
 */
#include <zlib.h>

#include "lib/parquet/parquet.h"
#include "lib/parquet/thrift.h"

struct page_header {
    int64_t stored; /* bytes behind the header; -1: not said */
    bool has_crc;
    uint32_t crc;
};

static bool is_int(struct thrift_field field)
{
    return field.type == THRIFT_I16 || field.type == THRIFT_I32 || field.type == THRIFT_I64;
}

static void read_header(struct thrift_reader *reader, struct page_header *out)
{
    struct thrift_field field = {0};
    *out = (struct page_header){.stored = -1};
    while (thrift_next_field(reader, &field)) {
        if (field.id == 3 && is_int(field)) {
            out->stored = thrift_read_int(reader);
        } else if (field.id == 4 && is_int(field)) {
            out->crc = (uint32_t)thrift_read_int(reader);
            out->has_crc = true;
        } else {
            thrift_skip(reader, field.type);
        }
    }
}

int parquet_chunk_check(struct slice chunk, struct parquet_pages *pages, struct error *err)
{
    struct thrift_reader reader = {.at = chunk.data, .end = chunk.data + chunk.len};
    for (size_t n = 0; reader.at < reader.end; n++) {
        struct page_header header;
        read_header(&reader, &header);
        if (reader.failed || header.stored < 0 || header.stored > reader.end - reader.at)
            return error_set(err, ERROR_CORRUPT, "page %zu: its header does not read", n);
        if (header.has_crc && crc32_z(0, reader.at, (size_t)header.stored) != header.crc)
            return error_set(err, ERROR_CORRUPT, "page %zu: its checksum is another", n);
        pages->count++;
        pages->unchecked += !header.has_crc;
        reader.at += header.stored;
    }
    return OK;
}
