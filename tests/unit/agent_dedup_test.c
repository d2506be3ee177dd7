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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_not_sought_in_a_spool_that_failed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
