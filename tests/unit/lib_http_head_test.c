/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/http/head.h"

#define LINE "POST /a HTTP/1.1\r\n"
#define HOST "Host: x\r\n"

static struct http_head head;
static struct http_fault fault;

static size_t decode(const char *text)
{
    return http_head_decode(slice_cstr(text), &head, &fault);
}

static void assert_fault(const char *text, unsigned status)
{
    size_t len = decode(text);
    if (len != 0 || fault.status != status)
        print_error("%s\n-> %zu bytes, status %u\n", text, len, fault.status);
    assert_int_equal(len, 0);
    assert_int_equal(fault.status, status);
    assert_non_null(fault.text);
}

static void assert_slice(struct slice found, const char *wanted)
{
    assert_int_equal(found.len, strlen(wanted));
    assert_memory_equal(found.data, wanted, found.len);
}

/* What a sender means must arrive: forms of the target, and what the fields say. */
static void a_head_is_taken_apart(void **state)
{
    (void)state;
    const char *text = "\r\n" LINE HOST "X-A: \t b c \t\r\nContent-Length: 007\r\n\r\nrest";
    assert_int_equal(decode(text), strlen(text) - 4);
    assert_slice(head.method, "POST");
    assert_slice(head.path, "/a");
    assert_null(head.query.data);
    assert_slice(http_field(&head, "x-a"), "b c");
    assert_null(http_field(&head, "x-b").data);
    assert_true(head.has_length && head.length == 7 && !head.chunked && head.keep_alive);
    assert_true(
        decode("GET http://h:1/p?q=%41 HTTP/1.1\r\nHost: x\r\nConnection: a, Close\r\n\r\n") > 0);
    assert_slice(head.path, "/p");
    assert_slice(head.query, "q=%41");
    assert_false(head.keep_alive);
    assert_true(decode("GET http://h HTTP/1.0\r\nConnection: keep-alive\r\nX:\r\n\r\n") > 0);
    assert_slice(head.path, "/");
    assert_true(head.keep_alive && head.minor == 0);
    assert_non_null(http_field(&head, "X").data);
    assert_true(decode(LINE HOST "Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n") > 0);
    assert_true(head.chunked && head.expects_continue && !head.has_length);
    assert_true(decode(LINE HOST "Content-Length: 99999999999999999999\r\n\r\n") > 0);
    assert_true(head.length == UINT64_MAX);
}

/* What somebody else would read differently is a way to hide a request in another's body. */
static void what_is_in_doubt_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        LINE "\r\n",
        LINE HOST HOST "\r\n",
        LINE HOST "X : y\r\n\r\n",
        LINE HOST "X: y\r\n z\r\n\r\n",
        LINE " X: y\r\n" HOST "\r\n",
        LINE HOST "X\r\n\r\n",
        LINE HOST ": y\r\n\r\n",
        LINE HOST "X: a\rb\r\n\r\n",
        LINE HOST "X: a\nb: c\r\n\r\n",
        LINE HOST "X: a\x01\r\n\r\n",
        LINE HOST "X\x80: a\r\n\r\n",
        LINE HOST "Content-Length: 1\r\nContent-Length: 1\r\n\r\n",
        LINE HOST "Content-Length: 1, 1\r\n\r\n",
        LINE HOST "Content-Length: +1\r\n\r\n",
        LINE HOST "Content-Length: -1\r\n\r\n",
        LINE HOST "Content-Length: 0x1\r\n\r\n",
        LINE HOST "Content-Length:\r\n\r\n",
        LINE HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n",
        LINE HOST "Transfer-Encoding: identity\r\n\r\n",
        LINE HOST "Transfer-Encoding:\r\n\r\n",
        "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST  /a HTTP/1.1\r\n" HOST "\r\n",
        "POST /a b HTTP/1.1\r\n" HOST "\r\n",
        "POST /a\tHTTP/1.1\r\n" HOST "\r\n",
        "POST a HTTP/1.1\r\n" HOST "\r\n",
        "POST /a\x01 HTTP/1.1\r\n" HOST "\r\n",
        "P@ST /a HTTP/1.1\r\n" HOST "\r\n",
        "POST /a http/1.1\r\n" HOST "\r\n",
        "POST /a HTTP/1.10\r\n" HOST "\r\n",
        "POST /a\r\n\r\n",
        "\x16\x03\x01",
        "POST /a HTTP/1.1\n",
        "\n",
        " POST",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_fault(bad[i], 400);
    assert_fault("POST /a HTTP/2.0\r\n" HOST "\r\n", 505);
    assert_fault(LINE HOST "Expect: 200-ok\r\n\r\n", 417);
    struct slice nul = slice_of("GET /a\0b HTTP/1.0\r\n\r\n", 22);
    assert_int_equal(http_head_decode(nul, &head, &fault), 0);
    assert_int_equal(fault.status, 400);
}

/* Nothing a stranger sends is kept without a limit; the limits are the ones that are said. */
static void heads_are_bounded(void **state)
{
    (void)state;
    static char text[2 * HTTP_HEAD_BYTES_MAX + 1];
    memset(text, 'a', sizeof text - 1);
    memcpy(text, "GET /", 5);
    assert_fault(text, 414);
    memcpy(text, LINE HOST "X: ", strlen(LINE HOST "X: "));
    assert_fault(text, 431);
    /* The longest that is taken, and one more. */
    memcpy(text + HTTP_HEAD_BYTES_MAX - 4, "\r\n\r\n", 5);
    assert_int_equal(decode(text), HTTP_HEAD_BYTES_MAX);
    memcpy(text + HTTP_HEAD_BYTES_MAX - 4, "a\r\n\r\n", 6);
    assert_fault(text, 431);
    for (size_t count = HTTP_FIELDS_MAX; count <= HTTP_FIELDS_MAX + 1; count++) {
        size_t len = (size_t)snprintf(text, sizeof text, LINE HOST);
        for (size_t i = 1; i < count; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "A: b\r\n");
        snprintf(text + len, sizeof text - len, "\r\n");
        if (count <= HTTP_FIELDS_MAX)
            assert_true(decode(text) > 0);
        else
            assert_fault(text, 431);
    }
}

/* The data of these chunks, "!" where a fault was found, "." at the end, "?" where more is
 * wanted; the same in pieces of each length. */
static void assert_chunks(const char *text, const char *wanted)
{
    for (size_t step = 1; step <= strlen(text); step++) {
        struct http_chunks chunks = {.state = CHUNK_SIZE};
        struct buf out = {0};
        struct slice rest = slice_cstr(text);
        fault.status = 0;
        while (rest.len > 0 && fault.status == 0 && chunks.state != CHUNK_END) {
            struct slice in = slice_of(rest.data, rest.len < step ? rest.len : step);
            struct slice before = in;
            buf_put_slice(&out, http_chunks_decode(&chunks, &in, &fault));
            rest = slice_of(rest.data + (before.len - in.len), rest.len - (before.len - in.len));
        }
        buf_put_cstr(&out, fault.status != 0 ? "!" : chunks.state == CHUNK_END ? "." : "?");
        assert_string_equal(buf_cstr(&out), wanted);
        buf_free(&out);
    }
}

static void chunks_are_taken_apart(void **state)
{
    (void)state;
    assert_chunks("0\r\n\r\n", ".");
    assert_chunks("3\r\nabc\r\n0\r\n\r\n", "abc.");
    assert_chunks("3\r\nabc\r\n00A;x=y\r\n0123456789\r\n0;z\r\nT: u\r\n\r\nGET", "abc0123456789.");
    assert_chunks("3\r\nab", "ab?");
    assert_chunks("3\r\nabc\r\n0\r\n", "abc?");
    static const char *const bad[] = {
        "\r\n",
        "x",
        ";\r\n",
        " 3\r\nabc",
        "3 \r\nabc",
        "3\nabc",
        "+3",
        "-3",
        "0x3",
        "3;a\nb",
        "3;\x01",
        "3\rX",
        "11111111111111111\r\n",
        "00000000000000003\r\n",
        "0\r\nT\n",
        "0\r\n T: u\r\n",
        "0\r\nT: u\rX",
        "0\r\n\rX",
        "0\r\n:",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_chunks(bad[i], "!");
    assert_chunks("3\r\nabcd", "abc!");
    assert_chunks("3\r\nabc\rX", "abc!");
    assert_chunks("3\r\nabc\n", "abc!");
}

/* Whoever sends extensions without end must not keep the agent reading. */
static void chunk_extensions_are_bounded(void **state)
{
    (void)state;
    struct http_chunks chunks = {.state = CHUNK_SIZE};
    size_t count = 0;
    for (fault.status = 0; fault.status == 0 && count < 10000; count++) {
        struct slice in = slice_cstr("1;aaaaaaaaa\r\nx\r\n");
        while (in.len > 0 && fault.status == 0)
            (void)http_chunks_decode(&chunks, &in, &fault);
    }
    assert_in_range(count, 400, 500);
}

static void percent_decoding(void **state)
{
    (void)state;
    struct buf out = {0};
    http_percent_decode(slice_cstr("a%20b+%2b%4G%"), true, &out);
    assert_string_equal(buf_cstr(&out), "a b +%4G%");
    buf_reset(&out);
    http_percent_decode(slice_cstr("+%00."), false, &out);
    assert_int_equal(out.len, 3);
    assert_memory_equal(out.data, "+\0.", 3);
    buf_free(&out);
}

/* A copy that pointed into what it was made of would show another request's headers. */
static void a_copy_stands_alone(void **state)
{
    (void)state;
    struct http_head decoded;
    char text[] = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nEmpty:\r\nX-Y:  z \r\n\r\n";
    assert_true(http_head_decode(slice_cstr(text), &decoded, &fault) > 0);
    struct http_head *copy = http_head_copy(&decoded);
    memset(text, '?', sizeof text);
    memset(&decoded, 0, sizeof decoded);
    assert_true(slice_is(copy->method, "POST") && slice_is(copy->path, "/a"));
    assert_true(slice_is(copy->query, "b=c") && slice_is(http_field(copy, "x-y"), "z"));
    assert_true(http_field(copy, "empty").data != NULL && http_field(copy, "empty").len == 0);
    assert_null(http_field(copy, "other").data);
    assert_int_equal(copy->field_count, 3);
    free(copy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_is_taken_apart),
        cmocka_unit_test(what_is_in_doubt_is_refused),
        cmocka_unit_test(heads_are_bounded),
        cmocka_unit_test(chunks_are_taken_apart),
        cmocka_unit_test(chunk_extensions_are_bounded),
        cmocka_unit_test(percent_decoding),
        cmocka_unit_test(a_copy_stands_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
