/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/snapshot_tidy.h"

#include <string.h>

#include "lib/base/buf.h"

enum {
    DEFAULT_MERGE_COUNT = 100,
    DEFAULT_KEEP = 1000,
    MERGED_BYTES_MAX = 8 << 20, /* Iceberg's target size of a manifest */
};
static const int64_t default_age_ms = 7LL * 24 * 3600 * 1000;

/* ---- manifests ---- */

/* Counts below 0 are not known (format 1): then there is no saying what it holds. */
static bool is_small(const struct manifest_file *manifest, int32_t spec_id)
{
    return manifest->content == 0 && manifest->spec_id == spec_id && !manifest->has_first_row_id &&
           !manifest->has_key_metadata && manifest->length < MERGED_BYTES_MAX / 2 &&
           manifest->added_files >= 0 && manifest->existing_files >= 0 &&
           manifest->deleted_files >= 0;
}

static int entries_read(const struct committer *committer, const struct manifest_file *manifest,
                        struct arena *arena, struct manifest_entry **out, size_t *count,
                        struct error *err)
{
    char key[OBJSTORE_KEY_MAX + 1];
    struct buf bytes;
    struct objstore_info info = {0};
    if (!objstore_key_of(committer->store, manifest->path, key))
        return error_set(err, ERROR_INPUT, "manifest %s lies outside of the warehouse",
                         manifest->path);
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    int rc = objstore_get(committer->store, key, MANIFEST_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && !info.found)
        rc = error_set(err, ERROR_CORRUPT, "it is not there");
    if (rc == OK)
        rc = manifest_decode(out, count, arena, manifest, buf_slice(&bytes), err);
    buf_free(&bytes);
    return rc == OK ? OK : error_wrap(err, "manifest %s", key);
}

/* Live entries are carried with the snapshot and the sequence numbers they came with;
 * those deleted by an earlier snapshot have had their say there. */
static void entries_carry(struct manifest_merge *merge, const struct manifest_entry *from,
                          size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (from[i].status == 2)
            continue;
        struct manifest_entry *entry = &merge->entries[merge->entry_count++];
        *entry = from[i];
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

struct manifest_entries {
    struct manifest_entry *entries;
    size_t count;
};

static int merge_read(const struct committer *committer, const struct manifest_file *manifests,
                      size_t count, struct arena *arena, struct manifest_merge *merge,
                      struct error *err)
{
    struct manifest_entries *lists = arena_alloc(arena, count, sizeof *lists);
    size_t room = 0;
    int64_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const struct manifest_file *m = &manifests[i];
        if (!is_small(m, merge->spec_id) || bytes + m->length > MERGED_BYTES_MAX)
            continue;
        int rc = entries_read(committer, m, arena, &lists[i].entries, &lists[i].count, err);
        if (is_not_for_us(rc))
            continue;
        if (rc != OK)
            return rc;
        merge->merged[i] = true;
        merge->merged_count++;
        bytes += m->length;
        room += lists[i].count;
    }
    merge->entries = arena_alloc(arena, room + 1, sizeof *merge->entries);
    merge->min_sequence_number = INT64_MAX;
    for (size_t i = 0; i < count; i++)
        if (merge->merged[i])
            entries_carry(merge, lists[i].entries, lists[i].count);
    return OK;
}

/* Small manifests of that one's spec, when it is the first of them; else 0. */
static size_t small_count(const struct manifest_file *manifests, size_t count, size_t first)
{
    int32_t spec_id = manifests[first].spec_id;
    size_t small = 0;
    if (!is_small(&manifests[first], spec_id))
        return 0;
    for (size_t k = 0; k < first; k++)
        if (is_small(&manifests[k], spec_id))
            return 0;
    for (size_t k = first; k < count; k++)
        small += is_small(&manifests[k], spec_id);
    return small;
}

static bool spec_is_known(const json_t *metadata, int32_t spec_id)
{
    const json_t *spec = metadata_spec_borrow(metadata, spec_id);
    return spec != NULL && json_array_size(json_object_get(spec, "fields")) <= PARTITION_FIELDS_MAX;
}

int manifest_merge_find(const struct committer *committer, const json_t *metadata,
                        const struct manifest_file *manifests, size_t count, struct arena *arena,
                        struct manifest_merge *out, struct error *err)
{
    size_t wanted = committer->merge_count > 0 ? committer->merge_count : DEFAULT_MERGE_COUNT;
    *out = (struct manifest_merge){0};
    for (size_t i = 0; i < count; i++) {
        if (small_count(manifests, count, i) < wanted ||
            !spec_is_known(metadata, manifests[i].spec_id))
            continue;
        out->spec_id = manifests[i].spec_id;
        out->merged = arena_alloc(arena, count, sizeof *out->merged);
        int rc = merge_read(committer, manifests, count, arena, out, err);
        if (rc != OK)
            return rc;
        if (out->merged_count >= 2)
            return OK;
        *out = (struct manifest_merge){0};
    }
    return OK;
}

/* ---- snapshots ---- */

static bool is_ours(const json_t *snapshot)
{
    const json_t *summary = json_object_get(snapshot, "summary");
    const char *engine = json_string_value(json_object_get(summary, "engine-name"));
    const char *operation = json_string_value(json_object_get(summary, "operation"));
    return engine != NULL && strcmp(engine, "bidlake") == 0 && operation != NULL &&
           strcmp(operation, "append") == 0;
}

static bool is_named(const json_t *metadata, json_int_t id)
{
    const char *name;
    const json_t *ref;
    json_object_foreach(json_object_get(metadata, "refs"), name,
                        ref) if (json_integer_value(json_object_get(ref, "snapshot-id")) ==
                                 id) return true;
    return false;
}

/* The snapshot with that id, looked for downwards from index *at, where it is left: a parent
 * stands before its child, mostly just before, so a walk to the first costs one pass. */
static const json_t *ancestor_find(const json_t *snapshots, size_t *at, json_int_t id)
{
    size_t count = json_array_size(snapshots);
    for (size_t tried = 0; tried < count; tried++) {
        *at = *at > 0 ? *at - 1 : count - 1;
        const json_t *snapshot = json_array_get(snapshots, *at);
        if (json_integer_value(json_object_get(snapshot, "snapshot-id")) == id)
            return snapshot;
    }
    return NULL;
}

json_t *snapshots_to_drop(const struct committer *committer, const json_t *metadata,
                          int64_t parent_id)
{
    size_t keep = committer->snapshots_keep > 0 ? committer->snapshots_keep : DEFAULT_KEEP;
    int64_t age_ms = committer->snapshots_age_ms > 0 ? committer->snapshots_age_ms : default_age_ms;
    int64_t before_ms = clock_wall_ms(committer_clock(committer)) - age_ms;
    json_t *ids = json_array();
    const json_t *snapshots = json_object_get(metadata, "snapshots");
    size_t all = json_array_size(snapshots);
    size_t at = all;
    const json_t *snapshot = ancestor_find(snapshots, &at, parent_id);
    /* The one being made and its parent are the newest two. */
    for (size_t i = 1; i <= all && snapshot != NULL && is_ours(snapshot); i++) {
        const json_t *id = json_object_get(snapshot, "snapshot-id");
        const json_t *parent = json_object_get(snapshot, "parent-snapshot-id");
        int64_t at_ms = json_integer_value(json_object_get(snapshot, "timestamp-ms"));
        if (i > 1 && (i >= keep || at_ms < before_ms) &&
            !is_named(metadata, json_integer_value(id)))
            json_array_append_new(ids, json_copy((json_t *)(uintptr_t)id));
        snapshot =
            parent == NULL ? NULL : ancestor_find(snapshots, &at, json_integer_value(parent));
    }
    return ids;
}
