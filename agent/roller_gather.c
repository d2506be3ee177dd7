/* SPDX-License-Identifier: Apache-2.0
 *
 * The distinct values of a column are kept in an open-addressing table, at most half full.
 * It begins small, since most columns have few values and then stay in the first cache;
 * its slots hold 32 bits of the hash, so that growing looks at no value. A column with
 * more than DISTINCT_MAX of them or TEXTS_MAX bytes, or with new ones as frequent after the first
 * thousands as before (ids, also where they come twice in a row), is given up. Its codes are then
 * widened into slices in place, from the end on: a slice is larger than a code, so it overwrites
 * only codes behind it.
 */
#include "agent/roller_gather.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL /* a call for each short string would cost more than its hash */
#include <xxhash.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"

enum {
    STEP_ROWS = 64, /* of a few hundred bytes each: what the first cache holds */
    LINE_SIZE = 64,
    LINES_MAX = 16,
    DISTINCT_MAX = 16384,
    DISTINCT_TRIAL = 2048, /* as many again must take longer to come than these */
    SLOTS_FIRST = 256,
    TEXTS_FIRST = 4096,
    TEXTS_MAX = 1 << 20, /* no dictionary has room for more */
};

#define DISTINCT_FULL UINT32_MAX

/* ---- distinct values ---- */

/* Most are short, and a call of memcmp costs more than they do. */
static bool same_text(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    if (a.len > 16)
        return memcmp(a.data, b.data, a.len) == 0;
    if (a.len >= 8)
        return get_u64le(a.data) == get_u64le(b.data) &&
               get_u64le(a.data + a.len - 8) == get_u64le(b.data + a.len - 8);
    if (a.len >= 4)
        return get_u32le(a.data) == get_u32le(b.data) &&
               get_u32le(a.data + a.len - 4) == get_u32le(b.data + a.len - 4);
    for (size_t i = 0; i < a.len; i++) {
        if (a.data[i] != b.data[i])
            return false;
    }
    return true;
}

static size_t distinct_bytes(const struct gather_distinct *distinct)
{
    size_t each = sizeof *distinct->slots + sizeof *distinct->values / 2;
    return distinct->slot_count * each + distinct->text_cap;
}

static void distinct_free(struct gather_distinct *distinct)
{
    free(distinct->texts);
    free(distinct->values);
    free(distinct->slots);
    *distinct = (struct gather_distinct){0};
}

/* All but the texts, at which slices point. */
static void distinct_release(struct gather_distinct *distinct)
{
    free(distinct->values);
    free(distinct->slots);
    distinct->values = NULL;
    distinct->slots = NULL;
    distinct->slot_count = 0;
    distinct->count = 0;
}

static void distinct_begin(struct gather_distinct *distinct)
{
    distinct_free(distinct);
    distinct->slot_count = SLOTS_FIRST;
    distinct->values = memory_alloc_raw(SLOTS_FIRST / 2, sizeof *distinct->values);
    distinct->slots = memory_alloc(SLOTS_FIRST, sizeof *distinct->slots);
}

/* Twice the slots. */
static void distinct_grow(struct gather_distinct *distinct)
{
    size_t count = distinct->slot_count * 2;
    uint64_t *slots = memory_alloc(count, sizeof *slots);
    for (size_t i = 0; i < distinct->slot_count; i++) {
        uint64_t slot = distinct->slots[i];
        size_t at = (size_t)(slot >> 32) & (count - 1);
        while (slot != 0 && slots[at] != 0)
            at = (at + 1) & (count - 1);
        if (slot != 0)
            slots[at] = slot;
    }
    free(distinct->slots);
    distinct->slots = slots;
    distinct->slot_count = count;
    distinct->values = memory_resize(distinct->values, count / 2, sizeof *distinct->values);
}

/* A copy of a value; false when there is no room. Copies move when their room grows. */
static bool distinct_copy(struct gather_distinct *distinct, struct slice value, struct slice *out)
{
    if (value.len > TEXTS_MAX - distinct->text_len)
        return false;
    size_t cap = distinct->text_cap > 0 ? distinct->text_cap : TEXTS_FIRST;
    while (cap < distinct->text_len + value.len)
        cap *= 2;
    if (cap > distinct->text_cap) {
        uint8_t *texts = memory_alloc_raw(cap, 1);
        for (size_t i = 0; i < distinct->count; i++)
            distinct->values[i].data = texts + (distinct->values[i].data - distinct->texts);
        if (distinct->text_len > 0)
            memcpy(texts, distinct->texts, distinct->text_len);
        free(distinct->texts);
        distinct->texts = texts;
        distinct->text_cap = cap;
    }
    *out = slice_of(distinct->texts + distinct->text_len, value.len);
    if (value.len > 0)
        memcpy(distinct->texts + distinct->text_len, value.data, value.len);
    distinct->text_len += value.len;
    return true;
}

/* The number of a value that comes after `seen` others; DISTINCT_FULL: give it up. */
static uint32_t distinct_number(struct gather_distinct *distinct, struct slice value, uint64_t seed,
                                size_t seen)
{
    /* Rows are sorted: most columns have the value of the row before. */
    if (distinct->count > 0 && same_text(distinct->values[distinct->last], value))
        return distinct->last;
    uint64_t hash = XXH3_64bits_withSeed(value.data, value.len, seed) >> 32;
    size_t mask = distinct->slot_count - 1;
    size_t at = (size_t)hash & mask;
    for (; distinct->slots[at] != 0; at = (at + 1) & mask) {
        uint32_t number = (uint32_t)distinct->slots[at] - 1;
        if (distinct->slots[at] >> 32 == hash && same_text(distinct->values[number], value))
            return distinct->last = number;
    }
    if (distinct->count == DISTINCT_TRIAL)
        distinct->trial_seen = seen;
    bool endless = distinct->count == 2 * DISTINCT_TRIAL &&
                   (seen - distinct->trial_seen) / 9 < distinct->trial_seen / 8;
    struct slice copy;
    if (distinct->count == DISTINCT_MAX || endless || !distinct_copy(distinct, value, &copy))
        return DISTINCT_FULL;
    distinct->last = (uint32_t)distinct->count++;
    distinct->values[distinct->last] = copy;
    distinct->slots[at] = hash << 32 | (uint64_t)(distinct->last + 1);
    if (distinct->count * 2 == distinct->slot_count)
        distinct_grow(distinct);
    return distinct->last;
}

/* ---- room ---- */

/* A string's is a code, to begin with. */
static size_t size_of_value(const struct column *column)
{
    switch (column->type) {
    case TYPE_BOOLEAN:
        return 1;
    case TYPE_INT:
        return 4;
    case TYPE_STRING:
        return sizeof(uint32_t);
    default:
        return 8;
    }
}

void gather_init(struct gather *gather, const struct roller_index *index, const char *stream,
                 size_t rows_max)
{
    *gather = (struct gather){.index = index, .stream = slice_cstr(stream), .rows_max = rows_max};
    random_system(&gather->seed, sizeof gather->seed);
    uint64_t bytes = 0;
    for (size_t i = 0; i < index->group_count; i++)
        bytes += index->groups[i].image_bytes;
    size_t lines = index->row_count > 0 ? bytes / index->row_count / LINE_SIZE + 1 : 1;
    gather->image_lines = lines < LINES_MAX ? lines : LINES_MAX;
    gather->columns = memory_alloc(index->schema->column_count, sizeof *gather->columns);
}

static void column_free(struct gather_column *column)
{
    free(column->valid);
    free(column->list_offsets);
    free(column->values);
    distinct_free(&column->distinct);
    *column = (struct gather_column){.wide = column->wide};
}

void gather_free(struct gather *gather)
{
    if (gather->columns == NULL)
        return;
    for (size_t i = 0; i < gather->index->schema->column_count; i++)
        column_free(&gather->columns[i]);
    free(gather->columns);
    gather->columns = NULL;
}

/* Keeps what the values hold. */
static void values_reserve(struct gather_column *column, size_t need)
{
    if (need <= column->capacity)
        return;
    size_t capacity = column->capacity * 2;
    column->capacity = capacity > need ? capacity : need;
    column->values = memory_resize(column->values, column->capacity, column->value_size);
}

static void column_begin(const struct gather *gather, size_t ordinal)
{
    const struct column *schema = &gather->index->schema->columns[ordinal];
    struct gather_column *column = &gather->columns[ordinal];
    if (column->values == NULL) {
        column->value_size = size_of_value(schema);
        column->valid = memory_alloc_raw(gather->rows_max, 1);
        if (schema->list)
            column->list_offsets =
                memory_alloc_raw(gather->rows_max + 1, sizeof *column->list_offsets);
        values_reserve(column, gather->rows_max);
    }
    column->count = 0;
    column->coded = schema->type == TYPE_STRING;
    if (column->coded)
        distinct_begin(&column->distinct);
}

static size_t column_bytes(const struct gather *gather, const struct gather_column *column)
{
    size_t lists = column->list_offsets != NULL ? sizeof *column->list_offsets : 0;
    return gather->rows_max * (1 + lists) + column->capacity * column->value_size +
           distinct_bytes(&column->distinct);
}

/* ---- values ---- */

static void put_slice(struct gather_column *column, size_t at, struct slice value)
{
    ((struct slice *)(void *)column->values)[at] = value;
}

/* The codes of the first `count` values become slices. */
static void widen(struct gather_column *column, size_t count)
{
    column->value_size = sizeof(struct slice);
    column->values = memory_resize(column->values, column->capacity, column->value_size);
    for (size_t i = count; i-- > 0;) {
        uint32_t code = ((uint32_t *)(void *)column->values)[i];
        put_slice(column, i, column->distinct.values[code]);
    }
    column->coded = false;
    column->wide = true;
    distinct_release(&column->distinct);
}

static void put_string(const struct gather *gather, struct gather_column *column, size_t at,
                       struct slice value)
{
    if (column->coded) {
        uint32_t number = distinct_number(&column->distinct, value, gather->seed, at);
        if (number != DISTINCT_FULL) {
            ((uint32_t *)(void *)column->values)[at] = number;
            return;
        }
        widen(column, at);
    }
    put_slice(column, at, value);
}

static void gather_strings(const struct gather *gather, size_t ordinal,
                           const struct row_reference *rows, size_t from, size_t to)
{
    struct gather_column *column = &gather->columns[ordinal];
    for (size_t i = from; i < to; i++) {
        const uint8_t *row = rows[i].row;
        bool null = row_is_null(row, ordinal);
        column->valid[i] = !null;
        if (!null)
            put_string(gather, column, i, row_bytes(&gather->index->layout, row, ordinal));
        else if (column->coded)
            ((uint32_t *)(void *)column->values)[i] = 0; /* some code, should it be widened */
    }
}

/* A slot is zero where the column is null, so all are copied. */
static void gather_numbers(const struct gather *gather, size_t ordinal,
                           const struct row_reference *rows, size_t from, size_t to)
{
    struct gather_column *column = &gather->columns[ordinal];
    uint32_t slot = gather->index->layout.slots[ordinal];
    for (size_t i = from; i < to; i++)
        column->valid[i] = !row_is_null(rows[i].row, ordinal);
    if (column->value_size == 1) {
        for (size_t i = from; i < to; i++)
            column->values[i] = get_u32le(rows[i].row + slot) != 0;
    } else if (column->value_size == 4) {
        for (size_t i = from; i < to; i++)
            ((uint32_t *)(void *)column->values)[i] = get_u32le(rows[i].row + slot);
    } else {
        for (size_t i = from; i < to; i++)
            ((uint64_t *)(void *)column->values)[i] = get_u64le(rows[i].row + slot);
    }
}

/* One element of a list. */
static void put_element(const struct gather *gather, struct gather_column *column, enum type type,
                        const uint8_t **at)
{
    size_t i = column->count++;
    switch (type) {
    case TYPE_STRING:
        put_string(gather, column, i, row_list_next_string(at));
        return;
    case TYPE_BOOLEAN:
        column->values[i] = **at;
        *at += 1;
        return;
    case TYPE_INT:
        ((uint32_t *)(void *)column->values)[i] = get_u32le(*at);
        *at += 4;
        return;
    default:
        ((uint64_t *)(void *)column->values)[i] = get_u64le(*at);
        *at += 8;
    }
}

static void gather_lists(const struct gather *gather, size_t ordinal,
                         const struct row_reference *rows, size_t from, size_t to)
{
    struct gather_column *column = &gather->columns[ordinal];
    enum type type = gather->index->schema->columns[ordinal].type;
    for (size_t i = from; i < to; i++) {
        bool null = row_is_null(rows[i].row, ordinal);
        column->valid[i] = !null;
        column->list_offsets[i] = (uint32_t)column->count;
        if (null)
            continue;
        struct slice list = row_bytes(&gather->index->layout, rows[i].row, ordinal);
        uint32_t n = row_list_count(list);
        const uint8_t *at = list.data + 4;
        values_reserve(column, column->count + n);
        for (uint32_t k = 0; k < n; k++)
            put_element(gather, column, type, &at);
    }
    column->list_offsets[to] = (uint32_t)column->count;
}

/* What capture couldn't know: the stream's name, the event's position. */
static void gather_fill(const struct gather *gather, size_t ordinal,
                        const struct row_reference *rows, size_t from, size_t to)
{
    struct gather_column *column = &gather->columns[ordinal];
    bool stream = gather->index->schema->columns[ordinal].fill == FILL_STREAM;
    memset(column->valid + from, 1, to - from);
    for (size_t i = from; i < to; i++) {
        uint64_t position = gather->index->block_firsts[rows[i].block] + row_event(rows[i].row);
        if (stream)
            put_string(gather, column, i, gather->stream);
        else
            ((uint64_t *)(void *)column->values)[i] = position;
    }
}

static void gather_one(const struct gather *gather, size_t ordinal,
                       const struct row_reference *rows, size_t from, size_t to)
{
    const struct column *column = &gather->index->schema->columns[ordinal];
    if (column->fill != FILL_NONE)
        gather_fill(gather, ordinal, rows, from, to);
    else if (column->list)
        gather_lists(gather, ordinal, rows, from, to);
    else if (column->type == TYPE_STRING)
        gather_strings(gather, ordinal, rows, from, to);
    else
        gather_numbers(gather, ordinal, rows, from, to);
}

/* ---- a pass ---- */

static size_t pass_end(const struct gather *gather, size_t first)
{
    const struct table_schema *schema = gather->index->schema;
    size_t row_bytes = 0;
    size_t end = first;
    for (; end < schema->column_count; end++) {
        const struct column *column = &schema->columns[end];
        size_t value = gather->columns[end].wide ? sizeof(struct slice) : size_of_value(column);
        row_bytes += 1 + value + (column->list ? 4 : 0);
        if (end > first && row_bytes * gather->rows_max > GATHER_BYTES_MAX)
            break;
    }
    return end;
}

static void fetch_ahead(const struct gather *gather, const struct row_reference *rows, size_t from,
                        size_t to)
{
    for (size_t i = from; i < to; i++) {
        for (size_t line = 0; line < gather->image_lines; line++)
            __builtin_prefetch(rows[i].row + line * LINE_SIZE, 0, 2);
    }
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The last column of a pass that got too large. */
static void give_up(struct gather *gather, size_t ordinal)
{
    gather->pass_bytes -= column_bytes(gather, &gather->columns[ordinal]);
    column_free(&gather->columns[ordinal]);
}

size_t gather_pass(struct gather *gather, const struct row_reference *rows, size_t count,
                   size_t column)
{
    ASSERT(count > 0 && count <= gather->rows_max);
    size_t end = pass_end(gather, column);
    gather->pass_bytes = 0;
    for (size_t i = 0; i < gather->index->schema->column_count; i++) {
        if (i < column || i >= end)
            column_free(&gather->columns[i]);
    }
    for (size_t i = column; i < end; i++) {
        column_begin(gather, i);
        gather->pass_bytes += column_bytes(gather, &gather->columns[i]);
    }
    fetch_ahead(gather, rows, 0, least(count, STEP_ROWS));
    for (size_t from = 0; from < count; from += STEP_ROWS) {
        size_t to = least(from + STEP_ROWS, count);
        /* The next rows are fetched bit by bit between the columns: all at once would wait. */
        size_t share = (STEP_ROWS + end - column - 1) / (end - column);
        size_t ahead = to;
        for (size_t i = column; i < end; i++) {
            size_t until = least(least(ahead + share, to + STEP_ROWS), count);
            fetch_ahead(gather, rows, ahead, until);
            ahead = until;
            size_t before = column_bytes(gather, &gather->columns[i]);
            gather_one(gather, i, rows, from, to);
            gather->pass_bytes += column_bytes(gather, &gather->columns[i]) - before;
            while (gather->pass_bytes > GATHER_BYTES_MAX && end > column + 1)
                give_up(gather, --end);
        }
    }
    return end;
}

void gather_column_borrow(const struct gather *gather, size_t ordinal, struct parquet_column *out)
{
    const struct column *schema = &gather->index->schema->columns[ordinal];
    const struct gather_column *column = &gather->columns[ordinal];
    const void *values = column->values;
    *out = (struct parquet_column){.valid = column->valid, .list_offsets = column->list_offsets};
    switch (schema->type) {
    case TYPE_BOOLEAN:
        out->booleans = values;
        break;
    case TYPE_INT:
        out->ints = values;
        break;
    case TYPE_DOUBLE:
        out->doubles = values;
        break;
    case TYPE_STRING:
        if (!column->coded) {
            out->strings = values;
            break;
        }
        out->codes = values;
        out->distinct = column->distinct.values;
        out->distinct_count = column->distinct.count;
        break;
    default:
        out->longs = values;
    }
}
