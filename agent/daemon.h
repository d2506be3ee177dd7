/* SPDX-License-Identifier: Apache-2.0
 *
 * daemon.h: `bidlake-agent run`: sources, capture, delivery and operations in one process,
 * from the configuration to SIGTERM. Private to agent/.
 *
 * Threads  main (signals), a committer (capture.h), a deliverer (pipeline.h), one a source,
 *          one for operations.
 */
#ifndef AGENT_DAEMON_H
#define AGENT_DAEMON_H

#include "agent/config.h"
#include "lib/base/error.h"
#include "lib/schema/mapping.h"

/* Reads the configuration and the mappings again, as at the start; both are the caller's. */
struct daemon_reload {
    int (*load)(void *context, struct agent_config *config, struct mapping_set *mappings,
                struct error *err);
    void *context;
};

/* SIGHUP: mappings, limits (limits, http.*_bytes, event_time) and the token are read again, all
 * or none; what does not read is refused with an error in the log, and all goes on as before.
 * Other options want a restart.
 * Returns after SIGTERM or SIGINT, when what was begun is answered and what was answered is
 * delivered or the deadline passed: what is left stays in the spool, that is no error.
 * ERROR_INPUT: the configuration; nothing was opened. The signals are blocked from then on. */
int daemon_run(const struct agent_config *config, const struct mapping_set *mappings,
               const struct daemon_reload *reload, struct error *err) MUST_USE;

#endif
