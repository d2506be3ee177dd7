/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tail/place.h"

#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"

enum { VERSION = 1, FLAG_ENDED = 1, FLAG_SKIPPING = 2 };

_Static_assert(PLACE_SIZE == 8 + 4 * 8 + 8 + 4 * PLACE_STEPS, "what place_encode writes");

/* Few bytes are looked at one by one, since first lines are often alike for long. */
static size_t step_len(size_t step)
{
    return step < 3 ? (size_t)8 << step : PLACE_SURE * (step - 2);
}

_Static_assert(PLACE_SURE *(PLACE_STEPS - 3) == PLACE_EDGE, "the last step");

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
    for (size_t i = 0; i < PLACE_STEPS; i++)
        put_u32le(out + 48 + 4 * i, place->head_crc32c[i]);
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
    if (place.offset > INT64_MAX || place.at.line > place.offset)
        return false;
    for (size_t i = 0; i < PLACE_STEPS; i++) {
        place.head_crc32c[i] = get_u32le(bytes.data + 48 + 4 * i);
        if (step_len(i) > place.offset && place.head_crc32c[i] != 0)
            return false;
    }
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
    uint32_t crc = 0;
    /* As long as steps are missing the window begins where the text does. */
    for (size_t i = 0, at = 0; place->offset < PLACE_EDGE && i < PLACE_STEPS; i++) {
        size_t len = step_len(i);
        if (len > end)
            break;
        crc = crc32c(crc, slice_of(window.data + at, len - at));
        at = len;
        place->head_crc32c[i] = crc;
    }
    place->offset += taken;
    size_t edge = place_edge_len(place);
    place->edge_crc32c = crc32c(0, slice_of(window.data + end - edge, edge));
}

enum place_likeness place_compare(const struct tail_place *place, struct slice head, uint64_t len)
{
    uint64_t common = len < place->offset ? len : place->offset;
    uint32_t crc = 0;
    size_t same = 0;
    for (size_t i = 0; i < PLACE_STEPS; i++) {
        size_t step = step_len(i);
        if (step > common || step > head.len)
            break;
        crc = crc32c(crc, slice_of(head.data + same, step - same));
        same = step;
        if (crc != place->head_crc32c[i])
            return PLACE_OTHER;
    }
    if (len >= place->offset)
        return PLACE_ALIKE;
    return same >= PLACE_SURE ? PLACE_SHORTER : PLACE_NOT_KNOWN;
}

bool place_edge_is(const struct tail_place *place, struct slice edge)
{
    return edge.len == place_edge_len(place) && crc32c(0, edge) == place->edge_crc32c;
}
