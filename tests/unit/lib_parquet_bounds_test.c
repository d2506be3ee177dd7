/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "lib/base/buf.h"
#include "lib/base/random.h"
#include "lib/parquet/bounds.h"

static struct range text_range(struct slice text)
{
    return (struct range){.any = true, .string_min = text, .string_max = text};
}

static void repeat(struct buf *out, const char *unit, size_t times)
{
    buf_reset(out);
    for (size_t i = 0; i < times; i++)
        buf_put_cstr(out, unit);
}

/* `upper` NULL: there is none. */
static void expect_iceberg(const char *unit, size_t times, const char *lower, const char *upper)
{
    struct buf text = {0};
    struct bound min, max;
    repeat(&text, unit, times);
    struct range range = text_range(buf_slice(&text));
    bool has_upper = bounds_encode_iceberg(&range, PARQUET_STRING, &min, &max);
    assert_true(slice_is(bound_slice(&min), lower));
    assert_int_equal(has_upper, upper != NULL);
    if (upper != NULL)
        assert_true(slice_is(bound_slice(&max), upper));
    buf_free(&text);
}

/* An upper bound below the true one hides the file from every query that looks for it. */
static void iceberg_bounds_are_of_sixteen_characters(void **state)
{
    (void)state;
    expect_iceberg("a", 16, "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa");
    expect_iceberg("a", 17, "aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaab");
    expect_iceberg("\x7f", 17, "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f",
                   "\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\x7f\xc2\x80");
    /* U+D7FF: the next that is no surrogate is U+E000. */
    struct buf expected = {0};
    struct buf lower = {0};
    repeat(&lower, "\xed\x9f\xbf", 16);
    repeat(&expected, "\xed\x9f\xbf", 15);
    buf_put_cstr(&expected, "\xee\x80\x80");
    expect_iceberg("\xed\x9f\xbf", 40, buf_cstr(&lower), buf_cstr(&expected));
    /* U+10FFFF: nothing is left to increment, or something before it is. */
    repeat(&lower, "\xf4\x8f\xbf\xbf", 16);
    expect_iceberg("\xf4\x8f\xbf\xbf", 16, buf_cstr(&lower), buf_cstr(&lower));
    expect_iceberg("\xf4\x8f\xbf\xbf", 17, buf_cstr(&lower), NULL);
    expect_iceberg("b\xf4\x8f\xbf\xbf", 9,
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf",
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "b\xf4\x8f\xbf\xbf"
                   "c");
    buf_free(&expected);
    buf_free(&lower);
}

/* Bytes that are no UTF-8 must neither crash us nor give a bound that does not hold. */
static void bounds_hold_for_any_bytes(void **state)
{
    (void)state;
    struct random random;
    random_seed(&random, 3);
    static const uint8_t bytes[] = {0, 'a', 0x7f, 0x80, 0xbf, 0xc3, 0xed, 0x9f, 0xf4, 0x8f, 0xff};
    for (int turn = 0; turn < 200000; turn++) {
        uint8_t text[80];
        size_t len = random_below(&random, sizeof text + 1);
        size_t kinds = 1 + random_below(&random, sizeof bytes);
        for (size_t i = 0; i < len; i++)
            text[i] = bytes[sizeof bytes - 1 - random_below(&random, kinds)];
        struct slice slice = slice_of(text, len);
        struct range range = text_range(slice);
        struct bound min, max;
        if (bounds_encode(&range, PARQUET_STRING, &min, &max))
            assert_true(slice_compare(bound_slice(&max), slice) >= 0);
        assert_true(slice_compare(bound_slice(&min), slice) <= 0);
        assert_true(min.len <= BOUND_BYTES_MAX && min.exact == (min.len == len));
        if (bounds_encode_iceberg(&range, PARQUET_STRING, &min, &max))
            assert_true(slice_compare(bound_slice(&max), slice) >= 0);
        assert_true(slice_compare(bound_slice(&min), slice) <= 0);
    }
}

/* A character cut in two is no UTF-8, and a reader that decodes the bound fails the scan. */
static void footer_bounds_end_between_characters(void **state)
{
    (void)state;
    struct buf text = {0};
    struct bound min, max;
    repeat(&text, "x", 62);
    buf_put_cstr(&text, "\xe2\x82\xac");
    struct range range = text_range(buf_slice(&text));
    assert_true(bounds_encode(&range, PARQUET_STRING, &min, &max));
    assert_int_equal(min.len, 62);
    assert_false(min.exact);
    assert_int_equal(max.len, 62);
    assert_int_equal(max.bytes[61], 'y');
    assert_false(max.exact);
    repeat(&text, "x", 64);
    range = text_range(buf_slice(&text));
    assert_true(bounds_encode(&range, PARQUET_STRING, &min, &max));
    assert_true(min.exact && max.exact && max.len == 64);
    buf_free(&text);
}

/* A reader that tells -0.0 from +0.0 would skip a page that has the one asked for. */
static void zeros_are_written_apart(void **state)
{
    (void)state;
    struct range range = {0};
    struct bound min, max;
    range_add_double(&range, 0.0);
    assert_true(bounds_encode(&range, PARQUET_DOUBLE, &min, &max));
    assert_memory_equal(min.bytes, "\0\0\0\0\0\0\0\x80", 8);
    assert_memory_equal(max.bytes, "\0\0\0\0\0\0\0\0", 8);
    range = (struct range){0};
    range_add_double(&range, -0.0);
    assert_true(bounds_encode_iceberg(&range, PARQUET_DOUBLE, &min, &max));
    assert_memory_equal(min.bytes, "\0\0\0\0\0\0\0\x80", 8);
    assert_memory_equal(max.bytes, "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(bound_compare(&min, &max, PARQUET_DOUBLE), 0);
    range = (struct range){0};
    assert_false(bounds_encode(&range, PARQUET_DOUBLE, &min, &max));
}

/* Signed numbers compared as bytes would put -1 above 1. */
static void bounds_compare_by_the_type(void **state)
{
    (void)state;
    struct range range = {0};
    struct bound min, max;
    range_add_long(&range, 1);
    range_add_long(&range, -1);
    static const enum parquet_type types[] = {PARQUET_INT32, PARQUET_INT64};
    for (size_t i = 0; i < 2; i++) {
        assert_true(bounds_encode(&range, types[i], &min, &max));
        assert_int_equal(min.len, types[i] == PARQUET_INT32 ? 4 : 8);
        assert_true(bound_compare(&min, &max, types[i]) < 0);
        assert_true(slice_compare(bound_slice(&min), bound_slice(&max)) > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iceberg_bounds_are_of_sixteen_characters),
        cmocka_unit_test(bounds_hold_for_any_bytes),
        cmocka_unit_test(footer_bounds_end_between_characters),
        cmocka_unit_test(zeros_are_written_apart),
        cmocka_unit_test(bounds_compare_by_the_type),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
