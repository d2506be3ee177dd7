/* SPDX-License-Identifier: Apache-2.0
 *
 * request.h: a request over HTTP from its whole body to its answer, and what the source keeps
 * for all of them. Private to agent/source.
 */
#ifndef AGENT_SOURCE_REQUEST_H
#define AGENT_SOURCE_REQUEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/source/dedup.h"
#include "agent/source/query.h"
#include "agent/source/source.h"
#include "lib/http/http.h"

enum { TOKEN_SIZE = 256 };

struct request {
    struct ticket ticket;     /* first: the ticket is the request */
    struct dedup_entry entry; /* of its Idempotency-Key */
    bool keyed;
    struct event_source *source;
    struct http_request *http;
    bool pixel;
    size_t table;
    unsigned status;    /* 0: not decided yet */
    const char *reason; /* of a request refused as a whole */
    char detail[200];
    struct buf body;
    size_t bytes;      /* of the body, kept or not */
    struct buf errors; /* JSON objects, comma between */
    unsigned error_count;
    int rc; /* what the ticket came back with */
};

struct event_source {
    struct source_options options;
    struct intake *intake;
    struct http_server *server;
    struct buf expanded; /* this and what follows: the HTTP thread's own */
    struct buf path;
    struct query query;
    size_t held; /* bytes of bodies that are not whole yet */
    _Atomic size_t body_bytes_max;
    _Atomic size_t expanded_bytes_max;
    _Atomic size_t held_bytes_max;
    pthread_mutex_t token_lock;
    char token[TOKEN_SIZE]; /* guarded by token_lock; "": none is asked for */
    char address[SOURCE_ADDRESS_MAX];
    _Atomic uint64_t requests;
    _Atomic uint64_t bytes;
    _Atomic uint64_t unresolved_macros;
};

/* Decides that nothing of the request is taken; the answer comes later. */
void request_refuse(struct request *request, unsigned status, const char *reason,
                    const char *detail);
/* Its body is whole: it is answered, or its ticket is out, or it waits for one of the same key. */
void request_take(struct request *request);
void request_answer(struct request *request);

void request_release_body(struct request *request);

/* "{"accepted":0,...": the body of a refusal. */
void request_put_refusal(struct buf *out, const char *reason, const char *detail);

#endif
