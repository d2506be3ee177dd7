/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/door/state.h"
#include "lib/base/memory.h"
#include "lib/base/metric.h"
#include "lib/base/process.h"

/* A turn has a bound of its own for its attempt (commit.attempt, an hour); each call to a store
 * or catalog has a deadline of minutes. What is longer under way hangs. */
enum { TURN_HANGS_MS = 2 * 3600 * 1000 };

enum metric_id {
#define METRIC(id, name, type, labels, help) METRIC_##id,
#include "cloud/door/metrics.def"
#undef METRIC
};

static const struct metric metrics[] = {
#define METRIC(id, name, type, labels, help) {name, #type, help},
#include "cloud/door/metrics.def"
#undef METRIC
};

/* ---- probes ---- */

unsigned health_write(struct door *door, struct buf *out)
{
    unsigned status = 200;
    int64_t now_ms = clock_mono_ms(door->options.clock);
    pthread_mutex_lock(&door->lock);
    for (size_t i = 0; i < door->options.table_count; i++) {
        const struct door_table *table = &door->tables[i];
        if (table->since_ms == 0 || now_ms - table->since_ms < TURN_HANGS_MS)
            continue;
        status = 503;
        buf_printf(out, "%s: a turn is under way for %" PRId64 " s\n", table->name,
                   (now_ms - table->since_ms) / 1000);
    }
    pthread_mutex_unlock(&door->lock);
    if (status == 200)
        buf_put_cstr(out, "ok\n");
    return status;
}

/* Under the lock. */
static bool is_ready(const struct door *door)
{
    if (door->error[0] != 0)
        return false;
    for (size_t i = 0; i < door->options.table_count; i++)
        if (door->tables[i].good_ms == 0 || door->tables[i].error[0] != 0)
            return false;
    return true;
}

unsigned readiness_write(struct door *door, struct buf *out)
{
    pthread_mutex_lock(&door->lock);
    bool ready = is_ready(door);
    if (door->error[0] != 0)
        buf_printf(out, "not open: %s\n", door->error);
    for (size_t i = 0; i < door->options.table_count; i++) {
        const struct door_table *table = &door->tables[i];
        const char *text = table->error[0] != 0 ? table->error
                           : table->ended == 0  ? "no turn yet"
                                                : "ok";
        buf_printf(out, "%s: %s\n", table->name, text);
    }
    pthread_mutex_unlock(&door->lock);
    return ready ? 200 : 503;
}

/* ---- metrics ---- */

static void by_table(const struct door *door, struct buf *out, enum metric_id id, size_t offset)
{
    const char *name = metric_head(out, &metrics[id]);
    for (size_t i = 0; i < door->options.table_count; i++) {
        uint64_t value = 0;
        memcpy(&value, (const char *)&door->tables[i].sum + offset, sizeof value);
        buf_printf(out, "%s{table=\"", name);
        metric_label(out, door->tables[i].name);
        buf_printf(out, "\"} %" PRIu64 "\n", value);
    }
}

static void write_turns(const struct door *door, struct buf *out)
{
    const char *name = metric_head(out, &metrics[METRIC_TURNS]);
    for (size_t i = 0; i < door->options.table_count; i++) {
        const struct door_table *table = &door->tables[i];
        for (int failed = 0; failed < 2; failed++) {
            buf_printf(out, "%s{table=\"", name);
            metric_label(out, table->name);
            buf_printf(out, "\",result=\"%s\"} %" PRIu64 "\n", failed ? "failed" : "ok",
                       failed ? table->failed : table->ended - table->failed);
        }
    }
    metric_histogram(out, &metrics[METRIC_SECONDS], &door->spans);
    name = metric_head(out, &metrics[METRIC_LAST_GOOD]);
    for (size_t i = 0; i < door->options.table_count; i++) {
        buf_printf(out, "%s{table=\"", name);
        metric_label(out, door->tables[i].name);
        buf_printf(out, "\"} %.3f\n", (double)door->tables[i].good_ms / 1e3);
    }
}

static void write_tables(const struct door *door, struct buf *out)
{
    static const struct {
        enum metric_id id;
        size_t offset;
    } lines[] = {
        {METRIC_ANNOUNCEMENTS, offsetof(struct door_turn, announcements)},
        {METRIC_REFUSED, offsetof(struct door_turn, refused)},
        {METRIC_MISSING, offsetof(struct door_turn, missing)},
        {METRIC_WAITING, offsetof(struct door_turn, waiting)},
        {METRIC_EVENTS, offsetof(struct door_turn, events)},
        {METRIC_ROWS, offsetof(struct door_turn, rows)},
        {METRIC_FILES, offsetof(struct door_turn, files)},
        {METRIC_BYTES, offsetof(struct door_turn, bytes)},
        {METRIC_LOST, offsetof(struct door_turn, lost_events)},
        {METRIC_SNAPSHOTS, offsetof(struct door_turn, snapshots)},
        {METRIC_SWAPS, offsetof(struct door_turn, swaps)},
        {METRIC_ALARMS, offsetof(struct door_turn, alarms)},
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        by_table(door, out, lines[i].id, lines[i].offset);
}

static void write_process(const struct door *door, struct buf *out)
{
    struct process_figures process;
    process_look(&process);
    buf_printf(out, "%s{version=\"%s\"} 1\n", metric_head(out, &metrics[METRIC_BUILD_INFO]),
               BIDLAKE_VERSION);
    metric_single_real(out, &metrics[METRIC_CPU], process.cpu_seconds);
    metric_single(out, &metrics[METRIC_RESIDENT], process.resident_bytes);
    metric_single(out, &metrics[METRIC_OPEN_FDS], process.open_files);
    metric_single_real(out, &metrics[METRIC_START_TIME], (double)door->started_ms / 1e3);
}

void metrics_write(struct door *door, struct buf *out)
{
    static const char *const results[NOTICE_RESULTS] = {"taken", "ignored", "malformed", "refused"};
    pthread_mutex_lock(&door->lock);
    write_turns(door, out);
    write_tables(door, out);
    metric_single(out, &metrics[METRIC_READY], is_ready(door));
    pthread_mutex_unlock(&door->lock);
    const char *name = metric_head(out, &metrics[METRIC_NOTICES]);
    for (size_t i = 0; i < NOTICE_RESULTS; i++)
        buf_printf(out, "%s{result=\"%s\"} %" PRIu64 "\n", name, results[i], door->notices[i]);
    write_process(door, out);
}

/* ---- turns ---- */

void door_turn_begin(struct door *door, size_t table)
{
    if (door == NULL)
        return;
    int64_t now_ms = clock_mono_ms(door->options.clock);
    pthread_mutex_lock(&door->lock);
    door->tables[table].begun++;
    door->tables[table].since_ms = now_ms > 0 ? now_ms : 1;
    pthread_mutex_unlock(&door->lock);
}

static void add_turn(struct door_turn *sum, const struct door_turn *turn)
{
    sum->announcements += turn->announcements;
    sum->refused += turn->refused;
    sum->missing = turn->missing;
    sum->waiting = turn->waiting;
    sum->files += turn->files;
    sum->events += turn->events;
    sum->rows += turn->rows;
    sum->bytes += turn->bytes;
    sum->lost_events += turn->lost_events;
    sum->snapshots += turn->snapshots;
    sum->swaps += turn->swaps;
    sum->alarms += turn->alarms;
}

static void keep_text(char out[DOOR_ERROR_MAX], const char *text)
{
    size_t len = text != NULL ? strnlen(text, DOOR_ERROR_MAX - 1) : 0;
    if (len > 0)
        memcpy(out, text, len);
    out[len] = 0;
}

/* Under the lock: those that have waited for this table's turn only. */
static void resume_waiting(struct door *door, bool failed, size_t table)
{
    for (struct door_wait *wait = door->waiting; wait != NULL; wait = wait->next) {
        bool open = false;
        if (wait->turns[table] > 0 && wait->turns[table] <= door->tables[table].begun)
            wait->failed = wait->failed || failed;
        for (size_t i = 0; i < door->options.table_count; i++)
            open = open || wait->turns[i] > door->tables[i].ended;
        if (open || wait->resumed)
            continue;
        wait->resumed = true;
        http_resume(wait->request);
    }
}

void door_turn_end(struct door *door, size_t table, const struct door_turn *turn)
{
    if (door == NULL)
        return;
    struct door_table *at = &door->tables[table];
    int64_t now_ms = clock_mono_ms(door->options.clock);
    pthread_mutex_lock(&door->lock);
    histogram_observe(&door->spans, (now_ms - at->since_ms) * 1000);
    at->since_ms = 0;
    at->ended = at->begun;
    at->failed += turn->error != NULL;
    keep_text(at->error, turn->error);
    if (turn->error == NULL)
        at->good_ms = clock_wall_ms(door->options.clock);
    add_turn(&at->sum, turn);
    resume_waiting(door, turn->error != NULL, table);
    pthread_mutex_unlock(&door->lock);
}

void waiting_fail(struct door *door)
{
    for (struct door_wait *wait = door->waiting; wait != NULL; wait = wait->next) {
        if (wait->resumed)
            continue;
        wait->failed = true;
        wait->resumed = true;
        http_resume(wait->request);
    }
}

void door_closed(struct door *door, const char *error)
{
    if (door == NULL)
        return;
    pthread_mutex_lock(&door->lock);
    keep_text(door->error, error);
    if (error != NULL)
        waiting_fail(door);
    pthread_mutex_unlock(&door->lock);
}
