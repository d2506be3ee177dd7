/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

void buf_init(struct buf *buf, size_t max)
{
    *buf = (struct buf){.max = max};
}

void buf_free(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){.max = buf->max};
}

void buf_wipe(struct buf *buf)
{
    if (buf->data != NULL)
        explicit_bzero(buf->data, buf->cap);
    buf_free(buf);
}

void buf_reset(struct buf *buf)
{
    buf->len = 0;
    buf->failed = false;
}

bool buf_reserve(struct buf *buf, size_t more)
{
    size_t need;
    if (buf->failed)
        return false;
    if (!size_add(buf->len, more, &need) || (buf->max != 0 && need > buf->max)) {
        buf->failed = true;
        return false;
    }
    if (need <= buf->cap)
        return true;
    size_t cap = buf->cap < 128 ? 128 : buf->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (buf->max != 0 && cap > buf->max)
        cap = buf->max;
    buf->data = memory_resize(buf->data, cap, 1);
    buf->cap = cap;
    return true;
}

uint8_t *buf_extend(struct buf *buf, size_t n)
{
    if (!buf_reserve(buf, n))
        return NULL;
    uint8_t *at = buf->data + buf->len;
    buf->len += n;
    return at;
}

void buf_put(struct buf *buf, const void *data, size_t len)
{
    if (len == 0)
        return;
    uint8_t *at = buf_extend(buf, len);
    if (at != NULL)
        memcpy(at, data, len);
}

void buf_put_u8(struct buf *buf, uint8_t value)
{
    buf_put(buf, &value, 1);
}

void buf_put_u16le(struct buf *buf, uint16_t value)
{
    uint8_t bytes[2];
    put_u16le(bytes, value);
    buf_put(buf, bytes, sizeof bytes);
}

void buf_put_u32le(struct buf *buf, uint32_t value)
{
    uint8_t bytes[4];
    put_u32le(bytes, value);
    buf_put(buf, bytes, sizeof bytes);
}

void buf_put_u64le(struct buf *buf, uint64_t value)
{
    uint8_t bytes[8];
    put_u64le(bytes, value);
    buf_put(buf, bytes, sizeof bytes);
}

void buf_put_uvarint(struct buf *buf, uint64_t value)
{
    uint8_t bytes[10];
    size_t n = 0;
    while (value >= 0x80) {
        bytes[n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    bytes[n++] = (uint8_t)value;
    buf_put(buf, bytes, n);
}

void buf_put_varint(struct buf *buf, int64_t value)
{
    buf_put_uvarint(buf, ((uint64_t)value << 1) ^ (uint64_t)(value >> 63));
}

void buf_put_slice(struct buf *buf, struct slice bytes)
{
    buf_put(buf, bytes.data, bytes.len);
}

void buf_put_cstr(struct buf *buf, const char *text)
{
    buf_put(buf, text, strlen(text));
}

void buf_printf(struct buf *buf, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    ASSERT(n >= 0);
    /* vsnprintf writes a NUL, which is room that len does not keep. */
    if (!buf_reserve(buf, (size_t)n + 1))
        return;
    va_start(args, format);
    vsnprintf((char *)buf->data + buf->len, (size_t)n + 1, format, args);
    va_end(args);
    buf->len += (size_t)n;
}

const char *buf_cstr(struct buf *buf)
{
    if (!buf_reserve(buf, 1))
        return "";
    buf->data[buf->len] = 0;
    return (const char *)buf->data;
}
