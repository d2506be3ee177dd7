/* SPDX-License-Identifier: Apache-2.0
 *
 * roller_index.h: a segment's rows, grouped into the files they go to, and sorted.
 * Private to agent/.
 */
#ifndef AGENT_ROLLER_INDEX_H
#define AGENT_ROLLER_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/error.h"
#include "lib/row/row.h"
#include "lib/schema/schema.h"
#include "spool/spool.h"

/* A row's place: its image in the map, and the block it came in. */
struct row_reference {
    const uint8_t *row;
    uint32_t group;
    uint32_t block;
};

/* A partition tuple with rows; after roller_index_plan the files. */
struct row_group_key {
    struct partition_value values[PARTITION_FIELDS_MAX];
    uint64_t image_bytes;
    uint64_t element_count; /* of all lists */
    uint32_t row_count;
    uint32_t file; /* which of the files takes it */
};

struct planned_file {
    size_t spec; /* index into schema->specs */
    struct partition_value values[PARTITION_FIELDS_MAX];
    size_t sort_column_count;
    size_t sort_columns[SORT_FIELDS_MAX + PARTITION_FIELDS_MAX];
    int32_t sort_order_id; /* 0: not the table's */
    uint64_t element_count;
    uint32_t first_row; /* within the grouped references */
    uint32_t row_count;
};

struct roller_index {
    const struct table_schema *schema;
    struct row_layout layout;
    size_t list_count; /* columns that are lists */
    size_t *list_columns;
    size_t row_count;
    size_t row_capacity;
    struct row_reference *rows; /* after plan: file by file; after sort: in order */
    size_t block_count;
    size_t block_capacity;
    uint64_t *block_firsts;
    size_t group_count;
    size_t group_capacity;
    struct row_group_key *groups;
    size_t bucket_count; /* of the hash of tuples: a power of two */
    uint32_t *buckets;   /* group + 1; 0: free */
    size_t file_count;
    struct planned_file *files;
    uint64_t event_count;
    int64_t time_min_us; /* of the rows' time column */
    int64_t time_max_us;
};

void roller_index_init(struct roller_index *index, const struct table_schema *schema);
void roller_index_free(struct roller_index *index);

/* Adds a block's rows whose positions lie in [from, to). The rows stay in the map.
 * ERROR_CORRUPT: an image in it is malformed; nothing of the block was added. */
int roller_index_add_block(struct roller_index *index, const struct spool_block *block,
                           uint64_t from, uint64_t to, struct error *err) MUST_USE;

/* Decides the files and puts the references in their order (README, The two specs). */
void roller_index_plan(struct roller_index *index, uint64_t image_bytes_min);

/* Sorts one file's references by its sort columns, nulls first, ties by position. */
void roller_index_sort(struct roller_index *index, const struct planned_file *file);

/* Elements of all the lists of one row. */
uint64_t roller_index_elements(const struct roller_index *index, const uint8_t *row);

#endif
