/* SPDX-License-Identifier: Apache-2.0
 *
 * Sorting: each sort column of a file is turned into ranks (strings: the order of the
 * distinct values; numbers: the distance from the smallest), the ranks of the leading
 * columns are packed into 64 bits, and (key, number) pairs are sorted by a
 * least-significant-digit radix sort over the bits in use. What doesn't fit into 64
 * bits is settled among equal keys by comparing rows. The radix sort is stable and
 * begins in order of position, so equal rows stay in it.
 */
#include "agent/roller_index.h"

#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL /* a call for each short string would cost more than its hash */
#include <xxhash.h>

#include "agent/roller.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

enum { RADIX_BITS = 11, RADIX_SIZE = 1 << RADIX_BITS };

static const int64_t day_us = 86400000000;

void roller_index_init(struct roller_index *index, const struct table_schema *schema)
{
    *index =
        (struct roller_index){.schema = schema, .time_min_us = INT64_MAX, .time_max_us = INT64_MIN};
    row_layout_init(&index->layout, schema);
    index->list_columns = memory_alloc(schema->column_count, sizeof *index->list_columns);
    for (size_t i = 0; i < schema->column_count; i++) {
        if (schema->columns[i].list)
            index->list_columns[index->list_count++] = i;
    }
    index->bucket_count = 256;
    index->buckets = memory_alloc(index->bucket_count, sizeof *index->buckets);
}

void roller_index_free(struct roller_index *index)
{
    row_layout_free(&index->layout);
    free(index->list_columns);
    free(index->rows);
    free(index->block_firsts);
    free(index->groups);
    free(index->buckets);
    free(index->files);
    *index = (struct roller_index){0};
}

/* ---- partition tuples ---- */

static int64_t floor_day(int64_t time_us)
{
    return time_us >= 0 ? time_us / day_us : -((-time_us + day_us - 1) / day_us);
}

static struct partition_value tuple_value(const struct roller_index *index, const uint8_t *row,
                                          const struct partition_field *field)
{
    const struct column *column = &index->schema->columns[field->column];
    struct partition_value value = {.null = row_is_null(row, field->column),
                                    .is_text = column->type == TYPE_STRING};
    if (value.null)
        return value;
    switch (column->type) {
    case TYPE_STRING:
        value.text = row_bytes(&index->layout, row, field->column);
        break;
    case TYPE_BOOLEAN:
    case TYPE_INT:
        value.number = row_int(&index->layout, row, field->column);
        break;
    default:
        value.number = row_long(&index->layout, row, field->column);
    }
    if (field->transform == TRANSFORM_DAY)
        value.number = floor_day(value.number);
    return value;
}

static bool tuple_equal(const struct partition_value *a, const struct partition_value *b,
                        size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (a[i].null != b[i].null)
            return false;
        if (!a[i].null && (a[i].number != b[i].number || !slice_equal(a[i].text, b[i].text)))
            return false;
    }
    return true;
}

static int tuple_compare(const struct partition_value *a, const struct partition_value *b,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int order = (int)b[i].null - (int)a[i].null;
        if (order == 0 && !a[i].null) {
            order = (a[i].number > b[i].number) - (a[i].number < b[i].number);
            if (order == 0)
                order = slice_compare(a[i].text, b[i].text);
        }
        if (order != 0)
            return order;
    }
    return 0;
}

static uint64_t tuple_hash(const struct partition_value *values, size_t count)
{
    uint64_t hash = count;
    for (size_t i = 0; i < count; i++) {
        uint64_t part = values[i].null ? UINT64_MAX : (uint64_t)values[i].number;
        if (values[i].text.len > 0)
            part += XXH3_64bits(values[i].text.data, values[i].text.len);
        hash = (hash ^ part) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    return hash;
}

static void buckets_grow(struct roller_index *index, size_t field_count)
{
    index->bucket_count *= 2;
    free(index->buckets);
    index->buckets = memory_alloc(index->bucket_count, sizeof *index->buckets);
    for (size_t g = 0; g < index->group_count; g++) {
        size_t at = tuple_hash(index->groups[g].values, field_count) & (index->bucket_count - 1);
        while (index->buckets[at] != 0)
            at = (at + 1) & (index->bucket_count - 1);
        index->buckets[at] = (uint32_t)g + 1;
    }
}

static uint32_t group_of(struct roller_index *index, const uint8_t *row)
{
    const struct partition_spec *spec = &index->schema->specs[0];
    struct partition_value values[PARTITION_FIELDS_MAX] = {{0}};
    for (size_t i = 0; i < spec->field_count; i++)
        values[i] = tuple_value(index, row, &spec->fields[i]);
    size_t at = tuple_hash(values, spec->field_count) & (index->bucket_count - 1);
    for (; index->buckets[at] != 0; at = (at + 1) & (index->bucket_count - 1)) {
        uint32_t group = index->buckets[at] - 1;
        if (tuple_equal(index->groups[group].values, values, spec->field_count))
            return group;
    }
    if (index->group_count == index->group_capacity) {
        index->group_capacity = index->group_capacity == 0 ? 64 : index->group_capacity * 2;
        index->groups = memory_resize(index->groups, index->group_capacity, sizeof *index->groups);
    }
    uint32_t group = (uint32_t)index->group_count++;
    index->groups[group] = (struct row_group_key){0};
    memcpy(index->groups[group].values, values, sizeof values);
    index->buckets[at] = group + 1;
    if (index->group_count * 2 > index->bucket_count)
        buckets_grow(index, spec->field_count);
    return group;
}

/* ---- blocks ---- */

static int check_block(const struct roller_index *index, const struct spool_block *block,
                       struct error *err)
{
    struct slice rest = block->rows;
    uint32_t count = 0;
    while (rest.len > 0) {
        uint32_t size = 0;
        if (!row_check(&index->layout, rest, &size) || row_event(rest.data) >= block->event_count)
            return error_set(err, ERROR_CORRUPT, "block at %llu: row %u is malformed",
                             (unsigned long long)block->first, count);
        rest.data += size;
        rest.len -= size;
        count++;
    }
    if (count != block->row_count)
        return error_set(err, ERROR_CORRUPT, "block at %llu: %u rows, its header says %u",
                         (unsigned long long)block->first, count, block->row_count);
    return OK;
}

static void note_time(struct roller_index *index, const uint8_t *row)
{
    size_t column = index->schema->time_column;
    if (column == SIZE_MAX || row_is_null(row, column))
        return;
    int64_t time_us = row_long(&index->layout, row, column);
    if (time_us < index->time_min_us)
        index->time_min_us = time_us;
    if (time_us > index->time_max_us)
        index->time_max_us = time_us;
}

uint64_t roller_index_elements(const struct roller_index *index, const uint8_t *row)
{
    uint64_t count = 0;
    for (size_t i = 0; i < index->list_count; i++) {
        size_t column = index->list_columns[i];
        if (!row_is_null(row, column))
            count += row_list_count(row_bytes(&index->layout, row, column));
    }
    return count;
}

static void add_row(struct roller_index *index, const uint8_t *row, uint32_t block)
{
    if (index->row_count == index->row_capacity) {
        index->row_capacity = index->row_capacity == 0 ? 65536 : index->row_capacity * 2;
        index->rows = memory_resize(index->rows, index->row_capacity, sizeof *index->rows);
    }
    uint32_t group = group_of(index, row);
    index->groups[group].image_bytes += row_size(row);
    index->groups[group].element_count += roller_index_elements(index, row);
    index->groups[group].row_count++;
    index->rows[index->row_count++] =
        (struct row_reference){.row = row, .group = group, .block = block};
    note_time(index, row);
}

int roller_index_add_block(struct roller_index *index, const struct spool_block *block,
                           uint64_t from, uint64_t to, struct error *err)
{
    int rc = check_block(index, block, err);
    if (rc != OK)
        return rc;
    if (index->block_count == index->block_capacity) {
        index->block_capacity = index->block_capacity == 0 ? 256 : index->block_capacity * 2;
        index->block_firsts =
            memory_resize(index->block_firsts, index->block_capacity, sizeof *index->block_firsts);
    }
    uint32_t number = (uint32_t)index->block_count++;
    index->block_firsts[number] = block->first;
    const uint8_t *end = block->rows.data + block->rows.len;
    for (const uint8_t *row = block->rows.data; row < end; row += row_size(row)) {
        uint64_t position = block->first + row_event(row);
        if (position >= from && position < to)
            add_row(index, row, number);
    }
    uint64_t low = block->first > from ? block->first : from;
    uint64_t high = block->first + block->event_count;
    if (high > to)
        high = to;
    index->event_count += high > low ? high - low : 0;
    return OK;
}

/* ---- plan ---- */

/* The order of files in an announcement: by day, then by tuple, so that all slices that
 * may share a day's file are neighbours. */
struct plan_order {
    const struct roller_index *index;
    size_t field_count;
    size_t day; /* the field that is the day; field_count: none */
};

static int order_groups(const void *a, const void *b, void *context)
{
    const struct plan_order *order = context;
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    const struct partition_value *values = order->index->groups[left].values;
    const struct partition_value *others = order->index->groups[right].values;
    int result = 0;
    if (order->day < order->field_count)
        result = tuple_compare(&values[order->day], &others[order->day], 1);
    return result != 0 ? result : tuple_compare(values, others, order->field_count);
}

/* Spec 0 takes the table's sort order: its identity columns are constant in the file, so
 * leaving them out of the order changes nothing. Spec 1 begins with what it doesn't
 * partition by. */
static void plan_sort(const struct table_schema *schema, struct planned_file *file)
{
    size_t n = 0;
    if (file->spec == 1) {
        for (size_t i = 0; i < schema->specs[0].field_count; i++) {
            const struct partition_field *field = &schema->specs[0].fields[i];
            if (field->transform == TRANSFORM_IDENTITY)
                file->sort_columns[n++] = field->column;
        }
    }
    size_t leading = n;
    for (size_t i = 0; i < schema->sort.column_count; i++) {
        bool have = false;
        for (size_t k = 0; k < leading; k++)
            have = have || file->sort_columns[k] == schema->sort.columns[i];
        if (!have)
            file->sort_columns[n++] = schema->sort.columns[i];
    }
    file->sort_column_count = n;
    file->sort_order_id = file->spec == 0 ? schema->sort.order_id : 0;
}

static struct planned_file *plan_add(struct roller_index *index, size_t spec,
                                     const struct partition_value *values)
{
    struct planned_file *file = &index->files[index->file_count++];
    *file = (struct planned_file){.spec = spec};
    memcpy(file->values, values, sizeof file->values);
    plan_sort(index->schema, file);
    return file;
}

static size_t day_field(const struct partition_spec *spec)
{
    size_t at = 0;
    while (at < spec->field_count && spec->fields[at].transform != TRANSFORM_DAY)
        at++;
    return at;
}

static void plan_files(struct roller_index *index, const struct plan_order *by,
                       const uint32_t *order, uint64_t image_bytes_min)
{
    struct planned_file *shared = NULL; /* the day's, of spec 1 */
    index->files = memory_alloc(index->group_count, sizeof *index->files);
    for (size_t i = 0; i < index->group_count; i++) {
        struct row_group_key *group = &index->groups[order[i]];
        struct planned_file *file = NULL;
        if (index->schema->spec_count < 2 || group->image_bytes >= image_bytes_min) {
            file = plan_add(index, 0, group->values);
        } else {
            struct partition_value day[PARTITION_FIELDS_MAX] = {group->values[by->day]};
            if (shared == NULL || !tuple_equal(shared->values, day, 1))
                shared = plan_add(index, 1, day);
            file = shared;
        }
        group->file = (uint32_t)(file - index->files);
        file->row_count += group->row_count;
        file->element_count += group->element_count;
    }
}

/* Counting sort of the references by file; stable, so by position within one. */
static void plan_scatter(struct roller_index *index)
{
    if (index->file_count == 1)
        return;
    struct row_reference *to = memory_alloc_raw(index->row_count, sizeof *to);
    uint32_t *at = memory_alloc(index->file_count, sizeof *at);
    uint32_t start = 0;
    for (size_t f = 0; f < index->file_count; f++) {
        index->files[f].first_row = start;
        at[f] = start;
        start += index->files[f].row_count;
    }
    for (size_t i = 0; i < index->row_count; i++) {
        uint32_t file = index->groups[index->rows[i].group].file;
        to[at[file]++] = index->rows[i];
    }
    free(at);
    free(index->rows);
    index->rows = to;
    index->row_capacity = index->row_count;
}

void roller_index_plan(struct roller_index *index, uint64_t image_bytes_min)
{
    if (index->row_count == 0)
        return;
    uint32_t *order = memory_alloc_raw(index->group_count, sizeof *order);
    struct plan_order context = {.index = index,
                                 .field_count = index->schema->specs[0].field_count,
                                 .day = day_field(&index->schema->specs[0])};
    for (size_t i = 0; i < index->group_count; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, index->group_count, sizeof *order, order_groups, &context);
    if (index->group_count > ROLLER_SLICES_MAX)
        image_bytes_min = UINT64_MAX;
    plan_files(index, &context, order, image_bytes_min);
    free(order);
    plan_scatter(index);
}

/* ---- ranks ---- */

static uint64_t number_rank(const struct roller_index *index, const uint8_t *row, size_t column)
{
    switch (index->schema->columns[column].type) {
    case TYPE_BOOLEAN:
    case TYPE_INT:
        return (uint64_t)(int64_t)row_int(&index->layout, row, column) ^ (UINT64_C(1) << 63);
    case TYPE_DOUBLE: {
        uint64_t bits = get_u64le(row + index->layout.slots[column]);
        return (bits >> 63) != 0 ? ~bits : bits | (UINT64_C(1) << 63);
    }
    default:
        return (uint64_t)row_long(&index->layout, row, column) ^ (UINT64_C(1) << 63);
    }
}

static int compare_column(const struct roller_index *index, const uint8_t *a, const uint8_t *b,
                          size_t column)
{
    bool null_a = row_is_null(a, column);
    bool null_b = row_is_null(b, column);
    if (null_a || null_b)
        return (int)null_b - (int)null_a;
    if (index->schema->columns[column].type == TYPE_STRING)
        return slice_compare(row_bytes(&index->layout, a, column),
                             row_bytes(&index->layout, b, column));
    uint64_t left = number_rank(index, a, column);
    uint64_t right = number_rank(index, b, column);
    return (left > right) - (left < right);
}

static int compare_rows(const struct roller_index *index, const struct planned_file *file,
                        const uint8_t *a, const uint8_t *b)
{
    for (size_t i = 0; i < file->sort_column_count; i++) {
        int order = compare_column(index, a, b, file->sort_columns[i]);
        if (order != 0)
            return order;
    }
    return 0;
}

/* The distinct strings of one column of one file, as first seen. */
struct interned {
    struct slice *values;
    uint32_t *ranks; /* by number of value, from 1 */
    size_t count;
    size_t capacity;
    uint32_t *buckets;
    size_t bucket_count;
};

static void interned_grow(struct interned *interned)
{
    interned->bucket_count = interned->bucket_count == 0 ? 1024 : interned->bucket_count * 2;
    free(interned->buckets);
    interned->buckets = memory_alloc(interned->bucket_count, sizeof *interned->buckets);
    for (size_t i = 0; i < interned->count; i++) {
        struct slice value = interned->values[i];
        size_t at = XXH3_64bits(value.data, value.len) & (interned->bucket_count - 1);
        while (interned->buckets[at] != 0)
            at = (at + 1) & (interned->bucket_count - 1);
        interned->buckets[at] = (uint32_t)i + 1;
    }
}

static uint32_t intern(struct interned *interned, struct slice value)
{
    if (interned->count * 2 >= interned->bucket_count)
        interned_grow(interned);
    size_t at = XXH3_64bits(value.data, value.len) & (interned->bucket_count - 1);
    for (; interned->buckets[at] != 0; at = (at + 1) & (interned->bucket_count - 1)) {
        uint32_t number = interned->buckets[at] - 1;
        if (slice_equal(interned->values[number], value))
            return number;
    }
    if (interned->count == interned->capacity) {
        interned->capacity = interned->capacity == 0 ? 1024 : interned->capacity * 2;
        interned->values =
            memory_resize(interned->values, interned->capacity, sizeof *interned->values);
    }
    interned->values[interned->count] = value;
    interned->buckets[at] = (uint32_t)interned->count + 1;
    return (uint32_t)interned->count++;
}

static int order_values(const void *a, const void *b, void *context)
{
    const struct interned *interned = context;
    return slice_compare(interned->values[*(const uint32_t *)a],
                         interned->values[*(const uint32_t *)b]);
}

static void interned_rank(struct interned *interned)
{
    uint32_t *order = memory_alloc_raw(interned->count, sizeof *order);
    for (size_t i = 0; i < interned->count; i++)
        order[i] = (uint32_t)i;
    qsort_r(order, interned->count, sizeof *order, order_values, interned);
    interned->ranks = memory_alloc_raw(interned->count, sizeof *interned->ranks);
    for (size_t i = 0; i < interned->count; i++)
        interned->ranks[order[i]] = (uint32_t)i + 1;
    free(order);
}

static void interned_free(struct interned *interned)
{
    free(interned->values);
    free(interned->ranks);
    free(interned->buckets);
}

static unsigned bits_of(uint64_t value)
{
    return value == 0 ? 0 : 64 - (unsigned)__builtin_clzll(value);
}

/* A pair of the radix sort: 12 bytes, kept as two arrays. */
struct sort_keys {
    size_t count;
    uint64_t *keys;
    uint32_t *numbers;
    unsigned bits; /* of the keys in use */
    bool whole;    /* the keys hold all columns: nothing is left to compare */
};

/* The place of an identity column in spec 0, or SIZE_MAX. */
static size_t identity_field(const struct table_schema *schema, size_t column)
{
    const struct partition_spec *spec = &schema->specs[0];
    for (size_t i = 0; i < spec->field_count; i++) {
        if (spec->fields[i].transform == TRANSFORM_IDENTITY && spec->fields[i].column == column)
            return i;
    }
    return SIZE_MAX;
}

/* The number of each row's string. A column that the table is partitioned by is known
 * from the rows' groups, without a look at the rows. */
static void intern_column(const struct roller_index *index, const struct planned_file *file,
                          size_t column, struct interned *interned, uint32_t *codes)
{
    const struct row_reference *rows = index->rows + file->first_row;
    size_t field = identity_field(index->schema, column);
    if (field == SIZE_MAX) {
        for (size_t i = 0; i < file->row_count; i++)
            codes[i] = row_is_null(rows[i].row, column)
                           ? UINT32_MAX
                           : intern(interned, row_bytes(&index->layout, rows[i].row, column));
        return;
    }
    uint32_t *of_group = memory_alloc(index->group_count, sizeof *of_group);
    for (size_t g = 0; g < index->group_count; g++) {
        const struct partition_value *value = &index->groups[g].values[field];
        if (index->groups[g].file == (size_t)(file - index->files))
            of_group[g] = value->null ? UINT32_MAX : intern(interned, value->text);
    }
    for (size_t i = 0; i < file->row_count; i++)
        codes[i] = of_group[rows[i].group];
    free(of_group);
}

/* Puts a column's ranks below the bits in use; false when they don't fit. */
static bool keys_add_strings(const struct roller_index *index, const struct planned_file *file,
                             size_t column, struct sort_keys *keys)
{
    struct interned interned = {0};
    uint32_t *codes = memory_alloc_raw(keys->count, sizeof *codes);
    intern_column(index, file, column, &interned, codes);
    unsigned bits = bits_of(interned.count);
    bool fits = keys->bits + bits <= 64;
    if (fits && bits > 0) {
        interned_rank(&interned);
        for (size_t i = 0; i < keys->count; i++) {
            uint64_t rank = codes[i] == UINT32_MAX ? 0 : interned.ranks[codes[i]];
            keys->keys[i] = (bits == 64 ? 0 : keys->keys[i] << bits) | rank;
        }
        keys->bits += bits;
    }
    interned_free(&interned);
    free(codes);
    return fits;
}

/* The same for numbers. A column of nulls adds no bits. */
static bool keys_add_numbers(const struct roller_index *index, const struct planned_file *file,
                             size_t column, struct sort_keys *keys)
{
    const struct row_reference *rows = index->rows + file->first_row;
    uint64_t low = UINT64_MAX;
    uint64_t high = 0;
    uint64_t *ranks = memory_alloc_raw(keys->count, sizeof *ranks);
    for (size_t i = 0; i < keys->count; i++) {
        if (row_is_null(rows[i].row, column))
            continue;
        ranks[i] = number_rank(index, rows[i].row, column);
        low = ranks[i] < low ? ranks[i] : low;
        high = ranks[i] > high ? ranks[i] : high;
    }
    unsigned bits = low <= high && high - low < UINT64_MAX ? bits_of(high - low + 1) : 0;
    bool fits = low > high || (high - low < UINT64_MAX && keys->bits + bits <= 64);
    for (size_t i = 0; fits && bits > 0 && i < keys->count; i++) {
        uint64_t rank = row_is_null(rows[i].row, column) ? 0 : ranks[i] - low + 1;
        keys->keys[i] = (bits == 64 ? 0 : keys->keys[i] << bits) | rank;
    }
    keys->bits += fits ? bits : 0;
    free(ranks);
    return fits;
}

/* ---- sort ---- */

static void radix_pass(const struct sort_keys *from, struct sort_keys *to, unsigned shift)
{
    uint32_t counts[RADIX_SIZE] = {0};
    for (size_t i = 0; i < from->count; i++)
        counts[(from->keys[i] >> shift) & (RADIX_SIZE - 1)]++;
    uint32_t start = 0;
    for (size_t d = 0; d < RADIX_SIZE; d++) {
        uint32_t n = counts[d];
        counts[d] = start;
        start += n;
    }
    for (size_t i = 0; i < from->count; i++) {
        uint32_t at = counts[(from->keys[i] >> shift) & (RADIX_SIZE - 1)]++;
        to->keys[at] = from->keys[i];
        to->numbers[at] = from->numbers[i];
    }
}

static void keys_sort(struct sort_keys *keys)
{
    struct sort_keys other = *keys;
    other.keys = memory_alloc_raw(keys->count, sizeof *other.keys);
    other.numbers = memory_alloc_raw(keys->count, sizeof *other.numbers);
    for (unsigned shift = 0; shift < keys->bits; shift += RADIX_BITS) {
        radix_pass(keys, &other, shift);
        struct sort_keys swap = *keys;
        *keys = other;
        other = swap;
    }
    free(other.keys);
    free(other.numbers);
}

struct tie_order {
    const struct roller_index *index;
    const struct planned_file *file;
    const struct row_reference *rows;
};

static int order_ties(const void *a, const void *b, void *context)
{
    const struct tie_order *order = context;
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    int result =
        compare_rows(order->index, order->file, order->rows[left].row, order->rows[right].row);
    return result != 0 ? result : (left > right) - (left < right);
}

static void settle_ties(struct roller_index *index, const struct planned_file *file,
                        const struct row_reference *rows, struct sort_keys *keys)
{
    struct tie_order context = {.index = index, .file = file, .rows = rows};
    for (size_t start = 0; start < keys->count;) {
        size_t end = start + 1;
        while (end < keys->count && keys->keys[end] == keys->keys[start])
            end++;
        if (end - start > 1)
            qsort_r(keys->numbers + start, end - start, sizeof *keys->numbers, order_ties,
                    &context);
        start = end;
    }
}

/* The references in the order of `numbers`. */
static void permute(struct roller_index *index, const struct planned_file *file,
                    const uint32_t *numbers)
{
    struct row_reference *rows = index->rows + file->first_row;
    struct row_reference *sorted = memory_alloc_raw(file->row_count, sizeof *sorted);
    for (size_t i = 0; i < file->row_count; i++)
        sorted[i] = rows[numbers[i]];
    if (index->file_count > 1) {
        memcpy(rows, sorted, file->row_count * sizeof *rows);
        free(sorted);
        return;
    }
    free(index->rows);
    index->rows = sorted;
    index->row_capacity = index->row_count;
}

void roller_index_sort(struct roller_index *index, const struct planned_file *file)
{
    struct row_reference *rows = index->rows + file->first_row;
    struct sort_keys keys = {.count = file->row_count, .whole = true};
    if (file->sort_column_count == 0 || keys.count < 2)
        return;
    keys.keys = memory_alloc(keys.count, sizeof *keys.keys);
    keys.numbers = memory_alloc_raw(keys.count, sizeof *keys.numbers);
    for (size_t i = 0; i < keys.count; i++)
        keys.numbers[i] = (uint32_t)i;
    for (size_t i = 0; keys.whole && i < file->sort_column_count; i++) {
        size_t column = file->sort_columns[i];
        keys.whole = index->schema->columns[column].type == TYPE_STRING
                         ? keys_add_strings(index, file, column, &keys)
                         : keys_add_numbers(index, file, column, &keys);
    }
    keys_sort(&keys);
    if (!keys.whole)
        settle_ties(index, file, rows, &keys);
    free(keys.keys); /* before there is a second array of references */
    permute(index, file, keys.numbers);
    free(keys.numbers);
}
