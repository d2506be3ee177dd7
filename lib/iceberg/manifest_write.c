/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests, written: one record a data file (table spec, Manifests), and the record
 * of the manifest list that stands for the whole.
 */
#include "lib/iceberg/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/json/json.h"

struct partition_type {
    size_t count;
    struct primitive fields[MANIFEST_PARTITION_MAX];
};

/* ---- schema ---- */

#define COUNT_MAP(key, value, type)                                                                \
    "{\"type\":\"array\",\"logicalType\":\"map\",\"items\":{\"type\":\"record\",\"name\":\"k" #key \
    "_v" #value "\",\"fields\":[{\"name\":\"key\",\"type\":\"int\",\"field-id\":" #key             \
    "},{\"name\":\"value\",\"type\":\"" #type "\",\"field-id\":" #value "}]}}"

static const struct file_column {
    const char *name;
    const char *type; /* NULL: the partition's record */
    bool optional;
    int32_t id;
} file_columns[] = {
    {"content", "\"int\"", false, 134},
    {"file_path", "\"string\"", false, 100},
    {"file_format", "\"string\"", false, 101},
    {"partition", NULL, false, 102},
    {"record_count", "\"long\"", false, 103},
    {"file_size_in_bytes", "\"long\"", false, 104},
    {"column_sizes", COUNT_MAP(117, 118, long), true, 108},
    {"value_counts", COUNT_MAP(119, 120, long), true, 109},
    {"null_value_counts", COUNT_MAP(121, 122, long), true, 110},
    {"nan_value_counts", COUNT_MAP(138, 139, long), true, 137},
    {"lower_bounds", COUNT_MAP(126, 127, bytes), true, 125},
    {"upper_bounds", COUNT_MAP(129, 130, bytes), true, 128},
    {"key_metadata", "\"bytes\"", true, 131},
    {"split_offsets", "{\"type\":\"array\",\"items\":\"long\",\"element-id\":133}", true, 132},
    {"equality_ids", "{\"type\":\"array\",\"items\":\"int\",\"element-id\":136}", true, 135},
    {"sort_order_id", "\"int\"", true, 140},
    {"first_row_id", "\"long\"", true, 142}, /* the last: from v3 on */
};

/* A name that Avro allows: [A-Za-z_][A-Za-z0-9_]*, others as Java writes them. Java
 * counts in UTF-16; for a byte above 127 we need no more than that it is unique. */
static void put_avro_name(struct buf *out, const char *name)
{
    for (size_t i = 0; name[i] != 0; i++) {
        unsigned char c = (unsigned char)name[i];
        bool digit = c >= '0' && c <= '9';
        if (c == '_' || (c < 128 && isalpha(c)) || (digit && i > 0))
            buf_put_u8(out, c);
        else if (digit)
            buf_printf(out, "_%c", c);
        else
            buf_printf(out, "_x%X", c);
    }
}

static bool is_avro_name(const char *name)
{
    struct buf safe = {0};
    put_avro_name(&safe, name);
    bool same = strcmp(buf_cstr(&safe), name) == 0;
    buf_free(&safe);
    return same;
}

static void put_partition_field(struct buf *out, const json_t *field, const struct primitive *type)
{
    const char *name = json_string_value(json_object_get(field, "name"));
    int32_t id = (int32_t)object_i64(field, "field-id", 0);
    buf_put_cstr(out, "{\"name\":\"");
    put_avro_name(out, name);
    buf_put_cstr(out, "\",\"type\":[\"null\",");
    partition_avro_type(type, id, out);
    buf_printf(out, "],\"default\":null,\"field-id\":%d", id);
    if (!is_avro_name(name)) {
        buf_put_cstr(out, ",\"iceberg-field-name\":");
        json_encode(json_object_get(field, "name"), out);
    }
    buf_put_u8(out, '}');
}

static void put_file_record(struct buf *out, const json_t *fields,
                            const struct partition_type *partition, int format_version)
{
    size_t count = sizeof file_columns / sizeof *file_columns - (format_version >= 3 ? 0 : 1);
    buf_put_cstr(out, "{\"type\":\"record\",\"name\":\"r2\",\"fields\":[");
    for (size_t i = 0; i < count; i++) {
        const struct file_column *column = &file_columns[i];
        if (i > 0)
            buf_put_u8(out, ',');
        if (column->type != NULL) {
            put_avro_field(out, column->name, column->type, column->optional, column->id);
            continue;
        }
        buf_put_cstr(out, "{\"name\":\"partition\",\"type\":{\"type\":\"record\",\"name\":\"r102\","
                          "\"fields\":[");
        for (size_t n = 0; n < partition->count; n++) {
            if (n > 0)
                buf_put_u8(out, ',');
            put_partition_field(out, json_array_get(fields, n), &partition->fields[n]);
        }
        buf_put_cstr(out, "]},\"field-id\":102}");
    }
    buf_put_cstr(out, "]}");
}

static void put_entry_schema(struct buf *out, const json_t *fields,
                             const struct partition_type *partition, int format_version)
{
    static const struct {
        const char *name;
        int32_t id;
    } longs[] = {{"snapshot_id", 1}, {"sequence_number", 3}, {"file_sequence_number", 4}};
    buf_put_cstr(out, "{\"type\":\"record\",\"name\":\"manifest_entry\",\"fields\":[");
    put_avro_field(out, "status", "\"int\"", false, 0);
    for (size_t i = 0; i < sizeof longs / sizeof *longs; i++) {
        buf_put_u8(out, ',');
        put_avro_field(out, longs[i].name, "\"long\"", true, longs[i].id);
    }
    buf_put_cstr(out, ",{\"name\":\"data_file\",\"type\":");
    put_file_record(out, fields, partition, format_version);
    buf_put_cstr(out, ",\"field-id\":2}]}");
}

/* ---- rows ---- */

static void put_optional(struct buf *out, bool has, int64_t value)
{
    buf_put_varint(out, has ? 1 : 0);
    if (has)
        buf_put_varint(out, value);
}

/* A map from field id to one of a bound's numbers, where that is given. */
static void put_counts(struct buf *out, const struct manifest_entry *entry, size_t member)
{
    int64_t count = 0;
    for (size_t i = 0; i < entry->bound_count; i++) {
        int64_t value;
        memcpy(&value, (const char *)&entry->bounds[i] + member, sizeof value);
        count += value >= 0;
    }
    buf_put_varint(out, count > 0 ? 1 : 0);
    if (count == 0)
        return;
    buf_put_varint(out, count);
    for (size_t i = 0; i < entry->bound_count; i++) {
        int64_t value;
        memcpy(&value, (const char *)&entry->bounds[i] + member, sizeof value);
        if (value < 0)
            continue;
        buf_put_varint(out, entry->bounds[i].field_id);
        buf_put_varint(out, value);
    }
    buf_put_varint(out, 0);
}

static void put_bounds(struct buf *out, const struct manifest_entry *entry, bool upper)
{
    int64_t count = 0;
    for (size_t i = 0; i < entry->bound_count; i++)
        count += upper ? entry->bounds[i].has_upper : entry->bounds[i].has_lower;
    buf_put_varint(out, count > 0 ? 1 : 0);
    if (count == 0)
        return;
    buf_put_varint(out, count);
    for (size_t i = 0; i < entry->bound_count; i++) {
        const struct file_bound *bound = &entry->bounds[i];
        if (!(upper ? bound->has_upper : bound->has_lower))
            continue;
        buf_put_varint(out, bound->field_id);
        put_avro_bytes(out, upper ? bound->upper : bound->lower);
    }
    buf_put_varint(out, 0);
}

static void put_splits(struct buf *out, const struct manifest_entry *entry)
{
    buf_put_varint(out, entry->split_count > 0 ? 1 : 0);
    if (entry->split_count == 0)
        return;
    buf_put_varint(out, (int64_t)entry->split_count);
    for (size_t i = 0; i < entry->split_count; i++)
        buf_put_varint(out, entry->splits[i]);
    buf_put_varint(out, 0);
}

static int put_entry(struct buf *out, const struct manifest_entry *entry,
                     const struct partition_type *partition, int format_version, struct error *err)
{
    buf_put_varint(out, entry->status);
    put_optional(out, entry->has_snapshot_id, entry->snapshot_id);
    put_optional(out, entry->has_sequence_number, entry->sequence_number);
    put_optional(out, entry->has_file_sequence_number, entry->file_sequence_number);
    buf_put_varint(out, entry->content);
    put_avro_bytes(out, slice_cstr(entry->path));
    put_avro_bytes(out, slice_cstr(entry->format));
    for (size_t i = 0; i < partition->count; i++) {
        if (!partition_value_put(&entry->partition[i], &partition->fields[i], out))
            return error_set(err, ERROR_INPUT, "%.200s: partition value %zu is of another type",
                             entry->path, i);
    }
    buf_put_varint(out, entry->record_count);
    buf_put_varint(out, entry->file_size);
    put_counts(out, entry, offsetof(struct file_bound, size));
    put_counts(out, entry, offsetof(struct file_bound, values));
    put_counts(out, entry, offsetof(struct file_bound, nulls));
    put_counts(out, entry, offsetof(struct file_bound, nans));
    put_bounds(out, entry, false);
    put_bounds(out, entry, true);
    buf_put_varint(out, 0); /* key_metadata */
    put_splits(out, entry);
    buf_put_varint(out, 0); /* equality_ids */
    put_optional(out, entry->has_sort_order, entry->sort_order_id);
    if (format_version >= 3)
        put_optional(out, entry->has_first_row_id, entry->first_row_id);
    return OK;
}

/* What would be wrong without a reader noticing. */
static int check_entry(const struct manifest_entry *entry, const struct partition_type *partition,
                       struct error *err)
{
    const char *wrong = NULL;
    if (entry->path == NULL || *entry->path == 0 || entry->format == NULL)
        return error_set(err, ERROR_INPUT, "an entry without path or format");
    if (entry->status < 0 || entry->status > 2)
        wrong = "status";
    else if (entry->content != 0)
        wrong = "delete files are not written";
    else if (entry->status != 1 && !(entry->has_snapshot_id && entry->has_sequence_number &&
                                     entry->has_file_sequence_number))
        wrong = "no sequence numbers, though not added here";
    else if (entry->partition_count != partition->count)
        wrong = "another number of partition values than the spec has fields";
    else if (entry->record_count < 0 || entry->file_size < 0)
        wrong = "size";
    return wrong == NULL ? OK : error_set(err, ERROR_INPUT, "%.200s: %s", entry->path, wrong);
}

/* ---- the manifest list's record ---- */

static void count_entry(struct manifest_file *summary, const struct manifest_entry *entry)
{
    if (entry->status == 0) {
        summary->existing_files++;
        summary->existing_rows += entry->record_count;
    } else if (entry->status == 1) {
        summary->added_files++;
        summary->added_rows += entry->record_count;
    } else {
        summary->deleted_files++;
        summary->deleted_rows += entry->record_count;
    }
    if (entry->status != 2 && entry->has_sequence_number &&
        (summary->min_sequence_number < 0 || entry->sequence_number < summary->min_sequence_number))
        summary->min_sequence_number = entry->sequence_number;
}

static void summarize_partition(struct field_summary *out, const struct manifest_entry *entries,
                                size_t count, size_t field, const struct primitive *type,
                                struct arena *arena)
{
    const struct partition_value *lower = NULL;
    const struct partition_value *upper = NULL;
    out->has_nan = true;
    for (size_t i = 0; i < count; i++) {
        const struct partition_value *value = &entries[i].partition[field];
        if (value->null) {
            out->contains_null = true;
        } else if (partition_value_is_nan(value, type)) {
            out->contains_nan = true;
        } else {
            if (lower == NULL || partition_value_compare(value, lower, type) < 0)
                lower = value;
            if (upper == NULL || partition_value_compare(value, upper, type) > 0)
                upper = value;
        }
    }
    if (lower == NULL)
        return;
    struct buf bytes = {0};
    partition_value_bytes(lower, type, &bytes);
    out->lower = arena_copy(arena, buf_slice(&bytes));
    buf_reset(&bytes);
    partition_value_bytes(upper, type, &bytes);
    out->upper = arena_copy(arena, buf_slice(&bytes));
    out->has_bounds = true;
    buf_free(&bytes);
}

/* Sequence numbers that are the commit's, which isn't known here, are -1;
 * manifest_list_encode puts its own in. */
static void summarize(struct manifest_file *summary, const struct manifest_entry *entries,
                      size_t count, const struct partition_type *partition, struct arena *arena)
{
    summary->sequence_number = -1;
    summary->min_sequence_number = -1;
    for (size_t i = 0; i < count; i++)
        count_entry(summary, &entries[i]);
    /* One whose rows inherit may be no newer than the commit, so an explicit number,
     * always an older commit's, is the least. */
    summary->summary_count = partition->count;
    summary->summaries = arena_alloc(arena, partition->count, sizeof *summary->summaries);
    for (size_t i = 0; i < partition->count; i++)
        summarize_partition(&summary->summaries[i], entries, count, i, &partition->fields[i],
                            arena);
}

/* ---- the whole ---- */

static int resolve_partition(struct partition_type *out, const json_t *schema, const json_t *spec,
                             struct error *err)
{
    const json_t *fields = json_object_get(spec, "fields");
    *out = (struct partition_type){.count = json_array_size(fields)};
    if (!json_is_array(fields) || out->count > MANIFEST_PARTITION_MAX)
        return error_set(err, ERROR_LIMIT, "partition spec: %zu fields, at most %d are supported",
                         out->count, MANIFEST_PARTITION_MAX);
    int rc = spec_check(fields, schema, err);
    for (size_t i = 0; rc == OK && i < out->count; i++) {
        const json_t *field = json_array_get(fields, i);
        const json_t *ids = json_object_get(field, "source-ids");
        int64_t source_id = object_i64(field, "source-id", -1);
        int64_t field_id = object_i64(field, "field-id", -1);
        if (json_array_size(ids) == 1)
            source_id = json_integer_value(json_array_get(ids, 0));
        const json_t *source = schema_find_field(schema, source_id);
        struct primitive type = {0};
        /* spec_check has seen that both are known. */
        bool known = primitive_parse(json_string_value(json_object_get(source, "type")), &type) &&
                     transform_result(json_string_value(json_object_get(field, "transform")), &type,
                                      &out->fields[i]);
        if (!known || field_id < PARTITION_ID_FIRST || field_id > FIELD_ID_MAX)
            rc = error_set(err, ERROR_INPUT, "partition field id %lld", (long long)field_id);
    }
    return rc;
}

static void begin_manifest(struct avro_writer *writer, const json_t *schema, const json_t *spec,
                           const struct partition_type *partition, int format_version,
                           struct buf *out)
{
    char texts[3][24];
    struct buf jsons[3] = {0};
    const json_t *fields = json_object_get(spec, "fields");
    put_entry_schema(&jsons[0], fields, partition, format_version);
    json_encode(schema, &jsons[1]);
    json_encode(fields, &jsons[2]);
    snprintf(texts[0], sizeof texts[0], "%lld", (long long)object_i64(schema, "schema-id", 0));
    snprintf(texts[1], sizeof texts[1], "%lld", (long long)object_i64(spec, "spec-id", 0));
    snprintf(texts[2], sizeof texts[2], "%d", format_version);
    const struct avro_pair pairs[] = {
        {"avro.schema", buf_slice(&jsons[0])},
        {"schema", buf_slice(&jsons[1])},
        {"partition-spec", buf_slice(&jsons[2])},
        {"schema-id", slice_cstr(texts[0])},
        {"partition-spec-id", slice_cstr(texts[1])},
        {"format-version", slice_cstr(texts[2])},
        {"content", slice_cstr("data")},
    };
    avro_writer_init(writer, out, pairs, sizeof pairs / sizeof *pairs);
    for (size_t i = 0; i < 3; i++)
        buf_free(&jsons[i]);
}

int manifest_encode(const struct manifest_entry *entries, size_t count, const json_t *schema,
                    const json_t *spec, int format_version, int64_t snapshot_id, struct buf *out,
                    struct manifest_file *summary, struct arena *arena, struct error *err)
{
    struct partition_type partition;
    struct avro_writer writer;
    size_t start = out->len;
    int rc = resolve_partition(&partition, schema, spec, err);
    if (rc == OK && format_version != 2 && format_version != 3)
        rc = error_set(err, ERROR_INPUT, "format version %d", format_version);
    if (rc != OK)
        return error_wrap(err, "manifest");
    begin_manifest(&writer, schema, spec, &partition, format_version, out);
    for (size_t i = 0; rc == OK && i < count; i++) {
        rc = check_entry(&entries[i], &partition, err);
        if (rc == OK)
            rc = put_entry(&writer.block, &entries[i], &partition, format_version, err);
        avro_writer_end_row(&writer);
    }
    avro_writer_finish(&writer);
    if (rc == OK && (buf_failed(out) || out->len - start > MANIFEST_BYTES_MAX))
        rc = error_set(err, ERROR_LIMIT, "too many bytes for %zu files", count);
    if (rc != OK)
        return error_wrap(err, "manifest");
    *summary = (struct manifest_file){
        .length = (int64_t)(out->len - start),
        .spec_id = (int32_t)object_i64(spec, "spec-id", 0),
        .added_snapshot_id = snapshot_id,
    };
    summarize(summary, entries, count, &partition, arena);
    return OK;
}
