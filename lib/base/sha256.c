/* SPDX-License-Identifier: Apache-2.0
 *
 * SHA-256, FIPS 180-4. mbedTLS 2.28 has it in plain C alone, at 0.3 GB/s: an upload over http,
 * where each byte has to be summed, waits for that. So where the processor has instructions for
 * it (x86-64 with SHA, 1.5 GB/s) these are used; elsewhere mbedTLS is.
 */
#include <mbedtls/md.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"

enum { BLOCK = 64 };

/* `fast` says which of the two is in use. */
struct sha256_sum {
    bool fast;
    mbedtls_md_context_t context;
    uint32_t state[8];
    uint64_t len; /* of all that was added */
    uint8_t rest[BLOCK];
};

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>

static const uint32_t constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static bool has_it;
static pthread_once_t looked = PTHREAD_ONCE_INIT;

/* CPUID 7: EBX bit 29 is SHA; 1: ECX bits 9 and 19 are SSSE3 and SSE4.1. GCC 12 has no name for
 * SHA in __builtin_cpu_supports. */
static void look(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c >> 9 & 1) == 0 || (c >> 19 & 1) == 0)
        return;
    has_it = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (b >> 29 & 1) != 0;
}

/* Once: in a virtual machine the question takes as long as many blocks. */
static bool processor_has_it(void)
{
    pthread_once(&looked, look);
    return has_it;
}

/* The instructions want the state as ABEF and CDGH, highest word first, and do two rounds each.
 * Words 16 to 63 of the schedule are made four at a time, in a ring of four vectors. */
__attribute__((target("sha,sse4.1"))) static void blocks_add(uint32_t state[8], const uint8_t *data,
                                                             size_t count)
{
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)&state[0]);
    __m128i hgfe = _mm_loadu_si128((const __m128i *)(const void *)&state[4]);
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1);
    __m128i efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8);
    __m128i cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; count > 0; count--, data += BLOCK) {
        __m128i abef_before = abef;
        __m128i cdgh_before = cdgh;
        __m128i w[4];
        for (int i = 0; i < 4; i++)
            w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + 16 * i)),
                                    swap);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            __m128i *now = &w[i & 3];
            if (i >= 4) {
                __m128i older = _mm_alignr_epi8(w[(i + 3) & 3], w[(i + 2) & 3], 4);
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(*now, w[(i + 1) & 3]), older);
                *now = _mm_sha256msg2_epu32(sum, w[(i + 3) & 3]);
            }
            __m128i words = _mm_add_epi32(
                *now, _mm_loadu_si128((const __m128i *)(const void *)&constants[4 * i]));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b);
    __m128i dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)&state[0], _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)&state[4], _mm_alignr_epi8(dchg, feba, 8));
}
#else
static bool processor_has_it(void)
{
    return false;
}

static void blocks_add(uint32_t state[8], const uint8_t *data, size_t count)
{
    (void)state;
    (void)data;
    (void)count;
}
#endif

static const uint32_t begin_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static void fast_add(struct sha256_sum *sum, const uint8_t *data, size_t len)
{
    size_t held = (size_t)(sum->len % BLOCK);
    sum->len += len;
    if (held > 0) {
        size_t some = len < BLOCK - held ? len : BLOCK - held;
        memcpy(sum->rest + held, data, some);
        data += some;
        len -= some;
        if (held + some < BLOCK)
            return;
        blocks_add(sum->state, sum->rest, 1);
    }
    blocks_add(sum->state, data, len / BLOCK);
    memcpy(sum->rest, data + len / BLOCK * BLOCK, len % BLOCK);
}

/* A bit, zeros, and the length in bits at the end of a block. */
static void fast_end(struct sha256_sum *sum, uint8_t out[SHA256_SIZE])
{
    uint8_t end[2 * BLOCK] = {0};
    size_t held = (size_t)(sum->len % BLOCK);
    size_t blocks = held < BLOCK - 8 ? 1 : 2;
    memcpy(end, sum->rest, held);
    end[held] = 0x80;
    put_u64be(end + blocks * BLOCK - 8, sum->len * 8);
    blocks_add(sum->state, end, blocks);
    for (size_t i = 0; i < 8; i++)
        put_u32be(out + 4 * i, sum->state[i]);
}

static void sum_init(struct sha256_sum *sum)
{
    *sum = (struct sha256_sum){.fast = processor_has_it()};
    memcpy(sum->state, begin_state, sizeof sum->state);
    if (sum->fast)
        return;
    mbedtls_md_init(&sum->context);
    int rc = mbedtls_md_setup(&sum->context, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0);
    if (rc == 0)
        rc = mbedtls_md_starts(&sum->context);
    ASSERT(rc == 0);
}

struct sha256_sum *sha256_begin(void)
{
    struct sha256_sum *sum = memory_alloc(1, sizeof *sum);
    sum_init(sum);
    return sum;
}

void sha256_add(struct sha256_sum *sum, struct slice bytes)
{
    if (sum->fast) {
        if (bytes.len > 0)
            fast_add(sum, bytes.data, bytes.len);
        return;
    }
    int rc = mbedtls_md_update(&sum->context, bytes.data, bytes.len);
    ASSERT(rc == 0);
}

static void sum_end(struct sha256_sum *sum, uint8_t out[SHA256_SIZE])
{
    if (sum->fast) {
        fast_end(sum, out);
    } else {
        int rc = mbedtls_md_finish(&sum->context, out);
        ASSERT(rc == 0);
        mbedtls_md_free(&sum->context);
    }
    explicit_bzero(sum, sizeof *sum); /* what is signed with may be in it */
}

void sha256_end(struct sha256_sum *sum, uint8_t out[SHA256_SIZE])
{
    sum_end(sum, out);
    free(sum);
}

void sha256(struct slice bytes, uint8_t out[SHA256_SIZE])
{
    struct sha256_sum sum;
    sum_init(&sum);
    sha256_add(&sum, bytes);
    sum_end(&sum, out);
}
