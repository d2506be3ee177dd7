/* SPDX-License-Identifier: Apache-2.0
 *
 * The writer: order of calls, what is kept until the footer, and the metrics. The
 * layout of the file stands in metadata.c, the life of a chunk in chunk.c.
 */
#include "lib/parquet/parquet.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/parquet/chunk.h"
#include "lib/parquet/metadata.h"
#include "lib/parquet/output.h"

enum {
    FIELDS_MAX = 2000,
    GROUPS_MAX = INT16_MAX, /* RowGroup.ordinal is an i16 */
    FOOTER_BYTES_MAX = 64 << 20,
    BLOOM_FILE_MIN = 1 << 20,
    ZSTD_LEVEL_MAX = 19, /* beyond, the window passes what readers must allow */
};

/* One leaf over all row groups. */
struct leaf {
    struct parquet_metric metric;
    int64_t value_count;
    int64_t null_count;
    int64_t nan_count;
    struct range range; /* its strings are in the two below */
    uint8_t min_kept[BOUND_KEPT];
    uint8_t max_kept[BOUND_KEPT];
    struct bound lower;
    struct bound upper;
};

struct parquet_writer {
    struct arena arena; /* copies of the options */
    struct parquet_options options;
    struct output output;
    struct chunk_encoder encoder;
    struct leaf *leaves;
    struct parquet_metric *metrics;
    int64_t *splits;
    struct group_meta *groups;
    size_t group_count;
    size_t group_cap;
    struct buf blooms;         /* filters that wait for the end of their group, or for the */
    size_t bloom_group;        /* file to be large enough; the first group that has some */
    struct buf column_indexes; /* of all chunks, in file order */
    struct buf offset_indexes;
    struct buf footer;
    bool in_group;
    size_t next_field;
    bool ended; /* by finish, or by an error: only close is left */
};

static int check_field(const struct parquet_options *options, size_t i, struct error *err)
{
    const struct parquet_field *field = &options->fields[i];
    if (field->name == NULL || field->name[0] == 0)
        return error_set(err, ERROR_INPUT, "parquet: column %zu has no name", i);
    if (field->list && field->required)
        return error_set(err, ERROR_INPUT, "parquet: column %s: a list cannot be required",
                         field->name);
    if (field->bloom && (field->list || field->type == PARQUET_BOOLEAN))
        return error_set(err, ERROR_INPUT,
                         "parquet: column %s: no Bloom filter for a list or a "
                         "boolean",
                         field->name);
    for (size_t k = 0; k < i; k++) {
        /* Spark, Athena and BigQuery do not tell case apart. */
        if (strcasecmp(field->name, options->fields[k].name) == 0)
            return error_set(err, ERROR_INPUT, "parquet: two columns named %s", field->name);
    }
    return OK;
}

static int check_options(const struct parquet_options *options, struct error *err)
{
    if (options->field_count == 0 || options->field_count > FIELDS_MAX)
        return error_set(err, ERROR_INPUT, "parquet: %zu columns, from 1 to %d are possible",
                         options->field_count, FIELDS_MAX);
    if (options->page_bytes_max > PAGE_BYTES_LIMIT ||
        options->dictionary_bytes_max > PAGE_BYTES_LIMIT)
        return error_set(err, ERROR_INPUT, "parquet: pages of more than %zu bytes",
                         PAGE_BYTES_LIMIT);
    if (options->zstd_level < 0 || options->zstd_level > ZSTD_LEVEL_MAX)
        return error_set(err, ERROR_INPUT, "parquet: zstd level %d", options->zstd_level);
    for (size_t i = 0; i < options->field_count; i++) {
        int rc = check_field(options, i, err);
        if (rc != OK)
            return rc;
    }
    for (size_t i = 0; i < options->sorting_count; i++) {
        size_t at = options->sorting[i];
        if (at >= options->field_count || options->fields[at].list)
            return error_set(err, ERROR_INPUT, "parquet: sorted by column %zu", at);
    }
    return OK;
}

static const char *copy_text(struct arena *arena, const char *text)
{
    return text == NULL ? NULL : arena_copy_cstr(arena, slice_cstr(text));
}

static void copy_options(struct parquet_writer *writer, const struct parquet_options *options)
{
    struct arena *arena = &writer->arena;
    size_t field_count = options->field_count;
    size_t sorting_count = options->sorting_count;
    struct parquet_field *fields = arena_alloc(arena, field_count, sizeof *fields);
    for (size_t i = 0; i < field_count; i++) {
        fields[i] = options->fields[i];
        fields[i].name = copy_text(arena, options->fields[i].name);
    }
    size_t *sorting = arena_alloc(arena, sorting_count, sizeof *sorting);
    for (size_t i = 0; i < sorting_count; i++)
        sorting[i] = options->sorting[i];
    writer->options = *options;
    writer->options.fields = fields;
    writer->options.sorting = sorting;
    writer->options.created_by = copy_text(arena, options->created_by);
    writer->options.iceberg_schema = copy_text(arena, options->iceberg_schema);
}

int parquet_writer_open(struct parquet_writer **out, const struct parquet_options *options,
                        struct parquet_sink sink, struct error *err)
{
    *out = NULL;
    int rc = check_options(options, err);
    if (rc != OK)
        return rc;
    struct parquet_writer *writer = memory_alloc(1, sizeof *writer);
    copy_options(writer, options);
    writer->output.sink = sink;
    writer->leaves = memory_alloc(options->field_count, sizeof *writer->leaves);
    writer->metrics = memory_alloc(options->field_count, sizeof *writer->metrics);
    buf_init(&writer->footer, FOOTER_BYTES_MAX);
    chunk_encoder_init(&writer->encoder, &writer->options);
    rc = output_write(&writer->output, slice_cstr("PAR1"), err);
    if (rc != OK) {
        parquet_writer_close(writer);
        return rc;
    }
    *out = writer;
    return OK;
}

void parquet_writer_close(struct parquet_writer *writer)
{
    if (writer == NULL)
        return;
    for (size_t i = 0; i < writer->group_count; i++)
        free(writer->groups[i].chunks);
    free(writer->groups);
    free(writer->splits);
    free(writer->leaves);
    free(writer->metrics);
    buf_free(&writer->blooms);
    buf_free(&writer->column_indexes);
    buf_free(&writer->offset_indexes);
    buf_free(&writer->footer);
    chunk_encoder_free(&writer->encoder);
    arena_free(&writer->arena);
    free(writer);
}

int parquet_writer_begin_group(struct parquet_writer *writer, size_t row_count, struct error *err)
{
    ASSERT(!writer->ended && !writer->in_group);
    ASSERT(row_count > 0);
    if (writer->group_count == GROUPS_MAX || row_count > INT32_MAX)
        return error_set(err, ERROR_LIMIT, "parquet: row group %zu of %zu rows",
                         writer->group_count, row_count);
    if (writer->group_count == writer->group_cap) {
        writer->group_cap = writer->group_cap == 0 ? 4 : writer->group_cap * 2;
        writer->groups = memory_resize(writer->groups, writer->group_cap, sizeof *writer->groups);
    }
    writer->groups[writer->group_count++] = (struct group_meta){
        .row_count = (int64_t)row_count,
        .offset = (int64_t)writer->output.offset,
        .chunks = memory_alloc(writer->options.field_count, sizeof(struct chunk_meta)),
    };
    writer->in_group = true;
    writer->next_field = 0;
    return OK;
}

static struct slice keep(uint8_t *room, struct slice text)
{
    size_t len = text.len < BOUND_KEPT ? text.len : BOUND_KEPT;
    if (len > 0)
        memmove(room, text.data, len);
    return slice_of(room, len);
}

/* Of strings only the first BOUND_KEPT bytes outlive the call: no bound needs more. */
static void leaf_add(struct leaf *leaf, const struct chunk_meta *meta, const struct range *range,
                     enum parquet_type type)
{
    leaf->metric.size += meta->compressed_len;
    leaf->value_count += meta->entry_count;
    leaf->null_count += meta->null_count;
    leaf->nan_count += meta->nan_count;
    range_merge(&leaf->range, range, type);
    if (type == PARQUET_STRING && leaf->range.any) {
        leaf->range.string_min = keep(leaf->min_kept, leaf->range.string_min);
        leaf->range.string_max = keep(leaf->max_kept, leaf->range.string_max);
    }
}

/* Lets the filter of the chunk just written wait. A chunk of nulls has none: its
 * statistics say all. */
static void keep_bloom(struct parquet_writer *writer, const struct parquet_field *field,
                       struct chunk_meta *meta)
{
    struct bloom *bloom = &writer->encoder.bloom;
    if (!field->bloom || !bloom->any)
        return;
    bloom_fold(bloom);
    meta->bloom_offset = (int64_t)writer->blooms.len;
    bloom_put(bloom, &writer->blooms);
    meta->bloom_len = writer->blooms.len - (size_t)meta->bloom_offset;
}

/* Writes the filters that wait, between two row groups, once the file is large enough. */
static int write_blooms(struct parquet_writer *writer, struct error *err)
{
    size_t file_min = writer->options.bloom_file_min;
    int64_t offset = (int64_t)writer->output.offset;
    if (writer->blooms.len == 0 || writer->output.offset + writer->blooms.len <
                                       (file_min > 0 ? file_min : (size_t)BLOOM_FILE_MIN))
        return OK;
    for (; writer->bloom_group < writer->group_count; writer->bloom_group++) {
        struct chunk_meta *chunks = writer->groups[writer->bloom_group].chunks;
        for (size_t i = 0; i < writer->options.field_count; i++)
            chunks[i].bloom_offset += offset;
    }
    int rc = output_write(&writer->output, buf_slice(&writer->blooms), err);
    buf_reset(&writer->blooms);
    return rc;
}

/* The file stayed too small for those that wait. */
static void drop_blooms(struct parquet_writer *writer)
{
    for (size_t group = writer->bloom_group; group < writer->group_count; group++) {
        for (size_t i = 0; i < writer->options.field_count; i++)
            writer->groups[group].chunks[i].bloom_len = 0;
    }
}

static void check_column(const struct parquet_field *field, const struct parquet_column *column)
{
    ASSERT(field->list == (column->list_offsets != NULL));
    switch (field->type) {
    case PARQUET_BOOLEAN:
        ASSERT(column->booleans != NULL);
        break;
    case PARQUET_INT32:
        ASSERT(column->ints != NULL);
        break;
    case PARQUET_INT64:
    case PARQUET_TIMESTAMP_MICROS_UTC:
        ASSERT(column->longs != NULL);
        break;
    case PARQUET_DOUBLE:
        ASSERT(column->doubles != NULL);
        break;
    case PARQUET_STRING:
        ASSERT((column->strings != NULL) != (column->codes != NULL));
        ASSERT(column->codes == NULL || column->distinct_count <= UINT32_MAX);
        break;
    }
}

int parquet_writer_add_column(struct parquet_writer *writer, const struct parquet_column *column,
                              struct error *err)
{
    ASSERT(!writer->ended && writer->in_group);
    ASSERT(writer->next_field < writer->options.field_count);
    const struct parquet_field *field = &writer->options.fields[writer->next_field];
    struct group_meta *group = &writer->groups[writer->group_count - 1];
    struct chunk_meta *meta = &group->chunks[writer->next_field];
    struct chunk_encoder *encoder = &writer->encoder;
    struct range range = {0};
    check_column(field, column);
    int rc = chunk_encode(encoder, field, column, (size_t)group->row_count, &writer->output, meta,
                          &range, err);
    if (rc != OK) {
        writer->ended = true;
        return rc;
    }
    size_t column_before = writer->column_indexes.len;
    size_t offset_before = writer->offset_indexes.len;
    column_index_put(&writer->column_indexes, field, encoder->pages, encoder->page_count);
    offset_index_put(&writer->offset_indexes, encoder->pages, encoder->page_count,
                     meta->data_offset);
    meta->column_index_len = writer->column_indexes.len - column_before;
    meta->offset_index_len = writer->offset_indexes.len - offset_before;
    keep_bloom(writer, field, meta);
    leaf_add(&writer->leaves[writer->next_field], meta, &range, field->type);
    writer->next_field++;
    return OK;
}

int parquet_writer_end_group(struct parquet_writer *writer, struct error *err)
{
    ASSERT(!writer->ended && writer->in_group);
    ASSERT(writer->next_field == writer->options.field_count);
    writer->in_group = false;
    int rc = write_blooms(writer, err);
    if (rc != OK)
        writer->ended = true;
    return rc;
}

static void set_metric(struct leaf *leaf, const struct parquet_field *field)
{
    struct parquet_metric *metric = &leaf->metric;
    metric->field_id = field->list ? field->element_id : field->field_id;
    metric->value_count = field->list ? -1 : leaf->value_count;
    metric->null_count = field->list ? -1 : leaf->null_count;
    metric->nan_count = field->list || field->type != PARQUET_DOUBLE ? -1 : leaf->nan_count;
    if (field->list || !leaf->range.any)
        return;
    metric->has_bounds = true;
    metric->has_upper =
        bounds_encode_iceberg(&leaf->range, field->type, &leaf->lower, &leaf->upper);
    metric->lower = bound_slice(&leaf->lower);
    if (metric->has_upper)
        metric->upper = bound_slice(&leaf->upper);
}

static int write_tail(struct parquet_writer *writer, struct error *err)
{
    int64_t index_offset = (int64_t)writer->output.offset;
    struct buf *footer = &writer->footer;
    footer_put(footer, &writer->options, writer->groups, writer->group_count, index_offset);
    size_t footer_len = footer->len;
    buf_put_u32le(footer, (uint32_t)footer_len);
    buf_put_cstr(footer, "PAR1");
    if (buf_failed(footer))
        return error_set(err, ERROR_LIMIT, "parquet: a footer of more than %d bytes",
                         FOOTER_BYTES_MAX);
    int rc = output_write(&writer->output, buf_slice(&writer->column_indexes), err);
    if (rc == OK)
        rc = output_write(&writer->output, buf_slice(&writer->offset_indexes), err);
    if (rc == OK)
        rc = output_write(&writer->output, buf_slice(footer), err);
    return rc;
}

int parquet_writer_finish(struct parquet_writer *writer, struct parquet_result *out,
                          struct error *err)
{
    ASSERT(!writer->ended && !writer->in_group);
    ASSERT(writer->group_count > 0);
    writer->ended = true;
    drop_blooms(writer);
    int rc = write_tail(writer, err);
    if (rc != OK)
        return rc;
    *out = (struct parquet_result){
        .file_size = writer->output.offset,
        .crc32c = writer->output.crc32c,
        .split_count = writer->group_count,
        .metric_count = writer->options.field_count,
    };
    writer->splits = memory_alloc(writer->group_count, sizeof *writer->splits);
    for (size_t i = 0; i < writer->group_count; i++) {
        writer->splits[i] = writer->groups[i].offset;
        out->row_count += (uint64_t)writer->groups[i].row_count;
    }
    for (size_t i = 0; i < writer->options.field_count; i++) {
        set_metric(&writer->leaves[i], &writer->options.fields[i]);
        writer->metrics[i] = writer->leaves[i].metric;
    }
    out->splits = writer->splits;
    out->metrics = writer->metrics;
    return OK;
}

int64_t parquet_writer_zstd_ns(const struct parquet_writer *writer)
{
    return writer->encoder.packer.zstd_ns;
}
