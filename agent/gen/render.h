/* SPDX-License-Identifier: Apache-2.0
 *
 * render.h: JSON by hand into reserved memory. Whoever makes a cursor has room for the
 * largest event behind it (EVENT_BYTES_MAX) and checks at the event's end that it was
 * enough; so no put has a branch. What is put is JSON already: pools hold escaped text.
 */
#ifndef AGENT_GEN_RENDER_H
#define AGENT_GEN_RENDER_H

#include <stdint.h>
#include <string.h>

#include "lib/base/slice.h"

enum { EVENT_BYTES_MAX = 16384 };

struct cursor {
    uint8_t *at;
};

/* An id of 128 random bits as RFC 9562 text. */
struct uuid {
    char text[36];
};

static inline void put_bytes(struct cursor *to, const void *bytes, size_t len)
{
    memcpy(to->at, bytes, len);
    to->at += len;
}

/* A literal: its length is known when compiled, so the copy is a few moves. */
#define PUT(to, literal) put_bytes(to, literal, sizeof(literal) - 1)

static inline void put_text(struct cursor *to, struct slice text)
{
    put_bytes(to, text.data, text.len);
}

static inline void put_uuid(struct cursor *to, const struct uuid *uuid)
{
    put_bytes(to, uuid->text, sizeof uuid->text);
}

static inline void put_number(struct cursor *to, uint64_t value)
{
    uint8_t digits[20];
    size_t n = sizeof digits;
    do {
        digits[--n] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put_bytes(to, digits + n, sizeof digits - n);
}

/* Ten-thousandths as a decimal, without zeros at the end: 12500 is 1.25. */
static inline void put_price(struct cursor *to, uint64_t price)
{
    put_number(to, price / 10000);
    uint32_t rest = (uint32_t)(price % 10000);
    if (rest == 0)
        return;
    *to->at++ = '.';
    for (uint32_t unit = 1000; rest > 0; unit /= 10) {
        *to->at++ = (uint8_t)('0' + rest / unit);
        rest %= unit;
    }
}

#endif
