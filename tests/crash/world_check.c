/* SPDX-License-Identifier: Apache-2.0
 *
 * The invariants at the end of the design's section 2, read from the store, the catalog
 * and the list of what was answered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "tests/crash/world.h"

/* Rows of one range of one stream, over all its partitions' files. */
struct range {
    char hash[STREAM_HASH_SIZE];
    uint64_t from;
    uint64_t to;
    uint64_t rows;
};

struct view {
    struct world *world;
    size_t table;
    struct arena arena;
    struct catalog_table loaded;
    struct ledger *ledger;
    size_t range_count;
    size_t range_capacity;
    struct range *ranges;
    size_t path_count;
    size_t path_capacity;
    const char **paths;
    uint64_t streams_total; /* of next */
};

static int get_object(struct world *world, const char *url, struct buf *out)
{
    struct error err;
    struct objstore_info info = {0};
    char key[OBJSTORE_KEY_MAX + 1];
    if (!objstore_key_of(world->plain_store, url, key)) {
        world_fail(world, "%s lies outside the warehouse", url);
        return 1;
    }
    int rc = objstore_get(world->plain_store, key, METADATA_BYTES_MAX, out, &info, &err);
    if (rc != OK || !info.found) {
        world_fail(world, "%s: a retained snapshot names it and it is gone", key);
        return 1;
    }
    return 0;
}

/* ---- files ---- */

static void add_range(struct view *view, const char *hash, uint64_t from, uint64_t to,
                      uint64_t rows)
{
    for (size_t i = 0; i < view->range_count; i++) {
        struct range *range = &view->ranges[i];
        if (strcmp(range->hash, hash) == 0 && range->from == from && range->to == to) {
            range->rows += rows;
            return;
        }
    }
    if (view->range_count == view->range_capacity) {
        view->range_capacity = view->range_capacity == 0 ? 64 : view->range_capacity * 2;
        view->ranges = memory_resize(view->ranges, view->range_capacity, sizeof *view->ranges);
    }
    struct range *range = &view->ranges[view->range_count++];
    *range = (struct range){.from = from, .to = to, .rows = rows};
    memcpy(range->hash, hash, STREAM_HASH_SIZE - 1);
}

static bool parse_name(const char *path, struct range *out, unsigned *n)
{
    const char *name = strrchr(path, '/');
    if (name == NULL || strlen(name + 1) < STREAM_HASH_SIZE)
        return false;
    memcpy(out->hash, name + 1, STREAM_HASH_SIZE - 1);
    out->hash[STREAM_HASH_SIZE - 1] = 0;
    return sscanf(name + STREAM_HASH_SIZE, "-%" SCNu64 "-%" SCNu64 "-%u.parquet", &out->from,
                  &out->to, n) == 3;
}

/* The bounds of the position column lie within the range that the name tells. */
static void check_bounds(struct view *view, const struct manifest_entry *entry,
                         const struct range *range)
{
    size_t column = table_schema_find(&view->world->mapping[view->table].schema, "position");
    int32_t field_id = view->world->mapping[view->table].schema.columns[column].field_id;
    for (size_t i = 0; i < entry->bound_count; i++) {
        const struct file_bound *bound = &entry->bounds[i];
        if (bound->field_id != field_id)
            continue;
        if (bound->lower.len != 8 || bound->upper.len != 8 ||
            get_u64le(bound->lower.data) < range->from || get_u64le(bound->upper.data) >= range->to)
            world_fail(view->world, "%s: holds positions outside its range", entry->path);
        return;
    }
    world_fail(view->world, "%s: no bounds of its positions", entry->path);
}

static void check_bytes(struct view *view, const struct manifest_entry *entry)
{
    struct error err;
    struct objstore_info info = {0};
    char key[OBJSTORE_KEY_MAX + 1];
    if (!objstore_key_of(view->world->plain_store, entry->path, key) ||
        objstore_head(view->world->plain_store, key, &info, &err) != OK || !info.found)
        world_fail(view->world, "%s: in a snapshot and not in the store", entry->path);
    else if ((int64_t)info.size != entry->file_size)
        world_fail(view->world, "%s: %" PRIu64 " bytes, the manifest says %" PRId64, entry->path,
                   info.size, entry->file_size);
}

static void add_path(struct view *view, const char *path)
{
    for (size_t i = 0; i < view->path_count; i++) {
        if (strcmp(view->paths[i], path) == 0)
            world_fail(view->world, "%s: live twice", path);
    }
    if (view->path_count == view->path_capacity) {
        view->path_capacity = view->path_capacity == 0 ? 64 : view->path_capacity * 2;
        view->paths = memory_resize(view->paths, view->path_capacity, sizeof *view->paths);
    }
    view->paths[view->path_count++] = path;
}

static void read_entries(struct view *view, const struct manifest_entry *entries, size_t count)
{
    for (size_t i = 0; i < count && !view->world->failed; i++) {
        struct range range = {0};
        unsigned n = 0;
        if (entries[i].status == 2)
            continue;
        add_path(view, entries[i].path);
        check_bytes(view, &entries[i]);
        if (!parse_name(entries[i].path, &range, &n)) {
            world_fail(view->world, "%s: no name of ours", entries[i].path);
            continue;
        }
        check_bounds(view, &entries[i], &range);
        add_range(view, range.hash, range.from, range.to, (uint64_t)entries[i].record_count);
    }
}

static void read_snapshot(struct view *view, const json_t *snapshot)
{
    struct error err;
    struct buf bytes = {0};
    struct manifest_file *manifests = NULL;
    size_t count = 0;
    const char *list = json_string_value(json_object_get(snapshot, "manifest-list"));
    if (list == NULL || get_object(view->world, list, &bytes) != 0)
        return;
    int rc = manifest_list_decode(&manifests, &count, &view->arena, buf_slice(&bytes), &err);
    if (rc != OK)
        world_fail(view->world, "%s: %s", list, err.text);
    for (size_t i = 0; rc == OK && i < count && !view->world->failed; i++) {
        struct manifest_entry *entries = NULL;
        size_t entry_count = 0;
        buf_reset(&bytes);
        if (get_object(view->world, manifests[i].path, &bytes) != 0)
            break;
        if ((int64_t)bytes.len != manifests[i].length)
            world_fail(view->world, "%s: length differs from the list's", manifests[i].path);
        rc = manifest_decode(&entries, &entry_count, &view->arena, &manifests[i], buf_slice(&bytes),
                             &err);
        if (rc != OK)
            world_fail(view->world, "%s: %s", manifests[i].path, err.text);
        else
            read_entries(view, entries, entry_count);
    }
    buf_free(&bytes);
}

/* ---- ledger against files ---- */

static void check_stream(void *context, const char *stream, uint64_t next, int64_t at_ms,
                         const struct lost_range *lost, size_t lost_count)
{
    struct view *view = context;
    struct world *world = view->world;
    char hash[STREAM_HASH_SIZE];
    uint64_t rows = 0;
    uint64_t lost_events = 0;
    (void)at_ms;
    stream_hash(stream, hash);
    for (size_t i = 0; i < lost_count; i++)
        lost_events += lost[i].events;
    for (size_t i = 0; i < view->range_count; i++) {
        const struct range *range = &view->ranges[i];
        if (strcmp(range->hash, hash) != 0)
            continue;
        rows += range->rows;
        uint64_t lost_here = 0;
        for (size_t k = 0; k < lost_count; k++)
            lost_here +=
                lost[k].from >= range->from && lost[k].to <= range->to ? lost[k].events : 0;
        if (range->rows + lost_here != range->to - range->from)
            world_fail(world, "%s [%" PRIu64 ", %" PRIu64 "): %" PRIu64 " rows, %" PRIu64 " lost",
                       stream, range->from, range->to, range->rows, lost_here);
        if (range->to > next)
            world_fail(world, "%s: rows up to %" PRIu64 ", ledger's next is %" PRIu64, stream,
                       range->to, next);
        for (size_t k = 0; k < i; k++) {
            const struct range *other = &view->ranges[k];
            if (strcmp(other->hash, hash) == 0 && other->from < range->to &&
                range->from < other->to)
                world_fail(world,
                           "%s: [%" PRIu64 ", %" PRIu64 ") and [%" PRIu64 ", %" PRIu64
                           ") are both in the table",
                           stream, other->from, other->to, range->from, range->to);
        }
    }
    if (rows + lost_events != next)
        world_fail(world, "%s: next %" PRIu64 ", but %" PRIu64 " rows and %" PRIu64 " lost", stream,
                   next, rows, lost_events);
    view->streams_total += next;
}

static void check_ledger(struct view *view)
{
    struct error err;
    struct buf bytes = {0};
    const char *pointer = metadata_property_borrow(view->loaded.metadata, "bidlake.ledger");
    uint64_t rows = 0;
    if (pointer == NULL) {
        world_fail(view->world, "%s has no ledger", view->world->table[view->table]);
        return;
    }
    struct objstore_info info = {0};
    if (objstore_get(view->world->plain_store, pointer, LEDGER_BYTES_MAX, &bytes, &info, &err) !=
            OK ||
        !info.found)
        world_fail(view->world, "%s: the ledger's file is gone", pointer);
    else if (ledger_decode(&view->ledger, buf_slice(&bytes), &err) != OK)
        world_fail(view->world, "%s: %s", pointer, err.text);
    buf_free(&bytes);
    if (view->ledger == NULL)
        return;
    ledger_visit_streams(view->ledger, check_stream, view);
    for (size_t i = 0; i < view->range_count; i++)
        rows += view->ranges[i].rows;
    if (rows > view->streams_total)
        world_fail(view->world, "%s: rows of streams that the ledger doesn't know",
                   view->world->table[view->table]);
}

/* ---- what was answered ---- */

static bool of_table(const struct answered *event, const char *table)
{
    const char *slash = strrchr(event->stream, '/');
    return slash != NULL && strcmp(slash + 1, table) == 0;
}

static bool somebody_alarmed(const struct world *world)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        if (world->actors[i].alarmed || world->actors[i].alarms > 0)
            return true;
    }
    return false;
}

static void check_answered(struct view *view)
{
    struct world *world = view->world;
    for (size_t i = 0; i < world->answered_count && !world->failed; i++) {
        const struct answered *event = &world->answered[i];
        if (event->exempt || !of_table(event, world->table[view->table]))
            continue;
        if (event->position >= ledger_next(view->ledger, event->stream, NULL))
            world_fail(world, "%s at %" PRIu64 ": answered and not in the table", event->stream,
                       event->position);
    }
}

static int order_answered(const void *a, const void *b)
{
    const struct answered *left = a;
    const struct answered *right = b;
    int order = strcmp(left->stream, right->stream);
    if (order != 0)
        return order;
    return (left->position > right->position) - (left->position < right->position);
}

static void check_positions(struct world *world)
{
    qsort(world->answered, world->answered_count, sizeof *world->answered, order_answered);
    for (size_t i = 1; i < world->answered_count; i++) {
        if (order_answered(&world->answered[i - 1], &world->answered[i]) == 0)
            world_fail(world, "%s at %" PRIu64 ": given twice", world->answered[i].stream,
                       world->answered[i].position);
    }
}

/* ---- all ---- */

static void check_table(struct world *world, size_t table, bool settled)
{
    struct error err;
    bool found = false;
    struct view view = {.world = world, .table = table};
    int rc = catalog_load_table(world->plain_catalog, "db", world->mapping[table].schema.table,
                                &view.loaded, &found, &err);
    if (rc != OK || !found) {
        world_fail(world, "%s does not load: %s", world->table[table],
                   rc != OK ? err.text : "gone");
        return;
    }
    int64_t current = metadata_current_snapshot_id(view.loaded.metadata);
    const json_t *snapshot = metadata_snapshot_borrow(view.loaded.metadata, current);
    if (snapshot == NULL)
        world_fail(world, "%s has no snapshot", world->table[table]);
    else
        read_snapshot(&view, snapshot);
    if (!world->failed)
        check_ledger(&view);
    if (!world->failed && settled && !somebody_alarmed(world))
        check_answered(&view);
    ledger_free(view.ledger);
    catalog_table_free(&view.loaded);
    arena_free(&view.arena);
    free(view.ranges);
    free(view.paths);
}

void world_check(struct world *world, bool settled)
{
    char key[OBJSTORE_KEY_MAX + 1];
    for (size_t i = 0; i < world->table_count && !world->failed; i++)
        check_table(world, i, settled);
    if (memory_store_rewritten(world->store, ".parquet", key))
        world_fail(world, "%s: two contents under one name", key);
    if (settled)
        check_positions(world);
}
