/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and what they ask for. A request that waits for a turn is in `waiting` until the
 * server has done with it; it is resumed once, by the turn that it waited for or at the end.
 */
#include "cloud/door/door.h"

#include <stdlib.h>
#include <string.h>

#include "cloud/door/notice.h"
#include "cloud/door/state.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    BACKLOG = 64,
    IDLE_MS = 60000,
    REQUEST_MS = 10000,
};

/* Of a POST, behind request->user. */
struct asked {
    struct buf body;        /* counted in the door's body_bytes */
    struct door_wait *wait; /* NULL: does not wait */
};

static const char plain[] = "text/plain; charset=utf-8";

static void respond(struct http_request *request, unsigned status, const char *fields,
                    struct slice text)
{
    http_answer(request, &(struct http_answer){
                             .status = status, .type = plain, .fields = fields, .body = text});
}

static void respond_text(struct http_request *request, unsigned status, const char *text)
{
    respond(request, status,
            status == 503 ? "Cache-Control: no-store\r\nRetry-After: 5\r\n"
                          : "Cache-Control: no-store\r\n",
            slice_cstr(text));
}

/* ---- notices ---- */

/* Marks in wanted[] the tables that the body speaks of. ERROR_INPUT, ERROR_LIMIT: it is no
 * notice. */
static int read_notice(struct door *door, struct slice body, bool *wanted, struct error *err)
{
    struct notice notice;
    const struct notice_place place = {.warehouse = door->options.warehouse,
                                       .tables = door->options.tables,
                                       .table_count = door->options.table_count};
    int rc = notice_decode(&notice, body, err);
    if (rc != OK) {
        door->notices[NOTICE_MALFORMED]++;
        return rc;
    }
    bool any = notice_tables(&notice, &place, wanted);
    if (notice.confirm_url != NULL)
        log_event(LOG_LEVEL_WARN, "door",
                  "SNS asks, it says, whether it may send notices: who wants that opens the "
                  "address if it is AWS's own",
                  "url=\"%s\"", notice.confirm_url);
    door->notices[any ? NOTICE_TAKEN : NOTICE_IGNORED]++;
    notice_free(&notice);
    return OK;
}

/* The request's answer comes behind the next turn of each wanted table that has not begun yet.
 * False: too many wait. */
static bool wait_for_turns(struct door *door, struct http_request *request, const bool *wanted)
{
    size_t count = door->options.table_count;
    struct asked *asked = request->user;
    struct door_wait *wait = memory_alloc(1, sizeof *wait + count * sizeof wait->turns[0]);
    wait->request = request;
    pthread_mutex_lock(&door->lock);
    bool room = door->waiting_count < DOOR_WAITING_MAX && !door->closing;
    if (room) {
        for (size_t i = 0; i < count; i++)
            wait->turns[i] = wanted[i] ? door->tables[i].begun + 1 : 0;
        wait->next = door->waiting;
        door->waiting = wait;
        door->waiting_count++;
        asked->wait = wait;
    }
    pthread_mutex_unlock(&door->lock);
    if (!room)
        free(wait);
    return room;
}

static void drop_body(struct door *door, struct asked *asked)
{
    door->body_bytes -= asked->body.cap;
    buf_free(&asked->body);
}

static void take_notice(struct door *door, struct http_request *request)
{
    struct asked *asked = request->user;
    bool *wanted = memory_alloc(door->options.table_count, sizeof *wanted);
    bool waits = slice_is(request->head->query, "wait=1");
    struct error err;
    int rc = read_notice(door, buf_slice(&asked->body), wanted, &err);
    drop_body(door, asked);
    bool any = false;
    for (size_t i = 0; rc == OK && i < door->options.table_count; i++)
        any = any || wanted[i];
    if (rc != OK)
        respond_text(request, 400, err.text);
    else if (!any)
        respond_text(request, 200, "nothing of this is served here\n");
    else if (waits && !wait_for_turns(door, request, wanted))
        respond_text(request, 503, "too many wait\n");
    else if (!waits)
        respond_text(request, 202, "the table is looked at soon\n");
    for (size_t i = 0; rc == OK && i < door->options.table_count; i++)
        if (wanted[i])
            door->options.wake(door->options.context, i);
    free(wanted);
}

/* ---- the server's calls ---- */

static bool is_post(const struct http_request *request)
{
    return slice_is(request->head->method, "POST");
}

static void on_begin(void *context, struct http_request *request)
{
    (void)context;
    request->user = NULL;
    if (!is_post(request)) {
        if (request->head->chunked || request->head->length > 0)
            respond_text(request, 413, "no body is wanted here\n");
    } else if (!slice_is(request->head->path, "/v1/notify")) {
        respond_text(request, 404, "POST /v1/notify\n");
    } else if (request->head->length > NOTICE_BYTES_MAX) {
        respond_text(request, 413, "a notice has a MiB at most\n");
    } else {
        struct asked *asked = memory_alloc(1, sizeof *asked);
        buf_init(&asked->body, NOTICE_BYTES_MAX);
        request->user = asked;
    }
}

static void on_body(void *context, struct http_request *request, struct slice bytes)
{
    struct door *door = context;
    struct asked *asked = request->user;
    if (asked == NULL)
        return;
    size_t before = asked->body.cap;
    buf_put_slice(&asked->body, bytes);
    door->body_bytes += asked->body.cap - before;
    if (buf_failed(&asked->body)) {
        respond_text(request, 413, "a notice has a MiB at most\n");
    } else if (asked->body.cap > DOOR_BODY_BYTES_EACH && door->body_bytes > DOOR_BODY_BYTES_MAX) {
        drop_body(door, asked);
        door->notices[NOTICE_REFUSED]++;
        respond_text(request, 503, "too many notices are under way\n");
    }
}

static void show(struct door *door, struct http_request *request)
{
    struct slice path = request->head->path;
    struct buf text = {0};
    if (slice_is(path, "/metrics")) {
        metrics_write(door, &text);
        http_answer(request, &(struct http_answer){.status = 200,
                                                   .type = "text/plain; version=0.0.4; "
                                                           "charset=utf-8",
                                                   .fields = "Cache-Control: no-store\r\n",
                                                   .body = buf_slice(&text)});
    } else if (slice_is(path, "/healthz") || slice_is(path, "/readyz")) {
        unsigned status =
            slice_is(path, "/healthz") ? health_write(door, &text) : readiness_write(door, &text);
        respond_text(request, status, buf_cstr(&text));
    } else {
        respond_text(request, 404, "paths are /healthz, /readyz, /metrics, /v1/notify\n");
    }
    buf_free(&text);
}

static void on_whole(void *context, struct http_request *request)
{
    struct slice method = request->head->method;
    if (is_post(request))
        take_notice(context, request);
    else if (slice_is(method, "GET") || slice_is(method, "HEAD"))
        show(context, request);
    else
        respond(request, 405,
                slice_is(request->head->path, "/v1/notify")
                    ? "Cache-Control: no-store\r\nAllow: POST\r\n"
                    : "Cache-Control: no-store\r\nAllow: GET, HEAD\r\n",
                slice_cstr("the method is not allowed\n"));
}

static void on_resumed(void *context, struct http_request *request)
{
    struct door *door = context;
    struct asked *asked = request->user;
    pthread_mutex_lock(&door->lock);
    bool failed = asked->wait->failed;
    pthread_mutex_unlock(&door->lock);
    respond_text(request, failed ? 503 : 200, failed ? "the turn failed\n" : "done\n");
}

static void on_end(void *context, struct http_request *request)
{
    struct door *door = context;
    struct asked *asked = request->user;
    if (asked == NULL)
        return;
    if (asked->wait != NULL) {
        pthread_mutex_lock(&door->lock);
        struct door_wait **at = &door->waiting;
        while (*at != asked->wait)
            at = &(*at)->next;
        *at = asked->wait->next;
        door->waiting_count--;
        pthread_mutex_unlock(&door->lock);
        free(asked->wait);
    }
    drop_body(door, asked);
    free(asked);
}

static void put_fault(void *context, unsigned status, const char *text, struct buf *out)
{
    (void)context;
    buf_printf(out, "%u: %s\n", status, text);
}

static const struct http_handler handler = {.begin = on_begin,
                                            .body = on_body,
                                            .whole = on_whole,
                                            .resumed = on_resumed,
                                            .end = on_end,
                                            .fault = put_fault,
                                            .fault_type = plain};

/* ---- open and close ---- */

int door_open(struct door **out, const struct door_options *options, struct error *err)
{
    char place[HTTP_PLACE_MAX];
    struct door *door = memory_alloc(1, sizeof *door);
    struct http_options http = {.handler = &handler,
                                .context = door,
                                .connections_max = DOOR_CONNECTIONS_MAX,
                                .idle_ms = IDLE_MS,
                                .head_ms = REQUEST_MS,
                                .body_ms = REQUEST_MS};
    door->options = *options;
    door->started_ms = clock_wall_ms(options->clock);
    door->tables = memory_alloc(options->table_count, sizeof *door->tables);
    for (size_t i = 0; i < options->table_count; i++)
        door->tables[i].name = options->tables[i];
    pthread_mutex_init(&door->lock, NULL);
    int rc = http_listen(options->address, BACKLOG, &http.listen_fd, err);
    if (rc == OK) {
        http_place_of(http.listen_fd, place);
        rc = http_open(&door->server, &http, err);
    }
    if (rc != OK) {
        door_close(door);
        return error_wrap(err, "listen %s", options->address);
    }
    log_event(LOG_LEVEL_INFO, "door", "listening", "address=%s", place);
    *out = door;
    return OK;
}

void door_close(struct door *door)
{
    if (door == NULL)
        return;
    pthread_mutex_lock(&door->lock);
    door->closing = true;
    waiting_fail(door);
    pthread_mutex_unlock(&door->lock);
    http_close(door->server);
    pthread_mutex_destroy(&door->lock);
    free(door->tables);
    free(door);
}
