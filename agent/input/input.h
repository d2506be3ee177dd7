/* SPDX-License-Identifier: Apache-2.0
 *
 * input.h: lines of a file or a pipe, plain, gzip or zstd (by its first bytes).
 *
 * Memory   one line at most (bytes_max) plus 1 MiB.
 * Threads  one.
 */
#ifndef AGENT_INPUT_INPUT_H
#define AGENT_INPUT_INPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

struct input;

struct input_line {
    struct slice text; /* without its line end; until the next call */
    uint64_t number;   /* from 1 */
    uint64_t offset;   /* where it begins in the plain text */
    bool unterminated; /* the last one, without a line end: its writer may not be done */
    bool too_long;     /* longer than bytes_max: text is its beginning, the rest is not kept */
};

/* `path` "-" is standard input. */
int input_open(struct input **out, const char *path, size_t line_bytes_max,
               struct error *err) MUST_USE;
/* Of an open file, from its beginning: `fd` is taken over. zstd data that wants a window
 * of more than 2^zstd_window_log bytes is ERROR_INPUT. */
void input_open_descriptor(struct input **out, int fd, const char *name, size_t line_bytes_max,
                           int zstd_window_log);
void input_close(struct input *input);

/* Who the file is: its device, inode, size now and the CRC32C of its first KiB. */
struct input_identity {
    uint64_t device;
    uint64_t inode;
    uint64_t size;
    uint32_t head_len; /* bytes that head_crc32c is of: min(1024, size) */
    uint32_t head_crc32c;
};
/* *known false for a pipe, a terminal, standard input. A file that can't be looked at is an
 * error: taken for an unknown one, its events would be taken twice. */
int input_identity(const struct input *input, struct input_identity *out, bool *known,
                   struct error *err) MUST_USE;
/* CRC32C of the first `len` bytes (at most 1,024) as the file is now. */
int input_head_crc32c(const struct input *input, uint32_t len, uint32_t *out,
                      struct error *err) MUST_USE;

/* Goes to `offset` (of the plain text) and to line `number` behind it. ERROR_INPUT when
 * the file ends before. Only before the first line was read. */
int input_skip(struct input *input, uint64_t offset, uint64_t number, struct error *err) MUST_USE;

/* The next line; *more false at the end. A last line without a line end counts. Cut or
 * corrupt compression is ERROR_INPUT, after all whole lines before it were given.
 * ERROR_RETRY: a pipe was silent for a moment; what came before was given, call again. */
int input_next(struct input *input, struct input_line *out, bool *more, struct error *err) MUST_USE;

/* The plain text that comes next, in place of lines: up to `room` bytes; *n 0 at the end.
 * Errors as of input_next. */
int input_read(struct input *input, uint8_t *to, size_t room, size_t *n,
               struct error *err) MUST_USE;

/* Where the next line begins, in bytes of the plain text. */
uint64_t input_offset(const struct input *input);
uint64_t input_line_number(const struct input *input);
/* Bytes read from the file itself, for progress; of `size` where that is known. */
uint64_t input_bytes_read(const struct input *input);
/* CPU nanoseconds spent reading and expanding. */
int64_t input_cpu_ns(const struct input *input);

#endif
