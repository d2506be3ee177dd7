/* SPDX-License-Identifier: Apache-2.0
 *
 * What others' users met, played on our protocol: each scenario is named after the report,
 * its comment says what happened there and what keeps it from happening here. Each ends
 * with every invariant of the protocol checked (scene_close).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/crash/scenarios.h"

static enum memory_fault dies_at_the_receipt(void *context, enum memory_operation operation,
                                             const char *key)
{
    struct actor *actor = context;
    actor->dead |= operation == MEMORY_PUT && strncmp(key, "_bidlake/receipts/", 18) == 0;
    return actor->dead ? MEMORY_FAULT_BEFORE : MEMORY_FAULT_NONE;
}

static void append_and_flush(struct scene *scene, unsigned count)
{
    scene_append(scene, CLICKS, count);
    scene_flush(scene);
}

/* ---- Kafka Connect ---- */

/* apache/iceberg#17340. The coordinator committed 38 files; a rebalance restarted its tasks
 * before their progress was kept, the control topic was read again, and the next commit took
 * 19 of the files once more: the offsets it kept in the snapshot fell, and what was
 * committed was kept apart from the commit. Here the ledger goes into the table in the same
 * swap, so who reads all notices again finds them dead. */
static void iceberg_17340_notices_read_again(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    append_and_flush(&scene, 5);
    append_and_flush(&scene, 4);
    scene.committer->store_script = dies_at_the_receipt;
    assert_int_not_equal(scene_turn(&scene, scene.committer), OK);
    assert_true(scene.committer->dead);
    assert_int_equal(scene_rows(&scene), 9);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 2);
    append_and_flush(&scene, 3);
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.report.seen, 3);
    assert_int_equal(scene.report.dead, 2);
    assert_int_equal(scene.report.taken, 1);
    assert_int_equal(scene_rows(&scene), 12);
    scene.committer->dead = false;
    scene.committer->store_script = NULL;
    scene_close(&scene);
}

static enum catalog_fault always_stale(void *context, enum catalog_operation operation)
{
    (void)context;
    return operation == CATALOG_LOAD ? CATALOG_FAULT_STALE : CATALOG_FAULT_NONE;
}

/* apache/iceberg#17551. A coordinator that had lost its post lived on and wrote its old
 * offset at every commit; the last writer won. When the good one died, that offset had gone
 * by retention, the group was reset to the latest, and what lay between was lost. Here a
 * zombie can write old receipts and try commits on old loads for as long as it likes:
 * receipts are hints of which the greatest counts, next never falls, and nobody starts
 * anywhere but at the ledger's next. */
static void iceberg_17551_zombie_writes_its_old_offset(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene.other->catalog_script = always_stale;
    for (int round = 0; round < 5; round++) {
        append_and_flush(&scene, 5);
        scene.calls = scene_turn(&scene, scene.other); /* may take it, may fail for good */
        assert_int_equal(scene_turn(&scene, scene.committer), OK);
        if (round > 0) {
            world_move_receipt(&scene.world, scene.life.stream[CLICKS], 5);
            scene_flush(&scene);
            world_move_receipt(&scene.world, scene.life.stream[CLICKS], 5);
        }
        assert_int_equal(scene_next(&scene, CLICKS), 5 * (round + 1));
        assert_int_equal(scene_rows(&scene), 5 * (round + 1));
    }
    scene_restart(&scene); /* it believes what the zombie wrote last, for a while */
    append_and_flush(&scene, 3);
    scene.other->catalog_script = NULL; /* it is found at last */
    scene_settle(&scene);
    assert_int_equal(world_lost(&scene.world), 0);
    assert_int_equal(scene_rows(&scene), 28);
    scene_close(&scene);
}

/* ---- Flink ---- */

static enum catalog_fault sent_and_dead(void *context, enum catalog_operation operation)
{
    struct actor *actor = context;
    if (operation != CATALOG_COMMIT)
        return CATALOG_FAULT_NONE;
    actor->dead = true;
    return CATALOG_FAULT_LATE;
}

static enum catalog_fault first_ones_lands_now(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation == CATALOG_COMMIT && scene->calls++ == 0)
        memory_catalog_apply_late(scene->world.catalog, 0);
    return CATALOG_FAULT_NONE;
}

/* apache/iceberg#14425. A commit was sent and its sender restarted; the new one looked, saw
 * no trace of the checkpoint, and wrote it again. Meanwhile the first landed: the second
 * was laid on top of it without a conflict, since an append fits on any parent, and all
 * rows came twice. Here a commit asserts the very snapshot its ledger was read with, so the
 * second one is refused, reads again and finds itself dead. */
static void iceberg_14425_first_lands_late(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    append_and_flush(&scene, 7);
    scene.committer->catalog_script = sent_and_dead;
    assert_int_not_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(memory_catalog_late_count(scene.world.catalog), 1);
    assert_int_equal(scene_rows(&scene), 0);
    scene.other->catalog_script = first_ones_lands_now;
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.calls, 1);
    assert_int_equal(scene.report.taken, 0);
    assert_int_equal(scene.report.dead, 1);
    assert_int_equal(scene_rows(&scene), 7);
    scene.committer->dead = false;
    scene.committer->catalog_script = scene.other->catalog_script = NULL;
    scene_close(&scene);
}

static enum catalog_fault applied_and_dead(void *context, enum catalog_operation operation)
{
    struct actor *actor = context;
    if (operation != CATALOG_COMMIT)
        return CATALOG_FAULT_NONE;
    actor->dead = true;
    return CATALOG_FAULT_AFTER;
}

/* apache/iceberg#16008. The commit was applied, its answer lost, and the job restarted under
 * another id: the snapshots were searched for the new id, which none of them had. Here no
 * committer has an identity: what is committed stands by stream and range. */
static void iceberg_16008_restarted_under_another_name(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    append_and_flush(&scene, 5);
    scene.committer->catalog_script = applied_and_dead;
    assert_int_not_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_rows(&scene), 5);
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.report.taken, 0);
    assert_int_equal(scene.report.dead, 1);
    scene.committer->dead = false;
    scene.committer->catalog_script = NULL;
    scene_close(&scene);
}

/* apache/iceberg#14090. One checkpoint held two commits, one for each schema; the first was
 * made, the job restarted, and the second was taken for the first, since both bore the
 * checkpoint's number: its rows were dropped. Here each range has its own place in the
 * ledger, whatever interval or schema it comes from. */
static void iceberg_14090_second_schema_of_one_interval(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    append_and_flush(&scene, 5);
    world_grow_table(&scene.world, CLICKS);
    scene.agent->mapping = 1;
    scene_restart(&scene);
    append_and_flush(&scene, 3);
    assert_int_equal(world_count_objects(&scene.world, "_bidlake/inbox/"), 2);
    scene.committer->announcements_max = 1;
    scene.committer->store_script = dies_at_the_receipt;
    assert_int_not_equal(scene_turn(&scene, scene.committer), OK);
    uint64_t first = scene_rows(&scene);
    assert_true(first == 5 || first == 3);
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.report.taken, 1);
    assert_int_equal(scene.report.dead, 1);
    assert_int_equal(scene_rows(&scene), 8);
    scene.committer->dead = false;
    scene.committer->store_script = NULL;
    scene_close(&scene);
}

/* ---- Redpanda Connect ---- */

static enum catalog_fault resent_then_the_other(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation == CATALOG_COMMIT)
        return ++scene->calls == 1 ? CATALOG_FAULT_DUPLICATE : CATALOG_FAULT_NONE;
    if (scene->calls == 1) { /* before it looks again */
        scene->calls = 2;
        append_and_flush(scene, 3);
        assert_int_equal(scene_turn(scene, scene->other), OK);
    }
    return CATALOG_FAULT_NONE;
}

/* redpanda-data/connect, pull request 4591. The transport sent the request again on a dropped
 * connection; the copy met the head that the first had moved and answered "conflict". The
 * committer loaded the table, which had its files, and added them once more. Here, too, a
 * conflict says nothing about who won; the load does, also when somebody went on since. */
static void redpanda_4591_resent_by_the_transport(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    append_and_flush(&scene, 5);
    scene.committer->catalog_script = resent_then_the_other;
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.calls, 2);
    assert_int_equal(scene_rows(&scene), 8);
    scene.committer->catalog_script = NULL;
    scene_close(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(iceberg_17340_notices_read_again),
        cmocka_unit_test(iceberg_17551_zombie_writes_its_old_offset),
        cmocka_unit_test(iceberg_14425_first_lands_late),
        cmocka_unit_test(iceberg_16008_restarted_under_another_name),
        cmocka_unit_test(iceberg_14090_second_schema_of_one_interval),
        cmocka_unit_test(redpanda_4591_resent_by_the_transport),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
