/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/operations.h"

#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "agent/source/source.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/http/http.h"

#include "agent/page.inc"

enum {
    BACKLOG = 64,
    IDLE_MS = 30000,
    REQUEST_MS = 10000,
    BODY_BYTES_MAX = 64 << 10,
    WITHIN_DIGITS_MAX = 12, /* 30 years in ms */
};

struct operations {
    struct operations_options options;
    struct http_server *server;
    struct buf page_fields;
};

static const char plain[] = "text/plain; charset=utf-8";
static const char json[] = "application/json";
static const char html[] = "text/html; charset=utf-8";

static void respond(struct http_request *request, unsigned status, const char *type,
                    struct slice text)
{
    static const char fields[] = "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
    http_answer(request, &(struct http_answer){
                             .status = status, .type = type, .fields = fields, .body = text});
}

static void refuse_method(struct http_request *request, const char *allowed)
{
    char fields[100];
    snprintf(fields, sizeof fields,
             "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nAllow: %s\r\n",
             allowed);
    http_answer(request, &(struct http_answer){.status = 405,
                                               .type = plain,
                                               .fields = fields,
                                               .body = slice_cstr("the method is not allowed\n")});
}

/* ---- the page ---- */

static void put_hash(struct buf *policy, const char *open, const char *close)
{
    uint8_t hash[SHA256_SIZE];
    const char *from = strstr(page_index, open);
    ASSERT(from != NULL);
    from += strlen(open);
    const char *to = strstr(from, close);
    ASSERT(to != NULL);
    sha256(slice_of(from, (size_t)(to - from)), hash);
    buf_put_cstr(policy, "'sha256-");
    base64_encode(slice_of(hash, sizeof hash), policy);
    buf_put_cstr(policy, "'");
}

/* The page's own style and script and nothing else: should text that came from elsewhere ever get
 * into the page as markup, nothing of it runs and nothing leaves the machine. */
static void put_policy(struct buf *policy)
{
    buf_put_cstr(policy, "default-src 'none'; connect-src 'self'; img-src data:; style-src ");
    put_hash(policy, "<style>", "</style>");
    buf_put_cstr(policy, "; script-src ");
    put_hash(policy, "<script>", "</script>");
    buf_put_cstr(policy, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
}

/* The page's own fields, made once. */
static void make_fields(struct buf *fields)
{
    buf_put_cstr(fields,
                 "Cache-Control: no-cache\r\nX-Content-Type-Options: nosniff\r\n"
                 "Referrer-Policy: no-referrer\r\nCross-Origin-Opener-Policy: same-origin\r\n"
                 "Content-Security-Policy: ");
    put_policy(fields);
    buf_put_cstr(fields, "\r\n");
}

static void respond_page(struct operations *operations, struct http_request *request)
{
    http_answer(request, &(struct http_answer){.status = 200,
                                               .type = html,
                                               .fields = buf_cstr(&operations->page_fields),
                                               .body = slice_cstr(page_index)});
}

/* ---- who asks ---- */

/* A name that somebody points at this machine makes a page of his one of ours, which could read
 * and command all; an address does not, and the machine's own name is nobody else's. */
static bool host_is_ours(const struct operations *operations, struct slice host)
{
    size_t len = 0;
    bool digits = true;
    for (; len < host.len && host.data[len] != ':'; len++)
        digits =
            digits && (host.data[len] == '.' || (host.data[len] >= '0' && host.data[len] <= '9'));
    struct slice name = slice_of(host.data, len);
    return host.data == NULL || (len > 0 && (digits || host.data[0] == '[')) ||
           slice_is_word(name, "localhost") ||
           (len > 0 && slice_is_word(name, operations->options.host));
}

/* What probes and Prometheus ask for, by whatever name they know the machine. */
static bool is_for_all(struct slice path)
{
    return slice_is(path, "/metrics") || slice_is(path, "/healthz") || slice_is(path, "/readyz");
}

/* ---- commands ---- */

static bool is_command(struct slice path)
{
    return slice_is(path, "/v1/flush") || slice_is(path, "/v1/drain");
}

/* Of a query that is "within_ms=NUMBER"; -1: there is none. False: it is something else. */
static bool take_within(struct slice query, int64_t *within_ms)
{
    static const char name[] = "within_ms=";
    const size_t len = sizeof name - 1;
    *within_ms = -1;
    if (query.len == 0)
        return true;
    if (query.len <= len || query.len > len + WITHIN_DIGITS_MAX ||
        memcmp(query.data, name, len) != 0)
        return false;
    *within_ms = 0;
    for (size_t i = len; i < query.len; i++) {
        if (query.data[i] < '0' || query.data[i] > '9')
            return false;
        *within_ms = *within_ms * 10 + (query.data[i] - '0');
    }
    return true;
}

static void command(struct operations *operations, struct http_request *request)
{
    const struct operations_options *options = &operations->options;
    const struct http_head *head = request->head;
    int64_t within_ms = -1;
    bool flush = slice_is(head->path, "/v1/flush");
    if (!is_command(head->path)) {
        respond(request, 404, plain, slice_cstr("commands are /v1/flush, /v1/drain\n"));
    } else if (http_field(head, "X-Bidlake-Operation").data == NULL) {
        respond(request, 403, plain, slice_cstr("the header X-Bidlake-Operation is missing\n"));
    } else if (!flush && !take_within(head->query, &within_ms)) {
        respond(request, 400, plain, slice_cstr("a drain knows ?within_ms=NUMBER alone\n"));
    } else {
        if (flush)
            options->flush(options->context);
        else
            options->drain(options->context, within_ms);
        respond(request, 202, plain, slice_cstr("begun\n"));
    }
}

/* ---- what is to be seen ---- */

static bool has_text(struct slice text, const char *wanted)
{
    return text.len > 0 && memmem(text.data, text.len, wanted, strlen(wanted)) != NULL;
}

static void show_readiness(const struct operations_options *options, struct http_request *request,
                           struct buf *text)
{
    bool as_json = slice_is(request->head->query, "format=json") ||
                   has_text(http_field(request->head, "Accept"), json);
    bool ready = options->ready(options->context, as_json, text);
    respond(request, ready ? 200 : 503, as_json ? json : plain, buf_slice(text));
}

static void show(struct operations *operations, struct http_request *request)
{
    const struct operations_options *options = &operations->options;
    const struct {
        const char *path;
        const char *type;
        void (*write)(void *context, struct buf *out);
    } texts[] = {{"/metrics", "text/plain; version=0.0.4; charset=utf-8", options->metrics},
                 {"/v1/status", json, options->status},
                 {"/v1/history", json, options->history}};
    struct slice path = request->head->path;
    if (slice_is(path, "/")) {
        respond_page(operations, request);
        return;
    }
    if (slice_is(path, "/healthz")) {
        respond(request, 200, plain, slice_cstr("ok\n"));
        return;
    }
    struct buf text = {0};
    if (slice_is(path, "/readyz")) {
        show_readiness(options, request, &text);
        buf_free(&text);
        return;
    }
    if (slice_is(path, "/v1/drain")) {
        options->ending(options->context, !slice_is(request->head->method, "HEAD"), &text);
        respond(request, 200, json, buf_slice(&text));
        buf_free(&text);
        return;
    }
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (slice_is(path, texts[i].path)) {
            texts[i].write(options->context, &text);
            respond(request, 200, texts[i].type, buf_slice(&text));
            buf_free(&text);
            return;
        }
    }
    respond(request, 404, plain,
            slice_cstr("paths are /, /healthz, /readyz, /metrics, /v1/status, /v1/history, "
                       "/v1/drain\n"));
}

/* ---- the server's calls ---- */

/* Nobody here wants a body: it is read and left alone, up to a bound. */
static void on_begin(void *context, struct http_request *request)
{
    (void)context;
    request->user = NULL;
    if (request->head->chunked || request->head->length > BODY_BYTES_MAX)
        respond(request, 413, plain, slice_cstr("no body is wanted here\n"));
}

static void on_body(void *context, struct http_request *request, struct slice bytes)
{
    (void)context;
    (void)request;
    (void)bytes;
}

static void on_whole(void *context, struct http_request *request)
{
    struct operations *operations = context;
    const struct http_head *head = request->head;
    struct slice method = head->method;
    if (!is_for_all(head->path) && !host_is_ours(operations, http_field(head, "Host")))
        respond(request, 403, plain,
                slice_cstr("this is for those who come by an address, localhost or the machine's "
                           "own name; by any: /healthz, /readyz, /metrics\n"));
    else if (slice_is(method, "POST"))
        command(operations, request);
    else if (slice_is(method, "GET") || slice_is(method, "HEAD"))
        show(operations, request);
    else
        refuse_method(request, slice_is(head->path, "/v1/drain") ? "GET, HEAD, POST"
                               : is_command(head->path)          ? "POST"
                                                                 : "GET, HEAD");
}

static void on_end(void *context, struct http_request *request)
{
    (void)context;
    (void)request;
}

static void put_fault(void *context, unsigned status, const char *text, struct buf *out)
{
    (void)context;
    buf_printf(out, "{\"status\":%u,\"error\":\"%s\"}\n", status, text);
}

/* Every answer is given at once: nothing is resumed. */
static const struct http_handler handler = {.begin = on_begin,
                                            .body = on_body,
                                            .whole = on_whole,
                                            .end = on_end,
                                            .fault = put_fault,
                                            .fault_type = json};

int operations_open(struct operations **out, const struct operations_options *options,
                    struct error *err)
{
    char bound[SOURCE_ADDRESS_MAX];
    struct operations *operations = memory_alloc(1, sizeof *operations);
    struct http_options http = {.handler = &handler,
                                .context = operations,
                                .connections_max = OPERATIONS_CONNECTIONS_MAX,
                                .idle_ms = IDLE_MS,
                                .head_ms = REQUEST_MS,
                                .body_ms = REQUEST_MS};
    operations->options = *options;
    make_fields(&operations->page_fields);
    int rc = source_listen(options->address, BACKLOG, SOURCE_ALONE, &http.listen_fd, bound, err);
    if (rc == OK)
        rc = http_open(&operations->server, &http, err);
    if (rc != OK) {
        operations_close(operations);
        return error_wrap(err, "operations");
    }
    log_event(LOG_LEVEL_INFO, "daemon", "listening", "kind=operations address=%s", bound);
    *out = operations;
    return OK;
}

void operations_close(struct operations *operations)
{
    if (operations == NULL)
        return;
    http_close(operations->server);
    buf_free(&operations->page_fields);
    free(operations);
}
