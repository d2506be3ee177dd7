/* SPDX-License-Identifier: Apache-2.0
 *
 * Hands from outside: objects that vanish or come back, disks that are copied, put back
 * or damaged.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/announce/announce.h"
#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "tests/crash/world.h"

/* Picks one object below a prefix, each with the same chance. */
struct pick {
    struct random *random;
    const char *prefix;
    const char *suffix;
    size_t seen;
    char key[OBJSTORE_KEY_MAX + 1];
    struct buf bytes;
};

static void pick_one(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    struct pick *pick = context;
    (void)modified_ms;
    size_t len = strlen(key);
    size_t end = strlen(pick->suffix);
    if (strncmp(key, pick->prefix, strlen(pick->prefix)) != 0 || len < end ||
        strcmp(key + len - end, pick->suffix) != 0)
        return;
    pick->seen++;
    if (random_below(pick->random, pick->seen) != 0)
        return;
    snprintf(pick->key, sizeof pick->key, "%s", key);
    buf_reset(&pick->bytes);
    buf_put_slice(&pick->bytes, bytes);
}

static bool pick_object(struct world *world, struct pick *pick, const char *prefix,
                        const char *suffix)
{
    *pick = (struct pick){.random = &world->random, .prefix = prefix, .suffix = suffix};
    memory_store_visit(world->store, pick_one, pick);
    return pick->seen > 0;
}

bool world_remove_object(struct world *world, const char *prefix, const char *suffix)
{
    struct error err;
    struct pick pick;
    bool found = pick_object(world, &pick, prefix, suffix);
    if (found) {
        world_note(world, "MISCHIEF removes %s", pick.key);
        if (objstore_remove(world->plain_store, pick.key, &err) != OK)
            world_fail(world, "%s", err.text);
    }
    buf_free(&pick.bytes);
    return found;
}

void world_move_receipt(struct world *world, const char *stream, uint64_t next)
{
    struct error err;
    struct receipt receipt;
    struct buf bytes = {0};
    struct buf key = {0};
    world_note(world, "MISCHIEF puts the receipt of %s to %llu", stream, (unsigned long long)next);
    receipt_init(&receipt);
    receipt.stream = stream;
    receipt.next = next;
    receipt.committed_at_ms = world->wall_us / 1000;
    receipt_encode(&receipt, &bytes);
    receipt_free(&receipt);
    key_of_receipt(stream, &key);
    if (objstore_put_bytes(world->plain_store, buf_cstr(&key), buf_slice(&bytes), PUT_ALWAYS,
                           &err) != OK)
        world_fail(world, "%s", err.text);
    buf_free(&bytes);
    buf_free(&key);
}

/* An old receipt over the newer one: written late by a slow committer. The control: one
 * that runs ahead. */
static void bring_receipt_back(struct world *world)
{
    if (world->fate_count == 0)
        return;
    const struct stream_fate *fate = &world->fates[random_below(&world->random, world->fate_count)];
    if (world->control == CONTROL_RECEIPTS && fate->end > fate->next)
        world_move_receipt(world, fate->name, fate->end);
    else if (fate->next > 0)
        world_move_receipt(world, fate->name, random_below(&world->random, fate->next));
}

/* A file that no snapshot names yet may vanish (a clean-up that takes it for an orphan),
 * as long as no committer is between looking at it and sending. */
static bool committers_rest(const struct world *world)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        if (world->actors[i].in_turn)
            return false;
    }
    return memory_catalog_late_count(world->catalog) == 0;
}

/* The ledger's next of the stream that a data file's name tells. */
static uint64_t next_of_file(struct world *world, const char *name)
{
    world_watch_ledgers(world);
    for (size_t i = 0; i < world->fate_count; i++) {
        if (strncmp(world->fates[i].hash, name, STREAM_HASH_SIZE - 1) == 0)
            return world->fates[i].next;
    }
    return 0;
}

static void remove_uncommitted_file(struct world *world)
{
    struct error err;
    struct pick pick;
    size_t table = random_below(&world->random, world->table_count);
    char prefix[128];
    snprintf(prefix, sizeof prefix, "db/%s/data/", world->mapping[0][table].schema.table);
    if (committers_rest(world) && pick_object(world, &pick, prefix, ".parquet")) {
        const char *name = strrchr(pick.key, '/') + 1;
        uint64_t from = strtoull(name + STREAM_HASH_SIZE, NULL, 10);
        if (strlen(name) > STREAM_HASH_SIZE && from >= next_of_file(world, name)) {
            world_note(world, "MISCHIEF removes %s", pick.key);
            world->files_removed = true;
            if (objstore_remove(world->plain_store, pick.key, &err) != OK)
                world_fail(world, "%s", err.text);
        }
        buf_free(&pick.bytes);
    }
}

/* ---- disks ---- */

void world_copy_spool(const char *from, const char *to)
{
    static const char *const names[] = {"data.mdb"};
    struct error err;
    int rc = file_remove_tree(to, &err);
    if (rc == OK)
        rc = file_make_directories(to, 0700, &err);
    for (size_t i = 0; rc == OK && i < sizeof names / sizeof names[0]; i++) {
        struct buf bytes = {0};
        char *source = memory_printf("%s/%s", from, names[i]);
        char *target = memory_printf("%s/%s", to, names[i]);
        if (access(source, F_OK) == 0) {
            rc = file_read(source, SIZE_MAX / 2, &bytes, &err);
            if (rc == OK)
                rc = file_replace(target, buf_slice(&bytes), 0600, &err);
        }
        buf_free(&bytes);
        free(source);
        free(target);
    }
    if (rc != OK)
        fprintf(stderr, "%s\n", err.text);
    ASSERT(rc == OK);
}

static struct actor *closed_agent(struct world *world, const struct actor *but)
{
    struct actor *picked = NULL;
    uint64_t seen = 0;
    for (size_t i = 0; i < world->actor_count; i++) {
        struct actor *actor = &world->actors[i];
        if (actor != but && actor->kind == ACTOR_AGENT && !actor->lives &&
            random_below(&world->random, ++seen) == 0)
            picked = actor;
    }
    return picked;
}

/* The end of what is announced and will not be announced over: objects that follow each
 * other from `from` on. */
static uint64_t announced_to(struct world *world, const struct stream_fate *fate, uint64_t from)
{
    for (;;) {
        struct error err;
        struct buf key = {0};
        struct buf bytes = {0};
        struct objstore_info info = {0};
        struct announcement announcement;
        announcement_init(&announcement);
        key_of_announcement(world->table[fate->table], fate->name, from, &key);
        bool found = objstore_get(world->plain_store, buf_cstr(&key), ANNOUNCEMENT_BYTES_MAX,
                                  &bytes, &info, &err) == OK &&
                     info.found &&
                     announcement_decode(&announcement, buf_slice(&bytes), &err) == OK;
        from = found ? announcement.to : from;
        announcement_free(&announcement);
        buf_free(&key);
        buf_free(&bytes);
        if (!found)
            return from;
    }
}

/* An announcement that reaches further than what the older disk would announce of the same
 * `from` stays. A stale read may hide it, a refusal may have it built again. */
static uint64_t kept_by_announcements(struct world *world, struct spool *spool,
                                      const struct spool_stream *stream,
                                      const struct stream_fate *fate)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = 0;
    uint64_t kept = 0;
    if (world->rates.stale > 0 || world->upgrades || world->blocks_damaged || world->drop_oldest)
        return 0;
    if (spool_list_segments(spool, stream->name, &arena, &segments, &count, &err) != OK)
        count = 0;
    for (size_t i = 0; i <= count; i++) {
        uint64_t from = i < count ? segments[i].from : stream->sealed;
        if (from < fate->next || (i < count && segments[i].generation > 1))
            continue;
        uint64_t to = announced_to(world, fate, from);
        kept = to > stream->end && to > kept ? to : kept;
    }
    arena_free(&arena);
    return kept;
}

void world_exempt_forgotten(struct world *world, struct actor *agent, const char *backup)
{
    struct error err;
    struct spool *spool = NULL;
    struct spool_options options;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    world_spool_options(agent, &options);
    options.directory = backup;
    options.read_only = true;
    int rc = spool_open(&spool, &options, &err);
    if (rc == OK)
        rc = spool_list_streams(spool, &arena, &streams, &err);
    world_watch_ledgers(world);
    for (size_t i = 0; i < world->fate_count; i++) {
        struct stream_fate *fate = &world->fates[i];
        uint64_t kept = fate->next;
        if (fate->agent != agent->number)
            continue;
        uint64_t further = 0;
        for (size_t k = 0; k < streams.count; k++) {
            if (strcmp(streams.streams[k].name, fate->name) != 0)
                continue;
            if (streams.streams[k].end > kept)
                kept = streams.streams[k].end;
            further = kept_by_announcements(world, spool, &streams.streams[k], fate);
        }
        kept = announced_to(world, fate, kept);
        kept = further > kept ? further : kept;
        if (kept < fate->end && kept < fate->exempt_from)
            fate->exempt_from = kept;
    }
    world->disk_put_back = true;
    arena_free(&arena);
    spool_close(spool);
}

/* A copy of one agent's disk becomes another's (golden image), is kept for later (a
 * backup), or an old copy is put back (a disk that lied, a volume rolled back). */
static void disturb_disks(struct world *world)
{
    struct actor *agent = closed_agent(world, NULL);
    if (agent == NULL || agent->lifetimes == 0)
        return;
    char backup[300];
    snprintf(backup, sizeof backup, "%s/backup-%zu", world->base, agent->number);
    uint64_t what = random_below(&world->random, 4);
    struct actor *other = closed_agent(world, agent);
    if (what == 0 && other != NULL && other->lifetimes == 0) {
        world_note(world, "MISCHIEF copies the disk of agent %zu to agent %zu", agent->number,
                   other->number);
        world_copy_spool(agent->directory, other->directory);
    } else if (what == 1) {
        world_note(world, "MISCHIEF keeps a copy of the disk of agent %zu", agent->number);
        world_copy_spool(agent->directory, backup);
        agent->has_backup = true;
    } else if (what == 2 && agent->has_backup && !world->files_removed) {
        /* A lost object that only the forgotten records could replace is lost for good:
         * one of the two at a time. */
        world_note(world, "MISCHIEF puts the disk of agent %zu back", agent->number);
        world_exempt_forgotten(world, agent, backup);
        world_copy_spool(backup, agent->directory);
    } else if (what == 3) {
        world_damage_block(world, agent);
    }
}

/* Rows hold the filler of their event; where it stands in data.mdb is a row's inside.
 * LMDB leaves older copies of a page behind: the same event is damaged in all of them. */
static bool damage_event(struct random *random, struct buf *bytes)
{
    static const char mark[] = "FILLER";
    enum { MARK = sizeof mark - 1, BEFORE = 40 };
    uint8_t window[BEFORE + MARK];
    size_t at = 0;
    uint64_t seen = 0;
    for (size_t i = BEFORE; i + MARK <= bytes->len; i++) {
        const uint8_t *found = memmem(bytes->data + i, bytes->len - i, mark, MARK);
        if (found == NULL)
            break;
        i = (size_t)(found - bytes->data);
        if (random_below(random, ++seen) == 0)
            at = i;
    }
    if (seen == 0)
        return false;
    memcpy(window, bytes->data + at - BEFORE, sizeof window);
    for (size_t i = 0; i + sizeof window <= bytes->len; i++) {
        uint8_t *found = memmem(bytes->data + i, bytes->len - i, window, sizeof window);
        if (found == NULL)
            break;
        found[BEFORE] ^= 0x20;
        i = (size_t)(found - bytes->data);
    }
    return true;
}

bool world_damage_block(struct world *world, struct actor *agent)
{
    struct error err;
    struct buf bytes = {0};
    char *path = memory_printf("%s/data.mdb", agent->directory);
    int rc = access(path, F_OK) == 0 ? file_read(path, SIZE_MAX / 2, &bytes, &err) : ERROR_IO;
    bool damaged = rc == OK && damage_event(&world->random, &bytes);
    if (damaged) {
        world_note(world, "MISCHIEF damages a block of agent %zu", agent->number);
        rc = file_replace(path, buf_slice(&bytes), 0600, &err);
        world->blocks_damaged = true;
    }
    buf_free(&bytes);
    free(path);
    return damaged && rc == OK;
}

/* ---- objects, clocks, other engines ---- */

static void leap(struct world *world)
{
    struct actor *actor = &world->actors[random_below(&world->random, world->actor_count)];
    static const int64_t leaps_s[] = {-3600, -20, 0, 20, 3600};
    actor->leap_us = leaps_s[random_below(&world->random, 5)] * 1000000;
    world_note(world, "MISCHIEF sets the clock of actor %zu off by %lld s", actor->number,
               (long long)(actor->leap_us / 1000000));
}

static void disturb_objects(struct world *world)
{
    size_t table = random_below(&world->random, world->table_count);
    switch (random_below(&world->random, 8)) {
    case 0:
        world_remove_object(world, "_bidlake/receipts/", ".json");
        break;
    case 1:
        if (!world->disk_put_back)
            world->files_removed |= world_remove_object(world, "_bidlake/inbox/", ".json");
        break;
    case 2:
        bring_receipt_back(world);
        break;
    case 3:
        if (!world->disk_put_back)
            remove_uncommitted_file(world);
        break;
    case 4:
        leap(world);
        break;
    case 5:
        world_foreign_snapshot(world, table, "main");
        break;
    case 6:
        world_foreign_snapshot(world, table, "audit");
        break;
    default:
        if (world->upgrades)
            world_grow_table(world, table);
    }
}

/* A newer program: other bytes for the same range, perhaps a column more. */
static void upgrade_somebody(struct world *world)
{
    struct actor *actor = &world->actors[random_below(&world->random, world->actor_count)];
    actor->roller_level = 1 + (int)random_below(&world->random, 3);
    actor->mapping = random_below(&world->random, MAPPINGS_MAX);
}

void world_mischief(struct world *world)
{
    enum { DISKS = 16, OBJECTS = 120, UPGRADES = 200, MESSES = 500, MENDS = 40 };
    if (random_below(&world->random, DISKS) == 0)
        disturb_disks(world);
    if (random_below(&world->random, OBJECTS) == 0) {
        world->mischiefs++;
        disturb_objects(world);
    }
    if (random_below(&world->random, MESSES) == 0)
        world_make_mess(world);
    if (world->mess != NULL && random_below(&world->random, MENDS) == 0)
        world_mend_mess(world);
    if (world->long_lived)
        world_days(world);
    if (world->upgrades && random_below(&world->random, UPGRADES) == 0)
        upgrade_somebody(world);
}

static void count_object(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    struct pick *pick = context;
    (void)bytes;
    (void)modified_ms;
    pick->seen += strncmp(key, pick->prefix, strlen(pick->prefix)) == 0;
}

size_t world_count_objects(struct world *world, const char *prefix)
{
    struct pick pick = {.prefix = prefix};
    memory_store_visit(world->store, count_object, &pick);
    return pick.seen;
}
