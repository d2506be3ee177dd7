/* SPDX-License-Identifier: Apache-2.0
 *
 * avro.h: Avro object container files (specification 1.11), as far as Iceberg's
 * manifests need them.
 *
 * Writing: the caller puts a row's fields into the writer's block, in the order of the
 * schema that it gave as "avro.schema". Codec null; the same rows give the same bytes.
 * Reading: driven by the writer's schema, which comes with the file. The caller walks a
 * record's fields, takes those whose field-id it knows and skips the rest, so that a
 * column more, one less or another order does no harm.
 *
 * Everything read is hostile: a cursor never leaves its block, every value costs one
 * of a budget that goes with the block's size, and plain bytes are bounded by the
 * caller. A cursor that failed stays so and gives zeros: ask once, at a row's end.
 *
 * Ownership  the schema, the metadata and the blocks live in the reader's arena.
 * Errors     ERROR_INPUT: no Avro, or damaged. ERROR_LIMIT: larger than allowed.
 */
#ifndef LIB_AVRO_AVRO_H
#define LIB_AVRO_AVRO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum { AVRO_SYNC_SIZE = 16 };

struct avro_pair { /* of a file's metadata */
    const char *key;
    struct slice value;
};

/* ---- schema ---- */

enum avro_kind {
    AVRO_NULL,
    AVRO_BOOLEAN,
    AVRO_INT,
    AVRO_LONG,
    AVRO_FLOAT,
    AVRO_DOUBLE,
    AVRO_BYTES,
    AVRO_STRING,
    AVRO_FIXED,
    AVRO_ENUM,
    AVRO_ARRAY,
    AVRO_MAP,
    AVRO_RECORD,
    AVRO_UNION,
};

struct avro_type {
    enum avro_kind kind;
    size_t fixed_size;                       /* FIXED */
    size_t count;                            /* fields of a RECORD, branches of a UNION */
    const struct avro_field *fields;         /* RECORD */
    const struct avro_type *const *branches; /* UNION */
    const struct avro_type *item;            /* ARRAY, MAP */
};

struct avro_field {
    const char *name;
    int32_t id; /* "field-id"; -1: none */
    const struct avro_type *type;
};

/* Types that refer to themselves are refused: Iceberg has none. */
int avro_schema_decode(const struct avro_type **out, struct arena *arena, struct slice json,
                       struct error *err) MUST_USE;

/* ---- values ---- */

struct avro_cursor {
    const uint8_t *at;
    const uint8_t *end;
    uint64_t budget;
    bool failed;
};

void avro_cursor_init(struct avro_cursor *cursor, struct slice bytes);
void avro_fail(struct avro_cursor *cursor);
/* Takes `n` from the budget, for callers whose own work hangs on what they read. */
void avro_charge(struct avro_cursor *cursor, uint64_t n);

int64_t avro_read_varint(struct avro_cursor *cursor);
struct slice avro_read_raw(struct avro_cursor *cursor, size_t len);

/* The type itself, or for a union the branch that stands next. Never a union. */
const struct avro_type *avro_read_branch(struct avro_cursor *cursor, const struct avro_type *type);

/* False: null, with *out as it was. A value of another kind fails the cursor.
 * integer takes int and long, bytes takes string, bytes and fixed. */
bool avro_read_integer(struct avro_cursor *cursor, const struct avro_type *type, int64_t *out);
bool avro_read_boolean(struct avro_cursor *cursor, const struct avro_type *type, bool *out);
bool avro_read_bytes(struct avro_cursor *cursor, const struct avro_type *type, struct slice *out);

/* Items of an array or map: begin with zero, ask before each item. */
struct avro_items {
    int64_t left;
};
bool avro_items_next(struct avro_cursor *cursor, struct avro_items *items);

void avro_skip(struct avro_cursor *cursor, const struct avro_type *type);

/* ---- container ---- */

struct avro_reader {
    struct arena *arena;
    struct slice rest; /* blocks not yet read */
    int codec;
    size_t plain_left;
    size_t pair_count;
    const struct avro_pair *pairs;
    const struct avro_type *type; /* of a row */
    uint8_t sync[AVRO_SYNC_SIZE];
};

/* Codecs null, deflate, zstandard. At most `plain_max` bytes of blocks come out. */
int avro_reader_init(struct avro_reader *out, struct arena *arena, struct slice bytes,
                     size_t plain_max, struct error *err) MUST_USE;
/* The next block; *rows is 0 at the end of the file. */
int avro_reader_next(struct avro_reader *reader, struct avro_cursor *out, int64_t *rows,
                     struct error *err) MUST_USE;
/* Borrowed; data is NULL when the file has no such key. */
struct slice avro_reader_meta(const struct avro_reader *reader, const char *key);

struct avro_writer {
    struct buf *out;
    struct buf block; /* the caller puts rows here */
    int64_t rows;
    uint8_t sync[AVRO_SYNC_SIZE];
};

/* Writes the header; the pairs must hold "avro.schema". */
void avro_writer_init(struct avro_writer *writer, struct buf *out, const struct avro_pair *pairs,
                      size_t pair_count);
/* A row stands complete in the block. */
void avro_writer_end_row(struct avro_writer *writer);
/* The last block; releases the writer's memory. */
void avro_writer_finish(struct avro_writer *writer);

/* Inflates behind what `out` holds, up to its ceiling. window_bits as zlib has them:
 * -15 raw (bytes behind the data are let be), 31 gzip. */
int avro_inflate(struct buf *out, struct slice bytes, int window_bits, struct error *err) MUST_USE;

#endif
