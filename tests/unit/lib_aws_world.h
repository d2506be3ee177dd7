/* SPDX-License-Identifier: Apache-2.0
 *
 * A server that plays STS, the container's and the instance's service, and a folder that plays
 * the home.
 */
#ifndef TESTS_UNIT_LIB_AWS_WORLD_H
#define TESTS_UNIT_LIB_AWS_WORLD_H

#include "tests/unit/lib_aws_support.h"

#include <signal.h>

#include "lib/aws/internal.h"

#define NOBODY "http://127.0.0.1:1"

/* The answer to requests that begin so; the first that fits. */
struct route {
    const char *begin;
    int status;
    const char *body;
};

static struct route routes[8];
static pthread_mutex_t routes_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void route_set(size_t i, const char *begin, int status, const char *body)
{
    pthread_mutex_lock(&routes_lock);
    routes[i] = (struct route){begin, status, body};
    pthread_mutex_unlock(&routes_lock);
}

static inline void answer_routes(struct server *server, const char *request, struct buf *out)
{
    (void)server;
    pthread_mutex_lock(&routes_lock);
    for (size_t i = 0; i < 8 && routes[i].begin != NULL; i++) {
        if (strncmp(request, routes[i].begin, strlen(routes[i].begin)) != 0)
            continue;
        if (routes[i].status == 0) /* as it is */
            buf_put_cstr(out, routes[i].body);
        else
            put_answer(out, routes[i].status, routes[i].body);
        break;
    }
    if (out->len == 0)
        put_answer(out, 404, "");
    pthread_mutex_unlock(&routes_lock);
}

static char home[64];

static inline char *home_path(const char *name)
{
    return memory_printf("%s/%s", home, name);
}

static inline void home_write(const char *name, const char *text)
{
    struct error err;
    char *path = home_path(name);
    assert_int_equal(file_replace(path, slice_cstr(text), 0600, &err), OK);
    free(path);
}

static inline int setup(void **state)
{
    struct error err;
    test_setup(state);
    memset(routes, 0, sizeof routes);
    snprintf(home, sizeof home, "/tmp/lib_aws_chain.XXXXXX");
    assert_non_null(mkdtemp(home));
    char *folder = home_path(".aws");
    assert_int_equal(file_make_directories(folder, 0700, &err), OK);
    free(folder);
    env_set("HOME", home);
    env_set("AWS_REGION", "eu-west-1");
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    struct error err;
    assert_int_equal(file_remove_tree(home, &err), OK);
    return 0;
}

static struct server server;

/* The server is all of AWS. */
static inline void start(struct bench *bench, struct aws_provider_options options)
{
    server = (struct server){.answer = answer_routes};
    server_start(&server);
    if (options.sts_url == NULL)
        options.sts_url = server.url;
    if (options.container_url == NULL)
        options.container_url = server.url;
    if (options.imds_url == NULL)
        options.imds_url = NOBODY;
    bench_open(bench, options);
}

static inline void stop(struct bench *bench)
{
    bench_close(bench);
    server_stop(&server);
}

#define assert_heard(part)                                                                         \
    do {                                                                                           \
        if (strstr((const char *)server.log.data, part) == NULL)                                   \
            fail_msg("\"%s\" was not heard: %s", part, (const char *)server.log.data);             \
    } while (0)
#define assert_not_heard(part) assert_null(strstr((const char *)server.log.data, part))

#define STS(ACTION, KEY, EXPIRATION)                                                               \
    "<" ACTION "Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><" ACTION             \
    "Result><Credentials><AccessKeyId>" KEY                                                        \
    "</AccessKeyId><SecretAccessKey>s3cret</SecretAccessKey><SessionToken>tok/en+1=</"             \
    "SessionToken><Expiration>" EXPIRATION "</Expiration></Credentials></" ACTION                  \
    "Result></" ACTION "Response>"
#define STS_ERROR(CODE, MESSAGE)                                                                   \
    "<ErrorResponse><Error><Type>Sender</Type><Code>" CODE "</Code><Message>" MESSAGE              \
    "</Message></Error></ErrorResponse>"
#define WEB "AssumeRoleWithWebIdentity"

#endif
