/* SPDX-License-Identifier: Apache-2.0
 *
 * Schemas as JSON: are they sound, what is in them, and do the files of an
 * announcement fit the table.
 */
#include "lib/iceberg/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { SCHEMA_DEPTH_MAX = 64, SCHEMA_FIELDS_MAX = 100000 };

struct check {
    bool strict;
    int64_t *ids;
    size_t id_count;
    size_t id_cap;
    struct error *err;
};

static int check_type(struct check *check, const json_t *type, int depth);

static int add_id(struct check *check, const json_t *object, const char *key)
{
    int64_t id;
    int rc = json_get_i64(object, "schema", key, &id, check->err);
    if (rc != OK)
        return rc;
    if (id < (check->strict ? 1 : 0) || id > FIELD_ID_MAX)
        return error_set(check->err, ERROR_INPUT, "schema: field id %lld", (long long)id);
    if (check->id_count == SCHEMA_FIELDS_MAX)
        return error_set(check->err, ERROR_LIMIT, "schema: more than %d fields", SCHEMA_FIELDS_MAX);
    if (check->id_count == check->id_cap) {
        check->id_cap = check->id_cap == 0 ? 64 : check->id_cap * 2;
        check->ids = memory_resize(check->ids, check->id_cap, sizeof *check->ids);
    }
    check->ids[check->id_count++] = id;
    return OK;
}

static int check_struct(struct check *check, const json_t *type, int depth)
{
    json_t *fields;
    int rc = json_get_array(type, "schema", "fields", &fields, check->err);
    json_t *names = json_object();
    for (size_t i = 0; rc == OK && i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        const char *name;
        bool required;
        rc = add_id(check, field, "id");
        if (rc == OK)
            rc = json_get_string(field, "schema", "name", &name, check->err);
        if (rc == OK)
            rc = json_get_bool(field, "schema", "required", &required, check->err);
        if (rc == OK && check->strict && (*name == 0 || json_object_get(names, name) != NULL))
            rc = error_set(check->err, ERROR_INPUT, "schema: column \"%.100s\" twice or no name",
                           name);
        if (rc == OK) {
            json_object_set_new(names, name, json_true());
            rc = check_type(check, json_object_get(field, "type"), depth + 1);
        }
    }
    json_decref(names);
    return rc;
}

/* A list's element, a map's key and value: id, type, and for all but keys "required". */
static int check_inner(struct check *check, const json_t *type, const char *what, int depth)
{
    char key[32];
    bool required;
    snprintf(key, sizeof key, "%s-id", what);
    int rc = add_id(check, type, key);
    if (rc == OK && strcmp(what, "key") != 0) {
        snprintf(key, sizeof key, "%s-required", what);
        rc = json_get_bool(type, "schema", key, &required, check->err);
    }
    if (rc == OK)
        rc = check_type(check, json_object_get(type, what), depth + 1);
    return rc;
}

static int check_type(struct check *check, const json_t *type, int depth)
{
    struct primitive primitive;
    if (depth > SCHEMA_DEPTH_MAX)
        return error_set(check->err, ERROR_LIMIT, "schema: nested deeper than %d",
                         SCHEMA_DEPTH_MAX);
    if (json_is_string(type)) {
        if (!check->strict || primitive_parse(json_string_value(type), &primitive))
            return OK;
        return error_set(check->err, ERROR_INPUT, "schema: unknown type \"%.60s\"",
                         json_string_value(type));
    }
    const char *name = json_string_value(json_object_get(type, "type"));
    if (name != NULL && strcmp(name, "struct") == 0)
        return check_struct(check, type, depth);
    if (name != NULL && strcmp(name, "list") == 0)
        return check_inner(check, type, "element", depth);
    if (name != NULL && strcmp(name, "map") == 0) {
        int rc = check_inner(check, type, "key", depth);
        return rc != OK ? rc : check_inner(check, type, "value", depth);
    }
    return error_set(check->err, ERROR_INPUT, "schema: a type that is none");
}

static int compare_ids(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int check_identifiers(const json_t *schema, struct error *err)
{
    const json_t *list = json_object_get(schema, "identifier-field-ids");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        const json_t *field = schema_find_field(schema, json_integer_value(id));
        if (!json_is_integer(id) || !json_is_true(json_object_get(field, "required")) ||
            !json_is_string(json_object_get(field, "type")))
            return error_set(err, ERROR_INPUT,
                             "schema: an identifier field is no required primitive column");
    }
    return OK;
}

int schema_check(const json_t *schema, bool strict, int64_t *highest_id, struct error *err)
{
    struct check check = {.strict = strict, .err = err};
    int rc;
    if (!json_is_object(schema))
        rc = error_set(err, ERROR_INPUT, "schema: not an object");
    else
        rc = check_struct(&check, schema, 0);
    if (rc == OK && check.id_count > 0)
        qsort(check.ids, check.id_count, sizeof *check.ids, compare_ids);
    for (size_t i = 1; rc == OK && i < check.id_count; i++) {
        if (check.ids[i] == check.ids[i - 1])
            rc =
                error_set(err, ERROR_INPUT, "schema: field id %lld twice", (long long)check.ids[i]);
    }
    if (rc == OK)
        *highest_id = check.id_count == 0 ? 0 : check.ids[check.id_count - 1];
    if (rc == OK && strict)
        rc = check_identifiers(schema, err);
    free(check.ids);
    return rc;
}

static const json_t *find_in_struct(const json_t *type, int64_t field_id, int depth)
{
    const json_t *fields = json_object_get(type, "fields");
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        if (object_i64(field, "id", -1) == field_id)
            return field;
        const json_t *inner = json_object_get(field, "type");
        if (json_is_object(inner) && depth < SCHEMA_DEPTH_MAX) {
            const json_t *found = find_in_struct(inner, field_id, depth + 1);
            if (found != NULL)
                return found;
        }
    }
    return NULL;
}

const json_t *schema_find_field(const json_t *schema, int64_t field_id)
{
    return find_in_struct(schema, field_id, 0);
}

bool schema_equal(const json_t *a, const json_t *b)
{
    const json_t *ids_a = json_object_get(a, "identifier-field-ids");
    const json_t *ids_b = json_object_get(b, "identifier-field-ids");
    bool same_ids =
        json_array_size(ids_a) == 0 ? json_array_size(ids_b) == 0 : json_equal(ids_a, ids_b) == 1;
    return same_ids && json_equal(json_object_get(a, "fields"), json_object_get(b, "fields")) == 1;
}

/* ---- partition specs and sort orders ---- */

/* The result of a field's transform. Its source is "source-id", or in v3 a list of one. */
static int check_transform(const json_t *field, const char *what, const json_t *schema,
                           const json_t **source, struct error *err)
{
    const char *transform;
    int64_t id;
    int rc = json_get_string(field, what, "transform", &transform, err);
    if (rc != OK)
        return rc;
    const json_t *ids = json_object_get(field, "source-ids");
    if (json_array_size(ids) == 1 && json_is_integer(json_array_get(ids, 0)))
        id = json_integer_value(json_array_get(ids, 0));
    else if ((rc = json_get_i64(field, what, "source-id", &id, err)) != OK)
        return rc;
    *source = schema_find_field(schema, id);
    const char *type = json_string_value(json_object_get(*source, "type"));
    struct primitive primitive;
    if (type == NULL || !primitive_parse(type, &primitive))
        return error_set(err, ERROR_INPUT, "%s: source %lld is no primitive column of the schema",
                         what, (long long)id);
    if (!transform_result(transform, &primitive, &primitive))
        return error_set(err, ERROR_INPUT, "%s: unknown transform \"%.60s\"", what, transform);
    return OK;
}

/* A partition may have a column's name only as the identity of that column. */
static int check_partition_name(const char *name, const json_t *field, const json_t *source,
                                const json_t *schema, struct error *err)
{
    const json_t *columns = json_object_get(schema, "fields");
    const char *transform = json_string_value(json_object_get(field, "transform"));
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const json_t *column = json_array_get(columns, i);
        const char *other = json_string_value(json_object_get(column, "name"));
        if (other != NULL && strcmp(other, name) == 0 &&
            !(column == source && strcmp(transform, "identity") == 0))
            return error_set(err, ERROR_INPUT, "partition \"%.100s\" has the name of a column",
                             name);
    }
    return OK;
}

int spec_check(const json_t *fields, const json_t *schema, struct error *err)
{
    json_t *names = json_object();
    int rc = OK;
    for (size_t i = 0; rc == OK && i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        const json_t *source = NULL;
        const char *name = NULL;
        rc = json_get_string(field, "partition field", "name", &name, err);
        if (rc == OK)
            rc = check_transform(field, "partition field", schema, &source, err);
        if (rc == OK && (*name == 0 || json_object_get(names, name) != NULL))
            rc = error_set(err, ERROR_INPUT, "partition \"%.100s\" twice or without name", name);
        if (rc == OK)
            rc = check_partition_name(name, field, source, schema, err);
        if (rc == OK)
            json_object_set_new(names, name, json_true());
    }
    json_decref(names);
    return rc;
}

int sort_order_check(const json_t *fields, const json_t *schema, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; rc == OK && i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        const json_t *source;
        const char *direction;
        const char *nulls;
        rc = check_transform(field, "sort field", schema, &source, err);
        if (rc == OK)
            rc = json_get_string(field, "sort field", "direction", &direction, err);
        if (rc == OK)
            rc = json_get_string(field, "sort field", "null-order", &nulls, err);
        if (rc == OK && ((strcmp(direction, "asc") != 0 && strcmp(direction, "desc") != 0) ||
                         (strcmp(nulls, "nulls-first") != 0 && strcmp(nulls, "nulls-last") != 0)))
            rc = error_set(err, ERROR_INPUT, "sort field: direction or null-order");
    }
    return rc;
}

/* ---- an announced schema against the table's ---- */

/* A file's type reads as the table's: the same, or promoted since (spec, Schema
 * Evolution). */
static bool primitive_fits(const char *file, const char *table)
{
    struct primitive a;
    struct primitive b;
    if (!primitive_parse(file, &a) || !primitive_parse(table, &b))
        return false;
    if (a.kind == PRIMITIVE_INT && b.kind == PRIMITIVE_LONG)
        return true;
    if (a.kind == PRIMITIVE_FLOAT && b.kind == PRIMITIVE_DOUBLE)
        return true;
    if (a.kind == PRIMITIVE_DECIMAL && b.kind == PRIMITIVE_DECIMAL)
        return a.scale == b.scale && a.precision <= b.precision;
    if (a.kind == PRIMITIVE_GEOMETRY || a.kind == PRIMITIVE_GEOGRAPHY)
        return strcmp(file, table) == 0;
    return a.kind == b.kind && a.length == b.length;
}

static bool type_fits(const json_t *file, const json_t *table)
{
    if (json_is_string(file) && json_is_string(table))
        return primitive_fits(json_string_value(file), json_string_value(table));
    const char *kind = json_string_value(json_object_get(file, "type"));
    const char *other = json_string_value(json_object_get(table, "type"));
    if (kind == NULL || other == NULL || strcmp(kind, other) != 0)
        return false;
    if (strcmp(kind, "list") != 0)
        return json_equal(file, table) == 1;
    if (object_i64(file, "element-id", -1) != object_i64(table, "element-id", -2))
        return false;
    if (json_is_true(json_object_get(table, "element-required")) &&
        !json_is_true(json_object_get(file, "element-required")))
        return false;
    const json_t *element = json_object_get(file, "element");
    const json_t *wanted = json_object_get(table, "element");
    if (json_is_string(element) && json_is_string(wanted))
        return primitive_fits(json_string_value(element), json_string_value(wanted));
    return json_equal(element, wanted) == 1;
}

static bool column_fits(const json_t *column, const json_t *table, char *why, size_t why_size)
{
    const char *name = json_string_value(json_object_get(column, "name"));
    int64_t id = object_i64(column, "id", -1);
    if (name == NULL || id < 0) {
        snprintf(why, why_size, "a column without name or id");
        return false;
    }
    const json_t *fields = json_object_get(table, "fields");
    const json_t *field = find_by_id(fields, "id", id);
    if (field == NULL) {
        snprintf(why, why_size, "column %.100s (id %lld) is not in the table", name, (long long)id);
        return false;
    }
    const char *wanted = json_string_value(json_object_get(field, "name"));
    if (wanted == NULL || strcmp(name, wanted) != 0) {
        snprintf(why, why_size, "id %lld is column %.100s in the table, not %.100s", (long long)id,
                 wanted == NULL ? "?" : wanted, name);
        return false;
    }
    if (!type_fits(json_object_get(column, "type"), json_object_get(field, "type"))) {
        snprintf(why, why_size, "column %.100s has another type in the table", name);
        return false;
    }
    if (json_is_true(json_object_get(field, "required")) &&
        !json_is_true(json_object_get(column, "required"))) {
        snprintf(why, why_size, "column %.100s is required in the table", name);
        return false;
    }
    return true;
}

/* What the files leave out reads as null, or as the initial default: that must be
 * what a writer would have put there. */
static bool may_be_left_out(const json_t *field)
{
    const json_t *initial = json_object_get(field, "initial-default");
    const json_t *written = json_object_get(field, "write-default");
    if (initial != NULL && !json_is_null(initial))
        return written != NULL && json_equal(initial, written) == 1;
    return !json_is_true(json_object_get(field, "required")) &&
           (written == NULL || json_is_null(written));
}

enum schema_relation schema_compare(const json_t *announced, const json_t *table, char *why,
                                    size_t why_size)
{
    const json_t *columns = json_object_get(announced, "fields");
    const json_t *fields = json_object_get(table, "fields");
    struct error err;
    int64_t highest;
    if (schema_check(announced, true, &highest, &err) != OK) {
        snprintf(why, why_size, "%.200s", err.text);
        return SCHEMA_REFUSED;
    }
    for (size_t i = 0; i < json_array_size(columns); i++) {
        if (!column_fits(json_array_get(columns, i), table, why, why_size))
            return SCHEMA_REFUSED;
    }
    for (size_t i = 0; i < json_array_size(fields); i++) {
        const json_t *field = json_array_get(fields, i);
        if (!may_be_left_out(field) &&
            find_by_id(columns, "id", object_i64(field, "id", -1)) == NULL) {
            snprintf(why, why_size, "column %.100s of the table may not be left out",
                     json_string_value(json_object_get(field, "name")));
            return SCHEMA_REFUSED;
        }
    }
    return SCHEMA_SAME;
}
