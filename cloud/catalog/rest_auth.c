/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { SECRET_BYTES_MIN = 8 };

int rest_auth_open(struct rest_auth **out, const struct rest_auth_options *options,
                   struct error *err)
{
    if (cstr_or_null(options->given->signing_name) == NULL)
        return rest_token_open(out, options, err);
    return rest_sign_open(out, options, err);
}

void rest_auth_close(struct rest_auth *auth)
{
    if (auth != NULL)
        auth->ops->close(auth);
}

int rest_auth_configure(struct rest_auth *auth, const struct rest_config *config, const char *base,
                        struct error *err)
{
    const char *signs =
        json_string_value(json_object_get(config->properties, "rest.sigv4-enabled"));
    if (!auth->ops->signs && signs != NULL && strcasecmp(signs, "true") == 0)
        log_event(LOG_LEVEL_WARN, "catalog",
                  "the catalog asks for AWS's signature, which only catalog.signing_name turns on",
                  "uri=%s", base);
    return auth->ops->configure(auth, config, base, err);
}

static void property_put(json_t *properties, const char *key, const char *value)
{
    if (cstr_or_null(value) != NULL)
        json_object_set_new(properties, key, json_string(value));
}

void rest_auth_properties_put(const struct catalog_rest_options *given, json_t *properties)
{
    const char *exchange = given->token_exchange != NULL ? given->token_exchange : "";
    if (strcmp(exchange, "yes") == 0 || strcmp(exchange, "no") == 0)
        property_put(properties, "token-exchange-enabled", *exchange == 'y' ? "true" : "false");
    property_put(properties, "rest.signing-name", given->signing_name);
    property_put(properties, "rest.signing-region", given->signing_region);
}

void rest_proof_free(struct rest_proof *proof)
{
    free(proof->fields);
    memory_wipe(&proof->authorization);
    aws_signed_free(&proof->aws_fields);
    aws_credentials_free(&proof->credentials);
    *proof = (struct rest_proof){0};
}

static void hide(const char *secret, struct http_reply *reply)
{
    size_t len = secret != NULL ? strlen(secret) : 0;
    uint8_t *at = reply->body.data;
    if (len < SECRET_BYTES_MIN || reply->status < 300)
        return;
    while (at != NULL) {
        size_t left = reply->body.len - (size_t)(at - reply->body.data);
        at = memmem(at, left, secret, len);
        if (at != NULL)
            memset(at, '*', len);
    }
}

void rest_proof_hide(const struct rest_proof *proof, struct http_reply *reply)
{
    if (proof->authorization != NULL)
        hide(strrchr(proof->authorization, ' ') + 1, reply);
    hide(proof->credentials.token, reply);
}

bool rest_is_unknown(int status)
{
    return status == 401 || status == 419;
}
