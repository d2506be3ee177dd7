/* SPDX-License-Identifier: Apache-2.0
 *
 * A REST catalog over a server of the test's own: a thread that gives one answer after the other,
 * each on its own connection, and keeps what it heard.
 */
#ifndef TESTS_UNIT_CLOUD_REST_SUPPORT_H
#define TESTS_UNIT_CLOUD_REST_SUPPORT_H

#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cloud/catalog/rest.h"
#include "lib/base/file.h"
#include "tests/unit/cloud_fixture.h"
#include "tests/unit/loopback.h"

enum { ANSWERS_MAX = 32 };

struct rest_server {
    int listen_fd;
    char url[64];
    size_t count;
    char *answers[ANSWERS_MAX]; /* "": the connection is cut after the request */
    size_t heard_count;
    struct buf heard[ANSWERS_MAX];
    int64_t took_ms[ANSWERS_MAX]; /* how long each was waited for, by the bench's clock */
    pthread_t thread;
};

struct rest_bench {
    struct rest_server server;
    struct memory_store *bytes;
    struct objstore *store;
    struct clock clock;
    int64_t wall_ms;
    int64_t mono_ms;
    struct catalog_rest_options rest;
    struct catalog *catalog;
    char file[32]; /* "": none was written */
    struct error err;
};

static void *server_run(void *context)
{
    struct rest_server *server = context;
    while (server->heard_count < server->count) {
        int fd = accept(server->listen_fd, NULL, NULL);
        if (fd < 0)
            break;
        size_t i = server->heard_count;
        if (loopback_hear(fd, &server->heard[i])) {
            server->heard_count++; /* before the client can look */
            loopback_send(fd, slice_cstr(server->answers[i]));
        }
        close(fd);
    }
    return NULL;
}

/* The next answer; `fields` are whole lines with "\r\n". */
static void answer_with(struct rest_bench *b, int status, const char *fields, const char *body)
{
    assert_true(b->server.count < ANSWERS_MAX);
    b->server.answers[b->server.count++] =
        status == 0
            ? memory_copy_cstr("")
            : memory_printf("HTTP/1.1 %d X\r\nConnection: close\r\n%sContent-Length: %zu\r\n"
                            "\r\n%s",
                            status, fields, strlen(body), body);
}

static void answer(struct rest_bench *b, int status, const char *body)
{
    answer_with(b, status, "", body);
}

static int64_t bench_wall_us(void *context)
{
    return ((struct rest_bench *)context)->wall_ms * 1000;
}

static int64_t bench_mono_ms(void *context)
{
    const struct rest_bench *b = context;
    int64_t ms = b->mono_ms;
    for (size_t i = 0; i < b->server.heard_count; i++)
        ms += b->server.took_ms[i];
    return ms;
}

static void bench_sleep_ms(void *context, int64_t ms)
{
    ((struct rest_bench *)context)->mono_ms += ms;
}

/* All answers are given before the first request. */
static void server_begin(struct rest_bench *b)
{
    assert_int_equal(pthread_create(&b->server.thread, NULL, server_run, &b->server), 0);
}

static int bench_open(struct rest_bench *b)
{
    struct catalog_options options = {.store = b->store, .clock = &b->clock, .rest = &b->rest};
    char *spec = memory_printf("rest:%s/", b->server.url);
    server_begin(b);
    int rc = catalog_open(&b->catalog, spec, &options, &b->err);
    free(spec);
    return rc;
}

static void bench_open_well(struct rest_bench *b)
{
    if (bench_open(b) != OK)
        fail_msg("%s", b->err.text);
}

/* The request that was heard as number i has this in it. */
static void assert_heard(struct rest_bench *b, size_t i, const char *text)
{
    assert_true(i < b->server.heard_count);
    if (strstr(buf_cstr(&b->server.heard[i]), text) == NULL)
        fail_msg("no \"%s\" in:\n%s", text, buf_cstr(&b->server.heard[i]));
}

static void assert_not_heard(struct rest_bench *b, size_t i, const char *text)
{
    assert_true(i < b->server.heard_count);
    if (strstr(buf_cstr(&b->server.heard[i]), text) != NULL)
        fail_msg("\"%s\" in:\n%s", text, buf_cstr(&b->server.heard[i]));
}

/* The file that the bench may name, as somebody mounts a secret. */
static void bench_write(struct rest_bench *b, const char *text)
{
    if (*b->file == 0) {
        snprintf(b->file, sizeof b->file, "/tmp/bidlake_secret_XXXXXX");
        int fd = mkstemp(b->file);
        assert_true(fd >= 0);
        close(fd);
    }
    assert_int_equal(file_replace(b->file, slice_cstr(text), 0600, &b->err), OK);
}

static int bench_setup(void **state)
{
    struct rest_bench *b = memory_alloc(1, sizeof *b);
    int port = 0;
    b->wall_ms = INT64_C(1790000000000);
    b->mono_ms = 5000;
    b->clock = (struct clock){bench_wall_us, bench_mono_ms, bench_sleep_ms, b};
    b->bytes = memory_store_make(&b->clock);
    b->store = memory_store_attach(b->bytes, NULL, NULL);
    b->server.listen_fd = loopback_listen(&port);
    snprintf(b->server.url, sizeof b->server.url, "http://127.0.0.1:%d/cat", port);
    *state = b;
    return 0;
}

static int bench_teardown(void **state)
{
    struct rest_bench *b = *state;
    shutdown(b->server.listen_fd, SHUT_RDWR);
    if (b->server.thread != 0)
        pthread_join(b->server.thread, NULL);
    close(b->server.listen_fd);
    for (size_t i = 0; i < b->server.count; i++) {
        free(b->server.answers[i]);
        buf_free(&b->server.heard[i]);
    }
    if (*b->file != 0)
        unlink(b->file);
    catalog_close(b->catalog);
    objstore_close(b->store);
    memory_store_free(b->bytes);
    free(b);
    return 0;
}

#define CONFIG "{\"defaults\":{\"prefix\":\"p%7Cq\"},\"overrides\":{}}"

/* A LoadTableResult of a real table; more members go behind it. */
static char *table_answer(const char *more)
{
    struct mapping mapping;
    struct error err;
    json_t *metadata = NULL;
    fixture_mapping(&mapping);
    json_t *request = json_pack(
        "{s:o,s:o,s:o,s:{}}", "schema", table_schema_to_iceberg(&mapping.schema), "partition-spec",
        partition_spec_to_iceberg(&mapping.schema, &mapping.schema.specs[0]), "write-order",
        sort_order_to_iceberg(&mapping.schema), "properties");
    int rc = metadata_create(&metadata, request, "01900000-0000-7000-8000-00000000000a",
                             "memory:/db/t", INT64_C(1790000000000), &err);
    if (rc != OK)
        fail_msg("%s", err.text);
    char *text = json_dumps(metadata, JSON_COMPACT);
    char *out = memory_printf("{\"metadata-location\":\"memory:/db/t/metadata/1.json\","
                              "\"metadata\":%s%s}",
                              text, more);
    free(text);
    json_decref(metadata);
    json_decref(request);
    table_schema_free(&mapping.schema);
    return out;
}

#define WIRE(test) cmocka_unit_test_setup_teardown(test, bench_setup, bench_teardown)

#define ERROR_BODY(type, message)                                                                  \
    "{\"error\":{\"message\":\"" message "\",\"type\":\"" type "\",\"code\":0}}"

#define NOTHING ERROR_BODY("NoSuchTableException", "it isn't there")

#define TOKEN(text, seconds)                                                                       \
    "{\"access_token\":\"" text "\",\"token_type\":\"bearer\",\"expires_in\":" seconds "}"

static int commit(struct rest_bench *b)
{
    json_t *list = json_array();
    int rc = catalog_commit(b->catalog, "db", "t", NULL, list, list, NULL, &b->err);
    json_decref(list);
    return rc;
}

static int ask(struct rest_bench *b, struct catalog_table *out, bool *found)
{
    return catalog_load_table(b->catalog, "db", "t", out, found, &b->err);
}

static int load_code(struct rest_bench *b)
{
    struct catalog_table table = {0};
    bool found = false;
    int rc = ask(b, &table, &found);
    catalog_table_free(&table);
    return rc;
}

static void load_none(struct rest_bench *b)
{
    struct catalog_table table = {0};
    bool found = true;
    if (ask(b, &table, &found) != OK)
        fail_msg("%s", b->err.text);
    assert_false(found);
}

static void load_well(struct rest_bench *b)
{
    struct catalog_table table = {0};
    bool found = false;
    if (ask(b, &table, &found) != OK)
        fail_msg("%s", b->err.text);
    assert_true(found);
    assert_string_equal(table.metadata_location, "memory:/db/t/metadata/1.json");
    catalog_table_free(&table);
}

#endif
