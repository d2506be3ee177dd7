/* SPDX-License-Identifier: Apache-2.0
 *
 * effort.h: how much text a door's own thread may take, by what a byte of it has lately cost.
 * Private to agent/source.
 *
 * A batch of a hundred good events is taken in a fraction of a millisecond, less than it costs to
 * hand it to another thread and wait for that; as much text of bad lines takes twenty times as
 * long. So the bound is one of time, EFFORT_NS, within which neither the dear nor the cheap can
 * move it further than from EFFORT_BYTES_MIN to EFFORT_BYTES_MAX.
 *
 * Dear texts count at once, cheap ones little by little: who alternates gains nothing.
 *
 * Threads  any; an estimate is lost where two learn at once, which does no harm.
 */
#ifndef AGENT_SOURCE_EFFORT_H
#define AGENT_SOURCE_EFFORT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum {
    EFFORT_NS = 4000000, /* of a request, on the door's own thread */
    EFFORT_BYTES_MIN = 64 << 10,
    EFFORT_BYTES_MAX = 512 << 10,
    EFFORT_LEARNT_MIN = 16 << 10, /* what a request costs beside its text counts for nothing */
};

struct effort { /* all zero: nothing was taken yet */
    _Atomic uint64_t byte_ps;
};

/* A text of at least EFFORT_LEARNT_MIN bytes took so much of a processor. */
void effort_learn(struct effort *effort, size_t bytes, int64_t took_ns);
size_t effort_bytes_max(const struct effort *effort);

#endif
