/* SPDX-License-Identifier: Apache-2.0
 *
 * quotes_kernel.h: what the variants of quotes.h share. A variant's file defines
 * KERNEL_TARGET (the instructions it may use, as a function attribute) and KERNEL_FIRST
 * (the number of the lowest bit set; of none anything) before it includes this, and
 * gives each block's masks. It may have a KERNEL_PUT and a KERNEL_COUNT of its own.
 */
#ifndef LIB_SHRED_QUOTES_KERNEL_H
#define LIB_SHRED_QUOTES_KERNEL_H

#include "lib/shred/quotes.h"

quotes_find quotes_find_sse2;
quotes_find quotes_find_avx2;
quotes_find quotes_find_avx512;

#ifdef KERNEL_TARGET

#define KERNEL static inline KERNEL_TARGET

/* What has been found so far. */
struct kernel_state {
    const uint32_t *positions;
    uint32_t *to;
    uint64_t carry;   /* 1: a backslash in the last block escapes the first byte of the next */
    uint32_t pending; /* flags for the next closing quote */
};

/* Bit i stands for byte i of a block. */
struct kernel_masks {
    uint64_t quotes;
    uint64_t slashes;
    uint64_t controls;
    uint64_t high;
};

#ifndef KERNEL_COUNT
#define KERNEL_COUNT(bits) ((unsigned)__builtin_popcountll(bits))
#endif

#ifndef KERNEL_PUT
#define KERNEL_PUT kernel_put
/* The positions of the bits set. They are written by eight, then by four, needed or not:
 * each branch that asks how many there are may be guessed wrong. */
KERNEL uint32_t *kernel_put(uint32_t *to, uint64_t bits, uint32_t base)
{
#define KERNEL_ONE(i) to[done + (i)] = base + KERNEL_FIRST(bits), bits &= bits - 1
    unsigned count = KERNEL_COUNT(bits);
    unsigned done = 0;
    KERNEL_ONE(0), KERNEL_ONE(1), KERNEL_ONE(2), KERNEL_ONE(3);
    KERNEL_ONE(4), KERNEL_ONE(5), KERNEL_ONE(6), KERNEL_ONE(7);
    for (done = 8; done < count; done += 4)
        KERNEL_ONE(0), KERNEL_ONE(1), KERNEL_ONE(2), KERNEL_ONE(3);
    return to + count;
#undef KERNEL_ONE
}

#endif

KERNEL bool kernel_is_hex(uint8_t c)
{
    return (uint8_t)(c - '0') < 10 || (uint8_t)((c | 0x20) - 'a') < 6;
}

/* `at` is behind a backslash. */
KERNEL bool kernel_escape_holds(const uint8_t *at)
{
    switch (*at) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return true;
    case 'u':
        return kernel_is_hex(at[1]) && kernel_is_hex(at[2]) && kernel_is_hex(at[3]) &&
               kernel_is_hex(at[4]);
    default:
        return false;
    }
}

/* Takes the quotes that are escaped out of *quotes; false: an escape does not hold. */
KERNEL bool kernel_escapes(struct kernel_state *state, const uint8_t *block, uint64_t slashes,
                           uint64_t *quotes)
{
    uint64_t escaped = state->carry;
    uint64_t left = slashes & ~escaped;
    bool good = true;
    state->carry = 0;
    while (left != 0) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        uint64_t next = (uint64_t)2 << i; /* 0 behind the last byte */
        good &= kernel_escape_holds(block + i + 1);
        escaped |= next;
        state->carry = next == 0;
        left &= left - 1;
        left &= ~next;
    }
    *quotes &= ~escaped;
    return good;
}

/* Bit i: whether an odd number of bits up to i, itself included, is set. */
KERNEL uint64_t kernel_parity(uint64_t bits)
{
    bits ^= bits << 1;
    bits ^= bits << 2;
    bits ^= bits << 4;
    bits ^= bits << 8;
    bits ^= bits << 16;
    return bits ^ bits << 32;
}

/* Flags the closing quote of each string that has one of `bits`; `to` stands for the
 * block's first quote. What is outside of strings flags an opening one: no harm, the walk
 * ends before it. */
KERNEL void kernel_flag(struct kernel_state *state, uint32_t *to, uint64_t quotes, uint64_t bits,
                        uint32_t flag)
{
    while (bits != 0) {
        unsigned at = (unsigned)__builtin_ctzll(bits);
        uint64_t after = quotes >> at;
        if (after == 0) {
            state->pending |= flag;
            return;
        }
        to[KERNEL_COUNT(quotes & (((uint64_t)1 << at) - 1))] |= flag;
        bits &= ~(uint64_t)0 << at << __builtin_ctzll(after);
    }
}

/* A block that has more than quotes and plain ASCII. Control characters are legal as
 * blanks, so outside of strings; the zeros behind the text are outside as well, if it is
 * whole. */
KERNEL bool kernel_special(struct kernel_state *state, const uint8_t *block, uint32_t base,
                           struct kernel_masks masks)
{
    if ((masks.slashes | state->carry) != 0 &&
        !kernel_escapes(state, block, masks.slashes, &masks.quotes))
        return false;
    if (masks.controls != 0) {
        uint64_t open = 0 - (uint64_t)((state->to - state->positions) & 1);
        if ((masks.controls & (kernel_parity(masks.quotes) ^ open)) != 0)
            return false;
    }
    uint32_t *to = state->to;
    state->to = KERNEL_PUT(to, masks.quotes, base);
    if (state->to > to) {
        *to |= state->pending;
        state->pending = 0;
    }
    kernel_flag(state, to, masks.quotes, masks.slashes, QUOTE_ESCAPED);
    kernel_flag(state, to, masks.quotes, masks.high, QUOTE_HIGH);
    return true;
}

KERNEL bool kernel_end(struct kernel_state *state)
{
    *state->to = 0;
    return ((state->to - state->positions) & 1) == 0;
}

#endif
#endif
