/* SPDX-License-Identifier: Apache-2.0
 *
 * What a token service is asked, and what it grants: for OAuth2 client credentials (RFC 6749, 4.4),
 * or for another token (RFC 8693), which goes as Authorization too, as Java's client sends it.
 *
 * A credential goes in the body first, as Java's client sends it; a service that answers
 * invalid_client then gets it once as Basic authorization, which it is asked by from then on.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { ANSWER_BYTES_MAX = 64 << 10 };
static const int64_t life_unknown_ms = 3600 * 1000;

const char rest_token_type[] = "urn:ietf:params:oauth:token-type:access_token";
static const char jwt_type[] = "urn:ietf:params:oauth:token-type:jwt";

/* ---- the service ---- */

static void form_add(struct buf *form, const char *key, const char *value)
{
    if (value == NULL || *value == 0)
        return;
    buf_printf(form, "&%s=", key);
    http_client_encode(slice_cstr(value), false, form);
}

static bool is_given(const char *text)
{
    return text != NULL && *text != 0;
}

int rest_token_service_init(struct rest_token_service *service,
                            const struct rest_auth_options *options, struct error *err)
{
    const struct catalog_rest_options *given = options->given;
    struct buf text = {0};
    int rc = OK;
    *service = (struct rest_token_service){
        .http = options->http, .clock = options->clock, .timeout_ms = options->timeout_ms};
    if (is_given(given->oauth2_server_uri))
        rc = rest_url_check(given->oauth2_server_uri, &text, err);
    else
        buf_printf(&text, "%s/v1/oauth/tokens", options->base);
    service->url = memory_copy_cstr(buf_cstr(&text));
    buf_reset(&text);
    form_add(&text, "scope", is_given(given->scope) ? given->scope : "catalog");
    form_add(&text, "audience", given->audience);
    form_add(&text, "resource", given->resource);
    service->form = memory_copy_cstr(buf_cstr(&text));
    buf_free(&text);
    return rc;
}

void rest_token_service_free(struct rest_token_service *service)
{
    free(service->url);
    free(service->form);
    *service = (struct rest_token_service){0};
}

void rest_credential_principal_put(const char *credential, struct buf *out)
{
    size_t len = strcspn(credential, ":");
    if (credential[len] == 0) {
        buf_put_cstr(out, "a secret without an ID");
        return;
    }
    buf_put_cstr(out, "client \"");
    rest_text_put(slice_of(credential, len), 60, out);
    buf_put_cstr(out, "\"");
}

/* ---- what a service grants ---- */

/* "exp" of a JWT (RFC 7519), as a span from now. */
int64_t rest_bearer_life_ms(const char *bearer, int64_t wall_ms)
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
        if (seconds > 0 && seconds < INT64_MAX / 1000)
            life_ms = seconds * 1000 > wall_ms ? seconds * 1000 - wall_ms : -1;
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
    int64_t life_ms = rest_bearer_life_ms(bearer, wall_ms);
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
        const char *issued = json_string_value(json_object_get(document, "issued_token_type"));
        out->type = issued != NULL && strcmp(issued, jwt_type) == 0 ? jwt_type : rest_token_type;
        out->life_ms = grant_life_ms(document, bearer, wall_ms);
        out->bearer = memory_copy_cstr(bearer);
    }
    json_decref(document);
    return rc;
}

/* ---- asking for it ---- */

static void form_make(const struct rest_token_service *service, const char *credential,
                      struct buf *form)
{
    const char *colon = strchr(credential, ':');
    buf_put_cstr(form, "grant_type=client_credentials");
    if (!service->basic) {
        if (colon != NULL) {
            buf_put_cstr(form, "&client_id=");
            http_client_encode(slice_of(credential, (size_t)(colon - credential)), false, form);
        }
        buf_put_cstr(form, "&client_secret=");
        http_client_encode(slice_cstr(colon != NULL ? colon + 1 : credential), false, form);
    }
    buf_put_cstr(form, service->form);
}

/* RFC 6749, 2.3.1: both parts are form-encoded before they are joined. */
static void basic_put(const char *credential, struct buf *field)
{
    struct buf plain = {0};
    const char *colon = strchr(credential, ':');
    ASSERT(colon != NULL);
    http_client_encode(slice_of(credential, (size_t)(colon - credential)), false, &plain);
    buf_put_cstr(&plain, ":");
    http_client_encode(slice_cstr(colon + 1), false, &plain);
    buf_put_cstr(field, "Authorization: Basic ");
    base64_encode(buf_slice(&plain), field);
    buf_wipe(&plain);
}

/* `authorization`: a field, or empty. */
static int service_call(const struct rest_token_service *service, struct buf *authorization,
                        const struct buf *form, struct http_reply *reply, struct error *err)
{
    const char *fields[3] = {"Accept: application/json",
                             "Content-Type: application/x-www-form-urlencoded"};
    size_t count = 2;
    if (authorization->len > 0)
        fields[count++] = buf_cstr(authorization);
    struct http_call call = {.method = "POST",
                             .url = service->url,
                             .fields = fields,
                             .field_count = count,
                             .body = buf_slice(form),
                             .answer_bytes_max = ANSWER_BYTES_MAX,
                             .timeout_ms = service->timeout_ms};
    return http_client_call(service->http, &call, reply, err);
}

static int ask_by_credential(const struct rest_token_service *service, const char *credential,
                             struct http_reply *reply, struct error *err)
{
    struct buf form = {0};
    struct buf field = {0};
    form_make(service, credential, &form);
    if (service->basic)
        basic_put(credential, &field);
    int rc = service_call(service, &field, &form, reply, err);
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

/* The service is not there to say anything. */
static int service_is_down(const struct rest_token_service *service, const struct http_reply *reply,
                           struct error *err)
{
    int rc = error_set(err, ERROR_RETRY, "%.160s answers %d", service->url, reply->status);
    int64_t after_ms = http_reply_retry_after_ms(reply, clock_wall_ms(service->clock));
    err->retry_after_ms = after_ms > 0 ? after_ms : 0;
    err->cause = reply->status;
    return rc;
}

static bool is_down(int status)
{
    return status == 429 || status == 408 || (status >= 500 && status != 501);
}

static int service_refusal(const struct rest_token_service *service, const char *credential,
                           const struct http_reply *reply, const char *word, struct error *err)
{
    int rc;
    if (is_down(reply->status))
        return service_is_down(service, reply, err);
    if (*word != 0 || rest_is_unknown(reply->status) || reply->status == 403) {
        struct buf who = {0};
        rest_credential_principal_put(credential, &who);
        rc = error_set(err, ERROR_DENIED, "%.160s answers %d %s; it refuses %s: %s", service->url,
                       reply->status, *word != 0 ? word : "without a reason", buf_cstr(&who),
                       word_advice(word));
        buf_free(&who);
    } else {
        rc = error_set(err, ERROR_INPUT, "%.160s answers %d: is catalog.oauth2_server_uri right?",
                       service->url, reply->status);
    }
    err->cause = reply->status;
    return rc;
}

static int grant_take(const struct rest_token_service *service, const struct http_reply *reply,
                      struct rest_grant *out, struct error *err)
{
    int rc = rest_grant_decode(out, buf_slice(&reply->body), clock_wall_ms(service->clock), err);
    return rc == OK ? OK : error_wrap(err, "%.160s (catalog.oauth2_server_uri)", service->url);
}

int rest_grant_fetch(struct rest_token_service *service, const char *credential,
                     struct rest_grant *out, struct error *err)
{
    struct http_reply reply = {0};
    char word[41];
    bool has_id = strchr(credential, ':') != NULL;
    service->basic = service->basic && has_id;
    int rc = ask_by_credential(service, credential, &reply, err);
    service_word(buf_slice(&reply.body), word);
    if (rc == OK && (reply.status == 401 || reply.status == 400) && !service->basic && has_id &&
        strcmp(word, "invalid_client") == 0) {
        service->basic = true;
        rc = ask_by_credential(service, credential, &reply, err);
        service_word(buf_slice(&reply.body), word);
        service->basic = rc == OK && reply.status == 200;
    }
    if (rc == OK && reply.status != 200)
        rc = service_refusal(service, credential, &reply, word, err);
    else if (rc == OK)
        rc = grant_take(service, &reply, out, err);
    http_reply_wipe(&reply);
    return rc;
}

int rest_grant_exchange(const struct rest_token_service *service, const char *bearer,
                        const char *type, struct rest_grant *out, struct error *err)
{
    struct http_reply reply = {0};
    struct buf form = {0};
    struct buf field = {0};
    char word[41];
    buf_put_cstr(&form, "grant_type=");
    http_client_encode(slice_cstr("urn:ietf:params:oauth:grant-type:token-exchange"), false, &form);
    form_add(&form, "subject_token", bearer);
    form_add(&form, "subject_token_type", type);
    buf_put_cstr(&form, service->form);
    buf_printf(&field, "Authorization: Bearer %s", bearer);
    int rc = service_call(service, &field, &form, &reply, err);
    service_word(buf_slice(&reply.body), word);
    if (rc == OK && is_down(reply.status))
        rc = service_is_down(service, &reply, err);
    else if (rc == OK && reply.status != 200)
        rc = error_set(err, ERROR_DENIED, "%.160s answers %d%s%s", service->url, reply.status,
                       *word != 0 ? " " : "", word);
    else if (rc == OK)
        rc = grant_take(service, &reply, out, err);
    buf_wipe(&form);
    buf_wipe(&field);
    http_reply_wipe(&reply);
    return rc;
}
