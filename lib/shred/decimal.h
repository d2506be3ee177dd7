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

#endif
