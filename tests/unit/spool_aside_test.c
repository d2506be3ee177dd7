/* SPDX-License-Identifier: Apache-2.0
 *
 * What a start makes of what a failing disk left: blocks in quarantine, environments set
 * aside, and nothing answered that is neither read nor named.
 */
#include "tests/unit/spool_support.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>

enum { EVENTS = 10, SIZE = 4000 };
static const uint64_t MARK = 0x6b6b6b6b6b6b6b00;

/* Batch i says so in its rows. */
static void append_marked(struct fixture *fixture, uint64_t count)
{
    struct error err;
    uint64_t first = 0;
    for (uint64_t i = 0; i < count; i++)
        must(append_to(fixture->spool, fixture->stream, MARK + i, 0, EVENTS, SIZE, 1, &first, &err),
             &err);
}

static void flip_rows(const struct fixture *fixture, uint64_t number)
{
    uint8_t mark[8];
    put_u64le(mark, MARK + number);
    flip(fixture, slice_of(mark, sizeof mark), 500);
}

/* Of one segment: [from, to) and the sum, or nothing. */
static uint64_t lost_of(struct fixture *fixture, const char *stream, uint64_t *from)
{
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    uint64_t sum = 0;
    size_t count = segments_of(fixture->spool, stream, &arena, &segments);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < segments[i].lost_count; k++) {
            assert_string_equal(segments[i].lost[k].reason, "bad_block");
            *from = segments[i].lost[k].from;
            sum += segments[i].lost[k].events;
        }
    }
    arena_free(&arena);
    return sum;
}

static size_t entries_of(const struct fixture *fixture, const char *name)
{
    char path[128];
    size_t count = 0;
    snprintf(path, sizeof path, "%s/%s", fixture->directory, name);
    DIR *directory = opendir(path);
    if (directory == NULL)
        return 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static int fail_sync(void *context, const char *name, struct error *err)
{
    (void)context;
    if (strcmp(name, "spool.append.committed") != 0)
        return OK;
    return error_set(err, ERROR_IO, "injected");
}

/* After a failed sync a page may be on the disk or not: the next start reads what was
 * written last, and what doesn't read is lost by number before anybody builds on it. */
static void failed_sync_is_verified_at_the_next_start(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t first = 0;
    uint64_t from = 0;
    char old[sizeof fixture->stream];
    append_marked(fixture, 3);
    fault_install(fail_sync, NULL);
    assert_int_equal(
        append_to(fixture->spool, fixture->stream, MARK + 9, 0, EVENTS, SIZE, 1, &first, &err),
        ERROR_IO);
    fault_install(NULL, NULL);
    memcpy(old, fixture->stream, sizeof old);
    fixture_close(fixture);
    flip_rows(fixture, 1);
    fixture_open(fixture);
    assert_string_not_equal(old, fixture->stream);
    assert_int_equal(lost_of(fixture, old, &from), EVENTS);
    assert_int_equal(from, EVENTS);
    assert_int_equal(read_events(fixture->spool, old, 0, UINT64_MAX, NULL), 3 * EVENTS);
    assert_int_equal(damage_of(fixture->spool), 0);
    assert_int_equal(entries_of(fixture, "quarantine"), 1);
    /* once is enough: the next start counts nothing twice */
    fixture_close(fixture);
    fixture_open(fixture);
    assert_int_equal(lost_of(fixture, old, &from), EVENTS);
}

/* A spool that was closed is not read through at each start: 20 GiB would take minutes. */
static void closed_spools_are_not_read_through(void **state)
{
    struct fixture *fixture = *state;
    uint64_t from = 0;
    char old[sizeof fixture->stream];
    append_marked(fixture, 3);
    memcpy(old, fixture->stream, sizeof old);
    fixture_close(fixture);
    flip_rows(fixture, 1);
    fixture_open(fixture);
    assert_int_equal(lost_of(fixture, old, &from), 0);
    assert_int_equal(damage_of(fixture->spool), 1);
}

/* Cuts data.mdb within the rows of batch `number`, `offset` behind their first byte. */
static void cut(const struct fixture *fixture, uint64_t number, size_t offset)
{
    struct error err;
    struct buf bytes = {0};
    uint8_t mark[8];
    put_u64le(mark, MARK + number);
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    must(file_read(path, 1 << 30, &bytes, &err), &err);
    const uint8_t *at = memmem(bytes.data, bytes.len, mark, sizeof mark);
    assert_non_null(at);
    assert_int_equal(truncate(path, at - bytes.data + (off_t)offset), 0);
    buf_free(&bytes);
    free(path);
}

/* A sector that doesn't read is SIGBUS in the map. The reader asks first: the block is
 * damaged like any other, and the process goes on. */
static void unreadable_pages_are_a_damaged_block(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    uint64_t damaged = 0;
    append_marked(fixture, 6);
    cut(fixture, 5, 2 * 4096);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 0, UINT64_MAX, &damaged),
                     5 * EVENTS);
    assert_int_equal(damaged, EVENTS);
    assert_int_equal(damage_of(fixture->spool), 1);
    struct spool_lost lost = {
        .from = 5 * EVENTS, .to = 6 * EVENTS, .events = EVENTS, .reason = "bad_block"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    assert_int_equal(entries_of(fixture, "quarantine"), 1);
    append_marked(fixture, 1);
    assert_int_equal(damage_of(fixture->spool), 0);
}

static void lose_unreadable(struct fixture *fixture)
{
    struct error err;
    struct stat info;
    signal(SIGBUS, SIG_DFL);
    fixture_open(fixture);
    append_marked(fixture, 6);
    cut(fixture, 5, 0);
    /* to the page's beginning, which LMDB calls its header */
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    if (stat(path, &info) < 0 || truncate(path, info.st_size / 4096 * 4096) < 0)
        _exit(4);
    struct spool_lost lost = {
        .from = 5 * EVENTS, .to = 6 * EVENTS, .events = EVENTS, .reason = "bad_block"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
}

/* To free a block LMDB itself looks at its first page, and SIGBUS would end the process: that
 * page is written anew before. Neither does the restart end that way: the rest goes on. */
static void unreadable_first_page_is_written_anew(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    uint64_t from = 0;
    fixture_close(fixture);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        in_child = true;
        lose_unreadable(fixture);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    fixture_open(fixture);
    must(spool_list_streams(fixture->spool, &arena, &streams, &err), &err);
    assert_int_equal(streams.count, 1);
    const char *old = streams.streams[0].name;
    assert_int_equal(streams.streams[0].end, 6 * EVENTS);
    assert_int_equal(lost_of(fixture, old, &from), EVENTS);
    assert_int_equal(from, 5 * EVENTS);
    assert_int_equal(read_events(fixture->spool, old, 0, UINT64_MAX, NULL), 5 * EVENTS);
    assert_int_equal(damage_of(fixture->spool), 0);
    append_marked(fixture, 1);
    arena_free(&arena);
}

static void write_at(const struct fixture *fixture, off_t at, size_t len)
{
    uint8_t junk[8192];
    memset(junk, 0xa5, sizeof junk);
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    int fd = open(path, O_WRONLY);
    assert_int_equal(pwrite(fd, junk, len, at), len);
    close(fd);
    free(path);
}

/* The spool is set aside whole, not one byte of it changed or deleted, and capture goes on
 * at once under another epoch. */
static void expect_set_aside(struct fixture *fixture)
{
    struct error err;
    struct buf before = {0};
    struct buf after = {0};
    char old[sizeof fixture->stream];
    memcpy(old, fixture->stream, sizeof old);
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    must(file_read(path, 1 << 30, &before, &err), &err);
    size_t asides = entries_of(fixture, "set-aside");
    fixture_open(fixture);
    assert_string_not_equal(old, fixture->stream);
    assert_int_equal(append(fixture, 3, 100), 0);
    assert_int_equal(damage_of(fixture->spool), 0);
    assert_int_equal(entries_of(fixture, "set-aside"), asides + 1);
    assert_int_equal(spool_count_set_aside(fixture->spool), asides + 1);
    char *command = memory_printf("cat %s/set-aside/*/data.mdb", fixture->directory);
    FILE *pipe = popen(command, "r");
    uint8_t chunk[65536];
    for (size_t n = 0; (n = fread(chunk, 1, sizeof chunk, pipe)) > 0;)
        buf_put(&after, chunk, n);
    pclose(pipe);
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    free(command);
    free(path);
    buf_free(&before);
    buf_free(&after);
}

static void bad_meta_page_sets_the_environment_aside(void **state)
{
    struct fixture *fixture = *state;
    append_marked(fixture, 3);
    fixture_close(fixture);
    write_at(fixture, 0, 4096);
    expect_set_aside(fixture);
}

/* LMDB opens, but a record that all else hangs on doesn't read. */
static void bad_stream_record_sets_the_environment_aside(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    append_marked(fixture, 1);
    fixture_close(fixture);
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    struct buf bytes = {0};
    must(file_read(path, 1 << 30, &bytes, &err), &err);
    size_t len = strlen(fixture->stream);
    size_t found = 0;
    for (size_t at = 0; at + len < bytes.len; at++) {
        if (memcmp(bytes.data + at, fixture->stream, len) == 0) {
            write_at(fixture, (off_t)at, 8);
            found++;
        }
    }
    assert_true(found > 0);
    buf_free(&bytes);
    free(path);
    expect_set_aside(fixture);
}

static void put_file(const struct fixture *fixture, const char *name, struct slice bytes)
{
    char *path = memory_printf("%s/%s", fixture->directory, name);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, bytes.data, bytes.len), bytes.len);
    close(fd);
    free(path);
}

static void remove_asides(const struct fixture *fixture)
{
    struct error err;
    char *path = memory_printf("%s/set-aside", fixture->directory);
    must(file_remove_tree(path, &err), &err);
    free(path);
}

/* LMDB trusts its pages: a bad one may end the process, and it would end each start, at 3 a.m.
 * too. Every page of a small spool is damaged in turn, in four ways, and each time the
 * start comes through, sets aside or quarantines what it must, and takes events. */
static void no_damaged_page_ends_each_start(void **state)
{
    enum { PAGE = 4096 };
    struct fixture *fixture = *state;
    struct error err;
    struct buf bytes = {0};
    unsigned asides = 0;
    append(fixture, 2, 3000);
    append(fixture, 2, 3000);
    assert_true(seal(fixture));
    append(fixture, 3, 100);
    must(spool_append(fixture->spool, NULL, 0,
                      &(struct spool_checkpoint){slice_cstr("key"), slice_cstr("value")}, 1, NULL,
                      &err),
         &err);
    fixture_close(fixture);
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    must(file_read(path, 1 << 30, &bytes, &err), &err);
    free(path);
    size_t used = bytes.len;
    while (used > 0 && bytes.data[used - 1] == 0)
        used--;
    for (size_t page = 2; page * PAGE < used; page++) {
        for (unsigned way = 0; way < 4; way++) {
            uint8_t old[PAGE];
            uint8_t *at = bytes.data + page * PAGE;
            memcpy(old, at, PAGE);
            for (size_t i = 0; i < PAGE; i++) {
                uint8_t junk = (uint8_t)((i * 2654435761U) >> 11);
                /* the last way keeps LMDB's header and turns what it points to */
                at[i] = way == 0 ? 0 : way == 1 ? 0xff : way == 2 ? junk : i < 16 ? at[i] : junk;
            }
            put_file(fixture, "data.mdb", buf_slice(&bytes));
            put_file(fixture, "lock", slice_cstr("1\n")); /* as a kill leaves it */
            memcpy(at, old, PAGE);
            fixture_open(fixture);
            append(fixture, 3, 100);
            assert_true(seal(fixture));
            assert_int_equal(damage_of(fixture->spool), 0);
            fixture_close(fixture);
            asides += entries_of(fixture, "set-aside") > 0;
            remove_asides(fixture);
        }
    }
    assert_true(asides > 10);
    buf_free(&bytes);
    fixture_open(fixture);
}

/* A spool of a newer program or of another agent is no damage: it must stay where it is. */
static void what_is_refused_is_not_set_aside(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct spool *other = NULL;
    append_marked(fixture, 1);
    fixture_close(fixture);
    struct spool_options options = {.directory = fixture->directory, .agent_id = "b2"};
    assert_int_equal(spool_open(&other, &options, &err), ERROR_INPUT);
    assert_int_equal(entries_of(fixture, "set-aside"), 0);
    /* nor may a look from beside move anything */
    write_at(fixture, 0, 4096);
    options = (struct spool_options){.directory = fixture->directory, .read_only = true};
    assert_int_equal(spool_open(&other, &options, &err), ERROR_CORRUPT);
    assert_int_equal(entries_of(fixture, "set-aside"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(failed_sync_is_verified_at_the_next_start),
        SPOOL_TEST(closed_spools_are_not_read_through),
        SPOOL_TEST(unreadable_pages_are_a_damaged_block),
        SPOOL_TEST(unreadable_first_page_is_written_anew),
        SPOOL_TEST(bad_meta_page_sets_the_environment_aside),
        SPOOL_TEST(bad_stream_record_sets_the_environment_aside),
        SPOOL_TEST(no_damaged_page_ends_each_start),
        SPOOL_TEST(what_is_refused_is_not_set_aside),
    };
    return cmocka_run_group_tests_name("spool aside", tests, NULL, NULL);
}
