/* SPDX-License-Identifier: Apache-2.0
 *
 * When serve looks again.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cloud/serve.h"

/* A good turn must not be followed by another at once: a store bills by the request. */
static void good_turn_waits_the_interval(void **state)
{
    (void)state;
    assert_int_equal(serve_pause_ms(0, 5000, UINT64_MAX), 5000);
    assert_int_equal(serve_pause_ms(0, 3600000, 0), 3600000);
}

/* Many services that lost the same store must not come back at one moment, nor in an hour. */
static void failures_wait_longer_and_spread(void **state)
{
    (void)state;
    int64_t last = 0;
    for (unsigned failures = 1; failures < 100; failures++) {
        int64_t most = 0;
        for (uint64_t random = 0; random < 70000; random += 7)
            if (serve_pause_ms(failures, 5000, random) > most)
                most = serve_pause_ms(failures, 5000, random);
        assert_int_equal(serve_pause_ms(failures, 5000, 0), 0);
        assert_true(most >= last);
        assert_true(most < 60000);
        last = most;
    }
    assert_true(last > 59900);
    assert_true(serve_pause_ms(1, 5000, 1999) == 1999 && serve_pause_ms(1, 5000, 2000) == 0);
    assert_true(serve_pause_ms(40, 3600000, 3599999) == 3599999);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_turn_waits_the_interval),
        cmocka_unit_test(failures_wait_longer_and_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
