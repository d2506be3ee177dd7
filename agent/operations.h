/* SPDX-License-Identifier: Apache-2.0
 *
 * operations.h: the port for those who run the agent: GET / (a page that shows the rest live),
 * /healthz (the process answers), /readyz (it takes events; else 503 and which check fails; JSON
 * by "Accept: application/json" or ?format=json), /metrics (Prometheus text), /v1/status and
 * /v1/history (JSON); POST /v1/flush and /v1/drain, which want the header "X-Bidlake-Operation";
 * GET /v1/drain, what became of it.
 * A stranger's page in somebody's browser can use none of it: what is not for probes and Prometheus
 * wants an address, localhost or the machine's own name in Host. Private to agent/.
 *
 * Threads  one of its own; the callbacks are called there.
 */
#ifndef AGENT_OPERATIONS_H
#define AGENT_OPERATIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"

enum { OPERATIONS_CONNECTIONS_MAX = 64 };

struct operations;

struct operations_options {
    const char *address;
    const char *host; /* the machine's name; borrowed */
    /* The checks, as text or JSON; true: the agent takes events. */
    bool (*ready)(void *context, bool json, struct buf *out);
    void (*metrics)(void *context, struct buf *out);
    void (*status)(void *context, struct buf *out);
    void (*history)(void *context, struct buf *out);
    void (*flush)(void *context);                    /* begins; status shows the end */
    void (*drain)(void *context, int64_t within_ms); /* -1: nothing was said */
    void (*ending)(void *context, bool is_told,
                   struct buf *out); /* false: the head alone is sent */
    void *context;
};

int operations_open(struct operations **out, const struct operations_options *options,
                    struct error *err) MUST_USE;
void operations_close(struct operations *operations);

#endif
