/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/shred/text.h"

/* How many bytes at `at` belong together: a well-formed sequence (*good), or the
 * maximal subpart that one U+FFFD stands for. Table 3-7 of Unicode: the second byte's
 * range depends on the first, all later ones are 80..BF. */
static size_t sequence(const uint8_t *at, size_t len, bool *good)
{
    uint8_t first = at[0];
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t need = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    *good = first < 0x80;
    if (*good || first < 0xc2 || first > 0xf4)
        return 1;
    if (first == 0xe0)
        low = 0xa0;
    else if (first == 0xed)
        high = 0x9f;
    else if (first == 0xf0)
        low = 0x90;
    else if (first == 0xf4)
        high = 0x8f;
    for (size_t i = 1; i < need; i++) {
        if (i == len || at[i] < low || at[i] > high)
            return i;
        low = 0x80;
        high = 0xbf;
    }
    *good = true;
    return need;
}

bool text_is_utf8(struct slice bytes)
{
    for (size_t i = 0; i < bytes.len;) {
        bool good;
        if (bytes.len - i >= 8 && (get_u64le(bytes.data + i) & 0x8080808080808080u) == 0) {
            i += 8;
            continue;
        }
        i += sequence(bytes.data + i, bytes.len - i, &good);
        if (!good)
            return false;
    }
    return true;
}

static void put_replacement(struct buf *out)
{
    buf_put(out, "\xef\xbf\xbd", 3);
}

uint64_t text_put_repaired(struct slice bytes, struct buf *out)
{
    uint64_t replaced = 0;
    size_t from = 0; /* what lies between from and i is good and not yet put */
    for (size_t i = 0; i < bytes.len;) {
        bool good;
        size_t n = sequence(bytes.data + i, bytes.len - i, &good);
        if (!good) {
            buf_put(out, bytes.data + from, i - from);
            put_replacement(out);
            replaced++;
            from = i + n;
        }
        i += n;
    }
    buf_put(out, bytes.data + from, bytes.len - from);
    return replaced;
}

static uint32_t hex4(const uint8_t *at)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t digit = at[i] <= '9' ? at[i] - (uint32_t)'0' : (at[i] | 0x20u) - 'a' + 10;
        value = value << 4 | digit;
    }
    return value;
}

static void put_code_point(uint32_t code, struct buf *out)
{
    uint8_t bytes[4];
    size_t n = 0;
    if (code < 0x80) {
        bytes[n++] = (uint8_t)code;
    } else if (code < 0x800) {
        bytes[n++] = (uint8_t)(0xc0 | code >> 6);
        bytes[n++] = (uint8_t)(0x80 | (code & 0x3f));
    } else if (code < 0x10000) {
        bytes[n++] = (uint8_t)(0xe0 | code >> 12);
        bytes[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        bytes[n++] = (uint8_t)(0x80 | (code & 0x3f));
    } else {
        bytes[n++] = (uint8_t)(0xf0 | code >> 18);
        bytes[n++] = (uint8_t)(0x80 | (code >> 12 & 0x3f));
        bytes[n++] = (uint8_t)(0x80 | (code >> 6 & 0x3f));
        bytes[n++] = (uint8_t)(0x80 | (code & 0x3f));
    }
    buf_put(out, bytes, n);
}

static bool is_surrogate(uint32_t code, uint32_t from)
{
    return code >= from && code < from + 0x400;
}

/* A \u escape with `len` bytes from its backslash on; returns how many it took. */
static size_t put_unicode_escape(const uint8_t *at, size_t len, struct buf *out, uint64_t *replaced)
{
    uint32_t code = hex4(at + 2);
    if (is_surrogate(code, 0xd800) && len >= 12 && at[6] == '\\' && at[7] == 'u') {
        uint32_t low = hex4(at + 8);
        if (is_surrogate(low, 0xdc00)) {
            put_code_point(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00), out);
            return 12;
        }
    }
    if (is_surrogate(code, 0xd800) || is_surrogate(code, 0xdc00)) {
        put_replacement(out);
        ++*replaced;
    } else {
        put_code_point(code, out);
    }
    return 6;
}

static uint8_t short_escape(uint8_t c)
{
    switch (c) {
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return c;
    }
}

uint64_t text_put_unescaped(struct slice bytes, struct buf *out)
{
    uint64_t replaced = 0;
    for (size_t i = 0; i < bytes.len;) {
        const uint8_t *at = bytes.data + i;
        const uint8_t *slash = memchr(at, '\\', bytes.len - i);
        size_t plain = slash == NULL ? bytes.len - i : (size_t)(slash - at);
        /* An escape is ASCII: no sequence reaches across it. */
        replaced += text_put_repaired(slice_of(at, plain), out);
        i += plain;
        if (slash == NULL)
            break;
        if (slash[1] == 'u') {
            i += put_unicode_escape(slash, bytes.len - i, out, &replaced);
        } else {
            buf_put_u8(out, short_escape(slash[1]));
            i += 2;
        }
    }
    return replaced;
}
