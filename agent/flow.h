/* SPDX-License-Identifier: Apache-2.0
 *
 * flow.h: what becomes of each table's events behind the durable answer, in events, by looks
 * at the spool's streams: announced, committed, lost, still there. Private to agent/.
 *
 * The law, by table, at any look:
 *   recovered + appended since the start = committed + dropped + open + sealed + announced
 *
 * Appended is what was answered, and after a failed write perhaps a batch that was refused
 * since nobody knew its outcome.
 *
 * Memory   one entry a stream and a table of the spool.
 * Threads  looks: one. Copies: any.
 */
#ifndef AGENT_FLOW_H
#define AGENT_FLOW_H

#include <stddef.h>
#include <stdint.h>

#include "spool/spool.h"

struct flow;

enum { FLOW_REASONS = 5, FLOW_TABLE_NAME_MAX = 256 };

/* Counted since flow_open, but for what lies in the spool, which is as of the last look. */
struct flow_table {
    char name[FLOW_TABLE_NAME_MAX]; /* without its namespace */
    uint64_t recovered;             /* lay in the spool at the start, of earlier ones */
    uint64_t uploaded;              /* their segments are in the store, announced */
    uint64_t committed;             /* a receipt says so */
    uint64_t open;                  /* in the spool, not sealed */
    uint64_t sealed;                /* in a segment that is not announced */
    uint64_t announced;             /* announced, no receipt yet */
    uint64_t dropped[FLOW_REASONS];
};

/* disk_full, bad_block, records_gone, set_aside; the last is all others. */
extern const char *const flow_reasons[FLOW_REASONS];

/* Streams of this epoch of the spool and of later ones began in this process. */
struct flow *flow_open(const char *epoch);
void flow_close(struct flow *flow);
void flow_look(struct flow *flow, const struct spool_streams *streams);

/* The tables that were ever seen, by name; the caller frees *out. */
size_t flow_copy(struct flow *flow, struct flow_table **out);

#endif
