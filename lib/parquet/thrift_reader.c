/* SPDX-License-Identifier: Apache-2.0
 *
 * Thrift compact protocol, reading hostile bytes. Each element of a list takes at
 * least one byte, so a count is refused when it is larger than what is left: no
 * loop is longer than the input, and no allocation larger than a constant times it.
 */
#include "lib/parquet/thrift.h"

static size_t left(const struct thrift_reader *reader)
{
    return (size_t)(reader->end - reader->at);
}

static void fail(struct thrift_reader *reader)
{
    reader->failed = true;
    reader->at = reader->end;
}

static uint8_t read_u8(struct thrift_reader *reader)
{
    if (left(reader) == 0) {
        fail(reader);
        return 0;
    }
    return *reader->at++;
}

static uint64_t read_uvarint(struct thrift_reader *reader)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(reader);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0)
            return reader->failed ? 0 : value;
    }
    fail(reader);
    return 0;
}

int64_t thrift_read_int(struct thrift_reader *reader)
{
    uint64_t value = read_uvarint(reader);
    return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

bool thrift_next_field(struct thrift_reader *reader, struct thrift_field *field)
{
    uint8_t header = read_u8(reader);
    if (reader->failed || header == THRIFT_STOP)
        return false;
    int64_t id = (header >> 4) != 0 ? field->id + (header >> 4) : thrift_read_int(reader);
    unsigned type = header & 0x0f;
    if (reader->failed || id < 1 || id > INT16_MAX || type == THRIFT_STOP || type > THRIFT_UUID) {
        fail(reader);
        return false;
    }
    field->id = (int16_t)id;
    field->type = (enum thrift_type)type;
    return true;
}

struct slice thrift_read_binary(struct thrift_reader *reader)
{
    uint64_t len = read_uvarint(reader);
    if (len > left(reader)) {
        fail(reader);
        return (struct slice){0};
    }
    struct slice out = slice_of(reader->at, (size_t)len);
    reader->at += len;
    return out;
}

size_t thrift_read_list(struct thrift_reader *reader, enum thrift_type *element)
{
    uint8_t header = read_u8(reader);
    uint64_t count = header >> 4;
    if (count == 15)
        count = read_uvarint(reader);
    unsigned type = header & 0x0f;
    if (reader->failed || type == THRIFT_STOP || type > THRIFT_UUID || count > left(reader)) {
        fail(reader);
        return 0;
    }
    *element = (enum thrift_type)type;
    return (size_t)count;
}

static void skip_bytes(struct thrift_reader *reader, size_t n)
{
    if (n > left(reader))
        fail(reader);
    else
        reader->at += n;
}

static void skip_value(struct thrift_reader *reader, enum thrift_type type, bool element,
                       unsigned depth);

static void skip_list(struct thrift_reader *reader, unsigned depth)
{
    enum thrift_type inner = THRIFT_STOP;
    size_t count = thrift_read_list(reader, &inner);
    for (size_t i = 0; i < count && !reader->failed; i++)
        skip_value(reader, inner, true, depth);
}

static void skip_map(struct thrift_reader *reader, unsigned depth)
{
    uint64_t count = read_uvarint(reader);
    if (reader->failed || count > left(reader)) {
        fail(reader);
        return;
    }
    uint8_t types = count > 0 ? read_u8(reader) : 0;
    for (uint64_t i = 0; i < count && !reader->failed; i++) {
        skip_value(reader, (enum thrift_type)(types >> 4), true, depth);
        skip_value(reader, (enum thrift_type)(types & 0x0f), true, depth);
    }
}

static void skip_struct(struct thrift_reader *reader, unsigned depth)
{
    struct thrift_field field = {0};
    while (thrift_next_field(reader, &field))
        skip_value(reader, field.type, false, depth);
}

/* Recursion ends at THRIFT_DEPTH_MAX. */
static void skip_value(struct thrift_reader *reader, enum thrift_type type, bool element,
                       unsigned depth)
{
    if (depth >= THRIFT_DEPTH_MAX) {
        fail(reader);
        return;
    }
    switch (type) {
    case THRIFT_TRUE:
    case THRIFT_FALSE:
        skip_bytes(reader, element ? 1 : 0);
        break;
    case THRIFT_I8:
        skip_bytes(reader, 1);
        break;
    case THRIFT_I16:
    case THRIFT_I32:
    case THRIFT_I64:
        (void)read_uvarint(reader);
        break;
    case THRIFT_DOUBLE:
        skip_bytes(reader, 8);
        break;
    case THRIFT_UUID:
        skip_bytes(reader, 16);
        break;
    case THRIFT_BINARY:
        (void)thrift_read_binary(reader);
        break;
    case THRIFT_LIST:
    case THRIFT_SET:
        skip_list(reader, depth + 1);
        break;
    case THRIFT_MAP:
        skip_map(reader, depth + 1);
        break;
    case THRIFT_STRUCT:
        skip_struct(reader, depth + 1);
        break;
    case THRIFT_STOP:
    default:
        fail(reader);
        break;
    }
}

void thrift_skip(struct thrift_reader *reader, enum thrift_type type)
{
    skip_value(reader, type, false, 0);
}
