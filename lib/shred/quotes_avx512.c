/* SPDX-License-Identifier: Apache-2.0
 *
 * For processors that have AVX-512 with VBMI2 (Ice Lake, Zen 4 and later): a block is one
 * register, its masks are the comparisons' results, and its quotes' positions are packed
 * by one instruction.
 */
#if defined(__x86_64__)

#include <immintrin.h>

#include "lib/shred/quotes.h"

#define KERNEL_TARGET                                                                              \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2,bmi,popcnt")))

/* Sixteen at a time, the rest if there are more. */
static inline KERNEL_TARGET uint32_t *put_packed(uint32_t *to, uint64_t bits, uint32_t base)
{
    const __m512i numbers = _mm512_set_epi64(
        0x3f3e3d3c3b3a3938, 0x3736353433323130, 0x2f2e2d2c2b2a2928, 0x2726252423222120,
        0x1f1e1d1c1b1a1918, 0x1716151413121110, 0x0f0e0d0c0b0a0908, 0x0706050403020100);
    const __m512i from = _mm512_set1_epi32((int)base);
    __m512i packed = _mm512_maskz_compress_epi8(bits, numbers);
    unsigned count = (unsigned)__builtin_popcountll(bits);
    _mm512_storeu_si512(
        to, _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed)), from));
    for (unsigned done = 16; done < count; done += 16) {
        packed = _mm512_shuffle_i64x2(packed, packed, 0x39); /* the next lane comes first */
        _mm512_storeu_si512(
            to + done,
            _mm512_add_epi32(_mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed)), from));
    }
    return to + count;
}

#define KERNEL_PUT put_packed
#include "lib/shred/quotes_kernel.h"

KERNEL_TARGET bool quotes_find_avx512(struct quotes *out, const uint8_t *text, size_t len)
{
    const __m512i quote = _mm512_set1_epi8('"');
    const __m512i slash = _mm512_set1_epi8('\\');
    const __m512i blank = _mm512_set1_epi8(' ');
    struct kernel_state state = {.positions = out->positions, .to = out->positions};
    for (size_t i = 0; i < len; i += QUOTES_BLOCK) {
        __m512i x = _mm512_loadu_si512(text + i);
        struct kernel_masks masks = {.quotes = _mm512_cmpeq_epi8_mask(x, quote),
                                     .slashes = _mm512_cmpeq_epi8_mask(x, slash),
                                     .controls = _mm512_cmplt_epu8_mask(x, blank),
                                     .high = _mm512_movepi8_mask(x)};
        if ((masks.slashes | masks.controls | masks.high | state.carry | state.pending) == 0)
            state.to = put_packed(state.to, masks.quotes, (uint32_t)i);
        else if (!kernel_special(&state, text + i, (uint32_t)i, masks))
            return false;
    }
    return kernel_end(&state);
}

#endif
