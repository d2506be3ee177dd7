/* SPDX-License-Identifier: Apache-2.0
 *
 * decimal.h: numbers as they stand in text, decided exactly.
 *
 * Whether 9007199254740993 or 1E-2 is an integer and in range is found from the
 * digits, never through a double. Time is linear in the text's length, also for
 * "1e999999999999".
 */
#ifndef LIB_SHRED_DECIMAL_H
#define LIB_SHRED_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "lib/base/bytes.h"
#include "lib/base/slice.h"

/* -?[0-9]+ */
bool decimal_is_integer_text(struct slice text);
/* -?[0-9]+ with optional fraction and exponent; no '+' anywhere. */
bool decimal_is_number_text(struct slice text);

/* These take a JSON number or what the two above accept. */

/* False for a fraction or out of range. */
bool decimal_to_i64(struct slice text, int64_t *out);
/* Correctly rounded; false when it is not finite. */
bool decimal_to_double(struct slice text, double *out);
bool decimal_is_zero(struct slice text);

/* How many of the sixteen bytes at `at` are digits before the first that is none. */
static inline unsigned decimal_digits(const uint8_t *at)
{
#ifdef __SSE2__
    __m128i x = _mm_loadu_si128((const __m128i *)(const void *)at);
    x = _mm_sub_epi8(x, _mm_set1_epi8('0'));
    x = _mm_cmpeq_epi8(_mm_min_epu8(x, _mm_set1_epi8(9)), x);
    return (unsigned)__builtin_ctz(~(unsigned)_mm_movemask_epi8(x));
#else
    unsigned count = 0;
    while (count < 16 && (uint8_t)(at[count] - '0') < 10)
        count++;
    return count;
#endif
}

/* One to eight digits: neighbours are put together, then pairs, then fours. */
static inline uint64_t decimal_eight(const uint8_t *at, size_t len)
{
    uint64_t x = get_u64le(at) << (64 - 8 * len) & 0x0f0f0f0f0f0f0f0fu;
    x = (x * 10 + (x >> 8)) & 0x00ff00ff00ff00ffu;
    x = (x * 100 + (x >> 16)) & 0x0000ffff0000ffffu;
    return (x * 10000 + (x >> 32)) & 0xffffffffu;
}

/* The quick ways, without a branch a digit, for a JSON number behind which 32 bytes can be
 * read. What they do not take, nothing is said of. */
static inline bool decimal_quick_i64(const uint8_t *at, size_t len, int64_t *out)
{
    if (len - 1 >= 16 || decimal_digits(at) < len)
        return false;
    if (len <= 8)
        *out = (int64_t)decimal_eight(at, len);
    else
        *out = (int64_t)(decimal_eight(at, len - 8) * 100000000 + decimal_eight(at + len - 8, 8));
    return true;
}
bool decimal_quick_double(const uint8_t *at, size_t len, double *out);

#endif
