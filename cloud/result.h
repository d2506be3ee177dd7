/* SPDX-License-Identifier: Apache-2.0
 *
 * result.h: a turn's report, told: log lines on stderr, one JSON object or a sentence on
 * stdout.
 */
#ifndef CLOUD_RESULT_H
#define CLOUD_RESULT_H

#include "cloud/commit.h"

/* A line a note, by its kind. */
void result_log_notes(const struct commit_report *report);
/* The line that each turn has, whatever it did. */
void result_log_turn(const struct commit_report *report, int64_t ms);
/* One line, flushed: who reads along has it at once. error: NULL, or why the turn failed. */
void result_print_json(const struct commit_report *report, const char *error, int64_t at_ms,
                       int64_t ms);
void result_print_text(const struct commit_report *report, const char *command);

#endif
