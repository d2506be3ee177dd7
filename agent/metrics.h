/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.h: the running agent's numbers as Prometheus text (exposition format 0.0.4).
 * Private to agent/.
 *
 * The law, by table: events_received = events_kept + events_refused (by reason) +
 * events_waiting; events_kept = what the tables will have + what is counted as lost.
 */
#ifndef AGENT_METRICS_H
#define AGENT_METRICS_H

#include "agent/view.h"
#include "lib/base/buf.h"

void metrics_write(const struct agent_view *view, struct buf *out);

#endif
