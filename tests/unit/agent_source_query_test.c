/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/pixel.h"
#include "agent/source/query.h"

static struct query query;

static void assert_pixel(const char *text, const char *event, uint64_t macros)
{
    struct buf out = {0};
    uint64_t unresolved = 0;
    assert_true(query_decode(&query, slice_cstr(text)));
    pixel_event(&query, &out, &unresolved);
    assert_string_equal(buf_cstr(&out), event);
    assert_int_equal(unresolved, macros);
    buf_free(&out);
}

/* A win notice's price must be the one that was sent, and no price at all where the exchange
 * left its macro: taken as text it would be refused or, worse, be a number by chance. */
static void parameters_become_an_event(void **state)
{
    (void)state;
    assert_pixel("", "{}", 0);
    assert_pixel("id=a&price=1.5", "{\"id\":\"a\",\"price\":\"1.5\"}", 0);
    assert_pixel("id=a%20b+c&x=%22%0a", "{\"id\":\"a b c\",\"x\":\"\\\"\\u000a\"}", 0);
    assert_pixel("a%3Db=c=d", "{\"a=b\":\"c=d\"}", 0);
    assert_pixel("&&id=a&&", "{\"id\":\"a\"}", 0);
    assert_pixel("id&x=&=y", "{\"x\":\"\",\"\":\"y\"}", 0);
    assert_pixel("p=${AUCTION_PRICE}&q=$%7BX%7D&id=a", "{\"id\":\"a\"}", 2);
    assert_pixel("p=${}&q=$&r=${x", "{\"q\":\"$\",\"r\":\"${x\"}", 1);
    assert_pixel("x=%00%", "{\"x\":\"\\u0000%\"}", 0);
}

static void the_first_of_a_name_is_found(void **state)
{
    (void)state;
    assert_true(query_decode(&query, slice_cstr("a=1&B=2&a=3&c&d=")));
    assert_memory_equal(query_find(&query, "a").data, "1", 1);
    assert_memory_equal(query_find(&query, "b").data, "2", 1);
    assert_non_null(query_find(&query, "c").data);
    assert_int_equal(query_find(&query, "d").len, 0);
    assert_null(query_find(&query, "e").data);
}

/* A stranger's query must not grow what is kept for it. */
static void parameters_are_bounded(void **state)
{
    (void)state;
    struct buf text = {0};
    for (size_t i = 0; i < QUERY_PARAMETERS_MAX; i++)
        buf_put_cstr(&text, "x=y&");
    assert_true(query_decode(&query, buf_slice(&text)));
    assert_int_equal(query.count, QUERY_PARAMETERS_MAX);
    buf_put_cstr(&text, "x");
    assert_false(query_decode(&query, buf_slice(&text)));
    buf_free(&text);
    query_free(&query);
    assert_int_equal(query.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_become_an_event),
        cmocka_unit_test(the_first_of_a_name_is_found),
        cmocka_unit_test(parameters_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
