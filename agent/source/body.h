/* SPDX-License-Identifier: Apache-2.0
 *
 * body.h: the events of a request's body. Private to agent/source.
 *
 * A body is one JSON object (which may span lines), an array, or NDJSON; which of them is
 * seen from the text alone, since senders say application/json for all three. Nothing is
 * validated here: an array is cut at the commas outside of strings and brackets, lines at
 * line ends, and the shredder judges the pieces. Blank lines are no events.
 */
#ifndef AGENT_SOURCE_BODY_H
#define AGENT_SOURCE_BODY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum body_form { BODY_OBJECT, BODY_ARRAY, BODY_LINES };

struct body {
    struct slice text;
    enum body_form form;
    size_t at;
    bool ended;
    bool unclosed;  /* an array without its ']' */
    size_t line_at; /* where a line begins, and how many are before it: for body_place */
    uint32_t lines;
};

void body_begin(struct body *body, struct slice text);
/* The next piece, without the blanks around it; false at the end. */
bool body_next(struct body *body, struct slice *piece);
/* Line and column, from 1, within the whole text of a place within a piece. In the order of
 * the pieces it walks over the text once. */
void body_place(struct body *body, struct slice piece, uint32_t *line, uint32_t *column);

enum body_encoding { BODY_PLAIN, BODY_GZIP, BODY_ZSTD };

/* Expands a whole gzip (several members too) or zstd body (several frames too) into `out`.
 * ERROR_LIMIT: more than `max` bytes; ERROR_INPUT: cut or corrupt. */
int body_expand(enum body_encoding encoding, struct slice bytes, size_t max, struct buf *out,
                struct error *err) MUST_USE;

#endif
