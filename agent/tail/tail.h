/* SPDX-License-Identifier: Apache-2.0
 *
 * tail.h: doors for lines that lie somewhere already: files that grow, and what a pipe
 * brings to standard input.
 * What is no event becomes a row in dead_letters. When the agent can't take more, they read
 * no more, and go on by themselves.
 *
 * source_tail   The files of a pattern (glob(7), and {a,b}), which is looked at again and
 *               again. How far each was taken is in the spool, in the transaction of its
 *               records: whatever ends the agent, each line is taken once.
 * source_stdin  NDJSON, plain, gzip or zstd. A pipe can't be told what is durable: what was
 *               read and not taken when the agent is killed is gone. At its end the source
 *               has ended: source_statistics.ended.
 */
#ifndef AGENT_TAIL_TAIL_H
#define AGENT_TAIL_TAIL_H

#include "agent/source/source.h"

extern const struct source_ops source_tail;
extern const struct source_ops source_stdin;

extern const char *const tail_fault_names[SOURCE_FILE_FAULT_COUNT]; /* "unreadable", ... */

#endif
