/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/freshness.h"

static void look(struct freshness *freshness, uint64_t end, uint64_t next, int64_t committed_at_ms,
                 int64_t now_ms)
{
    struct spool_stream stream = {
        .name = "a/e/db.t", .end = end, .next = next, .committed_at_ms = committed_at_ms};
    struct spool_streams streams = {.count = 1, .streams = &stream};
    freshness_look(freshness, &streams, now_ms);
}

/* A dashboard that shows seconds while the table is hours behind is worse than none. */
static void receipts_say_how_long_it_took(void **state)
{
    (void)state;
    struct freshness *freshness = freshness_open();
    const struct freshness_statistics *statistics = freshness_borrow(freshness);
    look(freshness, 0, 0, 0, 1000);
    assert_int_equal(statistics->oldest_ms, 0);
    look(freshness, 10, 0, 0, 2000);
    look(freshness, 20, 0, 0, 3000);
    look(freshness, 20, 0, 0, 9000);
    assert_int_equal(statistics->oldest_ms, 7000);
    assert_int_equal(statistics->last_ms, -1);
    look(freshness, 30, 10, 9500, 10000);
    assert_int_equal(statistics->last_ms, 7500);
    assert_int_equal(statistics->oldest_ms, 7000);
    look(freshness, 30, 30, 40000, 50000);
    assert_int_equal(statistics->last_ms, 30000);
    assert_int_equal(statistics->sum_ms, 7500 + 37000 + 30000);
    assert_int_equal(statistics->oldest_ms, 0);
    uint64_t marks = 0;
    for (size_t i = 0; i < FRESHNESS_BUCKETS; i++)
        marks += statistics->marks[i];
    assert_int_equal(marks, 3);
    freshness_close(freshness);
}

/* A store that is away for days must not make the agent grow, nor hide the oldest event. */
static void long_outage_keeps_its_beginning(void **state)
{
    (void)state;
    struct freshness *freshness = freshness_open();
    const struct freshness_statistics *statistics = freshness_borrow(freshness);
    for (int64_t i = 1; i <= 100000; i++)
        look(freshness, (uint64_t)i, 0, 0, i * 1000);
    assert_true(statistics->oldest_ms > 90000000);
    look(freshness, 100000, 100000, 100001000, 100001000);
    assert_int_equal(statistics->oldest_ms, 0);
    assert_true(statistics->marks[FRESHNESS_BUCKETS - 1] > 0);
    /* A stream that is gone takes its marks along. */
    struct spool_streams none = {0};
    look(freshness, 100001, 100000, 0, 100002000);
    freshness_look(freshness, &none, 100003000);
    assert_int_equal(statistics->oldest_ms, 0);
    freshness_close(freshness);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(receipts_say_how_long_it_took),
        cmocka_unit_test(long_outage_keeps_its_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
