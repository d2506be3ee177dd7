/* SPDX-License-Identifier: Apache-2.0
 *
 * column.h: one column of a mapping file. Private to lib/schema.
 */
#ifndef LIB_SCHEMA_COLUMN_H
#define LIB_SCHEMA_COLUMN_H

#include "lib/schema/mapping.h"
#include "lib/yaml/yaml.h"

/* A node and the file it stands in: with `extends` a mapping has two. */
struct part {
    const struct yaml_tree *tree;
    const struct yaml_node *node; /* NULL: not given */
    int line;                     /* of its key */
};

/* Reads `part` into both; `explode` is the mapping's. What they hold after a failure is
 * released as after success, by mapping_free. */
int column_parse(struct column *column, struct mapping_column *rule, const char *name,
                 const struct part *part, const struct source *explode, struct error *err) MUST_USE;
void mapping_column_free(struct mapping_column *rule);

#endif
