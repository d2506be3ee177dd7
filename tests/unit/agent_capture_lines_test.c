/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/capture_support.h"

/* Hands in what is whole of the text, drops it from the front as a source does. */
static int take_text(struct bench *bench, struct line_sink *sink, struct slice *text, bool last)
{
    struct waiter waiter;
    struct error err;
    waiter_init(&waiter);
    must(intake_begin(sink->intake, capture_find_table(bench->capture, slice_cstr("clicks")),
                      &waiter.ticket, &err),
         &err);
    size_t taken = lines_take(sink, *text, last);
    *text = slice_of(text->data + taken, text->len - taken);
    return intake_end(sink->intake) ? waiter_wait(&waiter) : OK;
}

/* A line that comes in pieces and has no end in sight must neither fill the memory nor become
 * several events, and the acks of those behind it must count it as one. */
static void lines_are_counted_however_they_come(void **state)
{
    (void)state;
    static struct bench bench;
    struct error err;
    struct line_sink sink = {.source = "a file", .host = "h", .line_bytes_max = 64};
    bench_open(&bench, 0);
    must(intake_open(&sink.intake, bench.capture, &err), &err);

    struct slice text = slice_cstr("{\"id\":\"1\"}\r\n \t\n[]\n{\"id\":");
    assert_true(lines_any(&sink, text, false));
    assert_int_equal(take_text(&bench, &sink, &text, false), OK);
    assert_int_equal(sink.place.line, 3);
    assert_int_equal(text.len, strlen("{\"id\":"));
    assert_false(lines_any(&sink, text, false));
    assert_true(lines_any(&sink, text, true));
    assert_int_equal(end_of(&bench, "clicks"), 1);
    assert_int_equal(end_of(&bench, "dead_letters"), 1);

    char piece[65] = "";
    memset(piece, 'x', sizeof piece - 1);
    for (int i = 0; i < 3; i++) {
        text = slice_cstr(piece);
        assert_int_equal(take_text(&bench, &sink, &text, false), OK);
        assert_int_equal(text.len, 0);
        assert_true(sink.place.skipping);
        assert_int_equal(sink.place.line, 3);
    }
    assert_int_equal(end_of(&bench, "dead_letters"), 2);
    text = slice_cstr("{\"id\":\"no\"}\n{\"id\":\"2\"}");
    assert_int_equal(take_text(&bench, &sink, &text, true), OK);
    assert_int_equal(sink.place.line, 5);
    assert_false(sink.place.skipping);
    assert_int_equal(end_of(&bench, "clicks"), 2);
    assert_int_equal(end_of(&bench, "dead_letters"), 2);

    intake_close(sink.intake);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_counted_however_they_come),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
