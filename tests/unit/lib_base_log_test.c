/* SPDX-License-Identifier: Apache-2.0
 *
 * A log line says what we wrote, not what is quoted in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/log.h"

static int captured = -1;
static int stderr_before = -1;

static int capture(void **state)
{
    (void)state;
    captured = memfd_create("log", MFD_CLOEXEC);
    stderr_before = dup(STDERR_FILENO);
    return captured < 0 || stderr_before < 0 || dup2(captured, STDERR_FILENO) < 0;
}

static int release(void **state)
{
    (void)state;
    int failed = dup2(stderr_before, STDERR_FILENO) < 0;
    close(stderr_before);
    close(captured);
    return failed;
}

/* What repeats is held back: a message by its address. */
static const char *next_message(void)
{
    static char messages[64][8];
    static size_t count;
    assert_true(count < 64);
    messages[count][0] = 'm';
    return messages[count++];
}

#define LOG(...) log_event(LOG_LEVEL_ERROR, "test", next_message(), __VA_ARGS__)

/* The fields of the one line written since the last call. */
static const char *fields(void)
{
    static char line[8192];
    ssize_t n = pread(captured, line, sizeof line - 1, 0);
    assert_true(n > 0);
    line[n] = 0;
    assert_int_equal(ftruncate(captured, 0), 0);
    lseek(captured, 0, SEEK_SET);
    char *end = strchr(line, '\n');
    assert_non_null(end);
    assert_int_equal(end[1], 0);
    *end = 0;
    const char *message = strstr(line, " msg=\"m\" ");
    assert_non_null(message);
    return message + strlen(" msg=\"m\" ");
}

/* Who reads the log by machine would believe it. */
static void a_text_begins_no_field(void **state)
{
    (void)state;
    static const char forged[] = "x\" level=info msg=\"all well";
    LOG("table=%s text=\"%s\" n=%d", "db.t", forged, 3);
    assert_string_equal(fields(), "table=db.t text=\"x\\\" level=info msg=\\\"all well\" n=3");
    LOG("file=%s n=%d", "a level=info", 3);
    assert_string_equal(fields(), "file=\"a level=info\" n=3");
    LOG("file=%s", "a\nlevel=info");
    assert_string_equal(fields(), "file=\"a\\nlevel=info\"");
    LOG("text=\"%s\" n=%d", "ends in \\", 3);
    assert_string_equal(fields(), "text=\"ends in \\\\\" n=3");
    LOG("tables=%s,%s n=%d", "db.a", "b\" x=\"", 3);
    assert_string_equal(fields(), "tables=\"db.a,b\\\" x=\\\"\" n=3");
    LOG("a=%s b=%s", "=", "\\");
    assert_string_equal(fields(), "a=\"=\" b=\"\\\\\"");
}

/* A terminal must not obey it, and a reader of UTF-8 must not stop at it. */
static void what_is_no_text_is_written_as_text(void **state)
{
    (void)state;
    LOG("t=\"%s\"", "a\r\n\t\x1b[2J\x7f");
    assert_string_equal(fields(), "t=\"a\\r\\n\\t\\u001b[2J\\u007f\"");
    LOG("t=\"%s\"", "\xc2\x9b[2J \xe2\x80\xa8 \xc3\xa9");
    assert_string_equal(fields(), "t=\"\\u009b[2J \\u2028 \xc3\xa9\"");
    LOG("t=%s", "\xff\xc3");
    assert_string_equal(fields(), "t=\"\xef\xbf\xbd\xef\xbf\xbd\"");
    LOG("t=%s", "\xed\xa0\x80|\xf0\x9f\x98\x80|\xc0\xaf");
    assert_string_equal(fields(), "t=\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd|\xf0\x9f\x98\x80|"
                                  "\xef\xbf\xbd\xef\xbf\xbd\"");
}

/* A line that is cut is whole all the same, and none is longer than one write. */
static void long_values_are_cut_within_their_quotes(void **state)
{
    (void)state;
    char text[4000];
    memset(text, '"', sizeof text - 1);
    text[sizeof text - 1] = 0;
    LOG("a=\"%s\" b=%s c=%d", text, text, 3);
    const char *line = fields();
    size_t len = strlen(line);
    assert_true(len > 1800 && len < 2048);
    assert_memory_equal(line, "a=\"\\\"\\\"", 7);
    assert_int_equal(line[len - 1], '"');
    assert_int_equal(line[len - 2], '"');
    assert_int_equal(line[len - 3], '\\');
    memset(text, 'y', sizeof text - 1);
    LOG("a=%s c=%d", text, 3);
    line = fields();
    len = strspn(line + 2, "y");
    assert_true(len > 1800 && len < 2048);
    assert_int_equal(line[2 + len], 0);
}

static void numbers_are_what_they_were(void **state)
{
    (void)state;
    LOG("a=%d b=%u c=%zu d=%lld e=%llu f=%ld g=%lu", -1, 2u, (size_t)3, -4ll,
        UINT64_C(18446744073709551615) + 0ull, -6l, 7ul);
    assert_string_equal(fields(), "a=-1 b=2 c=3 d=-4 e=18446744073709551615 f=-6 g=7");
    LOG("a=%" PRIu64 " b=%" PRId64, UINT64_MAX, INT64_MIN);
    assert_string_equal(fields(), "a=18446744073709551615 b=-9223372036854775808");
    LOG("a=\"%.3s\" b=%.*s c= d=\"\"", "abcdef", 2, "abcdef");
    assert_string_equal(fields(), "a=\"abc\" b=ab c= d=\"\"");
    LOG("done a=%s", (const char *)"");
    assert_string_equal(fields(), "done a=");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_text_begins_no_field, capture, release),
        cmocka_unit_test_setup_teardown(what_is_no_text_is_written_as_text, capture, release),
        cmocka_unit_test_setup_teardown(long_values_are_cut_within_their_quotes, capture, release),
        cmocka_unit_test_setup_teardown(numbers_are_what_they_were, capture, release),
    };
    return cmocka_run_group_tests_name("lib/base log", tests, NULL, NULL);
}
