/* SPDX-License-Identifier: Apache-2.0
 *
 * row.h: the row image, the spool's record: one table row in a form that is
 * cheap to read a field of.
 *
 *   u32  size of the whole image, a multiple of 4, this field included
 *   u32  event: index of the row's event within its block (position - block's first)
 *   ...  null bitmap, ceil(columns / 8) bytes, bit set: null; padded to 4
 *   ...  one slot a column in schema order: boolean, int: 4 bytes; others 8 bytes
 *        boolean 0 or 1; int, long, double, timestamptz: little endian
 *        string: u32 offset from the image's start, u32 length
 *        list: u32 offset, u32 length of {u32 count, then elements: strings as
 *              u32 length + bytes, fixed types in 1, 4 or 8 bytes}, unaligned
 *   ...  the bytes that slots point at; zeros up to the multiple of 4
 *
 * All little endian, slots at 4-byte alignment only: read with memcpy. A null
 * column's slot is zero. Field ids are no part of it: a column is its ordinal.
 *
 * row_check is for images that come from a disk; the readers below it trust
 * what row_check accepted, or what our own writer made.
 */
#ifndef LIB_ROW_ROW_H
#define LIB_ROW_ROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/bytes.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/schema/schema.h"

enum { ROW_HEADER_SIZE = 8 };

/* Where a column's bits are, for those who ask once. */
struct row_field {
    uint32_t slot;
    uint32_t null_byte;
    uint8_t null_bit;
};

/* What row_check asks of a field. */
enum row_check_kind {
    ROW_CHECK_FOUR,
    ROW_CHECK_BOOLEAN,
    ROW_CHECK_EIGHT,
    ROW_CHECK_STRING,
    ROW_CHECK_LIST,
    ROW_CHECK_KINDS
};

struct row_layout {
    size_t column_count;
    uint32_t fixed_size; /* header, bitmap and slots */
    uint32_t *slots;     /* offset of each column's slot */
    enum type *types;
    bool *lists;
    struct row_field *checks; /* all columns, by kind */
    uint32_t *check_columns;  /* which they are */
    uint32_t check_from[ROW_CHECK_KINDS + 1];
};

void row_layout_init(struct row_layout *out, const struct table_schema *schema);
void row_layout_free(struct row_layout *layout);

/* True when `bytes` begins with a whole, well-formed image; *size is its length. */
bool row_check(const struct row_layout *layout, struct slice bytes, uint32_t *size) MUST_USE;

static inline uint32_t row_size(const uint8_t *row)
{
    return get_u32le(row);
}

static inline uint32_t row_event(const uint8_t *row)
{
    return get_u32le(row + 4);
}

static inline bool row_is_null(const uint8_t *row, size_t column)
{
    return ((row[ROW_HEADER_SIZE + column / 8] >> (column % 8)) & 1) != 0;
}

/* The value of a column that is not null; booleans come as int. */
static inline int32_t row_int(const struct row_layout *layout, const uint8_t *row, size_t column)
{
    return (int32_t)get_u32le(row + layout->slots[column]);
}

static inline int64_t row_long(const struct row_layout *layout, const uint8_t *row, size_t column)
{
    return (int64_t)get_u64le(row + layout->slots[column]);
}

static inline double row_double(const struct row_layout *layout, const uint8_t *row, size_t column)
{
    uint64_t bits = get_u64le(row + layout->slots[column]);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* A string's bytes, or a list's encoded elements. */
static inline struct slice row_bytes(const struct row_layout *layout, const uint8_t *row,
                                     size_t column)
{
    const uint8_t *slot = row + layout->slots[column];
    return slice_of(row + get_u32le(slot), get_u32le(slot + 4));
}

static inline uint32_t row_list_count(struct slice list)
{
    return get_u32le(list.data);
}

/* Walks a list of strings: *at begins as list.data + 4. */
static inline struct slice row_list_next_string(const uint8_t **at)
{
    struct slice out = slice_of(*at + 4, get_u32le(*at));
    *at = out.data + out.len;
    return out;
}

static inline struct row_field row_field(const struct row_layout *layout, size_t column)
{
    return (struct row_field){.slot = layout->slots[column],
                              .null_byte = ROW_HEADER_SIZE + (uint32_t)column / 8,
                              .null_bit = (uint8_t)(1u << column % 8)};
}

/* The column is no longer null; the result is its slot, to be filled. */
static inline uint8_t *row_field_open(uint8_t *row, struct row_field field)
{
    row[field.null_byte] &= (uint8_t)~field.null_bit;
    return row + field.slot;
}

/* Writes images one after the other into `rows`. begin, then set each column at
 * most once in any order (unset ones are null), then end. The bytes of a string
 * may not lie in `rows`. */
struct row_writer {
    const struct row_layout *layout;
    struct buf *rows;
    size_t start; /* of the image that is being written */
};

void row_begin(struct row_writer *writer, uint32_t event);
/* The same, beginning with what another image had when it was `size` bytes long: what
 * several rows share is made once. */
struct row_begun {
    const uint8_t *fixed; /* its first layout->fixed_size bytes, as they were then */
    size_t from;          /* where it begins in `rows` */
    size_t size;
};
void row_begin_like(struct row_writer *writer, const struct row_begun *begun);
void row_set_int(struct row_writer *writer, size_t column, int32_t value); /* boolean too */
void row_set_long(struct row_writer *writer, size_t column, int64_t value);
void row_set_double(struct row_writer *writer, size_t column, double value);
void row_set_string(struct row_writer *writer, size_t column, struct slice value);
/* `encoded` is a list in the form above, its count included. */
void row_set_list(struct row_writer *writer, size_t column, struct slice encoded);
void row_end(struct row_writer *writer);

#endif
