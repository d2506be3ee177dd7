/* SPDX-License-Identifier: Apache-2.0
 *
 * The store over S3 and what speaks like it. A key's object lies at <prefix>/<key>; its
 * durability and atomicity are the store's.
 *
 * A HEAD that is refused, be it by 404, is asked again by GET, whose answer has a body: only that
 * tells an object that isn't there from a bucket that isn't, or from a proxy's page.
 *
 * Where a store shows no CRC32C of an object (it keeps none, or somebody else put it), a HEAD
 * reads the object and sums it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/objstore/s3.h"
#include "lib/objstore/s3_answer.h"

/* Who may not list is refused what isn't there, too: nobody is told which names are free. */
#define RIGHT_TO_READ "s3:GetObject, and s3:ListBucket where there is no such object,"

enum { SUM_BYTES = 8 << 20, LIST_KEYS_MAX = 1000 };

/* ---- reading ---- */

static bool number_read(struct slice text, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || *out > (UINT64_MAX - 9) / 10)
            return false;
        *out = *out * 10 + (uint64_t)(text.data[i] - '0');
    }
    return text.len > 0;
}

static void times_read(const struct http_reply *reply, struct objstore_info *out)
{
    out->modified_ms = http_reply_time_ms(reply, "last-modified");
    out->store_time_ms = http_reply_date_ms(reply);
}

/* A store that says no time is no check of ours: ours stands in for it. */
static void times_default(const struct s3_store *store, struct objstore_info *out)
{
    if (out->store_time_ms == 0)
        out->store_time_ms = clock_wall_ms(store->clock);
}

/* "bytes 0-9/100", "bytes *\/100": the size behind the slash, and of what part it is. */
static bool range_read(struct slice text, uint64_t *start, uint64_t *len, uint64_t *size)
{
    uint64_t last = 0;
    const char *slash = text.len > 0 ? memchr(text.data, '/', text.len) : NULL;
    if (slash == NULL || text.len < 7 || memcmp(text.data, "bytes ", 6) != 0)
        return false;
    size_t head = (size_t)(slash - (const char *)text.data);
    const char *dash = memchr(text.data + 6, '-', head - 6);
    size_t at = dash != NULL ? (size_t)(dash - (const char *)text.data) : head;
    *start = 0;
    *len = 0;
    *size = 0;
    if (slice_is(text, "bytes 0--1/0")) /* MinIO, of the end of an empty object */
        return true;
    if (dash != NULL) {
        if (!number_read(slice_of(text.data + 6, at - 6), start) ||
            !number_read(slice_of(dash + 1, head - at - 1), &last) || last < *start)
            return false;
        *len = last - *start + 1;
    }
    return number_read(slice_of(slash + 1, text.len - head - 1), size);
}

static int sum_object(struct s3_store *store, const char *key, struct objstore_info *info,
                      struct error *err);

/* The whole checksum of an answer that shows one. */
static void crc_take(const struct http_reply *reply, struct objstore_info *out)
{
    struct slice type = http_reply_field(reply, "x-amz-checksum-type");
    if (type.len > 0 && !slice_is(type, "FULL_OBJECT"))
        return;
    out->has_crc32c = s3_crc_read(http_reply_field(reply, "x-amz-checksum-crc32c"), &out->crc32c);
}

/* Why a HEAD was refused: the same by GET, whose answer has a body. OK with *absent: it isn't
 * there; OK without: what was wrong is put right. */
static int refusal_explain(struct s3_store *store, const char *key, bool *absent,
                           struct objstore_info *out, struct error *err)
{
    struct s3_answer answer = {0};
    struct s3_request request = {.name = "GetObject",
                                 .right = RIGHT_TO_READ,
                                 .method = "GET",
                                 .key = key,
                                 .fields = {"Range: bytes=0-0"},
                                 .field_count = 1};
    int rc = s3_send(store, &request, &answer, err);
    *absent = rc != OK && s3_says_absent(&answer);
    if (*absent || answer.reply.status == 416) /* an empty object has no byte 0 */
        rc = OK;
    out->store_time_ms = http_reply_date_ms(&answer.reply);
    s3_answer_free(&answer);
    return rc;
}

static int head_ask(struct s3_store *store, const char *key, int *status, struct objstore_info *out,
                    struct error *err)
{
    struct s3_answer answer = {0};
    struct s3_request request = {.name = "HeadObject",
                                 .right = RIGHT_TO_READ,
                                 .method = "HEAD",
                                 .key = key,
                                 .fields = {"x-amz-checksum-mode: ENABLED"},
                                 .field_count = 1};
    int rc = s3_send(store, &request, &answer, err);
    *out = (struct objstore_info){0};
    *status = answer.reply.status;
    if (rc == OK) {
        out->found = true;
        times_read(&answer.reply, out);
        crc_take(&answer.reply, out);
        if (!number_read(http_reply_field(&answer.reply, "content-length"), &out->size))
            rc = error_set(err, ERROR_RETRY, "HeadObject: an answer without Content-Length");
    }
    s3_answer_free(&answer);
    return rc;
}

int s3_head(struct s3_store *store, const char *key, struct objstore_info *out, struct error *err)
{
    int status = 0;
    bool absent = false;
    int rc = head_ask(store, key, &status, out, err);
    if (rc != OK && status >= 300 && status < 500 && err->code != ERROR_RETRY) {
        rc = refusal_explain(store, key, &absent, out, err);
        status = 0;
        if (rc == OK && !absent)
            rc = head_ask(store, key, &status, out, err);
        if (rc != OK && status == 404) /* it comes and goes */
            rc = err->code = ERROR_RETRY;
    }
    times_default(store, out);
    return rc;
}

static int s3_op_head(void *impl, const char *key, struct objstore_info *out, struct error *err)
{
    int rc = s3_head(impl, key, out, err);
    if (rc == OK && out->found && !out->has_crc32c)
        rc = sum_object(impl, key, out, err);
    return rc;
}

/* Otherwise its end is that of the connection, which may be an early one. */
static bool has_end(const struct http_reply *reply)
{
    return http_reply_field(reply, "content-length").data != NULL ||
           http_reply_field(reply, "transfer-encoding").data != NULL;
}

/* Takes what a GET brought. */
static int body_take(const struct s3_answer *answer, int64_t offset, uint64_t len, size_t bytes_max,
                     struct buf *out, struct objstore_info *info, struct error *err)
{
    struct slice body = buf_slice(&answer->reply.body);
    uint64_t start = 0;
    uint64_t part = 0;
    info->found = true;
    info->size = body.len;
    times_read(&answer->reply, info);
    if (answer->reply.status == 206) {
        if (!range_read(http_reply_field(&answer->reply, "content-range"), &start, &part,
                        &info->size) ||
            start > info->size || body.len > info->size - start || body.len != part ||
            (offset >= 0 && start != (uint64_t)offset))
            return error_set(err, ERROR_RETRY, "GetObject: another range than was asked for");
        if (body.len == info->size)
            crc_take(&answer->reply, info);
    } else {
        /* The whole object: some stores know no ranges. */
        crc_take(&answer->reply, info);
        if (!info->has_crc32c && !has_end(&answer->reply))
            return error_set(err, ERROR_RETRY, "GetObject: an answer without Content-Length");
        uint64_t back = offset < 0 ? (uint64_t)-offset : 0;
        start = offset >= 0 ? (uint64_t)offset : back < body.len ? body.len - back : 0;
        start = start < body.len ? start : body.len;
        body = slice_of(body.data + start, body.len - (size_t)start);
    }
    if (len > 0 && body.len > len)
        body.len = (size_t)len;
    if (body.len > bytes_max || !buf_reserve(out, body.len))
        return error_set(err, ERROR_LIMIT, "%zu bytes, more than the %zu allowed", body.len,
                         bytes_max);
    info->has_crc32c = info->has_crc32c && body.len == info->size;
    if (info->has_crc32c && crc32c(0, body) != info->crc32c)
        return error_set(err, ERROR_RETRY, "GetObject: the bytes that came are not the object's");
    if (body.len == info->size) {
        info->has_crc32c = true;
        info->crc32c = crc32c(0, body);
    }
    buf_put_slice(out, body);
    return OK;
}

static int s3_get(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
                  struct buf *out, struct objstore_info *info, struct error *err)
{
    struct s3_store *store = impl;
    struct s3_answer answer = {0};
    char range[64] = "";
    size_t room = out->max > 0 ? out->max - out->len : SIZE_MAX;
    struct s3_request request = {.name = "GetObject",
                                 .right = RIGHT_TO_READ,
                                 .method = "GET",
                                 .key = key,
                                 .fields = {"x-amz-checksum-mode: ENABLED"},
                                 .field_count = 1,
                                 .answer_bytes_max = bytes_max < room ? bytes_max : room};
    if (request.answer_bytes_max == 0)
        request.answer_bytes_max = 1;
    if (offset < 0)
        snprintf(range, sizeof range, "Range: bytes=%lld", (long long)offset);
    else if (len > 0)
        snprintf(range, sizeof range, "Range: bytes=%lld-%llu", (long long)offset,
                 (unsigned long long)((uint64_t)offset + (len - 1)));
    else if (offset > 0)
        snprintf(range, sizeof range, "Range: bytes=%lld-", (long long)offset);
    if (range[0] != 0)
        request.fields[request.field_count++] = range;
    int rc = s3_send(store, &request, &answer, err);
    if (rc == OK) {
        rc = body_take(&answer, offset, len, bytes_max, out, info, err);
    } else if (answer.reply.status == 416 && range[0] != 0) {
        /* Begins at or behind the end: nothing of it, which is no error here. */
        uint64_t start = 0;
        uint64_t part = 0;
        rc = s3_head(store, key, info, err);
        (void)range_read(http_reply_field(&answer.reply, "content-range"), &start, &part,
                         &info->size);
    } else if (s3_says_absent(&answer)) {
        times_read(&answer.reply, info);
        rc = OK;
    }
    times_default(store, info);
    s3_answer_free(&answer);
    return rc;
}

static int sum_object(struct s3_store *store, const char *key, struct objstore_info *info,
                      struct error *err)
{
    struct buf piece;
    uint32_t sum = 0;
    int rc = OK;
    buf_init(&piece, SUM_BYTES);
    for (uint64_t at = 0; rc == OK && at < info->size;) {
        struct objstore_info now = {0};
        buf_reset(&piece);
        rc = s3_get(store, key, (int64_t)at, SUM_BYTES, SUM_BYTES, &piece, &now, err);
        if (rc == OK && (now.size != info->size || piece.len == 0))
            rc = error_set(err, ERROR_RETRY, "the object changed while it was summed");
        sum = crc32c(sum, buf_slice(&piece));
        at += piece.len;
    }
    buf_free(&piece);
    info->has_crc32c = rc == OK;
    info->crc32c = sum;
    return rc;
}

/* ---- lists ---- */

static void query_put(struct buf *query, const char *name, const char *prefix, const char *value)
{
    buf_printf(query, "&%s=", name);
    http_client_encode(slice_cstr(prefix), false, query);
    http_client_encode(slice_cstr(value), false, query);
}

/* Pages go on behind the last key, not by a token: one that another machine gave out, or that
 * ran out, need not be thought of. */
static int page_ask(struct s3_store *store, const char *prefix, const char *full, const char *after,
                    size_t count, struct s3_page *page, struct error *err)
{
    struct s3_answer answer = {0};
    struct buf query = {0};
    buf_printf(&query, "list-type=2&encoding-type=url&max-keys=%zu",
               count < LIST_KEYS_MAX ? count : (size_t)LIST_KEYS_MAX);
    query_put(&query, "prefix", full, prefix);
    if (*after != 0)
        query_put(&query, "start-after", "", after);
    struct s3_request request = {.name = "ListObjectsV2",
                                 .right = "s3:ListBucket",
                                 .method = "GET",
                                 .scope = prefix,
                                 .query = buf_cstr(&query)};
    int rc = s3_send(store, &request, &answer, err);
    if (rc == OK)
        rc = s3_page_decode(buf_slice(&answer.reply.body), full, page, err);
    if (rc == OK && page->last != NULL && *after != 0 && strcmp(page->last, after) <= 0)
        rc = error_set(err, ERROR_RETRY, "a list that goes back");
    s3_answer_free(&answer);
    buf_free(&query);
    return rc;
}

static int s3_list(void *impl, const char *prefix, const char *after, size_t count_max,
                   struct objstore_list *out, struct error *err)
{
    struct s3_store *store = impl;
    char full[S3_PREFIX_MAX + 2];
    snprintf(full, sizeof full, "%s%s", store->place.prefix,
             store->place.prefix[0] != 0 ? "/" : "");
    char *at = *after != 0 ? memory_printf("%s%s", full, after) : memory_copy_cstr("");
    bool more = true;
    int rc = OK;
    while (rc == OK && more && out->count <= count_max) {
        struct s3_page page = {0};
        rc = page_ask(store, prefix, full, at, count_max - out->count + 1, &page, err);
        for (size_t i = 0; rc == OK && i < page.list.count; i++) {
            const struct objstore_entry *entry = &page.list.entries[i];
            if (strncmp(entry->key, prefix, strlen(prefix)) == 0 && strcmp(entry->key, after) > 0)
                objstore_list_add(out, entry->key, entry->size, entry->modified_ms);
        }
        more = page.more;
        if (rc == OK && page.last != NULL) {
            free(at);
            at = memory_copy_cstr(page.last);
        }
        s3_page_free(&page);
    }
    free(at);
    objstore_list_cut(out, count_max);
    return rc;
}

/* ---- writing ---- */

static int s3_put(void *impl, const char *key, const struct objstore_body *body, uint32_t checksum,
                  enum put_condition condition, struct error *err)
{
    return s3_put_body(impl, key, body, checksum, condition, err);
}

static int s3_remove(void *impl, const char *key, struct error *err)
{
    struct s3_answer answer = {0};
    struct s3_request request = {.name = "DeleteObject", .method = "DELETE", .key = key};
    int rc = s3_send(impl, &request, &answer, err);
    if (rc != OK && s3_says_absent(&answer))
        rc = OK;
    s3_answer_free(&answer);
    return rc;
}

static int s3_op_remove_many(void *impl, const char *const *keys, size_t count, bool *known,
                             struct error *err)
{
    return s3_remove_many(impl, keys, count, known, err);
}

/* One request; *known false: the store doesn't know this condition. */
static int copy_ask(struct s3_store *store, const char *from, const char *to, bool conditional,
                    bool *known, struct error *err)
{
    struct s3_answer answer = {0};
    struct buf source = {0};
    struct s3_endpoint in_path = {.in_path = true};
    buf_put_cstr(&source, "x-amz-copy-source: ");
    s3_path_put(&in_path, &store->place, from, &source);
    struct s3_request request = {
        .name = "CopyObject",
        .right = "s3:PutObject and s3:GetObject",
        .method = "PUT",
        .key = to,
        .fields = {buf_cstr(&source), "x-amz-checksum-algorithm: CRC32C"},
        .field_count = 2,
        .result = "CopyObjectResult",
    };
    s3_sse_fields(store, &request);
    if (conditional)
        request.fields[request.field_count++] = "If-None-Match: *";
    int rc = s3_send(store, &request, &answer, err);
    *known = rc == OK || !conditional || strcmp(answer.problem.code, "NotImplemented") != 0;
    if (rc != OK && s3_says_absent(&answer)) {
        err->code = ERROR_INPUT;
        err->cause = ENOENT;
    }
    s3_answer_free(&answer);
    buf_free(&source);
    return rc;
}

/* The condition is asked for by HEAD first: not all stores know it of a copy, and some ignore it.
 * There two who copy to one name at once may both be told that they did. */
static int s3_copy(void *impl, const char *from, const char *to, enum put_condition condition,
                   struct error *err)
{
    struct s3_store *store = impl;
    struct objstore_info info;
    bool known = true;
    bool conditional = (condition & PUT_IF_ABSENT) != 0;
    int rc = conditional ? s3_head(store, to, &info, err) : OK;
    if (rc == OK && conditional && info.found)
        return error_set(err, ERROR_CONFLICT, "the object exists");
    if (rc == OK)
        rc = s3_head(store, from, &info, err);
    if (rc != OK)
        return rc;
    if (!info.found) {
        rc = error_set(err, ERROR_INPUT, "no such object");
        err->cause = ENOENT;
        return rc;
    }
    if (info.size > S3_SINGLE_BYTES_MAX)
        return s3_copy_parts(store, from, to, &info, condition, err);
    if (conditional && atomic_load(&store->copies_unasked))
        conditional = false;
    rc = copy_ask(store, from, to, conditional, &known, err);
    if (known)
        return rc;
    atomic_store(&store->copies_unasked, true);
    return copy_ask(store, from, to, false, &known, err);
}

/* ---- opening ---- */

static struct throttle *s3_throttle(void *impl)
{
    const struct s3_store *store = impl;
    return store->throttle;
}

static void s3_close(void *impl)
{
    struct s3_store *store = impl;
    s3_loans_free(store);
    aws_provider_close(store->provider);
    http_client_close(store->http);
    throttle_close(store->throttle);
    pthread_mutex_destroy(&store->lock);
    aws_endpoint_free(&store->endpoint);
    free(store->sse_field);
    free(store->kms_field);
    free(store);
}

static const struct objstore_ops s3_ops = {
    .scheme = "s3",
    .put = s3_put,
    .head = s3_op_head,
    .get = s3_get,
    .list = s3_list,
    .remove = s3_remove,
    .remove_many = s3_op_remove_many,
    .copy = s3_copy,
    .borrows = s3_borrows,
    .lend = s3_lend,
    .throttle = s3_throttle,
    .close = s3_close,
};

static int style_read(const char *text, enum s3_style *out, struct error *err)
{
    static const char *const names[] = {"auto", "yes", "no"};
    *out = S3_STYLE_AUTO;
    for (size_t i = 0; text != NULL && *text != 0 && i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            *out = (enum s3_style)i;
            return OK;
        }
    }
    return cstr_or_null(text) == NULL
               ? OK
               : error_set(err, ERROR_INPUT, "s3.path_style \"%.40s\": auto, yes or no", text);
}

static bool is_field_text(const char *text)
{
    for (; text != NULL && *text != 0; text++) {
        if ((unsigned char)*text < 0x20 || (unsigned char)*text > 0x7e)
            return false;
    }
    return true;
}

typedef const char *lookup_function(const char *name);

static lookup_function *environment_of(const struct objstore_s3 *s3)
{
    return s3->getenv != NULL ? s3->getenv : (lookup_function *)getenv;
}

/* What can be seen to be wrong before anybody is asked. */
static int settings_take(struct s3_store *store, const struct objstore_s3 *s3, struct error *err)
{
    struct s3_endpoint endpoint;
    const char *url = cstr_or_null(s3->endpoint);
    int rc = OK;
    if (url != NULL) /* said of this store alone: what counts for all of Amazon's does not */
        store->endpoint.url = memory_copy_cstr(url);
    else
        rc = aws_provider_endpoint(store->provider, "s3", &store->endpoint, err);
    if (rc != OK)
        return rc;
    store->part_bytes = s3->part_bytes > 0 ? (uint64_t)s3->part_bytes : (uint64_t)16 << 20;
    if (store->part_bytes < S3_PART_BYTES_MIN)
        return error_set(err, ERROR_INPUT, "s3.part_bytes: S3 takes no parts below 5 MiB");
    store->concurrency = s3->concurrency > 0 ? (unsigned)s3->concurrency : 4;
    if (!is_field_text(s3->sse) || !is_field_text(s3->kms_key_id))
        return error_set(err, ERROR_INPUT, "s3.sse, s3.kms_key_id: printable ASCII alone");
    const char *sse = cstr_or_null(s3->sse);
    const char *kms = cstr_or_null(s3->kms_key_id);
    if (sse != NULL)
        store->sse_field = memory_printf("x-amz-server-side-encryption: %s", sse);
    if (kms != NULL)
        store->kms_field = memory_printf("x-amz-server-side-encryption-aws-kms-key-id: %s", kms);
    if (kms != NULL && (sse == NULL || strncmp(sse, "aws:kms", 7) != 0))
        return error_set(err, ERROR_INPUT, "s3.kms_key_id wants s3.sse: aws:kms");
    rc = style_read(s3->path_style, &store->style, err);
    /* The region may not be known yet; whether the endpoint is one doesn't hang on it. */
    return rc == OK ? s3_endpoint_make(&endpoint, &store->endpoint, "us-east-1", &store->place,
                                       store->style, err)
                    : rc;
}

int s3_store_open(struct objstore **out, const char *url, const struct objstore_options *options,
                  struct error *err)
{
    static const struct objstore_s3 defaults = {0};
    const struct objstore_s3 *s3 = options->s3 != NULL ? options->s3 : &defaults;
    lookup_function *lookup = environment_of(s3);
    struct throttle_options throttle = {.clock = options->clock,
                                        .places_max = PARALLEL_MAX,
                                        .stop = options->stop,
                                        .stop_context = options->stop_context};
    struct s3_store *store = memory_alloc(1, sizeof *store);
    store->clock = options->clock;
    store->throttle = throttle_open(&throttle);
    pthread_mutex_init(&store->lock, NULL);
    int rc = s3_place_parse(&store->place, url, err);
    if (rc == OK) {
        const char *ca_file = cstr_or_null(s3->ca_file);
        struct http_client_options http = {
            .ca_file = ca_file != NULL ? ca_file : cstr_or_null(lookup("AWS_CA_BUNDLE")),
            .proxy = cstr_or_null(s3->proxy),
            .stop = options->stop,
            .stop_context = options->stop_context};
        rc = http_client_open(&store->http, &http, err);
    }
    if (rc == OK) {
        struct aws_provider_options provider = {.http = store->http,
                                                .clock = store->clock,
                                                .region = cstr_or_null(s3->region),
                                                .profile = cstr_or_null(s3->profile),
                                                .getenv = s3->getenv};
        rc = aws_provider_open(&store->provider, &provider, err);
        if (rc != OK)
            (void)error_wrap(err, "s3.region");
    }
    if (rc == OK)
        rc = settings_take(store, s3, err);
    if (rc != OK) {
        s3_close(store);
        return rc;
    }
    *out = objstore_wrap(&s3_ops, store, url);
    return OK;
}
