/* SPDX-License-Identifier: Apache-2.0
 *
 * A connection's life. Its bytes are parsed where they were read, in the server's one scratch
 * buffer; only what is left over is kept. So a connection that is silent, or whose request waits
 * for its answer, holds no buffer.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"
#include "lib/http/server.h"

static void free_buf(struct buf *buf)
{
    buf_free(buf);
    *buf = (struct buf){0};
}

struct connection *connection_open(struct http_server *server, int fd)
{
    struct connection *connection = memory_alloc(1, sizeof *connection);
    connection->server = server;
    connection->fd = fd;
    connection->state = CONNECTION_STATES; /* in none yet */
    atomic_fetch_add(&server->connections, 1);
    connection_enter(connection, CONNECTION_IDLE);
    return connection;
}

/* After each change of what the connection keeps. */
static void count_kept(struct connection *connection)
{
    size_t kept = connection->in.cap + connection->head.cap;
    connection->server->kept += kept - connection->kept;
    connection->kept = kept;
}

static bool keeps_too_much(const struct connection *connection)
{
    const struct http_server *server = connection->server;
    size_t max =
        HTTP_KEPT_BYTES_MIN + (size_t)server->options.connections_max * HTTP_KEPT_BYTES_EACH;
    return connection->kept > 0 && server->kept > max;
}

static void end_request(struct connection *connection)
{
    if (connection->begun) {
        connection->begun = false;
        connection->server->options.handler->end(connection->server->options.context,
                                                 &connection->request);
    }
    connection->request.user = NULL;
    connection->head_only = false;
    free_buf(&connection->head);
    count_kept(connection);
}

static void destroy(struct connection *connection)
{
    end_request(connection);
    connection_enter(connection, CONNECTION_STATES);
    close(connection->fd);
    free_buf(&connection->in);
    free_buf(&connection->out);
    count_kept(connection);
    atomic_fetch_sub(&connection->server->connections, 1);
    connection->dead = true;
    if (!connection->queued) {
        connection->next = connection->server->dead;
        connection->server->dead = connection;
    }
}

void connection_close(struct connection *connection)
{
    connection->broken = true;
    /* Whoever resumes it must find it. */
    if (connection->state != CONNECTION_WAITING)
        destroy(connection);
}

/* ---- answers ---- */

static const char *status_text(unsigned status)
{
    static const struct {
        unsigned status;
        const char *text;
    } texts[] = {
        {200, "OK"},
        {202, "Accepted"},
        {207, "Multi-Status"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (texts[i].status == status)
            return texts[i].text;
    }
    return "Other";
}

static const char *date(struct http_server *server)
{
    time_t now = time(NULL);
    struct tm parts;
    if (now != server->date_s && gmtime_r(&now, &parts) != NULL) {
        server->date_s = now;
        strftime(server->date, sizeof server->date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    }
    return server->date;
}

static void put_number(struct buf *out, size_t number)
{
    char digits[24];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    buf_put(out, digits + at, sizeof digits - at);
}

static void render(struct connection *connection, const struct http_answer *answer)
{
    struct buf *out = &connection->server->out;
    buf_reset(out);
    buf_put_cstr(out, "HTTP/1.1 ");
    put_number(out, answer->status);
    buf_put_u8(out, ' ');
    buf_put_cstr(out, status_text(answer->status));
    buf_put_cstr(out, "\r\n");
    buf_put_cstr(out, date(connection->server));
    buf_put_cstr(out, "Content-Type: ");
    buf_put_cstr(out, answer->type);
    buf_put_cstr(out, "\r\nContent-Length: ");
    put_number(out, answer->body.len);
    buf_put_cstr(out, "\r\n");
    if (answer->fields != NULL)
        buf_put_cstr(out, answer->fields);
    if (connection->last)
        buf_put_cstr(out, "Connection: close\r\n");
    else if (connection->old)
        buf_put_cstr(out, "Connection: keep-alive\r\n");
    buf_put_cstr(out, "\r\n");
    if (!connection->head_only)
        buf_put_slice(out, answer->body);
}

/* What does not go out now is kept. */
static void send_bytes(struct connection *connection, struct slice bytes)
{
    if (connection->broken)
        return;
    if (connection->out.len == 0) {
        ssize_t sent = send(connection->fd, bytes.data, bytes.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            connection->broken = true;
            return;
        }
        size_t len = sent > 0 ? (size_t)sent : 0;
        bytes = slice_of(bytes.data + len, bytes.len - len);
    }
    buf_put_slice(&connection->out, bytes);
}

void http_answer(struct http_request *request, const struct http_answer *answer)
{
    struct connection *connection = (struct connection *)request;
    struct http_server *server = connection->server;
    ASSERT(connection->in_call && !connection->answered);
    connection->answered = true;
    connection->last = connection->last || connection->unread || !connection->keep_alive ||
                       atomic_load_explicit(&server->paused, memory_order_relaxed);
    atomic_fetch_add_explicit(&server->answered[answer->status / 100 % 6], 1, memory_order_relaxed);
    render(connection, answer);
    send_bytes(connection, buf_slice(&server->out));
}

static void linger(struct connection *connection)
{
    shutdown(connection->fd, SHUT_WR);
    connection->left = LINGER_BYTES_MAX;
    free_buf(&connection->in);
    count_kept(connection);
    connection_enter(connection, CONNECTION_LINGER);
    connection->readable = true;
    connection_queue(connection);
}

/* The answer is out: the next request, or the end. */
static void settle(struct connection *connection)
{
    bool unread = connection->unread || connection->in.len > 0;
    end_request(connection);
    if (connection->broken || (connection->last && !unread))
        destroy(connection);
    else if (connection->last)
        linger(connection);
    else
        connection_enter(connection, CONNECTION_IDLE);
}

/* After an answer was given. */
static void finish_answer(struct connection *connection)
{
    connection->answered = false;
    if (connection->out.len == 0 || connection->broken)
        settle(connection);
    else
        connection_enter(connection, CONNECTION_SENDING);
}

/* The server's own answer, and the end. */
static void refuse(struct connection *connection, const struct http_fault *fault)
{
    struct http_server *server = connection->server;
    const struct http_handler *handler = server->options.handler;
    struct buf body = {0};
    handler->fault(server->options.context, fault->status, fault->text, &body);
    connection->unread = true;
    connection->in_call = true;
    http_answer(&connection->request,
                &(struct http_answer){
                    .status = fault->status,
                    .type = handler->fault_type,
                    .fields = fault->status == 503 ? "Cache-Control: no-store\r\nRetry-After: 1\r\n"
                                                   : "Cache-Control: no-store\r\n",
                    .body = buf_slice(&body)});
    connection->in_call = false;
    buf_free(&body);
    finish_answer(connection);
}

void connection_turn_away(struct connection *connection)
{
    refuse(connection, &(struct http_fault){503, "too many connections"});
}

static const struct http_fault no_room = {503, "too many requests are under way"};

/* What is left over finds no room. A head that is not whole is refused; requests behind one that
 * is not answered yet stay unread, as if the connection had ended with that one. */
static void shed(struct connection *connection)
{
    free_buf(&connection->in);
    count_kept(connection);
    connection->fed_up = false;
    if (connection->state == CONNECTION_IDLE || connection->state == CONNECTION_HEAD) {
        refuse(connection, &no_room);
    } else {
        connection->last = true;
        connection->unread = true;
    }
}

/* What lies there was sent in time, only this process was late: it may have stood still, and a
 * close would reset the request that the peer has just sent. */
static bool is_unread(const struct connection *connection)
{
    uint8_t byte;
    return recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void connection_expire(struct connection *connection)
{
    struct http_server *server = connection->server;
    if (connection->state == CONNECTION_IDLE && (connection->fed_up || is_unread(connection))) {
        connection_enter(connection, CONNECTION_IDLE);
        connection->readable = true;
        connection_queue(connection);
        return;
    }
    bool late = connection->state == CONNECTION_HEAD || connection->state == CONNECTION_BODY;
    if (late || connection->state == CONNECTION_SENDING)
        atomic_fetch_add(&server->timed_out, 1);
    if (late)
        refuse(connection, &(struct http_fault){408, "the request did not come whole in time"});
    else
        connection_close(connection);
}

/* ---- requests ---- */

typedef void handler_call(void *context, struct http_request *request);

static void call(struct connection *connection, handler_call *function)
{
    connection->in_call = true;
    function(connection->server->options.context, &connection->request);
    connection->in_call = false;
    connection->request.head = NULL;
}

/* Who waits to be told that he may send the body. */
static void say_continue(struct connection *connection, struct slice rest)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    bool body = connection->chunked || connection->left > 0;
    if (connection->server->head.expects_continue && body && rest.len == 0)
        send_bytes(connection, slice_of(text, sizeof text - 1));
}

/* False: no whole head, or the connection is not for requests any more. */
static bool take_head(struct connection *connection, struct slice *bytes)
{
    struct http_server *server = connection->server;
    struct http_head *head = &server->head;
    struct http_fault fault;
    size_t len = http_head_decode(*bytes, head, &fault);
    if (fault.status != 0) {
        *bytes = (struct slice){0};
        refuse(connection, &fault);
        return false;
    }
    if (len == 0) {
        if (connection->state == CONNECTION_IDLE)
            connection_enter(connection, CONNECTION_HEAD);
        return false;
    }
    struct slice text = slice_of(bytes->data, len);
    *bytes = slice_of(bytes->data + len, bytes->len - len);
    connection->begun = true;
    connection->served = true;
    connection->keep_alive = head->keep_alive;
    connection->head_only = slice_is(head->method, "HEAD");
    connection->old = head->minor == 0;
    connection->chunked = head->chunked;
    connection->chunks = (struct http_chunks){0};
    connection->left = head->length;
    connection->unread = connection->chunked || connection->left > 0;
    connection->request.head = head;
    connection_enter(connection, CONNECTION_BODY);
    call(connection, server->options.handler->begin);
    if (connection->answered)
        return true;
    if (connection->chunked || connection->left > bytes->len)
        buf_put_slice(&connection->head, text);
    count_kept(connection);
    if (connection->head.len > 0 && keeps_too_much(connection)) {
        *bytes = (struct slice){0};
        refuse(connection, &no_room);
        return false;
    }
    say_continue(connection, *bytes);
    return true;
}

/* One piece of the body; true when it is whole. */
static bool take_piece(struct connection *connection, struct slice *bytes, struct http_fault *fault)
{
    struct slice piece = {0};
    *fault = (struct http_fault){0};
    if (connection->chunked) {
        piece = http_chunks_decode(&connection->chunks, bytes, fault);
    } else {
        size_t len = connection->left < bytes->len ? (size_t)connection->left : bytes->len;
        piece = slice_of(bytes->data, len);
        *bytes = slice_of(bytes->data + len, bytes->len - len);
        connection->left -= len;
    }
    bool whole =
        connection->chunked ? connection->chunks.state == CHUNK_END : connection->left == 0;
    connection->unread = !whole;
    if (piece.len > 0) {
        struct http_server *server = connection->server;
        connection->in_call = true;
        server->options.handler->body(server->options.context, &connection->request, piece);
        connection->in_call = false;
    }
    return whole;
}

/* The body is whole: its request is answered, or waits. */
static void hand_over(struct connection *connection)
{
    struct http_server *server = connection->server;
    if (connection->head.len > 0) {
        struct http_fault fault;
        size_t len = http_head_decode(buf_slice(&connection->head), &server->head, &fault);
        ASSERT(len == connection->head.len);
    }
    connection->request.head = &server->head;
    connection_enter(connection, CONNECTION_WAITING);
    call(connection, server->options.handler->whole);
    free_buf(&connection->head);
    count_kept(connection);
}

/* True: goes on with the next request. */
static bool take_body(struct connection *connection, struct slice *bytes)
{
    bool whole = false;
    struct http_fault fault = {0};
    while (!connection->answered && !whole && fault.status == 0) {
        size_t before = bytes->len;
        whole = take_piece(connection, bytes, &fault);
        if (!whole && bytes->len == before)
            return false; /* more is needed */
    }
    if (fault.status != 0) {
        *bytes = (struct slice){0};
        refuse(connection, &fault);
        return false;
    }
    if (!connection->answered)
        hand_over(connection);
    return connection->answered;
}

/* As far as these bytes go, or its time; what is left over stays in *bytes. */
static void feed(struct connection *connection, struct slice *bytes)
{
    int64_t end_ns = clock_mono_ns() + FEED_NS;
    while (!connection->dead) {
        if (connection->state == CONNECTION_IDLE || connection->state == CONNECTION_HEAD) {
            if (bytes->len == 0 || !take_head(connection, bytes))
                return;
        } else if (connection->state != CONNECTION_BODY || !take_body(connection, bytes)) {
            return;
        }
        if (!connection->answered)
            continue;
        /* What follows is the next request's, or nobody's. */
        connection->unread = connection->unread || (connection->last && bytes->len > 0);
        finish_answer(connection);
        if (!connection->dead && connection->state == CONNECTION_IDLE && bytes->len > 0 &&
            clock_mono_ns() >= end_ns) {
            connection->fed_up = true;
            return;
        }
    }
}

static bool takes_bytes(const struct connection *connection)
{
    return !connection->dead && connection->state != CONNECTION_WAITING &&
           connection->state != CONNECTION_SENDING;
}

/* What was fed is over: what is left over is kept, if there is room. */
static void rest(struct connection *connection)
{
    count_kept(connection);
    if (connection->in.len > 0 && keeps_too_much(connection))
        shed(connection);
    if (takes_bytes(connection) && (connection->readable || connection->fed_up))
        connection_queue(connection);
}

/* With what was left over. */
static void go_on(struct connection *connection)
{
    struct buf old = connection->in;
    struct slice bytes = buf_slice(&old);
    connection->in = (struct buf){0};
    feed(connection, &bytes);
    if (connection->dead || connection->state == CONNECTION_LINGER || bytes.len == 0) {
        buf_free(&old);
    } else if (bytes.len < old.cap / 4) {
        buf_put_slice(&connection->in, bytes);
        buf_free(&old);
    } else {
        memmove(old.data, bytes.data, bytes.len);
        old.len = bytes.len;
        connection->in = old;
    }
    rest(connection);
}

static void discard(struct connection *connection)
{
    enum { STEP = 1 << 20 };
    ssize_t got = recv(connection->fd, NULL, STEP, MSG_DONTWAIT | MSG_TRUNC);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        connection->readable = errno == EINTR;
        return;
    }
    if (got <= 0 || (uint64_t)got >= connection->left) {
        destroy(connection);
        return;
    }
    connection->left -= (uint64_t)got;
    connection_queue(connection);
}

static void take_bytes(struct connection *connection, struct slice bytes)
{
    if (connection->in.len > 0) {
        buf_put_slice(&connection->in, bytes);
        go_on(connection);
        return;
    }
    feed(connection, &bytes);
    if (connection->dead)
        return;
    if (connection->state != CONNECTION_LINGER)
        buf_put_slice(&connection->in, bytes);
    rest(connection);
}

void connection_read(struct connection *connection)
{
    struct http_server *server = connection->server;
    if (!takes_bytes(connection))
        return;
    if (connection->state == CONNECTION_LINGER) {
        discard(connection);
        return;
    }
    if (connection->fed_up) {
        connection->fed_up = false;
        go_on(connection);
        return;
    }
    ssize_t got = recv(connection->fd, server->scratch, READ_BYTES, MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) {
        connection_queue(connection);
    } else if (got < 0 && errno == EAGAIN) {
        connection->readable = false;
        if (server->pausing && connection->state == CONNECTION_IDLE && connection->served)
            destroy(connection);
    } else if (got <= 0) {
        destroy(connection);
    } else {
        /* Less than asked for: there is no more, or an event will say so. */
        connection->readable = got == READ_BYTES || connection->hung_up;
        take_bytes(connection, slice_of(server->scratch, (size_t)got));
    }
}

void connection_write(struct connection *connection)
{
    struct buf *out = &connection->out;
    if (connection->dead || out->len == 0)
        return;
    ssize_t sent = send(connection->fd, out->data, out->len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (sent < 0) {
        connection_close(connection);
        return;
    }
    memmove(out->data, out->data + sent, out->len - (size_t)sent);
    out->len -= (size_t)sent;
    if (out->len > 0)
        return;
    free_buf(out);
    if (connection->state != CONNECTION_SENDING)
        return;
    settle(connection);
    if (!connection->dead)
        go_on(connection);
}

void connection_resumed(struct connection *connection)
{
    ASSERT(connection->state == CONNECTION_WAITING);
    if (connection->broken) {
        destroy(connection);
        return;
    }
    call(connection, connection->server->options.handler->resumed);
    ASSERT(connection->answered);
    connection->unread = connection->unread || (connection->last && connection->in.len > 0);
    finish_answer(connection);
    if (!connection->dead)
        go_on(connection);
}
