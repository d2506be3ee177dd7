/* SPDX-License-Identifier: Apache-2.0
 *
 * schema.h: what a table's rows look like, as capture, roller and commit service
 * all see it: columns with Iceberg types and field ids, partition specs, sort
 * order.
 *
 * A table_schema owns what it points at and is const once made, so any number of
 * threads read it. Its encoded form is canonical JSON: equal schemas give equal
 * bytes. The spool keeps that form with the blocks, the store keeps it in the
 * table's contract.
 */
#ifndef LIB_SCHEMA_SCHEMA_H
#define LIB_SCHEMA_SCHEMA_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

/* Iceberg's types, as far as a mapping can name them. A list's type is its element's. */
enum type {
    TYPE_BOOLEAN,
    TYPE_INT,  /* 32 bit */
    TYPE_LONG, /* 64 bit */
    TYPE_DOUBLE,
    TYPE_STRING,      /* UTF-8 */
    TYPE_TIMESTAMPTZ, /* microseconds since 1970, UTC */
};

/* What the roller puts into a column because capture can't know it yet. */
enum fill { FILL_NONE, FILL_STREAM, FILL_POSITION };

struct column {
    char *name;
    enum type type;
    bool list;
    bool required; /* never null, in Iceberg and in Parquet */
    bool personal; /* metrics mode counts: no bounds anywhere */
    bool bloom;
    enum fill fill;
    int32_t field_id;
    int32_t element_id; /* of a list; else 0 */
};

enum transform { TRANSFORM_IDENTITY, TRANSFORM_DAY };

struct partition_field {
    enum transform transform;
    size_t column;    /* index into columns */
    int32_t field_id; /* 1000 and up */
    char *name;       /* "event_timestamp_day", "device_geo_country" */
};

enum { PARTITION_FIELDS_MAX = 4, SORT_FIELDS_MAX = 8, SPECS_MAX = 2 };

struct partition_spec {
    int32_t spec_id;
    size_t field_count;
    struct partition_field fields[PARTITION_FIELDS_MAX];
};

/* Ascending, nulls first, identity. order_id 0: unsorted, no columns. */
struct sort_order {
    int32_t order_id;
    size_t column_count;
    size_t columns[SORT_FIELDS_MAX];
};

struct table_schema {
    char *table; /* "bid_requests", without namespace */
    int32_t schema_id;
    size_t column_count;
    struct column *columns;
    size_t spec_count; /* 1 or 2: specs[0] is the default, specs[1] the day alone */
    struct partition_spec specs[SPECS_MAX];
    struct sort_order sort;
    /* Index of the column whose day partitions the table, or SIZE_MAX. */
    size_t time_column;
};

void table_schema_free(struct table_schema *schema);
void table_schema_copy(struct table_schema *out, const struct table_schema *from);

/* Index of the column of that name, or SIZE_MAX. */
size_t table_schema_find(const struct table_schema *schema, const char *name);

void table_schema_encode(const struct table_schema *schema, struct buf *out);
int table_schema_decode(struct table_schema *out, struct slice bytes, struct error *err) MUST_USE;

/* First eight bytes of SHA-256 of the encoded form: the key blocks name it by. */
uint64_t table_schema_key(const struct table_schema *schema);

/* Iceberg's JSON (reference: iceberg spec, Appendix C). New references. */
json_t *table_schema_to_iceberg(const struct table_schema *schema);
json_t *partition_spec_to_iceberg(const struct table_schema *schema,
                                  const struct partition_spec *spec);
json_t *sort_order_to_iceberg(const struct table_schema *schema);

/* Takes field ids, spec ids and sort order id over from a table's contract by
 * column name. A column that the contract lacks, or has with another type, is
 * ERROR_CONFLICT: the table must evolve first, or the mapping is wrong. */
int table_schema_bind(struct table_schema *schema, const struct table_schema *contract,
                      struct error *err) MUST_USE;

/* "int", "list<string>", ... as mapping files write it. */
const char *type_name(enum type type);

/* One value of a partition tuple. */
struct partition_value {
    bool null;
    int64_t number;    /* of a day: days since 1970; of identity on numbers: the number */
    struct slice text; /* of identity on a string */
    bool is_text;
};

/* "event_timestamp_day=2026-01-01/device_geo_country=USA": encoded as
 * java.net.URLEncoder does, "null" for null; cosmetic, never parsed. */
void partition_path(const struct table_schema *schema, const struct partition_spec *spec,
                    const struct partition_value *values, struct buf *out);

#endif
