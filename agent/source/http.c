/* SPDX-License-Identifier: Apache-2.0
 *
 * HTTP: POST /v1/events/{table} and GET /px/{table}, on libmicrohttpd with one epoll
 * thread. A request's life:
 *
 *   READING   body bytes come in and are kept up to body_bytes_max
 *   WAITING   its events are in the intake, the connection is suspended
 *   ANSWERED  the ticket came back on the committer's thread, the connection is resumed
 *             and the HTTP thread writes the answer
 *
 * The state passes between the two threads through libmicrohttpd's suspend and resume,
 * which lock. A connection is suspended before intake_end, so that the ticket may come
 * back at any time after it.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent/source/body.h"
#include "agent/source/dedup.h"
#include "agent/source/framing.h"
#include "agent/source/pixel.h"
#include "agent/source/source.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    HEADERS_BYTES_MAX = 16 << 10,
    ERRORS_SHOWN = 10,
    RETRY_AFTER_S = 1,
    DISCARD_FACTOR = 4, /* a body of this many limits is cut off instead of read to its end */
    BACKLOG = 4096,
    CLOSE_POLL_MS = 2,
    PAUSE_MS = 5,
    ANSWERS_SENT_MS = 2000,
    HELD_BYTES_MAX = 64 << 20, /* of all bodies that are not whole yet */
    TOKEN_SIZE = 256,
    DEDUP_KEYS_MAX = 1000000,
};

enum request_state { READING, WAITING, ANSWERED };

struct request {
    struct ticket ticket;     /* first: the ticket is the request */
    struct dedup_entry entry; /* of its Idempotency-Key */
    bool keyed;
    bool unsent; /* its ticket was out, its answer is not all sent */
    struct event_source *source;
    struct MHD_Connection *connection;
    enum request_state state;
    bool pixel;
    bool unframed; /* nobody knows where it ends: the connection goes with it */
    size_t table;
    unsigned status;    /* 0: not decided yet */
    const char *reason; /* of a request refused as a whole */
    char detail[200];
    struct buf body;
    size_t bytes;      /* of the body, kept or not */
    size_t held;       /* of these, the ones that count in the source's `held` */
    struct buf errors; /* JSON objects, comma between */
    unsigned error_count;
    int rc; /* what the ticket came back with */
};

struct event_source {
    struct source_options options;
    struct intake *intake;
    struct dedup *dedup;
    struct MHD_Daemon *daemon;
    struct MHD_Response *accepted_one; /* the answer of most requests */
    struct MHD_Response *gif;
    struct buf expanded; /* the HTTP thread's own */
    _Atomic size_t body_bytes_max;
    _Atomic size_t expanded_bytes_max;
    pthread_mutex_t token_lock;
    char token[TOKEN_SIZE]; /* guarded by token_lock; "": none is asked for */
    char address[SOURCE_ADDRESS_MAX];
    atomic_bool paused;
    atomic_bool closing;
    size_t held;            /* bytes of bodies; the HTTP thread's own */
    _Atomic size_t waiting; /* requests whose ticket is out */
    _Atomic size_t unsent;  /* and those whose answer is not all sent */
    _Atomic uint64_t requests;
    _Atomic uint64_t bytes;
    _Atomic uint64_t answered[6];
    _Atomic uint64_t unresolved_macros;
};

/* ---- answers ---- */

static enum MHD_Result send_response(struct request *request, unsigned status,
                                     struct MHD_Response *response)
{
    atomic_fetch_add(&request->source->answered[status / 100 % 6], 1);
    return MHD_queue_response(request->connection, status, response);
}

static enum MHD_Result send_text(struct request *request, unsigned status, struct slice text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        text.len, (void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    char seconds[16];
    snprintf(seconds, sizeof seconds, "%d", RETRY_AFTER_S);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE)
        MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, seconds);
    if (status == MHD_HTTP_UNAUTHORIZED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, request->pixel ? "GET" : "POST");
    if (request->unframed)
        MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
    enum MHD_Result result = send_response(request, status, response);
    MHD_destroy_response(response);
    return result;
}

/* The whole request is refused: nothing of it was kept. */
static enum MHD_Result send_refusal(struct request *request)
{
    struct buf text = {0};
    buf_printf(&text, "{\"accepted\":0,\"refused\":0,\"error\":\"%s\",\"detail\":\"%s\"}\n",
               request->reason, request->detail);
    enum MHD_Result result = send_text(request, request->status, buf_slice(&text));
    buf_free(&text);
    return result;
}

static void refuse(struct request *request, unsigned status, const char *reason, const char *detail)
{
    size_t len = 0;
    request->status = status;
    request->reason = reason;
    for (; *detail != 0 && len < sizeof request->detail - 1; detail++) {
        /* Ours or a library's words: what JSON minds becomes a blank. */
        bool plain = (unsigned char)*detail >= 0x20 && *detail != '"' && *detail != '\\';
        request->detail[len++] = plain ? *detail : ' ';
    }
    request->detail[len] = 0;
}

static enum MHD_Result send_counts(struct request *request)
{
    const struct ticket *ticket = &request->ticket;
    if (request->pixel && ticket->accepted > 0)
        return send_response(request, MHD_HTTP_OK, request->source->gif);
    if (ticket->accepted == 1 && ticket->refused == 0)
        return send_response(request, MHD_HTTP_OK, request->source->accepted_one);
    struct buf text = {0};
    buf_printf(&text, "{\"accepted\":%" PRIu32 ",\"refused\":%" PRIu32, ticket->accepted,
               ticket->refused);
    if (request->error_count > 0)
        buf_printf(&text, ",\"errors\":[%s]", buf_cstr(&request->errors));
    buf_put_cstr(&text, "}\n");
    unsigned status = ticket->refused == 0    ? MHD_HTTP_OK
                      : ticket->accepted == 0 ? MHD_HTTP_BAD_REQUEST
                                              : MHD_HTTP_MULTI_STATUS;
    enum MHD_Result result = send_text(request, status, buf_slice(&text));
    buf_free(&text);
    return result;
}

static enum MHD_Result send_answer(struct request *request)
{
    if (request->status == 0 && request->rc != OK)
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable",
               request->detail[0] != 0 ? request->detail : "try again");
    return request->status != 0 ? send_refusal(request) : send_counts(request);
}

/* ---- events ---- */

static struct slice lookup_value(const struct request *request, enum MHD_ValueKind kind,
                                 const char *name)
{
    const char *value = NULL;
    size_t len = 0;
    if (MHD_lookup_connection_value_n(request->connection, kind, name, strlen(name), &value,
                                      &len) != MHD_YES)
        return (struct slice){0};
    return slice_of(value != NULL ? value : "", value != NULL ? len : 0);
}

/* $header.NAME and $query.NAME */
static void lookup(void *context, enum source_kind kind, const char *name, struct slice *out)
{
    const struct request *request = context;
    *out = lookup_value(request, kind == SOURCE_HEADER ? MHD_HEADER_KIND : MHD_GET_ARGUMENT_KIND,
                        name);
}

static void note_error(struct request *request, uint32_t line, uint32_t column, const char *reason,
                       const char *text)
{
    if (request->error_count == ERRORS_SHOWN)
        return;
    buf_printf(&request->errors,
               "%s{\"line\":%" PRIu32 ",\"column\":%" PRIu32 ",\"reason\":\"%s\",\"text\":\"%s\"}",
               request->error_count > 0 ? "," : "", line, column, reason, text);
    request->error_count++;
}

static void take_events(struct request *request, struct slice text)
{
    struct intake *intake = request->source->intake;
    struct shred_context context = {.source_time_us = INT64_MIN,
                                    .host = slice_cstr(request->source->options.host),
                                    .partition = -1,
                                    .offset = -1,
                                    .lookup = lookup,
                                    .lookup_context = request};
    struct refusal refusal;
    struct body body;
    struct slice piece;
    body_begin(&body, text);
    bool last_fine = true;
    while (body_next(&body, &piece)) {
        last_fine = intake_event(intake, piece, &context, &refusal);
        if (last_fine)
            continue;
        if (request->ticket.too_large)
            return;
        if (request->error_count == ERRORS_SHOWN)
            continue; /* a place costs a walk over the body */
        body_place(&body, piece, &refusal.line, &refusal.column);
        note_error(request, refusal.line, refusal.column, refusal_reason_name(refusal.reason),
                   refusal.text);
    }
    /* An array that was cut behind a whole event: the sender must hear of the rest. */
    if ((body.unclosed && last_fine) || (body.form == BODY_LINES && request->ticket.accepted == 0 &&
                                         request->ticket.refused == 0)) {
        uint32_t line = 1;
        uint32_t column = 1;
        intake_refuse(intake, REFUSED_SYNTAX);
        body_place(&body, slice_of(text.data + text.len, 0), &line, &column);
        note_error(request, line, column, refusal_reason_name(REFUSED_SYNTAX),
                   body.unclosed ? "the array is not closed" : "there is no event");
    }
}

static void suspend(struct request *request)
{
    request->state = WAITING;
    request->unsent = true;
    atomic_fetch_add(&request->source->unsent, 1);
    MHD_suspend_connection(request->connection);
}

static struct request *request_of(struct dedup_entry *entry)
{
    return (struct request *)((char *)entry - offsetof(struct request, entry));
}

/* What the first of a key was answered, to those that came meanwhile. */
static void answer_followers(struct request *first)
{
    struct event_source *source = first->source;
    if (!first->keyed)
        return;
    first->keyed = false;
    struct dedup_entry *entry = dedup_settle(source->dedup, &first->entry, first->rc == OK);
    while (entry != NULL) {
        struct request *request = request_of(entry);
        entry = entry->next;
        request->ticket.accepted = first->ticket.accepted;
        request->ticket.refused = first->ticket.refused;
        request->error_count = first->error_count;
        buf_put_slice(&request->errors, buf_slice(&first->errors));
        request->rc = first->rc;
        request->status = first->status;
        request->reason = first->reason;
        memcpy(request->detail, first->detail, sizeof request->detail);
        request->state = ANSWERED;
        MHD_resume_connection(request->connection);
        atomic_fetch_sub(&source->waiting, 1);
    }
}

static void on_durable(struct ticket *ticket, int rc, const struct error *err)
{
    struct request *request = (struct request *)ticket;
    struct event_source *source = request->source;
    request->rc = rc;
    if (rc != OK)
        snprintf(request->detail, sizeof request->detail, "%s", err->text);
    answer_followers(request);
    request->state = ANSWERED;
    MHD_resume_connection(request->connection); /* the request may be gone behind this */
    atomic_fetch_sub(&source->waiting, 1);
}

/* ---- Idempotency-Key ---- */

static void suspend_follower(struct dedup_entry *entry)
{
    struct request *request = request_of(entry);
    suspend(request);
}

/* DEDUP_FIRST also for a request without a key. */
static enum dedup_outcome look_up_key(struct request *request)
{
    struct event_source *source = request->source;
    struct dedup_request dedup = {
        .table = capture_table_name_borrow(source->options.capture, request->table),
        .key = lookup_value(request, MHD_HEADER_KIND, "Idempotency-Key"),
        .suspend = suspend_follower};
    struct dedup_answer answer = {.errors = {0}};
    enum dedup_outcome outcome = DEDUP_FIRST;
    struct error err;
    if (dedup.key.data == NULL)
        return DEDUP_FIRST;
    if (dedup.key.len == 0 || dedup.key.len > DEDUP_KEY_MAX) {
        refuse(request, MHD_HTTP_BAD_REQUEST, "bad_key", "Idempotency-Key: 1 to 64 bytes");
        return DEDUP_FIRST;
    }
    int rc = dedup_begin(source->dedup, &request->entry, &dedup, &outcome, &answer, &err);
    request->keyed = outcome != DEDUP_FOLLOWS;
    if (rc != OK)
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "unavailable", err.text);
    if (outcome == DEDUP_ANSWERED) {
        request->ticket.accepted = answer.accepted;
        request->ticket.refused = answer.refused;
        request->error_count = answer.errors.len > 0;
        buf_put_slice(&request->errors, buf_slice(&answer.errors));
    }
    buf_free(&answer.errors);
    return outcome;
}

/* The answer goes with the events. */
static void store_answer(struct request *request)
{
    struct dedup_answer answer = {.accepted = request->ticket.accepted,
                                  .refused = request->ticket.refused,
                                  .errors = request->errors};
    struct error err;
    if (!request->keyed)
        return;
    request->ticket.checkpoints = request->entry.checkpoints;
    int rc = dedup_store(request->source->dedup, &request->entry, &answer,
                         &request->ticket.checkpoint_count, &err);
    if (rc != OK) {
        request->ticket.checkpoint_count = 0;
        log_event(LOG_LEVEL_WARN, "http", "an Idempotency-Key is not remembered", "error=\"%s\"",
                  err.text);
    }
}

/* The body as it is to be parsed; the status is set when there is none. */
static struct slice plain_body(struct request *request)
{
    struct event_source *source = request->source;
    struct slice encoding =
        lookup_value(request, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_ENCODING);
    struct slice sent = buf_slice(&request->body);
    enum body_encoding kind = BODY_PLAIN;
    if (slice_is(encoding, "gzip") || slice_is(encoding, "x-gzip"))
        kind = BODY_GZIP;
    else if (slice_is(encoding, "zstd"))
        kind = BODY_ZSTD;
    else if (encoding.len > 0 && !slice_is(encoding, "identity"))
        refuse(request, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding",
               "Content-Encoding may be gzip, zstd or identity");
    if (kind == BODY_PLAIN || request->status != 0)
        return sent;
    struct error err;
    buf_reset(&source->expanded);
    int rc =
        body_expand(kind, sent, atomic_load(&source->expanded_bytes_max), &source->expanded, &err);
    if (rc != OK)
        refuse(request, rc == ERROR_LIMIT ? MHD_HTTP_CONTENT_TOO_LARGE : MHD_HTTP_BAD_REQUEST,
               rc == ERROR_LIMIT ? "too_large" : "bad_encoding", err.text);
    return buf_slice(&source->expanded);
}

static void refuse_many(struct request *request)
{
    char detail[sizeof request->detail];
    snprintf(
        detail, sizeof detail,
        "the events make more than %zu MiB of rows, which one transaction may hold: send fewer "
        "in a request",
        capture_request_bytes_max(request->source->options.capture) >> 20);
    refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "too_large", detail);
}

/* True when the ticket is out: the connection is suspended then. */
static bool hand_in(struct request *request, struct slice text)
{
    struct event_source *source = request->source;
    struct error err;
    if (atomic_load(&source->closing))
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "stopping", "the agent stops");
    else if (intake_begin(source->intake, request->table, &request->ticket, &err) != OK)
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "full", err.text);
    if (request->status != 0)
        return false;
    take_events(request, text);
    if (request->ticket.too_large)
        refuse_many(request);
    else
        store_answer(request);
    bool waits = request->ticket.accepted > 0 || request->ticket.checkpoint_count > 0;
    if (waits) {
        suspend(request);
    }
    bool comes = intake_end(source->intake);
    ASSERT(comes == waits);
    return waits;
}

static enum MHD_Result take_request(struct request *request)
{
    struct event_source *source = request->source;
    struct slice text = {0};
    if (request->pixel)
        text = pixel_event(request->connection, &request->body, &source->unresolved_macros);
    else
        text = plain_body(request);
    if (request->status != 0)
        return send_refusal(request);
    /* Counted before `closing` is looked at: http_close sets that and then waits for none. */
    atomic_fetch_add(&source->waiting, 1);
    enum dedup_outcome outcome = look_up_key(request);
    if (outcome == DEDUP_FOLLOWS)
        return MHD_YES;
    if (request->status == 0 && outcome == DEDUP_FIRST && hand_in(request, text))
        return MHD_YES;
    answer_followers(request);
    atomic_fetch_sub(&source->waiting, 1);
    return send_answer(request);
}

/* ---- requests ---- */

/* Behind the prefix; NULL when the path has another. */
static const char *after(const char *path, const char *prefix)
{
    size_t len = strlen(prefix);
    return strncmp(path, prefix, len) == 0 ? path + len : NULL;
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

static void route(struct request *request, const char *path, const char *method)
{
    struct event_source *source = request->source;
    const char *table = after(path, "/v1/events/");
    if (table == NULL) {
        table = after(path, "/px/");
        request->pixel = table != NULL;
    }
    request->table =
        table != NULL ? capture_find_table(source->options.capture, slice_cstr(table)) : SIZE_MAX;
    if (table == NULL)
        refuse(request, MHD_HTTP_NOT_FOUND, "no_such_path",
               "paths are /v1/events/{table} and /px/{table}");
    else if (request->table == SIZE_MAX)
        refuse(request, MHD_HTTP_NOT_FOUND, "no_such_table",
               "the tables are those of the agent's configuration");
    else if (strcmp(method, request->pixel ? "GET" : "POST") != 0)
        refuse(request, MHD_HTTP_METHOD_NOT_ALLOWED, "method_not_allowed",
               request->pixel ? "GET" : "POST");
    else if (!request->pixel && !token_fits(source, lookup_value(request, MHD_HEADER_KIND,
                                                                 MHD_HTTP_HEADER_AUTHORIZATION)))
        refuse(request, MHD_HTTP_UNAUTHORIZED, "unauthorized", "a bearer token is asked for");
}

static void refuse_large(struct request *request)
{
    char detail[100];
    snprintf(detail, sizeof detail, "a body may have %zu bytes (http.body_bytes)",
             atomic_load(&request->source->body_bytes_max));
    if (request->status == 0)
        refuse(request, MHD_HTTP_CONTENT_TOO_LARGE, "too_large", detail);
}

static void release_body(struct request *request)
{
    request->source->held -= request->held;
    request->held = 0;
    buf_free(&request->body);
    request->body = (struct buf){0};
}

/* False: a body that never ends, or as good as. */
static bool take_body(struct request *request, const char *data, size_t len)
{
    size_t max = atomic_load(&request->source->body_bytes_max);
    request->bytes += len;
    if (request->bytes > max) {
        refuse_large(request);
        release_body(request);
    }
    if (request->status == 0 && request->source->held + len > HELD_BYTES_MAX) {
        refuse(request, MHD_HTTP_SERVICE_UNAVAILABLE, "full", "too many bodies are under way");
        release_body(request);
    }
    if (request->status == 0) {
        request->source->held += len;
        request->held += len;
        buf_put(&request->body, data, len);
    }
    return request->bytes / DISCARD_FACTOR <= max;
}

static enum MHD_Result begin_request(struct event_source *source, struct MHD_Connection *connection,
                                     const char *path, const char *method, const char *version,
                                     void **context)
{
    struct request *request = memory_alloc(1, sizeof *request);
    request->source = source;
    request->connection = connection;
    request->ticket.done = on_durable;
    *context = request;
    atomic_fetch_add(&source->requests, 1);
    const char *fault = framing_fault(connection, version);
    if (fault != NULL) {
        request->unframed = true;
        refuse(request, MHD_HTTP_BAD_REQUEST, "bad_request", fault);
        return send_refusal(request); /* what follows is not looked at */
    }
    route(request, path, method);
    struct slice length = lookup_value(request, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    if (length.len > 0 &&
        strtoull((const char *)length.data, NULL, 10) > atomic_load(&source->body_bytes_max)) {
        refuse_large(request);
        return send_refusal(request); /* before a byte of it is sent */
    }
    return MHD_YES;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *len, void **request_context)
{
    struct event_source *source = context;
    struct request *request = *request_context;
    if (request == NULL)
        return begin_request(source, connection, path, method, version, request_context);
    if (*len > 0) {
        bool fine = take_body(request, data, *len);
        *len = 0;
        return fine ? MHD_YES : MHD_NO;
    }
    if (request->state == ANSWERED)
        return send_answer(request);
    atomic_fetch_add(&source->bytes, request->bytes);
    return request->status != 0 ? send_refusal(request) : take_request(request);
}

static void end_request(void *context, struct MHD_Connection *connection, void **request_context,
                        enum MHD_RequestTerminationCode code)
{
    struct request *request = *request_context;
    (void)context;
    (void)connection;
    (void)code;
    if (request == NULL)
        return;
    ASSERT(request->state != WAITING); /* a suspended connection does not end */
    if (request->unsent)
        atomic_fetch_sub(&request->source->unsent, 1);
    dedup_entry_free(&request->entry);
    release_body(request);
    buf_free(&request->errors);
    free(request);
    *request_context = NULL;
}

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

static int http_reload(struct event_source *source, const struct source_options *options,
                       struct error *err)
{
    char token[TOKEN_SIZE] = {0};
    int rc = read_token(options->token_file, token, err);
    if (rc != OK)
        return rc;
    atomic_store(&source->body_bytes_max, options->body_bytes_max);
    atomic_store(&source->expanded_bytes_max, options->expanded_bytes_max);
    pthread_mutex_lock(&source->token_lock);
    memcpy(source->token, token, sizeof token);
    pthread_mutex_unlock(&source->token_lock);
    return OK;
}

static void log_library(void *context, const char *format, va_list arguments)
{
    char text[300];
    (void)context;
    vsnprintf(text, sizeof text, format, arguments);
    log_event(LOG_LEVEL_WARN, "http", "libmicrohttpd", "text=\"%s\"", text);
}

static void make_responses(struct event_source *source)
{
    static char one[] = "{\"accepted\":1,\"refused\":0}\n";
    source->accepted_one =
        MHD_create_response_from_buffer(sizeof one - 1, one, MHD_RESPMEM_PERSISTENT);
    MHD_add_response_header(source->accepted_one, MHD_HTTP_HEADER_CONTENT_TYPE, "application/json");
    source->gif = pixel_response();
}

static void http_close(struct event_source *source)
{
    if (source == NULL)
        return;
    /* libmicrohttpd must not be stopped while connections are suspended. The committer
     * answers every ticket, so this is as short as a sync. */
    atomic_store(&source->closing, true);
    while (source->daemon != NULL && atomic_load(&source->waiting) > 0)
        clock_sleep_ms(&clock_system, CLOSE_POLL_MS);
    /* What was durable is to be heard of; who does not read his answer is not waited for long. */
    int64_t until_ms = clock_mono_ms(&clock_system) + ANSWERS_SENT_MS;
    while (atomic_load(&source->unsent) > 0 && clock_mono_ms(&clock_system) < until_ms)
        clock_sleep_ms(&clock_system, CLOSE_POLL_MS);
    if (source->daemon != NULL)
        MHD_stop_daemon(source->daemon);
    intake_close(source->intake);
    dedup_close(source->dedup);
    if (source->accepted_one != NULL)
        MHD_destroy_response(source->accepted_one);
    if (source->gif != NULL)
        MHD_destroy_response(source->gif);
    buf_free(&source->expanded);
    pthread_mutex_destroy(&source->token_lock);
    free(source);
}

/* See http_pause; where the server's thread was faster, the connection is closed. */
static enum MHD_Result accept_unless_paused(void *context, const struct sockaddr *address,
                                            socklen_t address_len)
{
    const struct event_source *source = context;
    (void)address;
    (void)address_len;
    return atomic_load(&source->paused) ? MHD_NO : MHD_YES;
}

static int start_daemon(struct event_source *source, struct error *err)
{
    const struct source_options *options = &source->options;
    int fd = -1;
    int rc = source_listen(options->address, BACKLOG, &fd, source->address, err);
    if (rc != OK)
        return rc;
    source->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_TURBO |
            MHD_USE_ERROR_LOG,
        0, accept_unless_paused, source, handle, source, MHD_OPTION_EXTERNAL_LOGGER, log_library,
        NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_NOTIFY_COMPLETED, end_request, NULL,
        MHD_OPTION_CONNECTION_LIMIT, options->connections_max, MHD_OPTION_CONNECTION_TIMEOUT,
        options->idle_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)HEADERS_BYTES_MAX,
        MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
    if (source->daemon == NULL) {
        close(fd);
        return error_set(err, ERROR_IO, "http %s: the server does not start", options->address);
    }
    return OK;
}

static int http_open(struct event_source **out, const struct source_options *options,
                     struct error *err)
{
    struct event_source *source = memory_alloc(1, sizeof *source);
    source->options = *options;
    if (source->options.clock == NULL)
        source->options.clock = &clock_system;
    pthread_mutex_init(&source->token_lock, NULL);
    int rc = http_reload(source, options, err);
    if (rc == OK)
        rc = intake_open(&source->intake, options->capture, err);
    if (rc == OK)
        rc = dedup_open(&source->dedup, options->spool, source->options.clock,
                        options->dedup_window_ms, DEDUP_KEYS_MAX, err);
    if (rc == OK) {
        make_responses(source);
        rc = start_daemon(source, err);
    }
    if (rc != OK) {
        http_close(source);
        return rc;
    }
    *out = source;
    return OK;
}

/* New connections stay in the queue of the listening socket: the next agent takes them if it
 * is systemd's, they end with it if not. Requests that were begun are answered.
 *
 * The socket stays in libmicrohttpd's epoll set, but nothing is reported of it. It is not
 * taken out by MHD_quiesce_daemon: the server's thread may do the same, and who comes second
 * ends the process (libmicrohttpd 0.9.75: "Failed to remove listen FD"). If the thread has it
 * out at the moment, the limit of connections being met, `paused` closes what comes later. */
static void http_pause(struct event_source *source)
{
    const union MHD_DaemonInfo *epoll =
        MHD_get_daemon_info(source->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    const union MHD_DaemonInfo *listener =
        MHD_get_daemon_info(source->daemon, MHD_DAEMON_INFO_LISTEN_FD);
    struct epoll_event nothing = {.events = 0};
    if (epoll != NULL && listener != NULL &&
        epoll_ctl(epoll->epoll_fd, EPOLL_CTL_MOD, listener->listen_fd, &nothing) == 0)
        clock_sleep_ms(&clock_system, PAUSE_MS); /* what the thread has seen by now is served */
    atomic_store(&source->paused, true);
}

static void http_statistics(struct event_source *source, struct source_statistics *out)
{
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(source->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    *out = (struct source_statistics){.requests = atomic_load(&source->requests),
                                      .bytes = atomic_load(&source->bytes),
                                      .connections = info != NULL ? info->num_connections : 0,
                                      .unresolved_macros = atomic_load(&source->unresolved_macros)};
    out->keys = dedup_key_count(source->dedup);
    memcpy(out->address, source->address, sizeof out->address);
    for (size_t i = 0; i < 6; i++)
        out->answered[i] = atomic_load(&source->answered[i]);
}

const struct source_ops source_http = {.kind = "http",
                                       .open = http_open,
                                       .reload = http_reload,
                                       .pause = http_pause,
                                       .close = http_close,
                                       .statistics = http_statistics};
