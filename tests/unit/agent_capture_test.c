/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/capture_support.h"

#include <sched.h>

#include "agent/capture/state.h"
#include "lib/row/row.h"

static void event(struct intake *intake, const char *json, bool fine)
{
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    struct refusal refusal;
    assert_int_equal(intake_event(intake, slice_cstr(json), &context, &refusal), fine);
}

/* One request of the given events; OK once they are durable. */
static int request(struct bench *bench, struct intake *intake, const char *table,
                   const char *const *events, size_t count)
{
    struct waiter waiter;
    struct error err;
    size_t number = capture_find_table(bench->capture, slice_cstr(table));
    waiter_init(&waiter);
    must(intake_begin(intake, number, &waiter.ticket, &err), &err);
    for (size_t i = 0; i < count; i++)
        event(intake, events[i], events[i][0] == '{');
    return intake_end(intake) ? waiter_wait(&waiter) : ERROR_INPUT;
}

/* An answer before the disk has it is the one thing that must never be given. */
static void answered_events_are_in_the_spool(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    bench_open(&bench, 0);
    must(intake_open(&intake, bench.capture, &err), &err);
    const char *events[] = {"{\"id\":\"a\"}", "nonsense", "{\"id\":\"b\"}"};
    assert_int_equal(request(&bench, intake, "clicks", events, 3), OK);
    assert_int_equal(end_of(&bench, "clicks"), 2);
    assert_int_equal(request(&bench, intake, "impressions", events, 1), OK);
    assert_int_equal(end_of(&bench, "impressions"), 1);
    assert_int_equal(request(&bench, intake, "clicks", events + 1, 1), ERROR_INPUT);
    struct capture_table_statistics statistics;
    capture_table_statistics(bench.capture, capture_find_table(bench.capture, slice_cstr("clicks")),
                             &statistics);
    assert_int_equal(statistics.received, 4);
    assert_int_equal(statistics.kept, 2);
    assert_int_equal(statistics.refused[REFUSED_SYNTAX], 2);
    assert_int_equal(statistics.waiting, 0);
    assert_int_equal(capture_find_table(bench.capture, slice_cstr("nothing")), SIZE_MAX);
    intake_close(intake);
    bench_close(&bench);
}

static struct capture_table_statistics clicks_of(struct bench *bench)
{
    struct capture_table_statistics out;
    capture_table_statistics(bench->capture,
                             capture_find_table(bench->capture, slice_cstr("clicks")), &out);
    return out;
}

enum { SENDERS = 4, REQUESTS = 300 };

struct sender {
    struct bench *bench;
    pthread_t thread;
    size_t kept;
};

static void *send_many(void *context)
{
    struct sender *sender = context;
    struct intake *intake = NULL;
    struct error err;
    const char *events[] = {"{\"id\":\"a\"}", "{\"id\":\"b\"}"};
    if (intake_open(&intake, sender->bench->capture, &err) != OK)
        return NULL;
    for (size_t i = 0; i < REQUESTS; i++) {
        const char *table = i % 3 == 0 ? "clicks" : "impressions";
        /* A clock that runs wild. */
        atomic_store(&sender->bench->wall_us, 1000000 + (int64_t)(i * 7919 % 5000));
        if (request(sender->bench, intake, table, events, 2) == OK)
            sender->kept += 2;
    }
    intake_close(intake);
    return NULL;
}

/* received_at of every row of every stream, in the order of positions. */
static void assert_times_ascend(struct bench *bench)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct error err;
    must(spool_list_streams(bench->spool.spool, &arena, &streams, &err), &err);
    for (size_t i = 0; i < streams.count; i++) {
        const char *table = strrchr(streams.streams[i].name, '.') + 1;
        const struct mapping *mapping = mapping_set_find(&bench->mappings, table);
        size_t column = table_schema_find(&mapping->schema, "received_at");
        struct row_layout layout;
        struct spool_reader *reader = NULL;
        int64_t last_us = 0;
        row_layout_init(&layout, &mapping->schema);
        must(spool_reader_open(&reader, bench->spool.spool, streams.streams[i].name, 0,
                               streams.streams[i].end, &err),
             &err);
        for (bool more = true; more;) {
            struct spool_block block;
            must(spool_reader_next(reader, &block, &more, &err), &err);
            for (size_t at = 0; more && at < block.rows.len;) {
                const uint8_t *row = block.rows.data + at;
                int64_t time_us = row_long(&layout, row, column);
                assert_true(time_us >= last_us);
                last_us = time_us;
                at += row_size(row);
            }
        }
        spool_reader_close(reader);
        row_layout_free(&layout);
    }
    arena_free(&arena);
}

/* Several doors at once: each event once, and received_at never back within a stream,
 * though the wall clock leaps. */
static void many_intakes_keep_each_event_and_the_order_of_time(void **state)
{
    (void)state;
    struct bench bench;
    struct sender senders[SENDERS];
    size_t kept = 0;
    bench_open(&bench, 0);
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.bench = &bench};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_many, &senders[i]), 0);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        pthread_join(senders[i].thread, NULL);
        kept += senders[i].kept;
    }
    assert_int_equal(kept, SENDERS * REQUESTS * 2);
    assert_int_equal(end_of(&bench, "clicks") + end_of(&bench, "impressions"), kept);
    assert_times_ascend(&bench);
    struct capture_statistics statistics;
    capture_statistics(bench.capture, &statistics);
    assert_true(statistics.cuts > 0 && statistics.cuts <= SENDERS * REQUESTS);
    bench_close(&bench);
}

/* A disk that hangs must not fill the memory: what waits is bounded, the rest is turned
 * away and can come again. */
static void requests_are_turned_away_when_too_much_waits(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *first = NULL;
    struct intake *second = NULL;
    struct waiter waiter;
    struct waiter other;
    struct error err;
    bench_open(&bench, 100);
    must(intake_open(&first, bench.capture, &err), &err);
    must(intake_open(&second, bench.capture, &err), &err);
    waiter_init(&waiter);
    waiter_init(&other);
    /* The first request is still being handed in, so nothing is cut yet. */
    must(intake_begin(first, 0, &waiter.ticket, &err), &err);
    event(first, "{\"id\":\"a long enough name for an event\"}", true);
    assert_int_equal(intake_begin(second, 0, &other.ticket, &err), ERROR_LIMIT);
    assert_true(intake_end(first));
    assert_int_equal(waiter_wait(&waiter), OK);
    assert_int_equal(intake_begin(second, 0, &other.ticket, &err), OK);
    assert_false(intake_end(second));
    struct capture_statistics statistics;
    capture_statistics(bench.capture, &statistics);
    assert_int_equal(statistics.full, 1);
    intake_close(first);
    intake_close(second);
    bench_close(&bench);
}

/* Two requests at once, after as many as a second may have; how many cuts they took. */
static uint64_t cuts_of_two(struct bench *bench, struct intake *one, struct intake *other)
{
    struct capture_statistics before;
    struct capture_statistics after;
    struct waiter waiters[2];
    struct error err;
    const char *events[] = {"{\"id\":\"a\"}"};
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(request(bench, one, "clicks", events, 1), OK);
    capture_statistics(bench->capture, &before);
    for (size_t i = 0; i < 2; i++) {
        struct intake *intake = i == 0 ? one : other;
        waiter_init(&waiters[i]);
        must(intake_begin(intake, 0, &waiters[i].ticket, &err), &err);
        event(intake, "{\"id\":\"b\"}", true);
        assert_true(intake_end(intake));
    }
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(waiter_wait(&waiters[i]), OK);
    capture_statistics(bench->capture, &after);
    return after.cuts - before.cuts;
}

/* Each commit wears the bidder's SSD: beyond so many a second those that come a moment later
 * share one. On a busy machine the second may come too late, so some tries are granted. */
static void cuts_wait_for_company_when_there_are_many(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *one = NULL;
    struct intake *other = NULL;
    struct error err;
    bench_open_sized(
        &bench, (struct capture_options){.linger_ms = 100, .commits_per_second_max = 4}, 64 << 20);
    must(intake_open(&one, bench.capture, &err), &err);
    must(intake_open(&other, bench.capture, &err), &err);
    uint64_t cuts = 2;
    for (int tries = 0; tries < 20 && cuts > 1; tries++)
        cuts = cuts_of_two(&bench, one, other);
    assert_int_equal(cuts, 1);
    intake_close(one);
    intake_close(other);
    bench_close(&bench);
}

static struct generation *prepare(struct bench *bench, const char *table, size_t event_bytes_max)
{
    struct mapping_set mappings = {0};
    struct generation *generation = NULL;
    struct capture_limits limits = {.event_bytes_max = event_bytes_max};
    struct error err;
    must(mapping_set_load(&mappings, &table, 1, &err), &err);
    must(capture_prepare(bench->capture, &mappings, &limits, &generation, &err), &err);
    assert_int_equal(mappings.count, 0);
    return generation;
}

static size_t generations(struct bench *bench)
{
    size_t count = 0;
    pthread_mutex_lock(&bench->capture->lock);
    for (const struct generation *at = atomic_load(&bench->capture->generation); at != NULL;
         at = at->older)
        count++;
    pthread_mutex_unlock(&bench->capture->lock);
    return count;
}

/* Who reloads each minute for a year must not find the agent grown. And a table that a new
 * configuration doesn't name keeps its number and is taken by the mapping it had. */
static void reloads_leave_nothing_behind(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *idle = NULL;
    struct intake *intake = NULL;
    struct error err;
    const char *events[] = {"{\"id\":\"a name of more than 20 bytes\"}"};
    static const char *const names[] = {"openrtb/clicks", "openrtb", "openrtb/impressions"};
    bench_open(&bench, 0);
    must(intake_open(&idle, bench.capture, &err), &err);
    must(intake_open(&intake, bench.capture, &err), &err);
    size_t clicks = capture_find_table(bench.capture, slice_cstr("clicks"));
    for (size_t i = 0; i < 30; i++) {
        capture_discard(bench.capture, prepare(&bench, names[(i + 1) % 3], 20));
        capture_apply(bench.capture, prepare(&bench, names[i % 3], i % 2 == 0 ? 0 : 20));
        int rc = request(&bench, intake, "clicks", events, 0);
        assert_int_equal(rc, ERROR_INPUT); /* nothing to wait for */
        assert_int_equal(capture_find_table(bench.capture, slice_cstr("clicks")), clicks);
        if (i % 2 == 0) {
            must(request(&bench, intake, "clicks", events, 1), &err);
            /* Those that the idle intake and the request before go by. */
            assert_true(generations(&bench) <= 3);
        }
    }
    assert_int_equal(capture_table_count(bench.capture), bench.mappings.count);
    assert_int_equal(clicks_of(&bench).kept, 15);
    assert_int_equal(end_of(&bench, "clicks"), 15);
    intake_close(idle);
    capture_apply(bench.capture, prepare(&bench, "openrtb", 0));
    must(request(&bench, intake, "clicks", events, 1), &err);
    assert_int_equal(generations(&bench), 1);
    /* The new limit holds for the next request. */
    capture_apply(bench.capture, prepare(&bench, "openrtb", 20));
    struct waiter waiter;
    waiter_init(&waiter);
    must(intake_begin(intake, clicks, &waiter.ticket, &err), &err);
    event(intake, events[0], false);
    assert_false(intake_end(intake));
    assert_int_equal(clicks_of(&bench).refused[REFUSED_SIZE], 1);
    intake_close(intake);
    bench_close(&bench);
}

/* After a leap of the clock no position of the old stream may be given again. */
static void leap_of_the_clock_begins_new_streams(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    const char *events[] = {"{\"id\":\"a\"}"};
    bench_open(&bench, 0);
    must(intake_open(&intake, bench.capture, &err), &err);
    assert_int_equal(request(&bench, intake, "clicks", events, 1), OK);
    atomic_store(&bench.wall_us, INT64_C(7200000000));
    assert_int_equal(request(&bench, intake, "clicks", events, 1), OK);
    assert_int_equal(request(&bench, intake, "clicks", events, 1), OK);
    must(spool_list_streams(bench.spool.spool, &arena, &streams, &err), &err);
    assert_int_equal(streams.count, 2);
    assert_int_equal(streams.streams[0].end + streams.streams[1].end, 3);
    assert_int_equal(end_of(&bench, "clicks"), 3);
    arena_free(&arena);
    intake_close(intake);
    bench_close(&bench);
}

/* An event of half a MiB. */
static const char *large_event(void)
{
    enum { SIZE = 1 << 19 };
    static char text[SIZE + 100];
    if (text[0] == 0) {
        memcpy(text, "{\"id\":\"", 7);
        memset(text + 7, 'x', SIZE);
        memcpy(text + 7 + SIZE, "\"}", 3);
    }
    return text;
}

/* A block holds 64 MiB at most. An event must not be refused since those before it in the
 * cut have filled one, and a request's are in one transaction all the same. */
static void full_blocks_refuse_no_event(void **state)
{
    enum { COUNT = 150 };
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    const char *events[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        events[i] = large_event();
    bench_open_with(&bench, 0, 100 << 20);
    must(intake_open(&intake, bench.capture, &err), &err);
    assert_int_equal(request(&bench, intake, "clicks", events, COUNT), OK);
    assert_int_equal(end_of(&bench, "clicks"), COUNT);
    struct capture_table_statistics clicks = clicks_of(&bench);
    assert_int_equal(clicks.received, COUNT);
    assert_int_equal(clicks.kept, COUNT);
    assert_int_equal(clicks.waiting, 0);
    struct capture_statistics statistics;
    capture_statistics(bench.capture, &statistics);
    assert_int_equal(statistics.cuts, 1);
    intake_close(intake);
    bench_close(&bench);
}

/* What can't be one transaction is told so, whole, and takes nobody else along: part of a
 * request kept under a refusal would be sent, and counted, twice. */
static void request_beyond_the_bound_is_taken_back(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    struct waiter waiter;
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    struct refusal refusal;
    const char *small[] = {"{\"id\":\"a\"}"};
    bench_open_with(&bench, 0, 2 << 20);
    must(intake_open(&intake, bench.capture, &err), &err);
    size_t clicks = capture_find_table(bench.capture, slice_cstr("clicks"));
    waiter_init(&waiter);
    must(intake_begin(intake, clicks, &waiter.ticket, &err), &err);
    event(intake, "bad", false);
    size_t taken = 0;
    for (; !intake_is_full(intake); taken++)
        event(intake, large_event(), true);
    assert_int_equal(taken, 4);
    assert_false(waiter.ticket.too_large);
    event(intake, large_event(), false);
    assert_true(waiter.ticket.too_large);
    assert_false(intake_event(intake, slice_cstr(small[0]), &context, &refusal));
    assert_string_equal(refusal.text, "the request has too many events");
    assert_false(intake_end(intake));
    assert_int_equal(waiter.ticket.accepted, 0);
    assert_int_equal(waiter.ticket.refused, 7);
    /* The door's count of what waits went back with it. */
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(request(&bench, intake, "clicks", small, 1), OK);
    assert_int_equal(end_of(&bench, "clicks"), 10);
    struct capture_table_statistics statistics = clicks_of(&bench);
    assert_int_equal(statistics.received, 17);
    assert_int_equal(statistics.kept, 10);
    assert_int_equal(statistics.refused[REFUSED_SYNTAX], 1);
    assert_int_equal(statistics.refused[REFUSED_ROWS], 6);
    intake_close(intake);
    bench_close(&bench);
}

enum { LOW, NORMAL, HIGH, TABLES };
static const char *const tables[TABLES] = {"bid_requests", "bid_responses", "clicks"};

/* Whether the door is open to a table: by a request without events. */
static bool admits(struct bench *bench, struct intake *intake, const char *table)
{
    struct waiter waiter;
    struct error err;
    waiter_init(&waiter);
    int rc = intake_begin(intake, capture_find_table(bench->capture, slice_cstr(table)),
                          &waiter.ticket, &err);
    if (rc == OK)
        assert_false(intake_end(intake));
    else
        assert_int_equal(rc, ERROR_LIMIT);
    return rc == OK;
}

/* Notes after how many steps each table was turned away first; they must be so in order. */
static bool all_turned_away(struct bench *bench, struct intake *intake, size_t step,
                            size_t at[TABLES])
{
    bool all = true;
    for (size_t i = 0; i < TABLES; i++) {
        bool fine = admits(bench, intake, tables[i]);
        if (!fine && at[i] == 0)
            at[i] = step;
        assert_true(fine == (at[i] == 0));
        all = all && !fine;
    }
    return all;
}

/* A disk that hangs: the committer waits there until it is opened. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open;
} disk = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false};

static int hang(void *context, const char *name, struct error *err)
{
    (void)context;
    (void)err;
    pthread_mutex_lock(&disk.lock);
    while (!disk.open && strcmp(name, "spool.append.before_commit") == 0)
        pthread_cond_wait(&disk.changed, &disk.lock);
    pthread_mutex_unlock(&disk.lock);
    return OK;
}

static void open_disk(bool open)
{
    pthread_mutex_lock(&disk.lock);
    disk.open = open;
    pthread_cond_signal(&disk.changed);
    pthread_mutex_unlock(&disk.lock);
}

/* Bid requests come in thousands and clicks in tens, and it is clicks that are paid for: what
 * waits for a slow disk must not all be bid requests. */
static void lower_priorities_wait_less(void **state)
{
    enum { WAITERS = 400 };
    (void)state;
    static struct waiter waiters[WAITERS];
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    size_t at[TABLES] = {0};
    size_t count = 0;
    bench_open(&bench, 10000);
    size_t clicks = capture_find_table(bench.capture, slice_cstr("clicks"));
    must(intake_open(&intake, bench.capture, &err), &err);
    open_disk(false);
    fault_install(hang, NULL);
    for (; !all_turned_away(&bench, intake, count, at); count++) {
        assert_true(count < WAITERS);
        waiter_init(&waiters[count]);
        must(intake_begin(intake, clicks, &waiters[count].ticket, &err), &err);
        event(intake, "{\"id\":\"a name for an event\"}", true);
        assert_true(intake_end(intake));
    }
    open_disk(true);
    assert_true(at[LOW] < at[NORMAL] && at[NORMAL] < at[HIGH]);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(waiter_wait(&waiters[i]), OK);
    fault_install(NULL, NULL);
    for (size_t i = 0; i < TABLES; i++)
        assert_true(admits(&bench, intake, tables[i]));
    struct capture_statistics statistics;
    capture_statistics(bench.capture, &statistics);
    struct capture_table_statistics low;
    capture_table_statistics(bench.capture,
                             capture_find_table(bench.capture, slice_cstr("bid_requests")), &low);
    assert_true(low.turned_away > 0 && low.turned_away < statistics.full);
    intake_close(intake);
    bench_close(&bench);
}

static void hand_in(struct bench *bench, struct intake *intake, struct waiter *waiter)
{
    struct error err;
    waiter_init(waiter);
    must(intake_begin(intake, capture_find_table(bench->capture, slice_cstr("clicks")),
                      &waiter->ticket, &err),
         &err);
    event(intake, "{\"id\":\"a\"}", true);
}

/* One sender of large requests must not stop a door, nor keep others' answers waiting for one
 * request of his after the other. */
static void a_long_request_holds_up_one_cut(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *slow = NULL;
    struct intake *door = NULL;
    struct waiter waiters[4];
    struct error err;
    bench_open(&bench, 0);
    must(intake_open_giving_way(&slow, bench.capture, &err), &err);
    must(intake_open(&door, bench.capture, &err), &err);
    hand_in(&bench, slow, &waiters[0]);
    hand_in(&bench, door, &waiters[1]);
    assert_true(intake_end(door));
    while (!atomic_load(&bench.capture->awaits_intakes)) /* the cut waits for the slow one */
        sched_yield();
    hand_in(&bench, door, &waiters[2]);
    assert_true(intake_end(door));
    assert_true(intake_end(slow));
    hand_in(&bench, slow, &waiters[3]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(waiter_wait(&waiters[i]), OK);
    assert_true(intake_end(slow));
    assert_int_equal(waiter_wait(&waiters[3]), OK);
    intake_close(door);
    intake_close(slow);
    bench_close(&bench);
}

static void empty_spool(struct bench *bench)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct error err;
    must(spool_list_streams(bench->spool.spool, &arena, &streams, &err), &err);
    for (size_t i = 0; i < streams.count; i++) {
        bool sealed = false;
        must(spool_seal(bench->spool.spool, streams.streams[i].name, NULL, &sealed, &err), &err);
        must(spool_trim(bench->spool.spool, streams.streams[i].name, streams.streams[i].end, 1,
                        &err),
             &err);
    }
    arena_free(&arena);
}

/* The end of the spool's budget is kept for what counts most, and all come in again by
 * themselves once there is room. */
static void rest_of_the_spool_is_for_higher_priorities(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    size_t at[TABLES] = {0};
    const char *events[] = {"{\"id\":\"a\"}"};
    bench_open_sized(&bench, (struct capture_options){0}, 64 << 20);
    must(intake_open(&intake, bench.capture, &err), &err);
    for (size_t step = 1; !all_turned_away(&bench, intake, step, at); step++) {
        events[0] = large_event();
        int rc = request(&bench, intake, "clicks", events, 1);
        if (rc == ERROR_LIMIT) { /* less room than an event takes */
            events[0] = "{\"id\":\"a\"}";
            must(request(&bench, intake, "clicks", events, 1), &err);
        }
    }
    assert_true(at[LOW] < at[NORMAL] && at[NORMAL] < at[HIGH]);
    empty_spool(&bench);
    for (size_t i = 0; i < TABLES; i++)
        assert_true(admits(&bench, intake, tables[i]));
    intake_close(intake);
    bench_close(&bench);
}

/* A cut that the spool refuses takes clicks along for the bid requests' sake, so the next must
 * go without these; but not for long, or they would stay out when there is room. */
static void refused_cut_holds_its_lowest_priority_back(void **state)
{
    enum { FILL = 92, LARGE = 24 };
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    const char *events[FILL];
    for (size_t i = 0; i < FILL; i++)
        events[i] = large_event();
    bench_open_sized(&bench, (struct capture_options){0}, 64 << 20);
    must(intake_open(&intake, bench.capture, &err), &err);
    for (size_t i = 0; i < FILL; i++)
        must(request(&bench, intake, "clicks", events, 1), &err);
    assert_true(admits(&bench, intake, "bid_requests"));
    assert_int_equal(request(&bench, intake, "bid_requests", events, LARGE), ERROR_LIMIT);
    assert_false(admits(&bench, intake, "bid_requests"));
    assert_true(admits(&bench, intake, "bid_responses"));
    assert_int_equal(request(&bench, intake, "clicks", events, 1), OK);
    int64_t deadline_ms = clock_mono_ms(&clock_system) + 20000;
    while (!admits(&bench, intake, "bid_requests")) {
        assert_true(clock_mono_ms(&clock_system) < deadline_ms);
        clock_sleep_ms(&clock_system, 20);
    }
    intake_close(intake);
    bench_close(&bench);
}

static int fail_at(void *context, const char *name, struct error *err)
{
    return strcmp(name, context) == 0 ? error_set(err, ERROR_IO, "the disk failed") : OK;
}

/* A failed disk is answered as such, to all who wait, and nothing of it is counted as
 * kept. */
static void failed_append_is_answered_to_all(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    bench_open(&bench, 0);
    must(intake_open(&intake, bench.capture, &err), &err);
    const char *events[] = {"{\"id\":\"a\"}"};
    char point[] = "spool.append.before_commit";
    fault_install(fail_at, point);
    int rc = request(&bench, intake, "clicks", events, 1);
    fault_install(NULL, NULL);
    assert_int_not_equal(rc, OK);
    struct capture_table_statistics statistics;
    capture_table_statistics(bench.capture, capture_find_table(bench.capture, slice_cstr("clicks")),
                             &statistics);
    assert_int_equal(statistics.kept, 0);
    assert_int_equal(statistics.rejected, 1);
    intake_close(intake);
    bench_close(&bench);
}

/* One request with a checkpoint, of which the append fails at the named point. */
static int failing_request(struct bench *bench, struct intake *intake, const char *point,
                           struct spool_checkpoint *checkpoint)
{
    struct waiter waiter;
    struct error err;
    char name[64];
    waiter_init(&waiter);
    waiter.ticket.checkpoints = checkpoint;
    waiter.ticket.checkpoint_count = 1;
    snprintf(name, sizeof name, "%s", point);
    must(intake_begin(intake, capture_find_table(bench->capture, slice_cstr("clicks")),
                      &waiter.ticket, &err),
         &err);
    event(intake, "{\"id\":\"a\"}", true);
    fault_install(fail_at, name);
    assert_true(intake_end(intake));
    int rc = waiter_wait(&waiter);
    fault_install(NULL, NULL);
    return rc;
}

/* An append that failed may be durable. A source that hands it in again without a look has its
 * events twice in the table; one that never does loses them. */
static void what_a_failed_write_kept_is_known_once_the_spool_is_open(void **state)
{
    (void)state;
    static const struct {
        const char *point;
        const char *value;
        bool stored;
    } cases[] = {{"spool.append.committed", "1", true},
                 {"spool.append.before_commit", "2", false},
                 {"spool.append.committed", "3", true}};
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    bool stored = false;
    bench_open(&bench, 0);
    must(intake_open(&intake, bench.capture, &err), &err);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct spool_checkpoint checkpoint = {.key = slice_cstr("place"),
                                              .value = slice_cstr(cases[i].value)};
        assert_int_equal(failing_request(&bench, intake, cases[i].point, &checkpoint), ERROR_IO);
        assert_int_equal(capture_has_stored(bench.capture, &checkpoint, &stored, &err),
                         ERROR_RETRY);
        must(spool_reopen(bench.spool.spool, NULL, &err), &err);
        must(capture_has_stored(bench.capture, &checkpoint, &stored, &err), &err);
        assert_int_equal(stored, cases[i].stored);
    }
    intake_close(intake);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answered_events_are_in_the_spool),
        cmocka_unit_test(many_intakes_keep_each_event_and_the_order_of_time),
        cmocka_unit_test(requests_are_turned_away_when_too_much_waits),
        cmocka_unit_test(lower_priorities_wait_less),
        cmocka_unit_test(a_long_request_holds_up_one_cut),
        cmocka_unit_test(rest_of_the_spool_is_for_higher_priorities),
        cmocka_unit_test(refused_cut_holds_its_lowest_priority_back),
        cmocka_unit_test(cuts_wait_for_company_when_there_are_many),
        cmocka_unit_test(reloads_leave_nothing_behind),
        cmocka_unit_test(full_blocks_refuse_no_event),
        cmocka_unit_test(request_beyond_the_bound_is_taken_back),
        cmocka_unit_test(failed_append_is_answered_to_all),
        cmocka_unit_test(what_a_failed_write_kept_is_known_once_the_spool_is_open),
        cmocka_unit_test(leap_of_the_clock_begins_new_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
