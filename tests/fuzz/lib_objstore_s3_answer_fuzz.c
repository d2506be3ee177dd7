/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an answer of S3: an error, a page of a list, unfinished uploads, an id, a
 * checksum. What is taken is what the store goes on with: keys in order, below the warehouse,
 * that are keys; texts that may stand in a header or a log; an error that says what to do.
 */
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/objstore/s3.h"
#include "lib/objstore/s3_answer.h"
#include "lib/objstore/s3_multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void is_printable(const char *text, size_t max)
{
    size_t len = strlen(text);
    ASSERT(len <= max);
    for (size_t i = 0; i < len; i++)
        ASSERT(text[i] >= 0x20 && text[i] < 0x7f);
}

static void try_error(struct slice body)
{
    struct s3_problem problem;
    (void)!s3_error_decode(body, &problem);
    is_printable(problem.code, S3_CODE_MAX - 1);
    is_printable(problem.message, S3_MESSAGE_MAX - 1);
    is_printable(problem.region, sizeof problem.region - 1);
    for (int status = 300; status < 600; status += 1) {
        struct s3_verdict verdict = s3_judge(status, problem.code);
        ASSERT(verdict.code != OK && verdict.check != NULL);
        ASSERT(!verdict.is_absent || strcmp(problem.code, "NoSuchKey") == 0);
    }
}

static void try_page(struct slice body, const char *prefix)
{
    struct s3_page page;
    struct error err;
    int rc = s3_page_decode(body, prefix, &page, &err);
    ASSERT(rc == OK || rc == ERROR_RETRY);
    for (size_t i = 0; rc == OK && i < page.list.count; i++) {
        ASSERT(objstore_key_is_fine(page.list.entries[i].key));
        ASSERT(i == 0 || strcmp(page.list.entries[i - 1].key, page.list.entries[i].key) < 0);
    }
    if (rc == OK && page.list.count > 0)
        ASSERT(strncmp(page.last, prefix, strlen(prefix)) == 0);
    if (rc == OK && page.more)
        ASSERT(page.last != NULL && page.last[0] != 0);
    s3_page_free(&page);
}

static void try_uploads(struct slice body)
{
    struct s3_uploads uploads;
    struct error err;
    int rc = s3_uploads_decode(body, &uploads, &err);
    ASSERT(rc == OK || rc == ERROR_RETRY);
    for (size_t i = 0; i < uploads.count; i++) {
        ASSERT(uploads.uploads[i].key[0] != 0 && uploads.uploads[i].id[0] != 0);
        if (s3_is_our_file(uploads.uploads[i].key))
            ASSERT(strlen(uploads.uploads[i].key) > 32);
    }
    s3_uploads_free(&uploads);
}

static void try_stays(struct slice body)
{
    struct s3_stays stays;
    bool found = s3_stays_decode(body, &stays);
    ASSERT(!found || strcmp(stays.problem.code, "NoSuchKey") != 0);
    is_printable(stays.problem.code, S3_CODE_MAX - 1);
    is_printable(stays.problem.message, S3_MESSAGE_MAX - 1);
    is_printable(stays.key, sizeof stays.key - 1);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = slice_of(data, size);
    struct error err;
    uint32_t checksum = 0;
    try_error(body);
    try_page(body, "");
    try_page(body, "wh/");
    try_uploads(body);
    try_stays(body);
    static const char *const paths[] = {"UploadId", "ETag"};
    for (size_t i = 0; i < 2; i++) {
        char *text = NULL;
        if (s3_text_decode(body, paths[i], &text, &err) == OK) {
            ASSERT(text[0] != 0);
            is_printable(text, 1024);
        }
        free(text);
    }
    if (s3_crc_read(body, &checksum)) {
        char field[S3_CRC_FIELD_SIZE];
        s3_crc_field(checksum, field);
        ASSERT(slice_is(body, strchr(field, ' ') + 1));
    }
    return 0;
}
