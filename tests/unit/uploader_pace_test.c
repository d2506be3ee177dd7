/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "uploader/pace.h"

/* A file's pieces are what a second paid for when it began: at a thousandth of that rate one piece
 * would wait for a quarter of an hour, and the upload be taken for one that hangs. */
static void no_piece_waits_for_long(void **state)
{
    (void)state;
    struct pace pace = {0};
    assert_true(pace_change(&pace, 1000, false));
    assert_false(pace_change(&pace, 1, true));
    assert_true(pace_change(&pace, 0, true));
    assert_true(pace_change(&pace, 1, true));
    pace_take(&pace, pace_piece(&(struct pace){.bytes_per_second = 1000}), 5000);
    assert_in_range(pace_take(&pace, 1000, 5000), 1, 1000);
    assert_true(pace_change(&pace, 2000, true));
    assert_true(pace_change(&pace, 1, true));
    assert_int_equal(pace.bytes_per_second, 1000);
    assert_true(pace_change(&pace, 1, false));
    assert_int_equal(pace.bytes_per_second, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_piece_waits_for_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
