/* SPDX-License-Identifier: Apache-2.0
 *
 * pace.h: so many bytes a second, on average. Private to uploader/.
 *
 * What was sent is paid for with time before more is sent; a sender that was silent has saved
 * up PACE_SAVED_MS of it, no more, so that it can't take the whole network for long.
 */
#ifndef UPLOADER_PACE_H
#define UPLOADER_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACE_SAVED_MS = 100 };

struct pace {
    uint64_t bytes_per_second; /* 0: no limit */
    uint64_t file_rate;        /* what it was when the file under way began */
    int64_t paid_until_us;     /* monotonic */
};

/* Takes up another rate; what went before is paid for by the wait that it had. Within a file no
 * less than what it began with: its pieces were made for that, and would wait for long. False:
 * nothing changed. */
bool pace_change(struct pace *pace, uint64_t bytes_per_second, bool within_file);
/* Whether what was sent is paid for. */
bool pace_is_free(const struct pace *pace, int64_t now_ms);
/* How many bytes may go at once: what a second pays for, so that who takes them never waits for
 * longer. 0: as many as there are. */
size_t pace_piece(const struct pace *pace);
/* Takes note of bytes that are about to go, and returns how long to wait before, in ms. */
int64_t pace_take(struct pace *pace, uint64_t bytes, int64_t now_ms);

#endif
