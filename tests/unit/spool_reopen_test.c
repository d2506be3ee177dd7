/* SPDX-License-Identifier: Apache-2.0
 *
 * A write failed under a running agent: the spool is opened anew in the process. Nothing that
 * was answered is gone, nothing is appended before, and no position comes twice.
 */
#include "tests/unit/spool_support.h"

#include <pthread.h>

enum { EVENTS = 10, SIZE = 4000 };

static int fail_at(void *context, const char *name, struct error *err)
{
    if (strcmp(name, context) != 0)
        return OK;
    return error_set(err, ERROR_IO, "injected");
}

static int try_append(struct fixture *fixture)
{
    struct error err;
    uint64_t first = 0;
    return append_to(fixture->spool, fixture->stream, 1, 0, EVENTS, SIZE, 1, &first, &err);
}

static void fail_a_write(struct fixture *fixture, char *point)
{
    assert_false(spool_has_failed(fixture->spool));
    fault_install(fail_at, point);
    assert_int_equal(try_append(fixture), ERROR_IO);
    fault_install(NULL, NULL);
    assert_true(spool_has_failed(fixture->spool));
}

/* The name of the new epoch; `old` is the one before. */
static void follow(struct fixture *fixture, char old[sizeof fixture->stream])
{
    memcpy(old, fixture->stream, sizeof fixture->stream);
    snprintf(fixture->stream, sizeof fixture->stream, "a1/%s/db.t",
             spool_epoch_borrow(fixture->spool));
}

/* Nothing is taken until it was opened anew, then everything, under another epoch; what was
 * answered before is there, sealed, under the old one. */
static void goes_on_under_another_epoch(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    char old[sizeof fixture->stream];
    append(fixture, EVENTS, SIZE);
    const char *epoch = spool_epoch_borrow(fixture->spool);
    fail_a_write(fixture, "spool.append.before_commit");
    assert_int_equal(try_append(fixture), ERROR_RETRY);
    must(spool_reopen(fixture->spool, NULL, &err), &err);
    assert_false(spool_has_failed(fixture->spool));
    assert_ptr_not_equal(epoch, spool_epoch_borrow(fixture->spool));
    /* By the old name nothing is taken: its positions may have been given. */
    assert_int_equal(try_append(fixture), ERROR_INPUT);
    follow(fixture, old);
    assert_string_not_equal(old, fixture->stream);
    assert_int_equal(append(fixture, EVENTS, SIZE), 0);
    assert_int_equal(read_events(fixture->spool, old, 0, UINT64_MAX, NULL), EVENTS);
    struct spool_stream stream = stream_of(fixture->spool, old, &arena);
    assert_int_equal(stream.sealed, EVENTS);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* The write that failed may be on the disk all the same: then it is there, once, as it is. */
static void a_write_that_was_durable_stays(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    char old[sizeof fixture->stream];
    fail_a_write(fixture, "spool.append.committed");
    must(spool_reopen(fixture->spool, NULL, &err), &err);
    follow(fixture, old);
    assert_int_equal(read_events(fixture->spool, old, 0, UINT64_MAX, NULL), EVENTS);
    assert_int_equal(append(fixture, EVENTS, SIZE), 0);
}

/* The pages that were not written are found before anybody builds on them. */
static void what_does_not_read_is_lost_by_name(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    uint8_t mark[8];
    char old[sizeof fixture->stream];
    append(fixture, EVENTS, SIZE);
    must(append_to(fixture->spool, fixture->stream, 0x6b6b6b6b6b6b6b00, 0, EVENTS, SIZE, 1,
                   &(uint64_t){0}, &err),
         &err);
    fail_a_write(fixture, "spool.append.before_commit");
    put_u64le(mark, 0x6b6b6b6b6b6b6b00);
    flip(fixture, slice_of(mark, sizeof mark), 500);
    must(spool_reopen(fixture->spool, NULL, &err), &err);
    follow(fixture, old);
    assert_int_equal(segments_of(fixture->spool, old, &arena, &segments), 1);
    assert_int_equal(segments[0].lost_count, 1);
    assert_int_equal(segments[0].lost[0].from, EVENTS);
    assert_int_equal(segments[0].lost[0].events, EVENTS);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* What opens well and still doesn't work is set aside, or it would be opened for ever. */
static void beyond_use_it_is_set_aside(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct error why;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    char old[sizeof fixture->stream];
    append(fixture, EVENTS, SIZE);
    error_set(&why, ERROR_CORRUPT, "a register that does not read");
    must(spool_reopen(fixture->spool, &why, &err), &err);
    follow(fixture, old);
    must(spool_list_streams(fixture->spool, &arena, &streams, &err), &err);
    assert_int_equal(streams.count, 0);
    assert_int_equal(append(fixture, EVENTS, SIZE), 0);
    char *command = memory_printf("test -s %s/set-aside/*-1/data.mdb", fixture->directory);
    FILE *pipe = popen(command, "r");
    assert_int_equal(pclose(pipe), 0);
    free(command);
    arena_free(&arena);
}

/* A disk that is still bad: nobody comes in, nothing breaks, and it is tried again. */
static void stays_shut_until_it_opens(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    char old[sizeof fixture->stream];
    append(fixture, EVENTS, SIZE);
    fail_a_write(fixture, "spool.append.before_commit");
    for (int i = 0; i < 3; i++) {
        fault_install(fail_at, "spool.open.before_commit");
        assert_int_equal(spool_reopen(fixture->spool, NULL, &err), ERROR_IO);
        fault_install(NULL, NULL);
        assert_true(spool_has_failed(fixture->spool));
        assert_int_equal(try_append(fixture), ERROR_RETRY);
        assert_int_equal(spool_list_streams(fixture->spool, &arena, &streams, &err), ERROR_RETRY);
        assert_int_equal(spool_renew_epoch(fixture->spool, &err), ERROR_RETRY);
    }
    must(spool_reopen(fixture->spool, NULL, &err), &err);
    follow(fixture, old);
    assert_int_equal(append(fixture, EVENTS, SIZE), 0);
    assert_int_equal(read_events(fixture->spool, old, 0, UINT64_MAX, NULL), EVENTS);
    arena_free(&arena);
}

/* One that never opened again is closed like any other. */
static void closes_while_it_is_shut(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    append(fixture, EVENTS, SIZE);
    fault_install(fail_at, "spool.open.before_commit");
    assert_int_equal(spool_reopen(fixture->spool, NULL, &err), ERROR_IO);
    fault_install(NULL, NULL);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(append(fixture, EVENTS, SIZE), 0);
}

struct crowd {
    struct fixture *fixture;
    _Atomic bool done;
    _Atomic unsigned answered;
    _Atomic unsigned sent_away;
};

/* Appends under whatever name holds, as capture does, and reads. */
static void *append_on(void *context)
{
    struct crowd *crowd = context;
    struct spool *spool = crowd->fixture->spool;
    struct error err;
    while (!crowd->done) {
        char stream[SPOOL_STREAM_NAME_MAX + 1];
        uint64_t first = 0;
        bool found = false;
        struct buf value = {0};
        snprintf(stream, sizeof stream, "a1/%s/db.t", spool_epoch_borrow(spool));
        int rc = append_to(spool, stream, 1, 0, 1, SIZE, 1, &first, &err);
        crowd->answered += rc == OK;
        crowd->sent_away += rc != OK;
        ASSERT(rc == OK || rc == ERROR_RETRY || rc == ERROR_IO || rc == ERROR_INPUT);
        rc = spool_checkpoint_get(spool, slice_cstr("none"), &value, &found, &err);
        ASSERT(rc == OK || rc == ERROR_RETRY);
        buf_free(&value);
    }
    return NULL;
}

static uint64_t count_events(struct spool *spool)
{
    struct error err;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    uint64_t sum = 0;
    must(spool_list_streams(spool, &arena, &streams, &err), &err);
    for (size_t i = 0; i < streams.count; i++)
        sum += read_events(spool, streams.streams[i].name, 0, UINT64_MAX, NULL);
    arena_free(&arena);
    return sum;
}

/* The environment goes from under threads that are at work in it: none of them may touch what
 * is no longer mapped, and each answer holds. */
static void exchanged_under_load(void **state)
{
    struct crowd crowd = {.fixture = *state};
    struct error err;
    pthread_t threads[3];
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, append_on, &crowd), 0);
    for (unsigned i = 0; i < 20; i++) {
        unsigned before = crowd.answered;
        while (crowd.answered < before + 5)
            sched_yield();
        must(spool_reopen(crowd.fixture->spool, NULL, &err), &err);
    }
    crowd.done = true;
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_true(crowd.answered >= 100);
    assert_int_equal(count_events(crowd.fixture->spool), crowd.answered);
}

/* Who reads holds the map: it is waited for, and who comes meanwhile is sent away. */
static void *reopen_beside(void *context)
{
    struct fixture *fixture = context;
    struct error err;
    int rc = spool_reopen(fixture->spool, NULL, &err);
    ASSERT(rc == OK);
    return NULL;
}

static void readers_are_waited_for(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct spool_reader *reader = NULL;
    struct spool_block block = {0};
    struct arena arena = {0};
    struct spool_streams streams = {0};
    bool more = false;
    pthread_t thread;
    append(fixture, EVENTS, SIZE);
    must(spool_reader_open(&reader, fixture->spool, fixture->stream, 0, UINT64_MAX, &err), &err);
    assert_int_equal(pthread_create(&thread, NULL, reopen_beside, fixture), 0);
    int rc = OK;
    while (rc == OK)
        rc = spool_list_streams(fixture->spool, &arena, &streams, &err);
    assert_int_equal(rc, ERROR_RETRY);
    must(spool_reader_next(reader, &block, &more, &err), &err);
    assert_true(more);
    assert_int_equal(get_u64le(block.rows.data), 1);
    spool_reader_close(reader);
    pthread_join(thread, NULL);
    must(spool_list_streams(fixture->spool, &arena, &streams, &err), &err);
    assert_int_equal(streams.count, 1);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(goes_on_under_another_epoch),
        SPOOL_TEST(a_write_that_was_durable_stays),
        SPOOL_TEST(what_does_not_read_is_lost_by_name),
        SPOOL_TEST(beyond_use_it_is_set_aside),
        SPOOL_TEST(stays_shut_until_it_opens),
        SPOOL_TEST(closes_while_it_is_shut),
        SPOOL_TEST(exchanged_under_load),
        SPOOL_TEST(readers_are_waited_for),
    };
    return cmocka_run_group_tests_name("spool reopen", tests, NULL, NULL);
}
