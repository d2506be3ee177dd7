/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_error.h: what to do about an answer that is not the one hoped for. Pure.
 */
#ifndef LIB_OBJSTORE_S3_ERROR_H
#define LIB_OBJSTORE_S3_ERROR_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

/* What may have been wrong with the request: once it is put right it is sent again, once. */
enum s3_mend { S3_MEND_NONE, S3_MEND_REGION, S3_MEND_CLOCK, S3_MEND_CREDENTIALS };

enum { S3_CODE_MAX = 80, S3_MESSAGE_MAX = 200 };

/* An <Error> as it came; texts are cut, and printable. */
struct s3_problem {
    char code[S3_CODE_MAX];       /* "NoSuchKey"; "": no body said it */
    char message[S3_MESSAGE_MAX]; /* for people */
    char region[64];              /* the right one; "": not said */
    int64_t server_ms;            /* its clock, as a problem with ours tells it; 0: not said */
};

struct s3_verdict {
    enum error_code code;
    enum s3_mend mend;
    const char *check; /* what a person should look at; "" where none must */
    bool is_absent;    /* the object isn't there */
    bool is_slow;      /* the store wants fewer requests */
};

/* By the code, and by the status where no code is known. */
struct s3_verdict s3_judge(int status, const char *code);

/* Printable ASCII of `text`, cut to fit. */
void s3_text_copy(char *out, size_t size, struct slice text);

#endif
