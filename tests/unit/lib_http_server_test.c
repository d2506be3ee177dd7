/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/http/server.h"

/* A handler that answers only when it is resumed, and remembers who waits. */
struct waiting {
    _Atomic(struct http_request *) request;
    struct http_server *server;
    int listen_fd;
    int client_fd;
};

static void on_begin(void *context, struct http_request *request)
{
    (void)context;
    (void)request;
}

static void on_body(void *context, struct http_request *request, struct slice bytes)
{
    (void)context;
    (void)request;
    (void)bytes;
}

static void on_whole(void *context, struct http_request *request)
{
    struct waiting *waiting = context;
    atomic_store(&waiting->request, request);
}

static void on_resumed(void *context, struct http_request *request)
{
    (void)context;
    http_answer(request, &(struct http_answer){.status = 200, .type = "text/plain"});
}

static void on_end(void *context, struct http_request *request)
{
    (void)context;
    (void)request;
}

static void on_fault(void *context, unsigned status, const char *text, struct buf *out)
{
    (void)context;
    (void)status;
    (void)text;
    (void)out;
}

static const struct http_handler handler = {.begin = on_begin,
                                            .body = on_body,
                                            .whole = on_whole,
                                            .resumed = on_resumed,
                                            .end = on_end,
                                            .fault = on_fault,
                                            .fault_type = "text/plain"};

static void *close_server(void *context)
{
    struct waiting *waiting = context;
    http_close(waiting->server);
    return NULL;
}

/* A server with one connection whose request waits. */
static void open_waiting(struct waiting *waiting)
{
    static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct sockaddr_in address;
    socklen_t size = sizeof address;
    struct error err;
    *waiting = (struct waiting){.client_fd = socket(AF_INET, SOCK_STREAM, 0)};
    assert_int_equal(http_listen("127.0.0.1:0", 8, &waiting->listen_fd, &err), OK);
    assert_int_equal(getsockname(waiting->listen_fd, (struct sockaddr *)&address, &size), 0);
    struct http_options options = {.listen_fd = waiting->listen_fd,
                                   .handler = &handler,
                                   .context = waiting,
                                   .connections_max = 10,
                                   .idle_ms = 60000,
                                   .head_ms = 60000,
                                   .body_ms = 60000};
    assert_int_equal(http_open(&waiting->server, &options, &err), OK);
    assert_int_equal(connect(waiting->client_fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(send(waiting->client_fd, text, sizeof text - 1, 0), sizeof text - 1);
    int64_t deadline_ms = clock_mono_ms(&clock_system) + 20000;
    while (atomic_load(&waiting->request) == NULL)
        assert_true(clock_mono_ms(&clock_system) < deadline_ms);
}

static int64_t cpu_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000 + used.tv_nsec / 1000000;
}

/* A stop that waits for a slow disk must leave the processor to others, and still answer. */
static void a_stop_that_waits_rests(void **state)
{
    (void)state;
    struct waiting waiting;
    char answer[512] = "";
    pthread_t closer;
    open_waiting(&waiting);
    assert_int_equal(pthread_create(&closer, NULL, close_server, &waiting), 0);
    struct pollfd client = {.fd = waiting.client_fd, .events = POLLIN};
    int64_t before_ms = cpu_ms();
    assert_int_equal(poll(&client, 1, CLOSE_MS + 800), 0);
    assert_true(cpu_ms() - before_ms < 200);
    http_resume(atomic_load(&waiting.request));
    assert_int_equal(poll(&client, 1, 20000), 1);
    assert_true(recv(waiting.client_fd, answer, sizeof answer - 1, 0) > 0);
    assert_non_null(strstr(answer, " 200 OK"));
    pthread_join(closer, NULL);
    close(waiting.client_fd);
}

/* Nor must one whose peer has said that he sends no more, or has gone. */
static void a_stop_outlives_who_hung_up(void **state)
{
    (void)state;
    struct waiting half;
    struct waiting gone;
    pthread_t closers[2];
    struct linger reset = {.l_onoff = 1};
    open_waiting(&half);
    open_waiting(&gone);
    assert_int_equal(setsockopt(gone.client_fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    int64_t before_ms = cpu_ms();
    assert_int_equal(pthread_create(&closers[0], NULL, close_server, &half), 0);
    assert_int_equal(pthread_create(&closers[1], NULL, close_server, &gone), 0);
    shutdown(half.client_fd, SHUT_WR);
    close(gone.client_fd);
    struct pollfd client = {.fd = half.client_fd, .events = POLLIN};
    assert_int_equal(poll(&client, 1, 500), 0);
    assert_true(cpu_ms() - before_ms < 200);
    http_resume(atomic_load(&half.request));
    http_resume(atomic_load(&gone.request));
    pthread_join(closers[0], NULL);
    pthread_join(closers[1], NULL);
    assert_int_equal(poll(&client, 1, 20000), 1);
    close(half.client_fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_that_waits_rests),
        cmocka_unit_test(a_stop_outlives_who_hung_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
