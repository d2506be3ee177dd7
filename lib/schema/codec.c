/* SPDX-License-Identifier: Apache-2.0
 *
 * A table_schema as canonical JSON, and as the parts of Iceberg's. The canonical form
 * is compact JSON with sorted keys; all keys are always there, but those marked with ?
 * only where they are not false, 0 or empty:
 *
 *   {"columns":[{"bloom"?:true,"element_id"?:23,"fill"?:"stream"|"position","id":1,
 *                "list"?:true,"name":"request_id","personal"?:true,"required"?:true,
 *                "type":"string"}, ...],
 *    "schema_id":0,
 *    "sort":{"columns":["site_domain"],"id":1},
 *    "specs":[{"fields":[{"column":"event_timestamp","id":1000,
 *                         "name":"event_timestamp_day","transform":"day"}],"id":0}],
 *    "table":"bid_requests","v":1}
 *
 * Columns are named, not numbered, so that a reader of the JSON needs no counting. What
 * is decoded may be hostile: names, ids, counts and what refers to what are checked.
 */
#include "lib/schema/schema.h"

#include <strings.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"
#include "lib/schema/check.h"
#include "lib/schema/mapping.h"

enum { SCHEMA_BYTES_MAX = 4 << 20, SCHEMA_VERSION = 1 };

static const char *const fill_names[] = {"none", "stream", "position"};
static const char *const transform_names[] = {"identity", "day"};

static void set_true(json_t *object, const char *key, bool value)
{
    if (value)
        json_object_set_new(object, key, json_true());
}

static json_t *encode_column(const struct column *column)
{
    json_t *out = json_pack("{s:s, s:s, s:i}", "name", column->name, "type",
                            type_name(column->type), "id", column->field_id);
    ASSERT(out != NULL);
    set_true(out, "list", column->list);
    set_true(out, "required", column->required);
    set_true(out, "personal", column->personal);
    set_true(out, "bloom", column->bloom);
    if (column->list)
        json_object_set_new(out, "element_id", json_integer(column->element_id));
    if (column->fill != FILL_NONE)
        json_object_set_new(out, "fill", json_string(fill_names[column->fill]));
    return out;
}

static json_t *encode_spec(const struct table_schema *schema, const struct partition_spec *spec)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < spec->field_count; i++) {
        const struct partition_field *field = &spec->fields[i];
        json_array_append_new(fields, json_pack("{s:s, s:s, s:s, s:i}", "column",
                                                schema->columns[field->column].name, "transform",
                                                transform_names[field->transform], "name",
                                                field->name, "id", field->field_id));
    }
    return json_pack("{s:i, s:o}", "id", spec->spec_id, "fields", fields);
}

void table_schema_encode(const struct table_schema *schema, struct buf *out)
{
    json_t *columns = json_array();
    for (size_t i = 0; i < schema->column_count; i++)
        json_array_append_new(columns, encode_column(&schema->columns[i]));
    json_t *specs = json_array();
    for (size_t i = 0; i < schema->spec_count; i++)
        json_array_append_new(specs, encode_spec(schema, &schema->specs[i]));
    json_t *sort = json_array();
    for (size_t i = 0; i < schema->sort.column_count; i++)
        json_array_append_new(sort, json_string(schema->columns[schema->sort.columns[i]].name));
    json_t *document =
        json_pack("{s:i, s:s, s:i, s:o, s:o, s:{s:i, s:o}}", "v", SCHEMA_VERSION, "table",
                  schema->table, "schema_id", schema->schema_id, "columns", columns, "specs", specs,
                  "sort", "id", schema->sort.order_id, "columns", sort);
    ASSERT(document != NULL);
    json_encode_sorted(document, out);
    json_decref(document);
}

/* ---- decoding ---- */

static int get_id(const json_t *object, const char *what, const char *key, int64_t min,
                  int32_t *out, struct error *err)
{
    int64_t value = 0;
    int rc = json_get_i64(object, what, key, &value, err);
    if (rc != OK)
        return rc;
    /* Ids above are reserved by Iceberg for metadata columns. */
    if (value < min || value > FIELD_ID_MAX)
        return error_set(err, ERROR_INPUT, "%s: \"%s\" is out of range: %lld", what, key,
                         (long long)value);
    *out = (int32_t)value;
    return OK;
}

static int get_flag(const json_t *object, const char *key, bool *out, struct error *err)
{
    *out = false;
    if (json_object_get(object, key) == NULL)
        return OK;
    return json_get_bool(object, "column", key, out, err);
}

/* The index of the word that a member holds. */
static int get_word(const json_t *object, const char *what, const char *key,
                    const char *const *words, size_t count, size_t *out, struct error *err)
{
    const char *word = NULL;
    int rc = json_get_string(object, what, key, &word, err);
    if (rc != OK)
        return rc;
    for (*out = 0; *out < count; (*out)++)
        if (strcmp(words[*out], word) == 0)
            return OK;
    return error_set(err, ERROR_INPUT, "%s: unknown %s \"%.100s\"", what, key, word);
}

/* jansson lets a NUL into a string; our texts end there, so it is refused. */
static int get_name(const json_t *object, const char *what, const char *key, char **out,
                    struct error *err)
{
    const char *name = NULL;
    int rc = json_get_string(object, what, key, &name, err);
    if (rc != OK)
        return rc;
    if (!schema_name_ok(slice_of(name, json_string_length(json_object_get(object, key)))))
        return error_set(err, ERROR_INPUT, "%s: \"%.100s\" is no name", what, name);
    *out = memory_copy_cstr(name);
    return OK;
}

static int get_list(const json_t *object, const char *what, const char *key, size_t max,
                    json_t **out, size_t *count, struct error *err)
{
    int rc = json_get_array(object, what, key, out, err);
    if (rc != OK)
        return rc;
    *count = json_array_size(*out);
    if (*count > max)
        return error_set(err, ERROR_INPUT, "%s: %zu %s, at most %zu", what, *count, key, max);
    return OK;
}

static int decode_column(struct column *out, const json_t *object, struct error *err)
{
    static const char *const types[] = {"boolean", "int",    "long",
                                        "double",  "string", "timestamptz"};
    size_t type = 0;
    size_t fill = FILL_NONE;
    int rc = get_name(object, "column", "name", &out->name, err);
    if (rc == OK)
        rc = get_word(object, "column", "type", types, sizeof types / sizeof types[0], &type, err);
    if (rc == OK)
        rc = get_id(object, "column", "id", 1, &out->field_id, err);
    if (rc == OK)
        rc = get_flag(object, "list", &out->list, err);
    if (rc == OK)
        rc = get_flag(object, "required", &out->required, err);
    if (rc == OK)
        rc = get_flag(object, "personal", &out->personal, err);
    if (rc == OK)
        rc = get_flag(object, "bloom", &out->bloom, err);
    if (rc == OK && out->list)
        rc = get_id(object, "column", "element_id", 1, &out->element_id, err);
    if (rc == OK && json_object_get(object, "fill") != NULL)
        rc = get_word(object, "column", "fill", fill_names, 3, &fill, err);
    if (rc != OK)
        return rc;
    out->type = (enum type)type;
    out->fill = (enum fill)fill;
    if ((out->fill == FILL_STREAM && (out->type != TYPE_STRING || out->list)) ||
        (out->fill == FILL_POSITION && (out->type != TYPE_LONG || out->list)))
        return error_set(err, ERROR_INPUT, "column \"%.100s\" can't be filled", out->name);
    return OK;
}

static int decode_columns(struct table_schema *out, const json_t *document, struct error *err)
{
    json_t *columns = NULL;
    size_t count = 0;
    int rc = get_list(document, "schema", "columns", COLUMNS_MAX, &columns, &count, err);
    if (rc != OK)
        return rc;
    out->columns = memory_alloc(count, sizeof *out->columns);
    for (size_t i = 0; i < count; i++) {
        out->column_count = i + 1;
        rc = decode_column(&out->columns[i], json_array_get(columns, i), err);
        if (rc != OK)
            return rc;
    }
    return schema_check_columns(out, err);
}

static int get_column(const struct table_schema *schema, const char *name, size_t *out,
                      struct error *err)
{
    *out = table_schema_find(schema, name);
    if (*out == SIZE_MAX)
        return error_set(err, ERROR_INPUT, "no column \"%.100s\"", name);
    return OK;
}

static int decode_field(struct partition_field *out, const struct table_schema *schema,
                        const json_t *object, struct error *err)
{
    size_t transform = 0;
    const char *column = NULL;
    int rc = get_name(object, "partition field", "name", &out->name, err);
    if (rc == OK)
        rc = get_id(object, "partition field", "id", PARTITION_ID_MIN, &out->field_id, err);
    if (rc == OK)
        rc = get_word(object, "partition field", "transform", transform_names, 2, &transform, err);
    if (rc == OK)
        rc = json_get_string(object, "partition field", "column", &column, err);
    if (rc == OK)
        rc = get_column(schema, column, &out->column, err);
    out->transform = (enum transform)transform;
    return rc;
}

static int decode_spec(struct partition_spec *out, const struct table_schema *schema,
                       const json_t *object, struct error *err)
{
    json_t *fields = NULL;
    size_t count = 0;
    int rc = get_id(object, "partition spec", "id", 0, &out->spec_id, err);
    if (rc == OK)
        rc = get_list(object, "partition spec", "fields", PARTITION_FIELDS_MAX, &fields, &count,
                      err);
    for (size_t i = 0; i < count && rc == OK; i++) {
        out->field_count = i + 1;
        rc = decode_field(&out->fields[i], schema, json_array_get(fields, i), err);
    }
    return rc;
}

static int decode_specs(struct table_schema *out, const json_t *document, struct error *err)
{
    json_t *specs = NULL;
    size_t count = 0;
    int rc = get_list(document, "schema", "specs", SPECS_MAX, &specs, &count, err);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        out->spec_count = i + 1;
        rc = decode_spec(&out->specs[i], out, json_array_get(specs, i), err);
        if (rc != OK)
            return rc;
    }
    return schema_check_specs(out, err);
}

static int decode_sort(struct table_schema *out, const json_t *document, struct error *err)
{
    json_t *sort = NULL;
    json_t *columns = NULL;
    size_t count = 0;
    int rc = json_get_object(document, "schema", "sort", &sort, err);
    if (rc == OK)
        rc = get_id(sort, "sort", "id", 0, &out->sort.order_id, err);
    if (rc == OK)
        rc = get_list(sort, "sort", "columns", SORT_FIELDS_MAX, &columns, &count, err);
    for (size_t i = 0; i < count && rc == OK; i++) {
        const json_t *name = json_array_get(columns, i);
        rc = json_is_string(name)
                 ? get_column(out, json_string_value(name), &out->sort.columns[i], err)
                 : error_set(err, ERROR_INPUT, "sort: a column is no string");
        out->sort.column_count = i + 1;
    }
    return rc == OK ? schema_check_sort(out, err) : rc;
}

int table_schema_decode(struct table_schema *out, struct slice bytes, struct error *err)
{
    *out = (struct table_schema){0};
    if (bytes.len > SCHEMA_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a schema of %zu bytes", bytes.len);
    json_t *document = NULL;
    int64_t version = 0;
    int rc = json_decode(&document, bytes, err);
    if (rc == OK)
        rc = json_get_i64(document, "schema", "v", &version, err);
    if (rc == OK && version != SCHEMA_VERSION)
        rc = error_set(err, ERROR_INPUT, "schema: version %lld is not known", (long long)version);
    if (rc == OK)
        rc = get_name(document, "schema", "table", &out->table, err);
    if (rc == OK)
        rc = get_id(document, "schema", "schema_id", 0, &out->schema_id, err);
    if (rc == OK)
        rc = decode_columns(out, document, err);
    if (rc == OK)
        rc = decode_specs(out, document, err);
    if (rc == OK)
        rc = decode_sort(out, document, err);
    json_decref(document);
    if (rc != OK) {
        table_schema_free(out);
        return rc;
    }
    out->time_column = schema_time_column(out);
    return OK;
}

/* ---- Iceberg ---- */

json_t *table_schema_to_iceberg(const struct table_schema *schema)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < schema->column_count; i++) {
        const struct column *column = &schema->columns[i];
        json_t *type = column->list ? json_pack("{s:s, s:i, s:s, s:b}", "type", "list",
                                                "element-id", column->element_id, "element",
                                                type_name(column->type), "element-required", 0)
                                    : json_string(type_name(column->type));
        json_array_append_new(fields, json_pack("{s:i, s:s, s:b, s:o}", "id", column->field_id,
                                                "name", column->name, "required",
                                                column->required ? 1 : 0, "type", type));
    }
    return json_pack("{s:s, s:i, s:o}", "type", "struct", "schema-id", schema->schema_id, "fields",
                     fields);
}

json_t *partition_spec_to_iceberg(const struct table_schema *schema,
                                  const struct partition_spec *spec)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < spec->field_count; i++) {
        const struct partition_field *field = &spec->fields[i];
        json_array_append_new(fields, json_pack("{s:i, s:i, s:s, s:s}", "source-id",
                                                schema->columns[field->column].field_id, "field-id",
                                                field->field_id, "name", field->name, "transform",
                                                transform_names[field->transform]));
    }
    return json_pack("{s:i, s:o}", "spec-id", spec->spec_id, "fields", fields);
}

json_t *sort_order_to_iceberg(const struct table_schema *schema)
{
    json_t *fields = json_array();
    for (size_t i = 0; i < schema->sort.column_count; i++)
        json_array_append_new(fields, json_pack("{s:s, s:i, s:s, s:s}", "transform", "identity",
                                                "source-id",
                                                schema->columns[schema->sort.columns[i]].field_id,
                                                "direction", "asc", "null-order", "nulls-first"));
    return json_pack("{s:i, s:o}", "order-id", schema->sort.order_id, "fields", fields);
}
