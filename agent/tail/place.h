/* SPDX-License-Identifier: Apache-2.0
 *
 * place.h: how far a text was taken, told in such a way that the text is known again when
 * it lies in another file: checksums of its beginning and of what stands before the place.
 * Pure: no I/O, no clock. Private to agent/tail.
 */
#ifndef AGENT_TAIL_PLACE_H
#define AGENT_TAIL_PLACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/capture/capture.h"
#include "lib/base/buf.h"
#include "lib/base/slice.h"

enum {
    PLACE_EDGE = 1024, /* bytes at most before the place that are summed up */
    PLACE_STEPS = 19,  /* of the beginning: 8, 16, 32, 64, 128, 192, ... 1024 bytes */
    PLACE_SURE = 64,   /* so many equal bytes are no accident */
    PLACE_SIZE = 124,
};

struct tail_place {
    uint64_t offset;                   /* of the plain text: all before it was taken */
    struct line_place at;              /* lines before it */
    bool ended;                        /* a compressed file that was read to its end */
    uint64_t file_size;                /* of the file itself, then */
    int64_t stored_at_ms;              /* wall clock */
    uint32_t path_crc32c;              /* of the name the text was first seen under */
    uint32_t edge_crc32c;              /* of the last PLACE_EDGE bytes before offset, or all */
    uint32_t head_crc32c[PLACE_STEPS]; /* of steps up to offset; the others 0 */
};

/* version 1, flags (1 ended, 2 skipping), offset, line, file_size, stored_at_ms,
 * path_crc32c, edge_crc32c, head_crc32c: u32, u32, four u64, u32 each; little endian. */
void place_encode(const struct tail_place *place, uint8_t out[PLACE_SIZE]);
/* False for anything that place_encode would not have written. */
bool place_decode(struct slice bytes, struct tail_place *out);

/* How many bytes before the place its edge covers. */
size_t place_edge_len(const struct tail_place *place);

/* Moves `taken` bytes on in `window`, which begins place_edge_len before the place. Line
 * numbers are the caller's. */
void place_advance(struct tail_place *place, struct slice window, size_t taken);

enum place_likeness {
    PLACE_OTHER,     /* another text */
    PLACE_NOT_KNOWN, /* too short to tell */
    PLACE_SHORTER,   /* begins like it and ends before the place */
    PLACE_ALIKE,     /* begins like it and is as long: its edge decides */
};

/* `head`: the text's first PLACE_EDGE bytes, or all; `len`: its length so far. */
enum place_likeness place_compare(const struct tail_place *place, struct slice head, uint64_t len);
/* `edge`: the place_edge_len bytes of the text before the place's offset. */
bool place_edge_is(const struct tail_place *place, struct slice edge);

#endif
