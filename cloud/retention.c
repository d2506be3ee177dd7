/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/retention.h"

#include <string.h>

enum { DEFAULT_KEEP = 1000 };
static const int64_t default_age_ms = 7LL * 24 * 3600 * 1000;

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
