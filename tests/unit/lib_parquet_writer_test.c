/* SPDX-License-Identifier: Apache-2.0
 *
 * Foreign readers judge the files (tests/interop/parquet_readers.py). Here: the contract
 * of the calls, the metrics, equal bytes, bounded memory, and the footer read back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/parquet/parquet.h"

struct target {
    struct buf bytes;
    size_t writes_left; /* then it fails */
};

static int target_write(void *context, struct slice bytes, struct error *err)
{
    struct target *target = context;
    if (target->writes_left == 0)
        return error_set(err, ERROR_IO, "disk gone");
    target->writes_left--;
    buf_put_slice(&target->bytes, bytes);
    return OK;
}

/* Writes one row group. */
static int write_group(struct parquet_writer *writer, const struct parquet_column *columns,
                       size_t column_count, size_t rows, struct error *err)
{
    int rc = parquet_writer_begin_group(writer, rows, err);
    for (size_t i = 0; rc == OK && i < column_count; i++)
        rc = parquet_writer_add_column(writer, &columns[i], err);
    return rc == OK ? parquet_writer_end_group(writer, err) : rc;
}

static struct parquet_writer *open_writer(const struct parquet_options *options,
                                          struct target *target)
{
    struct parquet_writer *writer = NULL;
    struct error err;
    *target = (struct target){.writes_left = SIZE_MAX};
    struct parquet_sink sink = {.write = target_write, .context = target};
    assert_int_equal(parquet_writer_open(&writer, options, sink, &err), OK);
    return writer;
}

static const struct parquet_field sample_fields[] = {
    {.name = "site", .type = PARQUET_STRING, .bloom = true, .field_id = 1},
    {.name = "price", .type = PARQUET_DOUBLE, .field_id = 2},
    {.name = "tags", .type = PARQUET_STRING, .list = true, .field_id = 3, .element_id = 10},
    {.name = "user", .type = PARQUET_STRING, .no_bounds = true, .field_id = 4},
    {.name = "at", .type = PARQUET_TIMESTAMP_MICROS_UTC, .required = true, .field_id = 5},
    {.name = "test", .type = PARQUET_BOOLEAN, .field_id = 6},
};

enum { SAMPLE_FIELDS = 6, SAMPLE_ROWS = 4 };

static const uint8_t sample_valid[] = {1, 0, 1, 1};
static const struct slice sample_strings[] = {
    {(const uint8_t *)"b", 1}, {0}, {(const uint8_t *)"a", 1}, {(const uint8_t *)"c", 1}};
static const double sample_doubles[] = {1.5, 0, NAN, 0.0};
static const uint32_t sample_offsets[] = {0, 2, 2, 2, 3};
static const int64_t sample_longs[] = {40, 30, 20, 10};
static const uint8_t sample_booleans[] = {1, 0, 1, 1};

static const struct parquet_column sample_columns[] = {
    {.valid = sample_valid, .strings = sample_strings},
    {.valid = sample_valid, .doubles = sample_doubles},
    {.valid = sample_valid, .list_offsets = sample_offsets, .strings = sample_strings},
    {.valid = sample_valid, .strings = sample_strings},
    {.longs = sample_longs},
    {.valid = sample_valid, .booleans = sample_booleans},
};

static void write_sample(struct target *target, size_t groups, struct parquet_writer **writer,
                         struct parquet_result *result)
{
    struct error err;
    struct parquet_options options = {.fields = sample_fields,
                                      .field_count = SAMPLE_FIELDS,
                                      .created_by = "bidlake version 1",
                                      .bloom_file_min = 1};
    *writer = open_writer(&options, target);
    for (size_t i = 0; i < groups; i++)
        assert_int_equal(write_group(*writer, sample_columns, SAMPLE_FIELDS, SAMPLE_ROWS, &err),
                         OK);
    assert_int_equal(parquet_writer_finish(*writer, result, &err), OK);
}

static void expect_metric(const struct parquet_metric *metric, int32_t id, int64_t nulls,
                          int64_t nans, const char *lower, const char *upper, size_t len)
{
    assert_int_equal(metric->field_id, id);
    assert_true(metric->size > 0);
    assert_int_equal(metric->null_count, nulls);
    assert_int_equal(metric->value_count, nulls < 0 ? -1 : 2 * SAMPLE_ROWS);
    assert_int_equal(metric->nan_count, nans);
    assert_int_equal(metric->has_bounds, lower != NULL);
    if (lower != NULL) {
        assert_true(metric->has_upper);
        assert_int_equal(metric->lower.len, len);
        assert_int_equal(metric->upper.len, len);
        assert_memory_equal(metric->lower.data, lower, len);
        assert_memory_equal(metric->upper.data, upper, len);
    }
}

/* The manifest is made of these: a wrong count or bound makes engines skip the file. */
static void metrics_and_result_describe_the_file(void **state)
{
    (void)state;
    struct target target;
    struct parquet_writer *writer;
    struct parquet_result result;
    write_sample(&target, 2, &writer, &result);
    assert_int_equal(result.file_size, target.bytes.len);
    assert_int_equal(result.crc32c, crc32c(0, buf_slice(&target.bytes)));
    assert_int_equal(result.row_count, 2 * SAMPLE_ROWS);
    assert_int_equal(result.split_count, 2);
    assert_int_equal(result.splits[0], 4);
    assert_true(result.splits[1] > 4);
    assert_int_equal(result.metric_count, SAMPLE_FIELDS);
    expect_metric(&result.metrics[0], 1, 2, -1, "a", "c", 1);
    expect_metric(&result.metrics[1], 2, 2, 2, "\0\0\0\0\0\0\0\x80", "\0\0\0\0\0\0\xf8\x3f", 8);
    expect_metric(&result.metrics[2], 10, -1, -1, NULL, NULL, 0);
    expect_metric(&result.metrics[3], 4, 2, -1, NULL, NULL, 0);
    expect_metric(&result.metrics[4], 5, 0, -1, "\x0a\0\0\0\0\0\0\0", "\x28\0\0\0\0\0\0\0", 8);
    expect_metric(&result.metrics[5], 6, 2, -1, "\1", "\1", 1);
    parquet_writer_close(writer);
    buf_free(&target.bytes);
}

/* bidlake-table check and the committer go by what the footer says. */
static void footer_reads_back(void **state)
{
    (void)state;
    struct target target;
    struct parquet_writer *writer;
    struct parquet_result result;
    struct parquet_footer footer;
    struct error err;
    size_t need;
    write_sample(&target, 3, &writer, &result);
    struct slice file = buf_slice(&target.bytes);
    assert_int_equal(parquet_footer_decode(&footer, file, file.len, &need, &err), OK);
    assert_int_equal(footer.row_count, 3 * SAMPLE_ROWS);
    assert_int_equal(footer.row_group_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(footer.row_group_offsets[i], result.splits[i]);
        assert_int_equal(footer.row_group_rows[i], SAMPLE_ROWS);
    }
    assert_int_equal(footer.leaf_count, SAMPLE_FIELDS);
    for (size_t i = 0; i < SAMPLE_FIELDS; i++) {
        assert_int_equal(footer.leaves[i].field_id, result.metrics[i].field_id);
        assert_int_equal(footer.leaves[i].compressed_size, result.metrics[i].size);
    }
    assert_int_equal(footer.leaves[0].null_count, 3);
    assert_int_equal(footer.leaves[0].bloom_count, 3);
    assert_int_equal(footer.leaves[1].bloom_count, 0);
    /* Rows 1 and 2 have no element: one is a null list, one an empty one. */
    assert_int_equal(footer.leaves[2].null_count, 6);
    assert_int_equal(footer.leaves[2].value_count, 15);
    parquet_footer_free(&footer);
    parquet_writer_close(writer);
    buf_free(&target.bytes);
}

/* With half a footer at hand the caller must learn how much to fetch, not get nonsense;
 * and no cut or damage may be taken for a file. */
static void footer_says_what_it_needs_and_refuses_damage(void **state)
{
    (void)state;
    struct target target;
    struct parquet_writer *writer;
    struct parquet_result result;
    struct parquet_footer footer;
    struct error err;
    size_t need;
    write_sample(&target, 1, &writer, &result);
    struct slice file = buf_slice(&target.bytes);
    struct slice tail = slice_of(file.data + file.len - 20, 20);
    assert_int_equal(parquet_footer_decode(&footer, tail, file.len, &need, &err), ERROR_LIMIT);
    assert_true(need > 20 && need < file.len);
    tail = slice_of(file.data + file.len - need, need);
    assert_int_equal(parquet_footer_decode(&footer, tail, file.len, &need, &err), OK);
    assert_int_equal(need, 0);
    parquet_footer_free(&footer);
    for (size_t len = 0; len < file.len; len++) {
        struct slice cut = slice_of(file.data, len);
        assert_int_equal(parquet_footer_decode(&footer, cut, len, &need, &err), ERROR_CORRUPT);
    }
    /* A chunk that would end behind the file: the file is not the one the footer is of. */
    size_t shorter = file.len / 2;
    tail = slice_of(file.data + file.len - shorter, shorter);
    int rc = parquet_footer_decode(&footer, tail, shorter, &need, &err);
    assert_int_equal(rc, ERROR_CORRUPT);
    uint32_t footer_len = get_u32le(file.data + file.len - 8);
    put_u32le(target.bytes.data + file.len - 8, UINT32_MAX);
    assert_int_equal(parquet_footer_decode(&footer, file, file.len, &need, &err), ERROR_CORRUPT);
    assert_int_equal(parquet_footer_decode(&footer, file, (uint64_t)1 << 40, &need, &err),
                     ERROR_LIMIT);
    assert_int_equal(need, 0);
    put_u32le(target.bytes.data + file.len - 8, footer_len - 1);
    assert_int_equal(parquet_footer_decode(&footer, file, file.len, &need, &err), ERROR_CORRUPT);
    parquet_writer_close(writer);
    buf_free(&target.bytes);
}

/* Every failing write must come out as the sink's error; a swallowed one is a lost file. */
static void every_failing_write_is_reported(void **state)
{
    (void)state;
    size_t failures = 0;
    for (size_t allowed = 0;; allowed++) {
        struct parquet_options options = {.fields = sample_fields, .field_count = SAMPLE_FIELDS};
        struct target target = {.writes_left = allowed};
        struct parquet_sink sink = {.write = target_write, .context = &target};
        struct parquet_writer *writer = NULL;
        struct parquet_result result;
        struct error err;
        int rc = parquet_writer_open(&writer, &options, sink, &err);
        if (rc == OK)
            rc = write_group(writer, sample_columns, SAMPLE_FIELDS, SAMPLE_ROWS, &err);
        if (rc == OK)
            rc = parquet_writer_finish(writer, &result, &err);
        parquet_writer_close(writer);
        buf_free(&target.bytes);
        if (rc == OK)
            break;
        assert_int_equal(rc, ERROR_IO);
        assert_non_null(strstr(err.text, "disk gone"));
        failures++;
    }
    /* Magic, six columns of a page, one of them with more, two indexes, footer. */
    assert_true(failures >= 1 + SAMPLE_FIELDS + 3);
}

static void expect_refused(const struct parquet_field *fields, size_t count, const size_t *sorting,
                           size_t sorting_count)
{
    struct parquet_options options = {
        .fields = fields, .field_count = count, .sorting = sorting, .sorting_count = sorting_count};
    struct target target = {.writes_left = SIZE_MAX};
    struct parquet_sink sink = {.write = target_write, .context = &target};
    struct parquet_writer *writer = NULL;
    struct error err;
    assert_int_equal(parquet_writer_open(&writer, &options, sink, &err), ERROR_INPUT);
    assert_null(writer);
    assert_int_equal(target.bytes.len, 0);
}

/* Columns that differ by case alone make Spark, Athena and BigQuery refuse the table. */
static void options_that_no_reader_takes_are_refused(void **state)
{
    (void)state;
    struct parquet_field twice[] = {{.name = "Site", .type = PARQUET_INT32},
                                    {.name = "site", .type = PARQUET_INT32}};
    struct parquet_field nameless[] = {{.name = "", .type = PARQUET_INT32}};
    struct parquet_field list[] = {{.name = "l", .type = PARQUET_INT32, .list = true}};
    struct parquet_field required[] = {
        {.name = "l", .type = PARQUET_INT32, .list = true, .required = true}};
    struct parquet_field bloom_list[] = {
        {.name = "l", .type = PARQUET_INT32, .list = true, .bloom = true}};
    struct parquet_field bloom_flag[] = {{.name = "b", .type = PARQUET_BOOLEAN, .bloom = true}};
    static const size_t first[] = {0};
    static const size_t second[] = {1};
    expect_refused(twice, 2, NULL, 0);
    expect_refused(nameless, 1, NULL, 0);
    expect_refused(required, 1, NULL, 0);
    expect_refused(bloom_list, 1, NULL, 0);
    expect_refused(bloom_flag, 1, NULL, 0);
    expect_refused(list, 1, first, 1);
    expect_refused(twice, 1, second, 1);
    expect_refused(NULL, 0, NULL, 0);
}

/* A null in a required column would shift every value behind it up by a row. */
static void a_null_in_a_required_column_is_refused(void **state)
{
    (void)state;
    struct parquet_field field = {.name = "id", .type = PARQUET_INT64, .required = true};
    struct parquet_options options = {.fields = &field, .field_count = 1};
    struct parquet_column column = {.valid = sample_valid, .longs = sample_longs};
    struct target target;
    struct error err;
    struct parquet_writer *writer = open_writer(&options, &target);
    assert_int_equal(write_group(writer, &column, 1, SAMPLE_ROWS, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "id"));
    parquet_writer_close(writer);
    buf_free(&target.bytes);
}

/* Readers allocate what a page header says, so one value must not make it huge. */
static void a_value_too_large_for_a_page_is_refused(void **state)
{
    (void)state;
    struct parquet_field field = {.name = "body", .type = PARQUET_STRING, .plain = true};
    struct parquet_options options = {.fields = &field, .field_count = 1};
    struct target target;
    struct error err;
    size_t len = (size_t)16 << 20;
    uint8_t *bytes = memory_alloc(len, 1);
    struct slice value = slice_of(bytes, len);
    struct parquet_column column = {.strings = &value};
    struct parquet_writer *writer = open_writer(&options, &target);
    assert_int_equal(write_group(writer, &column, 1, 1, &err), ERROR_LIMIT);
    parquet_writer_close(writer);
    buf_free(&target.bytes);

    value.len = len - 100;
    writer = open_writer(&options, &target);
    assert_int_equal(write_group(writer, &column, 1, 1, &err), OK);
    parquet_writer_close(writer);
    buf_free(&target.bytes);
    free(bytes);
}

/* Of a file that was not finished nothing may look like a footer. */
static void without_finish_there_is_no_footer(void **state)
{
    (void)state;
    struct target target;
    struct error err;
    struct parquet_footer footer;
    size_t need;
    struct parquet_options options = {.fields = sample_fields, .field_count = SAMPLE_FIELDS};
    struct parquet_writer *writer = open_writer(&options, &target);
    assert_int_equal(write_group(writer, sample_columns, SAMPLE_FIELDS, SAMPLE_ROWS, &err), OK);
    parquet_writer_close(writer);
    struct slice file = buf_slice(&target.bytes);
    assert_int_equal(parquet_footer_decode(&footer, file, file.len, &need, &err), ERROR_CORRUPT);
    buf_free(&target.bytes);
}

enum { MANY_ROWS = 30000, MANY_DISTINCT = 5000 };

/* Many strings, first few different ones and then many, as slices or as codes. */
static void write_many(struct target *target, bool as_codes)
{
    static char texts[MANY_DISTINCT][24];
    struct slice *distinct = memory_alloc(MANY_DISTINCT, sizeof *distinct);
    struct slice *strings = memory_alloc(MANY_ROWS, sizeof *strings);
    uint32_t *codes = memory_alloc(MANY_ROWS, sizeof *codes);
    struct random random;
    struct error err;
    random_seed(&random, 11);
    for (size_t i = 0; i < MANY_DISTINCT; i++)
        distinct[i] =
            slice_of(texts[i], (size_t)snprintf(texts[i], 24, "publisher-%zu.example", i));
    for (size_t i = 0; i < MANY_ROWS; i++) {
        uint64_t kinds = i < MANY_ROWS / 2 ? 40 : MANY_DISTINCT;
        codes[i] = (uint32_t)(MANY_DISTINCT - 1 - random_below(&random, kinds));
        strings[i] = distinct[codes[i]];
    }
    struct parquet_field field = {
        .name = "site", .type = PARQUET_STRING, .bloom = true, .field_id = 1};
    struct parquet_options options = {.fields = &field,
                                      .field_count = 1,
                                      .page_rows_max = 1000,
                                      .dictionary_bytes_max = 40000,
                                      .bloom_file_min = 1};
    struct parquet_column column = {.strings = strings};
    if (as_codes)
        column = (struct parquet_column){
            .codes = codes, .distinct = distinct, .distinct_count = MANY_DISTINCT};
    struct parquet_result result;
    struct parquet_writer *writer = open_writer(&options, target);
    for (int i = 0; i < 2; i++)
        assert_int_equal(write_group(writer, &column, 1, MANY_ROWS, &err), OK);
    assert_int_equal(parquet_writer_finish(writer, &result, &err), OK);
    parquet_writer_close(writer);
    free(distinct);
    free(strings);
    free(codes);
}

/* A segment that is built again after a crash must have the same bytes, or its name
 * would stand for two contents; whichever way its strings came. */
static void the_same_rows_give_the_same_bytes(void **state)
{
    (void)state;
    struct target strings, codes, again;
    write_many(&strings, false);
    write_many(&codes, true);
    write_many(&again, true);
    assert_true(slice_equal(buf_slice(&strings.bytes), buf_slice(&codes.bytes)));
    assert_true(slice_equal(buf_slice(&codes.bytes), buf_slice(&again.bytes)));
    buf_free(&strings.bytes);
    buf_free(&codes.bytes);
    buf_free(&again.bytes);
}

/* How many row groups of 500 ids each have a filter, in a file of `groups` of them. */
static size_t count_blooms(size_t groups, size_t *file_size)
{
    enum { IDS = 500 };
    static char texts[IDS][40];
    struct slice ids[IDS];
    struct target target;
    struct parquet_result result;
    struct parquet_footer footer;
    struct random random;
    struct error err;
    size_t need = 0;
    struct parquet_field field = {.name = "id", .type = PARQUET_STRING, .bloom = true};
    struct parquet_options options = {.fields = &field, .field_count = 1};
    struct parquet_column column = {.strings = ids};
    struct parquet_writer *writer = open_writer(&options, &target);
    random_seed(&random, 3);
    for (size_t group = 0; group < groups; group++) {
        for (size_t i = 0; i < IDS; i++)
            ids[i] = slice_of(texts[i], (size_t)snprintf(texts[i], sizeof texts[i], "%016llx",
                                                         (unsigned long long)random_next(&random)));
        assert_int_equal(write_group(writer, &column, 1, IDS, &err), OK);
    }
    assert_int_equal(parquet_writer_finish(writer, &result, &err), OK);
    assert_int_equal(
        parquet_footer_decode(&footer, buf_slice(&target.bytes), target.bytes.len, &need, &err),
        OK);
    size_t count = footer.leaves[0].bloom_count;
    *file_size = target.bytes.len;
    parquet_footer_free(&footer);
    parquet_writer_close(writer);
    buf_free(&target.bytes);
    return count;
}

/* Small files are read whole: a filter would only make them larger. In a file that grows
 * large, the groups written while it was small have theirs too, or a lookup reads them. */
static void only_large_files_have_bloom_filters(void **state)
{
    (void)state;
    enum { FEW = 40, MANY = 300 };
    size_t small = 0;
    size_t large = 0;
    assert_int_equal(count_blooms(FEW, &small), 0);
    assert_true(small < 1 << 20);
    size_t count = count_blooms(MANY, &large);
    assert_true(large > 1 << 20);
    assert_int_equal(count, MANY);
}

static int discard(void *context, struct slice bytes, struct error *err)
{
    (void)err;
    *(size_t *)context += bytes.len;
    return OK;
}

/* The agent promises a bound on its memory: it must not grow with the file. */
static void memory_does_not_grow_with_the_file(void **state)
{
    (void)state;
    enum { ROWS = 100000, GROUPS = 20 };
    int64_t *longs = memory_alloc(ROWS, sizeof *longs);
    struct random random;
    struct error err;
    size_t written = 0;
    size_t after_first = 0;
    random_seed(&random, 5);
    for (size_t i = 0; i < ROWS; i++)
        longs[i] = (int64_t)random_next(&random);
    struct parquet_field field = {.name = "n", .type = PARQUET_INT64, .field_id = 1};
    struct parquet_options options = {.fields = &field, .field_count = 1};
    struct parquet_sink sink = {.write = discard, .context = &written};
    struct parquet_column column = {.longs = longs};
    struct parquet_writer *writer = NULL;
    assert_int_equal(parquet_writer_open(&writer, &options, sink, &err), OK);
    for (int i = 0; i < GROUPS; i++) {
        assert_int_equal(write_group(writer, &column, 1, ROWS, &err), OK);
        if (i == 0)
            after_first = mallinfo2().uordblks + mallinfo2().hblkhd;
    }
    size_t grown = mallinfo2().uordblks + mallinfo2().hblkhd - after_first;
    assert_true(written > (size_t)ROWS * GROUPS * 7);
    assert_true(grown < 64 << 10);
    parquet_writer_close(writer);
    free(longs);
}

/* A disk that flips a bit in a page leaves footer, size and manifest as they were. */
static void damaged_pages_are_found(void **state)
{
    (void)state;
    struct target target;
    struct parquet_writer *writer;
    struct parquet_result result;
    struct parquet_footer footer;
    struct parquet_pages pages = {0};
    struct error err;
    size_t need;
    write_sample(&target, 2, &writer, &result);
    struct slice file = buf_slice(&target.bytes);
    assert_int_equal(parquet_footer_decode(&footer, file, file.len, &need, &err), OK);
    assert_int_equal(footer.chunk_count, 2 * SAMPLE_FIELDS);
    for (size_t i = 0; i < footer.chunk_count; i++) {
        size_t len = (size_t)footer.chunks[i].size;
        uint8_t *chunk = memory_alloc(len, 1);
        memcpy(chunk, file.data + footer.chunks[i].offset, len);
        assert_int_equal(parquet_chunk_check(slice_of(chunk, len), &pages, &err), OK);
        assert_int_equal(parquet_chunk_check(slice_of(chunk, len - 1), &pages, &err),
                         ERROR_CORRUPT);
        for (size_t at = 0; at < len; at++) {
            chunk[at] ^= 0x10; /* in a header it may be harmless, but nothing breaks */
            int rc = parquet_chunk_check(slice_of(chunk, len), &pages, &err);
            assert_true(rc == ERROR_CORRUPT || (rc == OK && at + 1 < len));
            chunk[at] ^= 0x10;
        }
        free(chunk);
    }
    assert_true(pages.count >= footer.chunk_count);
    parquet_footer_free(&footer);
    parquet_writer_close(writer);
    buf_free(&target.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_and_result_describe_the_file),
        cmocka_unit_test(footer_reads_back),
        cmocka_unit_test(damaged_pages_are_found),
        cmocka_unit_test(footer_says_what_it_needs_and_refuses_damage),
        cmocka_unit_test(every_failing_write_is_reported),
        cmocka_unit_test(options_that_no_reader_takes_are_refused),
        cmocka_unit_test(a_null_in_a_required_column_is_refused),
        cmocka_unit_test(a_value_too_large_for_a_page_is_refused),
        cmocka_unit_test(without_finish_there_is_no_footer),
        cmocka_unit_test(the_same_rows_give_the_same_bytes),
        cmocka_unit_test(only_large_files_have_bloom_filters),
        cmocka_unit_test(memory_does_not_grow_with_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
