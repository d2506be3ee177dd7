/* SPDX-License-Identifier: Apache-2.0
 *
 * spool_support.h: a spool in a directory of its own, and batches whose rows say where
 * they belong, so that a reader can tell any event that is missing, doubled or moved.
 */
#ifndef TESTS_UNIT_SPOOL_SUPPORT_H
#define TESTS_UNIT_SPOOL_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <fcntl.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "spool/spool.h"

struct fixture {
    char directory[64];
    struct spool *spool;
    uint64_t bytes_max;
    bool drop_oldest;
    bool no_sync;
    char stream[SPOOL_STREAM_NAME_MAX + 1];
};

/* Set in a forked child, where cmocka must not go on with the parent's tests. */
static bool in_child;

static inline void must(int rc, const struct error *err)
{
    if (rc != OK && in_child) {
        fprintf(stderr, "child: %s\n", err->text);
        _exit(3);
    }
    if (rc != OK)
        fail_msg("%s: %s", error_code_name((enum error_code)rc), err->text);
}

static inline int fixture_try_open(struct fixture *fixture, struct error *err)
{
    struct spool_options options = {.directory = fixture->directory,
                                    .agent_id = "a1",
                                    .bytes_max = fixture->bytes_max,
                                    .drop_oldest = fixture->drop_oldest,
                                    .no_sync = fixture->no_sync};
    int rc = spool_open(&fixture->spool, &options, err);
    if (rc == OK)
        snprintf(fixture->stream, sizeof fixture->stream, "a1/%s/db.t",
                 spool_epoch_borrow(fixture->spool));
    return rc;
}

static inline void fixture_open(struct fixture *fixture)
{
    struct error err;
    must(fixture_try_open(fixture, &err), &err);
}

static inline void fixture_close(struct fixture *fixture)
{
    spool_close(fixture->spool);
    fixture->spool = NULL;
}

static inline void fixture_init(struct fixture *fixture)
{
    *fixture = (struct fixture){.bytes_max = 256 << 20};
    snprintf(fixture->directory, sizeof fixture->directory, "/tmp/bidlake-spool-XXXXXX");
    assert_non_null(mkdtemp(fixture->directory));
}

static inline void fixture_free(struct fixture *fixture)
{
    struct error err;
    fixture_close(fixture);
    must(file_remove_tree(fixture->directory, &err), &err);
}

static inline int fixture_setup(void **state)
{
    static struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* A test over an open spool. */
#define SPOOL_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

enum { SENDER_ROW_SIZE = 16 };

/* `count` events of `size` bytes each; an event says its sender and its number. */
static inline int append_to(struct spool *spool, const char *stream, uint64_t sender,
                            uint64_t number, uint32_t count, size_t size, uint64_t schema_key,
                            uint64_t *first, struct error *err)
{
    ASSERT(size >= SENDER_ROW_SIZE);
    uint8_t *rows = memory_alloc(count, size);
    for (uint32_t i = 0; i < count; i++) {
        put_u64le(rows + i * size, sender);
        put_u64le(rows + i * size + 8, number + i);
    }
    struct spool_batch batch = {
        .stream = stream,
        .schema = slice_cstr(schema_key == 1 ? "schema one" : "schema other"),
        .schema_key = schema_key,
        .rows = slice_of(rows, count * size),
        .event_count = count,
        .row_count = count,
        .time_min_us = (int64_t)number,
        .time_max_us = (int64_t)(number + count - 1),
    };
    int rc = spool_append(spool, &batch, 1, NULL, 0, first, err);
    free(rows);
    return rc;
}

static inline uint64_t append(struct fixture *fixture, uint32_t count, size_t size)
{
    struct error err;
    uint64_t first = 0;
    must(append_to(fixture->spool, fixture->stream, 1, 0, count, size, 1, &first, &err), &err);
    return first;
}

static inline bool seal(struct fixture *fixture)
{
    struct error err;
    bool sealed = false;
    must(spool_seal(fixture->spool, fixture->stream, NULL, &sealed, &err), &err);
    return sealed;
}

static inline size_t segments_of(struct spool *spool, const char *stream, struct arena *arena,
                                 struct spool_segment **out)
{
    struct error err;
    size_t count = 0;
    must(spool_list_segments(spool, stream, arena, out, &count, &err), &err);
    return count;
}

static inline struct spool_stream stream_of(struct spool *spool, const char *name,
                                            struct arena *arena)
{
    struct error err;
    struct spool_streams streams = {0};
    must(spool_list_streams(spool, arena, &streams, &err), &err);
    for (size_t i = 0; i < streams.count; i++)
        if (strcmp(streams.streams[i].name, name) == 0)
            return streams.streams[i];
    return (struct spool_stream){0};
}

/* Counts the events of the blocks that touch [from, to); *damaged those of bad ones. */
static inline uint64_t read_events(struct spool *spool, const char *stream, uint64_t from,
                                   uint64_t to, uint64_t *damaged)
{
    struct error err;
    struct spool_reader *reader = NULL;
    struct spool_block block = {0};
    bool more = true;
    uint64_t sum = 0;
    must(spool_reader_open(&reader, spool, stream, from, to, &err), &err);
    for (;;) {
        int rc = spool_reader_next(reader, &block, &more, &err);
        if (rc == ERROR_CORRUPT && damaged != NULL) {
            *damaged += block.event_count;
            continue;
        }
        must(rc, &err);
        if (!more)
            break;
        sum += block.event_count;
    }
    spool_reader_close(reader);
    return sum;
}

static inline void announce(struct fixture *fixture, const char *stream)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = segments_of(fixture->spool, stream, &arena, &segments);
    for (size_t i = 0; i < count; i++) {
        segments[i].state = SEGMENT_ANNOUNCED;
        segments[i].announced_at_ms = 1;
        segments[i].payload = slice_cstr("announcement");
        must(spool_update_segment(fixture->spool, &segments[i], &err), &err);
    }
    arena_free(&arena);
}

static inline void print_damage(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static inline size_t damage_of(struct spool *spool)
{
    struct error err;
    size_t damaged = 0;
    must(spool_check(spool, print_damage, NULL, &damaged, &err), &err);
    return damaged;
}

/* Changes one byte behind `mark` in data.mdb, as a bad sector would. */
static inline void flip(const struct fixture *fixture, struct slice mark, size_t offset)
{
    struct error err;
    struct buf bytes = {0};
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    must(file_read(path, 1 << 30, &bytes, &err), &err);
    uint8_t *at = memmem(bytes.data, bytes.len, mark.data, mark.len);
    assert_non_null(at);
    uint8_t value = (uint8_t)(at[offset] ^ 0x40);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, &value, 1, (off_t)(at + offset - bytes.data)), 1);
    close(fd);
    free(path);
    buf_free(&bytes);
}

#endif
