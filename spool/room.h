/* SPDX-License-Identifier: Apache-2.0
 *
 * room.h: what the budget and the disk allow. Private to spool/; see also store.h.
 */
#ifndef SPOOL_ROOM_H
#define SPOOL_ROOM_H

#include "spool/store.h"

/* Whether the disk bounds what may be kept, not the budget. */
bool room_is_disks(const struct spool *spool);
/* What stays free for what is built: of the budget, or of the disk that has less. */
uint64_t room_for_builds(const struct spool *spool);
/* Of a segment's row images, so that what is built from it finds room in the reserve. */
uint64_t room_segment_bytes(const struct spool *spool);
/* ERROR_LIMIT when a value just put lies behind the end of a file that may not be lengthened.
 * Only within the transaction that store_reserve_file was called in. */
int room_check(const struct spool *spool, struct slice value, struct error *err) MUST_USE;
/* How long data.mdb may get. Within a write transaction. */
uint64_t room_file_max(const struct spool *spool);

#endif
