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
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    SETTLE_STEPS_MAX = 40000,
    AGENT_TURNS_MAX = 40,
    STEP_MS_MAX = 40,
    REPEAT_MS = 60000,
    POLL_MS = 500,
};

/* Positions are a column, so that a file's bounds say which events it holds. */
static const char clicks_yaml[] = "table: clicks\n"
                                  "partition: [day(event_timestamp)]\n"
                                  "sort: [event_timestamp]\n"
                                  "columns:\n"
                                  "  click_id: {type: string, from: id, required: true}\n"
                                  "  position: {type: long, from: $position}\n"
                                  "  event_timestamp: {type: timestamptz, from: ts}\n"
                                  "  received_at: {type: timestamptz, from: $received_at}\n";
static const char wins_yaml[] = "table: wins\n"
                                "partition: [day(event_timestamp), country]\n"
                                "sort: [country, event_timestamp]\n"
                                "columns:\n"
                                "  win_id: {type: string, from: id, required: true}\n"
                                "  position: {type: long, from: $position}\n"
                                "  country: {type: country, from: country}\n"
                                "  event_timestamp: {type: timestamptz, from: ts}\n"
                                "  received_at: {type: timestamptz, from: $received_at}\n";

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
    (void)context;
    (void)ms;
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
    actor->sleep_until_ms = actor->world->mono_ms + ms;
    while (fiber_current() != NULL && !actor->dead && actor->world->mono_ms < actor->sleep_until_ms)
        fiber_yield();
}

/* ---- faults ---- */

static bool one_in_thousand(struct world *world, unsigned times)
{
    return world->faults_on && random_below(&world->random, 1000) < times;
}

static void crash(struct actor *actor, const char *where)
{
    actor->dead = true;
    actor->world->crashes++;
    world_note(actor->world, "%s %zu crashes in %s",
               actor->kind == ACTOR_AGENT ? "agent" : "committer", actor->number, where);
}

/* Hands over first: whatever the others do now comes between this actor's last decision
 * and the operation that it decided on. */
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

static enum memory_fault store_hook(void *context, enum memory_operation operation, const char *key)
{
    struct actor *actor = context;
    struct world *world = actor->world;
    bool reading = operation == MEMORY_GET || operation == MEMORY_HEAD || operation == MEMORY_LIST;
    bool was_dead = actor->dead;
    if (!before_operation(actor, key))
        return MEMORY_FAULT_BEFORE;
    if (actor->dead && !was_dead)
        return MEMORY_FAULT_AFTER; /* its last operation arrived, the answer didn't */
    enum memory_fault fault = MEMORY_FAULT_NONE;
    if (one_in_thousand(world, world->rates.before))
        fault = MEMORY_FAULT_BEFORE;
    else if (!reading && one_in_thousand(world, world->rates.after))
        fault = MEMORY_FAULT_AFTER;
    else if (operation == MEMORY_PUT && one_in_thousand(world, world->rates.late))
        fault = MEMORY_FAULT_LATE;
    else if (reading && one_in_thousand(world, world->rates.stale))
        fault = MEMORY_FAULT_STALE;
    world->faults += fault != MEMORY_FAULT_NONE;
    static const char *const operations[] = {"put", "head", "get", "list", "remove", "copy"};
    static const char *const faults[] = {"", " FAILS", " answer LOST", " LATE", " STALE"};
    world_note(world, "%s %zu %s %s%s", actor->kind == ACTOR_AGENT ? "agent" : "committer",
               actor->number, operations[operation], key, faults[fault]);
    return fault;
}

static enum catalog_fault catalog_hook_of_actor(void *context, enum catalog_operation operation)
{
    struct actor *actor = context;
    struct world *world = actor->world;
    bool was_dead = actor->dead;
    if (!before_operation(actor, "catalog"))
        return CATALOG_FAULT_BEFORE;
    if (actor->dead && !was_dead)
        return CATALOG_FAULT_AFTER;
    enum catalog_fault fault = CATALOG_FAULT_NONE;
    if (one_in_thousand(world, world->rates.before))
        fault = CATALOG_FAULT_BEFORE;
    else if (operation != CATALOG_LOAD && one_in_thousand(world, world->rates.after * 4))
        fault = CATALOG_FAULT_AFTER;
    else if (operation == CATALOG_COMMIT && one_in_thousand(world, world->rates.late * 4))
        fault = CATALOG_FAULT_LATE;
    else if (operation == CATALOG_COMMIT && one_in_thousand(world, world->rates.duplicate * 4))
        fault = CATALOG_FAULT_DUPLICATE;
    else if (operation == CATALOG_LOAD && one_in_thousand(world, world->rates.stale * 4))
        fault = CATALOG_FAULT_STALE;
    world->faults += fault != CATALOG_FAULT_NONE;
    static const char *const operations[] = {"load", "create", "commit"};
    static const char *const faults[] = {"",      " FAILS",      " answer LOST",
                                         " LATE", " DUPLICATED", " STALE"};
    world_note(world, "committer %zu catalog %s%s", actor->number, operations[operation],
               faults[fault]);
    return fault;
}

/* Between the steps of one process: the place where it may die, too. */
static int point_hook(void *context, const char *name, struct error *err)
{
    struct world *world = context;
    struct actor *actor = NULL;
    for (size_t i = 0; i < world->actor_count && fiber_current() != NULL; i++) {
        if (world->actors[i].fiber == fiber_current())
            actor = &world->actors[i];
    }
    if (actor == NULL)
        return OK;
    if (!actor->dead && one_in_thousand(world, world->rates.crash))
        crash(actor, name);
    return actor->dead ? error_set(err, ERROR_IO, "%s: the process is gone", name) : OK;
}

/* ---- the world ---- */

static void load_mappings(struct world *world)
{
    struct error err;
    const char *const texts[TABLES_MAX] = {clicks_yaml, wins_yaml};
    world->table_count = 1 + random_below(&world->random, TABLES_MAX);
    for (size_t i = 0; i < world->table_count; i++) {
        int rc = mapping_parse(&world->mapping[i], "simulation", slice_cstr(texts[i]), &err);
        if (rc != OK)
            fprintf(stderr, "%s\n", err.text);
        ASSERT(rc == OK);
        snprintf(world->table[i], sizeof world->table[i], "db.%s", world->mapping[i].schema.table);
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
        int rc = commit_init_table(&committer, "db", &world->mapping[i], &report, &err);
        if (rc != OK)
            fprintf(stderr, "%s\n", err.text);
        ASSERT(rc == OK);
        commit_report_free(&report);
    }
}

void world_open(struct world *world, uint64_t seed, bool trace)
{
    struct error err;
    *world = (struct world){.seed = seed, .trace = trace, .faults_on = true};
    random_seed(&world->random, seed);
    world->wall_us = 1790000000000000 + (int64_t)random_below(&world->random, 86400) * 1000000;
    world->mono_ms = 1000000;
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
    int rc = file_remove_tree(world->base, &err);
    if (rc == OK)
        rc = file_make_directories(world->base, 0700, &err);
    ASSERT(rc == OK);
    world->spool_bytes = 64 << 20;
    load_mappings(world);
    make_tables(world);
    fault_install(point_hook, world);
}

void world_close(struct world *world)
{
    struct error err;
    fault_install(NULL, NULL);
    for (size_t i = 0; i < world->actor_count; i++)
        fiber_free(world->actors[i].fiber);
    for (size_t i = 0; i < world->table_count; i++)
        mapping_free(&world->mapping[i]);
    catalog_close(world->plain_catalog);
    objstore_close(world->plain_store);
    memory_catalog_free(world->catalog);
    memory_store_free(world->store);
    for (size_t i = 0; i < world->answered_count; i++)
        free(world->answered[i].stream);
    free(world->answered);
    if (file_remove_tree(world->base, &err) != OK)
        fprintf(stderr, "%s\n", err.text);
}

/* ---- agents ---- */

static void life_make_options(struct actor *actor, struct spool_options *spool)
{
    *spool = (struct spool_options){.directory = actor->directory,
                                    .agent_id = "edge",
                                    .bytes_max = actor->world->spool_bytes,
                                    .clock = &actor->clock,
                                    .random = &actor->world->random,
                                    .no_sync = true};
}

int agent_life_begin(struct agent_life *life, struct actor *actor, struct error *err)
{
    struct world *world = actor->world;
    struct spool_options spool;
    *life = (struct agent_life){.actor = actor};
    actor->store = memory_store_attach(world->store, store_hook, actor);
    life_make_options(actor, &spool);
    int rc = spool_open(&life->spool, &spool, err);
    struct pipeline_options pipeline = {
        .spool = life->spool,
        .store = actor->store,
        .clock = &actor->clock,
        .agent_id = "edge",
        .roll = {.bytes_max = 1 << 20, .rows_max = 20, .age_max_ms = 2000},
        .announce_repeat_ms = REPEAT_MS,
        .receipt_poll_ms = POLL_MS,
        .retry_max_ms = 1000,
        .zstd_level = actor->roller_level,
        .seed = random_next(&world->random)};
    if (rc == OK)
        rc = pipeline_open(&life->pipeline, &pipeline, err);
    for (size_t i = 0; rc == OK && i < world->table_count; i++) {
        struct shred_options shred = {0};
        rc = shredder_open(&life->shredder[i], &world->mapping[i], &shred, err);
        if (rc == OK)
            rc = stream_name_make(life->stream[i], "edge", spool_epoch_borrow(life->spool),
                                  world->table[i], err);
        if (rc == OK)
            table_schema_encode(&world->mapping[i].schema, &life->schema[i]);
    }
    return rc;
}

void agent_life_end(struct agent_life *life)
{
    pipeline_close(life->pipeline);
    for (size_t i = 0; i < TABLES_MAX; i++) {
        shredder_close(life->shredder[i]);
        buf_free(&life->schema[i]);
    }
    spool_close(life->spool);
    objstore_close(life->actor->store);
    life->actor->store = NULL;
}

static void note_answered(const struct actor *actor, const char *stream, uint64_t first,
                          unsigned count)
{
    struct world *world = actor->world;
    for (unsigned i = 0; i < count; i++) {
        if (world->answered_count == world->answered_capacity) {
            world->answered_capacity =
                world->answered_capacity == 0 ? 256 : world->answered_capacity * 2;
            world->answered =
                memory_resize(world->answered, world->answered_capacity, sizeof *world->answered);
        }
        world->answered[world->answered_count++] = (struct answered){
            .stream = memory_copy_cstr(stream), .position = first + i, .agent = actor->number};
    }
}

int agent_life_append(struct agent_life *life, size_t table, unsigned count, struct error *err)
{
    static const char *const countries[] = {"USA", "DEU", "FRA", "JPN"};
    struct world *world = life->actor->world;
    struct shred_batch batch = {0};
    struct shred_context context = {.received_at_us = clock_wall_us(&life->actor->clock),
                                    .source_time_us = INT64_MIN,
                                    .partition = -1,
                                    .offset = -1};
    shred_batch_reset(&batch);
    for (unsigned i = 0; i < count; i++) {
        char text[160];
        struct refusal refusal;
        int n = snprintf(text, sizeof text, "{\"id\":\"%llx\",\"country\":\"%s\",\"ts\":%lld}",
                         (unsigned long long)random_next(&world->random),
                         countries[random_below(&world->random, 4)],
                         (long long)(context.received_at_us / 1000 -
                                     (int64_t)random_below(&world->random, 5000)));
        bool taken = shredder_event(life->shredder[table], slice_of(text, (size_t)n), &context,
                                    &batch, &refusal);
        ASSERT(taken);
    }
    struct spool_batch append = {.stream = life->stream[table],
                                 .schema = buf_slice(&life->schema[table]),
                                 .schema_key = table_schema_key(&world->mapping[table].schema),
                                 .rows = buf_slice(&batch.rows),
                                 .event_count = batch.event_count,
                                 .row_count = batch.row_count,
                                 .time_min_us = batch.time_min_us,
                                 .time_max_us = batch.time_max_us};
    uint64_t first = 0;
    int rc = spool_append(life->spool, &append, 1, NULL, 0, &first, err);
    if (rc == OK && !life->actor->dead)
        note_answered(life->actor, life->stream[table], first, count);
    shred_batch_free(&batch);
    return rc;
}

/* Steps of a life until it dies or has had its turns. */
static void agent_turns(struct agent_life *life)
{
    struct actor *actor = life->actor;
    struct world *world = actor->world;
    struct error err;
    for (unsigned turn = 0; !actor->dead && (world->quiet || turn < AGENT_TURNS_MAX); turn++) {
        uint64_t what = random_below(&world->random, 10);
        if (what < 5 && !world->quiet) {
            size_t table = random_below(&world->random, world->table_count);
            unsigned count = 1 + (unsigned)random_below(&world->random, 8);
            if (agent_life_append(life, table, count, &err) != OK && !actor->dead)
                world_note(world, "agent %zu append refused: %s", actor->number, err.text);
        } else {
            bool flush = random_below(&world->random, 4) == 0;
            if (pipeline_step(life->pipeline, flush || world->quiet, &err) != OK && !actor->dead)
                world_note(world, "agent %zu step: %s", actor->number, err.text);
        }
        actor->alarmed =
            actor->alarmed || pipeline_uploader_statistics_borrow(life->pipeline)->alarms > 0;
        clock_sleep_ms(&actor->clock, 1 + (int64_t)random_below(&world->random, 400));
    }
}

static void agent_main(void *context)
{
    struct actor *actor = context;
    struct agent_life life;
    struct error err;
    actor->lifetimes++;
    world_note(actor->world, "agent %zu starts, life %u", actor->number, actor->lifetimes);
    if (agent_life_begin(&life, actor, &err) != OK && !actor->dead)
        world_fail(actor->world, "agent %zu does not start: %s", actor->number, err.text);
    else if (!actor->dead)
        agent_turns(&life);
    agent_life_end(&life);
}

/* ---- committers ---- */

struct committer world_committer(struct actor *actor)
{
    return (struct committer){.store = actor->store,
                              .catalog = actor->catalog,
                              .clock = &actor->clock,
                              .random = &actor->random,
                              .attempts_max = 5};
}

static void committer_main(void *context)
{
    struct actor *actor = context;
    struct world *world = actor->world;
    struct error err;
    actor->store = memory_store_attach(world->store, store_hook, actor);
    struct catalog_options options = {.store = actor->store, .clock = &actor->clock};
    actor->catalog = memory_catalog_attach(world->catalog, &options, catalog_hook_of_actor, actor);
    actor->lifetimes++;
    while (!actor->dead) {
        const char *tables[TABLES_MAX];
        struct commit_report report = {0};
        struct committer committer = world_committer(actor);
        for (size_t i = 0; i < world->table_count; i++)
            tables[i] = world->table[i];
        if (commit_turn(&committer, tables, world->table_count, &report, &err) != OK &&
            !actor->dead)
            world_note(world, "committer %zu turn: %s", actor->number, err.text);
        actor->alarms += report.alarms;
        for (size_t i = 0; i < report.note_count; i++)
            world_note(world, "committer %zu note: %s %s", actor->number, report.notes[i].stream,
                       report.notes[i].text);
        commit_report_free(&report);
        clock_sleep_ms(&actor->clock, 200 + (int64_t)random_below(&world->random, 2000));
    }
    catalog_close(actor->catalog);
    objstore_close(actor->store);
    actor->catalog = NULL;
    actor->store = NULL;
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

static void pass_time(struct world *world, int64_t ms)
{
    world->mono_ms += ms;
    world->wall_us += ms * 1000;
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
        pass_time(world, first - world->mono_ms);
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
    }
}

void world_step(struct world *world)
{
    struct actor *ready[ACTORS_MAX];
    size_t count = 0;
    pass_time(world, (int64_t)random_below(&world->random, STEP_MS_MAX));
    deliver_late(world);
    for (size_t i = 0; i < world->actor_count; i++) {
        struct actor *actor = &world->actors[i];
        if (actor->retired && !actor->lives)
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
}

/* Whether all that was answered and not exempt lies below its stream's next. */
static bool inbox_empty(const struct world *world);

struct count_context {
    size_t count;
};

static void count_inbox(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    (void)bytes;
    (void)modified_ms;
    if (strncmp(key, "_bidlake/inbox/", 15) == 0)
        ((struct count_context *)context)->count++;
}

static bool inbox_empty(const struct world *world)
{
    struct count_context context = {0};
    memory_store_visit(world->store, count_inbox, &context);
    return context.count == 0;
}

/* Every agent's spool holds nothing that is not committed. */
static bool spools_empty(struct world *world)
{
    struct error err;
    bool empty = true;
    for (size_t i = 0; i < world->actor_count; i++) {
        struct actor *actor = &world->actors[i];
        if (actor->kind != ACTOR_AGENT || access(actor->directory, F_OK) != 0)
            continue;
        struct spool_options options;
        struct spool *spool = NULL;
        struct arena arena = {0};
        struct spool_streams streams = {0};
        life_make_options(actor, &options);
        options.read_only = true;
        int rc = spool_open(&spool, &options, &err);
        if (rc == OK)
            rc = spool_list_streams(spool, &arena, &streams, &err);
        for (size_t s = 0; rc == OK && s < streams.count; s++)
            empty = empty && streams.streams[s].next == streams.streams[s].end;
        if (rc != OK)
            empty = false;
        arena_free(&arena);
        spool_close(spool);
    }
    return empty;
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

void world_settle(struct world *world)
{
    world->faults_on = false;
    world->quiet = true;
    world_note(world, "faults stop");
    for (unsigned step = 0; step < SETTLE_STEPS_MAX && !world->failed; step++) {
        world_step(world);
        if (step % 400 != 399)
            continue;
        if (memory_store_late_count(world->store) == 0 &&
            memory_catalog_late_count(world->catalog) == 0 && inbox_empty(world) &&
            spools_empty(world))
            break;
        pass_time(world, REPEAT_MS / 4);
    }
    stop_everybody(world);
}
