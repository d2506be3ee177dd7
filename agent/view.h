/* SPDX-License-Identifier: Apache-2.0
 *
 * view.h: the running agent at one moment, for those who look at it: metrics.c makes
 * Prometheus text of it, status.c the JSON of /v1/status and the checks of /readyz.
 * Private to agent/.
 */
#ifndef AGENT_VIEW_H
#define AGENT_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/capture/capture.h"
#include "agent/config.h"
#include "agent/flow.h"
#include "agent/freshness.h"
#include "agent/pipeline.h"
#include "agent/source/source.h"
#include "spool/spool.h"
#include "uploader/uploader.h"

struct view_source {
    const struct source_ops *ops;
    struct event_source *source;
    bool more; /* at the same listener as the one before it: threads */
    char address[SOURCE_ADDRESS_MAX];
};

struct view_sources {
    size_t count;
    struct view_source *open;
    struct dedup *dedup;
};

struct agent_view { /* what is pointed at is borrowed */
    const struct agent_config *config;
    struct capture *capture; /* NULL: gone already, the agent stops */
    struct spool *spool;
    struct flow *flow;
    const struct view_sources *sources;
    uint64_t files_shared; /* that the patterns of two tables find: overlap.h */
    uint64_t roll_bytes;   /* that hold: roll.bytes, or less */
    int64_t started_at_ms; /* wall clock */
    int64_t uptime_ms;
    bool stopping;
    uint64_t flushes_asked;
    uint64_t flushes_done;
    int64_t step_age_ms; /* since the deliverer last came by */
    int deliver_rc;      /* the spool failed */
    char deliver_text[400];
    struct pipeline_backlog backlog;
    struct uploader_statistics uploads;
    struct roller_statistics rolls;
    struct freshness_statistics freshness;
};

/* A listener, with what all its threads did. */
struct view_listener {
    const char *kind;
    struct source_statistics statistics;
};
/* Their number; the caller frees *out. */
size_t view_listeners(const struct view_sources *sources, struct view_listener **out);

uint64_t
view_disk_free(const struct agent_view *view); /* under the spool; 0 also when it can't be asked */

/* One table as all parts see it, those in the spool that are not taken any more too. */
struct view_table {
    struct capture_table_statistics capture;
    struct flow_table flow; /* with the name */
};

/* Their number; the caller frees *out. */
size_t view_tables(const struct agent_view *view, struct view_table **out);
uint64_t view_table_refused(const struct view_table *table); /* for whatever reason */
uint64_t view_table_dropped(const struct view_table *table);

#endif
