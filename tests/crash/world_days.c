/* SPDX-License-Identifier: Apache-2.0
 *
 * Days that pass while machines are paused, and another engine's clean-up: it lists what
 * no snapshot names and is older than three days, and deletes by that list some time
 * later, whatever has been committed meanwhile.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "tests/crash/world.h"

enum { HOURS_MAX = 25 * 24 /* before streams retire */, ORPHAN_HOURS = 72, HOUR_MS = 3600000 };
enum { FREEZES = 25, SKIPS = 60, LISTS = 40, DELETES = 25, FROZEN_STEPS_MAX = 80 };

/* A paused machine: others go on, and time does. */
static void freeze(struct world *world)
{
    struct actor *actor = &world->actors[random_below(&world->random, world->actor_count)];
    actor->frozen_steps = 1 + (unsigned)random_below(&world->random, FROZEN_STEPS_MAX);
    world_note(world, "MISCHIEF freezes actor %zu", actor->number);
}

/* A request that is on its way arrives within the hour or never. Nothing guards against a
 * machine that is paused for days between its look at the clock and its send. */
static void skip_hours(struct world *world)
{
    unsigned hours = 1 + (unsigned)random_below(&world->random, 100);
    for (size_t i = 0; i < world->actor_count; i++) {
        if (world->actors[i].sending)
            return;
    }
    if (world->hours + hours > HOURS_MAX)
        return;
    while (memory_store_late_count(world->store) > 0)
        memory_store_apply_late(world->store, 0);
    while (memory_catalog_late_count(world->catalog) > 0)
        memory_catalog_apply_late(world->catalog, 0);
    world_note(world, "MISCHIEF lets %u hours pass", hours);
    world->hours += hours;
    world_pass_ms(world, (int64_t)hours * HOUR_MS);
}

/* ---- clean-ups ---- */

struct listing {
    struct world *world;
    int64_t before_ms;
    size_t named_count;
    char **named;
};

static void add_key(char ***keys, size_t *count, const char *key)
{
    *keys = memory_resize(*keys, *count + 1, sizeof **keys);
    (*keys)[(*count)++] = memory_copy_cstr(key);
}

static void keys_free(char ***keys, size_t *count)
{
    for (size_t i = 0; i < *count; i++)
        free((*keys)[i]);
    free(*keys);
    *keys = NULL;
    *count = 0;
}

static void note_named(void *context, const char *key)
{
    struct listing *listing = context;
    add_key(&listing->named, &listing->named_count, key);
}

static void list_orphan(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    struct listing *listing = context;
    size_t len = strlen(key);
    (void)bytes;
    if (strncmp(key, "db/", 3) != 0 || modified_ms >= listing->before_ms || len < 5 ||
        strcmp(key + len - 5, ".json") == 0) /* metadata has a clean-up of its own */
        return;
    for (size_t i = 0; i < listing->named_count; i++) {
        if (strcmp(listing->named[i], key) == 0)
            return;
    }
    add_key(&listing->world->orphans, &listing->world->orphan_count, key);
}

void world_days_free(struct world *world)
{
    keys_free(&world->orphans, &world->orphan_count);
}

static void list_orphans(struct world *world)
{
    struct listing listing = {.world = world,
                              .before_ms = world->wall_us / 1000 - (int64_t)ORPHAN_HOURS * HOUR_MS};
    world_days_free(world);
    for (size_t i = 0; i < world->table_count; i++)
        world_visit_named(world, i, note_named, &listing);
    memory_store_visit(world->store, list_orphan, &listing);
    keys_free(&listing.named, &listing.named_count);
    if (world->orphan_count > 0)
        world_note(world, "MISCHIEF a clean-up lists %zu orphans", world->orphan_count);
}

static void delete_orphans(struct world *world)
{
    struct error err;
    /* The only copy of what a disk forgot would be gone. */
    for (size_t i = 0; i < world->orphan_count && !world->disk_put_back; i++) {
        world_note(world, "MISCHIEF a clean-up deletes %s", world->orphans[i]);
        world->files_removed = true;
        if (objstore_remove(world->plain_store, world->orphans[i], &err) != OK)
            world_fail(world, "%s", err.text);
    }
    world_days_free(world);
}

void world_days(struct world *world)
{
    if (random_below(&world->random, FREEZES) == 0)
        freeze(world);
    if (random_below(&world->random, SKIPS) == 0)
        skip_hours(world);
    if (world->hours > ORPHAN_HOURS && random_below(&world->random, LISTS) == 0)
        list_orphans(world);
    if (world->orphan_count > 0 && random_below(&world->random, DELETES) == 0)
        delete_orphans(world);
}
