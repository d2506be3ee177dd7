/* SPDX-License-Identifier: Apache-2.0
 *
 * merge.h: many small manifests become one, in the swap of a commit that comes by. No file
 * is removed by it.
 */
#ifndef CLOUD_MERGE_H
#define CLOUD_MERGE_H

#include "cloud/snapshot.h"
#include "lib/base/arena.h"
#include "lib/iceberg/iceberg.h"

/* What it is looked for in. */
struct manifest_merge_from {
    const struct committer *committer;
    const json_t *metadata;
    const struct manifest_file *manifests; /* the parent's list */
    size_t count;
    int64_t snapshot_id; /* of the commit; the dice: see merge.c */
};

/* A manifest to write: entries of `merged_count` manifests of `spec_id`, all existing. */
struct manifest_merge {
    int32_t spec_id;
    bool *merged; /* by index of the given list: it is in here now */
    size_t merged_count;
    size_t entry_count;
    struct manifest_entry *entries;
    int64_t min_sequence_number;
};

/* Looks for a spec with many small data manifests in the parent's list and reads them, as
 * commit.manifest-merge.enabled, .min-count-to-merge and .target-size-bytes of the table
 * have it. merged_count 0: there is none. One that doesn't read, or that holds more than we
 * would write, is left out. Everything lives in `arena`. */
int manifest_merge_find(const struct manifest_merge_from *from, struct arena *arena,
                        struct manifest_merge *out, struct error *err) MUST_USE;

#endif
