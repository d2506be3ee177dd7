/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows made here, through index and gather, held against what they were made from.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/roller_gather.h"
#include "lib/base/memory.h"
#include "lib/base/assert.h"

enum { ID, SITE, PRICE, WIDTH, FLAG, TIME, CATEGORIES, SIZES, POSITION, STREAM, COLUMNS };

static struct column columns[COLUMNS] = {
    [ID] = {.name = "id", .type = TYPE_STRING},
    [SITE] = {.name = "site", .type = TYPE_STRING},
    [PRICE] = {.name = "price", .type = TYPE_DOUBLE},
    [WIDTH] = {.name = "width", .type = TYPE_INT},
    [FLAG] = {.name = "flag", .type = TYPE_BOOLEAN},
    [TIME] = {.name = "time", .type = TYPE_TIMESTAMPTZ},
    [CATEGORIES] = {.name = "categories", .type = TYPE_STRING, .list = true},
    [SIZES] = {.name = "sizes", .type = TYPE_INT, .list = true},
    [POSITION] = {.name = "position", .type = TYPE_LONG, .fill = FILL_POSITION},
    [STREAM] = {.name = "stream", .type = TYPE_STRING, .fill = FILL_STREAM},
};
static const struct table_schema schema = {
    .column_count = COLUMNS,
    .columns = columns,
    .spec_count = 1,
    .sort = {.order_id = 1, .column_count = 2, .columns = {SITE, TIME}},
    .time_column = TIME,
};

enum { FIRST = 1000 }; /* position of the block's first event */

/* What column `column` of event `n` holds; nulls in each column's own rhythm. */
static bool is_null(uint32_t n, unsigned column)
{
    return column != TIME && n % (column + 5) == 3;
}

static struct slice text_of(char *room, size_t size, const char *form, uint32_t n)
{
    int len = snprintf(room, size, form, n);
    ASSERT(len > 0 && (size_t)len < size);
    return slice_of(room, (size_t)len);
}

/* Few sites, of every length that is compared in its own way. */
static struct slice site_of(char *room, size_t size, uint32_t n)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzabcdefgh";
    (void)size;
    size_t len = n % 34;
    memcpy(room, letters, len);
    if (len > 0)
        room[len - 1] = (char)('0' + n % 7);
    return slice_of(room, len);
}

static uint32_t list_len(uint32_t n)
{
    return n % 4;
}

static void put_lists(struct row_writer *writer, uint32_t n)
{
    struct buf list = {0};
    char room[64];
    buf_put_u32le(&list, list_len(n));
    for (uint32_t k = 0; k < list_len(n); k++) {
        struct slice text = text_of(room, sizeof room, "IAB-%u", (n + k) % 40);
        buf_put_u32le(&list, (uint32_t)text.len);
        buf_put_slice(&list, text);
    }
    if (!is_null(n, CATEGORIES))
        row_set_list(writer, CATEGORIES, buf_slice(&list));
    buf_reset(&list);
    buf_put_u32le(&list, list_len(n));
    for (uint32_t k = 0; k < list_len(n); k++)
        buf_put_u32le(&list, n + k);
    if (!is_null(n, SIZES))
        row_set_list(writer, SIZES, buf_slice(&list));
    buf_free(&list);
}

static void put_row(struct row_writer *writer, uint32_t n)
{
    char room[64];
    row_begin(writer, n);
    if (!is_null(n, ID))
        row_set_string(writer, ID, text_of(room, sizeof room, "request-%u", n));
    if (!is_null(n, SITE))
        row_set_string(writer, SITE, site_of(room, sizeof room, n));
    if (!is_null(n, PRICE))
        row_set_double(writer, PRICE, n * 0.25);
    if (!is_null(n, WIDTH))
        row_set_int(writer, WIDTH, (int32_t)n - 500);
    if (!is_null(n, FLAG))
        row_set_int(writer, FLAG, n % 2 == 0);
    row_set_long(writer, TIME, (int64_t)n * 1000000);
    put_lists(writer, n);
    row_end(writer);
}

static struct slice string_at(const struct parquet_column *column, size_t at)
{
    if (column->strings != NULL)
        return column->strings[at];
    assert_true(column->codes[at] < column->distinct_count);
    return column->distinct[column->codes[at]];
}

static void assert_text(const struct parquet_column *column, size_t at, struct slice wanted)
{
    assert_true(slice_equal(string_at(column, at), wanted));
}

static void check_list(const struct parquet_column *column, size_t i, uint32_t n, unsigned which)
{
    char room[64];
    assert_int_equal(column->list_offsets[i + 1] - column->list_offsets[i],
                     column->valid[i] ? list_len(n) : 0);
    for (uint32_t at = column->list_offsets[i]; at < column->list_offsets[i + 1]; at++) {
        uint32_t k = at - column->list_offsets[i];
        if (which == SIZES)
            assert_int_equal(column->ints[at], n + k);
        else
            assert_text(column, at, text_of(room, sizeof room, "IAB-%u", (n + k) % 40));
    }
}

static void check_value(const struct parquet_column *column, size_t i, uint32_t n, unsigned which)
{
    char room[64];
    bool filled = which == POSITION || which == STREAM;
    assert_int_equal(column->valid[i], filled || !is_null(n, which));
    if (which == CATEGORIES || which == SIZES)
        check_list(column, i, n, which);
    else if (!column->valid[i])
        return;
    else if (which == ID)
        assert_text(column, i, text_of(room, sizeof room, "request-%u", n));
    else if (which == SITE)
        assert_text(column, i, site_of(room, sizeof room, n));
    else if (which == PRICE)
        assert_true(column->doubles[i] == n * 0.25);
    else if (which == WIDTH)
        assert_int_equal(column->ints[i], (int32_t)n - 500);
    else if (which == FLAG)
        assert_int_equal(column->booleans[i], n % 2 == 0);
    else if (which == TIME)
        assert_true(column->longs[i] == (int64_t)n * 1000000);
    else if (which == POSITION)
        assert_true(column->longs[i] == FIRST + (int64_t)n);
    else
        assert_text(column, i, slice_cstr("a/stream"));
}

struct made {
    struct buf rows;
    struct roller_index index;
};

static void make(struct made *made, uint32_t count)
{
    struct error err;
    *made = (struct made){0};
    roller_index_init(&made->index, &schema);
    struct row_writer writer = {.layout = &made->index.layout, .rows = &made->rows};
    for (uint32_t n = 0; n < count; n++)
        put_row(&writer, n);
    struct spool_block block = {
        .first = FIRST, .event_count = count, .row_count = count, .rows = buf_slice(&made->rows)};
    assert_int_equal(roller_index_add_block(&made->index, &block, 0, UINT64_MAX, &err), OK);
    roller_index_plan(&made->index, 0);
    assert_int_equal(made->index.file_count, 1);
    roller_index_sort(&made->index, &made->index.files[0]);
}

enum { BODY_LEN = 100000 };

/* The body of event `n`: of `kinds` different ones. */
static void fill_body(uint8_t *room, uint32_t n, uint32_t kinds)
{
    for (size_t i = 0; i < BODY_LEN; i++)
        room[i] = (uint8_t)('a' + (n % kinds + i / 1000) % 26);
}

static void make_bodies(struct made *made, uint32_t count, uint32_t kinds)
{
    struct error err;
    uint8_t *body = memory_alloc(BODY_LEN, 1);
    *made = (struct made){0};
    roller_index_init(&made->index, &schema);
    struct row_writer writer = {.layout = &made->index.layout, .rows = &made->rows};
    for (uint32_t n = 0; n < count; n++) {
        fill_body(body, n, kinds);
        row_begin(&writer, n);
        row_set_string(&writer, ID, slice_of(body, BODY_LEN));
        row_end(&writer);
    }
    struct spool_block block = {
        .first = FIRST, .event_count = count, .row_count = count, .rows = buf_slice(&made->rows)};
    assert_int_equal(roller_index_add_block(&made->index, &block, 0, UINT64_MAX, &err), OK);
    roller_index_plan(&made->index, 0);
    free(body);
}

static void made_free(struct made *made)
{
    roller_index_free(&made->index);
    buf_free(&made->rows);
}

/* Gathers the rows in groups and holds every value against its event. */
static void check_all(struct gather *gather, const struct made *made, size_t group, bool *coded)
{
    for (size_t done = 0; done < made->index.row_count; done += group) {
        size_t left = made->index.row_count - done;
        size_t count = left < group ? left : group;
        const struct row_reference *rows = made->index.rows + done;
        for (size_t column = 0; column < COLUMNS;) {
            size_t end = gather_pass(gather, rows, count, column);
            assert_true(end > column && end <= COLUMNS);
            for (; column < end; column++) {
                struct parquet_column out;
                gather_column_borrow(gather, column, &out);
                coded[column] = out.codes != NULL;
                for (size_t i = 0; i < count; i++)
                    check_value(&out, i, row_event(rows[i].row), (unsigned)column);
            }
        }
    }
}

/* A value in the wrong row or column is a wrong answer in somebody's bill. */
static void every_value_arrives(void **state)
{
    (void)state;
    struct made made;
    struct gather gather;
    bool coded[COLUMNS];
    make(&made, 1500);
    gather_init(&gather, &made.index, "a/stream", 700); /* three groups, the last one short */
    check_all(&gather, &made, 700, coded);
    assert_true(coded[SITE] && coded[CATEGORIES] && coded[STREAM]);
    gather_free(&gather);
    made_free(&made);
}

/* Codes given up in the middle of a column: those before must become the same strings. */
static void too_many_distinct_become_slices(void **state)
{
    (void)state;
    struct made made;
    struct gather gather;
    bool coded[COLUMNS];
    make(&made, 20000);
    gather_init(&gather, &made.index, "a/stream", 20000);
    check_all(&gather, &made, 20000, coded);
    assert_false(coded[ID]);
    assert_true(coded[SITE] && coded[CATEGORIES] && coded[STREAM]);
    gather_free(&gather);
    made_free(&made);
}

/* A wide row group must not take memory by its columns: they come in several passes, and
 * what one pass held is gone in the next. */
static void wide_groups_take_several_passes(void **state)
{
    (void)state;
    struct made made;
    struct gather gather;
    bool coded[COLUMNS];
    make(&made, 300);
    gather_init(&gather, &made.index, "a/stream", GATHER_BYTES_MAX / 40);
    size_t end = gather_pass(&gather, made.index.rows, 300, 0);
    assert_true(end > 0 && end < COLUMNS);
    size_t next = gather_pass(&gather, made.index.rows, 300, end);
    assert_true(next > end);
    assert_null(gather.columns[0].values);
    check_all(&gather, &made, 300, coded);
    gather_free(&gather);
    made_free(&made);
}

/* Columns planned as codes take four times as much once they are slices: the pass must
 * then let others go, or memory is bounded for friendly data alone. */
static void slices_push_columns_into_the_next_pass(void **state)
{
    (void)state;
    struct made made;
    struct gather gather;
    bool coded[COLUMNS];
    make(&made, 20000);
    gather_init(&gather, &made.index, "a/stream", GATHER_BYTES_MAX / 70);
    assert_int_equal(gather_pass(&gather, made.index.rows, 100, 0), COLUMNS);
    size_t end = gather_pass(&gather, made.index.rows, 20000, 0);
    assert_in_range(end, ID + 1, COLUMNS - 1);
    assert_true(gather.pass_bytes <= GATHER_BYTES_MAX);
    for (size_t i = end; i < COLUMNS; i++)
        assert_null(gather.columns[i].values);
    for (int again = 0; again < 2; again++)
        check_all(&gather, &made, 20000, coded);
    assert_false(coded[ID]);
    assert_true(coded[SITE] && coded[CATEGORIES] && coded[STREAM]);
    gather_free(&gather);
    made_free(&made);
}

/* Whole bodies as a column: copies of those that differ would take as much memory as the
 * segment has, so they are soon left where they are; a few that come again are codes. */
static void large_values_are_not_collected(void **state)
{
    (void)state;
    static const uint32_t kinds[] = {3, 26};
    uint8_t *body = memory_alloc(BODY_LEN, 1);
    for (size_t k = 0; k < 2; k++) {
        struct made made;
        struct gather gather;
        struct parquet_column out;
        make_bodies(&made, 60, kinds[k]);
        gather_init(&gather, &made.index, "a/stream", 60);
        gather_pass(&gather, made.index.rows, 60, 0);
        gather_column_borrow(&gather, ID, &out);
        assert_int_equal(out.codes != NULL, kinds[k] == 3);
        for (size_t i = 0; i < 60; i++) {
            fill_body(body, row_event(made.index.rows[i].row), kinds[k]);
            assert_text(&out, i, slice_of(body, BODY_LEN));
        }
        assert_true(gather.pass_bytes < 2 << 20);
        gather_free(&gather);
        made_free(&made);
    }
    free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_arrives),
        cmocka_unit_test(too_many_distinct_become_slices),
        cmocka_unit_test(wide_groups_take_several_passes),
        cmocka_unit_test(large_values_are_not_collected),
        cmocka_unit_test(slices_push_columns_into_the_next_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
