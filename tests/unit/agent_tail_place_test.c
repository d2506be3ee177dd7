/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "agent/tail/place.h"

enum { TEXT = 8192 };
static uint8_t text[TEXT];

static void fill(void)
{
    for (size_t i = 0; i < TEXT; i++)
        text[i] = (uint8_t)('a' + (i * i / 3 + i) % 26);
}

/* The place behind `offset` bytes of the text, taken `step` at a time. */
static struct tail_place place_at(size_t offset, size_t step)
{
    struct tail_place place = {0};
    while (place.offset < offset) {
        size_t left = offset - (size_t)place.offset;
        size_t from = (size_t)place.offset - place_edge_len(&place);
        place_advance(&place, slice_of(text + from, TEXT - from), left < step ? left : step);
    }
    return place;
}

static void assert_same(const struct tail_place *one, const struct tail_place *other)
{
    uint8_t bytes[2][PLACE_SIZE];
    place_encode(one, bytes[0]);
    place_encode(other, bytes[1]);
    assert_memory_equal(bytes[0], bytes[1], PLACE_SIZE);
}

static struct place_head head_of(const uint8_t *bytes, size_t len)
{
    struct place_head head = {0};
    place_head_add(&head, slice_of(bytes, len));
    return head;
}

/* The checksums must not depend on how the text came, or a restart would not know it. */
static void steps_of_reading_make_no_difference(void **state)
{
    (void)state;
    static const size_t offsets[] = {1, 7, 8, 63, 64, 65, 1000, 1023, 1024, 1025, 5000};
    static const size_t steps[] = {1, 3, 64, 1000, 1024, 3000};
    for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
        struct tail_place whole = place_at(offsets[i], offsets[i]);
        assert_true(place_edge_is(
            &whole, slice_of(text + offsets[i] - place_edge_len(&whole), place_edge_len(&whole))));
        for (size_t k = 0; k < sizeof steps / sizeof steps[0]; k++) {
            struct tail_place other = place_at(offsets[i], steps[k]);
            assert_same(&whole, &other);
        }
    }
}

/* What a file is, seen from a place in another: taken for new, its events come twice; taken
 * for known, they are lost. */
static void likeness(void **state)
{
    (void)state;
    static const struct {
        size_t place, len, differs_at; /* TEXT: nowhere */
        enum place_likeness wanted;
    } cases[] = {
        {5000, 5000, TEXT, PLACE_ALIKE},   {5000, 8000, TEXT, PLACE_ALIKE},
        {5000, 4999, TEXT, PLACE_SHORTER}, {5000, 1024, TEXT, PLACE_SHORTER},
        {5000, 64, TEXT, PLACE_SHORTER},   {5000, 63, TEXT, PLACE_NOT_KNOWN},
        {5000, 0, TEXT, PLACE_NOT_KNOWN},  {5000, 7, 0, PLACE_NOT_KNOWN},
        {5000, 8, 0, PLACE_OTHER},         {5000, 8, 7, PLACE_OTHER},
        {5000, 5000, 1023, PLACE_OTHER},   {5000, 5000, 1024, PLACE_ALIKE},
        {5000, 100, 70, PLACE_SHORTER},    {5000, 128, 70, PLACE_OTHER},
        {700, 800, TEXT, PLACE_ALIKE},     {700, 800, 650, PLACE_ALIKE},
        {700, 800, 600, PLACE_OTHER},      {700, 699, TEXT, PLACE_SHORTER},
        {700, 800, 750, PLACE_ALIKE},      {5, 6, TEXT, PLACE_ALIKE},
        {5, 4, TEXT, PLACE_NOT_KNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t other[TEXT];
        memcpy(other, text, TEXT);
        if (cases[i].differs_at < TEXT)
            other[cases[i].differs_at] ^= 1;
        struct tail_place place = place_at(cases[i].place, 500);
        struct place_head head = head_of(other, cases[i].len);
        enum place_likeness found = place_compare(&place, &head, cases[i].len);
        if (found != cases[i].wanted)
            fail_msg("case %zu: %d, wanted %d", i, (int)found, (int)cases[i].wanted);
    }
}

static struct tail_place place_of(const char *lines)
{
    struct tail_place place = {0};
    place_advance(&place, slice_cstr(lines), strlen(lines));
    return place;
}

/* Files share a header or a first event, and their lines may be short: the first one that is
 * a file's own tells them apart, or its lines would wait for ever. What ends early and has
 * none is a copy, or a rotation that left lines behind would bring the others twice. */
static void short_lines(void **state)
{
    (void)state;
    static const struct {
        const char *known, *text;
        enum place_likeness wanted;
    } cases[] = {
        {"h\n", "h\n", PLACE_ALIKE},
        {"h\n", "h\na\n", PLACE_ALIKE},
        {"h\na\n", "h\n", PLACE_SHORTER},
        {"h\na\nb\n", "h\na\n", PLACE_SHORTER},
        {"h\na\nb\n", "h\nb\n", PLACE_OTHER},
        {"h\na\n", "h\nb\nc\n", PLACE_OTHER},
        {"head\n1\n2\n", "h", PLACE_NOT_KNOWN},
        {"head\n1\n2\n", "head\n1", PLACE_SHORTER},
        {"\n\n\n", "\n\n", PLACE_SHORTER},
        {"\n\na\n", "\n\nb", PLACE_SHORTER},
        {"\n\na\n", "\n\nb\n", PLACE_OTHER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tail_place place = place_of(cases[i].known);
        struct place_head head = head_of((const uint8_t *)cases[i].text, strlen(cases[i].text));
        enum place_likeness found = place_compare(&place, &head, strlen(cases[i].text));
        if (found != cases[i].wanted)
            fail_msg("case %zu: %d, wanted %d", i, (int)found, (int)cases[i].wanted);
    }
}

/* Each of the first lines, also in the later pieces of a text. */
static void lines_are_summed_up(void **state)
{
    (void)state;
    char lines[2][2000] = {"", ""};
    for (int i = 0; i < PLACE_LINES + 4; i++) {
        char line[64];
        int len = snprintf(line, sizeof line, "{\"id\":\"%060d\"", i);
        assert_true(len > 0);
        for (int k = 0; k < 2; k++)
            snprintf(lines[k] + strlen(lines[k]), sizeof lines[k] - strlen(lines[k]), "%.*s}\n",
                     len > 60 ? 60 : len, line);
    }
    for (int i = 0; i < PLACE_LINES + 3; i++) {
        size_t end = (size_t)(i + 1) * 62;
        char other[2000];
        memcpy(other, lines[0], sizeof other);
        other[end - 3] = 'x';
        struct tail_place place = {0};
        for (size_t at = 0; at + 31 <= strlen(lines[0]); at += 31) {
            size_t from = at - place_edge_len(&place);
            place_advance(&place, slice_of(lines[0] + from, strlen(lines[0]) - from), 31);
        }
        struct place_head head = head_of((const uint8_t *)other, end);
        enum place_likeness found = place_compare(&place, &head, end);
        if (found != (i < PLACE_LINES ? PLACE_OTHER : PLACE_SHORTER))
            fail_msg("line %d: %d", i, (int)found);
    }
}

/* A file that begins alike may go on otherwise: truncated and written anew, or an inode that
 * was given again. */
static void edge_decides(void **state)
{
    (void)state;
    for (size_t offset = 1; offset < 3000; offset += 37) {
        struct tail_place place = place_at(offset, 800);
        size_t len = place_edge_len(&place);
        uint8_t edge[PLACE_EDGE];
        memcpy(edge, text + offset - len, len);
        assert_true(place_edge_is(&place, slice_of(edge, len)));
        assert_false(place_edge_is(&place, slice_of(edge, len - 1)));
        edge[len / 2] ^= 1;
        assert_false(place_edge_is(&place, slice_of(edge, len)));
    }
}

static void encoding(void **state)
{
    (void)state;
    uint8_t bytes[PLACE_SIZE];
    struct tail_place place = place_at(700, 100);
    struct tail_place back;
    place.at.line = 17;
    place.at.skipping = true;
    place.ended = true;
    place.file_size = 1 << 20;
    place.stored_at_ms = 1767225600000;
    place.path_crc32c = 99;
    place_encode(&place, bytes);
    assert_true(place_decode(slice_of(bytes, sizeof bytes), &back));
    assert_same(&place, &back);
    assert_false(place_decode(slice_of(bytes, sizeof bytes - 1), &back));
    assert_int_equal(back.offset, 0);
    static const struct {
        size_t at;
        uint8_t value;
    } damages[] = {{0, 1}, {4, 4}, {15, 0x80}, {18, 1}, {48, 1}, {132, 17}, {PLACE_SIZE - 1, 1}};
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        uint8_t damaged[PLACE_SIZE];
        memcpy(damaged, bytes, sizeof bytes);
        damaged[damages[i].at] = damages[i].value;
        assert_false(place_decode(slice_of(damaged, sizeof damaged), &back));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_of_reading_make_no_difference),
        cmocka_unit_test(likeness),
        cmocka_unit_test(short_lines),
        cmocka_unit_test(lines_are_summed_up),
        cmocka_unit_test(edge_decides),
        cmocka_unit_test(encoding),
    };
    fill();
    return cmocka_run_group_tests_name("agent/tail/place", tests, NULL, NULL);
}
