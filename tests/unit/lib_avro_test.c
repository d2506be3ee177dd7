/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <zlib.h>
#include <zstd.h>

#include "lib/avro/avro.h"

static const char schema[] =
    "{\"type\":\"record\",\"name\":\"r\",\"fields\":["
    "{\"name\":\"a\",\"type\":\"long\",\"field-id\":1},"
    "{\"name\":\"b\",\"type\":[\"null\",\"string\"],\"default\":null,\"field-id\":2},"
    "{\"name\":\"c\",\"type\":{\"type\":\"array\",\"items\":\"int\"},\"field-id\":3},"
    "{\"name\":\"d\",\"type\":{\"type\":\"map\",\"values\":\"double\"}},"
    "{\"name\":\"e\",\"type\":{\"type\":\"fixed\",\"name\":\"f4\",\"size\":4}},"
    "{\"name\":\"f\",\"type\":\"f4\"}]}";

static void write_rows(struct buf *out, int64_t count)
{
    struct avro_pair pairs[] = {{"avro.schema", slice_cstr(schema)}, {"k", slice_cstr("v")}};
    struct avro_writer writer;
    avro_writer_init(&writer, out, pairs, 2);
    for (int64_t i = 0; i < count; i++) {
        struct buf *block = &writer.block;
        buf_put_varint(block, i * 1000003 - 500000);
        buf_put_varint(block, i % 2);
        if (i % 2 == 1) {
            buf_put_varint(block, 3);
            buf_put_cstr(block, "abc");
        }
        buf_put_varint(block, -2); /* a negative count: the size in bytes follows */
        buf_put_varint(block, 2);
        buf_put_varint(block, 7);
        buf_put_varint(block, 8);
        buf_put_varint(block, 0);
        buf_put_varint(block, 1);
        buf_put_varint(block, 1);
        buf_put_cstr(block, "x");
        buf_put_u64le(block, 0);
        buf_put_varint(block, 0);
        buf_put_cstr(block, "1234");
        buf_put_cstr(block, "5678");
        avro_writer_end_row(&writer);
    }
    avro_writer_finish(&writer);
}

/* All rows' `a`, checked, the others skipped; how many rows, or -1. */
static int64_t read_rows(struct slice bytes, size_t plain_max, struct error *err)
{
    struct arena arena = {0};
    struct avro_reader reader;
    struct avro_cursor cursor;
    int64_t rows = 0;
    int64_t total = 0;
    int rc = avro_reader_init(&reader, &arena, bytes, plain_max, err);
    while (rc == OK && (rc = avro_reader_next(&reader, &cursor, &rows, err)) == OK && rows > 0) {
        for (; rows > 0; rows--) {
            int64_t a = 0;
            assert_true(avro_read_integer(&cursor, reader.type->fields[0].type, &a));
            assert_int_equal(a, total * 1000003 - 500000);
            for (size_t i = 1; i < reader.type->count; i++)
                avro_skip(&cursor, reader.type->fields[i].type);
            assert_false(cursor.failed);
            total++;
        }
        assert_ptr_equal(cursor.at, cursor.end);
    }
    arena_free(&arena);
    return rc == OK ? total : -1;
}

/* A file of several blocks must come back row by row, or files vanish from a table. */
static void rows_of_many_blocks_come_back(void **state)
{
    (void)state;
    struct error err;
    struct buf bytes = {0};
    write_rows(&bytes, 20000);
    assert_int_equal(read_rows(buf_slice(&bytes), 1 << 24, &err), 20000);
    buf_free(&bytes);
}

/* Equal content with unequal bytes would break golden files and retries by checksum. */
static void equal_rows_give_equal_bytes(void **state)
{
    (void)state;
    struct buf one = {0};
    struct buf two = {0};
    write_rows(&one, 10);
    write_rows(&two, 10);
    assert_true(slice_equal(buf_slice(&one), buf_slice(&two)));
    buf_free(&one);
    buf_free(&two);
}

/* A manifest that was cut short must be an error at every length: read as a shorter one
 * it would lose files without a word. */
static void cut_short_is_refused_everywhere(void **state)
{
    (void)state;
    struct error err;
    struct buf bytes = {0};
    write_rows(&bytes, 5);
    size_t header = bytes.len;
    struct buf empty = {0};
    write_rows(&empty, 0);
    header = empty.len;
    for (size_t n = 0; n < bytes.len; n++) {
        uint8_t *copy = malloc(n + 1);
        memcpy(copy, bytes.data, n);
        int64_t rows = read_rows(slice_of(copy, n), 1 << 20, &err);
        assert_int_equal(rows, n == header ? 0 : -1);
        free(copy);
    }
    buf_free(&bytes);
    buf_free(&empty);
}

/* A container with one block of `count` rows, packed by `codec`. */
static void wrap(struct buf *out, const char *codec, const char *json, int64_t count,
                 struct slice packed)
{
    const uint8_t sync[AVRO_SYNC_SIZE] = {9};
    buf_put(out, "Obj\1", 4);
    buf_put_varint(out, 2);
    buf_put_varint(out, 10);
    buf_put_cstr(out, "avro.codec");
    buf_put_varint(out, (int64_t)strlen(codec));
    buf_put_cstr(out, codec);
    buf_put_varint(out, 11);
    buf_put_cstr(out, "avro.schema");
    buf_put_varint(out, (int64_t)strlen(json));
    buf_put_cstr(out, json);
    buf_put_varint(out, 0);
    buf_put(out, sync, sizeof sync);
    buf_put_varint(out, count);
    buf_put_varint(out, (int64_t)packed.len);
    buf_put_slice(out, packed);
    buf_put(out, sync, sizeof sync);
}

static size_t deflate_raw(struct slice plain, uint8_t *out, size_t cap)
{
    z_stream stream = {0};
    deflateInit2(&stream, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    stream.next_in = (Bytef *)(uintptr_t)plain.data;
    stream.avail_in = (uInt)plain.len;
    stream.next_out = out;
    stream.avail_out = (uInt)cap;
    deflate(&stream, Z_FINISH);
    deflateEnd(&stream);
    return cap - stream.avail_out;
}

static int open_first_block(struct slice bytes, size_t plain_max, int64_t *rows,
                            struct avro_cursor *cursor, struct arena *arena, struct error *err)
{
    struct avro_reader reader;
    int rc = avro_reader_init(&reader, arena, bytes, plain_max, err);
    return rc == OK ? avro_reader_next(&reader, cursor, rows, err) : rc;
}

/* Java, PyIceberg and Spark write deflate, some services zstandard: all must be read,
 * and a small file that unpacks to gigabytes must meet the limit. */
static void codecs_are_read_and_bounded(void **state)
{
    (void)state;
    struct error err;
    static uint8_t plain[100000];
    static uint8_t packed[200000];
    memset(plain, 2, sizeof plain); /* each a long of 1 */
    const char *const codecs[] = {"deflate", "zstandard", "null"};
    for (int i = 0; i < 3; i++) {
        size_t len = sizeof plain;
        if (i == 0)
            len = deflate_raw(slice_of(plain, sizeof plain), packed, sizeof packed);
        else if (i == 1)
            len = ZSTD_compress(packed, sizeof packed, plain, sizeof plain, 3);
        else
            memcpy(packed, plain, len);
        struct buf bytes = {0};
        struct arena arena = {0};
        struct avro_cursor cursor;
        int64_t rows;
        wrap(&bytes, codecs[i], "\"long\"", sizeof plain, slice_of(packed, len));
        assert_int_equal(open_first_block(buf_slice(&bytes), 1 << 20, &rows, &cursor, &arena, &err),
                         OK);
        assert_int_equal(rows, sizeof plain);
        assert_int_equal(cursor.end - cursor.at, sizeof plain);
        assert_int_equal(avro_read_varint(&cursor), 1);
        assert_int_equal(
            open_first_block(buf_slice(&bytes), sizeof plain - 1, &rows, &cursor, &arena, &err),
            ERROR_LIMIT);
        arena_free(&arena);
        buf_free(&bytes);
    }
}

/* A codec we lack must be named, or the operator looks for damage. */
static void unknown_codec_is_named(void **state)
{
    (void)state;
    struct error err;
    struct arena arena = {0};
    struct avro_cursor cursor;
    int64_t rows;
    struct buf bytes = {0};
    wrap(&bytes, "snappy", "\"long\"", 1, slice_of("\2", 1));
    assert_int_equal(open_first_block(buf_slice(&bytes), 100, &rows, &cursor, &arena, &err),
                     ERROR_INPUT);
    assert_non_null(strstr(err.text, "snappy"));
    arena_free(&arena);
    buf_free(&bytes);
}

/* Values without bytes, repeated 2^62 times, must end in an error, not in a day's work. */
static void values_without_bytes_meet_the_budget(void **state)
{
    (void)state;
    struct error err;
    struct arena arena = {0};
    struct avro_cursor cursor;
    int64_t rows;
    struct buf block = {0};
    struct buf bytes = {0};
    buf_put_varint(&block, INT64_C(1) << 61);
    buf_put_varint(&block, 0);
    const char *json = "{\"type\":\"array\",\"items\":\"null\"}";
    wrap(&bytes, "null", json, 1, buf_slice(&block));
    assert_int_equal(open_first_block(buf_slice(&bytes), 100, &rows, &cursor, &arena, &err), OK);
    const struct avro_type *type;
    assert_int_equal(avro_schema_decode(&type, &arena, slice_cstr(json), &err), OK);
    avro_skip(&cursor, type);
    assert_true(cursor.failed);
    arena_free(&arena);
    buf_free(&block);
    buf_free(&bytes);
}

/* A schema that holds itself or nests without end would overflow the stack. */
static void endless_schemas_are_refused(void **state)
{
    (void)state;
    struct error err;
    struct arena arena = {0};
    const struct avro_type *type;
    const char *const bad[] = {
        "{\"type\":\"record\",\"name\":\"r\",\"fields\":[{\"name\":\"x\",\"type\":\"r\"}]}",
        "{\"type\":\"record\",\"name\":\"r\"}",
        "{\"type\":\"fixed\",\"name\":\"r\",\"size\":-1}",
        "{\"type\":\"array\"}",
        "[[\"null\"]]",
        "[]",
        "\"nothing\"",
        "17",
        "{",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(avro_schema_decode(&type, &arena, slice_cstr(bad[i]), &err), ERROR_INPUT);
    struct buf deep = {0};
    for (int i = 0; i < 500; i++)
        buf_put_cstr(&deep, "{\"type\":\"array\",\"items\":");
    buf_put_cstr(&deep, "\"int\"");
    for (int i = 0; i < 500; i++)
        buf_put_cstr(&deep, "}");
    assert_int_equal(avro_schema_decode(&type, &arena, buf_slice(&deep), &err), ERROR_LIMIT);
    buf_free(&deep);
    arena_free(&arena);
}

/* A varint of eleven bytes, or of more than 64 bits, must not shift out of range. */
static void varints_are_bounded(void **state)
{
    (void)state;
    struct buf bytes = {0};
    struct avro_cursor cursor;
    const int64_t values[] = {0, -1, 1, INT64_MAX, INT64_MIN, 1 << 20};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        buf_reset(&bytes);
        buf_put_varint(&bytes, values[i]);
        avro_cursor_init(&cursor, buf_slice(&bytes));
        assert_true(avro_read_varint(&cursor) == values[i]);
        assert_false(cursor.failed);
    }
    uint8_t endless[11];
    memset(endless, 0xff, sizeof endless);
    avro_cursor_init(&cursor, slice_of(endless, sizeof endless));
    avro_read_varint(&cursor);
    assert_true(cursor.failed);
    buf_free(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_of_many_blocks_come_back),
        cmocka_unit_test(equal_rows_give_equal_bytes),
        cmocka_unit_test(cut_short_is_refused_everywhere),
        cmocka_unit_test(codecs_are_read_and_bounded),
        cmocka_unit_test(unknown_codec_is_named),
        cmocka_unit_test(values_without_bytes_meet_the_budget),
        cmocka_unit_test(endless_schemas_are_refused),
        cmocka_unit_test(varints_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
