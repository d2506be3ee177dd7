/* SPDX-License-Identifier: Apache-2.0
 *
 * ending.h: how the agent's end was asked for, how long it delivers then, and what that came to:
 * who drains an agent, and then gives its machine away, must hear whether all is announced before
 * there is nobody left to tell it. Private to agent/.
 *
 * Threads  any.
 */
#ifndef AGENT_ENDING_H
#define AGENT_ENDING_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

struct ending {
    pthread_mutex_t lock;
    /* guarded by lock */
    bool drained;            /* somebody asked for a drain, and looks for its end */
    int64_t drain_within_ms; /* as the first of them said */
    bool begun;
    bool over;            /* what follows is known */
    bool told;            /* and was asked for since, */
    int64_t told_at_ms;   /* monotonic: for the first time */
    bool complete;        /* all that was kept is announced */
    uint64_t events_left; /* in the spool, not announced */
    char why[400];
};

void ending_init(struct ending *ending);
void ending_free(struct ending *ending);

/* Asks for the end, within a time or (-1) a drain's usual one; one that has begun already keeps
 * its time. */
void ending_drain(struct ending *ending, int64_t within_ms);
bool ending_is_drained(struct ending *ending);

/* The end begins: how long it may deliver, `stop_ms` if nobody drains, `drain_ms` if who does said
 * nothing else. */
int64_t ending_begin(struct ending *ending, int64_t stop_ms, int64_t drain_ms);

/* Delivery is over. `why` is borrowed for the call: what kept the rest from being announced, in a
 * server's words, maybe, and as printable ASCII from then on. */
void ending_complete(struct ending *ending);
void ending_incomplete(struct ending *ending, uint64_t events_left, const char *why);

/* Who drained has not asked since it is over, or may still: the first who asked need not be the
 * one who drained, so the others have half a second behind him. */
bool ending_is_to_be_told(struct ending *ending, int64_t now_ms);

/* {"ending":true,"over":true,"complete":false,"events_left":3,"why":"..."}
 * Somebody is told so, now; NULL: nobody is (he asks for the head alone). */
void ending_write(struct ending *ending, const int64_t *told_at_ms, struct buf *out);

/* OK: all is announced; else ERROR_RETRY and how much is not. */
int ending_outcome(struct ending *ending, struct error *err) MUST_USE;
/* That error, for the agent and for who drained it. */
int ending_refuse(uint64_t events_left, const char *why, struct error *err);

#endif
