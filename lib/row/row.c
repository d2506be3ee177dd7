/* SPDX-License-Identifier: Apache-2.0
 *
 * The layout stands in row.h. The writer lays an image down as it goes: the fixed
 * part is reserved zeroed with every column null, each set fills a slot, clears a
 * bit and puts what is long behind. The size is written last, by row_end. Once the
 * buffer has failed (its ceiling), every call does nothing; the caller asks once.
 *
 * row_check trusts nothing: it is for bytes that lay on a disk.
 */
#include "lib/row/row.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

static inline uint32_t slot_size(enum type type, bool list)
{
    return !list && (type == TYPE_BOOLEAN || type == TYPE_INT) ? 4 : 8;
}

static enum row_check_kind check_kind(const struct row_layout *layout, size_t column)
{
    if (layout->lists[column])
        return ROW_CHECK_LIST;
    switch (layout->types[column]) {
    case TYPE_STRING:
        return ROW_CHECK_STRING;
    case TYPE_BOOLEAN:
        return ROW_CHECK_BOOLEAN;
    case TYPE_INT:
        return ROW_CHECK_FOUR;
    default:
        return ROW_CHECK_EIGHT;
    }
}

static void make_checks(struct row_layout *out)
{
    uint32_t at = 0;
    out->checks = memory_alloc(out->column_count, sizeof *out->checks);
    out->check_columns = memory_alloc(out->column_count, sizeof *out->check_columns);
    for (unsigned kind = 0; kind < ROW_CHECK_KINDS; kind++) {
        out->check_from[kind] = at;
        for (size_t i = 0; i < out->column_count; i++) {
            if ((unsigned)check_kind(out, i) != kind)
                continue;
            out->checks[at] = row_field(out, i);
            out->check_columns[at++] = (uint32_t)i;
        }
    }
    out->check_from[ROW_CHECK_KINDS] = at;
}

void row_layout_init(struct row_layout *out, const struct table_schema *schema)
{
    size_t n = schema->column_count;
    ASSERT(n > 0 && n <= UINT16_MAX);
    *out = (struct row_layout){.column_count = n};
    out->slots = memory_alloc(n, sizeof *out->slots);
    out->types = memory_alloc(n, sizeof *out->types);
    out->lists = memory_alloc(n, sizeof *out->lists);
    uint32_t bitmap = (uint32_t)(n + 7) / 8;
    uint32_t at = ROW_HEADER_SIZE + ((bitmap + 3) & ~3u);
    for (size_t i = 0; i < n; i++) {
        out->types[i] = schema->columns[i].type;
        out->lists[i] = schema->columns[i].list;
        out->slots[i] = at;
        at += slot_size(out->types[i], out->lists[i]);
    }
    out->fixed_size = at;
    make_checks(out);
}

void row_layout_free(struct row_layout *layout)
{
    free(layout->slots);
    free(layout->types);
    free(layout->lists);
    free(layout->checks);
    free(layout->check_columns);
    *layout = (struct row_layout){0};
}

static uint32_t element_size(enum type type)
{
    switch (type) {
    case TYPE_BOOLEAN:
        return 1;
    case TYPE_INT:
        return 4;
    default:
        return 8;
    }
}

/* A list's elements must fill its bytes to the last one. */
static bool list_is_whole(enum type type, struct slice list)
{
    if (list.len < 4)
        return false;
    uint64_t count = get_u32le(list.data);
    uint64_t left = list.len - 4;
    const uint8_t *at = list.data + 4;
    if (type != TYPE_STRING) {
        if (left != count * element_size(type))
            return false;
        for (uint64_t i = 0; type == TYPE_BOOLEAN && i < count; i++)
            if (at[i] > 1)
                return false;
        return true;
    }
    for (uint64_t i = 0; i < count; i++) {
        if (left < 4 || get_u32le(at) > left - 4)
            return false;
        uint32_t step = 4 + get_u32le(at);
        at += step;
        left -= step;
    }
    return left == 0;
}

static inline bool field_is_null(const uint8_t *row, struct row_field field)
{
    return (row[field.null_byte] & field.null_bit) != 0;
}

/* Fixed slots and strings: no branch a column, since which are null is any row's own. */
static bool slots_are_sound(const struct row_layout *layout, const uint8_t *row, uint32_t size)
{
    const uint32_t *from = layout->check_from;
    unsigned bad = 0;
    for (uint32_t i = from[ROW_CHECK_FOUR]; i < from[ROW_CHECK_FOUR + 1]; i++)
        bad |= (unsigned)field_is_null(row, layout->checks[i]) &
               (get_u32le(row + layout->checks[i].slot) != 0);
    for (uint32_t i = from[ROW_CHECK_BOOLEAN]; i < from[ROW_CHECK_BOOLEAN + 1]; i++)
        bad |= get_u32le(row + layout->checks[i].slot) >
               (field_is_null(row, layout->checks[i]) ? 0u : 1u);
    for (uint32_t i = from[ROW_CHECK_EIGHT]; i < from[ROW_CHECK_EIGHT + 1]; i++)
        bad |= (unsigned)field_is_null(row, layout->checks[i]) &
               (get_u64le(row + layout->checks[i].slot) != 0);
    for (uint32_t i = from[ROW_CHECK_STRING]; i < from[ROW_CHECK_LIST + 1]; i++) {
        uint64_t bits = get_u64le(row + layout->checks[i].slot);
        uint64_t offset = (uint32_t)bits;
        unsigned outside = offset < layout->fixed_size;
        outside |= offset + (bits >> 32) > size;
        bad |= field_is_null(row, layout->checks[i]) ? bits != 0 : outside;
    }
    return bad == 0;
}

static bool lists_are_whole(const struct row_layout *layout, const uint8_t *row)
{
    const uint32_t *from = layout->check_from;
    for (uint32_t i = from[ROW_CHECK_LIST]; i < from[ROW_CHECK_LIST + 1]; i++) {
        uint32_t column = layout->check_columns[i];
        if (!row_is_null(row, column) &&
            !list_is_whole(layout->types[column], row_bytes(layout, row, column)))
            return false;
    }
    return true;
}

bool row_check(const struct row_layout *layout, struct slice bytes, uint32_t *size)
{
    if (bytes.len < layout->fixed_size)
        return false;
    uint32_t n = row_size(bytes.data);
    if (n < layout->fixed_size || n > bytes.len || n % 4 != 0)
        return false;
    for (size_t i = layout->column_count; i < (layout->slots[0] - ROW_HEADER_SIZE) * 8; i++)
        if (row_is_null(bytes.data, i))
            return false;
    if (!slots_are_sound(layout, bytes.data, n) || !lists_are_whole(layout, bytes.data))
        return false;
    *size = n;
    return true;
}

void row_begin(struct row_writer *writer, uint32_t event)
{
    const struct row_layout *layout = writer->layout;
    writer->start = writer->rows->len;
    uint8_t *row = buf_extend(writer->rows, layout->fixed_size);
    if (row == NULL)
        return;
    memset(row, 0, layout->fixed_size);
    put_u32le(row + 4, event);
    size_t n = layout->column_count;
    memset(row + ROW_HEADER_SIZE, 0xff, n / 8);
    if (n % 8 != 0)
        row[ROW_HEADER_SIZE + n / 8] = (uint8_t)((1u << (n % 8)) - 1);
}

void row_begin_like(struct row_writer *writer, const struct row_begun *begun)
{
    struct buf *rows = writer->rows;
    size_t fixed_size = writer->layout->fixed_size;
    writer->start = rows->len;
    uint8_t *row = buf_extend(rows, begun->size);
    if (row == NULL)
        return;
    memcpy(row, begun->fixed, fixed_size);
    memcpy(row + fixed_size, rows->data + begun->from + fixed_size, begun->size - fixed_size);
}

/* The column's slot, its null bit cleared; NULL once the buffer has failed. */
static inline uint8_t *slot_open(struct row_writer *writer, size_t column, uint32_t size)
{
    if (buf_failed(writer->rows))
        return NULL;
    const struct row_layout *layout = writer->layout;
    ASSERT(column < layout->column_count);
    ASSERT(slot_size(layout->types[column], layout->lists[column]) == size);
    uint8_t *row = writer->rows->data + writer->start;
    row[ROW_HEADER_SIZE + column / 8] &= (uint8_t) ~(1u << (column % 8));
    return row + layout->slots[column];
}

void row_set_int(struct row_writer *writer, size_t column, int32_t value)
{
    uint8_t *slot = slot_open(writer, column, 4);
    if (slot != NULL)
        put_u32le(slot, (uint32_t)value);
}

void row_set_long(struct row_writer *writer, size_t column, int64_t value)
{
    uint8_t *slot = slot_open(writer, column, 8);
    if (slot != NULL)
        put_u64le(slot, (uint64_t)value);
}

void row_set_double(struct row_writer *writer, size_t column, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    uint8_t *slot = slot_open(writer, column, 8);
    if (slot != NULL)
        put_u64le(slot, bits);
}

/* Most strings are short: two moves that overlap instead of a call. */
static inline void copy_bytes(uint8_t *to, struct slice from)
{
    size_t n = from.len;
    if (n > 32 || n < 4) {
        if (n > 32)
            memcpy(to, from.data, n);
        else
            for (size_t i = 0; i < n; i++)
                to[i] = from.data[i];
    } else if (n >= 16) {
        memcpy(to, from.data, 16);
        memcpy(to + n - 16, from.data + n - 16, 16);
    } else if (n >= 8) {
        memcpy(to, from.data, 8);
        memcpy(to + n - 8, from.data + n - 8, 8);
    } else {
        memcpy(to, from.data, 4);
        memcpy(to + n - 4, from.data + n - 4, 4);
    }
}

/* The bytes go behind first: that may move the buffer, and the slot with it. */
static inline void set_bytes(struct row_writer *writer, size_t column, struct slice value)
{
    struct buf *rows = writer->rows;
    size_t offset = rows->len - writer->start;
    if (offset > UINT32_MAX || value.len > UINT32_MAX - offset - 4)
        rows->failed = true;
    if (value.len > rows->cap - rows->len && !buf_reserve(rows, value.len))
        return;
    uint8_t *slot = slot_open(writer, column, 8);
    if (slot == NULL)
        return;
    copy_bytes(rows->data + rows->len, value);
    rows->len += value.len;
    put_u32le(slot, (uint32_t)offset);
    put_u32le(slot + 4, (uint32_t)value.len);
}

void row_set_string(struct row_writer *writer, size_t column, struct slice value)
{
    set_bytes(writer, column, value);
}

void row_set_list(struct row_writer *writer, size_t column, struct slice encoded)
{
    ASSERT(writer->layout->lists[column] && encoded.len >= 4);
    set_bytes(writer, column, encoded);
}

void row_end(struct row_writer *writer)
{
    static const uint8_t zeros[4];
    struct buf *rows = writer->rows;
    buf_put(rows, zeros, (4 - (rows->len - writer->start) % 4) % 4);
    if (!buf_failed(rows))
        put_u32le(rows->data + writer->start, (uint32_t)(rows->len - writer->start));
}
