/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/lib_shred_support.h"

static const struct shred_context bare = {
    .received_at_us = 1000, .source_time_us = INT64_MIN, .partition = -1, .offset = -1};

static struct shredder *open_with(struct mapping *mapping, const struct test_column *columns,
                                  size_t count, const char *explode,
                                  const struct shred_options *options)
{
    struct error err;
    struct shredder *shredder;
    test_mapping_make(mapping, columns, count, explode);
    assert_int_equal(shredder_open(&shredder, mapping, options, &err), OK);
    return shredder;
}

static bool give(struct shredder *shredder, const char *json, struct shred_batch *batch,
                 struct refusal *refusal)
{
    return shredder_event(shredder, slice_cstr(json), &bare, batch, refusal);
}

static const struct test_column plain[] = {
    {.name = "id", .type = TYPE_STRING, .from = "id", .required = true},
    {.name = "a", .type = TYPE_STRING, .from = "a.b"},
};

struct refusal_case {
    const char *json;
    enum refusal_reason reason;
    uint32_t line, column;
};

static const struct refusal_case refusal_cases[] = {
    {"", REFUSED_NO_OBJECT, 1, 1},
    {" \n ", REFUSED_NO_OBJECT, 2, 2},
    {"[]", REFUSED_NO_OBJECT, 1, 1},
    {" [{\"id\":1}]", REFUSED_NO_OBJECT, 1, 2},
    {"null", REFUSED_NO_OBJECT, 1, 1},
    {"12", REFUSED_NO_OBJECT, 1, 1},
    {"\"x\"", REFUSED_NO_OBJECT, 1, 1},
    {"nul", REFUSED_SYNTAX, 1, 4},
    {"[1", REFUSED_SYNTAX, 1, 3},
    {"[1] 2", REFUSED_SYNTAX, 1, 5},
    {"\xef\xbb\xbf{\"id\":1}", REFUSED_BOM, 1, 1},
    {" \xef\xbb\xbf{\"id\":1}", REFUSED_BOM, 1, 2},
    {"{\"id\":1} x", REFUSED_TRAILING, 1, 10},
    {"{\"id\":1},", REFUSED_TRAILING, 1, 9},
    {"{\"id\":1}{}", REFUSED_TRAILING, 1, 9},
    {"{\"id\":1", REFUSED_SYNTAX, 1, 8},
    {"{", REFUSED_SYNTAX, 1, 2},
    {"{\"id\"", REFUSED_SYNTAX, 1, 6},
    {"{\"id", REFUSED_SYNTAX, 1, 5},
    {"{\"id\":", REFUSED_SYNTAX, 1, 7},
    {"{\"id\":1,}", REFUSED_SYNTAX, 1, 9},
    {"{,\"id\":1}", REFUSED_SYNTAX, 1, 2},
    {"{\"id\" 1}", REFUSED_SYNTAX, 1, 7},
    {"{\"id\":1 \"a\":2}", REFUSED_SYNTAX, 1, 9},
    {"{id:1}", REFUSED_SYNTAX, 1, 2},
    {"{'id':1}", REFUSED_SYNTAX, 1, 2},
    {"{\"id\":1]", REFUSED_SYNTAX, 1, 8},
    {"{\"id\":1,\n \"x\":[1,]}", REFUSED_SYNTAX, 2, 9},
    {"{\"id\":1,\n\n\"x\":[1 2]}", REFUSED_SYNTAX, 3, 8},
    {"{\"x\":[}", REFUSED_SYNTAX, 1, 7},
    {"{\"x\":{\"y\":[1}}", REFUSED_SYNTAX, 1, 13},
    {"{\"x\":01}", REFUSED_SYNTAX, 1, 7},
    {"{\"id\":-01}", REFUSED_SYNTAX, 1, 9},
    {"{\"x\":+1}", REFUSED_SYNTAX, 1, 6},
    {"{\"x\":.5}", REFUSED_SYNTAX, 1, 6},
    {"{\"x\":1.}", REFUSED_SYNTAX, 1, 8},
    {"{\"x\":1e}", REFUSED_SYNTAX, 1, 8},
    {"{\"x\":1e+}", REFUSED_SYNTAX, 1, 9},
    {"{\"x\":-}", REFUSED_SYNTAX, 1, 7},
    {"{\"x\":NaN}", REFUSED_SYNTAX, 1, 6},
    {"{\"x\":Infinity}", REFUSED_SYNTAX, 1, 6},
    {"{\"x\":0x1}", REFUSED_SYNTAX, 1, 7},
    {"{\"x\":True}", REFUSED_SYNTAX, 1, 6},
    {"{\"x\":truE}", REFUSED_SYNTAX, 1, 9},
    {"{\"x\":truefalse}", REFUSED_SYNTAX, 1, 10},
    {"{\"x\":\"a\tb\"}", REFUSED_SYNTAX, 1, 8},
    {"{\"x\":\"a\nb\"}", REFUSED_SYNTAX, 1, 8},
    {"{\"x\":\"\\x41\"}", REFUSED_SYNTAX, 1, 8},
    {"{\"x\":\"\\u12g4\"}", REFUSED_SYNTAX, 1, 11},
    {"{\"x\":\"\\u123\"}", REFUSED_SYNTAX, 1, 12},
    {"{\"\\q\":1}", REFUSED_SYNTAX, 1, 4},
    {"{\"a\":{\"b\":\"12345678\\", REFUSED_SYNTAX, 1, 21},
    {"{\"x\":/**/1}", REFUSED_SYNTAX, 1, 6},
    {"{\"x\":1}\f", REFUSED_TRAILING, 1, 8},
    {"{\"a\":1}", REFUSED_REQUIRED, 1, 1},
    {" {\"id\":null}", REFUSED_REQUIRED, 1, 2},
    {"{\"id\":[]}", REFUSED_REQUIRED, 1, 1},
    {"{\"id\":\"a\",\"id\":{}}", REFUSED_REQUIRED, 1, 1},
};

/* A sender that is told the wrong place looks for its bug there. And whatever RFC 8259
 * forbids must be refused also where no column looks. */
static void refusals(void **state)
{
    (void)state;
    struct mapping mapping;
    struct shredder *shredder = open_with(&mapping, plain, 2, "", &(struct shred_options){0});
    struct shred_batch batch = {0};
    for (size_t i = 0; i < sizeof refusal_cases / sizeof refusal_cases[0]; i++) {
        struct refusal refusal;
        bool taken = give(shredder, refusal_cases[i].json, &batch, &refusal);
        if (taken || refusal.reason != refusal_cases[i].reason ||
            refusal.line != refusal_cases[i].line || refusal.column != refusal_cases[i].column)
            print_message("%s: %d %u:%u\n", refusal_cases[i].json, taken, refusal.line,
                          refusal.column);
        assert_false(taken);
        assert_int_equal(refusal.reason, refusal_cases[i].reason);
        assert_int_equal(refusal.line, refusal_cases[i].line);
        assert_int_equal(refusal.column, refusal_cases[i].column);
        assert_int_equal(batch.event_count, 0);
        assert_int_equal(batch.rows.len, 0);
    }
    const struct shred_statistics *statistics = shredder_statistics_borrow(shredder);
    assert_int_equal(statistics->refused[REFUSED_REQUIRED], 4);
    assert_int_equal(statistics->event_count, 0);
    assert_int_equal(statistics->coerced_to_null[0], 0);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

/* What is odd but legal must not be lost. */
static void odd_but_legal(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"id\":\"\"}",
        " \t\r\n{ \"id\" : 1 , \"x\" : [ ] , \"y\" : { } } \r\n",
        "{\"id\":1,\"\":2,\"\\u0000\":3,\"\\ud800\":4,\"\xff\":5}",
        "{\"id\":1,\"x\":[1,[2,[{}]],{\"a\":[{}]}],\"y\":-0.0e-00}",
        "{\"id\":1,\"x\":\"\x7f\\u0000\\/\"}",
        "{\"id\":1,\"x\":\"\xff\xc0\"}",
        "{\"id\":1,\"a\":[{\"b\":2}]}",
        "{\"a\":{\"b\":{\"c\":[]}},\"id\":1}",
    };
    struct mapping mapping;
    struct shredder *shredder = open_with(&mapping, plain, 2, "", &(struct shred_options){0});
    struct shred_batch batch = {0};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct refusal refusal;
        assert_true(give(shredder, texts[i], &batch, &refusal));
        assert_int_equal(batch.event_count, i + 1);
    }
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

/* `levels` containers in all, the object among them. `key`: where they hang. */
static bool give_nested(struct shredder *shredder, const char *key, unsigned levels, char open,
                        struct refusal *refusal)
{
    struct buf text = {0};
    struct shred_batch batch = {0};
    buf_printf(&text, "{\"id\":1,\"%s\":", key);
    for (unsigned i = 1; i < levels; i++)
        buf_put_cstr(&text, open == '[' ? "[" : i + 1 < levels ? "{\"b\":" : "{");
    for (unsigned i = 1; i < levels; i++)
        buf_put_u8(&text, open == '[' ? ']' : '}');
    buf_put_u8(&text, '}');
    bool taken = shredder_event(shredder, buf_slice(&text), &bare, &batch, refusal);
    buf_free(&text);
    shred_batch_free(&batch);
    return taken;
}

/* A bound that is off by one refuses what the contract takes; none at all is a stack
 * overflow from outside. */
static void depth_is_64(void **state)
{
    (void)state;
    struct refusal refusal;
    struct mapping mapping;
    struct shredder *shredder = open_with(&mapping, plain, 2, "", &(struct shred_options){0});
    static const char *const keys[] = {"unmapped", "a"};
    for (size_t i = 0; i < 2; i++) {
        assert_true(give_nested(shredder, keys[i], 64, '[', &refusal));
        assert_true(give_nested(shredder, keys[i], 64, '{', &refusal));
        assert_false(give_nested(shredder, keys[i], 65, '[', &refusal));
        assert_int_equal(refusal.reason, REFUSED_DEPTH);
        assert_false(give_nested(shredder, keys[i], 65, '{', &refusal));
        assert_int_equal(refusal.reason, REFUSED_DEPTH);
        assert_false(give_nested(shredder, keys[i], 100000, '[', &refusal));
        assert_int_equal(refusal.reason, REFUSED_DEPTH);
    }
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

static void size_is_bounded(void **state)
{
    (void)state;
    struct refusal refusal;
    struct mapping mapping;
    struct shredder *shredder =
        open_with(&mapping, plain, 2, "", &(struct shred_options){.bytes_max = 12});
    struct shred_batch batch = {0};
    assert_true(give(shredder, "{\"id\":\"123\"}", &batch, &refusal));
    assert_true(give(shredder, "   {\"id\":\"123\"}  \n", &batch, &refusal));
    assert_false(give(shredder, "{\"id\":\"1234\"}", &batch, &refusal));
    assert_int_equal(refusal.reason, REFUSED_SIZE);
    assert_int_equal(batch.event_count, 2);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

static const struct test_column exploded[] = {
    {.name = "id", .type = TYPE_STRING, .from = "id", .required = true},
    {.name = "x", .type = TYPE_STRING, .from = "l[].x"},
};

static bool give_many(struct shredder *shredder, const char *head, size_t count,
                      struct shred_batch *batch, struct refusal *refusal)
{
    struct buf text = {0};
    buf_put_cstr(&text, head);
    buf_put_cstr(&text, "\"l\":[{\"x\":1}");
    for (size_t i = 1; i < count; i++)
        buf_put_cstr(&text, ",0");
    buf_put_cstr(&text, "]}");
    bool taken = shredder_event(shredder, buf_slice(&text), &bare, batch, refusal);
    buf_free(&text);
    return taken;
}

/* One event must not blow up a batch; and one list that is replaced does not count. */
static void rows_are_bounded(void **state)
{
    (void)state;
    struct refusal refusal;
    struct mapping mapping;
    struct shredder *shredder = open_with(&mapping, exploded, 2, "l[]", &(struct shred_options){0});
    struct shred_batch batch = {0};
    assert_true(give_many(shredder, "{\"id\":1,", 65536, &batch, &refusal));
    assert_int_equal(batch.row_count, 65536);
    size_t len = batch.rows.len;
    assert_false(give_many(shredder, "{\"id\":1,", 65537, &batch, &refusal));
    assert_int_equal(refusal.reason, REFUSED_ROWS);
    assert_int_equal(batch.rows.len, len);
    assert_int_equal(batch.event_count, 1);

    struct buf text = {0};
    buf_put_cstr(&text, "{\"id\":1,\"l\":[0");
    for (size_t i = 0; i < 70000; i++)
        buf_put_cstr(&text, ",0");
    buf_put_cstr(&text, "],\"l\":[{\"x\":7}]}");
    assert_true(shredder_event(shredder, buf_slice(&text), &bare, &batch, &refusal));
    assert_int_equal(batch.row_count, 65537);
    buf_free(&text);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

/* A long id in each of many rows is gigabytes from one megabyte: refused, and the batch
 * is as before. The same for a batch that is full. */
static void bytes_are_bounded(void **state)
{
    (void)state;
    struct refusal refusal;
    struct mapping mapping;
    struct shredder *shredder = open_with(&mapping, exploded, 2, "l[]", &(struct shred_options){0});
    struct shred_batch batch = {0};
    struct buf head = {0};
    buf_put_cstr(&head, "{\"id\":\"");
    for (size_t i = 0; i < 400000; i++)
        buf_put_u8(&head, 'i');
    buf_put_cstr(&head, "\",");
    assert_true(give(shredder, "{\"id\":1}", &batch, &refusal));
    size_t len = batch.rows.len;
    assert_false(give_many(shredder, buf_cstr(&head), 60000, &batch, &refusal));
    assert_int_equal(refusal.reason, REFUSED_ROWS);
    assert_int_equal(batch.rows.len, len);
    assert_true(give_many(shredder, buf_cstr(&head), 3, &batch, &refusal));
    shred_batch_free(&batch);

    batch.rows.max = 100;
    assert_true(give(shredder, "{\"id\":1}", &batch, &refusal));
    len = batch.rows.len;
    assert_false(give_many(shredder, buf_cstr(&head), 3, &batch, &refusal));
    assert_int_equal(refusal.reason, REFUSED_ROWS);
    assert_int_equal(batch.rows.len, len);
    assert_true(give(shredder, "{\"id\":2}", &batch, &refusal));
    buf_free(&head);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

static void look_up(void *context, enum source_kind kind, const char *name, struct slice *out)
{
    (void)context;
    if (kind == SOURCE_HEADER && strcmp(name, "x-exchange") == 0)
        *out = slice_cstr("ex\xff");
    if (kind == SOURCE_QUERY && strcmp(name, "w") == 0)
        *out = slice_cstr("320");
}

static const struct test_column beside[] = {
    {.name = "host", .type = TYPE_STRING, .from = "$host"},
    {.name = "topic", .type = TYPE_STRING, .from = "$topic"},
    {.name = "key", .type = TYPE_STRING, .from = "$key"},
    {.name = "partition", .type = TYPE_INT, .from = "$partition"},
    {.name = "offset", .type = TYPE_LONG, .from = "$offset"},
    {.name = "offset_text", .type = TYPE_STRING, .from = "$offset"},
    {.name = "exchange", .type = TYPE_STRING, .from = "$header.x-exchange"},
    {.name = "none", .type = TYPE_STRING, .from = "$header.none | x"},
    {.name = "w", .type = TYPE_INT, .from = "$query.w"},
    {.name = "position", .type = TYPE_LONG, .from = "$position"},
    {.name = "source", .type = TYPE_TIMESTAMPTZ, .from = "$source_time | $received_at"},
    {.name = "body", .type = TYPE_STRING, .from = "$raw"},
};

/* The exchange, a bidder's first dimension, stands beside the body. */
static void sources_beside_the_event(void **state)
{
    (void)state;
    struct mapping mapping;
    struct refusal refusal;
    size_t count = sizeof beside / sizeof beside[0];
    struct shredder *shredder = open_with(&mapping, beside, count, "", &(struct shred_options){0});
    struct shred_batch batch = {0};
    struct buf text = {0};
    struct shred_context context = {.received_at_us = 99,
                                    .source_time_us = 42,
                                    .host = slice_cstr("h"),
                                    .topic = slice_cstr("t"),
                                    .partition = 3,
                                    .offset = 9007199254740993,
                                    .lookup = look_up};
    assert_true(shredder_event(shredder, slice_cstr(" {\"x\":\"\xff\\n\"} \n"), &context, &batch,
                               &refusal));
    assert_true(shredder_event(shredder, slice_cstr("{}"), &bare, &batch, &refusal));
    test_put_rows(&text, shredder_layout_borrow(shredder), buf_slice(&batch.rows));
    assert_string_equal(buf_cstr(&text),
                        "'h' 't' null 3 9007199254740993 '9007199254740993' 'ex\\xef\\xbf\\xbd' "
                        "'\\xef\\xbf\\xbd\\x0a' 320 null 42 '{\"x\":\"\\xef\\xbf\\xbd\\x5cn\"}' / "
                        "null null null null null null null null null null 1000 '{}'");
    assert_int_equal(shredder_statistics_borrow(shredder)->replaced_utf8, 3);
    buf_free(&text);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

static const struct test_column timed[] = {
    {.name = "event_timestamp",
     .type = TYPE_TIMESTAMPTZ,
     .required = true,
     .unit = UNIT_US,
     .from = "ts | $source_time | $received_at"},
};

/* `ts: 1` from a stranger must not make a partition of 1970. */
static void times_are_held_in_bounds(void **state)
{
    (void)state;
    struct mapping mapping;
    struct refusal refusal;
    struct shredder *shredder =
        open_with(&mapping, timed, 1, "",
                  &(struct shred_options){.time_past_us = 700, .time_future_us = 100});
    struct shred_batch batch = {0};
    struct buf text = {0};
    static const char *const events[] = {"{\"ts\":300}",  "{\"ts\":299}",   "{\"ts\":1100}",
                                         "{\"ts\":1101}", "{\"ts\":\"x\"}", "{\"ts\":999}"};
    for (size_t i = 0; i < 6; i++)
        assert_true(give(shredder, events[i], &batch, &refusal));
    test_put_rows(&text, shredder_layout_borrow(shredder), buf_slice(&batch.rows));
    assert_string_equal(buf_cstr(&text), "300 / 1000 / 1100 / 1000 / 1000 / 999");
    assert_int_equal(shredder_statistics_borrow(shredder)->clamped_time, 2);
    assert_int_equal(shredder_statistics_borrow(shredder)->coerced_to_null[0], 1);
    assert_int_equal(batch.time_min_us, 300);
    assert_int_equal(batch.time_max_us, 1100);
    buf_free(&text);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

/* The counts are all that says how much a sender's change of format has lost. */
static void statistics_add_up(void **state)
{
    (void)state;
    static const struct test_column columns[] = {
        {.name = "id", .type = TYPE_STRING, .from = "id", .required = true},
        {.name = "n", .type = TYPE_INT, .from = "l[].n | n"},
    };
    struct mapping mapping;
    struct refusal refusal;
    struct shredder *shredder = open_with(&mapping, columns, 2, "l[]", &(struct shred_options){0});
    const struct shred_statistics *statistics = shredder_statistics_borrow(shredder);
    struct shred_batch batch = {0};
    /* n is lost once, not once a row */
    assert_true(
        give(shredder, "{\"id\":1,\"n\":\"x\",\"l\":[{},{},{\"n\":{}}]}", &batch, &refusal));
    assert_int_equal(statistics->coerced_to_null[1], 2);
    assert_true(give(shredder, "{\"id\":1,\"id\":2,\"p\":{\"q\":1},\"r\":0,\"l\":{\"s\":1}}",
                     &batch, &refusal));
    assert_int_equal(statistics->unmapped_fields, 3);
    assert_int_equal(statistics->duplicate_keys, 1);
    /* a refused event counts nowhere else */
    assert_false(give(shredder, "{\"n\":\"x\",\"n\":\"y\",\"p\":1}", &batch, &refusal));
    assert_int_equal(statistics->coerced_to_null[1], 2);
    assert_int_equal(statistics->unmapped_fields, 3);
    assert_int_equal(statistics->duplicate_keys, 1);
    assert_int_equal(statistics->event_count, 2);
    assert_int_equal(statistics->row_count, 4);
    assert_int_equal(statistics->refused[REFUSED_REQUIRED], 1);
    assert_int_equal(row_event(batch.rows.data), 0);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

/* Keys of every length meet the hash table's word, tail and compare. */
static void keys_of_all_lengths(void **state)
{
    (void)state;
    enum { KEYS = 40 };
    struct test_column columns[KEYS];
    char names[KEYS][KEYS + 2];
    struct mapping mapping;
    struct refusal refusal;
    struct shred_batch batch = {0};
    struct buf json = {0};
    struct buf text = {0};
    struct buf want = {0};
    buf_put_u8(&json, '{');
    for (int i = 0; i < KEYS; i++) {
        memset(names[i], 'k', sizeof names[i]);
        names[i][i + 1] = 0;
        columns[i] = (struct test_column){.name = names[i], .type = TYPE_INT, .from = names[i]};
        /* the same length, another last byte: must not be taken for it */
        buf_printf(&json, "\"%.*sx\":-1,\"%s\":%d%s", i, names[i], names[i], i,
                   i + 1 < KEYS ? "," : "}");
        buf_printf(&want, "%s%d", i == 0 ? "" : " ", i);
    }
    struct shredder *shredder = open_with(&mapping, columns, KEYS, "", &(struct shred_options){0});
    assert_true(give(shredder, buf_cstr(&json), &batch, &refusal));
    test_put_rows(&text, shredder_layout_borrow(shredder), buf_slice(&batch.rows));
    assert_string_equal(buf_cstr(&text), buf_cstr(&want));
    buf_free(&json);
    buf_free(&text);
    buf_free(&want);
    shred_batch_free(&batch);
    shredder_close(shredder);
    test_mapping_free(&mapping);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(refusals),
        cmocka_unit_test(odd_but_legal),
        cmocka_unit_test(depth_is_64),
        cmocka_unit_test(size_is_bounded),
        cmocka_unit_test(rows_are_bounded),
        cmocka_unit_test(bytes_are_bounded),
        cmocka_unit_test(sources_beside_the_event),
        cmocka_unit_test(times_are_held_in_bounds),
        cmocka_unit_test(statistics_add_up),
        cmocka_unit_test(keys_of_all_lengths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
