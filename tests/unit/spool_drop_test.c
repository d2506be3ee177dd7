/* SPDX-License-Identifier: Apache-2.0
 *
 * spool.when_full: drop_oldest. Positions are the events: each must be read back, or be
 * announced, or be named in a lost range, whatever became of the segment around it.
 */
#include "tests/unit/spool_support.h"

static int setup(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture);
    fixture.bytes_max = 4 << 20;
    fixture.drop_oldest = true;
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

enum { EVENT = 30000 };

static uint64_t dropped_of(struct fixture *fixture)
{
    struct spool_statistics statistics;
    spool_statistics(fixture->spool, &statistics);
    assert_true(statistics.bytes_used <= statistics.bytes_max);
    return statistics.dropped_events;
}

/* Sum of the lost events of all segments; each range must say why. */
static uint64_t lost_of(struct fixture *fixture, const char *stream)
{
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    uint64_t sum = 0;
    size_t count = segments_of(fixture->spool, stream, &arena, &segments);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < segments[i].lost_count; k++) {
            assert_string_equal(segments[i].lost[k].reason, "disk_full");
            sum += segments[i].lost[k].events;
        }
    }
    arena_free(&arena);
    return sum;
}

static void append_many(struct fixture *fixture, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++)
        append(fixture, 1, EVENT);
}

static void seal_and_count(struct fixture *fixture, uint64_t events)
{
    seal(fixture);
    uint64_t lost = lost_of(fixture, fixture->stream);
    uint64_t read = read_events(fixture->spool, fixture->stream, 0, UINT64_MAX, NULL);
    assert_int_equal(lost + read, events);
    assert_int_equal(lost, dropped_of(fixture));
    assert_true(lost > 0);
    assert_int_equal(damage_of(fixture->spool), 0);
}

/* With the store away for long the newest events count more than the oldest: no append is
 * refused, and what went is one range with its number. */
static void oldest_of_an_open_range_go(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    append_many(fixture, 400);
    seal_and_count(fixture, 400);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_int_equal(segments[0].lost_count, 1);
    assert_int_equal(segments[0].lost[0].from, 0);
    assert_true(segments[0].lost[0].to > 250);
    struct spool_statistics statistics;
    spool_statistics(fixture->spool, &statistics);
    assert_int_equal(statistics.refused_events, 0);
    arena_free(&arena);
}

/* Without the option it is refused, as it always was. */
static void refuse_is_the_default(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    int rc = OK;
    fixture_close(fixture);
    fixture->drop_oldest = false;
    fixture_open(fixture);
    for (int i = 0; rc == OK && i < 400; i++)
        rc = append_to(fixture->spool, fixture->stream, 1, 0, 1, EVENT, 1, &first, &err);
    assert_int_equal(rc, ERROR_LIMIT);
    assert_int_equal(dropped_of(fixture), 0);
    fixture->drop_oldest = true;
}

/* Sealed segments, built ones and those of older epochs: the oldest first, and one that was
 * built is to be built anew under a name that never stood for what is lost. */
static void oldest_segments_go_first(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    char older[sizeof fixture->stream];
    append_many(fixture, 30);
    memcpy(older, fixture->stream, sizeof older);
    fixture_close(fixture);
    fixture_open(fixture);
    append_many(fixture, 20);
    seal(fixture);
    append_many(fixture, 20);
    seal(fixture);
    segments_of(fixture->spool, older, &arena, &segments);
    segments[0].state = SEGMENT_BUILT;
    segments[0].payload = slice_cstr("announcement");
    struct spool_segment built = segments[0];
    must(spool_update_segment(fixture->spool, &built, &err), &err);
    while (dropped_of(fixture) == 0)
        append(fixture, 1, EVENT);
    assert_true(lost_of(fixture, older) > 0 && lost_of(fixture, older) < 30);
    assert_int_equal(lost_of(fixture, fixture->stream), 0);
    segments_of(fixture->spool, older, &arena, &segments);
    assert_int_equal(segments[0].state, SEGMENT_SEALED);
    assert_int_equal(segments[0].generation, 2);
    assert_int_equal(segments[0].lost[0].from, 0);
    /* who uploads it knows of nothing: its announcement must not become the register's */
    built.state = SEGMENT_ANNOUNCED;
    assert_int_equal(spool_update_segment(fixture->spool, &built, &err), ERROR_CONFLICT);
    append_many(fixture, 45);
    assert_int_equal(lost_of(fixture, older), 30);
    uint64_t lost = lost_of(fixture, fixture->stream);
    assert_true(lost > 0 && lost < 40);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_int_equal(segments[0].lost_count, 1);
    assert_true(segments[1].lost_count == 0 || lost > 20);
    assert_int_equal(lost + 30, dropped_of(fixture));
    /* the lost is announced, then the receipt comes: the stream goes on behind it */
    announce(fixture, older);
    must(spool_trim(fixture->spool, older, 30, 1, &err), &err);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

static void append_stream(struct fixture *fixture, const char *stream, int count)
{
    struct error err;
    uint64_t first = 0;
    for (int i = 0; i < count; i++)
        must(append_to(fixture->spool, stream, 1, 0, 1, EVENT, 1, &first, &err), &err);
}

/* A click that was paid for must not go for the sake of bid requests, older or newer. */
static void lower_priorities_go_first(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    char clicks[sizeof fixture->stream];
    const struct spool_priority priorities[] = {{"db.t", 0}, {"db.clicks", 2}};
    snprintf(clicks, sizeof clicks, "a1/%s/db.clicks", spool_epoch_borrow(fixture->spool));
    spool_set_priorities(fixture->spool, priorities, 2);
    append_stream(fixture, clicks, 30); /* the oldest */
    append_many(fixture, 400);
    seal(fixture);
    bool sealed = false;
    must(spool_seal(fixture->spool, clicks, NULL, &sealed, &err), &err);
    assert_int_equal(lost_of(fixture, clicks), 0);
    assert_int_equal(lost_of(fixture, fixture->stream), dropped_of(fixture));
    assert_true(dropped_of(fixture) > 250);
    /* Clicks take the place of what is left, then there is only their own. */
    append_stream(fixture, clicks, 200);
    must(spool_seal(fixture->spool, clicks, NULL, &sealed, &err), &err);
    assert_int_equal(lost_of(fixture, fixture->stream), 400);
    assert_true(lost_of(fixture, clicks) > 30);
    assert_int_equal(lost_of(fixture, clicks) + 400, dropped_of(fixture));
    /* Nothing is left that counts as little as a bid request: it is refused. */
    uint64_t dropped = dropped_of(fixture);
    int rc = OK;
    for (int i = 0; rc == OK && i < 50; i++)
        rc = append_to(fixture->spool, fixture->stream, 1, 0, 1, EVENT, 1, &first, &err);
    assert_int_equal(rc, ERROR_LIMIT);
    assert_true(dropped_of(fixture) - dropped < 50);
    assert_int_equal(lost_of(fixture, clicks) + 400, dropped);
    spool_set_priorities(fixture->spool, NULL, 0);
    append_many(fixture, 10);
    assert_int_equal(damage_of(fixture->spool), 0);
}

/* A cut brings one small click and many bid requests: the room for those must not be had
 * from older clicks. */
static void a_mixed_cut_drops_no_click_for_bid_requests(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    char clicks[sizeof fixture->stream];
    static uint8_t bytes[8 * EVENT];
    const struct spool_priority priorities[] = {{"db.t", 0}, {"db.clicks", 2}};
    uint64_t firsts[2];
    snprintf(clicks, sizeof clicks, "a1/%s/db.clicks", spool_epoch_borrow(fixture->spool));
    spool_set_priorities(fixture->spool, priorities, 2);
    append_stream(fixture, clicks, 200); /* nothing else is in it, and it is full */
    bool sealed = false;
    must(spool_seal(fixture->spool, clicks, NULL, &sealed, &err), &err);
    uint64_t lost = lost_of(fixture, clicks);
    struct spool_batch batches[2] = {{.stream = clicks,
                                      .schema = slice_cstr("schema one"),
                                      .schema_key = 1,
                                      .rows = slice_of(bytes, 100),
                                      .event_count = 1,
                                      .row_count = 1},
                                     {.stream = fixture->stream,
                                      .schema = slice_cstr("schema one"),
                                      .schema_key = 1,
                                      .rows = slice_of(bytes, sizeof bytes),
                                      .event_count = 8,
                                      .row_count = 8}};
    int rc = OK;
    for (int i = 0; rc == OK && i < 4; i++)
        rc = spool_append(fixture->spool, batches, 2, NULL, 0, firsts, &err);
    must(spool_seal(fixture->spool, clicks, NULL, &sealed, &err), &err);
    uint64_t after = lost_of(fixture, clicks);
    printf("rc %d, clicks lost before %llu, after %llu\n", rc, (unsigned long long)lost,
           (unsigned long long)after);
    assert_int_equal(after, lost);
}

/* What the store has is let go before anything is lost. */
static void announced_records_go_before_anything_is_lost(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    append_many(fixture, 50);
    seal(fixture);
    announce(fixture, fixture->stream);
    append_many(fixture, 90);
    assert_int_equal(dropped_of(fixture), 0);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_true(segments[0].records_gone);
    assert_int_equal(segments[0].state, SEGMENT_ANNOUNCED);
    append_many(fixture, 60);
    assert_true(dropped_of(fixture) > 0);
    seal(fixture);
    assert_int_equal(lost_of(fixture, fixture->stream), dropped_of(fixture));
    arena_free(&arena);
}

/* A batch that could only be kept for the price of all others is refused, and takes none
 * with it. */
static void too_large_drops_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    append_many(fixture, 50);
    assert_int_equal(append_to(fixture->spool, fixture->stream, 1, 0, 1, 3 << 20, 1, &first, &err),
                     ERROR_LIMIT);
    assert_int_equal(dropped_of(fixture), 0);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 0, UINT64_MAX, NULL), 50);
}

/* A kill on either side of the drop: lost and held, or neither, is a wrong ledger. */
static void kills_around_a_drop_keep_the_count(void **state)
{
    struct fixture *fixture = *state;
    static const char *const points[] = {"spool.drop.before_commit", "spool.drop.committed"};
    fixture_close(fixture);
    for (size_t i = 0; i < 2; i++) {
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct error err;
            in_child = true;
            char *fault = memory_printf("kill:%s:2", points[i]);
            setenv("BIDLAKE_FAULT", fault, 1);
            must(fault_from_environment(&err), &err);
            fixture_open(fixture);
            append_many(fixture, 400);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture_open(fixture);
        struct error err;
        struct arena arena = {0};
        struct spool_streams streams = {0};
        must(spool_list_streams(fixture->spool, &arena, &streams, &err), &err);
        for (size_t k = 0; k < streams.count; k++) {
            const struct spool_stream *stream = &streams.streams[k];
            uint64_t read = read_events(fixture->spool, stream->name, 0, UINT64_MAX, NULL);
            assert_int_equal(lost_of(fixture, stream->name) + read, stream->end - stream->begin);
        }
        assert_int_equal(damage_of(fixture->spool), 0);
        arena_free(&arena);
        fixture_close(fixture);
    }
}

#define DROP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        DROP_TEST(oldest_of_an_open_range_go),
        DROP_TEST(refuse_is_the_default),
        DROP_TEST(oldest_segments_go_first),
        DROP_TEST(lower_priorities_go_first),
        DROP_TEST(a_mixed_cut_drops_no_click_for_bid_requests),
        DROP_TEST(announced_records_go_before_anything_is_lost),
        DROP_TEST(too_large_drops_nothing),
        DROP_TEST(kills_around_a_drop_keep_the_count),
    };
    return cmocka_run_group_tests_name("spool drop", tests, NULL, NULL);
}
