/* SPDX-License-Identifier: Apache-2.0
 *
 * memory_limit.h: what the system lets this process have of memory, file cache included.
 * Private to agent/.
 *
 * A segment is read in the order of its rows, all over its bytes in the spool. Where the file
 * cache has less room than that it is read from the disk again and again, and delivery stands
 * still; so the agent says at its start that this may come.
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

/* Warns where that is less than a segment of roll.bytes. */
void memory_limit_check(const struct agent_config *config, uint64_t limit);

#endif
