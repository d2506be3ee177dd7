/* SPDX-License-Identifier: Apache-2.0
 *
 * neighbour.h: what the agent leaves to the bidder whose machine it shares. Private to agent/.
 */
#ifndef AGENT_NEIGHBOUR_H
#define AGENT_NEIGHBOUR_H

#include "agent/config.h"

/* The calling thread stands back from now on, on the processor (background.nice beyond the
 * process's own) and on the disk (background.io). What the system refuses is logged: the
 * agent works without it. */
void neighbour_stand_back(const struct agent_config *config);

#endif
