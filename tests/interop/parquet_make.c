/* SPDX-License-Identifier: Apache-2.0
 *
 * parquet_make CASE FILE: writes a Parquet file from a case that a test made up, so
 * that foreign readers can be asked what is in it. On stdout, one fact a line, what
 * the writer says of the file and what our own reader of footers finds.
 *
 * A case is little-endian: u32 zstd_level, page_rows_max, page_bytes_max,
 * dictionary_bytes_max, bloom_file_min; u32 fields, each: text name, u8 type, u8 flags
 * (1 list, 2 required, 4 no_bounds, 8 plain, 16 bloom), u32 field_id, u32 element_id; u32 sorting
 * columns, u32 each; text created_by, iceberg_schema (empty: none); u32 groups, each: u32 rows,
 * then for each field: u8 has valid, bytes valid; lists: u32 offsets[rows + 1];
 * u8 form (1: codes), u32 entries, values: u8 booleans, u32 ints, u64 longs and doubles,
 * texts; codes: u32 distinct, texts, u32 codes. A text is u32 length and bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/parquet/parquet.h"

struct input {
    struct slice rest;
    struct arena arena;
};

static struct slice take(struct input *input, size_t len)
{
    ASSERT(len <= input->rest.len);
    struct slice out = slice_of(input->rest.data, len);
    input->rest = slice_of(input->rest.data + len, input->rest.len - len);
    return out;
}

static uint8_t take_u8(struct input *input)
{
    return take(input, 1).data[0];
}

static uint32_t take_u32(struct input *input)
{
    return get_u32le(take(input, 4).data);
}

static struct slice take_text(struct input *input)
{
    uint32_t len = take_u32(input);
    return take(input, len);
}

static const char *take_cstr(struct input *input)
{
    struct slice text = take_text(input);
    return text.len > 0 ? arena_copy_cstr(&input->arena, text) : NULL;
}

/* The case may lie at any address; the arrays may not. */
static void *take_array(struct input *input, size_t count, size_t size)
{
    void *out = arena_alloc(&input->arena, count + 1, size);
    struct slice bytes = take(input, count * size);
    if (bytes.len > 0)
        memcpy(out, bytes.data, bytes.len);
    return out;
}

static struct slice *take_texts(struct input *input, size_t count)
{
    struct slice *out = arena_alloc(&input->arena, count + 1, sizeof *out);
    for (size_t i = 0; i < count; i++)
        out[i] = take_text(input);
    return out;
}

static struct parquet_column take_column(struct input *input, const struct parquet_field *field,
                                         size_t rows)
{
    struct parquet_column column = {0};
    if (take_u8(input) != 0)
        column.valid = take(input, rows).data;
    if (field->list)
        column.list_offsets = take_array(input, rows + 1, 4);
    bool codes = take_u8(input) != 0;
    size_t entries = take_u32(input);
    if (codes) {
        column.distinct_count = take_u32(input);
        column.distinct = take_texts(input, column.distinct_count);
        column.codes = take_array(input, entries, 4);
    } else if (field->type == PARQUET_STRING) {
        column.strings = take_texts(input, entries);
    } else if (field->type == PARQUET_BOOLEAN) {
        column.booleans = take_array(input, entries, 1);
    } else if (field->type == PARQUET_INT32) {
        column.ints = take_array(input, entries, 4);
    } else if (field->type == PARQUET_DOUBLE) {
        column.doubles = take_array(input, entries, 8);
    } else {
        column.longs = take_array(input, entries, 8);
    }
    return column;
}

static struct parquet_options take_options(struct input *input)
{
    struct parquet_options options = {.zstd_level = (int)take_u32(input)};
    options.page_rows_max = take_u32(input);
    options.page_bytes_max = take_u32(input);
    options.dictionary_bytes_max = take_u32(input);
    options.bloom_file_min = take_u32(input);
    options.field_count = take_u32(input);
    struct parquet_field *fields = arena_alloc(&input->arena, options.field_count, sizeof *fields);
    for (size_t i = 0; i < options.field_count; i++) {
        fields[i].name = take_cstr(input);
        fields[i].type = (enum parquet_type)take_u8(input);
        uint8_t flags = take_u8(input);
        fields[i].list = (flags & 1) != 0;
        fields[i].required = (flags & 2) != 0;
        fields[i].no_bounds = (flags & 4) != 0;
        fields[i].plain = (flags & 8) != 0;
        fields[i].bloom = (flags & 16) != 0;
        fields[i].field_id = (int32_t)take_u32(input);
        fields[i].element_id = (int32_t)take_u32(input);
    }
    options.fields = fields;
    options.sorting_count = take_u32(input);
    size_t *sorting = arena_alloc(&input->arena, options.sorting_count, sizeof *sorting);
    for (size_t i = 0; i < options.sorting_count; i++)
        sorting[i] = take_u32(input);
    options.sorting = sorting;
    options.created_by = take_cstr(input);
    options.iceberg_schema = take_cstr(input);
    return options;
}

static int write_file(void *context, struct slice bytes, struct error *err)
{
    buf_put_slice(context, bytes);
    (void)err;
    return OK;
}

static void print_hex(const char *name, bool present, struct slice bytes)
{
    char *text = memory_alloc(bytes.len * 2 + 1, 1);
    hex_encode(bytes, text);
    printf(" %s=%s", name, present ? text : "-");
    free(text);
}

static void print_result(const struct parquet_result *result)
{
    printf("file size=%" PRIu64 " rows=%" PRIu64 " crc32c=%08x\n", result->file_size,
           result->row_count, result->crc32c);
    for (size_t i = 0; i < result->split_count; i++)
        printf("split offset=%" PRId64 "\n", result->splits[i]);
    for (size_t i = 0; i < result->metric_count; i++) {
        const struct parquet_metric *metric = &result->metrics[i];
        printf("metric id=%d size=%" PRId64 " values=%" PRId64 " nulls=%" PRId64 " nans=%" PRId64,
               metric->field_id, metric->size, metric->value_count, metric->null_count,
               metric->nan_count);
        print_hex("lower", metric->has_bounds, metric->lower);
        print_hex("upper", metric->has_bounds && metric->has_upper, metric->upper);
        printf("\n");
    }
}

static int print_footer(struct slice file, struct error *err)
{
    struct parquet_footer footer;
    size_t need = 0;
    int rc = parquet_footer_decode(&footer, file, file.len, &need, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < footer.row_group_count; i++)
        printf("group offset=%" PRId64 " rows=%" PRId64 "\n", footer.row_group_offsets[i],
               footer.row_group_rows[i]);
    for (size_t i = 0; i < footer.leaf_count; i++)
        printf("leaf id=%d size=%" PRId64 " values=%" PRId64 " nulls=%" PRId64 " blooms=%zu\n",
               footer.leaves[i].field_id, footer.leaves[i].compressed_size,
               footer.leaves[i].value_count, footer.leaves[i].null_count,
               footer.leaves[i].bloom_count);
    parquet_footer_free(&footer);
    return OK;
}

static int make(struct input *input, struct buf *file, struct error *err)
{
    struct parquet_options options = take_options(input);
    struct parquet_sink sink = {.write = write_file, .context = file};
    struct parquet_writer *writer = NULL;
    struct parquet_result result;
    int rc = parquet_writer_open(&writer, &options, sink, err);
    uint32_t groups = rc == OK ? take_u32(input) : 0;
    for (uint32_t group = 0; rc == OK && group < groups; group++) {
        size_t rows = take_u32(input);
        rc = parquet_writer_begin_group(writer, rows, err);
        for (size_t i = 0; rc == OK && i < options.field_count; i++) {
            struct parquet_column column = take_column(input, &options.fields[i], rows);
            rc = parquet_writer_add_column(writer, &column, err);
        }
        if (rc == OK)
            rc = parquet_writer_end_group(writer, err);
    }
    if (rc == OK)
        rc = parquet_writer_finish(writer, &result, err);
    if (rc == OK)
        print_result(&result);
    parquet_writer_close(writer);
    return rc;
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct buf bytes = {0};
    struct buf file = {0};
    struct input input = {0};
    int rc = argc == 3 ? OK : error_set(&err, ERROR_INPUT, "usage: parquet_make CASE FILE");
    if (rc == OK)
        rc = file_read(argv[1], (size_t)1 << 30, &bytes, &err);
    if (rc == OK) {
        input.rest = buf_slice(&bytes);
        rc = make(&input, &file, &err);
    }
    if (rc == OK)
        rc = print_footer(buf_slice(&file), &err);
    FILE *out = rc == OK ? fopen(argv[2], "wb") : NULL;
    if (rc == OK && (out == NULL || fwrite(file.data, 1, file.len, out) != file.len))
        rc = error_errno(&err, argv[2]);
    if (out != NULL && fclose(out) != 0 && rc == OK)
        rc = error_errno(&err, argv[2]);
    if (rc != OK)
        fprintf(stderr, "parquet_make: %s\n", err.text);
    arena_free(&input.arena);
    buf_free(&bytes);
    buf_free(&file);
    return rc == OK ? 0 : 1;
}
