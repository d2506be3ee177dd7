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

static void remove_object(struct world *world, const char *prefix, const char *suffix)
{
    struct error err;
    struct pick pick;
    if (pick_object(world, &pick, prefix, suffix)) {
        world_note(world, "MISCHIEF removes %s", pick.key);
        if (objstore_remove(world->plain_store, pick.key, &err) != OK)
            world_fail(world, "%s", err.text);
    }
    buf_free(&pick.bytes);
}

/* An old receipt over the newer one: written late by a slow committer. */
static void bring_receipt_back(struct world *world)
{
    struct error err;
    struct pick pick;
    struct receipt receipt;
    struct buf bytes = {0};
    if (pick_object(world, &pick, "_bidlake/receipts/", ".json")) {
        receipt_init(&receipt);
        if (receipt_decode(&receipt, buf_slice(&pick.bytes), &err) == OK && receipt.next > 0) {
            receipt.next = random_below(&world->random, receipt.next);
            world_note(world, "MISCHIEF puts receipt of %s back to %llu", receipt.stream,
                       (unsigned long long)receipt.next);
            receipt_encode(&receipt, &bytes);
            if (objstore_put_bytes(world->plain_store, pick.key, buf_slice(&bytes), PUT_ALWAYS,
                                   &err) != OK)
                world_fail(world, "%s", err.text);
        }
        receipt_free(&receipt);
    }
    buf_free(&bytes);
    buf_free(&pick.bytes);
}

/* A file that no snapshot names yet may vanish (a clean-up that takes it for an orphan),
 * as long as no committer is between looking at it and sending. */
static bool committers_rest(const struct world *world)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        const struct actor *actor = &world->actors[i];
        if (actor->kind == ACTOR_COMMITTER && actor->lives &&
            actor->sleep_until_ms <= world->mono_ms)
            return false;
    }
    return memory_catalog_late_count(world->catalog) == 0;
}

struct find_next {
    char hash[STREAM_HASH_SIZE];
    uint64_t next;
};

static void find_stream(void *context, const char *stream, uint64_t next, int64_t at_ms,
                        const struct lost_range *lost, size_t lost_count)
{
    struct find_next *find = context;
    char hash[STREAM_HASH_SIZE];
    (void)at_ms;
    (void)lost;
    (void)lost_count;
    stream_hash(stream, hash);
    if (strcmp(hash, find->hash) == 0)
        find->next = next;
}

/* The ledger's next of the stream that a data file's name tells; UINT64_MAX when the
 * table can't be read. */
static uint64_t next_of_file(struct world *world, size_t table, const char *name)
{
    struct error err;
    struct catalog_table loaded = {0};
    struct ledger *ledger = NULL;
    struct buf bytes = {0};
    struct objstore_info info = {0};
    bool found = false;
    struct find_next find = {.next = UINT64_MAX};
    memcpy(find.hash, name, STREAM_HASH_SIZE - 1);
    if (catalog_load_table(world->plain_catalog, "db", world->mapping[table].schema.table, &loaded,
                           &found, &err) != OK ||
        !found)
        return UINT64_MAX;
    const char *pointer = metadata_property_borrow(loaded.metadata, "bidlake.ledger");
    if (pointer != NULL &&
        objstore_get(world->plain_store, pointer, LEDGER_BYTES_MAX, &bytes, &info, &err) == OK &&
        info.found && ledger_decode(&ledger, buf_slice(&bytes), &err) == OK) {
        find.next = 0;
        ledger_visit_streams(ledger, find_stream, &find);
    }
    ledger_free(ledger);
    buf_free(&bytes);
    catalog_table_free(&loaded);
    return find.next;
}

static void remove_uncommitted_file(struct world *world)
{
    struct error err;
    struct pick pick;
    size_t table = random_below(&world->random, world->table_count);
    char prefix[128];
    snprintf(prefix, sizeof prefix, "db/%s/data/", world->mapping[table].schema.table);
    if (committers_rest(world) && pick_object(world, &pick, prefix, ".parquet")) {
        const char *name = strrchr(pick.key, '/') + 1;
        uint64_t from = strtoull(name + STREAM_HASH_SIZE, NULL, 10);
        if (strlen(name) > STREAM_HASH_SIZE && from >= next_of_file(world, table, name)) {
            world_note(world, "MISCHIEF removes %s", pick.key);
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
    for (size_t i = 0; i < world->actor_count; i++) {
        struct actor *actor = &world->actors[i];
        if (actor != but && actor->kind == ACTOR_AGENT && !actor->lives)
            return actor;
    }
    return NULL;
}

/* A copy of one agent's disk becomes another's (golden image), is kept for later (a
 * backup), or an old copy is put back (a disk that lied, a volume rolled back). */
static void disturb_disks(struct world *world)
{
    struct actor *agent = closed_agent(world, NULL);
    if (agent == NULL || access(agent->directory, F_OK) != 0)
        return;
    char backup[300];
    snprintf(backup, sizeof backup, "%s/backup-%zu", world->base, agent->number);
    uint64_t what = random_below(&world->random, 3);
    struct actor *other = closed_agent(world, agent);
    if (what == 0 && other != NULL && other->lifetimes == 0) {
        world_note(world, "MISCHIEF copies the disk of agent %zu to agent %zu", agent->number,
                   other->number);
        world_copy_spool(agent->directory, other->directory);
    } else if (what == 1) {
        world_note(world, "MISCHIEF keeps a copy of the disk of agent %zu", agent->number);
        world_copy_spool(agent->directory, backup);
        agent->backup_at = world->answered_count;
        agent->has_backup = true;
    } else if (what == 2 && agent->has_backup) {
        world_note(world, "MISCHIEF puts the disk of agent %zu back", agent->number);
        world_copy_spool(backup, agent->directory);
        for (size_t i = agent->backup_at; i < world->answered_count; i++)
            world->answered[i].exempt =
                world->answered[i].exempt || world->answered[i].agent == agent->number;
    }
}

void world_mischief(struct world *world)
{
    if (closed_agent(world, NULL) != NULL && random_below(&world->random, 4) == 0)
        disturb_disks(world);
    if (random_below(&world->random, 300) != 0)
        return;
    switch (random_below(&world->random, 4)) {
    case 0:
        remove_object(world, "_bidlake/receipts/", ".json");
        break;
    case 1:
        remove_object(world, "_bidlake/inbox/", ".json");
        break;
    case 2:
        bring_receipt_back(world);
        break;
    default:
        remove_uncommitted_file(world);
    }
}
