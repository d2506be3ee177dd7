/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests, read: by field id along the schema that the file brings, with what null
 * stands for (table spec, Sequence Number Inheritance, First Row ID Inheritance).
 */
#include "lib/iceberg/internal.h"

#include <stdlib.h>
#include <string.h>

static const struct field_name entry_names[] = {
    {"status", 0},          {"snapshot_id", 1},          {"data_file", 2},
    {"sequence_number", 3}, {"file_sequence_number", 4}, {NULL, 0},
};
static const struct field_name file_names[] = {
    {"content", 134},           {"file_path", 100},
    {"file_format", 101},       {"partition", 102},
    {"record_count", 103},      {"file_size_in_bytes", 104},
    {"column_sizes", 108},      {"value_counts", 109},
    {"null_value_counts", 110}, {"nan_value_counts", 137},
    {"lower_bounds", 125},      {"upper_bounds", 128},
    {"split_offsets", 132},     {"sort_order_id", 140},
    {"first_row_id", 142},      {NULL, 0},
};

struct manifest_rows {
    const struct manifest_file *list; /* NULL: nothing to inherit from */
    int64_t next_row_id;              /* of the next file without one */
    struct manifest_entry *entries;   /* on the heap while it grows, as the next two */
    size_t count;
    size_t cap;
    struct file_bound *bounds; /* of one entry */
    size_t bound_count;
    size_t bound_cap;
    size_t bound_hint; /* where the next field of a map is looked for first */
    int64_t *splits;
    size_t split_cap;
    bool wide; /* a partition of more fields than we keep */
};

/* ---- metrics: six maps become one list ---- */

/* The maps of a file mostly have their fields in one order, so the next one is just
 * behind the last. Searching on is charged: a hostile order costs its own budget. */
static struct file_bound *bound_of(struct decode *decode, struct manifest_rows *rows, int32_t id)
{
    for (size_t n = 0; n < rows->bound_count; n++) {
        size_t i = rows->bound_hint + n;
        if (i >= rows->bound_count)
            i -= rows->bound_count;
        if (rows->bounds[i].field_id == id) {
            rows->bound_hint = i + 1;
            return &rows->bounds[i];
        }
        avro_charge(&decode->cursor, 1);
        if (decode->cursor.failed)
            return NULL;
    }
    struct file_bound *grown = decode_grow(decode, rows->bounds, rows->bound_count,
                                           &rows->bound_cap, sizeof *rows->bounds);
    if (grown == NULL)
        return NULL;
    rows->bounds = grown;
    grown[rows->bound_count] =
        (struct file_bound){.field_id = id, .size = -1, .values = -1, .nulls = -1, .nans = -1};
    rows->bound_hint = rows->bound_count + 1;
    return &grown[rows->bound_count++];
}

static void read_metric_value(struct decode *decode, struct file_bound *bound, int32_t map_id,
                              const struct avro_type *type)
{
    struct avro_cursor *cursor = &decode->cursor;
    int64_t *number = NULL;
    switch (map_id) {
    case 125:
        bound->has_lower = avro_read_bytes(cursor, type, &bound->lower);
        return;
    case 128:
        bound->has_upper = avro_read_bytes(cursor, type, &bound->upper);
        return;
    case 108:
        number = &bound->size;
        break;
    case 109:
        number = &bound->values;
        break;
    case 110:
        number = &bound->nulls;
        break;
    default:
        number = &bound->nans;
    }
    avro_read_integer(cursor, type, number);
    if (*number < -1)
        *number = -1;
}

/* An array of records {key, value}: Avro's own maps have string keys only. */
static void read_metrics(struct decode *decode, struct manifest_rows *rows, int32_t map_id,
                         const struct avro_type *type)
{
    struct avro_cursor *cursor = &decode->cursor;
    struct avro_items items = {0};
    type = avro_read_branch(cursor, type);
    if (type->kind == AVRO_NULL)
        return;
    const struct avro_type *item = type->kind == AVRO_ARRAY ? type->item : type;
    if (item->kind != AVRO_RECORD || item->count != 2 || strcmp(item->fields[0].name, "key") != 0) {
        avro_fail(cursor);
        return;
    }
    rows->bound_hint = 0;
    while (avro_items_next(cursor, &items)) {
        int32_t id = -1;
        decode_i32(decode, item->fields[0].type, &id);
        struct file_bound *bound = cursor->failed ? NULL : bound_of(decode, rows, id);
        if (bound == NULL)
            return;
        read_metric_value(decode, bound, map_id, item->fields[1].type);
    }
}

static void keep_bounds(struct decode *decode, struct manifest_rows *rows,
                        struct manifest_entry *entry)
{
    entry->bound_count = rows->bound_count;
    entry->bounds = decode_alloc(decode, rows->bound_count, sizeof *entry->bounds);
    if (entry->bounds != NULL && rows->bound_count > 0)
        memcpy(entry->bounds, rows->bounds, rows->bound_count * sizeof *entry->bounds);
}

static void read_splits(struct decode *decode, struct manifest_rows *rows,
                        const struct avro_type *type, struct manifest_entry *entry)
{
    struct avro_items items = {0};
    size_t count = 0;
    if (!decode_enter_array(decode, &type))
        return;
    while (avro_items_next(&decode->cursor, &items)) {
        int64_t *grown =
            decode_grow(decode, rows->splits, count, &rows->split_cap, sizeof *rows->splits);
        if (grown == NULL)
            return;
        rows->splits = grown;
        grown[count] = 0;
        avro_read_integer(&decode->cursor, type->item, &grown[count++]);
    }
    int64_t *splits = decode_alloc(decode, count, sizeof *splits);
    if (splits == NULL)
        return;
    if (count > 0)
        memcpy(splits, rows->splits, count * sizeof *splits);
    entry->splits = splits;
    entry->split_count = count;
}

/* ---- the partition tuple ---- */

static void read_partition_value(struct decode *decode, const struct avro_type *type,
                                 struct partition_value *out)
{
    struct avro_cursor *cursor = &decode->cursor;
    struct slice raw;
    bool truth = false;
    *out = (struct partition_value){0};
    type = avro_read_branch(cursor, type);
    switch (type->kind) {
    case AVRO_NULL:
        out->null = true;
        break;
    case AVRO_BOOLEAN:
        avro_read_boolean(cursor, type, &truth);
        out->number = truth;
        break;
    case AVRO_INT:
    case AVRO_LONG:
        avro_read_integer(cursor, type, &out->number);
        break;
    case AVRO_FLOAT:
        raw = avro_read_raw(cursor, 4);
        out->number = raw.len == 4 ? get_u32le(raw.data) : 0;
        break;
    case AVRO_DOUBLE:
        raw = avro_read_raw(cursor, 8);
        out->number = raw.len == 8 ? (int64_t)get_u64le(raw.data) : 0;
        break;
    case AVRO_BYTES:
    case AVRO_STRING:
    case AVRO_FIXED:
        out->is_text = true;
        avro_read_bytes(cursor, type, &out->text);
        break;
    default:
        avro_fail(cursor);
    }
}

static void read_partition(struct decode *decode, struct manifest_rows *rows,
                           const struct avro_type *type, struct manifest_entry *entry)
{
    type = avro_read_branch(&decode->cursor, type);
    if (type->kind != AVRO_RECORD || type->count > MANIFEST_PARTITION_MAX) {
        rows->wide = type->kind == AVRO_RECORD;
        avro_fail(&decode->cursor);
        return;
    }
    entry->partition_count = type->count;
    for (size_t i = 0; i < type->count; i++)
        read_partition_value(decode, type->fields[i].type, &entry->partition[i]);
}

/* ---- entries ---- */

/* A field that we don't keep. One that holds something must not be lost by writing the entry
 * anew; block_size_in_bytes of format 1 says nothing. */
static void skip_field(struct decode *decode, const struct avro_field *field, bool *partial)
{
    const struct avro_type *type = avro_read_branch(&decode->cursor, field->type);
    if (type->kind != AVRO_NULL && field->id != 105)
        *partial = true;
    avro_skip(&decode->cursor, type);
}

static void read_file_field(struct decode *decode, struct manifest_rows *rows,
                            const struct avro_field *field, struct manifest_entry *entry)
{
    struct avro_cursor *cursor = &decode->cursor;
    int32_t id = decode_field_id(field, file_names);
    switch (id) {
    case 134:
        decode_i32(decode, field->type, &entry->content);
        break;
    case 100:
        entry->path = decode_avro_text(decode, field->type);
        break;
    case 101:
        entry->format = decode_avro_text(decode, field->type);
        break;
    case 102:
        read_partition(decode, rows, field->type, entry);
        break;
    case 103:
        avro_read_integer(cursor, field->type, &entry->record_count);
        break;
    case 104:
        avro_read_integer(cursor, field->type, &entry->file_size);
        break;
    case 108:
    case 109:
    case 110:
    case 125:
    case 128:
    case 137:
        read_metrics(decode, rows, id, field->type);
        break;
    case 132:
        read_splits(decode, rows, field->type, entry);
        break;
    case 140:
        entry->has_sort_order = true;
        entry->sort_order_id = INT32_MIN;
        decode_i32(decode, field->type, &entry->sort_order_id);
        break;
    case 142:
        entry->has_first_row_id = avro_read_integer(cursor, field->type, &entry->first_row_id);
        break;
    default:
        skip_field(decode, field, &entry->partial);
    }
}

static void read_file(struct decode *decode, struct manifest_rows *rows,
                      const struct avro_type *type, struct manifest_entry *entry)
{
    type = avro_read_branch(&decode->cursor, type);
    if (type->kind != AVRO_RECORD) {
        avro_fail(&decode->cursor);
        return;
    }
    rows->bound_count = 0;
    for (size_t i = 0; i < type->count && !decode->cursor.failed; i++)
        read_file_field(decode, rows, &type->fields[i], entry);
    if (entry->has_sort_order && entry->sort_order_id == INT32_MIN) {
        entry->has_sort_order = false;
        entry->sort_order_id = 0;
    }
    keep_bounds(decode, rows, entry);
}

static void read_entry_field(struct decode *decode, struct manifest_rows *rows,
                             const struct avro_field *field, struct manifest_entry *entry)
{
    struct avro_cursor *cursor = &decode->cursor;
    switch (decode_field_id(field, entry_names)) {
    case 0:
        decode_i32(decode, field->type, &entry->status);
        break;
    case 1:
        entry->has_snapshot_id = avro_read_integer(cursor, field->type, &entry->snapshot_id);
        break;
    case 2:
        read_file(decode, rows, field->type, entry);
        break;
    case 3:
        entry->has_sequence_number =
            avro_read_integer(cursor, field->type, &entry->sequence_number);
        break;
    case 4:
        entry->has_file_sequence_number =
            avro_read_integer(cursor, field->type, &entry->file_sequence_number);
        break;
    default:
        skip_field(decode, field, &entry->partial);
    }
}

/* Null in an entry that this manifest's snapshot added is the manifest's; in one of a
 * v1 manifest (sequence number 0) too. */
static void inherit(struct manifest_rows *rows, struct manifest_entry *entry)
{
    const struct manifest_file *list = rows->list;
    if (list == NULL)
        return;
    bool may_inherit = entry->status == 1 || list->sequence_number == 0;
    if (!entry->has_snapshot_id) {
        entry->has_snapshot_id = true;
        entry->snapshot_id = list->added_snapshot_id;
    }
    if (!entry->has_sequence_number && may_inherit) {
        entry->has_sequence_number = true;
        entry->sequence_number = list->sequence_number;
    }
    if (!entry->has_file_sequence_number && may_inherit) {
        entry->has_file_sequence_number = true;
        entry->file_sequence_number = list->sequence_number;
    }
    if (list->has_first_row_id && !entry->has_first_row_id && entry->status != 2) {
        entry->has_first_row_id = true;
        entry->first_row_id = rows->next_row_id;
        if (__builtin_add_overflow(rows->next_row_id, entry->record_count, &rows->next_row_id))
            rows->next_row_id = INT64_MAX;
    }
}

static void read_entry(struct decode *decode, const struct avro_type *type, void *context)
{
    struct manifest_rows *rows = context;
    struct manifest_entry entry = {.status = -1, .record_count = -1, .file_size = -1};
    for (size_t i = 0; i < type->count && !decode->cursor.failed; i++)
        read_entry_field(decode, rows, &type->fields[i], &entry);
    if (entry.status < 0 || entry.status > 2 || entry.path == NULL || *entry.path == 0 ||
        entry.format == NULL || entry.record_count < 0 || entry.file_size < 0 ||
        entry.content < 0 || entry.content > 2)
        avro_fail(&decode->cursor);
    if (decode->cursor.failed)
        return;
    inherit(rows, &entry);
    struct manifest_entry *grown =
        decode_grow(decode, rows->entries, rows->count, &rows->cap, sizeof *rows->entries);
    if (grown == NULL)
        return;
    rows->entries = grown;
    grown[rows->count++] = entry;
}

int manifest_decode(struct manifest_entry **out, size_t *count, struct arena *arena,
                    const struct manifest_file *list, struct slice bytes, struct error *err)
{
    struct manifest_rows rows = {.list = list};
    *out = NULL;
    *count = 0;
    if (list != NULL && list->has_first_row_id)
        rows.next_row_id = list->first_row_id;
    int rc = decode_rows(arena, bytes, read_entry, &rows, err);
    if (rc == OK) {
        *out = arena_alloc(arena, rows.count, sizeof **out);
        if (rows.count > 0)
            memcpy(*out, rows.entries, rows.count * sizeof **out);
        *count = rows.count;
    } else if (rows.wide) {
        rc = error_set(err, ERROR_LIMIT, "a partition of more than %d fields is not supported",
                       MANIFEST_PARTITION_MAX);
    }
    free(rows.entries);
    free(rows.bounds);
    free(rows.splits);
    return rc == OK ? OK : error_wrap(err, "manifest");
}
