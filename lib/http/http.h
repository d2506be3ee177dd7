/* SPDX-License-Identifier: Apache-2.0
 *
 * http.h: a small, strict HTTP/1.1 server for requests that are answered later.
 *
 * One epoll thread a server. A request's life, each step a call of the handler's:
 *
 *   begin     its head is whole and without fault
 *   body      some of its body, as it comes, without chunk marks; any number of times
 *   whole     all of it is there: answer now, or return without an answer, and once some
 *             other thread has called http_resume,
 *   resumed   answer now
 *   end       the answer is sent, or the connection is gone
 *
 * An answer within begin or body is given before the rest is read: the connection ends with
 * it. Between whole and resumed a request stays, whatever its connection does.
 *
 * Strict    What RFC 9112 calls invalid is refused with 400 and the connection closed; nothing
 *           is mended: no bare CR or LF, no folded lines, no NUL, no two lengths, one Host.
 * Bounds    head HTTP_HEAD_BYTES_MAX (414, 431), fields, chunk extensions, trailers; the body's
 *           are the handler's. Connections: more are told 503. A head, a body, an answer and a
 *           silent connection each have a deadline, from their beginning, however they dribble.
 * Memory    a connection that is silent or waits holds its struct alone (HTTP_CONNECTION_SIZE).
 *           Heads that are not whole or whose body is not, and what was sent behind a request,
 *           have HTTP_KEPT_BYTES_MIN in all, and HTTP_KEPT_BYTES_EACH for each connection that
 *           there may be. Beyond that such a head is told 503, and a request's answer is its
 *           connection's last one. Who sends a request at once needs none of it.
 * Threads   the handler is called on the server's thread. http_resume: any thread, once a
 *           request. Open, pause, close: one thread; statistics: any.
 */
#ifndef LIB_HTTP_HTTP_H
#define LIB_HTTP_HTTP_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum {
    HTTP_HEAD_BYTES_MAX = 16 << 10,
    HTTP_FIELDS_MAX = 100,
    HTTP_CONNECTION_SIZE = 512,
    HTTP_KEPT_BYTES_MIN = 1 << 20,
    HTTP_KEPT_BYTES_EACH = 512,
};

struct http_field {
    struct slice name;
    struct slice value; /* without the blanks around it */
};

/* Slices lie in the head's bytes. */
struct http_head {
    struct slice method;
    struct slice path;  /* percent-encoded, as it came; of http://host/path the path */
    struct slice query; /* behind '?'; data NULL: there is none */
    int minor;          /* 1 of HTTP/1.1 */
    bool chunked;
    bool has_length;
    uint64_t length; /* UINT64_MAX: that or more */
    bool keep_alive;
    bool expects_continue;
    size_t field_count;
    struct http_field fields[HTTP_FIELDS_MAX];
};

/* The first field of that name, in any case; data NULL: there is none. */
struct slice http_field(const struct http_head *head, const char *name);
/* For who needs it longer than the call that showed it: one allocation, free() releases it. */
struct http_head *http_head_copy(const struct http_head *head);
size_t http_field_count(const struct http_head *head, const char *name);

/* "%41" becomes 'A', and with `plus` '+' a blank; what is no such triple stays. */
void http_percent_decode(struct slice text, bool plus, struct buf *out);

struct http_request {
    const struct http_head *head; /* within begin, whole; else NULL */
    void *user;                   /* the handler's */
};

struct http_answer {
    unsigned status;
    const char *type;   /* Content-Type */
    const char *fields; /* more of the head, each with "\r\n"; NULL: none */
    struct slice body;
};

struct http_handler {
    void (*begin)(void *context, struct http_request *request);
    void (*body)(void *context, struct http_request *request, struct slice bytes);
    void (*whole)(void *context, struct http_request *request);
    void (*resumed)(void *context, struct http_request *request);
    void (*end)(void *context, struct http_request *request);
    /* The body of an answer that the server itself gives (400, 408, 414, 417, 431, 503, 505), and
     * its Content-Type. */
    void (*fault)(void *context, unsigned status, const char *text, struct buf *out);
    const char *fault_type;
};

/* Where to listen: "127.0.0.1:7180", "[::1]:7180". */
union http_place {
    struct sockaddr plain;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};
enum { HTTP_PLACE_MAX = 64 };
/* The socket address and its size; 0 for what is none. */
socklen_t http_place_parse(const char *address, union http_place *out);
/* Where a socket listens, with the port that the system chose for 0; empty: unknown. */
void http_place_of(int fd, char out[HTTP_PLACE_MAX]);
/* A listening socket for http_open; what failed is told without the address. */
int http_listen(const char *address, int backlog, int *fd, struct error *err) MUST_USE;
/* The same for one of several at one address, over which the system spreads connections. `first`:
 * it fails where somebody listens, whatever he shares; the others are made behind it. */
int http_listen_shared(const char *address, int backlog, bool first, int *fd,
                       struct error *err) MUST_USE;

struct http_server;

struct http_options {
    int listen_fd; /* taken over, also when open fails */
    const struct http_handler *handler;
    void *context;
    unsigned connections_max;
    int64_t idle_ms; /* a connection without a request, and an answer nobody reads */
    int64_t head_ms; /* from the first byte of a head to its last */
    int64_t body_ms; /* the same of a body */
};

int http_open(struct http_server **out, const struct http_options *options,
              struct error *err) MUST_USE;
/* The number of connections and the times of these options instead, also for what has begun. Any
 * thread; does nothing once it is paused. */
void http_set_limits(struct http_server *server, const struct http_options *options);
/* Takes no new connections and closes the silent ones, those that never asked a second after they
 * came; each further answer is the last of its connection. */
void http_pause(struct http_server *server);
/* What was begun is answered, for CLOSE_MS at most; what waits is waited for. */
void http_close(struct http_server *server);

/* Within begin, body, whole, resumed, once. Copies what it needs. */
void http_answer(struct http_request *request, const struct http_answer *answer);
void http_resume(struct http_request *request);

/* How many descriptors a server of so many connections has open at most: as many again, 512 at
 * most, are told that they are too many. */
uint64_t http_descriptors_max(uint64_t connections_max);

struct http_statistics {
    uint64_t connections; /* open now */
    uint64_t turned_away; /* beyond connections_max */
    uint64_t timed_out;   /* heads, bodies and answers that took too long */
    uint64_t answered[6]; /* by the status' first digit */
};
void http_statistics(const struct http_server *server, struct http_statistics *out);

#endif
