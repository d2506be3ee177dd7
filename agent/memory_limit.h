/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_limit.h: what the system lets this process have of memory, file cache included, and how
 * large a segment may be for it. Private to agent/.
 *
 * A segment is read in the order of its rows, all over its bytes in the spool. Where the file
 * cache has less room than that it is read from the disk again and again, and delivery stands
 * still. So roll.bytes is a ceiling, and what is left to the file cache another.
 */
#ifndef AGENT_MEMORY_LIMIT_H
#define AGENT_MEMORY_LIMIT_H

#include <stdint.h>

#include "agent/config.h"

/* Bytes: the lowest limit of the control groups that the process is in, of version 1 or 2, or
 * the machine's memory. `root` is in front of /proc and /sys; "" but in tests. */
uint64_t memory_limit_read(const char *root);

/* Of `limit`, what is left to the file cache beside memory.max (0: half of the limit). */
uint64_t memory_limit_cache(const struct agent_config *config, uint64_t limit);

enum {
    /* Of what is left to the file cache a segment may have so much: the rest is for pages that
     * are not full, new events, files on their way. */
    MEMORY_LIMIT_PARTS = 3,
    MEMORY_LIMIT_SEGMENT_PARTS = 2,
    /* Smaller segments are not made for it: each is a file in the table. */
    MEMORY_LIMIT_ROLL_MIN = 4 << 20,
};

/* Row images that a segment is sealed at: roll.bytes, or less by `limit`. */
uint64_t memory_limit_roll_bytes(const struct agent_config *config, uint64_t limit);

/* The same by the limit that holds now, and says so where it is less than roll.bytes. */
uint64_t memory_limit_roll_bytes_now(const struct agent_config *config);

#endif
