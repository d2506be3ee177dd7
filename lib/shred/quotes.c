/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/shred/quotes.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/shred/quotes_kernel.h"

#if defined(__x86_64__)
#define HAVE_X86 1
#else
#define HAVE_X86 0
#endif

bool shred_variant_is_here(enum shred_variant variant)
{
#if HAVE_X86
    if (variant == SHRED_SSE2)
        return true;
    if (variant == SHRED_AVX2)
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("popcnt");
    if (variant == SHRED_AVX512)
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
               __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("popcnt");
#endif
    return variant == SHRED_BEST || variant == SHRED_PLAIN;
}

quotes_find *quotes_kernel(enum shred_variant variant)
{
    ASSERT(shred_variant_is_here(variant));
#if HAVE_X86
    if (variant == SHRED_AVX512 || (variant == SHRED_BEST && shred_variant_is_here(SHRED_AVX512)))
        return quotes_find_avx512;
    if (variant == SHRED_AVX2 || (variant == SHRED_BEST && shred_variant_is_here(SHRED_AVX2)))
        return quotes_find_avx2;
    if (variant == SHRED_SSE2 || variant == SHRED_BEST)
        return quotes_find_sse2;
#endif
    return NULL;
}

/* A text may be all quotes; a step writes up to a block's more than it keeps. */
void quotes_reserve(struct quotes *quotes, size_t len)
{
    size_t need = len + 2 * (size_t)QUOTES_BLOCK;
    if (need <= quotes->cap)
        return;
    free(quotes->positions);
    quotes->positions = memory_alloc_raw(need, sizeof *quotes->positions);
    quotes->cap = need;
}

void quotes_free(struct quotes *quotes)
{
    free(quotes->positions);
    *quotes = (struct quotes){0};
}
