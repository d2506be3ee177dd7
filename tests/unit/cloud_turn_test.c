/* SPDX-License-Identifier: Apache-2.0
 *
 * What a turn asks of its store: how often it waits for a disk, and that nothing is built
 * on what a power cut could still take away.
 */
#include "tests/unit/cloud_fixture.h"

#include "tests/unit/store_over.h"

/* A store over the fixture's that knows what a power cut would take. */
struct watched {
    struct store_over over; /* first */
    size_t durable_puts;
    size_t syncs;
    size_t unsynced_refusals;
    size_t unsynced_copies;
    size_t inbox_tidied;
    size_t inbox_gets;
    size_t at_risk; /* steps that were taken on what was not durable */
};

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int watched_put(void *impl, const char *key, const struct objstore_body *body, uint32_t sum,
                       enum put_condition condition, struct error *err)
{
    struct watched *w = impl;
    bool unsynced = (condition & PUT_UNSYNCED) != 0;
    bool receipt = begins(key, "_bidlake/receipts/");
    bool refusal = begins(key, "_bidlake/refused/");
    w->durable_puts += !unsynced;
    w->unsynced_refusals += unsynced && refusal;
    w->at_risk += unsynced && !receipt && !refusal;    /* manifests, lists, ledgers */
    w->at_risk += receipt && w->unsynced_refusals > 0; /* its agent lets go of it */
    w->at_risk += strstr(key, "/metadata/") != NULL && w->unsynced_copies > 0;
    return over_put(impl, key, body, sum, condition, err);
}

static int watched_get(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
                       struct buf *out, struct objstore_info *info, struct error *err)
{
    struct watched *w = impl;
    w->inbox_gets += begins(key, "_bidlake/inbox/");
    return over_get(impl, key, offset, len, bytes_max, out, info, err);
}

static int watched_remove(void *impl, const char *key, struct error *err)
{
    struct watched *w = impl;
    w->at_risk += w->unsynced_refusals > 0;
    return over_remove(impl, key, err);
}

static int watched_copy(void *impl, const char *from, const char *to, enum put_condition condition,
                        struct error *err)
{
    struct watched *w = impl;
    w->durable_puts += (condition & PUT_UNSYNCED) == 0;
    w->unsynced_copies += (condition & PUT_UNSYNCED) != 0;
    return over_copy(impl, from, to, condition, err);
}

static int watched_sync(void *impl, struct error *err)
{
    struct watched *w = impl;
    w->syncs++;
    w->unsynced_refusals = w->unsynced_copies = 0;
    return over_sync(impl, err);
}

static int watched_tidy(void *impl, const char *prefix, int64_t age_ms, struct error *err)
{
    struct watched *w = impl;
    w->inbox_tidied += strcmp(prefix, "_bidlake/inbox/" TABLE "/") == 0 && age_ms >= HOUR_MS;
    return over_tidy(impl, prefix, age_ms, err);
}

static const struct objstore_ops watched_ops = {
    .put = watched_put,
    .get = watched_get,
    .remove = watched_remove,
    .copy = watched_copy,
    .sync = watched_sync,
    .tidy = watched_tidy,
};

static void watched_turn(struct fixture *f, struct watched *out)
{
    *out = (struct watched){.over.inner = f->store};
    struct objstore *store = store_over_wrap(&out->over, &watched_ops);
    struct committer committer = f->committer;
    committer.store = store;
    assert_int_equal(turn_by(f, &committer), OK);
    assert_int_equal(out->at_risk, 0);
    objstore_close(store);
}

/* Where a sync takes 10 ms, one a receipt would be 10 s a turn. */
static void syncs_do_not_grow_with_announcements(void **state)
{
    struct fixture *f = *state;
    struct watched few;
    struct watched many;
    announce_streams(f, 2);
    watched_turn(f, &few);
    assert_int_equal(f->report.taken, 2);
    announce_streams(f, 200);
    watched_turn(f, &many);
    assert_int_equal(f->report.taken, 198);
    assert_int_equal(f->report.dead, 2);
    assert_true(few.durable_puts > 0);
    assert_int_equal(many.durable_puts, few.durable_puts);
    assert_int_equal(many.syncs, 0);
    assert_int_equal(receipt_next(f, "edge-150/" EPOCH_1 "/" TABLE), 10);
}

static void junk_streams(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct buf key = {0};
        struct error err;
        char *stream = memory_printf("junk-%u/" EPOCH_1 "/" TABLE, i);
        key_of_announcement(TABLE, stream, 0, &key);
        assert_int_equal(
            objstore_put_bytes(f->store, buf_cstr(&key), slice_cstr("junk"), PUT_ALWAYS, &err), OK);
        buf_free(&key);
        free(stream);
    }
}

/* What is refused is removed from the inbox: its copy must be safe by then. A flood of it
 * must not hold up the others for a sync each. */
static void refusals_are_safe_before_they_leave(void **state)
{
    struct fixture *f = *state;
    struct watched few;
    struct watched many;
    junk_streams(f, 3);
    watched_turn(f, &few);
    assert_int_equal(f->report.refused, 3);
    assert_int_equal(few.durable_puts, 3);
    assert_int_equal(few.syncs, 0); /* not a whole disk's writes for a few */
    junk_streams(f, 200);
    watched_turn(f, &many);
    assert_int_equal(f->report.refused, 200);
    assert_int_equal(many.durable_puts, 0);
    assert_int_equal(many.syncs, 1);
    assert_true(is_refused(f, "junk-77/" EPOCH_1 "/" TABLE, 0));
}

/* After a day without a committer all files are copied: one sync for all, and before
 * anything names them. */
static void copies_are_safe_before_they_are_named(void **state)
{
    struct fixture *f = *state;
    struct watched w;
    announce_streams(f, 50);
    fixture_pass_ms(f, 25 * HOUR_MS);
    watched_turn(f, &w);
    assert_int_equal(f->report.copied, 50);
    assert_int_equal(f->report.taken, 50);
    assert_int_equal(w.syncs, 1);
    assert_true(w.durable_puts < 10);
    assert_int_equal(rows_in_table(f), 500);
}

/* A store that stamps its files by another clock than it answers. */
struct two_clocks {
    struct store_over over; /* first */
    int64_t behind_ms;
    bool keeps_times; /* a copy has its source's */
};

static int two_clocks_head(void *impl, const char *key, struct objstore_info *out,
                           struct error *err)
{
    struct two_clocks *store = impl;
    int rc = over_head(impl, key, out, err);
    out->modified_ms = store->keeps_times ? 1 : out->modified_ms - store->behind_ms;
    return rc;
}

static const struct objstore_ops two_clocks_ops = {.head = two_clocks_head};

static int two_clocks_turn(struct fixture *f, struct two_clocks *two)
{
    fixture_pass_ms(f, 1000);
    two->over.inner = f->store;
    struct objstore *store = store_over_wrap(&two->over, &two_clocks_ops);
    struct committer committer = f->committer;
    committer.store = store;
    int rc = turn_by(f, &committer);
    objstore_close(store);
    return rc;
}

static size_t warnings(const struct fixture *f)
{
    size_t count = 0;
    for (size_t i = 0; i < f->report.note_count; i++)
        count += f->report.notes[i].kind == NOTE_WARNING &&
                 strstr(f->report.notes[i].text, " 90000 s ") != NULL;
    return count;
}

/* The harm: a committer whose clock is a day ahead of the file server's finds each copy old, and
 * commits nothing for ever. */
static void a_clock_ahead_stops_no_commit(void **state)
{
    struct fixture *f = *state;
    struct two_clocks two = {.behind_ms = 25 * HOUR_MS};
    announce_streams(f, 3);
    assert_int_equal(two_clocks_turn(f, &two), OK);
    assert_int_equal(f->report.taken, 3);
    assert_int_equal(f->report.copied, 3);
    assert_int_equal(f->report.alarms, 0);
    assert_int_equal(warnings(f), 1);
    assert_int_equal(rows_in_table(f), 30);
}

static void data_key(unsigned n, struct buf *out)
{
    struct buf path = {0};
    data_file_path("at_day=2026-09-21/country=USA", STREAM, 0, 10, n, &path);
    buf_reset(out);
    key_of_data_file(TABLE, buf_cstr(&path), out);
    buf_free(&path);
}

static bool data_exists(struct fixture *f, unsigned n)
{
    struct buf key = {0};
    struct objstore_info info;
    struct error err;
    data_key(n, &key);
    assert_int_equal(objstore_head(f->store, buf_cstr(&key), &info, &err), OK);
    buf_free(&key);
    return info.found;
}

/* Another committer's copy, or one of ours whose answer was lost, may be as old as it looks: it
 * is passed over, since some clean-up may have it on its list. */
static void a_copy_that_was_there_is_judged_by_its_age(void **state)
{
    struct fixture *f = *state;
    struct two_clocks two = {.behind_ms = 25 * HOUR_MS};
    struct buf from = {0};
    struct buf to = {0};
    struct error err;
    announce(f, STREAM, 0, 10);
    data_key(0, &from);
    data_key(1, &to);
    assert_int_equal(objstore_copy(f->store, buf_cstr(&from), buf_cstr(&to), PUT_IF_ABSENT, &err),
                     OK);
    assert_int_equal(two_clocks_turn(f, &two), OK);
    assert_int_equal(f->report.copied, 1);
    assert_true(data_exists(f, 2));
    assert_false(data_exists(f, 3));
    assert_int_equal(objstore_remove(f->store, buf_cstr(&from), &err), OK);
    assert_int_equal(objstore_remove(f->store, buf_cstr(&to), &err), OK);
    assert_int_equal(rows_in_table(f), 10); /* reads the copy of this turn */
    buf_free(&from);
    buf_free(&to);
}

/* To a clean-up such a copy is as old as its source. */
static void a_copy_with_its_sources_time_is_not_new(void **state)
{
    struct fixture *f = *state;
    struct two_clocks two = {.keeps_times = true};
    announce(f, STREAM, 0, 10);
    assert_int_equal(two_clocks_turn(f, &two), ERROR_RETRY);
    assert_int_equal(f->report.taken, 0);
    assert_int_equal(warnings(f), 0);
}

/* A directory for each start of each agent, read by every turn for ever after. */
static void streams_that_ended_leave_nothing_behind(void **state)
{
    struct fixture *f = *state;
    struct watched w;
    f->committer.prune_every = 1;
    announce_streams(f, 1);
    watched_turn(f, &w);
    assert_int_equal(f->report.taken, 1);
    assert_int_equal(w.inbox_tidied, 1);
}

/* One file that is missing makes the page be decided anew. A thousand agents that are refused
 * were then a thousand requests, one after the other. */
static void none_is_fetched_again_for_the_decision(void **state)
{
    struct fixture *f = *state;
    struct watched w;
    struct wish gone = {.no_file = true};
    struct wish strange = {.column = "no_such_column"};
    enum { STREAMS = 20 };
    announce(f, OTHER, 0, 10);
    assert_int_equal(turn(f), OK);
    fixture_pass_ms(f, (int64_t)31 * 24 * HOUR_MS);
    announce(f, KAFKA, 0, 10); /* its commit retires the first, and all older ones */
    assert_int_equal(turn(f), OK);
    announce_streams(f, STREAMS);
    junk_streams(f, STREAMS);
    for (unsigned i = 0; i < STREAMS; i++) {
        char *stream = memory_printf("kafka/cluster/strange/topic-id/%u/" TABLE, i);
        announce_as(f, stream, 0, 10, &strange);
        free(stream);
    }
    announce_as(f, KAFKA, 10, 20, &gone);
    watched_turn(f, &w);
    assert_int_equal(f->report.retired, STREAMS);
    assert_int_equal(f->report.refused, 2 * STREAMS);
    assert_int_equal(f->report.missing, 1);
    /* Refused ones once more, side by side: their copy is made of what is there. */
    assert_int_equal(w.inbox_gets, STREAMS + 2 * 2 * STREAMS + 1);
}

/* With many requests under way a turn comes to the same: good, missing, refused and dead ones
 * mixed, over a store with real files. */
static void many_requests_at_a_time_change_nothing(void **state)
{
    struct fixture *f = *state;
    struct wish gone = {.no_file = true};
    announce_streams(f, 5);
    assert_int_equal(turn(f), OK);
    announce_streams(f, 100);
    junk_streams(f, 20);
    announce_as(f, STREAM, 0, 10, &gone);
    announce(f, STREAM, 10, 20);
    for (uint64_t from = 0; from < 100; from += 10)
        announce(f, OTHER, from, from + 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 95 + 10);
    assert_int_equal(f->report.dead, 5);
    assert_int_equal(f->report.refused, 20);
    assert_int_equal(f->report.missing, 1);
    assert_int_equal(f->report.waiting, 1);
    assert_int_equal(next_of(f, OTHER), 100);
    assert_int_equal(rows_in_table(f), 1000 + 100);
    assert_int_equal(receipt_next(f, "edge-99/" EPOCH_1 "/" TABLE), 10);
    assert_true(in_inbox(f, STREAM, 10));
    assert_true(is_refused(f, "junk-7/" EPOCH_1 "/" TABLE, 0));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(syncs_do_not_grow_with_announcements),
        TEST(refusals_are_safe_before_they_leave),
        TEST(streams_that_ended_leave_nothing_behind),
        FILES_TEST(many_requests_at_a_time_change_nothing),
        TEST(copies_are_safe_before_they_are_named),
        TEST(a_clock_ahead_stops_no_commit),
        TEST(a_copy_that_was_there_is_judged_by_its_age),
        TEST(a_copy_with_its_sources_time_is_not_new),
        TEST(none_is_fetched_again_for_the_decision),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
