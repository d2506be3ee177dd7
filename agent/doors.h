/* SPDX-License-Identifier: Apache-2.0
 *
 * doors.h: what of the daemon's listeners can be known to be wrong before any is opened.
 * Private to agent/.
 */
#ifndef AGENT_DOORS_H
#define AGENT_DOORS_H

#include "agent/config.h"
#include "lib/base/error.h"
#include "lib/schema/mapping.h"

/* ERROR_INPUT with file and line: an address that is none, a place where no unix socket can
 * be made, a door that is there twice, a table that is not among the mappings, a token file that
 * does not read. Opens nothing. */
int doors_check(const struct agent_config *config, const struct mapping_set *mappings,
                struct error *err) MUST_USE;

#endif
