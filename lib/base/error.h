/* SPDX-License-Identifier: Apache-2.0
 *
 * error.h: the code says what to do, the text says what happened.
 *
 * Every function that can fail returns int: OK (0) or an enum error_code. One
 * that an operator will hear of takes a struct error *err, last, never NULL.
 * The size is fixed so that an error can be reported when memory is gone.
 * A failure is returned or logged, never both.
 */
#ifndef LIB_BASE_ERROR_H
#define LIB_BASE_ERROR_H

#include <stdint.h>

enum error_code {
    OK = 0,
    ERROR_RETRY,    /* the same call may succeed later: timeout, 5xx, throttled */
    ERROR_LIMIT,    /* a configured bound was met: queue, event size, disk budget */
    ERROR_INPUT,    /* the caller's data is unacceptable; dropping it is right */
    ERROR_CORRUPT,  /* what we wrote ourselves does not read back */
    ERROR_DENIED,   /* credentials or permissions; a person must act */
    ERROR_CONFLICT, /* somebody else won the race; re-read, then decide */
    ERROR_IO,       /* the machine failed us: disk, descriptor, memory map */
};

struct error {
    enum error_code code;
    int cause;      /* errno, HTTP status or a library's code; 0: none */
    char text[400]; /* "segment 17: rename: No space left on device" */
    /* Of ERROR_RETRY: not sooner than after this, said who was asked (Retry-After); 0: nothing
     * was said. The loop that decides obeys it. */
    int64_t retry_after_ms;
};

#define MUST_USE __attribute__((warn_unused_result))

/* Sets code and text, returns the code. cause and retry_after_ms become 0. */
int error_set(struct error *err, enum error_code code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "what: strerror(errno)"; the code is chosen from errno, the cause is errno. */
int error_errno(struct error *err, const char *what);

/* Puts "context: " in front of the text, of which the middle goes if need be; returns the code that
 * err holds. */
int error_wrap(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "retry", "limit", ...: for logs and metrics. */
const char *error_code_name(enum error_code code);

#endif
