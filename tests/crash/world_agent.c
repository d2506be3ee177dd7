/* SPDX-License-Identifier: Apache-2.0
 *
 * An agent's life: open the spool, append, step, close; and over again. A crashed one
 * goes the same way out, but nothing of what it does reaches store or spool any more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "tests/crash/world.h"

enum { AGENT_TURNS_MAX = 40, POLL_MS = 500, RETRY_MS = 1000 };

void world_spool_options(struct actor *actor, struct spool_options *out)
{
    *out = (struct spool_options){.directory = actor->directory,
                                  .agent_id = "edge",
                                  .bytes_max = actor->world->spool_bytes,
                                  .clock = &actor->clock,
                                  .random = &actor->world->random,
                                  .drop_oldest = actor->world->drop_oldest,
                                  .no_sync = true};
}

static void attach_store(struct actor *actor)
{
    struct world *world = actor->world;
    actor->store = memory_store_attach(world->store, world_store_hook, actor);
    actor->inner_store = NULL;
    if (world->control == CONTROL_STORE) {
        actor->inner_store = actor->store;
        actor->store = world_broken_store(actor->inner_store);
    }
}

/* By the spool's epoch. */
static int name_streams(struct agent_life *life, struct error *err)
{
    struct world *world = life->actor->world;
    int rc = OK;
    for (size_t i = 0; rc == OK && i < world->table_count; i++)
        rc = stream_name_make(life->stream[i], "edge", spool_epoch_borrow(life->spool),
                              world->table[i], err);
    return rc;
}

static int open_tables(struct agent_life *life, struct error *err)
{
    struct world *world = life->actor->world;
    int rc = name_streams(life, err);
    for (size_t i = 0; rc == OK && i < world->table_count; i++) {
        const struct mapping *mapping = &world->mapping[life->mapping][i];
        struct shred_options shred = {0};
        rc = shredder_open(&life->shredder[i], mapping, &shred, err);
        if (rc == OK)
            table_schema_encode(&mapping->schema, &life->schema[i]);
    }
    return rc;
}

int agent_life_begin(struct agent_life *life, struct actor *actor, struct error *err)
{
    struct world *world = actor->world;
    struct spool_options spool;
    *life = (struct agent_life){.actor = actor, .mapping = actor->mapping};
    actor->lifetimes++;
    attach_store(actor);
    world_spool_options(actor, &spool);
    int rc = spool_open(&life->spool, &spool, err);
    struct pipeline_options pipeline = {.spool = life->spool,
                                        .store = actor->store,
                                        .clock = &actor->clock,
                                        .agent_id = "edge",
                                        /* Less behind some starts: what they find is cut. */
                                        .roll = {.bytes_max = 1 << 20,
                                                 .rows_max = actor->roller_level > 1 ? 4 : 20,
                                                 .age_max_ms = 2000},
                                        .announce_repeat_ms = WORLD_REPEAT_MS,
                                        .receipt_poll_ms = POLL_MS,
                                        .retry_max_ms = RETRY_MS,
                                        .zstd_level = actor->roller_level,
                                        .seed = random_next(&world->random)};
    if (rc == OK && world->priorities) {
        const struct spool_priority priorities[] = {{world->table[0], 0}, {world->table[1], 2}};
        spool_set_priorities(life->spool, priorities, 2);
    }
    if (rc == OK)
        rc = pipeline_open(&life->pipeline, &pipeline, err);
    if (rc == OK)
        rc = open_tables(life, err);
    actor->life = rc == OK ? life : NULL;
    return rc;
}

void agent_life_end(struct agent_life *life)
{
    struct actor *actor = life->actor;
    if (life->pipeline != NULL)
        actor->alarms += pipeline_uploader_statistics_borrow(life->pipeline)->alarms;
    actor->life = NULL;
    pipeline_close(life->pipeline);
    for (size_t i = 0; i < TABLES_MAX; i++) {
        shredder_close(life->shredder[i]);
        buf_free(&life->schema[i]);
    }
    spool_close(life->spool);
    objstore_close(actor->store);
    objstore_close(actor->inner_store);
    actor->store = actor->inner_store = NULL;
    life->spool = NULL;
    life->pipeline = NULL;
}

/* ---- events ---- */

static void note_answered(struct agent_life *life, size_t table, uint64_t first, unsigned count)
{
    struct world *world = life->actor->world;
    struct stream_fate *fate = world_fate(world, life->stream[table]);
    if (first < fate->end)
        world_fail(world, "%s at %llu: given twice", fate->name, (unsigned long long)first);
    fate->agent = life->actor->number;
    fate->end = first + count;
    world->events += count;
}

static void add_event(struct agent_life *life, size_t table, const struct shred_context *context,
                      struct shred_batch *batch)
{
    static const char *const countries[] = {"USA", "DEU", "FRA", "JPN"};
    struct world *world = life->actor->world;
    struct refusal refusal;
    struct buf text = {0};
    buf_printf(
        &text, "{\"id\":\"%llx\",\"country\":\"%s\",\"ts\":%lld,\"filler\":\"FILLER",
        (unsigned long long)random_next(&world->random), countries[random_below(&world->random, 4)],
        (long long)(context->received_at_us / 1000 - (int64_t)random_below(&world->random, 5000)));
    uint8_t *filler = buf_extend(&text, world->filler);
    memset(filler, 'x', world->filler);
    buf_put_cstr(&text, "\"}");
    bool taken = shredder_event(life->shredder[table], buf_slice(&text), context, batch, &refusal);
    ASSERT(taken);
    buf_free(&text);
}

int agent_life_append(struct agent_life *life, size_t table, unsigned count, struct error *err)
{
    const struct world *world = life->actor->world;
    struct shred_batch batch = {0};
    struct shred_context context = {.received_at_us = clock_wall_us(&life->actor->clock),
                                    .source_time_us = INT64_MIN,
                                    .partition = -1,
                                    .offset = -1};
    uint64_t first = 0;
    shred_batch_reset(&batch);
    for (unsigned i = 0; i < count; i++)
        add_event(life, table, &context, &batch);
    struct spool_batch append = {.stream = life->stream[table],
                                 .schema = buf_slice(&life->schema[table]),
                                 .schema_key = world->schema_key[life->mapping][table],
                                 .rows = buf_slice(&batch.rows),
                                 .event_count = batch.event_count,
                                 .row_count = batch.row_count,
                                 .time_min_us = batch.time_min_us,
                                 .time_max_us = batch.time_max_us};
    int rc = spool_append(life->spool, &append, 1, NULL, 0, &first, err);
    if (rc == OK && !life->actor->dead)
        note_answered(life, table, first, count);
    shred_batch_free(&batch);
    return rc;
}

/* One append or one step. */
static int take_turn(struct agent_life *life, struct error *err)
{
    struct actor *actor = life->actor;
    struct world *world = actor->world;
    bool append = !world->quiet && random_below(&world->random, 10) < 5;
    int rc;
    if (append) {
        size_t table = random_below(&world->random, world->table_count);
        unsigned count = 1 + (unsigned)random_below(&world->random, 8);
        rc = agent_life_append(life, table, count, err);
    } else {
        bool flush = random_below(&world->random, 4) == 0;
        rc = pipeline_step(life->pipeline, flush || world->quiet, err);
    }
    return rc == OK ? OK : error_wrap(err, append ? "append" : "step");
}

/* A write of its spool failed: some agents end, the others open it anew in their lives, as the
 * daemon does. False: the life is over. */
static bool mend_spool(struct agent_life *life)
{
    struct actor *actor = life->actor;
    struct world *world = actor->world;
    struct error err;
    if (!spool_has_failed(life->spool))
        return true;
    if (random_below(&world->random, 2) == 0)
        return false;
    int rc = spool_reopen(life->spool, NULL, &err);
    world_note(world, "agent %zu opens its spool anew: %s", actor->number,
               rc == OK ? "well" : err.text);
    if (rc == OK)
        rc = name_streams(life, &err);
    return rc == OK || !actor->dead;
}

/* Turns of a life until it dies or has had enough of them. */
static void take_turns(struct agent_life *life)
{
    struct actor *actor = life->actor;
    struct world *world = actor->world;
    for (unsigned turn = 0;
         !actor->dead && mend_spool(life) && (world->quiet || turn < AGENT_TURNS_MAX); turn++) {
        struct error err;
        if (!spool_has_failed(life->spool) && take_turn(life, &err) != OK && !actor->dead)
            world_note(world, "agent %zu: %s", actor->number, err.text);
        clock_sleep_ms(&actor->clock, 1 + (int64_t)random_below(&world->random, 400));
    }
}

void agent_main(void *context)
{
    struct actor *actor = context;
    struct agent_life life;
    struct error err;
    world_note(actor->world, "agent %zu starts, life %u", actor->number, actor->lifetimes + 1);
    int rc = agent_life_begin(&life, actor, &err);
    if (rc == OK)
        take_turns(&life);
    else if (!actor->dead && rc != ERROR_IO) /* a disk that fails now may do later */
        world_fail(actor->world, "agent %zu does not start: %s", actor->number, err.text);
    agent_life_end(&life);
}
