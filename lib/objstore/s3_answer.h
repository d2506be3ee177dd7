/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_answer.h: from the bodies of answers to what they say. Pure; fuzzed.
 */
#ifndef LIB_OBJSTORE_S3_ANSWER_H
#define LIB_OBJSTORE_S3_ANSWER_H

#include "lib/objstore/objstore.h"
#include "lib/objstore/s3_error.h"

/* False: it is no <Error>; `out` is all zero then. */
bool s3_error_decode(struct slice body, struct s3_problem *out);

/* Whether it is XML, and its root has that name. */
bool s3_root_is(struct slice body, const char *name);

/* Of ListObjectsV2. `last` is the last key as the store has it, with `prefix_len` bytes that are
 * the warehouse's; entries are what lies below that and is an object's key. */
struct s3_page {
    struct objstore_list list;
    char *last; /* NULL: the page is empty */
    bool more;
};
int s3_page_decode(struct slice body, const char *prefix, struct s3_page *out,
                   struct error *err) MUST_USE;
void s3_page_free(struct s3_page *page);

/* Of ListMultipartUploads. */
struct s3_upload {
    char *key; /* with the warehouse's prefix */
    char *id;
    int64_t initiated_ms;
};
struct s3_uploads {
    struct s3_upload *uploads;
    size_t count;
    bool more;
};
int s3_uploads_decode(struct slice body, struct s3_uploads *out, struct error *err) MUST_USE;
void s3_uploads_free(struct s3_uploads *uploads);

/* Of DeleteObjects, asked to name only what stays: the first of these, and why. False: none. */
struct s3_stays {
    char key[S3_MESSAGE_MAX]; /* for people */
    struct s3_problem problem;
};
bool s3_stays_decode(struct slice body, struct s3_stays *out);

/* The text at `path` below the root, which must be there and not be empty: an upload's id, a
 * part's ETag. Printable ASCII without CR and LF, at most 1,024 bytes: it goes back in a field. */
int s3_text_decode(struct slice body, const char *path, char **out, struct error *err) MUST_USE;

#endif
