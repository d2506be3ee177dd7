/* SPDX-License-Identifier: Apache-2.0
 *
 * The two link-local services: what gives a container its credentials (ECS, EKS Pod Identity),
 * and the instance's metadata, by its second version alone: the first one gives credentials to
 * whoever makes this machine send a GET. Neither is ever asked through a proxy.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/aws/internal.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { CONTAINER_MS = 5000, INSTANCE_MS = 1000, NAME_MAX_BYTES = 128 };

/* ---- container ---- */

/* The host of `authority`, which is in brackets or not, has a port or not. */
static bool host_is_ours(const char *authority, size_t len)
{
    char host[64];
    struct in_addr v4;
    struct in6_addr v6;
    bool bracket = len > 0 && authority[0] == '[';
    const char *end = bracket ? memchr(authority, ']', len) : memchr(authority, ':', len);
    size_t host_len = end != NULL ? (size_t)(end - authority) : len;
    if ((bracket && end == NULL) || host_len >= sizeof host)
        return false;
    size_t rest = host_len + (bracket ? 1 : 0);
    if (rest < len && authority[rest] != ':')
        return false;
    for (size_t i = rest + 1; i < len; i++)
        if (!isdigit((unsigned char)authority[i]))
            return false;
    snprintf(host, sizeof host, "%.*s", (int)(host_len - bracket), authority + bracket);
    if (bracket) {
        struct in6_addr pod;
        return inet_pton(AF_INET6, host, &v6) == 1 &&
               inet_pton(AF_INET6, "fd00:ec2::23", &pod) == 1 &&
               (IN6_IS_ADDR_LOOPBACK(&v6) || memcmp(&v6, &pod, sizeof pod) == 0);
    }
    if (inet_pton(AF_INET, host, &v4) != 1)
        return strcmp(host, "localhost") == 0;
    uint32_t address = ntohl(v4.s_addr);
    return address >> 24 == 127 || address == 0xa9feaa02 || address == 0xa9feaa17;
}

bool container_url_is_allowed(const char *url)
{
    for (const char *at = url; *at != 0; at++)
        if (*at <= ' ' || *at > '~' || strchr("@\\#", *at) != NULL)
            return false;
    if (strncmp(url, "https://", 8) == 0)
        return strcspn(url + 8, "/?") > 0;
    if (strncmp(url, "http://", 7) != 0)
        return false;
    return host_is_ours(url + 7, strcspn(url + 7, "/?"));
}

/* NULL: not set. */
static char *container_url(const struct aws_sources *sources)
{
    const char *relative = sources_env(sources, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = sources_env(sources, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
    if (relative != NULL)
        return memory_printf("%s%s%s",
                             sources->container_url != NULL ? sources->container_url
                                                            : "http://169.254.170.2",
                             relative[0] == '/' ? "" : "/", relative);
    return memory_copy_or_null(full);
}

/* "Authorization: ..." or NULL. */
static int container_field(const struct aws_sources *sources, char **out, struct error *err)
{
    const char *file = sources_env(sources, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    const char *token = sources_env(sources, "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    char *read = NULL;
    *out = NULL;
    if (file != NULL) {
        int rc = token_read(file, "authorization token", &read, err);
        if (rc != OK)
            return rc;
        token = read;
    }
    if (token != NULL && strpbrk(token, "\r\n") != NULL)
        return error_set(err, ERROR_DENIED, "AWS_CONTAINER_AUTHORIZATION_TOKEN has a line end");
    if (token != NULL)
        *out = memory_printf("Authorization: %s", token);
    memory_wipe(&read);
    return OK;
}

static int container_call(const struct aws_sources *sources, const char *url, const char *field,
                          struct aws_credentials *out, struct error *err)
{
    struct http_reply reply = {0};
    struct http_call call = {.method = "GET",
                             .url = url,
                             .fields = &field,
                             .field_count = field != NULL ? 1 : 0,
                             .answer_bytes_max = ANSWER_BYTES_MAX,
                             .timeout_ms = CONTAINER_MS,
                             .no_proxy = strncmp(url, "https://", 8) != 0};
    int rc = http_client_call(sources->http, &call, &reply, err);
    if (rc == OK && reply.status != 200) {
        bool passes = reply.status >= 500 || reply.status == 429;
        rc = error_set(err, passes ? ERROR_RETRY : ERROR_DENIED, "status %d", reply.status);
        err->cause = reply.status;
    } else if (rc == OK) {
        rc = credentials_from_json(out, buf_slice(&reply.body), "Token", &reply,
                                   clock_wall_ms(sources->clock), err);
    }
    http_reply_wipe(&reply);
    return rc;
}

int container_fetch(const struct aws_sources *sources, struct fetched *out, struct error *err)
{
    char *url = container_url(sources);
    char *field = NULL;
    snprintf(out->kind, sizeof out->kind, "container");
    if (url == NULL) {
        snprintf(out->absent, sizeof out->absent, "container: not set");
        return OK;
    }
    int rc = OK;
    if (!container_url_is_allowed(url))
        rc = error_set(err, ERROR_DENIED,
                       "the credentials' address is not allowed: it must be https, or http to "
                       "localhost, 169.254.170.2, 169.254.170.23 or [fd00:ec2::23]");
    if (rc == OK)
        rc = container_field(sources, &field, err);
    if (rc == OK)
        rc = container_call(sources, url, field, &out->credentials, err);
    memory_wipe(&field);
    free(url);
    return rc == OK ? OK : error_wrap(err, "container");
}

/* ---- instance ---- */

static int instance_call(const struct aws_sources *sources, const char *method, const char *path,
                         const char *field, struct http_reply *reply, struct error *err)
{
    const char *base = sources->imds_url;
    const char *mode = sources_env(sources, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    if (base == NULL)
        base = sources_env(sources, "AWS_EC2_METADATA_SERVICE_ENDPOINT");
    if (base == NULL)
        base = mode != NULL && strcasecmp(mode, "IPv6") == 0 ? "http://[fd00:ec2::254]"
                                                             : "http://169.254.169.254";
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/')
        len--;
    char *url = memory_printf("%.*s/latest/%s", (int)len, base, path);
    struct http_call call = {.method = method,
                             .url = url,
                             .fields = &field,
                             .field_count = 1,
                             .answer_bytes_max = ANSWER_BYTES_MAX,
                             .timeout_ms = INSTANCE_MS,
                             .no_proxy = true};
    int rc = http_client_call(sources->http, &call, reply, err);
    free(url);
    return rc;
}

/* The first line of an answer, if it is one word. */
static char *first_word(const struct http_reply *reply)
{
    size_t len = 0;
    const uint8_t *text = reply->body.data;
    while (len < reply->body.len && text[len] > ' ' && text[len] <= '~')
        len++;
    bool ends = len == reply->body.len || text[len] == '\n' || text[len] == '\r';
    return len > 0 && ends ? memory_copy_slice(slice_of(text, len)) : NULL;
}

/* A member of the chain whose answer is not 200: it may have nothing, or be in trouble. */
static int instance_status(const struct http_reply *reply, const char *what, struct fetched *out,
                           struct error *err)
{
    if (reply->status >= 500 || reply->status == 429)
        return error_set(err, ERROR_RETRY, "instance metadata: %s: status %d", what, reply->status);
    snprintf(out->absent, sizeof out->absent, "instance metadata: %s: status %d", what,
             reply->status);
    return OK;
}

/* *token NULL and `absent` set: nobody there, or it gives none. */
static int instance_token(const struct aws_sources *sources, char **token, struct fetched *out,
                          struct error *err)
{
    *token = NULL;
    const char *off = sources_env(sources, "AWS_EC2_METADATA_DISABLED");
    if (off != NULL && strcasecmp(off, "true") == 0) {
        snprintf(out->absent, sizeof out->absent,
                 "instance metadata: off by AWS_EC2_METADATA_DISABLED");
        return OK;
    }
    struct http_reply reply = {0};
    int rc = instance_call(sources, "PUT", "api/token", "X-aws-ec2-metadata-token-ttl-seconds: 300",
                           &reply, err);
    char *word = rc == OK && reply.status == 200 ? first_word(&reply) : NULL;
    if (rc == ERROR_RETRY) {
        out->unanswered = true;
        snprintf(out->absent, sizeof out->absent, "instance metadata: no answer in %d s%s",
                 INSTANCE_MS / 1000,
                 reply.sent ? " (from a container it takes a hop limit of 2)" : "");
        rc = OK;
    } else if (rc == OK && reply.status != 200) {
        rc = instance_status(&reply, "token", out, err);
    } else if (rc == OK && word == NULL) {
        rc = error_set(err, ERROR_DENIED, "instance metadata: its token is none");
    }
    if (word != NULL)
        *token = memory_printf("X-aws-ec2-metadata-token: %s", word);
    memory_wipe(&word);
    http_reply_wipe(&reply);
    return rc;
}

static int instance_role(const struct aws_sources *sources, const char *token, char **role,
                         struct fetched *out, struct error *err)
{
    struct http_reply reply = {0};
    *role = NULL;
    int rc =
        instance_call(sources, "GET", "meta-data/iam/security-credentials/", token, &reply, err);
    if (rc == OK && reply.status == 404)
        snprintf(out->absent, sizeof out->absent, "instance metadata: the instance has no role");
    else if (rc == OK && reply.status != 200)
        rc = instance_status(&reply, "role", out, err);
    else if (rc == OK && ((*role = first_word(&reply)) == NULL || strlen(*role) > NAME_MAX_BYTES))
        rc = error_set(err, ERROR_DENIED, "instance metadata: its role is none");
    http_reply_wipe(&reply);
    return rc;
}

/* Its Code says whether the instance may take the role. */
static int instance_decode(const struct aws_sources *sources, const struct http_reply *reply,
                           struct aws_credentials *out, struct error *err)
{
    json_t *object = NULL;
    struct error hidden;
    char code[64] = "Success";
    if (json_decode(&object, buf_slice(&reply->body), &hidden) == OK) {
        const char *said = json_string_value(json_object_get(object, "Code"));
        size_t len = said != NULL ? strspn(said, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                 "abcdefghijklmnopqrstuvwxyz")
                                  : 0;
        if (len > 0)
            snprintf(code, sizeof code, "%.*s", (int)len, said);
    }
    json_decref(object);
    if (strcmp(code, "Success") != 0)
        return error_set(err, ERROR_DENIED, "it says %s", code);
    return credentials_from_json(out, buf_slice(&reply->body), "Token", reply,
                                 clock_wall_ms(sources->clock), err);
}

int instance_fetch(const struct aws_sources *sources, struct fetched *out, struct error *err)
{
    char *token = NULL;
    char *role = NULL;
    struct http_reply reply = {0};
    int rc = instance_token(sources, &token, out, err);
    if (rc == OK && token != NULL)
        rc = instance_role(sources, token, &role, out, err);
    if (rc == OK && role != NULL) {
        struct buf path = {0};
        buf_put_cstr(&path, "meta-data/iam/security-credentials/");
        http_client_encode(slice_cstr(role), false, &path);
        snprintf(out->kind, sizeof out->kind, "instance role %s", role);
        rc = instance_call(sources, "GET", buf_cstr(&path), token, &reply, err);
        if (rc == OK && reply.status != 200)
            rc = error_set(err, reply.status >= 500 ? ERROR_RETRY : ERROR_DENIED, "status %d",
                           reply.status);
        if (rc == OK)
            rc = instance_decode(sources, &reply, &out->credentials, err);
        if (rc != OK)
            (void)error_wrap(err, "instance role %s", role);
        buf_free(&path);
    }
    http_reply_wipe(&reply);
    memory_wipe(&token);
    free(role);
    return rc;
}

int instance_region(const struct aws_sources *sources, char out[AWS_REGION_SIZE], bool *unanswered,
                    struct error *err)
{
    char *token = NULL;
    char *region = NULL;
    struct http_reply reply = {0};
    struct fetched none = {0};
    out[0] = 0;
    int rc = instance_token(sources, &token, &none, err);
    if (rc == OK && token != NULL)
        rc = instance_call(sources, "GET", "meta-data/placement/region", token, &reply, err);
    if (rc == OK && token != NULL && reply.status == 200)
        region = first_word(&reply);
    if (region != NULL && aws_region_is_valid(region))
        snprintf(out, AWS_REGION_SIZE, "%s", region);
    else if (rc == OK)
        rc = error_set(err, ERROR_DENIED, "%s",
                       token == NULL ? none.absent : "instance metadata: no region");
    *unanswered = none.unanswered;
    http_reply_free(&reply);
    memory_wipe(&token);
    free(region);
    return rc;
}
