/* SPDX-License-Identifier: Apache-2.0
 *
 * Is a document table metadata, as far as we rely on it; and do REST's requirements
 * hold for it. What we don't rely on is not looked at and stays as it is.
 */
#include "lib/iceberg/internal.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/base/memory.h"
#include "lib/json/json.h"

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

/* A list of objects, each with an integer of its own under `id_key`. */
static int check_ids(const json_t *list, const char *what, const char *id_key, struct error *err)
{
    size_t count = json_array_size(list);
    int rc = OK;
    if (count == 0)
        return OK;
    int64_t *ids = memory_alloc_raw(count, sizeof *ids);
    for (size_t i = 0; rc == OK && i < count; i++)
        rc = json_get_i64(json_array_get(list, i), what, id_key, &ids[i], err);
    if (rc == OK)
        qsort(ids, count, sizeof *ids, compare_ids);
    for (size_t i = 1; rc == OK && i < count; i++) {
        if (ids[i] == ids[i - 1])
            rc = error_set(err, ERROR_INPUT, "%s %lld twice", what, (long long)ids[i]);
    }
    free(ids);
    return rc;
}

/* An optional list: absent, null or an array of objects with those two members. */
static int check_log(const json_t *metadata, const char *key, const char *text_key,
                     const char *id_key, struct error *err)
{
    const json_t *list = json_object_get(metadata, key);
    int rc = OK;
    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return error_set(err, ERROR_INPUT, "%s is no list", key);
    for (size_t i = 0; rc == OK && i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *text;
        int64_t number;
        rc = json_get_i64(entry, key, "timestamp-ms", &number, err);
        if (rc == OK && text_key != NULL)
            rc = json_get_string(entry, key, text_key, &text, err);
        if (rc == OK && id_key != NULL)
            rc = json_get_i64(entry, key, id_key, &number, err);
    }
    return rc;
}

static int check_schemas(const json_t *metadata, struct error *err)
{
    json_t *schemas;
    int64_t id;
    int64_t last_column_id;
    int64_t highest;
    int rc = json_get_array(metadata, "metadata", "schemas", &schemas, err);
    if (rc == OK)
        rc = check_ids(schemas, "schema", "schema-id", err);
    if (rc == OK)
        rc = json_get_i64(metadata, "metadata", "current-schema-id", &id, err);
    if (rc == OK)
        rc = json_get_i64(metadata, "metadata", "last-column-id", &last_column_id, err);
    for (size_t i = 0; rc == OK && i < json_array_size(schemas); i++)
        rc = schema_check(json_array_get(schemas, i), false, &highest, err);
    if (rc == OK && find_by_id(schemas, "schema-id", id) == NULL)
        rc = error_set(err, ERROR_INPUT, "no schema %lld, the current one", (long long)id);
    return rc;
}

static int check_specs(const json_t *metadata, struct error *err)
{
    json_t *specs;
    json_t *fields;
    int64_t id;
    int64_t number;
    int rc = json_get_array(metadata, "metadata", "partition-specs", &specs, err);
    if (rc == OK)
        rc = check_ids(specs, "partition spec", "spec-id", err);
    for (size_t i = 0; rc == OK && i < json_array_size(specs); i++) {
        rc = json_get_array(json_array_get(specs, i), "partition spec", "fields", &fields, err);
        for (size_t n = 0; rc == OK && n < json_array_size(fields); n++)
            rc = json_get_i64(json_array_get(fields, n), "partition field", "field-id", &number,
                              err);
    }
    if (rc == OK)
        rc = json_get_i64(metadata, "metadata", "default-spec-id", &id, err);
    if (rc == OK && find_by_id(specs, "spec-id", id) == NULL)
        rc = error_set(err, ERROR_INPUT, "no partition spec %lld, the default", (long long)id);
    if (rc == OK)
        rc = json_get_i64(metadata, "metadata", "last-partition-id", &number, err);
    return rc;
}

static int check_sort_orders(const json_t *metadata, struct error *err)
{
    json_t *orders;
    int64_t id;
    int rc = json_get_array(metadata, "metadata", "sort-orders", &orders, err);
    if (rc == OK)
        rc = check_ids(orders, "sort order", "order-id", err);
    if (rc == OK)
        rc = json_get_i64(metadata, "metadata", "default-sort-order-id", &id, err);
    if (rc == OK && id != 0 && find_by_id(orders, "order-id", id) == NULL)
        rc = error_set(err, ERROR_INPUT, "no sort order %lld, the default", (long long)id);
    return rc;
}

static int check_snapshots(const json_t *metadata, int64_t version, struct error *err)
{
    const json_t *list = json_object_get(metadata, "snapshots");
    const char *text;
    int64_t number;
    if (list != NULL && !json_is_null(list) && !json_is_array(list))
        return error_set(err, ERROR_INPUT, "snapshots are no list");
    int rc = check_ids(list, "snapshot", "snapshot-id", err);
    for (size_t i = 0; rc == OK && i < json_array_size(list); i++) {
        const json_t *snapshot = json_array_get(list, i);
        rc = json_get_i64(snapshot, "snapshot", "timestamp-ms", &number, err);
        if (rc == OK && version >= 2)
            rc = json_get_string(snapshot, "snapshot", "manifest-list", &text, err);
        /* A snapshot taken over from v1 has none. */
        if (rc == OK)
            rc = json_get_i64_or(snapshot, "snapshot", "sequence-number", 0, &number, err);
    }
    return rc;
}

static int check_refs(const json_t *metadata, struct error *err)
{
    json_t *refs = json_object_get(metadata, "refs");
    const char *name;
    const char *type;
    json_t *ref;
    int64_t id;
    if (refs == NULL || json_is_null(refs))
        refs = NULL;
    else if (!json_is_object(refs))
        return error_set(err, ERROR_INPUT, "refs are no object");
    json_object_foreach(refs, name, ref)
    {
        int rc = json_get_i64(ref, "ref", "snapshot-id", &id, err);
        if (rc == OK)
            rc = json_get_string(ref, "ref", "type", &type, err);
        if (rc != OK)
            return rc;
        if (metadata_snapshot_borrow(metadata, id) == NULL)
            return error_set(err, ERROR_INPUT, "ref %.100s: no snapshot %lld", name, (long long)id);
    }
    int64_t current = object_i64(metadata, "current-snapshot-id", -1);
    if (metadata_current_snapshot_id(metadata) != current)
        return error_set(err, ERROR_INPUT, "current snapshot %lld is not the one of main",
                         (long long)current);
    if (current != -1 && metadata_snapshot_borrow(metadata, current) == NULL)
        return error_set(err, ERROR_INPUT, "no snapshot %lld, the current one", (long long)current);
    return OK;
}

static int check_basics(const json_t *metadata, int64_t version, struct error *err)
{
    const char *text;
    int64_t number;
    int rc = json_get_string(metadata, "metadata", "location", &text, err);
    if (rc == OK)
        rc = json_get_i64(metadata, "metadata", "last-updated-ms", &number, err);
    if (rc == OK && version >= 2)
        rc = json_get_string(metadata, "metadata", "table-uuid", &text, err);
    if (rc == OK && version >= 2)
        rc = json_get_i64(metadata, "metadata", "last-sequence-number", &number, err);
    if (rc == OK && version >= 3)
        rc = json_get_i64(metadata, "metadata", "next-row-id", &number, err);
    return rc;
}

static int check_properties(const json_t *metadata, struct error *err)
{
    json_t *properties = json_object_get(metadata, "properties");
    const char *key;
    json_t *value;
    if (properties == NULL || json_is_null(properties))
        return OK;
    if (!json_is_object(properties))
        return error_set(err, ERROR_INPUT, "properties are no object");
    json_object_foreach(properties, key, value)
    {
        if (!json_is_string(value))
            return error_set(err, ERROR_INPUT, "property \"%.100s\" is no string", key);
    }
    return OK;
}

int metadata_check(const json_t *metadata, struct error *err)
{
    int64_t version;
    int rc = json_get_i64(metadata, "metadata", "format-version", &version, err);
    if (rc == OK && (version < 1 || version > FORMAT_VERSION_MAX))
        rc = error_set(err, ERROR_INPUT, "format version %lld is not known", (long long)version);
    if (rc == OK)
        rc = check_basics(metadata, version, err);
    /* v1 may lack the lists; we read such tables no further, and never write them. */
    if (rc == OK && (version >= 2 || json_object_get(metadata, "schemas") != NULL))
        rc = check_schemas(metadata, err);
    if (rc == OK && (version >= 2 || json_object_get(metadata, "partition-specs") != NULL))
        rc = check_specs(metadata, err);
    if (rc == OK && version >= 2)
        rc = check_sort_orders(metadata, err);
    if (rc == OK)
        rc = check_properties(metadata, err);
    if (rc == OK)
        rc = check_snapshots(metadata, version, err);
    if (rc == OK)
        rc = check_refs(metadata, err);
    if (rc == OK)
        rc = check_log(metadata, "snapshot-log", NULL, "snapshot-id", err);
    if (rc == OK)
        rc = check_log(metadata, "metadata-log", "metadata-file", NULL, err);
    return rc;
}

/* ---- requirements ---- */

static int check_ref_requirement(const json_t *metadata, const json_t *requirement,
                                 struct error *err)
{
    const char *name;
    int rc = json_get_string(requirement, "requirement", "ref", &name, err);
    if (rc != OK)
        return rc;
    const json_t *wanted = json_object_get(requirement, "snapshot-id");
    if (!json_is_integer(wanted) && !json_is_null(wanted))
        return error_set(err, ERROR_INPUT, "requirement: no \"snapshot-id\", not even null");
    int64_t wanted_id = json_is_null(wanted) ? -1 : (int64_t)json_integer_value(wanted);
    int64_t id;
    if (strcmp(name, "main") == 0)
        id = metadata_current_snapshot_id(metadata);
    else
        id =
            object_i64(json_object_get(json_object_get(metadata, "refs"), name), "snapshot-id", -1);
    if (id != wanted_id)
        return error_set(err, ERROR_CONFLICT,
                         "requirement failed: branch or tag %.100s is at %lld, not %lld", name,
                         (long long)id, (long long)wanted_id);
    return OK;
}

static int check_uuid_requirement(const json_t *metadata, const json_t *requirement,
                                  struct error *err)
{
    const char *wanted;
    int rc = json_get_string(requirement, "requirement", "uuid", &wanted, err);
    if (rc != OK)
        return rc;
    const char *uuid = metadata_uuid_borrow(metadata);
    if (uuid == NULL || strcasecmp(uuid, wanted) != 0)
        return error_set(err, ERROR_CONFLICT, "requirement failed: the table's uuid is %.40s",
                         uuid == NULL ? "none" : uuid);
    return OK;
}

/* The kinds that say: this number of the metadata is that. */
static const struct number_requirement {
    const char *type;
    const char *key;          /* of the requirement */
    const char *metadata_key; /* of what it is about */
} number_requirements[] = {
    {"assert-last-assigned-field-id", "last-assigned-field-id", "last-column-id"},
    {"assert-current-schema-id", "current-schema-id", "current-schema-id"},
    {"assert-last-assigned-partition-id", "last-assigned-partition-id", "last-partition-id"},
    {"assert-default-spec-id", "default-spec-id", "default-spec-id"},
    {"assert-default-sort-order-id", "default-sort-order-id", "default-sort-order-id"},
};

static int check_requirement(const json_t *metadata, const json_t *requirement, struct error *err)
{
    const char *type;
    int rc = json_get_string(requirement, "requirement", "type", &type, err);
    if (rc != OK)
        return rc;
    if (strcmp(type, "assert-create") == 0)
        return metadata == NULL
                   ? OK
                   : error_set(err, ERROR_CONFLICT, "requirement failed: the table exists");
    if (metadata == NULL)
        return error_set(err, ERROR_CONFLICT, "requirement failed: %.60s, but there is no table",
                         type);
    if (strcmp(type, "assert-table-uuid") == 0)
        return check_uuid_requirement(metadata, requirement, err);
    if (strcmp(type, "assert-ref-snapshot-id") == 0)
        return check_ref_requirement(metadata, requirement, err);
    for (size_t i = 0; i < sizeof number_requirements / sizeof *number_requirements; i++) {
        const struct number_requirement *known = &number_requirements[i];
        int64_t wanted;
        if (strcmp(type, known->type) != 0)
            continue;
        rc = json_get_i64(requirement, "requirement", known->key, &wanted, err);
        if (rc == OK && object_i64(metadata, known->metadata_key, -1) != wanted)
            rc = error_set(err, ERROR_CONFLICT, "requirement failed: %s is no longer %lld",
                           known->metadata_key, (long long)wanted);
        return rc;
    }
    return error_set(err, ERROR_INPUT, "requirement \"%.60s\" is not known", type);
}

int metadata_check_requirements(const json_t *metadata, const json_t *requirements,
                                struct error *err)
{
    if (!json_is_array(requirements))
        return error_set(err, ERROR_INPUT, "requirements are no list");
    for (size_t i = 0; i < json_array_size(requirements); i++) {
        int rc = check_requirement(metadata, json_array_get(requirements, i), err);
        if (rc != OK)
            return rc;
    }
    return OK;
}
