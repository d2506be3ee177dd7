/* SPDX-License-Identifier: Apache-2.0
 *
 * buf.h: owned, growing bytes with a ceiling.
 *
 * An encoder puts as much as it likes and asks once, at the end: the first put
 * that would pass the ceiling makes the buffer fail, later puts do nothing, and
 * buf_failed says so. All zero is a valid empty buffer with no ceiling.
 */
#ifndef LIB_BASE_BUF_H
#define LIB_BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/bytes.h"
#include "lib/base/slice.h"

struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max; /* 0: no ceiling */
    bool failed;
};

void buf_init(struct buf *buf, size_t max);
void buf_free(struct buf *buf);
void buf_wipe(struct buf *buf); /* overwrites secrets, frees */

/* Empties it and clears a failure; keeps memory and ceiling. */
void buf_reset(struct buf *buf);

/* Makes room for `more` bytes behind len; false when the ceiling forbids it. */
bool buf_reserve(struct buf *buf, size_t more);

/* Room for `n` bytes, already counted in len; NULL once failed. */
uint8_t *buf_extend(struct buf *buf, size_t n);

void buf_put(struct buf *buf, const void *data, size_t len);
void buf_put_u8(struct buf *buf, uint8_t value);
void buf_put_u16le(struct buf *buf, uint16_t value);
void buf_put_u32le(struct buf *buf, uint32_t value);
void buf_put_u64le(struct buf *buf, uint64_t value);

/* Unsigned LEB128, at most ten bytes. */
void buf_put_uvarint(struct buf *buf, uint64_t value);
/* Zigzag, then LEB128: Thrift compact and Avro alike. */
void buf_put_varint(struct buf *buf, int64_t value);

void buf_put_slice(struct buf *buf, struct slice bytes);
void buf_put_cstr(struct buf *buf, const char *text);
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The bytes as a C string: a NUL is put behind them and not counted in len. */
const char *buf_cstr(struct buf *buf);

static inline struct slice buf_slice(const struct buf *buf)
{
    return slice_of(buf->data, buf->len);
}

static inline bool buf_failed(const struct buf *buf)
{
    return buf->failed;
}

#endif
