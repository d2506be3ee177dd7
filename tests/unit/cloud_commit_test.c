/* SPDX-License-Identifier: Apache-2.0
 *
 * The commit rule and its surroundings, one by one.
 */
#include "tests/unit/cloud_fixture.h"

/* The main case: rows land, next moves, the agent is told, the inbox is empty. */
static void next_piece_is_taken(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 1);
    assert_int_equal(f->report.rows, 10);
    assert_int_equal(next_of(f, STREAM), 10);
    assert_int_equal(rows_in_table(f), 10);
    assert_int_equal(receipt_next(f, STREAM), 10);
    assert_false(in_inbox(f, STREAM, 0));
    assert_int_equal(f->report.alarms, 0);
}

/* A backlog must not cost a snapshot a piece: engines slow down with their number. */
static void chain_is_one_snapshot(void **state)
{
    struct fixture *f = *state;
    struct wish day = {.spec = 1};
    size_t before = snapshot_count(f);
    announce(f, STREAM, 0, 10);
    announce_as(f, STREAM, 10, 25, &day);
    announce(f, STREAM, 25, 26);
    announce(f, OTHER, 0, 100);
    announce(f, KAFKA, 0, 7);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 5);
    assert_int_equal(snapshot_count(f), before + 1);
    assert_int_equal(rows_in_table(f), 26 + 100 + 7);
    assert_int_equal(next_of(f, STREAM), 26);
    assert_int_equal(next_of(f, OTHER), 100);
    assert_int_equal(next_of(f, KAFKA), 7);
}

/* An announcement that comes twice must not bring its rows twice. */
static void dead_is_removed_and_answered(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 0);
    assert_int_equal(f->report.dead, 1);
    assert_int_equal(f->report.alarms, 0);
    assert_false(in_inbox(f, STREAM, 0));
    assert_int_equal(rows_in_table(f), 10);
    assert_int_equal(receipt_next(f, STREAM), 10);
}

/* Skipping a gap would lose answered events unseen. */
static void gap_waits_with_an_alarm(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    announce(f, STREAM, 20, 30);
    assert_int_equal(turn(f), OK);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.waiting, 1);
    assert_int_equal(f->report.alarms, 1);
    assert_int_equal(next_of(f, STREAM), 10);
    assert_true(in_inbox(f, STREAM, 20));
    announce(f, STREAM, 10, 20);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.alarms, 0);
    assert_int_equal(next_of(f, STREAM), 30);
    assert_int_equal(rows_in_table(f), 30);
}

/* A stream never seen begins at 0: its first announcement may not be its first range. */
static void unknown_stream_begins_at_zero(void **state)
{
    struct fixture *f = *state;
    announce(f, KAFKA, 5, 8);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 0);
    assert_int_equal(f->report.alarms, 1);
    assert_int_equal(receipt_next(f, KAFKA), 0);
}

/* Two agents with one identity overlap: a sign that costs nothing must be seen. */
static void overlap_in_own_stream_is_an_alarm(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    announce(f, STREAM, 5, 15);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.dead, 1);
    assert_int_equal(f->report.alarms, 1);
    assert_int_equal(next_of(f, STREAM), 10);
}

/* What is lost is named in the ledger, and the stream goes on behind it. */
static void lost_range_moves_next(void **state)
{
    struct fixture *f = *state;
    struct wish lost = {.lost = "disk_full"};
    announce(f, STREAM, 0, 10);
    announce_as(f, STREAM, 10, 14, &lost);
    announce(f, STREAM, 14, 20);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.lost_events, 4);
    assert_int_equal(next_of(f, STREAM), 20);
    assert_int_equal(rows_in_table(f), 16);
    announce_as(f, OTHER, 0, 3, &lost); /* nothing else: still a snapshot, since the ledger moves */
    size_t before = snapshot_count(f);
    assert_int_equal(turn(f), OK);
    assert_int_equal(snapshot_count(f), before + 1);
    assert_int_equal(next_of(f, OTHER), 3);
    assert_int_equal(rows_in_table(f), 16);
}

/* ---- races and lost answers ---- */

static void lost_answer_is_not_taken_twice(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    f->commit_fault = CATALOG_FAULT_AFTER;
    f->commit_fault_in = 1;
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 1);
    assert_int_equal(rows_in_table(f), 10);
    assert_false(in_inbox(f, STREAM, 0));
    assert_int_equal(receipt_next(f, STREAM), 10);
}

/* duplicate-409: the copy of our own request answers conflict, the original was applied. */
static void own_success_heard_as_conflict(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    f->commit_fault = CATALOG_FAULT_DUPLICATE;
    f->commit_fault_in = 1;
    assert_int_equal(turn(f), OK);
    assert_int_equal(rows_in_table(f), 10);
    assert_int_equal(next_of(f, STREAM), 10);
}

/* late-request: it arrives after the next attempt was applied, and must be refused. */
static void late_request_loses(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    f->commit_fault = CATALOG_FAULT_LATE;
    f->commit_fault_in = 1;
    assert_int_equal(turn(f), OK);
    assert_int_equal(memory_catalog_late_count(f->tables), 1);
    memory_catalog_apply_late(f->tables, 0);
    assert_int_equal(rows_in_table(f), 10);
    assert_int_equal(next_of(f, STREAM), 10);
}

static void apply_late_now(struct fixture *f)
{
    memory_catalog_apply_late(f->tables, 0);
}

/* The same, but it arrives while the second attempt is on its way: all it wrote is there. */
static void late_request_wins(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    f->committer.attempts_max = 1;
    f->commit_fault = CATALOG_FAULT_LATE;
    f->commit_fault_in = 1;
    assert_int_equal(turn(f), ERROR_RETRY);
    assert_true(in_inbox(f, STREAM, 0));
    f->committer.attempts_max = 0;
    f->before_commit = apply_late_now;
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.dead, 1);
    assert_int_equal(rows_in_table(f), 10);
    assert_int_equal(next_of(f, STREAM), 10);
}

static void other_committer_takes_its_turn(struct fixture *f)
{
    struct commit_report report = {0};
    struct error err;
    assert_int_equal(commit_turn_table(&f->committer, TABLE, &report, &err), OK);
    assert_int_equal(report.taken, 1);
    commit_report_free(&report);
}

/* Two Lambdas with the same notice. */
static void two_committers_one_announcement(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    f->before_commit = other_committer_takes_its_turn;
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 0);
    assert_int_equal(rows_in_table(f), 10);
    assert_int_equal(next_of(f, STREAM), 10);
}

static void somebody_sets_a_property(struct fixture *f)
{
    set_property(f, "owner", "spark");
}

/* A commit of another engine between load and send must not cost its change or ours. */
static void foreign_commit_is_kept(void **state)
{
    struct fixture *f = *state;
    struct catalog_table table = {0};
    announce(f, STREAM, 0, 10);
    f->before_commit = somebody_sets_a_property;
    assert_int_equal(turn(f), OK);
    load(f, &table);
    assert_string_equal(metadata_property_borrow(table.metadata, "owner"), "spark");
    assert_int_equal(rows_in_table(f), 10);
    catalog_table_free(&table);
}

/* stale-load: decisions on the table before last must not reach main. */
static void stale_load_is_caught(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    announce(f, STREAM, 0, 10);
    announce(f, STREAM, 10, 20);
    f->load_fault = CATALOG_FAULT_STALE;
    f->load_fault_in = 1;
    assert_int_equal(turn(f), OK);
    assert_int_equal(rows_in_table(f), 20);
    assert_int_equal(next_of(f, STREAM), 20);
}

static void full_snapshots_follow_each_other(void **state)
{
    struct fixture *f = *state;
    size_t before = snapshot_count(f);
    for (uint64_t i = 0; i < 7; i++)
        announce(f, STREAM, i * 10, i * 10 + 10);
    f->committer.announcements_max = 3;
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.taken, 7);
    assert_int_equal(snapshot_count(f), before + 3);
    assert_int_equal(next_of(f, STREAM), 70);
    assert_int_equal(rows_in_table(f), 70);
}

/* ---- files ---- */

/* A manifest that names an object which isn't there breaks every query. */
static void missing_file_stops_its_stream_only(void **state)
{
    struct fixture *f = *state;
    struct wish gone = {.no_file = true};
    struct receipt receipt;
    announce(f, STREAM, 0, 10);
    announce_as(f, STREAM, 10, 20, &gone);
    announce(f, STREAM, 20, 30);
    announce(f, OTHER, 0, 5);
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 10);
    assert_int_equal(next_of(f, OTHER), 5);
    assert_int_equal(f->report.missing, 1);
    assert_int_equal(f->report.alarms, 0);
    receipt_of(f, STREAM, &receipt);
    assert_int_equal(receipt.next, 10);
    assert_true(receipt.has_missing);
    assert_int_equal(receipt.missing_from, 10);
    receipt_free(&receipt);
    assert_true(in_inbox(f, STREAM, 10));
    struct wish again = {.n = 1}; /* built again under the next name */
    announce_as(f, STREAM, 10, 20, &again);
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 30);
    assert_int_equal(rows_in_table(f), 35);
}

static void refused_for(struct fixture *f, const struct wish *wish, const char *words)
{
    struct receipt receipt;
    announce_as(f, STREAM, 0, 10, wish);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.refused, 1);
    assert_int_equal(next_of(f, STREAM), 0);
    assert_int_equal(rows_in_table(f), 0);
    assert_true(is_refused(f, STREAM, 0));
    assert_false(in_inbox(f, STREAM, 0));
    receipt_of(f, STREAM, &receipt);
    assert_true(receipt.has_refused);
    assert_int_equal(receipt.refused_from, 0);
    if (strstr(receipt.refused_reason, words) == NULL)
        fail_msg("\"%s\" doesn't say \"%s\"", receipt.refused_reason, words);
    receipt_free(&receipt);
}

/* Readers find the Parquet footer by the size in the manifest. */
static void wrong_size_is_refused(void **state)
{
    struct wish wish = {.other_size = true};
    refused_for(*state, &wish, "bytes");
}

static void wrong_checksum_is_refused(void **state)
{
    struct wish wish = {.other_bytes = true};
    refused_for(*state, &wish, "CRC32C");
}

/* An announcement must not bring objects of others into the table. */
static void foreign_path_is_refused(void **state)
{
    struct wish wish = {.path = "data/../../x/metadata/0.parquet"};
    refused_for(*state, &wish, "path");
}

/* The name of another range may stand for rows that are in the table already. */
static void path_of_another_range_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf path = {0};
    data_file_path("at_day=2026-09-21/country=USA", STREAM, 10, 20, 0, &path);
    struct wish wish = {.path = buf_cstr(&path)};
    refused_for(f, &wish, "range");
    buf_free(&path);
}

static void wrong_schema_is_refused(void **state)
{
    struct wish wish = {.column = "land"};
    refused_for(*state, &wish, "schema");
}

static void other_tables_uuid_is_refused(void **state)
{
    struct wish wish = {.uuid = EPOCH_1};
    refused_for(*state, &wish, "uuid");
}

static void absurd_rows_are_refused(void **state)
{
    struct wish wish = {.rows_more = UINT64_C(1) << 62};
    refused_for(*state, &wish, "rows");
}

/* Consistent with itself, but 2^40 rows in a few bytes: such totals would leave 64 bits. */
static void more_rows_than_bytes_hold_are_refused(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, UINT64_C(1) << 40);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.refused, 1);
    assert_int_equal(next_of(f, STREAM), 0);
    assert_int_equal(rows_in_table(f), 0);
}

/* Readers turn a partition's day into a date, and fail on one in the year 5,881,580. */
static void day_of_no_calendar_is_refused(void **state)
{
    struct wish late = {.day = INT32_MAX};
    struct wish early = {.day = INT32_MIN};
    refused_for(*state, &late, "calendar");
    refused_for(*state, &early, "calendar");
}

/* A number beyond 64 bits is no integer to the JSON parser, so nothing decodes; its agent
 * must hear of it nevertheless, or it would announce the same for ever. */
static void number_beyond_64_bits_is_answered(void **state)
{
    struct fixture *f = *state;
    struct buf key = {0};
    struct receipt receipt;
    struct error err;
    key_of_announcement(TABLE, STREAM, 0, &key);
    assert_int_equal(objstore_put_bytes(f->store, buf_cstr(&key),
                                        slice_cstr("{\"v\":1,\"stream\":\"" STREAM
                                                   "\",\"from\":0,\"to\":18446744073709551616}"),
                                        PUT_ALWAYS, &err),
                     OK);
    buf_free(&key);
    assert_int_equal(turn(f), OK);
    assert_true(is_refused(f, STREAM, 0));
    receipt_of(f, STREAM, &receipt);
    assert_true(receipt.has_refused);
    receipt_free(&receipt);
}

/* refused-then-mended: the stream goes on once its agent has built it again. */
static void refused_then_mended(void **state)
{
    struct fixture *f = *state;
    struct wish wish = {.column = "land"};
    refused_for(f, &wish, "schema");
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 10);
    struct receipt receipt;
    receipt_of(f, STREAM, &receipt);
    assert_false(receipt.has_refused);
    receipt_free(&receipt);
}

/* A damaged object in the inbox must neither stop the others nor vanish unseen. */
static void damaged_announcement_is_refused(void **state)
{
    struct fixture *f = *state;
    struct buf key = {0};
    struct error err;
    announce(f, OTHER, 0, 5);
    key_of_announcement(TABLE, STREAM, 0, &key);
    assert_int_equal(objstore_put_bytes(f->store, buf_cstr(&key), slice_cstr("{\"v\":1,\"stre"),
                                        PUT_ALWAYS, &err),
                     OK);
    buf_free(&key);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.refused, 1);
    assert_int_equal(f->report.taken, 1);
    assert_true(is_refused(f, STREAM, 0));
    assert_false(in_inbox(f, STREAM, 0));
}

/* head-then-orphans: an old file may be on some clean-up's list already. */
static void old_file_is_copied(void **state)
{
    struct fixture *f = *state;
    struct buf key = {0};
    struct buf path = {0};
    struct error err;
    announce(f, STREAM, 0, 10);
    fixture_pass_ms(f, 25 * HOUR_MS);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.copied, 1);
    data_file_path("at_day=2026-09-21/country=USA", STREAM, 0, 10, 0, &path);
    key_of_data_file(TABLE, buf_cstr(&path), &key);
    assert_int_equal(objstore_remove(f->store, buf_cstr(&key), &err), OK);
    assert_int_equal(rows_in_table(f), 10); /* reads the copy */
    buf_free(&key);
    buf_free(&path);
}

static void a_day_passes(struct fixture *f)
{
    fixture_pass_ms(f, 24 * HOUR_MS);
}

struct frozen {
    struct fixture *fixture;
    bool done;
};

static enum memory_fault freeze_at_ledger(void *context, enum memory_operation operation,
                                          const char *key)
{
    struct frozen *frozen = context;
    if (operation == MEMORY_PUT && strncmp(key, "_bidlake/ledger/", 16) == 0 && !frozen->done) {
        frozen->done = true;
        a_day_passes(frozen->fixture);
    }
    return MEMORY_FAULT_NONE;
}

/* frozen-committer: after such a pause nothing that was asked before is true any more. */
static void frozen_attempt_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct frozen frozen = {.fixture = f};
    struct objstore *store = memory_store_attach(f->bytes, freeze_at_ledger, &frozen);
    struct committer committer = f->committer;
    committer.store = store;
    committer.clock_skew_ms = 10 * 24 * (int64_t)HOUR_MS;
    announce(f, STREAM, 0, 10);
    fixture_pass_ms(f, HOUR_MS); /* so that the file is old once it thaws */
    assert_int_equal(turn_by(f, &committer), OK);
    assert_true(frozen.done);
    assert_int_equal(f->report.attempts, 2);
    assert_int_equal(f->report.copied, 1);
    assert_int_equal(rows_in_table(f), 10);
    objstore_close(store);
}

/* ---- init ---- */

/* A catalog that takes all changes and shows none of them, nor a sort order at the creation. */
struct deaf {
    struct catalog *catalog;
    unsigned commits;
};

static int deaf_namespace(void *impl, const char *ns, struct error *err)
{
    return catalog_create_namespace(((struct deaf *)impl)->catalog, ns, err);
}

static int deaf_load(void *impl, const char *ns, const char *table, struct catalog_table *out,
                     bool *found, struct error *err)
{
    return catalog_load_table(((struct deaf *)impl)->catalog, ns, table, out, found, err);
}

static int deaf_create(void *impl, const char *ns, const char *table, const json_t *request,
                       struct catalog_table *out, struct error *err)
{
    json_t *plain = json_copy((json_t *)(uintptr_t)request);
    json_object_del(plain, "write-order");
    int rc = catalog_create_table(((struct deaf *)impl)->catalog, ns, table, plain, out, err);
    json_decref(plain);
    return rc;
}

static int deaf_commit(void *impl, const char *ns, const char *table,
                       const struct catalog_table *base, const json_t *requirements,
                       const json_t *updates, struct catalog_table *out, struct error *err)
{
    struct deaf *deaf = impl;
    (void)ns;
    (void)table;
    (void)base;
    (void)requirements;
    (void)updates;
    assert_null(out);
    deaf->commits++;
    if (deaf->commits < 100)
        return OK;
    return error_set(err, ERROR_INPUT, "it never ends");
}

static void deaf_close(void *impl)
{
    (void)impl;
}

/* The harm: init commits to a table for ever, as fast as the catalog answers. */
static void init_leaves_a_catalog_that_shows_no_change(void **state)
{
    static const struct catalog_ops ops = {.type = "deaf",
                                           .create_namespace = deaf_namespace,
                                           .load_table = deaf_load,
                                           .create_table = deaf_create,
                                           .commit = deaf_commit,
                                           .close = deaf_close};
    struct fixture *f = *state;
    struct deaf deaf = {.catalog = f->catalog};
    struct commit_report report = {0};
    struct error err;
    struct committer committer = f->committer;
    committer.catalog = catalog_wrap(&ops, &deaf);
    int64_t begun_ms = f->mono_ms;
    assert_int_equal(commit_init_table(&committer, "other", &f->mapping, &report, &err),
                     ERROR_RETRY);
    assert_non_null(strstr(err.text, "doesn't show"));
    assert_in_range(deaf.commits, 1, 20);
    assert_true(f->mono_ms > begun_ms); /* and not at once */
    catalog_close(committer.catalog);
    commit_report_free(&report);
}

/* ---- alarms ---- */

static void alarmed_and_untouched(struct fixture *f)
{
    announce(f, STREAM, 10, 20);
    assert_int_equal(turn(f), ERROR_CORRUPT);
    assert_true(f->report.alarms > 0);
    assert_int_equal(f->report.taken, 0);
    assert_true(in_inbox(f, STREAM, 10));
}

/* unset-property: an empty ledger here would take everything a second time. */
static void missing_property_is_an_alarm(void **state)
{
    struct fixture *f = *state;
    struct commit_report report = {0};
    struct error err;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    set_property(f, "bidlake.ledger", NULL);
    alarmed_and_untouched(f);
    assert_int_equal(commit_init_table(&f->committer, "db", &f->mapping, &report, &err),
                     ERROR_CORRUPT);
    commit_report_free(&report);
}

static void gone_ledger_is_an_alarm(void **state)
{
    struct fixture *f = *state;
    struct catalog_table table = {0};
    struct error err;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    load(f, &table);
    assert_int_equal(
        objstore_remove(f->store, metadata_property_borrow(table.metadata, "bidlake.ledger"), &err),
        OK);
    catalog_table_free(&table);
    alarmed_and_untouched(f);
}

/* copied-table: the copy's ledger is the original's; taking by it would lose or double. */
static void ledger_of_another_table_is_an_alarm(void **state)
{
    struct fixture *f = *state;
    struct buf bytes = {0};
    struct error err;
    struct ledger *ledger = ledger_make(EPOCH_2);
    ledger_encode(ledger, &bytes);
    ledger_free(ledger);
    assert_int_equal(objstore_put_bytes(f->store, "_bidlake/ledger/db.t/1-x.json.zst",
                                        buf_slice(&bytes), PUT_ALWAYS, &err),
                     OK);
    buf_free(&bytes);
    set_property(f, "bidlake.ledger", "_bidlake/ledger/db.t/1-x.json.zst");
    alarmed_and_untouched(f);
}

/* Java refuses tables whose log runs back or ahead. */
static void wrong_clock_commits_nothing(void **state)
{
    struct fixture *f = *state;
    struct fixture ahead = {.wall_us = f->wall_us + INT64_C(31) * 1000000};
    struct committer committer = f->committer;
    struct clock clock = f->clock;
    clock.wall_us = fixture_wall_us;
    clock.context = &ahead;
    committer.clock = &clock;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn_by(f, &committer), ERROR_DENIED);
    assert_int_equal(f->report.alarms, 1);
    assert_int_equal(next_of(f, STREAM), 0);
}

/* retired-stream: its next is forgotten; from 0 again would be everything twice. */
static void retired_stream_is_not_taken(void **state)
{
    struct fixture *f = *state;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    fixture_pass_ms(f, 31 * 24 * (int64_t)HOUR_MS);
    announce(f, OTHER, 0, 5); /* a newer epoch; its commit retires the first */
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 0);
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.retired, 1);
    assert_int_equal(f->report.alarms, 1);
    assert_int_equal(f->report.taken, 0);
    assert_true(in_inbox(f, STREAM, 0));
    assert_int_equal(rows_in_table(f), 15);
}

/* Pruning must never take the ledger in use. */
static void old_ledgers_are_pruned_but_not_the_current(void **state)
{
    struct fixture *f = *state;
    struct objstore_list list = {0};
    struct error err;
    f->committer.prune_every = 1;
    for (uint64_t i = 0; i < 4; i++) {
        announce(f, STREAM, i * 10, i * 10 + 10);
        assert_int_equal(turn(f), OK);
    }
    fixture_pass_ms(f, 8 * 24 * (int64_t)HOUR_MS);
    announce(f, STREAM, 40, 50);
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 50);
    assert_int_equal(objstore_list(f->store, "_bidlake/ledger/db.t/", NULL, 100, &list, &err), OK);
    assert_true(list.count >= 1 && list.count <= 2);
    objstore_list_free(&list);
}

/* A person closes a gap: counted, named, and never backward. */
static void skip_by_hand(void **state)
{
    struct fixture *f = *state;
    struct error err;
    uint64_t from = 0;
    announce(f, STREAM, 0, 10);
    announce(f, STREAM, 20, 30);
    assert_int_equal(turn(f), OK);
    assert_int_equal(commit_skip(&f->committer, TABLE, STREAM, 20, &from, &f->report, &err), OK);
    assert_int_equal(from, 10);
    assert_int_equal(commit_skip(&f->committer, TABLE, STREAM, 20, &from, &f->report, &err),
                     ERROR_INPUT);
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 30);
    assert_int_equal(rows_in_table(f), 20);
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(next_piece_is_taken),
        T(chain_is_one_snapshot),
        T(dead_is_removed_and_answered),
        T(gap_waits_with_an_alarm),
        T(unknown_stream_begins_at_zero),
        T(overlap_in_own_stream_is_an_alarm),
        T(lost_range_moves_next),
        T(lost_answer_is_not_taken_twice),
        T(own_success_heard_as_conflict),
        T(late_request_loses),
        T(late_request_wins),
        T(two_committers_one_announcement),
        T(foreign_commit_is_kept),
        T(stale_load_is_caught),
        T(full_snapshots_follow_each_other),
        T(missing_file_stops_its_stream_only),
        T(wrong_size_is_refused),
        T(wrong_checksum_is_refused),
        T(foreign_path_is_refused),
        T(path_of_another_range_is_refused),
        T(wrong_schema_is_refused),
        T(other_tables_uuid_is_refused),
        T(absurd_rows_are_refused),
        T(more_rows_than_bytes_hold_are_refused),
        T(day_of_no_calendar_is_refused),
        T(number_beyond_64_bits_is_answered),
        T(refused_then_mended),
        T(damaged_announcement_is_refused),
        T(old_file_is_copied),
        T(frozen_attempt_begins_anew),
        T(init_leaves_a_catalog_that_shows_no_change),
        T(missing_property_is_an_alarm),
        T(gone_ledger_is_an_alarm),
        T(ledger_of_another_table_is_an_alarm),
        T(wrong_clock_commits_nothing),
        T(retired_stream_is_not_taken),
        T(old_ledgers_are_pruned_but_not_the_current),
        T(skip_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
