/* SPDX-License-Identifier: Apache-2.0
 *
 * Levels (parquet-format, "Nested Encoding"). A flat column is optional, so its
 * definition level is 0 or 1, or required and has none. A list is an optional group
 * of a repeated group of an optional element: definition 0 is a null list, 1 an
 * empty one, 3 an element (2, a null element, is never written), and repetition 0
 * begins a row.
 */
#include "lib/parquet/view.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/parquet/bloom.h"
#include "lib/parquet/hybrid.h"

enum {
    LIST_DEFINITION_WIDTH = 2,
    LIST_ELEMENT = 3,
    /* The levels of an entry are at most three bits, with headers less than a byte. */
    LEVEL_BYTES = 1,
    INDEX_BYTES = 4,
    /* Lengths in front of the levels, and the padding of three last groups. */
    PAGE_BYTES = 64,
};

void view_free(struct view *view)
{
    free(view->position_room);
    free(view->definition_levels);
    free(view->repetition_levels);
    *view = (struct view){0};
}

static bool row_is_valid(const struct parquet_column *column, size_t row)
{
    return column->valid == NULL || column->valid[row] != 0;
}

static size_t value_cost(const struct parquet_field *field, const struct parquet_column *column,
                         size_t at, bool indexed)
{
    if (indexed)
        return LEVEL_BYTES + INDEX_BYTES;
    if (field->type == PARQUET_STRING)
        return LEVEL_BYTES + 4 + view_string(column, at).len;
    return LEVEL_BYTES + (field->type == PARQUET_BOOLEAN ? 1 : view_number_width(field->type));
}

static size_t row_cost(const struct parquet_field *field, const struct parquet_column *column,
                       size_t row, bool indexed)
{
    if (!row_is_valid(column, row))
        return LEVEL_BYTES;
    if (!field->list)
        return value_cost(field, column, row, indexed);
    size_t cost = LEVEL_BYTES; /* of an empty list */
    for (size_t i = column->list_offsets[row]; i < column->list_offsets[row + 1]; i++)
        cost += value_cost(field, column, i, indexed);
    return cost;
}

size_t view_find_end(const struct parquet_field *field, const struct parquet_column *column,
                     size_t row, size_t row_limit, size_t bytes_max, bool indexed, size_t *cost)
{
    *cost = PAGE_BYTES;
    if (!field->list && (indexed || field->type != PARQUET_STRING)) {
        size_t each = value_cost(field, column, row, indexed);
        size_t rows = bytes_max > *cost + each ? (bytes_max - *cost) / each : 1;
        rows = rows < row_limit - row ? rows : row_limit - row;
        *cost += rows * each;
        return row + rows;
    }
    size_t end = row;
    do {
        size_t more = row_cost(field, column, end, indexed);
        if (end > row && *cost + more > bytes_max)
            break;
        *cost += more;
        end++;
    } while (end < row_limit);
    return end;
}

static void make_room(struct view *view, size_t entries)
{
    if (entries <= view->room)
        return;
    free(view->position_room);
    free(view->definition_levels);
    free(view->repetition_levels);
    view->position_room = memory_alloc_raw(entries, sizeof(uint32_t));
    view->definition_levels = memory_alloc_raw(entries, sizeof(uint32_t));
    view->repetition_levels = memory_alloc_raw(entries, sizeof(uint32_t));
    view->room = entries;
}

static void set_flat(struct view *view)
{
    const uint8_t *valid = view->column->valid;
    size_t rows = view->row_end - view->row_begin;
    view->entry_count = rows;
    view->value_count = rows;
    view->first = view->row_begin;
    view->positions = NULL;
    if (valid == NULL || memchr(valid + view->row_begin, 0, rows) == NULL)
        return;
    make_room(view, rows);
    size_t n = 0;
    for (size_t i = 0; i < rows; i++) {
        uint32_t present = valid[view->row_begin + i] != 0;
        view->definition_levels[i] = present;
        view->position_room[n] = (uint32_t)(view->row_begin + i);
        n += present;
    }
    view->value_count = n;
    view->positions = view->position_room;
}

static void set_list(struct view *view)
{
    const struct parquet_column *column = view->column;
    const uint32_t *offsets = column->list_offsets;
    make_room(view,
              view->row_end - view->row_begin + offsets[view->row_end] - offsets[view->row_begin]);
    size_t entries = 0;
    size_t values = 0;
    for (size_t row = view->row_begin; row < view->row_end; row++) {
        ASSERT(offsets[row] <= offsets[row + 1]);
        bool valid = row_is_valid(column, row);
        if (!valid || offsets[row] == offsets[row + 1]) {
            view->repetition_levels[entries] = 0;
            view->definition_levels[entries++] = valid;
            continue;
        }
        for (uint32_t at = offsets[row]; at < offsets[row + 1]; at++) {
            view->repetition_levels[entries] = at > offsets[row];
            view->definition_levels[entries++] = LIST_ELEMENT;
            view->position_room[values++] = at;
        }
    }
    view->entry_count = entries;
    view->value_count = values;
    view->positions = view->position_room;
}

void view_set(struct view *view, const struct parquet_field *field,
              const struct parquet_column *column, size_t row_begin, size_t row_end)
{
    view->field = field;
    view->column = column;
    view->row_begin = row_begin;
    view->row_end = row_end;
    if (field->list)
        set_list(view);
    else
        set_flat(view);
}

/* The length of the levels goes in front of them. */
static void put_levels(struct buf *out, const uint32_t *levels, size_t n, unsigned width)
{
    size_t start = out->len;
    buf_put_u32le(out, 0);
    if (levels != NULL)
        hybrid_put(out, levels, n, width);
    else
        hybrid_put_run(out, 1, n, width);
    if (!buf_failed(out))
        put_u32le(out->data + start, (uint32_t)(out->len - start - 4));
}

void view_put_levels(const struct view *view, struct buf *out)
{
    size_t n = view->entry_count;
    if (view->field->list) {
        put_levels(out, view->repetition_levels, n, 1);
        put_levels(out, view->definition_levels, n, LIST_DEFINITION_WIDTH);
    } else if (!view->field->required) {
        put_levels(out, view->positions != NULL ? view->definition_levels : NULL, n, 1);
    }
}

static void put_booleans(const struct view *view, struct buf *out)
{
    size_t len = (view->value_count + 7) / 8;
    uint8_t *to = buf_extend(out, len);
    if (to == NULL)
        return;
    memset(to, 0, len);
    for (size_t k = 0; k < view->value_count; k++) {
        unsigned bit = view->column->booleans[view_at(view, k)] != 0;
        to[k / 8] = (uint8_t)(to[k / 8] | bit << k % 8);
    }
}

static void put_strings(const struct view *view, struct buf *out, struct range *range,
                        struct bloom *bloom)
{
    size_t n = view->value_count;
    if (!buf_reserve(out, view_plain_len(view)))
        return;
    uint8_t *to = out->data + out->len;
    for (size_t k = 0; k < n; k++) {
        struct slice value = view_string(view->column, view_at(view, k));
        if (k + VIEW_FETCH_AHEAD < n)
            __builtin_prefetch(view_string(view->column, view_at(view, k + VIEW_FETCH_AHEAD)).data);
        put_u32le(to, (uint32_t)value.len);
        to += 4;
        if (value.len > 0)
            memcpy(to, value.data, value.len);
        to += value.len;
        if (range != NULL)
            range_add_string(range, value);
        if (bloom != NULL)
            bloom_add_string(bloom, value);
    }
    out->len = (size_t)(to - out->data);
}

static void put_plain(const struct view *view, struct buf *out)
{
    const struct parquet_column *column = view->column;
    size_t n = view->value_count;
    unsigned width = view_number_width(view->field->type);
    uint8_t *to = width > 0 ? buf_extend(out, n * width) : NULL;
    switch (view->field->type) {
    case PARQUET_BOOLEAN:
        put_booleans(view, out);
        break;
    case PARQUET_STRING:
        break;
    case PARQUET_INT32:
        for (size_t k = 0; to != NULL && k < n; k++)
            put_u32le(to + 4 * k, (uint32_t)column->ints[view_at(view, k)]);
        break;
    case PARQUET_INT64:
    case PARQUET_TIMESTAMP_MICROS_UTC:
        for (size_t k = 0; to != NULL && k < n; k++)
            put_u64le(to + 8 * k, (uint64_t)column->longs[view_at(view, k)]);
        break;
    case PARQUET_DOUBLE:
        for (size_t k = 0; to != NULL && k < n; k++) {
            uint64_t bits;
            memcpy(&bits, &column->doubles[view_at(view, k)], sizeof bits);
            put_u64le(to + 8 * k, bits);
        }
        break;
    }
}

void view_put_plain(const struct view *view, struct buf *out, struct range *range,
                    struct bloom *bloom)
{
    if (view->field->type == PARQUET_STRING) {
        put_strings(view, out, range, bloom);
        return;
    }
    put_plain(view, out);
    if (range != NULL)
        view_add_range(view, range);
    if (bloom != NULL)
        bloom_add_view(bloom, view);
}

size_t view_plain_len(const struct view *view)
{
    enum parquet_type type = view->field->type;
    if (type == PARQUET_BOOLEAN)
        return (view->value_count + 7) / 8;
    if (type != PARQUET_STRING)
        return view->value_count * view_number_width(type);
    size_t len = view->value_count * 4;
    for (size_t k = 0; k < view->value_count; k++)
        len += view_string(view->column, view_at(view, k)).len;
    return len;
}

void view_add_range(const struct view *view, struct range *range)
{
    const struct parquet_column *column = view->column;
    size_t n = view->value_count;
    switch (view->field->type) {
    case PARQUET_BOOLEAN:
        for (size_t k = 0; k < n; k++)
            range_add_long(range, column->booleans[view_at(view, k)] != 0);
        break;
    case PARQUET_STRING:
        for (size_t k = 0; k < n; k++)
            range_add_string(range, view_string(column, view_at(view, k)));
        break;
    case PARQUET_INT32:
        for (size_t k = 0; k < n; k++)
            range_add_long(range, column->ints[view_at(view, k)]);
        break;
    case PARQUET_INT64:
    case PARQUET_TIMESTAMP_MICROS_UTC:
        for (size_t k = 0; k < n; k++)
            range_add_long(range, column->longs[view_at(view, k)]);
        break;
    case PARQUET_DOUBLE:
        for (size_t k = 0; k < n; k++) {
            double value = column->doubles[view_at(view, k)];
            if (!isnan(value))
                range_add_double(range, value);
        }
        break;
    }
}

int64_t view_count_nan(const struct view *view)
{
    int64_t count = 0;
    if (view->field->type != PARQUET_DOUBLE)
        return 0;
    for (size_t k = 0; k < view->value_count; k++)
        count += isnan(view->column->doubles[view_at(view, k)]) != 0;
    return count;
}
