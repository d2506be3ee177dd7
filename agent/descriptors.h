/* SPDX-License-Identifier: Apache-2.0
 *
 * descriptors.h: the limit of open files shared out, so that connections never take what the
 * spool and the uploads need. Private to agent/.
 */
#ifndef AGENT_DESCRIPTORS_H
#define AGENT_DESCRIPTORS_H

#include "agent/config.h"

/* How many connections each listener may have: http.connections, or what the process may open
 * beside the rest of it, which is logged. */
unsigned descriptors_share(const struct agent_config *config, uint64_t files_max);

/* Raises the process's limit to what the system allows, and says how much that is. */
uint64_t descriptors_raise(void);

/* The same for http.connections of a configuration that was read again: its doors are those of
 * the start. */
unsigned descriptors_share_again(const struct agent_config *started,
                                 const struct agent_config *reloaded);

#endif
