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
    int64_t process_ms;
};

struct fetched {
    struct aws_credentials credentials;
    char kind[AWS_KIND_SIZE];
    char absent[ABSENT_SIZE]; /* why there are none: credentials.access_key is NULL */
    bool unanswered;          /* absent because nobody answered: who is known to be there is late */
    bool is_extended;         /* they came over_ms after their end and got a later one of ours */
    int64_t over_ms;
};

typedef int aws_member(const struct aws_sources *sources, struct fetched *out, struct error *err);

aws_member environment_fetch;
aws_member web_identity_fetch;
aws_member shared_fetch;
aws_member container_fetch;
aws_member instance_fetch;

/* NULL when it is empty, too. */
const char *sources_env(const struct aws_sources *sources, const char *name);

/* Goes into headers: printable ASCII without blanks. `what` is named in the error. */
int credentials_check(const struct aws_credentials *credentials, const char *what,
                      struct error *err) MUST_USE;
/* Trimmed, one word of printable ASCII; `what` is named in the error. */
int token_read(const char *path, const char *what, char **out, struct error *err) MUST_USE;

/* When credentials end, by our own clock, if the answer says what the other one shows. `text` is
 * RFC 3339; 0 when it is none. */
int64_t expiry_ms(const char *text, const struct http_reply *reply, int64_t now_ms);

/* {"AccessKeyId", "SecretAccessKey", "Token" or "SessionToken", "Expiration"}. `reply` may be
 * NULL. Texts of the peer's are in no error. */
int credentials_from_json(struct aws_credentials *out, struct slice bytes, const char *token_name,
                          const struct http_reply *reply, int64_t now_ms,
                          struct error *err) MUST_USE;

/* ---- STS ---- */

struct sts_role {
    const char *arn;
    const char *session;     /* NULL: "bidlake" */
    const char *external_id; /* NULL: none */
    const char *region;      /* "": the global endpoint */
    int64_t duration_s;      /* 0: 3600 */
};

int sts_assume_role(const struct aws_sources *sources, const struct sts_role *role,
                    const struct aws_credentials *by, struct aws_credentials *out,
                    struct error *err) MUST_USE;
/* The token's file is read anew: it is replaced before it expires. */
int sts_web_identity(const struct aws_sources *sources, const struct sts_role *role,
                     const char *token_file, struct aws_credentials *out,
                     struct error *err) MUST_USE;
/* The answer to either; `status` other than 200 gives the error that it holds. */
int sts_decode(struct aws_credentials *out, const struct http_reply *reply, int64_t now_ms,
               struct error *err) MUST_USE;

/* ---- others ---- */

/* The option or the environment's; out "": neither. */
int sources_region(const struct aws_sources *sources, char out[AWS_REGION_SIZE],
                   struct error *err) MUST_USE;
/* The profile's; out "": none. */
int shared_region(const struct aws_sources *sources, char out[AWS_REGION_SIZE],
                  struct error *err) MUST_USE;
int instance_region(const struct aws_sources *sources, char out[AWS_REGION_SIZE], bool *unanswered,
                    struct error *err) MUST_USE;

/* See aws_provider_endpoint. */
int sources_endpoint(const struct aws_sources *sources, const char *service,
                     struct aws_endpoint *out, struct error *err) MUST_USE;
/* A key of the profile, or of what its `services` has for one. *out NULL: not set; no file, or
 * none that may be read, sets anything. */
int shared_setting(const struct aws_sources *sources, const char *service, const char *key,
                   char **out, struct error *err) MUST_USE;

/* Of a profile: what the command line prints, as JSON. */
int process_fetch(const struct aws_sources *sources, const char *command,
                  struct aws_credentials *out, struct error *err) MUST_USE;

/* Whether credentials may be asked for there: https, or http to this machine or to one of the
 * addresses that AWS gives to its agents. */
bool container_url_is_allowed(const char *url);

#endif
