/* SPDX-License-Identifier: Apache-2.0
 *
 * Signature Version 4 for AWS's REST catalogs (Glue, S3 Tables), which know no bearer tokens. Path
 * and query are signed as they go out; S3 Tables wants the body's hash as a field besides.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

/* Five minutes are let pass. */
static const int64_t skew_ms = 240000;

static const char *or_null(const char *text)
{
    return text != NULL && *text != 0 ? text : NULL;
}

int rest_sign_open(struct rest *rest, const struct catalog_rest_options *options, struct error *err)
{
    struct aws_provider_options provider = {.http = rest->http,
                                            .clock = rest->clock,
                                            .region = or_null(options->signing_region),
                                            .profile = or_null(options->profile)};
    if (or_null(options->signing_name) == NULL)
        return OK;
    if (!rest->token.none)
        return error_set(err, ERROR_INPUT, "a token or a signature (signing_name), not both");
    rest->signing_name = memory_copy_cstr(options->signing_name);
    return aws_provider_open(&rest->provider, &provider, err);
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

int rest_sign(struct rest *rest, const struct http_call *call, struct aws_signed *out,
              struct aws_credentials *used, struct error *err)
{
    char region[AWS_REGION_SIZE];
    uint8_t digest[SHA256_SIZE];
    char hash[2 * SHA256_SIZE + 1];
    struct buf path = {0};
    struct url_parts parts;
    int rc = aws_provider_get(rest->provider, used, err);
    if (rc == OK)
        rc = aws_provider_region(rest->provider, region, err);
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
                                  .service = rest->signing_name,
                                  .region = region,
                                  .now_ms = clock_wall_ms(rest->clock) + rest->clock_offset_ms,
                                  .send_payload_hash = true,
                                  .credentials = used};
    aws_sign(out, &request);
    free(parts.text);
    buf_free(&path);
    return OK;
}

/* Of an answer that may be about the signature. */
static bool is_refused(const struct http_reply *reply)
{
    return reply->status == 400 || reply->status == 401 || reply->status == 403;
}

bool rest_sign_learn_clock(struct rest *rest, const struct http_reply *reply)
{
    int64_t offset_ms;
    if (!is_refused(reply) ||
        !aws_clock_offset(http_reply_date_ms(reply), clock_wall_ms(rest->clock), &offset_ms))
        return false;
    int64_t change_ms = offset_ms - rest->clock_offset_ms;
    if (change_ms < skew_ms && change_ms > -skew_ms)
        return false;
    rest->clock_offset_ms = offset_ms;
    log_event(LOG_LEVEL_WARN, "catalog",
              "this machine's clock is off: requests are signed by the catalog's", "offset_ms=%lld",
              (long long)offset_ms);
    return true;
}

/* Gateways of AWS say it in words alone: "The security token included in the request is expired".
 */
bool rest_sign_is_expired(const struct http_reply *reply)
{
    struct buf text = {0};
    if (!is_refused(reply))
        return false;
    rest_error_put(buf_slice(&reply->body), &text);
    const char *said = buf_cstr(&text);
    bool expired = strstr(said, "ExpiredToken") != NULL ||
                   (strstr(said, "security token") != NULL && strstr(said, "expired") != NULL);
    buf_free(&text);
    return expired;
}
