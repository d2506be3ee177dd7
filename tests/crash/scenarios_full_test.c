/* SPDX-License-Identifier: Apache-2.0
 *
 * Spools that are full: what may go then, and that whatever goes unsent is counted. Each
 * ends with every invariant of the protocol checked (scene_close), among them that rows and
 * lost events add up to what was answered.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/crash/scenarios.h"

enum { BUDGET = 1 << 20, FILLER = 20000, MANY = 20 /* batches of 8 events, 160 KB each */ };

static void open_small(struct scene *scene, bool drop_oldest)
{
    scene_open(scene, 1);
    scene->world.spool_bytes = BUDGET;
    scene->world.filler = FILLER;
    scene->world.drop_oldest = drop_oldest;
    scene_start(scene);
}

/* More than the spool can hold; each of them is answered. */
static uint64_t overfill(struct scene *scene)
{
    struct spool_statistics statistics;
    for (int i = 0; i < MANY; i++)
        scene_append(scene, CLICKS, 8);
    spool_statistics(scene->life.spool, &statistics);
    assert_true(statistics.dropped_events > 0);
    assert_true(statistics.dropped_events < scene->answered);
    return statistics.dropped_events;
}

/* All that was dropped is lost and counted, the newest are in the table, and the stream goes
 * on: what is appended now is taken. */
static void close_dropped(struct scene *scene, uint64_t dropped)
{
    scene_settle(scene);
    assert_int_equal(world_lost(&scene->world), dropped);
    assert_int_equal(scene_next(scene, CLICKS), scene->answered);
    uint64_t rows = scene_rows(scene);
    assert_int_equal(rows, scene->answered - dropped);
    scene_append(scene, CLICKS, 3);
    scene_settle(scene);
    assert_int_equal(scene_rows(scene), rows + 3);
    scene_close(scene);
}

/* Nothing was sealed yet: the stream begins with a hole that the first announcement names. */
static void drop_oldest_open(void **state)
{
    (void)state;
    struct scene scene;
    open_small(&scene, true);
    close_dropped(&scene, overfill(&scene));
}

static enum memory_fault store_is_down(void *context, enum memory_operation operation,
                                       const char *key)
{
    (void)context;
    (void)operation;
    (void)key;
    return MEMORY_FAULT_BEFORE;
}

/* Sealed and built, but nothing got out: the segment shrinks, or is lost as a whole. */
static void drop_oldest_sealed(void **state)
{
    (void)state;
    struct scene scene;
    open_small(&scene, true);
    scene.agent->store_script = store_is_down;
    scene_append(&scene, CLICKS, 8);
    scene_append(&scene, CLICKS, 8);
    scene_flush(&scene);
    uint64_t dropped = overfill(&scene);
    assert_true(dropped >= 8);
    scene.agent->store_script = NULL;
    close_dropped(&scene, dropped);
}

static enum memory_fault no_announcements(void *context, enum memory_operation operation,
                                          const char *key)
{
    (void)context;
    return operation == MEMORY_PUT && strncmp(key, "_bidlake/inbox/", 15) == 0 ? MEMORY_FAULT_BEFORE
                                                                               : MEMORY_FAULT_NONE;
}

/* Its files are in the store, its announcement isn't: what lies there holds rows that are
 * counted as lost now, so it must never be announced. */
static void drop_oldest_half_uploaded(void **state)
{
    (void)state;
    struct scene scene;
    open_small(&scene, true);
    scene.agent->store_script = no_announcements;
    scene_append(&scene, CLICKS, 8);
    scene_append(&scene, CLICKS, 8);
    scene_flush(&scene);
    assert_int_equal(world_count_objects(&scene.world, "db/clicks/data/"), 1);
    uint64_t dropped = overfill(&scene);
    assert_true(dropped >= 8);
    scene.agent->store_script = NULL;
    close_dropped(&scene, dropped);
}

static enum memory_fault answer_is_lost(void *context, enum memory_operation operation,
                                        const char *key)
{
    (void)context;
    return operation == MEMORY_PUT && strncmp(key, "_bidlake/inbox/", 15) == 0 ? MEMORY_FAULT_AFTER
                                                                               : MEMORY_FAULT_NONE;
}

/* The announcement did get out, unheard by the agent, and is taken before or after the drop:
 * the ledger decides, and what the table has is not lost. */
static void drop_oldest_announced_unheard(void **state)
{
    (void)state;
    for (int taken_first = 0; taken_first < 2; taken_first++) {
        struct scene scene;
        open_small(&scene, true);
        scene.agent->store_script = answer_is_lost;
        scene_append(&scene, CLICKS, 8);
        scene_append(&scene, CLICKS, 8);
        scene_flush(&scene);
        assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 1);
        if (taken_first)
            assert_int_equal(scene_turn(&scene, scene.committer), OK);
        uint64_t dropped = overfill(&scene);
        if (!taken_first)
            assert_int_equal(scene_turn(&scene, scene.committer), OK);
        assert_int_equal(scene_rows(&scene), 16);
        scene.agent->store_script = NULL;
        scene_settle(&scene);
        assert_true(world_lost(&scene.world) < dropped);
        scene_close(&scene);
    }
}

/* One table counts more than the other: whatever is open, sealed or built of the lesser one
 * goes before anything of it, over a restart too, and both streams go on. */
static void drop_the_lower_priority(void **state)
{
    (void)state;
    struct scene scene;
    struct spool_statistics statistics;
    scene_open(&scene, 2);
    scene.world.spool_bytes = BUDGET;
    scene.world.filler = FILLER;
    scene.world.drop_oldest = true;
    scene.world.priorities = true;
    scene_start(&scene);
    scene_append(&scene, WINS, 8);
    scene_append(&scene, CLICKS, 8);
    scene_restart(&scene); /* seals both */
    uint64_t dropped = 0;
    for (int i = 0; i < MANY; i++) {
        scene_append(&scene, CLICKS, 8);
        if (i % 8 == 0)
            scene_append(&scene, WINS, 1);
    }
    spool_statistics(scene.life.spool, &statistics);
    dropped = statistics.dropped_events;
    assert_true(dropped > 8);
    scene_settle(&scene);
    assert_int_equal(world_lost(&scene.world), dropped);
    assert_int_equal(world_rows(&scene.world, WINS), 8 + (MANY + 7) / 8);
    assert_int_equal(scene_rows(&scene), scene.answered - dropped);
    scene_append(&scene, CLICKS, 3);
    scene_append(&scene, WINS, 3);
    scene_settle(&scene);
    assert_int_equal(scene_rows(&scene), scene.answered - dropped);
    scene_close(&scene);
}

/* Refuses by default: nothing that was answered goes before it is announced, however much
 * is asked for; and when the store is back, all of it arrives. */
static void let_go_only_what_is_announced(void **state)
{
    (void)state;
    struct scene scene;
    struct error err;
    open_small(&scene, false);
    scene_append(&scene, CLICKS, 8);
    scene_flush(&scene); /* announced */
    scene.agent->store_script = store_is_down;
    scene_append(&scene, CLICKS, 8);
    scene_flush(&scene);
    assert_int_equal(spool_let_go(scene.life.spool, UINT64_MAX / 2, &err), OK);
    scene.agent->store_script = NULL;
    scene_settle(&scene);
    assert_int_equal(world_lost(&scene.world), 0);
    assert_int_equal(scene_rows(&scene), 16);
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(drop_oldest_open),
        cmocka_unit_test(drop_oldest_sealed),
        cmocka_unit_test(drop_oldest_half_uploaded),
        cmocka_unit_test(drop_oldest_announced_unheard),
        cmocka_unit_test(drop_the_lower_priority),
        cmocka_unit_test(let_go_only_what_is_announced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
