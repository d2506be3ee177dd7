/* SPDX-License-Identifier: Apache-2.0
 *
 * hole.h: the NULs that a file begins with when it was truncated under a writer that does not
 * append: it writes on at its old offset, and what is before that is a hole. With each rotation
 * it is longer, and in a copy the NULs may stand on the disk: they are passed over where the
 * file system knows of them, and are read, a piece at a time, where it doesn't. Private to
 * agent/tail.
 */
#ifndef AGENT_TAIL_HOLE_H
#define AGENT_TAIL_HOLE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/slice.h"

/* How many NULs it begins with. */
size_t hole_run(struct slice bytes);

enum hole {
    HOLE_GOES_ON, /* to be stepped again */
    HOLE_ENDS,    /* the byte at *at is none */
    HOLE_OPEN,    /* all of the file is NULs by now */
    HOLE_FAULTY,  /* it does not read: errno */
};

/* One piece more: all before *at are NULs. Moves the descriptor's offset. */
enum hole hole_step(int fd, uint64_t *at, uint8_t *piece, size_t len);

#endif
