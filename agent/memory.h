/* SPDX-License-Identifier: Apache-2.0
 *
 * memory.h: memory.max shared out. Private to agent/.
 *
 * What a configuration needs in any case is summed up first: rolling a segment, connections,
 * expanded bodies, events' texts. What is left goes to what can do with more or less of it: rows
 * that wait for the disk, the rows of one request, bodies that are not whole yet. So the
 * ceiling is held by turning requests away, not by the system's killer. Not counted: lines of
 * unix streams that are not whole yet, and the spool's memory map, which is the page cache's.
 */
#ifndef AGENT_MEMORY_H
#define AGENT_MEMORY_H

#include "agent/config.h"
#include "lib/base/error.h"

struct memory_shares { /* 0: the part's own default */
    size_t open_bytes;
    size_t request_bytes;
    size_t held_bytes; /* of an http listener */
};

/* ERROR_INPUT: memory.max does not hold what the rest of the configuration asks for; the text
 * has the sum. memory.max 0: no ceiling. */
int memory_share(const struct agent_config *config, struct memory_shares *out,
                 struct error *err) MUST_USE;

#endif
