/* SPDX-License-Identifier: Apache-2.0
 *
 * A command line and the configuration that it names, of a fuzzer's bytes: up to the first
 * NUL an argument a line, behind it the file.
 */
#ifndef TESTS_FUZZ_COMMAND_LINE_H
#define TESTS_FUZZ_COMMAND_LINE_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/file.h"

struct command_line {
    int argc;
    char **argv;
    int fd; /* of the file */
    struct arena arena;
};

static inline void command_line_make(struct command_line *out, struct slice bytes)
{
    struct error err;
    *out = (struct command_line){.fd = memfd_create("fuzz", MFD_CLOEXEC)};
    ASSERT(out->fd >= 0);
    const uint8_t *nul = bytes.len > 0 ? memchr(bytes.data, 0, bytes.len) : NULL;
    size_t flags_len = nul != NULL ? (size_t)(nul - bytes.data) : 0;
    size_t file_at = nul != NULL ? flags_len + 1 : 0;
    int rc = file_write_all(out->fd, slice_of(bytes.data + file_at, bytes.len - file_at), &err);
    ASSERT(rc == OK);
    char *flags = arena_copy_cstr(&out->arena, slice_of(bytes.data, flags_len));
    out->argv = arena_alloc(&out->arena, flags_len + 8, sizeof *out->argv);
    out->argv[out->argc++] = arena_printf(&out->arena, "program");
    out->argv[out->argc++] = arena_printf(&out->arena, "command");
    out->argv[out->argc++] = arena_printf(&out->arena, "--config=/proc/self/fd/%d", out->fd);
    while (*flags != 0) {
        size_t len = strcspn(flags, "\n");
        char *end = flags + len + (flags[len] != 0);
        flags[len] = 0;
        /* No other file than ours is to be opened. */
        if (strncmp(flags, "--config", 8) != 0)
            out->argv[out->argc++] = flags;
        flags = end;
    }
    out->argv[out->argc] = NULL;
}

static inline void command_line_free(struct command_line *line)
{
    close(line->fd);
    arena_free(&line->arena);
}

#endif
