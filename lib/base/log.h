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

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

/* Below this nothing is written; INFO at the start. */
void log_set_level(enum log_level level);

/* at and msg are literals; `fields` makes "key=value key=value" and may be "".
 * The caller puts quotes about a %s that may hold blanks; control characters
 * and line ends in the result are written as '?'. */
void log_event(enum log_level level, const char *at, const char *msg, const char *fields, ...)
    __attribute__((format(printf, 4, 5)));

#endif
