/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer's schema, from JSON to a tree that the readers walk.
 *
 * A named type (record, enum, fixed) is known by its name once its definition is
 * complete, so no type can hold itself and walking the tree ends. The tree may still
 * be a thicket (a record that holds another twice, that one another twice ...): the
 * cursor's budget bounds the time that costs, TYPES_MAX the memory.
 */
#include "lib/avro/avro.h"

#include <jansson.h>
#include <string.h>

enum { TYPES_MAX = 10000, DEPTH_MAX = 64, FIXED_MAX = 1 << 20 };

struct parse {
    struct arena *arena;
    json_t *names; /* full name -> index into named */
    struct avro_type **named;
    size_t named_count;
    size_t type_count;
    struct error *err;
};

static int parse_type(struct parse *parse, const json_t *json, int depth,
                      const struct avro_type **out);

static struct avro_type *add_type(struct parse *parse, enum avro_kind kind)
{
    struct avro_type *type = arena_alloc(parse->arena, 1, sizeof *type);
    type->kind = kind;
    return type;
}

static int parse_name(struct parse *parse, const char *name, const struct avro_type **out)
{
    static const char *const primitives[] = {"null",  "boolean", "int",   "long",
                                             "float", "double",  "bytes", "string"};
    _Static_assert(AVRO_STRING == 7, "primitives stand in the order of enum avro_kind");
    for (size_t i = 0; i < sizeof primitives / sizeof *primitives; i++) {
        if (strcmp(name, primitives[i]) == 0) {
            *out = add_type(parse, (enum avro_kind)i);
            return OK;
        }
    }
    const json_t *index = json_object_get(parse->names, name);
    if (index == NULL)
        return error_set(parse->err, ERROR_INPUT, "avro schema: no type \"%.100s\"", name);
    *out = parse->named[json_integer_value(index)];
    return OK;
}

/* Called when the definition is complete; a second one of that name is refused. */
static int add_name(struct parse *parse, const json_t *json, struct avro_type *type)
{
    const char *name = json_string_value(json_object_get(json, "name"));
    if (name == NULL)
        return error_set(parse->err, ERROR_INPUT, "avro schema: a named type without a name");
    if (json_object_get(parse->names, name) != NULL)
        return error_set(parse->err, ERROR_INPUT, "avro schema: \"%.100s\" twice", name);
    json_object_set_new(parse->names, name, json_integer((json_int_t)parse->named_count));
    parse->named[parse->named_count++] = type;
    return OK;
}

static int parse_record(struct parse *parse, const json_t *json, int depth,
                        const struct avro_type **out)
{
    const json_t *list = json_object_get(json, "fields");
    if (!json_is_array(list) || json_array_size(list) > TYPES_MAX)
        return error_set(parse->err, ERROR_INPUT, "avro schema: a record without fields");
    size_t count = json_array_size(list);
    struct avro_field *fields = arena_alloc(parse->arena, count, sizeof *fields);
    for (size_t i = 0; i < count; i++) {
        const json_t *field = json_array_get(list, i);
        const char *name = json_string_value(json_object_get(field, "name"));
        const json_t *id = json_object_get(field, "field-id");
        if (name == NULL || json_object_get(field, "type") == NULL)
            return error_set(parse->err, ERROR_INPUT, "avro schema: a field without name or type");
        json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
        fields[i].name = arena_copy_cstr(parse->arena, slice_cstr(name));
        fields[i].id = value >= 0 && value <= INT32_MAX ? (int32_t)value : -1;
        int rc = parse_type(parse, json_object_get(field, "type"), depth, &fields[i].type);
        if (rc != OK)
            return rc;
    }
    struct avro_type *type = add_type(parse, AVRO_RECORD);
    type->count = count;
    type->fields = fields;
    *out = type;
    return add_name(parse, json, type);
}

static int parse_union(struct parse *parse, const json_t *json, int depth,
                       const struct avro_type **out)
{
    size_t count = json_array_size(json);
    if (count == 0 || count > TYPES_MAX)
        return error_set(parse->err, ERROR_INPUT, "avro schema: a union of %zu types", count);
    const struct avro_type **branches = arena_alloc(parse->arena, count, sizeof *branches);
    for (size_t i = 0; i < count; i++) {
        int rc = parse_type(parse, json_array_get(json, i), depth, &branches[i]);
        if (rc != OK)
            return rc;
        if (branches[i]->kind == AVRO_UNION)
            return error_set(parse->err, ERROR_INPUT, "avro schema: a union within a union");
    }
    struct avro_type *type = add_type(parse, AVRO_UNION);
    type->count = count;
    type->branches = branches;
    *out = type;
    return OK;
}

static int parse_fixed(struct parse *parse, const json_t *json, const struct avro_type **out)
{
    const json_t *size = json_object_get(json, "size");
    json_int_t value = json_is_integer(size) ? json_integer_value(size) : -1;
    if (value < 0 || value > FIXED_MAX)
        return error_set(parse->err, ERROR_INPUT, "avro schema: a fixed type without a size");
    struct avro_type *type = add_type(parse, AVRO_FIXED);
    type->fixed_size = (size_t)value;
    *out = type;
    return add_name(parse, json, type);
}

static int parse_object(struct parse *parse, const json_t *json, int depth,
                        const struct avro_type **out)
{
    const json_t *kind = json_object_get(json, "type");
    const char *name = json_string_value(kind);
    if (name == NULL) /* {"type": {"type": ...}}: what is wrapped counts */
        return parse_type(parse, kind, depth, out);
    if (strcmp(name, "record") == 0)
        return parse_record(parse, json, depth, out);
    if (strcmp(name, "fixed") == 0)
        return parse_fixed(parse, json, out);
    if (strcmp(name, "enum") == 0) {
        struct avro_type *type = add_type(parse, AVRO_ENUM);
        *out = type;
        return add_name(parse, json, type);
    }
    bool is_array = strcmp(name, "array") == 0;
    if (!is_array && strcmp(name, "map") != 0)
        return parse_name(parse, name, out);
    const struct avro_type *item;
    int rc = parse_type(parse, json_object_get(json, is_array ? "items" : "values"), depth, &item);
    if (rc != OK)
        return rc;
    struct avro_type *type = add_type(parse, is_array ? AVRO_ARRAY : AVRO_MAP);
    type->item = item;
    *out = type;
    return OK;
}

static int parse_type(struct parse *parse, const json_t *json, int depth,
                      const struct avro_type **out)
{
    if (depth >= DEPTH_MAX || parse->type_count >= TYPES_MAX)
        return error_set(parse->err, ERROR_LIMIT, "avro schema: too deep or too large");
    parse->type_count++;
    if (json_is_string(json))
        return parse_name(parse, json_string_value(json), out);
    if (json_is_array(json))
        return parse_union(parse, json, depth + 1, out);
    if (json_is_object(json))
        return parse_object(parse, json, depth + 1, out);
    return error_set(parse->err, ERROR_INPUT, "avro schema: something that is no type");
}

int avro_schema_decode(const struct avro_type **out, struct arena *arena, struct slice json,
                       struct error *err)
{
    json_error_t at;
    json_t *document = json_loadb((const char *)json.data, json.len,
                                  JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &at);
    if (document == NULL)
        return error_set(err, ERROR_INPUT, "avro schema: line %d, column %d: %s", at.line,
                         at.column, at.text);
    struct parse parse = {.arena = arena, .names = json_object(), .err = err};
    parse.named = arena_alloc(arena, TYPES_MAX, sizeof *parse.named);
    int rc = parse_type(&parse, document, 0, out);
    json_decref(parse.names);
    json_decref(document);
    return rc;
}
