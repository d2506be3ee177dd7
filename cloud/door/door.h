/* SPDX-License-Identifier: Apache-2.0
 *
 * door.h: the commit service's HTTP port, as Cloud Run, Kubernetes and Prometheus want one:
 *
 *   GET  /healthz     200 while turns end in time
 *   GET  /readyz      200 once each table's newest turn was good, else what is wrong
 *   GET  /metrics     Prometheus text; metrics.def has the table
 *   POST /v1/notify   somebody says that an object came (notice.h): 202, the table is looked at
 *                     soon. With ?wait=1 the answer comes after that turn: 200, or 503 if it
 *                     failed, for where a program runs only while it answers
 *
 * A notice is a hint from anybody: one for a table, bucket or place that is not served is counted
 * and forgotten, and `wake` decides how soon a table is looked at.
 *
 * Threads  one of its own serves. door_turn_*: the thread that does the turns.
 * Bounds   DOOR_CONNECTIONS_MAX connections, requests of DOOR_WAITING_MAX of them wait.
 * Memory   NOTICE_BYTES_MAX a body; bodies that are not whole have DOOR_BODY_BYTES_MAX together
 *          and DOOR_BODY_BYTES_EACH for each connection, one that needs more is told 503. What
 *          lib/http keeps of heads, and one notice at a time as a document (notice.h).
 */
#ifndef CLOUD_DOOR_DOOR_H
#define CLOUD_DOOR_DOOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/clock.h"
#include "lib/base/error.h"

enum {
    DOOR_WAITING_MAX = 256,
    DOOR_CONNECTIONS_MAX = 64 + DOOR_WAITING_MAX,
    DOOR_BODY_BYTES_MAX = 8 << 20,
    DOOR_BODY_BYTES_EACH = 16 << 10, /* commonly a notice has one or two KiB */
};

struct door;

struct door_options {
    const char *address;       /* "0.0.0.0:8080" */
    const char *warehouse;     /* URL: notices about other places are ignored */
    const char *const *tables; /* both borrowed until door_close */
    size_t table_count;
    const struct clock *clock;
    /* A notice for a table came; by the door's thread. */
    void (*wake)(void *context, size_t table);
    void *context;
};

int door_open(struct door **out, const struct door_options *options, struct error *err) MUST_USE;
/* Who waits is told 503. */
void door_close(struct door *door);

/* What a table's turn came to; counts of this turn alone. */
struct door_turn {
    const char *error; /* NULL: good */
    uint64_t announcements;
    uint64_t refused;
    uint64_t missing; /* announcements left because of a file that is not there */
    uint64_t waiting; /* announcements left since one before them is not there yet */
    uint64_t files;
    uint64_t events;
    uint64_t rows;
    uint64_t bytes;
    uint64_t lost_events;
    uint64_t snapshots;
    uint64_t swaps;
    uint64_t alarms;
};
void door_turn_begin(struct door *door, size_t table);
void door_turn_end(struct door *door, size_t table, const struct door_turn *turn);
/* Store or catalog can't be opened: no turn is possible. NULL: it was. */
void door_closed(struct door *door, const char *error);

#endif
