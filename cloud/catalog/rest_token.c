/* SPDX-License-Identifier: Apache-2.0
 *
 * The bearer token of a REST catalog. One that was fetched with OAuth2 client credentials is
 * fetched again before it expires, which works also when it has. One that was given is looked for
 * in its file again, then exchanged for another (RFC 8693), unless configuration or service want
 * none of that; then it will do until it is refused, and so it will when what it was exchanged for
 * is. A renewal that fails while the old one is still good is tried again half a minute later.
 * What came by exchange is handed on from handle to handle: the given token may long have ended.
 *
 * Who was given neither is nobody, and goes without, unless the server's configuration has a token.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { BEARER_BYTES_MAX = 32 << 10, SECRET_FILE_BYTES_MAX = 64 << 10 };
/* Of a token that doesn't say; Java's client takes it so, and servers know that. */
static const int64_t given_life_ms = 3600 * 1000;
static const int64_t ahead_most_ms = 300 * 1000;
static const int64_t again_ms = 30 * 1000;

struct token {
    struct rest_auth auth;
    struct rest_token_service service;
    char *credential; /* "id:secret", or a secret alone */
    char *file;       /* of the credential or the token */
    char *given;      /* the token, before any exchange; NULL: it is by credential */
    char *bearer;     /* NULL: none */
    const char *type; /* of the bearer, for exchange; static */
    bool by_credential;
    bool none;             /* nothing was given: requests go without */
    bool exchanges;        /* what is given may be exchanged */
    int64_t renew_at_ms;   /* monotonic */
    int64_t expires_at_ms; /* INT64_MAX: nobody knows */
    char unrenewed[240];   /* why it could not be exchanged; "": it could, or it was not tried */
    struct catalog_exchanged *kept; /* NULL: nothing outlives the handle */
};

static struct token *token_of(struct rest_auth *auth)
{
    return (struct token *)auth;
}

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

static char *copy_set(const char *text)
{
    return memory_copy_or_null(cstr_or_null(text));
}

static void set_life(struct token *token, int64_t from_ms, int64_t life_ms)
{
    int64_t ahead_ms = life_ms / 10 < ahead_most_ms ? life_ms / 10 : ahead_most_ms;
    token->expires_at_ms = from_ms + life_ms;
    token->renew_at_ms = token->expires_at_ms - ahead_ms;
}

/* Takes `given`. */
static void given_take(struct token *token, char *given)
{
    int64_t life_ms = rest_bearer_life_ms(given, clock_wall_ms(token->service.clock));
    memory_wipe(&token->given);
    memory_wipe(&token->bearer);
    token->given = given;
    token->bearer = memory_copy_cstr(given);
    token->type = rest_token_type;
    token->unrenewed[0] = 0;
    set_life(token, clock_mono_ms(token->service.clock), life_ms > 0 ? life_ms : given_life_ms);
    if (life_ms <= 0)
        token->expires_at_ms = INT64_MAX;
    if (life_ms < 0) /* by our clock; the server's counts */
        token->renew_at_ms = INT64_MAX;
}

void catalog_exchanged_free(struct catalog_exchanged *exchanged)
{
    memory_wipe(&exchanged->given);
    memory_wipe(&exchanged->bearer);
    *exchanged = (struct catalog_exchanged){0};
}

/* What an earlier handle got for the token that is given to this one; for another one it is gone.
 */
static void exchanged_take(struct token *token)
{
    struct catalog_exchanged *kept = token->kept;
    if (kept->given != NULL && token->given != NULL && strcmp(kept->given, token->given) == 0) {
        memory_wipe(&token->bearer);
        token->bearer = kept->bearer;
        kept->bearer = NULL;
        token->type = kept->type;
        token->exchanges = kept->exchanges;
        token->renew_at_ms = kept->renew_at_ms;
        token->expires_at_ms = kept->expires_at_ms;
        memcpy(token->unrenewed, kept->unrenewed, sizeof token->unrenewed);
    }
    catalog_exchanged_free(kept);
}

static void exchanged_keep(struct token *token)
{
    if (token->given == NULL || strcmp(token->given, token->bearer) == 0)
        return;
    catalog_exchanged_free(token->kept);
    *token->kept = (struct catalog_exchanged){.given = token->given,
                                              .bearer = token->bearer,
                                              .type = token->type,
                                              .exchanges = token->exchanges,
                                              .renew_at_ms = token->renew_at_ms,
                                              .expires_at_ms = token->expires_at_ms};
    memcpy(token->kept->unrenewed, token->unrenewed, sizeof token->unrenewed);
    token->given = token->bearer = NULL;
}

/* The file again. *other: there is another one in it now. */
static int given_read(struct token *token, bool *other, struct error *err)
{
    char *text = NULL;
    const char *before = token->by_credential ? token->credential : token->given;
    *other = false;
    int rc = secret_read(token->file, &text, err);
    if (rc == OK && !token->by_credential && !rest_bearer_is_fine(text))
        rc = error_set(err, ERROR_INPUT, "%s: this is no token", token->file);
    *other = rc == OK && (before == NULL || strcmp(before, text) != 0);
    if (*other && !token->by_credential) {
        given_take(token, text);
    } else if (*other) {
        memory_wipe(&token->credential);
        token->credential = text;
    } else {
        memory_wipe(&text);
    }
    return rc;
}

static int token_init(struct token *token, const struct rest_auth_options *options,
                      struct error *err)
{
    const struct catalog_rest_options *given = options->given;
    char *credential_file = copy_set(given->credential_file);
    token->credential = copy_set(given->credential);
    token->by_credential = token->credential != NULL || credential_file != NULL;
    token->file = token->by_credential ? credential_file : copy_set(given->token_file);
    char *bearer = token->by_credential ? NULL : copy_set(given->token);
    token->none = !token->by_credential && token->file == NULL && bearer == NULL;
    int rc = rest_token_service_init(&token->service, options, err);
    if (rc == OK && bearer != NULL && !rest_bearer_is_fine(bearer))
        rc = error_set(err, ERROR_INPUT, "the token holds a blank or a foreign character");
    if (rc == OK && bearer != NULL) {
        given_take(token, bearer);
        bearer = NULL;
    }
    memory_wipe(&bearer);
    bool other;
    if (rc == OK && token->file != NULL)
        rc = given_read(token, &other, err);
    token->kept = given->exchanged;
    if (rc == OK && token->kept != NULL)
        exchanged_take(token);
    return rc;
}

/* Java's names of it, in the server's configuration or ours. */
static bool is_on(const struct rest_config *config, const char *key)
{
    const char *text = json_string_value(json_object_get(config->properties, key));
    return text == NULL || strcasecmp(text, "false") != 0;
}

static int token_configure(struct rest_auth *auth, const struct rest_config *config,
                           const char *base, struct error *err)
{
    struct token *token = token_of(auth);
    const char *bearer = json_string_value(json_object_get(config->properties, "token"));
    (void)base;
    token->exchanges = !token->by_credential && is_on(config, "token-exchange-enabled") &&
                       is_on(config, "token-refresh-enabled");
    if (bearer == NULL || (!token->none && !config->token_forced))
        return OK;
    if (!rest_bearer_is_fine(bearer))
        return error_set(err, ERROR_INPUT, "the server's configuration has a token that is none");
    token->none = false;
    if (token->by_credential) {
        memory_wipe(&token->bearer);
        token->bearer = memory_copy_cstr(bearer);
        return OK;
    }
    free(token->file); /* what stands in it would come before the server's */
    token->file = NULL;
    given_take(token, memory_copy_cstr(bearer));
    return OK;
}

/* ---- renewal ---- */

static void grant_take(struct token *token, const struct rest_grant *grant, int64_t asked_ms)
{
    memory_wipe(&token->bearer);
    token->bearer = grant->bearer;
    token->type = grant->type;
    set_life(token, asked_ms, grant->life_ms);
}

static int token_fetch(struct token *token, struct error *err)
{
    struct rest_grant grant = {0};
    int64_t asked_ms = clock_mono_ms(token->service.clock);
    ASSERT(token->credential != NULL);
    int rc = rest_grant_fetch(&token->service, token->credential, &grant, err);
    if (rc != OK)
        return error_wrap(err, "token");
    grant_take(token, &grant, asked_ms);
    return OK;
}

/* From now on, not from when it was asked: it may have been silent for as long as we wait. */
static void renew_later(struct token *token, int64_t pause_ms)
{
    int64_t now_ms = clock_mono_ms(token->service.clock);
    token->renew_at_ms =
        now_ms + pause_ms < token->expires_at_ms ? now_ms + pause_ms : token->expires_at_ms;
}

/* A service that is down is not to be asked at every turn for the sake of a token without an end.
 */
static int64_t pause_of(const struct token *token, const struct error *err)
{
    int64_t pause_ms = token->expires_at_ms == INT64_MAX ? ahead_most_ms : again_ms;
    return err->retry_after_ms > pause_ms ? err->retry_after_ms : pause_ms;
}

static void renew_no_more(struct token *token)
{
    token->renew_at_ms = INT64_MAX;
    if (token->unrenewed[0] != 0)
        log_event(LOG_LEVEL_WARN, "catalog", "the token is not renewed: it will do until it ends",
                  "text=\"%s\"", token->unrenewed);
}

/* Before a given token ends, or when what it was exchanged for has ended unused. */
static void given_renew(struct token *token, int64_t now_ms)
{
    struct rest_grant grant = {0};
    struct error err;
    bool other = false;
    bool ended = now_ms >= token->expires_at_ms;
    if (token->file != NULL && given_read(token, &other, &err) == OK && other)
        return;
    if (ended && strcmp(token->given, token->bearer) != 0) {
        given_take(token, memory_copy_cstr(token->given));
        return;
    }
    if (!token->exchanges || ended) {
        renew_no_more(token);
        return;
    }
    int rc = rest_grant_exchange(&token->service, token->bearer, token->type, &grant, &err);
    snprintf(token->unrenewed, sizeof token->unrenewed, "%s", rc != OK ? err.text : "");
    if (rc == OK)
        grant_take(token, &grant, now_ms);
    else if (rc == ERROR_RETRY)
        renew_later(token, pause_of(token, &err));
    else
        renew_no_more(token);
}

static int token_ready(struct rest_auth *auth, struct error *err)
{
    struct token *token = token_of(auth);
    int64_t now_ms = clock_mono_ms(token->service.clock);
    if (token->none || (token->bearer != NULL && now_ms < token->renew_at_ms))
        return OK;
    if (!token->by_credential) {
        given_renew(token, now_ms);
        return OK;
    }
    /* The credential may have been replaced. While its file doesn't read, ours counts. */
    struct error ignored;
    bool other;
    if (token->file != NULL)
        (void)given_read(token, &other, &ignored);
    int rc = token_fetch(token, err);
    if (rc == OK || token->bearer == NULL ||
        clock_mono_ms(token->service.clock) >= token->expires_at_ms)
        return rc;
    renew_later(token, again_ms);
    return OK;
}

static int token_refused(struct rest_auth *auth, const struct rest_proof *used,
                         const struct http_reply *reply, bool *again, struct error *err)
{
    struct token *token = token_of(auth);
    int rc = OK;
    (void)used;
    *again = false;
    if (!rest_is_unknown(reply->status))
        return OK;
    if (token->file != NULL)
        rc = given_read(token, again, err);
    if (rc == OK && token->by_credential) {
        rc = token_fetch(token, err);
        *again = rc == OK;
    } else if (rc == OK && !*again && token->given != NULL &&
               strcmp(token->given, token->bearer) != 0) {
        given_take(token, memory_copy_cstr(token->given));
        token->renew_at_ms = INT64_MAX;
        snprintf(token->unrenewed, sizeof token->unrenewed, "what %.160s gave for it was refused",
                 token->service.url);
        *again = true;
    }
    return rc;
}

/* ---- a request ---- */

static int token_prove(struct rest_auth *auth, const char *own, struct http_call *call,
                       struct rest_proof *out, struct error *err)
{
    const char *bearer = own != NULL ? own : token_of(auth)->bearer;
    (void)err;
    rest_proof_free(out);
    if (bearer == NULL)
        return OK;
    out->of_table = own != NULL;
    out->authorization = memory_printf("Authorization: Bearer %s", bearer);
    out->fields = memory_alloc(call->field_count + 1, sizeof *out->fields);
    for (size_t i = 0; i < call->field_count; i++)
        out->fields[i] = call->fields[i];
    out->fields[call->field_count++] = out->authorization;
    call->fields = out->fields;
    return OK;
}

static void token_principal_put(const struct rest_auth *auth, struct buf *out)
{
    const struct token *token = (const struct token *)auth;
    if (token->by_credential)
        rest_credential_principal_put(token->credential, out);
    else if (token->file != NULL)
        buf_printf(out, "the token in %.100s", token->file);
    else
        buf_put_cstr(out, token->none ? "nobody" : "the given token");
    if (token->unrenewed[0] != 0)
        buf_printf(out, " (not renewed: %s)", token->unrenewed);
}

static const char *token_check(const struct rest_auth *auth)
{
    const struct token *token = (const struct token *)auth;
    if (token->none)
        return NULL;
    return token->by_credential ? "catalog.credential_file and catalog.scope"
                                : "catalog.token_file";
}

static void token_close(struct rest_auth *auth)
{
    struct token *token = token_of(auth);
    if (token->kept != NULL)
        exchanged_keep(token);
    memory_wipe(&token->credential);
    memory_wipe(&token->given);
    memory_wipe(&token->bearer);
    free(token->file);
    rest_token_service_free(&token->service);
    free(token);
}

static const struct rest_auth_ops token_ops = {
    .ready = token_ready,
    .configure = token_configure,
    .prove = token_prove,
    .refused = token_refused,
    .principal_put = token_principal_put,
    .check = token_check,
    .close = token_close,
};

int rest_token_open(struct rest_auth **out, const struct rest_auth_options *options,
                    struct error *err)
{
    struct token *token = memory_alloc(1, sizeof *token);
    token->auth.ops = &token_ops;
    token->renew_at_ms = token->expires_at_ms = INT64_MAX;
    *out = &token->auth;
    return token_init(token, options, err);
}
