/* SPDX-License-Identifier: Apache-2.0
 *
 * freshness.h: how long an event takes from the durable answer to the committed table, as
 * receipts tell it. Each look at the spool marks where the streams end; a receipt that
 * passes a mark says when. What lay in the spool at the start counts from the start.
 * Private to agent/.
 *
 * Memory   MARKS_MAX marks a stream, the older half thinned out when they are spent: a long
 *          outage makes them coarser, not more.
 * Threads  one.
 */
#ifndef AGENT_FRESHNESS_H
#define AGENT_FRESHNESS_H

#include <stdint.h>

#include "spool/spool.h"

struct freshness;

enum { FRESHNESS_BUCKETS = 12 };
/* Upper bounds in seconds, 1 to 3,600; the last bucket is all. */
extern const int64_t freshness_bounds_s[FRESHNESS_BUCKETS - 1];

struct freshness_statistics {
    uint64_t marks[FRESHNESS_BUCKETS]; /* by what it took */
    int64_t sum_ms;
    int64_t last_ms;               /* of the newest mark that was passed; -1: none yet */
    int64_t oldest_ms;             /* age of the oldest event that no receipt has passed; 0: none */
    int64_t oldest_unannounced_ms; /* of the oldest that is not announced; 0: none */
    int64_t committed_at_ms;       /* wall clock of the newest receipt seen; 0: none */
};

struct freshness *freshness_open(void);
void freshness_close(struct freshness *freshness);

/* The streams as they are at wall clock now_ms. */
void freshness_look(struct freshness *freshness, const struct spool_streams *streams,
                    int64_t now_ms);
const struct freshness_statistics *freshness_borrow(const struct freshness *freshness);

#endif
