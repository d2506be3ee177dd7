/* SPDX-License-Identifier: Apache-2.0
 *
 * A place in a file, as the spool may give it back. What is taken is written back as the
 * same bytes; and it is moved on through the rest of the input as through a text, in steps
 * that the first bytes choose: the place behind it doesn't depend on the steps, and knows
 * the text again, whole and cut.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "agent/tail/place.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void advance(struct tail_place *place, struct slice text, size_t step)
{
    while (place->offset < text.len) {
        size_t from = (size_t)place->offset - place_edge_len(place);
        size_t left = text.len - (size_t)place->offset;
        place_advance(place, slice_of(text.data + from, text.len - from),
                      left < step ? left : step);
    }
}

static struct place_head head_of(struct slice text)
{
    struct place_head head = {0};
    place_head_add(&head, text);
    return head;
}

static void check_text(struct slice text, size_t step)
{
    struct tail_place one = {0};
    struct tail_place other = {0};
    struct tail_place back;
    uint8_t bytes[PLACE_SIZE];
    uint8_t again[PLACE_SIZE];
    advance(&one, text, text.len);
    advance(&other, text, step);
    place_encode(&one, bytes);
    place_encode(&other, again);
    ASSERT(memcmp(bytes, again, sizeof bytes) == 0);
    bool fine = place_decode(slice_of(bytes, sizeof bytes), &back);
    place_encode(&back, again);
    ASSERT(fine && memcmp(bytes, again, sizeof bytes) == 0);
    struct place_head head = head_of(text);
    size_t edge = place_edge_len(&one);
    ASSERT(place_compare(&one, &head, text.len) == PLACE_ALIKE);
    ASSERT(place_edge_is(&one, slice_of(text.data + text.len - edge, edge)));
    size_t cut = text.len / 2;
    head = head_of(slice_of(text.data, cut));
    if (cut < text.len)
        ASSERT(place_compare(&one, &head, cut) ==
               (cut < PLACE_SURE && head.line_count == 0 ? PLACE_NOT_KNOWN : PLACE_SHORTER));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tail_place place;
    uint8_t bytes[PLACE_SIZE];
    struct slice input = slice_of(data, size);
    if (place_decode(input, &place)) {
        place_encode(&place, bytes);
        ASSERT(size == sizeof bytes && memcmp(bytes, data, size) == 0);
        struct place_head head = head_of(input);
        place_compare(&place, &head, size);
        return 0;
    }
    if (size > 2)
        check_text(slice_of(data + 2, size - 2), (size_t)(data[0] | data[1] << 8) + 1);
    return 0;
}
