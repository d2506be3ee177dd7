/* SPDX-License-Identifier: Apache-2.0
 *
 * The frame is made behind a gap that holds any header, and the header, which needs
 * the frame's length and CRC, is then put right in front of it: one write a page.
 */
#include "lib/parquet/page.h"

#include <zlib.h>
#include <zstd.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/parquet/thrift.h"

/* Of four i32 fields, a struct of four and two stops 41 bytes are the most. */
enum { HEADER_ROOM = 64 };

void page_packer_init(struct page_packer *packer, int level)
{
    *packer = (struct page_packer){.zstd = ZSTD_createCCtx(), .level = level};
    ASSERT(packer->zstd != NULL);
}

void page_packer_free(struct page_packer *packer)
{
    ZSTD_freeCCtx(packer->zstd);
    buf_free(&packer->out);
    buf_free(&packer->header);
    *packer = (struct page_packer){0};
}

static void put_header(struct buf *out, const struct page *page, struct slice frame)
{
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_put_i32(&writer, 1, page->type);
    thrift_put_i32(&writer, 2, (int32_t)page->body.len);
    thrift_put_i32(&writer, 3, (int32_t)frame.len);
    thrift_put_i32(&writer, 4, (int32_t)(uint32_t)crc32_z(0, frame.data, frame.len));
    thrift_begin_struct(&writer, page->type == PAGE_DICTIONARY ? 7 : 5);
    thrift_put_i32(&writer, 1, (int32_t)page->entries);
    thrift_put_i32(&writer, 2, page->encoding);
    if (page->type == PAGE_DATA) {
        thrift_put_i32(&writer, 3, ENCODING_RLE); /* definition levels */
        thrift_put_i32(&writer, 4, ENCODING_RLE); /* repetition levels */
    }
    thrift_end(&writer);
    thrift_end(&writer);
}

int page_pack(struct page_packer *packer, const struct page *page, struct packed_page *out,
              struct error *err)
{
    ASSERT(page->body.len <= INT32_MAX / 2 && page->entries <= INT32_MAX);
    size_t room = ZSTD_compressBound(page->body.len);
    buf_reset(&packer->out);
    uint8_t *at = buf_extend(&packer->out, HEADER_ROOM + room);
    ASSERT(at != NULL);

    int64_t begin_ns = clock_thread_cpu_ns();
    size_t len = ZSTD_compressCCtx(packer->zstd, at + HEADER_ROOM, room, page->body.data,
                                   page->body.len, packer->level);
    packer->zstd_ns += clock_thread_cpu_ns() - begin_ns;
    if (ZSTD_isError(len))
        return error_set(err, ERROR_IO, "zstd: %s", ZSTD_getErrorName(len));

    buf_reset(&packer->header);
    put_header(&packer->header, page, slice_of(at + HEADER_ROOM, len));
    size_t header_len = packer->header.len;
    ASSERT(header_len <= HEADER_ROOM);
    memcpy(at + HEADER_ROOM - header_len, packer->header.data, header_len);
    out->bytes = slice_of(at + HEADER_ROOM - header_len, header_len + len);
    out->uncompressed_len = header_len + page->body.len;
    return OK;
}
