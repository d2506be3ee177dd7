/* SPDX-License-Identifier: Apache-2.0
 *
 * The bearer token of a REST catalog: given as it is, or fetched with OAuth2 client credentials.
 * It is renewed by asking again in the same way, before it expires; a renewal that fails while the
 * old one is still good is tried again half a minute later. Token exchange is not used: it needs a
 * token that has not expired, client credentials always work.
 *
 * Who was given neither is nobody, and goes without, unless the server's configuration has a token.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { BEARER_BYTES_MAX = 32 << 10, SECRET_FILE_BYTES_MAX = 64 << 10 };
static const int64_t ahead_most_ms = 300 * 1000;
static const int64_t again_ms = 30 * 1000;

struct token {
    struct rest_auth auth;
    struct rest_token_service service;
    char *credential; /* "id:secret", or a secret alone */
    char *file;       /* of the credential or the token */
    char *bearer;     /* NULL: none */
    bool by_credential;
    bool none;           /* nothing was given: requests go without */
    int64_t renew_at_ms; /* monotonic */
    int64_t expires_at_ms;
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

static char *copy_or_null(const char *text)
{
    return text != NULL && *text != 0 ? memory_copy_cstr(text) : NULL;
}

static int given_read(struct token *token, struct error *err)
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
    return OK;
}

static int token_init(struct token *token, const struct rest_auth_options *options,
                      struct error *err)
{
    const struct catalog_rest_options *given = options->given;
    char *credential_file = copy_or_null(given->credential_file);
    token->credential = copy_or_null(given->credential);
    token->by_credential = token->credential != NULL || credential_file != NULL;
    token->file = token->by_credential ? credential_file : copy_or_null(given->token_file);
    if (!token->by_credential)
        token->bearer = copy_or_null(given->token);
    token->none = !token->by_credential && token->file == NULL && token->bearer == NULL;
    if (token->bearer != NULL && !rest_bearer_is_fine(token->bearer))
        return error_set(err, ERROR_INPUT, "the token holds a blank or a foreign character");
    int rc = rest_token_service_init(&token->service, options, err);
    return rc == OK && token->file != NULL ? given_read(token, err) : rc;
}

static int token_configure(struct rest_auth *auth, const struct rest_config *config,
                           const char *base, struct error *err)
{
    struct token *token = token_of(auth);
    const char *bearer = json_string_value(json_object_get(config->properties, "token"));
    (void)base;
    if (bearer == NULL || (!token->none && !config->token_forced))
        return OK;
    if (!rest_bearer_is_fine(bearer))
        return error_set(err, ERROR_INPUT, "the server's configuration has a token that is none");
    memory_wipe(&token->bearer);
    token->bearer = memory_copy_cstr(bearer);
    token->none = false;
    return OK;
}

/* ---- renewal ---- */

static int token_fetch(struct token *token, struct error *err)
{
    struct rest_grant grant = {0};
    int64_t asked_ms = clock_mono_ms(token->service.clock);
    ASSERT(token->credential != NULL);
    int rc = rest_grant_fetch(&token->service, token->credential, &grant, err);
    if (rc != OK)
        return error_wrap(err, "token");
    int64_t ahead_ms = grant.life_ms / 10 < ahead_most_ms ? grant.life_ms / 10 : ahead_most_ms;
    memory_wipe(&token->bearer);
    token->bearer = grant.bearer;
    token->expires_at_ms = asked_ms + grant.life_ms;
    token->renew_at_ms = token->expires_at_ms - ahead_ms;
    return OK;
}

static int token_ready(struct rest_auth *auth, struct error *err)
{
    struct token *token = token_of(auth);
    int64_t now_ms = clock_mono_ms(token->service.clock);
    if (!token->by_credential || (token->bearer != NULL && now_ms < token->renew_at_ms))
        return OK;
    /* The credential may have been replaced. While its file doesn't read, ours counts. */
    struct error ignored;
    if (token->file != NULL)
        (void)given_read(token, &ignored);
    int rc = token_fetch(token, err);
    if (rc == OK || token->bearer == NULL || now_ms >= token->expires_at_ms)
        return rc;
    token->renew_at_ms =
        now_ms + again_ms < token->expires_at_ms ? now_ms + again_ms : token->expires_at_ms;
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
    if (token->file != NULL) {
        char *before = copy_or_null(token->by_credential ? token->credential : token->bearer);
        rc = given_read(token, err);
        const char *now = token->by_credential ? token->credential : token->bearer;
        *again = rc == OK && (before == NULL || now == NULL || strcmp(before, now) != 0);
        memory_wipe(&before);
    }
    if (rc == OK && token->by_credential) {
        rc = token_fetch(token, err);
        *again = rc == OK;
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
    memory_wipe(&token->credential);
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
