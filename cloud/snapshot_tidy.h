/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot_tidy.h: what a commit puts in order on its way, in its own swap: small manifests
 * become one, snapshots of our own that nobody needs any more leave the metadata. No file
 * is removed by it.
 */
#ifndef CLOUD_SNAPSHOT_TIDY_H
#define CLOUD_SNAPSHOT_TIDY_H

#include "cloud/snapshot.h"
#include "lib/base/arena.h"
#include "lib/iceberg/iceberg.h"

/* A manifest to write: entries of `merged_count` manifests of `spec_id`, all existing. */
struct manifest_merge {
    int32_t spec_id;
    bool *merged; /* by index of the given list: it is in here now */
    size_t merged_count;
    size_t entry_count;
    struct manifest_entry *entries;
    int64_t min_sequence_number;
};

/* Looks for a spec with many small data manifests in the parent's list and reads them.
 * merged_count 0: there is none. One that doesn't read is left out. Everything lives in
 * `arena`. Format 2 only: row ids of format 3 hang on the manifests. */
int manifest_merge_find(const struct committer *committer, const json_t *metadata,
                        const struct manifest_file *manifests, size_t count, struct arena *arena,
                        struct manifest_merge *out, struct error *err) MUST_USE;

/* An array of ids to drop: of append snapshots that we made, that no ref names, that are
 * behind the newest `snapshots_keep` or older than `snapshots_age_ms`. What lies below a
 * snapshot of somebody else's stays. The parent stays too: queries run on it. */
json_t *snapshots_to_drop(const struct committer *committer, const json_t *metadata,
                          int64_t parent_id);

#endif
