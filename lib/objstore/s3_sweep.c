/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of an upload that nobody ends are paid for and shown by no list of objects. Others may
 * use the bucket: only names as ours are touched.
 */
#include <string.h>

#include "lib/base/log.h"
#include "lib/objstore/s3_answer.h"
#include "lib/objstore/s3_multipart.h"

enum { PAGES_MAX = 10 };
static const int64_t age_ms = 24 * 3600 * INT64_C(1000);

struct sweep {
    struct s3_store *store;
    throttle_look *look;
    void *look_context;
    struct buf marker; /* where the next page begins */
    unsigned aborts;
    bool more;
};

int s3_abort(struct s3_store *store, const char *key, const char *upload, struct error *err)
{
    struct s3_answer answer = {0};
    struct buf query = {0};
    buf_printf(&query, "uploadId=%s", upload);
    struct s3_request request = {
        .name = "AbortMultipartUpload", .method = "DELETE", .key = key, .query = buf_cstr(&query)};
    int rc = s3_send(store, &request, &answer, err);
    if (rc != OK && strcmp(answer.problem.code, "NoSuchUpload") == 0)
        rc = OK;
    s3_answer_free(&answer);
    buf_free(&query);
    return rc;
}

bool s3_is_our_file(const char *key)
{
    static const char end[] = ".parquet";
    const char *slash = strrchr(key, '/');
    const char *name = slash != NULL ? slash + 1 : key;
    size_t len = strlen(name);
    return strspn(name, "0123456789abcdef") == 32 && name[32] == '-' && len > sizeof end &&
           strcmp(name + len - (sizeof end - 1), end) == 0;
}

/* Not one more request. */
static bool is_over(const struct sweep *sweep)
{
    return sweep->aborts == S3_SWEEP_ABORTS_MAX ||
           throttle_gives_up(sweep->store->throttle, sweep->look, sweep->look_context);
}

static bool is_left(const struct sweep *sweep, const struct s3_upload *upload, int64_t now_ms)
{
    const char *prefix = sweep->store->place.prefix;
    size_t prefix_len = strlen(prefix) + (*prefix != 0);
    return strlen(upload->key) > prefix_len && strncmp(upload->key, prefix, strlen(prefix)) == 0 &&
           s3_is_our_file(upload->key) && upload->initiated_ms > 0 &&
           now_ms - upload->initiated_ms > age_ms;
}

/* One page behind the marker, which it moves on. */
static int page_sweep(struct sweep *sweep, struct error *err)
{
    struct s3_store *store = sweep->store;
    struct buf *marker = &sweep->marker;
    struct s3_answer answer = {0};
    struct s3_uploads uploads = {0};
    struct buf query = {0};
    const char *prefix = store->place.prefix;
    size_t prefix_len = strlen(prefix) + (*prefix != 0);
    buf_put_cstr(&query, "uploads=&encoding-type=url&prefix=");
    http_client_encode(slice_cstr(prefix), false, &query);
    buf_put_cstr(&query, *prefix != 0 ? "%2F" : "");
    buf_put_slice(&query, buf_slice(marker));
    struct s3_request request = {.name = "ListMultipartUploads",
                                 .right = "s3:ListBucketMultipartUploads",
                                 .method = "GET",
                                 .query = buf_cstr(&query),
                                 .look = sweep->look,
                                 .look_context = sweep->look_context};
    int rc = s3_send(store, &request, &answer, err);
    if (rc == OK)
        rc = s3_uploads_decode(buf_slice(&answer.reply.body), &uploads, err);
    int64_t now_ms = http_reply_date_ms(&answer.reply);
    sweep->more = uploads.more && uploads.count > 0;
    for (size_t i = 0; rc == OK && i < uploads.count; i++) {
        const struct s3_upload *upload = &uploads.uploads[i];
        struct buf id = {0};
        bool left = is_left(sweep, upload, now_ms);
        if (left && is_over(sweep)) {
            sweep->more = false;
            break;
        }
        http_client_encode(slice_cstr(upload->id), false, &id);
        if (left)
            rc = s3_abort(store, upload->key + prefix_len, buf_cstr(&id), err);
        sweep->aborts += left;
        buf_reset(marker);
        buf_put_cstr(marker, "&key-marker=");
        http_client_encode(slice_cstr(upload->key), false, marker);
        buf_printf(marker, "&upload-id-marker=%s", buf_cstr(&id));
        buf_free(&id);
    }
    s3_uploads_free(&uploads);
    s3_answer_free(&answer);
    buf_free(&query);
    return rc;
}

void s3_sweep(struct s3_store *store, throttle_look *look, void *look_context)
{
    struct sweep sweep = {.store = store, .look = look, .look_context = look_context, .more = true};
    struct error err;
    int rc = OK;
    int64_t now_ms = clock_mono_ms(store->clock);
    long long due_ms = atomic_load(&store->sweep_at_ms);
    if (now_ms < due_ms ||
        !atomic_compare_exchange_strong(&store->sweep_at_ms, &due_ms, now_ms + age_ms))
        return;
    for (int i = 0; rc == OK && sweep.more && i < PAGES_MAX && !is_over(&sweep); i++)
        rc = page_sweep(&sweep, &err);
    if (rc != OK)
        log_event(rc == ERROR_DENIED ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "s3",
                  "cannot look for uploads that crashes left", "bucket=%s error=\"%s\"",
                  store->place.bucket, err.text);
    buf_free(&sweep.marker);
}
