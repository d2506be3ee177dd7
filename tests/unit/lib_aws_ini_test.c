/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/aws/ini.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/base/buf.h"

/* Entries as "section|key|value;", "section|parent/key|value;". */
static void check(const char *text, const char *wanted)
{
    struct ini ini = {0};
    struct buf got = {0};
    struct error err;
    assert_int_equal(ini_decode(&ini, slice_cstr(text), &err), OK);
    for (size_t i = 0; i < ini.count; i++) {
        buf_put_slice(&got, ini.entries[i].section);
        buf_put_cstr(&got, "|");
        buf_put_slice(&got, ini.entries[i].parent);
        buf_put_cstr(&got, ini.entries[i].parent.len > 0 ? "/" : "");
        buf_put_slice(&got, ini.entries[i].key);
        buf_put_cstr(&got, "|");
        buf_put_slice(&got, ini.entries[i].value);
        buf_put_cstr(&got, ";");
    }
    assert_string_equal(buf_cstr(&got), wanted);
    buf_free(&got);
    ini_free(&ini);
}

/* The harm: a file that the SDKs read is refused here, or read as other keys. */
static void what_people_write_is_read(void **state)
{
    (void)state;
    check("", "");
    check("\xef\xbb\xbf[a]\r\nk = v\r\n", "a||;a|k|v;");
    check("[ a b ] # c\n\n; c\n  # c\nk=v=w\n", "a b||;a b|k|v=w;");
}

static void values_lose_blanks_and_comments(void **state)
{
    (void)state;
    check("[a]\nk = a#b;c # d\nl =\nm = ;x\nn\t=\tu v\t\n", "a||;a|k|a#b;c;a|l|;a|m|;a|n|u v;");
}

/* The harm: a table of settings for S3 overwrites the profile's region. */
static void what_is_indented_belongs_to_the_key_above(void **state)
{
    (void)state;
    check("[a]\ns3 =\n  region = x\n  more = y\nregion = z\n",
          "a||;a|s3|;a|s3/region|x;a|s3/more|y;a|region|z;");
    check("[a]\n  k = v\n  l = w\n    x = y\n m = n\n[b]\n  o = p\n",
          "a||;a|k|v;a|l|w;a|l/x|y;a|m|n;b||;b|o|p;");
}

static void mistakes_name_their_line_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"k = hush", "line 1: a key before any section"},
        {"[a]\nk = v\nhush\n", "line 3: no section, key or comment"},
        {"[a]\n= hush\n", "line 2: a value without a key"},
        {"\n[hush\n", "line 2: a section without ]"},
        {"[a] hush\n", "line 1: something behind a section's ]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ini ini = {0};
        struct error err;
        assert_int_equal(ini_decode(&ini, slice_cstr(cases[i].text), &err), ERROR_INPUT);
        assert_string_equal(err.text, cases[i].says);
        assert_null(ini.entries);
    }
    struct buf text = {0};
    struct ini ini = {0};
    struct error err;
    buf_put_cstr(&text, "[a]\n");
    for (int i = 0; i < INI_ENTRIES_MAX; i++)
        buf_put_cstr(&text, "k=v\n");
    assert_int_equal(ini_decode(&ini, buf_slice(&text), &err), ERROR_LIMIT);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_people_write_is_read),
        cmocka_unit_test(values_lose_blanks_and_comments),
        cmocka_unit_test(what_is_indented_belongs_to_the_key_above),
        cmocka_unit_test(mistakes_name_their_line_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
