/* SPDX-License-Identifier: Apache-2.0
 *
 * retention.h: snapshots of our own that nobody needs any more leave the metadata, in the
 * swap of a commit that comes by; a day later their manifest lists go, and those manifests
 * of ours that a merge has replaced.
 *
 * What survives  before the swap a note under _bidlake/dropped/ says what it drops. A note
 *                whose swap never came names snapshots that are still there: nothing of
 *                theirs is touched. So a crash anywhere leaves at most a note for later.
 * Never removed  data files; what another engine wrote; what a snapshot in the metadata
 *                names, on whatever branch. gc.enabled=false: nothing is dropped or removed.
 */
#ifndef CLOUD_RETENTION_H
#define CLOUD_RETENTION_H

#include "cloud/snapshot.h"

/* A new array of ids to drop, the oldest first: of append snapshots that we made, that no ref
 * and no statistics name, that are behind the newest `snapshots_keep` or older than
 * `snapshots_age_ms`, and that no retention set on the table or a branch of it keeps. What
 * lies below a snapshot of somebody else's stays. The parent stays too: queries run on it.
 * Some wait until there are enough to be worth a note. */
json_t *snapshots_to_drop(const struct committer *committer, const json_t *metadata,
                          int64_t parent_id);

/* The note, before the swap that makes `snapshot_id` and drops `ids`. */
int dropped_note_put(const struct committer *committer, const char *table, const json_t *metadata,
                     const json_t *ids, int64_t snapshot_id, struct error *err) MUST_USE;

/* Looks through notes older than snapshots_grace_ms and removes what nobody needs; `metadata`
 * is of a fresh load. What can't be judged (a list that doesn't read) is noted in the report
 * and removes nothing. */
int dropped_remove(const struct committer *committer, const char *table, const json_t *metadata,
                   struct commit_report *report, struct error *err) MUST_USE;

/* Of the manifests that we write, before the rest of the name. */
#define OUR_MANIFEST "bidlake-"

#endif
