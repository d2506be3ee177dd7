/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/plain.h"

static void expect(const char *text, const char *shown)
{
    struct buf out = {0};
    plain_put(&out, text);
    assert_string_equal(buf_cstr(&out), shown);
    buf_free(&out);
}

/* A stranger's name must not command the terminal of who looks, nor feign another line. */
static void nothing_commands_a_terminal(void **state)
{
    (void)state;
    expect(NULL, "");
    expect("db.clicks \"x\\y\"", "db.clicks \"x\\y\"");
    expect("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
    expect("a\x1b[31mb\x1b]0;t\x07", "a\\u001b[31mb\\u001b]0;t\\u0007");
    expect("a\r\nb\tc\x7f", "a\\r\\nb\\tc\\u007f");
    expect("\xc2\x9b"
           "2J",
           "\\u009b2J");
    expect("\xe2\x80\xa8\xe2\x80\xa9", "\\u2028\\u2029");
    expect("\x9b\xc0\x80\xed\xa0\x80z\xe2\x82",
           "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz"
           "\xef\xbf\xbd\xef\xbf\xbd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_commands_a_terminal)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
