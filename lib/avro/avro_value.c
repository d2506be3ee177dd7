/* SPDX-License-Identifier: Apache-2.0
 *
 * Values within a block. int and long are zigzag varints, bytes and string a length
 * and the bytes, a union the branch's number and the value, an array blocks of items:
 * a count (negative: a size in bytes follows), the items, and at last a count of 0.
 */
#include "lib/avro/avro.h"

/* Steps of work for each byte. Honest files need two or three; what takes more is
 * made of values that have no bytes (null, empty records) repeated without end. */
enum { BUDGET_BASE = 4096, BUDGET_PER_BYTE = 64 };

void avro_cursor_init(struct avro_cursor *cursor, struct slice bytes)
{
    *cursor = (struct avro_cursor){
        .at = bytes.data,
        .end = bytes.data == NULL ? NULL : bytes.data + bytes.len,
        .budget = BUDGET_BASE + (uint64_t)BUDGET_PER_BYTE * bytes.len,
    };
}

void avro_fail(struct avro_cursor *cursor)
{
    cursor->failed = true;
    cursor->at = cursor->end;
}

void avro_charge(struct avro_cursor *cursor, uint64_t n)
{
    if (cursor->budget < n) {
        avro_fail(cursor);
        return;
    }
    cursor->budget -= n;
}

int64_t avro_read_varint(struct avro_cursor *cursor)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (cursor->at == cursor->end)
            break;
        uint8_t byte = *cursor->at++;
        if (shift == 63 && byte > 1)
            break;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return (int64_t)((value >> 1) ^ (~(value & 1) + 1));
    }
    avro_fail(cursor);
    return 0;
}

struct slice avro_read_raw(struct avro_cursor *cursor, size_t len)
{
    if (len > (size_t)(cursor->end - cursor->at)) {
        avro_fail(cursor);
        return slice_of(NULL, 0);
    }
    struct slice bytes = slice_of(cursor->at, len);
    if (len > 0)
        cursor->at += len;
    return bytes;
}

static struct slice read_counted(struct avro_cursor *cursor)
{
    int64_t len = avro_read_varint(cursor);
    if (len < 0 || len > cursor->end - cursor->at) {
        avro_fail(cursor);
        return slice_of(NULL, 0);
    }
    return avro_read_raw(cursor, (size_t)len);
}

const struct avro_type *avro_read_branch(struct avro_cursor *cursor, const struct avro_type *type)
{
    static const struct avro_type null_type = {.kind = AVRO_NULL};
    avro_charge(cursor, 1);
    if (type->kind != AVRO_UNION)
        return cursor->failed ? &null_type : type;
    int64_t branch = avro_read_varint(cursor);
    if (cursor->failed || branch < 0 || (uint64_t)branch >= type->count) {
        avro_fail(cursor);
        return &null_type;
    }
    return type->branches[branch];
}

bool avro_read_integer(struct avro_cursor *cursor, const struct avro_type *type, int64_t *out)
{
    type = avro_read_branch(cursor, type);
    if (type->kind == AVRO_NULL)
        return false;
    if (type->kind != AVRO_INT && type->kind != AVRO_LONG) {
        avro_fail(cursor);
        return false;
    }
    int64_t value = avro_read_varint(cursor);
    if (!cursor->failed)
        *out = value;
    return !cursor->failed;
}

bool avro_read_boolean(struct avro_cursor *cursor, const struct avro_type *type, bool *out)
{
    type = avro_read_branch(cursor, type);
    if (type->kind == AVRO_NULL)
        return false;
    struct slice byte = slice_of(NULL, 0);
    if (type->kind == AVRO_BOOLEAN)
        byte = avro_read_raw(cursor, 1);
    if (byte.len != 1 || byte.data[0] > 1) {
        avro_fail(cursor);
        return false;
    }
    *out = byte.data[0] == 1;
    return true;
}

bool avro_read_bytes(struct avro_cursor *cursor, const struct avro_type *type, struct slice *out)
{
    type = avro_read_branch(cursor, type);
    if (type->kind == AVRO_NULL)
        return false;
    struct slice bytes = slice_of(NULL, 0);
    if (type->kind == AVRO_FIXED)
        bytes = avro_read_raw(cursor, type->fixed_size);
    else if (type->kind == AVRO_BYTES || type->kind == AVRO_STRING)
        bytes = read_counted(cursor);
    else
        avro_fail(cursor);
    if (!cursor->failed)
        *out = bytes;
    return !cursor->failed;
}

bool avro_items_next(struct avro_cursor *cursor, struct avro_items *items)
{
    avro_charge(cursor, 1);
    if (items->left == 0) {
        items->left = avro_read_varint(cursor);
        if (items->left == INT64_MIN) {
            avro_fail(cursor);
        } else if (items->left < 0) {
            items->left = -items->left;
            (void)avro_read_varint(cursor); /* the size in bytes, for readers that jump */
        }
    }
    if (cursor->failed || items->left == 0)
        return false;
    items->left--;
    return true;
}

static void skip_items(struct avro_cursor *cursor, const struct avro_type *type)
{
    struct avro_items items = {0};
    while (avro_items_next(cursor, &items)) {
        if (type->kind == AVRO_MAP)
            (void)read_counted(cursor);
        avro_skip(cursor, type->item);
    }
}

/* Recursion is as deep as the schema, which is bounded. */
void avro_skip(struct avro_cursor *cursor, const struct avro_type *type)
{
    type = avro_read_branch(cursor, type);
    switch (type->kind) {
    case AVRO_NULL:
    case AVRO_UNION: /* avro_read_branch gives none */
        break;
    case AVRO_BOOLEAN:
        (void)avro_read_raw(cursor, 1);
        break;
    case AVRO_INT:
    case AVRO_LONG:
    case AVRO_ENUM:
        (void)avro_read_varint(cursor);
        break;
    case AVRO_FLOAT:
        (void)avro_read_raw(cursor, 4);
        break;
    case AVRO_DOUBLE:
        (void)avro_read_raw(cursor, 8);
        break;
    case AVRO_BYTES:
    case AVRO_STRING:
        (void)read_counted(cursor);
        break;
    case AVRO_FIXED:
        (void)avro_read_raw(cursor, type->fixed_size);
        break;
    case AVRO_ARRAY:
    case AVRO_MAP:
        skip_items(cursor, type);
        break;
    case AVRO_RECORD:
        for (size_t i = 0; i < type->count && !cursor->failed; i++)
            avro_skip(cursor, type->fields[i].type);
        break;
    }
}
