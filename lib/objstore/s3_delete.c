/* SPDX-License-Identifier: Apache-2.0
 *
 * DeleteObjects: up to 1,000 in one request. The body has a CRC32C, and an MD5 for stores that
 * know nothing later. A store that doesn't know the operation, or these keys in XML, says so by a
 * 4xx or 501: then they are removed one by one. So they are when one is refused for good, by which
 * a person hears what to look at.
 */
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/objstore/s3.h"
#include "lib/objstore/s3_answer.h"
#include "lib/xml/xml.h"

static void keys_put(const struct s3_store *store, const char *const *keys, size_t count,
                     struct buf *out)
{
    buf_put_cstr(out, "<Delete><Quiet>true</Quiet>");
    for (size_t i = 0; i < count; i++) {
        buf_put_cstr(out, "<Object><Key>");
        if (store->place.prefix[0] != 0) {
            xml_put_text(out, slice_cstr(store->place.prefix));
            buf_put_u8(out, '/');
        }
        xml_put_text(out, slice_cstr(keys[i]));
        buf_put_cstr(out, "</Key></Object>");
    }
    buf_put_cstr(out, "</Delete>");
}

/* 200, and yet some objects may have stayed. */
static int stays_judge(const struct s3_store *store, const struct s3_answer *answer, bool *known,
                       struct error *err)
{
    struct s3_stays stays;
    if (!s3_stays_decode(buf_slice(&answer->reply.body), &stays))
        return OK;
    *known = s3_judge(500, stays.problem.code).code == ERROR_RETRY;
    if (!*known)
        return OK;
    return error_set(err, ERROR_RETRY, "DeleteObjects in bucket %s: %.150s stays: %s (%.100s)",
                     store->place.bucket, stays.key, stays.problem.code, stays.problem.message);
}

/* Do all of them go by the same credentials? */
static bool is_of_one(struct s3_store *store, const char *const *keys, size_t count)
{
    const struct aws_provider *first = s3_provider_find(store, keys[0]);
    for (size_t i = 1; i < count; i++)
        if (s3_provider_find(store, keys[i]) != first)
            return false;
    return true;
}

int s3_remove_many(struct s3_store *store, const char *const *keys, size_t count, bool *known,
                   struct error *err)
{
    struct s3_answer answer = {0};
    struct buf body = {0};
    struct buf sum = {0};
    uint8_t digest[MD5_SIZE];
    char crc[S3_CRC_FIELD_SIZE];
    ASSERT(count > 0 && count <= OBJSTORE_REMOVE_MAX);
    *known = is_of_one(store, keys, count);
    if (!*known)
        return OK;
    keys_put(store, keys, count, &body);
    md5(buf_slice(&body), digest);
    buf_put_cstr(&sum, "Content-MD5: ");
    base64_encode(slice_of(digest, sizeof digest), &sum);
    s3_crc_field(crc32c(0, buf_slice(&body)), crc);
    struct s3_request request = {.name = "DeleteObjects",
                                 .right = "s3:DeleteObject",
                                 .method = "POST",
                                 .scope = keys[0],
                                 .query = "delete=",
                                 .fields = {"Content-Type: application/xml", crc, buf_cstr(&sum)},
                                 .field_count = 3,
                                 .body = buf_slice(&body),
                                 .result = "DeleteResult"};
    int rc = s3_send(store, &request, &answer, err);
    int status = answer.reply.status;
    *known =
        rc == OK || err->code == ERROR_RETRY || status < 400 || (status >= 500 && status != 501);
    if (rc == OK)
        rc = stays_judge(store, &answer, known, err);
    else if (!*known)
        rc = OK;
    s3_answer_free(&answer);
    buf_free(&body);
    buf_free(&sum);
    return rc;
}
