/* SPDX-License-Identifier: Apache-2.0
 *
 * All variants of the scan must agree, or an event is refused on one machine that another
 * takes. Every text here ends where the next page can't be read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "tests/unit/lib_shred_variants.h"

enum { GUARDED = 1 << 18, PAGE = 4096 };

struct fixture {
    struct variants variants;
    uint8_t *guarded; /* GUARDED bytes, then a page that ends the process */
    struct buf text;
};

static int set_up(void **state)
{
    struct fixture *fixture = memory_alloc(1, sizeof *fixture);
    variants_init(&fixture->variants);
    fixture->guarded =
        mmap(NULL, GUARDED + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(fixture->guarded, MAP_FAILED);
    assert_int_equal(mprotect(fixture->guarded + GUARDED, PAGE, PROT_NONE), 0);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    variants_free(&fixture->variants);
    munmap(fixture->guarded, GUARDED + PAGE);
    buf_free(&fixture->text);
    free(fixture);
    return 0;
}

static void must_agree(struct fixture *fixture, struct slice json)
{
    assert_true(json.len <= GUARDED);
    uint8_t *at = fixture->guarded + GUARDED - json.len;
    memcpy(at, json.data, json.len);
    assert_true(variants_agree(&fixture->variants, slice_of(at, json.len)));
}

static void put_times(struct buf *out, const char *what, size_t times)
{
    for (size_t i = 0; i < times; i++)
        buf_put_cstr(out, what);
}

/* What must not be missed when a block's border goes through it. */
static const struct {
    const char *bytes;
    size_t len;
} pieces[] = {
#define PIECE(text)                                                                                \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }
    PIECE(""),
    PIECE("\\\""),
    PIECE("\\\\"),
    PIECE("\\\\\\\""),
    PIECE("\\\\\""),
    PIECE("\\"),
    PIECE("\\/\\b\\f\\n\\r\\t"),
    PIECE("\\u00e9"),
    PIECE("\\u0022"),
    PIECE("\\ud83d\\ude00"),
    PIECE("\\ud83d"),
    PIECE("\\ude00\\ud83d"),
    PIECE("\\u12"),
    PIECE("\\u12g4"),
    PIECE("\\x"),
    PIECE("\\\0"),
    PIECE("\""),
    PIECE("\",\"s\":\"t"),
    PIECE("\" , \"s\" : \"t"),
    PIECE("\",\"s\":-12.5e3,\"i\":\"7"),
    PIECE("\"\n,\t\"s\"\r: 1, \"\\u006e\":[1, \"2\\\"\" ,\"\xc3\xa9\"], \"i\":\""),
    PIECE("\0"),
    PIECE("\n"),
    PIECE("\x1f"),
    PIECE("\x7f"),
    PIECE("\x80"),
    PIECE("\xff"),
    PIECE("\xc3\xa9"),
    PIECE("\xe2\x82\xac"),
    PIECE("\xe2\x82"),
    PIECE("\xed\xa0\x80"),
    PIECE("\xf0\x9f\x8e\xae"),
    PIECE("\xf0\x9f\x8e"),
    PIECE("\xf4\x90\x80\x80"),
#undef PIECE
};
enum { PIECES = sizeof pieces / sizeof pieces[0], SHIFTS = 132 };

/* Where a piece stands: wanted, not wanted, in a list, a key, behind a deep path, outside. */
static const char *const frames[][2] = {
    {"{\"id\":\"", "\",\"i\":5}"},
    {"{\"id\":\"x\",\"skipped\":[{\"y\":\"", "\"}],\"s\":\"z\"}"},
    {"{\"id\":\"x\",\"c\":[\"", "\",\"z\"],\"i\":1}"},
    {"{\"id\":\"x\",\"", "\":\"v\",\"i\":1}"},
    {"{\"id\":\"x\",\"a\":[{\"b\":[{\"c\":\"", "\"}]}]}"},
    {"{\"id\":\"x\"", ",\"i\":1}"},
    {"{\"id\":\"x\"}", ""},
    {"", "{\"id\":\"x\"}"},
};
enum { FRAMES = sizeof frames / sizeof frames[0] };

static void every_piece_at_every_shift(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < PIECES; i++) {
        for (size_t k = 0; k < FRAMES; k++) {
            for (size_t shift = 0; shift < SHIFTS; shift++) {
                struct buf *text = &fixture->text;
                buf_reset(text);
                buf_put_cstr(text, frames[k][0]);
                put_times(text, k < 5 ? "a" : " ", shift);
                buf_put(text, pieces[i].bytes, pieces[i].len);
                buf_put_cstr(text, frames[k][1]);
                must_agree(fixture, buf_slice(text));
            }
        }
    }
}

/* A run of backslashes escapes what follows it by its length, across any border. */
static void runs_of_backslashes(void **state)
{
    struct fixture *fixture = *state;
    for (size_t run = 0; run < 140; run++) {
        for (size_t shift = 0; shift < 70; shift += 1 + run % 3) {
            struct buf *text = &fixture->text;
            buf_reset(text);
            buf_put_cstr(text, "{\"id\":\"");
            put_times(text, "a", shift);
            put_times(text, "\\", run);
            buf_put_cstr(text, "\",\"s\":\"b\\\\\"}");
            must_agree(fixture, buf_slice(text));
        }
    }
}

/* Two events alike, apart from what the first taught the walk to expect. */
static const char *const events[] = {
    "{\"id\":\"8e9a1e48-346e-4695-9ce8-abb7c4ce36d8\",\"a\":[{\"s\":\"seat\",\"b\":[{\"i\":1234567,"
    "\"p\":0.2571,\"c\":[\"IAB19\",\"x\\\"y\"],\"l\":[{\"i\":-3}]},{\"i\":\"12\",\"c\":[]}]},{}],"
    "\"skip\":{\"w\":[1,2.5e-3,true,null,{\"x\":\"\\u00c9\"}],\"v\":false},\"n\":[1,\"2\",3.0],"
    "\"i\":30000000,\"o\":true,\"g\":{\"c\":\"de\",\"lat\":-3.65},\"l\":[0,1,[\"third\"]],"
    "\"ts\":1769860800001,\"k\xc3\xa9y\":\"caf\xc3\xa9\",\"ua\":\"Mozilla/5.0 (Linux; Android 14) "
    "AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Mobile Safari/537.36\"}",
    "{ \"id\" : 17 ,\n \"a\" : { \"b\" : { \"i\" : 1e2 , \"p\" : \"1.5\" } } ,\n\t\"n\" : { \"n\" :"
    " [ ] } ,\r\n \"k\\u00e9y\" : \"\\ud83d\\ude00\", \"id\" : \"last\", \"o\" : 0.0, \"ts\" : "
    "\"2026-01-31T12:00:00.5Z\" , \"c\" : [ \"a\" , [ \"b\" ] , null ] }",
};
enum { EVENTS = sizeof events / sizeof events[0] };

static void every_prefix(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < EVENTS; i++) {
        for (size_t len = 0; len <= strlen(events[i]); len++) {
            struct buf *text = &fixture->text;
            must_agree(fixture, slice_of(events[i], len));
            /* Blanks behind it are no part of it, but a place behind its end would show. */
            buf_reset(text);
            buf_put(text, events[i], len);
            buf_put_cstr(text, " \r\n ");
            must_agree(fixture, buf_slice(text));
        }
    }
}

static void every_byte_replaced_or_left_out(void **state)
{
    struct fixture *fixture = *state;
    static const char others[] = "\"\\{}[]:, \n\x01\x80\xff"
                                 "0a.e-nt";
    for (size_t i = 0; i < EVENTS; i++) {
        size_t len = strlen(events[i]);
        for (size_t at = 0; at < len; at++) {
            struct buf *text = &fixture->text;
            for (size_t k = 0; k < sizeof others; k++) {
                buf_reset(text);
                buf_put(text, events[i], len);
                text->data[at] = (uint8_t)others[k];
                must_agree(fixture, buf_slice(text));
            }
            buf_reset(text);
            buf_put(text, events[i], at);
            buf_put(text, events[i] + at + 1, len - at - 1);
            must_agree(fixture, buf_slice(text));
        }
    }
}

/* Numbers of all lengths and shapes, whole and broken, as value and as element. */
static void numbers(void **state)
{
    struct fixture *fixture = *state;
    static const char *const shapes[] = {"",    "-",     "0",  "-0",  "00",   "1.",
                                         "1.5", ".5",    "1e", "1e5", "1E+5", "1e-",
                                         "2x",  "1.5.5", "+1", "9",   "- 1"};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        for (size_t digits = 0; digits < 24; digits++) {
            struct buf *text = &fixture->text;
            buf_reset(text);
            buf_put_cstr(text, "{\"id\":1,\"i\":");
            for (size_t before = 0; before < 3; before++) {
                static const char *const between[] = {
                    ",\"p\":", ",\"a\":{\"b\":{\"i\":", "}},\"n\":[1,"};
                buf_put_cstr(text, shapes[i]);
                put_times(text, "7", digits);
                buf_put_cstr(text, between[before]);
            }
            buf_put_cstr(text, "2],\"u\":");
            buf_put_cstr(text, shapes[i]);
            put_times(text, "7", digits);
            buf_put_cstr(text, "}");
            must_agree(fixture, buf_slice(text));
        }
    }
}

/* Large ones: many blocks, more quotes than were ever kept before. */
static void long_texts(void **state)
{
    struct fixture *fixture = *state;
    for (size_t times = 1; times < 20000; times = times * 3 + 1) {
        struct buf *text = &fixture->text;
        buf_reset(text);
        buf_put_cstr(text, "{\"id\":\"x\",\"c\":[");
        put_times(text, "\"\",", times);
        buf_put_cstr(text, "\"\"],\"s\":\"");
        put_times(text, "\xe4\xb8\xad\\n", times);
        buf_put_cstr(text, "\"}");
        must_agree(fixture, buf_slice(text));
        text->data[text->len - 3] = '\\';
        must_agree(fixture, buf_slice(text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_piece_at_every_shift),
        cmocka_unit_test(runs_of_backslashes),
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_byte_replaced_or_left_out),
        cmocka_unit_test(numbers),
        cmocka_unit_test(long_texts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
