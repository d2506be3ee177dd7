/* SPDX-License-Identifier: Apache-2.0
 *
 * REST's updates, applied to a copy of the metadata, and the logs that go with them.
 *
 * What the updates don't name stays as it is, known to us or not. The rules that are
 * easily got wrong are the logs' (reference: table spec, Snapshot Log and Metadata
 * Log): the snapshot log gets an entry when main moves, never one for a snapshot that
 * was current only within this call; its last entry is the current snapshot; and when
 * snapshots go, everything up to the last entry without a snapshot goes.
 */
#include "lib/iceberg/internal.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json/json.h"

enum { CLOCK_SKEW_MAX_MS = 60000 }; /* Java refuses to load what goes back further */

struct apply {
    json_t *document; /* the copy */
    int64_t now_ms;   /* never before the base's last-updated-ms */
    int64_t format_version;
    int64_t last_schema_id; /* what -1 stands for in set-*; -1: none was added */
    int64_t last_spec_id;
    int64_t last_order_id;
    json_t *added;       /* ids of snapshots added here, as keys */
    size_t logged_count; /* entries of the snapshot log that are this call's */
    struct error *err;
};

static json_t *member_or_new(json_t *document, const char *key, json_t *(*make)(void))
{
    json_t *member = json_object_get(document, key);
    if (member == NULL || json_is_null(member)) {
        member = make();
        json_object_set_new(document, key, member);
    }
    return member;
}

static void set_number(struct apply *apply, const char *key, int64_t value)
{
    json_object_set_new(apply->document, key, json_integer((json_int_t)value));
}

static int64_t highest_id(const json_t *list, const char *key, int64_t otherwise)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        int64_t id = object_i64(json_array_get(list, i), key, otherwise);
        otherwise = id > otherwise ? id : otherwise;
    }
    return otherwise;
}

/* Of set-current-schema and kin: -1 is the last one added. */
static int resolve_id(struct apply *apply, const json_t *update, const char *key, int64_t last,
                      int64_t *out)
{
    int rc = json_get_i64(update, "update", key, out, apply->err);
    if (rc == OK && *out == -1)
        *out = last;
    if (rc == OK && *out == -1)
        rc = error_set(apply->err, ERROR_INPUT, "update: %s -1, but none was added", key);
    return rc;
}

/* ---- identity, location, version, properties ---- */

static int assign_uuid(struct apply *apply, const json_t *update)
{
    const char *uuid;
    const char *old = metadata_uuid_borrow(apply->document);
    int rc = json_get_string(update, "update", "uuid", &uuid, apply->err);
    if (rc == OK && old != NULL && strcmp(old, uuid) != 0)
        rc = error_set(apply->err, ERROR_INPUT, "update: a table's uuid never changes");
    if (rc == OK)
        json_object_set_new(apply->document, "table-uuid", json_string(uuid));
    return rc;
}

static int upgrade_format_version(struct apply *apply, const json_t *update)
{
    int64_t version;
    int rc = json_get_i64(update, "update", "format-version", &version, apply->err);
    if (rc != OK)
        return rc;
    if (version < apply->format_version || version > FORMAT_VERSION_MAX ||
        (apply->format_version < 2 && version != apply->format_version))
        return error_set(apply->err, ERROR_INPUT, "update: format version %lld to %lld",
                         (long long)apply->format_version, (long long)version);
    if (version == 3 && apply->format_version < 3) {
        set_number(apply, "next-row-id", 0);
        if (metadata_current_snapshot_id(apply->document) == -1)
            json_object_set_new(apply->document, "current-snapshot-id", json_null());
    }
    apply->format_version = version;
    set_number(apply, "format-version", version);
    return OK;
}

static int set_location(struct apply *apply, const json_t *update)
{
    const char *location;
    int rc = json_get_string(update, "update", "location", &location, apply->err);
    if (rc != OK)
        return rc;
    size_t len = strlen(location);
    while (len > 0 && location[len - 1] == '/')
        len--;
    if (len == 0)
        return error_set(apply->err, ERROR_INPUT, "update: an empty location");
    json_object_set_new(apply->document, "location", json_stringn(location, len));
    return OK;
}

static int set_properties(struct apply *apply, const json_t *update)
{
    json_t *updates;
    int rc = json_get_object(update, "update", "updates", &updates, apply->err);
    if (rc == OK)
        rc = properties_check(updates, apply->err);
    if (rc == OK)
        json_object_update(member_or_new(apply->document, "properties", json_object), updates);
    return rc;
}

static int remove_properties(struct apply *apply, const json_t *update)
{
    json_t *removals;
    int rc = json_get_array(update, "update", "removals", &removals, apply->err);
    for (size_t i = 0; rc == OK && i < json_array_size(removals); i++) {
        const char *key = json_string_value(json_array_get(removals, i));
        if (key == NULL)
            return error_set(apply->err, ERROR_INPUT, "update: a removal that is no string");
        json_object_del(json_object_get(apply->document, "properties"), key);
    }
    return rc;
}

/* ---- schemas, specs, sort orders ---- */

static int add_schema(struct apply *apply, const json_t *update)
{
    json_t *given;
    int64_t highest;
    int rc = json_get_object(update, "update", "schema", &given, apply->err);
    if (rc == OK)
        rc = schema_check(given, true, &highest, apply->err);
    if (rc != OK)
        return rc;
    json_t *schemas = member_or_new(apply->document, "schemas", json_array);
    int64_t last = object_i64(apply->document, "last-column-id", 0);
    set_number(apply, "last-column-id", highest > last ? highest : last);
    for (size_t i = 0; i < json_array_size(schemas); i++) {
        const json_t *schema = json_array_get(schemas, i);
        if (schema_equal(schema, given)) {
            apply->last_schema_id = object_i64(schema, "schema-id", -1);
            return OK;
        }
    }
    json_t *schema = json_deep_copy(given);
    apply->last_schema_id = highest_id(schemas, "schema-id", -1) + 1;
    json_object_set_new(schema, "type", json_string("struct"));
    json_object_set_new(schema, "schema-id", json_integer((json_int_t)apply->last_schema_id));
    json_array_append_new(schemas, schema);
    return OK;
}

static int set_current_schema(struct apply *apply, const json_t *update)
{
    int64_t id;
    int rc = resolve_id(apply, update, "schema-id", apply->last_schema_id, &id);
    if (rc == OK &&
        find_by_id(json_object_get(apply->document, "schemas"), "schema-id", id) == NULL)
        rc = error_set(apply->err, ERROR_INPUT, "update: no schema %lld", (long long)id);
    if (rc == OK)
        set_number(apply, "current-schema-id", id);
    return rc;
}

static bool same_partition_field(const json_t *a, const json_t *b)
{
    static const char *const keys[] = {"source-id", "source-ids", "transform", "name"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *left = json_object_get(a, keys[i]);
        const json_t *right = json_object_get(b, keys[i]);
        if (left != right && json_equal(left, right) != 1)
            return false;
    }
    return true;
}

/* The id that an equivalent field of any spec has, or the next new one. */
static int64_t partition_field_id(const json_t *specs, const json_t *field, int64_t last)
{
    for (size_t i = 0; i < json_array_size(specs); i++) {
        const json_t *fields = json_object_get(json_array_get(specs, i), "fields");
        for (size_t n = 0; n < json_array_size(fields); n++) {
            if (same_partition_field(json_array_get(fields, n), field))
                return object_i64(json_array_get(fields, n), "field-id", last + 1);
        }
    }
    return last + 1;
}

static bool same_fields(const json_t *a, const json_t *b,
                        bool (*same)(const json_t *, const json_t *))
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++) {
        if (!same(json_array_get(a, i), json_array_get(b, i)))
            return false;
    }
    return true;
}

static int add_spec(struct apply *apply, const json_t *update)
{
    json_t *given;
    json_t *fields;
    int rc = json_get_object(update, "update", "spec", &given, apply->err);
    if (rc == OK)
        rc = json_get_array(given, "spec", "fields", &fields, apply->err);
    if (rc == OK)
        rc = spec_check(fields, metadata_current_schema_borrow(apply->document), apply->err);
    if (rc != OK)
        return rc;
    json_t *specs = member_or_new(apply->document, "partition-specs", json_array);
    for (size_t i = 0; i < json_array_size(specs); i++) {
        const json_t *spec = json_array_get(specs, i);
        if (same_fields(json_object_get(spec, "fields"), fields, same_partition_field)) {
            apply->last_spec_id = object_i64(spec, "spec-id", -1);
            return OK;
        }
    }
    int64_t last = object_i64(apply->document, "last-partition-id", PARTITION_ID_FIRST - 1);
    fields = json_deep_copy(fields);
    for (size_t i = 0; i < json_array_size(fields); i++) {
        json_t *field = json_array_get(fields, i);
        int64_t id = object_i64(field, "field-id", -1);
        if (id < PARTITION_ID_FIRST || id > FIELD_ID_MAX)
            id = partition_field_id(specs, field, last);
        json_object_set_new(field, "field-id", json_integer((json_int_t)id));
        last = id > last ? id : last;
    }
    apply->last_spec_id = highest_id(specs, "spec-id", -1) + 1;
    json_array_append_new(specs, json_pack("{s:I,s:o}", "spec-id", (json_int_t)apply->last_spec_id,
                                           "fields", fields));
    set_number(apply, "last-partition-id", last);
    return OK;
}

static int set_default_spec(struct apply *apply, const json_t *update)
{
    int64_t id;
    int rc = resolve_id(apply, update, "spec-id", apply->last_spec_id, &id);
    if (rc == OK && metadata_spec_borrow(apply->document, id) == NULL)
        rc = error_set(apply->err, ERROR_INPUT, "update: no partition spec %lld", (long long)id);
    if (rc == OK)
        set_number(apply, "default-spec-id", id);
    return rc;
}

static bool same_sort_field(const json_t *a, const json_t *b)
{
    return json_equal(a, b) == 1;
}

static int add_sort_order(struct apply *apply, const json_t *update)
{
    json_t *given;
    json_t *fields;
    int rc = json_get_object(update, "update", "sort-order", &given, apply->err);
    if (rc == OK)
        rc = json_get_array(given, "sort order", "fields", &fields, apply->err);
    if (rc == OK)
        rc = sort_order_check(fields, metadata_current_schema_borrow(apply->document), apply->err);
    if (rc != OK)
        return rc;
    json_t *orders = member_or_new(apply->document, "sort-orders", json_array);
    for (size_t i = 0; i < json_array_size(orders); i++) {
        const json_t *order = json_array_get(orders, i);
        if (same_fields(json_object_get(order, "fields"), fields, same_sort_field)) {
            apply->last_order_id = object_i64(order, "order-id", -1);
            return OK;
        }
    }
    /* 0 is the unsorted order and no other. */
    apply->last_order_id = json_array_size(fields) == 0 ? 0 : highest_id(orders, "order-id", 0) + 1;
    json_array_append_new(orders,
                          json_pack("{s:I,s:o}", "order-id", (json_int_t)apply->last_order_id,
                                    "fields", json_deep_copy(fields)));
    return OK;
}

static int set_default_sort_order(struct apply *apply, const json_t *update)
{
    int64_t id;
    int rc = resolve_id(apply, update, "sort-order-id", apply->last_order_id, &id);
    if (rc == OK && id != 0 &&
        find_by_id(json_object_get(apply->document, "sort-orders"), "order-id", id) == NULL)
        rc = error_set(apply->err, ERROR_INPUT, "update: no sort order %lld", (long long)id);
    if (rc == OK)
        set_number(apply, "default-sort-order-id", id);
    return rc;
}

/* ---- snapshots ---- */

static int check_summary(const json_t *snapshot, struct error *err)
{
    json_t *summary;
    const char *text;
    json_t *value;
    int rc = json_get_object(snapshot, "snapshot", "summary", &summary, err);
    if (rc == OK)
        rc = json_get_string(summary, "summary", "operation", &text, err);
    if (rc != OK)
        return rc;
    json_object_foreach(summary, text, value)
    {
        if (!json_is_string(value))
            return error_set(err, ERROR_INPUT, "summary: \"%.100s\" is no string", text);
    }
    return OK;
}

static int check_snapshot_time(const struct apply *apply, int64_t timestamp_ms)
{
    const json_t *log = json_object_get(apply->document, "snapshot-log");
    size_t count = json_array_size(log);
    int64_t last =
        count == 0 ? INT64_MIN : object_i64(json_array_get(log, count - 1), "timestamp-ms", 0);
    if (count > 0 && timestamp_ms < last && last - timestamp_ms > CLOCK_SKEW_MAX_MS)
        return error_set(apply->err, ERROR_INPUT,
                         "snapshot: its time is %lld ms before the last one's",
                         (long long)(last - timestamp_ms));
    return OK;
}

/* v3: rows get their ids from where the table stands; two who began at the same place
 * have raced. */
static int take_row_ids(struct apply *apply, const json_t *snapshot)
{
    int64_t first;
    int64_t added;
    int64_t sum;
    int rc = json_get_i64(snapshot, "snapshot", "first-row-id", &first, apply->err);
    if (rc == OK)
        rc = json_get_i64(snapshot, "snapshot", "added-rows", &added, apply->err);
    if (rc != OK)
        return rc;
    int64_t next = object_i64(apply->document, "next-row-id", 0);
    if (first < next)
        return error_set(apply->err, ERROR_CONFLICT,
                         "snapshot: first-row-id %lld is given already, next is %lld",
                         (long long)first, (long long)next);
    if (added < 0 || __builtin_add_overflow(first, added, &sum))
        return error_set(apply->err, ERROR_INPUT, "snapshot: added-rows %lld", (long long)added);
    set_number(apply, "next-row-id", sum);
    return OK;
}

static int add_snapshot(struct apply *apply, const json_t *update)
{
    json_t *snapshot;
    int64_t id;
    int64_t seq;
    int64_t timestamp_ms;
    const char *text;
    int rc = json_get_object(update, "update", "snapshot", &snapshot, apply->err);
    if (rc == OK)
        rc = json_get_i64(snapshot, "snapshot", "snapshot-id", &id, apply->err);
    if (rc == OK)
        rc = json_get_i64(snapshot, "snapshot", "sequence-number", &seq, apply->err);
    if (rc == OK)
        rc = json_get_i64(snapshot, "snapshot", "timestamp-ms", &timestamp_ms, apply->err);
    if (rc == OK)
        rc = json_get_string(snapshot, "snapshot", "manifest-list", &text, apply->err);
    if (rc == OK)
        rc = check_summary(snapshot, apply->err);
    if (rc == OK)
        rc = check_snapshot_time(apply, timestamp_ms);
    if (rc != OK)
        return rc;
    if (apply->format_version < 2 || id < 0)
        return error_set(apply->err, ERROR_INPUT, "snapshot: format version 1, or id below 0");
    if (metadata_snapshot_borrow(apply->document, id) != NULL)
        return error_set(apply->err, ERROR_CONFLICT, "snapshot %lld is there already",
                         (long long)id);
    if (seq <= metadata_last_sequence_number(apply->document))
        return error_set(apply->err, ERROR_CONFLICT,
                         "snapshot: sequence number %lld is given already", (long long)seq);
    rc = apply->format_version >= 3 ? take_row_ids(apply, snapshot) : OK;
    if (rc != OK)
        return rc;
    json_array_append_new(member_or_new(apply->document, "snapshots", json_array),
                          json_deep_copy(snapshot));
    set_number(apply, "last-sequence-number", seq);
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)id);
    json_object_set_new(apply->added, key, json_true());
    return OK;
}

static bool is_added(const struct apply *apply, int64_t id)
{
    char key[24];
    snprintf(key, sizeof key, "%lld", (long long)id);
    return json_object_get(apply->added, key) != NULL;
}

static void set_current(struct apply *apply, int64_t id)
{
    if (id == -1 && apply->format_version >= 3)
        json_object_set_new(apply->document, "current-snapshot-id", json_null());
    else
        set_number(apply, "current-snapshot-id", id);
}

/* Main moves: the log gets the snapshot's own time if it is new, else the time of the
 * change. */
static void move_main(struct apply *apply, int64_t id)
{
    if (metadata_current_snapshot_id(apply->document) == id)
        return;
    int64_t at_ms = apply->now_ms;
    if (is_added(apply, id))
        at_ms = object_i64(metadata_snapshot_borrow(apply->document, id), "timestamp-ms", at_ms);
    if (at_ms > apply->now_ms)
        apply->now_ms = at_ms;
    json_array_append_new(
        member_or_new(apply->document, "snapshot-log", json_array),
        json_pack("{s:I,s:I}", "timestamp-ms", (json_int_t)at_ms, "snapshot-id", (json_int_t)id));
    apply->logged_count++;
    set_current(apply, id);
}

/* The refs, with main in it where older metadata only implies it. */
static json_t *all_refs(struct apply *apply)
{
    int64_t current = metadata_current_snapshot_id(apply->document);
    json_t *refs = member_or_new(apply->document, "refs", json_object);
    if (current != -1 && json_object_get(refs, "main") == NULL)
        json_object_set_new(
            refs, "main",
            json_pack("{s:I,s:s}", "snapshot-id", (json_int_t)current, "type", "branch"));
    return refs;
}

static int set_snapshot_ref(struct apply *apply, const json_t *update)
{
    static const char *const limits[] = {"max-ref-age-ms", "max-snapshot-age-ms",
                                         "min-snapshots-to-keep"};
    const char *name;
    const char *type;
    int64_t id;
    int rc = json_get_string(update, "update", "ref-name", &name, apply->err);
    if (rc == OK)
        rc = json_get_string(update, "update", "type", &type, apply->err);
    if (rc == OK)
        rc = json_get_i64(update, "update", "snapshot-id", &id, apply->err);
    if (rc != OK)
        return rc;
    bool is_tag = strcmp(type, "tag") == 0;
    bool is_main = strcmp(name, "main") == 0;
    if ((!is_tag && strcmp(type, "branch") != 0) || (is_tag && is_main))
        return error_set(apply->err, ERROR_INPUT, "ref %.100s: type %.20s", name, type);
    if (metadata_snapshot_borrow(apply->document, id) == NULL)
        return error_set(apply->err, ERROR_INPUT, "ref %.100s: no snapshot %lld", name,
                         (long long)id);
    /* What others keep in it stays; the limits are those of the update alone. */
    json_t *ref = json_copy(json_object_get(json_object_get(apply->document, "refs"), name));
    if (ref == NULL)
        ref = json_object();
    json_object_set_new(ref, "snapshot-id", json_integer((json_int_t)id));
    json_object_set_new(ref, "type", json_string(type));
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++)
        json_object_del(ref, limits[i]);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        json_t *limit = json_object_get(update, limits[i]);
        if (limit == NULL || json_is_null(limit))
            continue;
        if (!json_is_integer(limit) || json_integer_value(limit) <= 0 || (is_tag && i > 0)) {
            json_decref(ref);
            return error_set(apply->err, ERROR_INPUT, "ref %.100s: %s", name, limits[i]);
        }
        json_object_set(ref, limits[i], limit);
    }
    json_t *refs = all_refs(apply);
    if (is_main)
        move_main(apply, id);
    json_object_set_new(refs, name, ref);
    return OK;
}

static int remove_snapshot_ref(struct apply *apply, const json_t *update)
{
    const char *name;
    int rc = json_get_string(update, "update", "ref-name", &name, apply->err);
    if (rc != OK)
        return rc;
    json_object_del(all_refs(apply), name);
    if (strcmp(name, "main") == 0) {
        set_current(apply, -1);
        json_array_clear(member_or_new(apply->document, "snapshot-log", json_array));
        apply->logged_count = 0;
    }
    return OK;
}

/* ---- snapshots that go ---- */

static void keep_if_not(json_t *list, const char *key, const json_t *gone)
{
    json_t *kept = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *member = json_array_get(list, i);
        char id[24];
        snprintf(id, sizeof id, "%lld", (long long)object_i64(member, key, -1));
        if (json_object_get(gone, id) == NULL)
            json_array_append(kept, member);
    }
    json_array_clear(list);
    json_array_extend(list, kept);
    json_decref(kept);
}

/* A gap in the log would make time travel land on the wrong snapshot: what stands
 * before the last one goes too. */
static void cut_snapshot_log(json_t *log, const json_t *gone)
{
    size_t keep_from = 0;
    for (size_t i = 0; i < json_array_size(log); i++) {
        char id[24];
        snprintf(id, sizeof id, "%lld",
                 (long long)object_i64(json_array_get(log, i), "snapshot-id", -1));
        if (json_object_get(gone, id) != NULL)
            keep_from = i + 1;
    }
    json_t *kept = json_array();
    for (size_t i = keep_from; i < json_array_size(log); i++)
        json_array_append(kept, json_array_get(log, i));
    json_array_clear(log);
    json_array_extend(log, kept);
    json_decref(kept);
}

static void drop_snapshots(struct apply *apply, const json_t *gone)
{
    keep_if_not(json_object_get(apply->document, "snapshots"), "snapshot-id", gone);
    keep_if_not(json_object_get(apply->document, "statistics"), "snapshot-id", gone);
    keep_if_not(json_object_get(apply->document, "partition-statistics"), "snapshot-id", gone);
    cut_snapshot_log(json_object_get(apply->document, "snapshot-log"), gone);
    size_t count = json_array_size(json_object_get(apply->document, "snapshot-log"));
    if (apply->logged_count > count)
        apply->logged_count = count;
}

/* Refs other than main go with their snapshot; main's is not to be had. */
static int remove_snapshots(struct apply *apply, const json_t *update)
{
    json_t *ids;
    int64_t current = metadata_current_snapshot_id(apply->document);
    int rc = json_get_array(update, "update", "snapshot-ids", &ids, apply->err);
    if (rc != OK)
        return rc;
    json_t *gone = json_object();
    for (size_t i = 0; rc == OK && i < json_array_size(ids); i++) {
        const json_t *id = json_array_get(ids, i);
        char key[24];
        snprintf(key, sizeof key, "%lld", (long long)json_integer_value(id));
        json_object_set_new(gone, key, json_true());
        if (!json_is_integer(id))
            rc = error_set(apply->err, ERROR_INPUT, "update: a snapshot id that is no integer");
        else if (current != -1 && json_integer_value(id) == current)
            rc = error_set(apply->err, ERROR_INPUT, "update: snapshot %s is the current one", key);
    }
    if (rc == OK) {
        json_t *refs = all_refs(apply);
        const char *name;
        json_t *ref;
        void *next;
        json_object_foreach_safe(refs, next, name, ref)
        {
            char key[24];
            snprintf(key, sizeof key, "%lld", (long long)object_i64(ref, "snapshot-id", -1));
            if (json_object_get(gone, key) != NULL)
                json_object_del(refs, name);
        }
        drop_snapshots(apply, gone);
    }
    json_decref(gone);
    return rc;
}

/* ---- all together ---- */

static const struct update_kind {
    const char *action;
    int (*apply)(struct apply *apply, const json_t *update);
} update_kinds[] = {
    {"assign-uuid", assign_uuid},
    {"upgrade-format-version", upgrade_format_version},
    {"add-schema", add_schema},
    {"set-current-schema", set_current_schema},
    {"add-spec", add_spec},
    {"set-default-spec", set_default_spec},
    {"add-sort-order", add_sort_order},
    {"set-default-sort-order", set_default_sort_order},
    {"add-snapshot", add_snapshot},
    {"set-snapshot-ref", set_snapshot_ref},
    {"remove-snapshots", remove_snapshots},
    {"remove-snapshot-ref", remove_snapshot_ref},
    {"set-location", set_location},
    {"set-properties", set_properties},
    {"remove-properties", remove_properties},
};

static int apply_update(struct apply *apply, const json_t *update)
{
    const char *action;
    int rc = json_get_string(update, "update", "action", &action, apply->err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < sizeof update_kinds / sizeof *update_kinds; i++) {
        if (strcmp(action, update_kinds[i].action) == 0) {
            rc = update_kinds[i].apply(apply, update);
            return rc == OK ? OK : error_wrap(apply->err, "%s", action);
        }
    }
    return error_set(apply->err, ERROR_INPUT, "update \"%.60s\" is not known", action);
}

/* Takes what was current only in between out of the log, and sees to its end. */
static void finish_snapshot_log(struct apply *apply)
{
    int64_t current = metadata_current_snapshot_id(apply->document);
    json_t *log = member_or_new(apply->document, "snapshot-log", json_array);
    size_t count = json_array_size(log);
    for (size_t i = count; i > count - apply->logged_count; i--) {
        int64_t id = object_i64(json_array_get(log, i - 1), "snapshot-id", -1);
        if (id != current && is_added(apply, id))
            json_array_remove(log, i - 1);
    }
    count = json_array_size(log);
    if (current != -1 &&
        (count == 0 || object_i64(json_array_get(log, count - 1), "snapshot-id", -1) != current))
        json_array_append_new(log, json_pack("{s:I,s:I}", "timestamp-ms", (json_int_t)apply->now_ms,
                                             "snapshot-id", (json_int_t)current));
}

static void extend_metadata_log(struct apply *apply, const json_t *base, const char *base_location)
{
    json_t *log = member_or_new(apply->document, "metadata-log", json_array);
    if (*base_location != 0)
        json_array_append_new(log, json_pack("{s:I,s:s}", "timestamp-ms",
                                             (json_int_t)metadata_last_updated_ms(base),
                                             "metadata-file", base_location));
    int64_t max =
        metadata_property_i64(apply->document, "write.metadata.previous-versions-max", 100);
    while (json_array_size(log) > (size_t)(max < 1 ? 1 : max))
        json_array_remove(log, 0);
}

int metadata_apply(json_t **out, const json_t *base, const char *base_location,
                   const json_t *updates, int64_t now_ms, struct error *err)
{
    int64_t last_updated_ms = metadata_last_updated_ms(base);
    struct apply apply = {
        .document = json_deep_copy(base),
        .now_ms = now_ms > last_updated_ms ? now_ms : last_updated_ms,
        .format_version = metadata_format_version(base),
        .last_schema_id = -1,
        .last_spec_id = -1,
        .last_order_id = -1,
        .added = json_object(),
        .err = err,
    };
    int rc = OK;
    *out = NULL;
    if (!json_is_array(updates))
        rc = error_set(err, ERROR_INPUT, "updates are no list");
    for (size_t i = 0; rc == OK && i < json_array_size(updates); i++)
        rc = apply_update(&apply, json_array_get(updates, i));
    if (rc == OK) {
        finish_snapshot_log(&apply);
        extend_metadata_log(&apply, base, base_location);
        set_number(&apply, "last-updated-ms", apply.now_ms);
        *out = apply.document;
    } else {
        json_decref(apply.document);
    }
    json_decref(apply.added);
    return rc;
}
