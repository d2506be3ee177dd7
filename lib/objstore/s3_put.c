/* SPDX-License-Identifier: Apache-2.0
 *
 * Putting. A body is summed before it goes out, whole or part by part, and each request has its
 * CRC32C in its head: a file that is not what was announced is found here (ERROR_CORRUPT) before
 * it has a name. It goes in one request, or in parts:
 *
 *   CreateMultipartUpload        says that one CRC32C will stand for the whole object
 *   UploadPart, several at once  read from the file by pread: no part is held in memory; one is
 *                                summed while others are sent
 *   CompleteMultipartUpload      with that CRC32C and the condition: it is judged here
 *
 * No name stands for anything before the last one. What fails is aborted; what a crash left
 * behind is found by s3_sweep a day later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/objstore/s3.h"
#include "lib/objstore/s3_answer.h"
#include "lib/objstore/s3_multipart.h"
#include "lib/xml/xml.h"

enum {
    READ_BYTES = 256 << 10,
    HASH_SIZE = 2 * SHA256_SIZE + 1,
};

struct part {
    bool summed;
    uint32_t crc32c;
    char hash[HASH_SIZE]; /* "" where the wire hides the body */
    char *etag;
};

struct put {
    struct s3_store *store;
    const char *key;
    const struct objstore_body *body; /* NULL: a copy of */
    const char *from;                 /* this */
    uint64_t size;
    uint32_t crc32c;
    bool has_crc32c;
    enum put_condition condition;
    struct s3_plan plan;
    struct part *parts;
    char *upload; /* its id, as it goes into a query */
    int fd;
};

static uint64_t part_offset(const struct put *put, size_t index)
{
    return put->plan.part_bytes * index;
}

static uint64_t part_size(const struct put *put, size_t index)
{
    uint64_t rest = put->size - part_offset(put, index);
    return rest < put->plan.part_bytes ? rest : put->plan.part_bytes;
}

/* ---- the body ---- */

static int body_open(struct put *put, struct error *err)
{
    if (put->body->file == NULL)
        return OK;
    put->fd = open(put->body->file, O_RDONLY | O_CLOEXEC);
    if (put->fd >= 0)
        return OK;
    if (errno != ENOENT)
        return error_errno(err, put->body->file);
    int rc = error_set(err, ERROR_CORRUPT, "%s is gone", put->body->file);
    err->cause = ENOENT;
    return rc;
}

/* All of `len` bytes from `offset` on. */
static int body_read(const struct put *put, uint64_t offset, void *to, size_t len,
                     struct error *err)
{
    if (put->fd < 0) {
        memcpy(to, put->body->bytes.data + offset, len);
        return OK;
    }
    for (size_t done = 0; done < len;) {
        ssize_t n = pread(put->fd, (char *)to + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, put->body->file);
        if (n == 0)
            return error_set(err, ERROR_CORRUPT, "%s ends too early", put->body->file);
        done += (size_t)n;
    }
    return OK;
}

/* What a request says of the bytes it brings. */
static int part_sum(const struct put *put, size_t index, struct error *err)
{
    struct part *part = &put->parts[index];
    uint64_t offset = part_offset(put, index);
    uint64_t end = offset + part_size(put, index);
    struct sha256_sum *sum = s3_is_plain(put->store) ? sha256_begin() : NULL;
    void *room = memory_alloc_raw(READ_BYTES, 1);
    int rc = OK;
    part->crc32c = 0;
    while (rc == OK && offset < end) {
        size_t len = end - offset < READ_BYTES ? (size_t)(end - offset) : READ_BYTES;
        rc = body_read(put, offset, room, len, err);
        if (rc != OK)
            break;
        struct slice bytes = slice_of(room, len);
        part->crc32c = crc32c(part->crc32c, bytes);
        if (sum != NULL)
            sha256_add(sum, bytes);
        offset += len;
    }
    if (sum != NULL) {
        uint8_t digest[SHA256_SIZE];
        sha256_end(sum, digest);
        hex_encode(slice_of(digest, sizeof digest), part->hash);
    }
    free(room);
    return rc;
}

/* That the parts, summed, are what was announced. */
static int body_check(const struct put *put, struct error *err)
{
    uint32_t whole = 0;
    for (size_t i = 0; i < put->plan.count; i++)
        whole = crc32c_join(whole, put->parts[i].crc32c, part_size(put, i));
    if (whole == put->crc32c)
        return OK;
    return error_set(err, ERROR_CORRUPT, "the bytes have checksum %08x, %08x was announced", whole,
                     put->crc32c);
}

struct reader {
    struct put *put;
    uint64_t offset;
    bool stopped; /* by the pace */
};

static int on_read(void *context, uint64_t offset, void *to, size_t *len, struct error *err)
{
    struct reader *reader = context;
    struct put *put = reader->put;
    if (put->body->pace != NULL) {
        int rc = put->body->pace(put->body->pace_context, *len, err);
        reader->stopped = rc != OK;
        if (rc != OK)
            return rc;
    }
    return body_read(put, reader->offset + offset, to, *len, err);
}

/* While it waits: whether who puts wants it to end. */
static bool is_given_up(void *context)
{
    const struct put *put = context;
    const struct objstore_body *body = put->body;
    struct error ignored; /* what it waits for says more */
    return body != NULL && body->pace != NULL && body->pace(body->pace_context, 0, &ignored) != OK;
}

/* ---- in one request ---- */

static void field_add(struct s3_request *request, const char *field)
{
    ASSERT(request->field_count < S3_REQUEST_FIELDS_MAX);
    request->fields[request->field_count++] = field;
}

void s3_sse_fields(const struct s3_store *store, struct s3_request *request)
{
    if (store->sse_field != NULL)
        field_add(request, store->sse_field);
    if (store->kms_field != NULL)
        field_add(request, store->kms_field);
}

static bool is_conditional(const struct put *put)
{
    return (put->condition & PUT_IF_ABSENT) != 0;
}

/* No answer came to a put with a condition: is it that the name is taken, by this put or before? */
static int taken_decide(const struct put *put, struct error *err)
{
    struct objstore_info info;
    struct error ignored;
    if (err->code != ERROR_RETRY || s3_head(put->store, put->key, &info, &ignored) != OK ||
        !info.found)
        return (int)err->code;
    (void)error_set(err, ERROR_CONFLICT, "no answer came, and the object exists");
    err->cause = ETIMEDOUT;
    return ERROR_CONFLICT;
}

static int put_single(struct put *put, struct error *err)
{
    struct s3_answer answer = {0};
    char crc[S3_CRC_FIELD_SIZE];
    struct reader reader = {.put = put};
    struct http_client_source source = {.size = put->size,
                                        .read = on_read,
                                        .context = &reader,
                                        .piece_bytes_max = put->body->pace_bytes_max};
    struct s3_request request = {.name = "PutObject",
                                 .method = "PUT",
                                 .key = put->key,
                                 .source = &source,
                                 .source_hash = put->parts[0].hash,
                                 .look = is_given_up,
                                 .look_context = put};
    s3_crc_field(put->crc32c, crc);
    field_add(&request, crc);
    s3_sse_fields(put->store, &request);
    if (is_conditional(put))
        field_add(&request, "If-None-Match: *");
    int rc = s3_send(put->store, &request, &answer, err);
    /* Some stores answer 412 at once and hang up on the body: the answer is often lost then, at
     * each try anew. */
    bool unheard = rc != OK && answer.reply.sent && answer.reply.status == 0 && !reader.stopped;
    s3_answer_free(&answer);
    return unheard && is_conditional(put) ? taken_decide(put, err) : rc;
}

/* ---- in parts ---- */

struct s3_plan s3_plan_parts(uint64_t size, uint64_t part_bytes)
{
    static const uint64_t mib = 1 << 20;
    if (size <= 2 * part_bytes && size <= S3_SINGLE_BYTES_MAX)
        return (struct s3_plan){.part_bytes = size, .count = 1};
    uint64_t least = (size / S3_PARTS_MAX + mib) / mib * mib;
    uint64_t bytes = part_bytes > least ? part_bytes : least;
    return (struct s3_plan){.part_bytes = bytes, .count = (size_t)((size + bytes - 1) / bytes)};
}

static int upload_create(struct put *put, struct error *err)
{
    struct s3_answer answer = {0};
    char *id = NULL;
    struct s3_request request = {.name = "CreateMultipartUpload",
                                 .right = "s3:PutObject",
                                 .method = "POST",
                                 .key = put->key,
                                 .query = "uploads=",
                                 .look = is_given_up,
                                 .look_context = put};
    field_add(&request, "x-amz-checksum-algorithm: CRC32C");
    field_add(&request, "x-amz-checksum-type: FULL_OBJECT");
    s3_sse_fields(put->store, &request);
    int rc = s3_send(put->store, &request, &answer, err);
    if (rc == OK)
        rc = s3_text_decode(buf_slice(&answer.reply.body), "UploadId", &id, err);
    if (rc == OK) {
        struct buf text = {0};
        http_client_encode(slice_cstr(id), false, &text);
        put->upload = memory_copy_cstr(buf_cstr(&text));
        buf_free(&text);
    }
    free(id);
    s3_answer_free(&answer);
    return rc;
}

static void upload_abort(struct put *put)
{
    struct error ignored; /* what stays is s3_sweep's */
    (void)!s3_abort(put->store, put->key, put->upload, &ignored);
}

static int part_put(struct put *put, size_t index, const char *query, struct s3_answer *answer,
                    struct error *err)
{
    char crc[S3_CRC_FIELD_SIZE];
    struct part *part = &put->parts[index];
    struct reader reader = {.put = put, .offset = part_offset(put, index)};
    struct http_client_source source = {.size = part_size(put, index),
                                        .read = on_read,
                                        .context = &reader,
                                        .piece_bytes_max = put->body->pace_bytes_max};
    struct s3_request request = {.name = "UploadPart",
                                 .right = "s3:PutObject",
                                 .method = "PUT",
                                 .key = put->key,
                                 .query = query,
                                 .source = &source,
                                 .source_hash = part->hash,
                                 .look = is_given_up,
                                 .look_context = put};
    s3_crc_field(part->crc32c, crc);
    field_add(&request, crc);
    int rc = s3_send(put->store, &request, answer, err);
    struct slice etag = http_reply_field(&answer->reply, "etag");
    if (rc == OK && (etag.len == 0 || etag.len > 1000))
        rc = error_set(err, ERROR_RETRY, "UploadPart: an answer without ETag");
    if (rc == OK)
        part->etag = memory_copy_slice(etag);
    return rc;
}

static int part_copy(struct put *put, size_t index, const char *query, struct s3_answer *answer,
                     struct error *err)
{
    char range[80];
    struct buf source = {0};
    struct s3_endpoint in_path = {.in_path = true};
    uint64_t offset = part_offset(put, index);
    buf_put_cstr(&source, "x-amz-copy-source: ");
    s3_path_put(&in_path, &put->store->place, put->from, &source);
    snprintf(range, sizeof range, "x-amz-copy-source-range: bytes=%llu-%llu",
             (unsigned long long)offset, (unsigned long long)(offset + part_size(put, index) - 1));
    struct s3_request request = {.name = "UploadPartCopy",
                                 .right = "s3:PutObject and s3:GetObject",
                                 .method = "PUT",
                                 .key = put->key,
                                 .query = query,
                                 .result = "CopyPartResult",
                                 .look = is_given_up,
                                 .look_context = put};
    field_add(&request, buf_cstr(&source));
    field_add(&request, range);
    int rc = s3_send(put->store, &request, answer, err);
    if (rc == OK)
        rc = s3_text_decode(buf_slice(&answer->reply.body), "ETag", &put->parts[index].etag, err);
    buf_free(&source);
    return rc;
}

/* A part may be sent again: the last one counts, and nothing is decided before the end. */
static int part_go(void *context, size_t index, struct error *err)
{
    struct put *put = context;
    struct part *part = &put->parts[index];
    struct s3_answer answer = {0};
    struct buf query = {0};
    int rc = put->from == NULL && !part->summed ? part_sum(put, index, err) : OK;
    if (rc != OK)
        return rc;
    part->summed = true;
    buf_printf(&query, "partNumber=%zu&uploadId=%s", index + 1, put->upload);
    rc = put->from != NULL ? part_copy(put, index, buf_cstr(&query), &answer, err)
                           : part_put(put, index, buf_cstr(&query), &answer, err);
    s3_answer_free(&answer);
    buf_free(&query);
    return rc == OK ? OK : error_wrap(err, "part %zu of %zu", index + 1, put->plan.count);
}

static void complete_body(const struct put *put, struct buf *out)
{
    buf_put_cstr(out, "<CompleteMultipartUpload>");
    for (size_t i = 0; i < put->plan.count; i++) {
        const struct part *part = &put->parts[i];
        buf_printf(out, "<Part><PartNumber>%zu</PartNumber><ETag>", i + 1);
        xml_put_text(out, slice_cstr(part->etag));
        buf_put_cstr(out, "</ETag>");
        if (put->from == NULL) {
            char field[S3_CRC_FIELD_SIZE];
            s3_crc_field(part->crc32c, field);
            buf_printf(out, "<ChecksumCRC32C>%s</ChecksumCRC32C>", strchr(field, ' ') + 1);
        }
        buf_put_cstr(out, "</Part>");
    }
    buf_put_cstr(out, "</CompleteMultipartUpload>");
}

/* The upload is gone: it was completed, its answer lost, or somebody aborted it. */
static int gone_decide(const struct put *put, struct error *err)
{
    struct objstore_info info;
    struct error lost = *err;
    int rc = s3_head(put->store, put->key, &info, err);
    if (rc != OK)
        return rc;
    bool ours = info.found && info.size == put->size && put->has_crc32c && info.has_crc32c &&
                info.crc32c == put->crc32c;
    if (ours)
        return OK;
    *err = lost;
    return err->code = ERROR_RETRY;
}

static int upload_complete(struct put *put, struct error *err)
{
    struct buf body = {0};
    char crc[S3_CRC_FIELD_SIZE];
    char *query = memory_printf("uploadId=%s", put->upload);
    int rc = ERROR_RETRY;
    complete_body(put, &body);
    struct s3_request request = {.name = "CompleteMultipartUpload",
                                 .right = "s3:PutObject",
                                 .method = "POST",
                                 .key = put->key,
                                 .query = query,
                                 .body = buf_slice(&body),
                                 .result = "CompleteMultipartUploadResult",
                                 .look = is_given_up,
                                 .look_context = put};
    s3_crc_field(put->crc32c, crc);
    field_add(&request, "Content-Type: application/xml");
    field_add(&request, "x-amz-checksum-type: FULL_OBJECT");
    if (put->has_crc32c)
        field_add(&request, crc);
    if (is_conditional(put))
        field_add(&request, "If-None-Match: *");
    for (int tries = 1; rc != OK; tries++) {
        struct s3_answer answer = {0};
        rc = s3_send(put->store, &request, &answer, err);
        bool gone = rc != OK && strcmp(answer.problem.code, "NoSuchUpload") == 0;
        /* 409: others put the name just now; the upload is of no more use. */
        bool over = rc == OK || gone || answer.reply.status == 409;
        s3_answer_free(&answer);
        if (gone)
            rc = gone_decide(put, err);
        if (over || !throttle_again(put->store->throttle, tries, is_given_up, put, err))
            break;
    }
    free(query);
    buf_free(&body);
    return rc;
}

static int put_in_parts(struct put *put, struct error *err)
{
    int rc = upload_create(put, err);
    if (rc != OK)
        return rc;
    /* Who is held back by a bandwidth gains nothing by more connections, and hears of it in the
     * thread that puts. */
    bool paced = put->body != NULL && put->body->pace_waits;
    struct objstore_many parts = {.count = put->plan.count,
                                  .parallel = paced ? 1 : put->store->concurrency,
                                  .throttle = put->store->throttle,
                                  .look = is_given_up,
                                  .look_context = put,
                                  .one = part_go,
                                  .context = put};
    rc = objstore_run(&parts, err);
    if (rc == OK && put->from == NULL)
        rc = body_check(put, err);
    if (rc == OK)
        rc = upload_complete(put, err);
    if (rc != OK)
        upload_abort(put);
    return rc;
}

/* ---- from outside ---- */

/* Many bytes are not sent for a name that is taken. */
static int not_taken(struct put *put, struct error *err)
{
    struct objstore_info info;
    int rc = is_conditional(put) ? s3_head(put->store, put->key, &info, err) : OK;
    if (rc == OK && is_conditional(put) && info.found)
        rc = error_set(err, ERROR_CONFLICT, "the object exists");
    return rc;
}

static void put_init(struct put *put)
{
    put->fd = -1;
    put->parts = memory_alloc(put->plan.count, sizeof *put->parts);
}

static void put_free(struct put *put)
{
    if (put->fd >= 0)
        close(put->fd);
    for (size_t i = 0; i < put->plan.count; i++)
        free(put->parts[i].etag);
    free(put->parts);
    free(put->upload);
}

int s3_put_body(struct s3_store *store, const char *key, const struct objstore_body *body,
                uint32_t checksum, enum put_condition condition, struct error *err)
{
    struct put put = {.store = store,
                      .key = key,
                      .body = body,
                      .size = body->file != NULL ? body->file_size : body->bytes.len,
                      .crc32c = checksum,
                      .has_crc32c = true,
                      .condition = condition};
    put.plan = s3_plan_parts(put.size, store->part_bytes);
    put_init(&put);
    int rc = body_open(&put, err);
    /* Who puts data files puts large ones, too, or did so before it crashed. */
    if (rc == OK && (put.plan.count > 1 || s3_is_our_file(key)))
        s3_sweep(store, is_given_up, &put);
    if (rc == OK && put.plan.count == 1) {
        rc = part_sum(&put, 0, err);
        if (rc == OK)
            rc = body_check(&put, err);
        if (rc == OK)
            rc = put_single(&put, err);
    } else if (rc == OK) {
        rc = not_taken(&put, err);
        if (rc == OK)
            rc = put_in_parts(&put, err);
    }
    put_free(&put);
    return rc;
}

int s3_copy_parts(struct s3_store *store, const char *from, const char *to,
                  const struct objstore_info *info, enum put_condition condition, struct error *err)
{
    static const uint64_t part_bytes = (uint64_t)512 << 20;
    struct put put = {.store = store,
                      .key = to,
                      .from = from,
                      .size = info->size,
                      .crc32c = info->crc32c,
                      .has_crc32c = info->has_crc32c,
                      .condition = condition,
                      .plan = s3_plan_parts(info->size, part_bytes)};
    put_init(&put);
    int rc = put_in_parts(&put, err);
    put_free(&put);
    return rc;
}
