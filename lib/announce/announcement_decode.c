/* SPDX-License-Identifier: Apache-2.0
 *
 * Announcement from JSON. Whoever may write to the inbox decides these bytes, so each
 * number is checked for its range and against the others before it is believed:
 * ranges are ordered, files add up to the rows, losses and events to the positions.
 * What needs the table (paths, partition types, schema) the commit service checks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/announce/decode.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"

enum {
    ANNOUNCEMENT_VALUES_MAX = 4000000,
    METRICS_MAX = 10000,
    BOUND_BYTES_MAX = 65536,
    SPLITS_MAX = 100000,
    WRITER_MAX = 200,
    PARTITION_TEXT_MAX = 4096,
    ROWS_PER_EVENT_MAX = 1 << 20, /* an event is up to 1 MiB: it can't hold more elements */
};

#define FILE_BYTES_MAX (INT64_C(5) << 40) /* the largest object that S3 and GCS take */

void announcement_init(struct announcement *out)
{
    *out = (struct announcement){0};
}

void announcement_free(struct announcement *announcement)
{
    json_decref(announcement->document);
    json_decref(announcement->schema);
    arena_free(&announcement->arena);
    announcement_init(announcement);
}

static void text_keep(struct arena *arena, const char **text)
{
    if (*text != NULL)
        *text = arena_copy_cstr(arena, slice_cstr(*text));
}

void announcement_detach(struct announcement *announcement)
{
    struct arena *arena = &announcement->arena;
    text_keep(arena, &announcement->stream);
    text_keep(arena, &announcement->agent);
    text_keep(arena, &announcement->table);
    text_keep(arena, &announcement->table_uuid);
    text_keep(arena, &announcement->writer);
    for (size_t i = 0; i < announcement->lost_count; i++)
        text_keep(arena, &announcement->lost[i].reason);
    for (size_t i = 0; i < announcement->file_count; i++)
        text_keep(arena, &announcement->files[i].path);
    json_decref(announcement->document);
    announcement->document = NULL;
}

/* ---- one file ---- */

/* Sizes and counts of a metric: -1 when it isn't given. */
static int decode_metric_count(const json_t *metric, const char *key, int64_t *out,
                               struct error *err)
{
    int rc = json_get_i64_or(metric, "metric", key, -1, out, err);
    const json_t *member = json_object_get(metric, key);
    if (rc == OK && *out < 0 && member != NULL && !json_is_null(member))
        return error_set(err, ERROR_INPUT, "metric: \"%s\" is negative", key);
    return rc;
}

static int decode_bound(struct arena *arena, const json_t *metric, const char *key, bool *given,
                        struct slice *out, struct error *err)
{
    const json_t *text = json_object_get(metric, key);
    if (text == NULL || json_is_null(text))
        return OK;
    struct buf bytes;
    buf_init(&bytes, BOUND_BYTES_MAX);
    int rc = OK;
    if (!json_is_string(text))
        rc = error_set(err, ERROR_INPUT, "metric: \"%s\" is not a string", key);
    else if (json_string_length(text) > BOUND_BYTES_MAX / 3 * 4)
        rc = error_set(err, ERROR_INPUT, "metric: \"%s\" is too long", key);
    else if (!base64_decode(slice_of(json_string_value(text), json_string_length(text)), &bytes))
        rc = error_set(err, ERROR_INPUT, "metric: \"%s\" is not base64", key);
    if (rc == OK) {
        *given = true;
        *out = arena_copy(arena, buf_slice(&bytes));
    }
    buf_free(&bytes);
    return rc;
}

static int decode_field_id(const char *key, int32_t *out, struct error *err)
{
    char again[16];
    long id = strtol(key, NULL, 10);
    snprintf(again, sizeof again, "%ld", id > 0 && id <= INT32_MAX ? id : 0);
    /* Written otherwise ("07", "+7") the same id could come twice. */
    if (id <= 0 || strcmp(again, key) != 0)
        return error_set(err, ERROR_INPUT, "metrics: \"%.20s\" is no field id", key);
    *out = (int32_t)id;
    return OK;
}

static int decode_metric(struct arena *arena, const char *key, const json_t *metric,
                         struct file_metric *out, struct error *err)
{
    if (!json_is_object(metric))
        return error_set(err, ERROR_INPUT, "metrics: not an object");
    int rc = decode_field_id(key, &out->field_id, err);
    if (rc == OK)
        rc = decode_metric_count(metric, "size", &out->size, err);
    if (rc == OK)
        rc = decode_metric_count(metric, "values", &out->values, err);
    if (rc == OK)
        rc = decode_metric_count(metric, "nulls", &out->nulls, err);
    if (rc == OK)
        rc = decode_metric_count(metric, "nans", &out->nans, err);
    if (rc == OK && out->values >= 0 && (out->nulls > out->values || out->nans > out->values))
        rc = error_set(err, ERROR_INPUT, "metric: more nulls or NaNs than values");
    if (rc == OK)
        rc = decode_bound(arena, metric, "lower", &out->has_lower, &out->lower, err);
    if (rc == OK)
        rc = decode_bound(arena, metric, "upper", &out->has_upper, &out->upper, err);
    return rc == OK ? OK : error_wrap(err, "field %.20s", key);
}

static int decode_metrics(struct arena *arena, json_t *file, struct data_file *out,
                          struct error *err)
{
    json_t *metrics = NULL;
    int rc = json_get_object(file, "file", "metrics", &metrics, err);
    if (rc != OK)
        return rc;
    size_t count = json_object_size(metrics);
    if (count > METRICS_MAX)
        return error_set(err, ERROR_INPUT, "file: metrics of %zu columns", count);
    out->metrics = arena_alloc(arena, count, sizeof *out->metrics);
    const char *key = NULL;
    json_t *metric = NULL;
    json_object_foreach(metrics, key, metric)
    {
        rc = decode_metric(arena, key, metric, &out->metrics[out->metric_count++], err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

static int decode_partition(struct arena *arena, const json_t *file, struct data_file *out,
                            struct error *err)
{
    json_t *tuple = NULL;
    int rc = json_get_array(file, "file", "partition", &tuple, err);
    if (rc != OK)
        return rc;
    if (json_array_size(tuple) > PARTITION_FIELDS_MAX)
        return error_set(err, ERROR_INPUT, "file: a partition of %zu fields",
                         json_array_size(tuple));
    for (size_t i = 0; i < json_array_size(tuple); i++) {
        const json_t *item = json_array_get(tuple, i);
        struct partition_value *value = &out->partition[out->partition_count++];
        if (json_is_null(item)) {
            value->null = true;
        } else if (json_is_integer(item)) {
            value->number = json_integer_value(item);
        } else if (json_is_string(item) && json_string_length(item) <= PARTITION_TEXT_MAX) {
            value->is_text = true;
            value->text =
                arena_copy(arena, slice_of(json_string_value(item), json_string_length(item)));
        } else {
            return error_set(err, ERROR_INPUT, "file: no partition value");
        }
    }
    return OK;
}

static int decode_splits(struct arena *arena, const json_t *file, struct data_file *out,
                         struct error *err)
{
    json_t *splits = NULL;
    int rc = json_get_array(file, "file", "splits", &splits, err);
    if (rc != OK)
        return rc;
    size_t count = json_array_size(splits);
    if (count > SPLITS_MAX || count > out->rows)
        return error_set(err, ERROR_INPUT, "file: %zu splits", count);
    out->splits = arena_alloc(arena, count, sizeof *out->splits);
    int64_t least = 0;
    for (; out->split_count < count; out->split_count++) {
        const json_t *split = json_array_get(splits, out->split_count);
        int64_t at = json_integer_value(split);
        if (!json_is_integer(split) || at < least || (uint64_t)at >= out->size)
            return error_set(err, ERROR_INPUT, "file: splits are not offsets in ascending order");
        out->splits[out->split_count] = at;
        least = at + 1;
    }
    return OK;
}

static int decode_crc32c(const json_t *file, uint32_t *out, struct error *err)
{
    const char *text = NULL;
    int rc = json_get_string(file, "file", "crc32c", &text, err);
    if (rc != OK)
        return rc;
    if (strlen(text) != 8 || strspn(text, "0123456789abcdef") != 8)
        return error_set(err, ERROR_INPUT, "file: \"crc32c\" is not 8 hex digits");
    *out = (uint32_t)strtoul(text, NULL, 16);
    return OK;
}

static int decode_small(const json_t *file, const char *key, int32_t *out, struct error *err)
{
    uint64_t value = 0;
    int rc = decode_count(file, "file", key, &value, err);
    if (rc == OK && value > INT32_MAX)
        rc = error_set(err, ERROR_INPUT, "file: \"%s\" is too large", key);
    *out = rc == OK ? (int32_t)value : 0;
    return rc;
}

static int decode_file_numbers(const json_t *file, struct data_file *out, struct error *err)
{
    int rc = decode_count(file, "file", "offset", &out->offset, err);
    if (rc == OK && out->offset != 0)
        rc = error_set(err, ERROR_INPUT, "file: ranges of objects are not known to this program");
    if (rc == OK)
        rc = decode_count(file, "file", "size", &out->size, err);
    if (rc == OK && (out->size == 0 || out->size > FILE_BYTES_MAX))
        rc = error_set(err, ERROR_INPUT, "file: no size for a file: %" PRIu64, out->size);
    if (rc == OK)
        rc = decode_crc32c(file, &out->crc32c, err);
    if (rc == OK)
        rc = decode_count(file, "file", "rows", &out->rows, err);
    if (rc == OK && out->rows == 0)
        rc = error_set(err, ERROR_INPUT, "file: no rows");
    if (rc == OK)
        rc = decode_small(file, "spec", &out->spec, err);
    if (rc == OK)
        rc = decode_small(file, "sort", &out->sort, err);
    return rc;
}

static int decode_file(struct arena *arena, json_t *file, struct data_file *out, struct error *err)
{
    if (!json_is_object(file))
        return error_set(err, ERROR_INPUT, "file: not an object");
    int rc = decode_text(file, "file", "path", PATH_MAX_BYTES, &out->path, err);
    if (rc == OK)
        rc = decode_file_numbers(file, out, err);
    if (rc == OK)
        rc = decode_partition(arena, file, out, err);
    if (rc == OK)
        rc = decode_splits(arena, file, out, err);
    if (rc == OK)
        rc = decode_metrics(arena, file, out, err);
    return rc;
}

/* ---- the whole ---- */

static int compare_paths(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_paths_differ(const struct announcement *announcement, struct error *err)
{
    int rc = OK;
    size_t count = announcement->file_count;
    const char **paths = memory_alloc_raw(count, sizeof *paths);
    for (size_t i = 0; i < count; i++)
        paths[i] = announcement->files[i].path;
    if (count > 1)
        qsort(paths, count, sizeof *paths, compare_paths);
    for (size_t i = 1; rc == OK && i < count; i++) {
        if (strcmp(paths[i - 1], paths[i]) == 0)
            rc = error_set(err, ERROR_INPUT, "announcement: file twice: %.200s", paths[i]);
    }
    free(paths);
    return rc;
}

static int decode_files(struct announcement *out, struct error *err)
{
    json_t *files = NULL;
    uint64_t rows = 0;
    int rc = json_get_array(out->document, "announcement", "files", &files, err);
    if (rc != OK)
        return rc;
    size_t count = json_array_size(files);
    if (count > ANNOUNCEMENT_FILES_MAX)
        return error_set(err, ERROR_INPUT, "announcement: %zu files", count);
    out->files = arena_alloc(&out->arena, count, sizeof *out->files);
    for (size_t i = 0; rc == OK && i < count; i++) {
        rc = decode_file(&out->arena, json_array_get(files, i), &out->files[i], err);
        if (rc == OK && __builtin_add_overflow(rows, out->files[i].rows, &rows))
            rc = error_set(err, ERROR_INPUT, "file: absurd number of rows");
        if (rc != OK)
            return error_wrap(err, "announcement: file %zu", i);
        out->file_count++;
    }
    if (rows != out->rows)
        return error_set(err, ERROR_INPUT,
                         "announcement: %" PRIu64 " rows, but %" PRIu64 " in its files", out->rows,
                         rows);
    return check_paths_differ(out, err);
}

/* On an own stream a position is an event: it is in the files or it is lost. On a
 * Kafka stream positions may stand for nothing. */
static int check_events(const struct announcement *announcement, struct error *err)
{
    uint64_t lost = 0; /* at most the range's length: its parts don't overlap */
    for (size_t i = 0; i < announcement->lost_count; i++)
        lost += announcement->lost[i].events;
    uint64_t length = announcement->to - announcement->from;
    uint64_t left = length - lost;
    bool own = stream_epoch(announcement->stream).data != NULL;
    if (announcement->events > left || (own && announcement->events != left))
        return error_set(err, ERROR_INPUT,
                         "announcement: %" PRIu64 " events and %" PRIu64
                         " lost ones in a range of %" PRIu64,
                         announcement->events, lost, length);
    if (announcement->rows / ROWS_PER_EVENT_MAX > announcement->events ||
        (announcement->events == 0 && announcement->rows > 0))
        return error_set(err, ERROR_INPUT, "announcement: %" PRIu64 " rows of %" PRIu64 " events",
                         announcement->rows, announcement->events);
    return OK;
}

static int decode_range(struct announcement *out, struct error *err)
{
    static const char what[] = "announcement";
    struct lost_range *lost = NULL;
    int rc = decode_count(out->document, what, "from", &out->from, err);
    if (rc == OK)
        rc = decode_count(out->document, what, "to", &out->to, err);
    /* An empty one would be taken again and again: it moves nothing on. */
    if (rc == OK && out->from >= out->to)
        rc = error_set(err, ERROR_INPUT, "%s: the range is empty or backward", what);
    if (rc == OK)
        rc = decode_count(out->document, what, "events", &out->events, err);
    if (rc == OK)
        rc = decode_count(out->document, what, "rows", &out->rows, err);
    if (rc == OK)
        rc = decode_lost(json_object_get(out->document, "lost"), what, out->from, out->to, &lost,
                         &out->lost_count, err);
    if (rc == OK && out->lost_count > 0) {
        out->lost = arena_alloc(&out->arena, out->lost_count, sizeof *lost);
        memcpy(out->lost, lost, out->lost_count * sizeof *lost);
    }
    free(lost);
    return rc == OK ? check_events(out, err) : rc;
}

static int decode_times(struct announcement *out, struct error *err)
{
    static const char what[] = "announcement";
    int rc = decode_time(out->document, what, "sealed_at", &out->sealed_at_ms, err);
    const json_t *range = json_object_get(out->document, "event_time");
    if (rc != OK || range == NULL || json_is_null(range))
        return rc;
    out->has_event_time = true;
    rc = decode_time(range, "event_time", "min", &out->event_time_min_ms, err);
    if (rc == OK)
        rc = decode_time(range, "event_time", "max", &out->event_time_max_ms, err);
    if (rc == OK && out->event_time_min_ms > out->event_time_max_ms)
        rc = error_set(err, ERROR_INPUT, "event_time: \"min\" is above \"max\"");
    return rc;
}

static int decode_names(struct announcement *out, struct error *err)
{
    static const char what[] = "announcement";
    const char *table = NULL;
    int rc = decode_text(out->document, what, "stream", STREAM_NAME_MAX, &out->stream, err);
    if (rc == OK)
        rc = decode_text(out->document, what, "agent", AGENT_NAME_MAX, &out->agent, err);
    if (rc == OK)
        rc = decode_text(out->document, what, "table", TABLE_NAME_MAX, &out->table, err);
    if (rc == OK && !stream_name_check(out->stream, &table))
        rc = error_set(err, ERROR_INPUT, "%s: \"stream\" is no stream's name", what);
    if (rc == OK && strcmp(table, out->table) != 0)
        rc = error_set(err, ERROR_INPUT, "%s: stream and \"table\" name different tables", what);
    if (rc == OK)
        rc = decode_uuid_or_null(out->document, what, "table_uuid", &out->table_uuid, err);
    if (rc == OK)
        rc = decode_text(out->document, what, "writer", WRITER_MAX, &out->writer, err);
    json_t *schema = NULL;
    if (rc == OK)
        rc = json_get_object(out->document, what, "schema", &schema, err);
    if (rc == OK)
        out->schema = json_incref(schema);
    return rc;
}

int announcement_document(json_t **out, struct slice bytes, struct error *err)
{
    *out = NULL;
    int rc =
        document_bound("announcement", bytes, ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENT_VALUES_MAX, err);
    return rc == OK ? json_decode(out, bytes, err) : rc;
}

/* A number that fits in no integer may be what is wrong with it, so those are read as reals. */
bool announcement_stream_guess(struct slice bytes, char out[STREAM_NAME_MAX + 1])
{
    struct error ignored; /* then nobody can be told */
    json_error_t at;
    const char *table = NULL;
    if (document_bound("announcement", bytes, ANNOUNCEMENT_BYTES_MAX, ANNOUNCEMENT_VALUES_MAX,
                       &ignored) != OK)
        return false;
    json_t *document = json_loadb((const char *)bytes.data, bytes.len,
                                  JSON_DECODE_INT_AS_REAL | JSON_ALLOW_NUL, &at);
    const char *stream = json_string_value(json_object_get(document, "stream"));
    bool found = stream != NULL && stream_name_check(stream, &table);
    if (found)
        memcpy(out, stream, strlen(stream) + 1);
    json_decref(document);
    return found;
}

int announcement_decode(struct announcement *out, struct slice bytes, struct error *err)
{
    announcement_init(out);
    int rc = document_decode(&out->document, "announcement", bytes, ANNOUNCEMENT_BYTES_MAX,
                             ANNOUNCEMENT_VALUES_MAX, err);
    if (rc == OK)
        rc = decode_names(out, err);
    if (rc == OK)
        rc = decode_range(out, err);
    if (rc == OK)
        rc = decode_times(out, err);
    if (rc == OK)
        rc = decode_files(out, err);
    if (rc != OK)
        announcement_free(out);
    return rc;
}
