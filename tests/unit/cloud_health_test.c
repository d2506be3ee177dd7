/* SPDX-License-Identifier: Apache-2.0
 *
 * What a commit puts in order on its way: manifests, row ids, old snapshots.
 */
#include "tests/unit/cloud_fixture.h"

static void manifests_read(struct fixture *f, struct arena *arena, struct manifest_file **files,
                           size_t *count)
{
    struct catalog_table table = {0};
    struct buf bytes = {0};
    struct error err;
    load(f, &table);
    const json_t *snapshot =
        metadata_snapshot_borrow(table.metadata, metadata_current_snapshot_id(table.metadata));
    get_url(f, json_string_value(json_object_get(snapshot, "manifest-list")), &bytes);
    assert_int_equal(manifest_list_decode(files, count, arena, buf_slice(&bytes), &err), OK);
    buf_free(&bytes);
    catalog_table_free(&table);
}

static size_t manifest_count(struct fixture *f)
{
    struct arena arena = {0};
    struct manifest_file *files = NULL;
    size_t count = 0;
    manifests_read(f, &arena, &files, &count);
    arena_free(&arena);
    return count;
}

/* A manifest a minute would make every query read thousands; merging must lose none. */
static void small_manifests_become_one(void **state)
{
    struct fixture *f = *state;
    struct wish day = {.spec = 1};
    f->committer.merge_count = 4;
    for (uint64_t i = 0; i < 21; i++) {
        if (i % 2 == 0)
            announce(f, STREAM, i * 10, i * 10 + 10);
        else
            announce_as(f, STREAM, i * 10, i * 10 + 10, &day);
        assert_int_equal(turn(f), OK);
        assert_true(manifest_count(f) <= 8);
        assert_int_equal(rows_in_table(f), (i + 1) * 10);
    }
}

/* What another engine wrote and we can't read (its spec has more fields, say) must not stop
 * our commits for ever once there are enough small manifests to merge. */
static void manifest_that_does_not_read_is_not_merged(void **state)
{
    struct fixture *f = *state;
    struct objstore_list list = {0};
    struct buf bytes = {0};
    struct objstore_info info;
    struct error err;
    const char *key = NULL;
    f->committer.merge_count = 4;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(objstore_list(f->store, "db/t/metadata/", NULL, 1000, &list, &err), OK);
    for (size_t i = 0; i < list.count; i++)
        if (strstr(list.entries[i].key, "-m0.avro") != NULL)
            key = list.entries[i].key;
    assert_non_null(key);
    assert_int_equal(objstore_get(f->store, key, 1 << 20, &bytes, &info, &err), OK);
    assert_int_equal(objstore_put_bytes(f->store, key, slice_cstr("not Avro"), PUT_ALWAYS, &err),
                     OK);
    for (uint64_t i = 1; i < 12; i++) {
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
    assert_true(manifest_count(f) <= 6); /* the others are merged */
    assert_int_equal(objstore_put_bytes(f->store, key, buf_slice(&bytes), PUT_ALWAYS, &err), OK);
    assert_int_equal(rows_in_table(f), 120);
    buf_free(&bytes);
    objstore_list_free(&list);
}

/* What the table's owner says about merging holds for us as for Java. */
static void properties_rule_the_merge(void **state)
{
    struct fixture *f = *state;
    set_property(f, "commit.manifest.min-count-to-merge", "3");
    set_property(f, "commit.manifest-merge.enabled", "false");
    for (uint64_t i = 0; i < 5; i++) {
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
    assert_int_equal(manifest_count(f), 5);
    set_property(f, "commit.manifest-merge.enabled", "true");
    set_property(f, "commit.manifest.min-count-to-merge", "5");
    announce(f, STREAM, 50, 60);
    assert_int_equal(turn(f), OK);
    assert_int_equal(manifest_count(f), 2);
    /* More than wanted, as when another engine appends too: not at each commit, but soon. */
    set_property(f, "commit.manifest.min-count-to-merge", "1000");
    for (uint64_t i = 6; i < 20; i++) {
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
    assert_int_equal(manifest_count(f), 16);
    set_property(f, "commit.manifest.min-count-to-merge", "2");
    for (uint64_t i = 20; manifest_count(f) > 4; i++) {
        assert_true(i < 200);
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
}

/* ---- row ids ---- */

static void upgrade_to_3(struct fixture *f)
{
    struct catalog_table table = {0};
    struct error err;
    load(f, &table);
    json_t *requirements = json_array();
    json_t *updates =
        json_pack("[{s:s,s:i}]", "action", "upgrade-format-version", "format-version", 3);
    assert_int_equal(
        catalog_commit(f->catalog, "db", "t", &table, requirements, updates, NULL, &err), OK);
    json_decref(requirements);
    json_decref(updates);
    catalog_table_free(&table);
}

struct row_ids {
    size_t count;
    char *paths[32];
    int64_t first[32];
    int64_t rows[32];
};

static void row_ids_free(struct row_ids *ids)
{
    for (size_t i = 0; i < ids->count; i++)
        free(ids->paths[i]);
}

/* Of main's live files, as a reader inherits them. */
static void row_ids_read(struct fixture *f, struct row_ids *out)
{
    struct arena arena = {0};
    struct manifest_file *files = NULL;
    struct error err;
    size_t count = 0;
    *out = (struct row_ids){0};
    manifests_read(f, &arena, &files, &count);
    for (size_t i = 0; i < count; i++) {
        struct buf bytes = {0};
        struct manifest_entry *entries = NULL;
        size_t entry_count = 0;
        assert_true(files[i].has_first_row_id);
        get_url(f, files[i].path, &bytes);
        assert_int_equal(
            manifest_decode(&entries, &entry_count, &arena, &files[i], buf_slice(&bytes), &err),
            OK);
        for (size_t k = 0; k < entry_count; k++) {
            assert_true(entries[k].has_first_row_id);
            out->paths[out->count] = memory_copy_cstr(entries[k].path);
            out->first[out->count] = entries[k].first_row_id;
            out->rows[out->count++] = entries[k].record_count;
        }
        buf_free(&bytes);
    }
    arena_free(&arena);
}

/* A row keeps its id for life, and no two have one: what follows changes goes by it. */
static void merged_rows_keep_their_ids(void **state)
{
    struct fixture *f = *state;
    struct row_ids before;
    struct row_ids after;
    f->committer.merge_count = 6;
    announce(f, STREAM, 0, 10); /* from before the upgrade */
    assert_int_equal(turn(f), OK);
    upgrade_to_3(f);
    for (uint64_t i = 1; i < 6; i++) {
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
    row_ids_read(f, &before);
    assert_int_equal(manifest_count(f), 6);
    announce(f, STREAM, 60, 70);
    assert_int_equal(turn(f), OK);
    row_ids_read(f, &after);
    assert_int_equal(manifest_count(f), 2);
    assert_int_equal(after.count, 7);
    for (size_t i = 0; i < before.count; i++) {
        size_t at = 0;
        while (at < after.count && strcmp(after.paths[at], before.paths[i]) != 0)
            at++;
        assert_true(at < after.count);
        assert_int_equal(after.first[at], before.first[i]);
    }
    for (size_t i = 0; i < after.count; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(after.first[i] + after.rows[i] <= after.first[k] ||
                        after.first[k] + after.rows[k] <= after.first[i]);
    assert_int_equal(rows_in_table(f), 70);
    row_ids_free(&before);
    row_ids_free(&after);
}

/* ---- snapshots ---- */

static void somebody_tags(struct fixture *f, int64_t id)
{
    struct catalog_table table = {0};
    struct error err;
    load(f, &table);
    json_t *requirements = json_array();
    json_t *updates = json_pack("[{s:s,s:s,s:s,s:I}]", "action", "set-snapshot-ref", "ref-name",
                                "keep", "type", "tag", "snapshot-id", (json_int_t)id);
    assert_int_equal(
        catalog_commit(f->catalog, "db", "t", &table, requirements, updates, NULL, &err), OK);
    json_decref(requirements);
    json_decref(updates);
    catalog_table_free(&table);
}

/* The metadata grows with every snapshot; but what somebody has tagged is his. */
static void old_snapshots_of_our_own_are_dropped(void **state)
{
    struct fixture *f = *state;
    struct catalog_table table = {0};
    f->committer.snapshots_keep = 3;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    int64_t tagged = f->report.snapshot_id;
    somebody_tags(f, tagged);
    for (uint64_t i = 1; i < 8; i++) {
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
    assert_int_equal(snapshot_count(f), 4);
    load(f, &table);
    assert_non_null(metadata_snapshot_borrow(table.metadata, tagged));
    catalog_table_free(&table);
    fixture_pass_ms(f, 8 * 24 * (int64_t)HOUR_MS);
    announce(f, STREAM, 80, 90);
    assert_int_equal(turn(f), OK);
    assert_int_equal(snapshot_count(f), 3); /* new, its parent, the tag's */
    assert_int_equal(rows_in_table(f), 90);
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(small_manifests_become_one),
        T(manifest_that_does_not_read_is_not_merged),
        T(properties_rule_the_merge),
        T(merged_rows_keep_their_ids),
        T(old_snapshots_of_our_own_are_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
