/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/schema/mapping.h"
#include "tests/unit/lib_shred_support.h"

/* One value under the key "v"; what the column makes of it; what it counts as lost. */
struct coerce_case {
    const char *value;
    const char *result;
    unsigned lost;
};

static const char *const systems[] = {"ios", "android", "7", NULL};

static void check(const struct test_column *column, const struct coerce_case *cases, size_t count)
{
    struct error err;
    struct mapping mapping;
    struct shredder *shredder;
    struct shred_batch batch = {0};
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    test_mapping_make(&mapping, column, 1, "");
    assert_int_equal(shredder_open(&shredder, &mapping, &(struct shred_options){0}, &err), OK);
    const struct shred_statistics *statistics = shredder_statistics_borrow(shredder);
    for (size_t i = 0; i < count; i++) {
        struct buf text = {0};
        struct refusal refusal;
        uint64_t before = statistics->coerced_to_null[0];
        char *json = memory_printf("{\"v\":%s}", cases[i].value);
        shred_batch_reset(&batch);
        if (!shredder_event(shredder, slice_cstr(json), &context, &batch, &refusal))
            buf_printf(&text, "refused: %s", refusal.text);
        test_put_rows(&text, shredder_layout_borrow(shredder), buf_slice(&batch.rows));
        uint64_t lost = statistics->coerced_to_null[0] - before;
        if (strcmp(buf_cstr(&text), cases[i].result) != 0 || lost != cases[i].lost)
            print_message("%s\n", json);
        assert_string_equal(buf_cstr(&text), cases[i].result);
        assert_int_equal(lost, cases[i].lost);
        buf_free(&text);
        free(json);
    }
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

#define CHECK(column, cases) check((column), (cases), sizeof(cases) / sizeof((cases)[0]))

/* An id that is rewritten (1.0 to 1) joins with nothing. */
static void strings(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_STRING, .from = "v"};
    static const struct coerce_case cases[] = {
        {"\"a\"", "'a'", 0},
        {"\"\"", "''", 0},
        {"null", "null", 0},
        {"1.0", "'1.0'", 0},
        {"-0", "'-0'", 0},
        {"1E+02", "'1E+02'", 0},
        {"true", "'true'", 0},
        {"false", "'false'", 0},
        {"{}", "null", 1},
        {"[\"a\"]", "null", 1},
        {"[]", "null", 1},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "'\"\\x5c/\\x08\\x0c\\x0a\\x0d\\x09'", 0},
        {"\"\\u0000x\"", "'\\x00x'", 0},
        {"\"\\u00e9\\u20AC\"", "'\\xc3\\xa9\\xe2\\x82\\xac'", 0},
        {"\"\\ud83d\\ude00\"", "'\\xf0\\x9f\\x98\\x80'", 0},
        {"\"\\ud83d\"", "'\\xef\\xbf\\xbd'", 0},
        {"\"\\ude00\\ud83d\"", "'\\xef\\xbf\\xbd\\xef\\xbf\\xbd'", 0},
        {"\"\\ud83d\\ud83d\\ude00\"", "'\\xef\\xbf\\xbd\\xf0\\x9f\\x98\\x80'", 0},
        {"\"\\ud83dx\\ude00\"", "'\\xef\\xbf\\xbdx\\xef\\xbf\\xbd'", 0},
        {"\"\\ud83d\\u0041\"", "'\\xef\\xbf\\xbdA'", 0},
        {"\"\xc3\xa9\"", "'\\xc3\\xa9'", 0},
        {"\"\x7f\"", "'\\x7f'", 0},
    };
    CHECK(&column, cases);
}

/* Readers refuse a whole file for one string that is no UTF-8. The counts of U+FFFD are
 * those of Unicode's table 3-8 and its neighbours. */
static void broken_utf8(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_STRING, .from = "v"};
#define FFFD "\\xef\\xbf\\xbd"
    static const struct coerce_case cases[] = {
        {"\"\x80\"", "'" FFFD "'", 0},
        {"\"a\xff\"", "'a" FFFD "'", 0},
        {"\"\xc0\xaf\"", "'" FFFD FFFD "'", 0},
        {"\"\xe0\x80\x80\"", "'" FFFD FFFD FFFD "'", 0},
        {"\"\xed\xa0\x80\"", "'" FFFD FFFD FFFD "'", 0},
        {"\"\xf4\x90\x80\x80\"", "'" FFFD FFFD FFFD FFFD "'", 0},
        {"\"\xf5\x80\"", "'" FFFD FFFD "'", 0},
        {"\"\xe2\x82\"", "'" FFFD "'", 0},
        {"\"\xf0\x9f\x98\"", "'" FFFD "'", 0},
        {"\"\xf0\x9f\x98z\"", "'" FFFD "z'", 0},
        {"\"\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64\"",
         "'" FFFD FFFD FFFD "b" FFFD "c" FFFD FFFD "d'", 0},
        {"\"\xe2\\n\x82\"", "'" FFFD "\\x0a" FFFD "'", 0},
        {"\"12345678\xf0\x9f\x98\x80\xff\"", "'12345678\\xf0\\x9f\\x98\\x80" FFFD "'", 0},
    };
    CHECK(&column, cases);
}

static const struct coerce_case integer_cases[] = {
    {"300", "300", 0},
    {"300.0", "300", 0},
    {"3e2", "300", 0},
    {"0.1e1", "1", 0},
    {"100E-2", "1", 0},
    {"1E-2", "null", 1},
    {"0.5", "null", 1},
    {"-0", "0", 0},
    {"-0.0e-5", "0", 0},
    {"0e999999999999999999999", "0", 0},
    {"1e999999999999", "null", 1},
    {"1e-999999999999", "null", 1},
    {"0.0000000000000000000000000000001e31", "1", 0},
    {"10000000000000000000000000000000e-31", "1", 0},
    {"1.00000000000000000000000000000001", "null", 1},
    {"true", "1", 0},
    {"false", "0", 0},
    {"null", "null", 0},
    {"\"-12\"", "-12", 0},
    {"\"007\"", "7", 0},
    {"\"-0\"", "0", 0},
    {"\"\\u0031\"", "1", 0},
    {"\"12.0\"", "null", 1},
    {"\"1e2\"", "null", 1},
    {"\"+1\"", "null", 1},
    {"\" 1\"", "null", 1},
    {"\"1 \"", "null", 1},
    {"\"\"", "null", 1},
    {"\"-\"", "null", 1},
    {"\"0x10\"", "null", 1},
    {"\"true\"", "null", 1},
    {"\"00000000000000000000000000000000000000005\"", "5", 0},
    {"{}", "null", 1},
    {"[1]", "null", 1},
    {"2147483647", "2147483647", 0},
    {"-2147483648", "-2147483648", 0},
};

/* A number that wraps, or comes out by one, is worse than none. */
static void integers(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_INT, .from = "v"};
    static const struct coerce_case cases[] = {
        {"2147483648", "null", 1}, {"-2147483649", "null", 1},  {"\"2147483648\"", "null", 1},
        {"4294967297", "null", 1}, {"2147483647.5", "null", 1},
    };
    CHECK(&column, integer_cases);
    CHECK(&column, cases);
}

static void longs(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_LONG, .from = "v"};
    static const struct coerce_case cases[] = {
        {"9007199254740993", "9007199254740993", 0},
        {"9223372036854775807", "9223372036854775807", 0},
        {"-9223372036854775808", "-9223372036854775808", 0},
        {"9223372036854775808", "null", 1},
        {"-9223372036854775809", "null", 1},
        {"\"9223372036854775807\"", "9223372036854775807", 0},
        {"\"9223372036854775808\"", "null", 1},
        {"9223372036854775807.0", "9223372036854775807", 0},
        {"9.223372036854775807e18", "9223372036854775807", 0},
        {"9.223372036854775808e18", "null", 1},
        {"922337203685477580.7e1", "9223372036854775807", 0},
        {"18446744073709551617", "null", 1},
        {"1e18", "1000000000000000000", 0},
        {"1e19", "null", 1},
        {"9e18", "9000000000000000000", 0},
        {"12345678901234567890123", "null", 1},
        {"1234567890123456789.01e2", "null", 1},
    };
    CHECK(&column, integer_cases);
    CHECK(&column, cases);
}

/* A price must be the nearest double, not one beside it. */
static void doubles(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_DOUBLE, .from = "v"};
    static const struct coerce_case cases[] = {
        {"0.5", "0.5", 0},
        {"-0", "-0", 0},
        {"3", "3", 0},
        {"1e400", "null", 1},
        {"-1e400", "null", 1},
        {"1e-400", "0", 0},
        {"1e999999999999", "null", 1},
        {"1e-999999999999", "0", 0},
        {"0e999999999999", "0", 0},
        {"1.7976931348623157e308", "1.7976931348623157e+308", 0},
        {"1.7976931348623159e308", "null", 1},
        {"5e-324", "4.9406564584124654e-324", 0},
        {"9007199254740993", "9007199254740992", 0},
        {"9007199254740993.0000000000000000000000000001", "9007199254740994", 0},
        {"2.2250738585072011e-308", "2.2250738585072009e-308", 0},
        {"7.3177701707893310e+15", "7317770170789331", 0},
        {"1e23", "9.9999999999999992e+22", 0},
        {"\"1.5\"", "1.5", 0},
        {"\"-01.50e-1\"", "-0.14999999999999999", 0},
        {"\"1e2\"", "100", 0},
        {"\"1E2\"", "100", 0},
        {"\"+1\"", "null", 1},
        {"\"1e+2\"", "null", 1},
        {"\" 1\"", "null", 1},
        {"\"1.\"", "null", 1},
        {"\".5\"", "null", 1},
        {"\"1e\"", "null", 1},
        {"\"-\"", "null", 1},
        {"\"nan\"", "null", 1},
        {"\"inf\"", "null", 1},
        {"\"0x1p3\"", "null", 1},
        {"\"1,5\"", "null", 1},
        {"\"\"", "null", 1},
        {"\"1e400\"", "null", 1},
        {"true", "null", 1},
        {"null", "null", 0},
        {"{}", "null", 1},
        {"[1]", "null", 1},
    };
    CHECK(&column, cases);
}

/* Consent that is guessed wrong is a matter for lawyers. */
static void booleans(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_BOOLEAN, .from = "v"};
    static const struct coerce_case cases[] = {
        {"true", "true", 0},        {"false", "false", 0},     {"0", "false", 0},
        {"-0.0e5", "false", 0},     {"0.000", "false", 0},     {"1", "true", 0},
        {"-2", "true", 0},          {"1e-400", "true", 0},     {"0e400", "false", 0},
        {"\"true\"", "true", 0},    {"\"false\"", "false", 0}, {"\"1\"", "true", 0},
        {"\"0\"", "false", 0},      {"\"TRUE\"", "null", 1},   {"\"2\"", "null", 1},
        {"\"\"", "null", 1},        {"\"0.0\"", "null", 1},    {"\"yes\"", "null", 1},
        {"\"\\u0031\"", "true", 0}, {"null", "null", 0},       {"[]", "null", 1},
        {"{}", "null", 1},          {"[true]", "null", 1},
    };
    CHECK(&column, cases);
}

/* A time misread by its unit or offset lands in another day's partition. */
static void instants(void **state)
{
    (void)state;
    static const struct test_column column = {.name = "v", .type = TYPE_TIMESTAMPTZ, .from = "v"};
    static const struct coerce_case cases[] = {
        {"1767225600000", "1767225600000000", 0},
        {"1767225600000.0", "1767225600000000", 0},
        {"1.7672256e12", "1767225600000000", 0},
        {"1767225600000.5", "null", 1},
        {"\"1767225600000\"", "1767225600000000", 0},
        {"\"1767225600000.0\"", "null", 1},
        {"0", "0", 0},
        {"-1", "null", 1},
        {"\"-1\"", "null", 1},
        {"7258118399999", "7258118399999000", 0},
        {"7258118400000", "null", 1},
        {"9223372036854775807", "null", 1},
        {"true", "null", 1},
        {"null", "null", 0},
        {"{}", "null", 1},
        {"\"2026-01-01T00:00:00Z\"", "1767225600000000", 0},
        {"\"2026-01-01t00:00:00z\"", "1767225600000000", 0},
        {"\"2026-01-01T01:30:00+01:30\"", "1767225600000000", 0},
        {"\"2025-12-31T23:00:00-01:00\"", "1767225600000000", 0},
        {"\"2026-01-01T00:00:00-00:00\"", "1767225600000000", 0},
        {"\"2026-01-01T00:00:00.5Z\"", "1767225600500000", 0},
        {"\"2026-01-01T00:00:00.123456789Z\"", "1767225600123456", 0},
        {"\"2024-02-29T00:00:00Z\"", "1709164800000000", 0},
        {"\"2100-02-29T00:00:00Z\"", "null", 1},
        {"\"2025-02-29T00:00:00Z\"", "null", 1},
        {"\"1970-01-01T00:00:00Z\"", "0", 0},
        {"\"1970-01-01T00:00:00+00:01\"", "null", 1},
        {"\"1969-12-31T23:59:59.999999999Z\"", "null", 1},
        {"\"2199-12-31T23:59:59.999999Z\"", "7258118399999999", 0},
        {"\"2200-01-01T00:00:00Z\"", "null", 1},
        {"\"2199-12-31T23:59:59-00:01\"", "null", 1},
        {"\"0000-01-01T00:00:00Z\"", "null", 1},
        {"\"2016-12-31T23:59:60Z\"", "1483228800000000", 0},
        {"\"2017-01-01T00:59:60+01:00\"", "1483228800000000", 0},
        {"\"2016-12-31T12:00:60Z\"", "null", 1},
        {"\"2026-01-01T24:00:00Z\"", "null", 1},
        {"\"2026-01-01T00:60:00Z\"", "null", 1},
        {"\"2026-13-01T00:00:00Z\"", "null", 1},
        {"\"2026-00-01T00:00:00Z\"", "null", 1},
        {"\"2026-04-31T00:00:00Z\"", "null", 1},
        {"\"2026-01-01T00:00:00\"", "null", 1},
        {"\"2026-01-01 00:00:00Z\"", "null", 1},
        {"\"2026-01-01\"", "null", 1},
        {"\"2026-01-01T00:00:00.Z\"", "null", 1},
        {"\"2026-01-01T00:00:00,5Z\"", "null", 1},
        {"\"2026-01-01T00:00:00+0100\"", "null", 1},
        {"\"2026-01-01T00:00:00+01\"", "null", 1},
        {"\"2026-01-01T00:00:00+24:00\"", "null", 1},
        {"\"2026-01-01T00:00:00Zx\"", "null", 1},
        {"\" 2026-01-01T00:00:00Z\"", "null", 1},
        {"\"\"", "null", 1},
    };
    CHECK(&column, cases);
}

static void instant_units(void **state)
{
    (void)state;
    static const struct test_column seconds = {
        .name = "v", .type = TYPE_TIMESTAMPTZ, .from = "v", .unit = UNIT_S};
    static const struct test_column micros = {
        .name = "v", .type = TYPE_TIMESTAMPTZ, .from = "v", .unit = UNIT_US};
    static const struct coerce_case second_cases[] = {
        {"1767225600", "1767225600000000", 0},
        {"7258118400", "null", 1},
        {"9223372036854775807", "null", 1},
        {"\"2026-01-01T00:00:00Z\"", "1767225600000000", 0},
    };
    static const struct coerce_case micro_cases[] = {
        {"1767225600000001", "1767225600000001", 0},
        {"7258118400000000", "null", 1},
        {"1767225600000000.5", "null", 1},
    };
    CHECK(&seconds, second_cases);
    CHECK(&micros, micro_cases);
}

/* Country is a partition: one odd spelling is one more file in each segment. */
static void countries(void **state)
{
    (void)state;
    static const struct test_column column = {
        .name = "v", .type = TYPE_STRING, .from = "v", .coercion = COERCE_COUNTRY};
    static const struct coerce_case cases[] = {
        {"\"USA\"", "'USA'", 0}, {"\"usa\"", "'USA'", 0},      {"\"us\"", "'USA'", 0},
        {"\"De\"", "'DEU'", 0},  {"\"\\u0064e\"", "'DEU'", 0}, {"\"ZW\"", "'ZWE'", 0},
        {"\"AD\"", "'AND'", 0},  {"\"GBR\"", "'GBR'", 0},      {"\"GB\"", "'GBR'", 0},
        {"\"UK\"", "null", 1},   {"\"XXX\"", "null", 1},       {"\"ZZ\"", "null", 1},
        {"\"EU\"", "null", 1},   {"\"Germany\"", "null", 1},   {"\"\"", "null", 1},
        {"\"U\"", "null", 1},    {"\" US\"", "null", 1},       {"840", "null", 1},
        {"true", "null", 1},     {"null", "null", 0},          {"{}", "null", 1},
        {"[\"US\"]", "null", 1}, {"\"\xff\xfe\"", "null", 1},  {"\"AFG\"", "'AFG'", 0},
        {"\"zwe\"", "'ZWE'", 0}, {"\"U\\u0000\"", "null", 1},
    };
    CHECK(&column, cases);
}

/* Every pair must be found by both its codes: a table out of order loses countries. */
static void all_countries(void **state)
{
    (void)state;
    size_t count = 0;
    for (int i = 0; i < 26 * 26; i++) {
        char code[2] = {(char)('A' + i / 26), (char)('a' + i % 26)};
        const char *found = country_alpha3(slice_of(code, 2));
        if (found == NULL)
            continue;
        count++;
        assert_ptr_equal(country_alpha3(slice_of(found, 3)), found);
    }
    assert_int_equal(count, 249);
}

static void enums(void **state)
{
    (void)state;
    static const struct test_column column = {
        .name = "v", .type = TYPE_STRING, .from = "v", .coercion = COERCE_ENUM, .domain = systems};
    static const struct coerce_case cases[] = {
        {"\"ios\"", "'ios'", 0}, {"\"iOS\"", "null", 1},        {"\"\"", "null", 1},
        {"7", "'7'", 0},         {"\"i\\u006fs\"", "'ios'", 0}, {"null", "null", 0},
        {"[]", "null", 1},       {"\"ios \"", "null", 1},
    };
    CHECK(&column, cases);
}

/* A list that is lost for one odd element loses the others with it. */
static void lists(void **state)
{
    (void)state;
    static const struct test_column strings_column = {
        .name = "v", .type = TYPE_STRING, .from = "v", .list = true};
    static const struct test_column int_column = {
        .name = "v", .type = TYPE_INT, .from = "v", .list = true};
    static const struct test_column country_column = {
        .name = "v", .type = TYPE_STRING, .from = "v", .list = true, .coercion = COERCE_COUNTRY};
    static const struct coerce_case string_cases[] = {
        {"[]", "[]", 0},
        {"[ ]", "[]", 0},
        {"null", "null", 0},
        {"{}", "null", 1},
        {"\"a\"", "['a']", 0},
        {"\"\"", "['']", 0},
        {"7", "['7']", 0},
        {"true", "['true']", 0},
        {"[\"a\",null,1.50,true,{},[\"b\"],\"\"]", "['a','1.50','true','']", 2},
        {"[ \"a\" , \"b\\n\" , \"\\ud800\" ]", "['a','b\\x0a','\\xef\\xbf\\xbd']", 0},
        {"[\"\xc3\xa9\",\"\xff\"]", "['\\xc3\\xa9','\\xef\\xbf\\xbd']", 0},
        {"[null]", "[]", 0},
        {"[[]]", "[]", 1},
        {"[{\"a\":[1,\"]\"]},\"z\"]", "['z']", 1},
    };
    static const struct coerce_case int_cases[] = {
        {"[1,\"2\",3.5,true,\"x\",null]", "[1,2,1]", 2},
        {"5", "[5]", 0},
        {"\"x\"", "[]", 1},
        {"[2147483648]", "[]", 1},
        {"[]", "[]", 0},
    };
    static const struct coerce_case country_cases[] = {
        {"[\"de\",\"xx\",\"U\\u0053\"]", "['DEU','USA']", 1},
    };
    static const struct test_column bool_column = {
        .name = "v", .type = TYPE_BOOLEAN, .from = "v", .list = true};
    static const struct test_column double_column = {
        .name = "v", .type = TYPE_DOUBLE, .from = "v", .list = true};
    static const struct coerce_case bool_cases[] = {
        {"[true,0,\"1\",\"x\"]", "[true,false,true]", 1}};
    static const struct coerce_case double_cases[] = {{"[1,\"0.5\",1e400]", "[1,0.5]", 1}};
    CHECK(&strings_column, string_cases);
    CHECK(&int_column, int_cases);
    CHECK(&country_column, country_cases);
    CHECK(&bool_column, bool_cases);
    CHECK(&double_column, double_cases);
}

/* A default that hides a value, or alternatives in the wrong order, change money. */
static void defaults_and_alternatives(void **state)
{
    (void)state;
    static const struct test_column currency = {
        .name = "v", .type = TYPE_STRING, .from = "v", .default_text = "USD"};
    static const struct coerce_case currency_cases[] = {
        {"\"EUR\"", "'EUR'", 0}, {"null", "'USD'", 0}, {"{}", "'USD'", 1}, {"\"\"", "''", 0}};
    static const struct test_column number = {
        .name = "v", .type = TYPE_INT, .from = "v.a | v.b | v | v.c", .default_text = "-1"};
    static const struct coerce_case number_cases[] = {
        {"{\"b\":2,\"a\":1}", "1", 0},        {"{\"a\":null,\"b\":2}", "2", 0},
        {"{\"a\":\"x\",\"b\":2}", "2", 1},    {"{\"a\":\"x\",\"b\":{},\"c\":3}", "3", 3},
        {"{\"a\":\"\",\"b\":\"\"}", "-1", 3}, {"5", "5", 0}};
    static const struct test_column list = {.name = "v",
                                            .type = TYPE_STRING,
                                            .list = true,
                                            .from = "v.a | v.b",
                                            .default_text = "none"};
    static const struct coerce_case list_cases[] = {{"{\"a\":[],\"b\":[1]}", "[]", 0},
                                                    {"{\"a\":{},\"b\":[1]}", "['1']", 1},
                                                    {"{}", "['none']", 0}};
    CHECK(&currency, currency_cases);
    CHECK(&number, number_cases);
    CHECK(&list, list_cases);
}

/* A default that can't be must stop the start, not fill a table with nulls. */
static void impossible_default_is_refused(void **state)
{
    (void)state;
    struct error err;
    struct mapping mapping;
    struct shredder *shredder;
    static const struct test_column column = {
        .name = "v", .type = TYPE_INT, .from = "v", .default_text = "many"};
    test_mapping_make(&mapping, &column, 1, "");
    assert_int_equal(shredder_open(&shredder, &mapping, &(struct shred_options){0}, &err),
                     ERROR_INPUT);
    assert_null(shredder);
    assert_non_null(strstr(err.text, "default of v"));
    test_mapping_free(&mapping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings),
        cmocka_unit_test(broken_utf8),
        cmocka_unit_test(integers),
        cmocka_unit_test(longs),
        cmocka_unit_test(doubles),
        cmocka_unit_test(booleans),
        cmocka_unit_test(instants),
        cmocka_unit_test(instant_units),
        cmocka_unit_test(countries),
        cmocka_unit_test(all_countries),
        cmocka_unit_test(enums),
        cmocka_unit_test(lists),
        cmocka_unit_test(defaults_and_alternatives),
        cmocka_unit_test(impossible_default_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
