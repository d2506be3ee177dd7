/* SPDX-License-Identifier: Apache-2.0
 *
 * Lines of a file, against a split of the whole text. The first byte says what is made of
 * the rest: a file as it stands (plain, or damaged gzip and zstd), or gzip or zstd of it,
 * in one member or two, whole or cut at the end, or of so many of it that the windows of
 * 1 MiB are passed; the second is the longest line. What was read can be gone on with from
 * a line's offset, as a run after a crash does.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "agent/input/input.h"
#include "lib/base/assert.h"
#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "tests/unit/packed.h"

enum { LARGE = 1200 << 10 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct input *open_bytes(struct slice bytes, size_t line_max)
{
    char path[32];
    struct error err;
    struct input *input = NULL;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    ASSERT(fd >= 0);
    int rc = file_write_all(fd, bytes, &err);
    ASSERT(rc == OK);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    rc = input_open(&input, path, line_max, &err);
    ASSERT(rc == OK);
    close(fd);
    return input;
}

struct lines {
    size_t count;
    size_t kept; /* bytes of text */
    uint64_t end;
    int rc;
};

/* Reads all, each line into `out` as one with its number, offset and marks. */
static struct lines read_lines(struct input *input, struct buf *out)
{
    struct lines lines = {0};
    struct input_line line;
    struct error err;
    bool more = true;
    for (;;) {
        uint64_t offset = input_offset(input);
        lines.rc = input_next(input, &line, &more, &err);
        ASSERT(lines.rc == OK || lines.rc == ERROR_INPUT);
        if (lines.rc != OK || !more)
            break;
        ASSERT(line.offset == offset && line.number == input_line_number(input));
        ASSERT(memchr(line.text.data, '\n', line.text.len) == NULL);
        buf_put_u64le(out, line.number);
        buf_put_u64le(out, line.offset);
        buf_put_u8(out, (uint8_t)(line.unterminated | line.too_long << 1));
        buf_put_u64le(out, line.text.len);
        buf_put_slice(out, line.text);
        lines.count++;
        lines.kept += line.text.len;
    }
    lines.end = input_offset(input);
    return lines;
}

/* The same from the whole text. */
static size_t split_lines(struct slice text, size_t line_max, struct buf *out)
{
    size_t count = 0;
    for (size_t at = 0; at < text.len;) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t len = end != NULL ? (size_t)(end - text.data) - at : text.len - at;
        size_t kept = len > line_max ? line_max : len;
        buf_put_u64le(out, ++count);
        buf_put_u64le(out, at);
        buf_put_u8(out, (uint8_t)((end == NULL) | (len > line_max) << 1));
        buf_put_u64le(out, kept);
        buf_put(out, text.data + at, kept);
        at += len + (end != NULL);
    }
    return count;
}

static bool begins_with(struct slice whole, struct slice part)
{
    return part.len <= whole.len && (part.len == 0 || memcmp(whole.data, part.data, part.len) == 0);
}

/* From the middle line on the same lines come. */
static void check_skip(struct slice file, size_t line_max, struct slice all, size_t count)
{
    size_t at = 0;
    for (size_t i = 0; i < count / 2; i++)
        at += 25 + (size_t)get_u64le(all.data + at + 17);
    if (at == all.len)
        return;
    struct buf rest = {0};
    struct error err;
    struct input *input = open_bytes(file, line_max);
    int rc = input_skip(input, get_u64le(all.data + at + 8), get_u64le(all.data + at) - 1, &err);
    ASSERT(rc == OK);
    read_lines(input, &rest);
    ASSERT(slice_equal(buf_slice(&rest), slice_of(all.data + at, all.len - at)));
    input_close(input);
    buf_free(&rest);
}

static void check_beyond(struct slice file, size_t line_max, uint64_t end)
{
    struct error err;
    struct input *input = open_bytes(file, line_max);
    struct buf rest = {0};
    int rc = input_skip(input, end + 1, 1, &err);
    if (rc == OK) {
        struct lines lines = read_lines(input, &rest);
        ASSERT(lines.count == 0);
    }
    input_close(input);
    buf_free(&rest);
}

static void make_file(uint8_t kind, struct slice text, struct buf *out)
{
    struct slice half = slice_of(text.data, kind & 2 ? text.len / 2 : 0);
    struct slice other = slice_of(text.data + half.len, text.len - half.len);
    if (kind < 4) {
        buf_put_slice(out, text);
        return;
    }
    for (int i = half.len > 0 ? 0 : 1; i < 2; i++)
        (kind & 1 ? put_zstd : put_gzip)(i == 0 ? half : other, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf all = {0};
    struct buf file = {0};
    struct buf wanted = {0};
    struct buf got = {0};
    if (size < 3)
        return 0;
    uint8_t kind = data[0] % 8;
    size_t line_max = (size_t)data[1] + 1;
    do
        buf_put(&all, data + 2, size - 2);
    while (data[0] >= 0xf0 && all.len < LARGE);
    struct slice text = buf_slice(&all);
    make_file(kind, text, &file);
    bool whole = kind >= 4 && (data[0] & 8) == 0;
    if (!whole && kind >= 4)
        file.len -= file.len / 8;
    struct input *input = open_bytes(buf_slice(&file), line_max);
    struct lines lines = read_lines(input, &got);
    input_close(input);
    bool plain = kind < 4 && !begins_with(text, slice_of("\x1f\x8b", 2)) &&
                 !begins_with(text, slice_of("\x28\xb5\x2f\xfd", 4));
    split_lines(text, line_max, &wanted);
    if (plain || whole)
        ASSERT(lines.rc == OK && lines.end == text.len &&
               slice_equal(buf_slice(&got), buf_slice(&wanted)));
    if (lines.rc == OK) {
        check_skip(buf_slice(&file), line_max, buf_slice(&got), lines.count);
        check_beyond(buf_slice(&file), line_max, lines.end);
    }
    buf_free(&all);
    buf_free(&file);
    buf_free(&wanted);
    buf_free(&got);
    return 0;
}
