/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/body.h"
#include "tests/unit/packed.h"

/* The pieces of a body, "|" between, "!" behind an array that is not closed. */
static void assert_pieces(const char *text, const char *expected)
{
    struct body body;
    struct slice piece;
    struct buf out = {0};
    body_begin(&body, slice_cstr(text));
    while (body_next(&body, &piece)) {
        if (out.len > 0)
            buf_put_cstr(&out, "|");
        buf_put_slice(&out, piece);
    }
    if (body.unclosed)
        buf_put_cstr(&out, "!");
    assert_string_equal(buf_cstr(&out), expected);
    buf_free(&out);
}

/* Senders call all three forms application/json: taken for the wrong one, a good event
 * would be refused. */
static void forms_are_told_apart_by_the_text(void **state)
{
    (void)state;
    assert_pieces("", "");
    assert_pieces(" \n\t ", "");
    assert_pieces("{\"a\":1}", "{\"a\":1}");
    assert_pieces(" {\"a\":\n [1,\n 2]}\n\n", "{\"a\":\n [1,\n 2]}");
    assert_pieces("{\"a\":1}\n\n{\"b\":2}\r\n", "{\"a\":1}|{\"b\":2}");
    assert_pieces("[]", "");
    assert_pieces(" [ ] \n", "");
    assert_pieces("[{\"a\":[1,2]} ,\n{\"b\":\",]\"}]", "{\"a\":[1,2]}|{\"b\":\",]\"}");
    assert_pieces("[[1],{\"q\":\"\\\"]\"}]", "[1]|{\"q\":\"\\\"]\"}");
}

/* A body that is broken somewhere must not take the good events with it, nor pass as
 * whole. */
static void broken_bodies_keep_their_good_pieces(void **state)
{
    (void)state;
    assert_pieces("{\"a\":1\n{\"b\":2}", "{\"a\":1|{\"b\":2}");
    assert_pieces("{\"a\":1}}\n{\"b\":2}", "{\"a\":1}}|{\"b\":2}");
    assert_pieces("[{\"a\":1}", "{\"a\":1}!");
    assert_pieces("[{\"a\":1},", "{\"a\":1}|!");
    assert_pieces("[", "!");
    assert_pieces("[1}", "1}");
    assert_pieces("[{\"a\":1}] x", "{\"a\":1}] x");
    assert_pieces("[{\"a\":1}{\"b\":2}]", "{\"a\":1}{\"b\":2}");
    assert_pieces("[\"a]", "\"a]!");
    assert_pieces("]", "]");
}

/* The line and column that a sender is told must be those of the body he sent. */
static void place_is_of_the_whole_body(void **state)
{
    (void)state;
    struct body body;
    struct slice piece;
    uint32_t line = 1;
    uint32_t column = 3;
    body_begin(&body, slice_cstr("[{},\n  {},\n {\n x]"));
    assert_true(body_next(&body, &piece) && body_next(&body, &piece));
    body_place(&body, piece, &line, &column);
    assert_int_equal(line, 2);
    assert_int_equal(column, 5);
    assert_true(body_next(&body, &piece));
    line = 2;
    column = 2;
    body_place(&body, piece, &line, &column);
    assert_int_equal(line, 4);
    assert_int_equal(column, 2);
}

static void check_encoding(enum body_encoding encoding, void (*pack)(struct slice, struct buf *))
{
    struct buf packed = {0};
    struct buf plain = {0};
    struct error err;
    pack(slice_cstr("{\"a\":1}\n"), &packed);
    size_t first = packed.len;
    pack(slice_cstr("{\"b\":2}\n"), &packed);
    assert_int_equal(body_expand(encoding, buf_slice(&packed), 100, &plain, &err), OK);
    assert_string_equal(buf_cstr(&plain), "{\"a\":1}\n{\"b\":2}\n");
    buf_reset(&plain);
    assert_int_equal(body_expand(encoding, buf_slice(&packed), 16, &plain, &err), OK);
    buf_reset(&plain);
    assert_int_equal(body_expand(encoding, buf_slice(&packed), 15, &plain, &err), ERROR_LIMIT);
    for (size_t len = 1; len < packed.len; len++) {
        buf_reset(&plain);
        if (len != first) /* there a whole member ends */
            assert_int_equal(body_expand(encoding, slice_of(packed.data, len), 100, &plain, &err),
                             ERROR_INPUT);
    }
    packed.data[first / 2] ^= 0xff;
    buf_reset(&plain);
    int rc = body_expand(encoding, buf_slice(&packed), 100, &plain, &err);
    assert_true(rc == ERROR_INPUT || rc == ERROR_LIMIT);
    buf_free(&packed);
    buf_free(&plain);
}

/* A cut body that passed as whole would lose events behind a 200; one that expands
 * without end would take the machine's memory. */
static void expansion_is_whole_and_bounded(void **state)
{
    (void)state;
    check_encoding(BODY_GZIP, put_gzip);
    check_encoding(BODY_ZSTD, put_zstd);
}

static void bombs_stop_at_the_limit(void **state)
{
    (void)state;
    enum { BOMB = 64 << 20, LIMIT = 1 << 20 };
    char *blanks = test_calloc(BOMB, 1);
    memset(blanks, ' ', BOMB);
    void (*const packs[])(struct slice, struct buf *) = {put_gzip, put_zstd};
    for (size_t i = 0; i < 2; i++) {
        struct buf packed = {0};
        struct buf plain = {0};
        struct error err;
        packs[i](slice_of(blanks, BOMB), &packed);
        assert_true(packed.len < LIMIT / 4);
        assert_int_equal(
            body_expand(i == 0 ? BODY_GZIP : BODY_ZSTD, buf_slice(&packed), LIMIT, &plain, &err),
            ERROR_LIMIT);
        assert_true(plain.cap <= 4 * LIMIT);
        buf_free(&packed);
        buf_free(&plain);
    }
    test_free(blanks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(forms_are_told_apart_by_the_text),
        cmocka_unit_test(broken_bodies_keep_their_good_pieces),
        cmocka_unit_test(place_is_of_the_whole_body),
        cmocka_unit_test(expansion_is_whole_and_bounded),
        cmocka_unit_test(bombs_stop_at_the_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
