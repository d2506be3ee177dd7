/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: what the files of lib/iceberg share. Not for others.
 */
#ifndef LIB_ICEBERG_INTERNAL_H
#define LIB_ICEBERG_INTERNAL_H

#include "lib/avro/avro.h"
#include "lib/iceberg/iceberg.h"

enum {
    PARTITION_ID_FIRST = 1000,
    FIELD_ID_MAX = 2147483447, /* those above are reserved for metadata columns */
    FORMAT_VERSION_MAX = 3,
};

/* ---- types and transforms ---- */

enum primitive_kind {
    PRIMITIVE_BOOLEAN,
    PRIMITIVE_INT,
    PRIMITIVE_LONG,
    PRIMITIVE_FLOAT,
    PRIMITIVE_DOUBLE,
    PRIMITIVE_DATE,
    PRIMITIVE_TIME,
    PRIMITIVE_TIMESTAMP,
    PRIMITIVE_TIMESTAMPTZ,
    PRIMITIVE_TIMESTAMP_NS,
    PRIMITIVE_TIMESTAMPTZ_NS,
    PRIMITIVE_STRING,
    PRIMITIVE_UUID,
    PRIMITIVE_BINARY,
    PRIMITIVE_UNKNOWN, /* v3: a column of nulls */
    PRIMITIVE_VARIANT,
    PRIMITIVE_FIXED,
    PRIMITIVE_DECIMAL,
    PRIMITIVE_GEOMETRY,
    PRIMITIVE_GEOGRAPHY,
};

struct primitive {
    enum primitive_kind kind;
    int32_t length; /* of fixed */
    int32_t precision;
    int32_t scale;
};

bool primitive_parse(const char *text, struct primitive *out);
/* Bytes of the fixed type that holds a decimal of that precision (1 to 38). */
size_t decimal_size(int32_t precision);
/* False: not a transform that we know. */
bool transform_result(const char *transform, const struct primitive *source,
                      struct primitive *result);

/* ---- schemas and specs ---- */

/* Structure and ids; `strict` (what becomes part of a table through us) also types and
 * names. The highest id, nested ones included, comes out. */
int schema_check(const json_t *schema, bool strict, int64_t *highest_id,
                 struct error *err) MUST_USE;
/* The field of that id, within structs too; NULL. Borrowed. */
const json_t *schema_find_field(const json_t *schema, int64_t field_id);
/* Same fields and identifier fields, whatever the schema-id. */
bool schema_equal(const json_t *a, const json_t *b);
/* A spec's or sort order's fields are known transforms of columns that there are. */
int spec_check(const json_t *fields, const json_t *schema, struct error *err) MUST_USE;
int sort_order_check(const json_t *fields, const json_t *schema, struct error *err) MUST_USE;

/* ---- metadata ---- */

/* The member of the list whose `key` is that number; NULL. Borrowed. */
json_t *find_by_id(const json_t *list, const char *key, int64_t id);
int64_t object_i64(const json_t *object, const char *key, int64_t otherwise);
int properties_check(const json_t *properties, struct error *err) MUST_USE;

/* ---- manifests and manifest lists ---- */

/* {"name":...,"type":...,"field-id":...}; optional: ["null", type] with default null.
 * `type` is JSON. */
void put_avro_field(struct buf *out, const char *name, const char *type, bool optional,
                    int32_t field_id);
void put_avro_bytes(struct buf *out, struct slice bytes);

/* A partition's value: how Avro names its type, puts it down, and which is less. */
void partition_avro_type(const struct primitive *type, int32_t field_id, struct buf *out);
/* False: the value is not of that type. */
bool partition_value_put(const struct partition_value *value, const struct primitive *type,
                         struct buf *out);
void partition_value_bytes(const struct partition_value *value, const struct primitive *type,
                           struct buf *out);
int partition_value_compare(const struct partition_value *a, const struct partition_value *b,
                            const struct primitive *type);
bool partition_value_is_nan(const struct partition_value *value, const struct primitive *type);

/* Rows of an Avro file, one after the other. What the rows allocate is bounded too:
 * a deflated file of zeros must not become gigabytes of structs. */
struct decode {
    struct arena *arena;
    struct avro_cursor cursor;
    size_t memory_left;
    bool over; /* memory_left did not do */
};
/* NULL, with the cursor failed, when the bound is met. */
void *decode_alloc(struct decode *decode, size_t count, size_t size);
/* A growing array on the heap with room for one more; NULL likewise (and `old` stays). */
void *decode_grow(struct decode *decode, void *old, size_t count, size_t *cap, size_t size);
/* Goes into an optional array: false when it is null, or, with the cursor failed, when it
 * is none. */
bool decode_enter_array(struct decode *decode, const struct avro_type **type);
/* A C string of the field; fails the cursor on null or a NUL inside. */
const char *decode_avro_text(struct decode *decode, const struct avro_type *type);

/* As it was when null; fails the cursor outside 32 bits. */
void decode_i32(struct decode *decode, const struct avro_type *type, int32_t *out);

struct field_name { /* of files without field ids */
    const char *name;
    int32_t id;
};
/* The field's id, or by its name the one of `names` (ended by a NULL name); -1. */
int32_t decode_field_id(const struct avro_field *field, const struct field_name *names);

/* Reads one row, a record of that type; errors are left in the cursor. */
typedef void decode_row(struct decode *decode, const struct avro_type *type, void *context);
int decode_rows(struct arena *arena, struct slice bytes, decode_row *row, void *context,
                struct error *err) MUST_USE;

#endif
