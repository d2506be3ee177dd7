/* SPDX-License-Identifier: Apache-2.0
 *
 * What goes into a manifest is what readers prune and split by, for as long as the table
 * lives: a bound of the wrong length or a row count that is not the file's makes queries
 * fail or lie. So an announcement is refused as a whole for the first thing that can't be.
 */
#include "cloud/check.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/bytes.h"
#include "lib/base/memory.h"
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

/* How a type's bounds are read; the comparison of what is UNORDERED is left to readers. */
enum bound_kind {
    BOUND_NONE, /* a list, a struct: it has none */
    BOUND_BOOLEAN,
    BOUND_INTEGER, /* 4 or 8 bytes */
    BOUND_REAL,    /* 4 or 8 bytes */
    BOUND_TEXT,
    BOUND_BYTES,
    BOUND_UNORDERED,
};

/* A column of the table, or a list's element. */
struct check_field {
    int64_t id;
    bool element;
    bool required;
    const char *type; /* borrowed from the metadata; NULL: not primitive */
    enum bound_kind bound;
    bool narrow; /* of numbers: 4 bytes only */
    bool wide;   /* of numbers: 8 bytes only */
};

static void field_kind_fill(struct check_field *field)
{
    static const struct {
        const char *type;
        enum bound_kind kind;
        bool narrow;
        bool wide;
    } kinds[] = {
        {"boolean", BOUND_BOOLEAN, false, false}, {"int", BOUND_INTEGER, true, false},
        {"date", BOUND_INTEGER, true, false},     {"long", BOUND_INTEGER, false, false},
        {"time", BOUND_INTEGER, false, true},     {"float", BOUND_REAL, true, false},
        {"double", BOUND_REAL, false, false},     {"string", BOUND_TEXT, false, false},
        {"binary", BOUND_BYTES, false, false},    {"uuid", BOUND_BYTES, false, false},
    };
    field->bound = BOUND_UNORDERED;
    if (strncmp(field->type, "timestamp", 9) == 0) {
        field->bound = BOUND_INTEGER;
        field->wide = true;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(field->type, kinds[i].type) == 0) {
            field->bound = kinds[i].kind;
            field->narrow = kinds[i].narrow;
            field->wide = kinds[i].wide;
        }
    }
}

static int field_compare(const void *a, const void *b)
{
    int64_t left = ((const struct check_field *)a)->id;
    int64_t right = ((const struct check_field *)b)->id;
    return (left > right) - (left < right);
}

void table_check_init(struct table_check *out, const json_t *metadata)
{
    size_t i;
    const json_t *column;
    *out = (struct table_check){.metadata = metadata,
                                .schema = metadata_current_schema_borrow(metadata)};
    const json_t *columns = json_object_get(out->schema, "fields");
    out->fields = memory_alloc(2 * json_array_size(columns) + 1, sizeof *out->fields);
    json_array_foreach(columns, i, column)
    {
        const json_t *type = json_object_get(column, "type");
        const json_t *element = json_object_get(type, "element-id");
        struct check_field *field = &out->fields[out->field_count++];
        field->id = json_integer_value(json_object_get(column, "id"));
        field->required = json_is_true(json_object_get(column, "required"));
        field->type = json_string_value(type);
        if (field->type != NULL)
            field_kind_fill(field);
        if (element != NULL)
            out->fields[out->field_count++] =
                (struct check_field){.id = json_integer_value(element), .element = true};
    }
    qsort(out->fields, out->field_count, sizeof *out->fields, field_compare);
}

void table_check_free(struct table_check *check)
{
    json_decref(check->fitting);
    free(check->fields);
    *check = (struct table_check){0};
}

static const struct check_field *field_find(const struct table_check *check, int64_t id)
{
    struct check_field wanted = {.id = id};
    return bsearch(&wanted, check->fields, check->field_count, sizeof *check->fields,
                   field_compare);
}

/* ---- bounds ---- */

/* An int or a float in a file may be a long or a double in the table by now. */
static bool bound_size_fits(const struct check_field *field, size_t len)
{
    switch (field->bound) {
    case BOUND_BOOLEAN:
        return len == 1;
    case BOUND_INTEGER:
    case BOUND_REAL:
        return (len == 4 && !field->wide) || (len == 8 && !field->narrow);
    default:
        return len <= text_value_max;
    }
}

static int64_t integer_of(struct slice bound)
{
    return bound.len == 4 ? (int32_t)get_u32le(bound.data) : (int64_t)get_u64le(bound.data);
}

static double real_of(struct slice bound)
{
    uint32_t narrow;
    uint64_t wide;
    float single;
    double value;
    if (bound.len == 4) {
        narrow = get_u32le(bound.data);
        memcpy(&single, &narrow, sizeof single);
        return (double)single;
    }
    wide = get_u64le(bound.data);
    memcpy(&value, &wide, sizeof value);
    return value;
}

static bool is_text(struct slice bytes)
{
    json_t *text = json_stringn((const char *)bytes.data, bytes.len); /* NULL: no UTF-8 */
    json_decref(text);
    return text != NULL;
}

/* A bound that no value of the type can be makes readers fail: they decode it to prune. */
static int bound_check(const struct check_field *field, const char *which, struct slice bound,
                       struct error *err)
{
    bool fine = bound_size_fits(field, bound.len);
    if (fine && field->bound == BOUND_REAL)
        fine = !isnan(real_of(bound));
    if (fine && field->bound == BOUND_TEXT)
        fine = is_text(bound);
    if (fine && field->bound == BOUND_BOOLEAN)
        fine = bound.data[0] <= 1;
    if (fine)
        return OK;
    return error_set(err, ERROR_INPUT, "field %" PRId64 ": the %s bound is no %s", field->id, which,
                     field->type);
}

static bool bounds_are_ordered(const struct check_field *field, struct slice lower,
                               struct slice upper)
{
    switch (field->bound) {
    case BOUND_BOOLEAN:
        return lower.data[0] <= upper.data[0];
    case BOUND_INTEGER:
        return integer_of(lower) <= integer_of(upper);
    case BOUND_REAL:
        return real_of(lower) <= real_of(upper);
    case BOUND_TEXT:
    case BOUND_BYTES:
        return slice_compare(lower, upper) <= 0;
    default:
        return true;
    }
}

static int bounds_check(const struct check_field *field, const struct file_metric *metric,
                        struct error *err)
{
    int rc = OK;
    if (metric->has_lower)
        rc = bound_check(field, "lower", metric->lower, err);
    if (rc == OK && metric->has_upper)
        rc = bound_check(field, "upper", metric->upper, err);
    if (rc == OK && metric->has_lower && metric->has_upper &&
        !bounds_are_ordered(field, metric->lower, metric->upper))
        rc = error_set(err, ERROR_INPUT, "field %" PRId64 ": the lower bound is above the upper",
                       field->id);
    return rc;
}

static int metric_check(const struct data_file *file, const struct file_metric *metric,
                        const struct table_check *check, struct error *err)
{
    const struct check_field *field = field_find(check, metric->field_id);
    if (field == NULL)
        return error_set(err, ERROR_INPUT, "metrics of field %d, which the table doesn't have",
                         metric->field_id);
    if (metric->size > 0 && (uint64_t)metric->size > file->size)
        return error_set(err, ERROR_INPUT, "field %d: size %" PRId64 " is larger than the file's",
                         metric->field_id, metric->size);
    if (field->bound == BOUND_NONE)
        return metric->has_lower || metric->has_upper
                   ? error_set(err, ERROR_INPUT, "field %d: bounds of a list", metric->field_id)
                   : OK;
    if (metric->values >= 0 && (uint64_t)metric->values != file->rows)
        return error_set(err, ERROR_INPUT, "field %d: %" PRId64 " values in %" PRIu64 " rows",
                         metric->field_id, metric->values, file->rows);
    if (metric->nulls > (int64_t)file->rows || metric->nans > (int64_t)file->rows)
        return error_set(err, ERROR_INPUT, "field %d: more nulls or NaNs than rows",
                         metric->field_id);
    if (field->required && metric->nulls > 0)
        return error_set(err, ERROR_INPUT, "field %d is required and has nulls", metric->field_id);
    return bounds_check(field, metric, err);
}

/* ---- partitions ---- */

/* All rows of a file share its partition value, so what its metrics say of the source column
 * must allow for it: a query that prunes by one must not miss what the other holds. */
static bool metric_allows(const struct file_metric *metric, const struct partition_value *value,
                          bool day, const struct data_file *file)
{
    static const int64_t day_us = INT64_C(86400) * 1000000;
    if (value->null)
        return !metric->has_lower && !metric->has_upper &&
               (metric->nulls < 0 || (uint64_t)metric->nulls == file->rows);
    if (metric->nulls > 0)
        return false;
    if (!metric->has_lower || !metric->has_upper)
        return true;
    if (value->is_text) /* bounds may be cut */
        return slice_compare(metric->lower, value->text) <= 0 &&
               slice_compare(metric->upper, value->text) >= 0;
    int64_t lower = integer_of(metric->lower);
    int64_t upper = integer_of(metric->upper);
    if (day && metric->lower.len == 8) {
        lower = (lower - (lower < 0 ? day_us - 1 : 0)) / day_us;
        upper = (upper - (upper < 0 ? day_us - 1 : 0)) / day_us;
    }
    return lower == value->number && upper == value->number;
}

static int partition_metric_check(const struct data_file *file, const struct partition_value *value,
                                  const struct check_field *column, bool day, const char *name,
                                  struct error *err)
{
    if (day && strstr(column->type, "_ns") != NULL) /* nanoseconds: nothing of ours has them */
        return OK;
    for (size_t i = 0; i < file->metric_count; i++) {
        const struct file_metric *metric = &file->metrics[i];
        if (metric->field_id == column->id && !metric_allows(metric, value, day, file))
            return error_set(err, ERROR_INPUT,
                             "partition %s: the metrics of field %" PRId64 " tell of other values",
                             name, column->id);
    }
    return OK;
}

static int partition_value_check(const struct data_file *file, const struct partition_value *value,
                                 const json_t *field, const struct table_check *check,
                                 struct error *err)
{
    const char *name = json_string_value(json_object_get(field, "name"));
    const char *transform = json_string_value(json_object_get(field, "transform"));
    const struct check_field *column =
        field_find(check, json_integer_value(json_object_get(field, "source-id")));
    const char *source = column != NULL ? column->type : NULL;
    if (name == NULL || transform == NULL || source == NULL)
        return error_set(err, ERROR_INPUT, "a partition field that we don't understand");
    bool day = strcmp(transform, "day") == 0;
    if (!day && strcmp(transform, "identity") != 0)
        return error_set(err, ERROR_INPUT, "partition %s: transform %s is not written", name,
                         transform);
    if (value->null)
        return partition_metric_check(file, value, column, day, name, err);
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
    if (text ? !is_text(value->text) : column->bound != BOUND_INTEGER)
        return error_set(err, ERROR_INPUT, "partition %s: not of a %s", name, source);
    return partition_metric_check(file, value, column, day, name, err);
}

static int partition_check(const struct data_file *file, const struct table_check *check,
                           struct error *err)
{
    const json_t *spec = metadata_spec_borrow(check->metadata, file->spec);
    if (spec == NULL)
        return error_set(err, ERROR_INPUT, "the table has no partition spec %d", file->spec);
    const json_t *fields = json_object_get(spec, "fields");
    if (json_array_size(fields) != file->partition_count)
        return error_set(err, ERROR_INPUT, "spec %d has %zu partition fields, not %zu", file->spec,
                         json_array_size(fields), file->partition_count);
    for (size_t i = 0; i < file->partition_count; i++) {
        int rc =
            partition_value_check(file, &file->partition[i], json_array_get(fields, i), check, err);
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

/* ---- files ---- */

enum { NAME_BEGIN_SIZE = STREAM_HASH_SIZE + 48 };

/* "<hash>-<from>-<to>-" begins the file's own name: so a name can't stand for a range
 * that is committed already, and no file is taken twice. */
static void name_begin(const struct announcement *announcement, char out[NAME_BEGIN_SIZE])
{
    char hash[STREAM_HASH_SIZE];
    stream_hash(announcement->stream, hash);
    snprintf(out, NAME_BEGIN_SIZE, "%s-%" PRIu64 "-%" PRIu64 "-", hash, announcement->from,
             announcement->to);
}

static bool path_names_range(const char *path, const char *begin)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && strncmp(slash + 1, begin, strlen(begin)) == 0;
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

static int file_check(const struct announcement *announcement, const char *begin,
                      const struct data_file *file, const struct table_check *check,
                      struct error *err)
{
    if (!path_names_range(file->path, begin) ||
        !data_file_path_check(file->path, announcement->stream))
        return error_set(err, ERROR_INPUT, "not a path of this stream and range");
    if (file->offset != 0)
        return error_set(err, ERROR_INPUT, "packed objects are not known to this version");
    if (file->size < file_bytes_min || file->size > file_bytes_max)
        return error_set(err, ERROR_INPUT, "size %" PRIu64 " is absurd", file->size);
    if (file->rows == 0 || file->rows / rows_per_byte_max > file->size)
        return error_set(err, ERROR_INPUT, "%" PRIu64 " rows is absurd", file->rows);
    if (!sort_order_known(check->metadata, file->sort))
        return error_set(err, ERROR_INPUT, "the table has no sort order %d", file->sort);
    int rc = splits_check(file, err);
    uint64_t sizes = 0;
    for (size_t i = 0; i < file->metric_count && rc == OK; i++) {
        rc = metric_check(file, &file->metrics[i], check, err);
        sizes += rc == OK && file->metrics[i].size > 0 ? (uint64_t)file->metrics[i].size : 0;
        if (rc == OK && sizes > file->size)
            rc = error_set(err, ERROR_INPUT, "its columns are larger than the file");
    }
    /* Last: it reads bounds that were checked by now. */
    return rc == OK ? partition_check(file, check, err) : rc;
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

/* One schema, that of the last one which was fine, is compared by its text alone: a turn's
 * announcements mostly have the same. */
static int schema_check(struct table_check *check, const json_t *announced, struct error *err)
{
    char why[200];
    if (check->fitting != NULL && json_equal(check->fitting, announced))
        return OK;
    if (schema_compare(announced, check->schema, why, sizeof why) != SCHEMA_SAME)
        return error_set(err, ERROR_INPUT, "schema: %s", why);
    json_decref(check->fitting);
    check->fitting = json_incref((json_t *)(uintptr_t)announced);
    return OK;
}

int announcement_check(struct table_check *check, const struct announcement *announcement,
                       const char *table, struct error *err)
{
    const char *uuid = metadata_uuid_borrow(check->metadata);
    char begin[NAME_BEGIN_SIZE];
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
    int rc = counts_check(announcement, err);
    /* Of a range that is lost as a whole nothing is written, and an agent that could not read the
     * contract meanwhile knows no columns to name. */
    if (rc == OK && announcement->file_count > 0)
        rc = schema_check(check, announcement->schema, err);
    name_begin(announcement, begin);
    for (size_t i = 0; i < announcement->file_count && rc == OK; i++) {
        const struct data_file *file = &announcement->files[i];
        rc = file_check(announcement, begin, file, check, err);
        if (rc != OK)
            rc = error_wrap(err, "file %.150s", file->path);
    }
    return rc;
}
