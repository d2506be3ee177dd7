/* SPDX-License-Identifier: Apache-2.0
 *
 * check.h: what holds for every table_schema, wherever it came from. Private to
 * lib/schema: the mapping's stricter rules (with line numbers) are in mapping.c.
 */
#ifndef LIB_SCHEMA_CHECK_H
#define LIB_SCHEMA_CHECK_H

#include "lib/schema/schema.h"

enum { NAME_MAX_BYTES = 255, FIELD_ID_MAX = 2147483447, PARTITION_ID_MIN = 1000 };

/* 1 to 255 bytes, none of them a control character. */
bool schema_name_ok(struct slice name);

/* Names that differ in more than case, ids that differ. */
int schema_check_columns(const struct table_schema *schema, struct error *err) MUST_USE;
/* Each field fits its column; one day at most; the second spec is that day alone. */
int schema_check_specs(const struct table_schema *schema, struct error *err) MUST_USE;
/* Columns are there once and can be ordered; order 0 if and only if there are none. */
int schema_check_sort(const struct table_schema *schema, struct error *err) MUST_USE;

/* Index of the column whose day partitions the table, or SIZE_MAX. */
size_t schema_time_column(const struct table_schema *schema);

#endif
