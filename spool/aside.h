/* SPDX-License-Identifier: Apache-2.0
 *
 * aside.h: what an open does with an environment that was left behind damaged. Private to
 * spool/.
 */
#ifndef SPOOL_ASIDE_H
#define SPOOL_ASIDE_H

#include "spool/store.h"

/* Whether a spool was opened here for writing before: what doesn't read is ours then. */
bool aside_was_here(const struct spool *spool);

/* Closes the environment, so that it can be opened again. */
void aside_close(struct spool *spool);
/* Has the kernel forget what it holds of data.mdb: after a failed sync its pages may differ
 * from the disk's, and count as written. Only while it is not mapped. */
void aside_forget_cached(const struct spool *spool);
/* Closes the environment and moves it to <spool>/set-aside/<time>/, never to be deleted by
 * us. `why` is logged with the streams that still read. */
int aside_move(struct spool *spool, const struct error *why, struct error *err) MUST_USE;

/* A file shorter than LMDB's pages would end the process at the first look behind its end. */
int aside_check_length(struct spool *spool, struct error *err) MUST_USE;

/* Walks all of LMDB's trees in a process of its own, where a page that is damaged or does not
 * read ends nothing else: LMDB trusts its pages. ERROR_CORRUPT: it was ended; ERROR_IO with
 * EIO: by a page that does not read. */
int aside_probe(struct spool *spool, struct error *err) MUST_USE;

/* Reads the tree of all blocks, and the newest blocks of each stream whole: those that don't
 * read are declared lost. ERROR_CORRUPT: the tree itself is damaged. */
int aside_verify(struct spool *spool, struct error *err) MUST_USE;

#endif
