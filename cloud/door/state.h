/* SPDX-License-Identifier: Apache-2.0
 *
 * state.h: what the door's parts share. Private to cloud/door. */
#ifndef CLOUD_DOOR_STATE_H
#define CLOUD_DOOR_STATE_H

#include <pthread.h>

#include "cloud/door/door.h"
#include "lib/base/buf.h"
#include "lib/base/histogram.h"
#include "lib/http/http.h"

enum { DOOR_ERROR_MAX = 400 };

struct door_table {
    const char *name;
    uint64_t begun; /* turns */
    uint64_t ended;
    uint64_t failed;
    int64_t since_ms;           /* monotonic: when the turn under way began; 0: none is */
    int64_t good_ms;            /* wall: when the newest good one ended; 0: none yet */
    char error[DOOR_ERROR_MAX]; /* of the newest turn; "": it was good */
    struct door_turn sum;       /* `missing` and `waiting`: of the newest turn */
};

enum notice_result {
    NOTICE_TAKEN,
    NOTICE_IGNORED,
    NOTICE_MALFORMED,
    NOTICE_REFUSED,
    NOTICE_RESULTS
};

/* A request that waits: for each table the turn that must have ended; 0: not asked for. */
struct door_wait {
    struct http_request *request;
    struct door_wait *next;
    bool resumed;
    bool failed;
    uint64_t turns[]; /* of each table */
};

struct door {
    struct door_options options;
    struct http_server *server;
    int64_t started_ms;
    /* the door's thread alone */
    uint64_t notices[NOTICE_RESULTS];
    size_t body_bytes; /* that bodies hold which are not whole */

    pthread_mutex_t lock;
    /* guarded by lock */
    struct door_table *tables;
    struct histogram spans;
    char error[DOOR_ERROR_MAX]; /* why nothing is open; "" */
    struct door_wait *waiting;
    size_t waiting_count;
    bool closing;
};

void metrics_write(struct door *door, struct buf *out);
/* 200, or 503 and why. */
unsigned health_write(struct door *door, struct buf *out);
unsigned readiness_write(struct door *door, struct buf *out);

/* Under the lock: no turn will come for those that wait. */
void waiting_fail(struct door *door);

#endif
