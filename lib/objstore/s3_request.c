/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to S3: signed, sent, judged. What may have been wrong with the request itself
 * (region, clock, credentials) is put right and the request sent again, once for each of them;
 * nothing was applied by the one before, which was refused at the door.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/objstore/s3.h"
#include "lib/objstore/s3_answer.h"

enum {
    ERROR_BYTES_MAX = 64 << 10, /* room for an <Error> where few bytes are wanted */
    SKEW_MS = 60000,            /* services bear five minutes at least */
};

/* What one sending is made of. */
struct sending {
    struct s3_endpoint endpoint;
    char region[AWS_REGION_SIZE];
    int64_t offset_ms;             /* the store's clock against ours, as it was signed by */
    struct aws_provider *provider; /* who gave the credentials */
    struct aws_credentials credentials;
    char body_hash[2 * SHA256_SIZE + 1];
    const char *payload; /* what is signed of the body */
    struct aws_signed signed_fields;
    struct buf path;
    struct buf url;
};

static void sending_free(struct sending *sending)
{
    aws_credentials_free(&sending->credentials);
    aws_signed_free(&sending->signed_fields);
    buf_free(&sending->path);
    buf_free(&sending->url);
}

void s3_answer_free(struct s3_answer *answer)
{
    http_reply_free(&answer->reply);
    *answer = (struct s3_answer){0};
}

bool s3_is_plain(const struct s3_store *store)
{
    return store->endpoint.url != NULL && strncmp(store->endpoint.url, "http://", 7) == 0;
}

void s3_crc_field(uint32_t checksum, char out[S3_CRC_FIELD_SIZE])
{
    uint8_t bytes[4];
    struct buf text = {0};
    put_u32be(bytes, checksum);
    base64_encode(slice_of(bytes, sizeof bytes), &text);
    snprintf(out, S3_CRC_FIELD_SIZE, "x-amz-checksum-crc32c: %s", buf_cstr(&text));
    buf_free(&text);
}

bool s3_crc_read(struct slice text, uint32_t *out)
{
    struct buf bytes = {0};
    bool fine = text.len > 0 && base64_decode(text, &bytes) && bytes.len == 4;
    if (fine)
        *out = get_u32be(bytes.data);
    buf_free(&bytes);
    return fine;
}

/* ---- making it ---- */

/* The region as it was learned or configured. Another store than Amazon's has often none. */
static int region_find(struct s3_store *store, char out[AWS_REGION_SIZE], struct error *err)
{
    pthread_mutex_lock(&store->lock);
    snprintf(out, AWS_REGION_SIZE, "%s", store->region);
    pthread_mutex_unlock(&store->lock);
    if (*out != 0)
        return OK;
    /* Asked without the lock: the machine's metadata may take a second to answer. */
    int rc = aws_provider_region(store->provider, out, err);
    if (rc != OK && store->endpoint.url != NULL) {
        snprintf(out, AWS_REGION_SIZE, "us-east-1");
        rc = OK;
    }
    if (rc != OK)
        return error_wrap(err, "region");
    pthread_mutex_lock(&store->lock);
    if (store->region[0] == 0)
        snprintf(store->region, sizeof store->region, "%s", out);
    pthread_mutex_unlock(&store->lock);
    return OK;
}

/* All but the signature. It may ask the network: not with a place of the throttle's. */
static int sending_make(struct s3_store *store, const struct s3_request *request,
                        struct sending *out, struct error *err)
{
    const char *scope = request->key != NULL ? request->key : request->scope;
    *out = (struct sending){.provider = s3_provider_find(store, scope)};
    int rc = region_find(store, out->region, err);
    if (rc == OK)
        rc = s3_endpoint_make(&out->endpoint, &store->endpoint, out->region, &store->place,
                              store->style, err);
    if (rc == OK)
        rc = aws_provider_get(out->provider, &out->credentials, err);
    if (rc != OK)
        return rc;
    out->payload = AWS_UNSIGNED_PAYLOAD;
    if (request->source != NULL && s3_is_plain(store)) {
        ASSERT(request->source_hash != NULL);
        out->payload = request->source_hash;
    } else if (request->source == NULL && request->body.len == 0) {
        out->payload = AWS_EMPTY_PAYLOAD;
    } else if (s3_is_plain(store)) {
        uint8_t digest[SHA256_SIZE];
        sha256(request->body, digest);
        hex_encode(slice_of(digest, sizeof digest), out->body_hash);
        out->payload = out->body_hash;
    }
    s3_path_put(&out->endpoint, &store->place, request->key, &out->path);
    buf_printf(&out->url, "%s://%s%s%s%s", out->endpoint.https ? "https" : "http",
               out->endpoint.host, buf_cstr(&out->path), request->query != NULL ? "?" : "",
               request->query != NULL ? request->query : "");
    return OK;
}

/* Just before it goes: a signature holds for a quarter of an hour. */
static void sending_sign(struct s3_store *store, const struct s3_request *request,
                         struct sending *sending)
{
    pthread_mutex_lock(&store->lock);
    sending->offset_ms = store->clock_offset_ms;
    pthread_mutex_unlock(&store->lock);
    struct aws_request to_sign = {.method = request->method,
                                  .host = sending->endpoint.host,
                                  .path = buf_cstr(&sending->path),
                                  .query = request->query,
                                  .fields = request->fields,
                                  .field_count = request->field_count,
                                  .payload_hash = sending->payload,
                                  .service = "s3",
                                  .region = sending->region,
                                  .now_ms = clock_wall_ms(store->clock) + sending->offset_ms,
                                  .credentials = &sending->credentials};
    aws_sign(&sending->signed_fields, &to_sign);
}

/* ---- what came of it ---- */

/* Whether a message, which may have been cut, shows how a secret begins. */
static bool shows(const char *message, const char *secret)
{
    char begin[17];
    if (secret == NULL || secret[0] == 0)
        return false;
    snprintf(begin, sizeof begin, "%s", secret);
    bool found = strstr(message, begin) != NULL;
    explicit_bzero(begin, sizeof begin);
    return found;
}

/* Fills out->problem: what the answer says, and what its head adds where it has no body. Some
 * stores repeat what they were sent: then the message is left out. */
static void problem_read(const struct aws_credentials *sent, struct s3_answer *out)
{
    struct s3_problem *problem = &out->problem;
    struct slice region = http_reply_field(&out->reply, "x-amz-bucket-region");
    (void)s3_error_decode(buf_slice(&out->reply.body), problem); /* HEAD's have no body */
    if (shows(problem->message, sent->token) || shows(problem->message, sent->secret))
        problem->message[0] = 0;
    if (region.len > 0)
        s3_text_copy(problem->region, sizeof problem->region, region);
    int64_t date_ms = http_reply_date_ms(&out->reply);
    if (date_ms > 0)
        problem->server_ms = date_ms;
}

static bool region_learn(struct s3_store *store, const struct sending *sending, const char *region)
{
    if (!aws_region_is_valid(region) || strcmp(region, sending->region) == 0)
        return false;
    pthread_mutex_lock(&store->lock);
    snprintf(store->region, sizeof store->region, "%s", region);
    pthread_mutex_unlock(&store->lock);
    log_event(LOG_LEVEL_WARN, "s3", "the bucket is in another region: set s3.region",
              "bucket=%s region=%s asked=%s", store->place.bucket, region, sending->region);
    return true;
}

static bool clock_learn(struct s3_store *store, const struct sending *sending, int64_t server_ms)
{
    int64_t offset_ms;
    if (!aws_clock_offset(server_ms, clock_wall_ms(store->clock), &offset_ms))
        return false;
    /* It was signed by the right time: another signature would be refused, too. */
    int64_t more_ms = offset_ms - sending->offset_ms;
    if (more_ms < SKEW_MS && more_ms > -SKEW_MS)
        return false;
    pthread_mutex_lock(&store->lock);
    store->clock_offset_ms = offset_ms;
    pthread_mutex_unlock(&store->lock);
    log_event(LOG_LEVEL_WARN, "s3",
              "this machine's clock is off: requests are signed by the store's",
              "bucket=%s offset_ms=%lld", store->place.bucket, (long long)offset_ms);
    return true;
}

static bool mend(struct s3_store *store, const struct sending *sending,
                 const struct s3_problem *problem, enum s3_mend what)
{
    switch (what) {
    case S3_MEND_NONE:
        return false;
    case S3_MEND_REGION:
        return region_learn(store, sending, problem->region);
    case S3_MEND_CLOCK:
        return clock_learn(store, sending, problem->server_ms);
    case S3_MEND_CREDENTIALS:
        aws_provider_expire(sending->provider, sending->credentials.access_key);
        return true;
    }
    return false;
}

/* The time that the answer names. */
static int64_t after_ms(const struct s3_store *store, const struct s3_answer *answer)
{
    int64_t ms = http_reply_retry_after_ms(&answer->reply, clock_wall_ms(store->clock));
    return ms > 0 ? ms : 0;
}

static int refuse(struct s3_store *store, const struct s3_request *request,
                  const struct sending *sending, const struct s3_answer *answer,
                  const struct s3_verdict *verdict, struct error *err)
{
    const struct s3_problem *problem = &answer->problem;
    struct buf text;
    char id[40];
    buf_init(&text, 2048);
    s3_text_copy(id, sizeof id, http_reply_field(&answer->reply, "x-amz-request-id"));
    buf_printf(&text, "%s in bucket %s: %d", request->name, store->place.bucket,
               answer->reply.status);
    if (problem->code[0] != 0)
        buf_printf(&text, " %s", problem->code);
    /* Not where we say it better: the lines of those who call us are long as well. */
    if (problem->message[0] != 0 && verdict->mend == S3_MEND_NONE)
        buf_printf(&text, " (%.120s)", problem->message);
    if (verdict->check[0] != 0)
        buf_printf(&text, "; %s", verdict->check);
    if (verdict->code == ERROR_DENIED) {
        char kind[AWS_KIND_SIZE];
        aws_provider_doubt(sending->provider, sending->credentials.access_key);
        aws_provider_kind(sending->provider, kind);
        buf_printf(&text, "; %s%s of %.60s in %s", request->right != NULL ? "" : "s3:",
                   request->right != NULL ? request->right : request->name, kind, sending->region);
    }
    if (id[0] != 0)
        buf_printf(&text, "; request %s", id);
    (void)error_set(err, verdict->code, "%s", buf_cstr(&text));
    err->cause = answer->reply.status;
    if (verdict->code == ERROR_RETRY)
        err->retry_after_ms = after_ms(store, answer);
    buf_free(&text);
    return (int)verdict->code;
}

bool s3_says_absent(const struct s3_answer *answer)
{
    return s3_judge(answer->reply.status, answer->problem.code).is_absent;
}

static bool is_success(const struct s3_request *request, const struct s3_answer *answer)
{
    if (answer->reply.status < 200 || answer->reply.status >= 300)
        return false;
    return request->result == NULL || s3_root_is(buf_slice(&answer->reply.body), request->result);
}

static bool has_body(const struct s3_request *request)
{
    return strcmp(request->method, "PUT") == 0 || strcmp(request->method, "POST") == 0;
}

/* Once, in a place of the throttle's. OK: there is an answer; verdict->code OK: a success. */
static int send_once(struct s3_store *store, const struct s3_request *request,
                     struct sending *sending, struct s3_answer *out, struct s3_verdict *verdict,
                     struct error *err)
{
    size_t wanted = request->answer_bytes_max > 0 ? request->answer_bytes_max : S3_ANSWER_BYTES_MAX;
    enum throttle_answer answer = THROTTLE_NONE;
    uint64_t ticket;
    int rc = throttle_enter(store->throttle, request->look, request->look_context, &ticket, err);
    if (rc != OK)
        return error_wrap(err, "%s in bucket %s", request->name, store->place.bucket);
    sending_sign(store, request, sending);
    struct http_call call = {.method = request->method,
                             .url = buf_cstr(&sending->url),
                             .fields = sending->signed_fields.fields,
                             .field_count = sending->signed_fields.field_count,
                             .body = request->body,
                             .source = request->source,
                             .answer_bytes_max =
                                 wanted > ERROR_BYTES_MAX ? wanted : ERROR_BYTES_MAX};
    rc = http_client_call(store->http, &call, &out->reply, err);
    if (rc == OK && !is_success(request, out)) {
        problem_read(&sending->credentials, out);
        *verdict = s3_judge(out->reply.status, out->problem.code);
    }
    if (rc == OK && verdict->is_slow)
        answer = THROTTLE_SLOW;
    else if (rc == OK && out->reply.status < 500)
        answer = THROTTLE_GOOD;
    throttle_leave(store->throttle, ticket, answer,
                   answer == THROTTLE_SLOW ? after_ms(store, out) : 0);
    return rc;
}

int s3_send(struct s3_store *store, const struct s3_request *request, struct s3_answer *out,
            struct error *err)
{
    unsigned mended = 0;
    for (;;) {
        struct sending sending;
        struct s3_verdict verdict = {0};
        out->problem = (struct s3_problem){0};
        int rc = sending_make(store, request, &sending, err);
        if (rc == OK)
            rc = send_once(store, request, &sending, out, &verdict, err);
        if (rc != OK || verdict.code == OK) {
            sending_free(&sending);
            return rc;
        }
        if (verdict.code == ERROR_LIMIT && !has_body(request))
            verdict.code = ERROR_RETRY; /* what is only read fills nothing */
        unsigned bit = 1u << verdict.mend;
        bool again = (mended & bit) == 0 && mend(store, &sending, &out->problem, verdict.mend);
        mended |= bit;
        if (!again)
            rc = refuse(store, request, &sending, out, &verdict, err);
        sending_free(&sending);
        if (!again)
            return rc;
    }
}
