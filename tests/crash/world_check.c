/* SPDX-License-Identifier: Apache-2.0
 *
 * What must hold (lib/announce/PROTOCOL.md, section 8), read from the store, the catalog and
 * the list of what was answered.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/bytes.h"
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

/* What one table holds, gathered from its snapshots. */
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
    size_t manifest_count;
    size_t manifest_capacity;
    const char **manifests;
    uint64_t streams_total; /* of next */
    world_named *named;     /* NULL: nobody asks */
    void *context;
};

static void *grow(void *array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    return memory_resize(array, *capacity, size);
}

/* Appends the object; false when it isn't there. */
static bool get_key(struct world *world, const char *key, struct buf *out)
{
    struct error err;
    struct objstore_info info = {0};
    return objstore_get(world->plain_store, key, METADATA_BYTES_MAX, out, &info, &err) == OK &&
           info.found;
}

static void tell_named(struct view *view, const char *url)
{
    char key[OBJSTORE_KEY_MAX + 1];
    if (view->named != NULL && objstore_key_of(view->world->plain_store, url, key))
        view->named(view->context, key);
}

static bool get_url(struct world *world, const char *url, struct buf *out)
{
    char key[OBJSTORE_KEY_MAX + 1];
    if (!objstore_key_of(world->plain_store, url, key))
        world_fail(world, "%s lies outside the warehouse", url);
    else if (!get_key(world, key, out))
        world_fail(world, "%s: a retained snapshot names it and it is gone", key);
    return !world->failed;
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
    view->ranges =
        grow(view->ranges, view->range_count, &view->range_capacity, sizeof *view->ranges);
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
    size_t column = table_schema_find(&view->world->mapping[0][view->table].schema, "position");
    int32_t field_id = view->world->mapping[0][view->table].schema.columns[column].field_id;
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
    view->paths = grow(view->paths, view->path_count, &view->path_capacity, sizeof *view->paths);
    view->paths[view->path_count++] = path;
}

static void read_entry(struct view *view, const struct manifest_entry *entry, bool live)
{
    struct range range = {0};
    unsigned n = 0;
    if (entry->status == 2)
        return;
    tell_named(view, entry->path);
    check_bytes(view, entry);
    if (!live)
        return;
    add_path(view, entry->path);
    if (!parse_name(entry->path, &range, &n)) {
        world_fail(view->world, "%s: no name of ours", entry->path);
        return;
    }
    check_bounds(view, entry, &range);
    add_range(view, range.hash, range.from, range.to, (uint64_t)entry->record_count);
}

/* live: of main's snapshot; else only what must still be there. */
static void read_manifest(struct view *view, const struct manifest_file *manifest, bool live)
{
    struct error err;
    struct buf bytes = {0};
    struct manifest_entry *entries = NULL;
    size_t count = 0;
    for (size_t i = 0; i < view->manifest_count; i++) {
        if (strcmp(view->manifests[i], manifest->path) == 0)
            return;
    }
    view->manifests = grow(view->manifests, view->manifest_count, &view->manifest_capacity,
                           sizeof *view->manifests);
    view->manifests[view->manifest_count++] = manifest->path;
    tell_named(view, manifest->path);
    if (get_url(view->world, manifest->path, &bytes)) {
        if ((int64_t)bytes.len != manifest->length)
            world_fail(view->world, "%s: length differs from the list's", manifest->path);
        int rc = manifest_decode(&entries, &count, &view->arena, manifest, buf_slice(&bytes), &err);
        if (rc != OK)
            world_fail(view->world, "%s: %s", manifest->path, err.text);
        for (size_t i = 0; rc == OK && i < count && !view->world->failed; i++)
            read_entry(view, &entries[i], live);
    }
    buf_free(&bytes);
}

static void read_snapshot(struct view *view, const json_t *snapshot, bool live)
{
    struct error err;
    struct buf bytes = {0};
    struct manifest_file *manifests = NULL;
    size_t count = 0;
    const char *list = json_string_value(json_object_get(snapshot, "manifest-list"));
    if (list == NULL || !get_url(view->world, list, &bytes))
        goto out;
    tell_named(view, list);
    int rc = manifest_list_decode(&manifests, &count, &view->arena, buf_slice(&bytes), &err);
    if (rc != OK)
        world_fail(view->world, "%s: %s", list, err.text);
    for (size_t i = 0; rc == OK && i < count && !view->world->failed; i++)
        read_manifest(view, &manifests[i], live);
out:
    buf_free(&bytes);
}

/* main's first, so that what its manifests hold is counted. */
static void read_snapshots(struct view *view)
{
    size_t i;
    const json_t *snapshot;
    int64_t current = metadata_current_snapshot_id(view->loaded.metadata);
    snapshot = metadata_snapshot_borrow(view->loaded.metadata, current);
    if (snapshot == NULL) {
        world_fail(view->world, "%s has no snapshot", view->world->table[view->table]);
        return;
    }
    read_snapshot(view, snapshot, true);
    json_array_foreach(json_object_get(view->loaded.metadata, "snapshots"), i, snapshot)
    {
        if (json_integer_value(json_object_get(snapshot, "snapshot-id")) != current &&
            !view->world->failed)
            read_snapshot(view, snapshot, false);
    }
}

/* ---- ledger against files ---- */

/* Lost events within a range. The ledger joins neighbours of one reason; in an agent's own
 * stream every position is an event. */
static uint64_t lost_within(const struct lost_range *lost, size_t count, uint64_t from, uint64_t to)
{
    uint64_t events = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t first = lost[i].from > from ? lost[i].from : from;
        uint64_t end = lost[i].to < to ? lost[i].to : to;
        events += first < end ? end - first : 0;
    }
    return events;
}

static void check_overlap(struct view *view, size_t number, const char *stream)
{
    const struct range *range = &view->ranges[number];
    for (size_t i = 0; i < number; i++) {
        const struct range *other = &view->ranges[i];
        if (strcmp(other->hash, range->hash) == 0 && other->from < range->to &&
            range->from < other->to)
            world_fail(view->world,
                       "%s: [%" PRIu64 ", %" PRIu64 ") and [%" PRIu64 ", %" PRIu64
                       ") are both in the table",
                       stream, other->from, other->to, range->from, range->to);
    }
}

static void check_stream(void *context, const char *stream, uint64_t next, int64_t at_ms,
                         const struct lost_range *lost, size_t lost_count)
{
    struct view *view = context;
    char hash[STREAM_HASH_SIZE];
    uint64_t rows = 0;
    uint64_t lost_events = lost_within(lost, lost_count, 0, UINT64_MAX);
    /* Between Kafka's offsets there may be markers and what compaction took. */
    bool kafka = strncmp(stream, "kafka/", 6) == 0;
    (void)at_ms;
    stream_hash(stream, hash);
    for (size_t i = 0; i < view->range_count; i++) {
        const struct range *range = &view->ranges[i];
        if (strcmp(range->hash, hash) != 0)
            continue;
        rows += range->rows;
        uint64_t lost_here = lost_within(lost, lost_count, range->from, range->to);
        if (!kafka && range->rows + lost_here != range->to - range->from)
            world_fail(view->world,
                       "%s [%" PRIu64 ", %" PRIu64 "): %" PRIu64 " rows, %" PRIu64 " lost", stream,
                       range->from, range->to, range->rows, lost_here);
        if (range->to > next)
            world_fail(view->world, "%s: rows up to %" PRIu64 ", ledger's next is %" PRIu64, stream,
                       range->to, next);
        check_overlap(view, i, stream);
    }
    if (kafka ? rows + lost_events > next : rows + lost_events != next)
        world_fail(view->world, "%s: next %" PRIu64 ", but %" PRIu64 " rows and %" PRIu64 " lost",
                   stream, next, rows, lost_events);
    view->streams_total += next;
}

/* The ledger that a table points at; NULL when there is none. */
static struct ledger *read_ledger(struct world *world, const json_t *metadata)
{
    struct error err;
    struct buf bytes = {0};
    struct ledger *ledger = NULL;
    const char *pointer = metadata_property_borrow(metadata, "bidlake.ledger");
    if (pointer != NULL && get_key(world, pointer, &bytes) &&
        ledger_decode(&ledger, buf_slice(&bytes), &err) != OK)
        world_fail(world, "%s: %s", pointer, err.text);
    buf_free(&bytes);
    return ledger;
}

static void check_ledger(struct view *view)
{
    uint64_t rows = 0;
    view->ledger = read_ledger(view->world, view->loaded.metadata);
    if (view->ledger == NULL) {
        world_fail(view->world, "%s: its ledger is gone", view->world->table[view->table]);
        return;
    }
    ledger_visit_streams(view->ledger, check_stream, view);
    for (size_t i = 0; i < view->range_count; i++)
        rows += view->ranges[i].rows;
    if (rows > view->streams_total)
        world_fail(view->world, "%s: rows of streams that the ledger doesn't know",
                   view->world->table[view->table]);
}

/* ---- tables ---- */

static void view_free(struct view *view)
{
    ledger_free(view->ledger);
    catalog_table_free(&view->loaded);
    arena_free(&view->arena);
    free(view->ranges);
    free(view->paths);
    free(view->manifests);
}

static void view_read(struct view *view, struct world *world, size_t table)
{
    struct error err;
    bool found = false;
    view->world = world;
    view->table = table;
    int rc = catalog_load_table(world->plain_catalog, "db", world->mapping[0][table].schema.table,
                                &view->loaded, &found, &err);
    if (rc != OK || !found)
        world_fail(world, "%s does not load: %s", world->table[table], rc != OK ? err.text : "");
    else
        read_snapshots(view);
}

void world_visit_named(struct world *world, size_t table, world_named *named, void *context)
{
    struct view view = {.named = named, .context = context};
    view_read(&view, world, table);
    view_free(&view);
}

uint64_t world_rows(struct world *world, size_t table)
{
    struct view view = {0};
    uint64_t rows = 0;
    view_read(&view, world, table);
    for (size_t i = 0; i < view.range_count; i++)
        rows += view.ranges[i].rows;
    view_free(&view);
    return rows;
}

static void check_table(struct world *world, size_t table)
{
    struct view view = {0};
    view_read(&view, world, table);
    if (!world->failed)
        check_ledger(&view);
    view_free(&view);
}

/* ---- fates of streams ---- */

static struct stream_fate *find_hash(struct world *world, const char *hash)
{
    for (size_t i = world->fate_count; i-- > 0;) {
        if (strcmp(world->fates[i].hash, hash) == 0)
            return &world->fates[i];
    }
    return NULL;
}

struct stream_fate *world_fate(struct world *world, const char *stream)
{
    for (size_t i = world->fate_count; i-- > 0;) {
        if (strcmp(world->fates[i].name, stream) == 0)
            return &world->fates[i];
    }
    if ((world->fate_count & (world->fate_count - 1)) == 0)
        world->fates = memory_resize(
            world->fates, world->fate_count == 0 ? 1 : world->fate_count * 2, sizeof *world->fates);
    struct stream_fate *fate = &world->fates[world->fate_count++];
    *fate = (struct stream_fate){
        .name = memory_copy_cstr(stream), .agent = SIZE_MAX, .exempt_from = UINT64_MAX};
    stream_hash(stream, fate->hash);
    const char *slash = strrchr(stream, '/');
    for (size_t i = 0; slash != NULL && i < world->table_count; i++)
        fate->table = strcmp(slash + 1, world->table[i]) == 0 ? i : fate->table;
    return fate;
}

static void watch_stream(void *context, const char *stream, uint64_t next, int64_t at_ms,
                         const struct lost_range *lost, size_t lost_count)
{
    struct world *world = context;
    struct stream_fate *fate = world_fate(world, stream);
    (void)at_ms;
    if (next < fate->next)
        world_fail(world, "%s: next fell from %" PRIu64 " to %" PRIu64, stream, fate->next, next);
    fate->next = next;
    fate->lost = lost_within(lost, lost_count, 0, UINT64_MAX);
}

void world_watch_ledgers(struct world *world)
{
    for (size_t i = 0; i < world->table_count; i++) {
        struct error err;
        struct catalog_table loaded = {0};
        bool found = false;
        int rc = catalog_load_table(world->plain_catalog, "db", world->mapping[0][i].schema.table,
                                    &loaded, &found, &err);
        if (rc != OK || !found ||
            (world->location[i] != NULL &&
             strcmp(world->location[i], loaded.metadata_location) == 0)) {
            catalog_table_free(&loaded);
            continue;
        }
        struct ledger *ledger = read_ledger(world, loaded.metadata);
        if (ledger != NULL &&
            strcmp(ledger_table_uuid_borrow(ledger), metadata_uuid_borrow(loaded.metadata)) == 0)
            ledger_visit_streams(ledger, watch_stream, world);
        ledger_free(ledger);
        free(world->location[i]);
        world->location[i] = memory_copy_cstr(loaded.metadata_location);
        catalog_table_free(&loaded);
    }
}

uint64_t world_lost(const struct world *world)
{
    uint64_t lost = 0;
    for (size_t i = 0; i < world->fate_count; i++)
        lost += world->fates[i].lost;
    return lost;
}

/* ---- what a committer may delete ---- */

static bool is_older(struct world *world, const char *key, int64_t days)
{
    struct error err;
    struct objstore_info info = {0};
    return objstore_head(world->plain_store, key, &info, &err) == OK &&
           (!info.found || info.modified_ms < world->wall_us / 1000 - days * 86400000 + 60000);
}

static bool is_dead(struct world *world, const char *key)
{
    char hash[STREAM_HASH_SIZE] = {0};
    const char *slash = strchr(key + strlen("_bidlake/inbox/"), '/');
    if (slash == NULL || strlen(slash) < STREAM_HASH_SIZE + 2)
        return false;
    memcpy(hash, slash + 1, STREAM_HASH_SIZE - 1);
    world_watch_ledgers(world);
    const struct stream_fate *fate = find_hash(world, hash);
    if (fate != NULL && strtoull(slash + 1 + STREAM_HASH_SIZE, NULL, 10) < fate->next)
        return true;
    struct buf refused = {0};
    struct error err;
    struct objstore_info info = {0};
    buf_printf(&refused, "_bidlake/refused/%s", key + strlen("_bidlake/inbox/"));
    int rc = objstore_head(world->plain_store, buf_cstr(&refused), &info, &err);
    buf_free(&refused);
    return rc == OK && info.found;
}

static bool is_key_of(struct world *world, const char *url, const char *key)
{
    char found[OBJSTORE_KEY_MAX + 1];
    return url != NULL && objstore_key_of(world->plain_store, url, found) &&
           strcmp(found, key) == 0;
}

/* Manifest list or manifest of a snapshot. */
static bool snapshot_names(struct world *world, const json_t *snapshot, const char *key)
{
    const char *url = json_string_value(json_object_get(snapshot, "manifest-list"));
    struct arena arena = {0};
    struct buf bytes = {0};
    struct manifest_file *files = NULL;
    struct error err;
    size_t count = 0;
    bool named = url == NULL || is_key_of(world, url, key);
    if (!named && get_url(world, url, &bytes) &&
        manifest_list_decode(&files, &count, &arena, buf_slice(&bytes), &err) == OK)
        for (size_t i = 0; i < count && !named; i++)
            named = is_key_of(world, files[i].path, key);
    buf_free(&bytes);
    arena_free(&arena);
    return named;
}

static bool is_retained(struct world *world, const char *key)
{
    bool named = false;
    for (size_t i = 0; i < world->table_count && !named; i++) {
        struct error err;
        struct catalog_table loaded = {0};
        bool found = false;
        if (catalog_load_table(world->plain_catalog, "db", world->mapping[0][i].schema.table,
                               &loaded, &found, &err) != OK ||
            !found)
            continue;
        const json_t *snapshots = json_object_get(loaded.metadata, "snapshots");
        for (size_t k = 0; k < json_array_size(snapshots) && !named; k++)
            named = snapshot_names(world, json_array_get(snapshots, k), key);
        catalog_table_free(&loaded);
    }
    return named;
}

bool world_may_remove(struct world *world, const char *key)
{
    const char *metadata = strstr(key, "/metadata/");
    if (metadata != NULL && strcmp(key + strlen(key) - 5, ".avro") == 0)
        return !is_retained(world, key);
    if (strncmp(key, "_bidlake/dropped/", 17) == 0)
        return true;
    if (strncmp(key, "_bidlake/inbox/", 15) == 0)
        return is_dead(world, key);
    if (strncmp(key, "_bidlake/ledger/", 16) == 0)
        return is_older(world, key, 7);
    return strncmp(key, "_bidlake/refused/", 17) == 0 && is_older(world, key, 30);
}

/* ---- spools ---- */

static bool alarm_stands(const struct world *world, const struct stream_fate *fate)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        const struct actor *actor = &world->actors[i];
        for (size_t k = 0; k < actor->standing_count; k++) {
            const struct alarm *alarm = &actor->standing[k];
            if (strcmp(alarm->table, world->table[fate->table]) == 0 &&
                (alarm->stream[0] == 0 || strcmp(alarm->stream, fate->name) == 0 ||
                 strcmp(alarm->stream, fate->hash) == 0))
                return true;
        }
    }
    return false;
}

typedef void visit_stream(struct world *world, const struct actor *agent,
                          const struct spool_stream *stream, void *context);

/* The streams of all spools, open ones through their own handle: LMDB must not be
 * opened twice in one process. */
static void visit_spools(struct world *world, visit_stream *visit, void *context)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        struct error err;
        struct actor *actor = &world->actors[i];
        struct arena arena = {0};
        struct spool_streams streams = {0};
        struct spool *own = NULL;
        if (actor->kind != ACTOR_AGENT || (actor->lives && actor->life == NULL) ||
            actor->lifetimes == 0)
            continue;
        /* ERROR_RETRY: it could not open it anew, so nobody has it open. */
        int rc = actor->life != NULL
                     ? spool_list_streams(actor->life->spool, &arena, &streams, &err)
                     : ERROR_RETRY;
        if (rc == ERROR_RETRY) {
            struct spool_options options;
            world_spool_options(actor, &options);
            options.read_only = true;
            rc = spool_open(&own, &options, &err);
            if (rc == OK)
                rc = spool_list_streams(own, &arena, &streams, &err);
        }
        for (size_t s = 0; rc == OK && s < streams.count; s++)
            visit(world, actor, &streams.streams[s], context);
        /* ERROR_INPUT: it crashed before its first transaction, there is nothing in it. */
        if (rc != OK && rc != ERROR_INPUT)
            world_fail(world, "spool of agent %zu: %s", i, err.text);
        arena_free(&arena);
        spool_close(own);
    }
}

static void look_for_work(struct world *world, const struct actor *agent,
                          const struct spool_stream *stream, void *context)
{
    bool *quiet = context;
    (void)agent;
    if (stream->next >= stream->end)
        return;
    const struct stream_fate *fate = world_fate(world, stream->name);
    if (!world->disk_put_back || (fate->next <= stream->sealed && !alarm_stands(world, fate)))
        *quiet = false;
}

static void look_into_inbox(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    size_t *count = context;
    (void)bytes;
    (void)modified_ms;
    *count += strncmp(key, "_bidlake/inbox/", 15) == 0;
}

bool world_is_quiet(struct world *world)
{
    bool quiet = true;
    size_t inbox = 0;
    memory_store_visit(world->store, look_into_inbox, &inbox);
    if (inbox > 0 && !world->disk_put_back)
        return false;
    visit_spools(world, look_for_work, &quiet);
    return quiet;
}

/* ---- what was answered ---- */

static void check_trimmed(struct world *world, const struct actor *agent,
                          const struct spool_stream *stream, void *context)
{
    uint64_t *covered = context;
    struct stream_fate *fate = world_fate(world, stream->name);
    if (stream->begin > fate->next)
        world_fail(world, "agent %zu let go of %s up to %" PRIu64 ", the ledger's next is %" PRIu64,
                   agent->number, stream->name, stream->begin, fate->next);
    size_t number = (size_t)(fate - world->fates);
    if (number < *covered) /* the first element is the number of the others */
        covered[number + 1] = stream->end > covered[number + 1] ? stream->end : covered[number + 1];
}

/* Each answered event is in a spool or in the table at any time. An agent that is just
 * opening its spool can't be asked. */
static void check_spools(struct world *world)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        if (world->actors[i].kind == ACTOR_AGENT && world->actors[i].lives &&
            world->actors[i].life == NULL)
            return;
    }
    size_t count = world->fate_count;
    uint64_t *covered = memory_alloc(count + 1, sizeof *covered);
    covered[0] = count;
    visit_spools(world, check_trimmed, covered);
    /* Behind a disk that forgot there may be nothing but the announcement; whether it
     * arrives is seen in the end. */
    for (size_t i = 0; i < count && !world->failed && !world->disk_put_back; i++) {
        const struct stream_fate *fate = &world->fates[i];
        uint64_t end = fate->end < fate->exempt_from ? fate->end : fate->exempt_from;
        if (end > fate->next && end > covered[i + 1])
            world_fail(world, "%s: answered up to %" PRIu64 ", and in no spool", fate->name, end);
    }
    free(covered);
}

static void check_arrived(struct world *world)
{
    for (size_t i = 0; i < world->fate_count && !world->failed; i++) {
        const struct stream_fate *fate = &world->fates[i];
        uint64_t end = fate->end < fate->exempt_from ? fate->end : fate->exempt_from;
        if (fate->next < end && !(world->disk_put_back && alarm_stands(world, fate)))
            world_fail(world, "%s: answered up to %" PRIu64 ", the table has it up to %" PRIu64,
                       fate->name, end, fate->next);
    }
    for (size_t i = 0; i < world->actor_count && !world->failed; i++) {
        const struct actor *actor = &world->actors[i];
        if (world->disk_put_back)
            continue;
        if (actor->standing_count > 0)
            world_fail(world, "an alarm without a cause on %s %s", actor->standing[0].table,
                       actor->standing[0].stream);
        if (actor->alarms > 0 && world->rates.stale == 0)
            world_fail(world, "agent %zu alarmed without a cause", actor->number);
    }
    if (!world->failed && !world_is_quiet(world))
        world_fail(world, "faults have stopped, and something is left in inbox or spools");
}

/* What a full disk let go after it was announced is lost when the file is gone, or is
 * taken for gone by a read that was stale. */
static bool may_miss_let_go(const struct world *world)
{
    return world->filler > 0 && (world->files_removed || world->rates.stale > 0);
}

void world_check(struct world *world, bool settled)
{
    char key[OBJSTORE_KEY_MAX + 1];
    world_mend_mess(world);
    world_watch_ledgers(world);
    for (size_t i = 0; i < world->table_count && !world->failed; i++)
        check_table(world, i);
    if (!world->failed)
        check_spools(world);
    if (!world->failed && settled)
        check_arrived(world);
    if (world_lost(world) > 0 && !world->blocks_damaged && !world->drop_oldest &&
        !may_miss_let_go(world))
        world_fail(world, "%" PRIu64 " events are counted as lost, for no reason",
                   world_lost(world));
    /* A name whose file was deleted before it was committed may stand for other bytes the
     * second time: nobody can have read the first. */
    if (!world->files_removed && memory_store_rewritten(world->store, ".parquet", key))
        world_fail(world, "%s: two contents under one name", key);
}
