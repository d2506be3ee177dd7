/* SPDX-License-Identifier: Apache-2.0
 *
 * aws.h: AWS credentials and Signature Version 4.
 *
 * Signing is pure: no I/O, no clock. A provider finds credentials where the SDKs find them, keeps
 * them and gets new ones before they expire.
 *
 * Ownership  what a request or options name is borrowed for the call, the HTTP client until the
 *            provider is closed; credentials and signed fields are the caller's, and are wiped
 *            when they are freed.
 * Threads    any may sign, and any number may use one provider: one of them fetches, the others
 *            go on with what is still valid or wait for it.
 * Errors     of a provider: ERROR_RETRY, the service that gives credentials did not answer;
 *            ERROR_DENIED, there are none or they were refused: a person must act.
 * Secrets    no text of an error and no log line holds a secret, a token or a signature.
 */
#ifndef LIB_AWS_AWS_H
#define LIB_AWS_AWS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"

struct http_client;

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
    const char *host;  /* with its port, unless that is the scheme's own */
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

/* How far a server's clock, as its answer shows it, is ahead of ours. False: it shows none (0), or
 * is off by more than a year, which is no clock. */
bool aws_clock_offset(int64_t server_ms, int64_t now_ms, int64_t *offset_ms);

/* ---- where credentials come from ---- */

struct aws_provider;

enum { AWS_KIND_SIZE = 160, AWS_REGION_SIZE = 64 };

struct aws_provider_options {
    struct http_client *http;
    const struct clock *clock; /* NULL: the system's */
    const char *region;        /* NULL: as found, see aws_provider_region */

    /* The first of these that is there is the only source; without any, the chain: environment,
     * web identity, shared files, container, instance metadata. The first member of it that has
     * credentials is kept to. */
    const char *access_key; /* with `secret`, and `token` or NULL */
    const char *secret;
    const char *token;
    /* Gives others than it gave before, as a catalog vends them; one thread at a time. */
    int (*source)(void *context, struct aws_credentials *out, struct error *err);
    void *source_context;
    const char *profile; /* of the shared files */
    int64_t process_ms;  /* what a profile's credential_process may take; 0: 60 s */

    /* For tests. NULL: getenv of libc, the services' own addresses. */
    const char *(*getenv)(const char *name);
    const char *sts_url;
    const char *imds_url;
    const char *container_url;
};

/* Looks at nothing yet. ERROR_INPUT: keys or a region that can't be any. */
int aws_provider_open(struct aws_provider **out, const struct aws_provider_options *options,
                      struct error *err) MUST_USE;
void aws_provider_close(struct aws_provider *provider); /* NULL is fine; no call is under way */

/* A copy of valid credentials into `out`, which is freed first. Others are fetched from five
 * minutes before they expire on; while that fails the old ones are given until they do, with a
 * warning in the log every five minutes. What an instance's metadata gives after its end is used
 * for some minutes, with such a warning: it cannot get others, and S3 goes on taking these. */
int aws_provider_get(struct aws_provider *provider, struct aws_credentials *out,
                     struct error *err) MUST_USE;
/* A service called these expired or unknown: the next get fetches others. Nothing happens if
 * that was done already. */
void aws_provider_expire(struct aws_provider *provider, const char *access_key);
/* A service refused these otherwise: a wrong secret, a right that is missing. If they are keys of
 * a file that have no end, a person may put others there: the next get looks, every five seconds
 * at most. */
void aws_provider_doubt(struct aws_provider *provider, const char *access_key);

/* "environment", "profile NAME", "web identity ROLE", "container", "instance role NAME",
 * "static", "credentials that the catalog lends"; "none yet" before the first success. */
void aws_provider_kind(struct aws_provider *provider, char out[AWS_KIND_SIZE]);

/* Letters, digits and '-': it becomes part of a host's name. Not only Amazon's have any. */
bool aws_region_is_valid(const char *region);
/* The option, AWS_REGION, AWS_DEFAULT_REGION, the profile's, the instance's. */
int aws_provider_region(struct aws_provider *provider, char out[AWS_REGION_SIZE],
                        struct error *err) MUST_USE;

/* ---- where services are ---- */

struct aws_endpoint {
    char *url; /* as it was configured; NULL: Amazon's own */
    bool fips;
    bool dual_stack;
};
void aws_endpoint_free(struct aws_endpoint *endpoint);

/* Of "s3", "sts": AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL, then the profile's, as its `services`
 * has it or for all; AWS_USE_FIPS_ENDPOINT and so on, which count
 * where there is no url. `out` is freed first. ERROR_INPUT: the
 * files don't read, or say what can't be. */
int aws_provider_endpoint(const struct aws_provider *provider, const char *service,
                          struct aws_endpoint *out, struct error *err) MUST_USE;
/* Appends the name of Amazon's own; `url` is not looked at. ERROR_INPUT: there is none such. */
int aws_host(const char *service, const char *region, const struct aws_endpoint *endpoint,
             struct buf *out, struct error *err) MUST_USE;

#endif
