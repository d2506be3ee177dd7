/* SPDX-License-Identifier: Apache-2.0
 *
 * Thrift compact protocol, writing. A field header is one byte, the step from the
 * id before it and the type, as long as ids ascend by at most 15; Parquet's do, but
 * the long form is here so that no caller needs to know.
 */
#include "lib/parquet/thrift.h"

#include "lib/base/assert.h"

void thrift_writer_init(struct thrift_writer *writer, struct buf *out)
{
    *writer = (struct thrift_writer){.out = out};
}

static void put_header(struct thrift_writer *writer, int16_t id, enum thrift_type type)
{
    int step = id - writer->last_id[writer->depth];
    if (step >= 1 && step <= 15) {
        buf_put_u8(writer->out, (uint8_t)((unsigned)step << 4 | (unsigned)type));
    } else {
        buf_put_u8(writer->out, (uint8_t)type);
        buf_put_varint(writer->out, id);
    }
    writer->last_id[writer->depth] = id;
}

void thrift_put_bool(struct thrift_writer *writer, int16_t id, bool value)
{
    put_header(writer, id, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_put_i16(struct thrift_writer *writer, int16_t id, int16_t value)
{
    put_header(writer, id, THRIFT_I16);
    buf_put_varint(writer->out, value);
}

void thrift_put_i32(struct thrift_writer *writer, int16_t id, int32_t value)
{
    put_header(writer, id, THRIFT_I32);
    buf_put_varint(writer->out, value);
}

void thrift_put_i64(struct thrift_writer *writer, int16_t id, int64_t value)
{
    put_header(writer, id, THRIFT_I64);
    buf_put_varint(writer->out, value);
}

void thrift_put_binary(struct thrift_writer *writer, int16_t id, struct slice bytes)
{
    put_header(writer, id, THRIFT_BINARY);
    thrift_element_binary(writer, bytes);
}

void thrift_begin_struct(struct thrift_writer *writer, int16_t id)
{
    if (id != 0)
        put_header(writer, id, THRIFT_STRUCT);
    ASSERT(writer->depth + 1 < THRIFT_DEPTH_MAX);
    writer->depth++;
    writer->last_id[writer->depth] = 0;
}

void thrift_put_empty_struct(struct thrift_writer *writer, int16_t id)
{
    thrift_begin_struct(writer, id);
    thrift_end(writer);
}

void thrift_end(struct thrift_writer *writer)
{
    buf_put_u8(writer->out, THRIFT_STOP);
    if (writer->depth > 0)
        writer->depth--;
}

void thrift_begin_list(struct thrift_writer *writer, int16_t id, enum thrift_type element,
                       size_t count)
{
    put_header(writer, id, THRIFT_LIST);
    if (count < 15) {
        buf_put_u8(writer->out, (uint8_t)(count << 4 | (size_t)element));
    } else {
        buf_put_u8(writer->out, (uint8_t)(0xf0u | (unsigned)element));
        buf_put_uvarint(writer->out, count);
    }
}

void thrift_element_bool(struct thrift_writer *writer, bool value)
{
    buf_put_u8(writer->out, value ? THRIFT_TRUE : THRIFT_FALSE);
}

void thrift_element_int(struct thrift_writer *writer, int64_t value)
{
    buf_put_varint(writer->out, value);
}

void thrift_element_binary(struct thrift_writer *writer, struct slice bytes)
{
    buf_put_uvarint(writer->out, bytes.len);
    buf_put_slice(writer->out, bytes);
}
