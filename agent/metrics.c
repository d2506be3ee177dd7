/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/process.h"
#include "agent/status.h"
#include "agent/tail/tail.h"
#include "lib/base/memory.h"
#include "lib/base/metric.h"

enum metric_id {
#define METRIC(id, name, type, labels, help) METRIC_##id,
#include "agent/metrics.def"
#undef METRIC
};

static const struct metric metrics[] = {
#define METRIC(id, name, type, labels, help) {name, #type, help},
#include "agent/metrics.def"
#undef METRIC
};

static const char *head(struct buf *out, enum metric_id id)
{
    return metric_head(out, &metrics[id]);
}

static void single(struct buf *out, enum metric_id id, uint64_t value)
{
    metric_single(out, &metrics[id], value);
}

static void single_real(struct buf *out, enum metric_id id, double value)
{
    metric_single_real(out, &metrics[id], value);
}

/* ---- tables ---- */

struct tables {
    size_t count;
    struct view_table *tables;
};

/* One line a table, of the field at `offset`. */
static void write_tables_line(struct buf *out, const struct tables *all, enum metric_id id,
                              size_t offset)
{
    const char *name = head(out, id);
    for (size_t i = 0; i < all->count; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)&all->tables[i] + offset, sizeof value);
        buf_printf(out, "%s{table=\"", name);
        metric_label(out, all->tables[i].flow.name);
        buf_printf(out, "\"} %" PRIu64 "\n", value);
    }
}

static void put_by(struct buf *out, const char *name, const struct view_table *table,
                   const char *label, const char *by, uint64_t value)
{
    buf_printf(out, "%s{table=\"", name);
    metric_label(out, table->flow.name);
    buf_printf(out, "\",%s=\"%s\"} %" PRIu64 "\n", label, by, value);
}

static void write_capture_tables(struct buf *out, const struct tables *all)
{
    write_tables_line(out, all, METRIC_RECEIVED, offsetof(struct view_table, capture.received));
    write_tables_line(out, all, METRIC_RECEIVED_BYTES,
                      offsetof(struct view_table, capture.received_bytes));
    write_tables_line(out, all, METRIC_KEPT, offsetof(struct view_table, capture.kept));
    write_tables_line(out, all, METRIC_KEPT_ROWS, offsetof(struct view_table, capture.kept_rows));
    write_tables_line(out, all, METRIC_WAITING, offsetof(struct view_table, capture.waiting));
    const char *name = head(out, METRIC_REFUSED);
    for (size_t i = 0; i < all->count; i++) {
        const struct capture_table_statistics *capture = &all->tables[i].capture;
        for (size_t r = 0; r < REFUSED_REASON_COUNT; r++)
            put_by(out, name, &all->tables[i], "reason",
                   refusal_reason_name((enum refusal_reason)r), capture->refused[r]);
        put_by(out, name, &all->tables[i], "reason", "no_room", capture->rejected);
    }
    write_tables_line(out, all, METRIC_FULL, offsetof(struct view_table, capture.turned_away));
}

static void write_spool_tables(struct buf *out, const struct tables *all)
{
    const char *name = head(out, METRIC_SPOOL_EVENTS);
    for (size_t i = 0; i < all->count; i++) {
        const struct flow_table *flow = &all->tables[i].flow;
        put_by(out, name, &all->tables[i], "state", "open", flow->open);
        put_by(out, name, &all->tables[i], "state", "sealed", flow->sealed);
        put_by(out, name, &all->tables[i], "state", "announced", flow->announced);
    }
    write_tables_line(out, all, METRIC_RECOVERED, offsetof(struct view_table, flow.recovered));
    write_tables_line(out, all, METRIC_UPLOAD_EVENTS, offsetof(struct view_table, flow.uploaded));
    write_tables_line(out, all, METRIC_COMMITTED, offsetof(struct view_table, flow.committed));
    name = head(out, METRIC_DROPPED);
    for (size_t i = 0; i < all->count; i++) {
        for (size_t r = 0; r < FLOW_REASONS; r++)
            put_by(out, name, &all->tables[i], "reason", flow_reasons[r],
                   all->tables[i].flow.dropped[r]);
    }
}

/* ---- capture and sources ---- */

static void write_capture(struct buf *out, struct capture *capture)
{
    struct capture_statistics statistics = {0};
    capture_statistics(capture, &statistics);
    struct metric_buckets durable = {.bounds = capture_latency_bounds_us,
                                     .unit_seconds = 1e-6,
                                     .counts = statistics.latency,
                                     .bound_count = CAPTURE_LATENCY_BUCKETS - 1,
                                     .sum_seconds = (double)statistics.latency_sum_us / 1e6};
    metric_buckets(out, &metrics[METRIC_DURABLE], &durable);
    single(out, METRIC_CAPTURE_WAITING, statistics.waiting_bytes);
    single(out, METRIC_CAPTURE_LIMIT, statistics.waiting_bytes_max);
}

static void put_source(struct buf *out, const char *name, const struct view_listener *line)
{
    buf_printf(out, "%s{source=\"%s\",address=\"", name, line->kind);
    metric_label(out, line->statistics.address);
    buf_put_cstr(out, "\"");
}

static void write_sources_line(struct buf *out, const struct view_listener *lines, size_t count,
                               enum metric_id id, size_t offset)
{
    const char *name = head(out, id);
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)&lines[i].statistics + offset, sizeof value);
        put_source(out, name, &lines[i]);
        buf_printf(out, "} %" PRIu64 "\n", value);
    }
}

static void write_files(struct buf *out, const struct view_listener *lines, size_t count)
{
    write_sources_line(out, lines, count, METRIC_FILES, offsetof(struct source_statistics, files));
    write_sources_line(out, lines, count, METRIC_UNREAD,
                       offsetof(struct source_statistics, unread_bytes));
    const char *faults = head(out, METRIC_FILE_FAULTS);
    for (size_t i = 0; i < count; i++) {
        for (size_t f = 0; f < SOURCE_FILE_FAULT_COUNT && strcmp(lines[i].kind, "tail") == 0; f++) {
            put_source(out, faults, &lines[i]);
            buf_printf(out, ",fault=\"%s\"} %" PRIu64 "\n", tail_fault_names[f],
                       lines[i].statistics.file_faults[f]);
        }
    }
}

static void write_sources(struct buf *out, const struct agent_view *view)
{
    const struct view_sources *sources = view->sources;
    struct view_listener *lines = NULL;
    size_t count = view_listeners(sources, &lines);
    const char *answered = head(out, METRIC_REQUESTS);
    for (size_t i = 0; i < count; i++) {
        const struct source_statistics *statistics = &lines[i].statistics;
        for (size_t status = 2; status < 6; status++) {
            put_source(out, answered, &lines[i]);
            buf_printf(out, ",status=\"%zuxx\"} %" PRIu64 "\n", status,
                       statistics->answered[status]);
        }
    }
    write_sources_line(out, lines, count, METRIC_SOURCE_BYTES,
                       offsetof(struct source_statistics, bytes));
    write_sources_line(out, lines, count, METRIC_CONNECTIONS,
                       offsetof(struct source_statistics, connections));
    write_sources_line(out, lines, count, METRIC_MACROS,
                       offsetof(struct source_statistics, unresolved_macros));
    write_sources_line(out, lines, count, METRIC_TURNED_AWAY,
                       offsetof(struct source_statistics, turned_away));
    write_sources_line(out, lines, count, METRIC_TIMED_OUT,
                       offsetof(struct source_statistics, timed_out));
    single(out, METRIC_KEYS, sources->dedup != NULL ? dedup_key_count(sources->dedup) : 0);
    write_files(out, lines, count);
    single(out, METRIC_FILES_SHARED, view->files_shared);
    free(lines);
}

/* ---- spool, delivery, the process ---- */

static void write_spool(struct buf *out, const struct agent_view *view)
{
    struct spool_statistics statistics = {0};
    spool_statistics(view->spool, &statistics);
    single(out, METRIC_SPOOL_BYTES, statistics.bytes_used);
    single(out, METRIC_SPOOL_LIMIT, statistics.bytes_max);
    single(out, METRIC_SPOOL_RESERVE, statistics.bytes_reserve);
    single(out, METRIC_DISK_FREE, view_disk_free(view));
    single(out, METRIC_SPOOL_COMMITS, statistics.commit_count);
    single(out, METRIC_UNANNOUNCED, view->backlog.unannounced);
    single(out, METRIC_UNCOMMITTED, view->backlog.uncommitted);
    single_real(out, METRIC_OLDEST_SPOOLED, (double)view->freshness.oldest_unannounced_ms / 1e3);
}

static void write_delivery(struct buf *out, const struct agent_view *view)
{
    const struct uploader_statistics *uploads = &view->uploads;
    const struct roller_statistics *rolls = &view->rolls;
    metric_histogram(out, &metrics[METRIC_ROLL], &rolls->spans);
    single(out, METRIC_ROLL_LIMIT, view->roll_bytes);
    single(out, METRIC_ROLL_ROWS, rolls->rows);
    single(out, METRIC_ROLL_FILES, rolls->files);
    single(out, METRIC_ROLL_BYTES, rolls->bytes);
    single(out, METRIC_ROLL_DAMAGED, rolls->damaged_blocks);
    metric_histogram(out, &metrics[METRIC_UPLOAD], &uploads->spans);
    single(out, METRIC_UPLOAD_FILES, uploads->files_put);
    single(out, METRIC_UPLOAD_BYTES, uploads->bytes_put);
    single(out, METRIC_ANNOUNCEMENTS, uploads->announcements_put);
    single(out, METRIC_REPEATED, uploads->announcements_repeated);
    single(out, METRIC_REBUILT, uploads->segments_rebuilt);
    single(out, METRIC_FAILURES, uploads->failures);
    single(out, METRIC_ALARMS, uploads->alarms);
    single_real(out, METRIC_LAST_UPLOAD, (double)uploads->announced_at_ms / 1e3);
}

static void write_commits(struct buf *out, const struct freshness_statistics *freshness)
{
    struct metric_buckets buckets = {.bounds = freshness_bounds_s,
                                     .unit_seconds = 1,
                                     .counts = freshness->marks,
                                     .bound_count = FRESHNESS_BUCKETS - 1,
                                     .sum_seconds = (double)freshness->sum_ms / 1e3};
    metric_buckets(out, &metrics[METRIC_FRESHNESS], &buckets);
    single_real(out, METRIC_OLDEST, (double)freshness->oldest_ms / 1e3);
    single_real(out, METRIC_LAST_COMMIT, (double)freshness->committed_at_ms / 1e3);
}

static void write_checks(struct buf *out, const struct agent_view *view)
{
    static const char *const states[] = {"ok", "warn", "fail"};
    struct status_check checks[STATUS_CHECKS];
    single(out, METRIC_READY, status_checks(view, checks));
    const char *name = head(out, METRIC_CHECK);
    for (size_t i = 0; i < STATUS_CHECKS; i++) {
        for (size_t s = 0; s < sizeof states / sizeof states[0]; s++)
            buf_printf(out, "%s{check=\"%s\",state=\"%s\"} %d\n", name, checks[i].name, states[s],
                       checks[i].state == (enum check_state)s);
    }
}

static void write_process(struct buf *out, const struct agent_view *view)
{
    struct process_figures process;
    process_look(&process);
    buf_printf(out, "%s{version=\"%s\"} 1\n", head(out, METRIC_BUILD_INFO), BIDLAKE_VERSION);
    single_real(out, METRIC_CPU, process.cpu_seconds);
    single(out, METRIC_RESIDENT, process.resident_bytes);
    single(out, METRIC_ANONYMOUS, process.anonymous_bytes);
    single(out, METRIC_VIRTUAL, process.virtual_bytes);
    single(out, METRIC_OPEN_FDS, process.open_files);
    single(out, METRIC_MAX_FDS, process.open_files_max);
    single_real(out, METRIC_START_TIME, (double)view->started_at_ms / 1e3);
}

void metrics_write(const struct agent_view *view, struct buf *out)
{
    struct tables all;
    all.count = view_tables(view, &all.tables);
    if (view->capture != NULL) {
        write_capture_tables(out, &all);
        write_capture(out, view->capture);
        write_sources(out, view);
    }
    write_spool_tables(out, &all);
    write_spool(out, view);
    write_delivery(out, view);
    write_commits(out, &view->freshness);
    write_checks(out, view);
    write_process(out, view);
    free(all.tables);
}
