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

#include <stddef.h>

#include "agent/capture/capture.h"
#include "agent/freshness.h"
#include "agent/pipeline.h"
#include "agent/source/source.h"
#include "lib/base/buf.h"
#include "spool/spool.h"

struct metrics_source {
    const struct source_ops *ops;
    struct event_source *source;
};

struct metrics_sources {
    size_t count;
    struct metrics_source *open;
};

struct metrics_input {       /* all borrowed */
    struct capture *capture; /* NULL: gone already, the agent stops */
    struct spool *spool;
    const struct uploader_statistics *uploads;
    const struct freshness_statistics *freshness;
    const struct pipeline_backlog *backlog;
    const struct metrics_sources *sources;
};

void metrics_write(const struct metrics_input *input, struct buf *out);

#endif
