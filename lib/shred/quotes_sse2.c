/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)

#include <emmintrin.h>

#include "lib/shred/quotes.h"

#define KERNEL_TARGET
#define KERNEL_FIRST(bits) ((uint32_t)__builtin_ctzll((bits) | (uint64_t)1 << 63))
#define KERNEL_COUNT(bits) count_bits(bits)

/* Without the instruction for it: pairs, fours, bytes, and their sum. */
static inline unsigned count_bits(uint64_t bits)
{
    const uint64_t ones = 0x0101010101010101u;
    bits -= bits >> 1 & ones * 0x55;
    bits = (bits & ones * 0x33) + (bits >> 2 & ones * 0x33);
    return (unsigned)(((bits + (bits >> 4)) & ones * 0x0f) * ones >> 56);
}

#include "lib/shred/quotes_kernel.h"

enum { PARTS = QUOTES_BLOCK / 16 };

KERNEL uint64_t kernel_join(const __m128i parts[PARTS])
{
    uint64_t bits = 0;
    for (unsigned k = 0; k < PARTS; k++)
        bits |= (uint64_t)(uint32_t)_mm_movemask_epi8(parts[k]) << (16 * k);
    return bits;
}

bool quotes_find_sse2(struct quotes *out, const uint8_t *text, size_t len)
{
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i slash = _mm_set1_epi8('\\');
    const __m128i control = _mm_set1_epi8(0x1f);
    struct kernel_state state = {.positions = out->positions, .to = out->positions};
    for (size_t i = 0; i < len; i += QUOTES_BLOCK) {
        const uint8_t *block = text + i;
        __m128i all[PARTS];
        __m128i at_quote[PARTS];
        __m128i at_slash[PARTS];
        __m128i at_control[PARTS];
        __m128i special = _mm_setzero_si128();
        for (unsigned k = 0; k < PARTS; k++) {
            __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(block + 16 * k));
            all[k] = x;
            at_quote[k] = _mm_cmpeq_epi8(x, quote);
            at_slash[k] = _mm_cmpeq_epi8(x, slash);
            at_control[k] = _mm_cmpeq_epi8(_mm_min_epu8(x, control), x);
            special = _mm_or_si128(special, _mm_or_si128(at_slash[k], at_control[k]));
            special = _mm_or_si128(special, x); /* only top bits count */
        }
        struct kernel_masks masks = {.quotes = kernel_join(at_quote)};
        if ((_mm_movemask_epi8(special) | (int)state.carry | (int)state.pending) == 0) {
            state.to = KERNEL_PUT(state.to, masks.quotes, (uint32_t)i);
            continue;
        }
        masks.slashes = kernel_join(at_slash);
        masks.controls = kernel_join(at_control);
        masks.high = kernel_join(all);
        if (!kernel_special(&state, block, (uint32_t)i, masks))
            return false;
    }
    return kernel_end(&state);
}

#endif
