/* SPDX-License-Identifier: Apache-2.0
 *
 * A disk that is smaller than the budget. Its size is this file's to say: the spool's question
 * is answered here, by what data.mdb and sealed/ take of it.
 */
#include "tests/unit/spool_support.h"

#include <sys/stat.h>
#include <sys/statvfs.h>

enum { EVENT = 30000, DISK = 24 << 20, RESERVE = DISK / 8, UNIT = 4096 };

static struct fixture fixture;
static uint64_t disk_bytes;
static uint64_t other_bytes; /* what else lies on it */

/* Of a file in the spool; 0: it is not there. */
static uint64_t bytes_of(const char *name)
{
    struct stat info;
    char *path = memory_printf("%s/%s", fixture.directory, name);
    uint64_t bytes = stat(path, &info) == 0 ? (uint64_t)info.st_size : 0;
    free(path);
    return bytes;
}

static uint64_t file_bytes(void)
{
    return bytes_of("data.mdb");
}

static uint64_t free_bytes(void)
{
    uint64_t used = file_bytes() + bytes_of("sealed/x.parquet") + other_bytes;
    return used < disk_bytes ? disk_bytes - used : 0;
}

/* The C library's, for the program under test. */
int fstatvfs(int fd, struct statvfs *out)
{
    assert_true(fd >= 0);
    *out = (struct statvfs){.f_bsize = UNIT,
                            .f_frsize = UNIT,
                            .f_blocks = disk_bytes / UNIT,
                            .f_bfree = free_bytes() / UNIT,
                            .f_bavail = free_bytes() / UNIT};
    return 0;
}

static int setup(void **state)
{
    disk_bytes = DISK;
    other_bytes = 0;
    fixture_init(&fixture);
    fixture_open(&fixture);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fixture_free(&fixture);
    return 0;
}

static int try_append(struct error *err)
{
    uint64_t first = 0;
    return append_to(fixture.spool, fixture.stream, 1, 0, 1, EVENT, 1, &first, err);
}

static uint64_t fill(void)
{
    struct error err;
    uint64_t count = 0;
    int rc = try_append(&err);
    for (; rc == OK; count++)
        rc = try_append(&err);
    assert_int_equal(rc, ERROR_LIMIT);
    return count;
}

static struct spool_statistics statistics_of(void)
{
    struct spool_statistics statistics;
    spool_statistics(fixture.spool, &statistics);
    return statistics;
}

/* Takes all that it holds away, as a receipt does. */
static void drain(void)
{
    struct error err;
    struct arena arena = {0};
    seal(&fixture);
    announce(&fixture, fixture.stream);
    uint64_t end = stream_of(fixture.spool, fixture.stream, &arena).end;
    must(spool_trim(fixture.spool, fixture.stream, end, 1, &err), &err);
    arena_free(&arena);
}

/* With the file grown to the disk's end no segment can be built, so none delivered, so nothing
 * trimmed, ever again. */
static void the_reserve_stays_free(void **state)
{
    (void)state;
    for (int round = 0; round < 4; round++) {
        uint64_t count = fill();
        assert_true(count * EVENT > DISK / 2);
        assert_true(free_bytes() >= RESERVE);
        struct spool_statistics statistics = statistics_of();
        assert_true(statistics.bytes_usable <= DISK - 2 * RESERVE);
        assert_true(statistics.segment_bytes_max <= RESERVE);
        assert_true(statistics.bytes_used <= statistics.bytes_usable);
        drain();
    }
    assert_int_equal(damage_of(fixture.spool), 0);
}

/* What is built lies in the reserve: it takes nothing from the events. */
static void built_files_use_the_reserve(void **state)
{
    (void)state;
    struct error err;
    fill();
    uint64_t usable = statistics_of().bytes_usable;
    char *path = memory_printf("%s/x.parquet", spool_sealed_directory_borrow(fixture.spool));
    uint8_t *bytes = memory_alloc(RESERVE / 2, 1);
    must(file_replace(path, slice_of(bytes, RESERVE / 2), 0640, &err), &err);
    assert_in_range(statistics_of().bytes_usable, usable - UNIT, usable + UNIT);
    free(bytes);
    free(path);
}

/* drop_oldest on a disk that is full: nothing is refused, what goes is counted, and the file
 * stays as it is, since the newest go where the oldest were. */
static void the_oldest_make_room_in_the_file(void **state)
{
    (void)state;
    fixture_close(&fixture);
    fixture.drop_oldest = true;
    fixture_open(&fixture);
    for (int i = 0; i < 3000; i++)
        append(&fixture, 1, EVENT);
    assert_true(free_bytes() >= RESERVE / 2);
    struct spool_statistics statistics = statistics_of();
    assert_int_equal(statistics.refused_events, 0);
    uint64_t held = read_events(fixture.spool, fixture.stream, 0, UINT64_MAX, NULL);
    assert_int_equal(held + statistics.dropped_events, 3000);
    assert_true(held * EVENT > DISK / 2);
    assert_int_equal(damage_of(fixture.spool), 0);
}

/* Others fill the disk: it is refused, and goes on by itself when they leave it. A request that
 * is refused for that must not be called too large for ever. */
static void others_come_and_go(void **state)
{
    (void)state;
    struct error err;
    struct spool_room room;
    append(&fixture, 1, EVENT);
    other_bytes = disk_bytes - file_bytes();
    fill();
    assert_int_equal(try_append(&err), ERROR_LIMIT);
    spool_room(fixture.spool, &room);
    assert_true(room.most > DISK / 2);
    other_bytes = 0;
    assert_true(fill() * EVENT > DISK / 2);
}

/* They take all but what the file has: what is in it stays usable, since to drop it would give
 * nothing back to the disk. And what is to be built counts by the disk's part, not the budget's. */
static void others_take_nothing_of_the_file(void **state)
{
    (void)state;
    fill();
    struct spool_statistics before = statistics_of();
    uint64_t part = (file_bytes() + free_bytes()) / 8;
    assert_in_range(before.bytes_for_builds, part - UNIT, part + UNIT);
    assert_true(before.bytes_for_builds < before.bytes_reserve);
    other_bytes = disk_bytes - file_bytes();
    struct spool_statistics after = statistics_of();
    assert_true(after.bytes_usable >= file_bytes() - file_bytes() / 8);
    assert_true(after.bytes_usable > file_bytes() - 2 * (file_bytes() / 8));
    assert_true(after.bytes_usable <= file_bytes());
}

/* A disk with more than the budget changes nothing. */
static void a_large_disk_is_no_bound(void **state)
{
    (void)state;
    disk_bytes = (uint64_t)1 << 40;
    struct spool_statistics statistics = statistics_of();
    assert_int_equal(statistics.bytes_usable, statistics.bytes_max - statistics.bytes_reserve);
    assert_int_equal(statistics.segment_bytes_max, statistics.bytes_max / 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_reserve_stays_free, setup, teardown),
        cmocka_unit_test_setup_teardown(built_files_use_the_reserve, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_make_room_in_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(others_come_and_go, setup, teardown),
        cmocka_unit_test_setup_teardown(others_take_nothing_of_the_file, setup, teardown),
        cmocka_unit_test_setup_teardown(a_large_disk_is_no_bound, setup, teardown),
    };
    return cmocka_run_group_tests_name("spool room", tests, NULL, NULL);
}
