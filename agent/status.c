/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/json/json.h"

enum {
    DISK_FULL_BYTES = 16 << 20, /* of the file system: LMDB's next pages may not fit */
    DISK_FULL_SHARE = 8,        /* or this part of what a small one can hold */
    LEAST_ROOM = 64 << 10,      /* with less of the budget left a small request is refused too */
    STEP_SLOW_MS = 60000,
    STATUS_FILES_MAX = 1000,
};

/* ---- checks ---- */

static void set_check(struct status_check *check, enum check_state state, const char *why, ...)
    __attribute__((format(printf, 3, 4)));

static void set_check(struct status_check *check, enum check_state state, const char *why, ...)
{
    va_list args;
    check->state = state;
    va_start(args, why);
    vsnprintf(check->why, sizeof check->why, why, args);
    va_end(args);
}

/* The tables that are turned away now, "clicks, impressions", and the last one's reason;
 * dead_letters are no table of senders. */
struct turned_away {
    size_t of;
    size_t count;
    char names[200];
    struct error why;
};

static void find_turned_away(const struct agent_view *view, struct turned_away *out)
{
    struct error err;
    size_t len = 0;
    size_t count = view->capture != NULL ? capture_table_count(view->capture) : 0;
    *out = (struct turned_away){0};
    for (size_t i = 0; i < count; i++) {
        const char *name = capture_table_name_borrow(view->capture, i);
        if (strcmp(name, CAPTURE_DEAD_LETTERS) == 0)
            continue;
        out->of++;
        if (capture_room(view->capture, i, &err) == OK)
            continue;
        out->why = err;
        int n = snprintf(out->names + len, sizeof out->names - len, "%s%s",
                         out->count++ > 0 ? ", " : "", name);
        len += n > 0 && (size_t)n < sizeof out->names - len ? (size_t)n : 0;
    }
}

/* Full by the budget, or by a disk that has less: then others may be to blame. */
static void set_spent(const struct agent_view *view, const struct spool_statistics *spool,
                      enum check_state state, const char *what, struct status_check *check)
{
    if (spool->bytes_usable + spool->bytes_reserve < spool->bytes_max)
        set_check(check, state,
                  "the disk under %s is full: %" PRIu64 " bytes are free, and these are for the "
                  "delivery; %" PRIu64 " of the budget of %" PRIu64 " can be used%s",
                  view->config->spool_directory, view_disk_free(view), spool->bytes_usable,
                  spool->bytes_max, what);
    else
        set_check(check, state, "the spool's budget of %" PRIu64 " bytes is spent%s",
                  spool->bytes_max, what);
}

/* What the doors say, and what they can't know: a disk that is smaller than the budget. */
static void check_room(const struct agent_view *view, const struct turned_away *away,
                       struct status_check *check)
{
    struct spool_statistics spool = {0};
    spool_statistics(view->spool, &spool);
    uint64_t left =
        spool.bytes_used < spool.bytes_usable ? spool.bytes_usable - spool.bytes_used : 0;
    uint64_t disk = view_disk_free(view);
    uint64_t least = spool.bytes_usable / DISK_FULL_SHARE;
    if (disk + spool.bytes_sealed < (least < DISK_FULL_BYTES ? least : DISK_FULL_BYTES))
        set_check(check, CHECK_FAIL, "the disk under %s is full: %" PRIu64 " bytes are free",
                  view->config->spool_directory, disk);
    else if (away->count == away->of && away->of > 0)
        set_check(check, CHECK_FAIL, "turned away: %s; %.150s", away->names, away->why.text);
    else if (left < LEAST_ROOM && strcmp(view->config->spool_when_full, "refuse") == 0)
        set_spent(view, &spool, CHECK_FAIL, "", check);
    else if (away->count > 0)
        set_check(check, CHECK_WARN, "turned away: %s; %.150s", away->names, away->why.text);
    else if (left == 0)
        set_spent(view, &spool, CHECK_WARN, ": the oldest events are dropped", check);
    else if (spool.bytes_usable + spool.bytes_reserve < spool.bytes_max)
        set_check(check, CHECK_WARN,
                  "the disk under %s will be full before the budget is spent: %" PRIu64
                  " bytes are free, %" PRIu64 " of the budget of %" PRIu64 " can be used",
                  view->config->spool_directory, disk, spool.bytes_usable, spool.bytes_max);
}

/* Full for the moment only, so that what is turned away is no matter of room. */
static bool check_intake(const struct agent_view *view, struct status_check *check)
{
    struct capture_statistics capture = {0};
    if (view->capture == NULL)
        return false;
    capture_statistics(view->capture, &capture);
    if (capture.waiting_bytes < capture.waiting_bytes_max)
        return false;
    set_check(check, CHECK_FAIL,
              "%" PRIu64 " bytes wait for the disk, no more are taken before these",
              capture.waiting_bytes);
    return true;
}

static void check_store(const struct agent_view *view, struct status_check *check)
{
    if (view->backlog.failing)
        set_check(check, CHECK_WARN, "events wait in the spool: %s", view->backlog.last_failure);
    else if (view->step_age_ms > STEP_SLOW_MS)
        set_check(check, CHECK_WARN, "one delivery has been under way for %" PRId64 " s",
                  view->step_age_ms / 1000);
}

bool status_checks(const struct agent_view *view, struct status_check out[STATUS_CHECKS])
{
    static const char *const names[STATUS_CHECKS] = {"running", "spool", "room", "intake", "store"};
    struct turned_away away = {0};
    bool ready = true;
    for (size_t i = 0; i < STATUS_CHECKS; i++)
        out[i] = (struct status_check){.name = names[i]};
    if (view->stopping)
        set_check(&out[0], CHECK_FAIL, "the agent stops");
    if (view->deliver_rc != OK)
        set_check(&out[1], CHECK_FAIL, "%.390s", view->deliver_text);
    if (!check_intake(view, &out[3]))
        find_turned_away(view, &away);
    check_room(view, &away, &out[2]);
    check_store(view, &out[4]);
    for (size_t i = 0; i < STATUS_CHECKS; i++)
        ready = ready && out[i].state != CHECK_FAIL;
    return ready;
}

void status_write_checks_text(const struct status_check checks[STATUS_CHECKS], struct buf *out)
{
    static const char *const words[] = {"ok", "WARN", "FAIL"};
    for (size_t i = 0; i < STATUS_CHECKS; i++)
        buf_printf(out, "%s %s%s%s\n", words[checks[i].state], checks[i].name,
                   checks[i].why[0] != 0 ? ": " : "", checks[i].why);
}

static json_t *checks_json(const struct status_check checks[STATUS_CHECKS])
{
    static const char *const words[] = {"ok", "warn", "fail"};
    json_t *out = json_array();
    for (size_t i = 0; i < STATUS_CHECKS; i++)
        json_array_append_new(out, json_pack("{s:s, s:s, s:s%}", "name", checks[i].name, "state",
                                             words[checks[i].state], "why", checks[i].why,
                                             strlen(checks[i].why)));
    return out;
}

static void put_json(json_t *value, struct buf *out)
{
    json_encode(value, out);
    buf_put_cstr(out, "\n");
    json_decref(value);
}

void status_write_checks_json(const struct status_check checks[STATUS_CHECKS], bool ready,
                              struct buf *out)
{
    put_json(json_pack("{s:b, s:o}", "ready", (int)ready, "checks", checks_json(checks)), out);
}

/* ---- status ---- */

static json_t *number(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static void set(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, number(value));
}

static json_t *spool_json(const struct agent_view *view)
{
    struct spool_statistics spool = {0};
    json_t *out = json_object();
    spool_statistics(view->spool, &spool);
    set(out, "bytes", spool.bytes_used);
    set(out, "bytes_max", spool.bytes_max);
    set(out, "bytes_reserve", spool.bytes_reserve);
    set(out, "disk_free_bytes", view_disk_free(view));
    json_object_set_new(out, "when_full", json_string(view->config->spool_when_full));
    return out;
}

static json_t *delivery_json(const struct agent_view *view)
{
    const struct pipeline_backlog *backlog = &view->backlog;
    const struct uploader_statistics *uploads = &view->uploads;
    json_t *out = json_object();
    set(out, "step_age_ms", (uint64_t)view->step_age_ms);
    set(out, "roll_bytes", view->roll_bytes);
    set(out, "open_streams", backlog->open_streams);
    set(out, "unannounced", backlog->unannounced);
    set(out, "uncommitted", backlog->uncommitted);
    set(out, "files", uploads->files_put);
    set(out, "bytes", uploads->bytes_put);
    set(out, "announcements", uploads->announcements_put);
    set(out, "failures", uploads->failures);
    set(out, "alarms", uploads->alarms);
    json_object_set_new(out, "failing", json_boolean(backlog->failing));
    json_object_set_new(out, "last_failure", json_string(backlog->last_failure));
    int64_t age_ms = clock_mono_ms(&clock_system) - backlog->last_failure_ms;
    json_object_set_new(out, "last_failure_age_ms",
                        json_integer(backlog->last_failure_ms > 0 ? age_ms : -1));
    return out;
}

static json_t *refused_json(const struct capture_table_statistics *capture)
{
    json_t *out = json_object();
    for (size_t r = 0; r < REFUSED_REASON_COUNT; r++) {
        if (capture->refused[r] > 0)
            set(out, refusal_reason_name((enum refusal_reason)r), capture->refused[r]);
    }
    if (capture->rejected > 0)
        set(out, "no_room", capture->rejected);
    return out;
}

static json_t *dropped_json(const struct flow_table *flow)
{
    json_t *out = json_object();
    for (size_t r = 0; r < FLOW_REASONS; r++) {
        if (flow->dropped[r] > 0)
            set(out, flow_reasons[r], flow->dropped[r]);
    }
    return out;
}

static json_t *tables_json(const struct agent_view *view)
{
    struct view_table *tables = NULL;
    json_t *out = json_object();
    size_t count = view_tables(view, &tables);
    for (size_t i = 0; i < count; i++) {
        const struct capture_table_statistics *capture = &tables[i].capture;
        const struct flow_table *flow = &tables[i].flow;
        json_t *table = json_object();
        set(table, "received", capture->received);
        set(table, "received_bytes", capture->received_bytes);
        set(table, "kept", capture->kept);
        set(table, "rows", capture->kept_rows);
        set(table, "refused", view_table_refused(&tables[i]));
        json_object_set_new(table, "refused_by", refused_json(capture));
        set(table, "waiting", capture->waiting);
        set(table, "recovered", flow->recovered);
        set(table, "uploaded", flow->uploaded);
        set(table, "committed", flow->committed);
        set(table, "dropped", view_table_dropped(&tables[i]));
        json_object_set_new(table, "dropped_by", dropped_json(flow));
        json_object_set_new(table, "in_spool",
                            json_pack("{s:I, s:I, s:I}", "open", (json_int_t)flow->open, "sealed",
                                      (json_int_t)flow->sealed, "announced",
                                      (json_int_t)flow->announced));
        json_object_set_new(out, flow->name, table);
    }
    free(tables);
    return out;
}

static json_t *sources_json(const struct view_sources *sources)
{
    json_t *out = json_array();
    struct view_listener *listeners = NULL;
    size_t count = view_listeners(sources, &listeners);
    for (size_t i = 0; i < count; i++) {
        const struct source_statistics *statistics = &listeners[i].statistics;
        json_t *source = json_object();
        json_object_set_new(source, "kind", json_string(listeners[i].kind));
        json_object_set_new(source, "address", json_string(statistics->address));
        set(source, "requests", statistics->requests);
        set(source, "bytes", statistics->bytes);
        set(source, "connections", statistics->connections);
        json_array_append_new(out, source);
    }
    free(listeners);
    return out;
}

struct file_lister {
    json_t *out;
    bool safe;     /* this time those that can be deleted */
    uint64_t more; /* that there was no room for */
};

static void add_file(void *context, const struct source_file *file)
{
    struct file_lister *lister = context;
    if (file->safe_to_delete != lister->safe)
        return;
    if (json_array_size(lister->out) >= STATUS_FILES_MAX) {
        lister->more++;
        return;
    }
    json_t *path = json_string(file->path);
    json_t *entry = json_object();
    json_object_set_new(entry, "path", path != NULL ? path : json_string("(not UTF-8)"));
    json_object_set_new(entry, "table", json_string(file->table));
    json_object_set_new(entry, "state", json_string(file->state));
    set(entry, "size", file->size);
    set(entry, "offset", file->offset);
    set(entry, "lines", file->lines);
    json_object_set_new(entry, "compressed", json_boolean(file->compressed));
    json_object_set_new(entry, "safe_to_delete", json_boolean(file->safe_to_delete));
    json_array_append_new(lister->out, entry);
}

/* First those that wait for something. */
static json_t *files_json(const struct view_sources *sources, uint64_t *more)
{
    struct file_lister lister = {.out = json_array()};
    for (int safe = 0; safe < 2; safe++) {
        lister.safe = safe != 0;
        for (size_t i = 0; i < sources->count; i++) {
            const struct view_source *source = &sources->open[i];
            if (source->ops->files != NULL)
                source->ops->files(source->source, add_file, &lister);
        }
    }
    *more = lister.more;
    return lister.out;
}

/* Upper bound of the bucket that the share of all falls into, in ms; -1: nothing yet. */
static double latency_ms(const struct capture_statistics *statistics, double share)
{
    uint64_t below = 0;
    for (size_t i = 0; i < CAPTURE_LATENCY_BUCKETS - 1; i++) {
        below += statistics->latency[i];
        if (below > 0 && (double)below >= share * (double)statistics->cuts)
            return (double)capture_latency_bounds_us[i] / 1e3;
    }
    return statistics->cuts > 0
               ? (double)capture_latency_bounds_us[CAPTURE_LATENCY_BUCKETS - 2] / 1e3
               : -1;
}

static json_t *answers_json(const struct agent_view *view)
{
    struct capture_statistics statistics = {0};
    if (view->capture != NULL)
        capture_statistics(view->capture, &statistics);
    return json_pack("{s:I, s:f, s:f, s:I}", "cuts", (json_int_t)statistics.cuts, "p50_ms",
                     latency_ms(&statistics, 0.5), "p99_ms", latency_ms(&statistics, 0.99),
                     "turned_away", (json_int_t)statistics.full);
}

static json_t *troubles_json(void)
{
    struct log_trouble troubles[LOG_TROUBLES_MAX];
    int64_t now_ms = clock_mono_ms(&clock_system);
    size_t count = log_troubles(troubles);
    json_t *out = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct log_trouble *trouble = &troubles[i];
        json_array_append_new(out, json_pack("{s:s, s:s, s:s, s:s, s:I, s:I}", "level",
                                             trouble->level == LOG_LEVEL_WARN ? "warn" : "error",
                                             "at", trouble->at, "msg", trouble->msg, "fields",
                                             trouble->fields, "count", (json_int_t)trouble->count,
                                             "age_ms", (json_int_t)(now_ms - trouble->last_ms)));
    }
    return out;
}

void status_write(const struct agent_view *view, struct buf *out)
{
    struct status_check checks[STATUS_CHECKS];
    bool ready = status_checks(view, checks);
    json_t *status = json_object();
    json_object_set_new(status, "version", json_string(BIDLAKE_VERSION));
    json_object_set_new(status, "agent_id", json_string(spool_agent_id_borrow(view->spool)));
    json_object_set_new(status, "started_at_ms", json_integer(view->started_at_ms));
    json_object_set_new(status, "uptime_ms", json_integer(view->uptime_ms));
    json_object_set_new(status, "ready", json_boolean(ready));
    json_object_set_new(status, "checks", checks_json(checks));
    json_object_set_new(status, "spool", spool_json(view));
    json_object_set_new(status, "delivery", delivery_json(view));
    json_object_set_new(status, "flushes",
                        json_pack("{s:I, s:I}", "asked", (json_int_t)view->flushes_asked, "done",
                                  (json_int_t)view->flushes_done));
    json_object_set_new(status, "freshness",
                        json_pack("{s:I, s:I, s:I}", "last_ms", (json_int_t)view->freshness.last_ms,
                                  "oldest_ms", (json_int_t)view->freshness.oldest_ms,
                                  "oldest_unannounced_ms",
                                  (json_int_t)view->freshness.oldest_unannounced_ms));
    json_object_set_new(status, "answers", answers_json(view));
    json_object_set_new(status, "tables", tables_json(view));
    json_object_set_new(status, "sources", sources_json(view->sources));
    uint64_t more_files = 0;
    json_object_set_new(status, "files", files_json(view->sources, &more_files));
    set(status, "more_files", more_files);
    json_object_set_new(status, "log", troubles_json());
    put_json(status, out);
}
