/* SPDX-License-Identifier: Apache-2.0
 *
 * The bound of roller.h on anonymous memory, over a segment as large as the defaults let
 * one become, with values that cost most: ids of which no two are alike, thousands of
 * sites, prices and times without end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

#include "agent/roller.h"
#include "lib/announce/announce.h"
#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/row/row.h"
#include "lib/schema/mapping.h"
#include "spool/spool.h"

enum {
    ROWS = 1000000, /* roll.rows */
    BLOCK_ROWS = 25000,
    COUNTRIES = 300,
    SITES = 5000,
    IMAGE_BYTES = 256 << 20, /* roll.bytes */
};

/* A sanitizer's own memory is several times the program's: then nothing is measured. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

static const int64_t noon_us = 1760011200000000;

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fail_msg("%s: %s", error_code_name((enum error_code)rc), err->text);
}

/* ---- the segment ---- */

struct bench {
    struct mapping_set set;
    const struct table_schema *schema;
    struct row_layout layout;
    struct random random;
    char directory[64];
    struct spool *spool;
    char stream[STREAM_NAME_MAX + 1];
    uint64_t rows;
};

static void set_text(struct bench *bench, struct row_writer *writer, const char *column,
                     const char *form, uint64_t a, uint64_t b)
{
    char room[64];
    int len = snprintf(room, sizeof room, form, (unsigned long long)a, (unsigned long long)b);
    row_set_string(writer, table_schema_find(bench->schema, column), slice_of(room, (size_t)len));
}

static uint64_t below(struct bench *bench, uint64_t n)
{
    return random_below(&bench->random, n);
}

static void put_row(struct bench *bench, struct row_writer *writer, uint32_t event)
{
    const struct table_schema *schema = bench->schema;
    uint64_t a = random_next(&bench->random);
    uint64_t b = random_next(&bench->random);
    row_begin(writer, event);
    set_text(bench, writer, "request_id", "%016llx-%015llx", a, b >> 4);
    set_text(bench, writer, "user_id", "%016llx-%015llx", b, a >> 4);
    set_text(bench, writer, "site_domain", "site-%llu.example%.0llu", below(bench, SITES), 0);
    set_text(bench, writer, "site_id", "s-%llu%.0llu", below(bench, SITES), 0);
    set_text(bench, writer, "device_geo_country", "C%02llx%.0llu", below(bench, COUNTRIES), 0);
    set_text(bench, writer, "device_os", "os %llu.%llu", below(bench, 4), below(bench, 30));
    row_set_double(writer, table_schema_find(schema, "imp_bidfloor"), (double)a);
    row_set_int(writer, table_schema_find(schema, "tmax"), (int32_t)below(bench, 1000));
    row_set_long(writer, table_schema_find(schema, "event_timestamp"),
                 noon_us + (int64_t)below(bench, 60000000));
    row_set_long(writer, table_schema_find(schema, "received_at"), noon_us + event);
    row_end(writer);
}

static void append_block(struct bench *bench, struct buf *rows)
{
    struct error err;
    struct buf schema = {0};
    uint64_t first = 0;
    struct row_writer writer = {.layout = &bench->layout, .rows = rows};
    buf_reset(rows);
    for (uint32_t i = 0; i < BLOCK_ROWS; i++)
        put_row(bench, &writer, i);
    table_schema_encode(bench->schema, &schema);
    struct spool_batch batch = {.stream = bench->stream,
                                .schema = buf_slice(&schema),
                                .schema_key = table_schema_key(bench->schema),
                                .rows = buf_slice(rows),
                                .event_count = BLOCK_ROWS,
                                .row_count = BLOCK_ROWS,
                                .time_min_us = noon_us,
                                .time_max_us = noon_us + 60000000};
    must(spool_append(bench->spool, &batch, 1, NULL, 0, &first, &err), &err);
    buf_free(&schema);
    bench->rows += BLOCK_ROWS;
}

static void bench_init(struct bench *bench)
{
    static const char *const tables[] = {"openrtb"};
    struct error err;
    struct buf rows = {0};
    bool sealed = false;
    *bench = (struct bench){0};
    random_seed(&bench->random, 1);
    must(mapping_set_load(&bench->set, tables, 1, &err), &err);
    bench->schema = &mapping_set_find(&bench->set, "bid_requests")->schema;
    row_layout_init(&bench->layout, bench->schema);
    snprintf(bench->directory, sizeof bench->directory, "/tmp/bidlake-roller-XXXXXX");
    assert_non_null(mkdtemp(bench->directory));
    struct spool_options options = {
        .directory = bench->directory, .agent_id = "a1", .bytes_max = (uint64_t)1 << 30};
    must(spool_open(&bench->spool, &options, &err), &err);
    must(stream_name_make(bench->stream, "a1", spool_epoch_borrow(bench->spool), "db.bid_requests",
                          &err),
         &err);
    for (uint64_t bytes = 0; bench->rows < ROWS && bytes < IMAGE_BYTES; bytes += rows.len)
        append_block(bench, &rows);
    must(spool_seal(bench->spool, bench->stream, NULL, &sealed, &err), &err);
    assert_true(sealed);
    buf_free(&rows);
}

static void bench_free(struct bench *bench)
{
    struct error err;
    spool_close(bench->spool);
    row_layout_free(&bench->layout);
    mapping_set_free(&bench->set);
    must(file_remove_tree(bench->directory, &err), &err);
}

/* ---- the memory ---- */

/* The map of the spool is resident as well, but it is the file's: the kernel takes it back. */
static size_t anonymous_bytes(void)
{
    unsigned long size = 0;
    unsigned long resident = 0;
    unsigned long shared = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu %lu", &size, &resident, &shared) != 3)
        abort();
    fclose(file);
    return (resident - shared) * (size_t)sysconf(_SC_PAGESIZE);
}

struct watch {
    pthread_t thread;
    atomic_bool stop;
    size_t before;
    size_t peak;
};

static void *watch_run(void *context)
{
    struct watch *watch = context;
    while (!atomic_load(&watch->stop)) {
        size_t now = anonymous_bytes();
        watch->peak = now > watch->peak ? now : watch->peak;
        usleep(500);
    }
    return NULL;
}

static void watch_start(struct watch *watch)
{
    malloc_trim(0);
    *watch = (struct watch){.before = anonymous_bytes()};
    assert_int_equal(pthread_create(&watch->thread, NULL, watch_run, watch), 0);
}

/* How much more there was than at the start. */
static size_t watch_stop(struct watch *watch)
{
    atomic_store(&watch->stop, true);
    pthread_join(watch->thread, NULL);
    return watch->peak > watch->before ? watch->peak - watch->before : 0;
}

/* Builds the segment in so many files; its peak of anonymous memory. */
static size_t build(struct bench *bench, uint64_t partition_bytes, size_t *file_count)
{
    struct error err;
    struct arena arena = {0};
    struct watch watch;
    struct spool_segment *segments = NULL;
    size_t count = 0;
    struct announcement announcement;
    struct roller_statistics statistics = {0};
    struct roller_options options = {.spool = bench->spool,
                                     .clock = &clock_system,
                                     .agent_id = "a1",
                                     .partition_bytes = partition_bytes};
    must(spool_list_segments(bench->spool, bench->stream, &arena, &segments, &count, &err), &err);
    assert_int_equal(count, 1);
    segments[0].state = SEGMENT_SEALED;
    watch_start(&watch);
    must(roller_build(&options, &segments[0], NULL, &statistics, &err), &err);
    size_t peak = watch_stop(&watch);
    must(spool_list_segments(bench->spool, bench->stream, &arena, &segments, &count, &err), &err);
    announcement_init(&announcement);
    must(announcement_decode(&announcement, segments[0].payload, &err), &err);
    assert_int_equal(announcement.rows, bench->rows);
    *file_count = announcement.file_count;
    announcement_free(&announcement);
    arena_free(&arena);
    return peak;
}

/* The agent lives beside a bidder: what it takes must be known beforehand, whatever comes. */
static void a_full_segment_stays_within_the_stated_memory(void **state)
{
    struct bench *bench = *state;
    size_t files = 0;
    size_t many = build(bench, 0, &files);
    assert_int_equal(files, COUNTRIES);
    size_t one = build(bench, UINT64_MAX / ROLLER_IMAGE_RATIO, &files);
    assert_int_equal(files, 1);
    print_message("%llu rows: %zu KiB in %d files, %zu KiB in one\n",
                  (unsigned long long)bench->rows, many >> 10, COUNTRIES, one >> 10);
#ifndef SANITIZED
    assert_true(many <= ROLLER_MEMORY_MAX);
    assert_true(one <= ROLLER_MEMORY_MAX);
#endif
}

static int setup(void **state)
{
    static struct bench bench;
    bench_init(&bench);
    *state = &bench;
    return 0;
}

static int teardown(void **state)
{
    bench_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_segment_stays_within_the_stated_memory),
    };
    return cmocka_run_group_tests_name("agent/roller memory", tests, setup, teardown);
}
