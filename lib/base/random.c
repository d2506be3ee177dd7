/* SPDX-License-Identifier: Apache-2.0
 *
 * xoshiro256** by Blackman and Vigna (public domain description), seeded by
 * splitmix64 so that a small seed still fills the state.
 */
#include "lib/base/random.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <sys/random.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"

void random_seed(struct random *random, uint64_t seed)
{
    for (size_t i = 0; i < 4; i++) {
        seed += 0x9e3779b97f4a7c15u;
        uint64_t z = seed;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        random->state[i] = z ^ (z >> 31);
    }
}

static uint64_t rotate(uint64_t value, int by)
{
    return (value << by) | (value >> (64 - by));
}

uint64_t random_next(struct random *random)
{
    uint64_t *s = random->state;
    uint64_t result = rotate(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate(s[3], 45);
    return result;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    ASSERT(bound > 0);
    /* The high half of a product; its bias is below bound / 2^64. */
    return (uint64_t)(((unsigned __int128)random_next(random) * bound) >> 64);
}

double random_unit(struct random *random)
{
    return (double)(random_next(random) >> 11) * 0x1.0p-53;
}

double random_normal(struct random *random)
{
    double u = 1.0 - random_unit(random); /* never 0: its logarithm is taken */
    double v = random_unit(random);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void random_system(void *out, size_t len)
{
    uint8_t *at = out;
    while (len > 0) {
        ssize_t n = getrandom(at, len, 0);
        ASSERT(n >= 0 || errno == EINTR);
        if (n > 0) {
            at += n;
            len -= (size_t)n;
        }
    }
}

static void uuid_format(char out[UUID_TEXT_SIZE], uint8_t bytes[16], unsigned version)
{
    bytes[6] = (uint8_t)((bytes[6] & 0x0f) | (version << 4));
    bytes[8] = (uint8_t)((bytes[8] & 0x3f) | 0x80);
    snprintf(out, UUID_TEXT_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", bytes[0],
             bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], bytes[8],
             bytes[9], bytes[10], bytes[11], bytes[12], bytes[13], bytes[14], bytes[15]);
}

static void uuid_set_time(uint8_t bytes[16], int64_t wall_ms)
{
    uint8_t time[8];
    put_u64be(time, (uint64_t)wall_ms);
    memcpy(bytes, time + 2, 6);
}

void uuid_v4(char out[UUID_TEXT_SIZE])
{
    uint8_t bytes[16];
    random_system(bytes, sizeof bytes);
    uuid_format(out, bytes, 4);
}

void uuid_v7(char out[UUID_TEXT_SIZE], int64_t wall_ms)
{
    uint8_t bytes[16];
    random_system(bytes, sizeof bytes);
    uuid_set_time(bytes, wall_ms);
    uuid_format(out, bytes, 7);
}

void uuid_v7_from(char out[UUID_TEXT_SIZE], int64_t wall_ms, struct random *random)
{
    uint8_t bytes[16];
    put_u64le(bytes, random_next(random));
    put_u64le(bytes + 8, random_next(random));
    uuid_set_time(bytes, wall_ms);
    uuid_format(out, bytes, 7);
}
