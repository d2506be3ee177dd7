/* SPDX-License-Identifier: Apache-2.0
 *
 * request.h: a request over HTTP from its whole body to its answer, and what the source keeps
 * for all of them. Private to agent/source.
 *
 * Threads  The door's own thread takes small requests itself, which is a matter of some
 *          milliseconds at most (effort.h). Large ones are the worker's, so that they keep nobody
 * waiting but each other. What both need, each has at a desk of its own.
 */
#ifndef AGENT_SOURCE_REQUEST_H
#define AGENT_SOURCE_REQUEST_H

#include <pthread.h>
#include <stdatomic.h>

#include "agent/source/dedup.h"
#include "agent/source/effort.h"
#include "agent/source/query.h"
#include "agent/source/source.h"
#include "lib/http/http.h"

enum {
    TOKEN_SIZE = 256,
};

struct desk {
    struct intake *intake;
    size_t text_bytes_max; /* what is larger, expanded, is for another desk */
    struct buf expanded;
    struct query query;
};

struct worker;

struct request_key {
    struct dedup_entry entry; /* first */
    struct request *request;
};

struct request {
    struct ticket ticket;    /* first: the ticket is the request */
    struct request_key *key; /* its Idempotency-Key; NULL: none. Large, and rare */
    bool keyed;
    bool given_up; /* for all that was refused of it */
    struct event_source *source;
    struct http_request *http;
    const struct http_head *head; /* while it is taken */
    struct http_head *own_head;   /* the worker's copy */
    struct desk *desk;
    struct request *next; /* in the worker's queue */
    int64_t queued_at_ms;
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
    struct http_server *server;
    struct worker *worker;
    struct effort effort;
    struct desk desk; /* this and the next: the HTTP thread's own */
    struct buf path;
    _Atomic size_t held; /* bytes of bodies that are not taken yet */
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
enum request_outcome {
    REQUEST_DECIDED, /* may be answered */
    REQUEST_WAITS,   /* for the disk or for one of the same key; it is resumed, maybe already */
    REQUEST_LARGE,   /* too large for this desk: nothing was done */
};
/* Its body is whole. */
enum request_outcome request_take(struct request *request, struct desk *desk) MUST_USE;
void request_answer(struct request *request);

void request_release_body(struct request *request);

/* All zero is a closed one. SIZE_MAX: for what is too large for others, so it gives way to cuts. */
int desk_open(struct desk *desk, struct capture *capture, size_t text_bytes_max,
              struct error *err) MUST_USE;
void desk_close(struct desk *desk);

/* "{"accepted":0,...": the body of a refusal. */
void request_put_refusal(struct buf *out, const char *reason, const char *detail);

#endif
