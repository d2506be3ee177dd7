/* SPDX-License-Identifier: Apache-2.0 */
#if defined(__x86_64__)

#include <immintrin.h>

#define KERNEL_TARGET __attribute__((target("avx2,bmi,popcnt")))
#define KERNEL_FIRST(bits) ((uint32_t)_tzcnt_u64(bits))
#include "lib/shred/quotes_kernel.h"

KERNEL uint64_t kernel_join(__m256i low, __m256i high)
{
    return (uint32_t)_mm256_movemask_epi8(low) | (uint64_t)(uint32_t)_mm256_movemask_epi8(high)
                                                     << 32;
}

KERNEL_TARGET bool quotes_find_avx2(struct quotes *out, const uint8_t *text, size_t len)
{
    const __m256i quote = _mm256_set1_epi8('"');
    const __m256i slash = _mm256_set1_epi8('\\');
    const __m256i control = _mm256_set1_epi8(0x1f);
    struct kernel_state state = {.positions = out->positions, .to = out->positions};
    for (size_t i = 0; i < len; i += QUOTES_BLOCK) {
        const uint8_t *block = text + i;
        __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)block);
        __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(block + 32));
        __m256i slash_a = _mm256_cmpeq_epi8(a, slash);
        __m256i slash_b = _mm256_cmpeq_epi8(b, slash);
        __m256i control_a = _mm256_cmpeq_epi8(_mm256_min_epu8(a, control), a);
        __m256i control_b = _mm256_cmpeq_epi8(_mm256_min_epu8(b, control), b);
        uint64_t quotes = kernel_join(_mm256_cmpeq_epi8(a, quote), _mm256_cmpeq_epi8(b, quote));
        __m256i special = _mm256_or_si256(_mm256_or_si256(slash_a, slash_b),
                                          _mm256_or_si256(control_a, control_b));
        special = _mm256_or_si256(special, _mm256_or_si256(a, b)); /* only top bits count */
        if ((_mm256_movemask_epi8(special) | (int)state.carry | (int)state.pending) == 0) {
            state.to = KERNEL_PUT(state.to, quotes, (uint32_t)i);
            continue;
        }
        struct kernel_masks masks = {.quotes = quotes,
                                     .slashes = kernel_join(slash_a, slash_b),
                                     .controls = kernel_join(control_a, control_b),
                                     .high = kernel_join(a, b)};
        if (!kernel_special(&state, block, (uint32_t)i, masks))
            return false;
    }
    return kernel_end(&state);
}

#endif
