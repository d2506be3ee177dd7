/* SPDX-License-Identifier: Apache-2.0
 *
 * The roller's index over blocks made by the shredder, and whole builds over a spool.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/roller.h"
#include "agent/roller_index.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/schema/mapping.h"
#include "lib/shred/shred.h"

static const int64_t noon_ms = 1760011200000;
enum { DAY_MS = 86400000 };

struct bench {
    struct mapping_set set;
    const struct mapping *mapping;
    struct shredder *shredder;
    struct shred_batch batch;
    char directory[64];
    struct spool *spool;
    char stream[STREAM_NAME_MAX + 1];
};

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fail_msg("%s: %s", error_code_name((enum error_code)rc), err->text);
}

static void bench_init(struct bench *bench)
{
    static const char *const tables[] = {"openrtb"};
    struct error err;
    *bench = (struct bench){0};
    must(mapping_set_load(&bench->set, tables, 1, &err), &err);
    bench->mapping = mapping_set_find(&bench->set, "bid_requests");
    struct shred_options options = {0};
    must(shredder_open(&bench->shredder, bench->mapping, &options, &err), &err);
}

static void bench_free(struct bench *bench)
{
    struct error err;
    shred_batch_free(&bench->batch);
    shredder_close(bench->shredder);
    mapping_set_free(&bench->set);
    spool_close(bench->spool);
    if (bench->directory[0] != 0)
        must(file_remove_tree(bench->directory, &err), &err);
}

/* domain and country: NULL leaves them out. */
static void add_event(struct bench *bench, uint64_t id, int64_t time_ms, const char *domain,
                      const char *country)
{
    struct buf text = {0};
    struct refusal refusal;
    struct shred_context context = {.received_at_us = time_ms * 1000,
                                    .source_time_us = INT64_MIN,
                                    .partition = -1,
                                    .offset = -1};
    buf_printf(&text, "{\"id\":\"%llu\",\"ext\":{\"ts\":%lld}", (unsigned long long)id,
               (long long)time_ms);
    if (domain != NULL)
        buf_printf(&text, ",\"site\":{\"domain\":\"%s\"}", domain);
    if (country != NULL)
        buf_printf(&text, ",\"device\":{\"geo\":{\"country\":\"%s\"}}", country);
    buf_printf(&text, "}");
    assert_true(
        shredder_event(bench->shredder, buf_slice(&text), &context, &bench->batch, &refusal));
    buf_free(&text);
}

static struct spool_block block_of(const struct bench *bench, uint64_t first)
{
    return (struct spool_block){.first = first,
                                .event_count = bench->batch.event_count,
                                .row_count = bench->batch.row_count,
                                .rows = buf_slice(&bench->batch.rows)};
}

static int compare_strings(const struct roller_index *index, const uint8_t *a, const uint8_t *b,
                           size_t column)
{
    bool null_a = row_is_null(a, column);
    bool null_b = row_is_null(b, column);
    if (null_a || null_b)
        return (int)null_b - (int)null_a;
    return slice_compare(row_bytes(&index->layout, a, column),
                         row_bytes(&index->layout, b, column));
}

/* What the table's sort order says of two rows that follow each other, and positions
 * where it says nothing. */
static void expect_order(const struct roller_index *index, const struct planned_file *file,
                         const struct row_reference *a, const struct row_reference *b)
{
    const struct table_schema *schema = index->schema;
    size_t domain = table_schema_find(schema, "site_domain");
    size_t country = table_schema_find(schema, "device_geo_country");
    int order = file->spec == 1 ? compare_strings(index, a->row, b->row, country) : 0;
    if (order == 0)
        order = compare_strings(index, a->row, b->row, domain);
    if (order == 0)
        order = compare_strings(index, a->row, b->row, country);
    int64_t time_a = row_long(&index->layout, a->row, schema->time_column);
    int64_t time_b = row_long(&index->layout, b->row, schema->time_column);
    if (order == 0)
        order = (time_a > time_b) - (time_a < time_b);
    if (order == 0)
        order = a->block != b->block ? (a->block > b->block) - (a->block < b->block)
                                     : (row_event(a->row) > row_event(b->row)) -
                                           (row_event(a->row) < row_event(b->row));
    assert_true(order < 0);
}

static void expect_tuple(const struct roller_index *index, const struct planned_file *file,
                         const uint8_t *row)
{
    size_t country = table_schema_find(index->schema, "device_geo_country");
    int64_t time_us = row_long(&index->layout, row, index->schema->time_column);
    assert_int_equal(file->values[0].number, time_us / 1000 / DAY_MS);
    if (file->spec == 1)
        return;
    assert_int_equal(file->values[1].null, row_is_null(row, country));
    if (!file->values[1].null)
        assert_true(slice_equal(file->values[1].text, row_bytes(&index->layout, row, country)));
}

/* Sorts file by file and looks at each row; how many rows there were. */
static size_t check_files(struct roller_index *index)
{
    size_t rows = 0;
    for (size_t f = 0; f < index->file_count; f++) {
        struct planned_file *file = &index->files[f];
        roller_index_sort(index, file);
        assert_int_equal(file->first_row, rows);
        const struct row_reference *at = index->rows + file->first_row;
        for (size_t i = 0; i < file->row_count; i++) {
            expect_tuple(index, file, at[i].row);
            if (i > 0)
                expect_order(index, file, &at[i - 1], &at[i]);
        }
        rows += file->row_count;
    }
    return rows;
}

static void add_random_events(struct bench *bench, struct random *random, size_t count)
{
    static const char *const domains[] = {NULL, "", "a.com", "a.com.b", "z.org", "\\u0000x"};
    static const char *const countries[] = {NULL, "USA", "DEU", "FRA"};
    for (size_t i = 0; i < count; i++)
        add_event(bench, i, noon_ms + (int64_t)random_below(random, 3 * DAY_MS),
                  domains[random_below(random, 6)], countries[random_below(random, 4)]);
}

/* A row in the wrong partition is not found by the queries that prune to the right one;
 * a file that says it is sorted and isn't gives wrong answers to those that trust it. */
static void rows_are_in_their_partition_and_in_order(void **state)
{
    (void)state;
    static const uint64_t limits[] = {0, 20000, UINT64_MAX};
    for (size_t l = 0; l < 3; l++) {
        struct bench bench;
        struct random random;
        struct roller_index index;
        struct error err;
        bench_init(&bench);
        random_seed(&random, 7 + l);
        add_random_events(&bench, &random, 3000);
        struct spool_block block = block_of(&bench, 0);
        roller_index_init(&index, &bench.mapping->schema);
        must(roller_index_add_block(&index, &block, 0, 3000, &err), &err);
        roller_index_plan(&index, limits[l]);
        assert_int_equal(check_files(&index), 3000);
        if (limits[l] == 0)
            assert_int_equal(index.file_count, 16);
        if (limits[l] == UINT64_MAX)
            assert_int_equal(index.file_count, 4);
        roller_index_free(&index);
        bench_free(&bench);
    }
}

/* A trimmed segment begins within a block: what lies below is committed already and
 * would be a double. */
static void rows_outside_the_range_are_left_out(void **state)
{
    (void)state;
    struct bench bench;
    struct roller_index index;
    struct error err;
    bench_init(&bench);
    for (uint64_t i = 0; i < 10; i++)
        add_event(&bench, i, noon_ms, NULL, NULL);
    struct spool_block block = block_of(&bench, 100);
    roller_index_init(&index, &bench.mapping->schema);
    must(roller_index_add_block(&index, &block, 104, 107, &err), &err);
    assert_int_equal(index.row_count, 3);
    assert_int_equal(index.event_count, 3);
    assert_int_equal(row_event(index.rows[0].row), 4);
    roller_index_free(&index);
    bench_free(&bench);
}

/* An announcement of a hundred thousand files is refused by register and committer alike,
 * and the stream would stand still for ever. */
static void many_slices_share_their_days_file(void **state)
{
    (void)state;
    struct bench bench;
    struct roller_index index;
    struct error err;
    bench_init(&bench);
    enum { DAYS = ROLLER_SLICES_MAX / 2 + 1 };
    for (uint64_t i = 0; i < DAYS; i++) {
        add_event(&bench, i, (int64_t)i * DAY_MS, NULL, "USA");
        add_event(&bench, i, (int64_t)i * DAY_MS, NULL, "DEU");
    }
    struct spool_block block = block_of(&bench, 0);
    roller_index_init(&index, &bench.mapping->schema);
    must(roller_index_add_block(&index, &block, 0, 2 * DAYS, &err), &err);
    roller_index_plan(&index, 0);
    assert_int_equal(index.file_count, DAYS);
    assert_int_equal(check_files(&index), 2 * DAYS);
    roller_index_free(&index);
    bench_free(&bench);
}

/* ---- whole builds ---- */

static void open_spool(struct bench *bench)
{
    struct error err;
    snprintf(bench->directory, sizeof bench->directory, "/tmp/bidlake-roller-XXXXXX");
    assert_non_null(mkdtemp(bench->directory));
    struct spool_options options = {
        .directory = bench->directory, .agent_id = "a1", .bytes_max = 64 << 20};
    must(spool_open(&bench->spool, &options, &err), &err);
    must(stream_name_make(bench->stream, "a1", spool_epoch_borrow(bench->spool), "db.bid_requests",
                          &err),
         &err);
}

static void append(struct bench *bench, struct slice rows)
{
    struct error err;
    struct buf schema = {0};
    uint64_t first = 0;
    table_schema_encode(&bench->mapping->schema, &schema);
    struct spool_batch batch = {.stream = bench->stream,
                                .schema = buf_slice(&schema),
                                .schema_key = table_schema_key(&bench->mapping->schema),
                                .rows = rows,
                                .event_count = bench->batch.event_count,
                                .row_count = bench->batch.row_count,
                                .time_min_us = bench->batch.time_min_us,
                                .time_max_us = bench->batch.time_max_us};
    must(spool_append(bench->spool, &batch, 1, NULL, 0, &first, &err), &err);
    buf_free(&schema);
}

/* Builds the stream's one segment; its announcement in *out. */
static void build(struct bench *bench, struct announcement *out)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = 0;
    struct roller_statistics statistics = {0};
    struct roller_options options = {
        .spool = bench->spool, .clock = &clock_system, .agent_id = "a1"};
    must(spool_list_segments(bench->spool, bench->stream, &arena, &segments, &count, &err), &err);
    assert_int_equal(count, 1);
    segments[0].state = SEGMENT_SEALED;
    must(roller_build(&options, &segments[0], NULL, &statistics, &err), &err);
    must(spool_list_segments(bench->spool, bench->stream, &arena, &segments, &count, &err), &err);
    assert_int_equal(segments[0].state, SEGMENT_BUILT);
    announcement_init(out);
    must(announcement_decode(out, segments[0].payload, &err), &err);
    arena_free(&arena);
}

static void seal(struct bench *bench)
{
    struct error err;
    bool sealed = false;
    must(spool_seal(bench->spool, bench->stream, NULL, &sealed, &err), &err);
    assert_true(sealed);
}

/* A block whose checksum holds but whose images don't read (a bug, bad memory before the
 * checksum) must cost its own events and no others, by position, and never the process. */
static void malformed_block_is_lost_by_position(void **state)
{
    (void)state;
    struct bench bench;
    struct announcement announcement;
    bench_init(&bench);
    open_spool(&bench);
    for (uint64_t i = 0; i < 10; i++)
        add_event(&bench, i, noon_ms, "a.com", "USA");
    uint8_t *bad = memory_alloc(bench.batch.rows.len, 1);
    memset(bad, 0xff, bench.batch.rows.len);
    append(&bench, buf_slice(&bench.batch.rows));
    append(&bench, slice_of(bad, bench.batch.rows.len));
    append(&bench, buf_slice(&bench.batch.rows));
    seal(&bench);
    build(&bench, &announcement);
    assert_int_equal(announcement.events, 20);
    assert_int_equal(announcement.rows, 20);
    assert_int_equal(announcement.lost_count, 1);
    assert_int_equal(announcement.lost[0].from, 10);
    assert_int_equal(announcement.lost[0].to, 20);
    assert_int_equal(announcement.lost[0].events, 10);
    announcement_free(&announcement);
    free(bad);
    bench_free(&bench);
}

/* Events of a megabyte that are all list elements must not take memory without bound when
 * their column is gathered: row groups are cut by elements as well. */
static void long_lists_cut_row_groups(void **state)
{
    (void)state;
    enum { EVENTS = 12, ELEMENTS = 200000 };
    struct bench bench;
    struct announcement announcement;
    struct refusal refusal;
    struct buf text = {0};
    struct shred_context context = {.received_at_us = noon_ms * 1000,
                                    .source_time_us = INT64_MIN,
                                    .partition = -1,
                                    .offset = -1};
    bench_init(&bench);
    open_spool(&bench);
    buf_put_cstr(&text, "{\"id\":\"1\",\"site\":{\"cat\":[\"\"");
    for (int i = 1; i < ELEMENTS; i++)
        buf_put_cstr(&text, ",\"\"");
    buf_put_cstr(&text, "]}}");
    for (int i = 0; i < EVENTS; i++)
        assert_true(
            shredder_event(bench.shredder, buf_slice(&text), &context, &bench.batch, &refusal));
    append(&bench, buf_slice(&bench.batch.rows));
    seal(&bench);
    build(&bench, &announcement);
    assert_int_equal(announcement.rows, EVENTS);
    assert_int_equal(announcement.file_count, 1);
    assert_int_equal(announcement.files[0].split_count, 3); /* 5, 5 and 2 events */
    announcement_free(&announcement);
    buf_free(&text);
    bench_free(&bench);
}

/* What was let go under pressure has no records to build from. Asked for again, or cut by
 * a receipt, it must be announced as lost: an announcement that accounts for nothing is
 * refused, and its stream would wait for ever. */
static void records_let_go_are_announced_as_lost(void **state)
{
    (void)state;
    struct error err;
    struct bench bench;
    struct announcement announcement;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = 0;
    bench_init(&bench);
    open_spool(&bench);
    for (uint64_t i = 0; i < 10; i++)
        add_event(&bench, i, noon_ms, "a.com", "USA");
    append(&bench, buf_slice(&bench.batch.rows));
    seal(&bench);
    build(&bench, &announcement);
    announcement_free(&announcement);
    must(spool_list_segments(bench.spool, bench.stream, &arena, &segments, &count, &err), &err);
    segments[0].state = SEGMENT_ANNOUNCED;
    must(spool_update_segment(bench.spool, &segments[0], &err), &err);
    must(spool_let_go(bench.spool, 64 << 20, &err), &err);
    must(spool_trim(bench.spool, bench.stream, 4, 1, &err), &err);
    build(&bench, &announcement);
    assert_int_equal(announcement.from, 4);
    assert_int_equal(announcement.events, 0);
    assert_int_equal(announcement.lost_count, 1);
    assert_int_equal(announcement.lost[0].events, 6);
    assert_string_equal(announcement.lost[0].reason, "records_gone");
    announcement_free(&announcement);
    arena_free(&arena);
    bench_free(&bench);
}

/* A rebuild after a crash must make the bytes that were put before it, or their name is
 * taken by other bytes and every file lies there twice. */
static void same_segment_gives_the_same_bytes(void **state)
{
    (void)state;
    struct bench bench;
    struct random random;
    struct announcement one;
    struct announcement two;
    bench_init(&bench);
    open_spool(&bench);
    random_seed(&random, 3);
    add_random_events(&bench, &random, 2000);
    append(&bench, buf_slice(&bench.batch.rows));
    seal(&bench);
    build(&bench, &one);
    build(&bench, &two);
    assert_int_equal(one.file_count, 16);
    assert_int_equal(two.file_count, 16);
    for (size_t i = 0; i < one.file_count; i++) {
        assert_int_equal(one.files[i].crc32c, two.files[i].crc32c);
        assert_string_equal(one.files[i].path, two.files[i].path);
    }
    announcement_free(&one);
    announcement_free(&two);
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_in_their_partition_and_in_order),
        cmocka_unit_test(rows_outside_the_range_are_left_out),
        cmocka_unit_test(many_slices_share_their_days_file),
        cmocka_unit_test(malformed_block_is_lost_by_position),
        cmocka_unit_test(long_lists_cut_row_groups),
        cmocka_unit_test(records_let_go_are_announced_as_lost),
        cmocka_unit_test(same_segment_gives_the_same_bytes),
    };
    return cmocka_run_group_tests_name("agent/roller", tests, NULL, NULL);
}
