/* SPDX-License-Identifier: Apache-2.0
 *
 * metadata.h: page index and footer as Thrift structs (parquet.thrift). Private to
 * lib/parquet.
 */
#ifndef LIB_PARQUET_METADATA_H
#define LIB_PARQUET_METADATA_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/parquet/chunk.h"
#include "lib/parquet/parquet.h"

struct group_meta {
    int64_t row_count;
    int64_t offset;
    struct chunk_meta *chunks; /* one a field */
};

/* Puts the ColumnIndex of a chunk, or nothing where one must not be: without bounds
 * that every page with values has, it would be wrong. */
void column_index_put(struct buf *out, const struct parquet_field *field,
                      const struct chunk_page *pages, size_t page_count);
void offset_index_put(struct buf *out, const struct chunk_page *pages, size_t page_count,
                      int64_t data_offset);

/* index_offset is where the first ColumnIndex stands; all others follow it. */
void footer_put(struct buf *out, const struct parquet_options *options,
                const struct group_meta *groups, size_t group_count, int64_t index_offset);

#endif
