/* SPDX-License-Identifier: Apache-2.0
 *
 * The loop: events, answers that other threads made possible, connections that have more to be
 * read, deadlines. Sockets are watched edge-triggered and once for all, so a request costs a
 * recv and a send, and no change of what is watched. Each reads at most READ_BYTES a turn, and
 * takes requests for FEED_NS.
 *
 * Connections stand in one list for each state, in the order in which they entered it. Since a
 * state's span is one for all, that is the order of their deadlines, and only the first of each
 * list is looked at.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/http/server.h"

enum {
    EVENTS_MAX = 256,
    ACCEPTS_MAX = 256,     /* a turn */
    TURNED_AWAY_MAX = 512, /* that are told; more are closed without a word */
    OWN_DESCRIPTORS = 4,   /* epoll, listener, wake-up, one that is just closed */
    ACCEPT_AGAIN_MS = 100,
    FRESH_MS = 1000, /* since it connected, for its first request, when it is paused */
};

/* ---- lists ---- */

static int64_t span_ms(const struct http_server *server, enum connection_state state)
{
    switch (state) {
    case CONNECTION_HEAD:
        return server->options.head_ms;
    case CONNECTION_BODY:
        return server->options.body_ms;
    case CONNECTION_LINGER:
        return LINGER_MS;
    case CONNECTION_IDLE:
        if (server->pausing)
            return FRESH_MS;
        break;
    case CONNECTION_SENDING:
    case CONNECTION_WAITING:
    case CONNECTION_STATES:
        break;
    }
    return server->options.idle_ms;
}

static void leave(struct connection *connection)
{
    struct connections *list = &connection->server->in[connection->state];
    if (connection->previous != NULL)
        connection->previous->next = connection->next;
    else
        list->first = connection->next;
    if (connection->next != NULL)
        connection->next->previous = connection->previous;
    else
        list->last = connection->previous;
    list->count--;
}

void connection_enter(struct connection *connection, enum connection_state state)
{
    if (connection->state != CONNECTION_STATES)
        leave(connection);
    connection->state = state;
    connection->previous = NULL;
    connection->next = NULL;
    if (state == CONNECTION_STATES)
        return;
    struct connections *list = &connection->server->in[state];
    connection->deadline_ms = connection->server->now_ms + span_ms(connection->server, state);
    connection->previous = list->last;
    if (list->last != NULL)
        list->last->next = connection;
    else
        list->first = connection;
    list->last = connection;
    list->count++;
}

void connection_queue(struct connection *connection)
{
    struct http_server *server = connection->server;
    if (connection->queued)
        return;
    connection->queued = true;
    connection->ready = NULL;
    if (server->ready_first == NULL)
        server->ready_first = connection;
    else
        server->ready_last->ready = connection;
    server->ready_last = connection;
}

/* Those that are there now; what they queue is for the next turn. */
static void take_ready(struct http_server *server)
{
    struct connection *ready = server->ready_first;
    server->ready_first = NULL;
    server->ready_last = NULL;
    while (ready != NULL) {
        struct connection *connection = ready;
        ready = connection->ready;
        connection->queued = false;
        if (connection->dead)
            free(connection);
        else
            connection_read(connection);
    }
}

static void free_dead(struct http_server *server)
{
    while (server->dead != NULL) {
        struct connection *connection = server->dead;
        server->dead = connection->next;
        free(connection);
    }
}

static void expire(struct http_server *server)
{
    for (size_t state = 0; state < CONNECTION_STATES; state++) {
        struct connections *list = &server->in[state];
        while (state != CONNECTION_WAITING && list->first != NULL &&
               list->first->deadline_ms <= server->now_ms)
            connection_expire(list->first);
    }
}

/* -1: for ever */
static int wait_ms(const struct http_server *server)
{
    int64_t at_ms = INT64_MAX;
    if (server->ready_first != NULL)
        return 0;
    for (size_t state = 0; state < CONNECTION_STATES; state++) {
        const struct connection *first = server->in[state].first;
        if (state != CONNECTION_WAITING && first != NULL && first->deadline_ms < at_ms)
            at_ms = first->deadline_ms;
    }
    if (server->accept_at_ms != 0 && server->accept_at_ms < at_ms)
        at_ms = server->accept_at_ms;
    /* Who waits for an answer is waited for beyond that, until http_resume wakes us. */
    bool closing = server->close_at_ms != 0 && server->in[CONNECTION_WAITING].count == 0;
    if (closing && server->close_at_ms < at_ms)
        at_ms = server->close_at_ms;
    if (at_ms == INT64_MAX)
        return -1;
    int64_t ms = at_ms - server->now_ms;
    return ms <= 0 ? 0 : ms > 60000 ? 60000 : (int)ms;
}

/* ---- new connections ---- */

static void listen_or_not(struct http_server *server, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &server->options.listen_fd};
    if (server->listening == wanted)
        return;
    int rc = epoll_ctl(server->epoll_fd, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
                       server->options.listen_fd, &event);
    if (rc == 0)
        server->listening = wanted;
    else /* the user's watches are spent (epoll(7)) */
        server->accept_at_ms = server->now_ms + ACCEPT_AGAIN_MS;
}

static uint64_t turned_away_max(uint64_t connections_max)
{
    return connections_max < TURNED_AWAY_MAX ? connections_max : TURNED_AWAY_MAX;
}

uint64_t http_descriptors_max(uint64_t connections_max)
{
    return connections_max + turned_away_max(connections_max) + OWN_DESCRIPTORS;
}

static void add(struct http_server *server, int fd)
{
    uint64_t count = atomic_load(&server->connections);
    uint64_t max = server->options.connections_max;
    int on = 1;
    if (count >= max)
        atomic_fetch_add(&server->turned_away, 1);
    if (count >= max + turned_away_max(max)) {
        close(fd);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not of other families: no harm */
    struct connection *connection = connection_open(server, fd);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.ptr = connection};
    if (epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        connection_close(connection); /* max_user_watches */
    else if (count >= max)
        connection_turn_away(connection);
}

static void accept_some(struct http_server *server, size_t max)
{
    for (size_t i = 0; i < max; i++) {
        int fd = accept4(server->options.listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            add(server, fd);
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED)
            continue;
        if (errno != EAGAIN) {
            /* Descriptors or memory ran out: who wants to connect waits in the backlog. */
            log_event(LOG_LEVEL_WARN, "http", "a connection was not taken", "error=\"%s\"",
                      strerror(errno));
            listen_or_not(server, false);
            server->accept_at_ms = server->now_ms + ACCEPT_AGAIN_MS;
        }
        return;
    }
}

/* ---- the thread ---- */

static void wake(struct http_server *server)
{
    uint64_t one = 1;
    /* It fails only when the counter is full, and then the thread is awake. */
    if (write(server->wake_fd, &one, sizeof one) < 0)
        return;
}

void http_resume(struct http_request *request)
{
    struct connection *connection = (struct connection *)request;
    struct http_server *server = connection->server;
    pthread_mutex_lock(&server->lock);
    bool first = server->resumed_first == NULL;
    connection->resumed = NULL;
    if (first)
        server->resumed_first = connection;
    else
        server->resumed_last->resumed = connection;
    server->resumed_last = connection;
    /* Within the lock: once it is let go the server may come to its end. */
    if (first)
        wake(server);
    pthread_mutex_unlock(&server->lock);
}

static void take_resumed(struct http_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct connection *resumed = server->resumed_first;
    server->resumed_first = NULL;
    server->resumed_last = NULL;
    pthread_mutex_unlock(&server->lock);
    while (resumed != NULL) {
        struct connection *connection = resumed;
        resumed = connection->resumed;
        connection_resumed(connection);
    }
}

static void take_event(struct connection *connection, uint32_t events)
{
    if (connection->dead)
        return;
    if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
        connection_close(connection);
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP)) != 0)
        connection->readable = true;
    connection->hung_up = connection->hung_up || (events & EPOLLRDHUP) != 0;
    if ((events & EPOLLOUT) != 0)
        connection_write(connection);
    if (connection->readable)
        connection_read(connection);
}

/* Who has just connected may still ask; connections that were silent since their last answer
 * are read once more, then closed. The idle ones' deadlines move by as much, so their list
 * keeps its order. */
static void begin_pause(struct http_server *server)
{
    server->pausing = true;
    server->accept_at_ms = 0;
    listen_or_not(server, false);
    int64_t sooner_ms = server->options.idle_ms - FRESH_MS;
    for (struct connection *at = server->in[CONNECTION_IDLE].first; at != NULL; at = at->next) {
        at->deadline_ms -= sooner_ms > 0 ? sooner_ms : 0;
        at->readable = true;
        connection_queue(at);
    }
}

/* Each deadline moves by as much as its state's span, so the lists keep their order. */
static void take_limits(struct http_server *server)
{
    int64_t before_ms[CONNECTION_STATES];
    for (size_t state = 0; state < CONNECTION_STATES; state++)
        before_ms[state] = span_ms(server, (enum connection_state)state);
    pthread_mutex_lock(&server->lock);
    server->options.connections_max = server->limits.connections_max;
    server->options.idle_ms = server->limits.idle_ms;
    server->options.head_ms = server->limits.head_ms;
    server->options.body_ms = server->limits.body_ms;
    pthread_mutex_unlock(&server->lock);
    for (size_t state = 0; state < CONNECTION_STATES; state++) {
        int64_t more_ms = span_ms(server, (enum connection_state)state) - before_ms[state];
        for (struct connection *at = server->in[state].first; at != NULL; at = at->next)
            at->deadline_ms += more_ms;
    }
}

static bool is_done(struct http_server *server)
{
    if (!atomic_load(&server->closing))
        return false;
    if (server->close_at_ms == 0)
        server->close_at_ms = server->now_ms + CLOSE_MS;
    size_t others = atomic_load(&server->connections) - server->in[CONNECTION_WAITING].count;
    if (server->in[CONNECTION_WAITING].count > 0 || server->ready_first != NULL)
        return false;
    return others == 0 || server->now_ms >= server->close_at_ms;
}

static void *run(void *context)
{
    struct http_server *server = context;
    struct epoll_event events[EVENTS_MAX];
    server->now_ms = clock_mono_ms(&clock_system);
    while (!is_done(server)) {
        int count = epoll_wait(server->epoll_fd, events, EVENTS_MAX, wait_ms(server));
        server->now_ms = clock_mono_ms(&clock_system);
        bool knocked = false;
        for (int i = 0; i < count; i++) {
            uint64_t ignored;
            if (events[i].data.ptr == &server->options.listen_fd)
                knocked = true;
            else if (events[i].data.ptr != &server->wake_fd)
                take_event(events[i].data.ptr, events[i].events);
            else if (read(server->wake_fd, &ignored, sizeof ignored) < 0 && errno != EAGAIN)
                break;
        }
        if (!server->pausing && atomic_exchange(&server->limited_anew, false))
            take_limits(server);
        take_resumed(server);
        take_ready(server);
        expire(server);
        if (server->accept_at_ms != 0 && server->now_ms >= server->accept_at_ms) {
            server->accept_at_ms = 0;
            listen_or_not(server, !server->pausing);
        }
        if (knocked && !server->pausing)
            accept_some(server, ACCEPTS_MAX);
        if (!server->pausing && atomic_load(&server->paused))
            begin_pause(server);
        free_dead(server);
    }
    return NULL;
}

/* ---- open and close ---- */

int http_open(struct http_server **out, const struct http_options *options, struct error *err)
{
    struct http_server *server = memory_alloc(1, sizeof *server);
    struct epoll_event woken = {.events = EPOLLIN, .data.ptr = &server->wake_fd};
    server->options = *options;
    server->date_s = -1;
    server->scratch = memory_alloc_raw(1, READ_BYTES);
    pthread_mutex_init(&server->lock, NULL);
    server->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    server->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (server->epoll_fd < 0 || server->wake_fd < 0 ||
        epoll_ctl(server->epoll_fd, EPOLL_CTL_ADD, server->wake_fd, &woken) < 0) {
        int rc = error_errno(err, "epoll");
        http_close(server);
        return rc;
    }
    listen_or_not(server, true);
    int failed = pthread_create(&server->thread, NULL, run, server);
    ASSERT(failed == 0);
    pthread_setname_np(server->thread, "http");
    server->running = true;
    *out = server;
    return OK;
}

void http_set_limits(struct http_server *server, const struct http_options *options)
{
    pthread_mutex_lock(&server->lock);
    server->limits = *options;
    pthread_mutex_unlock(&server->lock);
    atomic_store(&server->limited_anew, true);
    wake(server);
}

void http_pause(struct http_server *server)
{
    atomic_store(&server->paused, true);
    wake(server);
}

static void close_rest(struct http_server *server)
{
    for (size_t state = 0; state < CONNECTION_STATES; state++) {
        while (server->in[state].first != NULL)
            connection_close(server->in[state].first);
    }
    while (server->ready_first != NULL)
        take_ready(server);
    free_dead(server);
}

void http_close(struct http_server *server)
{
    if (server == NULL)
        return;
    if (server->running) {
        atomic_store(&server->closing, true);
        http_pause(server);
        pthread_join(server->thread, NULL);
        close_rest(server);
    }
    /* Who resumed the last one may be about to let the lock go. */
    pthread_mutex_lock(&server->lock);
    pthread_mutex_unlock(&server->lock);
    pthread_mutex_destroy(&server->lock);
    close(server->options.listen_fd);
    if (server->epoll_fd >= 0)
        close(server->epoll_fd);
    if (server->wake_fd >= 0)
        close(server->wake_fd);
    buf_free(&server->out);
    free(server->scratch);
    free(server);
}

void http_statistics(const struct http_server *server, struct http_statistics *out)
{
    *out = (struct http_statistics){.connections = atomic_load(&server->connections),
                                    .turned_away = atomic_load(&server->turned_away),
                                    .timed_out = atomic_load(&server->timed_out)};
    for (size_t i = 0; i < sizeof out->answered / sizeof out->answered[0]; i++)
        out->answered[i] = atomic_load(&server->answered[i]);
}
