/* SPDX-License-Identifier: Apache-2.0
 *
 * The bearer token of a REST catalog: given as it is, or fetched with OAuth2 client credentials
 * (RFC 6749, 4.4). It is renewed by asking again in the same way, before it expires; a renewal
 * that fails while the old one is still good is tried again half a minute later. Token exchange
 * is not used: it needs a token that has not expired, client credentials always work.
 *
 * The credential goes in the body first, as Java's client sends it; a service that answers
 * invalid_client then gets it once as Basic authorization, which it is asked by from then on.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { BEARER_BYTES_MAX = 32 << 10, SECRET_FILE_BYTES_MAX = 64 << 10 };
static const int64_t life_unknown_ms = 3600 * 1000;
static const int64_t ahead_most_ms = 300 * 1000;
static const int64_t again_ms = 30 * 1000;

/* ---- what is given ---- */

/* What can stand in a header: RFC 6750's b64token and a little more. */
bool rest_bearer_is_fine(const char *bearer)
{
    size_t len = strlen(bearer);
    for (size_t i = 0; i < len; i++)
        if (bearer[i] <= ' ' || bearer[i] >= 0x7f)
            return false;
    return len > 0 && len <= BEARER_BYTES_MAX;
}

/* The first line, without blanks about it. */
static int secret_read(const char *path, char **out, struct error *err)
{
    struct buf bytes = {0};
    int rc = file_read(path, SECRET_FILE_BYTES_MAX, &bytes, err);
    if (rc == OK) {
        const char *text = buf_cstr(&bytes);
        text += strspn(text, " \t\r\n");
        size_t len = strcspn(text, "\r\n");
        while (len > 0 && (text[len - 1] == ' ' || text[len - 1] == '\t'))
            len--;
        if (len == 0)
            rc = error_set(err, ERROR_INPUT, "%s: it is empty", path);
        else
            *out = memory_copy_slice(slice_of(text, len));
    }
    buf_wipe(&bytes);
    return rc;
}

static void form_add(struct buf *form, const char *key, const char *value)
{
    if (value == NULL || *value == 0)
        return;
    buf_printf(form, "&%s=", key);
    http_client_encode(slice_cstr(value), false, form);
}

static char *copy_or_null(const char *text)
{
    return text != NULL && *text != 0 ? memory_copy_cstr(text) : NULL;
}

static int given_read(struct rest_token *token, struct error *err)
{
    char *text = NULL;
    int rc = secret_read(token->file, &text, err);
    ASSERT(rc != OK || text != NULL);
    if (rc == OK && !token->by_credential && !rest_bearer_is_fine(text))
        rc = error_set(err, ERROR_INPUT, "%s: this is no token", token->file);
    if (rc != OK) {
        memory_wipe(&text);
        return rc;
    }
    char **to = token->by_credential ? &token->credential : &token->bearer;
    memory_wipe(to);
    *to = text;
    /* Basic authorization takes an id beside the secret. */
    token->basic = token->basic && token->by_credential && strchr(text, ':') != NULL;
    return OK;
}

int rest_token_init(struct rest_token *token, const struct catalog_rest_options *options,
                    const char *base, struct error *err)
{
    struct buf text = {0};
    char *credential = copy_or_null(options->credential);
    char *credential_file = copy_or_null(options->credential_file);
    *token = (struct rest_token){.renew_at_ms = INT64_MAX, .expires_at_ms = INT64_MAX};
    token->by_credential = credential != NULL || credential_file != NULL;
    token->credential = credential;
    token->file = token->by_credential ? credential_file : copy_or_null(options->token_file);
    if (!token->by_credential)
        token->bearer = copy_or_null(options->token);
    token->none = !token->by_credential && token->file == NULL && token->bearer == NULL;
    int rc = OK;
    if (token->bearer != NULL && !rest_bearer_is_fine(token->bearer))
        rc = error_set(err, ERROR_INPUT, "the token holds a blank or a foreign character");
    if (rc == OK && options->oauth2_server_uri != NULL && *options->oauth2_server_uri != 0)
        rc = rest_url_check(options->oauth2_server_uri, &text, err);
    else if (rc == OK)
        buf_printf(&text, "%s/v1/oauth/tokens", base);
    if (rc == OK) {
        token->url = memory_copy_cstr(buf_cstr(&text));
        buf_reset(&text);
        form_add(&text, "scope",
                 options->scope != NULL && *options->scope != 0 ? options->scope : "catalog");
        form_add(&text, "audience", options->audience);
        form_add(&text, "resource", options->resource);
        token->form = memory_copy_cstr(buf_cstr(&text));
        if (token->file != NULL)
            rc = given_read(token, err);
    }
    buf_free(&text);
    return rc;
}

void rest_token_free(struct rest_token *token)
{
    memory_wipe(&token->credential);
    memory_wipe(&token->bearer);
    free(token->file);
    free(token->url);
    free(token->form);
    *token = (struct rest_token){0};
}

int rest_token_take(struct rest_token *token, const char *bearer, struct error *err)
{
    if (!rest_bearer_is_fine(bearer))
        return error_set(err, ERROR_INPUT, "the server's configuration has a token that is none");
    memory_wipe(&token->bearer);
    token->bearer = memory_copy_cstr(bearer);
    token->none = false;
    return OK;
}

/* ---- what a service grants ---- */

/* "exp" of a JWT (RFC 7519), as a span from now; 0: it is none, or says nothing. */
static int64_t jwt_life_ms(const char *bearer, int64_t wall_ms)
{
    const char *payload = strchr(bearer, '.');
    const char *end = payload != NULL ? strchr(payload + 1, '.') : NULL;
    struct buf text = {0};
    struct buf bytes = {0};
    struct error ignored; /* opaque to us, then */
    json_t *claims = NULL;
    int64_t life_ms = 0;
    if (end == NULL)
        return 0;
    for (const char *p = payload + 1; p < end; p++)
        buf_put_u8(&text, (uint8_t)(*p == '-' ? '+' : *p == '_' ? '/' : *p));
    while (text.len % 4 != 0)
        buf_put_u8(&text, '=');
    if (base64_decode(buf_slice(&text), &bytes) &&
        json_decode(&claims, buf_slice(&bytes), &ignored) == OK) {
        const json_t *exp = json_object_get(claims, "exp");
        int64_t seconds = json_is_integer(exp) ? (int64_t)json_integer_value(exp) : 0;
        if (seconds > 0 && seconds < INT64_MAX / 1000 && seconds * 1000 > wall_ms)
            life_ms = seconds * 1000 - wall_ms;
    }
    json_decref(claims);
    buf_wipe(&text);
    buf_wipe(&bytes);
    return life_ms;
}

static int64_t grant_life_ms(const json_t *document, const char *bearer, int64_t wall_ms)
{
    const json_t *expires = json_object_get(document, "expires_in");
    static const int64_t most_s = 3650LL * 24 * 3600;
    if (json_is_integer(expires) && json_integer_value(expires) > 0) {
        int64_t seconds = (int64_t)json_integer_value(expires);
        return (seconds < most_s ? seconds : most_s) * 1000;
    }
    int64_t life_ms = jwt_life_ms(bearer, wall_ms);
    return life_ms > 0 ? life_ms : life_unknown_ms;
}

int rest_grant_decode(struct rest_grant *out, struct slice bytes, int64_t wall_ms,
                      struct error *err)
{
    json_t *document = NULL;
    const char *bearer = NULL;
    struct error where; /* its text could show a piece of the token */
    *out = (struct rest_grant){0};
    int rc = json_decode(&document, bytes, &where);
    if (rc != OK)
        rc = error_set(err, ERROR_INPUT, "the token service answers no JSON");
    if (rc == OK)
        rc = json_get_string(document, "token service's answer", "access_token", &bearer, err);
    const char *type = json_string_value(json_object_get(document, "token_type"));
    if (rc == OK && type != NULL && strcasecmp(type, "bearer") != 0 && strcasecmp(type, "n_a") != 0)
        rc = error_set(err, ERROR_INPUT, "the token service gives a token that is no bearer token");
    if (rc == OK && !rest_bearer_is_fine(bearer))
        rc = error_set(err, ERROR_INPUT, "the token service's access_token is none");
    if (rc == OK) {
        out->life_ms = grant_life_ms(document, bearer, wall_ms);
        out->bearer = memory_copy_cstr(bearer);
    }
    json_decref(document);
    return rc;
}

/* ---- asking for it ---- */

static void form_make(const struct rest_token *token, struct buf *form)
{
    ASSERT(token->credential != NULL);
    const char *colon = strchr(token->credential, ':');
    buf_put_cstr(form, "grant_type=client_credentials");
    if (!token->basic) {
        if (colon != NULL) {
            buf_put_cstr(form, "&client_id=");
            http_client_encode(slice_of(token->credential, (size_t)(colon - token->credential)),
                               false, form);
        }
        buf_put_cstr(form, "&client_secret=");
        http_client_encode(slice_cstr(colon != NULL ? colon + 1 : token->credential), false, form);
    }
    buf_put_cstr(form, token->form);
}

/* RFC 6749, 2.3.1: both parts are form-encoded before they are joined. */
static void basic_make(const struct rest_token *token, struct buf *field)
{
    struct buf plain = {0};
    const char *colon = strchr(token->credential, ':');
    http_client_encode(slice_of(token->credential, (size_t)(colon - token->credential)), false,
                       &plain);
    buf_put_cstr(&plain, ":");
    http_client_encode(slice_cstr(colon + 1), false, &plain);
    buf_put_cstr(field, "Authorization: Basic ");
    base64_encode(buf_slice(&plain), field);
    buf_wipe(&plain);
}

static int service_call(struct rest *rest, struct http_reply *reply, struct error *err)
{
    const struct rest_token *token = &rest->token;
    struct buf form = {0};
    struct buf field = {0};
    const char *fields[3] = {"Accept: application/json",
                             "Content-Type: application/x-www-form-urlencoded"};
    form_make(token, &form);
    if (token->basic) {
        basic_make(token, &field);
        fields[2] = buf_cstr(&field);
    }
    struct http_call call = {.method = "POST",
                             .url = token->url,
                             .fields = fields,
                             .field_count = token->basic ? 3 : 2,
                             .body = buf_slice(&form),
                             .answer_bytes_max = REST_TOKEN_BYTES_MAX,
                             .timeout_ms = rest->timeout_ms};
    int rc = http_client_call(rest->http, &call, reply, err);
    buf_wipe(&form);
    buf_wipe(&field);
    return rc;
}

/* "error" of RFC 6749, 5.2: a word of its own alphabet; "" for anything else. The description
 * beside it is left out: some services repeat in it what they were sent. */
static void service_word(struct slice body, char out[41])
{
    struct error ignored;
    json_t *document = NULL;
    out[0] = 0;
    if (json_decode(&document, body, &ignored) != OK)
        return;
    const char *word = json_string_value(json_object_get(document, "error"));
    size_t len = word != NULL ? strlen(word) : 0;
    if (len > 0 && len <= 40 && strspn(word, "abcdefghijklmnopqrstuvwxyz_") == len)
        memcpy(out, word, len + 1);
    json_decref(document);
}

static const char *word_advice(const char *word)
{
    if (strcmp(word, "invalid_scope") == 0)
        return "check catalog.scope";
    if (strcmp(word, "unauthorized_client") == 0 || strcmp(word, "unsupported_grant_type") == 0)
        return "it has to allow client_credentials to this client";
    if (strcmp(word, "invalid_target") == 0)
        return "check catalog.audience and catalog.resource";
    return "check catalog.credential_file and catalog.oauth2_server_uri";
}

static int service_refusal(const struct rest *rest, const struct http_reply *reply,
                           const char *word, struct error *err)
{
    int64_t now_ms = clock_wall_ms(rest->clock);
    int rc;
    if (reply->status == 429 || reply->status == 408 || reply->status >= 500) {
        rc = error_set(err, ERROR_RETRY, "%.160s answers %d", rest->token.url, reply->status);
        int64_t after_ms = http_reply_retry_after_ms(reply, now_ms);
        err->retry_after_ms = after_ms > 0 ? after_ms : 0;
    } else if (*word != 0 || reply->status == 401 || reply->status == 403) {
        struct buf who = {0};
        rest_principal_put(rest, &who);
        rc = error_set(err, ERROR_DENIED, "%.160s answers %d %s; it refuses %s: %s",
                       rest->token.url, reply->status, *word != 0 ? word : "without a reason",
                       buf_cstr(&who), word_advice(word));
        buf_free(&who);
    } else {
        rc = error_set(err, ERROR_INPUT, "%.160s answers %d: is catalog.oauth2_server_uri right?",
                       rest->token.url, reply->status);
    }
    err->cause = reply->status;
    return rc;
}

static int token_fetch(struct rest *rest, struct error *err)
{
    struct rest_token *token = &rest->token;
    struct http_reply reply = {0};
    struct rest_grant grant = {0};
    char word[41];
    int64_t asked_ms = clock_mono_ms(rest->clock);
    int rc = service_call(rest, &reply, err);
    service_word(buf_slice(&reply.body), word);
    if (rc == OK && (reply.status == 401 || reply.status == 400) && !token->basic &&
        strcmp(word, "invalid_client") == 0 && strchr(token->credential, ':') != NULL) {
        token->basic = true;
        rc = service_call(rest, &reply, err);
        service_word(buf_slice(&reply.body), word);
        token->basic = rc == OK && reply.status == 200;
    }
    if (rc == OK && reply.status != 200)
        rc = service_refusal(rest, &reply, word, err);
    if (rc == OK)
        rc = rest_grant_decode(&grant, buf_slice(&reply.body), clock_wall_ms(rest->clock), err);
    if (rc != OK && reply.status == 200)
        (void)error_wrap(err, "%.160s (catalog.oauth2_server_uri)", token->url);
    if (rc == OK) {
        int64_t ahead_ms = grant.life_ms / 10 < ahead_most_ms ? grant.life_ms / 10 : ahead_most_ms;
        memory_wipe(&token->bearer);
        token->bearer = grant.bearer;
        token->expires_at_ms = asked_ms + grant.life_ms;
        token->renew_at_ms = token->expires_at_ms - ahead_ms;
    }
    http_reply_wipe(&reply);
    return rc == OK ? OK : error_wrap(err, "token");
}

int rest_token_ready(struct rest *rest, struct error *err)
{
    struct rest_token *token = &rest->token;
    int64_t now_ms = clock_mono_ms(rest->clock);
    if (!token->by_credential || (token->bearer != NULL && now_ms < token->renew_at_ms))
        return OK;
    /* The credential may have been replaced. While its file doesn't read, ours counts. */
    struct error ignored;
    if (token->file != NULL)
        (void)given_read(token, &ignored);
    int rc = token_fetch(rest, err);
    if (rc == OK || token->bearer == NULL || now_ms >= token->expires_at_ms)
        return rc;
    token->renew_at_ms =
        now_ms + again_ms < token->expires_at_ms ? now_ms + again_ms : token->expires_at_ms;
    return OK;
}

int rest_token_renew(struct rest *rest, bool *renewed, struct error *err)
{
    struct rest_token *token = &rest->token;
    int rc = OK;
    *renewed = false;
    if (token->file != NULL) {
        char *before = copy_or_null(token->by_credential ? token->credential : token->bearer);
        rc = given_read(token, err);
        const char *now = token->by_credential ? token->credential : token->bearer;
        *renewed = rc == OK && (before == NULL || now == NULL || strcmp(before, now) != 0);
        memory_wipe(&before);
    }
    if (rc == OK && token->by_credential) {
        rc = token_fetch(rest, err);
        *renewed = rc == OK;
    }
    return rc;
}
