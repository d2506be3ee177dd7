/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/parquet/dictionary.h"
#include "lib/parquet/hybrid.h"
#include "lib/parquet/thrift.h"

/* One wrong byte in the annotation of a time column and engines show days of 1970.
 * The bytes are those of parquet-format's description of the compact protocol. */
static void thrift_timestamp_annotation_has_the_known_bytes(void **state)
{
    (void)state;
    struct buf out = {0};
    struct thrift_writer writer;
    thrift_writer_init(&writer, &out);
    thrift_put_i32(&writer, 9, 5);
    thrift_begin_struct(&writer, 10);
    thrift_begin_struct(&writer, 8);
    thrift_put_bool(&writer, 1, true);
    thrift_begin_struct(&writer, 2);
    thrift_put_empty_struct(&writer, 2);
    thrift_end(&writer);
    thrift_end(&writer);
    thrift_end(&writer);
    assert_int_equal(out.len, 2 + 9);
    assert_memory_equal(out.data + 2, "\x1c\x8c\x11\x1c\x2c\x00\x00\x00\x00", 9);
    buf_free(&out);
}

/* From the 15th column on lists have a long header; without it a wide table is unreadable. */
static void thrift_long_lists_and_ids_read_back(void **state)
{
    (void)state;
    struct buf out = {0};
    struct thrift_writer writer;
    thrift_writer_init(&writer, &out);
    thrift_begin_list(&writer, 1, THRIFT_I64, 15);
    for (int i = 0; i < 15; i++)
        thrift_element_int(&writer, -i);
    thrift_put_i32(&writer, 40, 7); /* a step of more than 15 */
    thrift_put_bool(&writer, 41, false);
    thrift_end(&writer);

    struct thrift_reader reader = {.at = out.data, .end = out.data + out.len};
    struct thrift_field field = {0};
    enum thrift_type element = THRIFT_STOP;
    assert_true(thrift_next_field(&reader, &field));
    assert_int_equal(thrift_read_list(&reader, &element), 15);
    assert_int_equal(element, THRIFT_I64);
    for (int i = 0; i < 15; i++)
        assert_int_equal(thrift_read_int(&reader), -i);
    assert_true(thrift_next_field(&reader, &field));
    assert_int_equal(field.id, 40);
    assert_int_equal(thrift_read_int(&reader), 7);
    assert_true(thrift_next_field(&reader, &field));
    assert_int_equal(field.id, 41);
    assert_int_equal(field.type, THRIFT_FALSE);
    assert_false(thrift_next_field(&reader, &field));
    assert_false(reader.failed);
    assert_ptr_equal(reader.at, reader.end);
    buf_free(&out);
}

/* A stranger's footer must not overflow our stack, nor make us loop over 2^60 elements. */
static void thrift_skip_refuses_depth_and_counts(void **state)
{
    (void)state;
    uint8_t deep[200];
    memset(deep, 0x1c, sizeof deep); /* a struct in a struct in a struct */
    struct thrift_reader reader = {.at = deep, .end = deep + sizeof deep};
    thrift_skip(&reader, THRIFT_STRUCT);
    assert_true(reader.failed);

    static const uint8_t large[] = {0xf1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1};
    reader = (struct thrift_reader){.at = large, .end = large + sizeof large};
    thrift_skip(&reader, THRIFT_LIST);
    assert_true(reader.failed);

    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                      0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    reader = (struct thrift_reader){.at = endless, .end = endless + sizeof endless};
    assert_int_equal(thrift_read_int(&reader), 0);
    assert_true(reader.failed);
}

static uint64_t take_bits(const uint8_t *data, size_t bit, unsigned width)
{
    uint64_t out = 0;
    for (unsigned i = 0; i < width; i++)
        out |= (uint64_t)(data[(bit + i) / 8] >> (bit + i) % 8 & 1) << i;
    return out;
}

/* Reads what hybrid_put wrote; no run may be empty, only the last may be padded. */
static void expect_hybrid(struct slice bytes, const uint32_t *values, size_t n, unsigned width)
{
    size_t at = 0;
    size_t seen = 0;
    while (at < bytes.len) {
        uint64_t header = 0;
        for (unsigned shift = 0;; shift += 7) {
            uint8_t byte = bytes.data[at++];
            header |= (uint64_t)(byte & 0x7f) << shift;
            if (byte < 0x80)
                break;
        }
        bool packed = (header & 1) != 0;
        size_t count = (size_t)(header >> 1) * (packed ? 8 : 1);
        assert_true(count > 0 && seen < n && count < n - seen + 8);
        assert_true(packed || count <= n - seen);
        size_t step = packed ? width : 0;
        size_t len = packed ? count / 8 * width : (width + 7) / 8;
        assert_true(at + len <= bytes.len);
        for (size_t i = 0; i < count; i++) {
            uint64_t value = take_bits(bytes.data + at, i * step, width);
            assert_int_equal(value, seen + i < n ? values[seen + i] : 0);
        }
        at += len;
        seen += count;
    }
    assert_true(seen >= n && seen < n + 8);
}

/* A padded group in the middle shifts every value behind it into another row. */
static void hybrid_reads_back_at_all_widths(void **state)
{
    (void)state;
    struct random random;
    struct buf out = {0};
    uint32_t values[700];
    random_seed(&random, 7);
    for (unsigned turn = 0; turn < 2000; turn++) {
        unsigned width = 1 + turn % 32;
        size_t n = 1 + random_below(&random, 700);
        uint32_t mask = width == 32 ? UINT32_MAX : (1u << width) - 1;
        for (size_t i = 0; i < n;) {
            uint32_t value = (uint32_t)random_next(&random) & mask;
            size_t run = 1 + random_below(&random, random_below(&random, 3) == 0 ? 60 : 3);
            for (; run > 0 && i < n; run--)
                values[i++] = value;
        }
        buf_reset(&out);
        hybrid_put(&out, values, n, width);
        expect_hybrid(buf_slice(&out), values, n, width);
        /* Page sizes rest on it: never more than five bytes a value and the last group. */
        assert_true(out.len <= 5 * n + 40);
    }
    buf_free(&out);
}

/* The example of Encodings.md: 0..7 in three bits. */
static void hybrid_has_the_published_bytes(void **state)
{
    (void)state;
    struct buf out = {0};
    uint32_t values[] = {0, 1, 2, 3, 4, 5, 6, 7};
    hybrid_put(&out, values, 8, 3);
    assert_int_equal(out.len, 4);
    assert_memory_equal(out.data, "\x03\x88\xc6\xfa", 4);
    buf_reset(&out);
    hybrid_put_run(&out, 1, 100, 1);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "\xc8\x01\x01", 3);
    assert_int_equal(hybrid_width(0), 0);
    assert_int_equal(hybrid_width(1), 1);
    assert_int_equal(hybrid_width(255), 8);
    assert_int_equal(hybrid_width(256), 9);
    buf_free(&out);
}

/* Growing the table must not lose an entry: its rows would point at another value. */
static void dictionary_keeps_its_order_while_it_grows(void **state)
{
    (void)state;
    struct dictionary dictionary;
    dictionary_init(&dictionary, 1 << 20);
    char(*texts)[16] = memory_alloc(20000, sizeof *texts);
    for (int turn = 0; turn < 2; turn++) {
        dictionary_begin(&dictionary, 0, 0);
        for (uint32_t i = 0; i < 20000; i++) {
            struct slice text = slice_of(texts[i], (size_t)snprintf(texts[i], 16, "%u", i));
            assert_int_equal(dictionary_put_string(&dictionary, text), i);
        }
        for (uint32_t i = 0; i < 20000; i += 7)
            assert_int_equal(dictionary_put_string(&dictionary, slice_cstr(texts[i])), i);
    }
    dictionary_begin(&dictionary, 8, 0);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(dictionary_put_number(&dictionary, (uint64_t)i << 32), i);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(dictionary_put_number(&dictionary, (uint64_t)i << 32), i);
    assert_int_equal(dictionary.bytes.len, 8 * 20000);
    free(texts);
    dictionary_free(&dictionary);
}

/* A dictionary page beyond the limit is memory that nobody planned for. */
static void dictionary_refuses_what_passes_its_limit(void **state)
{
    (void)state;
    struct dictionary dictionary;
    struct slice distinct[] = {slice_cstr("1234"), slice_cstr("5")};
    dictionary_init(&dictionary, 12);
    dictionary_begin(&dictionary, 0, 0);
    assert_int_equal(dictionary_put_string(&dictionary, distinct[0]), 0);
    assert_int_equal(dictionary_put_string(&dictionary, distinct[1]), DICTIONARY_FULL);
    assert_int_equal(dictionary_put_string(&dictionary, slice_cstr("")), 1);
    assert_int_equal(dictionary.bytes.len, 12);
    dictionary_begin(&dictionary, 0, 2);
    assert_int_equal(dictionary_put_code(&dictionary, 0, distinct), 0);
    assert_int_equal(dictionary_put_code(&dictionary, 1, distinct), DICTIONARY_FULL);
    assert_int_equal(dictionary_put_code(&dictionary, 0, distinct), 0);
    dictionary_begin(&dictionary, 8, 0);
    assert_int_equal(dictionary_put_number(&dictionary, 1), 0);
    assert_int_equal(dictionary_put_number(&dictionary, 2), DICTIONARY_FULL);
    dictionary_free(&dictionary);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thrift_timestamp_annotation_has_the_known_bytes),
        cmocka_unit_test(thrift_long_lists_and_ids_read_back),
        cmocka_unit_test(thrift_skip_refuses_depth_and_counts),
        cmocka_unit_test(hybrid_reads_back_at_all_widths),
        cmocka_unit_test(hybrid_has_the_published_bytes),
        cmocka_unit_test(dictionary_keeps_its_order_while_it_grows),
        cmocka_unit_test(dictionary_refuses_what_passes_its_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
