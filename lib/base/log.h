/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: one logfmt line on stderr for each decision a loop takes.
 *
 *   time=2026-01-01T00:00:00.000Z level=warn at=uploader msg="put failed" segment=17
 *
 * Any thread. A message that repeats more than ten times in ten seconds is held
 * back and counted; the count comes with the next one that is let through.
 * Never an event's content: it holds people's identifiers.
 */
#ifndef LIB_BASE_LOG_H
#define LIB_BASE_LOG_H

#include <stddef.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Below this nothing is written; INFO at the start. */
void log_set_level(enum log_level level);

/* at, msg and fields are literals; `fields` is "key=%s key=\"%s\" key=%d" and may be "". What
 * a value holds stays within it, whoever wrote it: one in quotes, and any that holds more than
 * plain characters, comes in quotes, with \" \\ \n \r \t, \u001b for other control
 * characters and U+FFFD for what is no UTF-8; JSON reads it. Conversions are %s %d %u, with
 * .N or .*, l, ll or z. */
void log_event(enum log_level level, const char *at, const char *msg, const char *fields, ...)
    __attribute__((format(printf, 4, 5)));

/* The latest warnings and errors, for those who look at a running process: one entry a
 * message, with the fields it had last and how often it came, also when it was held back. */
enum { LOG_TROUBLES_MAX = 16 };
struct log_trouble {
    enum log_level level;
    const char *at; /* literals, as given */
    const char *msg;
    char fields[400]; /* printable ASCII; cut */
    uint64_t count;   /* since the start, or since it was displaced by younger ones */
    int64_t last_ms;  /* monotonic */
    uint64_t order;   /* greater is later */
};
/* Their number, the latest first. */
size_t log_troubles(struct log_trouble out[LOG_TROUBLES_MAX]);

#endif
