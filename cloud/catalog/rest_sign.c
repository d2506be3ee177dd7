/* SPDX-License-Identifier: Apache-2.0
 *
 * Signature Version 4 for AWS's own REST catalog (Glue), which knows no bearer tokens, and for
 * gateways before others: a token goes along as Original-Authorization. Path and query are signed
 * as they go out; the body's hash goes as a field besides, which some want.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

/* Five minutes are let pass. */
static const int64_t skew_ms = 240000;

struct signer {
    struct rest_auth auth;
    struct rest_auth *token; /* whose Authorization goes along by another name */
    bool has_token;
    struct aws_provider *provider;
    const struct clock *clock;
    char *name;                   /* of the service */
    char region[AWS_REGION_SIZE]; /* that Glue named; "": as the provider finds it */
    int64_t clock_offset_ms;      /* the server's clock against ours, once it was seen to matter */
};

static struct signer *signer_of(struct rest_auth *auth)
{
    return (struct signer *)auth;
}

/* The provider's credentials are seen to at each request. */
static int sign_ready(struct rest_auth *auth, struct error *err)
{
    struct rest_auth *token = signer_of(auth)->token;
    return token->ops->ready(token, err);
}

static int region_find(struct signer *signer, char out[AWS_REGION_SIZE], struct error *err)
{
    memcpy(out, signer->region, AWS_REGION_SIZE);
    return *out != 0 ? OK : aws_provider_region(signer->provider, out, err);
}

#define LETTERS "abcdefghijklmnopqrstuvwxyz"

/* "https://glue.REGION.amazonaws.com". Other names below those domains are anybody's: a bucket's, a
 * gateway's. */
bool rest_sign_is_own(const char *url)
{
    static const char service[] = "https://glue.";
    static const char *const domains[] = {"amazonaws.com", "amazonaws.com.cn", "api.aws"};
    if (strncmp(url, service, sizeof service - 1) != 0)
        return false;
    const char *region = url + sizeof service - 1;
    size_t len = strspn(region, LETTERS "0123456789-");
    if (region[len] != '.' || strspn(region, LETTERS) != 2 || region[2] != '-')
        return false;
    struct slice domain = slice_of(region + len + 1, strcspn(region + len + 1, "/:"));
    for (size_t i = 0; i < sizeof domains / sizeof domains[0]; i++)
        if (slice_is(domain, domains[i]))
            return true;
    return false;
}

static const char *property(const struct rest_config *config, const char *key)
{
    return json_string_value(json_object_get(config->properties, key));
}

/* Whoever may say for what our keys sign could hand the request on to AWS as ours. So the service
 * is the user's choice alone, and the region Glue's besides, for itself. */
static void region_follow(struct signer *signer, const struct rest_config *config, const char *base)
{
    const char *name = property(config, "rest.signing-name");
    const char *region = property(config, "rest.signing-region");
    char ours[AWS_REGION_SIZE];
    struct error ignored;
    bool other_name = name != NULL && strcmp(name, signer->name) != 0;
    bool other_region =
        region != NULL && (region_find(signer, ours, &ignored) != OK || strcmp(region, ours) != 0);
    bool by_glue = rest_sign_is_own(base) && (config->uri == NULL || rest_sign_is_own(config->uri));
    if (other_region && by_glue && strlen(region) < sizeof signer->region &&
        region[strspn(region, LETTERS "0123456789-")] == 0) {
        snprintf(signer->region, sizeof signer->region, "%s", region);
        other_region = false;
    }
    if (other_name || other_region)
        log_event(LOG_LEVEL_WARN, "catalog",
                  "the catalog names another service or region to sign for: not followed",
                  "name=\"%.40s\" region=\"%.40s\"", name != NULL ? name : "",
                  region != NULL ? region : "");
}

static int sign_configure(struct rest_auth *auth, const struct rest_config *config,
                          const char *base, struct error *err)
{
    struct signer *signer = signer_of(auth);
    region_follow(signer, config, base);
    /* A server's token is for who has one of his own: AWS's know none. */
    return signer->has_token ? signer->token->ops->configure(signer->token, config, base, err) : OK;
}

/* "https://host:port/path?query" in its parts, each with a NUL. */
struct url_parts {
    char *text;
    const char *host;
    const char *path;
    const char *query; /* NULL: none */
};

static void url_split(const char *url, struct buf *path, struct url_parts *out)
{
    out->text = memory_copy_cstr(strstr(url, "://") + 3);
    char *query = strchr(out->text, '?');
    if (query != NULL)
        *query++ = 0;
    out->query = query;
    char *slash = strchr(out->text, '/');
    buf_put_cstr(path, slash != NULL ? slash : "/");
    if (slash != NULL)
        *slash = 0;
    out->host = out->text;
    out->path = buf_cstr(path);
}

/* A signature is Authorization: what stood there moves, as Java's client does it. */
static int token_move(struct signer *signer, const char *own, struct http_call *call,
                      struct rest_proof *out, struct error *err)
{
    rest_proof_free(out);
    if (!signer->has_token)
        return OK;
    int rc = signer->token->ops->prove(signer->token, own, call, out, err);
    if (rc == OK && out->authorization != NULL) {
        char *moved = memory_printf("Original-%s", out->authorization);
        memory_wipe(&out->authorization);
        out->authorization = moved;
        out->fields[call->field_count - 1] = moved;
    }
    return rc;
}

static int sign_prove(struct rest_auth *auth, const char *own, struct http_call *call,
                      struct rest_proof *out, struct error *err)
{
    struct signer *signer = signer_of(auth);
    char region[AWS_REGION_SIZE];
    uint8_t digest[SHA256_SIZE];
    char hash[2 * SHA256_SIZE + 1];
    struct buf path = {0};
    struct url_parts parts;
    int rc = token_move(signer, own, call, out, err);
    if (rc == OK)
        rc = aws_provider_get(signer->provider, &out->credentials, err);
    if (rc == OK)
        rc = region_find(signer, region, err);
    if (rc != OK)
        return rc;
    sha256(call->body, digest);
    hex_encode(slice_of(digest, sizeof digest), hash);
    url_split(call->url, &path, &parts);
    struct aws_request request = {.method = call->method,
                                  .host = parts.host,
                                  .path = parts.path,
                                  .query = parts.query,
                                  .fields = call->fields,
                                  .field_count = call->field_count,
                                  .payload_hash = hash,
                                  .service = signer->name,
                                  .region = region,
                                  .now_ms = clock_wall_ms(signer->clock) + signer->clock_offset_ms,
                                  .send_payload_hash = true,
                                  .credentials = &out->credentials};
    aws_sign(&out->aws_fields, &request);
    call->fields = out->aws_fields.fields;
    call->field_count = out->aws_fields.field_count;
    free(parts.text);
    buf_free(&path);
    return OK;
}

/* Of an answer that may be about the signature. */
static bool is_refused(const struct http_reply *reply)
{
    return reply->status == 400 || reply->status == 401 || reply->status == 403;
}

/* Was it refused while our clock was far from the server's? Then that one counts from now on. */
static bool clock_learn(struct signer *signer, const struct http_reply *reply)
{
    int64_t offset_ms;
    if (!is_refused(reply) ||
        !aws_clock_offset(http_reply_date_ms(reply), clock_wall_ms(signer->clock), &offset_ms))
        return false;
    int64_t change_ms = offset_ms - signer->clock_offset_ms;
    if (change_ms < skew_ms && change_ms > -skew_ms)
        return false;
    signer->clock_offset_ms = offset_ms;
    log_event(LOG_LEVEL_WARN, "catalog",
              "this machine's clock is off: requests are signed by the catalog's", "offset_ms=%lld",
              (long long)offset_ms);
    return true;
}

/* Gateways of AWS say it in words alone: "The security token included in the request is expired",
 * or "is invalid" of a key that they do not know any more. */
static bool is_over(const struct http_reply *reply)
{
    struct buf text = {0};
    if (!is_refused(reply))
        return false;
    rest_error_put(buf_slice(&reply->body), &text);
    const char *said = buf_cstr(&text);
    bool found = strstr(said, "ExpiredToken") != NULL ||
                 (strstr(said, "security token") != NULL &&
                  (strstr(said, "is expired") != NULL || strstr(said, "is invalid") != NULL));
    buf_free(&text);
    return found;
}

static int sign_refused(struct rest_auth *auth, const struct rest_proof *used,
                        const struct http_reply *reply, bool *again, struct error *err)
{
    struct signer *signer = signer_of(auth);
    *again = true;
    if (is_over(reply)) {
        aws_provider_expire(signer->provider, used->credentials.access_key);
        return OK;
    }
    if (clock_learn(signer, reply))
        return OK;
    if (is_refused(reply))
        aws_provider_doubt(signer->provider, used->credentials.access_key);
    return signer->token->ops->refused(signer->token, used, reply, again, err);
}

static void sign_principal_put(const struct rest_auth *auth, struct buf *out)
{
    const struct signer *signer = (const struct signer *)auth;
    char kind[AWS_KIND_SIZE];
    aws_provider_kind(signer->provider, kind);
    buf_printf(out, "%s, signed for %s", kind, signer->name);
    if (signer->has_token) {
        buf_put_cstr(out, ", with ");
        signer->token->ops->principal_put(signer->token, out);
    }
}

static const char *sign_check(const struct rest_auth *auth)
{
    return ((const struct signer *)auth)->has_token
               ? "its keys, catalog.signing_name and signing_region, and its token"
               : "its keys, catalog.signing_name and signing_region";
}

static void sign_close(struct rest_auth *auth)
{
    struct signer *signer = signer_of(auth);
    aws_provider_close(signer->provider);
    rest_auth_close(signer->token);
    free(signer->name);
    free(signer);
}

static const struct rest_auth_ops sign_ops = {
    .ready = sign_ready,
    .configure = sign_configure,
    .prove = sign_prove,
    .refused = sign_refused,
    .principal_put = sign_principal_put,
    .check = sign_check,
    .signs = true,
    .close = sign_close,
};

int rest_sign_open(struct rest_auth **out, const struct rest_auth_options *options,
                   struct error *err)
{
    const struct catalog_rest_options *given = options->given;
    struct aws_provider_options provider = {.http = options->http,
                                            .clock = options->clock,
                                            .region = cstr_or_null(given->signing_region),
                                            .profile = cstr_or_null(given->profile)};
    struct signer *signer = memory_alloc(1, sizeof *signer);
    signer->auth.ops = &sign_ops;
    signer->clock = options->clock;
    signer->name = memory_copy_cstr(given->signing_name);
    *out = &signer->auth;
    int rc = rest_token_open(&signer->token, options, err);
    signer->has_token = rc == OK && signer->token->ops->check(signer->token) != NULL;
    return rc == OK ? aws_provider_open(&signer->provider, &provider, err) : rc;
}
