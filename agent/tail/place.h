/* SPDX-License-Identifier: Apache-2.0
 *
 * place.h: how far a text was taken, told in such a way that the text is known again when
 * it lies in another file: checksums of its beginning and of what stands before the place.
 * Pure: no I/O, no clock. Private to agent/tail.
 *
 * A text that lies in another file is a copy when
 *   - it holds all that was taken of the known one, byte by byte: the same beginning and the
 *     same PLACE_EDGE bytes before the place (of a shorter one: all of it); or
 *   - it ends before the place and is the same at each line end (PLACE_LINES of them within
 *     PLACE_HEAD bytes) and at each step. Its whole lines were all taken then.
 * So files that share a header or a first event are told apart by the first line that is
 * their own, however short it is; as long as they have none they are one. Where the known
 * file is still there, origin.h compares more: its bytes.
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
    PLACE_SURE = 64,   /* so many equal bytes of a line that has no end yet are no accident */
    PLACE_HEAD = 4096, /* of it the beginning's lines are summed up, */
    PLACE_LINES = 16,  /* so many at most */
    PLACE_SIZE = 200,
};

/* A text's beginning. All zero: nothing was seen of it. */
struct place_head {
    uint32_t len;                /* of it, PLACE_HEAD at most */
    uint32_t crc32c;             /* of all of that */
    uint32_t steps[PLACE_STEPS]; /* up to each step; 0 beyond len */
    uint32_t line_count;
    uint32_t lines[PLACE_LINES]; /* up to each line end, with it */
};

/* What comes next of the text; beyond PLACE_HEAD it does nothing. */
void place_head_add(struct place_head *head, struct slice text);

struct tail_place {
    uint64_t offset;        /* of the plain text: all before it was taken */
    struct line_place at;   /* lines before it */
    bool ended;             /* a compressed file that was read to its end */
    uint64_t file_size;     /* of the file itself, then */
    int64_t stored_at_ms;   /* wall clock */
    uint32_t path_crc32c;   /* of the name the text was first seen under */
    uint32_t edge_crc32c;   /* of the last PLACE_EDGE bytes before offset, or all */
    struct place_head head; /* of what is before offset */
};

/* version 2, flags (1 ended, 2 skipping), offset, line, file_size, stored_at_ms,
 * path_crc32c, edge_crc32c, head (len, crc32c, steps, line_count, lines): u32, u32, four u64,
 * u32 each; little endian. */
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
    PLACE_SHORTER,   /* begins like it and ends before the place: all of it was taken */
    PLACE_ALIKE,     /* begins like it and is as long: its edge decides */
};

/* `head`: of the text's first PLACE_HEAD bytes, or all; `len`: its length so far. */
enum place_likeness place_compare(const struct tail_place *place, const struct place_head *head,
                                  uint64_t len);
/* `edge`: the place_edge_len bytes of the text before the place's offset. */
bool place_edge_is(const struct tail_place *place, struct slice edge);

#endif
