/* SPDX-License-Identifier: Apache-2.0
 *
 * The file, front to back:
 *
 *   "PAR1"
 *   for each row group, for each column: [dictionary page] data page...
 *       and behind a row group, if there are: the Bloom filters of it and of those before
 *   for each row group, for each column that has one: ColumnIndex
 *   for each row group, for each column: OffsetIndex
 *   FileMetaData, its length (u32 LE), "PAR1"
 *
 * A page is a PageHeader and one zstd frame. Its body, before compression: for lists
 * u32 LE length and repetition levels; for all but required columns u32 LE length and
 * definition levels; then the values, PLAIN or a byte of width and indexes. Numbers in
 * the calls below are the field ids of parquet.thrift.
 */
#include "lib/parquet/metadata.h"

#include "lib/base/assert.h"
#include "lib/parquet/thrift.h"

enum {
    TYPE_BOOLEAN = 0,
    TYPE_INT32 = 1,
    TYPE_INT64 = 2,
    TYPE_DOUBLE = 5,
    TYPE_BYTE_ARRAY = 6,
    REPETITION_REQUIRED = 0,
    REPETITION_OPTIONAL = 1,
    REPETITION_REPEATED = 2,
    CONVERTED_UTF8 = 0,
    CONVERTED_LIST = 3,
    CONVERTED_TIMESTAMP_MICROS = 10,
    LOGICAL_STRING = 1,
    LOGICAL_LIST = 3,
    LOGICAL_TIMESTAMP = 8,
    UNIT_MICROS = 2,
    CODEC_ZSTD = 6,
    ORDER_UNORDERED = 0,
    ORDER_ASCENDING = 1,
    ORDER_DESCENDING = 2,
};

static int32_t physical_type(enum parquet_type type)
{
    switch (type) {
    case PARQUET_BOOLEAN:
        return TYPE_BOOLEAN;
    case PARQUET_INT32:
        return TYPE_INT32;
    case PARQUET_INT64:
    case PARQUET_TIMESTAMP_MICROS_UTC:
        return TYPE_INT64;
    case PARQUET_DOUBLE:
        return TYPE_DOUBLE;
    case PARQUET_STRING:
        break;
    }
    return TYPE_BYTE_ARRAY;
}

/* Over pages with values only; a wrong ASCENDING would lose rows in a binary search. */
static int32_t boundary_order(const struct chunk_page *pages, size_t page_count,
                              enum parquet_type type)
{
    bool ascending = true;
    bool descending = true;
    const struct chunk_page *last = NULL;
    for (size_t i = 0; i < page_count; i++) {
        if (pages[i].all_null)
            continue;
        if (last != NULL) {
            int min = bound_compare(&last->min, &pages[i].min, type);
            int max = bound_compare(&last->max, &pages[i].max, type);
            ascending = ascending && min <= 0 && max <= 0;
            descending = descending && min >= 0 && max >= 0;
        }
        last = &pages[i];
    }
    return ascending ? ORDER_ASCENDING : descending ? ORDER_DESCENDING : ORDER_UNORDERED;
}

void column_index_put(struct buf *out, const struct parquet_field *field,
                      const struct chunk_page *pages, size_t page_count)
{
    if (field->no_bounds)
        return;
    for (size_t i = 0; i < page_count; i++) {
        if (!pages[i].all_null && !pages[i].has_bounds)
            return;
    }
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_begin_list(&writer, 1, THRIFT_TRUE, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_bool(&writer, pages[i].all_null);
    thrift_begin_list(&writer, 2, THRIFT_BINARY, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_binary(&writer, bound_slice(&pages[i].min));
    thrift_begin_list(&writer, 3, THRIFT_BINARY, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_binary(&writer, bound_slice(&pages[i].max));
    thrift_put_i32(&writer, 4, boundary_order(pages, page_count, field->type));
    thrift_begin_list(&writer, 5, THRIFT_I64, page_count);
    for (size_t i = 0; i < page_count; i++)
        thrift_element_int(&writer, pages[i].null_count);
    if (field->type == PARQUET_DOUBLE) {
        thrift_begin_list(&writer, 8, THRIFT_I64, page_count);
        for (size_t i = 0; i < page_count; i++)
            thrift_element_int(&writer, pages[i].nan_count);
    }
    thrift_end(&writer);
}

void offset_index_put(struct buf *out, const struct chunk_page *pages, size_t page_count,
                      int64_t data_offset)
{
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_begin_list(&writer, 1, THRIFT_STRUCT, page_count);
    for (size_t i = 0; i < page_count; i++) {
        thrift_begin_struct(&writer, 0);
        thrift_put_i64(&writer, 1, data_offset + pages[i].offset);
        thrift_put_i32(&writer, 2, pages[i].size);
        thrift_put_i64(&writer, 3, pages[i].first_row);
        thrift_end(&writer);
    }
    thrift_end(&writer);
}

/* converted_type, field_id and logicalType of a leaf. */
static void put_annotations(struct thrift_writer *writer, enum parquet_type type, int32_t field_id)
{
    if (type == PARQUET_STRING)
        thrift_put_i32(writer, 6, CONVERTED_UTF8);
    if (type == PARQUET_TIMESTAMP_MICROS_UTC)
        thrift_put_i32(writer, 6, CONVERTED_TIMESTAMP_MICROS);
    thrift_put_i32(writer, 9, field_id);
    if (type == PARQUET_STRING) {
        thrift_begin_struct(writer, 10);
        thrift_put_empty_struct(writer, LOGICAL_STRING);
        thrift_end(writer);
    }
    if (type == PARQUET_TIMESTAMP_MICROS_UTC) {
        thrift_begin_struct(writer, 10);
        thrift_begin_struct(writer, LOGICAL_TIMESTAMP);
        thrift_put_bool(writer, 1, true); /* isAdjustedToUTC */
        thrift_begin_struct(writer, 2);
        thrift_put_empty_struct(writer, UNIT_MICROS);
        thrift_end(writer);
        thrift_end(writer);
        thrift_end(writer);
    }
}

static void put_leaf(struct thrift_writer *writer, const char *name, enum parquet_type type,
                     bool required, int32_t field_id)
{
    thrift_begin_struct(writer, 0);
    thrift_put_i32(writer, 1, physical_type(type));
    thrift_put_i32(writer, 3, required ? REPETITION_REQUIRED : REPETITION_OPTIONAL);
    thrift_put_binary(writer, 4, slice_cstr(name));
    put_annotations(writer, type, field_id);
    thrift_end(writer);
}

/* The three levels that every reader knows; the middle one has no field id. */
static void put_list(struct thrift_writer *writer, const struct parquet_field *field)
{
    thrift_begin_struct(writer, 0);
    thrift_put_i32(writer, 3, REPETITION_OPTIONAL);
    thrift_put_binary(writer, 4, slice_cstr(field->name));
    thrift_put_i32(writer, 5, 1);
    thrift_put_i32(writer, 6, CONVERTED_LIST);
    thrift_put_i32(writer, 9, field->field_id);
    thrift_begin_struct(writer, 10);
    thrift_put_empty_struct(writer, LOGICAL_LIST);
    thrift_end(writer);
    thrift_end(writer);
    thrift_begin_struct(writer, 0);
    thrift_put_i32(writer, 3, REPETITION_REPEATED);
    thrift_put_binary(writer, 4, slice_cstr("list"));
    thrift_put_i32(writer, 5, 1);
    thrift_end(writer);
    put_leaf(writer, "element", field->type, false, field->element_id);
}

static void put_schema(struct thrift_writer *writer, const struct parquet_options *options)
{
    size_t count = 1;
    for (size_t i = 0; i < options->field_count; i++)
        count += options->fields[i].list ? 3 : 1;
    thrift_begin_list(writer, 2, THRIFT_STRUCT, count);
    thrift_begin_struct(writer, 0);
    thrift_put_binary(writer, 4, slice_cstr("table"));
    thrift_put_i32(writer, 5, (int32_t)options->field_count);
    thrift_end(writer);
    for (size_t i = 0; i < options->field_count; i++) {
        const struct parquet_field *field = &options->fields[i];
        if (field->list)
            put_list(writer, field);
        else
            put_leaf(writer, field->name, field->type, field->required, field->field_id);
    }
}

static void put_statistics(struct thrift_writer *writer, const struct parquet_field *field,
                           const struct chunk_meta *chunk)
{
    thrift_begin_struct(writer, 12);
    thrift_put_i64(writer, 3, chunk->null_count);
    if (chunk->has_bounds) {
        thrift_put_binary(writer, 5, bound_slice(&chunk->max));
        thrift_put_binary(writer, 6, bound_slice(&chunk->min));
        thrift_put_bool(writer, 7, chunk->max.exact);
        thrift_put_bool(writer, 8, chunk->min.exact);
    }
    if (field->type == PARQUET_DOUBLE)
        thrift_put_i64(writer, 9, chunk->nan_count);
    thrift_end(writer);
}

static void put_encoding_stats(struct thrift_writer *writer, int32_t page, int32_t encoding,
                               int32_t count)
{
    if (count == 0)
        return;
    thrift_begin_struct(writer, 0);
    thrift_put_i32(writer, 1, page);
    thrift_put_i32(writer, 2, encoding);
    thrift_put_i32(writer, 3, count);
    thrift_end(writer);
}

static void put_encodings(struct thrift_writer *writer, const struct parquet_field *field,
                          const struct chunk_meta *chunk)
{
    bool levels = field->list || !field->required;
    bool indexes = chunk->dictionary_pages > 0;
    thrift_begin_list(writer, 2, THRIFT_I32, 1 + (size_t)levels + (size_t)indexes);
    thrift_element_int(writer, ENCODING_PLAIN); /* a dictionary page is PLAIN as well */
    if (levels)
        thrift_element_int(writer, ENCODING_RLE);
    if (indexes)
        thrift_element_int(writer, ENCODING_RLE_DICTIONARY);
}

static void put_path(struct thrift_writer *writer, const struct parquet_field *field)
{
    thrift_begin_list(writer, 3, THRIFT_BINARY, field->list ? 3 : 1);
    thrift_element_binary(writer, slice_cstr(field->name));
    if (field->list) {
        thrift_element_binary(writer, slice_cstr("list"));
        thrift_element_binary(writer, slice_cstr("element"));
    }
}

static void put_column_meta(struct thrift_writer *writer, const struct parquet_field *field,
                            const struct chunk_meta *chunk)
{
    bool indexes = chunk->dictionary_pages > 0;
    thrift_begin_struct(writer, 3);
    thrift_put_i32(writer, 1, physical_type(field->type));
    put_encodings(writer, field, chunk);
    put_path(writer, field);
    thrift_put_i32(writer, 4, CODEC_ZSTD);
    thrift_put_i64(writer, 5, chunk->entry_count);
    thrift_put_i64(writer, 6, chunk->uncompressed_len);
    thrift_put_i64(writer, 7, chunk->compressed_len);
    thrift_put_i64(writer, 9, chunk->data_offset);
    if (indexes)
        thrift_put_i64(writer, 11, chunk->offset);
    put_statistics(writer, field, chunk);
    thrift_begin_list(writer, 13, THRIFT_STRUCT,
                      (indexes ? 2u : 0u) + (chunk->plain_pages > 0 ? 1u : 0u));
    put_encoding_stats(writer, PAGE_DICTIONARY, ENCODING_PLAIN, indexes);
    put_encoding_stats(writer, PAGE_DATA, ENCODING_RLE_DICTIONARY, chunk->dictionary_pages);
    put_encoding_stats(writer, PAGE_DATA, ENCODING_PLAIN, chunk->plain_pages);
    if (chunk->bloom_len > 0) {
        thrift_put_i64(writer, 14, chunk->bloom_offset);
        thrift_put_i32(writer, 15, (int32_t)chunk->bloom_len);
    }
    thrift_end(writer);
}

/* Where the next indexes stand. */
struct index_cursor {
    int64_t column;
    int64_t offset;
};

static void put_chunk(struct thrift_writer *writer, const struct parquet_field *field,
                      const struct chunk_meta *chunk, struct index_cursor *at)
{
    thrift_begin_struct(writer, 0);
    thrift_put_i64(writer, 2, 0); /* required, of no use, and 0 is what all others write */
    put_column_meta(writer, field, chunk);
    thrift_put_i64(writer, 4, at->offset);
    thrift_put_i32(writer, 5, (int32_t)chunk->offset_index_len);
    if (chunk->column_index_len > 0) {
        thrift_put_i64(writer, 6, at->column);
        thrift_put_i32(writer, 7, (int32_t)chunk->column_index_len);
    }
    thrift_end(writer);
    at->column += (int64_t)chunk->column_index_len;
    at->offset += (int64_t)chunk->offset_index_len;
}

static void put_sorting(struct thrift_writer *writer, const struct parquet_options *options)
{
    if (options->sorting_count == 0)
        return;
    thrift_begin_list(writer, 4, THRIFT_STRUCT, options->sorting_count);
    for (size_t i = 0; i < options->sorting_count; i++) {
        thrift_begin_struct(writer, 0);
        /* Each field has one leaf, so its number is the leaf's. */
        thrift_put_i32(writer, 1, (int32_t)options->sorting[i]);
        thrift_put_bool(writer, 2, false); /* descending */
        thrift_put_bool(writer, 3, true);  /* nulls_first */
        thrift_end(writer);
    }
}

static void put_group(struct thrift_writer *writer, const struct parquet_options *options,
                      const struct group_meta *group, size_t ordinal, struct index_cursor *at)
{
    int64_t uncompressed = 0;
    int64_t compressed = 0;
    thrift_begin_struct(writer, 0);
    thrift_begin_list(writer, 1, THRIFT_STRUCT, options->field_count);
    for (size_t i = 0; i < options->field_count; i++) {
        put_chunk(writer, &options->fields[i], &group->chunks[i], at);
        uncompressed += group->chunks[i].uncompressed_len;
        compressed += group->chunks[i].compressed_len;
    }
    thrift_put_i64(writer, 2, uncompressed);
    thrift_put_i64(writer, 3, group->row_count);
    put_sorting(writer, options);
    thrift_put_i64(writer, 5, group->offset);
    thrift_put_i64(writer, 6, compressed);
    thrift_put_i16(writer, 7, (int16_t)ordinal);
    thrift_end(writer);
}

static void put_key_values(struct thrift_writer *writer, const struct parquet_options *options)
{
    if (options->iceberg_schema == NULL)
        return;
    thrift_begin_list(writer, 5, THRIFT_STRUCT, 1);
    thrift_begin_struct(writer, 0);
    thrift_put_binary(writer, 1, slice_cstr("iceberg.schema"));
    thrift_put_binary(writer, 2, slice_cstr(options->iceberg_schema));
    thrift_end(writer);
}

void footer_put(struct buf *out, const struct parquet_options *options,
                const struct group_meta *groups, size_t group_count, int64_t index_offset)
{
    struct index_cursor at = {.column = index_offset, .offset = index_offset};
    int64_t row_count = 0;
    for (size_t i = 0; i < group_count; i++) {
        row_count += groups[i].row_count;
        for (size_t k = 0; k < options->field_count; k++)
            at.offset += (int64_t)groups[i].chunks[k].column_index_len;
    }
    struct thrift_writer writer;
    thrift_writer_init(&writer, out);
    thrift_put_i32(&writer, 1, 1);
    put_schema(&writer, options);
    thrift_put_i64(&writer, 3, row_count);
    thrift_begin_list(&writer, 4, THRIFT_STRUCT, group_count);
    for (size_t i = 0; i < group_count; i++)
        put_group(&writer, options, &groups[i], i, &at);
    put_key_values(&writer, options);
    if (options->created_by != NULL)
        thrift_put_binary(&writer, 6, slice_cstr(options->created_by));
    thrift_begin_list(&writer, 7, THRIFT_STRUCT, options->field_count);
    for (size_t i = 0; i < options->field_count; i++) {
        thrift_begin_struct(&writer, 0);
        thrift_put_empty_struct(&writer, 1); /* TypeDefinedOrder */
        thrift_end(&writer);
    }
    thrift_end(&writer);
}
