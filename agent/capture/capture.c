/* SPDX-License-Identifier: Apache-2.0
 *
 * Two batches for each intake and table: one that is open, one that the committer has in
 * hand. A cut locks all intakes, exchanges the two where there is something, and unlocks;
 * so every event of one cut comes before every event of the next, in all streams, and one
 * received_at for a cut is enough for it never to go back.
 *
 * The tables are a generation, which capture_reload replaces. An intake goes over to the
 * newest one when it begins its next request; what it shredded under the one before waits
 * in an older lane set and goes with the next cut. Table numbers stay: a new generation
 * begins with the tables of the old one.
 *
 * Locks, in this order: capture.lock, then intakes in the list's order. The committer
 * holds none of them while it appends or answers.
 */
#include "agent/capture/capture.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum {
    EVENT_BYTES_DEFAULT = 1 << 20,
    OPEN_BYTES_DEFAULT = 16 << 20,
    LETTER_BODY_MAX = 4096,
    LETTER_MAX = 64 << 10, /* with six characters for each byte of it, and the rest */
};
#define LETTERS "dead_letters"

const int64_t capture_latency_bounds_us[CAPTURE_LATENCY_BUCKETS - 1] = {
    100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 500000};

struct table {
    const struct mapping *mapping;
    struct buf schema; /* encoded */
    uint64_t schema_key;
    char stream[STREAM_NAME_MAX + 1];
};

struct generation {
    struct generation *older;
    struct mapping_set owned; /* of a reload */
    size_t table_count;
    struct table *tables;
};

/* An intake's part in one table. */
struct lane {
    struct shredder *shredder;
    struct shred_batch open;
    struct shred_batch taken; /* the committer's between cut and answer */
    uint64_t received;
    uint64_t received_bytes;
    uint64_t refused[REFUSED_REASON_COUNT];
};

struct lane_set {
    struct lane_set *older;
    const struct generation *generation;
    struct lane *lanes; /* one a table */
};

struct intake {
    struct capture *capture;
    struct intake *next;
    size_t table; /* of the request that is being handed in */
    struct ticket *ticket;
    struct buf letter; /* the text of a dead letter */
    pthread_mutex_t lock;
    /* guarded by lock */
    struct lane_set *set;   /* of the newest generation it has seen; older ones empty out */
    struct lane_set *cut;   /* the newest of the cut, for the committer */
    struct ticket *tickets; /* newest first */
    struct ticket *taken;   /* the committer's */
};

struct totals { /* of a table */
    uint64_t kept;
    uint64_t kept_rows;
    uint64_t rejected;
    struct capture_table_statistics closed; /* of intakes that are gone */
};

struct capture {
    struct capture_options options;
    _Atomic(struct generation *) generation;
    /* The received_at of the open cut; 0: nothing came yet. Set by the first intake,
     * cleared while all intakes are locked. */
    _Atomic int64_t cut_us;
    _Atomic int64_t cut_mono_us; /* when, by the monotonic clock */
    int64_t last_us;             /* read by intakes, written with all of them locked */
    _Atomic size_t waiting_bytes;
    _Atomic uint64_t full;
    _Atomic bool asked; /* there is something to commit */
    pthread_t committer;
    /* the committer's own */
    struct spool_epoch_watch watch;
    bool epoch_is_due; /* also while making it fails */
    struct spool_batch *batches;
    uint64_t *firsts;
    struct spool_checkpoint *checkpoints;
    size_t batch_cap;
    size_t checkpoint_cap;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_cond_t idle;
    /* guarded by lock */
    bool stopping;
    bool committing; /* the committer walks the intakes: none may go */
    struct intake *intakes;
    size_t intake_count;
    struct totals *totals;
    struct capture_statistics statistics;
};

/* ---- tables ---- */

static const struct generation *current(const struct capture *capture)
{
    return atomic_load(&capture->generation);
}

static size_t find_table(const struct generation *generation, struct slice table)
{
    for (size_t i = 0; generation != NULL && i < generation->table_count; i++) {
        if (slice_is(table, generation->tables[i].mapping->schema.table))
            return i;
    }
    return SIZE_MAX;
}

size_t capture_find_table(const struct capture *capture, struct slice table)
{
    return find_table(current(capture), table);
}

size_t capture_table_count(const struct capture *capture)
{
    return current(capture)->table_count;
}

const struct mapping *capture_mapping_borrow(const struct capture *capture, size_t table)
{
    const struct generation *generation = current(capture);
    ASSERT(table < generation->table_count);
    return generation->tables[table].mapping;
}

/* Of the spool's epoch as it is now. */
static int name_stream(const struct capture *capture, struct table *table, struct error *err)
{
    const struct capture_options *options = &capture->options;
    char *name = memory_printf("%s.%s", options->namespace, table->mapping->schema.table);
    int rc = stream_name_make(table->stream, options->agent_id, spool_epoch_borrow(options->spool),
                              name, err);
    free(name);
    return rc;
}

static int open_table(const struct capture *capture, struct table *table,
                      const struct mapping *mapping, struct error *err)
{
    table->mapping = mapping;
    table_schema_encode(&mapping->schema, &table->schema);
    table->schema_key = table_schema_key(&mapping->schema);
    return name_stream(capture, table, err);
}

static void generation_free(struct generation *generation)
{
    for (size_t i = 0; i < generation->table_count; i++)
        buf_free(&generation->tables[i].schema);
    mapping_set_free(&generation->owned);
    free(generation->tables);
    free(generation);
}

/* The tables of the older generation at their numbers, with their new mappings where there
 * are such, then the tables that are new. */
static int generation_make(struct capture *capture, const struct mapping_set *mappings,
                           struct generation **out, struct error *err)
{
    const struct generation *older = current(capture);
    size_t kept = older != NULL ? older->table_count : 0;
    struct generation *generation = memory_alloc(1, sizeof *generation);
    generation->tables = memory_alloc(kept + mappings->count, sizeof *generation->tables);
    int rc = OK;
    for (size_t i = 0; rc == OK && i < kept + mappings->count; i++) {
        const struct mapping *mapping = i < kept ? older->tables[i].mapping : NULL;
        const struct mapping *newer = mapping != NULL
                                          ? mapping_set_find(mappings, mapping->schema.table)
                                          : &mappings->mappings[i - kept];
        if (mapping == NULL && find_table(older, slice_cstr(newer->schema.table)) != SIZE_MAX)
            continue;
        rc = open_table(capture, &generation->tables[generation->table_count++],
                        newer != NULL ? newer : mapping, err);
    }
    if (rc != OK)
        generation_free(generation);
    else
        *out = generation;
    return rc;
}

/* ---- intakes ---- */

static int lane_set_make(struct intake *intake, const struct generation *generation,
                         struct lane_set **out, struct error *err)
{
    const struct capture_options *options = &intake->capture->options;
    struct shred_options shred = {.time_past_us = options->time_past_us,
                                  .time_future_us = options->time_future_us};
    struct lane_set *set = memory_alloc(1, sizeof *set);
    set->generation = generation;
    set->lanes = memory_alloc(generation->table_count, sizeof *set->lanes);
    *out = set;
    int rc = OK;
    for (size_t i = 0; rc == OK && i < generation->table_count; i++) {
        struct lane *lane = &set->lanes[i];
        buf_init(&lane->open.rows, SPOOL_BATCH_BYTES_MAX);
        buf_init(&lane->taken.rows, SPOOL_BATCH_BYTES_MAX);
        shred_batch_reset(&lane->open);
        shred_batch_reset(&lane->taken);
        bool letters = strcmp(generation->tables[i].mapping->schema.table, LETTERS) == 0;
        shred.bytes_max = letters && options->event_bytes_max < LETTER_MAX
                              ? LETTER_MAX
                              : options->event_bytes_max;
        rc = shredder_open(&lane->shredder, generation->tables[i].mapping, &shred, err);
    }
    return rc;
}

static void lane_set_free(struct lane_set *set)
{
    for (size_t i = 0; i < set->generation->table_count; i++) {
        shredder_close(set->lanes[i].shredder);
        shred_batch_free(&set->lanes[i].open);
        shred_batch_free(&set->lanes[i].taken);
    }
    free(set->lanes);
    free(set);
}

int intake_open(struct intake **out, struct capture *capture, struct error *err)
{
    struct intake *intake = memory_alloc(1, sizeof *intake);
    intake->capture = capture;
    pthread_mutex_init(&intake->lock, NULL);
    int rc = lane_set_make(intake, current(capture), &intake->set, err);
    pthread_mutex_lock(&capture->lock);
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

static void add_lane(struct capture_table_statistics *to, const struct lane *lane)
{
    to->received += lane->received;
    to->received_bytes += lane->received_bytes;
    for (size_t i = 0; i < REFUSED_REASON_COUNT; i++)
        to->refused[i] += lane->refused[i];
    to->waiting += lane->open.event_count + lane->taken.event_count;
}

/* Its counts stay. capture.lock is held. */
static void retire_lane_set(struct capture *capture, struct lane_set *set)
{
    for (size_t i = 0; i < set->generation->table_count; i++)
        add_lane(&capture->totals[i].closed, &set->lanes[i]);
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
        retire_lane_set(capture, set);
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

/* The mappings were loaded and checked by capture_reload, so this can't fail by them. */
static int follow_generation(struct intake *intake, struct error *err)
{
    const struct generation *newest = current(intake->capture);
    struct lane_set *set = NULL;
    if (intake->set->generation == newest)
        return OK;
    int rc = lane_set_make(intake, newest, &set, err);
    if (rc != OK) {
        lane_set_free(set);
        return rc;
    }
    set->older = intake->set;
    intake->set = set;
    return OK;
}

int intake_begin(struct intake *intake, size_t table, struct ticket *ticket, struct error *err)
{
    struct capture *capture = intake->capture;
    ASSERT(intake->ticket == NULL);
    if (atomic_load(&capture->waiting_bytes) >= capture->options.open_bytes_max) {
        atomic_fetch_add(&capture->full, 1);
        return error_set(err, ERROR_LIMIT, "%zu bytes wait for the disk already",
                         atomic_load(&capture->waiting_bytes));
    }
    ticket->next = NULL;
    ticket->accepted = 0;
    ticket->refused = 0;
    ticket->dead_letters = 0;
    pthread_mutex_lock(&intake->lock);
    int rc = follow_generation(intake, err);
    if (rc != OK) {
        pthread_mutex_unlock(&intake->lock);
        return rc;
    }
    ASSERT(table < intake->set->generation->table_count);
    intake->table = table;
    intake->ticket = ticket;
    return OK;
}

bool intake_event(struct intake *intake, struct slice json, struct shred_context *context,
                  struct refusal *refusal)
{
    struct capture *capture = intake->capture;
    struct lane *lane = &intake->set->lanes[intake->table];
    size_t before = lane->open.rows.len;
    context->received_at_us = cut_time_us(capture);
    lane->received++;
    lane->received_bytes += json.len;
    if (!shredder_event(lane->shredder, json, context, &lane->open, refusal)) {
        lane->refused[refusal->reason]++;
        intake->ticket->refused++;
        return false;
    }
    intake->ticket->accepted++;
    atomic_fetch_add(&capture->waiting_bytes, lane->open.rows.len - before);
    return true;
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
    size_t table = find_table(intake->set->generation, slice_cstr(LETTERS));
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
    bool fine = intake_event(intake, buf_slice(text), &context, &refusal);
    intake->table = of_events;
    *intake->ticket = counts;
    /* A mapping of somebody's own may ask of a letter what none has; it is counted as refused. */
    if (fine)
        intake->ticket->dead_letters++;
}

/* The committer sleeps only when `asked` was false, so one wake a cut is enough. */
static void wake_committer(struct capture *capture)
{
    if (atomic_exchange(&capture->asked, true))
        return;
    pthread_mutex_lock(&capture->lock);
    pthread_cond_signal(&capture->changed);
    pthread_mutex_unlock(&capture->lock);
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
        wake_committer(intake->capture);
    return waits;
}

/* ---- the committer ---- */

static void swap_batches(struct lane *lane)
{
    struct shred_batch taken = lane->taken;
    lane->taken = lane->open;
    lane->open = taken;
}

/* All intakes at once: the cut. capture.lock is held, so none comes or goes. */
static void cut(struct capture *capture, int64_t *begun_us)
{
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next)
        pthread_mutex_lock(&intake->lock);
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next) {
        for (struct lane_set *set = intake->set; set != NULL; set = set->older) {
            for (size_t i = 0; i < set->generation->table_count; i++) {
                if (set->lanes[i].open.event_count > 0)
                    swap_batches(&set->lanes[i]);
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
        const struct shred_batch *taken = &set->lanes[i].taken;
        if (taken->event_count > 0)
            add_batch(capture, count, &set->generation->tables[i], taken);
    }
}

static size_t cut_bytes(const struct intake *intakes)
{
    size_t bytes = 0;
    for (; intakes != NULL; intakes = intakes->next) {
        for (const struct lane_set *set = intakes->cut; set != NULL; set = set->older) {
            for (size_t i = 0; i < set->generation->table_count; i++)
                bytes += set->lanes[i].taken.rows.len;
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

static void settle_set(struct capture *capture, struct lane_set *set, bool kept)
{
    for (size_t i = 0; i < set->generation->table_count; i++) {
        struct shred_batch *taken = &set->lanes[i].taken;
        struct totals *totals = &capture->totals[i];
        totals->kept += kept ? taken->event_count : 0;
        totals->kept_rows += kept ? taken->row_count : 0;
        totals->rejected += kept ? 0 : taken->event_count;
        if (taken->event_count > 0)
            shred_batch_reset(taken);
    }
}

/* Counts what became of the cut, gives the batches back, and takes the tickets. */
static struct ticket *settle(struct capture *capture, struct intake *intake, bool kept)
{
    pthread_mutex_lock(&capture->lock);
    pthread_mutex_lock(&intake->lock);
    for (struct lane_set *set = intake->cut; set != NULL; set = set->older)
        settle_set(capture, set, kept);
    /* What an older set held is committed, and nothing is put there any more. */
    while (intake->cut->older != NULL) {
        struct lane_set *older = intake->cut->older;
        intake->cut->older = older->older;
        retire_lane_set(capture, older);
    }
    struct ticket *tickets = intake->taken;
    intake->taken = NULL;
    pthread_mutex_unlock(&intake->lock);
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

/* rc is that of the epoch: with an error the cut is refused. */
static void commit_cut(struct capture *capture, struct intake *intakes, int64_t begun_us, int rc,
                       struct error *err)
{
    size_t bytes = cut_bytes(intakes);
    if (rc == OK)
        rc = append_cut(capture, intakes, err);
    int64_t took_us = clock_mono_ns() / 1000 - begun_us;
    if (rc != OK)
        log_event(LOG_LEVEL_ERROR, "capture", "events refused, the spool did not take them",
                  "error=\"%s\"", err->text);
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

/* A new epoch, and with it new names for all streams. capture.lock is held: a reload must
 * not make names meanwhile. */
static int renew_epoch(struct capture *capture, struct error *err)
{
    const struct clock *clock = capture->options.clock;
    if (spool_epoch_is_due(&capture->watch, clock_wall_ms(clock), clock_mono_ms(clock)))
        capture->epoch_is_due = true;
    if (!capture->epoch_is_due)
        return OK;
    int rc = spool_renew_epoch(capture->options.spool, err);
    struct generation *generation = atomic_load(&capture->generation);
    for (; rc == OK && generation != NULL; generation = generation->older) {
        for (size_t i = 0; rc == OK && i < generation->table_count; i++)
            rc = name_stream(capture, &generation->tables[i], err);
    }
    capture->epoch_is_due = rc != OK;
    return rc;
}

static void *commit_loop(void *context)
{
    struct capture *capture = context;
    pthread_mutex_lock(&capture->lock);
    for (;;) {
        while (!atomic_load(&capture->asked) && !capture->stopping)
            pthread_cond_wait(&capture->changed, &capture->lock);
        if (!atomic_exchange(&capture->asked, false))
            break;
        int64_t begun_us = 0;
        cut(capture, &begun_us);
        capture->committing = true;
        struct intake *intakes = capture->intakes;
        struct error err = {0};
        int rc = renew_epoch(capture, &err);
        pthread_mutex_unlock(&capture->lock);
        commit_cut(capture, intakes, begun_us, rc, &err);
        pthread_mutex_lock(&capture->lock);
    }
    pthread_mutex_unlock(&capture->lock);
    return NULL;
}

/* ---- open, close, statistics ---- */

int capture_open(struct capture **out, const struct capture_options *options, struct error *err)
{
    struct capture *capture = memory_alloc(1, sizeof *capture);
    capture->options = *options;
    if (capture->options.clock == NULL)
        capture->options.clock = &clock_system;
    if (capture->options.event_bytes_max == 0)
        capture->options.event_bytes_max = EVENT_BYTES_DEFAULT;
    if (capture->options.open_bytes_max == 0)
        capture->options.open_bytes_max = OPEN_BYTES_DEFAULT;
    capture->totals = memory_alloc(options->mappings->count, sizeof *capture->totals);
    pthread_mutex_init(&capture->lock, NULL);
    pthread_cond_init(&capture->changed, NULL);
    pthread_cond_init(&capture->idle, NULL);
    struct generation *generation = NULL;
    int rc = generation_make(capture, options->mappings, &generation, err);
    if (rc != OK) {
        capture->stopping = true;
        capture_close(capture);
        return rc;
    }
    atomic_store(&capture->generation, generation);
    int failed = pthread_create(&capture->committer, NULL, commit_loop, capture);
    ASSERT(failed == 0);
    *out = capture;
    return OK;
}

void capture_close(struct capture *capture)
{
    if (capture == NULL)
        return;
    pthread_mutex_lock(&capture->lock);
    bool running = !capture->stopping;
    capture->stopping = true;
    pthread_cond_signal(&capture->changed);
    pthread_mutex_unlock(&capture->lock);
    if (running)
        pthread_join(capture->committer, NULL);
    ASSERT(capture->intakes == NULL);
    for (struct generation *generation = atomic_load(&capture->generation); generation != NULL;) {
        struct generation *older = generation->older;
        generation_free(generation);
        generation = older;
    }
    pthread_cond_destroy(&capture->changed);
    pthread_cond_destroy(&capture->idle);
    pthread_mutex_destroy(&capture->lock);
    free(capture->totals);
    free(capture->batches);
    free(capture->firsts);
    free(capture->checkpoints);
    free(capture);
}

int capture_reload(struct capture *capture, struct mapping_set *mappings, struct error *err)
{
    struct generation *generation = NULL;
    pthread_mutex_lock(&capture->lock);
    int rc = generation_make(capture, mappings, &generation, err);
    if (rc != OK) {
        pthread_mutex_unlock(&capture->lock);
        return rc;
    }
    size_t before = current(capture)->table_count;
    capture->totals =
        memory_resize(capture->totals, generation->table_count, sizeof *capture->totals);
    memset(capture->totals + before, 0,
           (generation->table_count - before) * sizeof *capture->totals);
    generation->owned = *mappings;
    *mappings = (struct mapping_set){0};
    generation->older = atomic_load(&capture->generation);
    atomic_store(&capture->generation, generation);
    pthread_mutex_unlock(&capture->lock);
    return OK;
}

void capture_statistics(struct capture *capture, struct capture_statistics *out)
{
    pthread_mutex_lock(&capture->lock);
    *out = capture->statistics;
    pthread_mutex_unlock(&capture->lock);
    out->full = atomic_load(&capture->full);
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
    for (struct intake *intake = capture->intakes; intake != NULL; intake = intake->next) {
        pthread_mutex_lock(&intake->lock);
        for (struct lane_set *set = intake->set; set != NULL; set = set->older) {
            if (table < set->generation->table_count)
                add_lane(out, &set->lanes[table]);
        }
        pthread_mutex_unlock(&intake->lock);
    }
    pthread_mutex_unlock(&capture->lock);
}
