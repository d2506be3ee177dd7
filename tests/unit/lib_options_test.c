/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/options/options.h"

struct values {
    const char *name;
    const char *mode;
    int64_t size;
    int64_t age_ms;
};

static const struct option rows[] = {
    {OPTION_text, offsetof(struct values, name), "name", "none", "", "", "a name", false},
    {OPTION_text, offsetof(struct values, mode), "mode", "slow", "slow|fast", "", "how", true},
    {OPTION_bytes, offsetof(struct values, size), "spool.bytes", "1MiB", "1KiB", "1GiB", "a size",
     false},
    {OPTION_ms, offsetof(struct values, age_ms), "roll.age", "60s", "1s", "1h", "an age", true},
};
static const char *const flags[] = {"--json"};
static const struct option_table table = {.options = rows,
                                          .count = sizeof rows / sizeof rows[0],
                                          .other_flags = flags,
                                          .other_flag_count = 1};

static int load(const char *text, struct values *values, struct option_names *names,
                struct arena *arena, struct error *err)
{
    char path[64];
    struct error write_err;
    snprintf(path, sizeof path, "/tmp/bidlake-options-%d.yaml", (int)getpid());
    assert_int_equal(file_replace(path, slice_cstr(text), 0600, &write_err), OK);
    options_init(&table, values);
    int rc = options_load(&table, values, names, path, arena, err);
    unlink(path);
    return rc;
}

/* Who reloads a changed file must hear which of the changes do nothing yet, and no others. */
static void what_a_reload_leaves_is_named(void **state)
{
    (void)state;
    struct values before;
    struct values after;
    struct buf out = {0};
    options_init(&table, &before);
    options_init(&table, &after);
    char same[] = "none";
    after.name = same;
    after.mode = "fast";
    after.age_ms = 1;
    options_put_changed(&table, &before, &after, &out);
    assert_int_equal(out.len, 0);
    after.name = "other";
    after.size = 1;
    options_put_changed(&table, &before, &after, &out);
    assert_string_equal(buf_cstr(&out), "name, spool.bytes");
    buf_free(&out);
}

/* A flag given by hand at 3 a.m. must win over the file, and the file over the default. */
static void flags_win_over_file_over_default(void **state)
{
    (void)state;
    struct error err;
    struct arena arena = {0};
    struct values values;
    struct option_names names = {0};
    assert_int_equal(
        load("roll:\n  age: 10s\ntables: [openrtb, mine.yaml]\n", &values, &names, &arena, &err),
        OK);
    assert_string_equal(values.name, "none");
    assert_int_equal(values.size, 1 << 20);
    assert_int_equal(values.age_ms, 10000);
    assert_int_equal(names.count, 2);
    assert_string_equal(names.names[1], "mine.yaml");
    assert_int_equal(options_set_flag(&table, &values, "--roll-age", "2m", &arena, &err), OK);
    assert_int_equal(values.age_ms, 120000);
    arena_free(&arena);
}

static void expect_refusal(const char *text, const char *part)
{
    struct error err;
    struct arena arena = {0};
    struct values values;
    struct option_names names = {0};
    assert_int_equal(load(text, &values, &names, &arena, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, part));
    arena_free(&arena);
}

/* A slip in the file must stop the start and say where, not be run with a default. */
static void slips_name_line_and_nearest_key(void **state)
{
    (void)state;
    expect_refusal("name: x\nspool:\n  byte: 1MiB\n", ":3:");
    expect_refusal("name: x\nspool:\n  byte: 1MiB\n", "spool.bytes");
    expect_refusal("spool:\n  bytes: 5\n", ":2:");
    expect_refusal("name: x\nspol:\n  bytes: 1MiB\n",
                   ":2: unknown key \"spol\", did you mean \"spool\"?");
    expect_refusal("rol: {age: 1s}\n", "did you mean \"roll\"?");
    expect_refusal("roll:\n  age: 2h\n", "1h");
}

static void unknown_flag_names_the_nearest(void **state)
{
    (void)state;
    struct error err;
    struct arena arena = {0};
    struct values values;
    options_init(&table, &values);
    int rc = options_set_flag(&table, &values, "--role-age", "1s", &arena, &err);
    assert_int_equal(rc, ERROR_INPUT);
    assert_non_null(strstr(err.text, "did you mean --roll-age?"));
    rc = options_set_flag(&table, &values, "--roll-age", "1", &arena, &err);
    assert_int_equal(rc, ERROR_INPUT);
    assert_non_null(strstr(err.text, "unit"));
    arena_free(&arena);
}

/* A word that the program doesn't know must not be run as if it were the default. */
static void words_out_of_a_choice_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct arena arena = {0};
    struct values values;
    struct option_names names = {0};
    expect_refusal("name: x\nmode: fas\n", ":2: mode: \"fas\" is not known; it can be slow|fast");
    expect_refusal("mode: \"\"\n", ":1: mode");
    assert_int_equal(load("mode: fast\n", &values, &names, &arena, &err), OK);
    assert_string_equal(values.mode, "fast");
    assert_int_equal(options_set_flag(&table, &values, "--mode", "slo", &arena, &err), ERROR_INPUT);
    assert_int_equal(options_set_flag(&table, &values, "--mode", "slow", &arena, &err), OK);
    arena_free(&arena);
}

static int next(const char *argument, struct error *err)
{
    char *argv[] = {"program", "command", memory_copy_cstr(argument), "value"};
    struct arena arena = {0};
    const char *flag = NULL;
    const char *value = NULL;
    int at = 2;
    int rc = options_next_argument(4, argv, &at, flags, 1, &arena, &flag, &value, err);
    arena_free(&arena);
    free(argv[2]);
    return rc;
}

/* A mistyped flag must not be taken for a file, nor a switch's value be ignored. */
static void mistyped_flags_are_no_arguments(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(next("-x", &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "unknown flag -x"));
    assert_int_equal(next("--json=yes", &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "--json takes no value"));
    assert_int_equal(next("-", &err), OK);
    assert_int_equal(next("--json", &err), OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_win_over_file_over_default),
        cmocka_unit_test(slips_name_line_and_nearest_key),
        cmocka_unit_test(unknown_flag_names_the_nearest),
        cmocka_unit_test(words_out_of_a_choice_are_refused),
        cmocka_unit_test(mistyped_flags_are_no_arguments),
        cmocka_unit_test(what_a_reload_leaves_is_named),
    };
    return cmocka_run_group_tests_name("lib/options", tests, NULL, NULL);
}
