/* SPDX-License-Identifier: Apache-2.0
 *
 * A text as gzip or zstd: one member, or frame, that is appended to `out`.
 */
#ifndef TESTS_UNIT_PACKED_H
#define TESTS_UNIT_PACKED_H

#include <zlib.h>
#include <zstd.h>

#include "lib/base/assert.h"
#include "lib/base/buf.h"

static inline void put_gzip(struct slice text, struct buf *out)
{
    z_stream stream = {0};
    int status = deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    ASSERT(status == Z_OK);
    size_t room = deflateBound(&stream, text.len);
    stream.next_out = buf_extend(out, room);
    stream.next_in = (uint8_t *)(uintptr_t)text.data;
    stream.avail_in = (uInt)text.len;
    stream.avail_out = (uInt)room;
    status = deflate(&stream, Z_FINISH);
    ASSERT(status == Z_STREAM_END);
    out->len -= stream.avail_out;
    deflateEnd(&stream);
}

static inline void put_zstd(struct slice text, struct buf *out)
{
    size_t room = ZSTD_compressBound(text.len);
    uint8_t *at = buf_extend(out, room);
    size_t len = ZSTD_compress(at, room, text.data, text.len, 1);
    ASSERT(!ZSTD_isError(len));
    out->len -= room - len;
}

#endif
