/* SPDX-License-Identifier: Apache-2.0
 *
 * plain.h: strangers' words where a person reads them. A name may hold what moves a terminal's
 * cursor, sets its title, or begins another line: shown is \n \r \t, \u001b for other
 * control characters, \u2028 for line ends of Unicode, and U+FFFD for what is no UTF-8.
 */
#ifndef LIB_BASE_PLAIN_H
#define LIB_BASE_PLAIN_H

#include <stddef.h>
#include <stdio.h>

#include "lib/base/buf.h"

/* What is shown of the first character of `left` bytes, at least one; the bytes that it took. */
size_t plain_character(const unsigned char *at, size_t left, char out[8]);

/* NULL: nothing. */
void plain_put(struct buf *out, const char *text);
void plain_write(FILE *to, const char *text);

/* In place, where text may have been cut within a character: ? for all but printable ASCII. */
void plain_ascii(char *text);

#endif
