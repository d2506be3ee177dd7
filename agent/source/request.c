/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/source/body.h"
#include "agent/source/pixel.h"
#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    ERRORS_SHOWN = 10,
    EXPANDED_KEPT = 1 << 20,
    /* No sender has so many by mistake. Each costs nearly as much as a good one, and takes no room
     * that would end it. */
    REFUSED_MAX = 500000,
};

/* ---- answers ---- */

static void send_text(struct request *request, unsigned status, struct slice text)
{
    char fields[80] = "";
    const char *more = status == 503    ? "Retry-After: 1\r\n"
                       : status == 401  ? "WWW-Authenticate: Bearer\r\n"
                       : status != 405  ? ""
                       : request->pixel ? "Allow: GET\r\n"
                                        : "Allow: POST\r\n";
    /* What is refused now may be taken a moment later; a 404 to a GET would be cached. */
    if (status >= 400)
        snprintf(fields, sizeof fields, "Cache-Control: no-store\r\n%s", more);
    http_answer(request->http,
                &(struct http_answer){
                    .status = status, .type = "application/json", .fields = fields, .body = text});
}

void request_put_refusal(struct buf *out, const char *reason, const char *detail)
{
    buf_printf(out, "{\"accepted\":0,\"refused\":0,\"error\":\"%s\",\"detail\":\"%s\"}\n", reason,
               detail);
}

void request_refuse(struct request *request, unsigned status, const char *reason,
                    const char *detail)
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

static void send_counts(struct request *request)
{
    static const char one[] = "{\"accepted\":1,\"refused\":0}\n";
    const struct ticket *ticket = &request->ticket;
    if (request->pixel && ticket->accepted > 0) {
        http_answer(request->http, &(struct http_answer){.status = 200,
                                                         .type = "image/gif",
                                                         .fields = "Cache-Control: no-store\r\n",
                                                         .body = pixel_gif});
        return;
    }
    if (ticket->accepted == 1 && ticket->refused == 0) {
        send_text(request, 200, slice_of(one, sizeof one - 1));
        return;
    }
    struct buf text = {0};
    buf_printf(&text, "{\"accepted\":%" PRIu32 ",\"refused\":%" PRIu32, ticket->accepted,
               ticket->refused);
    if (request->error_count > 0)
        buf_printf(&text, ",\"errors\":[%s]", buf_cstr(&request->errors));
    buf_put_cstr(&text, "}\n");
    send_text(request,
              ticket->refused == 0    ? 200
              : ticket->accepted == 0 ? 400
                                      : 207,
              buf_slice(&text));
    buf_free(&text);
}

void request_answer(struct request *request)
{
    if (request->status == 0 && request->rc != OK) {
        char detail[sizeof request->detail];
        memcpy(detail, request->detail, sizeof detail);
        request_refuse(request, 503, request->rc == ERROR_LIMIT ? "full" : "unavailable",
                       detail[0] != 0 ? detail : "try again");
    }
    if (request->status == 0) {
        send_counts(request);
        return;
    }
    struct buf text = {0};
    request_put_refusal(&text, request->reason, request->detail);
    send_text(request, request->status, buf_slice(&text));
    buf_free(&text);
}

/* ---- events ---- */

/* $header.NAME and $query.NAME */
static void lookup(void *context, enum source_kind kind, const char *name, struct slice *out)
{
    const struct request *request = context;
    *out = kind == SOURCE_HEADER ? http_field(request->head, name)
                                 : query_find(&request->desk->query, name);
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

static void take_events(struct request *request, struct body *body)
{
    struct intake *intake = request->desk->intake;
    struct shred_context context = {.source_time_us = INT64_MIN,
                                    .host = slice_cstr(request->source->options.host),
                                    .partition = -1,
                                    .offset = -1,
                                    .lookup = lookup,
                                    .lookup_context = request};
    struct refusal refusal;
    struct slice piece;
    bool last_fine = true;
    while (body_next(body, &piece)) {
        last_fine = intake_event(intake, piece, &context, &refusal);
        if (last_fine)
            continue;
        request->given_up = !request->ticket.too_large && request->ticket.refused > REFUSED_MAX;
        if (request->given_up)
            intake_give_up(intake);
        if (request->ticket.too_large)
            return;
        if (request->error_count == ERRORS_SHOWN)
            continue; /* a place costs a walk over the body */
        body_place(body, piece, &refusal.line, &refusal.column);
        note_error(request, refusal.line, refusal.column, refusal_reason_name(refusal.reason),
                   refusal.text);
    }
    /* An array that was cut behind a whole event: the sender must hear of the rest. */
    bool empty =
        body->form == BODY_LINES && request->ticket.accepted == 0 && request->ticket.refused == 0;
    if ((body->unclosed && last_fine) || empty) {
        uint32_t line = 1;
        uint32_t column = 1;
        intake_refuse(intake, REFUSED_SYNTAX);
        body_place(body, slice_of(body->text.data + body->text.len, 0), &line, &column);
        note_error(request, line, column, refusal_reason_name(REFUSED_SYNTAX),
                   body->unclosed ? "the array is not closed" : "there is no event");
    }
}

static struct request *request_of(struct dedup_entry *entry)
{
    return ((struct request_key *)entry)->request;
}

/* What the first of a key was answered, to those that came meanwhile. */
static void answer_followers(struct request *first)
{
    if (!first->keyed)
        return;
    first->keyed = false;
    struct dedup_entry *entry =
        dedup_settle(first->source->options.dedup, &first->key->entry, first->rc == OK);
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
        http_resume(request->http); /* the request may be gone behind this */
    }
}

static void on_durable(struct ticket *ticket, int rc, const struct error *err)
{
    struct request *request = (struct request *)ticket;
    request->rc = rc;
    if (rc != OK)
        snprintf(request->detail, sizeof request->detail, "%s", err->text);
    answer_followers(request);
    http_resume(request->http); /* the request may be gone behind this */
}

/* ---- Idempotency-Key ---- */

/* DEDUP_FIRST also for a request without a key. */
static enum dedup_outcome look_up_key(struct request *request)
{
    struct event_source *source = request->source;
    struct dedup_request dedup = {
        .table = capture_table_name_borrow(source->options.capture, request->table),
        .key = http_field(request->head, "Idempotency-Key")};
    struct dedup_answer answer = {.errors = {0}};
    enum dedup_outcome outcome = DEDUP_FIRST;
    struct error err;
    if (dedup.key.data == NULL)
        return DEDUP_FIRST;
    if (dedup.key.len == 0 || dedup.key.len > DEDUP_KEY_MAX) {
        request_refuse(request, 400, "bad_key", "Idempotency-Key: 1 to 64 bytes");
        return DEDUP_FIRST;
    }
    request->key = memory_alloc(1, sizeof *request->key);
    request->key->request = request;
    int rc =
        dedup_begin(source->options.dedup, &request->key->entry, &dedup, &outcome, &answer, &err);
    /* One that follows may be gone by now: whoever settles the first resumes it. */
    if (outcome == DEDUP_FOLLOWS)
        return outcome;
    request->keyed = true;
    if (rc != OK)
        request_refuse(request, 503, "unavailable", err.text);
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
    request->ticket.checkpoints = request->key->entry.checkpoints;
    int rc = dedup_store(request->source->options.dedup, &request->key->entry, &answer,
                         &request->ticket.checkpoint_count, &err);
    if (rc != OK) {
        request->ticket.checkpoint_count = 0;
        log_event(LOG_LEVEL_WARN, "http", "an Idempotency-Key is not remembered", "error=\"%s\"",
                  err.text);
    }
}

static enum body_encoding read_encoding(struct request *request)
{
    struct slice encoding = http_field(request->head, "Content-Encoding");
    if (http_field_count(request->head, "Content-Encoding") > 1)
        encoding = slice_cstr("several");
    if (slice_is_word(encoding, "gzip") || slice_is_word(encoding, "x-gzip"))
        return BODY_GZIP;
    if (slice_is_word(encoding, "zstd"))
        return BODY_ZSTD;
    if (encoding.len > 0 && !slice_is_word(encoding, "identity"))
        request_refuse(request, 415, "unsupported_encoding",
                       "Content-Encoding may be gzip, zstd or identity");
    return BODY_PLAIN;
}

/* The body as it is to be parsed. False: it is too large for this desk. The status is set when
 * there is none at all. */
static bool plain_body(struct request *request, struct slice *text)
{
    struct desk *desk = request->desk;
    size_t limit = atomic_load(&request->source->expanded_bytes_max);
    size_t max = limit < desk->text_bytes_max ? limit : desk->text_bytes_max;
    enum body_encoding encoding = read_encoding(request);
    *text = buf_slice(&request->body);
    if (text->len > desk->text_bytes_max)
        return false;
    if (encoding == BODY_PLAIN || request->status != 0)
        return true;
    struct error err;
    buf_reset(&desk->expanded);
    int rc = body_expand(encoding, *text, max, &desk->expanded, &err);
    *text = buf_slice(&desk->expanded);
    if (rc == ERROR_LIMIT && max < limit)
        return false;
    if (rc != OK)
        request_refuse(request, rc == ERROR_LIMIT ? 413 : 400,
                       rc == ERROR_LIMIT ? "too_large" : "bad_encoding", err.text);
    return true;
}

static void refuse_many(struct request *request)
{
    char detail[sizeof request->detail];
    if (request->given_up)
        snprintf(detail, sizeof detail, "more than %d of its pieces are no events", REFUSED_MAX);
    else
        snprintf(detail, sizeof detail,
                 "the events make more than %zu MiB of rows, which one transaction may hold: send "
                 "fewer in a request",
                 capture_request_bytes_max(request->source->options.capture) >> 20);
    request_refuse(request, 413, "too_large", detail);
}

/* True when the ticket is out. */
static bool hand_in(struct request *request, struct slice text)
{
    struct intake *intake = request->desk->intake;
    struct error err;
    struct body body;
    bool teaches = text.len >= EFFORT_LEARNT_MIN;
    int64_t began_ns = teaches ? clock_thread_cpu_ns() : 0;
    body_begin(&body, text); /* may walk over all of it, so not while the intake is locked */
    if (intake_begin(intake, request->table, &request->ticket, &err) != OK) {
        request_refuse(request, 503, "full", err.text);
        return false;
    }
    take_events(request, &body);
    if (teaches && !request->ticket.too_large)
        effort_learn(&request->source->effort, text.len, clock_thread_cpu_ns() - began_ns);
    request_release_body(request); /* what counts of it lies in rows */
    if (request->ticket.too_large)
        refuse_many(request);
    else
        store_answer(request);
    return intake_end(intake); /* true: the committer's until it is resumed */
}

void request_release_body(struct request *request)
{
    atomic_fetch_sub(&request->source->held, request->body.len);
    buf_free(&request->body);
    request->body = (struct buf){0};
}

static struct slice read_pixel(struct request *request)
{
    struct desk *desk = request->desk;
    uint64_t unresolved = 0;
    struct slice event = pixel_event(&desk->query, &desk->expanded, &unresolved);
    atomic_fetch_add(&request->source->unresolved_macros, unresolved);
    return event;
}

static enum request_outcome take(struct request *request)
{
    struct slice text = {0};
    if (!query_decode(&request->desk->query, request->head->query))
        request_refuse(request, 400, "bad_request", "a query may have 256 parameters");
    else if (request->pixel)
        text = read_pixel(request);
    else if (!plain_body(request, &text))
        return REQUEST_LARGE;
    if (request->status != 0)
        return REQUEST_DECIDED;
    enum dedup_outcome outcome = look_up_key(request);
    if (outcome == DEDUP_FOLLOWS)
        return REQUEST_WAITS;
    if (request->status == 0 && outcome == DEDUP_FIRST && hand_in(request, text))
        return REQUEST_WAITS;
    answer_followers(request);
    return REQUEST_DECIDED;
}

enum request_outcome request_take(struct request *request, struct desk *desk)
{
    request->desk = desk;
    request->ticket.done = on_durable;
    enum request_outcome outcome = take(request); /* the request may be gone behind this */
    if (desk->expanded.cap > EXPANDED_KEPT) {
        buf_free(&desk->expanded);
        desk->expanded = (struct buf){0};
    }
    return outcome;
}

/* ---- desks ---- */

int desk_open(struct desk *desk, struct capture *capture, size_t text_bytes_max, struct error *err)
{
    desk->text_bytes_max = text_bytes_max;
    return text_bytes_max == SIZE_MAX ? intake_open_giving_way(&desk->intake, capture, err)
                                      : intake_open(&desk->intake, capture, err);
}

void desk_close(struct desk *desk)
{
    intake_close(desk->intake);
    buf_free(&desk->expanded);
    query_free(&desk->query);
    *desk = (struct desk){0};
}
