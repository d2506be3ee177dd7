/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tail/place.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"

enum { VERSION = 2, FLAG_ENDED = 1, FLAG_SKIPPING = 2, HEAD_AT = 48 };

_Static_assert(PLACE_SIZE == HEAD_AT + 4 * (3 + PLACE_STEPS + PLACE_LINES),
               "what place_encode writes");

/* Few bytes are looked at one by one, since first lines are often alike for long. */
static size_t step_len(size_t step)
{
    return step < 3 ? (size_t)8 << step : PLACE_SURE * (step - 2);
}

_Static_assert(PLACE_SURE *(PLACE_STEPS - 3) == PLACE_EDGE, "the last step");

void place_head_add(struct place_head *head, struct slice text)
{
    size_t step = 0;
    size_t at = 0;
    while (at < text.len && head->len < PLACE_HEAD) {
        while (step < PLACE_STEPS && step_len(step) <= head->len)
            step++;
        size_t len = (step < PLACE_STEPS ? step_len(step) : PLACE_HEAD) - head->len;
        len = len < text.len - at ? len : text.len - at;
        const uint8_t *end = memchr(text.data + at, '\n', len);
        len = end != NULL ? (size_t)(end + 1 - (text.data + at)) : len;
        head->crc32c = crc32c(head->crc32c, slice_of(text.data + at, len));
        head->len += (uint32_t)len;
        at += len;
        if (end != NULL && head->line_count < PLACE_LINES)
            head->lines[head->line_count++] = head->crc32c;
        if (step < PLACE_STEPS && step_len(step) == head->len)
            head->steps[step] = head->crc32c;
    }
}

static void head_encode(const struct place_head *head, uint8_t *out)
{
    put_u32le(out, head->len);
    put_u32le(out + 4, head->crc32c);
    for (size_t i = 0; i < PLACE_STEPS; i++)
        put_u32le(out + 8 + 4 * i, head->steps[i]);
    out += 8 + 4 * PLACE_STEPS;
    put_u32le(out, head->line_count);
    for (size_t i = 0; i < PLACE_LINES; i++)
        put_u32le(out + 4 + 4 * i, head->lines[i]);
}

static bool head_decode(const uint8_t *bytes, uint64_t offset, struct place_head *out)
{
    const uint8_t *lines = bytes + 8 + 4 * PLACE_STEPS;
    out->len = get_u32le(bytes);
    out->crc32c = get_u32le(bytes + 4);
    out->line_count = get_u32le(lines);
    if (out->len != (offset < PLACE_HEAD ? offset : PLACE_HEAD) || out->line_count > PLACE_LINES ||
        out->line_count > out->len)
        return false;
    for (size_t i = 0; i < PLACE_STEPS; i++) {
        out->steps[i] = get_u32le(bytes + 8 + 4 * i);
        if (step_len(i) > out->len && out->steps[i] != 0)
            return false;
    }
    for (size_t i = 0; i < PLACE_LINES; i++) {
        out->lines[i] = get_u32le(lines + 4 + 4 * i);
        if (i >= out->line_count && out->lines[i] != 0)
            return false;
    }
    return true;
}

void place_encode(const struct tail_place *place, uint8_t out[PLACE_SIZE])
{
    put_u32le(out, VERSION);
    put_u32le(out + 4,
              (place->ended ? FLAG_ENDED : 0U) | (place->at.skipping ? FLAG_SKIPPING : 0U));
    put_u64le(out + 8, place->offset);
    put_u64le(out + 16, place->at.line);
    put_u64le(out + 24, place->file_size);
    put_u64le(out + 32, (uint64_t)place->stored_at_ms);
    put_u32le(out + 40, place->path_crc32c);
    put_u32le(out + 44, place->edge_crc32c);
    head_encode(&place->head, out + HEAD_AT);
}

bool place_decode(struct slice bytes, struct tail_place *out)
{
    *out = (struct tail_place){0};
    if (bytes.len != PLACE_SIZE || get_u32le(bytes.data) != VERSION ||
        get_u32le(bytes.data + 4) > (FLAG_ENDED | FLAG_SKIPPING))
        return false;
    uint32_t flags = get_u32le(bytes.data + 4);
    struct tail_place place = {.offset = get_u64le(bytes.data + 8),
                               .at.line = get_u64le(bytes.data + 16),
                               .at.skipping = (flags & FLAG_SKIPPING) != 0,
                               .ended = (flags & FLAG_ENDED) != 0,
                               .file_size = get_u64le(bytes.data + 24),
                               .stored_at_ms = (int64_t)get_u64le(bytes.data + 32),
                               .path_crc32c = get_u32le(bytes.data + 40),
                               .edge_crc32c = get_u32le(bytes.data + 44)};
    if (place.offset > INT64_MAX || place.at.line > place.offset ||
        !head_decode(bytes.data + HEAD_AT, place.offset, &place.head))
        return false;
    *out = place;
    return true;
}

size_t place_edge_len(const struct tail_place *place)
{
    return place->offset < PLACE_EDGE ? (size_t)place->offset : PLACE_EDGE;
}

void place_advance(struct tail_place *place, struct slice window, size_t taken)
{
    size_t before = place_edge_len(place);
    ASSERT(taken <= window.len - before);
    size_t end = before + taken;
    place_head_add(&place->head, slice_of(window.data + before, taken));
    place->offset += taken;
    size_t edge = place_edge_len(place);
    place->edge_crc32c = crc32c(0, slice_of(window.data + end - edge, edge));
}

enum place_likeness place_compare(const struct tail_place *place, const struct place_head *head,
                                  uint64_t len)
{
    const struct place_head *known = &place->head;
    uint32_t common = head->len < known->len ? head->len : known->len;
    uint32_t lines = head->line_count < known->line_count ? head->line_count : known->line_count;
    size_t same = 0;
    for (size_t i = 0; i < PLACE_STEPS && step_len(i) <= common; i++) {
        same = step_len(i);
        if (head->steps[i] != known->steps[i])
            return PLACE_OTHER;
    }
    if (memcmp(head->lines, known->lines, lines * sizeof known->lines[0]) != 0)
        return PLACE_OTHER;
    if (len >= place->offset)
        return PLACE_ALIKE;
    return lines > 0 || same >= PLACE_SURE ? PLACE_SHORTER : PLACE_NOT_KNOWN;
}

bool place_edge_is(const struct tail_place *place, struct slice edge)
{
    return edge.len == place_edge_len(place) && crc32c(0, edge) == place->edge_crc32c;
}
