/* SPDX-License-Identifier: Apache-2.0
 *
 * history.h: the last quarter of an hour in samples, so that who opens the page sees what led
 * to now. Private to agent/.
 *
 * Memory   HISTORY_SAMPLES of 160 bytes.
 * Threads  one notes; any writes.
 */
#ifndef AGENT_HISTORY_H
#define AGENT_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/view.h"
#include "lib/base/buf.h"

struct history;

enum { HISTORY_SAMPLES = 180, HISTORY_EVERY_MS = 5000 };

struct history *history_open(void);
void history_close(struct history *history);

/* Whether a sample is due at this monotonic time. */
bool history_is_due(const struct history *history, int64_t now_ms);
/* What is seen at that time. */
void history_note(struct history *history, const struct agent_view *view, int64_t now_ms);
/* JSON; agent/OPERATIONS.md has its members. */
void history_write(struct history *history, int64_t now_ms, struct buf *out);

#endif
