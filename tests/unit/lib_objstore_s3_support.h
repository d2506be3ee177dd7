/* SPDX-License-Identifier: Apache-2.0
 *
 * A store in S3 over a server of the test's own, which plays a script: each request must be the
 * next one in it, on a connection of its own.
 */
#ifndef TESTS_UNIT_LIB_OBJSTORE_S3_SUPPORT_H
#define TESTS_UNIT_LIB_OBJSTORE_S3_SUPPORT_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/objstore/s3.h"
#include "lib/objstore/s3_multipart.h"
#include "tests/unit/loopback.h"

/* Each test program takes what it needs. */
#pragma GCC diagnostic ignored "-Wunused-function"

enum { STEPS_MAX = 128 };

struct step {
    const char *expect; /* beginning of the request; NULL: the script is at its end */
    const char *status; /* "200 OK"; NULL: closed without an answer; "": silence */
    const char *fields; /* each with CR LF; NULL: none */
    const char *body;   /* NULL: none, and no length */
};

struct bench {
    int listen_fd;
    pthread_t thread;
    char endpoint[64];
    struct step steps[STEPS_MAX];
    _Atomic size_t heard_count;
    struct buf heard[STEPS_MAX + 1]; /* requests, whole */
    char complaint[300];
    const struct clock *clock; /* NULL: the system's */
    bool (*stop)(void *context);
    void *stop_context;
    struct objstore *store;
    struct error err;
};

/* A clock that stands still, but for sleep; its context is the monotonic time. */
static int64_t stub_wall_us(void *context)
{
    (void)context;
    return INT64_C(1790000000) * 1000000;
}

static int64_t stub_mono_ms(void *context)
{
    return *(int64_t *)context;
}

static void stub_sleep_ms(void *context, int64_t ms)
{
    *(int64_t *)context += ms;
}

static const char *test_getenv(const char *name)
{
    return strcmp(name, "AWS_ACCESS_KEY_ID") == 0       ? "AKTEST"
           : strcmp(name, "AWS_SECRET_ACCESS_KEY") == 0 ? "verysecret"
           : strcmp(name, "AWS_SESSION_TOKEN") == 0     ? "verytoken"
                                                        : NULL;
}

static void answer(int fd, const struct step *step)
{
    struct buf out = {0};
    buf_printf(&out, "HTTP/1.1 %s\r\nConnection: close\r\n%s", step->status,
               step->fields != NULL ? step->fields : "");
    if (step->body != NULL)
        buf_printf(&out, "Content-Length: %zu\r\n", strlen(step->body));
    buf_printf(&out, "\r\n%s", step->body != NULL ? step->body : "");
    loopback_send(fd, buf_slice(&out));
    buf_free(&out);
}

static void *serve(void *context)
{
    struct bench *bench = context;
    for (;;) {
        int fd = accept(bench->listen_fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        struct buf *heard = &bench->heard[bench->heard_count];
        if (bench->heard_count < STEPS_MAX && loopback_hear(fd, heard)) {
            const struct step *step = &bench->steps[bench->heard_count];
            if (step->expect == NULL ||
                strncmp(buf_cstr(heard), step->expect, strlen(step->expect)) != 0)
                snprintf(bench->complaint, sizeof bench->complaint, "request %zu is %.100s, not %s",
                         bench->heard_count, buf_cstr(heard),
                         step->expect != NULL ? step->expect : "expected");
            bench->heard_count++;
            char ignored;
            if (step->status != NULL && step->status[0] == 0)
                (void)recv(fd, &ignored, 1, 0); /* until the other has enough of it */
            else if (step->status != NULL && bench->complaint[0] == 0)
                answer(fd, step);
        }
        close(fd);
    }
}

static void bench_open(struct bench *bench)
{
    int port = 0;
    bench->listen_fd = loopback_listen(&port);
    snprintf(bench->endpoint, sizeof bench->endpoint, "http://127.0.0.1:%d", port);
    assert_int_equal(pthread_create(&bench->thread, NULL, serve, bench), 0);
    struct objstore_s3 s3 = {.region = "us-east-1",
                             .endpoint = bench->endpoint,
                             .part_bytes = S3_PART_BYTES_MIN,
                             .concurrency = 1,
                             .sse = "aws:kms",
                             .kms_key_id = "key-1",
                             .getenv = test_getenv};
    struct objstore_options options = {.clock = bench->clock,
                                       .parallel = 1,
                                       .stop = bench->stop,
                                       .stop_context = bench->stop_context,
                                       .s3 = &s3};
    assert_int_equal(objstore_open(&bench->store, "s3://lake/wh", &options, &bench->err), OK);
}

/* All of the script was played and nothing else was asked. */
static void bench_close(struct bench *bench)
{
    size_t wanted = 0;
    objstore_close(bench->store);
    shutdown(bench->listen_fd, SHUT_RDWR);
    pthread_join(bench->thread, NULL);
    close(bench->listen_fd);
    while (wanted < STEPS_MAX && bench->steps[wanted].expect != NULL)
        wanted++;
    if (bench->complaint[0] != 0)
        fail_msg("%s", bench->complaint);
    assert_int_equal(bench->heard_count, wanted);
    assert_null(strstr(bench->err.text, "verysecret"));
    assert_null(strstr(bench->err.text, "verytoken"));
    for (size_t i = 0; i <= STEPS_MAX; i++)
        buf_free(&bench->heard[i]);
}

static bool was_said(struct bench *bench, size_t request, const char *text)
{
    const char *heard = buf_cstr(&bench->heard[request]);
    const char *end = strstr(heard, "\r\n\r\n");
    const char *at = strstr(heard, text);
    return at != NULL && at < end;
}

#define XML_ERROR(code) "<Error><Code>" code "</Code><Message>so it is</Message></Error>"
#define SLOW(line, fields)                                                                         \
    {                                                                                              \
        line, "503 No", fields, XML_ERROR("SlowDown")                                              \
    }
#define PUT_A "PUT /lake/wh/a HTTP/1.1"
#define HEAD_A "HEAD /lake/wh/a HTTP/1.1"
#define GET_A "GET /lake/wh/a HTTP/1.1"
#define DATE "Date: Sat, 21 Nov 2026 10:00:00 GMT\r\n"
#define CRC_HELLO "x-amz-checksum-crc32c: mnG7TA==\r\n"

#endif
