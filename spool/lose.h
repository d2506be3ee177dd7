/* SPDX-License-Identifier: Apache-2.0
 *
 * lose.h: a lost range within a transaction. Private to spool/.
 */
#ifndef SPOOL_LOSE_H
#define SPOOL_LOSE_H

#include "spool/store.h"

/* Removes the blocks of the range, notes it, resets the segments that it touches. */
int lose_range(struct spool *spool, MDB_txn *txn, const char *name, struct spool_lost lost,
               struct error *err) MUST_USE;

#endif
