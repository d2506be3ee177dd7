/* SPDX-License-Identifier: Apache-2.0
 *
 * Which manifests are merged: the small ones of one spec, once there are many, as far as
 * one manifest of the table's target size has room for them. Java's writers go by the same
 * three properties.
 *
 * Manifests that can't be merged count with the others, and would be read in vain by each
 * commit. So a merge is begun when there are just as many as wanted, and, while there are
 * more, by one commit of TRY_EVERY, which its random snapshot id tells.
 */
#include "cloud/merge.h"

#include <string.h>

#include "cloud/manifests.h"
#include "lib/base/buf.h"

enum { DEFAULT_COUNT = 100, TRY_EVERY = 16, READ_MAX = 1000 };
static const int64_t default_target = 8 << 20;
static const int64_t target_min = 64 << 10;
static const int64_t target_max = MANIFEST_BYTES_MAX / 4;

struct manifest_entries {
    struct manifest_entry *entries;
    size_t count;
};

struct merging {
    const struct manifest_merge_from *from;
    size_t wanted;
    int64_t target_bytes;
    bool row_ids; /* format 3 */
    struct arena *arena;
};

/* Counts below 0 are not known (format 1): then there is no saying what it holds. */
static bool is_small(const struct merging *m, const struct manifest_file *manifest, int32_t spec_id)
{
    return manifest->content == 0 && manifest->spec_id == spec_id &&
           (m->row_ids || !manifest->has_first_row_id) && !manifest->has_key_metadata &&
           manifest->length < m->target_bytes / 2 && manifest->added_files >= 0 &&
           manifest->existing_files >= 0 && manifest->deleted_files >= 0;
}

/* What is written anew must be all that was there, and what manifest_encode accepts. */
static bool entries_fit(const struct merging *m, const struct manifest_entries *list,
                        int32_t spec_id)
{
    const json_t *spec = metadata_spec_borrow(m->from->metadata, spec_id);
    size_t fields = json_array_size(json_object_get(spec, "fields"));
    for (size_t i = 0; i < list->count; i++) {
        const struct manifest_entry *entry = &list->entries[i];
        if (entry->content != 0 || entry->partial || entry->partition_count != fields ||
            !entry->has_snapshot_id || !entry->has_sequence_number ||
            !entry->has_file_sequence_number)
            return false;
    }
    return true;
}

/* Live entries are carried with the snapshot, the sequence numbers and the row ids they came
 * with; those deleted by an earlier snapshot have had their say there. */
static void entries_carry(struct manifest_merge *merge, const struct manifest_entries *from)
{
    for (size_t i = 0; i < from->count; i++) {
        if (from->entries[i].status == 2)
            continue;
        struct manifest_entry *entry = &merge->entries[merge->entry_count++];
        *entry = from->entries[i];
        entry->status = 0;
        if (entry->sequence_number < merge->min_sequence_number)
            merge->min_sequence_number = entry->sequence_number;
    }
}

/* The manifest's bytes can't be merged by this program, whatever the reason: it stays as
 * it is. Merging is a kindness to readers, so what others wrote must not stop a commit. */
static bool is_not_for_us(int rc)
{
    return rc == ERROR_INPUT || rc == ERROR_CORRUPT || rc == ERROR_LIMIT;
}

static int merge_read(const struct merging *m, struct manifest_merge *merge, struct error *err)
{
    struct manifest_entries *lists = arena_alloc(m->arena, m->from->count, sizeof *lists);
    size_t room = 0;
    size_t tried = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < m->from->count && tried < READ_MAX; i++) {
        const struct manifest_file *manifest = &m->from->manifests[i];
        if (!is_small(m, manifest, merge->spec_id) || bytes + manifest->length > m->target_bytes)
            continue;
        tried++;
        int rc = manifest_get(m->from->committer->store, manifest, m->arena, &lists[i].entries,
                              &lists[i].count, err);
        if (rc != OK && !is_not_for_us(rc))
            return rc;
        if (rc != OK || !entries_fit(m, &lists[i], merge->spec_id))
            continue;
        merge->merged[i] = true;
        merge->merged_count++;
        bytes += manifest->length;
        room += lists[i].count;
    }
    merge->entries = arena_alloc(m->arena, room + 1, sizeof *merge->entries);
    merge->min_sequence_number = INT64_MAX;
    for (size_t i = 0; i < m->from->count; i++)
        if (merge->merged[i])
            entries_carry(merge, &lists[i]);
    return OK;
}

/* Small manifests of that one's spec, when it is the first of them; else 0. */
static size_t small_count(const struct merging *m, size_t first)
{
    int32_t spec_id = m->from->manifests[first].spec_id;
    size_t small = 0;
    if (!is_small(m, &m->from->manifests[first], spec_id))
        return 0;
    for (size_t k = 0; k < first; k++)
        if (is_small(m, &m->from->manifests[k], spec_id))
            return 0;
    for (size_t k = first; k < m->from->count; k++)
        small += is_small(m, &m->from->manifests[k], spec_id);
    return small;
}

static bool is_to_merge(const struct merging *m, size_t first)
{
    size_t small = small_count(m, first);
    bool try = small == m->wanted || (small > m->wanted && m->from->snapshot_id % TRY_EVERY == 0);
    return try &&
           metadata_spec_borrow(m->from->metadata, m->from->manifests[first].spec_id) != NULL;
}

int manifest_merge_find(const struct manifest_merge_from *from, struct arena *arena,
                        struct manifest_merge *out, struct error *err)
{
    const json_t *metadata = from->metadata;
    int64_t wanted = (int64_t)from->committer->merge_count;
    if (wanted == 0)
        wanted =
            metadata_property_i64(metadata, "commit.manifest.min-count-to-merge", DEFAULT_COUNT);
    int64_t target =
        metadata_property_i64(metadata, "commit.manifest.target-size-bytes", default_target);
    struct merging m = {
        .from = from,
        .wanted = wanted < 2 ? 2 : (size_t)wanted,
        .target_bytes = target < target_min   ? target_min
                        : target > target_max ? target_max
                                              : target,
        .row_ids = metadata_format_version(metadata) >= 3,
        .arena = arena,
    };
    *out = (struct manifest_merge){0};
    if (!metadata_property_bool(metadata, "commit.manifest-merge.enabled", true))
        return OK;
    for (size_t i = 0; i < from->count; i++) {
        if (!is_to_merge(&m, i))
            continue;
        out->spec_id = from->manifests[i].spec_id;
        out->merged = arena_alloc(arena, from->count, sizeof *out->merged);
        int rc = merge_read(&m, out, err);
        if (rc != OK)
            return rc;
        if (out->merged_count >= 2)
            return OK;
        *out = (struct manifest_merge){0};
    }
    return OK;
}
