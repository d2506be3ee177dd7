/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "lib/row/row.h"

static struct column columns[] = {
    {.name = "b", .type = TYPE_BOOLEAN},
    {.name = "i", .type = TYPE_INT},
    {.name = "l", .type = TYPE_LONG},
    {.name = "d", .type = TYPE_DOUBLE},
    {.name = "s", .type = TYPE_STRING},
    {.name = "t", .type = TYPE_TIMESTAMPTZ},
    {.name = "ls", .type = TYPE_STRING, .list = true},
    {.name = "li", .type = TYPE_INT, .list = true},
    {.name = "lb", .type = TYPE_BOOLEAN, .list = true},
};
static const struct table_schema schema = {.column_count = 9, .columns = columns};

/* {"ab", ""}, {7}, {true, false} */
static const uint8_t list_strings[] = {2, 0, 0, 0, 2, 0, 0, 0, 'a', 'b', 0, 0, 0, 0};
static const uint8_t list_ints[] = {1, 0, 0, 0, 7, 0, 0, 0};
static const uint8_t list_booleans[] = {2, 0, 0, 0, 1, 0};

static void write_full(struct row_writer *writer, uint32_t event)
{
    row_begin(writer, event);
    row_set_list(writer, 8, slice_of(list_booleans, sizeof list_booleans));
    row_set_list(writer, 6, slice_of(list_strings, sizeof list_strings));
    row_set_string(writer, 4, slice_cstr("hello"));
    row_set_int(writer, 0, 1);
    row_set_int(writer, 1, -5);
    row_set_long(writer, 2, INT64_MIN);
    row_set_double(writer, 3, -0.5);
    row_set_long(writer, 5, 1767225600000000);
    row_set_list(writer, 7, slice_of(list_ints, sizeof list_ints));
    row_end(writer);
}

/* What the roller reads must be what the shredder wrote, column by column. */
static void values_come_back(void **state)
{
    (void)state;
    struct row_layout layout;
    struct buf rows = {0};
    uint32_t size = 0;
    row_layout_init(&layout, &schema);
    struct row_writer writer = {.layout = &layout, .rows = &rows};
    row_begin(&writer, 6);
    row_end(&writer);
    assert_true(row_check(&layout, buf_slice(&rows), &size));
    assert_int_equal(size, rows.len);
    assert_int_equal(size, layout.fixed_size);
    for (size_t i = 0; i < 9; i++)
        assert_true(row_is_null(rows.data, i));
    assert_int_equal(row_event(rows.data), 6);

    write_full(&writer, 7);
    struct slice second = slice_of(rows.data + size, rows.len - size);
    const uint8_t *row = second.data;
    assert_true(row_check(&layout, second, &size));
    assert_int_equal(size, second.len);
    assert_int_equal(size % 4, 0);
    assert_int_equal(row_event(row), 7);
    assert_int_equal(row_int(&layout, row, 0), 1);
    assert_int_equal(row_int(&layout, row, 1), -5);
    assert_true(row_long(&layout, row, 2) == INT64_MIN);
    assert_true(row_double(&layout, row, 3) == -0.5);
    assert_true(slice_is(row_bytes(&layout, row, 4), "hello"));
    assert_true(row_long(&layout, row, 5) == 1767225600000000);
    struct slice list = row_bytes(&layout, row, 6);
    const uint8_t *at = list.data + 4;
    assert_int_equal(row_list_count(list), 2);
    assert_true(slice_is(row_list_next_string(&at), "ab"));
    assert_true(slice_is(row_list_next_string(&at), ""));
    list = row_bytes(&layout, row, 7);
    assert_true(slice_equal(list, slice_of(list_ints, sizeof list_ints)));
    buf_free(&rows);
    row_layout_free(&layout);
}

/* The layout of row.h, byte by byte: a block written today is read by later releases. */
static void bytes_are_as_documented(void **state)
{
    (void)state;
    static struct column two[] = {{.name = "i", .type = TYPE_INT},
                                  {.name = "s", .type = TYPE_STRING},
                                  {.name = "n", .type = TYPE_LONG}};
    static const struct table_schema small = {.column_count = 3, .columns = two};
    static const uint8_t want[] = {
        36,  0, 0, 0, 9, 0, 0, 0, /* size, event */
        4,   0, 0, 0,             /* the third is null */
        5,   0, 0, 0,             /* i */
        32,  0, 0, 0, 1, 0, 0, 0, /* s */
        0,   0, 0, 0, 0, 0, 0, 0, /* n */
        'x', 0, 0, 0,
    };
    struct row_layout layout;
    struct buf rows = {0};
    row_layout_init(&layout, &small);
    struct row_writer writer = {.layout = &layout, .rows = &rows};
    row_begin(&writer, 9);
    row_set_int(&writer, 0, 5);
    row_set_string(&writer, 1, slice_cstr("x"));
    row_end(&writer);
    assert_int_equal(rows.len, sizeof want);
    assert_memory_equal(rows.data, want, sizeof want);
    buf_free(&rows);
    row_layout_free(&layout);
}

/* A damaged block must be found before the roller walks out of it. Every cut and every
 * flipped bit is refused, or is an image whose reads stay inside. */
static void damage_stays_inside(void **state)
{
    (void)state;
    struct row_layout layout;
    struct buf rows = {0};
    uint32_t size = 0;
    row_layout_init(&layout, &schema);
    struct row_writer writer = {.layout = &layout, .rows = &rows};
    write_full(&writer, 1);
    for (size_t n = 0; n < rows.len; n++) {
        uint8_t *copy = malloc(n > 0 ? n : 1);
        memcpy(copy, rows.data, n);
        assert_false(row_check(&layout, slice_of(copy, n), &size));
        free(copy);
    }
    size_t refused = 0;
    for (size_t bit = 0; bit < rows.len * 8; bit++) {
        rows.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        if (!row_check(&layout, buf_slice(&rows), &size)) {
            refused++;
        } else if (!row_is_null(rows.data, 6)) {
            struct slice list = row_bytes(&layout, rows.data, 6);
            const uint8_t *at = list.data + 4;
            for (uint32_t i = 0; i < row_list_count(list); i++)
                row_list_next_string(&at);
            assert_ptr_equal(at, list.data + list.len);
        }
        rows.data[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(refused > 200);
    assert_true(row_check(&layout, buf_slice(&rows), &size));
    buf_free(&rows);
    row_layout_free(&layout);
}

/* No column's slot may go unlooked at: a null with a value, a value that is none, bytes
 * outside of the image. */
static void each_slot_is_looked_at(void **state)
{
    (void)state;
    struct row_layout layout;
    struct buf rows = {0};
    uint32_t size = 0;
    row_layout_init(&layout, &schema);
    struct row_writer writer = {.layout = &layout, .rows = &rows};
    row_begin(&writer, 0);
    row_end(&writer);
    assert_true(row_check(&layout, buf_slice(&rows), &size));
    for (size_t at = layout.slots[0]; at < layout.fixed_size; at++) {
        rows.data[at] = 1;
        assert_false(row_check(&layout, buf_slice(&rows), &size));
        rows.data[at] = 0;
    }
    buf_reset(&rows);
    write_full(&writer, 0);
    for (size_t i = 0; i < layout.column_count; i++) {
        uint8_t *slot = rows.data + layout.slots[i];
        uint8_t was[8];
        memcpy(was, slot, sizeof was);
        rows.data[ROW_HEADER_SIZE + i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(row_check(&layout, buf_slice(&rows), &size));
        rows.data[ROW_HEADER_SIZE + i / 8] ^= (uint8_t)(1u << i % 8);
        if (layout.types[i] == TYPE_BOOLEAN && !layout.lists[i]) {
            put_u32le(slot, 2);
            assert_false(row_check(&layout, buf_slice(&rows), &size));
        } else if (layout.types[i] == TYPE_STRING || layout.lists[i]) {
            static const uint32_t lens[] = {UINT32_MAX, UINT32_MAX - 3, 1u << 31};
            put_u32le(slot, layout.fixed_size - 1);
            assert_false(row_check(&layout, buf_slice(&rows), &size));
            put_u32le(slot, (uint32_t)rows.len + 1);
            assert_false(row_check(&layout, buf_slice(&rows), &size));
            memcpy(slot, was, sizeof was);
            for (size_t k = 0; k < sizeof lens / sizeof lens[0]; k++) {
                put_u32le(slot + 4, lens[k]);
                assert_false(row_check(&layout, buf_slice(&rows), &size));
            }
            put_u32le(slot + 4, (uint32_t)rows.len - get_u32le(was) + 1);
            assert_false(row_check(&layout, buf_slice(&rows), &size));
        }
        memcpy(slot, was, layout.lists[i] || layout.types[i] > TYPE_INT ? 8 : 4);
        assert_true(row_check(&layout, buf_slice(&rows), &size));
    }
    buf_free(&rows);
    row_layout_free(&layout);
}

/* Rows of one event share a begin; what one of them puts behind it must not show in the
 * next. */
static void a_begin_is_used_again(void **state)
{
    (void)state;
    struct row_layout layout;
    struct buf rows = {0};
    uint32_t size = 0;
    uint8_t fixed[256];
    row_layout_init(&layout, &schema);
    struct row_writer writer = {.layout = &layout, .rows = &rows};
    row_begin(&writer, 7);
    row_set_string(&writer, 4, slice_cstr("shared"));
    assert_true(layout.fixed_size <= sizeof fixed);
    memcpy(fixed, rows.data, layout.fixed_size);
    struct row_begun begun = {.fixed = fixed, .from = 0, .size = rows.len};
    row_set_int(&writer, 1, 5);
    row_set_list(&writer, 8, slice_of(list_booleans, sizeof list_booleans));
    row_end(&writer);
    size_t second = rows.len;
    row_begin_like(&writer, &begun);
    row_set_int(&writer, 0, 1);
    row_end(&writer);
    assert_true(row_check(&layout, slice_of(rows.data + second, rows.len - second), &size));
    assert_int_equal(size, rows.len - second);
    const uint8_t *row = rows.data + second;
    assert_int_equal(row_event(row), 7);
    assert_true(slice_is(row_bytes(&layout, row, 4), "shared"));
    assert_int_equal(row_int(&layout, row, 0), 1);
    assert_true(row_is_null(row, 1) && row_is_null(row, 8));
    assert_true(row_is_null(rows.data, 0) && !row_is_null(rows.data, 8));
    buf_free(&rows);
    row_layout_free(&layout);
}

/* A buffer at its ceiling must say so once and write nothing past it. */
static void a_full_buffer_fails_once(void **state)
{
    (void)state;
    struct row_layout layout;
    struct buf rows;
    row_layout_init(&layout, &schema);
    for (size_t max = 1; max < 140; max++) {
        buf_init(&rows, max);
        struct row_writer writer = {.layout = &layout, .rows = &rows};
        write_full(&writer, 1);
        assert_true(rows.len <= max);
        assert_true(buf_failed(&rows) || rows.len % 4 == 0);
        buf_free(&rows);
    }
    row_layout_free(&layout);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back),      cmocka_unit_test(bytes_are_as_documented),
        cmocka_unit_test(damage_stays_inside),   cmocka_unit_test(each_slot_is_looked_at),
        cmocka_unit_test(a_begin_is_used_again), cmocka_unit_test(a_full_buffer_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
