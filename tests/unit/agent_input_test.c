/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#include "agent/input/input.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"

static char path[64];

static void write_file(const void *data, size_t len)
{
    struct error err;
    snprintf(path, sizeof path, "/tmp/bidlake-input-%d", (int)getpid());
    assert_int_equal(file_replace(path, slice_of(data, len), 0600, &err), OK);
}

static struct input *open_text(const char *text)
{
    struct error err;
    struct input *input = NULL;
    write_file(text, strlen(text));
    assert_int_equal(input_open(&input, path, 16, &err), OK);
    return input;
}

static void expect_line(struct input *input, const char *text, uint64_t number)
{
    struct error err;
    struct input_line line;
    bool more = false;
    assert_int_equal(input_next(input, &line, &more, &err), OK);
    assert_true(more);
    assert_true(slice_is(line.text, text));
    assert_int_equal(line.number, number);
}

static void expect_end(struct input *input)
{
    struct error err;
    struct input_line line;
    bool more = true;
    assert_int_equal(input_next(input, &line, &more, &err), OK);
    assert_false(more);
}

/* The last line of a file that was cut off by its writer is an event as well. */
static void last_line_needs_no_line_end(void **state)
{
    (void)state;
    struct input *input = open_text("one\n\ntwo");
    expect_line(input, "one", 1);
    expect_line(input, "", 2);
    expect_line(input, "two", 3);
    assert_int_equal(input_offset(input), 8);
    expect_end(input);
    input_close(input);
}

/* One absurd line must neither fill memory nor hide the lines behind it. */
static void long_line_is_cut_and_skipped(void **state)
{
    (void)state;
    struct error err;
    struct input_line line;
    bool more = false;
    struct input *input = open_text("12345678901234567890123\nok\n");
    assert_int_equal(input_next(input, &line, &more, &err), OK);
    assert_true(more && line.too_long);
    assert_int_equal(line.text.len, 16);
    expect_line(input, "ok", 2);
    expect_end(input);
    input_close(input);
}

/* A run that is stopped behind a long line must not take the line's rest for a line of
 * its own: that could be an event that nobody sent. */
static void offset_behind_a_long_line_is_that_of_a_line(void **state)
{
    (void)state;
    enum { LONG = 3 << 20 };
    struct error err;
    struct input_line line;
    struct input *input = NULL;
    bool more = false;
    char *text = malloc(LONG + 4);
    assert_non_null(text);
    memset(text, ' ', LONG);
    memcpy(text + LONG, "\nok\n", 4);
    write_file(text, LONG + 4);
    free(text);
    assert_int_equal(input_open(&input, path, 16, &err), OK);
    assert_int_equal(input_next(input, &line, &more, &err), OK);
    assert_true(more && line.too_long);
    assert_int_equal(line.text.len, 16);
    assert_int_equal(input_offset(input), LONG + 1);
    expect_line(input, "ok", 2);
    expect_end(input);
    input_close(input);
}

/* An ingest from a pipe that nobody writes to must hear a signal, and make durable what
 * came before; and a line that came in two parts is one. */
static void silent_pipe_gives_way(void **state)
{
    (void)state;
    struct error err;
    struct input_line line;
    struct input *input = NULL;
    bool more = false;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    assert_int_equal(input_open(&input, path, 16, &err), OK);
    assert_int_equal(input_next(input, &line, &more, &err), ERROR_RETRY);
    assert_int_equal(write(ends[1], "one\nt", 5), 5);
    expect_line(input, "one", 1);
    assert_int_equal(input_next(input, &line, &more, &err), ERROR_RETRY);
    assert_int_equal(input_offset(input), 4);
    assert_int_equal(write(ends[1], "wo", 2), 2);
    close(ends[1]);
    expect_line(input, "two", 2);
    expect_end(input);
    input_close(input);
    close(ends[0]);
}

/* A run after a crash must go on at the first line that is not durable. */
static void skip_goes_on_where_it_ended(void **state)
{
    (void)state;
    struct error err;
    struct input *input = open_text("one\ntwo\nthree\n");
    assert_int_equal(input_skip(input, 4, 1, &err), OK);
    expect_line(input, "two", 2);
    assert_int_equal(input_offset(input), 8);
    input_close(input);
}

static size_t gzip(const char *text, uint8_t *out, size_t room)
{
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)strlen(text);
    stream.next_out = out;
    stream.avail_out = (uInt)room;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    return room - stream.avail_out;
}

/* Two members one after the other are one text (log rotation by cat). */
static void gzip_members_are_one_text(void **state)
{
    (void)state;
    struct error err;
    uint8_t bytes[512];
    size_t len = gzip("one\ntw", bytes, 256);
    len += gzip("o\nthree\n", bytes + len, 256);
    write_file(bytes, len);
    struct input *input = NULL;
    assert_int_equal(input_open(&input, path, 16, &err), OK);
    assert_int_equal(input_skip(input, 4, 1, &err), OK);
    expect_line(input, "two", 2);
    expect_line(input, "three", 3);
    expect_end(input);
    input_close(input);
}

/* What came before the cut is kept, the cut is named, and nothing is made up. */
static void cut_gzip_gives_whole_lines_then_an_error(void **state)
{
    (void)state;
    struct error err;
    uint8_t bytes[512];
    struct input_line line;
    bool more = false;
    size_t len = gzip("one\ntwo\nthree and more\n", bytes, sizeof bytes);
    write_file(bytes, len - 9);
    struct input *input = NULL;
    assert_int_equal(input_open(&input, path, 16, &err), OK);
    int rc = OK;
    uint64_t lines = 0;
    while (rc == OK) {
        rc = input_next(input, &line, &more, &err);
        assert_true(rc != OK || more);
        lines += rc == OK;
    }
    assert_int_equal(rc, ERROR_INPUT);
    assert_non_null(strstr(err.text, "cut short"));
    assert_true(lines <= 3);
    input_close(input);
}

static void zstd_is_known_by_its_first_bytes(void **state)
{
    (void)state;
    struct error err;
    uint8_t bytes[512];
    size_t len = ZSTD_compress(bytes, sizeof bytes, "one\ntwo\n", 8, 1);
    write_file(bytes, len);
    struct input *input = NULL;
    assert_int_equal(input_open(&input, path, 16, &err), OK);
    expect_line(input, "one", 1);
    expect_line(input, "two", 2);
    expect_end(input);
    input_close(input);
}

/* A long-distance window is 128 MiB of memory, which a bidder's machine may not have. */
static void zstd_window_is_bounded(void **state)
{
    (void)state;
    struct error err;
    enum { LEN = 9 << 20 };
    char *text = malloc(LEN);
    size_t room = ZSTD_compressBound(LEN);
    uint8_t *bytes = malloc(room);
    for (size_t i = 0; i < LEN; i++)
        text[i] = (char)('a' + i * i % 23);
    ZSTD_CCtx *zstd = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_windowLog, 24);
    ZSTD_CCtx_setParameter(zstd, ZSTD_c_contentSizeFlag, 0);
    size_t len = ZSTD_compress2(zstd, bytes, room, text, LEN);
    ZSTD_freeCCtx(zstd);
    write_file(bytes, len);
    for (int log = 23; log <= 24; log++) {
        struct input *input = NULL;
        size_t n = 0;
        size_t sum = 0;
        int rc = OK;
        input_open_descriptor(&input, open(path, O_RDONLY), path, 16, log);
        do {
            rc = input_read(input, (uint8_t *)text, 100000, &n, &err);
            sum += n;
        } while (rc == OK && n > 0);
        assert_int_equal(rc, log == 23 ? ERROR_INPUT : OK);
        assert_int_equal(sum, log == 23 ? 0 : LEN);
        input_close(input);
    }
    free(bytes);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(last_line_needs_no_line_end),
        cmocka_unit_test(long_line_is_cut_and_skipped),
        cmocka_unit_test(offset_behind_a_long_line_is_that_of_a_line),
        cmocka_unit_test(silent_pipe_gives_way),
        cmocka_unit_test(skip_goes_on_where_it_ended),
        cmocka_unit_test(gzip_members_are_one_text),
        cmocka_unit_test(cut_gzip_gives_whole_lines_then_an_error),
        cmocka_unit_test(zstd_is_known_by_its_first_bytes),
        cmocka_unit_test(zstd_window_is_bounded),
    };
    int failed = cmocka_run_group_tests_name("agent/input", tests, NULL, NULL);
    unlink(path);
    return failed;
}
