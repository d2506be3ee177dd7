/* SPDX-License-Identifier: Apache-2.0
 *
 * A turn that is asked to stop: soon, between two commits, and what is left is for the next.
 */
#include "tests/unit/cloud_fixture.h"

enum { STREAMS = 2500, PAGE = 1000 };

struct stopping {
    size_t asked;
    size_t stop_at; /* the nth question is the first that is answered by yes */
};

static struct stopping stopping;

static bool is_to_stop(void *context)
{
    struct stopping *s = context;
    s->asked++;
    return s->asked >= s->stop_at;
}

static int stopping_turn(struct fixture *f, size_t stop_at)
{
    struct committer committer = f->committer;
    stopping = (struct stopping){.stop_at = stop_at};
    committer.stop = is_to_stop;
    committer.stop_context = &stopping;
    return turn_by(f, &committer);
}

static void stop_now(struct fixture *f)
{
    (void)f;
    stopping.stop_at = 0;
}

/* A hundred thousand announcements behind an outage are twenty minutes: a container has ten
 * seconds. The commit under way is finished with its receipts and the inbox. */
static void it_ends_behind_the_commit_under_way(void **state)
{
    struct fixture *f = *state;
    announce_streams(f, STREAMS);
    f->committer.announcements_max = PAGE;
    f->before_commit = stop_now;
    assert_int_equal(stopping_turn(f, SIZE_MAX), ERROR_RETRY);
    assert_true(f->report.stopped);
    assert_int_equal(f->report.snapshots, 1);
    assert_int_equal(f->report.taken, PAGE);
    assert_int_equal(f->report.seen, PAGE);
    assert_int_equal(rows_in_table(f), PAGE * 10);
    assert_int_equal(turn(f), OK);
    assert_false(f->report.stopped);
    assert_int_equal(f->report.dead, 0);
    assert_int_equal(f->report.taken, STREAMS - PAGE);
    assert_int_equal(rows_in_table(f), STREAMS * 10);
}

/* Whose answer is lost must not be tried again, nor forgotten. */
static void a_lost_answer_is_for_the_next_turn(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    f->commit_fault = CATALOG_FAULT_AFTER; /* applied, but nobody hears of it */
    f->commit_fault_in = 1;
    f->before_commit = stop_now;
    assert_int_equal(stopping_turn(f, SIZE_MAX), ERROR_RETRY);
    assert_true(f->report.stopped);
    assert_int_equal(f->report.attempts, 1);
    assert_true(in_inbox(f, STREAM, 0));
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.dead, 1);
    assert_int_equal(rows_in_table(f), 10);
}

static void fail_again(struct fixture *f)
{
    f->commit_fault = CATALOG_FAULT_BEFORE;
    f->commit_fault_in = 1;
    f->before_commit = fail_again;
}

static bool is_late(void *context)
{
    return ((struct fixture *)context)->mono_ms >= 10000;
}

/* Ten attempts pause for 25 s each, at the worst. */
static void no_pause_outlasts_it(void **state)
{
    struct fixture *f = *state;
    struct committer committer = f->committer;
    committer.stop = is_late;
    committer.stop_context = f;
    announce(f, STREAM, 0, 10);
    f->before_commit = fail_again;
    f->mono_ms = 0;
    assert_int_equal(turn_by(f, &committer), ERROR_RETRY);
    assert_true(f->report.stopped);
    assert_true(f->report.attempts >= 5);
    assert_in_range(f->mono_ms, 10000, 10100);
    f->before_commit = NULL;
    assert_int_equal(turn(f), OK);
    assert_int_equal(rows_in_table(f), 10);
}

/* Wherever it is asked. */
static void no_moment_loses_or_doubles(void **state)
{
    struct fixture *f = *state;
    struct wish gone = {.no_file = true};
    size_t stopped = 0;
    announce_streams(f, 30);
    announce_as(f, STREAM, 0, 10, &gone);
    announce(f, OTHER, 10, 20);
    for (size_t at = 1;; at++) {
        int rc = stopping_turn(f, at);
        assert_int_equal(f->report.stopped, rc != OK);
        if (rc == OK)
            break;
        stopped++;
        if (at % 7 == 0) { /* something to do behind a commit, too */
            char *stream = memory_printf("more-%zu/" EPOCH_1 "/" TABLE, at);
            announce(f, stream, 0, 10);
            announce(f, stream, 0, 10);
            free(stream);
        }
    }
    assert_true(stopped > 50);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.missing, 1);
    assert_int_equal(f->report.waiting, 1);
    assert_int_equal(rows_in_table(f), 300 + stopped / 7 * 10);
}

/* The tables behind it are not failed: they were not looked at. */
static void the_tables_behind_it_wait(void **state)
{
    struct fixture *f = *state;
    static const char *const tables[] = {TABLE, "db.none"};
    struct committer committer = f->committer;
    struct error err;
    stopping = (struct stopping){.stop_at = 0};
    committer.stop = is_to_stop;
    committer.stop_context = &stopping;
    announce(f, STREAM, 0, 10);
    assert_int_equal(commit_turn(&committer, tables, 2, &f->report, &err), ERROR_RETRY);
    assert_non_null(strstr(err.text, "asked to stop"));
    assert_true(f->report.stopped);
    assert_int_equal(f->report.tables_failed, 0);
    assert_int_equal(f->report.note_count, 0);
    assert_int_equal(f->report.seen, 0);
}

/* From the first request below `context` on, the store gives up each: it wanted a pause. */
static enum memory_fault pause_is_given_up(void *context, enum memory_operation operation,
                                           const char *key)
{
    (void)operation;
    if (strstr(key, context) != NULL)
        stopping.stop_at = 0;
    return stopping.stop_at == 0 ? MEMORY_FAULT_BEFORE : MEMORY_FAULT_NONE;
}

/* Wherever the store was paused: nothing has failed. */
static void a_pause_that_is_given_up_is_no_failure(void **state)
{
    struct fixture *f = *state;
    static const char *const tables[] = {TABLE, "db.none", "db.nor_this"};
    static char *const places[] = {"_bidlake/tables/", "_bidlake/inbox/", "_bidlake/receipts/"};
    announce(f, STREAM, 0, 10);
    for (size_t i = 0; i < 3; i++) {
        struct committer committer = f->committer;
        struct error err;
        stopping = (struct stopping){.stop_at = SIZE_MAX};
        committer.store = memory_store_attach(f->bytes, pause_is_given_up, places[i]);
        committer.stop = is_to_stop;
        committer.stop_context = &stopping;
        commit_report_free(&f->report);
        assert_int_equal(commit_turn(&committer, tables, 3, &f->report, &err), ERROR_RETRY);
        assert_null(strstr(err.text, "asked to stop")); /* it was the store that said so */
        assert_int_equal(stopping.stop_at, 0);
        assert_true(f->report.stopped);
        assert_int_equal(f->report.tables_failed, 0);
        assert_int_equal(f->report.note_count, 0);
        objstore_close(committer.store);
    }
    assert_int_equal(turn(f), OK);
    assert_int_equal(rows_in_table(f), 10);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(it_ends_behind_the_commit_under_way),
        TEST(a_lost_answer_is_for_the_next_turn),
        TEST(no_pause_outlasts_it),
        TEST(no_moment_loses_or_doubles),
        TEST(the_tables_behind_it_wait),
        TEST(a_pause_that_is_given_up_is_no_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
