/* SPDX-License-Identifier: Apache-2.0
 *
 * Which snapshots go. The chain is walked from main's parent down, newest first, as long as
 * the snapshots are ours; what others have a say in (refs, statistics, retention that is set
 * on the table or on a ref) is only ever kept longer by it.
 */
#include "cloud/retention.h"

#include <inttypes.h>
#include <string.h>

#include "lib/base/buf.h"
#include "lib/base/digest.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

enum { DEFAULT_KEEP = 1000, BATCH_MAX = 16, DROP_MAX = 1000 };
static const int64_t default_age_ms = 7LL * 24 * 3600 * 1000;

static bool is_ours(const json_t *snapshot)
{
    const json_t *summary = json_object_get(snapshot, "summary");
    const char *engine = json_string_value(json_object_get(summary, "engine-name"));
    const char *operation = json_string_value(json_object_get(summary, "operation"));
    return engine != NULL && strcmp(engine, "bidlake") == 0 && operation != NULL &&
           strcmp(operation, "append") == 0;
}

static json_int_t id_of(const json_t *object)
{
    return json_integer_value(json_object_get(object, "snapshot-id"));
}

static bool list_names(const json_t *list, json_int_t id)
{
    size_t i;
    const json_t *member;
    json_array_foreach(list, i, member)
    {
        if (id_of(member) == id)
            return true;
    }
    return false;
}

static bool is_named(const json_t *metadata, json_int_t id)
{
    const char *name;
    const json_t *ref;
    json_object_foreach(json_object_get(metadata, "refs"), name, ref)
    {
        if (id_of(ref) == id)
            return true;
    }
    return list_names(json_object_get(metadata, "statistics"), id) ||
           list_names(json_object_get(metadata, "partition-statistics"), id);
}

/* The snapshot with that id, looked for downwards from index *at, where it is left: a parent
 * stands before its child, mostly just before, so a walk to the first costs one pass. */
static const json_t *ancestor_find(const json_t *snapshots, size_t *at, json_int_t id)
{
    size_t count = json_array_size(snapshots);
    for (size_t tried = 0; tried < count; tried++) {
        *at = *at > 0 ? *at - 1 : count - 1;
        const json_t *snapshot = json_array_get(snapshots, *at);
        if (id_of(snapshot) == id)
            return snapshot;
    }
    return NULL;
}

static const json_t *parent_find(const json_t *snapshots, size_t *at, const json_t *snapshot)
{
    const json_t *parent = json_object_get(snapshot, "parent-snapshot-id");
    return json_is_integer(parent) ? ancestor_find(snapshots, at, json_integer_value(parent))
                                   : NULL;
}

/* ---- what the table's owner has set ---- */

/* Of a branch: its first `count` snapshots stay, and those since `since_ms`. */
struct promise {
    int64_t count;
    int64_t since_ms;
};

static int64_t limit_of(const json_t *metadata, const json_t *ref, const char *key,
                        const char *property)
{
    const json_t *limit = json_object_get(ref, key);
    return json_is_integer(limit) ? json_integer_value(limit)
                                  : metadata_property_i64(metadata, property, 0);
}

static struct promise promise_of(const json_t *metadata, const json_t *ref, int64_t now_ms)
{
    int64_t age_ms =
        limit_of(metadata, ref, "max-snapshot-age-ms", "history.expire.max-snapshot-age-ms");
    return (struct promise){
        .count = limit_of(metadata, ref, "min-snapshots-to-keep",
                          "history.expire.min-snapshots-to-keep"),
        .since_ms = age_ms > 0 && age_ms < now_ms ? now_ms - age_ms
                    : age_ms > 0                  ? 0
                                                  : INT64_MAX,
    };
}

/* `index` of 0 is the branch's newest. */
static bool is_promised(const struct promise *promise, size_t index, const json_t *snapshot)
{
    return (int64_t)index < promise->count ||
           json_integer_value(json_object_get(snapshot, "timestamp-ms")) >= promise->since_ms;
}

static void id_text(char out[24], json_int_t id)
{
    snprintf(out, 24, "%" JSON_INTEGER_FORMAT, id);
}

/* Ids that branches other than main keep. */
static json_t *branches_keep(const json_t *metadata, int64_t now_ms)
{
    const json_t *snapshots = json_object_get(metadata, "snapshots");
    json_t *kept = json_object();
    const char *name;
    const json_t *ref;
    json_object_foreach(json_object_get(metadata, "refs"), name, ref)
    {
        const char *type = json_string_value(json_object_get(ref, "type"));
        struct promise promise = promise_of(metadata, ref, now_ms);
        size_t all = json_array_size(snapshots);
        size_t at = all;
        if (type == NULL || strcmp(type, "branch") != 0 || strcmp(name, "main") == 0)
            continue;
        const json_t *snapshot = ancestor_find(snapshots, &at, id_of(ref));
        for (size_t i = 0; i < all && snapshot != NULL && is_promised(&promise, i, snapshot); i++) {
            char id[24];
            id_text(id, id_of(snapshot));
            json_object_set_new(kept, id, json_true());
            snapshot = parent_find(snapshots, &at, snapshot);
        }
    }
    return kept;
}

/* ---- which ---- */

/* The oldest first, so that what is left over by the limit is at the newer end. A few are not
 * worth a note, unless they are far beyond their age. */
static json_t *worth_it(json_t *newest_first, size_t keep, bool overdue)
{
    size_t batch = keep / 8 < BATCH_MAX ? keep / 8 : BATCH_MAX;
    size_t count = json_array_size(newest_first);
    json_t *ids = json_array();
    for (size_t i = 0; (overdue || count >= batch) && i < count && i < DROP_MAX; i++)
        json_array_append(ids, json_array_get(newest_first, count - 1 - i));
    json_decref(newest_first);
    return ids;
}

json_t *snapshots_to_drop(const struct committer *committer, const json_t *metadata,
                          int64_t parent_id)
{
    size_t keep = committer->snapshots_keep > 0 ? committer->snapshots_keep : DEFAULT_KEEP;
    int64_t age_ms = committer->snapshots_age_ms > 0 ? committer->snapshots_age_ms : default_age_ms;
    int64_t now_ms = clock_wall_ms(committer_clock(committer));
    json_t *ids = json_array();
    if (!metadata_property_bool(metadata, "gc.enabled", true))
        return ids;
    const json_t *main_ref = json_object_get(json_object_get(metadata, "refs"), "main");
    struct promise promise = promise_of(metadata, main_ref, now_ms);
    json_t *kept = branches_keep(metadata, now_ms);
    const json_t *snapshots = json_object_get(metadata, "snapshots");
    size_t all = json_array_size(snapshots);
    size_t at = all;
    bool overdue = false;
    const json_t *snapshot = ancestor_find(snapshots, &at, parent_id);
    /* The one being made and its parent are the newest two. */
    for (size_t i = 1; i <= all && snapshot != NULL && is_ours(snapshot); i++) {
        json_int_t id = id_of(snapshot);
        int64_t at_ms = json_integer_value(json_object_get(snapshot, "timestamp-ms"));
        char text[24];
        id_text(text, id);
        if (i > 1 && (i >= keep || at_ms < now_ms - age_ms) &&
            !is_promised(&promise, i, snapshot) && json_object_get(kept, text) == NULL &&
            !is_named(metadata, id)) {
            json_array_append_new(ids, json_integer(id));
            overdue = overdue || at_ms < now_ms - age_ms - age_ms / 8;
        }
        snapshot = parent_find(snapshots, &at, snapshot);
    }
    json_decref(kept);
    return worth_it(ids, keep, overdue);
}

/* ---- the note ---- */

int dropped_note_put(const struct committer *committer, const char *table, const json_t *metadata,
                     const json_t *ids, int64_t snapshot_id, struct error *err)
{
    struct buf bytes = {0};
    struct buf key = {0};
    uint8_t random[8];
    char hex[2 * sizeof random + 1];
    json_t *snapshots = json_array();
    size_t i;
    const json_t *id;
    json_array_foreach(ids, i, id)
    {
        const json_t *snapshot = metadata_snapshot_borrow(metadata, json_integer_value(id));
        json_array_append_new(snapshots, json_pack("{s:I,s:O}", "snapshot_id",
                                                   json_integer_value(id), "manifest_list",
                                                   json_object_get(snapshot, "manifest-list")));
    }
    json_t *note = json_pack("{s:i,s:s,s:o}", "v", 1, "table_uuid", metadata_uuid_borrow(metadata),
                             "snapshots", snapshots);
    json_encode(note, &bytes);
    json_decref(note);
    committer_random(committer, random, sizeof random);
    hex_encode(slice_of(random, sizeof random), hex);
    key_of_dropped_note(table, snapshot_id, hex, &key);
    int rc =
        objstore_put_bytes(committer->store, buf_cstr(&key), buf_slice(&bytes), PUT_IF_ABSENT, err);
    if (rc == ERROR_CONFLICT)
        rc = err->code = ERROR_RETRY;
    buf_free(&bytes);
    buf_free(&key);
    return rc;
}
