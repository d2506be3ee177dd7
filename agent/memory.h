/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: memory.max shared out. Private to agent/.
 *
 * What a configuration needs in any case is summed up first: rolling a segment, connections,
 * expanded bodies, events' texts, a line at each socket, the windows of tailed files and of
 * standard input. What is left goes to what can do with more or less of it: rows that wait for
 * the disk, the rows of one request, bodies and lines that are not whole yet. So the
 * ceiling is held by turning requests away, not by the system's killer. Not counted: the
 * spool's memory map, which is the page cache's, and what a zstd frame on standard input asks
 * for beyond a window of 8 MiB.
 */
#ifndef AGENT_MEMORY_H
#define AGENT_MEMORY_H

#include "agent/config.h"
#include "lib/base/error.h"

struct memory_shares { /* 0: the part's own default */
    size_t open_bytes;
    size_t request_bytes;
    size_t held_bytes; /* of an http listener: one body of http.body_bytes at least */
    size_t line_bytes; /* of a unix socket's streams, beside one whole line */
};

/* ERROR_INPUT: memory.max does not hold what the rest of the configuration asks for; the text
 * has the sum. memory.max 0: no ceiling. */
int memory_share(const struct agent_config *config, struct memory_shares *out,
                 struct error *err) MUST_USE;

/* A reload: the limits of `reloaded`, all else as the agent was started. Rows and lines keep the
 * shares they have, bodies get what is then left. ERROR_INPUT: that doesn't fit, nothing has
 * changed. */
int memory_share_again(const struct agent_config *started, const struct agent_config *reloaded,
                       struct memory_shares *shares, struct error *err) MUST_USE;

#endif
