/* SPDX-License-Identifier: Apache-2.0
 *
 * thrift.h: Thrift's compact protocol, as much of it as Parquet's footers,
 * indexes and page headers need.
 *
 * The writer puts into a struct buf and has no errors of its own: the buffer's
 * ceiling is checked once, at the end. The reader takes hostile bytes: every
 * length is held against what is left, nesting is limited, and its first failure
 * sticks (all later reads give zero and thrift_next_field ends every struct).
 */
#ifndef LIB_PARQUET_THRIFT_H
#define LIB_PARQUET_THRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/slice.h"

enum thrift_type {
    THRIFT_STOP = 0,
    THRIFT_TRUE = 1, /* a field's value is in its type; an element's a byte */
    THRIFT_FALSE = 2,
    THRIFT_I8 = 3,
    THRIFT_I16 = 4,
    THRIFT_I32 = 5,
    THRIFT_I64 = 6,
    THRIFT_DOUBLE = 7,
    THRIFT_BINARY = 8,
    THRIFT_LIST = 9,
    THRIFT_SET = 10,
    THRIFT_MAP = 11,
    THRIFT_STRUCT = 12,
    THRIFT_UUID = 13,
};

enum { THRIFT_DEPTH_MAX = 16 };

/* Begins inside a struct; the outermost thrift_end closes that one. */
struct thrift_writer {
    struct buf *out;
    int16_t last_id[THRIFT_DEPTH_MAX];
    size_t depth;
};

void thrift_writer_init(struct thrift_writer *writer, struct buf *out);
void thrift_put_bool(struct thrift_writer *writer, int16_t id, bool value);
void thrift_put_i16(struct thrift_writer *writer, int16_t id, int16_t value);
void thrift_put_i32(struct thrift_writer *writer, int16_t id, int32_t value);
void thrift_put_i64(struct thrift_writer *writer, int16_t id, int64_t value);
void thrift_put_binary(struct thrift_writer *writer, int16_t id, struct slice bytes);
/* id 0: the struct is an element of the list last begun. */
void thrift_begin_struct(struct thrift_writer *writer, int16_t id);
void thrift_put_empty_struct(struct thrift_writer *writer, int16_t id);
void thrift_end(struct thrift_writer *writer);
/* Exactly `count` elements must follow. */
void thrift_begin_list(struct thrift_writer *writer, int16_t id, enum thrift_type element,
                       size_t count);
void thrift_element_bool(struct thrift_writer *writer, bool value);
void thrift_element_int(struct thrift_writer *writer, int64_t value);
void thrift_element_binary(struct thrift_writer *writer, struct slice bytes);

struct thrift_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

/* One struct being read; all zero before its first field. */
struct thrift_field {
    int16_t id;
    enum thrift_type type;
};

/* False at the struct's end or on failure. What the caller does not read it must
 * skip with thrift_skip. */
bool thrift_next_field(struct thrift_reader *reader, struct thrift_field *field);
int64_t thrift_read_int(struct thrift_reader *reader);
struct slice thrift_read_binary(struct thrift_reader *reader);
/* The number of elements, at most the bytes left: each takes one at least. */
size_t thrift_read_list(struct thrift_reader *reader, enum thrift_type *element);
void thrift_skip(struct thrift_reader *reader, enum thrift_type type);

#endif
