/* SPDX-License-Identifier: Apache-2.0
 *
 * parquet.h: writes Parquet files that Spark, Trino, DuckDB, pyarrow and
 * BigQuery read and prune with, and reads footers back for checks.
 *
 * The safe profile: format version 1, v1 data pages, PLAIN and RLE_DICTIONARY,
 * zstd, footer statistics, page index, Bloom filters, page CRC, field ids, sorting
 * columns. The file is written strictly front to back through a sink. The same input,
 * options and libraries give the same bytes. Metrics for the Iceberg manifest
 * are gathered while writing.
 *
 * Memory     besides the column handed in, for a file of any size: the dictionary of one
 *            chunk (1 MiB, with its hash table at most 12 MiB), a page before and after
 *            zstd and 12 bytes for each of its entries, the compressed index pages of one
 *            chunk while its dictionary still grows (at most 3 bytes an entry), 4 bytes
 *            for each of `distinct`, zstd's own megabyte; where Bloom filters are asked for
 *            one while it fills and those of a row group (a filter of n values has at most
 *            2.6 n bytes, and 1 MiB) with at most bloom_file_min of earlier ones; and kept
 *            until finish, about
 *            300 bytes for each column of a row group and 150 for each page.
 * Strings    must be valid UTF-8: readers refuse a whole file for one that is not. They
 *            are not looked at; bounds hold for any bytes.
 * Errors     ERROR_INPUT for options that no reader would take, or a null where it is
 *            required; ERROR_LIMIT for a row of more than 16 MiB in one column, 32,767
 *            row groups, a footer of 64 MiB; else what the sink said. After an
 *            error only close is allowed.
 * Ownership  what is handed in is borrowed for the call only.
 * Threads    one writer belongs to one thread; writers are independent.
 * Crash      a file without its footer is garbage; the caller publishes a file
 *            only after parquet_writer_finish.
 * Source     parquet-format 2.10 (parquet.thrift, Encodings.md, PageIndex.md, BloomFilter.md);
 *            bounds by the Iceberg spec, Appendix D.
 */
#ifndef LIB_PARQUET_PARQUET_H
#define LIB_PARQUET_PARQUET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum parquet_type {
    PARQUET_BOOLEAN,
    PARQUET_INT32,
    PARQUET_INT64,
    PARQUET_DOUBLE,
    PARQUET_STRING,
    PARQUET_TIMESTAMP_MICROS_UTC, /* INT64 */
};

/* One top-level column: a primitive, or a list of primitives in the three-level
 * shape (optional group, repeated group "list", optional "element"). */
struct parquet_field {
    const char *name;
    enum parquet_type type;
    bool list;
    bool required;  /* primitives only */
    bool no_bounds; /* neither min/max in the file nor lower/upper in the metrics */
    bool plain;     /* never a dictionary */
    bool bloom;     /* a Bloom filter; not for lists and booleans */
    int32_t field_id;
    int32_t element_id; /* lists only */
};

struct parquet_options {
    const struct parquet_field *fields;
    size_t field_count;
    const size_t *sorting; /* field indexes, ascending, nulls first; primitives only */
    size_t sorting_count;
    const char *created_by;      /* "bidlake version 0.1.0 (build 0123abc)" */
    const char *iceberg_schema;  /* JSON for the key iceberg.schema, or NULL */
    int zstd_level;              /* 0: 1 */
    size_t page_rows_max;        /* 0: 20,000 */
    size_t page_bytes_max;       /* 0: 1 MiB before compression */
    size_t dictionary_bytes_max; /* 0: 1 MiB */
    size_t bloom_file_min;       /* smaller files have no Bloom filters; 0: 1 MiB */
};

/* Takes the file's bytes in order. */
struct parquet_sink {
    int (*write)(void *context, struct slice bytes, struct error *err);
    void *context;
};

/* One column of one row group. Exactly one of the value arrays is set, the one
 * of the field's type; strings come as slices, or as codes into distinct values.
 *
 *   flat column  row_count entries; where valid[i] is 0 the entry is not looked at
 *   list column  row i has entries list_offsets[i] .. list_offsets[i + 1], none null;
 *                valid[i] 0 is a null list, an empty range an empty one
 */
struct parquet_column {
    const uint8_t *valid;         /* one byte a row; NULL: all valid */
    const uint32_t *list_offsets; /* row_count + 1 entries; lists only */
    const uint8_t *booleans;      /* one byte an entry, 0 or 1 */
    const int32_t *ints;
    const int64_t *longs; /* timestamps too */
    const double *doubles;
    const struct slice *strings;
    const uint32_t *codes;        /* strings as distinct[codes[i]] */
    const struct slice *distinct; /* all different */
    size_t distinct_count;
};

struct parquet_metric {
    int32_t field_id;    /* of the leaf: a list's element_id */
    int64_t size;        /* compressed bytes, headers included */
    int64_t value_count; /* nulls included; -1 for leaves in lists, as null_count */
    int64_t null_count;
    int64_t nan_count; /* doubles; else -1 */
    bool has_bounds;
    bool has_upper;     /* false: truncated and nothing left to increment */
    struct slice lower; /* Iceberg single-value bytes, truncate(16) for strings */
    struct slice upper;
};

/* Borrowed from the writer until its close. */
struct parquet_result {
    uint64_t file_size;
    uint64_t row_count;
    uint32_t crc32c; /* of the whole file */
    size_t split_count;
    const int64_t *splits; /* offset of each row group */
    size_t metric_count;
    const struct parquet_metric *metrics; /* one a leaf, in field order */
};

struct parquet_writer;

int parquet_writer_open(struct parquet_writer **out, const struct parquet_options *options,
                        struct parquet_sink sink, struct error *err) MUST_USE;
void parquet_writer_close(struct parquet_writer *writer);

/* begin_group, then one add_column for each field in order, then end_group.
 * row_count > 0. Pages go to the sink as they fill. */
int parquet_writer_begin_group(struct parquet_writer *writer, size_t row_count,
                               struct error *err) MUST_USE;
int parquet_writer_add_column(struct parquet_writer *writer, const struct parquet_column *column,
                              struct error *err) MUST_USE;
int parquet_writer_end_group(struct parquet_writer *writer, struct error *err) MUST_USE;

/* Page index, footer, magic. At least one group must have been written. */
int parquet_writer_finish(struct parquet_writer *writer, struct parquet_result *out,
                          struct error *err) MUST_USE;

/* CPU nanoseconds spent in zstd since open, for stage tables. */
int64_t parquet_writer_zstd_ns(const struct parquet_writer *writer);

/* What a footer says. Hostile input: every length is bounded. Owned by the caller
 * until parquet_footer_free. */
struct parquet_footer_leaf {
    int32_t field_id;        /* 0: none */
    int64_t compressed_size; /* sum over row groups */
    int64_t value_count;
    int64_t null_count; /* -1: a row group does not say */
    size_t bloom_count; /* row groups that have a Bloom filter of it */
};
struct parquet_footer {
    int64_t row_count;
    size_t row_group_count;
    int64_t *row_group_offsets;
    int64_t *row_group_rows;
    size_t leaf_count;
    struct parquet_footer_leaf *leaves;
    size_t chunk_count; /* leaf_count of each row group, in the leaves' order */
    struct parquet_footer_chunk {
        int64_t offset; /* of its first page; inside the file, as its end is */
        int64_t size;
    } * chunks;
};
/* `tail` is the file's end, at least min(64 KiB, file_size) bytes; when the footer
 * is longer, ERROR_LIMIT and *need says how much of the end to bring, 0 that it is
 * longer than the 64 MiB that are taken. ERROR_CORRUPT: no Parquet file, cut short, or
 * counts and offsets that contradict each other or the file's size. */
int parquet_footer_decode(struct parquet_footer *out, struct slice tail, uint64_t file_size,
                          size_t *need, struct error *err) MUST_USE;
void parquet_footer_free(struct parquet_footer *footer);

/* The pages of one column chunk, whose bytes these are: each header reads, the pages fill the
 * chunk, and each that has a checksum agrees with it. Counts are added to. ERROR_CORRUPT says
 * which page is wrong. Hostile input: nothing is allocated. */
struct parquet_pages {
    size_t count;
    size_t unchecked; /* without a checksum: other writers may leave it out */
};
int parquet_chunk_check(struct slice chunk, struct parquet_pages *pages,
                        struct error *err) MUST_USE;

#endif
