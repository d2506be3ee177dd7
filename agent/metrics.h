/* SPDX-License-Identifier: Apache-2.0
 *
 * metrics.h: the running agent's numbers as Prometheus text (exposition format 0.0.4). What
 * there is stands in metrics.def. Private to agent/.
 *
 * The law, by table:
 *   events_received = events_kept + events_refused + events_waiting
 *   events_recovered + events_kept = commit_events + events_dropped + spool_events
 * The first holds at any moment. The second's right side is as of the deliverer's last step:
 * what came since is missing there.
 */
#ifndef AGENT_METRICS_H
#define AGENT_METRICS_H

#include "agent/view.h"
#include "lib/base/buf.h"

void metrics_write(const struct agent_view *view, struct buf *out);

#endif
