/* SPDX-License-Identifier: Apache-2.0
 *
 * A clock that is set, an environment that is a table, a server that answers each request by a
 * function of the test's.
 */
#ifndef TESTS_UNIT_LIB_AWS_SUPPORT_H
#define TESTS_UNIT_LIB_AWS_SUPPORT_H

#include "lib/aws/aws.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/http_client/http_client.h"
#include "tests/unit/loopback.h"

/* ---- time: 2026-11-21T09:08:07Z and on ---- */

#define START_MS INT64_C(1795252087000)

static _Atomic int64_t now_ms;
static _Atomic int wall_reads;

static inline int64_t test_wall_us(void *context)
{
    (void)context;
    atomic_fetch_add(&wall_reads, 1);
    return atomic_load(&now_ms) * 1000;
}

static inline int64_t test_mono_ms(void *context)
{
    (void)context;
    return atomic_load(&now_ms) - START_MS + 1000;
}

static const struct clock test_clock = {.wall_us = test_wall_us, .mono_ms = test_mono_ms};

/* ---- environment ---- */

enum { ENV_MAX = 16 };
static struct {
    const char *name;
    const char *value;
} env[ENV_MAX];

static inline const char *test_getenv(const char *name)
{
    for (size_t i = 0; i < ENV_MAX && env[i].name != NULL; i++)
        if (strcmp(env[i].name, name) == 0)
            return env[i].value;
    return NULL;
}

/* Borrows both; value NULL takes it away. */
static inline void env_set(const char *name, const char *value)
{
    size_t i = 0;
    while (i < ENV_MAX && env[i].name != NULL && strcmp(env[i].name, name) != 0)
        i++;
    assert_true(i < ENV_MAX);
    env[i].name = name;
    env[i].value = value;
}

/* ---- server ---- */

struct server {
    void (*answer)(struct server *server, const char *request, struct buf *out);
    void *context;
    int listen_fd;
    char url[64];
    _Atomic int requests;
    struct buf heard; /* the latest request */
    struct buf log;   /* all of them; for the test when the server was stopped */
    pthread_t thread;
};

/* One request a connection: what the function puts out is sent as it is. */
static inline void *server_run(void *context)
{
    struct server *server = context;
    for (;;) {
        int fd = accept(server->listen_fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        if (loopback_hear(fd, &server->heard)) {
            struct buf out = {0};
            atomic_fetch_add(&server->requests, 1);
            buf_put_slice(&server->log, buf_slice(&server->heard));
            buf_put_cstr(&server->log, "\n\n");
            server->answer(server, (const char *)server->heard.data, &out);
            loopback_send(fd, buf_slice(&out));
            buf_free(&out);
        }
        close(fd);
    }
}

static inline void server_start(struct server *server)
{
    int port = 0;
    server->listen_fd = loopback_listen(&port);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", port);
    assert_int_equal(pthread_create(&server->thread, NULL, server_run, server), 0);
}

static inline void server_stop(struct server *server)
{
    shutdown(server->listen_fd, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listen_fd);
    buf_free(&server->heard);
    (void)buf_cstr(&server->log);
}

static inline void server_free(struct server *server)
{
    buf_free(&server->log);
}

static inline void put_answer(struct buf *out, int status, const char *body)
{
    buf_printf(out, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n", status,
               strlen(body));
    buf_put_cstr(out, body);
}

/* ---- a provider ---- */

struct bench {
    struct http_client *http;
    struct aws_provider *provider;
    struct aws_credentials got;
    struct error err;
};

/* By a proxy; "": none. */
static inline void bench_open_by(struct bench *bench, struct aws_provider_options options,
                                 const char *proxy)
{
    *bench = (struct bench){0};
    struct http_client_options http = {.proxy = proxy};
    assert_int_equal(http_client_open(&bench->http, &http, &bench->err), OK);
    options.http = bench->http;
    options.clock = &test_clock;
    options.getenv = test_getenv;
    assert_int_equal(aws_provider_open(&bench->provider, &options, &bench->err), OK);
}

static inline void bench_open(struct bench *bench, struct aws_provider_options options)
{
    bench_open_by(bench, options, "");
}

static inline int bench_get(struct bench *bench)
{
    bench->err = (struct error){0};
    return aws_provider_get(bench->provider, &bench->got, &bench->err);
}

static inline void bench_close(struct bench *bench)
{
    aws_provider_close(bench->provider);
    http_client_close(bench->http);
    aws_credentials_free(&bench->got);
}

#define assert_key(bench, key) assert_string_equal((bench)->got.access_key, key)
#define assert_says(bench, part)                                                                   \
    do {                                                                                           \
        if (strstr((bench)->err.text, part) == NULL)                                               \
            fail_msg("\"%s\" is not in: %s", part, (bench)->err.text);                             \
    } while (0)

static inline void assert_kind(struct bench *bench, const char *wanted)
{
    char kind[AWS_KIND_SIZE];
    aws_provider_kind(bench->provider, kind);
    assert_string_equal(kind, wanted);
}

/* Logged by this library since the program began. */
static inline uint64_t warnings(void)
{
    struct log_trouble troubles[LOG_TROUBLES_MAX];
    size_t count = log_troubles(troubles);
    for (size_t i = 0; i < count; i++)
        if (strcmp(troubles[i].at, "aws") == 0)
            return troubles[i].count;
    return 0;
}

/* Before each test. */
static inline int test_setup(void **state)
{
    (void)state;
    memset(env, 0, sizeof env);
    atomic_store(&now_ms, START_MS);
    return 0;
}

#endif
