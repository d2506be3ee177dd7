/* SPDX-License-Identifier: Apache-2.0
 *
 * text.h: string contents as a column takes them: unescaped, and always UTF-8.
 */
#ifndef LIB_SHRED_TEXT_H
#define LIB_SHRED_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"

bool text_is_utf8(struct slice bytes);

/* Puts `bytes` behind `out`, with one U+FFFD for each maximal subpart of an
 * ill-formed sequence (Unicode 15, 3.9, table 3-8). Returns how many it wrote. */
uint64_t text_put_repaired(struct slice bytes, struct buf *out);

/* The same for what stands between the quotes of a JSON string that scan.h has
 * accepted, escapes resolved; each unpaired surrogate is one U+FFFD too. */
uint64_t text_put_unescaped(struct slice bytes, struct buf *out);

#endif
