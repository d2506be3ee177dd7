/* SPDX-License-Identifier: Apache-2.0
 *
 * What strangers put into an inbox, or what piles up there, costs a turn neither its memory nor
 * its voice.
 */
#include "tests/unit/cloud_fixture.h"

#include <malloc.h>
#include <stdatomic.h>

#include "tests/unit/store_over.h"

/* What jansson holds, and the most it held at a time. */
static atomic_size_t json_now;
static atomic_size_t json_most;

static void *json_counted(size_t size)
{
    void *at = malloc(size);
    size_t now = atomic_fetch_add(&json_now, malloc_usable_size(at)) + malloc_usable_size(at);
    size_t most = atomic_load(&json_most);
    while (now > most && !atomic_compare_exchange_weak(&json_most, &most, now))
        continue;
    return at;
}

static void json_uncounted(void *at)
{
    atomic_fetch_sub(&json_now, malloc_usable_size(at));
    free(at);
}

static void put_announced(struct fixture *f, const char *stream, uint64_t from, struct slice bytes)
{
    struct buf key = {0};
    struct error err;
    key_of_announcement(TABLE, stream, from, &key);
    assert_int_equal(objstore_put_bytes(f->store, buf_cstr(&key), bytes, PUT_ALWAYS, &err), OK);
    buf_free(&key);
}

/* An announcement of that stream, as it says, and then numbers of one digit. */
static void put_dense(struct fixture *f, const char *stream, size_t bytes)
{
    struct buf text = {0};
    buf_printf(&text, "{\"stream\":\"%s\",\"x\":[0", stream);
    while (text.len < bytes)
        buf_put_cstr(&text, ",0");
    buf_put_cstr(&text, "]}");
    put_announced(f, stream, 0, buf_slice(&text));
    buf_free(&text);
}

static void refused_of(struct fixture *f, const char *stream, json_t **out)
{
    struct buf key = {0};
    struct buf bytes = {0};
    struct objstore_info info;
    struct error err;
    key_of_refused(TABLE, stream, 0, &key);
    assert_int_equal(
        objstore_get(f->store, buf_cstr(&key), ANNOUNCEMENT_BYTES_MAX, &bytes, &info, &err), OK);
    assert_true(info.found);
    assert_int_equal(json_decode(out, buf_slice(&bytes), &err), OK);
    buf_free(&key);
    buf_free(&bytes);
}

/* An object that ends the service before it is refused ends it at each start, for all tables. */
static void what_is_too_much_json_is_refused_unparsed(void **state)
{
    struct fixture *f = *state;
    json_t *refused = NULL;
    put_dense(f, STREAM, 10 << 20);
    atomic_store(&json_most, atomic_load(&json_now));
    size_t before = atomic_load(&json_now);
    assert_int_equal(turn(f), OK);
    assert_true(atomic_load(&json_most) - before < 4 << 20);
    assert_int_equal(f->report.refused, 1);
    assert_false(in_inbox(f, STREAM, 0));
    refused_of(f, STREAM, &refused);
    assert_true(json_is_string(json_object_get(refused, "bytes")));
    assert_null(json_object_get(refused, "announcement"));
    json_decref(refused);
}

/* Nor do many whose trees are bearable each. */
static void heavy_ones_are_not_held_together(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 8, BYTES = 2 << 20 };
    for (unsigned i = 0; i < COUNT; i++) {
        char *stream = memory_printf("heavy-%u/" EPOCH_1 "/" TABLE, i);
        put_dense(f, stream, BYTES);
        free(stream);
    }
    atomic_store(&json_most, atomic_load(&json_now));
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.refused, COUNT);
    /* A million numbers take 40 MB, 48 while their list grows. */
    assert_true(atomic_load(&json_most) > 30 << 20);
    assert_true(atomic_load(&json_most) < 120 << 20);
}

/* The report would say a stranger's words under our name. */
static void a_name_that_is_none_is_nobodys(void **state)
{
    struct fixture *f = *state;
    static const char forged[] = "x\" level=info msg=\"all well";
    struct buf key = {0};
    put_announced(f, forged, 0,
                  slice_cstr("{\"stream\":\"x\\\" level=info msg=\\\"all well\",\"from\":0}"));
    put_announced(f, STREAM, 0,
                  slice_cstr("{\"stream\":\"" STREAM "\",\"from\":99999999999999999"
                             "999999}"));
    assert_int_equal(turn(f), OK);
    assert_int_equal(f->report.refused, 2);
    for (size_t i = 0; i < f->report.note_count; i++)
        assert_null(strchr(f->report.notes[i].stream, '"'));
    key_of_receipt(forged, &key);
    assert_false(exists(f, buf_cstr(&key)));
    buf_reset(&key);
    key_of_receipt(STREAM, &key);
    assert_true(exists(f, buf_cstr(&key)));
    buf_free(&key);
}

static size_t notes_of(const struct fixture *f, enum commit_note_kind kind, const char *table)
{
    size_t count = 0;
    for (size_t i = 0; i < f->report.note_count; i++)
        count += f->report.notes[i].kind == kind && strcmp(f->report.notes[i].table, table) == 0;
    return count;
}

/* Who fills one inbox must not silence the alarms of this table, and the failures of others. */
static void a_flood_of_notes_hides_no_alarm(void **state)
{
    struct fixture *f = *state;
    static const char *const tables[] = {TABLE, "db.none"};
    struct error err;
    enum { STRAYS = 1500, REFUSED = 1100 };
    for (unsigned i = 0; i < STRAYS; i++) {
        char *key = memory_printf("_bidlake/inbox/" TABLE "/!stray-%04u", i);
        assert_int_equal(objstore_put_bytes(f->store, key, slice_cstr("x"), PUT_ALWAYS, &err), OK);
        free(key);
    }
    for (unsigned i = 0; i < REFUSED; i++) {
        char *stream = memory_printf("edge-%u/" EPOCH_2 "/" TABLE, i);
        put_announced(f, stream, 0, slice_cstr("junk"));
        free(stream);
    }
    announce(f, STREAM, 10, 20); /* a gap */
    assert_int_not_equal(commit_turn(&f->committer, tables, 2, &f->report, &err), OK);
    assert_int_equal(f->report.refused, REFUSED);
    assert_int_equal(f->report.alarms, 1);
    assert_int_equal(notes_of(f, NOTE_INFO, TABLE), 1);
    assert_int_equal(notes_of(f, NOTE_REFUSED, TABLE), COMMIT_NOTES_MAX);
    assert_int_equal(notes_of(f, NOTE_ALARM, TABLE), 1);
    assert_int_equal(notes_of(f, NOTE_FAILED, "db.none"), 1);
    assert_int_equal(f->report.notes_left_out, REFUSED - COMMIT_NOTES_MAX);
    for (size_t i = 0; i < f->report.note_count; i++) {
        if (f->report.notes[i].kind != NOTE_INFO)
            continue;
        assert_non_null(strstr(f->report.notes[i].text, "no announcements: 1500,"));
        assert_non_null(strstr(f->report.notes[i].text, "!stray-0000"));
    }
}

/* ---- what piles up ---- */

enum { PILE = 400, WIDE = 60 };

/* A store over the fixture's that looks how much memory is taken (0 under a sanitizer). */
struct weighed {
    struct store_over over; /* first */
    size_t first;
    size_t most;
    size_t stored; /* held by the store itself */
    bool removes_nothing;
};

static int weighed_put(void *impl, const char *key, const struct objstore_body *body, uint32_t sum,
                       enum put_condition condition, struct error *err)
{
    struct weighed *w = impl;
    w->stored += body->bytes.len;
    return over_put(impl, key, body, sum, condition, err);
}

static int weighed_get(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
                       struct buf *out, struct objstore_info *info, struct error *err)
{
    struct weighed *w = impl;
    struct mallinfo2 now = mallinfo2();
    size_t bytes = now.uordblks + now.hblkhd;
    bytes -= w->stored < bytes ? w->stored : bytes;
    if (w->first == 0)
        w->first = bytes;
    if (bytes > w->most)
        w->most = bytes;
    return over_get(impl, key, offset, len, bytes_max, out, info, err);
}

static int weighed_remove(void *impl, const char *key, struct error *err)
{
    struct weighed *w = impl;
    return w->removes_nothing ? error_set(err, ERROR_DENIED, "locked") : over_remove(w, key, err);
}

static const struct objstore_ops weighed_ops = {
    .put = weighed_put, .get = weighed_get, .remove = weighed_remove};

/* Of WIDE files that nobody put. */
static void announce_wide(struct fixture *f, const char *stream, uint64_t from, const char *column)
{
    struct announcement a;
    struct data_file files[WIDE] = {0};
    struct buf path = {0};
    struct buf bytes = {0};
    announcement_init(&a);
    a.stream = stream;
    a.agent = "edge";
    a.from = from;
    a.to = from + WIDE;
    a.table = TABLE;
    a.schema = table_schema_to_iceberg(&f->mapping.schema);
    if (column != NULL)
        json_object_set_new(json_array_get(json_object_get(a.schema, "fields"), 1), "name",
                            json_string(column));
    a.writer = "bidlake test";
    a.events = a.rows = a.file_count = WIDE;
    a.files = files;
    for (unsigned i = 0; i < WIDE; i++) {
        buf_reset(&path);
        data_file_path("at_day=2026-09-21/country=USA", stream, a.from, a.to, i, &path);
        files[i] = (struct data_file){
            .path = arena_copy_cstr(&a.arena, buf_slice(&path)),
            .size = 1000,
            .rows = 1,
            .sort = 1,
            .partition_count = 2,
            .partition = {{.number = 20717}, {.is_text = true, .text = slice_cstr("USA")}},
        };
    }
    announcement_encode(&a, &bytes);
    put_announced(f, stream, from, buf_slice(&bytes));
    announcement_free(&a);
    buf_free(&path);
    buf_free(&bytes);
}

/* The pile is a dozen MB when all of it is held. */
static int weighed_turn(struct fixture *f, bool removes_nothing)
{
    struct weighed w = {.over.inner = f->store, .removes_nothing = removes_nothing};
    struct objstore *store = store_over_wrap(&w.over, &weighed_ops);
    struct committer committer = f->committer;
    committer.store = store;
    committer.bytes_max = 64 << 10;
    int rc = turn_by(f, &committer);
    assert_true(w.most - w.first < 4 << 20);
    objstore_close(store);
    return rc;
}

/* In a bucket that lets nobody delete they are there at each turn again. */
static void dead_ones_are_not_held(void **state)
{
    struct fixture *f = *state;
    struct wish all_lost = {.lost = "disk_full"};
    announce_as(f, STREAM, 0, (uint64_t)PILE * WIDE, &all_lost);
    assert_int_equal(turn(f), OK);
    for (uint64_t i = 0; i < PILE; i++)
        announce_wide(f, STREAM, i * WIDE, NULL);
    assert_int_equal(weighed_turn(f, true), ERROR_DENIED);
    assert_int_equal(weighed_turn(f, false), OK);
    assert_int_equal(f->report.dead, PILE);
    assert_int_equal(f->report.alarms, 0);
}

static void announce_wide_streams(struct fixture *f, const char *column)
{
    for (unsigned i = 0; i < PILE; i++) {
        char *stream = memory_printf("edge-%u/" EPOCH_1 "/" TABLE, i);
        announce_wide(f, stream, 0, column);
        free(stream);
    }
}

static void those_without_files_are_not_held(void **state)
{
    struct fixture *f = *state;
    announce_wide_streams(f, NULL);
    assert_int_equal(weighed_turn(f, false), OK);
    assert_int_equal(f->report.missing, PILE);
}

static void refused_ones_are_not_held(void **state)
{
    struct fixture *f = *state;
    announce_wide_streams(f, "no_such_column");
    assert_int_equal(weighed_turn(f, false), OK);
    assert_int_equal(f->report.refused, PILE);
}

/* The silent stream's epoch is the floor; what its old disk announces waits for a person. */
static void retired_ones_are_not_held(void **state)
{
    struct fixture *f = *state;
    announce(f, OTHER, 0, 10);
    assert_int_equal(turn(f), OK);
    fixture_pass_ms(f, (int64_t)31 * 24 * HOUR_MS);
    announce(f, KAFKA, 0, 10);
    assert_int_equal(turn(f), OK);
    announce_wide_streams(f, NULL); /* of an older epoch */
    assert_int_equal(weighed_turn(f, false), OK);
    assert_int_equal(f->report.retired, PILE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_is_too_much_json_is_refused_unparsed),
        FILES_TEST(heavy_ones_are_not_held_together),
        TEST(a_name_that_is_none_is_nobodys),
        TEST(a_flood_of_notes_hides_no_alarm),
        TEST(dead_ones_are_not_held),
        TEST(those_without_files_are_not_held),
        TEST(refused_ones_are_not_held),
        TEST(retired_ones_are_not_held),
    };
    json_set_alloc_funcs(json_counted, json_uncounted);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
