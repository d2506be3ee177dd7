/* SPDX-License-Identifier: Apache-2.0
 *
 * What strangers put into an inbox, or what piles up there, costs a turn neither its memory nor
 * its voice.
 */
#include "tests/unit/cloud_fixture.h"

#include <malloc.h>
#include <stdatomic.h>

#include "lib/base/file.h"

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
    struct error err;
    char directory[] = "/tmp/bidlake-inbox-XXXXXX";
    struct fixture g = {.wall_us = f->wall_us, .mono_ms = f->mono_ms};
    struct objstore_options options = {.clock = &g.clock, .parallel = 8};
    enum { COUNT = 8, BYTES = 2 << 20 };
    assert_non_null(mkdtemp(directory));
    g.clock = (struct clock){fixture_wall_us, fixture_mono_ms, fixture_sleep_ms, &g};
    assert_int_equal(objstore_open(&g.store, directory, &options, &err), OK);
    g.tables = memory_catalog_make();
    random_seed(&g.random, 7);
    fixture_open_handles(&g);
    fixture_mapping(&g.mapping);
    assert_int_equal(commit_init_table(&g.committer, "db", &g.mapping, &g.report, &err), OK);
    for (unsigned i = 0; i < COUNT; i++) {
        char *stream = memory_printf("heavy-%u/" EPOCH_1 "/" TABLE, i);
        put_dense(&g, stream, BYTES);
        free(stream);
    }
    atomic_store(&json_most, atomic_load(&json_now));
    assert_int_equal(turn(&g), OK);
    assert_int_equal(g.report.refused, COUNT);
    /* A million numbers take 40 MB, 48 while their list grows. */
    assert_true(atomic_load(&json_most) > 30 << 20);
    assert_true(atomic_load(&json_most) < 120 << 20);
    commit_report_free(&g.report);
    table_schema_free(&g.mapping.schema);
    catalog_close(g.catalog);
    memory_catalog_free(g.tables);
    objstore_close(g.store);
    assert_int_equal(file_remove_tree(directory, &err), OK);
}

/* The report would say a stranger's words under our name. */
static void a_name_that_is_none_is_nobodys(void **state)
{
    struct fixture *f = *state;
    static const char forged[] = "x\" level=info msg=\"all well";
    struct buf key = {0};
    put_announced(f, forged, 0,
                  slice_cstr("{\"stream\":\"x\\\" level=info msg=\\\"all well\",\"from\":0}"));
    put_announced(f, STREAM, 0, slice_cstr("{\"stream\":\"" STREAM "\",\"from\":99999999999999999"
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(what_is_too_much_json_is_refused_unparsed),
        TEST(heavy_ones_are_not_held_together),
        TEST(a_name_that_is_none_is_nobodys),
    };
    json_set_alloc_funcs(json_counted, json_uncounted);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
