/* SPDX-License-Identifier: Apache-2.0
 *
 * Announcement to JSON. Known keys are set over the document that it was decoded from,
 * so that keys of a later version pass through; a new one gets them in PROTOCOL.md's order.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/announce/decode.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"

static json_t *copy_or_object(const json_t *base)
{
    return json_is_object(base) ? json_copy((json_t *)(uintptr_t)base) : json_object();
}

/* Sets the key, or takes it away when there is no value. */
static void set_count(json_t *object, const char *key, int64_t value)
{
    if (value >= 0)
        json_object_set_new(object, key, json_integer(value));
    else
        json_object_del(object, key);
}

static void set_bytes(json_t *object, const char *key, bool given, struct slice bytes)
{
    if (!given) {
        json_object_del(object, key);
        return;
    }
    struct buf text = {0};
    base64_encode(bytes, &text);
    json_object_set_new(object, key, encode_text(buf_cstr(&text)));
    buf_free(&text);
}

static json_t *encode_metric(const struct file_metric *metric, const json_t *base)
{
    json_t *out = copy_or_object(base);
    set_count(out, "size", metric->size);
    set_count(out, "values", metric->values);
    set_count(out, "nulls", metric->nulls);
    set_count(out, "nans", metric->nans);
    set_bytes(out, "lower", metric->has_lower, metric->lower);
    set_bytes(out, "upper", metric->has_upper, metric->upper);
    return out;
}

static json_t *encode_metrics(const struct data_file *file, const json_t *base)
{
    json_t *out = json_object();
    for (size_t i = 0; i < file->metric_count; i++) {
        char key[16];
        snprintf(key, sizeof key, "%" PRId32, file->metrics[i].field_id);
        json_object_set_new(out, key, encode_metric(&file->metrics[i], json_object_get(base, key)));
    }
    return out;
}

static json_t *encode_partition(const struct data_file *file)
{
    ASSERT(file->partition_count <= PARTITION_FIELDS_MAX);
    json_t *out = json_array();
    for (size_t i = 0; i < file->partition_count; i++) {
        const struct partition_value *value = &file->partition[i];
        json_t *item = NULL;
        if (value->null)
            item = json_null();
        else if (value->is_text)
            item = json_stringn((const char *)value->text.data, value->text.len);
        else
            item = json_integer(value->number);
        ASSERT(item != NULL);
        json_array_append_new(out, item);
    }
    return out;
}

static json_t *encode_file(const struct data_file *file, const json_t *base)
{
    char checksum[9];
    json_t *out = copy_or_object(base);
    json_t *splits = json_array();
    for (size_t i = 0; i < file->split_count; i++)
        json_array_append_new(splits, json_integer(file->splits[i]));
    snprintf(checksum, sizeof checksum, "%08" PRIx32, file->crc32c);
    json_object_set_new(out, "path", encode_text(file->path));
    json_object_set_new(out, "offset", encode_count(file->offset));
    json_object_set_new(out, "size", encode_count(file->size));
    json_object_set_new(out, "crc32c", encode_text(checksum));
    json_object_set_new(out, "rows", encode_count(file->rows));
    json_object_set_new(out, "spec", json_integer(file->spec));
    json_object_set_new(out, "sort", json_integer(file->sort));
    json_object_set_new(out, "partition", encode_partition(file));
    json_object_set_new(out, "splits", splits);
    json_object_set_new(out, "metrics", encode_metrics(file, json_object_get(base, "metrics")));
    return out;
}

/* The document's files: the i-th is this one still when it has the same path. */
static json_t *encode_files(const struct announcement *announcement)
{
    const json_t *known = json_object_get(announcement->document, "files");
    json_t *out = json_array();
    for (size_t i = 0; i < announcement->file_count; i++) {
        const struct data_file *file = &announcement->files[i];
        const json_t *base = json_array_get(known, i);
        const char *path = json_string_value(json_object_get(base, "path"));
        bool same = path != NULL && strcmp(path, file->path) == 0;
        json_array_append_new(out, encode_file(file, same ? base : NULL));
    }
    return out;
}

static json_t *encode_lost_ranges(const struct announcement *announcement)
{
    const json_t *known = json_object_get(announcement->document, "lost");
    json_t *out = json_array();
    for (size_t i = 0; i < announcement->lost_count; i++) {
        const struct lost_range *lost = &announcement->lost[i];
        const json_t *base = json_array_get(known, i);
        const json_t *from = json_object_get(base, "from");
        bool same = json_is_integer(from) && (uint64_t)json_integer_value(from) == lost->from;
        json_array_append_new(out, encode_lost(lost, same ? base : NULL));
    }
    return out;
}

static json_t *encode_event_time(const struct announcement *announcement)
{
    if (!announcement->has_event_time)
        return json_null();
    json_t *out = copy_or_object(json_object_get(announcement->document, "event_time"));
    json_object_set_new(out, "min", json_integer(announcement->event_time_min_ms));
    json_object_set_new(out, "max", json_integer(announcement->event_time_max_ms));
    return out;
}

void announcement_encode(const struct announcement *announcement, struct buf *out)
{
    ASSERT(announcement->stream != NULL && announcement->agent != NULL);
    ASSERT(announcement->table != NULL && announcement->writer != NULL);
    ASSERT(announcement->schema != NULL);
    json_t *document = copy_or_object(announcement->document);
    json_object_set_new(document, "v", json_integer(1));
    json_object_set_new(document, "stream", encode_text(announcement->stream));
    json_object_set_new(document, "agent", encode_text(announcement->agent));
    json_object_set_new(document, "from", encode_count(announcement->from));
    json_object_set_new(document, "to", encode_count(announcement->to));
    json_object_set_new(document, "table", encode_text(announcement->table));
    json_object_set_new(document, "table_uuid", encode_text_or_null(announcement->table_uuid));
    json_object_set(document, "schema", announcement->schema);
    json_object_set_new(document, "writer", encode_text(announcement->writer));
    json_object_set_new(document, "events", encode_count(announcement->events));
    json_object_set_new(document, "rows", encode_count(announcement->rows));
    json_object_set_new(document, "sealed_at", json_integer(announcement->sealed_at_ms));
    json_object_set_new(document, "event_time", encode_event_time(announcement));
    json_object_set_new(document, "lost", encode_lost_ranges(announcement));
    json_object_set_new(document, "files", encode_files(announcement));
    json_encode(document, out);
    json_decref(document);
}
