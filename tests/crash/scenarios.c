/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/crash/scenarios.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/log.h"

enum { SETTLE_TURNS_MAX = 60 };

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fprintf(stderr, "%s\n", err->text);
    ASSERT(rc == OK);
}

struct scene *scene_of(void *actor)
{
    /* The world is the scene's first member. */
    return (struct scene *)(void *)((struct actor *)actor)->world;
}

void scene_open(struct scene *scene, size_t tables)
{
    _Static_assert(offsetof(struct scene, world) == 0, "scene_of relies on it");
    log_set_level(getenv("LOUD") ? LOG_LEVEL_INFO : (enum log_level)(LOG_LEVEL_ERROR + 1));
    *scene = (struct scene){0};
    world_open(&scene->world, 1, tables, getenv("LOUD") != NULL);
    scene->agent = world_add_agent(&scene->world);
    scene->twin = world_add_agent(&scene->world);
    scene->committer = world_add_committer(&scene->world);
    scene->other = world_add_committer(&scene->world);
    committer_attach(scene->committer);
    committer_attach(scene->other);
}

void scene_drop(struct scene *scene)
{
    if (scene->agent->life != NULL)
        scene_stop(scene);
    committer_detach(scene->committer);
    committer_detach(scene->other);
    commit_report_free(&scene->report);
    buf_free(&scene->kept);
    world_close(&scene->world);
}

void scene_close(struct scene *scene)
{
    scene_settle(scene);
    world_check(&scene->world, true);
    if (scene->world.failed)
        fprintf(stderr, "%s\n", scene->world.failure);
    ASSERT(!scene->world.failed);
    ASSERT(scene_rows(scene) + world_lost(&scene->world) == scene->answered);
    scene_drop(scene);
}

/* ---- the agent ---- */

void scene_start(struct scene *scene)
{
    struct error err;
    scene->agent->dead = false;
    scene->world.acting = scene->agent;
    must(agent_life_begin(&scene->life, scene->agent, &err), &err);
    scene->world.acting = NULL;
}

void scene_stop(struct scene *scene)
{
    agent_life_end(&scene->life);
}

void scene_restart(struct scene *scene)
{
    scene_stop(scene);
    scene_start(scene);
}

void scene_append(struct scene *scene, size_t table, unsigned count)
{
    struct error err;
    must(agent_life_append(&scene->life, table, count, &err), &err);
    scene->answered += count;
}

void scene_flush(struct scene *scene)
{
    /* What one step finds out (a receipt, a file that is gone) the next one acts on;
     * between two the streams' waits run out. */
    for (int i = 0; i < 3; i++) {
        struct error err;
        scene->world.acting = scene->agent;
        int rc = pipeline_step(scene->life.pipeline, true, &err);
        scene->world.acting = NULL;
        if (!scene->agent->dead)
            must(rc, &err);
        world_pass_ms(&scene->world, 2000);
    }
}

/* ---- the committers ---- */

int scene_turn(struct scene *scene, struct actor *committer)
{
    struct error err;
    struct actor *before = scene->world.acting;
    commit_report_free(&scene->report);
    scene->world.acting = committer;
    int rc = world_turn(committer, &scene->report, &err);
    scene->world.acting = before;
    world_watch_ledgers(&scene->world);
    return rc;
}

void scene_settle(struct scene *scene)
{
    if (scene->agent->life == NULL)
        scene_start(scene);
    for (int i = 0; i < SETTLE_TURNS_MAX; i++) {
        scene_flush(scene);
        int rc = scene_turn(scene, scene->committer);
        rc = rc == OK ? scene_turn(scene, scene->other) : rc;
        scene_flush(scene);
        if (rc == OK && world_is_quiet(&scene->world))
            break;
        world_pass_ms(&scene->world, WORLD_REPEAT_MS / 4);
    }
}

/* ---- looking ---- */

uint64_t scene_rows(struct scene *scene)
{
    uint64_t rows = 0;
    for (size_t i = 0; i < scene->world.table_count; i++)
        rows += world_rows(&scene->world, i);
    return rows;
}

uint64_t scene_next(struct scene *scene, size_t table)
{
    world_watch_ledgers(&scene->world);
    return world_fate(&scene->world, scene->life.stream[table])->next;
}

struct keep {
    const char *prefix;
    char *key;
    struct buf *out;
    size_t count;
};

static void keep_object(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    struct keep *keep = context;
    (void)modified_ms;
    if (strncmp(key, keep->prefix, strlen(keep->prefix)) != 0)
        return;
    keep->count++;
    snprintf(keep->key, OBJSTORE_KEY_MAX + 1, "%s", key);
    buf_reset(keep->out);
    buf_put_slice(keep->out, bytes);
}

bool scene_keep(struct scene *scene, const char *prefix)
{
    struct keep keep = {.prefix = prefix, .key = scene->key, .out = &scene->kept};
    memory_store_visit(scene->world.store, keep_object, &keep);
    return keep.count == 1;
}

void scene_put(struct scene *scene)
{
    struct error err;
    must(objstore_put_bytes(scene->world.plain_store, scene->key, buf_slice(&scene->kept),
                            PUT_ALWAYS, &err),
         &err);
}

void scene_remove_all(struct scene *scene, const char *prefix)
{
    while (world_remove_object(&scene->world, prefix, ""))
        continue;
}
