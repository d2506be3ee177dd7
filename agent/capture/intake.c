/* SPDX-License-Identifier: Apache-2.0
 *
 * Two batches for each intake and table: one that is open, one that the committer has in
 * hand. A cut locks all intakes, exchanges the two where there is something, and unlocks;
 * so every event of one cut comes before every event of the next, in all streams, and one
 * received_at for a cut is enough for it never to go back.
 *
 * A block has a largest size (SPOOL_BATCH_BYTES_MAX). A batch that comes to it is put aside
 * and another begun: so an event is refused for its size alone, not for its neighbours. What a
 * request may have in all is bounded too; it is taken back whole when it has more.
 */
#include "agent/capture/state.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum {
    LETTER_BODY_MAX = 4096,
    LETTER_MAX = 64 << 10, /* with six characters for each byte of it, and the rest */
    /* Of what waits for the disk and of the spool's budget, for each higher priority. */
    OPEN_KEPT_SHARE = 4,
    SPOOL_KEPT_SHARE = 32,
};

/* Of the newest generation. capture.lock is held. */
static int lane_set_make(const struct capture *capture, struct lane_set **out, struct error *err)
{
    struct generation *generation = atomic_load(&capture->generation);
    const struct capture_limits *limits = &generation->limits;
    struct shred_options shred = {.time_past_us = limits->time_past_us,
                                  .time_future_us = limits->time_future_us};
    struct lane_set *set = memory_alloc(1, sizeof *set);
    generation->lane_sets++;
    set->generation = generation;
    set->lanes = memory_alloc(generation->table_count, sizeof *set->lanes);
    *out = set;
    int rc = OK;
    for (size_t i = 0; rc == OK && i < generation->table_count; i++) {
        struct lane *lane = &set->lanes[i];
        buf_init(&lane->open.rows, capture->batch_bytes_max);
        buf_init(&lane->taken.rows, capture->batch_bytes_max);
        shred_batch_reset(&lane->open);
        shred_batch_reset(&lane->taken);
        bool letters =
            strcmp(generation->tables[i].mapping->schema.table, CAPTURE_DEAD_LETTERS) == 0;
        shred.bytes_max =
            letters && limits->event_bytes_max < LETTER_MAX ? LETTER_MAX : limits->event_bytes_max;
        rc = shredder_open(&lane->shredder, generation->tables[i].mapping, &shred, err);
    }
    return rc;
}

static void lane_set_free(struct lane_set *set)
{
    set->generation->lane_sets--;
    for (size_t i = 0; i < set->generation->table_count; i++) {
        shredder_close(set->lanes[i].shredder);
        full_batches_free(set->lanes[i].full);
        full_batches_free(set->lanes[i].taken_full);
        shred_batch_free(&set->lanes[i].open);
        shred_batch_free(&set->lanes[i].taken);
    }
    free(set->lanes);
    free(set);
}

void full_batches_free(struct full_batch *batches)
{
    while (batches != NULL) {
        struct full_batch *batch = batches;
        batches = batch->next;
        shred_batch_free(&batch->batch);
        free(batch);
    }
}

static int open_intake(struct intake **out, struct capture *capture, bool gives_way,
                       struct error *err)
{
    struct intake *intake = memory_alloc(1, sizeof *intake);
    intake->capture = capture;
    intake->gives_way = gives_way;
    pthread_mutex_init(&intake->lock, NULL);
    pthread_mutex_lock(&capture->lock);
    int rc = lane_set_make(capture, &intake->set, err);
    intake->next = capture->intakes;
    capture->intakes = intake;
    capture->intake_count++;
    pthread_mutex_unlock(&capture->lock);
    if (rc != OK) {
        intake_close(intake);
        return rc;
    }
    *out = intake;
    return OK;
}

int intake_open(struct intake **out, struct capture *capture, struct error *err)
{
    return open_intake(out, capture, false, err);
}

int intake_open_giving_way(struct intake **out, struct capture *capture, struct error *err)
{
    return open_intake(out, capture, true, err);
}

void lane_count(struct capture_table_statistics *to, const struct lane *lane)
{
    to->received += lane->received;
    to->received_bytes += lane->received_bytes;
    to->turned_away += lane->turned_away;
    for (size_t i = 0; i < REFUSED_REASON_COUNT; i++)
        to->refused[i] += lane->refused[i];
    to->waiting += lane->open.event_count + lane->taken.event_count;
    for (const struct full_batch *at = lane->full; at != NULL; at = at->next)
        to->waiting += at->batch.event_count;
    for (const struct full_batch *at = lane->taken_full; at != NULL; at = at->next)
        to->waiting += at->batch.event_count;
}

void lane_set_retire(struct capture *capture, struct lane_set *set)
{
    for (size_t i = 0; i < set->generation->table_count; i++)
        lane_count(&capture->totals[i].closed, &set->lanes[i]);
    lane_set_free(set);
}

void intake_close(struct intake *intake)
{
    if (intake == NULL)
        return;
    struct capture *capture = intake->capture;
    pthread_mutex_lock(&capture->lock);
    while (capture->committing)
        pthread_cond_wait(&capture->idle, &capture->lock);
    struct intake **at = &capture->intakes;
    while (*at != intake)
        at = &(*at)->next;
    *at = intake->next;
    capture->intake_count--;
    while (intake->set != NULL) {
        struct lane_set *set = intake->set;
        intake->set = set->older;
        lane_set_retire(capture, set);
    }
    pthread_mutex_unlock(&capture->lock);
    ASSERT(intake->tickets == NULL && intake->taken == NULL);
    pthread_mutex_destroy(&intake->lock);
    buf_free(&intake->letter);
    free(intake);
}

/* The cut's received_at; its first event decides. */
static int64_t cut_time_us(struct capture *capture)
{
    int64_t time_us = atomic_load(&capture->cut_us);
    if (time_us != 0)
        return time_us;
    int64_t now_us = clock_wall_us(capture->options.clock);
    if (now_us < capture->last_us)
        now_us = capture->last_us;
    if (atomic_compare_exchange_strong(&capture->cut_us, &time_us, now_us)) {
        atomic_store(&capture->cut_mono_us, clock_mono_ns() / 1000);
        return now_us;
    }
    return time_us;
}

/* The mappings were loaded and checked by capture_prepare, so this can't fail by them. */
static int follow_generation(struct intake *intake, struct error *err)
{
    struct capture *capture = intake->capture;
    struct lane_set *set = NULL;
    /* Not a freed one's address again: the set's generation is in use. */
    if (intake->set->generation == atomic_load(&capture->generation))
        return OK;
    pthread_mutex_lock(&capture->lock);
    int rc = lane_set_make(capture, &set, err);
    pthread_mutex_lock(&intake->lock);
    if (rc == OK) {
        set->older = intake->set;
        intake->set = set;
    } else {
        lane_set_free(set);
    }
    pthread_mutex_unlock(&intake->lock);
    pthread_mutex_unlock(&capture->lock);
    return rc;
}

/* What is left of `whole` to tables of this priority. */
static uint64_t share(uint64_t whole, enum priority priority, unsigned kept_for_higher)
{
    static const unsigned parts[] = {
        [PRIORITY_LOW] = 2, [PRIORITY_NORMAL] = 1, [PRIORITY_HIGH] = 0};
    return whole - whole / kept_for_higher * parts[priority];
}

static int find_room(struct capture *capture, enum priority priority, struct error *err)
{
    size_t waiting = atomic_load(&capture->waiting_bytes);
    if (waiting >= share(capture->options.open_bytes_max, priority, OPEN_KEPT_SHARE))
        return error_set(err, ERROR_LIMIT, "%zu bytes wait for the disk already", waiting);
    if ((int)priority < atomic_load(&capture->squeezed_below) &&
        clock_mono_ns() / 1000000 < atomic_load(&capture->squeezed_until_ms))
        return error_set(err, ERROR_LIMIT, "what room there is is for tables of higher priority");
    struct spool_room room;
    spool_room(capture->options.spool, &room);
    if (!capture->options.spool_drops &&
        room.used + waiting >= share(room.usable, priority, SPOOL_KEPT_SHARE))
        return error_set(
            err, ERROR_LIMIT, "the spool is full: %llu of %llu bytes are used, the rest is %s",
            (unsigned long long)room.used, (unsigned long long)room.usable,
            priority == PRIORITY_HIGH ? "spoken for" : "for tables of higher priority");
    return OK;
}

int capture_room(struct capture *capture, size_t table, struct error *err)
{
    /* The lock: no intake of this thread keeps the generation from being freed. */
    pthread_mutex_lock(&capture->lock);
    const struct generation *generation = atomic_load(&capture->generation);
    ASSERT(table < generation->table_count);
    enum priority priority = generation->tables[table].mapping->priority;
    pthread_mutex_unlock(&capture->lock);
    return find_room(capture, priority, err);
}

/* A mutex is not fair: who takes it again at once would keep the committer, and with it all others'
 * answers, waiting for request after request. */
static void let_pass(struct capture *capture)
{
    if (!atomic_load(&capture->awaits_intakes))
        return;
    pthread_mutex_lock(&capture->lock);
    pthread_mutex_unlock(&capture->lock);
}

int intake_begin(struct intake *intake, size_t table, struct ticket *ticket, struct error *err)
{
    struct capture *capture = intake->capture;
    ASSERT(intake->ticket == NULL);
    if (intake->gives_way)
        let_pass(capture);
    ticket->next = NULL;
    ticket->accepted = 0;
    ticket->refused = 0;
    ticket->dead_letters = 0;
    ticket->too_large = false;
    int rc = follow_generation(intake, err);
    if (rc != OK)
        return rc;
    /* The newest set is this thread's to change. */
    struct lane_set *set = intake->set;
    ASSERT(table < set->generation->table_count);
    rc = find_room(capture, set->generation->tables[table].mapping->priority, err);
    if (rc != OK) {
        atomic_fetch_add(&set->lanes[table].turned_away, 1);
        atomic_fetch_add(&capture->full, 1);
        return rc;
    }
    pthread_mutex_lock(&intake->lock);
    intake->table = table;
    intake->ticket = ticket;
    intake->request_bytes = 0;
    const struct lane *lane = &set->lanes[table];
    intake->mark = (struct mark){.full = lane->full,
                                 .len = lane->open.rows.len,
                                 .event_count = lane->open.event_count,
                                 .row_count = lane->open.row_count,
                                 .time_min_us = lane->open.time_min_us,
                                 .time_max_us = lane->open.time_max_us};
    return OK;
}

/* ---- events ---- */

static void begin_batch(struct lane *lane)
{
    struct full_batch *full = memory_alloc(1, sizeof *full);
    full->next = lane->full;
    full->batch = lane->open;
    lane->full = full;
    lane->open = (struct shred_batch){0};
    buf_init(&lane->open.rows, full->batch.rows.max);
    shred_batch_reset(&lane->open);
}

/* Takes the newest full batch for the open one, which goes. */
static void reopen_batch(struct lane *lane)
{
    struct full_batch *full = lane->full;
    shred_batch_free(&lane->open);
    lane->open = full->batch;
    lane->full = full->next;
    free(full);
}

/* How many bytes of rows the event made; 0: refused. */
static size_t shred_event(struct lane *lane, struct slice json, const struct shred_context *context,
                          struct refusal *refusal)
{
    size_t before = lane->open.rows.len;
    if (shredder_event(lane->shredder, json, context, &lane->open, refusal))
        return lane->open.rows.len - before;
    if (refusal->reason != REFUSED_ROWS || before == 0)
        return 0;
    begin_batch(lane);
    if (shredder_event(lane->shredder, json, context, &lane->open, refusal))
        return lane->open.rows.len;
    reopen_batch(lane);
    return 0;
}

/* The lane is again as it was before the request. */
static void take_back(struct intake *intake, struct lane *lane)
{
    const struct mark *mark = &intake->mark;
    struct ticket *ticket = intake->ticket;
    while (lane->full != mark->full)
        reopen_batch(lane);
    lane->open.rows.len = mark->len;
    lane->open.event_count = mark->event_count;
    lane->open.row_count = mark->row_count;
    lane->open.time_min_us = mark->time_min_us;
    lane->open.time_max_us = mark->time_max_us;
    atomic_fetch_sub(&intake->capture->waiting_bytes, intake->request_bytes);
    lane->refused[REFUSED_ROWS] += ticket->accepted;
    ticket->refused += ticket->accepted;
    ticket->accepted = 0;
    ticket->too_large = true;
}

bool intake_is_full(const struct intake *intake)
{
    return intake->request_bytes >= intake->capture->options.request_bytes_max;
}

size_t capture_request_bytes_max(const struct capture *capture)
{
    return capture->options.request_bytes_max;
}

void intake_give_up(struct intake *intake)
{
    if (!intake->ticket->too_large)
        take_back(intake, &intake->set->lanes[intake->table]);
}

static size_t take_event(struct intake *intake, struct slice json, struct shred_context *context,
                         struct refusal *refusal)
{
    struct capture *capture = intake->capture;
    struct lane *lane = &intake->set->lanes[intake->table];
    context->received_at_us = cut_time_us(capture);
    lane->received++;
    lane->received_bytes += json.len;
    size_t bytes = intake->ticket->too_large ? 0 : shred_event(lane, json, context, refusal);
    if (intake->ticket->too_large)
        *refusal = (struct refusal){.reason = REFUSED_ROWS,
                                    .line = 1,
                                    .column = 1,
                                    .text = "the request has too many events"};
    if (bytes == 0) {
        lane->refused[refusal->reason]++;
        intake->ticket->refused++;
        return 0;
    }
    intake->ticket->accepted++;
    atomic_fetch_add(&capture->waiting_bytes, bytes);
    return bytes;
}

bool intake_event(struct intake *intake, struct slice json, struct shred_context *context,
                  struct refusal *refusal)
{
    if (intake_is_full(intake) && !intake->ticket->too_large)
        take_back(intake, &intake->set->lanes[intake->table]);
    size_t bytes = take_event(intake, json, context, refusal);
    intake->request_bytes += bytes;
    return bytes > 0;
}

void intake_refuse(struct intake *intake, enum refusal_reason reason)
{
    struct lane *lane = &intake->set->lanes[intake->table];
    lane->received++;
    lane->refused[reason]++;
    intake->ticket->refused++;
}

void intake_dead_letter(struct intake *intake, const struct dead_letter *letter)
{
    size_t table = tables_find(intake->set->generation, slice_cstr(CAPTURE_DEAD_LETTERS));
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    size_t len = letter->body.len < LETTER_BODY_MAX ? letter->body.len : LETTER_BODY_MAX;
    struct ticket counts = *intake->ticket;
    struct buf *text = &intake->letter;
    struct refusal refusal;
    ASSERT(table != SIZE_MAX); /* mapping_set_load sees to it */
    buf_reset(text);
    buf_put_cstr(text, "{\"source\":");
    json_put_string(text, slice_cstr(letter->source));
    buf_put_cstr(text, ",\"table\":");
    json_put_string(
        text, slice_cstr(intake->set->generation->tables[intake->table].mapping->schema.table));
    buf_printf(text, ",\"position\":%lld,\"reason\":", (long long)letter->position);
    json_put_string(text, slice_cstr(letter->reason));
    buf_put_cstr(text, ",\"body\":");
    json_put_string(text, slice_of(letter->body.data, len));
    buf_put_u8(text, '}');
    size_t of_events = intake->table;
    intake->table = table;
    bool fine = take_event(intake, buf_slice(text), &context, &refusal) > 0;
    intake->table = of_events;
    *intake->ticket = counts;
    /* A mapping of somebody's own may ask of a letter what none has; it is counted as refused. */
    if (fine)
        intake->ticket->dead_letters++;
}

bool intake_end(struct intake *intake)
{
    struct ticket *ticket = intake->ticket;
    bool waits = ticket->accepted + ticket->dead_letters > 0 || ticket->checkpoint_count > 0;
    bool looked_at = waits || ticket->refused > 0;
    intake->ticket = NULL;
    if (waits) {
        ticket->next = intake->tickets;
        intake->tickets = ticket;
    }
    pthread_mutex_unlock(&intake->lock);
    /* Also when all was refused: else the open cut would keep that moment's received_at. */
    if (looked_at)
        committer_wake(intake->capture);
    return waits;
}
