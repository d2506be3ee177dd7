/* SPDX-License-Identifier: Apache-2.0
 *
 * STS, the service that gives credentials of a role: by other credentials (signed), or by a
 * token that an identity provider signed. A form goes there, XML comes back.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/aws/internal.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/xml/xml.h"

enum { CALL_MS = 15000, SKEW_MS = 240000, DURATION_S = 3600, MESSAGE_MAX = 240, WORD_MAX = 150 };

#define FORM "Content-Type: application/x-www-form-urlencoded; charset=utf-8"

/* ---- answers ---- */

/* A name that a service gave; anything odd in it is not repeated. */
static void copy_code(const char *text, char *out, size_t size)
{
    const char *end = text != NULL ? text : "";
    while (isalnum((unsigned char)*end) || *end == '.')
        end++;
    bool whole = text != NULL && *end == 0 && end - text < 64;
    snprintf(out, size, "%s", whole ? text : "");
}

/* The first line of what it says, without words as long as a token. That a signature is wrong it
 * shows by the whole request that it would have signed, token and all. */
static void copy_message(const char *code, const char *text, struct buf *out)
{
    if (text == NULL || strstr(code, "Signature") != NULL)
        return;
    for (const char *at = text; *at >= ' ' && *at <= '~';) {
        size_t len = 0;
        while (at[len] > ' ' && at[len] <= '~')
            len++;
        if (out->len + (len > WORD_MAX ? 3 : len) + 1 > MESSAGE_MAX)
            return;
        if (len > WORD_MAX)
            buf_put_cstr(out, "...");
        else
            buf_put(out, at, len);
        at += len;
        if (*at == ' ')
            buf_put_u8(out, (uint8_t)*at++);
    }
}

static bool code_may_pass(const char *code)
{
    static const char *const codes[] = {
        "Throttling",      "ThrottlingException",   "RequestTimeout",    "RequestLimitExceeded",
        "InternalFailure", "IDPCommunicationError", "ServiceUnavailable"};
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++)
        if (strcmp(code, codes[i]) == 0)
            return true;
    return false;
}

static int decode_error(const struct http_reply *reply, const struct xml_node *root,
                        struct error *err)
{
    char code[64] = "";
    struct buf message = {0};
    if (root != NULL) {
        copy_code(xml_text(root, "Error/Code"), code, sizeof code);
        copy_message(code, xml_text(root, "Error/Message"), &message);
    }
    bool passes = reply->status >= 500 || reply->status == 429 || code_may_pass(code);
    (void)error_set(err, passes ? ERROR_RETRY : ERROR_DENIED, "STS says %d %s%s%s", reply->status,
                    code, message.len > 0 ? ": " : "", buf_cstr(&message));
    buf_free(&message);
    err->cause = reply->status;
    return err->code;
}

static int decode_credentials(struct aws_credentials *out, const struct xml_node *root,
                              const struct http_reply *reply, int64_t now_ms, struct error *err)
{
    const struct xml_node *result = xml_child(root, "AssumeRoleResult");
    if (result == NULL)
        result = xml_child(root, "AssumeRoleWithWebIdentityResult");
    const struct xml_node *found = xml_child(result, "Credentials");
    const char *access_key = xml_text(found, "AccessKeyId");
    const char *secret = xml_text(found, "SecretAccessKey");
    const char *token = xml_text(found, "SessionToken");
    const char *expiration = xml_text(found, "Expiration");
    if (access_key == NULL || secret == NULL || token == NULL || expiration == NULL)
        return error_set(err, ERROR_RETRY, "STS gives no whole credentials");
    aws_credentials_free(out);
    out->access_key = memory_copy_cstr(access_key);
    out->secret = memory_copy_cstr(secret);
    out->token = memory_copy_cstr(token);
    out->expires_ms = expiry_ms(expiration, reply, now_ms);
    int rc = credentials_check(out, "STS", err);
    if (rc == OK && out->expires_ms == 0)
        rc = error_set(err, ERROR_RETRY, "STS gives an Expiration that is no time");
    if (rc != OK)
        aws_credentials_free(out);
    return rc;
}

int sts_decode(struct aws_credentials *out, const struct http_reply *reply, int64_t now_ms,
               struct error *err)
{
    struct xml *xml = NULL;
    struct error hidden;
    int rc = xml_decode(&xml, buf_slice(&reply->body), &hidden);
    const struct xml_node *root = rc == OK ? xml_root(xml) : NULL;
    if (reply->status != 200)
        rc = decode_error(reply, root, err);
    else if (root == NULL)
        rc = error_set(err, ERROR_RETRY, "STS answers something that is no XML");
    else
        rc = decode_credentials(out, root, reply, now_ms, err);
    xml_free(xml);
    return rc;
}

/* ---- requests ---- */

/* The endpoint's URL, without a slash at its end. */
static int endpoint(const struct aws_sources *sources, const char *region, char **out,
                    struct error *err)
{
    struct aws_endpoint found = {0};
    struct buf host = {0};
    int rc = sources->sts_url == NULL ? sources_endpoint(sources, "sts", &found, err) : OK;
    const char *url = sources->sts_url != NULL ? sources->sts_url : found.url;
    if (rc == OK && url != NULL) {
        size_t len = strlen(url);
        while (len > 0 && url[len - 1] == '/')
            len--;
        *out = memory_copy_slice(slice_of(url, len));
    } else if (rc == OK && region[0] == 0) {
        *out = memory_copy_cstr("https://sts.amazonaws.com");
    } else if (rc == OK) {
        rc = aws_host("sts", region, &found, &host, err);
        *out = memory_printf("https://%s", buf_cstr(&host));
    }
    aws_endpoint_free(&found);
    buf_free(&host);
    return rc;
}

static void put_pair(struct buf *form, const char *name, const char *value)
{
    buf_printf(form, "&%s=", name);
    http_client_encode(slice_cstr(value), false, form);
}

static void put_form(struct buf *form, const char *action, const struct sts_role *role)
{
    buf_printf(form, "Action=%s&Version=2011-06-15&DurationSeconds=%lld", action,
               (long long)(role->duration_s > 0 ? role->duration_s : DURATION_S));
    put_pair(form, "RoleArn", role->arn);
    put_pair(form, "RoleSessionName", role->session != NULL ? role->session : "bidlake");
    if (role->external_id != NULL)
        put_pair(form, "ExternalId", role->external_id);
}

/* Host and path of the endpoint as they are signed. */
static int sign(const char *url, const char *region, struct slice form, int64_t now_ms,
                const struct aws_credentials *by, struct aws_signed *out, struct error *err)
{
    static const char *const fields[] = {FORM};
    uint8_t digest[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    sha256(form, digest);
    hex_encode(slice_of(digest, sizeof digest), hex);
    const char *host = strstr(url, "://") != NULL ? strstr(url, "://") + 3 : url;
    char *path = memory_printf("%s/", host + strcspn(host, "/"));
    struct buf sent = {0};
    int rc = http_client_host(url, &sent, err);
    struct aws_request request = {.method = "POST",
                                  .host = buf_cstr(&sent),
                                  .path = path,
                                  .fields = fields,
                                  .field_count = 1,
                                  .payload_hash = hex,
                                  .service = "sts",
                                  .region = region[0] != 0 ? region : "us-east-1",
                                  .now_ms = now_ms,
                                  .credentials = by};
    if (rc == OK)
        aws_sign(out, &request);
    free(path);
    buf_free(&sent);
    return rc;
}

/* One call; `by` NULL: not signed. */
static int call_once(const struct aws_sources *sources, const char *base, const char *region,
                     struct slice form, int64_t now_ms, const struct aws_credentials *by,
                     struct http_reply *reply, struct error *err)
{
    static const char *const plain[] = {FORM};
    char *url = memory_printf("%s/", base);
    struct aws_signed made = {0};
    int rc = by != NULL ? sign(base, region, form, now_ms, by, &made, err) : OK;
    struct http_call call = {.method = "POST",
                             .url = url,
                             .fields = by != NULL ? made.fields : plain,
                             .field_count = by != NULL ? made.field_count : 1,
                             .body = form,
                             .answer_bytes_max = ANSWER_BYTES_MAX,
                             .timeout_ms = CALL_MS};
    if (rc == OK)
        rc = http_client_call(sources->http, &call, reply, err);
    aws_signed_free(&made);
    free(url);
    return rc;
}

/* A clock that is off makes every signature wrong; the answer says by how much. */
static int call(const struct aws_sources *sources, const char *region, struct buf *form,
                const struct aws_credentials *by, struct aws_credentials *out, struct error *err)
{
    struct http_reply reply = {0};
    int64_t now_ms = clock_wall_ms(sources->clock);
    char *base = NULL;
    int rc = endpoint(sources, region, &base, err);
    if (rc == OK)
        rc = call_once(sources, base, region, buf_slice(form), now_ms, by, &reply, err);
    int64_t date_ms = rc == OK ? http_reply_date_ms(&reply) : 0;
    bool is_off = date_ms > 0 && (date_ms > now_ms + SKEW_MS || date_ms < now_ms - SKEW_MS);
    if (by != NULL && rc == OK && (reply.status == 403 || reply.status == 400) && is_off)
        rc = call_once(sources, base, region, buf_slice(form), date_ms, by, &reply, err);
    if (rc == OK)
        rc = sts_decode(out, &reply, clock_wall_ms(sources->clock), err);
    free(base);
    http_reply_wipe(&reply);
    buf_wipe(form);
    return rc;
}

int sts_assume_role(const struct aws_sources *sources, const struct sts_role *role,
                    const struct aws_credentials *by, struct aws_credentials *out,
                    struct error *err)
{
    struct buf form = {0};
    put_form(&form, "AssumeRole", role);
    int rc = call(sources, role->region, &form, by, out, err);
    if (rc != OK && by->token != NULL && strstr(err->text, by->token) != NULL)
        (void)error_set(err, err->code, "STS refuses the request");
    return rc == OK ? OK : error_wrap(err, "role %s", role->arn);
}

int sts_web_identity(const struct aws_sources *sources, const struct sts_role *role,
                     const char *token_file, struct aws_credentials *out, struct error *err)
{
    char *token = NULL;
    int rc = token_read(token_file, "web identity token", &token, err);
    if (rc == OK) {
        struct buf form = {0};
        put_form(&form, "AssumeRoleWithWebIdentity", role);
        put_pair(&form, "WebIdentityToken", token);
        rc = call(sources, role->region, &form, NULL, out, err);
    }
    /* A server that repeats what it was given must not get it into a log. */
    if (rc != OK && token != NULL && strstr(err->text, token) != NULL)
        (void)error_set(err, err->code, "STS refuses the token");
    memory_wipe(&token);
    return rc == OK ? OK : error_wrap(err, "role %s", role->arn);
}

int web_identity_fetch(const struct aws_sources *sources, struct fetched *out, struct error *err)
{
    const char *file = sources_env(sources, "AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *arn = sources_env(sources, "AWS_ROLE_ARN");
    if (file == NULL) {
        snprintf(out->absent, sizeof out->absent, "web identity: not set");
        return OK;
    }
    if (arn == NULL)
        return error_set(err, ERROR_DENIED,
                         "AWS_WEB_IDENTITY_TOKEN_FILE is set, AWS_ROLE_ARN is not");
    char region[AWS_REGION_SIZE];
    int rc = sources_region(sources, region, err);
    if (rc != OK)
        return rc;
    snprintf(out->kind, sizeof out->kind, "web identity %s", arn);
    struct sts_role role = {
        .arn = arn, .session = sources_env(sources, "AWS_ROLE_SESSION_NAME"), .region = region};
    rc = sts_web_identity(sources, &role, file, &out->credentials, err);
    return rc == OK ? OK : error_wrap(err, "web identity");
}
