/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spool_support.h"

#include "agent/ending.h"

static void look_at(struct ending *ending, const int64_t *now_ms, const char *wanted)
{
    struct buf text = {0};
    ending_write(ending, now_ms, &text);
    assert_string_equal(buf_cstr(&text), wanted);
    buf_free(&text);
}

static void look(struct ending *ending, const char *wanted)
{
    look_at(ending, &(int64_t){1000}, wanted);
}

/* A stop that waits for nobody would leave him who drains without an answer; one that waits for
 * who has been told would be late for nothing. */
static void who_drains_is_waited_for_once(void **state)
{
    (void)state;
    struct ending ending;
    ending_init(&ending);
    ending_drain(&ending, 5000);
    ending_drain(&ending, 1);
    assert_true(ending_is_drained(&ending));
    assert_int_equal(ending_begin(&ending, 10, 20), 5000);
    look(&ending, "{\"ending\":true,\"over\":false,\"complete\":false,\"events_left\":0,"
                  "\"why\":\"\"}\n");
    assert_false(ending_is_to_be_told(&ending, 1000));
    ending_incomplete(&ending, 3, "503");
    assert_true(ending_is_to_be_told(&ending, 1000));
    look(&ending, "{\"ending\":true,\"over\":true,\"complete\":false,\"events_left\":3,"
                  "\"why\":\"503\"}\n");
    assert_false(ending_is_to_be_told(&ending, 1500));
    ending_free(&ending);
}

/* A monitor, or a second one who drains, may come first: who waits for the end must not find
 * nobody there, and take a drain that is complete for one that failed. */
static void the_first_who_asks_is_not_the_last(void **state)
{
    (void)state;
    static const char over[] = "{\"ending\":true,\"over\":true,\"complete\":true,"
                               "\"events_left\":0,\"why\":\"\"}\n";
    struct ending ending;
    ending_init(&ending);
    ending_drain(&ending, 5000);
    ending_complete(&ending);
    look_at(&ending, NULL, over);
    assert_true(ending_is_to_be_told(&ending, 9000));
    look_at(&ending, &(int64_t){2000}, over);
    assert_true(ending_is_to_be_told(&ending, 2499));
    look_at(&ending, &(int64_t){2499}, over);
    assert_false(ending_is_to_be_told(&ending, 2500)); /* who asks on and on holds nothing up */
    ending_free(&ending);
}

/* An end that nobody noted must not pass for one that left nothing. */
static void a_stop_is_complete_only_if_it_was_said(void **state)
{
    (void)state;
    struct error err;
    struct ending ending;
    ending_init(&ending);
    assert_int_equal(ending_begin(&ending, 10, 20), 10);
    ending_drain(&ending, 5000); /* too late for its time */
    assert_int_equal(ending_outcome(&ending, &err), ERROR_RETRY);
    ending_complete(&ending);
    assert_int_equal(ending_outcome(&ending, &err), OK);
    ending_free(&ending);
}

/* A server's words need not be UTF-8: who drains would find no agent that answers. */
static void why_is_told_whatever_bytes_it_has(void **state)
{
    (void)state;
    struct ending ending;
    ending_init(&ending);
    ending_drain(&ending, 5000);
    ending_incomplete(&ending, 3, "PUT: \xc3 \"\n");
    look(&ending, "{\"ending\":true,\"over\":true,\"complete\":false,\"events_left\":3,"
                  "\"why\":\"PUT: ? \\\"?\"}\n");
    ending_free(&ending);
}

static void a_drain_has_a_usual_time(void **state)
{
    (void)state;
    struct ending ending;
    ending_init(&ending);
    ending_drain(&ending, -1);
    assert_int_equal(ending_begin(&ending, 10, 20), 20);
    ending_free(&ending);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_drains_is_waited_for_once),
        cmocka_unit_test(a_drain_has_a_usual_time),
        cmocka_unit_test(the_first_who_asks_is_not_the_last),
        cmocka_unit_test(why_is_told_whatever_bytes_it_has),
        cmocka_unit_test(a_stop_is_complete_only_if_it_was_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
