/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP: POST /v1/events/{table} and GET /px/{table}, over lib/http. This file is the door: where
 * it listens, which request goes where, whose token fits, how much is read. What becomes of a
 * request that is whole is in request.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/source/worker.h"
#include "lib/base/memory.h"

enum {
    BACKLOG = 4096,
    HELD_BYTES_DEFAULT = 64 << 20,
};

/* ---- requests ---- */

/* Behind the prefix; data NULL when the path has another. */
static struct slice after(struct slice path, const char *prefix)
{
    size_t len = strlen(prefix);
    if (path.len < len || memcmp(path.data, prefix, len) != 0)
        return (struct slice){0};
    return slice_of(path.data + len, path.len - len);
}

/* In constant time for tokens of one length: what a guess has right must not show. */
static bool token_fits(struct event_source *source, struct slice given)
{
    char token[TOKEN_SIZE];
    pthread_mutex_lock(&source->token_lock);
    memcpy(token, source->token, sizeof token);
    pthread_mutex_unlock(&source->token_lock);
    if (token[0] == 0)
        return true;
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof scheme - 1;
    size_t len = strlen(token);
    if (given.len != skip + len || strncasecmp((const char *)given.data, scheme, skip) != 0)
        return false;
    unsigned char differs = 0;
    for (size_t i = 0; i < len; i++)
        differs |= (unsigned char)(given.data[skip + i] ^ (unsigned char)token[i]);
    return differs == 0;
}

static void route(struct request *request)
{
    struct event_source *source = request->source;
    const struct http_head *head = request->http->head;
    buf_reset(&source->path);
    http_percent_decode(head->path, false, &source->path);
    struct slice table = after(buf_slice(&source->path), "/v1/events/");
    if (table.data == NULL) {
        table = after(buf_slice(&source->path), "/px/");
        request->pixel = table.data != NULL;
    }
    request->table =
        table.data != NULL ? capture_find_table(source->options.capture, table) : SIZE_MAX;
    if (table.data == NULL)
        request_refuse(request, 404, "no_such_path",
                       "paths are /v1/events/{table} and /px/{table}");
    else if (request->table == SIZE_MAX)
        request_refuse(request, 404, "no_such_table",
                       "the tables are those of the agent's configuration");
    else if (!slice_is(head->method, request->pixel ? "GET" : "POST"))
        request_refuse(request, 405, "method_not_allowed", request->pixel ? "GET" : "POST");
    else if (!request->pixel && !token_fits(source, http_field(head, "Authorization")))
        request_refuse(request, 401, "unauthorized", "a bearer token is asked for");
}

static void refuse_large(struct request *request)
{
    char detail[100];
    snprintf(detail, sizeof detail, "a body may have %zu bytes (http.body_bytes)",
             atomic_load(&request->source->body_bytes_max));
    if (request->status == 0)
        request_refuse(request, 413, "too_large", detail);
}

static void on_begin(void *context, struct http_request *http)
{
    struct event_source *source = context;
    struct request *request = memory_alloc(1, sizeof *request);
    request->source = source;
    request->http = http;
    http->user = request;
    atomic_fetch_add(&source->requests, 1);
    route(request);
    bool large =
        http->head->has_length && http->head->length > atomic_load(&source->body_bytes_max);
    if (large)
        refuse_large(request);
    /* Before a byte of the body is sent. */
    if (large || (request->status != 0 && http->head->expects_continue))
        request_answer(request);
}

/* Of a request that is refused already, and of a pixel, which has no use for one, the body is
 * read all the same, up to the limit: so the connection can go on. Nothing of it is kept. */
static void on_body(void *context, struct http_request *http, struct slice bytes)
{
    struct event_source *source = context;
    struct request *request = http->user;
    bool kept = request->status == 0 && !request->pixel;
    request->bytes += bytes.len;
    if (request->bytes > atomic_load(&source->body_bytes_max)) {
        refuse_large(request);
        request_release_body(request);
        request_answer(request);
    } else if (kept &&
               atomic_load(&source->held) + bytes.len > atomic_load(&source->held_bytes_max)) {
        request_refuse(request, 503, "full", "too many bodies are under way");
        request_release_body(request);
    } else if (kept) {
        atomic_fetch_add(&source->held, bytes.len);
        buf_put_slice(&request->body, bytes);
    }
}

static void on_whole(void *context, struct http_request *http)
{
    struct event_source *source = context;
    struct request *request = http->user;
    enum request_outcome outcome = REQUEST_DECIDED;
    atomic_fetch_add(&source->bytes, request->bytes);
    request->head = http->head;
    source->desk.text_bytes_max = effort_bytes_max(&source->effort);
    if (request->status == 0)
        outcome = request_take(request, &source->desk);
    if (outcome == REQUEST_LARGE && !worker_put(source->worker, request))
        outcome = REQUEST_DECIDED;
    if (outcome == REQUEST_DECIDED)
        request_answer(request);
}

static void on_resumed(void *context, struct http_request *http)
{
    (void)context;
    request_answer(http->user);
}

static void on_end(void *context, struct http_request *http)
{
    struct request *request = http->user;
    (void)context;
    if (request->key != NULL)
        dedup_entry_free(&request->key->entry);
    free(request->key);
    request_release_body(request);
    buf_free(&request->errors);
    free(request->own_head);
    free(request);
}

static void on_fault(void *context, unsigned status, const char *text, struct buf *out)
{
    (void)context;
    request_put_refusal(out,
                        status == 503                    ? "full"
                        : status == 408                  ? "timeout"
                        : status == 414 || status == 431 ? "too_large"
                                                         : "bad_request",
                        text);
}

static const struct http_handler handler = {.begin = on_begin,
                                            .body = on_body,
                                            .whole = on_whole,
                                            .resumed = on_resumed,
                                            .end = on_end,
                                            .fault = on_fault,
                                            .fault_type = "application/json"};

/* ---- open and close ---- */

/* `token` has TOKEN_SIZE characters; "" when the options name no file. */
static int read_token(const char *path, char *token, struct error *err)
{
    token[0] = 0;
    if (path == NULL || path[0] == 0)
        return OK;
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int rc = error_errno(err, "open");
        return rc == OK ? OK : error_wrap(err, "http.token_file %s", path);
    }
    size_t len = fread(token, 1, TOKEN_SIZE - 1, file);
    fclose(file);
    bool whole = len < TOKEN_SIZE - 1;
    while (len > 0 && (token[len - 1] == '\n' || token[len - 1] == '\r'))
        len--;
    token[len] = 0;
    if (len == 0 || !whole)
        return error_set(err, ERROR_INPUT,
                         "http.token_file %s: wants one line of 1 to %d characters", path,
                         TOKEN_SIZE - 2);
    return OK;
}

int source_check_token(const char *path, struct error *err)
{
    char token[TOKEN_SIZE] = {0};
    return read_token(path, token, err);
}

static struct http_options server_limits(const struct source_options *options)
{
    return (struct http_options){.connections_max = options->connections_max,
                                 .idle_ms = options->idle_ms,
                                 .head_ms = options->head_ms,
                                 .body_ms = options->body_ms};
}

static int reload_source(struct event_source *source, const struct source_options *options,
                         struct error *err)
{
    char token[TOKEN_SIZE] = {0};
    int rc = read_token(options->token_file, token, err);
    if (rc != OK)
        return rc;
    atomic_store(&source->body_bytes_max, options->body_bytes_max);
    atomic_store(&source->expanded_bytes_max, options->expanded_bytes_max);
    atomic_store(&source->held_bytes_max,
                 options->held_bytes_max > 0 ? options->held_bytes_max : HELD_BYTES_DEFAULT);
    pthread_mutex_lock(&source->token_lock);
    memcpy(source->token, token, sizeof token);
    pthread_mutex_unlock(&source->token_lock);
    struct http_options http = server_limits(options);
    if (source->server != NULL) /* it is open already */
        http_set_limits(source->server, &http);
    return OK;
}

static void close_source(struct event_source *source)
{
    if (source == NULL)
        return;
    http_close(source->server);
    worker_close(source->worker);
    desk_close(&source->desk);
    buf_free(&source->path);
    pthread_mutex_destroy(&source->token_lock);
    free(source);
}

static int start_server(struct event_source *source, struct error *err)
{
    const struct source_options *options = &source->options;
    struct http_options http = server_limits(options);
    http.handler = &handler;
    http.context = source;
    int rc = source_listen(options->address, BACKLOG, options->share, &http.listen_fd,
                           source->address, err);
    return rc != OK ? rc : http_open(&source->server, &http, err);
}

static int open_source(struct event_source **out, const struct source_options *options,
                       struct error *err)
{
    struct event_source *source = memory_alloc(1, sizeof *source);
    source->options = *options;
    pthread_mutex_init(&source->token_lock, NULL);
    int rc = reload_source(source, options, err);
    if (rc == OK)
        rc = desk_open(&source->desk, options->capture, EFFORT_BYTES_MAX, err);
    if (rc == OK)
        rc = worker_open(&source->worker, options->capture, err);
    if (rc == OK)
        rc = start_server(source, err);
    if (rc != OK) {
        close_source(source);
        return rc;
    }
    *out = source;
    return OK;
}

/* New connections stay in the queue of the listening socket: the next agent takes them if it
 * is systemd's, they end with it if not. Requests that were begun are answered. */
static void pause_source(struct event_source *source)
{
    http_pause(source->server);
}

static void read_statistics(struct event_source *source, struct source_statistics *out)
{
    struct http_statistics http;
    http_statistics(source->server, &http);
    *out = (struct source_statistics){.requests = atomic_load(&source->requests),
                                      .bytes = atomic_load(&source->bytes),
                                      .connections = http.connections,
                                      .turned_away = http.turned_away,
                                      .timed_out = http.timed_out,
                                      .unresolved_macros = atomic_load(&source->unresolved_macros)};
    memcpy(out->address, source->address, sizeof out->address);
    memcpy(out->answered, http.answered, sizeof out->answered);
}

const struct source_ops source_http = {.kind = "http",
                                       .open = open_source,
                                       .reload = reload_source,
                                       .pause = pause_source,
                                       .close = close_source,
                                       .statistics = read_statistics};
