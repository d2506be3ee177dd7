/* SPDX-License-Identifier: Apache-2.0
 *
 * `make bench-shred`: the shredder against simdjson's DOM parser, over the same NDJSON in
 * memory, by CPU seconds of this thread. Ours: text in, row images out, by a mapping.
 * Theirs: text in, a tree out. Both validate everything. In turns, and the median counts;
 * of simdjson's two ways the faster one is the measure.
 *
 *   shred_speed FILE [--mapping PRESET|FILE.yaml] [--runs N] [--variant NAME] [--only-ours]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/shred/shred.h"
#include "tests/bench/shred_simdjson.h"

enum { RUNS_MAX = 99, BATCH_BYTES = 4 << 20 };

struct bench {
    struct slice text;
    struct mapping mapping;
    struct shredder *shredder;
    struct shred_batch batch;
    size_t rows;
    size_t row_bytes;
};

static double cpu_seconds(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    ASSERT(rc == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t each_line(struct bench *bench)
{
    struct shred_context context = {.received_at_us = 1769860800000000,
                                    .source_time_us = INT64_MIN,
                                    .partition = -1,
                                    .offset = -1};
    struct refusal refusal;
    size_t refused = 0;
    const uint8_t *end = bench->text.data + bench->text.len;
    bench->rows = 0;
    bench->row_bytes = 0;
    for (const uint8_t *at = bench->text.data; at < end;) {
        const uint8_t *line_end = memchr(at, '\n', (size_t)(end - at));
        if (line_end == NULL)
            line_end = end;
        if (!shredder_event(bench->shredder, slice_of(at, (size_t)(line_end - at)), &context,
                            &bench->batch, &refusal) &&
            refused++ == 0)
            fprintf(stderr, "%u:%u: %s\n", refusal.line, refusal.column, refusal.text);
        at = line_end + 1;
        if (bench->batch.rows.len >= BATCH_BYTES || at >= end) {
            bench->rows += bench->batch.row_count;
            bench->row_bytes += bench->batch.rows.len;
            shred_batch_reset(&bench->batch);
        }
    }
    return refused;
}

static enum shred_variant variant_of(const char *name)
{
    static const char *const names[SHRED_VARIANT_COUNT] = {[SHRED_BEST] = "best",
                                                           [SHRED_PLAIN] = "plain",
                                                           [SHRED_SSE2] = "sse2",
                                                           [SHRED_AVX2] = "avx2",
                                                           [SHRED_AVX512] = "avx512"};
    for (unsigned i = 0; i < SHRED_VARIANT_COUNT; i++)
        if (strcmp(name, names[i]) == 0 && shred_variant_is_here((enum shred_variant)i))
            return (enum shred_variant)i;
    return SHRED_VARIANT_COUNT;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static void print_line(const char *name, const struct bench *bench, double seconds)
{
    printf("%-24s %8.3f s %9.0f MB/CPU s\n", name, seconds,
           (double)bench->text.len / 1e6 / seconds);
}

static int run(struct bench *bench, size_t runs, bool only_ours)
{
    const char *text = (const char *)bench->text.data;
    double ours[RUNS_MAX];
    double lines[RUNS_MAX];
    double many[RUNS_MAX];
    size_t refused = 0;
    size_t documents = 0;
    for (size_t i = 0; i < runs; i++) {
        double start = cpu_seconds();
        refused += each_line(bench);
        ours[i] = cpu_seconds() - start;
        if (only_ours)
            continue;
        start = cpu_seconds();
        refused += simdjson_each_line(text, bench->text.len);
        lines[i] = cpu_seconds() - start;
        start = cpu_seconds();
        refused += simdjson_many(text, bench->text.len, &documents);
        many[i] = cpu_seconds() - start;
    }
    printf("%zu rows, %.0f MB of row images, %zu refused\n", bench->rows,
           (double)bench->row_bytes / 1e6, refused);
    print_line("bidlake shred", bench, median(ours, runs));
    if (only_ours)
        return refused > 0;
    print_line("simdjson DOM, a line", bench, median(lines, runs));
    print_line("simdjson DOM, parse_many", bench, median(many, runs));
    double best = lines[runs / 2] < many[runs / 2] ? lines[runs / 2] : many[runs / 2];
    printf("%s; median of %zu; ours is %.2f of the faster one's speed\n", simdjson_about(), runs,
           best / ours[runs / 2]);
    return refused > 0;
}

static int prepare(struct bench *bench, const char *path, const char *mapping,
                   const struct shred_options *options, struct buf *bytes, struct error *err)
{
    int rc = file_read(path, (size_t)4 << 30, bytes, err);
    if (rc != OK)
        return rc;
    bench->text = buf_slice(bytes);
    if (!buf_reserve(bytes, simdjson_padding()))
        return error_set(err, ERROR_LIMIT, "%s: too large", path);
    bench->text.data = bytes->data;
    rc = strstr(mapping, ".yaml") != NULL ? mapping_load_file(&bench->mapping, mapping, err)
                                          : mapping_load_preset(&bench->mapping, mapping, err);
    if (rc != OK)
        return rc;
    return shredder_open(&bench->shredder, &bench->mapping, options, err);
}

int main(int argc, char **argv)
{
    struct bench bench = {0};
    struct buf bytes = {0};
    struct error err;
    struct shred_options options = {0};
    const char *mapping = "openrtb/bid_requests";
    size_t runs = 5;
    bool only_ours = false;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--only-ours") == 0)
            only_ours = true;
        else if (strcmp(argv[i], "--mapping") == 0 && i + 1 < argc)
            mapping = argv[++i];
        else if (strcmp(argv[i], "--variant") == 0 && i + 1 < argc)
            options.variant = variant_of(argv[++i]);
        else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc)
            runs = strtoul(argv[++i], NULL, 10);
    }
    if (argc < 2 || runs == 0 || runs > RUNS_MAX || options.variant == SHRED_VARIANT_COUNT) {
        fprintf(stderr, "usage: shred_speed FILE [--mapping NAME] [--runs N] [--only-ours]\n"
                        "       [--variant best|plain|sse2|avx2|avx512, if this machine has it]\n");
        return 2;
    }
    shred_batch_reset(&bench.batch);
    int rc = prepare(&bench, argv[1], mapping, &options, &bytes, &err);
    if (rc != OK)
        fprintf(stderr, "shred_speed: %s\n", err.text);
    else
        rc = run(&bench, runs, only_ours);
    shredder_close(bench.shredder);
    mapping_free(&bench.mapping);
    shred_batch_free(&bench.batch);
    buf_free(&bytes);
    return rc == OK ? 0 : 1;
}
