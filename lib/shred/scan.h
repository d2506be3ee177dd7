/* SPDX-License-Identifier: Apache-2.0
 *
 * scan.h: the lowest layer: where a string, a number, a value ends, and whether
 * it is RFC 8259 up to there.
 *
 * The text must be followed by SCAN_PADDING zero bytes. A zero is legal nowhere in
 * JSON, so every loop stops there without asking for the end, and words are read
 * past it without harm. All functions return where they stopped, or NULL and say
 * in scan->fault what was wrong and where.
 *
 * UTF-8 is not looked at: text that no column wants need not be decoded, and what a
 * column takes is repaired by text.h. Faster variants for a processor replace
 * scan_plain and scan_skip; nothing above knows.
 */
#ifndef LIB_SHRED_SCAN_H
#define LIB_SHRED_SCAN_H

#include <stdbool.h>
#include <stdint.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "lib/base/bytes.h"
#include "lib/shred/shred.h"

enum { SCAN_PADDING = 64, SCAN_DEPTH_MAX = 64 };

/* What a string holds beside plain ASCII. */
enum { STRING_ESCAPED = 1, STRING_HIGH = 2 };

struct scan {
    const uint8_t *end; /* the text's; *end is 0 */
    struct {
        const uint8_t *at;
        enum refusal_reason reason;
        const char *text;
    } fault;
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
    while (scan_is_blank(*at))
        at++;
    return at;
}

/* Stops at the first '"', '\\' or byte below 0x20; *flags gets STRING_HIGH when a byte from
 * 0x80 on came before it. Eight bytes a step: a byte's top bit ends set where the
 * test holds, and a borrow only disturbs bytes behind the first hit. */
static inline const uint8_t *scan_plain_words(const uint8_t *at, unsigned *flags)
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

/* The same, sixteen bytes a step where the processor's base set has that. */
#ifdef __SSE2__
static inline const uint8_t *scan_plain(const uint8_t *at, unsigned *flags)
{
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1f);
    unsigned high = 0;
    for (;; at += 16) {
        __m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i hits = _mm_or_si128(_mm_cmpeq_epi8(x, quote), _mm_cmpeq_epi8(x, slash));
        hits = _mm_or_si128(hits, _mm_cmpeq_epi8(_mm_min_epu8(x, control), x));
        unsigned found = (unsigned)_mm_movemask_epi8(hits);
        unsigned tops = (unsigned)_mm_movemask_epi8(x);
        if (found != 0) {
            unsigned n = (unsigned)__builtin_ctz(found);
            if ((high | (tops & ((1u << n) - 1))) != 0)
                *flags |= STRING_HIGH;
            return at + n;
        }
        high |= tops;
    }
}
#else
static inline const uint8_t *scan_plain(const uint8_t *at, unsigned *flags)
{
    return scan_plain_words(at, flags);
}
#endif

/* After a quote or an escape has stopped scan_plain: goes on to the closing quote. */
const uint8_t *scan_string_slow(struct scan *scan, const uint8_t *at, unsigned *flags);

/* `at` is behind the opening quote; the result is the closing one. */
static inline const uint8_t *scan_string(struct scan *scan, const uint8_t *at, unsigned *flags)
{
    at = scan_plain(at, flags);
    return *at == '"' ? at : scan_string_slow(scan, at, flags);
}

/* A number, true, false or null; the result is behind it. */
const uint8_t *scan_scalar(struct scan *scan, const uint8_t *at);

/* `at` is at the key's opening quote; *close gets its closing one; the result is the
 * first byte of the member's value. */
static inline const uint8_t *scan_key(struct scan *scan, const uint8_t *at, const uint8_t **close,
                                      unsigned *flags)
{
    if (*at != '"')
        return scan_fail(scan, at, "expected a key in quotes");
    at = scan_string(scan, at + 1, flags);
    if (at == NULL)
        return NULL;
    *close = at;
    at = scan_blanks(at + 1);
    if (*at != ':')
        return scan_fail(scan, at, "expected ':' after a key");
    return scan_blanks(at + 1);
}

/* Any value that begins at `at`, within `depth` open containers; the result is
 * behind it. */
const uint8_t *scan_skip(struct scan *scan, const uint8_t *at, unsigned depth);

#endif
