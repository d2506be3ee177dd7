/* SPDX-License-Identifier: Apache-2.0
 *
 * aws.h: AWS credentials and Signature Version 4.
 *
 * Signing is pure: no I/O, no clock.
 *
 * Ownership  what a request or options name is borrowed for the call; credentials and signed
 *            fields are the caller's, and are wiped when they are freed.
 * Secrets    no text of an error and no log line holds a secret, a token or a signature.
 */
#ifndef LIB_AWS_AWS_H
#define LIB_AWS_AWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/slice.h"

/* ---- credentials ---- */

struct aws_credentials {
    char *access_key;
    char *secret;
    char *token;        /* NULL: long-lived keys have none */
    int64_t expires_ms; /* epoch; 0: never */
};

/* `to` is freed first. */
void aws_credentials_copy(struct aws_credentials *to, const struct aws_credentials *from);
void aws_credentials_free(struct aws_credentials *credentials);

/* ---- signing ---- */

#define AWS_UNSIGNED_PAYLOAD "UNSIGNED-PAYLOAD"
/* SHA-256 of no bytes. */
#define AWS_EMPTY_PAYLOAD "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

/* Path and query as they go out: http_client_encode has made their parts. */
struct aws_request {
    const char *method;
    const char *host;  /* as in the URL, with a port that stands there */
    const char *path;  /* "" is "/" */
    const char *query; /* behind '?'; NULL: none */
    const char *const *fields;
    size_t field_count;       /* "Name: value" or "Name;", each is signed */
    const char *payload_hash; /* lower case hex, or a literal as AWS_UNSIGNED_PAYLOAD */
    const char *service;      /* "s3", "glue", "sts"; it decides how the path is signed */
    const char *region;
    int64_t now_ms;         /* epoch, as the server has it: 5 minutes (S3: 15) off are refused */
    bool send_payload_hash; /* as x-amz-content-sha256; services named s3... always get it */
    const struct aws_credentials *credentials;
};

/* The request's own fields, then those of the signature: to be given to http_call. All zero is
 * valid and empty. */
struct aws_signed {
    const char **fields;
    size_t field_count;
};

/* Empties `out` first. */
void aws_sign(struct aws_signed *out, const struct aws_request *request);
void aws_signed_free(struct aws_signed *out);

#endif
