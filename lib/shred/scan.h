/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.h: the lowest layer: where a string, a number, a value ends, and whether
 * it is RFC 8259 up to there.
 *
 * The text must be followed by SCAN_PADDING zero bytes. A zero is legal nowhere in
 * JSON, so every loop stops there without asking for the end, and words are read
 * past it without harm. All functions return where they stopped; or, at NULL, they
 * say in scan->fault what was wrong and where.
 *
 * With the text's quotes at hand (quotes.h) a string is jumped over: they come in the
 * order in which the scan meets them, so a place is a byte and the next quote.
 * Without, a string is scanned in plain C. Nothing above knows.
 *
 * UTF-8 is not looked at: text that no column wants need not be decoded, and what a
 * column takes is repaired by text.h.
 */
#ifndef LIB_SHRED_SCAN_H
#define LIB_SHRED_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/bytes.h"
#include "lib/shred/decimal.h"
#include "lib/shred/quotes.h"
#include "lib/shred/shred.h"

enum { SCAN_PADDING = 64, SCAN_DEPTH_MAX = 64 };

struct scan {
    const uint8_t *text;
    const uint8_t *end; /* the text's; *end is 0 */
    struct {
        const uint8_t *at;
        enum refusal_reason reason;
        const char *text;
    } fault;
};

/* Goes through registers, also when it is returned. */
struct place {
    const uint8_t *at;     /* NULL: a fault */
    const uint32_t *quote; /* the first that is not passed; NULL: strings are scanned */
};

/* Notes what is wrong; always NULL, to be returned. */
const uint8_t *scan_fail(struct scan *scan, const uint8_t *at, const char *text);
const uint8_t *scan_fail_depth(struct scan *scan, const uint8_t *at);

static inline bool scan_is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static inline const uint8_t *scan_blanks(const uint8_t *at)
{
    while (*at <= ' ' && scan_is_blank(*at))
        at++;
    return at;
}

/* Stops at the first '"', '\\' or byte below 0x20; *flags gets STRING_HIGH when a byte from
 * 0x80 on came before it. Eight bytes a step: a byte's top bit ends set where the
 * test holds, and a borrow only disturbs bytes behind the first hit. */
static inline const uint8_t *scan_plain(const uint8_t *at, unsigned *flags)
{
    const uint64_t ones = 0x0101010101010101u;
    const uint64_t tops = ones << 7;
    uint64_t high = 0;
    for (;; at += 8) {
        uint64_t x = get_u64le(at);
        uint64_t quote = x ^ ones * '"';
        uint64_t slash = x ^ ones * '\\';
        uint64_t hits = ((x - ones * 0x20) & ~x) | ((quote - ones) & ~quote);
        hits = (hits | ((slash - ones) & ~slash)) & tops;
        if (hits != 0) {
            high |= x & ((hits & -hits) - 1);
            at += __builtin_ctzll(hits) / 8;
            break;
        }
        high |= x;
    }
    if ((high & tops) != 0)
        *flags |= STRING_HIGH;
    return at;
}

/* What stopped scan_plain: goes on to the closing quote. */
const uint8_t *scan_string_slow(struct scan *scan, const uint8_t *at, unsigned *flags);

/* place.at is behind the opening quote; the result is at the closing one. */
static inline struct place scan_string(struct scan *scan, struct place place, unsigned *flags)
{
    if (place.quote != NULL) {
        *flags |= place.quote[1] >> QUOTE_FLAG_SHIFT;
        place.at = scan->text + (place.quote[1] & QUOTE_POSITION);
        place.quote += 2;
        return place;
    }
    place.at = scan_plain(place.at, flags);
    if (*place.at != '"')
        place.at = scan_string_slow(scan, place.at, flags);
    return place;
}

/* A number, true, false or null; the result is behind it. */
const uint8_t *scan_scalar_slow(struct scan *scan, const uint8_t *at);

/* Most numbers are short, without an exponent: behind such a one, if what stands there is
 * what mostly does; else where it begins. */
static inline const uint8_t *scan_short(const uint8_t *at)
{
    const uint8_t *from = at + (*at == '-');
    unsigned digits = decimal_digits(from);
    const uint8_t *end = from + digits;
    bool good = digits - 1 < 15 && (*from != '0' || digits == 1);
    if (*end == '.') {
        digits = decimal_digits(end + 1);
        good = good && digits - 1 < 15;
        end += 1 + digits;
    }
    return good && (*end == ',' || (*end | 0x20) == '}') ? end : at;
}

static inline const uint8_t *scan_scalar(struct scan *scan, const uint8_t *at)
{
    const uint8_t *end = scan_short(at);
    return end > at ? end : scan_scalar_slow(scan, at);
}

/* place.at is at the key's opening quote; *close gets its closing one; the result is
 * at the first byte of the member's value. */
static inline struct place scan_key(struct scan *scan, struct place place, const uint8_t **close,
                                    unsigned *flags)
{
    if (*place.at != '"') {
        place.at = scan_fail(scan, place.at, "expected a key in quotes");
        return place;
    }
    place.at++;
    place = scan_string(scan, place, flags);
    if (place.at == NULL)
        return place;
    *close = place.at;
    place.at = scan_blanks(place.at + 1);
    if (*place.at == ':')
        place.at = scan_blanks(place.at + 1);
    else
        place.at = scan_fail(scan, place.at, "expected ':' after a key");
    return place;
}

/* Any value that begins at place.at, within `depth` open containers; the result is
 * behind it. */
struct place scan_skip(struct scan *scan, struct place place, unsigned depth);

#endif
