/* SPDX-License-Identifier: Apache-2.0
 *
 * What the seed lets fail: operations of store and catalog, and the process itself at
 * any of them or at a named point.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/fault.h"
#include "tests/crash/world.h"

static bool one_in_thousand(struct world *world, unsigned times)
{
    return world->faults_on && times > 0 && random_below(&world->random, 1000) < times;
}

static const char *kind_name(const struct actor *actor)
{
    return actor->kind == ACTOR_AGENT ? "agent" : "committer";
}

static void crash(struct actor *actor, const char *where)
{
    actor->dead = true;
    actor->world->crashes++;
    world_note(actor->world, "%s %zu crashes in %s", kind_name(actor), actor->number, where);
}

/* Hands over first: whatever the others do now comes between this actor's last decision
 * and the operation that it decided on. True: the operation is done. */
static bool before_operation(struct actor *actor, const char *what)
{
    struct world *world = actor->world;
    world->operations++;
    if (!actor->dead)
        fiber_yield();
    if (!actor->dead && one_in_thousand(world, world->rates.crash)) {
        crash(actor, what);
        return random_below(&world->random, 2) == 0;
    }
    return !actor->dead;
}

/* The agent's rights, and what a committer may delete. */
static void check_rights(struct actor *actor, enum memory_operation operation, const char *key)
{
    struct world *world = actor->world;
    if (actor->kind == ACTOR_AGENT) {
        bool data = strstr(key, "/data/") != NULL;
        bool inbox = strncmp(key, "_bidlake/inbox/", 15) == 0;
        bool hints = strncmp(key, "_bidlake/tables/", 16) == 0 ||
                     strncmp(key, "_bidlake/receipts/", 18) == 0;
        bool fine = operation == MEMORY_PUT    ? data || inbox
                    : operation == MEMORY_GET  ? hints || inbox
                    : operation == MEMORY_HEAD ? data
                                               : false;
        if (!fine)
            world_fail(world, "agent %zu has no right to do %d on %s", actor->number,
                       (int)operation, key);
    } else if (operation == MEMORY_REMOVE && !world_may_remove(world, key)) {
        world_fail(world, "committer %zu deletes %s, which lives", actor->number, key);
    }
}

static enum memory_fault draw_store_fault(struct world *world, enum memory_operation operation)
{
    bool reading = operation == MEMORY_GET || operation == MEMORY_HEAD || operation == MEMORY_LIST;
    if (one_in_thousand(world, world->rates.before))
        return MEMORY_FAULT_BEFORE;
    if (!reading && one_in_thousand(world, world->rates.after))
        return MEMORY_FAULT_AFTER;
    if (operation == MEMORY_PUT && one_in_thousand(world, world->rates.late))
        return MEMORY_FAULT_LATE;
    /* A store that shows a file which somebody deleted can't be guarded against. */
    bool unfair = operation == MEMORY_HEAD && world->files_removed;
    if (reading && !unfair && one_in_thousand(world, world->rates.stale))
        return MEMORY_FAULT_STALE;
    return MEMORY_FAULT_NONE;
}

enum memory_fault world_store_hook(void *context, enum memory_operation operation, const char *key)
{
    static const char *const operations[] = {"put", "head", "get", "list", "remove", "copy"};
    static const char *const faults[] = {"", " FAILS", " answer LOST", " LATE", " STALE"};
    struct actor *actor = context;
    bool was_dead = actor->dead;
    if (!before_operation(actor, key))
        return MEMORY_FAULT_BEFORE;
    if (actor->store_script != NULL)
        return actor->store_script(actor, operation, key);
    check_rights(actor, operation, key);
    if (actor->dead && !was_dead)
        return MEMORY_FAULT_AFTER; /* its last operation arrived, the answer didn't */
    enum memory_fault fault = draw_store_fault(actor->world, operation);
    actor->world->faults += fault != MEMORY_FAULT_NONE;
    world_note(actor->world, "%s %zu %s %s%s", kind_name(actor), actor->number,
               operations[operation], key, faults[fault]);
    return fault;
}

static enum catalog_fault draw_catalog_fault(struct world *world, enum catalog_operation operation)
{
    /* Swaps are few beside the operations of the store, and matter most. */
    enum { MORE = 4 };
    if (one_in_thousand(world, world->rates.before))
        return CATALOG_FAULT_BEFORE;
    if (operation == CATALOG_LOAD)
        return one_in_thousand(world, world->rates.stale * MORE) ? CATALOG_FAULT_STALE
                                                                 : CATALOG_FAULT_NONE;
    if (one_in_thousand(world, world->rates.after * MORE))
        return CATALOG_FAULT_AFTER;
    if (operation == CATALOG_COMMIT && one_in_thousand(world, world->rates.late * MORE))
        return CATALOG_FAULT_LATE;
    if (operation == CATALOG_COMMIT && one_in_thousand(world, world->rates.duplicate * MORE))
        return CATALOG_FAULT_DUPLICATE;
    return CATALOG_FAULT_NONE;
}

enum catalog_fault world_catalog_hook(void *context, enum catalog_operation operation)
{
    static const char *const operations[] = {"load", "create", "commit"};
    static const char *const faults[] = {"",      " FAILS",      " answer LOST",
                                         " LATE", " DUPLICATED", " STALE"};
    struct actor *actor = context;
    bool was_dead = actor->dead;
    actor->sending = operation == CATALOG_COMMIT;
    bool goes_on = before_operation(actor, "catalog");
    actor->sending = false;
    if (!goes_on)
        return CATALOG_FAULT_BEFORE;
    if (actor->catalog_script != NULL)
        return actor->catalog_script(actor, operation);
    if (actor->dead && !was_dead)
        return CATALOG_FAULT_AFTER;
    enum catalog_fault fault = draw_catalog_fault(actor->world, operation);
    actor->world->faults += fault != CATALOG_FAULT_NONE;
    world_note(actor->world, "%s %zu catalog %s%s", kind_name(actor), actor->number,
               operations[operation], faults[fault]);
    return fault;
}

int world_point_hook(void *context, const char *name, struct error *err)
{
    struct world *world = context;
    struct actor *actor = fiber_current() == NULL ? world->acting : NULL;
    for (size_t i = 0; i < world->actor_count && fiber_current() != NULL; i++) {
        if (world->actors[i].fiber == fiber_current())
            actor = &world->actors[i];
    }
    if (actor == NULL)
        return OK;
    if (!actor->dead && one_in_thousand(world, world->rates.crash))
        crash(actor, name);
    if (actor->dead)
        return error_set(err, ERROR_IO, "%s: the process is gone", name);
    if (!one_in_thousand(world, world->rates.disk))
        return OK;
    world->faults++;
    world_note(world, "%s %zu %s FAILS", kind_name(actor), actor->number, name);
    return error_set(err, ERROR_IO, "%s: no (injected)", name);
}
