/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/catalog/table_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static size_t released;

static void count(void *value)
{
    (void)value;
    released++;
}

static void put(struct table_cache *cache, int number, const char *value)
{
    char name[16];
    snprintf(name, sizeof name, "t%d", number);
    table_cache_put(cache, "db", name, (void *)(uintptr_t)value);
}

static const char *find(const struct table_cache *cache, int number)
{
    char name[16];
    snprintf(name, sizeof name, "t%d", number);
    return table_cache_find(cache, "db", name);
}

static void a_table_has_one_place(void **state)
{
    (void)state;
    struct table_cache cache = {.release = count};
    released = 0;
    assert_null(find(&cache, 1));
    put(&cache, 1, "one");
    put(&cache, 2, "two");
    put(&cache, 1, "more");
    assert_int_equal(released, 1);
    assert_string_equal(find(&cache, 1), "more");
    assert_string_equal(find(&cache, 2), "two");
    assert_null(table_cache_find(&cache, "d", "t1"));
    assert_null(table_cache_find(&cache, "db.t", "1"));
    table_cache_put(&cache, "a.b", "t", (void *)(uintptr_t) "level");
    assert_string_equal(table_cache_find(&cache, "a.b", "t"), "level");
    table_cache_free(&cache);
    assert_int_equal(released, 4);
}

/* The harm: one table more than there is room for, and each look reads all of them anew; or that
 * one is read anew for ever. */
static void one_too_many_costs_little(void **state)
{
    (void)state;
    struct table_cache cache = {.release = count};
    enum { TABLES = TABLES_MAX + 1, ROUNDS = 100 };
    size_t found[TABLES] = {0};
    size_t all = 0;
    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < TABLES; i++) {
            bool there = find(&cache, i) != NULL;
            found[i] += there;
            all += there;
            if (!there)
                put(&cache, i, "x");
        }
    }
    assert_int_equal(cache.count, TABLES_MAX);
    assert_true(all > (size_t)TABLES * ROUNDS * 9 / 10);
    for (int i = 0; i < TABLES; i++)
        assert_true(found[i] > ROUNDS / 2);
    table_cache_free(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_table_has_one_place),
        cmocka_unit_test(one_too_many_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
