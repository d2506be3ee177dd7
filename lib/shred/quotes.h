/* SPDX-License-Identifier: Apache-2.0
 *
 * quotes.h: where the strings of a text are, found before it is walked.
 *
 * One pass with wide registers notes the position of each quote that no backslash
 * escapes, and looks at all that a string's inside can have wrong: control characters,
 * escapes, a missing end. The walk then jumps from a string's opening quote to its
 * closing one, without a loop whose length the processor must guess and without
 * waiting for one string's end to know where the next begins.
 *
 * A text that is in doubt here is refused without a reason; the plain scan (scan.h)
 * then finds the first fault in it, or takes it. Quotes outside of any string's place
 * are noted as well: the walk ends before it reaches them.
 */
#ifndef LIB_SHRED_QUOTES_H
#define LIB_SHRED_QUOTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/shred/shred.h"

/* Bytes looked at in one step; the text must have as many readable zeros behind it. */
enum { QUOTES_BLOCK = 64, QUOTE_FLAG_SHIFT = 30 };

/* What a string holds beside plain ASCII. */
enum { STRING_ESCAPED = 1, STRING_HIGH = 2 };

/* Set in the position of a string's closing quote, for what stands before it. */
#define QUOTE_ESCAPED ((uint32_t)STRING_ESCAPED << QUOTE_FLAG_SHIFT)
#define QUOTE_HIGH ((uint32_t)STRING_HIGH << QUOTE_FLAG_SHIFT)
#define QUOTE_POSITION (((uint32_t)1 << QUOTE_FLAG_SHIFT) - 1)

struct quotes {
    uint32_t *positions; /* opening, closing, opening, ...: in the text, and flags; then 0 */
    size_t cap;
};

/* False: some string does not hold, or does not end. */
typedef bool quotes_find(struct quotes *out, const uint8_t *text, size_t len);

/* What the variant stands for on this machine: NULL when there is nothing to be had but
 * the plain scan. SHRED_BEST takes the widest that there is. */
quotes_find *quotes_kernel(enum shred_variant variant);

/* Room for all quotes of a text of that length. */
void quotes_reserve(struct quotes *quotes, size_t len);
void quotes_free(struct quotes *quotes);

#endif
