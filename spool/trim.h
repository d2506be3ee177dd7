/* SPDX-License-Identifier: Apache-2.0
 *
 * trim.h: removal of blocks in bounded transactions. Private to spool/.
 */
#ifndef SPOOL_TRIM_H
#define SPOOL_TRIM_H

#include "spool/store.h"

/* Removes the blocks that end within (from, to], in transactions of its own until none is
 * left. */
int trim_sweep(struct spool *spool, const char *stream, uint64_t from, uint64_t to,
               struct error *err) MUST_USE;

/* The records of the oldest announced segment that has any; *found false: there is none. */
int trim_let_go_one(struct spool *spool, bool *found, struct error *err) MUST_USE;

#endif
