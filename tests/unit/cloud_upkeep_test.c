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

/* ---- what they leave behind ---- */

enum { DAY_MS = 24 * HOUR_MS };

static size_t objects(struct fixture *f, const char *prefix, const char *word)
{
    struct objstore_list list = {0};
    struct error err;
    size_t count = 0;
    assert_int_equal(objstore_list(f->store, prefix, NULL, 10000, &list, &err), OK);
    assert_false(list.more);
    for (size_t i = 0; i < list.count; i++)
        count += strstr(list.entries[i].key, word) != NULL;
    objstore_list_free(&list);
    return count;
}

static size_t lists(struct fixture *f)
{
    return objects(f, "db/t/metadata/", "/snap-");
}

static size_t manifests(struct fixture *f)
{
    return objects(f, "db/t/metadata/", "/bidlake-");
}

static size_t notes(struct fixture *f)
{
    return objects(f, "_bidlake/dropped/db.t/", ".json");
}

/* Every path that a retained snapshot names exists. How many manifests there are. */
static size_t all_retained_reads(struct fixture *f)
{
    struct catalog_table table = {0};
    struct arena arena = {0};
    struct error err;
    size_t i;
    const json_t *snapshot;
    json_t *seen = json_object();
    load(f, &table);
    json_array_foreach(json_object_get(table.metadata, "snapshots"), i, snapshot)
    {
        struct buf bytes = {0};
        struct manifest_file *files = NULL;
        size_t count = 0;
        get_url(f, json_string_value(json_object_get(snapshot, "manifest-list")), &bytes);
        assert_int_equal(manifest_list_decode(&files, &count, &arena, buf_slice(&bytes), &err), OK);
        for (size_t k = 0; k < count; k++) {
            struct buf manifest = {0};
            get_url(f, files[k].path, &manifest);
            assert_int_equal(manifest.len, files[k].length);
            json_object_set_new(seen, files[k].path, json_true());
            buf_free(&manifest);
        }
        buf_free(&bytes);
    }
    size_t count = json_object_size(seen);
    json_decref(seen);
    arena_free(&arena);
    catalog_table_free(&table);
    return count;
}

static void commits(struct fixture *f, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint64_t next = next_of(f, STREAM);
        announce(f, STREAM, next, next + 10);
        assert_int_equal(turn(f), OK);
    }
}

static void keep_few(struct fixture *f)
{
    f->committer.snapshots_keep = 3;
    f->committer.merge_count = 4;
    f->committer.prune_every = 1;
}

/* 1,400 snapshots a day would leave 1,400 lists a day for ever; but a query that was planned
 * yesterday reads on. */
static void dropped_snapshots_leave_nothing(void **state)
{
    struct fixture *f = *state;
    keep_few(f);
    commits(f, 20);
    assert_int_equal(snapshot_count(f), 3);
    assert_int_equal(lists(f), 21); /* the first ledger's too */
    assert_true(manifests(f) > 20);
    fixture_pass_ms(f, DAY_MS - 60 * 1000);
    commits(f, 1);
    assert_int_equal(lists(f), 22);
    fixture_pass_ms(f, 120 * 1000);
    commits(f, 1);
    assert_int_equal(notes(f), 2); /* of the last two */
    assert_int_equal(lists(f), 3 + 2);
    fixture_pass_ms(f, DAY_MS + 1000);
    commits(f, 1);
    assert_int_equal(notes(f), 1);
    assert_int_equal(lists(f), 3 + 1);
    size_t retained = all_retained_reads(f);
    assert_true(manifests(f) >= retained && manifests(f) <= retained + 1);
    assert_int_equal(rows_in_table(f), 230);
}

/* A note that does not read is named and left; the ones behind it are worked off. */
static void bad_note_stops_no_other(void **state)
{
    static const char key[] = "_bidlake/dropped/db.t/0-bad.json";
    struct fixture *f = *state;
    struct error err;
    bool named = false;
    keep_few(f);
    assert_int_equal(objstore_put_bytes(f->store, key, slice_cstr("{"), PUT_ALWAYS, &err), OK);
    commits(f, 20);
    fixture_pass_ms(f, DAY_MS + 1000);
    commits(f, 1);
    for (size_t i = 0; i < f->report.note_count; i++)
        named = named || strstr(f->report.notes[i].text, key) != NULL;
    assert_true(named);
    fixture_pass_ms(f, DAY_MS + 1000);
    commits(f, 1);
    assert_int_equal(notes(f), 2); /* the last one's, and the bad one */
    assert_int_equal(lists(f), 3 + 1);
}

/* What stands on somebody's tag or branch must read for ever. */
static void manifests_of_tags_and_branches_stay(void **state)
{
    struct fixture *f = *state;
    struct catalog_table table = {0};
    struct error err;
    keep_few(f);
    commits(f, 3);
    somebody_tags(f, f->report.snapshot_id);
    commits(f, 2);
    /* A branch grows from a snapshot that main leaves behind: another engine's list, with
     * manifests that a merge replaces on main. */
    load(f, &table);
    int64_t base = f->report.snapshot_id;
    const json_t *from = metadata_snapshot_borrow(table.metadata, base);
    struct buf bytes = {0};
    get_url(f, json_string_value(json_object_get(from, "manifest-list")), &bytes);
    assert_int_equal(objstore_put_bytes(f->store, "db/t/metadata/snap-77-1-theirs.avro",
                                        buf_slice(&bytes), PUT_ALWAYS, &err),
                     OK);
    json_t *requirements = json_array();
    json_t *updates = json_pack(
        "[{s:s,s:{s:i,s:I,s:I,s:I,s:s,s:{s:s}}},{s:s,s:s,s:s,s:i}]", "action", "add-snapshot",
        "snapshot", "snapshot-id", 77, "parent-snapshot-id", (json_int_t)base, "sequence-number",
        (json_int_t)metadata_last_sequence_number(table.metadata) + 1, "timestamp-ms",
        (json_int_t)(f->wall_us / 1000), "manifest-list",
        "memory:///db/t/metadata/snap-77-1-theirs.avro", "summary", "operation", "append", "action",
        "set-snapshot-ref", "ref-name", "audit", "type", "branch", "snapshot-id", 77);
    assert_non_null(updates);
    struct buf url = {0};
    objstore_url_of(f->store, "db/t/metadata/snap-77-1-theirs.avro", &url);
    json_object_set_new(json_object_get(json_array_get(updates, 0), "snapshot"), "manifest-list",
                        json_string(buf_cstr(&url)));
    assert_int_equal(
        catalog_commit(f->catalog, "db", "t", &table, requirements, updates, NULL, &err), OK);
    catalog_table_free(&table);
    commits(f, 12);
    fixture_pass_ms(f, DAY_MS + 1000);
    commits(f, 2);
    assert_int_equal(notes(f), 2);
    load(f, &table);
    assert_null(metadata_snapshot_borrow(table.metadata, base));
    assert_non_null(metadata_snapshot_borrow(table.metadata, 77));
    assert_true(all_retained_reads(f) > 6);
    buf_free(&bytes);
    buf_free(&url);
    json_decref(requirements);
    json_decref(updates);
    catalog_table_free(&table);
}

/* A note whose swap was lost stands for nothing: what it names is in use. */
static void note_of_a_lost_swap_removes_nothing(void **state)
{
    struct fixture *f = *state;
    f->committer.prune_every = 1;
    f->committer.attempts_max = 1;
    commits(f, 6);
    struct committer eager = f->committer;
    eager.snapshots_keep = 2;
    f->commit_fault = CATALOG_FAULT_BEFORE;
    f->commit_fault_in = 1;
    announce(f, STREAM, 60, 70);
    assert_int_equal(turn_by(f, &eager), ERROR_RETRY);
    assert_int_equal(notes(f), 1);
    assert_int_equal(snapshot_count(f), 7);
    fixture_pass_ms(f, DAY_MS + 1000);
    assert_int_equal(turn(f), OK);
    assert_int_equal(notes(f), 0);
    assert_int_equal(snapshot_count(f), 8);
    assert_int_equal(all_retained_reads(f), 7);
    assert_int_equal(rows_in_table(f), 70);
}

/* Where one list does not read, nothing is known to be of no use; and the turn goes on. */
static void what_does_not_read_stops_the_removal(void **state)
{
    struct fixture *f = *state;
    struct catalog_table table = {0};
    struct buf bytes = {0};
    struct error err;
    char key[OBJSTORE_KEY_MAX + 1];
    keep_few(f);
    commits(f, 1);
    somebody_tags(f, f->report.snapshot_id);
    load(f, &table);
    const char *url = json_string_value(json_object_get(
        metadata_snapshot_borrow(table.metadata, f->report.snapshot_id), "manifest-list"));
    assert_true(objstore_key_of(f->store, url, key));
    get_url(f, url, &bytes);
    commits(f, 12);
    size_t before = lists(f);
    assert_int_equal(objstore_put_bytes(f->store, key, slice_cstr("?"), PUT_ALWAYS, &err), OK);
    fixture_pass_ms(f, DAY_MS + 1000);
    commits(f, 1);
    assert_int_equal(lists(f), before + 1);
    assert_int_equal(f->report.note_count, 1);
    assert_int_equal(f->report.notes[0].kind, NOTE_INFO);
    assert_int_equal(objstore_put_bytes(f->store, key, buf_slice(&bytes), PUT_ALWAYS, &err), OK);
    commits(f, 1);
    assert_true(lists(f) < before);
    all_retained_reads(f);
    buf_free(&bytes);
    catalog_table_free(&table);
}

/* Who says how long snapshots stay, on the table or on a branch, is obeyed. */
static void promises_of_the_table_are_kept(void **state)
{
    struct fixture *f = *state;
    keep_few(f);
    set_property(f, "gc.enabled", "false");
    commits(f, 5);
    assert_int_equal(snapshot_count(f), 6);
    set_property(f, "gc.enabled", "true");
    set_property(f, "history.expire.min-snapshots-to-keep", "6");
    commits(f, 5);
    assert_int_equal(snapshot_count(f), 6);
    set_property(f, "history.expire.min-snapshots-to-keep", NULL);
    set_property(f, "history.expire.max-snapshot-age-ms", "600000");
    commits(f, 5);
    assert_int_equal(snapshot_count(f), 11);
    fixture_pass_ms(f, 601000);
    commits(f, 1);
    assert_int_equal(snapshot_count(f), 3);
    all_retained_reads(f);
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
        T(dropped_snapshots_leave_nothing),
        T(bad_note_stops_no_other),
        T(manifests_of_tags_and_branches_stay),
        T(note_of_a_lost_swap_removes_nothing),
        T(what_does_not_read_stops_the_removal),
        T(promises_of_the_table_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
