/* SPDX-License-Identifier: Apache-2.0
 *
 * The committer: one thread that takes the open batches of all intakes at once (a cut),
 * appends them in one transaction of the spool and answers their tickets.
 */
#include "agent/capture/state.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { BATCH_BYTES_KEPT = 2 << 20, SQUEEZE_MS = 1000, SAID_AGAIN_MS = 300000 };
#define SECOND_NS INT64_C(1000000000)

/* The committer sleeps only when `asked` was false, so one wake a cut is enough. */
void committer_wake(struct capture *capture)
{
    if (atomic_exchange(&capture->asked, true))
        return;
    pthread_mutex_lock(&capture->wake_lock);
    pthread_cond_signal(&capture->changed);
    pthread_mutex_unlock(&capture->wake_lock);
}

static void take_batches(struct lane *lane)
{
    struct shred_batch taken = lane->taken;
    lane->taken = lane->open;
    lane->open = taken;
    while (lane->full != NULL) {
        struct full_batch *full = lane->full;
        lane->full = full->next;
        full->next = lane->taken_full;
        lane->taken_full = full;
    }
}

static void lock_those(struct capture *capture, bool gives_way)
{
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next) {
        if (intake->gives_way == gives_way)
            pthread_mutex_lock(&intake->lock);
    }
}

/* Those first whose requests take long: meanwhile the others go on. */
static void lock_all(struct capture *capture)
{
    atomic_store(&capture->awaits_intakes, true);
    lock_those(capture, true);
    lock_those(capture, false);
    atomic_store(&capture->awaits_intakes, false);
}

/* All intakes at once: the cut. capture.lock is held, so none comes or goes. */
static void cut(struct capture *capture, int64_t *begun_us)
{
    lock_all(capture);
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next) {
        for (struct lane_set *set = intake->set; set != NULL; set = set->older) {
            for (size_t i = 0; i < set->generation->table_count; i++) {
                if (set->lanes[i].open.event_count > 0)
                    take_batches(&set->lanes[i]);
            }
        }
        intake->cut = intake->set;
        /* Oldest first: of two checkpoints with one key the later one holds. */
        while (intake->tickets != NULL) {
            struct ticket *ticket = intake->tickets;
            intake->tickets = ticket->next;
            ticket->next = intake->taken;
            intake->taken = ticket;
        }
    }
    int64_t time_us = atomic_exchange(&capture->cut_us, 0);
    *begun_us = atomic_load(&capture->cut_mono_us);
    if (time_us > capture->last_us)
        capture->last_us = time_us;
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next)
        pthread_mutex_unlock(&intake->lock);
}

static void add_batch(struct capture *capture, size_t *count, const struct table *table,
                      const struct shred_batch *batch)
{
    if (*count == capture->batch_cap) {
        capture->batch_cap = 2 * capture->batch_cap + 8;
        capture->batches =
            memory_resize(capture->batches, capture->batch_cap, sizeof *capture->batches);
        capture->firsts =
            memory_resize(capture->firsts, capture->batch_cap, sizeof *capture->firsts);
    }
    capture->batches[(*count)++] = (struct spool_batch){.stream = table->stream,
                                                        .schema = buf_slice(&table->schema),
                                                        .schema_key = table->schema_key,
                                                        .rows = buf_slice(&batch->rows),
                                                        .event_count = batch->event_count,
                                                        .row_count = batch->row_count,
                                                        .time_min_us = batch->time_min_us,
                                                        .time_max_us = batch->time_max_us};
}

static void add_checkpoints(struct capture *capture, size_t *count, const struct ticket *ticket)
{
    if (*count + ticket->checkpoint_count > capture->checkpoint_cap) {
        capture->checkpoint_cap = 2 * capture->checkpoint_cap + ticket->checkpoint_count;
        capture->checkpoints = memory_resize(capture->checkpoints, capture->checkpoint_cap,
                                             sizeof *capture->checkpoints);
    }
    for (size_t i = 0; i < ticket->checkpoint_count; i++)
        capture->checkpoints[(*count)++] = ticket->checkpoints[i];
}

/* Older sets first: their events came before. */
static void add_batches(struct capture *capture, size_t *count, const struct lane_set *set)
{
    if (set == NULL)
        return;
    add_batches(capture, count, set->older); /* as deep as reloads within a cut */
    for (size_t i = 0; i < set->generation->table_count; i++) {
        const struct lane *lane = &set->lanes[i];
        const struct full_batch *full = lane->taken_full;
        for (; full != NULL; full = full->next)
            add_batch(capture, count, &set->generation->tables[i], &full->batch);
        if (lane->taken.event_count > 0)
            add_batch(capture, count, &set->generation->tables[i], &lane->taken);
    }
}

static size_t taken_bytes(const struct lane *lane)
{
    size_t bytes = lane->taken.rows.len;
    for (const struct full_batch *full = lane->taken_full; full != NULL; full = full->next)
        bytes += full->batch.rows.len;
    return bytes;
}

static size_t cut_bytes(const struct intake *intakes)
{
    size_t bytes = 0;
    for (; intakes != NULL; intakes = intakes->next) {
        for (const struct lane_set *set = intakes->cut; set != NULL; set = set->older) {
            for (size_t i = 0; i < set->generation->table_count; i++)
                bytes += taken_bytes(&set->lanes[i]);
        }
    }
    return bytes;
}

/* What was cut, in one transaction. The taken side of every intake is the committer's, and
 * none goes while `committing`, so no lock is needed. */
static int append_cut(struct capture *capture, struct intake *intakes, struct error *err)
{
    size_t batch_count = 0;
    size_t checkpoint_count = 0;
    for (struct intake *intake = intakes; intake != NULL; intake = intake->next) {
        add_batches(capture, &batch_count, intake->cut);
        for (const struct ticket *ticket = intake->taken; ticket != NULL; ticket = ticket->next)
            add_checkpoints(capture, &checkpoint_count, ticket);
    }
    if (batch_count + checkpoint_count == 0)
        return OK;
    return spool_append(capture->options.spool, capture->batches, batch_count, capture->checkpoints,
                        checkpoint_count, capture->firsts, err);
}

static void count_latency(struct capture_statistics *statistics, int64_t took_us)
{
    size_t bucket = 0;
    while (bucket < CAPTURE_LATENCY_BUCKETS - 1 && took_us > capture_latency_bounds_us[bucket])
        bucket++;
    statistics->latency[bucket]++;
    statistics->latency_sum_us += took_us;
    statistics->cuts++;
}

static void count_batch(struct totals *totals, const struct shred_batch *batch, bool kept)
{
    totals->kept += kept ? batch->event_count : 0;
    totals->kept_rows += kept ? batch->row_count : 0;
    totals->rejected += kept ? 0 : batch->event_count;
}

static void settle_set(struct capture *capture, struct lane_set *set, bool kept)
{
    for (size_t i = 0; i < set->generation->table_count; i++) {
        struct lane *lane = &set->lanes[i];
        if (lane->taken.event_count == 0)
            continue;
        for (const struct full_batch *full = lane->taken_full; full != NULL; full = full->next)
            count_batch(&capture->totals[i], &full->batch, kept);
        full_batches_free(lane->taken_full);
        lane->taken_full = NULL;
        count_batch(&capture->totals[i], &lane->taken, kept);
        /* One large request must not hold its memory for ever. */
        if (lane->taken.rows.cap > BATCH_BYTES_KEPT)
            shred_batch_free(&lane->taken);
        else
            shred_batch_reset(&lane->taken);
    }
}

/* Counts what became of the cut, gives the batches back, and takes the tickets. Without the
 * intake's lock, so that no answer waits for the request that is just handed in: the taken side and
 * the older sets are the committer's, and who counts has capture.lock. */
static struct ticket *settle(struct capture *capture, struct intake *intake, bool kept)
{
    pthread_mutex_lock(&capture->lock);
    ASSERT(intake->cut != NULL);
    for (struct lane_set *set = intake->cut; set != NULL; set = set->older)
        settle_set(capture, set, kept);
    /* What an older set held is committed, and nothing is put there any more. */
    while (intake->cut->older != NULL) {
        struct lane_set *older = intake->cut->older;
        intake->cut->older = older->older;
        lane_set_retire(capture, older);
    }
    tables_sweep(capture);
    struct ticket *tickets = intake->taken;
    intake->taken = NULL;
    pthread_mutex_unlock(&capture->lock);
    return tickets;
}

static void answer(struct ticket *tickets, int rc, const struct error *err)
{
    while (tickets != NULL) {
        struct ticket *ticket = tickets;
        tickets = ticket->next;
        ticket->done(ticket, rc, err);
    }
}

static enum priority lowest_priority(const struct intake *intakes)
{
    enum priority lowest = PRIORITY_HIGH;
    for (; intakes != NULL; intakes = intakes->next) {
        for (const struct lane_set *set = intakes->cut; set != NULL; set = set->older) {
            for (size_t i = 0; i < set->generation->table_count; i++) {
                const struct mapping *mapping = set->generation->tables[i].mapping;
                if (set->lanes[i].taken.event_count > 0 && mapping->priority < lowest)
                    lowest = mapping->priority;
            }
        }
    }
    return lowest;
}

/* A cut is refused whole, clicks for the bid requests' sake: so the next one goes without
 * the tables of the lowest priority. Their shares of the budget were too late: a disk may be
 * full before the budget, or a file have no place for a block. */
static void squeeze(struct capture *capture, const struct intake *intakes)
{
    atomic_store(&capture->squeezed_until_ms, clock_mono_ns() / 1000000 + SQUEEZE_MS);
    if (lowest_priority(intakes) < PRIORITY_HIGH)
        atomic_store(&capture->squeezed_below, (int)lowest_priority(intakes) + 1);
}

/* By another epoch's names, or for the first time, the streams get theirs. capture.lock is
 * held: a reload must not make names meanwhile. */
static int follow_epoch(struct capture *capture, struct error *err)
{
    const char *epoch = spool_epoch_borrow(capture->options.spool);
    if (epoch == capture->epoch)
        return OK;
    int rc = tables_name_streams(capture, err);
    capture->epoch = rc == OK ? epoch : NULL;
    return rc;
}

/* The spool may be opened anew, after a failure, between the names and the append. */
static int append_named(struct capture *capture, struct intake *intakes, struct error *err)
{
    int rc = append_cut(capture, intakes, err);
    if (rc != ERROR_INPUT || capture->epoch == spool_epoch_borrow(capture->options.spool))
        return rc;
    pthread_mutex_lock(&capture->lock);
    rc = follow_epoch(capture, err);
    pthread_mutex_unlock(&capture->lock);
    return rc == OK ? append_cut(capture, intakes, err) : rc;
}

/* At once where it is of another kind than the last one, else once in SAID_AGAIN_MS: a full
 * spool refuses ten times a second for hours, some cuts between others that it takes. */
static void say_refused(struct capture *capture, int rc, const struct error *err)
{
    struct refused_cuts *refused = &capture->refused;
    int64_t now_ms = clock_mono_ns() / 1000000;
    refused->count++;
    if (rc == refused->rc && now_ms - refused->said_at_ms < SAID_AGAIN_MS)
        return;
    log_event(LOG_LEVEL_ERROR, "capture", "events refused, the spool did not take them",
              "cuts_since_last_said=%llu error=\"%s\"", (unsigned long long)refused->count,
              err->text);
    *refused = (struct refused_cuts){.rc = rc, .said_at_ms = now_ms};
}

/* rc is that of the epoch: with an error the cut is refused. */
static void commit_cut(struct capture *capture, struct intake *intakes, int64_t begun_us, int rc,
                       struct error *err)
{
    size_t bytes = cut_bytes(intakes);
    if (rc == OK)
        rc = append_named(capture, intakes, err);
    int64_t took_us = clock_mono_ns() / 1000 - begun_us;
    if (rc == ERROR_LIMIT)
        squeeze(capture, intakes);
    if (rc != OK)
        say_refused(capture, rc, err);
    struct ticket *tickets = NULL;
    /* An intake may be closed as soon as its last ticket is answered: all are settled
     * before any is. */
    for (struct intake *intake = intakes; intake != NULL; intake = intake->next) {
        struct ticket *of_one = settle(capture, intake, rc == OK);
        while (of_one != NULL) {
            struct ticket *ticket = of_one;
            of_one = ticket->next;
            ticket->next = tickets;
            tickets = ticket;
        }
    }
    atomic_fetch_sub(&capture->waiting_bytes, bytes);
    pthread_mutex_lock(&capture->lock);
    if (bytes > 0)
        count_latency(&capture->statistics, took_us);
    capture->committing = false;
    pthread_cond_broadcast(&capture->idle);
    pthread_mutex_unlock(&capture->lock);
    answer(tickets, rc, err);
}

/* A new epoch, and with it new names for all streams. capture.lock is held. */
static int renew_epoch(struct capture *capture, struct error *err)
{
    const struct clock *clock = capture->options.clock;
    if (spool_epoch_is_due(&capture->watch, clock_wall_ms(clock), clock_mono_ms(clock)))
        capture->epoch_is_due = true;
    int rc = capture->epoch_is_due ? spool_renew_epoch(capture->options.spool, err) : OK;
    if (rc == OK)
        capture->epoch_is_due = false;
    return rc == OK ? follow_epoch(capture, err) : rc;
}

/* When the next cut may be made; the commits are counted as if they came evenly, and those
 * that were not made within the last second are had still. */
static int64_t next_cut_ns(const struct capture *capture, int64_t now_ns)
{
    int64_t linger_ns = capture->options.linger_ms * 1000000;
    if (linger_ns == 0 || capture->paid_ns <= now_ns)
        return now_ns;
    return capture->paid_ns - now_ns < linger_ns ? capture->paid_ns : now_ns + linger_ns;
}

static void count_commit(struct capture *capture, int64_t now_ns)
{
    int64_t each_ns = SECOND_NS / capture->options.commits_per_second_max;
    if (capture->paid_ns < now_ns - SECOND_NS)
        capture->paid_ns = now_ns - SECOND_NS;
    capture->paid_ns += each_ns;
    if (capture->paid_ns > now_ns + each_ns)
        capture->paid_ns = now_ns + each_ns;
}

/* `asked` stays set, so nobody signals meanwhile but who closes. wake_lock is held. */
static void wait_for_company(struct capture *capture)
{
    int64_t now_ns = clock_mono_ns();
    int64_t until_ns = next_cut_ns(capture, now_ns);
    while (!atomic_load(&capture->stopping) && now_ns < until_ns) {
        clock_condition_wait(&capture->changed, &capture->wake_lock,
                             (until_ns - now_ns + 999999) / 1000000);
        now_ns = clock_mono_ns();
    }
    count_commit(capture, now_ns);
}

static void wait_for_work(struct capture *capture)
{
    pthread_mutex_lock(&capture->wake_lock);
    while (!atomic_load(&capture->asked) && !atomic_load(&capture->stopping))
        pthread_cond_wait(&capture->changed, &capture->wake_lock);
    if (capture->options.linger_ms > 0)
        wait_for_company(capture);
    pthread_mutex_unlock(&capture->wake_lock);
}

void *commit_loop(void *context)
{
    struct capture *capture = context;
    pthread_setname_np(pthread_self(), "committer");
    for (;;) {
        wait_for_work(capture);
        if (!atomic_exchange(&capture->asked, false))
            return NULL;
        int64_t begun_us = 0;
        pthread_mutex_lock(&capture->lock);
        cut(capture, &begun_us);
        atomic_store(&capture->busy_since_ms, clock_mono_ms(&clock_system));
        capture->committing = true;
        struct intake *intakes = capture->intakes;
        struct error err = {0};
        int rc = renew_epoch(capture, &err);
        pthread_mutex_unlock(&capture->lock);
        commit_cut(capture, intakes, begun_us, rc, &err);
        atomic_store(&capture->busy_since_ms, 0);
    }
}
