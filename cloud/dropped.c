/* SPDX-License-Identifier: Apache-2.0
 *
 * What dropped snapshots leave behind, removed. A manifest of a dropped snapshot is needed
 * as long as a snapshot in the metadata names it. Those that do inherit it: a commit takes
 * over manifests of its parent or writes new ones under fresh names. So it is enough to read
 * the lists of those whose parent is no longer there, mostly one.
 *
 * Order: manifests, then their list (through which they are found), then the note. A crash
 * in between leaves work for the next run, which meets what is gone already without ado.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/manifests.h"
#include "cloud/retention.h"
#include "lib/base/arena.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "lib/json/json.h"

enum { NOTE_BYTES_MAX = 1 << 20, LISTS_MAX = 256 };
static const int64_t default_grace_ms = 24LL * 3600 * 1000;

struct cleaning {
    const struct committer *committer;
    const json_t *metadata;
    const char *table;
    struct commit_report *report;
    struct arena arena;
    bool live_known;
    bool live_failed;
    size_t live_count;
    const char **live; /* paths of needed manifests, sorted */
    size_t lists;      /* read in this run */
};

/* ---- reading ---- */

static int path_compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A set: with a thousand snapshots a search for each would be a million steps. */
static json_t *ids_collect(const json_t *snapshots)
{
    json_t *ids = json_object();
    char text[24];
    size_t i;
    const json_t *snapshot;
    json_array_foreach(snapshots, i, snapshot)
    {
        snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT,
                 json_integer_value(json_object_get(snapshot, "snapshot-id")));
        json_object_set_new(ids, text, json_true());
    }
    return ids;
}

static bool has_parent(const json_t *ids, const json_t *snapshot)
{
    const json_t *parent = json_object_get(snapshot, "parent-snapshot-id");
    char text[24];
    snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(parent));
    return json_is_integer(parent) && json_object_get(ids, text) != NULL;
}

static int root_read(struct cleaning *c, const json_t *snapshot, size_t *cap, struct error *err)
{
    const char *url = json_string_value(json_object_get(snapshot, "manifest-list"));
    struct manifest_file *files = NULL;
    size_t count = 0;
    if (url == NULL)
        return error_set(err, ERROR_INPUT, "a snapshot without manifest list");
    int rc = manifest_list_get(c->committer->store, url, &c->arena, &files, &count, NULL, err);
    for (size_t i = 0; rc == OK && i < count; i++) {
        if (c->live_count == *cap) {
            *cap = *cap == 0 ? 256 : *cap * 2;
            c->live = memory_resize(c->live, *cap, sizeof *c->live);
        }
        c->live[c->live_count++] = files[i].path;
    }
    return rc;
}

static int live_read(struct cleaning *c, struct error *err)
{
    const json_t *snapshots = json_object_get(c->metadata, "snapshots");
    json_t *ids = ids_collect(snapshots);
    size_t cap = 0;
    int rc = OK;
    for (size_t i = 0; i < json_array_size(snapshots) && rc == OK; i++) {
        const json_t *snapshot = json_array_get(snapshots, i);
        if (!has_parent(ids, snapshot))
            rc = root_read(c, snapshot, &cap, err);
    }
    json_decref(ids);
    if (c->live_count > 0)
        qsort(c->live, c->live_count, sizeof *c->live, path_compare);
    c->live_known = rc == OK;
    c->live_failed = rc != OK;
    return rc;
}

static bool is_live(const struct cleaning *c, const char *path)
{
    return c->live_count > 0 &&
           bsearch(&path, c->live, c->live_count, sizeof *c->live, path_compare) != NULL;
}

static bool is_our_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && strncmp(slash + 1, OUR_MANIFEST, strlen(OUR_MANIFEST)) == 0;
}

/* ---- removing ---- */

static int url_remove(const struct cleaning *c, const char *url, struct error *err)
{
    char key[OBJSTORE_KEY_MAX + 1];
    if (!objstore_key_of(c->committer->store, url, key))
        return OK; /* not ours to reach */
    return objstore_remove(c->committer->store, key, err);
}

/* Those that are ours, and that no snapshot names any more. */
static int manifests_remove(struct cleaning *c, const struct manifest_file *files, size_t count,
                            struct error *err)
{
    const char **keys = memory_alloc(count + 1, sizeof *keys);
    char key[OBJSTORE_KEY_MAX + 1];
    size_t gone = 0;
    for (size_t i = 0; i < count; i++) {
        if (is_our_name(files[i].path) && !is_live(c, files[i].path) &&
            objstore_key_of(c->committer->store, files[i].path, key))
            keys[gone++] = arena_copy_cstr(&c->arena, slice_cstr(key));
    }
    int rc = objstore_remove_many(c->committer->store, keys, gone, err);
    free(keys);
    return rc;
}

static bool list_is_named(const struct cleaning *c, const char *url)
{
    size_t i;
    const json_t *snapshot;
    json_array_foreach(json_object_get(c->metadata, "snapshots"), i, snapshot)
    {
        const char *list = json_string_value(json_object_get(snapshot, "manifest-list"));
        if (list == NULL || strcmp(list, url) == 0)
            return true;
    }
    return false;
}

static int snapshot_remove(struct cleaning *c, const char *url, struct error *err)
{
    struct manifest_file *files = NULL;
    size_t count = 0;
    bool found = false;
    if (list_is_named(c, url))
        return OK;
    int rc = c->live_known ? OK : live_read(c, err);
    if (rc == OK)
        rc = manifest_list_get(c->committer->store, url, &c->arena, &files, &count, &found, err);
    c->lists++;
    if (rc == OK && found)
        rc = manifests_remove(c, files, count, err);
    if (rc == OK && found)
        rc = fault_point("commit.manifests_removed", err);
    if (rc == OK && found)
        rc = url_remove(c, url, err);
    return rc;
}

static int note_read(const struct cleaning *c, const char *key, json_t **out, struct error *err)
{
    struct buf bytes;
    struct objstore_info info = {0};
    *out = NULL;
    buf_init(&bytes, NOTE_BYTES_MAX);
    int rc = objstore_get(c->committer->store, key, NOTE_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && info.found)
        rc = json_decode(out, buf_slice(&bytes), err);
    buf_free(&bytes);
    return rc == OK ? OK : error_wrap(err, "%s", key);
}

/* A snapshot that is still there was not dropped: the note's swap never came, and if it goes
 * one day there will be another note. */
static int note_work(struct cleaning *c, const char *key, struct error *err)
{
    json_t *note = NULL;
    int rc = note_read(c, key, &note, err);
    if (rc != OK || note == NULL)
        return rc;
    const char *uuid = json_string_value(json_object_get(note, "table_uuid"));
    bool same = uuid != NULL && strcmp(uuid, metadata_uuid_borrow(c->metadata)) == 0;
    size_t i;
    const json_t *entry;
    json_array_foreach(json_object_get(note, "snapshots"), i, entry)
    {
        const json_t *id = json_object_get(entry, "snapshot_id");
        const char *url = json_string_value(json_object_get(entry, "manifest_list"));
        if (!same || rc != OK || !json_is_integer(id) || url == NULL ||
            metadata_snapshot_borrow(c->metadata, json_integer_value(id)) != NULL)
            continue;
        rc = snapshot_remove(c, url, err);
    }
    json_decref(note);
    if (rc == OK)
        rc = objstore_remove(c->committer->store, key, err);
    return rc;
}

static bool is_for_a_person(int rc)
{
    return rc == ERROR_INPUT || rc == ERROR_CORRUPT || rc == ERROR_LIMIT;
}

/* One note that doesn't read, or that names what doesn't, stops no other. Without the lists of
 * what is retained nothing can be removed at all. */
static int note_or_skip(struct cleaning *c, const char *key, struct error *err)
{
    int rc = note_work(c, key, err);
    if (!is_for_a_person(rc) || c->live_failed)
        return rc;
    report_note(c->report, NOTE_INFO, c->table, "", 0,
                "what the dropped snapshots of %s left behind stays where it is: %s", key,
                err->text);
    return OK;
}

static int notes_work(struct cleaning *c, const char *prefix, struct error *err)
{
    int64_t grace_ms =
        c->committer->snapshots_grace_ms > 0 ? c->committer->snapshots_grace_ms : default_grace_ms;
    int64_t before_ms = clock_wall_ms(committer_clock(c->committer)) - grace_ms;
    char *after = NULL;
    bool more = true;
    int rc = OK;
    while (more && rc == OK && c->lists < LISTS_MAX && !committer_is_to_stop(c->committer)) {
        struct objstore_list list = {0};
        rc = objstore_list(c->committer->store, prefix, after, 1000, &list, err);
        if (rc != OK)
            break;
        for (size_t i = 0; rc == OK && i < list.count && c->lists < LISTS_MAX; i++)
            if (list.entries[i].modified_ms < before_ms)
                rc = note_or_skip(c, list.entries[i].key, err);
        more = list.more && list.count > 0;
        free(after);
        after = list.count > 0 ? memory_copy_cstr(list.entries[list.count - 1].key) : NULL;
        objstore_list_free(&list);
    }
    free(after);
    return rc;
}

int dropped_remove(const struct committer *committer, const char *table, const json_t *metadata,
                   struct commit_report *report, struct error *err)
{
    struct cleaning c = {
        .committer = committer, .metadata = metadata, .table = table, .report = report};
    struct buf prefix = {0};
    if (!metadata_property_bool(metadata, "gc.enabled", true))
        return OK;
    key_of_dropped(table, &prefix);
    int rc = notes_work(&c, buf_cstr(&prefix), err);
    if (is_for_a_person(rc)) {
        report_note(report, NOTE_INFO, table, "", 0,
                    "what dropped snapshots left behind stays where it is: %s", err->text);
        rc = OK;
    }
    buf_free(&prefix);
    free(c.live);
    arena_free(&c.arena);
    return rc;
}
