/* SPDX-License-Identifier: Apache-2.0
 *
 * The scenarios that once broke a draft of the protocol, on the committers' side: each
 * ends with every invariant of the protocol checked (scene_close).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/crash/scenarios.h"

/* ---- requests that go astray ---- */

static enum catalog_fault first_is_late(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation != CATALOG_COMMIT)
        return CATALOG_FAULT_NONE;
    if (++scene->calls == 1)
        return CATALOG_FAULT_LATE;
    if (memory_catalog_late_count(scene->world.catalog) > 0)
        memory_catalog_apply_late(scene->world.catalog, 0);
    return CATALOG_FAULT_NONE;
}

/* Sent, timed out, a fresh read shows nothing, the second attempt is written, and then the
 * first one arrives: taken as another commit it would bring every row twice. */
static void late_request(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = first_is_late;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 7);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.calls, 2);
    assert_int_equal(scene_rows(&scene), 7);
    scene_close(&scene);
}

static enum catalog_fault only_first_is_late(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    return operation == CATALOG_COMMIT && ++scene->calls == 1 ? CATALOG_FAULT_LATE
                                                              : CATALOG_FAULT_NONE;
}

/* The same, but it arrives when the second attempt has long been applied. */
static void late_request_loses(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = only_first_is_late;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 7);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(memory_catalog_late_count(scene.world.catalog), 1);
    memory_catalog_apply_late(scene.world.catalog, 0);
    assert_int_equal(scene_rows(&scene), 7);
    scene_close(&scene);
}

static enum catalog_fault first_is_doubled(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    return operation == CATALOG_COMMIT && ++scene->calls == 1 ? CATALOG_FAULT_DUPLICATE
                                                              : CATALOG_FAULT_NONE;
}

/* A request doubled on its way: the copy's 409 must not be taken for "not applied". */
static void duplicate_409(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = first_is_doubled;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.calls, 1);
    assert_int_equal(scene_rows(&scene), 5);
    scene_close(&scene);
}

static enum catalog_fault answer_lost_then_the_other(void *context,
                                                     enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation == CATALOG_COMMIT)
        return ++scene->calls == 1 ? CATALOG_FAULT_AFTER : CATALOG_FAULT_NONE;
    if (scene->calls == 1) { /* before it looks again */
        scene->calls = 2;
        scene_append(scene, CLICKS, 3);
        scene_flush(scene);
        assert_int_equal(scene_turn(scene, scene->other), OK);
    }
    return CATALOG_FAULT_NONE;
}

/* Applied, answered with a 5xx, and the other committer goes on first: main is no longer
 * the snapshot that the first one wrote, and yet it is committed. */
static void applied_500(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = answer_lost_then_the_other;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.calls, 2);
    assert_int_equal(scene_rows(&scene), 8);
    scene_close(&scene);
}

/* ---- time ---- */

static enum memory_fault frozen_at_the_ledger(void *context, enum memory_operation operation,
                                              const char *key)
{
    struct scene *scene = scene_of(context);
    if (operation != MEMORY_PUT || strncmp(key, "_bidlake/ledger/", 16) != 0 || scene->calls++ > 0)
        return MEMORY_FAULT_NONE;
    world_pass_ms(&scene->world, 3LL * DAY_MS);
    scene_remove_all(scene, "db/clicks/data/"); /* no snapshot names them: orphans */
    return MEMORY_FAULT_NONE;
}

/* Frozen between its HEADs and its send while a clean-up runs: to commit what the HEADs
 * had seen would put a file into the table that is not there. */
static void frozen_committer(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->store_script = frozen_at_the_ledger;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.taken, 0);
    assert_int_equal(scene.report.missing, 1);
    scene_close(&scene);
}

static enum catalog_fault frozen_before_the_send(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation != CATALOG_COMMIT || scene->calls++ > 0)
        return CATALOG_FAULT_NONE;
    world_pass_ms(&scene->world, 3LL * DAY_MS);
    assert_int_equal(scene_turn(scene, scene->other), OK);
    return CATALOG_FAULT_NONE;
}

/* Frozen with the request in hand, while the other committer takes the same segment. */
static void frozen_committer_thaws_late(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = frozen_before_the_send;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_rows(&scene), 5);
    scene_close(&scene);
}

static enum catalog_fault clean_up_deletes(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    struct error err;
    if (operation == CATALOG_COMMIT && scene->calls++ == 0)
        assert_int_equal(objstore_remove(scene->world.plain_store, scene->key, &err), OK);
    return CATALOG_FAULT_NONE;
}

/* A file three days old stands on a clean-up's list when it is committed: only a copy
 * under the next name is safe from it. */
static void head_then_orphans(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = clean_up_deletes;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    world_pass_ms(&scene.world, 3LL * DAY_MS);
    assert_true(scene_keep(&scene, "db/clicks/data/"));
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.taken, 1);
    assert_int_equal(scene.report.copied, 1);
    assert_int_equal(world_count_objects(&scene.world, scene.key), 0);
    scene_close(&scene);
}

static enum catalog_fault stale_once(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    return operation == CATALOG_LOAD && scene->calls++ == 0 ? CATALOG_FAULT_STALE
                                                            : CATALOG_FAULT_NONE;
}

/* A cache shows the table before the last commit, and an announcement is back that this
 * commit had taken: decided by it alone, its rows came twice. */
static void stale_load(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_true(scene_keep(&scene, "_bidlake/inbox/"));
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    scene_put(&scene);
    scene.other->catalog_script = stale_once;
    assert_int_equal(scene_turn(&scene, scene.other), OK);
    assert_int_equal(scene.report.taken, 0);
    assert_int_equal(scene.report.dead, 1);
    assert_int_equal(scene_rows(&scene), 5);
    scene_close(&scene);
}

/* The load that follows the commit; the one before it finds the clock as it was. */
static enum catalog_fault frozen_behind_the_commit(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation == CATALOG_COMMIT)
        scene->calls = 1;
    if (operation != CATALOG_LOAD || scene->calls != 1)
        return CATALOG_FAULT_NONE;
    scene->calls = 2;
    world_pass_ms(&scene->world, 8LL * DAY_MS);
    return CATALOG_FAULT_STALE;
}

/* Frozen for longer than ledgers are kept, between its commit and its clean-up, which then
 * reads the table before that commit: the current ledger is old, and nobody points at it. */
static void frozen_before_the_clean_up(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    /* One turn of two looks for old ledgers. */
    for (int i = 0; i < 12; i++) {
        scene.committer->catalog_script = frozen_behind_the_commit;
        scene.calls = 0;
        scene_append(&scene, CLICKS, 5);
        scene_flush(&scene);
        assert_int_equal(scene_turn(&scene, scene.committer), OK);
        scene.committer->catalog_script = NULL;
        scene_append(&scene, CLICKS, 1);
        scene_flush(&scene);
        assert_int_equal(scene_turn(&scene, scene.other), OK);
        assert_int_equal(scene.report.alarms, 0);
    }
    assert_int_equal(scene_rows(&scene), 12 * 6);
    scene_close(&scene);
}

/* ---- other hands on the table ---- */

static enum catalog_fault branch_first(void *context, enum catalog_operation operation)
{
    struct scene *scene = scene_of(context);
    if (operation != CATALOG_COMMIT || scene->calls++ > 0)
        return CATALOG_FAULT_NONE;
    world_foreign_snapshot(&scene->world, CLICKS, "audit");
    return CATALOG_FAULT_REFUSED;
}

/* A commit on another branch takes the sequence number: some catalogs answer 400, not 409,
 * and the announcement must be neither refused nor stuck. */
static void branch_400(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene.committer->catalog_script = branch_first;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 5);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.calls, 2);
    assert_int_equal(scene.report.taken, 1);
    scene_close(&scene);
}

static void roll_main_back(struct scene *scene, int64_t to, int64_t expired)
{
    world_foreign_update(&scene->world, CLICKS,
                         json_pack("[{s:s,s:s,s:s,s:I},{s:s,s:[I]}]", "action", "set-snapshot-ref",
                                   "ref-name", "main", "type", "branch", "snapshot-id",
                                   (json_int_t)to, "action", "remove-snapshots", "snapshot-ids",
                                   (json_int_t)expired));
}

/* A person rolls main back; then a late request arrives that asserts the very snapshot
 * main is at again. Its ledger is older than the table's: it must not be applied. */
static void rollback_late(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    int64_t before = world_current_snapshot(&scene.world, CLICKS);
    scene.committer->catalog_script = only_first_is_late;
    scene_start(&scene);
    scene_append(&scene, CLICKS, 7);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_next(&scene, CLICKS), 7);
    roll_main_back(&scene, before, world_current_snapshot(&scene.world, CLICKS));
    memory_catalog_apply_late(scene.world.catalog, 0);
    assert_int_equal(world_current_snapshot(&scene.world, CLICKS), before);
    /* The table keeps its ledger: what was taken isn't taken again. */
    scene_append(&scene, CLICKS, 2);
    scene_settle(&scene);
    assert_false(scene.world.failed);
    assert_int_equal(scene_next(&scene, CLICKS), 9);
    assert_int_equal(scene_rows(&scene), 2);
    scene_drop(&scene);
}

static void turn_alarms_and_takes_nothing(struct scene *scene)
{
    uint64_t rows = scene_rows(scene);
    assert_int_not_equal(scene_turn(scene, scene->committer), OK);
    assert_true(scene->report.alarms > 0);
    assert_int_equal(scene->report.taken, 0);
    assert_int_equal(scene_rows(scene), rows);
    assert_true(world_count_objects(&scene->world, "_bidlake/inbox/") > 0);
}

static char *pointer_of(struct scene *scene, size_t table)
{
    struct error err;
    struct catalog_table now = {0};
    bool found = false;
    assert_int_equal(catalog_load_table(scene->world.plain_catalog, "db",
                                        scene->world.mapping[0][table].schema.table, &now, &found,
                                        &err),
                     OK);
    char *pointer = strdup(json_string_value(
        json_object_get(json_object_get(now.metadata, "properties"), "bidlake.ledger")));
    catalog_table_free(&now);
    return pointer;
}

static json_t *set_pointer(const char *pointer)
{
    return json_pack("[{s:s,s:{s:s}}]", "action", "set-properties", "updates", "bidlake.ledger",
                     pointer);
}

static void one_segment_taken_one_waiting(struct scene *scene)
{
    scene_start(scene);
    scene_append(scene, CLICKS, 4);
    scene_flush(scene);
    assert_int_equal(scene_turn(scene, scene->committer), OK);
    scene_flush(scene);
    scene_append(scene, CLICKS, 3);
    scene_flush(scene);
}

/* Somebody clears the table's properties: an empty ledger would take all a second time. */
static void unset_property(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    one_segment_taken_one_waiting(&scene);
    char *pointer = pointer_of(&scene, CLICKS);
    world_foreign_update(
        &scene.world, CLICKS,
        json_pack("[{s:s,s:[s]}]", "action", "remove-properties", "removals", "bidlake.ledger"));
    turn_alarms_and_takes_nothing(&scene);
    world_foreign_update(&scene.world, CLICKS, set_pointer(pointer)); /* a person mends it */
    free(pointer);
    scene_close(&scene);
}

/* The ledger's file is gone: nothing may be decided without it. */
static void ledger_file_gone(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    one_segment_taken_one_waiting(&scene);
    char *pointer = pointer_of(&scene, CLICKS);
    assert_true(scene_keep(&scene, pointer));
    scene_remove_all(&scene, pointer);
    turn_alarms_and_takes_nothing(&scene);
    scene_put(&scene);
    free(pointer);
    scene_close(&scene);
}

/* A table registered a second time points at the first one's ledger: taken by it, events
 * of the one would be missing from the other. */
static void copied_table(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 2);
    one_segment_taken_one_waiting(&scene);
    char *clicks = pointer_of(&scene, CLICKS);
    char *wins = pointer_of(&scene, WINS);
    scene_append(&scene, WINS, 6);
    scene_flush(&scene);
    world_foreign_update(&scene.world, WINS, set_pointer(clicks));
    assert_int_not_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.taken, 1); /* the clicks that waited */
    assert_true(scene.report.alarms > 0);
    assert_int_equal(world_rows(&scene.world, WINS), 0);
    world_foreign_update(&scene.world, WINS, set_pointer(wins));
    free(clicks);
    free(wins);
    scene_close(&scene);
}

/* ---- a turn that ends half way ---- */

static enum memory_fault dies_at_the_nth(void *context, enum memory_operation operation,
                                         const char *key)
{
    struct actor *actor = context;
    struct scene *scene = scene_of(actor);
    (void)operation;
    (void)key;
    if (scene->calls-- > 0)
        return MEMORY_FAULT_NONE;
    actor->dead = true;
    return MEMORY_FAULT_AFTER; /* it arrived, nobody heard of it */
}

/* One turn over two tables, killed behind each of its operations: between the swaps,
 * between swap, receipt and removal. Another committer must find its way from there. */
static void two_tables_one_turn(void **state)
{
    (void)state;
    bool died = true;
    for (int calls = 0; died; calls++) {
        struct scene scene;
        scene_open(&scene, 2);
        scene_start(&scene);
        scene_append(&scene, CLICKS, 4);
        scene_append(&scene, WINS, 3);
        scene_flush(&scene);
        scene.committer->store_script = dies_at_the_nth;
        scene.calls = calls;
        int rc = scene_turn(&scene, scene.committer);
        died = scene.committer->dead;
        assert_true(died || rc == OK);
        assert_true(!died || calls < 200);
        scene.committer->store_script = NULL;
        assert_int_equal(scene_turn(&scene, scene.other), OK);
        assert_int_equal(scene_rows(&scene), 7);
        scene.committer->dead = false;
        scene_close(&scene);
    }
}

/* ---- streams of long ago ---- */

/* A stream that was silent past its retirement announces from 0 again: its next is
 * forgotten, so nothing says that these rows are in the table already. */
static void retired_stream(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    scene_start(&scene);
    scene_append(&scene, CLICKS, 4);
    scene_flush(&scene);
    assert_true(scene_keep(&scene, "_bidlake/inbox/"));
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    scene_flush(&scene);
    world_pass_ms(&scene.world, 31LL * DAY_MS);
    scene_restart(&scene);
    scene_append(&scene, CLICKS, 2);
    scene_flush(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene_rows(&scene), 6);
    scene_put(&scene);
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.retired, 1);
    assert_true(scene.report.alarms > 0);
    assert_int_equal(scene_rows(&scene), 6);
    scene_drop(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_request),
        cmocka_unit_test(late_request_loses),
        cmocka_unit_test(duplicate_409),
        cmocka_unit_test(applied_500),
        cmocka_unit_test(frozen_committer),
        cmocka_unit_test(frozen_committer_thaws_late),
        cmocka_unit_test(head_then_orphans),
        cmocka_unit_test(stale_load),
        cmocka_unit_test(frozen_before_the_clean_up),
        cmocka_unit_test(branch_400),
        cmocka_unit_test(rollback_late),
        cmocka_unit_test(unset_property),
        cmocka_unit_test(ledger_file_gone),
        cmocka_unit_test(copied_table),
        cmocka_unit_test(two_tables_one_turn),
        cmocka_unit_test(retired_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
