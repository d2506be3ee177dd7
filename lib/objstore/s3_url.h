/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_url.h: where a warehouse in S3 lies and how its objects are asked for. Pure.
 *
 * "s3://bucket/prefix" is taken as it stands: nothing in it is decoded. On the wire a key is
 * percent-encoded once.
 */
#ifndef LIB_OBJSTORE_S3_URL_H
#define LIB_OBJSTORE_S3_URL_H

#include <stdbool.h>

#include "lib/aws/aws.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"

enum s3_style { S3_STYLE_AUTO, S3_STYLE_PATH, S3_STYLE_HOST };

enum {
    S3_BUCKET_MAX = 63,
    S3_PREFIX_MAX = 120, /* with a key of 900 bytes S3's 1024 are kept */
    S3_HOST_MAX = 255,
};

/* "s3://bucket/a/b": prefix "a/b", or "". */
struct s3_place {
    char bucket[S3_BUCKET_MAX + 1];
    char prefix[S3_PREFIX_MAX + 1];
};

/* Who is asked. */
struct s3_endpoint {
    bool https;
    bool in_path;                                   /* https://host/bucket/key */
    char host[S3_BUCKET_MAX + 1 + S3_HOST_MAX + 1]; /* with a port that is not the scheme's own */
};

int s3_place_parse(struct s3_place *out, const char *url, struct error *err) MUST_USE;

/* at->url "" or NULL: Amazon's own of that region. */
int s3_endpoint_make(struct s3_endpoint *out, const struct aws_endpoint *at, const char *region,
                     const struct s3_place *place, enum s3_style style, struct error *err) MUST_USE;

/* Appends the path as it goes out: of an object, or with key NULL of the bucket. */
void s3_path_put(const struct s3_endpoint *endpoint, const struct s3_place *place, const char *key,
                 struct buf *out);

#endif
