/* SPDX-License-Identifier: Apache-2.0
 *
 * worker.h: the thread of a door that takes its large requests, one after the other, so that
 * the door's own is free for the others. Private to agent/source.
 *
 * Bounds   WORKER_REQUESTS_MAX wait; one that waited for WORKER_WAIT_MS is answered 503.
 * Threads  worker_put: the door's. It resumes each request once it is decided.
 */
#ifndef AGENT_SOURCE_WORKER_H
#define AGENT_SOURCE_WORKER_H

#include "agent/source/request.h"

enum { WORKER_REQUESTS_MAX = 256, WORKER_WAIT_MS = 10000 };

int worker_open(struct worker **out, struct capture *capture, struct error *err) MUST_USE;
/* No request waits any more. NULL is fine. */
void worker_close(struct worker *worker);

/* False: too many wait, the request is refused and may be answered. Takes a copy of its head. */
bool worker_put(struct worker *worker, struct request *request) MUST_USE;

#endif
