/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "lib/objstore/memory.h"

struct place {
    struct memory_store *store;
    struct objstore *actor; /* with faults */
    struct objstore *plain; /* without */
    struct error err;
    enum memory_fault next; /* for one operation */
    int64_t now_us;
    struct clock clock;
};

static int64_t now(void *context)
{
    return ((struct place *)context)->now_us;
}

static enum memory_fault hook(void *context, enum memory_operation operation, const char *key)
{
    (void)operation;
    (void)key;
    struct place *place = context;
    enum memory_fault fault = place->next;
    place->next = MEMORY_FAULT_NONE;
    return fault;
}

static int setup(void **state)
{
    struct place *place = calloc(1, sizeof *place);
    place->clock = (struct clock){.wall_us = now, .context = place};
    place->now_us = 5000;
    place->store = memory_store_make(&place->clock);
    place->actor = memory_store_attach(place->store, hook, place);
    place->plain = memory_store_attach(place->store, NULL, NULL);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    objstore_close(place->actor);
    objstore_close(place->plain);
    memory_store_free(place->store);
    free(place);
    return 0;
}

static int put(struct place *place, enum memory_fault fault, const char *key, const char *text,
               enum put_condition condition)
{
    place->next = fault;
    return objstore_put_bytes(place->actor, key, slice_cstr(text), condition, &place->err);
}

/* NULL: not there. */
static void assert_reads(struct place *place, enum memory_fault fault, const char *key,
                         const char *text)
{
    struct buf bytes = {0};
    struct objstore_info info;
    place->next = fault;
    assert_int_equal(objstore_get(place->actor, key, 1000, &bytes, &info, &place->err), OK);
    assert_int_equal(info.found, text != NULL);
    assert_true(slice_is(buf_slice(&bytes), text != NULL ? text : ""));
    buf_free(&bytes);
}

static size_t list_count(struct place *place, enum memory_fault fault, const char *prefix)
{
    struct objstore_list list;
    place->next = fault;
    assert_int_equal(objstore_list(place->actor, prefix, NULL, 100, &list, &place->err), OK);
    size_t count = list.count;
    objstore_list_free(&list);
    return count;
}

/* A simulation that can't tell "not applied" from "answer lost" finds no doubles. */
static void faults_before_and_after(void **state)
{
    struct place *place = *state;
    assert_int_equal(put(place, MEMORY_FAULT_BEFORE, "a", "1", PUT_IF_ABSENT), ERROR_RETRY);
    assert_reads(place, MEMORY_FAULT_NONE, "a", NULL);
    assert_int_equal(put(place, MEMORY_FAULT_AFTER, "a", "1", PUT_IF_ABSENT), ERROR_RETRY);
    assert_reads(place, MEMORY_FAULT_NONE, "a", "1");
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "a", "2", PUT_IF_ABSENT), ERROR_CONFLICT);
    place->next = MEMORY_FAULT_AFTER;
    assert_int_equal(objstore_remove(place->actor, "a", &place->err), ERROR_RETRY);
    assert_reads(place, MEMORY_FAULT_NONE, "a", NULL);
}

/* A request that arrives long after its sender gave up is the worst case of a network. */
static void late_put_judges_its_condition_when_it_arrives(void **state)
{
    struct place *place = *state;
    assert_int_equal(put(place, MEMORY_FAULT_LATE, "a", "late", PUT_IF_ABSENT), ERROR_RETRY);
    assert_int_equal(put(place, MEMORY_FAULT_LATE, "b", "late", PUT_ALWAYS), ERROR_RETRY);
    assert_int_equal(memory_store_late_count(place->store), 2);
    assert_reads(place, MEMORY_FAULT_NONE, "a", NULL);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "a", "soon", PUT_IF_ABSENT), OK);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "b", "soon", PUT_ALWAYS), OK);
    memory_store_apply_late(place->store, 0);
    memory_store_apply_late(place->store, 0);
    assert_int_equal(memory_store_late_count(place->store), 0);
    assert_reads(place, MEMORY_FAULT_NONE, "a", "soon");
    assert_reads(place, MEMORY_FAULT_NONE, "b", "late");
    assert_int_equal(put(place, MEMORY_FAULT_LATE, "c", "never", PUT_ALWAYS), ERROR_RETRY);
}

static void stale_answers_are_those_before_the_last_change(void **state)
{
    struct place *place = *state;
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "r/a", "1", PUT_ALWAYS), OK);
    assert_reads(place, MEMORY_FAULT_STALE, "r/a", NULL);
    assert_int_equal(list_count(place, MEMORY_FAULT_STALE, "r/"), 0);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "r/a", "2", PUT_ALWAYS), OK);
    assert_reads(place, MEMORY_FAULT_STALE, "r/a", "1");
    assert_reads(place, MEMORY_FAULT_NONE, "r/a", "2");
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "r/b", "1", PUT_ALWAYS), OK);
    assert_int_equal(list_count(place, MEMORY_FAULT_STALE, "r/"), 1);
    assert_int_equal(objstore_remove(place->plain, "r/b", &place->err), OK);
    assert_int_equal(list_count(place, MEMORY_FAULT_STALE, "r/"), 2);
    assert_int_equal(list_count(place, MEMORY_FAULT_NONE, "r/"), 1);
}

static void count_visited(void *context, const char *key, struct slice bytes, int64_t modified_ms)
{
    (void)key;
    (void)bytes;
    assert_int_equal(modified_ms, 5);
    ++*(size_t *)context;
}

/* The invariant that no data name ever has two contents, also across a removal. */
static void two_contents_under_a_name_are_remembered(void **state)
{
    struct place *place = *state;
    char key[OBJSTORE_KEY_MAX + 1];
    size_t visited = 0;
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "t/a.parquet", "1", PUT_ALWAYS), OK);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "t/a.parquet", "1", PUT_ALWAYS), OK);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "t/a.parquet", "2", PUT_IF_ABSENT),
                     ERROR_CONFLICT);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "t/b.json", "1", PUT_ALWAYS), OK);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "t/b.json", "2", PUT_ALWAYS), OK);
    assert_false(memory_store_rewritten(place->store, ".parquet", key));
    assert_true(memory_store_rewritten(place->store, ".json", key));
    assert_int_equal(objstore_remove(place->plain, "t/a.parquet", &place->err), OK);
    memory_store_visit(place->store, count_visited, &visited);
    assert_int_equal(visited, 1);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "t/a.parquet", "2", PUT_IF_ABSENT), OK);
    assert_true(memory_store_rewritten(place->store, ".parquet", key));
    assert_string_equal(key, "t/a.parquet");
}

/* The two stores must answer alike, or simulations prove nothing about files. */
static void lists_page_in_key_order(void **state)
{
    struct place *place = *state;
    static const char *const keys[] = {"a/b", "a.b", "a", "b/1", "b/2", "b/3", "c"};
    static const char *const sorted[] = {"a", "a.b", "a/b", "b/1", "b/2", "b/3", "c"};
    struct objstore_list list;
    for (size_t i = 0; i < 7; i++)
        assert_int_equal(put(place, MEMORY_FAULT_NONE, keys[i], "x", PUT_ALWAYS), OK);
    const char *after = NULL;
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(objstore_list(place->plain, "", after, 1, &list, &place->err), OK);
        assert_int_equal(list.count, 1);
        assert_string_equal(list.entries[0].key, sorted[i]);
        assert_int_equal(list.more, i < 6);
        after = sorted[i];
        objstore_list_free(&list);
    }
    assert_int_equal(objstore_list(place->plain, "b/", "b/1", 9, &list, &place->err), OK);
    assert_int_equal(list.count, 2);
    assert_false(list.more);
    objstore_list_free(&list);
}

static void copies_and_probes_as_the_file_store_does(void **state)
{
    struct place *place = *state;
    struct objstore_info info;
    assert_int_equal(objstore_probe(place->plain, "p", &place->err), OK);
    assert_int_equal(put(place, MEMORY_FAULT_NONE, "a", "1", PUT_ALWAYS), OK);
    place->now_us = 9000000;
    assert_int_equal(objstore_copy(place->plain, "a", "b", PUT_IF_ABSENT, &place->err), OK);
    assert_int_equal(objstore_copy(place->plain, "a", "b", PUT_IF_ABSENT, &place->err),
                     ERROR_CONFLICT);
    assert_int_equal(objstore_copy(place->plain, "x", "y", PUT_ALWAYS, &place->err), ERROR_INPUT);
    assert_int_equal(objstore_head(place->plain, "b", &info, &place->err), OK);
    assert_true(info.found && info.size == 1 && info.modified_ms == 9000);
    assert_int_equal(info.store_time_ms, 9000);
}

static int careless_put(void *impl, const char *key, const struct objstore_body *body,
                        uint32_t crc32c, enum put_condition condition, struct error *err)
{
    (void)impl;
    (void)key;
    (void)body;
    (void)crc32c;
    (void)condition;
    (void)err;
    return OK;
}

static int careless_remove(void *impl, const char *key, struct error *err)
{
    (void)impl;
    (void)key;
    (void)err;
    return OK;
}

static void careless_close(void *impl)
{
    (void)impl;
}

/* A store that ignores If-None-Match would let two files share a name, unseen. */
static void store_without_conditions_is_refused(void **state)
{
    (void)state;
    static const struct objstore_ops ops = {.scheme = "careless",
                                            .put = careless_put,
                                            .remove = careless_remove,
                                            .close = careless_close};
    struct error err;
    struct objstore *store = objstore_wrap(&ops, NULL, "careless://b/");
    assert_string_equal(objstore_url_borrow(store), "careless://b");
    assert_int_equal(objstore_probe(store, "p", &err), ERROR_INPUT);
    objstore_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(faults_before_and_after),
        TEST(late_put_judges_its_condition_when_it_arrives),
        TEST(stale_answers_are_those_before_the_last_change),
        TEST(two_contents_under_a_name_are_remembered),
        TEST(lists_page_in_key_order),
        TEST(copies_and_probes_as_the_file_store_does),
        TEST(store_without_conditions_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
