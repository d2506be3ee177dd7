/* SPDX-License-Identifier: Apache-2.0
 *
 * instant.h: points in time as text.
 */
#ifndef LIB_BASE_INSTANT_H
#define LIB_BASE_INSTANT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"

/* A column takes times from 1970 on and before 2200. */
#define INSTANT_END_US INT64_C(7258118400000000)

static inline bool instant_in_range(int64_t us)
{
    return us >= 0 && us < INSTANT_END_US;
}

/* RFC 3339, section 5.6, with a 'T' or 't' between date and time. Digits beyond the
 * microsecond are cut off. A leap second, legal only where UTC is 23:59:60, is the
 * second that follows. Any year: the caller asks for the range. */
bool instant_parse_rfc3339(struct slice text, int64_t *us);

/* "2026-01-31" of a day since 1970-01-01, any at all. */
void instant_put_day(int64_t day, struct buf *out);

#endif
