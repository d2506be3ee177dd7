/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/history.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "lib/base/memory.h"

struct sample {
    int64_t at_ms; /* monotonic */
    uint64_t kept;
    uint64_t refused;
    uint64_t committed;
    uint64_t spool_bytes;
    int64_t oldest_ms;
    uint64_t latency[CAPTURE_LATENCY_BUCKETS];
};

struct history {
    int64_t next_ms; /* the noting thread's: the next sample is due */
    pthread_mutex_t lock;
    /* guarded by lock */
    uint64_t count; /* of all times: the last is at (count - 1) % HISTORY_SAMPLES */
    struct sample samples[HISTORY_SAMPLES];
};

struct history *history_open(void)
{
    struct history *history = memory_alloc(1, sizeof *history);
    history->next_ms = INT64_MIN;
    pthread_mutex_init(&history->lock, NULL);
    return history;
}

void history_close(struct history *history)
{
    if (history == NULL)
        return;
    pthread_mutex_destroy(&history->lock);
    free(history);
}

bool history_is_due(const struct history *history, int64_t now_ms)
{
    return now_ms >= history->next_ms;
}

void history_note(struct history *history, const struct agent_view *view, int64_t now_ms)
{
    struct spool_statistics spool = {0};
    struct capture_statistics capture = {0};
    struct view_table *tables = NULL;
    spool_statistics(view->spool, &spool);
    if (view->capture != NULL)
        capture_statistics(view->capture, &capture);
    struct sample sample = {
        .at_ms = now_ms, .spool_bytes = spool.bytes_used, .oldest_ms = view->freshness.oldest_ms};
    size_t count = view_tables(view, &tables);
    for (size_t i = 0; i < count; i++) {
        sample.kept += tables[i].capture.kept;
        sample.refused += view_table_refused(&tables[i]);
        sample.committed += tables[i].flow.committed;
    }
    free(tables);
    for (size_t i = 0; i < CAPTURE_LATENCY_BUCKETS; i++)
        sample.latency[i] = capture.latency[i];
    history->next_ms = now_ms + HISTORY_EVERY_MS;
    pthread_mutex_lock(&history->lock);
    history->samples[history->count++ % HISTORY_SAMPLES] = sample;
    pthread_mutex_unlock(&history->lock);
}

static void write_sample(const struct sample *sample, int64_t now_ms, struct buf *out)
{
    buf_printf(out,
               "{\"age_ms\":%" PRId64 ",\"kept\":%" PRIu64 ",\"refused\":%" PRIu64
               ",\"committed\":%" PRIu64 ",\"spool_bytes\":%" PRIu64 ",\"oldest_ms\":%" PRId64
               ",\"durable\":[",
               now_ms - sample->at_ms, sample->kept, sample->refused, sample->committed,
               sample->spool_bytes, sample->oldest_ms);
    uint64_t sum = 0;
    for (size_t i = 0; i < CAPTURE_LATENCY_BUCKETS; i++) {
        sum += sample->latency[i];
        buf_printf(out, "%s%" PRIu64, i > 0 ? "," : "", sum);
    }
    buf_put_cstr(out, "]}");
}

void history_write(struct history *history, int64_t now_ms, struct buf *out)
{
    buf_put_cstr(out, "{\"samples\":[");
    pthread_mutex_lock(&history->lock);
    uint64_t first = history->count > HISTORY_SAMPLES ? history->count - HISTORY_SAMPLES : 0;
    for (uint64_t i = first; i < history->count; i++) {
        if (i > first)
            buf_put_cstr(out, ",");
        write_sample(&history->samples[i % HISTORY_SAMPLES], now_ms, out);
    }
    pthread_mutex_unlock(&history->lock);
    buf_put_cstr(out, "]}\n");
}
