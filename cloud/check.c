/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes into a manifest is what readers prune and split by, for as long as the table
 * lives: a bound of the wrong length or a row count that is not the file's makes queries
 * fail or lie. So an announcement is refused as a whole for the first thing that can't be.
 */
#include "cloud/check.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/iceberg/iceberg.h"

static const uint64_t file_bytes_max = UINT64_C(5) << 40; /* an object's limit at S3 and GCS */
static const uint64_t file_bytes_min = 12;                /* two magics and a footer length */
static const size_t text_value_max = 1024;
/* Equal rows pack well, but not so well: what lies about its rows must not be able to carry
 * a table's totals out of 64 bits. */
static const uint64_t rows_per_byte_max = 65536;
/* The years 1 to 9999: readers' calendars (Python's, SQL's) end there, and fail. */
static const int64_t day_min = -719162;
static const int64_t day_max = 2932896;

/* The field with that id among the schema's columns; *in_list: it is a list's element. */
static const json_t *field_find(const json_t *schema, int64_t id, bool *in_list)
{
    size_t i;
    const json_t *field;
    *in_list = false;
    json_array_foreach(json_object_get(schema, "fields"), i, field)
    {
        const json_t *type = json_object_get(field, "type");
        if (json_integer_value(json_object_get(field, "id")) == id)
            return field;
        if (json_is_object(type) && json_integer_value(json_object_get(type, "element-id")) == id) {
            *in_list = true;
            return field;
        }
    }
    return NULL;
}

static const char *field_type(const json_t *schema, int64_t id)
{
    bool in_list;
    const json_t *field = field_find(schema, id, &in_list);
    if (field == NULL || in_list)
        return NULL;
    return json_string_value(json_object_get(field, "type"));
}

/* Bytes of a bound of this type; 0: any (strings); -1: it can have none. An int in a
 * file may be a long in the table by now: both are readable. */
static bool bound_size_fits(const char *type, size_t len)
{
    if (strcmp(type, "boolean") == 0)
        return len == 1;
    if (strcmp(type, "int") == 0 || strcmp(type, "date") == 0 || strcmp(type, "float") == 0)
        return len == 4;
    if (strcmp(type, "long") == 0 || strcmp(type, "double") == 0)
        return len == 8 || len == 4;
    if (strncmp(type, "timestamp", 9) == 0 || strcmp(type, "time") == 0)
        return len == 8;
    return len <= text_value_max;
}

static int metric_check(const struct data_file *file, const struct file_metric *metric,
                        const json_t *schema, struct error *err)
{
    bool in_list;
    const json_t *field = field_find(schema, metric->field_id, &in_list);
    if (field == NULL)
        return error_set(err, ERROR_INPUT, "metrics of field %d, which the table doesn't have",
                         metric->field_id);
    if (metric->size > 0 && (uint64_t)metric->size > file->size)
        return error_set(err, ERROR_INPUT, "field %d: size %" PRId64 " is larger than the file's",
                         metric->field_id, metric->size);
    bool bounds = metric->has_lower || metric->has_upper;
    if (in_list || json_is_object(json_object_get(field, "type")))
        return bounds ? error_set(err, ERROR_INPUT, "field %d: bounds of a list", metric->field_id)
                      : OK;
    if (metric->values >= 0 && (uint64_t)metric->values != file->rows)
        return error_set(err, ERROR_INPUT, "field %d: %" PRId64 " values in %" PRIu64 " rows",
                         metric->field_id, metric->values, file->rows);
    if (metric->nulls > (int64_t)file->rows || metric->nans > (int64_t)file->rows)
        return error_set(err, ERROR_INPUT, "field %d: more nulls or NaNs than rows",
                         metric->field_id);
    if (json_is_true(json_object_get(field, "required")) && metric->nulls > 0)
        return error_set(err, ERROR_INPUT, "field %d is required and has nulls", metric->field_id);
    const char *type = json_string_value(json_object_get(field, "type"));
    if ((metric->has_lower && !bound_size_fits(type, metric->lower.len)) ||
        (metric->has_upper && !bound_size_fits(type, metric->upper.len)))
        return error_set(err, ERROR_INPUT, "field %d: a bound is no %s", metric->field_id, type);
    if (metric->has_lower && metric->has_upper && strcmp(type, "string") == 0 &&
        slice_compare(metric->lower, metric->upper) > 0)
        return error_set(err, ERROR_INPUT, "field %d: the lower bound is above the upper",
                         metric->field_id);
    return OK;
}

static int partition_value_check(const struct partition_value *value, const json_t *field,
                                 const json_t *schema, struct error *err)
{
    const char *name = json_string_value(json_object_get(field, "name"));
    const char *transform = json_string_value(json_object_get(field, "transform"));
    const char *source =
        field_type(schema, json_integer_value(json_object_get(field, "source-id")));
    if (name == NULL || transform == NULL || source == NULL)
        return error_set(err, ERROR_INPUT, "a partition field that we don't understand");
    bool day = strcmp(transform, "day") == 0;
    if (!day && strcmp(transform, "identity") != 0)
        return error_set(err, ERROR_INPUT, "partition %s: transform %s is not written", name,
                         transform);
    if (value->null)
        return OK;
    bool text = !day && strcmp(source, "string") == 0;
    if (value->is_text != text)
        return error_set(err, ERROR_INPUT, "partition %s: the value is no %s", name,
                         day ? "day" : source);
    if (text && value->text.len > text_value_max)
        return error_set(err, ERROR_INPUT, "partition %s: a value of %zu bytes", name,
                         value->text.len);
    if (day && (value->number < day_min || value->number > day_max))
        return error_set(err, ERROR_INPUT, "partition %s: %" PRId64 " is no day of a calendar",
                         name, value->number);
    if (!text && strcmp(source, "int") == 0 &&
        (value->number < INT32_MIN || value->number > INT32_MAX))
        return error_set(err, ERROR_INPUT, "partition %s: %" PRId64 " is out of range", name,
                         value->number);
    return OK;
}

static int partition_check(const struct data_file *file, const json_t *metadata,
                           const json_t *schema, struct error *err)
{
    const json_t *spec = metadata_spec_borrow(metadata, file->spec);
    if (spec == NULL)
        return error_set(err, ERROR_INPUT, "the table has no partition spec %d", file->spec);
    const json_t *fields = json_object_get(spec, "fields");
    if (json_array_size(fields) != file->partition_count)
        return error_set(err, ERROR_INPUT, "spec %d has %zu partition fields, not %zu", file->spec,
                         json_array_size(fields), file->partition_count);
    for (size_t i = 0; i < file->partition_count; i++) {
        int rc = partition_value_check(&file->partition[i], json_array_get(fields, i), schema, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static bool sort_order_known(const json_t *metadata, int32_t id)
{
    size_t i;
    const json_t *order;
    json_array_foreach(json_object_get(metadata, "sort-orders"), i,
                       order) if (json_integer_value(json_object_get(order, "order-id")) ==
                                  id) return true;
    return id == 0;
}

/* "<hash>-<from>-<to>-" begins the file's own name: so a name can't stand for a range
 * that is committed already, and no file is taken twice. */
static bool path_names_range(const char *path, const struct announcement *announcement)
{
    char hash[STREAM_HASH_SIZE];
    char wanted[STREAM_HASH_SIZE + 48];
    stream_hash(announcement->stream, hash);
    snprintf(wanted, sizeof wanted, "%s-%" PRIu64 "-%" PRIu64 "-", hash, announcement->from,
             announcement->to);
    const char *slash = strrchr(path, '/');
    return slash != NULL && strncmp(slash + 1, wanted, strlen(wanted)) == 0;
}

static int splits_check(const struct data_file *file, struct error *err)
{
    int64_t last = 3; /* the magic comes first */
    for (size_t i = 0; i < file->split_count; i++) {
        if (file->splits[i] <= last || (uint64_t)file->splits[i] >= file->size)
            return error_set(err, ERROR_INPUT, "split %" PRId64 " is out of order or range",
                             file->splits[i]);
        last = file->splits[i];
    }
    return OK;
}

static int file_check(const struct announcement *announcement, const struct data_file *file,
                      const json_t *metadata, const json_t *schema, struct error *err)
{
    if (!data_file_path_check(file->path, announcement->stream) ||
        !path_names_range(file->path, announcement))
        return error_set(err, ERROR_INPUT, "not a path of this stream and range");
    if (file->offset != 0)
        return error_set(err, ERROR_INPUT, "packed objects are not known to this version");
    if (file->size < file_bytes_min || file->size > file_bytes_max)
        return error_set(err, ERROR_INPUT, "size %" PRIu64 " is absurd", file->size);
    if (file->rows == 0 || file->rows / rows_per_byte_max > file->size)
        return error_set(err, ERROR_INPUT, "%" PRIu64 " rows is absurd", file->rows);
    if (!sort_order_known(metadata, file->sort))
        return error_set(err, ERROR_INPUT, "the table has no sort order %d", file->sort);
    int rc = partition_check(file, metadata, schema, err);
    if (rc == OK)
        rc = splits_check(file, err);
    uint64_t sizes = 0;
    for (size_t i = 0; i < file->metric_count && rc == OK; i++) {
        rc = metric_check(file, &file->metrics[i], schema, err);
        sizes += rc == OK && file->metrics[i].size > 0 ? (uint64_t)file->metrics[i].size : 0;
        if (rc == OK && sizes > file->size)
            rc = error_set(err, ERROR_INPUT, "its columns are larger than the file");
    }
    return rc;
}

static int counts_check(const struct announcement *announcement, struct error *err)
{
    uint64_t range = announcement->to - announcement->from;
    uint64_t lost = 0;
    uint64_t rows = 0;
    for (size_t i = 0; i < announcement->lost_count; i++) {
        const struct lost_range *l = &announcement->lost[i];
        if (l->from < announcement->from || l->to > announcement->to || l->from > l->to ||
            l->events > l->to - l->from)
            return error_set(err, ERROR_INPUT, "lost range %" PRIu64 "-%" PRIu64 " makes no sense",
                             l->from, l->to);
        lost += l->events; /* each below its own range: the sum can't leave 64 bits unseen */
        if (lost > range)
            return error_set(err, ERROR_INPUT, "more events lost than the range has");
    }
    if (announcement->events > range - lost)
        return error_set(err, ERROR_INPUT,
                         "%" PRIu64 " events and %" PRIu64 " lost in %" PRIu64 " positions",
                         announcement->events, lost, range);
    for (size_t i = 0; i < announcement->file_count; i++)
        if (__builtin_add_overflow(rows, announcement->files[i].rows, &rows))
            return error_set(err, ERROR_INPUT, "absurd row counts");
    if (rows != announcement->rows)
        return error_set(err, ERROR_INPUT, "%" PRIu64 " rows announced, %" PRIu64 " in its files",
                         announcement->rows, rows);
    return OK;
}

int announcement_check(const struct announcement *announcement, const char *table,
                       const json_t *metadata, struct error *err)
{
    const json_t *schema = metadata_current_schema_borrow(metadata);
    const char *uuid = metadata_uuid_borrow(metadata);
    char why[200];
    if (strcmp(announcement->table, table) != 0)
        return error_set(err, ERROR_INPUT, "it is for table %.100s", announcement->table);
    const char *slash = strrchr(announcement->stream, '/');
    if (slash == NULL || strcmp(slash + 1, table) != 0)
        return error_set(err, ERROR_INPUT, "its stream feeds another table");
    if (announcement->table_uuid != NULL && strcmp(announcement->table_uuid, uuid) != 0)
        return error_set(err, ERROR_INPUT, "it is for table uuid %.40s, this one is %s",
                         announcement->table_uuid, uuid);
    if (announcement->from >= announcement->to)
        return error_set(err, ERROR_INPUT, "an empty range");
    if (schema_compare(announcement->schema, schema, why, sizeof why) != SCHEMA_SAME)
        return error_set(err, ERROR_INPUT, "schema: %s", why);
    int rc = counts_check(announcement, err);
    for (size_t i = 0; i < announcement->file_count && rc == OK; i++) {
        const struct data_file *file = &announcement->files[i];
        rc = file_check(announcement, file, metadata, schema, err);
        if (rc != OK)
            rc = error_wrap(err, "file %.150s", file->path);
    }
    return rc;
}
