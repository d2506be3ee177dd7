/* SPDX-License-Identifier: Apache-2.0
 *
 * drop.h: room made by letting the oldest go (spool.when_full: drop_oldest). Private to
 * spool/.
 */
#ifndef SPOOL_DROP_H
#define SPOOL_DROP_H

#include "spool/store.h"

/* One bounded step towards `bytes` of room: the records of the oldest announced segment,
 * or else the oldest blocks that nobody has yet, of the lowest priority, which are declared
 * lost. *dropped false when nothing of at most that priority is left to let go. */
int drop_oldest(struct spool *spool, uint64_t bytes, int priority_max, bool *dropped,
                struct error *err) MUST_USE;

/* Of the table that the stream is for. */
int drop_priority(struct spool *spool, const char *stream);
void drop_free_priorities(struct spool *spool);

#endif
