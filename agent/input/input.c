/* SPDX-License-Identifier: Apache-2.0
 *
 * A window of plain text: [at, len) is what no line was cut from yet. When it holds no
 * line end, the rest is moved to the front and more is read or expanded behind it. Of a
 * line that is too long only the beginning stays in the window, and its end is found
 * before it is given, so that the offset behind it is that of a line.
 */
#include "agent/input/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "lib/base/assert.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"

enum {
    READ_SIZE = 1 << 20,
    HEAD_SIZE = 1024,
    SILENCE_MS = 200,
    WINDOW_LOG_DEFAULT = 27, /* as the library has it */
};

enum coding { CODING_UNKNOWN, CODING_PLAIN, CODING_GZIP, CODING_ZSTD };

struct input {
    int fd;
    char *name;
    enum coding coding;
    size_t line_bytes_max;
    bool may_be_silent; /* a pipe or terminal: what reads it may wait for long */
    bool file_ended;
    bool member_open; /* within a gzip member or zstd frame */
    uint8_t *raw;     /* compressed bytes, READ_SIZE */
    size_t raw_at, raw_len;
    z_stream inflate;
    ZSTD_DCtx *zstd;
    int zstd_window_log;
    struct buf text;
    size_t at;
    size_t searched;  /* no line end in [at, searched) */
    uint64_t dropped; /* bytes of the line at `at`, behind text.len, that are not kept */
    uint64_t offset;  /* of text.data[at] in the plain text */
    uint64_t line_number;
    uint64_t bytes_read;
    int64_t cpu_ns;
    bool failed; /* what follows the window does not read: `failure` says why */
    struct error failure;
};

static struct input *make(int fd, const char *name, size_t line_bytes_max)
{
    struct stat info;
    struct input *input = memory_alloc(1, sizeof *input);
    input->fd = fd;
    input->may_be_silent = fstat(fd, &info) == 0 && !S_ISREG(info.st_mode);
    input->name = memory_copy_cstr(name);
    input->line_bytes_max = line_bytes_max;
    input->zstd_window_log = WINDOW_LOG_DEFAULT;
    input->raw = memory_alloc_raw(READ_SIZE, 1);
    posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    return input;
}

int input_open(struct input **out, const char *path, size_t line_bytes_max, struct error *err)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, path);
    struct stat info;
    if (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode)) {
        close(fd);
        return error_set(err, ERROR_INPUT, "%s: is a directory", path);
    }
    *out = make(fd, standard ? "standard input" : path, line_bytes_max);
    return OK;
}

void input_open_descriptor(struct input **out, int fd, const char *name, size_t line_bytes_max,
                           int zstd_window_log)
{
    *out = make(fd, name, line_bytes_max);
    (*out)->zstd_window_log = zstd_window_log;
}

void input_close(struct input *input)
{
    if (input == NULL)
        return;
    if (input->coding == CODING_GZIP)
        inflateEnd(&input->inflate);
    ZSTD_freeDCtx(input->zstd);
    close(input->fd);
    buf_free(&input->text);
    free(input->raw);
    free(input->name);
    free(input);
}

int input_head_crc32c(const struct input *input, uint32_t len, uint32_t *out, struct error *err)
{
    uint8_t head[HEAD_SIZE];
    ssize_t n = pread(input->fd, head, len < HEAD_SIZE ? len : HEAD_SIZE, 0);
    if (n < 0)
        return error_errno(err, input->name);
    *out = crc32c(0, slice_of(head, (size_t)n));
    return OK;
}

int input_identity(const struct input *input, struct input_identity *out, bool *known,
                   struct error *err)
{
    struct stat info;
    *known = false;
    if (strcmp(input->name, "standard input") == 0)
        return OK;
    if (fstat(input->fd, &info) < 0)
        return error_errno(err, input->name);
    if (!S_ISREG(info.st_mode))
        return OK;
    uint64_t size = (uint64_t)info.st_size;
    *out = (struct input_identity){.device = info.st_dev,
                                   .inode = info.st_ino,
                                   .size = size,
                                   .head_len = size < HEAD_SIZE ? (uint32_t)size : HEAD_SIZE};
    *known = true;
    return input_head_crc32c(input, out->head_len, &out->head_crc32c, err);
}

uint64_t input_offset(const struct input *input)
{
    return input->offset;
}

uint64_t input_line_number(const struct input *input)
{
    return input->line_number;
}

uint64_t input_bytes_read(const struct input *input)
{
    return input->bytes_read;
}

int64_t input_cpu_ns(const struct input *input)
{
    return input->cpu_ns;
}

/* ---- bytes ---- */

static int read_some(struct input *input, uint8_t *to, size_t room, size_t *n, struct error *err)
{
    struct pollfd ready = {.fd = input->fd, .events = POLLIN};
    for (;;) {
        if (input->may_be_silent && poll(&ready, 1, SILENCE_MS) <= 0)
            return error_set(err, ERROR_RETRY, "nothing came for %d ms", SILENCE_MS);
        ssize_t got = read(input->fd, to, room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, "read");
        *n = (size_t)got;
        input->bytes_read += (uint64_t)got;
        input->file_ended = got == 0;
        return OK;
    }
}

static int raw_fill(struct input *input, struct error *err)
{
    input->raw_at = 0;
    input->raw_len = 0;
    return read_some(input, input->raw, READ_SIZE, &input->raw_len, err);
}

/* The first bytes say what the file is; four at least, unless it is shorter. */
static int detect(struct input *input, struct error *err)
{
    int rc = OK;
    while (rc == OK && input->raw_len < 4 && !input->file_ended) {
        size_t n = 0;
        rc = read_some(input, input->raw + input->raw_len, READ_SIZE - input->raw_len, &n, err);
        input->raw_len += n;
    }
    if (rc != OK)
        return rc;
    input->coding = CODING_PLAIN;
    if (input->raw_len >= 2 && memcmp(input->raw, "\x1f\x8b", 2) == 0) {
        input->coding = CODING_GZIP;
        int status = inflateInit2(&input->inflate, 15 + 16);
        ASSERT(status == Z_OK);
    } else if (input->raw_len >= 4 && memcmp(input->raw, "\x28\xb5\x2f\xfd", 4) == 0) {
        input->coding = CODING_ZSTD;
        input->zstd = ZSTD_createDCtx();
        ASSERT(input->zstd != NULL);
        size_t set =
            ZSTD_DCtx_setParameter(input->zstd, ZSTD_d_windowLogMax, input->zstd_window_log);
        ASSERT(!ZSTD_isError(set));
    }
    return OK;
}

static int expand_gzip(struct input *input, uint8_t *to, size_t room, size_t *n, struct error *err)
{
    if (!input->member_open) {
        int status = inflateReset(&input->inflate);
        ASSERT(status == Z_OK);
    }
    input->member_open = true;
    input->inflate.next_in = input->raw + input->raw_at;
    input->inflate.avail_in = (uInt)(input->raw_len - input->raw_at);
    input->inflate.next_out = to;
    input->inflate.avail_out = (uInt)room;
    int status = inflate(&input->inflate, Z_NO_FLUSH);
    input->raw_at = input->raw_len - input->inflate.avail_in;
    *n = room - input->inflate.avail_out;
    if (status == Z_STREAM_END)
        input->member_open = false;
    else if (status != Z_OK && status != Z_BUF_ERROR)
        return error_set(err, ERROR_INPUT, "gzip data is corrupt near byte %llu: %s",
                         (unsigned long long)(input->bytes_read - input->inflate.avail_in),
                         input->inflate.msg != NULL ? input->inflate.msg : "bad data");
    return OK;
}

static int expand_zstd(struct input *input, uint8_t *to, size_t room, size_t *n, struct error *err)
{
    ZSTD_inBuffer in = {.src = input->raw, .size = input->raw_len, .pos = input->raw_at};
    ZSTD_outBuffer out = {.dst = to, .size = room, .pos = 0};
    size_t left = ZSTD_decompressStream(input->zstd, &out, &in);
    input->raw_at = in.pos;
    *n = out.pos;
    if (ZSTD_isError(left))
        return error_set(err, ERROR_INPUT, "zstd data is corrupt near byte %llu: %s",
                         (unsigned long long)(input->bytes_read - (in.size - in.pos)),
                         ZSTD_getErrorName(left));
    input->member_open = left != 0;
    return OK;
}

/* Expands until something came out, or the file is at its end. */
static int expand(struct input *input, uint8_t *to, size_t room, size_t *n, struct error *err)
{
    *n = 0;
    while (*n == 0) {
        if (input->raw_at == input->raw_len) {
            int rc = input->file_ended ? OK : raw_fill(input, err);
            if (rc != OK)
                return rc;
            if (input->file_ended && input->member_open)
                return error_set(err, ERROR_INPUT, "compressed data is cut short after %llu bytes",
                                 (unsigned long long)input->bytes_read);
            if (input->file_ended)
                return OK;
        }
        int rc = input->coding == CODING_GZIP ? expand_gzip(input, to, room, n, err)
                                              : expand_zstd(input, to, room, n, err);
        if (rc != OK)
            return rc;
    }
    return OK;
}

/* Appends to the window; *n 0 at the end of the file. */
static int fill(struct input *input, size_t *n, struct error *err)
{
    int64_t start_ns = clock_thread_cpu_ns();
    int rc = OK;
    *n = 0;
    if (input->failed) {
        *err = input->failure;
        return (int)err->code;
    }
    if (input->coding == CODING_UNKNOWN)
        rc = detect(input, err);
    if (input->at > 0) {
        memmove(input->text.data, input->text.data + input->at, input->text.len - input->at);
        input->text.len -= input->at;
        input->searched -= input->at;
        input->at = 0;
    }
    bool room = buf_reserve(&input->text, READ_SIZE);
    ASSERT(room);
    uint8_t *to = input->text.data + input->text.len;
    if (rc == OK && input->coding != CODING_PLAIN) {
        rc = expand(input, to, READ_SIZE, n, err);
    } else if (rc == OK && input->raw_at < input->raw_len) {
        *n = input->raw_len - input->raw_at;
        memcpy(to, input->raw + input->raw_at, *n);
        input->raw_at = input->raw_len;
    } else if (rc == OK && !input->file_ended) {
        rc = read_some(input, to, READ_SIZE, n, err);
    }
    input->text.len += *n;
    input->cpu_ns += clock_thread_cpu_ns() - start_ns;
    if (rc == OK)
        return OK;
    error_wrap(err, "%s", input->name);
    if (*n == 0)
        return rc;
    input->failed = true; /* the lines that came out before it are given first */
    input->failure = *err;
    return OK;
}

/* ---- lines ---- */

static void advance(struct input *input, size_t bytes)
{
    input->at += bytes;
    input->offset += bytes;
    if (input->searched < input->at)
        input->searched = input->at;
}

/* Cuts the line [at, end) off; `line_end` says whether a line end stands behind it. */
static void cut_line(struct input *input, size_t end, bool line_end, struct input_line *out)
{
    size_t len = end - input->at;
    bool too_long = input->dropped > 0 || len > input->line_bytes_max;
    *out = (struct input_line){
        .text = slice_of(input->text.data + input->at, too_long ? input->line_bytes_max : len),
        .number = ++input->line_number,
        .offset = input->offset,
        .unterminated = !line_end,
        .too_long = too_long};
    advance(input, len + (line_end ? 1 : 0));
    input->offset += input->dropped;
    input->dropped = 0;
}

/* Keeps the window small while the end of a line that is too long is looked for. */
static void drop_excess(struct input *input)
{
    size_t len = input->text.len - input->at;
    if (len > input->line_bytes_max) {
        input->dropped += len - input->line_bytes_max;
        input->text.len = input->at + input->line_bytes_max;
    }
    input->searched = input->text.len;
}

int input_next(struct input *input, struct input_line *out, bool *more, struct error *err)
{
    *more = false;
    for (;;) {
        size_t len = input->text.len - input->searched;
        const uint8_t *found =
            len > 0 ? memchr(input->text.data + input->searched, '\n', len) : NULL;
        if (found != NULL) {
            *more = true;
            cut_line(input, (size_t)(found - input->text.data), true, out);
            return OK;
        }
        drop_excess(input);
        size_t n = 0;
        int rc = fill(input, &n, err);
        if (rc != OK)
            return rc;
        if (n > 0)
            continue;
        if (input->at < input->text.len) {
            *more = true;
            cut_line(input, input->text.len, false, out);
        }
        return OK;
    }
}

int input_skip(struct input *input, uint64_t offset, uint64_t number, struct error *err)
{
    ASSERT(input->offset == 0 && input->at == 0);
    input->line_number = number;
    int rc = detect(input, err);
    if (rc == OK && input->coding == CODING_PLAIN) {
        if (lseek(input->fd, (off_t)offset, SEEK_SET) < 0)
            return error_errno(err, input->name);
        input->raw_at = input->raw_len = 0;
        input->file_ended = false;
        input->offset = offset;
        return OK;
    }
    while (rc == OK && input->offset < offset) {
        size_t n = 0;
        rc = fill(input, &n, err);
        if (rc == OK && n == 0)
            return error_set(err, ERROR_INPUT, "%s: ends at %llu, was read up to %llu before",
                             input->name, (unsigned long long)input->offset,
                             (unsigned long long)offset);
        uint64_t left = offset - input->offset;
        size_t have = input->text.len - input->at;
        advance(input, left < have ? (size_t)left : have);
    }
    return rc;
}

int input_read(struct input *input, uint8_t *to, size_t room, size_t *n, struct error *err)
{
    *n = 0;
    if (input->at == input->text.len) {
        size_t more = 0;
        int rc = fill(input, &more, err);
        if (rc != OK || more == 0)
            return rc;
    }
    size_t have = input->text.len - input->at;
    *n = have < room ? have : room;
    memcpy(to, input->text.data + input->at, *n);
    advance(input, *n);
    return OK;
}
