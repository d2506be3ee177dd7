/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/tail/hole.h"

enum { PIECE = 1 << 16 };

struct found {
    enum hole what;
    uint64_t at;
    unsigned steps;
};

static struct found find(FILE *file)
{
    static uint8_t piece[PIECE];
    struct found found = {.what = HOLE_GOES_ON};
    while (found.what == HOLE_GOES_ON) {
        found.what = hole_step(fileno(file), &found.at, piece, sizeof piece);
        found.steps++;
        assert_true(found.steps < 1000);
    }
    return found;
}

static void write_at(FILE *file, uint64_t at, const void *bytes, size_t len)
{
    assert_int_equal(pwrite(fileno(file), bytes, len, (off_t)at), (ssize_t)len);
}

static void nuls_are_counted(void **state)
{
    (void)state;
    uint8_t bytes[40] = {0};
    assert_int_equal(hole_run(slice_of(NULL, 0)), 0);
    assert_int_equal(hole_run(slice_of(bytes, 1)), 1);
    assert_int_equal(hole_run(slice_of(bytes, sizeof bytes)), sizeof bytes);
    for (size_t i = 0; i < sizeof bytes; i++) {
        memset(bytes, 0, sizeof bytes);
        bytes[i] = '{';
        assert_int_equal(hole_run(slice_of(bytes, sizeof bytes)), i);
    }
}

/* A log that is truncated every day begins with a hole of all that it ever was. */
static void a_hole_of_terabytes_is_passed_over(void **state)
{
    (void)state;
    FILE *file = tmpfile();
    uint64_t hole = (UINT64_C(1) << 42) + 12345;
    assert_non_null(file);
    if (ftruncate(fileno(file), (off_t)hole) != 0) /* not on every file system */
        hole = (UINT64_C(1) << 32) + 12345;
    write_at(file, hole, "{}\n", 3);
    struct found found = find(file);
    assert_int_equal(found.what, HOLE_ENDS);
    assert_int_equal(found.at, hole);
    assert_true(found.steps < 100);
    fclose(file);
}

/* What a copy has of it stands on the disk. */
static void nuls_that_were_written_are_read(void **state)
{
    (void)state;
    static const uint8_t nuls[PIECE];
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(find(file).what, HOLE_OPEN);
    for (unsigned i = 0; i < 5; i++)
        write_at(file, (uint64_t)i * PIECE, nuls, sizeof nuls);
    struct found found = find(file);
    assert_int_equal(found.what, HOLE_OPEN);
    write_at(file, 5 * PIECE, nuls, 7);
    write_at(file, 5 * PIECE + 7, "{}\n", 3);
    found = find(file);
    assert_int_equal(found.what, HOLE_ENDS);
    assert_int_equal(found.at, 5 * PIECE + 7);
    assert_int_equal(ftruncate(fileno(file), 5 * PIECE), 0); /* under the one who looks */
    assert_int_equal(hole_step(fileno(file), &found.at, (uint8_t[8]){0}, 8), HOLE_OPEN);
    fclose(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nuls_are_counted),
                                       cmocka_unit_test(a_hole_of_terabytes_is_passed_over),
                                       cmocka_unit_test(nuls_that_were_written_are_read)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
