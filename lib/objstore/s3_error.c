/* SPDX-License-Identifier: Apache-2.0
 *
 * One table, from the most special to the most general: the first row that fits counts. A
 * status of 0 fits any, a code of NULL any. Codes of other stores than Amazon's stand where
 * they were seen to differ.
 */
#include "lib/objstore/s3_error.h"

#include <string.h>

#define CLOCK "this machine's clock is off: look at its time synchronisation"
#define REGION "set s3.region to the bucket's region"
#define BUCKET "look at the bucket's name in the warehouse and at s3.endpoint"
#define SECRET "the secret key is not that of this access key, or a proxy changes requests"
#define ACCESS "this access key is unknown to the store: look at the credentials and s3.endpoint"
#define EXPIRED "the credentials have run out, and so have those that came after them"
#define TOKEN "the session token is none of this access key's: look at the credentials"
#define RIGHT "the right is missing"
#define KMS "look at the KMS key (s3.kms_key_id) and its policy"
#define FULL "the store is full, or a quota is used up"
#define UNKNOWN "does s3.endpoint speak S3?"

static const struct row {
    int status;
    const char *code;
    enum error_code what;
    enum s3_mend mend;
    const char *check;
    bool is_absent;
} rows[] = {
    {0, "NoSuchKey", ERROR_INPUT, S3_MEND_NONE, "", true},
    {0, "NoSuchBucket", ERROR_DENIED, S3_MEND_NONE, BUCKET, false},
    {0, "InvalidBucketName", ERROR_INPUT, S3_MEND_NONE, BUCKET, false},
    {0, "NoSuchUpload", ERROR_RETRY, S3_MEND_NONE, "", false},

    {0, "PreconditionFailed", ERROR_CONFLICT, S3_MEND_NONE, "", false},
    {0, "ConditionalRequestConflict", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "OperationAborted", ERROR_RETRY, S3_MEND_NONE, "", false},

    {0, "SlowDown", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "ServiceUnavailable", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "InternalError", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "RequestTimeout", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "TooManyRequests", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "Throttling", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "ThrottlingException", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "KMS.ThrottlingException", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "RequestLimitExceeded", ERROR_RETRY, S3_MEND_NONE, "", false},

    /* Of bytes that were whole when they left: they were not when they came. */
    {0, "BadDigest", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "XAmzContentSHA256Mismatch", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "XAmzContentChecksumMismatch", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "IncompleteBody", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "InvalidPart", ERROR_RETRY, S3_MEND_NONE, "", false},
    {0, "InvalidPartOrder", ERROR_RETRY, S3_MEND_NONE, "", false},

    {0, "AuthorizationHeaderMalformed", ERROR_DENIED, S3_MEND_REGION, REGION, false},
    {0, "PermanentRedirect", ERROR_DENIED, S3_MEND_REGION, REGION, false},
    {0, "IllegalLocationConstraintException", ERROR_DENIED, S3_MEND_REGION, REGION, false},
    {0, "TemporaryRedirect", ERROR_RETRY, S3_MEND_REGION, "", false},
    {0, "RequestTimeTooSkewed", ERROR_DENIED, S3_MEND_CLOCK, CLOCK, false},
    {0, "RequestExpired", ERROR_DENIED, S3_MEND_CLOCK, CLOCK, false},
    {0, "ExpiredToken", ERROR_DENIED, S3_MEND_CREDENTIALS, EXPIRED, false},
    {0, "ExpiredTokenException", ERROR_DENIED, S3_MEND_CREDENTIALS, EXPIRED, false},
    {0, "TokenRefreshRequired", ERROR_DENIED, S3_MEND_CREDENTIALS, EXPIRED, false},
    {0, "InvalidToken", ERROR_DENIED, S3_MEND_CREDENTIALS, TOKEN, false},
    {0, "InvalidTokenId", ERROR_DENIED, S3_MEND_CREDENTIALS, TOKEN, false}, /* MinIO's */
    {0, "InvalidAccessKeyId", ERROR_DENIED, S3_MEND_CREDENTIALS, ACCESS, false},
    {0, "XAdminUserNotFound", ERROR_DENIED, S3_MEND_CREDENTIALS, ACCESS, false},
    /* Some check the time by the signature alone: if the clock is right, it is the secret. */
    {0, "SignatureDoesNotMatch", ERROR_DENIED, S3_MEND_CLOCK, SECRET, false},
    {0, "AccessDenied", ERROR_DENIED, S3_MEND_NONE, RIGHT, false},
    {0, "KMS.NotFoundException", ERROR_DENIED, S3_MEND_NONE, KMS, false},
    {0, "KMS.DisabledException", ERROR_DENIED, S3_MEND_NONE, KMS, false},
    {0, "KMS.KMSInvalidStateException", ERROR_DENIED, S3_MEND_NONE, KMS, false},

    {0, "EntityTooLarge", ERROR_LIMIT, S3_MEND_NONE, "", false},
    {0, "QuotaExceeded", ERROR_LIMIT, S3_MEND_NONE, FULL, false},
    {0, "XMinioStorageFull", ERROR_LIMIT, S3_MEND_NONE, FULL, false},
    {507, NULL, ERROR_LIMIT, S3_MEND_NONE, FULL, false},

    /* Answers to HEAD have no body, and some proxies' no code. */
    {301, NULL, ERROR_DENIED, S3_MEND_REGION, REGION, false},
    {307, NULL, ERROR_RETRY, S3_MEND_REGION, "", false},
    {401, NULL, ERROR_DENIED, S3_MEND_CREDENTIALS, RIGHT, false},
    {403, NULL, ERROR_DENIED, S3_MEND_NONE, RIGHT, false},
    {404, NULL, ERROR_DENIED, S3_MEND_NONE, UNKNOWN, false},
    {408, NULL, ERROR_RETRY, S3_MEND_NONE, "", false},
    {409, NULL, ERROR_RETRY, S3_MEND_NONE, "", false},
    {412, NULL, ERROR_CONFLICT, S3_MEND_NONE, "", false},
    {425, NULL, ERROR_RETRY, S3_MEND_NONE, "", false},
    {429, NULL, ERROR_RETRY, S3_MEND_NONE, "", false},
    {501, NULL, ERROR_DENIED, S3_MEND_NONE, "the store doesn't know what was asked of it", false},
};

static bool fits(const struct row *row, int status, const char *code)
{
    return (row->status == 0 || row->status == status) &&
           (row->code == NULL || strcmp(row->code, code) == 0);
}

/* Some say it by 400, and CompleteMultipartUpload by 200. */
static bool is_slow(int status, const char *code)
{
    static const char *const codes[] = {"SlowDown",
                                        "ServiceUnavailable",
                                        "TooManyRequests",
                                        "Throttling",
                                        "ThrottlingException",
                                        "KMS.ThrottlingException",
                                        "RequestLimitExceeded"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return status == 503 || status == 429;
}

struct s3_verdict s3_judge(int status, const char *code)
{
    bool slow = is_slow(status, code);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        if (fits(row, status, code))
            return (struct s3_verdict){row->what, row->mend, row->check, row->is_absent, slow};
    }
    /* A 2xx without its result: nobody knows. */
    if (status >= 500 || status < 300)
        return (struct s3_verdict){.code = ERROR_RETRY, .check = "", .is_slow = slow};
    /* Nobody's data is at fault for an answer that we don't know: keep them, call a person. */
    return (struct s3_verdict){.code = ERROR_DENIED, .check = UNKNOWN};
}

void s3_text_copy(char *out, size_t size, struct slice text)
{
    size_t len = text.len < size - 1 ? text.len : size - 1;
    for (size_t i = 0; i < len; i++)
        out[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? (char)text.data[i] : '?';
    out[len] = 0;
}
