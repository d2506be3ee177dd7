/* SPDX-License-Identifier: Apache-2.0
 *
 * Table metadata: bytes to a document and back, a new table's, and what others ask of
 * it. Changes are in metadata_apply.c.
 */
#include "lib/iceberg/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/avro/avro.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

/* ---- looking into it ---- */

int64_t object_i64(const json_t *object, const char *key, int64_t otherwise)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? (int64_t)json_integer_value(value) : otherwise;
}

json_t *find_by_id(const json_t *list, const char *key, int64_t id)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *member = json_array_get(list, i);
        const json_t *value = json_object_get(member, key);
        if (json_is_integer(value) && json_integer_value(value) == id)
            return member;
    }
    return NULL;
}

const char *metadata_uuid_borrow(const json_t *metadata)
{
    return json_string_value(json_object_get(metadata, "table-uuid"));
}

const char *metadata_location_borrow(const json_t *metadata)
{
    return json_string_value(json_object_get(metadata, "location"));
}

int64_t metadata_last_sequence_number(const json_t *metadata)
{
    return object_i64(metadata, "last-sequence-number", 0);
}

int64_t metadata_format_version(const json_t *metadata)
{
    return object_i64(metadata, "format-version", 0);
}

int64_t metadata_current_snapshot_id(const json_t *metadata)
{
    const json_t *main_ref = json_object_get(json_object_get(metadata, "refs"), "main");
    if (main_ref != NULL)
        return object_i64(main_ref, "snapshot-id", -1);
    return object_i64(metadata, "current-snapshot-id", -1);
}

int64_t metadata_last_updated_ms(const json_t *metadata)
{
    return object_i64(metadata, "last-updated-ms", 0);
}

json_t *metadata_snapshot_borrow(const json_t *metadata, int64_t snapshot_id)
{
    return find_by_id(json_object_get(metadata, "snapshots"), "snapshot-id", snapshot_id);
}

const char *metadata_property_borrow(const json_t *metadata, const char *key)
{
    return json_string_value(json_object_get(json_object_get(metadata, "properties"), key));
}

int64_t metadata_property_i64(const json_t *metadata, const char *key, int64_t otherwise)
{
    const char *text = metadata_property_borrow(metadata, key);
    char *end = NULL;
    if (text == NULL || *text < '0' || *text > '9')
        return otherwise;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    return *end == 0 && errno == 0 ? value : otherwise;
}

bool metadata_property_bool(const json_t *metadata, const char *key, bool otherwise)
{
    const char *text = metadata_property_borrow(metadata, key);
    if (text != NULL && strcasecmp(text, "true") == 0)
        return true;
    if (text != NULL && strcasecmp(text, "false") == 0)
        return false;
    return otherwise;
}

json_t *metadata_current_schema_borrow(const json_t *metadata)
{
    const json_t *schemas = json_object_get(metadata, "schemas");
    if (schemas == NULL) /* v1 */
        return json_object_get(metadata, "schema");
    return find_by_id(schemas, "schema-id", object_i64(metadata, "current-schema-id", -1));
}

json_t *metadata_spec_borrow(const json_t *metadata, int64_t spec_id)
{
    return find_by_id(json_object_get(metadata, "partition-specs"), "spec-id", spec_id);
}

json_t *metadata_main_update(const json_t *metadata, int64_t snapshot_id)
{
    json_t *main_ref = json_object_get(json_object_get(metadata, "refs"), "main");
    json_t *update = json_object();
    const char *key;
    json_t *value;
    json_object_foreach(main_ref, key, value)
    {
        json_object_set_new(update, key, json_deep_copy(value));
    }
    json_object_set_new(update, "action", json_string("set-snapshot-ref"));
    json_object_set_new(update, "ref-name", json_string("main"));
    json_object_set_new(update, "type", json_string("branch"));
    json_object_set_new(update, "snapshot-id", json_integer((json_int_t)snapshot_id));
    return update;
}

/* Keys that would shadow what the metadata says itself. */
static bool property_is_reserved(const char *key)
{
    static const char *const reserved[] = {
        "format-version",      "uuid",
        "snapshot-count",      "current-snapshot-summary",
        "current-snapshot-id", "current-snapshot-timestamp-ms",
        "current-schema",      "default-partition-spec",
        "default-sort-order",
    };
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++) {
        if (strcmp(key, reserved[i]) == 0)
            return true;
    }
    return false;
}

int properties_check(const json_t *properties, struct error *err)
{
    const char *key;
    json_t *value;
    if (!json_is_object(properties))
        return error_set(err, ERROR_INPUT, "properties are no object");
    json_object_foreach((json_t *)(uintptr_t)properties, key, value)
    {
        if (!json_is_string(value))
            return error_set(err, ERROR_INPUT, "property \"%.100s\" is no string", key);
        if (property_is_reserved(key))
            return error_set(err, ERROR_INPUT, "property \"%.100s\" is reserved", key);
    }
    return OK;
}

/* ---- bytes ---- */

int metadata_decode(json_t **out, struct slice bytes, struct error *err)
{
    struct buf plain;
    json_t *document = NULL;
    int rc = OK;
    *out = NULL;
    buf_init(&plain, METADATA_BYTES_MAX);
    if (bytes.len >= 2 && bytes.data[0] == 0x1f && bytes.data[1] == 0x8b) {
        rc = avro_inflate(&plain, bytes, 31, err);
        bytes = buf_slice(&plain);
    } else if (bytes.len > METADATA_BYTES_MAX) {
        rc = error_set(err, ERROR_LIMIT, "%zu bytes", bytes.len);
    }
    if (rc == OK)
        rc = json_decode(&document, bytes, err);
    if (rc == OK)
        rc = metadata_check(document, err);
    buf_free(&plain);
    if (rc != OK) {
        json_decref(document);
        return error_wrap(err, "table metadata");
    }
    *out = document;
    return OK;
}

void metadata_encode(const json_t *metadata, struct buf *out)
{
    json_encode(metadata, out);
}

void metadata_directory(const json_t *metadata, struct buf *out)
{
    const char *path = metadata_property_borrow(metadata, "write.metadata.path");
    if (path == NULL) {
        buf_printf(out, "%s/metadata", metadata_location_borrow(metadata));
        return;
    }
    size_t len = strlen(path);
    while (len > 0 && path[len - 1] == '/')
        len--;
    buf_put(out, path, len);
}

void metadata_file_name(const char *location, const char *uuid, struct buf *out)
{
    long long next = 0;
    if (location != NULL) {
        const char *slash = strrchr(location, '/');
        const char *name = slash == NULL ? location : slash + 1;
        size_t digits = strspn(name, "0123456789");
        /* Names of other making begin anew at 0, as Java has it. */
        if (digits > 0 && digits < 10 && name[digits] == '-')
            next = strtoll(name, NULL, 10) + 1;
    }
    buf_printf(out, "%05lld-%s.metadata.json", next, uuid);
}

/* ---- a new table ---- */

static int create_schema(json_t *document, const json_t *request, struct error *err)
{
    const json_t *given = json_object_get(request, "schema");
    int64_t highest;
    int rc = schema_check(given, true, &highest, err);
    if (rc != OK)
        return rc;
    json_t *schema = json_deep_copy(given);
    json_object_set_new(schema, "type", json_string("struct"));
    json_object_set_new(schema, "schema-id", json_integer(0));
    json_object_set_new(document, "last-column-id", json_integer(highest));
    json_object_set_new(document, "current-schema-id", json_integer(0));
    json_object_set_new(document, "schemas", json_pack("[o]", schema));
    return OK;
}

static int create_spec(json_t *document, const json_t *request, struct error *err)
{
    const json_t *given = json_object_get(json_object_get(request, "partition-spec"), "fields");
    json_t *schema = metadata_current_schema_borrow(document);
    json_t *fields = given == NULL ? json_array() : json_deep_copy(given);
    int64_t last = PARTITION_ID_FIRST - 1;
    int rc = spec_check(fields, schema, err);
    for (size_t i = 0; rc == OK && i < json_array_size(fields); i++) {
        json_t *field = json_array_get(fields, i);
        int64_t id = object_i64(field, "field-id", last + 1);
        if (id <= last || id > FIELD_ID_MAX)
            rc = error_set(err, ERROR_INPUT, "partition field id %lld: not above those before it",
                           (long long)id);
        json_object_set_new(field, "field-id", json_integer(id));
        last = id;
    }
    if (rc != OK) {
        json_decref(fields);
        return rc;
    }
    json_t *specs = json_pack("[{s:i,s:o}]", "spec-id", 0, "fields", fields);
    json_object_set_new(document, "partition-specs", specs);
    json_object_set_new(document, "default-spec-id", json_integer(0));
    json_object_set_new(document, "last-partition-id", json_integer(last));
    return OK;
}

static int create_sort_order(json_t *document, const json_t *request, struct error *err)
{
    const json_t *fields = json_object_get(json_object_get(request, "write-order"), "fields");
    int rc = sort_order_check(fields, metadata_current_schema_borrow(document), err);
    if (rc != OK)
        return rc;
    json_t *orders = json_pack("[{s:i,s:[]}]", "order-id", 0, "fields");
    int64_t order_id = 0;
    if (json_array_size(fields) > 0) {
        order_id = 1;
        json_array_append_new(
            orders, json_pack("{s:i,s:o}", "order-id", 1, "fields", json_deep_copy(fields)));
    }
    json_object_set_new(document, "sort-orders", orders);
    json_object_set_new(document, "default-sort-order-id", json_integer(order_id));
    return OK;
}

static int create_properties(json_t *document, const json_t *request, struct error *err)
{
    const json_t *given = json_object_get(request, "properties");
    json_t *properties = json_is_object(given) ? json_deep_copy(given) : json_object();
    const char *version = json_string_value(json_object_get(properties, "format-version"));
    int rc = OK;
    if (version != NULL && strcmp(version, "2") != 0)
        rc = error_set(err, ERROR_INPUT, "new tables have format version 2, not %.20s", version);
    json_object_del(properties, "format-version");
    if (rc == OK)
        rc = properties_check(properties, err);
    json_object_set_new(document, "properties", properties);
    return rc;
}

static char *copy_location(const char *location)
{
    size_t len = strlen(location);
    while (len > 0 && location[len - 1] == '/')
        len--;
    return memory_copy_slice(slice_of(location, len));
}

int metadata_create(json_t **out, const json_t *request, const char *uuid, const char *location,
                    int64_t now_ms, struct error *err)
{
    static const char *const lists[] = {"snapshots", "statistics", "partition-statistics",
                                        "snapshot-log", "metadata-log"};
    char *trimmed = copy_location(location);
    json_t *document =
        json_pack("{s:i,s:s,s:s,s:i,s:I}", "format-version", 2, "table-uuid", uuid, "location",
                  trimmed, "last-sequence-number", 0, "last-updated-ms", (json_int_t)now_ms);
    free(trimmed);
    *out = NULL;
    if (document == NULL)
        return error_set(err, ERROR_INPUT, "new table: uuid or location is no UTF-8");
    int rc = create_schema(document, request, err);
    if (rc == OK)
        rc = create_spec(document, request, err);
    if (rc == OK)
        rc = create_sort_order(document, request, err);
    if (rc == OK)
        rc = create_properties(document, request, err);
    if (rc != OK) {
        json_decref(document);
        return error_wrap(err, "new table");
    }
    json_object_set_new(document, "current-snapshot-id", json_integer(-1));
    json_object_set_new(document, "refs", json_object());
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        json_object_set_new(document, lists[i], json_array());
    *out = document;
    return OK;
}

/* ---- may we write to it ---- */

int iceberg_check_writable(const json_t *metadata, struct error *err)
{
    int64_t version = metadata_format_version(metadata);
    if (version < 2)
        return error_set(err, ERROR_INPUT, "format version %lld: only 2 and 3 are written",
                         (long long)version);
    if (version > FORMAT_VERSION_MAX)
        return error_set(err, ERROR_INPUT, "format version %lld is not known", (long long)version);
    const json_t *snapshot =
        metadata_snapshot_borrow(metadata, metadata_current_snapshot_id(metadata));
    if (json_array_size(json_object_get(metadata, "encryption-keys")) > 0 ||
        metadata_property_borrow(metadata, "encryption.key-id") != NULL ||
        json_is_string(json_object_get(snapshot, "key-id")))
        return error_set(err, ERROR_INPUT, "the table is encrypted, which is not supported");
    const json_t *spec =
        metadata_spec_borrow(metadata, object_i64(metadata, "default-spec-id", -1));
    const json_t *schema = metadata_current_schema_borrow(metadata);
    int rc = spec_check(json_object_get(spec, "fields"), schema, err);
    return rc == OK ? OK : error_wrap(err, "default partition spec");
}
