/* SPDX-License-Identifier: Apache-2.0
 *
 * Unix sockets: NDJSON over streams, one event a datagram; one epoll thread a socket.
 *
 * A connection has at most one ticket out. What it brought meanwhile stays in the kernel,
 * so a slow disk slows the sender down; nothing is dropped. Its bytes are kept until they
 * are durable: what the spool did not take is handed in again, unless a failed write leaves
 * open whether it did. With `ack: lines` the agent
 * then writes back how many lines of this connection are settled, in decimal, a line each
 * time: durable, or, if they were no events, in dead_letters. Datagrams wait in the
 * kernel's queue in the same way; a sender that does not want to wait sees EAGAIN.
 *
 * What all streams of a socket keep is bounded by room.h. Who finds no room is not read until
 * there is some; who holds it with a line that does not end is sent away then.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "agent/source/place.h"
#include "agent/source/room.h"
#include "agent/source/source.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    BACKLOG = 4096,
    EVENTS_MAX = 64,
    READ_BYTES = 64 << 10,
    RETRY_MS = 100,
    DATAGRAMS_MAX = 256,     /* in one request */
    BUFFER_KEPT = 256 << 10, /* for datagrams */
    LINES_BYTES_DEFAULT = 64 << 20,
    FRESH_MS = 1000, /* since it connected, for its first bytes, when the agent stops */
    CLOSE_MS = 2000, /* for what was sent by then */
};

struct connection {
    struct ticket ticket; /* first */
    struct event_source *source;
    struct connection *next;     /* of all */
    struct connection *finished; /* of those whose ticket came back */
    int fd;
    struct buf bytes;        /* read and not durable yet */
    struct room_guest guest; /* of a stream: what these take */
    struct line_place place; /* before these: its lines are settled */
    size_t offered;          /* of these, in the request that is under way */
    struct line_place then;  /* the place when that is settled */
    bool waiting;            /* its ticket is out */
    bool refused;            /* the spool did not take it: again in a moment */
    bool fresh;              /* nothing has come yet */
    int64_t opened_ms;       /* monotonic */
    bool ended;              /* nothing more comes */
    bool watched;            /* epoll looks at it */
    bool unacked;            /* its ack did not go out: again in a moment */
    int rc;                  /* of the ticket */
};

struct event_source {
    struct source_options options;
    const struct source_ops *ops;
    bool datagram;
    bool inherited; /* systemd's: its file stays */
    size_t table;
    _Atomic size_t line_bytes_max;
    _Atomic unsigned connections_max;
    _Atomic int64_t body_ms;
    atomic_bool limited_anew; /* there may be place for more connections */
    struct intake *intake;
    int listen_fd;
    bool listening;      /* epoll looks at it */
    bool no_fds;         /* accept failed: again in a moment */
    int64_t retry_at_ms; /* 0: nothing is to be tried again */
    int64_t close_at_ms; /* at the latest; 0: not closing */
    int64_t look_at_ms;  /* closing: when the freshest connection has had its time */
    int epoll_fd;
    int wake_fd;
    pthread_t thread;
    bool running;
    atomic_bool paused;
    atomic_bool closing;
    struct connection *connections;
    struct connection *datagrams; /* the one of a datagram socket */
    struct room room;
    uint8_t *scratch; /* READ_BYTES, of streams */
    int64_t now_ms;   /* monotonic, of this turn */
    _Atomic uint64_t connection_count;
    _Atomic uint64_t requests;
    _Atomic uint64_t bytes;
    _Atomic uint64_t timed_out;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct connection *finished;
};

static void wake(struct event_source *source)
{
    uint64_t one = 1;
    /* It fails only when the counter is full, and then the thread is awake. */
    if (write(source->wake_fd, &one, sizeof one) < 0)
        return;
}

static void on_durable(struct ticket *ticket, int rc, const struct error *err)
{
    struct connection *connection = (struct connection *)ticket;
    struct event_source *source = connection->source;
    (void)err; /* the capture logs it once for all */
    pthread_mutex_lock(&source->lock);
    connection->rc = rc;
    connection->finished = source->finished;
    source->finished = connection;
    pthread_mutex_unlock(&source->lock);
    wake(source);
}

/* Taken out, not only muted: a peer that hangs up is told of whatever is asked for. */
static void watch(struct connection *connection, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
    if (connection->watched == wanted)
        return;
    int rc = epoll_ctl(connection->source->epoll_fd, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL,
                       connection->fd, &event);
    ASSERT(rc == 0);
    connection->watched = wanted;
}

/* Hands in what is whole; the connection is not read until that is durable. */
static void offer(struct connection *connection)
{
    struct event_source *source = connection->source;
    struct line_sink sink = {.intake = source->intake,
                             .source = source->options.address,
                             .host = source->options.host,
                             .line_bytes_max = atomic_load(&source->line_bytes_max),
                             .place = connection->place};
    struct error err;
    connection->refused = false;
    connection->offered = 0;
    if (intake_begin(source->intake, source->table, &connection->ticket, &err) != OK) {
        connection->refused = true;
        watch(connection, false);
        return;
    }
    connection->offered = lines_take(&sink, buf_slice(&connection->bytes), connection->ended);
    connection->then = sink.place;
    connection->waiting = intake_end(source->intake);
    if (connection->offered > 0) /* else its line goes on: nothing was handed in */
        atomic_fetch_add(&source->requests, 1);
    if (connection->waiting)
        watch(connection, false);
}

/* ---- streams ---- */

static void watch_listener(struct event_source *source, bool wanted)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &source->listen_fd};
    if (source->listening == wanted || source->datagram)
        return;
    int rc = epoll_ctl(source->epoll_fd, wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, source->listen_fd,
                       &event);
    ASSERT(rc == 0);
    source->listening = wanted;
}

static void close_connection(struct event_source *source, struct connection *connection)
{
    struct connection **at = &source->connections;
    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    room_leave(&source->room, &connection->guest);
    close(connection->fd);
    buf_free(&connection->bytes);
    free(connection);
    atomic_fetch_sub(&source->connection_count, 1);
    watch_listener(source, !atomic_load(&source->paused));
}

/* A sender that does not read its acks may miss some, never the last: it has the sum. */
static void write_ack(struct connection *connection)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%" PRIu64 "\n", connection->place.line);
    connection->unacked =
        send(connection->fd, text, (size_t)len, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 && errno == EAGAIN;
}

/* Of a stream no byte more is kept than there is to keep: there may be thousands. */
static void fit(struct connection *connection, size_t cap)
{
    struct event_source *source = connection->source;
    struct buf *bytes = &connection->bytes;
    if (cap == 0) {
        buf_free(bytes);
    } else if (cap != bytes->cap) {
        bytes->data = memory_resize(bytes->data, cap, 1);
        bytes->cap = cap;
    }
    room_keep(&source->room, &connection->guest, cap, source->now_ms);
}

/* What was offered is durable. */
static void settle(struct connection *connection)
{
    struct buf *bytes = &connection->bytes;
    memmove(bytes->data, bytes->data + connection->offered, bytes->len - connection->offered);
    bytes->len -= connection->offered;
    connection->offered = 0;
    if (!connection->source->datagram)
        fit(connection, bytes->len);
    else if (bytes->len == 0 && bytes->cap > BUFFER_KEPT)
        buf_free(bytes);
    bool more = connection->then.line > connection->place.line;
    connection->place = connection->then;
    if (more && connection->source->options.ack_lines)
        write_ack(connection);
}

/* The last line was too long and settled when that was clear: here it ends, as a short one does. */
static void end_long_line(struct connection *connection)
{
    connection->place.line++;
    connection->place.skipping = false;
    if (connection->source->options.ack_lines)
        write_ack(connection);
}

/* Goes on as far as it can without waiting; may close the connection. */
static void advance(struct event_source *source, struct connection *connection)
{
    while (!connection->waiting && !connection->refused && connection->bytes.len > 0) {
        offer(connection);
        if (connection->waiting || connection->refused)
            return;
        if (connection->offered == 0)
            break;
        settle(connection);
    }
    if (connection->waiting || connection->refused)
        return;
    if (connection->ended && connection->place.skipping)
        end_long_line(connection);
    if (connection->ended && connection->unacked && !atomic_load(&source->closing))
        watch(connection, false);
    else if (connection->ended)
        close_connection(source, connection);
    else
        watch(connection, true);
}

/* Where room is tight, up to the last line end that has come: what stands behind it would stay. */
static ssize_t read_some(struct event_source *source, const struct connection *connection)
{
    size_t wanted = READ_BYTES;
    if (room_is_tight(&source->room, &connection->guest)) {
        ssize_t seen = recv(connection->fd, source->scratch, READ_BYTES, MSG_PEEK | MSG_DONTWAIT);
        if (seen <= 0)
            return seen;
        const uint8_t *end = memrchr(source->scratch, '\n', (size_t)seen);
        wanted = end != NULL ? (size_t)(end - source->scratch) + 1 : (size_t)seen;
    }
    return read(connection->fd, source->scratch, wanted);
}

static void read_stream(struct event_source *source, struct connection *connection)
{
    struct buf *bytes = &connection->bytes;
    if (!room_ask(&source->room, &connection->guest, READ_BYTES)) {
        watch(connection, false);
        return;
    }
    ssize_t got = read_some(source, connection);
    int failed = got < 0 ? errno : 0;
    size_t more = got > 0 ? (size_t)got : 0;
    fit(connection, bytes->len + more);
    if (failed == EAGAIN || failed == EINTR)
        return;
    if (got <= 0) {
        connection->ended = true;
    } else {
        connection->fresh = false;
        memcpy(bytes->data + bytes->len, source->scratch, more);
        bytes->len += more;
        atomic_fetch_add(&source->bytes, more);
    }
    advance(source, connection);
}

/* Those who wait for room, as far as there is some by now. */
static void let_in(struct event_source *source)
{
    struct room_guest *guest;
    while ((guest = room_next(&source->room, READ_BYTES, source->now_ms)) != NULL)
        watch((struct connection *)((char *)guest - offsetof(struct connection, guest)), true);
}

/* Room is short, and these hold it with a line that does not end: what they brought is not taken,
 * as their sender sees by the connection's end. */
static void close_late(struct event_source *source)
{
    for (struct connection *at = source->connections; at != NULL;) {
        struct connection *connection = at;
        at = at->next;
        if (connection->waiting || connection->refused ||
            !room_is_late(&source->room, &connection->guest, atomic_load(&source->body_ms),
                          source->now_ms))
            continue;
        log_event(LOG_LEVEL_WARN, "unix",
                  "a connection is closed: its line did not end, and others wait for the room",
                  "address=%s line=%" PRIu64 " bytes=%zu", source->options.address,
                  connection->place.line + 1, connection->bytes.len);
        atomic_fetch_add(&source->timed_out, 1);
        close_connection(source, connection);
    }
}

static struct connection *add_connection(struct event_source *source, int fd)
{
    struct connection *connection = memory_alloc(1, sizeof *connection);
    connection->source = source;
    connection->fd = fd;
    connection->fresh = !source->datagram;
    connection->opened_ms = clock_mono_ms(&clock_system);
    connection->ticket.done = on_durable;
    connection->next = source->connections;
    source->connections = connection;
    atomic_fetch_add(&source->connection_count, 1);
    watch(connection, true);
    return connection;
}

/* At the limit, and once paused, the listener is not looked at: who wants to connect waits
 * in its backlog. */
static void accept_streams(struct event_source *source)
{
    while (atomic_load(&source->connection_count) < atomic_load(&source->connections_max)) {
        int fd = accept4(source->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0) {
            int failed = errno;
            if (failed != EAGAIN && failed != EINTR && failed != ECONNABORTED)
                log_event(LOG_LEVEL_WARN, "unix", "a connection was not taken",
                          "address=%s error=\"%s\"", source->options.address, strerror(failed));
            source->no_fds =
                failed == EMFILE || failed == ENFILE || failed == ENOMEM || failed == ENOBUFS;
            if (source->no_fds)
                watch_listener(source, false);
            return;
        }
        add_connection(source, fd);
    }
    watch_listener(source, false);
}

/* ---- datagrams ---- */

/* Each becomes a line of the one connection's bytes, so that both kinds go the same way. */
static void read_datagrams(struct event_source *source, struct connection *connection)
{
    struct buf *bytes = &connection->bytes;
    size_t max = atomic_load(&source->line_bytes_max);
    for (int i = 0; i < DATAGRAMS_MAX && bytes->len < READ_BYTES; i++) {
        bool room = buf_reserve(bytes, max + 1);
        ASSERT(room);
        uint8_t *to = bytes->data + bytes->len;
        ssize_t got = recv(connection->fd, to, max, MSG_DONTWAIT | MSG_TRUNC);
        if (got < 0)
            break;
        size_t len = (size_t)got < max ? (size_t)got : max;
        /* A line end within would make two events of one. */
        for (size_t at = 0; at < len; at++) {
            if (to[at] == '\n')
                to[at] = ' ';
        }
        bytes->len += len;
        buf_put_u8(bytes, '\n');
        atomic_fetch_add(&source->bytes, (uint64_t)got);
    }
    advance(source, connection);
}

/* ---- the thread ---- */

/* Whether what was offered is on the disk is not known: offered again it could be there twice.
 * A stream's sender learns from its connection's end that this was not settled; of datagrams
 * nobody waits to hear, the capture has counted them as rejected. */
static void give_up(struct event_source *source, struct connection *connection)
{
    if (source->datagram) {
        settle(connection);
        advance(source, connection);
        return;
    }
    log_event(LOG_LEVEL_WARN, "unix",
              "a connection is closed: whether its last lines are durable "
              "is not known",
              "address=%s", source->options.address);
    close_connection(source, connection);
}

static void take_finished(struct event_source *source)
{
    uint64_t count = 0;
    if (read(source->wake_fd, &count, sizeof count) < 0 && errno != EAGAIN)
        return;
    pthread_mutex_lock(&source->lock);
    struct connection *finished = source->finished;
    source->finished = NULL;
    pthread_mutex_unlock(&source->lock);
    if (atomic_exchange(&source->limited_anew, false))
        watch_listener(source, !atomic_load(&source->paused));
    while (finished != NULL) {
        struct connection *connection = finished;
        finished = connection->finished;
        connection->waiting = false;
        if (connection->rc == ERROR_IO) {
            give_up(source, connection);
        } else if (connection->rc == OK) {
            settle(connection);
            advance(source, connection);
        } else {
            connection->refused = true;
        }
    }
}

static bool any(const struct event_source *source, bool refused)
{
    for (const struct connection *at = source->connections; at != NULL; at = at->next) {
        if (refused ? at->refused || at->unacked : at->waiting)
            return true;
    }
    return false;
}

static void retry_refused(struct event_source *source)
{
    if (source->no_fds) {
        source->no_fds = false;
        watch_listener(source, !atomic_load(&source->paused));
    }
    for (struct connection *at = source->connections; at != NULL;) {
        struct connection *connection = at;
        at = at->next;
        if (connection->unacked) {
            write_ack(connection);
            if (!connection->unacked && !connection->refused && connection->ended) {
                advance(source, connection);
                continue;
            }
        }
        if (!connection->refused)
            continue;
        /* What is not durable when the agent ends is the sender's still. */
        connection->refused = false;
        if (atomic_load(&source->closing))
            close_connection(source, connection);
        else
            advance(source, connection);
    }
}

static void close_idle(struct event_source *source)
{
    for (struct connection *at = source->connections; at != NULL;) {
        struct connection *connection = at;
        at = at->next;
        if (!connection->waiting)
            close_connection(source, connection);
    }
}

static void dispatch(struct event_source *source, void *what)
{
    bool paused = atomic_load(&source->paused);
    if (what == &source->listen_fd && !paused)
        accept_streams(source);
    else if (what == &source->listen_fd)
        watch_listener(source, false);
    else if (source->datagram && !paused)
        read_datagrams(source, what);
    else if (source->datagram)
        watch(what, false);
    else
        read_stream(source, what);
}

static bool is_unread(const struct connection *connection)
{
    uint8_t byte;
    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0; /* 0: its end, too */
}

/* What was sent to a connection that is ours is read before it is closed: its sender would have
 * to take it for durable if he asks for no acks, and see a reset if he does. The last look
 * counts, not the clock: the whole process may have stood still. */
static bool take_unread(struct event_source *source, bool late)
{
    for (struct connection *at = source->connections; at != NULL; at = at->next) {
        if (at->waiting || at->refused || at->ended || at->guest.waits || (late && !at->fresh) ||
            !is_unread(at))
            continue;
        if (!source->datagram)
            read_stream(source, at);
        else if (!source->inherited) /* else they wait for the next agent */
            read_datagrams(source, at);
        else
            continue;
        return true;
    }
    return false;
}

static bool is_done(struct event_source *source, int64_t now_ms)
{
    if (!atomic_load(&source->closing))
        return false;
    if (source->close_at_ms == 0)
        source->close_at_ms = now_ms + CLOSE_MS;
    bool late = now_ms >= source->close_at_ms;
    while (take_unread(source, late))
        late = late || clock_mono_ms(&clock_system) >= source->close_at_ms;
    if (any(source, false) || (source->room.first != NULL && !late))
        return false;
    source->look_at_ms = 0;
    for (const struct connection *at = source->connections; at != NULL; at = at->next) {
        if (at->fresh && at->opened_ms + FRESH_MS > source->look_at_ms)
            source->look_at_ms = at->opened_ms + FRESH_MS;
    }
    return late || now_ms >= source->look_at_ms;
}

/* -1: for ever */
static int wait_ms_of(const struct event_source *source, int64_t now_ms)
{
    int64_t at_ms = source->retry_at_ms;
    if (source->look_at_ms > now_ms && (at_ms == 0 || source->look_at_ms < at_ms))
        at_ms = source->look_at_ms;
    return at_ms == 0 ? -1 : at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}

static void *run(void *context)
{
    struct event_source *source = context;
    for (;;) {
        struct epoll_event events[EVENTS_MAX];
        int64_t now_ms = clock_mono_ms(&clock_system);
        if (is_done(source, now_ms))
            break;
        if (!source->no_fds && !any(source, true) && source->room.first == NULL)
            source->retry_at_ms = 0;
        else if (source->retry_at_ms == 0)
            source->retry_at_ms = now_ms + RETRY_MS;
        int count = epoll_wait(source->epoll_fd, events, EVENTS_MAX, wait_ms_of(source, now_ms));
        source->now_ms = clock_mono_ms(&clock_system);
        /* Connections last: taking what is finished may close some of them, so those are
         * not looked at in the same round. */
        bool finished = false;
        for (int i = 0; i < count; i++)
            finished = finished || events[i].data.ptr == source;
        for (int i = 0; i < count && !finished; i++)
            dispatch(source, events[i].data.ptr);
        if (finished)
            take_finished(source);
        if (source->retry_at_ms != 0 && source->now_ms >= source->retry_at_ms) {
            source->retry_at_ms = 0;
            retry_refused(source);
            close_late(source);
        }
        let_in(source);
    }
    close_idle(source);
    return NULL;
}

/* ---- open and close ---- */

static int listen_at(struct event_source *source, struct error *err)
{
    const char *path = source->options.address;
    struct sockaddr_un address;
    int type = source->datagram ? SOCK_DGRAM : SOCK_STREAM;
    int rc = place_address(path, &address, err);
    if (rc != OK)
        return rc;
    source->listen_fd = source_inherited_path(path, type);
    source->inherited = source->listen_fd >= 0;
    if (source->inherited)
        return OK;
    rc = place_clear(&address, type, err);
    if (rc != OK)
        return rc;
    source->listen_fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (source->listen_fd < 0)
        return error_errno(err, "socket");
    /* Nobody gets in between bind and chmod. */
    mode_t mask = umask(source->options.mode[0] != 0 ? 0177 : 0117);
    int failed = bind(source->listen_fd, (struct sockaddr *)&address, sizeof address);
    umask(mask);
    if (failed < 0)
        return error_errno(err, "bind");
    rc = place_give(&source->options, err);
    if (rc == OK && !source->datagram && listen(source->listen_fd, BACKLOG) < 0)
        rc = error_errno(err, "listen");
    return rc;
}

static int start_thread(struct event_source *source, struct error *err)
{
    struct epoll_event woken = {.events = EPOLLIN, .data.ptr = source};
    source->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    source->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (source->epoll_fd < 0 || source->wake_fd < 0 ||
        epoll_ctl(source->epoll_fd, EPOLL_CTL_ADD, source->wake_fd, &woken) < 0)
        return error_errno(err, "epoll");
    if (source->datagram)
        source->datagrams = add_connection(source, source->listen_fd);
    else
        watch_listener(source, true);
    int failed = pthread_create(&source->thread, NULL, run, source);
    ASSERT(failed == 0);
    pthread_setname_np(source->thread, "unix");
    source->running = true;
    return OK;
}

static void unix_close(struct event_source *source)
{
    if (source == NULL)
        return;
    atomic_store(&source->closing, true);
    if (source->running) {
        wake(source);
        pthread_join(source->thread, NULL);
    }
    intake_close(source->intake);
    if (source->datagrams == NULL && source->listen_fd >= 0)
        close(source->listen_fd);
    if (source->epoll_fd >= 0)
        close(source->epoll_fd);
    if (source->wake_fd >= 0)
        close(source->wake_fd);
    if (source->running && !source->inherited)
        unlink(source->options.address);
    pthread_mutex_destroy(&source->lock);
    free(source->scratch);
    free(source);
}

static void set_limits(struct event_source *source, const struct source_options *options)
{
    atomic_store(&source->line_bytes_max, options->event_bytes_max + LINE_BLANKS_MAX);
    atomic_store(&source->connections_max, options->connections_max);
    atomic_store(&source->body_ms, options->body_ms);
}

static int open_any(struct event_source **out, const struct source_options *options, bool datagram,
                    struct error *err)
{
    struct event_source *source = memory_alloc(1, sizeof *source);
    source->options = *options;
    source->datagram = datagram;
    source->room.bytes_max =
        options->line_bytes_max > 0 ? options->line_bytes_max : LINES_BYTES_DEFAULT;
    if (!datagram)
        source->scratch = memory_alloc_raw(READ_BYTES, 1);
    source->listen_fd = -1;
    source->epoll_fd = -1;
    source->wake_fd = -1;
    set_limits(source, options);
    pthread_mutex_init(&source->lock, NULL);
    source->table = capture_find_table(options->capture, slice_cstr(options->table));
    int rc = source->table != SIZE_MAX
                 ? intake_open(&source->intake, options->capture, err)
                 : error_set(err, ERROR_INPUT, "there is no table %s", options->table);
    if (rc == OK)
        rc = listen_at(source, err);
    if (rc == OK)
        rc = start_thread(source, err);
    if (rc != OK) {
        unix_close(source);
        return error_wrap(err, "%s", options->address);
    }
    *out = source;
    return OK;
}

static int unix_open(struct event_source **out, const struct source_options *options,
                     struct error *err)
{
    return open_any(out, options, false, err);
}

static int unix_datagram_open(struct event_source **out, const struct source_options *options,
                              struct error *err)
{
    return open_any(out, options, true, err);
}

static int unix_reload(struct event_source *source, const struct source_options *options,
                       struct error *err)
{
    (void)err;
    set_limits(source, options);
    atomic_store(&source->limited_anew, true);
    wake(source);
    return OK;
}

static void unix_pause(struct event_source *source)
{
    atomic_store(&source->paused, true);
}

static void unix_statistics(struct event_source *source, struct source_statistics *out)
{
    *out = (struct source_statistics){.requests = atomic_load(&source->requests),
                                      .bytes = atomic_load(&source->bytes),
                                      .timed_out = atomic_load(&source->timed_out),
                                      .connections = atomic_load(&source->connection_count)};
    snprintf(out->address, sizeof out->address, "%s", source->options.address);
}

const struct source_ops source_unix = {.kind = "unix",
                                       .open = unix_open,
                                       .reload = unix_reload,
                                       .pause = unix_pause,
                                       .close = unix_close,
                                       .statistics = unix_statistics};
const struct source_ops source_unix_datagram = {.kind = "unix_datagram",
                                                .open = unix_datagram_open,
                                                .reload = unix_reload,
                                                .pause = unix_pause,
                                                .close = unix_close,
                                                .statistics = unix_statistics};
