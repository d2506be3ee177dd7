/* SPDX-License-Identifier: Apache-2.0
 *
 * The scenarios that once broke a draft of the protocol, on the agents' side: disks,
 * upgrades, objects that vanish. Each ends with every invariant of the protocol checked
 * (scene_close).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/crash/scenarios.h"

/* ---- disks ---- */

/* Two machines start from one image with an unsealed tail: the tail must be in the table
 * once, and what both append afterwards must not be taken for the same positions. */
static void golden_image(void **state)
{
    (void)state;
    struct scene scene;
    struct agent_life twin;
    struct error err;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 4);
    scene_flush(&scene);
    scene_append(&scene, CLICKS, 3); /* the tail */
    scene_stop(&scene);
    world_copy_spool(scene.agent->directory, scene.twin->directory);
    scene_start(&scene);
    assert_int_equal(agent_life_begin(&twin, scene.twin, &err), OK);
    assert_string_not_equal(scene.life.stream[CLICKS], twin.stream[CLICKS]);
    scene_append(&scene, CLICKS, 5);
    assert_int_equal(agent_life_append(&twin, CLICKS, 6, &err), OK);
    scene.answered += 6;
    for (int i = 0; i < 40; i++) {
        assert_int_equal(pipeline_step(twin.pipeline, true, &err), OK);
        scene_flush(&scene);
        assert_int_equal(scene_turn(&scene, scene.committer), OK);
        world_pass_ms(&scene.world, WORLD_REPEAT_MS / 4);
    }
    assert_int_equal(scene_rows(&scene), 4 + 3 + 5 + 6);
    agent_life_end(&twin);
    scene_close(&scene);
}

/* The disk said it had synced what it had not: after the power cut the spool is of before
 * the upload. Positions given again would be dead on arrival, or double. */
static void power_cut_liar(void **state)
{
    (void)state;
    struct scene scene;
    char backup[300];
    scene_open(&scene, 1);
    snprintf(backup, sizeof backup, "%s/backup", scene.world.base);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_stop(&scene);
    world_copy_spool(scene.agent->directory, backup);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 7);
    scene_flush(&scene);             /* these were announced */
    scene_append(&scene, CLICKS, 2); /* these are what the disk lost */
    scene_stop(&scene);
    world_exempt_forgotten(&scene.world, scene.agent, backup);
    world_copy_spool(backup, scene.agent->directory);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 3);
    scene.answered -= 2;
    scene_close(&scene);
}

/* The same after a part of an open segment was sealed, uploaded and committed: the older
 * spool cuts its segments elsewhere. */
static void power_cut_liar_within_a_segment(void **state)
{
    (void)state;
    struct scene scene;
    struct error err;
    char backup[300];
    scene_open(&scene, 1);
    snprintf(backup, sizeof backup, "%s/backup", scene.world.base);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    /* A copy of the running machine's disk. */
    world_copy_spool(scene.agent->directory, backup);
    scene_append(&scene, CLICKS, 4);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_rows(&scene), 9);
    scene_stop(&scene);
    world_exempt_forgotten(&scene.world, scene.agent, backup);
    world_copy_spool(backup, scene.agent->directory);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 3);
    /* The receipt runs ahead of what this spool ever sealed: nothing may be trimmed by it,
     * and a person hears of it. */
    scene_settle(&scene);
    assert_true(pipeline_uploader_statistics_borrow(scene.life.pipeline)->alarms > 0);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_rows(&scene), 9 + 3);
    (void)err;
    scene_close(&scene);
}

/* The same, and nobody has taken yet what was announced: [0, 9) waits in the inbox, the older
 * disk would announce its [0, 5) in the same place. The four rows behind are nowhere else:
 * the longer one stays, and a person hears of it. */
static void power_cut_liar_announced(void **state)
{
    (void)state;
    struct scene scene;
    char backup[300];
    scene_open(&scene, 1);
    snprintf(backup, sizeof backup, "%s/backup", scene.world.base);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    world_copy_spool(scene.agent->directory, backup);
    scene_append(&scene, CLICKS, 4);
    scene_flush(&scene);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 1);
    scene_stop(&scene);
    world_exempt_forgotten(&scene.world, scene.agent, backup);
    world_copy_spool(backup, scene.agent->directory);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 3);
    scene_flush(&scene);
    world_pass_ms(&scene.world, WORLD_REPEAT_MS + 1); /* nor does the repeat shorten it */
    scene_flush(&scene);
    assert_true(pipeline_uploader_statistics_borrow(scene.life.pipeline)->alarms > 0);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_rows(&scene), 9 + 3);
    scene_close(&scene);
}

/* One damaged block costs its own events, named and counted; the rest goes on. */
static void bad_block(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    for (int i = 0; i < 4; i++)
        scene_append(&scene, CLICKS, 3);
    scene_stop(&scene);
    assert_true(world_damage_block(&scene.world, scene.agent));
    scene_start(&scene);
    scene_append(&scene, CLICKS, 2);
    scene_settle(&scene);
    assert_int_equal(world_lost(&scene.world), 3);
    assert_int_equal(scene_rows(&scene), 9 + 2);
    scene_close(&scene);
}

/* ---- upgrades ---- */

/* Dies with its announcement on the way; `arrives` says whether it gets there. */
static enum memory_fault dies_at_the_announcement(void *context, enum memory_operation operation,
                                                  const char *key)
{
    struct actor *actor = context;
    struct scene *scene = scene_of(actor);
    if (operation != MEMORY_PUT || strncmp(key, "_bidlake/inbox/", 15) != 0)
        return MEMORY_FAULT_NONE;
    actor->dead = true;
    return scene->calls > 0 ? MEMORY_FAULT_AFTER : MEMORY_FAULT_BEFORE;
}

/* Files put by the old program; the newer one writes other bytes for the same range. */
static void upgrade(struct scene *scene, bool arrives, bool taken)
{
    scene_open(scene, 1);
    scene->agent->roller_level = 1;
    scene->agent->store_script = dies_at_the_announcement;
    scene->calls = arrives;
    scene_start(scene);
    scene_append(scene, CLICKS, 20);
    scene_flush(scene);
    assert_true(scene->agent->dead);
    assert_int_equal(world_count_objects(&scene->world, "db/clicks/data/"), 1);
    scene->agent->store_script = NULL;
    if (taken)
        assert_int_equal(scene_turn(scene, scene->committer), OK);
    scene_stop(scene);
    scene->agent->roller_level = 15;
    scene_start(scene);
    scene_flush(scene);
    assert_int_equal(world_count_objects(&scene->world, "db/clicks/data/"), 2);
    assert_int_equal(scene_turn(scene, scene->committer), OK);
    assert_int_equal(scene_rows(scene), 20);
    scene_close(scene);
}

/* A name must not stand for two contents: an older announcement may name the first. */
static void upgrade_mid_segment_not_in(void **state)
{
    (void)state;
    struct scene scene;
    upgrade(&scene, false, false);
}

static void upgrade_mid_segment_in(void **state)
{
    (void)state;
    struct scene scene;
    upgrade(&scene, true, false);
}

static void upgrade_mid_segment_already_taken(void **state)
{
    (void)state;
    struct scene scene;
    upgrade(&scene, true, true);
}

static enum memory_fault gone_before_the_look(void *context, enum memory_operation operation,
                                              const char *key)
{
    struct scene *scene = scene_of(context);
    struct error err;
    if (operation == MEMORY_PUT && scene->calls == 0 && strstr(key, "/data/") != NULL) {
        scene->calls = 1;
        return MEMORY_FAULT_AFTER; /* so it is put again */
    }
    if (operation == MEMORY_HEAD && scene->calls++ == 1)
        assert_int_equal(objstore_remove(scene->world.plain_store, key, &err), OK);
    return MEMORY_FAULT_NONE;
}

/* The file was there when it was put a second time, and was cleaned up before the agent
 * looked whose it is: nobody else's bytes are there, so no other name, and no alarm. */
static void gone_before_the_answer(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.agent->store_script = gone_before_the_look;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene.calls, 2);
    assert_int_equal(pipeline_uploader_statistics_borrow(scene.life.pipeline)->alarms, 0);
    assert_true(scene_keep(&scene, "db/clicks/data/"));
    assert_non_null(strstr(scene.key, "-0-5-1.parquet"));
    scene.agent->store_script = NULL;
    scene_close(&scene);
}

static enum memory_fault slow_second(void *context, enum memory_operation operation,
                                     const char *key)
{
    struct scene *scene = scene_of(context);
    if (operation == MEMORY_PUT && strstr(key, "-20-40-") != NULL && scene->calls++ == 0)
        world_pass_ms(&scene->world, WORLD_REPEAT_MS + 1);
    return MEMORY_FAULT_NONE;
}

/* Its name was taken, it went out under the next one; the segment behind it takes so long
 * that it is announced again in the same pass: with what it was announced with, not with
 * memory that was given back. */
static void renamed_then_repeated(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.agent->roller_level = 1;
    scene.agent->store_script = dies_at_the_announcement;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 20);
    scene_append(&scene, CLICKS, 20);
    scene_flush(&scene);
    assert_true(scene.agent->dead);
    scene.agent->store_script = slow_second;
    scene_stop(&scene);
    scene.agent->roller_level = 15;
    scene_start(&scene);
    scene_flush(&scene);
    assert_int_equal(
        pipeline_uploader_statistics_borrow(scene.life.pipeline)->announcements_repeated, 1);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.refused, 0);
    assert_int_equal(scene.report.taken, 2);
    scene_close(&scene);
}

/* The table gets a column between first build and rebuild: the segment keeps the schema it
 * was captured with, and its rows come once. */
static void schema_moved(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    world_grow_table(&scene.world, CLICKS);
    scene_remove_all(&scene, "db/clicks/data/");
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.missing, 1);
    world_pass_ms(&scene.world, 2LL * WORLD_REPEAT_MS); /* the contract is read again */
    scene_flush(&scene);
    scene.agent->mapping = 1;
    scene_restart(&scene);
    scene_append(&scene, CLICKS, 3);
    scene_close(&scene);
}

/* ---- objects that vanish or come back ---- */

/* Let go, and then the file that was to stand for it is gone: counted, and on with it. */
static void let_go_then_missing(void **state)
{
    (void)state;
    struct scene scene;
    struct error err;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(spool_let_go(scene.life.spool, UINT64_MAX / 2, &err), OK);
    scene_remove_all(&scene, "db/clicks/data/");
    scene.world.files_removed = scene.world.blocks_damaged = true; /* so something may be lost */
    scene_append(&scene, CLICKS, 4);
    scene_settle(&scene);
    assert_int_equal(world_lost(&scene.world), 5);
    assert_int_equal(scene_rows(&scene), 4);
    scene_close(&scene);
}

/* The announcement is lost: the agent that hears nothing says it again. */
static void announcement_gone(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    scene_remove_all(&scene, "_bidlake/inbox/");
    scene_flush(&scene);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 0);
    world_pass_ms(&scene.world, WORLD_REPEAT_MS);
    scene_flush(&scene);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 1);
    scene_close(&scene);
}

/* The receipt is lost: the spool would hold its records for ever. */
static void receipt_gone(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    scene_remove_all(&scene, "_bidlake/receipts/");
    scene_flush(&scene);
    assert_false(world_is_quiet(&scene.world));
    world_pass_ms(&scene.world, WORLD_REPEAT_MS);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.dead, 1);
    scene_flush(&scene);
    assert_true(world_is_quiet(&scene.world));
    scene_close(&scene);
}

/* A slow committer writes an older receipt over the newer one: nothing is sent twice, and
 * what is behind it is trimmed all the same. */
static void receipt_back(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    for (int i = 0; i < 2; i++) {
        scene_append(&scene, CLICKS, 5);
        scene_flush(&scene);
        assert_int_equal(scene_turn(&scene, scene.committer), OK);
        if (i == 0)
            scene_flush(&scene);
        world_move_receipt(&scene.world, scene.life.stream[CLICKS], 5);
    }
    scene_flush(&scene);
    assert_false(world_is_quiet(&scene.world));
    scene_close(&scene);
}

/* Written without the table's contract, in a schema that the table hasn't got: refused,
 * the table is mended, the same records are built again. */
static void refused_then_mended(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    assert_true(scene_keep(&scene, "_bidlake/tables/"));
    scene_remove_all(&scene, "_bidlake/tables/");
    scene.agent->mapping = 1;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    scene_put(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.refused, 1);
    assert_int_equal(scene_rows(&scene), 0);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/refused/"), 1);
    world_grow_table(&scene.world, CLICKS);
    scene_close(&scene);
}

static enum memory_fault dies_at_the_ledger(void *context, enum memory_operation operation,
                                            const char *key)
{
    struct actor *actor = context;
    actor->dead |= operation == MEMORY_PUT && strncmp(key, "_bidlake/ledger/", 16) == 0;
    return actor->dead ? MEMORY_FAULT_BEFORE : MEMORY_FAULT_NONE;
}

/* A committer copies the old file to its next name and dies; the file is cleaned up, the
 * table gets a column, the segment is built again: that its next name is taken by other
 * bytes is nothing that a person should be called for. */
static void copied_then_rebuilt(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_true(scene_keep(&scene, "db/clicks/data/"));
    world_pass_ms(&scene.world, 2LL * DAY_MS);
    scene.committer->store_script = dies_at_the_ledger;
    assert_int_not_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(world_count_objects(&scene.world, "db/clicks/data/"), 2);
    scene_remove_all(&scene, scene.key);
    scene.world.files_removed = true;
    world_grow_table(&scene.world, CLICKS);
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.report.missing, 1);
    world_pass_ms(&scene.world, 2LL * WORLD_REPEAT_MS); /* the contract is read again */
    scene_flush(&scene);
    assert_int_equal(world_count_objects(&scene.world, "db/clicks/data/"), 2);
    assert_int_equal(pipeline_uploader_statistics_borrow(scene.life.pipeline)->alarms, 0);
    scene.committer->dead = false;
    scene.committer->store_script = NULL;
    scene_close(&scene);
}

/* The segment behind the refused one waits; another committer's turn finds the gap and
 * writes its receipt before the agent has read of the refusal. It must still hear of it, or it
 * announces what is refused again and again. */
static void refused_then_gap(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    assert_true(scene_keep(&scene, "_bidlake/tables/"));
    scene_remove_all(&scene, "_bidlake/tables/");
    scene.agent->mapping = 1;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    scene_append(&scene, CLICKS, 4);
    scene_flush(&scene);
    scene_put(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.refused, 1);
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.report.waiting, 1);
    assert_true(scene.report.alarms > 0);
    world_grow_table(&scene.world, CLICKS);
    scene_flush(&scene);
    assert_int_equal(pipeline_uploader_statistics_borrow(scene.life.pipeline)->segments_rebuilt, 1);
    scene_close(&scene);
}

static enum memory_fault second_look_is_stale(void *context, enum memory_operation operation,
                                              const char *key)
{
    struct scene *scene = scene_of(context);
    bool look = operation == MEMORY_GET && strncmp(key, "_bidlake/inbox/", 15) == 0;
    return look && ++scene->calls == 2 ? MEMORY_FAULT_STALE : MEMORY_FAULT_NONE;
}

/* The committer that refuses it doesn't see it any more when it wants to keep what it
 * refused: then it must stay in the inbox, or nobody could say what became of it. */
static void refused_unseen(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    assert_true(scene_keep(&scene, "_bidlake/tables/"));
    scene_remove_all(&scene, "_bidlake/tables/");
    scene.agent->mapping = 1;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    scene_put(&scene);
    scene.committer->store_script = second_look_is_stale;
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.calls, 2);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/refused/"), 0);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 1);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/refused/"), 1);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 0);
    world_grow_table(&scene.world, CLICKS);
    scene_close(&scene);
}

/* ---- clocks ---- */

/* Clocks an hour off, either way: a committer commits nothing by such a clock, an agent's
 * events arrive once whatever its clock says. */
static void clock_leap(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    static const int64_t leaps_us[] = {0, 3600000000, -3600000000, 0};
    for (size_t i = 0; i < sizeof leaps_us / sizeof leaps_us[0]; i++) {
        scene.agent->leap_us = leaps_us[i];
        scene_append(&scene, CLICKS, 3);
        scene_flush(&scene);
        scene_restart(&scene);
        scene_append(&scene, CLICKS, 2);
        scene_flush(&scene);
        scene.committer->leap_us = leaps_us[i];
        int rc = scene_turn(&scene, scene.committer);
        assert_int_equal(rc == OK, leaps_us[i] == 0);
        assert_int_equal(scene.report.alarms > 0, leaps_us[i] != 0);
    }
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_image),
        cmocka_unit_test(power_cut_liar),
        cmocka_unit_test(power_cut_liar_within_a_segment),
        cmocka_unit_test(power_cut_liar_announced),
        cmocka_unit_test(bad_block),
        cmocka_unit_test(upgrade_mid_segment_not_in),
        cmocka_unit_test(upgrade_mid_segment_in),
        cmocka_unit_test(upgrade_mid_segment_already_taken),
        cmocka_unit_test(gone_before_the_answer),
        cmocka_unit_test(renamed_then_repeated),
        cmocka_unit_test(schema_moved),
        cmocka_unit_test(let_go_then_missing),
        cmocka_unit_test(announcement_gone),
        cmocka_unit_test(receipt_gone),
        cmocka_unit_test(receipt_back),
        cmocka_unit_test(refused_then_mended),
        cmocka_unit_test(copied_then_rebuilt),
        cmocka_unit_test(refused_then_gap),
        cmocka_unit_test(refused_unseen),
        cmocka_unit_test(clock_leap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
