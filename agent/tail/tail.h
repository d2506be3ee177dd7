/* SPDX-License-Identifier: Apache-2.0
 *
 * tail.h: doors for lines that lie somewhere already: what a pipe brings to standard input.
 * What is no event becomes a row in dead_letters. When the agent can't take more, they read
 * no more, and go on by themselves.
 *
 * source_stdin  NDJSON, plain, gzip or zstd. A pipe can't be told what is durable: what was
 *               read and not taken when the agent is killed is gone. At its end the source
 *               has ended: source_statistics.ended.
 */
#ifndef AGENT_TAIL_TAIL_H
#define AGENT_TAIL_TAIL_H

#include "agent/source/source.h"

extern const struct source_ops source_stdin;

#endif
