/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading a footer back. What is allocated grows with what has been read, never with
 * what a count claims; offsets and sums are held against the file's size.
 *
 * The end of a file: FileMetaData, its length (u32 LE), "PAR1".
 */
#include "lib/parquet/parquet.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "lib/parquet/thrift.h"

enum {
    TRAILER_LEN = 8,
    MAGIC_LEN = 4,
    FOOTER_BYTES_MAX = 64 << 20,
    LEAVES_MAX = 10000,
};

/* What one decode gathers beside its result. */
struct decoder {
    struct thrift_reader reader;
    struct parquet_footer *out;
    uint64_t file_size;
    size_t leaf_cap;
    size_t group_cap;
    size_t chunk_cap;
    const char *wrong; /* why the footer is refused; NULL: not yet */
};

/* Of one column chunk. */
struct chunk_facts {
    int64_t first_page;
    int64_t compressed_size;
    int64_t value_count;
    int64_t null_count;
    int64_t bloom_offset; /* -1: none */
    int64_t bloom_len;    /* -1: not said, as by old writers */
};

/* The first complaint stays. */
static void refuse(struct decoder *decoder, const char *why)
{
    if (decoder->wrong == NULL)
        decoder->wrong = why;
}

static bool is_int(struct thrift_field field)
{
    return field.type == THRIFT_I16 || field.type == THRIFT_I32 || field.type == THRIFT_I64;
}

/* The count of a list of structs; anything else is refused. */
static size_t read_structs(struct decoder *decoder, struct thrift_field field)
{
    enum thrift_type element = THRIFT_STOP;
    if (field.type != THRIFT_LIST) {
        refuse(decoder, "a list is no list");
        return 0;
    }
    size_t count = thrift_read_list(&decoder->reader, &element);
    if (count > 0 && element != THRIFT_STRUCT) {
        refuse(decoder, "a list is not of structs");
        return 0;
    }
    return count;
}

static bool going(const struct decoder *decoder)
{
    return decoder->wrong == NULL && !decoder->reader.failed;
}

static void add_leaf(struct decoder *decoder, int32_t field_id)
{
    struct parquet_footer *out = decoder->out;
    if (out->leaf_count == LEAVES_MAX) {
        refuse(decoder, "too many columns");
        return;
    }
    if (out->leaf_count == decoder->leaf_cap) {
        decoder->leaf_cap = decoder->leaf_cap == 0 ? 32 : decoder->leaf_cap * 2;
        out->leaves = memory_resize(out->leaves, decoder->leaf_cap, sizeof *out->leaves);
    }
    out->leaves[out->leaf_count++] = (struct parquet_footer_leaf){.field_id = field_id};
}

/* One SchemaElement; returns its number of children. */
static int64_t read_element(struct decoder *decoder)
{
    struct thrift_reader *reader = &decoder->reader;
    struct thrift_field field = {0};
    int64_t children = 0;
    int64_t field_id = 0;
    bool has_type = false;
    while (thrift_next_field(reader, &field)) {
        if (field.id == 5 && is_int(field)) {
            children = thrift_read_int(reader);
        } else if (field.id == 9 && is_int(field)) {
            field_id = thrift_read_int(reader);
        } else {
            has_type = has_type || field.id == 1;
            thrift_skip(reader, field.type);
        }
    }
    if (children < 0 || field_id < 0 || field_id > INT32_MAX || (has_type && children > 0))
        refuse(decoder, "a schema element that cannot be");
    else if (has_type)
        add_leaf(decoder, (int32_t)field_id);
    return children;
}

static void read_schema(struct decoder *decoder, struct thrift_field field)
{
    size_t count = read_structs(decoder, field);
    if (decoder->out->leaf_count > 0) {
        refuse(decoder, "two schemas");
        return;
    }
    /* Depth first: as many elements must come as their parents announce. */
    int64_t due = 1;
    for (size_t i = 0; i < count && going(decoder); i++) {
        int64_t children = read_element(decoder);
        if (due < 1 || children < 0 || children > (int64_t)count) {
            refuse(decoder, "a schema that is no tree");
            return;
        }
        due += children - 1;
    }
    if (due != 0)
        refuse(decoder, "a schema that is no tree");
}

static int64_t read_null_count(struct decoder *decoder)
{
    struct thrift_reader *reader = &decoder->reader;
    struct thrift_field field = {0};
    int64_t null_count = -1;
    while (thrift_next_field(reader, &field)) {
        if (field.id == 3 && is_int(field))
            null_count = thrift_read_int(reader);
        else
            thrift_skip(reader, field.type);
    }
    return null_count;
}

static void read_column_meta(struct decoder *decoder, struct chunk_facts *facts)
{
    struct thrift_reader *reader = &decoder->reader;
    struct thrift_field field = {0};
    int64_t data_page = -1;
    int64_t dictionary_page = -1;
    while (thrift_next_field(reader, &field)) {
        if (field.id == 5 && is_int(field))
            facts->value_count = thrift_read_int(reader);
        else if (field.id == 7 && is_int(field))
            facts->compressed_size = thrift_read_int(reader);
        else if (field.id == 9 && is_int(field))
            data_page = thrift_read_int(reader);
        else if (field.id == 11 && is_int(field))
            dictionary_page = thrift_read_int(reader);
        else if (field.id == 12 && field.type == THRIFT_STRUCT)
            facts->null_count = read_null_count(decoder);
        else if (field.id == 14 && is_int(field))
            facts->bloom_offset = thrift_read_int(reader);
        else if (field.id == 15 && is_int(field))
            facts->bloom_len = thrift_read_int(reader);
        else
            thrift_skip(reader, field.type);
    }
    /* Some writers put 0 for "no dictionary page". */
    facts->first_page =
        dictionary_page > 0 && dictionary_page < data_page ? dictionary_page : data_page;
}

static void read_chunk(struct decoder *decoder, struct chunk_facts *facts)
{
    struct thrift_reader *reader = &decoder->reader;
    struct thrift_field field = {0};
    *facts = (struct chunk_facts){.first_page = -1,
                                  .compressed_size = -1,
                                  .value_count = -1,
                                  .null_count = -1,
                                  .bloom_offset = -1,
                                  .bloom_len = -1};
    while (thrift_next_field(reader, &field)) {
        if (field.id == 3 && field.type == THRIFT_STRUCT)
            read_column_meta(decoder, facts);
        else
            thrift_skip(reader, field.type);
    }
}

static bool bloom_is_inside(const struct chunk_facts *facts, uint64_t file_size)
{
    uint64_t len = facts->bloom_len > 0 ? (uint64_t)facts->bloom_len : 0;
    return facts->bloom_offset < 0 ||
           (facts->bloom_offset >= MAGIC_LEN && (uint64_t)facts->bloom_offset <= file_size &&
            len <= file_size - (uint64_t)facts->bloom_offset);
}

static void keep_chunk(struct decoder *decoder, const struct chunk_facts *facts)
{
    struct parquet_footer *out = decoder->out;
    if (out->chunk_count == decoder->chunk_cap) {
        decoder->chunk_cap = decoder->chunk_cap == 0 ? 32 : decoder->chunk_cap * 2;
        out->chunks = memory_resize(out->chunks, decoder->chunk_cap, sizeof *out->chunks);
    }
    out->chunks[out->chunk_count++] =
        (struct parquet_footer_chunk){.offset = facts->first_page, .size = facts->compressed_size};
}

static void add_chunk(struct decoder *decoder, struct parquet_footer_leaf *leaf,
                      const struct chunk_facts *facts)
{
    uint64_t file_size = decoder->file_size;
    if (facts->first_page < MAGIC_LEN || facts->compressed_size < 0 || facts->value_count < 0 ||
        (uint64_t)facts->first_page > file_size ||
        (uint64_t)facts->compressed_size > file_size - (uint64_t)facts->first_page) {
        refuse(decoder, "a column chunk outside of the file");
        return;
    }
    if (facts->null_count > facts->value_count ||
        __builtin_add_overflow(leaf->value_count, facts->value_count, &leaf->value_count) ||
        __builtin_add_overflow(leaf->compressed_size, facts->compressed_size,
                               &leaf->compressed_size)) {
        refuse(decoder, "counts of a column chunk that cannot be");
        return;
    }
    if (!bloom_is_inside(facts, file_size)) {
        refuse(decoder, "a Bloom filter outside of the file");
        return;
    }
    keep_chunk(decoder, facts);
    leaf->bloom_count += facts->bloom_offset >= 0;
    if (facts->null_count < 0 || leaf->null_count < 0)
        leaf->null_count = -1;
    else
        leaf->null_count += facts->null_count; /* at most value_count, which fits */
}

static void read_chunks(struct decoder *decoder, struct thrift_field field, int64_t *first_page)
{
    struct parquet_footer *out = decoder->out;
    size_t count = read_structs(decoder, field);
    if (count != out->leaf_count) {
        refuse(decoder, "a row group without all columns");
        return;
    }
    for (size_t i = 0; i < count && going(decoder); i++) {
        struct chunk_facts facts;
        read_chunk(decoder, &facts);
        if (i == 0)
            *first_page = facts.first_page;
        if (!decoder->reader.failed)
            add_chunk(decoder, &out->leaves[i], &facts);
    }
}

static void add_group(struct decoder *decoder, int64_t offset, int64_t rows)
{
    struct parquet_footer *out = decoder->out;
    if (out->row_group_count == decoder->group_cap) {
        size_t cap = decoder->group_cap == 0 ? 8 : decoder->group_cap * 2;
        out->row_group_offsets = memory_resize(out->row_group_offsets, cap, sizeof(int64_t));
        out->row_group_rows = memory_resize(out->row_group_rows, cap, sizeof(int64_t));
        decoder->group_cap = cap;
    }
    out->row_group_offsets[out->row_group_count] = offset;
    out->row_group_rows[out->row_group_count++] = rows;
}

static void read_group(struct decoder *decoder)
{
    struct thrift_reader *reader = &decoder->reader;
    struct thrift_field field = {0};
    int64_t first_page = -1;
    int64_t offset = -1;
    int64_t rows = -1;
    bool has_chunks = false;
    while (thrift_next_field(reader, &field)) {
        if (field.id == 1 && !has_chunks) {
            has_chunks = true;
            read_chunks(decoder, field, &first_page);
        } else if (field.id == 3 && is_int(field)) {
            rows = thrift_read_int(reader);
        } else if (field.id == 5 && is_int(field)) {
            offset = thrift_read_int(reader);
        } else {
            thrift_skip(reader, field.type);
        }
        if (decoder->wrong != NULL)
            return;
    }
    if (reader->failed)
        return;
    if (!has_chunks || rows < 0 || offset > first_page)
        refuse(decoder, "a row group that cannot be");
    else
        add_group(decoder, offset > 0 ? offset : first_page, rows);
}

static void read_groups(struct decoder *decoder, struct thrift_field field)
{
    if (decoder->out->leaf_count == 0 || decoder->out->row_group_count > 0) {
        refuse(decoder, "row groups out of place");
        return;
    }
    size_t count = read_structs(decoder, field);
    for (size_t i = 0; i < count && going(decoder); i++)
        read_group(decoder);
}

static void read_file(struct decoder *decoder)
{
    struct thrift_reader *reader = &decoder->reader;
    struct parquet_footer *out = decoder->out;
    struct thrift_field field = {0};
    out->row_count = -1;
    while (decoder->wrong == NULL && thrift_next_field(reader, &field)) {
        if (field.id == 2)
            read_schema(decoder, field);
        else if (field.id == 3 && is_int(field))
            out->row_count = thrift_read_int(reader);
        else if (field.id == 4)
            read_groups(decoder, field);
        else
            thrift_skip(reader, field.type);
    }
    if (!going(decoder))
        return;
    int64_t rows = 0;
    for (size_t i = 0; i < out->row_group_count; i++) {
        if (__builtin_add_overflow(rows, out->row_group_rows[i], &rows))
            refuse(decoder, "a row count that cannot be");
    }
    if (out->leaf_count == 0 || rows != out->row_count)
        refuse(decoder, "the row groups have not the rows of the file");
}

/* Where in `tail` the FileMetaData stands. */
static int find_metadata(struct slice tail, uint64_t file_size, size_t *need, struct slice *out,
                         struct error *err)
{
    if (tail.len > file_size || file_size < TRAILER_LEN + MAGIC_LEN || tail.len < TRAILER_LEN ||
        memcmp(tail.data + tail.len - MAGIC_LEN, "PAR1", MAGIC_LEN) != 0)
        return error_set(err, ERROR_CORRUPT, "parquet: not a Parquet file");
    size_t len = get_u32le(tail.data + tail.len - TRAILER_LEN);
    if (len > file_size - TRAILER_LEN - MAGIC_LEN)
        return error_set(err, ERROR_CORRUPT, "parquet: a footer of %zu bytes in %llu", len,
                         (unsigned long long)file_size);
    if (len > FOOTER_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "parquet: a footer of %zu bytes, the most is %d", len,
                         FOOTER_BYTES_MAX);
    if (len > tail.len - TRAILER_LEN) {
        *need = len + TRAILER_LEN;
        return error_set(err, ERROR_LIMIT, "parquet: the footer needs the last %zu bytes", *need);
    }
    *out = slice_of(tail.data + tail.len - TRAILER_LEN - len, len);
    return OK;
}

int parquet_footer_decode(struct parquet_footer *out, struct slice tail, uint64_t file_size,
                          size_t *need, struct error *err)
{
    *out = (struct parquet_footer){0};
    *need = 0;
    struct slice bytes = {0};
    int rc = find_metadata(tail, file_size, need, &bytes, err);
    if (rc != OK)
        return rc;
    struct decoder decoder = {
        .reader = {.at = bytes.data, .end = bytes.data + bytes.len},
        .out = out,
        .file_size = file_size,
    };
    read_file(&decoder);
    if (going(&decoder))
        return OK;
    parquet_footer_free(out);
    return error_set(err, ERROR_CORRUPT, "parquet: footer: %s",
                     decoder.wrong != NULL ? decoder.wrong : "cut short");
}

void parquet_footer_free(struct parquet_footer *footer)
{
    free(footer->row_group_offsets);
    free(footer->row_group_rows);
    free(footer->leaves);
    free(footer->chunks);
    *footer = (struct parquet_footer){0};
}
