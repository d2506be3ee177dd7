/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/dedup.h"
#include "lib/base/fault.h"
#include "tests/unit/spool_support.h"

static int fail_at(void *context, const char *name, struct error *err)
{
    return strcmp(name, context) == 0 ? error_set(err, ERROR_IO, "the disk failed") : OK;
}

static const struct dedup_request asked = {.table = "clicks",
                                           .key = {.data = (const uint8_t *)"key", .len = 3}};

/* A request whose append fails at the point. */
static void fail_first(struct dedup *dedup, struct fixture *fixture, const char *point)
{
    struct dedup_entry entry = {0};
    struct dedup_answer answer = {.accepted = 1};
    enum dedup_outcome outcome = DEDUP_FOLLOWS;
    struct error err;
    size_t count = 0;
    char name[64];
    must(dedup_begin(dedup, &entry, &asked, &outcome, &answer, &err), &err);
    assert_int_equal(outcome, DEDUP_FIRST);
    must(dedup_store(dedup, &entry, &answer, &count, &err), &err);
    snprintf(name, sizeof name, "%s", point);
    fault_install(fail_at, name);
    int rc = spool_append(fixture->spool, NULL, 0, entry.checkpoints, count, NULL, &err);
    fault_install(NULL, NULL);
    assert_int_equal(rc, ERROR_IO);
    assert_null(dedup_settle(dedup, &entry, false));
    dedup_entry_free(&entry);
}

/* The same request again. */
static int ask(struct dedup *dedup, enum dedup_outcome *outcome)
{
    struct dedup_entry entry = {0};
    struct dedup_answer answer = {0};
    struct error err;
    int rc = dedup_begin(dedup, &entry, &asked, outcome, &answer, &err);
    assert_null(dedup_settle(dedup, &entry, false));
    buf_free(&answer.errors);
    dedup_entry_free(&entry);
    return rc;
}

/* Looked up while the spool is shut and appended once it is open, a request whose first write was
 * kept would have its events twice in the table. */
static void answers_are_not_sought_in_a_spool_that_failed(void **state)
{
    (void)state;
    static const struct {
        const char *point;
        enum dedup_outcome outcome;
    } cases[] = {{"spool.append.before_commit", DEDUP_FIRST},
                 {"spool.append.committed", DEDUP_ANSWERED}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct fixture fixture;
        struct dedup *dedup = NULL;
        enum dedup_outcome outcome = DEDUP_FOLLOWS;
        struct error err;
        fixture_init(&fixture);
        fixture_open(&fixture);
        must(dedup_open(&dedup, fixture.spool, &clock_system, 60000, 100, &err), &err);
        fail_first(dedup, &fixture, cases[i].point);
        assert_int_equal(ask(dedup, &outcome), ERROR_RETRY);
        must(spool_reopen(fixture.spool, NULL, &err), &err);
        assert_int_equal(ask(dedup, &outcome), OK);
        assert_int_equal(outcome, cases[i].outcome);
        dedup_close(dedup);
        fixture_free(&fixture);
    }
}

struct times {
    int64_t wall_ms;
    int64_t mono_ms;
};

static int64_t wall_us(void *context)
{
    return ((struct times *)context)->wall_ms * 1000;
}

static int64_t mono_ms(void *context)
{
    return ((struct times *)context)->mono_ms;
}

enum { WINDOW_MS = 60000, HOUR_MS = 3600000, NOON_MS = 43200000 };

static void open_at(struct dedup **dedup, struct fixture *fixture, const struct clock *clock)
{
    struct error err;
    must(dedup_open(dedup, fixture->spool, clock, WINDOW_MS, 100, &err), &err);
}

/* A request with that key: whether it is taken as a new one. */
static bool is_taken(struct dedup *dedup, struct fixture *fixture, const char *key)
{
    struct dedup_entry entry = {0};
    struct dedup_answer answer = {0};
    struct dedup_request request = {.table = "clicks", .key = slice_cstr(key)};
    enum dedup_outcome outcome = DEDUP_FOLLOWS;
    struct error err;
    size_t count = 0;
    must(dedup_begin(dedup, &entry, &request, &outcome, &answer, &err), &err);
    if (outcome == DEDUP_FIRST) {
        must(dedup_store(dedup, &entry, &answer, &count, &err), &err);
        must(spool_append(fixture->spool, NULL, 0, entry.checkpoints, count, NULL, &err), &err);
    }
    assert_null(dedup_settle(dedup, &entry, true));
    buf_free(&answer.errors);
    dedup_entry_free(&entry);
    return outcome == DEDUP_FIRST;
}

/* Set back, the clock would keep answers for hours, and keys be used again in vain; set forth, it
 * would forget them while their senders try again. */
static void keys_outlive_a_clock_that_is_set(void **state)
{
    (void)state;
    struct times times = {.wall_ms = NOON_MS, .mono_ms = 1000};
    struct clock clock = {.wall_us = wall_us, .mono_ms = mono_ms, .context = &times};
    struct fixture fixture;
    struct dedup *dedup = NULL;
    fixture_init(&fixture);
    fixture_open(&fixture);
    open_at(&dedup, &fixture, &clock);
    assert_true(is_taken(dedup, &fixture, "a"));
    times.wall_ms += HOUR_MS;
    assert_false(is_taken(dedup, &fixture, "a"));
    times.wall_ms -= 2 * HOUR_MS;
    assert_false(is_taken(dedup, &fixture, "a"));
    times.mono_ms += WINDOW_MS / 2;
    assert_true(is_taken(dedup, &fixture, "b"));
    assert_int_equal(dedup_key_count(dedup), 2);
    times.mono_ms += WINDOW_MS / 2;
    assert_true(is_taken(dedup, &fixture, "c")); /* and takes the first one along */
    assert_int_equal(dedup_key_count(dedup), 2);
    times.mono_ms += WINDOW_MS;
    assert_true(is_taken(dedup, &fixture, "a"));
    assert_int_equal(dedup_key_count(dedup), 1);
    dedup_close(dedup);
    fixture_free(&fixture);
}

/* An agent that is started by a clock which was set back must go on by the time of its keys. */
static void keys_outlive_a_restart_by_an_earlier_clock(void **state)
{
    (void)state;
    struct times times = {.wall_ms = NOON_MS, .mono_ms = 1000};
    struct clock clock = {.wall_us = wall_us, .mono_ms = mono_ms, .context = &times};
    struct fixture fixture;
    struct dedup *dedup = NULL;
    fixture_init(&fixture);
    fixture_open(&fixture);
    open_at(&dedup, &fixture, &clock);
    assert_true(is_taken(dedup, &fixture, "a"));
    dedup_close(dedup);
    times = (struct times){.wall_ms = NOON_MS - HOUR_MS, .mono_ms = 5};
    open_at(&dedup, &fixture, &clock);
    assert_false(is_taken(dedup, &fixture, "a"));
    times.mono_ms += WINDOW_MS;
    assert_true(is_taken(dedup, &fixture, "a"));
    assert_int_equal(dedup_key_count(dedup), 1);
    dedup_close(dedup);
    times.wall_ms = NOON_MS + HOUR_MS;
    open_at(&dedup, &fixture, &clock);
    assert_true(is_taken(dedup, &fixture, "a"));
    dedup_close(dedup);
    fixture_free(&fixture);
}

/* Beyond the greatest count keys go before their time: counted with those of a spool that is gone,
 * they would go at once. */
static void keys_are_counted_anew_in_another_spool(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dedup *dedup = NULL;
    struct dedup_entry waiting = {0};
    struct dedup_answer answer = {0};
    enum dedup_outcome outcome = DEDUP_FOLLOWS;
    struct error err;
    struct error why;
    size_t count = 0;
    char key[8];
    fixture_init(&fixture);
    fixture_open(&fixture);
    open_at(&dedup, &fixture, &clock_system);
    for (int i = 0; i < 100; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_true(is_taken(dedup, &fixture, key));
    }
    assert_int_equal(dedup_key_count(dedup), 100);
    /* One that is under way meanwhile, and takes an old key of the old spool along. */
    must(dedup_begin(dedup, &waiting, &asked, &outcome, &answer, &err), &err);
    must(dedup_store(dedup, &waiting, &answer, &count, &err), &err);
    assert_in_range(waiting.removed, 1, 2);
    error_set(&why, ERROR_CORRUPT, "it does not read");
    must(spool_reopen(fixture.spool, &why, &err), &err);
    assert_true(is_taken(dedup, &fixture, "new"));
    assert_int_equal(dedup_key_count(dedup), 1);
    must(spool_append(fixture.spool, NULL, 0, waiting.checkpoints, count, NULL, &err), &err);
    assert_null(dedup_settle(dedup, &waiting, true));
    dedup_entry_free(&waiting);
    assert_int_equal(dedup_key_count(dedup), 2);
    assert_false(is_taken(dedup, &fixture, "new"));
    dedup_close(dedup);
    fixture_free(&fixture);
}

/* Two of one cut, the first behind a reopening: the second is in the count already. So is one whose
 * write failed and was kept. */
static void what_was_kept_is_counted_once(void **state)
{
    (void)state;
    struct fixture fixture;
    struct dedup *dedup = NULL;
    struct dedup_entry entries[2] = {{0}};
    struct spool_checkpoint both[2 * DEDUP_CHECKPOINTS];
    struct dedup_answer answer = {0};
    enum dedup_outcome outcome = DEDUP_FOLLOWS;
    struct error err;
    size_t total = 0;
    fixture_init(&fixture);
    fixture_open(&fixture);
    open_at(&dedup, &fixture, &clock_system);
    fail_first(dedup, &fixture, "spool.append.committed");
    must(spool_reopen(fixture.spool, NULL, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        struct dedup_request request = {.table = "clicks", .key = slice_cstr(i == 0 ? "x" : "y")};
        size_t count = 0;
        must(dedup_begin(dedup, &entries[i], &request, &outcome, &answer, &err), &err);
        must(dedup_store(dedup, &entries[i], &answer, &count, &err), &err);
        memcpy(both + total, entries[i].checkpoints, count * sizeof *both);
        total += count;
    }
    must(spool_append(fixture.spool, NULL, 0, both, total, NULL, &err), &err);
    for (size_t i = 0; i < 2; i++) {
        assert_null(dedup_settle(dedup, &entries[i], true));
        dedup_entry_free(&entries[i]);
        assert_int_equal(dedup_key_count(dedup), 3);
    }
    dedup_close(dedup);
    fixture_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_not_sought_in_a_spool_that_failed),
        cmocka_unit_test(keys_outlive_a_clock_that_is_set),
        cmocka_unit_test(keys_outlive_a_restart_by_an_earlier_clock),
        cmocka_unit_test(keys_are_counted_anew_in_another_spool),
        cmocka_unit_test(what_was_kept_is_counted_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
