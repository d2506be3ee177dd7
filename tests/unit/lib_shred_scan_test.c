/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/shred/scan.h"

/* The wide scan and the plain one must stop at the same byte with the same flags, or an
 * event is refused on one machine that another takes. Every byte at every place, with every
 * other in front of or behind it. */
static void wide_scan_stops_where_words_do(void **state)
{
    (void)state;
    enum { LEN = 40 };
    uint8_t text[LEN + SCAN_PADDING];
    for (unsigned byte = 0; byte < 256; byte++) {
        for (size_t at = 0; at < LEN; at++) {
            for (unsigned other = 0; other < 256; other += 3) {
                memset(text, 'a', LEN);
                memset(text + LEN, 0, SCAN_PADDING);
                text[at] = (uint8_t)byte;
                text[(at * 7 + other) % LEN] = (uint8_t)other;
                unsigned flags = 0;
                unsigned plain_flags = 0;
                const uint8_t *wide = scan_plain(text, &flags);
                const uint8_t *plain = scan_plain_words(text, &plain_flags);
                assert_ptr_equal(wide, plain);
                assert_int_equal(flags, plain_flags);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wide_scan_stops_where_words_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
