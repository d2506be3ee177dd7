/* SPDX-License-Identifier: Apache-2.0
 *
 * The settings of bidlake-gen: what a person types and what the environment says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/gen/settings.h"

static const char *nothing(const char *name)
{
    (void)name;
    return NULL;
}

static const char *rates(const char *name)
{
    if (strcmp(name, "WIN_RATE") == 0)
        return "0.5";
    return strcmp(name, "EVENTS_PER_SECOND") == 0 ? "7" : NULL;
}

static int parse(struct settings *out, char **argv, const char *(*lookup)(const char *),
                 struct error *err)
{
    int argc = 0;
    while (argv[argc] != NULL)
        argc++;
    *err = (struct error){0};
    return settings_parse(out, argc, argv, lookup, err);
}

#define ARGUMENTS(...) ((char *[]){"bidlake-gen", __VA_ARGS__, NULL})

/* The defaults are promised: demos and dashboards are made for them. */
static void defaults_are_the_documented_ones(void **state)
{
    (void)state;
    struct settings settings;
    struct error err;
    assert_int_equal(parse(&settings, ARGUMENTS("--json"), nothing, &err), OK);
    assert_true(settings.events_per_second == 100);
    assert_true(settings.response_rate == 0.6);
    assert_true(settings.win_rate == 0.15);
    assert_true(settings.click_rate == 0.02);
    assert_int_equal(settings.seed, SETTING_NOT_GIVEN);
    assert_int_equal(settings.start_ms, SETTING_NOT_GIVEN);
    assert_true(settings.json);
}

/* A flag that loses against an exported variable would surprise whoever typed it. */
static void flags_win_over_the_environment(void **state)
{
    (void)state;
    struct settings settings;
    struct error err;
    char **argv = ARGUMENTS("--win-rate", "0.25", "--count=12");
    assert_int_equal(parse(&settings, argv, rates, &err), OK);
    assert_true(settings.win_rate == 0.25);
    assert_true(settings.events_per_second == 7);
    assert_int_equal(settings.count, 12);
}

/* Both ways to write a time must mean the same instant, or runs don't repeat. */
static void times_are_ms_or_rfc_3339(void **state)
{
    (void)state;
    struct settings settings;
    struct error err;
    char **text = ARGUMENTS("--start", "2026-01-01T00:00:00Z");
    char **number = ARGUMENTS("--start=1767225600000");
    assert_int_equal(parse(&settings, text, nothing, &err), OK);
    assert_int_equal(settings.start_ms, INT64_C(1767225600000));
    assert_int_equal(parse(&settings, number, nothing, &err), OK);
    assert_int_equal(settings.start_ms, INT64_C(1767225600000));
}

/* A typo must be named, not taken for a default. */
static void wrong_values_are_refused_by_name(void **state)
{
    (void)state;
    static char *const wrong[][2] = {
        {"--win-rate", "1.5"}, {"--win-rate", "nan"},   {"--click-rate", ""},
        {"--count", "-1"},     {"--count", "1e3"},      {"--seed", "x"},
        {"--start", "-1"},     {"--start", "tomorrow"}, {"--wins", "1"},
        {"stray", "words"},    {"--json=1", "--json"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct settings settings;
        struct error err;
        char **argv = ARGUMENTS(wrong[i][0], wrong[i][1]);
        assert_int_equal(parse(&settings, argv, nothing, &err), ERROR_INPUT);
        if (strstr(err.text, wrong[i][0]) == NULL && strcmp(wrong[i][0], "--json=1") != 0)
            fail_msg("%s: %s", wrong[i][0], err.text);
    }
}

/* A flag at the end without its value must not read past the arguments. */
static void missing_value_is_refused(void **state)
{
    (void)state;
    struct settings settings;
    struct error err;
    assert_int_equal(parse(&settings, ARGUMENTS("--seed"), nothing, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "--seed needs a value"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_are_the_documented_ones),
        cmocka_unit_test(flags_win_over_the_environment),
        cmocka_unit_test(times_are_ms_or_rfc_3339),
        cmocka_unit_test(wrong_values_are_refused_by_name),
        cmocka_unit_test(missing_value_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
