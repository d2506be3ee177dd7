/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/shred/decimal.h"

/* A price that the quick way rounds otherwise than the exact one would be another price by
 * the digits behind it. All numbers of up to 17 digits with a point anywhere, by a few of
 * each. */
static void quick_ways_find_what_exact_ones_do(void **state)
{
    (void)state;
    uint64_t random = 1;
    unsigned integers = 0;
    unsigned doubles = 0;
    for (unsigned round = 0; round < 40000; round++) {
        char text[64] = {0};
        unsigned digits = 1 + round % 17;
        unsigned point = round / 17 % 19;
        size_t n = 0;
        if (round % 5 == 0)
            text[n++] = '-';
        for (unsigned i = 0; i < digits; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            if (i == point && i > 0)
                text[n++] = '.';
            text[n++] =
                (char)('0' + (i == 0 && digits > 1 ? 1 + (random >> 33) % 9 : (random >> 33) % 10));
        }
        const uint8_t *at = (const uint8_t *)text;
        struct slice slice = slice_of(text, n);
        int64_t quick = 0;
        int64_t exact = 0;
        double quick_real = 0;
        double exact_real = 0;
        text[n] = "},]e."[round % 5];
        if (decimal_quick_i64(at, n, &quick)) {
            integers++;
            assert_true(decimal_to_i64(slice, &exact));
            assert_int_equal(quick, exact);
        }
        if (decimal_quick_double(at, n, &quick_real)) {
            doubles++;
            assert_true(decimal_to_double(slice, &exact_real));
            assert_memory_equal(&quick_real, &exact_real, sizeof quick_real);
        }
    }
    /* Both ways were taken, often. */
    assert_true(integers > 5000 && doubles > 5000);
}

static void quick_ways_leave_what_they_do_not_know(void **state)
{
    (void)state;
    static const char *const texts[] = {"-1", "1.0", "1e3", "12345678901234567", "1E2"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint8_t padded[64] = {0};
        int64_t number;
        memcpy(padded, texts[i], strlen(texts[i]));
        assert_false(decimal_quick_i64(padded, strlen(texts[i]), &number));
    }
    static const char *const reals[] = {"1e3", "1.5e3", "123456789", "1.123456789", "0.5E-1"};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        uint8_t padded[64] = {0};
        double number;
        memcpy(padded, reals[i], strlen(reals[i]));
        assert_false(decimal_quick_double(padded, strlen(reals[i]), &number));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quick_ways_find_what_exact_ones_do),
        cmocka_unit_test(quick_ways_leave_what_they_do_not_know),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
