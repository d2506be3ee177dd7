/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/crash/world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

enum { SETTLE_STEPS_MAX = 20000, SETTLE_LOOK = 50, STEP_MS_MAX = 40, LAST_TURNS = 2 };

/* Positions are a column, so that a file's bounds say which events it holds. */
#define CLICKS                                                                                     \
    "table: clicks\n"                                                                              \
    "partition: [day(event_timestamp)]\n"                                                          \
    "sort: [event_timestamp]\n"                                                                    \
    "columns:\n"                                                                                   \
    "  click_id: {type: string, from: id, required: true}\n"                                       \
    "  position: {type: long, from: $position}\n"                                                  \
    "  event_timestamp: {type: timestamptz, from: ts}\n"                                           \
    "  received_at: {type: timestamptz, from: $received_at}\n"                                     \
    "  filler: {type: string, from: filler}\n"
#define WINS                                                                                       \
    "table: wins\n"                                                                                \
    "partition: [day(event_timestamp), country]\n"                                                 \
    "sort: [country, event_timestamp]\n"                                                           \
    "columns:\n"                                                                                   \
    "  win_id: {type: string, from: id, required: true}\n"                                         \
    "  position: {type: long, from: $position}\n"                                                  \
    "  country: {type: country, from: country}\n"                                                  \
    "  event_timestamp: {type: timestamptz, from: ts}\n"                                           \
    "  received_at: {type: timestamptz, from: $received_at}\n"                                     \
    "  filler: {type: string, from: filler}\n"
#define LATER "  later: {type: string, from: id}\n"
static const char *const mapping_texts[MAPPINGS_MAX][TABLES_MAX] = {{CLICKS, WINS},
                                                                    {CLICKS LATER, WINS LATER}};

/* ---- notes ---- */

void world_note(struct world *world, const char *format, ...)
{
    if (!world->trace)
        return;
    va_list args;
    printf("%8lld ms  ", (long long)world->mono_ms);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

void world_fail(struct world *world, const char *format, ...)
{
    if (world->failed)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(world->failure, sizeof world->failure, format, args);
    va_end(args);
    world->failed = true;
    world_note(world, "VIOLATION %s", world->failure);
}

/* ---- time ---- */

static int64_t world_wall_us(void *context)
{
    return ((struct world *)context)->wall_us;
}

static int64_t world_mono_ms(void *context)
{
    return ((struct world *)context)->mono_ms;
}

static void world_sleep_ms(void *context, int64_t ms)
{
    world_pass_ms(context, ms);
}

void world_pass_ms(struct world *world, int64_t ms)
{
    world->mono_ms += ms;
    world->wall_us += ms * 1000;
}

static int64_t actor_wall_us(void *context)
{
    struct actor *actor = context;
    return actor->world->wall_us + actor->leap_us;
}

static int64_t actor_mono_ms(void *context)
{
    return ((struct actor *)context)->world->mono_ms;
}

static void actor_sleep_ms(void *context, int64_t ms)
{
    struct actor *actor = context;
    if (fiber_current() == NULL) {
        world_pass_ms(actor->world, ms);
        return;
    }
    actor->sleep_until_ms = actor->world->mono_ms + ms;
    while (!actor->dead && actor->world->mono_ms < actor->sleep_until_ms)
        fiber_yield();
}

/* ---- the world ---- */

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fprintf(stderr, "%s\n", err->text);
    ASSERT(rc == OK);
}

/* Parsed once a process: the worlds of all seeds share them, and nobody writes to them. */
static void load_mapping(struct world *world, size_t generation, size_t table)
{
    static struct mapping parsed[MAPPINGS_MAX][TABLES_MAX];
    static uint64_t keys[MAPPINGS_MAX][TABLES_MAX];
    struct mapping *mapping = &parsed[generation][table];
    struct error err;
    if (keys[generation][table] == 0) {
        must(mapping_parse(mapping, "simulation", slice_cstr(mapping_texts[generation][table]),
                           &err),
             &err);
        keys[generation][table] = table_schema_key(&mapping->schema);
    }
    world->mapping[generation][table] = *mapping; /* borrowed */
    world->schema_key[generation][table] = keys[generation][table];
}

static void load_mappings(struct world *world)
{
    for (size_t i = 0; i < world->table_count; i++) {
        for (size_t k = 0; k < MAPPINGS_MAX; k++)
            load_mapping(world, k, i);
        snprintf(world->table[i], sizeof world->table[i], "db.%s",
                 world->mapping[0][i].schema.table);
    }
}

static void make_tables(struct world *world)
{
    struct error err;
    struct committer committer = {.store = world->plain_store,
                                  .catalog = world->plain_catalog,
                                  .clock = &world->clock,
                                  .random = &world->random};
    for (size_t i = 0; i < world->table_count; i++) {
        struct commit_report report = {0};
        must(commit_init_table(&committer, "db", &world->mapping[0][i], &report, &err), &err);
        commit_report_free(&report);
    }
}

void world_open(struct world *world, uint64_t seed, size_t table_count, bool trace)
{
    struct error err;
    ASSERT(table_count > 0 && table_count <= TABLES_MAX);
    *world = (struct world){.seed = seed, .trace = trace, .table_count = table_count};
    random_seed(&world->random, seed);
    world->wall_us = 1790000000000000 + (int64_t)random_below(&world->random, 86400) * 1000000;
    world->mono_ms = 1000000;
    world->spool_bytes = 64 << 20;
    world->clock = (struct clock){.wall_us = world_wall_us,
                                  .mono_ms = world_mono_ms,
                                  .sleep_ms = world_sleep_ms,
                                  .context = world};
    world->store = memory_store_make(&world->clock);
    world->plain_store = memory_store_attach(world->store, NULL, NULL);
    world->catalog = memory_catalog_make();
    memory_catalog_set_store(world->catalog, world->plain_store);
    struct catalog_options options = {.store = world->plain_store, .clock = &world->clock};
    world->plain_catalog = memory_catalog_attach(world->catalog, &options, NULL, NULL);
    snprintf(world->base, sizeof world->base, "%s/bidlake-world-%d",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", (int)getpid());
    must(file_remove_tree(world->base, &err), &err);
    must(file_make_directories(world->base, 0700, &err), &err);
    load_mappings(world);
    make_tables(world);
    fault_install(world_point_hook, world);
}

static void stop_everybody(struct world *world)
{
    for (size_t i = 0; i < world->actor_count; i++) {
        struct actor *actor = &world->actors[i];
        actor->retired = true;
        actor->dead = true;
        while (actor->lives) {
            fiber_run(actor->fiber);
            actor->lives = !fiber_ended(actor->fiber);
        }
    }
}

void world_close(struct world *world)
{
    struct error err;
    stop_everybody(world);
    fault_install(NULL, NULL);
    world_mend_mess(world);
    world_days_free(world);
    for (size_t i = 0; i < world->actor_count; i++) {
        fiber_free(world->actors[i].fiber);
        free(world->actors[i].standing);
    }
    for (size_t i = 0; i < world->table_count; i++) {
        free(world->location[i]);
    }
    catalog_close(world->plain_catalog);
    memory_catalog_free(world->catalog);
    objstore_close(world->plain_store);
    memory_store_free(world->store);
    for (size_t i = 0; i < world->fate_count; i++)
        free(world->fates[i].name);
    free(world->fates);
    must(file_remove_tree(world->base, &err), &err);
}

/* ---- committers ---- */

void committer_attach(struct actor *actor)
{
    struct world *world = actor->world;
    struct objstore *store = memory_store_attach(world->store, world_store_hook, actor);
    struct catalog_options options = {.store = world->plain_store, .clock = &actor->clock};
    struct catalog *catalog =
        memory_catalog_attach(world->catalog, &options, world_catalog_hook, actor);
    actor->inner_store = NULL;
    actor->inner_catalog = NULL;
    actor->store = store;
    actor->catalog = catalog;
    if (world->control == CONTROL_CATALOG) {
        actor->inner_catalog = catalog;
        actor->catalog = world_broken_catalog(catalog);
    }
}

void committer_detach(struct actor *actor)
{
    catalog_close(actor->catalog);
    catalog_close(actor->inner_catalog);
    objstore_close(actor->store);
    actor->catalog = actor->inner_catalog = NULL;
    actor->store = NULL;
}

struct committer world_committer(struct actor *actor)
{
    return (struct committer){.store = actor->store,
                              .catalog = actor->catalog,
                              .clock = &actor->clock,
                              .random = &actor->random,
                              .attempts_max = 5,
                              .announcements_max = actor->announcements_max,
                              .merge_count = 3,
                              .snapshots_keep = 3,
                              .snapshots_grace_ms = 1000,
                              .prune_every = actor->world->long_lived ? 4 : 2};
}

/* What alarms in the newest turn is what stands. */
static void keep_alarms(struct actor *actor, const struct commit_report *report)
{
    actor->standing_count = 0;
    for (size_t i = 0; i < report->note_count && actor->standing_count < ALARMS_MAX; i++) {
        const struct commit_note *note = &report->notes[i];
        if (note->kind != NOTE_ALARM)
            continue;
        if (actor->standing == NULL)
            actor->standing = memory_alloc(ALARMS_MAX, sizeof *actor->standing);
        struct alarm *alarm = &actor->standing[actor->standing_count++];
        snprintf(alarm->table, sizeof alarm->table, "%s", note->table);
        snprintf(alarm->stream, sizeof alarm->stream, "%s", note->stream);
    }
}

int world_turn(struct actor *actor, struct commit_report *report, struct error *err)
{
    struct world *world = actor->world;
    const char *tables[TABLES_MAX];
    struct committer committer = world_committer(actor);
    *report = (struct commit_report){0};
    for (size_t i = 0; i < world->table_count; i++)
        tables[i] = world->table[i];
    actor->in_turn = true;
    int rc = commit_turn(&committer, tables, world->table_count, report, err);
    actor->in_turn = false;
    for (size_t i = 0; i < report->note_count; i++)
        world_note(world, "committer %zu note %d: %s %s", actor->number, (int)report->notes[i].kind,
                   report->notes[i].stream, report->notes[i].text);
    if (!actor->dead)
        keep_alarms(actor, report);
    actor->turns += rc == OK;
    return rc;
}

static void committer_main(void *context)
{
    struct actor *actor = context;
    committer_attach(actor);
    actor->lifetimes++;
    while (!actor->dead) {
        struct error err;
        struct commit_report report;
        if (world_turn(actor, &report, &err) != OK && !actor->dead)
            world_note(actor->world, "committer %zu turn: %s", actor->number, err.text);
        commit_report_free(&report);
        clock_sleep_ms(&actor->clock, 200 + (int64_t)random_below(&actor->world->random, 2000));
    }
    committer_detach(actor);
}

/* ---- scheduling ---- */

static struct actor *add_actor(struct world *world, enum actor_kind kind)
{
    ASSERT(world->actor_count < ACTORS_MAX);
    struct actor *actor = &world->actors[world->actor_count];
    *actor = (struct actor){.world = world, .kind = kind, .number = world->actor_count};
    world->actor_count++;
    actor->clock = (struct clock){.wall_us = actor_wall_us,
                                  .mono_ms = actor_mono_ms,
                                  .sleep_ms = actor_sleep_ms,
                                  .context = actor};
    random_seed(&actor->random, world->seed * 31 + actor->number);
    snprintf(actor->directory, sizeof actor->directory, "%s/spool-%zu", world->base, actor->number);
    return actor;
}

struct actor *world_add_agent(struct world *world)
{
    return add_actor(world, ACTOR_AGENT);
}

struct actor *world_add_committer(struct world *world)
{
    return add_actor(world, ACTOR_COMMITTER);
}

/* A new life for an actor whose last one ended. */
static void revive(struct actor *actor)
{
    fiber_free(actor->fiber);
    actor->dead = false;
    actor->sleep_until_ms = 0;
    actor->fiber = fiber_make(actor->kind == ACTOR_AGENT ? agent_main : committer_main, actor);
    actor->lives = true;
}

/* When everybody sleeps, time goes to whoever wakes first. */
static void pass_time_to_waking(struct world *world)
{
    int64_t first = INT64_MAX;
    for (size_t i = 0; i < world->actor_count; i++) {
        if (world->actors[i].lives && world->actors[i].sleep_until_ms < first)
            first = world->actors[i].sleep_until_ms;
    }
    if (first != INT64_MAX && first > world->mono_ms)
        world_pass_ms(world, first - world->mono_ms);
}

static void deliver_late(struct world *world)
{
    size_t puts = memory_store_late_count(world->store);
    size_t commits = memory_catalog_late_count(world->catalog);
    if (puts > 0 && (!world->faults_on || random_below(&world->random, 60) == 0)) {
        world_note(world, "a late put arrives");
        memory_store_apply_late(world->store, random_below(&world->random, puts));
    }
    if (commits > 0 && (!world->faults_on || random_below(&world->random, 60) == 0)) {
        world_note(world, "a late commit arrives");
        memory_catalog_apply_late(world->catalog, random_below(&world->random, commits));
        world_watch_ledgers(world);
    }
}

void world_step(struct world *world)
{
    struct actor *ready[ACTORS_MAX];
    size_t count = 0;
    world_pass_ms(world, (int64_t)random_below(&world->random, STEP_MS_MAX));
    deliver_late(world);
    for (size_t i = 0; i < world->actor_count; i++) {
        struct actor *actor = &world->actors[i];
        if (actor->retired && !actor->lives)
            continue;
        if (actor->frozen_steps > 0 && world->faults_on) {
            actor->frozen_steps--;
            continue;
        }
        /* A machine that crashed is away for a while; its disk may be touched. */
        if (!actor->lives && world->faults_on && random_below(&world->random, 4) != 0)
            continue;
        if (!actor->lives)
            revive(actor);
        if (actor->dead || world->mono_ms >= actor->sleep_until_ms)
            ready[count++] = actor;
    }
    if (count == 0) {
        pass_time_to_waking(world);
        return;
    }
    struct actor *actor = ready[random_below(&world->random, count)];
    fiber_run(actor->fiber);
    actor->lives = !fiber_ended(actor->fiber);
    if (actor->kind == ACTOR_COMMITTER)
        world_watch_ledgers(world);
}

/* Whether every committer has been through the tables since faults stopped, and alarms
 * that heal have healed. */
static bool all_turned(const struct world *world, const unsigned turns[ACTORS_MAX])
{
    for (size_t i = 0; i < world->actor_count; i++) {
        const struct actor *actor = &world->actors[i];
        if (actor->kind == ACTOR_COMMITTER &&
            (actor->turns < turns[i] + LAST_TURNS ||
             (actor->standing_count > 0 && !world->disk_put_back)))
            return false;
    }
    return true;
}

void world_settle(struct world *world)
{
    unsigned turns[ACTORS_MAX];
    world->faults_on = false;
    world->quiet = true;
    world_mend_mess(world);
    world_note(world, "faults stop");
    for (size_t i = 0; world->upgrades && i < world->table_count; i++)
        world_grow_table(world, i); /* else agents with the newer mapping wait for it */
    for (size_t i = 0; i < world->actor_count; i++) {
        turns[i] = world->actors[i].turns;
        if (world->actors[i].kind == ACTOR_COMMITTER)
            world->actors[i].leap_us = 0; /* one whose clock is wrong commits nothing */
    }
    for (unsigned step = 1; step <= SETTLE_STEPS_MAX && !world->failed; step++) {
        world_step(world);
        if (step % SETTLE_LOOK != 0)
            continue;
        if (all_turned(world, turns) && memory_store_late_count(world->store) == 0 &&
            memory_catalog_late_count(world->catalog) == 0 && world_is_quiet(world))
            break;
        world_pass_ms(world, WORLD_REPEAT_MS / 8);
    }
    stop_everybody(world);
}
