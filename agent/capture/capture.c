/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/capture/state.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

enum {
    EVENT_BYTES_DEFAULT = 1 << 20,
    OPEN_BYTES_DEFAULT = 16 << 20,
    REQUEST_BYTES_DEFAULT = 64 << 20,
    SPOOL_SHARE = 4, /* a cut must fit into an empty spool, or it would be tried for ever */
};

const int64_t capture_latency_bounds_us[CAPTURE_LATENCY_BUCKETS - 1] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 500000};

static size_t bound(size_t wanted, size_t otherwise, uint64_t max)
{
    size_t value = wanted > 0 ? wanted : otherwise;
    return value < max ? value : (size_t)max;
}

static void set_limits(struct generation *generation, const struct capture_limits *limits)
{
    generation->limits = *limits;
    if (limits->event_bytes_max == 0)
        generation->limits.event_bytes_max = EVENT_BYTES_DEFAULT;
}

int capture_open(struct capture **out, const struct capture_options *options, struct error *err)
{
    struct capture *capture = memory_alloc(1, sizeof *capture);
    capture->options = *options;
    if (capture->options.clock == NULL)
        capture->options.clock = &clock_system;
    if (options->commits_per_second_max == 0)
        capture->options.commits_per_second_max = 1;
    struct spool_room room;
    spool_room(options->spool, &room);
    capture->options.open_bytes_max =
        bound(options->open_bytes_max, OPEN_BYTES_DEFAULT, room.most / SPOOL_SHARE);
    capture->options.request_bytes_max =
        bound(options->request_bytes_max, REQUEST_BYTES_DEFAULT, room.most / SPOOL_SHARE);
    capture->batch_bytes_max = bound(capture->options.request_bytes_max, 0, SPOOL_BATCH_BYTES_MAX);
    capture->totals = memory_alloc(options->mappings->count, sizeof *capture->totals);
    pthread_mutex_init(&capture->lock, NULL);
    pthread_mutex_init(&capture->wake_lock, NULL);
    clock_condition_init(&capture->changed);
    pthread_cond_init(&capture->idle, NULL);
    struct generation *generation = NULL;
    capture->epoch = spool_epoch_borrow(options->spool);
    int rc = tables_make(capture, options->mappings, NULL, &generation, err);
    if (rc != OK) {
        atomic_store(&capture->stopping, true);
        capture_close(capture);
        return rc;
    }
    set_limits(generation, &options->limits);
    tables_publish(capture, generation);
    int failed = pthread_create(&capture->committer, NULL, commit_loop, capture);
    ASSERT(failed == 0);
    *out = capture;
    return OK;
}

void capture_close(struct capture *capture)
{
    if (capture == NULL)
        return;
    pthread_mutex_lock(&capture->wake_lock);
    bool running = !atomic_exchange(&capture->stopping, true);
    pthread_cond_signal(&capture->changed);
    pthread_mutex_unlock(&capture->wake_lock);
    if (running)
        pthread_join(capture->committer, NULL);
    ASSERT(capture->intakes == NULL);
    struct generation *generation = atomic_load(&capture->generation);
    if (generation != NULL) {
        tables_sweep(capture);
        ASSERT(generation->lane_sets == 0 && generation->older == NULL);
        tables_free(generation);
    }
    tables_free_names(capture);
    pthread_cond_destroy(&capture->changed);
    pthread_cond_destroy(&capture->idle);
    pthread_mutex_destroy(&capture->lock);
    pthread_mutex_destroy(&capture->wake_lock);
    free(capture->totals);
    free(capture->batches);
    free(capture->firsts);
    free(capture->checkpoints);
    free(capture);
}

int capture_prepare(struct capture *capture, struct mapping_set *mappings,
                    const struct capture_limits *limits, struct generation **out, struct error *err)
{
    struct mapping_owner *owner = memory_alloc(1, sizeof *owner);
    pthread_mutex_lock(&capture->lock);
    owner->tables = 1; /* ours, until it is made */
    int rc = tables_make(capture, mappings, owner, out, err);
    if (rc != OK) {
        free(owner);
    } else {
        owner->set = *mappings;
        owner->tables--;
        ASSERT(owner->tables > 0); /* each set has dead_letters at least */
        *mappings = (struct mapping_set){0};
        set_limits(*out, limits);
    }
    pthread_mutex_unlock(&capture->lock);
    return rc;
}

void capture_discard(struct capture *capture, struct generation *generation)
{
    pthread_mutex_lock(&capture->lock);
    tables_free(generation);
    pthread_mutex_unlock(&capture->lock);
}

void capture_apply(struct capture *capture, struct generation *generation)
{
    struct error err;
    pthread_mutex_lock(&capture->lock);
    size_t before = capture_table_count(capture);
    capture->totals =
        memory_resize(capture->totals, generation->table_count, sizeof *capture->totals);
    memset(capture->totals + before, 0,
           (generation->table_count - before) * sizeof *capture->totals);
    /* The epoch may be another one since it was prepared; its text has the same length. Not the
     * others' streams: a cut may be on its way under their names. */
    int rc = tables_name_new(capture, generation, &err);
    ASSERT(rc == OK);
    tables_publish(capture, generation);
    tables_sweep(capture);
    pthread_mutex_unlock(&capture->lock);
}

void capture_statistics(struct capture *capture, struct capture_statistics *out)
{
    pthread_mutex_lock(&capture->lock);
    *out = capture->statistics;
    pthread_mutex_unlock(&capture->lock);
    out->full = atomic_load(&capture->full);
    out->waiting_bytes = atomic_load(&capture->waiting_bytes);
    out->waiting_bytes_max = capture->options.open_bytes_max;
    out->busy_since_ms = atomic_load(&capture->busy_since_ms);
}

void capture_table_statistics(struct capture *capture, size_t table,
                              struct capture_table_statistics *out)
{
    ASSERT(table < capture_table_count(capture));
    pthread_mutex_lock(&capture->lock);
    const struct totals *totals = &capture->totals[table];
    *out = totals->closed;
    out->kept = totals->kept;
    out->kept_rows = totals->kept_rows;
    out->rejected = totals->rejected;
    out->waiting = 0;
    atomic_store(&capture->awaits_intakes, true);
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next) {
        pthread_mutex_lock(&intake->lock);
        for (struct lane_set *set = intake->set; set != NULL; set = set->older) {
            if (table < set->generation->table_count)
                lane_count(out, &set->lanes[table]);
        }
        pthread_mutex_unlock(&intake->lock);
    }
    atomic_store(&capture->awaits_intakes, false);
    pthread_mutex_unlock(&capture->lock);
}

/* ---- after a failure ---- */

int capture_has_stored(struct capture *capture, const struct spool_checkpoint *checkpoint,
                       bool *stored, struct error *err)
{
    struct spool *spool = capture->options.spool;
    struct buf value = {0};
    bool found = false;
    /* Reads go on in an environment that failed, but what they see may not be on the disk. */
    int rc = spool_has_failed(spool) ? ERROR_RETRY : OK;
    if (rc == OK)
        rc = spool_checkpoint_get(spool, checkpoint->key, &value, &found, err);
    if (rc == ERROR_RETRY || spool_has_failed(spool))
        rc = error_set(err, ERROR_RETRY, "the spool is not open again after a failure");
    *stored = rc == OK && found && slice_equal(buf_slice(&value), checkpoint->value);
    buf_free(&value);
    return rc;
}
