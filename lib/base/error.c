/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "level=fatal at=%s:%d msg=\"assertion failed: %s\"\n", file, line, condition);
    abort();
}

int error_set(struct error *err, enum error_code code, const char *format, ...)
{
    ASSERT(err != NULL && code != OK);
    va_list args;
    err->code = code;
    err->cause = 0;
    err->retry_after_ms = 0;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    return (int)code;
}

static enum error_code code_from_errno(int cause)
{
    switch (cause) {
    case EAGAIN:
    case EINTR:
    case ETIMEDOUT:
    case EBUSY:
        return ERROR_RETRY;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERROR_LIMIT;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERROR_DENIED;
    case EEXIST:
        return ERROR_CONFLICT;
    default:
        return ERROR_IO;
    }
}

int error_errno(struct error *err, const char *what)
{
    int cause = errno;
    error_set(err, code_from_errno(cause), "%s: %s", what, strerror(cause));
    err->cause = cause;
    return (int)err->code;
}

/* ": " and the text. Where it is too long its middle goes: what was being done stands at its
 * beginning, what went wrong at its end. */
static void put_shortened(char *out, size_t size, const char *text)
{
    static const char gap[] = " ... ";
    size_t len = strlen(text);
    size_t room = size > 2 + sizeof gap ? size - 2 - sizeof gap : 0;
    if (len + 3 <= size || room == 0) {
        snprintf(out, size, ": %s", text);
        return;
    }
    size_t head = room / 3;
    size_t tail = len - (room - head);
    while (head > 0 && ((unsigned char)text[head] & 0xc0) == 0x80)
        head--; /* whole characters */
    while (((unsigned char)text[tail] & 0xc0) == 0x80)
        tail++;
    snprintf(out, size, ": %.*s%s%s", (int)head, text, gap, text + tail);
}

int error_wrap(struct error *err, const char *format, ...)
{
    ASSERT(err != NULL && err->code != OK);
    char inner[sizeof err->text];
    memcpy(inner, err->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof err->text)
        put_shortened(err->text + n, sizeof err->text - (size_t)n, inner);
    return (int)err->code;
}

const char *error_code_name(enum error_code code)
{
    static const char *const names[] = {"ok",      "retry",  "limit",    "input",
                                        "corrupt", "denied", "conflict", "io"};
    ASSERT((unsigned)code < sizeof names / sizeof names[0]);
    return names[code];
}
