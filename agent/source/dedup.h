/* SPDX-License-Identifier: Apache-2.0
 *
 * dedup.h: Idempotency-Key: a request that comes again gets the answer of the first, and
 * its events are not taken again. Private to agent/source.
 *
 * The answer is stored in the spool with the events, in the same transaction, as
 *
 *   dedup/a/<table>/<key>                     u64 expires_ms, u32 accepted, u32 refused,
 *                                             then the "errors" of the answer
 *   dedup/t/<expires_ms, 20 digits>/<table>/<key>   empty: the order in which they expire
 *
 *   dedup/now                                 u64 ms: the time by which keys were stored last
 *
 * so it also holds after a crash. The times are the wall clock's when the agent was started, or
 * dedup/now if that is later; from there on they go by the clock that nobody sets. Each stored
 * answer takes two expired ones along; beyond keys_max the oldest go before their time.
 *
 * One for all http listeners of an agent: a sender that tries again may come to another one. A
 * key holds for its table.
 *
 * A spool whose write failed is asked for no answer until it is open again (ERROR_RETRY): what it
 * says before may not hold.
 *
 * The keys are counted; of a spool that was opened anew, or set aside, with the first that is
 * stored.
 *
 * Threads  begin, store: any source's. settle: the committer's of what was stored, else any.
 */
#ifndef AGENT_SOURCE_DEDUP_H
#define AGENT_SOURCE_DEDUP_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "agent/source/source.h"
#include "lib/base/slice.h"
#include "spool/spool.h"

enum { DEDUP_KEY_MAX = 64, DEDUP_CHECKPOINTS = 7 };

struct dedup_answer {
    uint32_t accepted;
    uint32_t refused;
    struct buf errors; /* as the first answer had them */
};

/* Lives in a request that has a key; all zero is one without. */
struct dedup_entry {
    struct dedup_entry *next;      /* of those under way, or of followers */
    struct dedup_entry *followers; /* requests with the same key that came meanwhile */
    struct buf name;               /* "<table>/<key>"; empty: no key */
    struct buf keys[4];            /* of the answer, its order, and of two that expired */
    uint8_t *value;
    uint8_t now[8];
    uint64_t added; /* keys, when its transaction is durable */
    uint64_t removed;
    struct spool_checkpoint checkpoints[DEDUP_CHECKPOINTS];
};
void dedup_entry_free(struct dedup_entry *entry);

enum dedup_outcome {
    DEDUP_FIRST,    /* take it */
    DEDUP_FOLLOWS,  /* the first is under way: settle gives this one back with it */
    DEDUP_ANSWERED, /* *answer is the first's */
};

struct dedup_request {
    const char *table;
    struct slice key; /* 1 to DEDUP_KEY_MAX bytes */
};

/* FIRST and ANSWERED, and an error: the entry is under way until it is settled. */
int dedup_begin(struct dedup *dedup, struct dedup_entry *entry, const struct dedup_request *request,
                enum dedup_outcome *outcome, struct dedup_answer *answer,
                struct error *err) MUST_USE;

/* The checkpoints that go with the first's events; they live in the entry. */
int dedup_store(struct dedup *dedup, struct dedup_entry *entry, const struct dedup_answer *answer,
                size_t *count, struct error *err) MUST_USE;

/* The first is answered, or was not taken: it is under way no more. Returns its followers,
 * linked by next. */
struct dedup_entry *dedup_settle(struct dedup *dedup, struct dedup_entry *entry, bool durable);

#endif
