/* SPDX-License-Identifier: Apache-2.0
 *
 * chunk.h: one column of one row group, from arrays to pages in the file.
 * Private to lib/parquet.
 */
#ifndef LIB_PARQUET_CHUNK_H
#define LIB_PARQUET_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/parquet/bloom.h"
#include "lib/parquet/bounds.h"
#include "lib/parquet/dictionary.h"
#include "lib/parquet/output.h"
#include "lib/parquet/page.h"
#include "lib/parquet/parquet.h"
#include "lib/parquet/view.h"

/* No page is larger before compression, whatever the options or a value say: readers
 * allocate what the header tells. */
#define PAGE_BYTES_LIMIT ((size_t)16 << 20)

/* One data page, for the indexes. */
struct chunk_page {
    int64_t offset; /* from the chunk's first data page */
    int32_t size;   /* in the file, with its header */
    bool all_null;
    bool has_bounds;
    int64_t first_row;
    int64_t null_count;
    int64_t nan_count;
    struct bound min;
    struct bound max;
};

/* What the footer says of a chunk. */
struct chunk_meta {
    int64_t offset;      /* of its first page in the file */
    int64_t data_offset; /* of its first data page */
    int64_t entry_count;
    int64_t null_count;
    int64_t nan_count;
    int64_t uncompressed_len; /* both with headers and dictionary page */
    int64_t compressed_len;
    int32_t plain_pages;
    int32_t dictionary_pages; /* data pages that use the dictionary */
    bool has_bounds;
    struct bound min;
    struct bound max;
    size_t column_index_len; /* 0: none */
    size_t offset_index_len;
    int64_t bloom_offset; /* until it is written: among the filters that wait */
    size_t bloom_len;     /* 0: none */
};

/* Reused for all chunks of a file. */
struct chunk_encoder {
    size_t page_rows_max;
    size_t page_bytes_max;
    struct page_packer packer;
    struct dictionary dictionary;
    struct bloom bloom;
    struct view view;
    struct buf body;    /* of the page at hand */
    struct buf pending; /* finished pages that wait for their dictionary */
    uint32_t *indexes;
    size_t index_cap;
    struct chunk_page *pages;
    size_t page_count;
    size_t page_cap;
};

void chunk_encoder_init(struct chunk_encoder *encoder, const struct parquet_options *options);
void chunk_encoder_free(struct chunk_encoder *encoder);

/* Writes the pages; the records of them stay in encoder->pages until the next call, and so
 * does the filter of a bloom field in encoder->bloom. The range borrows from the column. */
int chunk_encode(struct chunk_encoder *encoder, const struct parquet_field *field,
                 const struct parquet_column *column, size_t row_count, struct output *output,
                 struct chunk_meta *meta, struct range *range, struct error *err) MUST_USE;

#endif
