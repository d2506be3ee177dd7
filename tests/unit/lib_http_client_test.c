/* SPDX-License-Identifier: Apache-2.0
 *
 * Against a server of the test's own: a thread that plays a script of connections and answers
 * and writes down what it heard. */
#include "lib/http_client/http_client.h"

#include <dlfcn.h>
#include <limits.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/memory.h"
#include "tests/unit/loopback.h"

enum { STEPS_MAX = 8 };

/* A request is answered with `answer` (NULL: not at all), once somebody was asked so often whether
 * all is to stop; then, or instead, the connection is closed, or kept open while the next one is
 * waited for; or `more` follows, again and again. */
enum then { GO_ON, CLOSE, LEAVE, TRICKLE };
struct step {
    const char *answer;
    enum then then;
    const char *more;
    unsigned asked;
};

struct server {
    int listen_fd;
    char url[64];
    struct step steps[STEPS_MAX];
    size_t step_count;
    size_t connections;
    size_t requests;
    struct buf heard; /* the last request */
    pthread_t thread;
};

static atomic_uint asked, asked_before_stop;

static bool is_to_stop(void *context)
{
    (void)context;
    return atomic_fetch_add(&asked, 1) >= atomic_load(&asked_before_stop);
}

/* A piece every ten milliseconds, until the peer has enough of it. */
static void trickle(int fd, const char *more)
{
    struct pollfd peer = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 3000 && poll(&peer, 1, 10) == 0; i++)
        if (send(fd, more, strlen(more), MSG_NOSIGNAL) < 0)
            return;
}

static void *serve(void *context)
{
    struct server *server = context;
    size_t next = 0;
    int left = -1;
    while (next < server->step_count) {
        int fd = accept(server->listen_fd, NULL, NULL);
        if (fd < 0)
            break;
        server->connections++;
        while (next < server->step_count && loopback_hear(fd, &server->heard)) {
            const struct step *step = &server->steps[next++];
            server->requests++;
            while (atomic_load(&asked) < step->asked)
                poll(NULL, 0, 10);
            if (step->answer != NULL)
                loopback_send(fd, slice_cstr(step->answer));
            if (step->then == LEAVE)
                left = fd;
            if (step->then == TRICKLE)
                trickle(fd, step->more);
            if (step->then != GO_ON)
                break;
        }
        if (fd != left)
            close(fd);
    }
    if (left >= 0)
        close(left);
    return NULL;
}

static void server_start(struct server *server)
{
    int port = 0;
    server->listen_fd = loopback_listen(&port);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d/a/../b?secret=1", port);
    assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
    shutdown(server->listen_fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listen_fd);
    buf_free(&server->heard);
}

static struct http_client *client_open(const struct http_client_options *options)
{
    struct http_client *client = NULL;
    struct error err;
    struct http_client_options defaults = {.proxy = ""};
    assert_int_equal(http_client_open(&client, options != NULL ? options : &defaults, &err), OK);
    return client;
}

/* The harm: a header lost or a status taken for an error, and the caller decides wrongly. */
static void an_answer_has_status_fields_and_body(void **state)
{
    (void)state;
    struct server server = {.steps = {{"HTTP/1.1 100 Continue\r\nX-Early: 1\r\n\r\n"
                                       "HTTP/1.1 503 Slow Down\r\nETag:  \"a b\" \r\n"
                                       "Retry-After: 7\r\nContent-Length: 5\r\n"
                                       "Date: Sat, 21 Nov 2026 10:00:00 GMT\r\n\r\nlater",
                                       CLOSE}},
                            .step_count = 1};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    const char *fields[] = {"X-Asked: yes", "X-Empty;"};
    struct http_call call = {.method = "PUT",
                             .url = server.url,
                             .fields = fields,
                             .field_count = 2,
                             .body = slice_cstr("hello")};
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    assert_int_equal(reply.status, 503);
    assert_true(reply.sent);
    assert_true(slice_is(buf_slice(&reply.body), "later"));
    assert_true(slice_is(http_reply_field(&reply, "etag"), "\"a b\""));
    assert_null(http_reply_field(&reply, "x-early").data);
    assert_int_equal(http_reply_retry_after_ms(&reply, 0), 7000);
    assert_int_equal(http_reply_date_ms(&reply), 1795255200000);
    http_client_close(client);
    server_stop(&server);

    http_reply_free(&reply);
}

/* The harm: keys with dots end up elsewhere, a sign-in covers another request than was sent. */
static void a_request_goes_out_as_it_was_asked(void **state)
{
    (void)state;
    struct server server = {.steps = {{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", GO_ON},
                                      {"HTTP/1.1 301 Moved\r\nLocation: /other\r\n"
                                       "Content-Length: 0\r\n\r\n",
                                       CLOSE}},
                            .step_count = 2};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    const char *fields[] = {"X-Asked: yes"};
    struct http_call call = {.method = "POST",
                             .url = server.url,
                             .fields = fields,
                             .field_count = 1,
                             .body = slice_cstr("hello")};
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    call = (struct http_call){.method = "GET", .url = server.url};
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    assert_int_equal(reply.status, 301); /* not followed */
    http_client_close(client);
    pthread_join(server.thread, NULL);
    assert_int_equal(server.connections, 1); /* kept open and used again */
    assert_int_equal(server.requests, 2);
    const char *heard = buf_cstr(&server.heard);
    assert_ptr_equal(strstr(heard, "GET /a/../b?secret=1 HTTP/1.1\r\n"), heard);
    assert_null(strstr(heard, "Expect"));
    assert_null(strstr(heard, "Content-Type"));
    close(server.listen_fd);
    buf_free(&server.heard);
    http_reply_free(&reply);
}

static const char fine[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/* The harm: a commit is sent twice by the library, unseen: on a connection that was used before,
 * that is what it does when no answer comes. */
static void what_is_fresh_is_not_sent_again(void **state)
{
    (void)state;
    for (int fresh = 0; fresh < 2; fresh++) {
        struct server server = {
            .steps = {{fine, fresh == 1 ? LEAVE : GO_ON}, {NULL, CLOSE}, {fine, CLOSE}},
            .step_count = 3};
        server_start(&server);
        struct http_client *client = client_open(NULL);
        struct http_reply reply = {0};
        struct error err;
        struct http_call call = {
            .method = "POST", .url = server.url, .body = slice_cstr("x"), .timeout_ms = 10000};
        assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
        call.fresh = fresh == 1;
        assert_int_equal(http_client_call(client, &call, &reply, &err),
                         fresh == 1 ? ERROR_RETRY : OK);
        assert_true(reply.sent);
        http_client_close(client);
        server_stop(&server);
        assert_int_equal(server.requests, fresh == 1 ? 2 : 3);
        http_reply_free(&reply);
    }
}

/* The harm: "not applied" is believed of a request that was, or a retry is not made. */
static void an_error_says_whether_anything_was_sent(void **state)
{
    (void)state;
    struct server server = {.steps = {{NULL, CLOSE},
                                      {"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", CLOSE},
                                      {"no HTTP\r\n\r\n", CLOSE}},
                            .step_count = 3};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url};
    for (int i = 0; i < 3; i++) { /* closed without a word, within the body, no HTTP at all */
        assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
        assert_true(reply.sent);
        assert_null(strstr(err.text, "secret"));
    }
    server_stop(&server);
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY); /* refused */
    assert_false(reply.sent);
    call.url = "file:///etc/passwd";
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_INPUT);
    assert_false(reply.sent);
    http_client_close(client);
    http_reply_free(&reply);
}

/* The harm: an answer that is cut in its head passes for a whole one without a body: a service took
 * it for that of no catalog, and ended. */
static void an_answer_cut_in_its_head_is_none(void **state)
{
    (void)state;
    struct server server = {.steps = {{"HTTP/1.1 200 OK\r\n", CLOSE},
                                      {"HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov", CLOSE},
                                      {"HTTP/1.1 404 Not Found\r\nConnection: close\r\n", CLOSE},
                                      {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", CLOSE},
                                      {"HTTP/1.1 200 OK\r\n\r\nall of it", CLOSE}},
                            .step_count = 5};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url};
    for (int i = 0; i < 4; i++) {
        assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
        assert_non_null(strstr(err.text, "ends in its head"));
    }
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    assert_true(slice_is(buf_slice(&reply.body), "all of it"));
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

static void an_answer_longer_than_asked_for_is_an_error(void **state)
{
    (void)state;
    struct server server = {
        .steps = {{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", CLOSE}},
        .step_count = 1};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url, .answer_bytes_max = 9};
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_LIMIT);
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

static void hear_refusal(size_t room, size_t taken)
{
    char *page = memory_alloc((64 << 10) + 1, 1);
    memset(page, 'x', 64 << 10);
    struct server server = {.steps = {{"HTTP/1.1 100 Continue\r\n\r\n"
                                       "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n\r\n",
                                       TRICKLE, page},
                                      {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", CLOSE}},
                            .step_count = 2};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url, .answer_bytes_max = room};
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    assert_int_equal(reply.status, 503);
    assert_int_equal(reply.body.len, taken);
    assert_int_equal(http_reply_retry_after_ms(&reply, 0), 7000);
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    assert_int_equal(reply.status, 200); /* not the rest of the page */
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
    free(page);
}

/* The harm: somebody's page without an end fills the memory that waits for a large table, and it
 * isn't heard what it says. */
static void a_refusal_is_heard_without_its_end(void **state)
{
    (void)state;
    hear_refusal(8 << 20, 256 << 10);
}

/* The harm: a gateway's large page before a service of few words is taken for an answer of that
 * service that is too long, and its Retry-After is lost. */
static void a_refusal_is_heard_with_little_room(void **state)
{
    (void)state;
    hear_refusal(9, 9);
}

/* The harm: a server's endless field ends the process, or its answer is taken for an object that
 * is too large: announcements of that kind are refused. */
static void a_head_without_end_is_left(void **state)
{
    (void)state;
    struct buf answer = {0};
    buf_put_cstr(&answer, "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nX-Long: ");
    for (int i = 0; i < 70000; i++)
        buf_put_u8(&answer, 'x');
    buf_put_cstr(&answer, "\r\nDate: Sat, 21 Nov 2026 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n");
    struct server server = {.steps = {{buf_cstr(&answer), CLOSE}}, .step_count = 1};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url};
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
    assert_non_null(strstr(err.text, "head is longer"));
    assert_true(slice_is(http_reply_field(&reply, "retry-after"), "7"));
    assert_null(http_reply_field(&reply, "x-long").data);
    assert_null(http_reply_field(&reply, "date").data);
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
    buf_free(&answer);
}

/* The harm: a peer that says nothing holds the thread for ever. */
static void a_silent_server_is_left(void **state)
{
    (void)state;
    /* One step more than requests: it goes on listening to the last. */
    struct server server = {.steps = {{NULL, GO_ON}}, .step_count = 3};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url, .timeout_ms = 100};
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
    assert_true(reply.sent);
    http_client_close(client);
    client = client_open(&(struct http_client_options){.proxy = "", .stall_ms = 1000});
    call.timeout_ms = 0;
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
    assert_non_null(strstr(err.text, "too slow"));
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

/* The harm: who allows a slow catalog ten minutes loses each answer that takes more than one. */
static void a_call_s_own_time_goes_before_silence(void **state)
{
    (void)state;
    struct server server = {.steps = {{NULL, GO_ON}}, .step_count = 2};
    server_start(&server);
    struct http_client *client =
        client_open(&(struct http_client_options){.proxy = "", .stall_ms = 1000});
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url, .timeout_ms = 2500};
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
    if (strstr(err.text, "timed out") == NULL)
        fail_msg("%s", err.text);
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

/* The harm: an answer that always goes on, and never ends, holds the thread for days. */
static void an_answer_that_trickles_is_left(void **state)
{
    (void)state;
    struct server server = {
        .steps = {{"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", TRICKLE, "x"},
                  {"HTTP/1.1 200 OK\r\n", TRICKLE, "X-A: b\r\n"},
                  {NULL, TRICKLE, "HTTP/1.1 100 Continue\r\n\r\n"}},
        .step_count = 3};
    server_start(&server);
    struct http_client *client =
        client_open(&(struct http_client_options){.proxy = "", .answer_ms = 300});
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "GET", .url = server.url, .timeout_ms = 20000};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
        if (strstr(err.text, "slower than") == NULL)
            fail_msg("%d: %s", i, err.text);
    }
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

/* Of "... within N ms": what a slow machine makes longer, never shorter. */
static long waited_ms(const struct error *err)
{
    return strtol(strstr(err->text, "within ") + 7, NULL, 10);
}

/* The harm: who is asked to end waits for a server that says nothing, or a byte now and then, until
 * he is killed. And what may have been acted upon passes for not sent. */
static void a_stop_ends_what_hangs(void **state)
{
    (void)state;
    struct server server = {
        .steps = {{NULL, TRICKLE, ""},
                  {NULL, TRICKLE, ""},
                  {"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", TRICKLE, "x"},
                  {NULL, TRICKLE, "HTTP/1.1 100 Continue\r\n\r\n"},
                  {NULL, TRICKLE, ""}},
        .step_count = 5};
    atomic_store(&asked, 0);
    server_start(&server);
    struct http_client *client = client_open(
        &(struct http_client_options){.proxy = "", .stop = is_to_stop, .stop_ms = 2500});
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {
        .method = "POST", .url = server.url, .body = slice_cstr("x"), .fresh = true};
    long shortest_ms = LONG_MAX;
    for (int i = 0; i < 5; i++) {
        atomic_store(&asked_before_stop, i == 4); /* another stop than the one before */
        assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
        if (strstr(err.text, "given up at a stop") == NULL || strstr(err.text, "secret") != NULL)
            fail_msg("%d: %s", i, err.text);
        assert_true(reply.sent);
        if (i == 0 || i == 4)
            assert_true(waited_ms(&err) >= 2500);
        else if (waited_ms(&err) < shortest_ms)
            shortest_ms = waited_ms(&err);
        atomic_store(&asked, 0);
    }
    assert_true(shortest_ms < 2500); /* the first had been given its time; a slow machine adds */
    atomic_store(&asked_before_stop, 0);
    http_client_close(client);
    server_stop(&server);
    assert_int_equal(server.requests, 5);
    http_reply_free(&reply);
}

static atomic_bool name_service_is_back;
static atomic_uint names_looked_up;

/* libcurl's: it hangs for one name. */
int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    typedef int lookup(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    union {
        void *pointer;
        lookup *function;
    } real = {dlsym(RTLD_NEXT, "getaddrinfo")};
    if (name == NULL || strcmp(name, "hangs.test") != 0)
        return real.function(name, service, hints, out);
    for (int i = 0; i < 3000 && !atomic_load(&name_service_is_back); i++)
        poll(NULL, 0, 10);
    atomic_fetch_add(&names_looked_up, 1);
    return EAI_AGAIN;
}

/* The harm: a network that is gone takes the name service with it, which is asked for several names
 * for ten seconds each, and whoever is to end waits for that. */
static void a_stop_waits_for_no_name(void **state)
{
    (void)state;
    struct http_client *client =
        client_open(&(struct http_client_options){.proxy = "", .stop = is_to_stop, .stop_ms = 100});
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "POST", .url = "http://hangs.test/", .fresh = true};
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_RETRY);
    assert_non_null(strstr(err.text, "given up at a stop"));
    assert_false(reply.sent);
    assert_int_equal(atomic_load(&names_looked_up), 0);
    http_client_close(client);
    atomic_store(&name_service_is_back, true);
    for (int i = 0; i < 6000 && atomic_load(&names_looked_up) == 0; i++)
        poll(NULL, 0, 10);
    assert_int_not_equal(atomic_load(&names_looked_up), 0); /* libcurl asked getaddrinfo */
    http_reply_free(&reply);
}

/* The harm: a commit's answer that was about to come is thrown away, and nobody knows what became
 * of it. */
static void a_stop_waits_for_an_answer(void **state)
{
    (void)state;
    struct server server = {.steps = {{fine, CLOSE, NULL, 3}}, .step_count = 1};
    atomic_store(&asked, 0);
    server_start(&server);
    struct http_client *client = client_open(
        &(struct http_client_options){.proxy = "", .stop = is_to_stop, .stop_ms = 60000});
    struct http_reply reply = {0};
    struct error err;
    struct http_call call = {.method = "POST", .url = server.url, .body = slice_cstr("x")};
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    assert_int_equal(reply.status, 200);
    assert_true(atomic_load(&asked) >= 3);
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

static int read_slowly(void *context, uint64_t offset, void *to, size_t *len, struct error *err)
{
    (void)context;
    (void)offset;
    (void)err;
    memset(to, 'x', *len);
    poll(NULL, 0, 10);
    return OK;
}

/* The harm: a large file that is on its way begins anew, though there was time for it. */
static void a_stop_leaves_what_moves_on(void **state)
{
    (void)state;
    static char piece[4097];
    memset(piece, 'x', sizeof piece - 1);
    struct server server = {
        .steps = {{fine, GO_ON},
                  {"HTTP/1.1 200 OK\r\nContent-Length: 655360\r\n\r\n", TRICKLE, piece}},
        .step_count = 2};
    server_start(&server);
    struct http_client *client = client_open(
        &(struct http_client_options){.proxy = "", .stop = is_to_stop, .stop_ms = 1000});
    struct http_reply reply = {0};
    struct error err;
    struct http_client_source source = {
        .size = 160 * 4096, .read = read_slowly, .piece_bytes_max = 4096};
    struct http_call call = {.method = "PUT", .url = server.url, .source = &source};
    int rc = http_client_call(client, &call, &reply, &err);
    if (rc != OK)
        fail_msg("%s", err.text);
    call = (struct http_call){.method = "GET", .url = server.url};
    rc = http_client_call(client, &call, &reply, &err);
    if (rc != OK)
        fail_msg("%s", err.text);
    assert_int_equal(reply.body.len, 160 * 4096);
    http_client_close(client);
    server_stop(&server);
    http_reply_free(&reply);
}

static int read_pattern(void *context, uint64_t offset, void *to, size_t *len, struct error *err)
{
    uint64_t *fails_at = context;
    if (offset + *len > *fails_at)
        return error_set(err, ERROR_DENIED, "the pacer says no");
    for (size_t i = 0; i < *len; i++)
        ((uint8_t *)to)[i] = (uint8_t)((offset + i) % 251);
    return OK;
}

static void a_body_is_read_from_where_it_lies(void **state)
{
    (void)state;
    struct server server = {.steps = {{"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", CLOSE}},
                            .step_count = 1};
    server_start(&server);
    struct http_client *client = client_open(NULL);
    struct http_reply reply = {0};
    struct error err;
    uint64_t fails_at = UINT64_MAX;
    struct http_client_source source = {
        .size = 1 << 20, .read = read_pattern, .context = &fails_at};
    struct http_call call = {.method = "PUT", .url = server.url, .source = &source};
    assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
    const uint8_t *body = server.heard.data + server.heard.len - source.size;
    for (size_t i = 0; i < source.size; i++)
        if (body[i] != i % 251)
            fail_msg("byte %zu", i);
    server_stop(&server);

    struct server again = {.steps = {{NULL, CLOSE}}, .step_count = 1};
    server_start(&again);
    call.url = again.url;
    fails_at = 600000;
    assert_int_equal(http_client_call(client, &call, &reply, &err), ERROR_DENIED);
    assert_non_null(strstr(err.text, "the pacer says no"));
    http_client_close(client);
    server_stop(&again);
    http_reply_free(&reply);
}

static void retry_after_is_bounded(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"0", 0},
        {"120", 120000},
        {"99999999999999999999999", 3600000},
        {"soon", -1},
        {"", -1},
        {"-5", -1},
        {"Sat, 21 Nov 2026 10:00:30 GMT", 30000},
        {"Sat, 21 Nov 2026 09:00:00 GMT", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_reply reply = {0};
        buf_printf(&reply.head, "retry-after: %s\n", cases[i].text);
        assert_int_equal(http_reply_retry_after_ms(&reply, 1795255200000), cases[i].ms);
        http_reply_free(&reply);
    }
}

/* The harm: a clock that is an hour slow makes an hour of a minute, a fast one none. */
static void retry_after_counts_by_the_clock_that_named_it(void **state)
{
    (void)state;
    struct http_reply reply = {0};
    buf_put_cstr(&reply.head, "date: Sat, 21 Nov 2026 10:00:00 GMT\n"
                              "retry-after: Sat, 21 Nov 2026 10:00:30 GMT\n");
    assert_int_equal(http_reply_retry_after_ms(&reply, 1795255200000 - 3600000), 30000);
    assert_int_equal(http_reply_retry_after_ms(&reply, 1795255200000 + 3600000), 30000);
    http_reply_free(&reply);
    buf_put_cstr(&reply.head, "date: yesterday\nretry-after: Sat, 21 Nov 2026 10:00:30 GMT\n");
    assert_int_equal(http_reply_retry_after_ms(&reply, 1795255200000), 30000);
    http_reply_free(&reply);
}

/* The harm: the host that was signed is not the one that is sent, and nobody sees why. */
static void a_host_is_known_as_it_goes_out(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"http://127.0.0.1:9000/a", "127.0.0.1:9000"}, {"http://127.1:09000", "127.0.0.1:9000"},
        {"https://[0:0:0:0:0:0:0:1]:443/", "[::1]"},   {"https://[::1]:80", "[::1]:80"},
        {"http://store.test:80", "store.test"},        {"http://store.test:080/a:b", "store.test"},
        {"https://store.test:80", "store.test:80"},    {"https://Store_1.test", "Store_1.test"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf host = {0};
        struct error err;
        assert_int_equal(http_client_host(cases[i][0], &host, &err), OK);
        assert_string_equal(buf_cstr(&host), cases[i][1]);
        buf_free(&host);
    }
    struct buf host = {0};
    struct error err;
    assert_int_equal(http_client_host("http://", &host, &err), ERROR_INPUT);
    assert_int_equal(http_client_host("http://a:70000", &host, &err), ERROR_INPUT);
    assert_int_equal(host.len, 0);
    buf_free(&host);
}

/* And so it is: a server hears what was foretold. */
static void a_host_is_sent_as_it_was_said(void **state)
{
    (void)state;
    static const char *const forms[] = {"http://127.1:", "http://127.0.0.1:0",
                                        "http://2130706433:", "http://0x7f.1:"};
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct server server = {.steps = {{"HTTP/1.1 204 No\r\n\r\n", CLOSE}}, .step_count = 1};
        struct http_reply reply = {0};
        struct error err;
        struct buf host = {0};
        char url[100];
        char line[100];
        server_start(&server);
        struct http_client *client = client_open(NULL);
        snprintf(url, sizeof url, "%s%s", forms[i], strrchr(server.url, ':') + 1);
        struct http_call call = {.method = "GET", .url = url};
        assert_int_equal(http_client_call(client, &call, &reply, &err), OK);
        assert_int_equal(http_client_host(url, &host, &err), OK);
        snprintf(line, sizeof line, "\r\nHost: %s\r\n", buf_cstr(&host));
        assert_non_null(strstr(buf_cstr(&server.heard), line));
        http_client_close(client);
        server_stop(&server);
        http_reply_free(&reply);
        buf_free(&host);
    }
}

/* Years that no date has: a sum with them would overflow, and a signature has no room for them. */
static void a_date_is_one_of_four_digits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } cases[] = {
        {"Fri, 31 Dec 9999 23:59:59 GMT", INT64_C(253402300799000)},
        {"Sat, 01 Jan 10000 00:00:00 GMT", 0},
        {"Sat, 01 Jan 2147483647 00:00:00 GMT", 0},
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_reply reply = {0};
        buf_printf(&reply.head, "date: %s\n", cases[i].text);
        assert_int_equal(http_reply_date_ms(&reply), cases[i].ms);
        http_reply_free(&reply);
    }
}

/* A proxy's password must not get into a log by a slip in its URL. */
static void a_proxy_is_not_repeated(void **state)
{
    (void)state;
    static const char *const proxies[] = {"http://user:verysecret@127.0.0.1:99999",
                                          "nothing://user:verysecret@127.0.0.1:9"};
    for (size_t i = 0; i < 2; i++) {
        struct http_client_options options = {.proxy = proxies[i]};
        struct http_call call = {.method = "GET", .url = "http://127.0.0.1:9/"};
        struct http_client *client = NULL;
        struct http_reply reply = {0};
        struct error err = {0};
        assert_int_equal(http_client_open(&client, &options, &err), OK);
        assert_int_not_equal(http_client_call(client, &call, &reply, &err), OK);
        assert_non_null(strstr(err.text, "the proxy's URL is none"));
        assert_null(strstr(err.text, "verysecret"));
        http_client_close(client);
        http_reply_free(&reply);
    }
}

static void only_what_is_unreserved_stays_plain(void **state)
{
    (void)state;
    struct buf out = {0};
    http_client_encode(slice_cstr("a/b c=d+~%\xc3\xa9"), true, &out);
    assert_string_equal(buf_cstr(&out), "a/b%20c%3Dd%2B~%25%C3%A9");
    buf_reset(&out);
    http_client_encode(slice_cstr("a/b"), false, &out);
    assert_string_equal(buf_cstr(&out), "a%2Fb");
    buf_free(&out);
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_status_fields_and_body),
        cmocka_unit_test(a_request_goes_out_as_it_was_asked),
        cmocka_unit_test(what_is_fresh_is_not_sent_again),
        cmocka_unit_test(an_error_says_whether_anything_was_sent),
        cmocka_unit_test(an_answer_cut_in_its_head_is_none),
        cmocka_unit_test(an_answer_longer_than_asked_for_is_an_error),
        cmocka_unit_test(a_refusal_is_heard_without_its_end),
        cmocka_unit_test(a_refusal_is_heard_with_little_room),
        cmocka_unit_test(a_head_without_end_is_left),
        cmocka_unit_test(a_silent_server_is_left),
        cmocka_unit_test(a_call_s_own_time_goes_before_silence),
        cmocka_unit_test(an_answer_that_trickles_is_left),
        cmocka_unit_test(a_stop_ends_what_hangs),
        cmocka_unit_test(a_stop_waits_for_an_answer),
        cmocka_unit_test(a_stop_waits_for_no_name),
        cmocka_unit_test(a_stop_leaves_what_moves_on),
        cmocka_unit_test(a_body_is_read_from_where_it_lies),
        cmocka_unit_test(retry_after_is_bounded),
        cmocka_unit_test(a_host_is_known_as_it_goes_out),
        cmocka_unit_test(a_host_is_sent_as_it_was_said),
        cmocka_unit_test(retry_after_counts_by_the_clock_that_named_it),
        cmocka_unit_test(a_date_is_one_of_four_digits),
        cmocka_unit_test(a_proxy_is_not_repeated),
        cmocka_unit_test(only_what_is_unreserved_stays_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
