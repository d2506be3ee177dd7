/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "agent/source/effort.h"

enum { BATCH = 100 << 10, GOOD_PS = 2000, BAD_PS = 60000 };

static void take(struct effort *effort, size_t bytes, int64_t byte_ps)
{
    effort_learn(effort, bytes, (int64_t)bytes * byte_ps / 1000);
}

/* The usual batch would pay for another thread's waking up. */
static void good_batches_stay(void **state)
{
    (void)state;
    struct effort effort = {0};
    assert_int_equal(effort_bytes_max(&effort), EFFORT_BYTES_MAX);
    for (size_t i = 0; i < 100; i++)
        take(&effort, BATCH, GOOD_PS);
    assert_int_equal(effort_bytes_max(&effort), EFFORT_BYTES_MAX);
    take(&effort, BATCH, 5 * GOOD_PS); /* something else had the processor's caches */
    assert_true(effort_bytes_max(&effort) > 2 * BATCH);
}

/* Whoever sends dear texts and cheap ones in between would keep all others waiting. */
static void dear_texts_count_at_once(void **state)
{
    (void)state;
    struct effort effort = {0};
    for (size_t i = 0; i < 1000; i++) {
        if (i % 4 == 0)
            take(&effort, EFFORT_LEARNT_MIN, BAD_PS);
        else
            take(&effort, BATCH, GOOD_PS);
        assert_true(effort_bytes_max(&effort) * GOOD_PS / 1000 <= EFFORT_NS);
        assert_true(effort_bytes_max(&effort) * BAD_PS / 1000 <= 2 * EFFORT_NS);
    }
}

/* A bad hour must not send good batches the long way for ever, and no text is free. */
static void dear_texts_are_forgotten(void **state)
{
    (void)state;
    struct effort effort = {0};
    effort_learn(&effort, BATCH, INT64_MAX / 1000);
    assert_int_equal(effort_bytes_max(&effort), EFFORT_BYTES_MIN);
    size_t count = 0;
    for (; effort_bytes_max(&effort) < 4 * BATCH; count++)
        take(&effort, BATCH, GOOD_PS);
    assert_true(count < 200);
    effort_learn(&effort, BATCH, 0);
    for (size_t i = 0; i < 1000; i++)
        effort_learn(&effort, BATCH, 0);
    assert_int_equal(effort_bytes_max(&effort), EFFORT_BYTES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_batches_stay),
        cmocka_unit_test(dear_texts_count_at_once),
        cmocka_unit_test(dear_texts_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
