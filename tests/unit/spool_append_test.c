/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spool_support.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>

/* The plain path: a gap or a doubled position here is a lost or doubled event. */
static void positions_are_contiguous_and_rows_come_back(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    assert_int_equal(append(fixture, 100, 1000), 0);
    assert_int_equal(append(fixture, 7, 16), 100);
    assert_true(seal(fixture));
    assert_false(seal(fixture));
    struct spool_segment *segments = NULL;
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 1);
    assert_int_equal(segments[0].from, 0);
    assert_int_equal(segments[0].to, 107);
    assert_int_equal(segments[0].schema_key, 1);
    assert_int_equal(segments[0].generation, 1);
    struct spool_reader *reader = NULL;
    struct spool_block block = {0};
    bool more = false;
    must(spool_reader_open(&reader, fixture->spool, fixture->stream, 0, 107, &err), &err);
    must(spool_reader_next(reader, &block, &more, &err), &err);
    assert_true(more);
    assert_int_equal(block.rows.len, 100000);
    assert_int_equal(get_u64le(block.rows.data + 99 * 1000 + 8), 99);
    assert_int_equal(block.time_max_us, 99);
    must(spool_reader_next(reader, &block, &more, &err), &err);
    assert_int_equal(block.first, 100);
    must(spool_reader_next(reader, &block, &more, &err), &err);
    assert_false(more);
    spool_reader_close(reader);
    struct buf schema = {0};
    must(spool_schema_get(fixture->spool, 1, &schema, &err), &err);
    assert_true(slice_is(buf_slice(&schema), "schema one"));
    buf_free(&schema);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* A checkpoint that is ahead of its records loses events, one behind doubles them. */
static void checkpoints_go_with_their_batches(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct buf value = {0};
    bool found = true;
    uint64_t firsts[2] = {9, 9};
    uint8_t rows[32] = {0};
    struct spool_batch batches[2] = {{.stream = fixture->stream,
                                      .schema = slice_cstr("schema one"),
                                      .schema_key = 1,
                                      .rows = slice_of(rows, sizeof rows),
                                      .event_count = 2,
                                      .row_count = 2},
                                     {0}};
    batches[1] = batches[0];
    struct spool_checkpoint checkpoint = {slice_cstr("tail/x"), slice_cstr("offset 10")};
    must(spool_checkpoint_get(fixture->spool, checkpoint.key, &value, &found, &err), &err);
    assert_false(found);
    must(spool_append(fixture->spool, batches, 2, &checkpoint, 1, firsts, &err), &err);
    assert_int_equal(firsts[1], 2);
    fixture_close(fixture);
    fixture_open(fixture);
    must(spool_checkpoint_get(fixture->spool, checkpoint.key, &value, &found, &err), &err);
    assert_true(found && slice_is(buf_slice(&value), "offset 10"));
    /* A batch that is refused takes its checkpoint with it: the epoch is over. */
    checkpoint.value = slice_cstr("offset 20");
    assert_int_equal(spool_append(fixture->spool, batches, 1, &checkpoint, 1, firsts, &err), OK);
    batches[0].stream = "a1/00000000-0000-7000-8000-000000000000/db.t";
    checkpoint.value = slice_cstr("offset 30");
    assert_int_equal(spool_append(fixture->spool, batches, 1, &checkpoint, 1, firsts, &err),
                     ERROR_INPUT);
    buf_reset(&value);
    must(spool_checkpoint_get(fixture->spool, checkpoint.key, &value, &found, &err), &err);
    assert_true(slice_is(buf_slice(&value), "offset 20"));
    checkpoint.value = slice_of(NULL, 0);
    must(spool_append(fixture->spool, NULL, 0, &checkpoint, 1, NULL, &err), &err);
    must(spool_checkpoint_get(fixture->spool, checkpoint.key, &value, &found, &err), &err);
    assert_false(found);
    buf_free(&value);
}

enum { SENDERS = 8, SENDS = 60, PER_SEND = 5 };

struct sender {
    pthread_t thread;
    struct fixture *fixture;
    uint64_t number;
    uint64_t firsts[SENDS];
};

static void *send_all(void *context)
{
    struct sender *sender = context;
    struct error err;
    for (size_t i = 0; i < SENDS; i++) {
        int rc = append_to(sender->fixture->spool, sender->fixture->stream, sender->number,
                           i * PER_SEND, PER_SEND, 40, 1, &sender->firsts[i], &err);
        if (rc != OK)
            return "append failed";
    }
    return NULL;
}

/* The leader answers for others: each must be told where its own events lie. */
static void eight_senders_are_each_told_their_positions(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    static struct sender senders[SENDERS];
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.fixture = fixture, .number = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_all, &senders[i]), 0);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        void *failure = NULL;
        pthread_join(senders[i].thread, &failure);
        assert_null(failure);
    }
    struct spool_reader *reader = NULL;
    struct spool_block block = {0};
    bool more = true;
    uint64_t expected = 0;
    must(spool_reader_open(&reader, fixture->spool, fixture->stream, 0, UINT64_MAX, &err), &err);
    for (;;) {
        must(spool_reader_next(reader, &block, &more, &err), &err);
        if (!more)
            break;
        assert_int_equal(block.first, expected);
        expected += block.event_count;
        uint64_t number = get_u64le(block.rows.data);
        uint64_t at = get_u64le(block.rows.data + 8);
        assert_int_equal(senders[number].firsts[at / PER_SEND], block.first);
    }
    spool_reader_close(reader);
    assert_int_equal(expected, SENDERS * SENDS * PER_SEND);
    struct spool_statistics statistics;
    spool_statistics(fixture->spool, &statistics);
    assert_int_equal(statistics.append_count, SENDERS * SENDS);
    assert_true(statistics.commit_count <= statistics.append_count);
}

static uint64_t fill(struct fixture *fixture, size_t size, struct error *err)
{
    uint64_t kept = 0;
    uint64_t first = 0;
    for (;;) {
        int rc = append_to(fixture->spool, fixture->stream, 1, kept, 1, size, 1, &first, err);
        if (rc == ERROR_LIMIT)
            return kept;
        must(rc, err);
        kept++;
        assert_true(kept < 100000);
    }
}

/* A spool past its budget takes the ad server's disk; one that can't be drained again
 * keeps it; and what was answered before must still be there. */
static void full_refuses_then_drains_then_takes_again(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct spool_statistics statistics;
    fixture_close(fixture);
    fixture->bytes_max = 4 << 20;
    fixture_open(fixture);
    for (int round = 0; round < 6; round++) {
        uint64_t begin = 0;
        struct arena arena = {0};
        begin = stream_of(fixture->spool, fixture->stream, &arena).end;
        uint64_t kept = fill(fixture, 30000, &err);
        assert_true(kept > 60);
        spool_statistics(fixture->spool, &statistics);
        assert_true(statistics.bytes_used <= statistics.bytes_max - statistics.bytes_reserve);
        assert_int_equal(statistics.refused_events, round + 1);
        assert_true(seal(fixture));
        announce(fixture, fixture->stream);
        assert_int_equal(read_events(fixture->spool, fixture->stream, begin, begin + kept, NULL),
                         kept);
        must(spool_trim(fixture->spool, fixture->stream, begin + kept, 1, &err), &err);
        spool_statistics(fixture->spool, &statistics);
        assert_true(statistics.bytes_used < 1 << 20);
        arena_free(&arena);
    }
    assert_int_equal(damage_of(fixture->spool), 0);
}

/* A large batch that does not fit must not take a small one with it. Alone or in a
 * group, the code is the same and nothing of the refused one is kept. */
static void too_large_is_refused_and_small_still_fits(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    fixture_close(fixture);
    fixture->bytes_max = 4 << 20;
    fixture_open(fixture);
    assert_int_equal(append_to(fixture->spool, fixture->stream, 1, 0, 1, 5 << 20, 1, &first, &err),
                     ERROR_LIMIT);
    assert_int_equal(append(fixture, 3, 100), 0);
    assert_int_equal(damage_of(fixture->spool), 0);
}

static void *send_mixed(void *context)
{
    struct sender *sender = context;
    struct error err;
    uint64_t first = 0;
    bool large = sender->number % 2 == 0;
    for (size_t i = 0; i < 20; i++) {
        int rc = append_to(sender->fixture->spool, sender->fixture->stream, sender->number, 0, 1,
                           large ? 5 << 20 : 100, 1, &first, &err);
        if (rc != (large ? ERROR_LIMIT : OK))
            return "a call got another's answer";
    }
    return NULL;
}

/* In one group with calls that can't fit, those that do must pass: a large batch of one
 * sender must not stop the others. */
static void refusals_in_a_group_are_for_their_own_calls(void **state)
{
    struct fixture *fixture = *state;
    static struct sender senders[SENDERS];
    fixture_close(fixture);
    fixture->bytes_max = 4 << 20;
    fixture_open(fixture);
    for (size_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.fixture = fixture, .number = i};
        assert_int_equal(pthread_create(&senders[i].thread, NULL, send_mixed, &senders[i]), 0);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        void *failure = NULL;
        pthread_join(senders[i].thread, &failure);
        assert_null(failure);
    }
    struct spool_statistics statistics;
    spool_statistics(fixture->spool, &statistics);
    assert_int_equal(statistics.append_count, SENDERS / 2 * 20);
    assert_int_equal(statistics.refused_events, SENDERS / 2 * 20);
    assert_int_equal(damage_of(fixture->spool), 0);
}

/* Files that the roller keeps in sealed/ count: together they must stay in the budget. */
static void sealed_files_count(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    fixture_close(fixture);
    fixture->bytes_max = 4 << 20;
    fixture_open(fixture);
    char *path = memory_printf("%s/x.parquet", spool_sealed_directory_borrow(fixture->spool));
    uint8_t *bytes = memory_alloc(3600 << 10, 1);
    must(file_replace(path, slice_of(bytes, 3600 << 10), 0640, &err), &err);
    struct spool_statistics statistics;
    spool_statistics(fixture->spool, &statistics);
    assert_true(statistics.bytes_used >= 3600 << 10);
    assert_int_equal(append_to(fixture->spool, fixture->stream, 1, 0, 1, 100, 1, &first, &err),
                     ERROR_LIMIT);
    /* a cache: gone at the next open */
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(append(fixture, 1, 100), 0);
    free(bytes);
    free(path);
}

/* The disk full before the budget is: the batch is refused, what was answered stays, and
 * it goes on when room returns. The file size limit stands for the disk. */
static void disk_full_is_refused_and_passes(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    struct rlimit low = {.rlim_cur = 6 << 20, .rlim_max = old.rlim_max};
    assert_int_equal(append(fixture, 1, 100), 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    uint64_t kept = fill(fixture, 50000, &err) + 1;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_true(kept > 50);
    assert_int_equal(append(fixture, 1, 50000), kept);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 0, UINT64_MAX, NULL), kept + 1);
    assert_int_equal(damage_of(fixture->spool), 0);
}

static int fail_before_commit(void *context, const char *name, struct error *err)
{
    int *left = context;
    if (strcmp(name, "spool.append.before_commit") != 0 || --*left > 0)
        return OK;
    return error_set(err, ERROR_IO, "injected");
}

/* After a failed sync the kernel may have dropped pages: going on would answer events
 * that are on no disk. Reading goes on, and a new open starts clean. */
static void failed_sync_stops_appends_not_reads(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    int left = 2;
    append(fixture, 4, 100);
    fault_install(fail_before_commit, &left);
    append(fixture, 4, 100);
    assert_int_equal(append_to(fixture->spool, fixture->stream, 1, 0, 4, 100, 1, &first, &err),
                     ERROR_IO);
    fault_install(NULL, NULL);
    assert_int_equal(append_to(fixture->spool, fixture->stream, 1, 0, 4, 100, 1, &first, &err),
                     ERROR_RETRY);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 0, UINT64_MAX, NULL), 8);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(append(fixture, 4, 100), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(positions_are_contiguous_and_rows_come_back),
        SPOOL_TEST(checkpoints_go_with_their_batches),
        SPOOL_TEST(eight_senders_are_each_told_their_positions),
        SPOOL_TEST(full_refuses_then_drains_then_takes_again),
        SPOOL_TEST(too_large_is_refused_and_small_still_fits),
        SPOOL_TEST(refusals_in_a_group_are_for_their_own_calls),
        SPOOL_TEST(sealed_files_count),
        SPOOL_TEST(disk_full_is_refused_and_passes),
        SPOOL_TEST(failed_sync_stops_appends_not_reads),
    };
    return cmocka_run_group_tests_name("spool append", tests, NULL, NULL);
}
