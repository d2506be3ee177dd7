/* SPDX-License-Identifier: Apache-2.0
 *
 * internal.h: the members of the chain.
 *
 * A member that is not configured says so in `absent` and is no error. One that is configured
 * and fails is an error: to go on would be to act as somebody else.
 */
#ifndef LIB_AWS_INTERNAL_H
#define LIB_AWS_INTERNAL_H

#include "lib/aws/aws.h"
#include "lib/base/buf.h"
#include "lib/http_client/http_client.h"

enum {
    ABSENT_SIZE = 160,
    ANSWER_BYTES_MAX = 256 << 10, /* of all that gives credentials */
    TOKEN_BYTES_MAX = 64 << 10,
};

/* What members work with; const after aws_provider_open. */
struct aws_sources {
    struct http_client *http;
    const struct clock *clock;
    const char *(*getenv)(const char *name);
    char *region;
    char *profile;
    char *sts_url;
    char *imds_url;
    char *container_url;
};

struct fetched {
    struct aws_credentials credentials;
    char kind[AWS_KIND_SIZE];
    char absent[ABSENT_SIZE]; /* why there are none: credentials.access_key is NULL */
};

typedef int aws_member(const struct aws_sources *sources, struct fetched *out, struct error *err);

aws_member environment_fetch;

/* NULL when it is empty, too. */
const char *sources_env(const struct aws_sources *sources, const char *name);

/* Goes into headers: printable ASCII without blanks. `what` is named in the error. */
int credentials_check(const struct aws_credentials *credentials, const char *what,
                      struct error *err) MUST_USE;
/* a-z 0-9 -, for it becomes part of a host's name. */
bool region_is_valid(const char *region);

#endif
