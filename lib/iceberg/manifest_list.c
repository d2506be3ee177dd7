/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifest lists: one record a manifest (table spec, Manifest Lists).
 */
#include "lib/iceberg/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"

/* ---- writing ---- */

void put_avro_bytes(struct buf *out, struct slice bytes)
{
    buf_put_varint(out, (int64_t)bytes.len);
    buf_put_slice(out, bytes);
}

void put_avro_field(struct buf *out, const char *name, const char *type, bool optional,
                    int32_t field_id)
{
    buf_printf(out, "{\"name\":\"%s\",\"type\":%s%s%s,\"field-id\":%d}", name,
               optional ? "[\"null\"," : "", type, optional ? "],\"default\":null" : "", field_id);
}

static const struct list_column {
    const char *name;
    const char *type;
    bool optional;
    int32_t id;
} list_columns[] = {
    {"manifest_path", "\"string\"", false, 500},
    {"manifest_length", "\"long\"", false, 501},
    {"partition_spec_id", "\"int\"", false, 502},
    {"content", "\"int\"", false, 517},
    {"sequence_number", "\"long\"", false, 515},
    {"min_sequence_number", "\"long\"", false, 516},
    {"added_snapshot_id", "\"long\"", false, 503},
    {"added_files_count", "\"int\"", false, 504},
    {"existing_files_count", "\"int\"", false, 505},
    {"deleted_files_count", "\"int\"", false, 506},
    {"added_rows_count", "\"long\"", false, 512},
    {"existing_rows_count", "\"long\"", false, 513},
    {"deleted_rows_count", "\"long\"", false, 514},
    {"partitions",
     "{\"type\":\"array\",\"items\":{\"type\":\"record\",\"name\":\"r508\",\"fields\":["
     "{\"name\":\"contains_null\",\"type\":\"boolean\",\"field-id\":509},"
     "{\"name\":\"contains_nan\",\"type\":[\"null\",\"boolean\"],\"default\":null,\"field-id\":518}"
     ","
     "{\"name\":\"lower_bound\",\"type\":[\"null\",\"bytes\"],\"default\":null,\"field-id\":510},"
     "{\"name\":\"upper_bound\",\"type\":[\"null\",\"bytes\"],\"default\":null,\"field-id\":511}"
     "]},\"element-id\":508}",
     true, 507},
    {"key_metadata", "\"bytes\"", true, 519},
    {"first_row_id", "\"long\"", true, 520}, /* the last: from v3 on */
};

static void put_list_schema(struct buf *out, int format_version)
{
    size_t count = sizeof list_columns / sizeof *list_columns - (format_version >= 3 ? 0 : 1);
    buf_put_cstr(out, "{\"type\":\"record\",\"name\":\"manifest_file\",\"fields\":[");
    for (size_t i = 0; i < count; i++) {
        const struct list_column *column = &list_columns[i];
        if (i > 0)
            buf_put_u8(out, ',');
        put_avro_field(out, column->name, column->type, column->optional, column->id);
    }
    buf_put_cstr(out, "]}");
}

static void put_summaries(struct buf *out, const struct manifest_file *file)
{
    buf_put_varint(out, file->summaries == NULL ? 0 : 1);
    if (file->summaries == NULL)
        return;
    if (file->summary_count > 0)
        buf_put_varint(out, (int64_t)file->summary_count);
    for (size_t i = 0; i < file->summary_count; i++) {
        const struct field_summary *summary = &file->summaries[i];
        buf_put_u8(out, summary->contains_null);
        buf_put_varint(out, summary->has_nan);
        if (summary->has_nan)
            buf_put_u8(out, summary->contains_nan);
        buf_put_varint(out, summary->has_bounds);
        if (summary->has_bounds)
            put_avro_bytes(out, summary->lower);
        buf_put_varint(out, summary->has_bounds);
        if (summary->has_bounds)
            put_avro_bytes(out, summary->upper);
    }
    buf_put_varint(out, 0);
}

static void put_file(struct buf *out, const struct manifest_file *file, int format_version,
                     int64_t sequence_number)
{
    const int32_t files[] = {file->added_files, file->existing_files, file->deleted_files};
    const int64_t rows[] = {file->added_rows, file->existing_rows, file->deleted_rows};
    put_avro_bytes(out, slice_cstr(file->path));
    buf_put_varint(out, file->length);
    buf_put_varint(out, file->spec_id);
    buf_put_varint(out, file->content);
    buf_put_varint(out, file->sequence_number < 0 ? sequence_number : file->sequence_number);
    buf_put_varint(out,
                   file->min_sequence_number < 0 ? sequence_number : file->min_sequence_number);
    buf_put_varint(out, file->added_snapshot_id);
    /* Unknown (v1) counts as some: a reader skips a manifest that has no live files. */
    for (size_t i = 0; i < 3; i++)
        buf_put_varint(out, files[i] < 0 ? 1 : files[i]);
    for (size_t i = 0; i < 3; i++)
        buf_put_varint(out, rows[i] < 0 ? 0 : rows[i]);
    put_summaries(out, file);
    buf_put_varint(out, file->has_key_metadata);
    if (file->has_key_metadata)
        put_avro_bytes(out, file->key_metadata);
    if (format_version < 3)
        return;
    buf_put_varint(out, file->has_first_row_id);
    if (file->has_first_row_id)
        buf_put_varint(out, file->first_row_id);
}

/* The snapshot's first-row-id: that of its first new data manifest, since new ones
 * stand first in the list and take the first ids. */
static const struct manifest_file *first_with_rows(const struct manifest_file *files, size_t count,
                                                   int64_t snapshot_id)
{
    for (size_t i = 0; i < count; i++) {
        if (files[i].has_first_row_id && files[i].added_snapshot_id == snapshot_id)
            return &files[i];
    }
    return NULL;
}

void manifest_list_encode(const struct manifest_file *files, size_t count, int format_version,
                          int64_t snapshot_id, int64_t parent_id, int64_t sequence_number,
                          struct buf *out)
{
    char texts[5][24];
    struct buf schema = {0};
    ASSERT(format_version == 2 || format_version == 3);
    put_list_schema(&schema, format_version);
    snprintf(texts[0], sizeof texts[0], "%lld", (long long)snapshot_id);
    snprintf(texts[1], sizeof texts[1], "%lld", (long long)parent_id);
    snprintf(texts[2], sizeof texts[2], "%lld", (long long)sequence_number);
    snprintf(texts[3], sizeof texts[3], "%d", format_version);
    struct avro_pair pairs[6] = {
        {"avro.schema", buf_slice(&schema)},
        {"snapshot-id", slice_cstr(texts[0])},
        {"parent-snapshot-id", slice_cstr(parent_id == -1 ? "null" : texts[1])},
        {"sequence-number", slice_cstr(texts[2])},
        {"format-version", slice_cstr(texts[3])},
    };
    size_t pair_count = 5;
    const struct manifest_file *first = first_with_rows(files, count, snapshot_id);
    if (format_version >= 3 && first != NULL) {
        snprintf(texts[4], sizeof texts[4], "%lld", (long long)first->first_row_id);
        pairs[pair_count++] = (struct avro_pair){"first-row-id", slice_cstr(texts[4])};
    }
    struct avro_writer writer;
    avro_writer_init(&writer, out, pairs, pair_count);
    for (size_t i = 0; i < count; i++) {
        put_file(&writer.block, &files[i], format_version, sequence_number);
        avro_writer_end_row(&writer);
    }
    avro_writer_finish(&writer);
    buf_free(&schema);
}

/* ---- reading ---- */

static const struct field_name list_names[] = {
    {"manifest_path", 500},
    {"manifest_length", 501},
    {"partition_spec_id", 502},
    {"content", 517},
    {"sequence_number", 515},
    {"min_sequence_number", 516},
    {"added_snapshot_id", 503},
    {"added_files_count", 504},
    {"added_data_files_count", 504},
    {"existing_files_count", 505},
    {"existing_data_files_count", 505},
    {"deleted_files_count", 506},
    {"deleted_data_files_count", 506},
    {"added_rows_count", 512},
    {"existing_rows_count", 513},
    {"deleted_rows_count", 514},
    {"partitions", 507},
    {"key_metadata", 519},
    {"first_row_id", 520},
    {NULL, 0},
};
static const struct field_name summary_names[] = {
    {"contains_null", 509},
    {"contains_nan", 518},
    {"lower_bound", 510},
    {"upper_bound", 511},
    {NULL, 0},
};

struct list_rows {
    struct manifest_file *files; /* on the heap while it grows */
    size_t count;
    size_t cap;
    struct field_summary *summaries; /* of one record, likewise */
    size_t summary_cap;
};

static void read_summary(struct decode *decode, const struct avro_type *type,
                         struct field_summary *out)
{
    struct avro_cursor *cursor = &decode->cursor;
    bool has_lower = false;
    bool has_upper = false;
    *out = (struct field_summary){0};
    type = avro_read_branch(cursor, type);
    if (type->kind != AVRO_RECORD)
        avro_fail(cursor);
    for (size_t i = 0; i < type->count && !cursor->failed; i++) {
        const struct avro_field *field = &type->fields[i];
        switch (decode_field_id(field, summary_names)) {
        case 509:
            avro_read_boolean(cursor, field->type, &out->contains_null);
            break;
        case 518:
            out->has_nan = avro_read_boolean(cursor, field->type, &out->contains_nan);
            break;
        case 510:
            has_lower = avro_read_bytes(cursor, field->type, &out->lower);
            break;
        case 511:
            has_upper = avro_read_bytes(cursor, field->type, &out->upper);
            break;
        default:
            avro_skip(cursor, field->type);
        }
    }
    out->has_bounds = has_lower && has_upper;
}

static void read_summaries(struct decode *decode, struct list_rows *rows,
                           const struct avro_type *type, struct manifest_file *file)
{
    struct avro_items items = {0};
    size_t count = 0;
    if (!decode_enter_array(decode, &type))
        return;
    while (avro_items_next(&decode->cursor, &items)) {
        struct field_summary *grown = decode_grow(decode, rows->summaries, count,
                                                  &rows->summary_cap, sizeof *rows->summaries);
        if (grown == NULL)
            return;
        rows->summaries = grown;
        read_summary(decode, type->item, &rows->summaries[count++]);
    }
    file->summaries = decode_alloc(decode, count, sizeof *file->summaries);
    if (file->summaries == NULL)
        return;
    if (count > 0)
        memcpy(file->summaries, rows->summaries, count * sizeof *file->summaries);
    file->summary_count = count;
}

static void read_list_field(struct decode *decode, struct list_rows *rows,
                            const struct avro_field *field, struct manifest_file *file)
{
    struct avro_cursor *cursor = &decode->cursor;
    switch (decode_field_id(field, list_names)) {
    case 500:
        file->path = decode_avro_text(decode, field->type);
        break;
    case 501:
        avro_read_integer(cursor, field->type, &file->length);
        break;
    case 502:
        decode_i32(decode, field->type, &file->spec_id);
        break;
    case 517:
        decode_i32(decode, field->type, &file->content);
        break;
    case 515:
        avro_read_integer(cursor, field->type, &file->sequence_number);
        break;
    case 516:
        avro_read_integer(cursor, field->type, &file->min_sequence_number);
        break;
    case 503:
        avro_read_integer(cursor, field->type, &file->added_snapshot_id);
        break;
    case 504:
        decode_i32(decode, field->type, &file->added_files);
        break;
    case 505:
        decode_i32(decode, field->type, &file->existing_files);
        break;
    case 506:
        decode_i32(decode, field->type, &file->deleted_files);
        break;
    case 512:
        avro_read_integer(cursor, field->type, &file->added_rows);
        break;
    case 513:
        avro_read_integer(cursor, field->type, &file->existing_rows);
        break;
    case 514:
        avro_read_integer(cursor, field->type, &file->deleted_rows);
        break;
    case 507:
        read_summaries(decode, rows, field->type, file);
        break;
    case 519:
        file->has_key_metadata = avro_read_bytes(cursor, field->type, &file->key_metadata);
        break;
    case 520:
        file->has_first_row_id = avro_read_integer(cursor, field->type, &file->first_row_id);
        break;
    default:
        avro_skip(cursor, field->type);
    }
}

static void read_list_row(struct decode *decode, const struct avro_type *type, void *context)
{
    struct list_rows *rows = context;
    struct manifest_file file = {
        .length = -1,
        .added_files = -1,
        .existing_files = -1,
        .deleted_files = -1,
        .added_rows = -1,
        .existing_rows = -1,
        .deleted_rows = -1,
    };
    for (size_t i = 0; i < type->count && !decode->cursor.failed; i++)
        read_list_field(decode, rows, &type->fields[i], &file);
    if (file.path == NULL || *file.path == 0 || file.length < 0 || file.content < 0 ||
        file.content > 1 || file.sequence_number < 0 || file.min_sequence_number < 0)
        avro_fail(&decode->cursor);
    struct manifest_file *grown =
        decode_grow(decode, rows->files, rows->count, &rows->cap, sizeof *rows->files);
    if (grown != NULL)
        rows->files = grown;
    if (!decode->cursor.failed)
        rows->files[rows->count++] = file;
}

int manifest_list_decode(struct manifest_file **out, size_t *count, struct arena *arena,
                         struct slice bytes, struct error *err)
{
    struct list_rows rows = {0};
    *out = NULL;
    *count = 0;
    int rc = decode_rows(arena, bytes, read_list_row, &rows, err);
    if (rc == OK) {
        *out = arena_alloc(arena, rows.count, sizeof **out);
        if (rows.count > 0)
            memcpy(*out, rows.files, rows.count * sizeof **out);
        *count = rows.count;
    }
    free(rows.files);
    free(rows.summaries);
    return rc == OK ? OK : error_wrap(err, "manifest list");
}
