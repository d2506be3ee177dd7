/* SPDX-License-Identifier: Apache-2.0
 *
 * server.h: what the loop (server.c) and a connection's life (connection.c) share. Private to
 * lib/http. All of it belongs to the server's thread, but for what says otherwise.
 */
#ifndef LIB_HTTP_SERVER_H
#define LIB_HTTP_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "lib/http/head.h"

enum {
    READ_BYTES = 64 << 10,
    FEED_NS = 5000000, /* of a connection, before the others have their turn */
    LINGER_MS = 2000,
    LINGER_BYTES_MAX = 64 << 20,
    CLOSE_MS = 2000, /* for what was begun, at the end */
};

/* Which of them a connection is in says which deadline it has. */
enum connection_state {
    CONNECTION_IDLE,
    CONNECTION_HEAD,
    CONNECTION_BODY,
    CONNECTION_WAITING, /* for http_resume; no deadline */
    CONNECTION_SENDING, /* an answer that the peer does not read */
    CONNECTION_LINGER,  /* closed by us: reads on, so that no reset overtakes the answer */
    CONNECTION_STATES,
};

struct connection {
    struct http_request request; /* first */
    struct http_server *server;
    struct connection *previous; /* of those in its state, by deadline */
    struct connection *next;
    struct connection *ready; /* of those that are to be read again */
    struct connection *resumed;
    int64_t deadline_ms;
    int fd;
    enum connection_state state;
    bool queued;   /* among the ready */
    bool readable; /* there may be more to read */
    bool fed_up;   /* has had its time; what is left over may be requests */
    bool hung_up;  /* the peer sends no more */
    bool broken;   /* nothing can be sent any more */
    bool dead;     /* closed; freed at the end of the turn, or out of the queue */
    bool served;   /* it had a request before */
    bool begun;    /* between begin and end */
    bool answered;
    bool in_call;    /* the handler's */
    bool keep_alive; /* as the request wants it */
    bool last;       /* no request after this one */
    bool unread;     /* the rest of the request is not read */
    bool head_only;  /* HEAD: the answer has no body */
    bool old;        /* HTTP/1.0 */
    bool chunked;
    size_t kept;   /* of the server's */
    uint64_t left; /* of the body, or of what is read in LINGER */
    struct http_chunks chunks;
    struct buf head; /* while the body is read */
    struct buf in;   /* read and not used */
    struct buf out;  /* not sent yet */
};
_Static_assert(sizeof(struct connection) <= HTTP_CONNECTION_SIZE, "as http.h says");

struct connections {
    struct connection *first;
    struct connection *last;
    size_t count;
};

struct http_server {
    struct http_options options;
    int epoll_fd;
    int wake_fd;
    bool listening;       /* epoll looks at the listener */
    bool pausing;         /* what was asked for is done */
    int64_t accept_at_ms; /* 0: now; else descriptors ran out */
    int64_t now_ms;       /* of this turn */
    int64_t close_at_ms;  /* 0: not closing */
    struct connections in[CONNECTION_STATES];
    struct connection *ready_first;
    struct connection *ready_last;
    struct connection *dead; /* linked by next */
    size_t kept;             /* bytes of heads and what is behind requests, over all connections */
    struct http_head head;
    struct buf out; /* an answer that is made */
    uint8_t *scratch;
    int64_t date_s;
    char date[48]; /* "Date: ...\r\n" */
    pthread_t thread;
    bool running;
    /* any thread */
    atomic_bool paused;
    atomic_bool closing;
    atomic_bool limited_anew; /* `limits` is to be taken up */
    _Atomic uint64_t connections;
    _Atomic uint64_t turned_away;
    _Atomic uint64_t timed_out;
    _Atomic uint64_t answered[6];
    pthread_mutex_t lock;
    /* guarded by lock */
    struct connection *resumed_first;
    struct connection *resumed_last;
    struct http_options limits;
};

/* server.c */
void connection_enter(struct connection *connection, enum connection_state state);
void connection_queue(struct connection *connection);

/* connection.c */
struct connection *connection_open(struct http_server *server, int fd);
void connection_close(struct connection *connection);
/* One read and what comes of it. */
void connection_read(struct connection *connection);
void connection_write(struct connection *connection);
void connection_resumed(struct connection *connection);
/* Its deadline has passed. */
void connection_expire(struct connection *connection);
/* Says that there are too many, and lingers. */
void connection_turn_away(struct connection *connection);

#endif
