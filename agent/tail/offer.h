/* SPDX-License-Identifier: Apache-2.0
 *
 * offer.h: the lines of a reader's window, and the place behind them, to the intake; again when
 * they are refused; and what their answer makes of file and window. Shared by reader.c and offer.c.
 */
#ifndef AGENT_TAIL_OFFER_H
#define AGENT_TAIL_OFFER_H

#include "agent/tail/reader.h"

enum { RETRY_MIN_MS = 100, RETRY_MAX_MS = 1000 };

/* What of the window is behind the file's place. */
struct slice reader_lines(const struct reader *reader);
/* Whether there is anything to take. */
bool reader_has_lines(const struct reader *reader, bool last);
/* Keeps of the window what the place's edge needs. */
void reader_drop_taken(struct reader *reader);

/* Hands them in: the reader waits, or is to offer them again at retry_at_ms. */
void reader_offer(struct reader *reader, int64_t now_ms);
void reader_offer_again(struct reader *reader, int64_t now_ms);

/* The file whose place was to be taken over. */
void reader_let_original_go(struct reader *reader);

#endif
