/* SPDX-License-Identifier: Apache-2.0
 *
 * lines.h: the whole lines of a text into an intake; what is no event into dead_letters.
 * Private to agent/tail.
 */
#ifndef AGENT_TAIL_LINES_H
#define AGENT_TAIL_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/capture/capture.h"
#include "lib/base/slice.h"

enum { LINE_BLANKS_MAX = 4096 }; /* around an event, none of its bytes */

struct line_place {
    uint64_t line; /* that were taken */
    bool skipping; /* within one that was too long, whose beginning was taken */
};

struct line_sink {
    struct intake *intake;
    const char *source; /* as dead letters name it */
    const char *host;
    size_t line_bytes_max; /* LINE_BLANKS_MAX more than an event has */
    struct line_place place;
};

/* Between intake_begin and intake_end: takes whole lines from the front of `text`, with
 * `last` also what stands behind the last line end, as far as they fit into one request, and
 * says how many bytes that were. */
size_t lines_take(struct line_sink *sink, struct slice text, bool last);

/* Whether lines_take would take anything. */
bool lines_any(const struct line_sink *sink, struct slice text, bool last);

#endif
