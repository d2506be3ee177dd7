/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/lib_shred_support.h"

static const struct test_column request_columns[] = {
    {.name = "id", .type = TYPE_STRING, .from = "id", .required = true},
    {.name = "imp_id", .type = TYPE_STRING, .from = "imp[].id"},
    {.name = "w", .type = TYPE_INT, .from = "imp[].banner.w | imp[].banner.format[0].w"},
    {.name = "first", .type = TYPE_STRING, .from = "imp[0].id"},
    {.name = "cur", .type = TYPE_STRING, .from = "cur[0]"},
    {.name = "third", .type = TYPE_STRING, .from = "cur[2]"},
};

static const struct test_column response_columns[] = {
    {.name = "id", .type = TYPE_STRING, .from = "id"},
    {.name = "seat", .type = TYPE_STRING, .from = "seatbid[].seat"},
    {.name = "bid", .type = TYPE_STRING, .from = "seatbid[].bid[].id"},
    {.name = "any", .type = TYPE_STRING, .from = "seatbid[].bid[].x | seatbid[].x | x"},
    {.name = "cat", .type = TYPE_STRING, .from = "seatbid[].bid[].cat", .list = true},
};

struct explode_case {
    const char *json;
    const char *rows;
};

static void check_cases(const struct test_column *columns, size_t column_count, const char *explode,
                        const struct explode_case *cases, size_t count)
{
    struct error err;
    struct mapping mapping;
    struct shredder *shredder;
    test_mapping_make(&mapping, columns, column_count, explode);
    assert_int_equal(shredder_open(&shredder, &mapping, &(struct shred_options){0}, &err), OK);
    struct shred_batch batch = {0};
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    for (size_t i = 0; i < count; i++) {
        struct buf text = {0};
        struct refusal refusal;
        shred_batch_reset(&batch);
        if (!shredder_event(shredder, slice_cstr(cases[i].json), &context, &batch, &refusal))
            buf_printf(&text, "refused: %s", refusal.text);
        test_put_rows(&text, shredder_layout_borrow(shredder), buf_slice(&batch.rows));
        if (strcmp(buf_cstr(&text), cases[i].rows) != 0)
            print_message("%s\n", cases[i].json);
        assert_string_equal(buf_cstr(&text), cases[i].rows);
        buf_free(&text);
    }
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

/* A request's odd shapes must give the promised rows: too few lose impressions, too many
 * are billed twice. */
static void one_level(void **state)
{
    (void)state;
    static const struct explode_case cases[] = {
        {"{\"id\":\"a\"}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":null}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":[]}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":7}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":{}}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":{\"id\":1}}", "'a' '1' null '1' null null"},
        {"{\"id\":\"a\",\"imp\":[{\"id\":1}]}", "'a' '1' null '1' null null"},
        {"{\"imp\":[{\"id\":1},{\"id\":2,\"banner\":{\"w\":3}}],\"id\":\"a\"}",
         "'a' '1' null '1' null null / 'a' '2' 3 '1' null null"},
        {"{\"id\":\"a\",\"imp\":[3,null,[{\"id\":4}],{\"id\":5}]}",
         "'a' null null null null null / 'a' null null null null null / "
         "'a' null null null null null / 'a' '5' null null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"banner\":{\"format\":[{\"w\":1},{\"w\":2}]}}]}",
         "'a' null 1 null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"banner\":{\"format\":{\"w\":1}}}]}",
         "'a' null 1 null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"banner\":{\"w\":null,\"format\":{\"w\":1}}}]}",
         "'a' null 1 null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"banner\":{\"w\":\"x\",\"format\":{\"w\":1}}}]}",
         "'a' null 1 null null null"},
        {"{\"id\":\"a\",\"cur\":[\"A\",\"B\",\"C\"]}", "'a' null null null 'A' 'C'"},
        {"{\"id\":\"a\",\"cur\":\"A\"}", "'a' null null null 'A' null"},
        {"{\"id\":\"a\",\"cur\":[[\"A\"]]}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"cur\":{\"x\":1}}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"cur\":[]}", "'a' null null null null null"},
    };
    check_cases(request_columns, 6, "imp[]", cases, sizeof cases / sizeof cases[0]);
}

/* A duplicate key must leave nothing of the value it replaces, also not rows. */
static void duplicates(void **state)
{
    (void)state;
    static const struct explode_case cases[] = {
        {"{\"id\":\"a\",\"id\":\"b\"}", "'b' null null null null null"},
        {"{\"id\":\"a\",\"\\u0069d\":\"b\"}", "'b' null null null null null"},
        {"{\"id\":\"a\",\"cur\":[\"A\",\"B\",\"C\"],\"cur\":[\"D\"]}",
         "'a' null null null 'D' null"},
        {"{\"id\":\"a\",\"cur\":\"A\",\"cur\":null}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"id\":1},{\"id\":2}],\"imp\":[{\"banner\":{\"w\":3}}]}",
         "'a' null 3 null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"id\":1},{\"id\":2}],\"imp\":5}",
         "'a' null null null null null"},
        {"{\"id\":\"a\",\"imp\":[{\"id\":1}],\"imp\":{\"id\":2}}", "'a' '2' null '2' null null"},
        {"{\"id\":\"a\",\"imp\":[{\"id\":1,\"banner\":{\"w\":1},\"id\":2,\"banner\":{}},"
         "{\"id\":3}]}",
         "'a' '2' null '2' null null / 'a' '3' null '2' null null"},
        {"{\"id\":\"a\",\"imp\":[{\"id\":1,\"id\":null}]}", "'a' null null null null null"},
        {"{\"id\":\"a\",\"id\":null}", "refused: the required column id gets no value"},
    };
    check_cases(request_columns, 6, "imp[]", cases, sizeof cases / sizeof cases[0]);
}

/* A bid without its seat, or under another's, would be paid to the wrong one. */
static void two_levels(void **state)
{
    (void)state;
    static const struct explode_case cases[] = {
        {"{\"id\":1}", "'1' null null null null"},
        {"{\"id\":1,\"seatbid\":[]}", "'1' null null null null"},
        {"{\"id\":1,\"seatbid\":[{}]}", "'1' null null null null"},
        {"{\"id\":1,\"seatbid\":[{\"seat\":\"s\",\"bid\":[]}]}", "'1' 's' null null null"},
        {"{\"id\":1,\"seatbid\":[{\"bid\":[{\"id\":2},{\"id\":3}],\"seat\":\"s\"},5,"
         "{\"seat\":\"t\"},{\"seat\":\"u\",\"bid\":{\"id\":4}}]}",
         "'1' 's' '2' null null / '1' 's' '3' null null / '1' null null null null / "
         "'1' 't' null null null / '1' 'u' '4' null null"},
        {"{\"id\":1,\"seatbid\":{\"seat\":\"s\",\"bid\":{\"id\":2}}}", "'1' 's' '2' null null"},
        {"{\"id\":1,\"seatbid\":[{\"bid\":[1,null,[]]}]}",
         "'1' null null null null / '1' null null null null / '1' null null null null"},
        {"{\"x\":0,\"seatbid\":[{\"x\":1,\"bid\":[{\"x\":2},{}]},{\"bid\":[{}]}]}",
         "null null null '2' null / null null null '1' null / null null null '0' null"},
        {"{\"seatbid\":[{\"bid\":[{\"id\":1},{\"id\":2}],\"bid\":[{\"id\":3}]},"
         "{\"bid\":[{\"id\":4,\"cat\":[\"x\"],\"cat\":[]}]}]}",
         "null null '3' null null / null null '4' null []"},
        {"{\"seatbid\":[{\"seat\":\"s\",\"bid\":[{\"id\":1}]},{\"bid\":[{\"id\":2}],\"bid\":0}],"
         "\"id\":1}",
         "'1' 's' '1' null null / '1' null null null null"},
        {"{\"seatbid\":[{\"bid\":{\"id\":1}},{\"bid\":0,\"bid\":0},{\"bid\":0,\"bid\":{\"id\":2}}]"
         "}",
         "null null '1' null null / null null null null null / null null '2' null null"},
        {"{\"seatbid\":[{\"seat\":\"s\",\"bid\":[{\"id\":1}]}],\"seatbid\":[{\"bid\":[{}]}]}",
         "null null null null null"},
    };
    check_cases(response_columns, 5, "seatbid[].bid[]", cases, sizeof cases / sizeof cases[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_level),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(two_levels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
