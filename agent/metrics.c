/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/metrics.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "agent/tail/tail.h"
#include "lib/base/memory.h"

static void head(struct buf *out, const char *name, const char *type, const char *help)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

static void single(struct buf *out, const char *name, const char *type, const char *help,
                   uint64_t value)
{
    head(out, name, type, help);
    buf_printf(out, "%s %" PRIu64 "\n", name, value);
}

/* ---- capture ---- */

enum figure { RECEIVED, RECEIVED_BYTES, KEPT, KEPT_ROWS, WAITING, TURNED_AWAY };

static uint64_t pick(const struct capture_table_statistics *statistics, enum figure figure)
{
    switch (figure) {
    case RECEIVED:
        return statistics->received;
    case RECEIVED_BYTES:
        return statistics->received_bytes;
    case KEPT:
        return statistics->kept;
    case KEPT_ROWS:
        return statistics->kept_rows;
    case WAITING:
        return statistics->waiting;
    case TURNED_AWAY:
        return statistics->turned_away;
    }
    return 0;
}

/* One look at each table, so that the lines of one scrape belong together. */
static void write_tables(const struct agent_view *view, struct buf *out)
{
    static const struct {
        const char *name;
        const char *type;
        const char *help;
    } columns[] = {
        {"bidlake_capture_events_received_total", "counter", "Events that were handed in."},
        {"bidlake_capture_bytes_received_total", "counter", "Bytes of their JSON text."},
        {"bidlake_capture_events_kept_total", "counter", "Events answered as durable."},
        {"bidlake_capture_rows_kept_total", "counter", "Rows that they made."},
        {"bidlake_capture_events_waiting", "gauge", "Events not answered yet."},
        {"bidlake_capture_requests_full_total", "counter",
         "Requests turned away at the door for want of room."},
    };
    size_t count = capture_table_count(view->capture);
    struct capture_table_statistics *tables = memory_alloc(count + 1, sizeof *tables);
    for (size_t i = 0; i < count; i++)
        capture_table_statistics(view->capture, i, &tables[i]);
    for (size_t c = 0; c < sizeof columns / sizeof columns[0]; c++) {
        head(out, columns[c].name, columns[c].type, columns[c].help);
        for (size_t i = 0; i < count; i++)
            buf_printf(out, "%s{table=\"%s\"} %" PRIu64 "\n", columns[c].name,
                       capture_table_name_borrow(view->capture, i),
                       pick(&tables[i], (enum figure)c));
    }
    static const char refused[] = "bidlake_capture_events_refused_total";
    head(out, refused, "counter", "Events that were refused, by reason.");
    for (size_t i = 0; i < count; i++) {
        const char *table = capture_table_name_borrow(view->capture, i);
        for (size_t r = 0; r < REFUSED_REASON_COUNT; r++)
            buf_printf(out, "%s{table=\"%s\",reason=\"%s\"} %" PRIu64 "\n", refused, table,
                       refusal_reason_name((enum refusal_reason)r), tables[i].refused[r]);
        buf_printf(out, "%s{table=\"%s\",reason=\"no_room\"} %" PRIu64 "\n", refused, table,
                   tables[i].rejected);
    }
    free(tables);
}

/* `counts` has one bucket more than there are bounds: what is above them all. */
struct histogram {
    const char *name;
    const char *help;
    const int64_t *bounds;
    double unit_seconds; /* of a bound */
    const uint64_t *counts;
    size_t bound_count;
    double sum_seconds;
};

static void write_histogram(const struct histogram *histogram, struct buf *out)
{
    const char *name = histogram->name;
    uint64_t sum = 0;
    head(out, name, "histogram", histogram->help);
    for (size_t i = 0; i < histogram->bound_count; i++) {
        sum += histogram->counts[i];
        buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                   (double)histogram->bounds[i] * histogram->unit_seconds, sum);
    }
    sum += histogram->counts[histogram->bound_count];
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
               sum, name, histogram->sum_seconds, name, sum);
}

static void write_latency(const struct capture_statistics *statistics, struct buf *out)
{
    struct histogram histogram = {.name = "bidlake_capture_durable_seconds",
                                  .help = "From a cut's first event to its durable answer.",
                                  .bounds = capture_latency_bounds_us,
                                  .unit_seconds = 1e-6,
                                  .counts = statistics->latency,
                                  .bound_count = CAPTURE_LATENCY_BUCKETS - 1,
                                  .sum_seconds = (double)statistics->latency_sum_us / 1e6};
    write_histogram(&histogram, out);
}

/* ---- sources, spool, delivery ---- */

struct source_line {
    const char *kind;
    struct source_statistics statistics;
};

static void write_source_gauge(const struct source_line *lines, size_t count, const char *name,
                               const char *type, const char *help, size_t offset, struct buf *out)
{
    head(out, name, type, help);
    for (size_t i = 0; i < count; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)&lines[i].statistics + offset, sizeof value);
        buf_printf(out, "%s{source=\"%s\",address=\"%s\"} %" PRIu64 "\n", name, lines[i].kind,
                   lines[i].statistics.address, value);
    }
}

static void write_files(const struct source_line *lines, size_t count, struct buf *out)
{
    static const char faults[] = "bidlake_tail_faults_total";
    write_source_gauge(lines, count, "bidlake_source_files", "gauge", "Files that are followed.",
                       offsetof(struct source_statistics, files), out);
    write_source_gauge(lines, count, "bidlake_source_unread_bytes", "gauge",
                       "Bytes of plain files beyond what is durable.",
                       offsetof(struct source_statistics, unread_bytes), out);
    head(out, faults, "counter", "What kept a file from being read on.");
    for (size_t i = 0; i < count; i++) {
        for (size_t f = 0; f < SOURCE_FILE_FAULT_COUNT && strcmp(lines[i].kind, "tail") == 0; f++)
            buf_printf(out, "%s{address=\"%s\",fault=\"%s\"} %" PRIu64 "\n", faults,
                       lines[i].statistics.address, tail_fault_names[f],
                       lines[i].statistics.file_faults[f]);
    }
}

static void write_sources(const struct view_sources *sources, struct buf *out)
{
    static const char answered[] = "bidlake_source_requests_total";
    size_t count = sources->count;
    struct source_line *lines = memory_alloc(count + 1, sizeof *lines);
    head(out, answered, "counter", "Requests answered, by the status' class.");
    for (size_t i = 0; i < count; i++) {
        struct source_statistics *statistics = &lines[i].statistics;
        lines[i].kind = sources->open[i].ops->kind;
        sources->open[i].ops->statistics(sources->open[i].source, statistics);
        for (size_t status = 2; status < 6; status++)
            buf_printf(out, "%s{source=\"%s\",address=\"%s\",status=\"%zuxx\"} %" PRIu64 "\n",
                       answered, lines[i].kind, statistics->address, status,
                       statistics->answered[status]);
    }
    write_source_gauge(lines, count, "bidlake_source_bytes_total", "counter",
                       "Bytes of bodies, as sent.", offsetof(struct source_statistics, bytes), out);
    write_source_gauge(lines, count, "bidlake_source_connections", "gauge", "Connections open now.",
                       offsetof(struct source_statistics, connections), out);
    write_source_gauge(lines, count, "bidlake_source_macros_unresolved_total", "counter",
                       "Macros that nobody filled in.",
                       offsetof(struct source_statistics, unresolved_macros), out);
    write_source_gauge(lines, count, "bidlake_source_keys", "gauge",
                       "Idempotency-Keys whose answers are remembered.",
                       offsetof(struct source_statistics, keys), out);
    write_files(lines, count, out);
    free(lines);
}

static void write_spool(struct spool *spool, struct buf *out)
{
    struct spool_statistics statistics = {0};
    spool_statistics(spool, &statistics);
    single(out, "bidlake_spool_bytes", "gauge", "Bytes of the log and of sealed files.",
           statistics.bytes_used);
    single(out, "bidlake_spool_limit_bytes", "gauge", "The budget of these.", statistics.bytes_max);
    single(out, "bidlake_spool_commits_total", "counter", "Transactions, one sync each.",
           statistics.commit_count);
    single(out, "bidlake_spool_dropped_events_total", "counter",
           "Answered events dropped for room and announced as lost (spool.when_full: drop_oldest).",
           statistics.dropped_events);
}

static void write_freshness(const struct freshness_statistics *freshness, struct buf *out)
{
    struct histogram histogram = {
        .name = "bidlake_commit_freshness_seconds",
        .help = "From the durable answer to the committed table, by receipts.",
        .bounds = freshness_bounds_s,
        .unit_seconds = 1,
        .counts = freshness->marks,
        .bound_count = FRESHNESS_BUCKETS - 1,
        .sum_seconds = (double)freshness->sum_ms / 1e3};
    write_histogram(&histogram, out);
    head(out, "bidlake_commit_oldest_seconds", "gauge",
         "Age of the oldest event that no commit is known of.");
    buf_printf(out, "bidlake_commit_oldest_seconds %.3f\n", (double)freshness->oldest_ms / 1e3);
}

static void write_delivery(const struct agent_view *view, struct buf *out)
{
    const struct uploader_statistics *uploads = &view->uploads;
    single(out, "bidlake_upload_files_total", "counter", "Data files put.", uploads->files_put);
    single(out, "bidlake_upload_bytes_total", "counter", "Bytes of data files put.",
           uploads->bytes_put);
    single(out, "bidlake_upload_announcements_total", "counter", "Segments announced.",
           uploads->announcements_put);
    single(out, "bidlake_upload_failures_total", "counter", "Puts that failed and are retried.",
           uploads->failures);
    single(out, "bidlake_upload_alarms_total", "counter", "What a person must look at.",
           uploads->alarms);
    single(out, "bidlake_spool_segments_unannounced", "gauge", "Segments not uploaded yet.",
           view->backlog.unannounced);
    single(out, "bidlake_spool_streams_uncommitted", "gauge",
           "Streams with announced segments that no commit is known of.",
           view->backlog.uncommitted);
}

void metrics_write(const struct agent_view *view, struct buf *out)
{
    if (view->capture != NULL) {
        struct capture_statistics capture = {0};
        capture_statistics(view->capture, &capture);
        write_tables(view, out);
        write_latency(&capture, out);
        write_sources(view->sources, out);
    }
    write_spool(view->spool, out);
    write_delivery(view, out);
    write_freshness(&view->freshness, out);
}
