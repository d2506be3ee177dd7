/* SPDX-License-Identifier: Apache-2.0
 *
 * retention.h: snapshots of our own that nobody needs any more leave the metadata, in the
 * swap of a commit that comes by.
 */
#ifndef CLOUD_RETENTION_H
#define CLOUD_RETENTION_H

#include "cloud/snapshot.h"

/* An array of ids to drop: of append snapshots that we made, that no ref names, that are
 * behind the newest `snapshots_keep` or older than `snapshots_age_ms`. What lies below a
 * snapshot of somebody else's stays. The parent stays too: queries run on it. */
json_t *snapshots_to_drop(const struct committer *committer, const json_t *metadata,
                          int64_t parent_id);

#endif
