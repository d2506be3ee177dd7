/* SPDX-License-Identifier: Apache-2.0
 *
 * The environment's keys, and what all members ask of a credential. */
#include <stdio.h>
#include <string.h>

#include "lib/aws/internal.h"
#include "lib/base/memory.h"

enum { ACCESS_KEY_MAX = 128, SECRET_MAX = 512, TOKEN_MAX = 32 << 10 };

const char *sources_env(const struct aws_sources *sources, const char *name)
{
    return cstr_or_null(sources->getenv(name));
}

static bool is_word(const char *text, size_t max)
{
    size_t len = 0;
    while (text[len] > ' ' && text[len] <= '~')
        len++;
    return text[len] == 0 && len > 0 && len <= max;
}

int credentials_check(const struct aws_credentials *credentials, const char *what,
                      struct error *err)
{
    const struct {
        const char *name;
        const char *text;
        size_t max;
    } parts[] = {{"access key", credentials->access_key, ACCESS_KEY_MAX},
                 {"secret key", credentials->secret, SECRET_MAX},
                 {"session token", credentials->token, TOKEN_MAX}};
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].text == NULL && i == 2)
            continue;
        if (parts[i].text == NULL || parts[i].text[0] == 0)
            return error_set(err, ERROR_DENIED, "%s: credentials without a %s", what,
                             parts[i].name);
        if (!is_word(parts[i].text, parts[i].max))
            return error_set(err, ERROR_DENIED,
                             "%s: the %s has a blank, a line end or another byte that none has, "
                             "or is longer than %zu",
                             what, parts[i].name, parts[i].max);
    }
    return OK;
}

bool aws_region_is_valid(const char *region)
{
    size_t len = strspn(region, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");
    return len > 0 && len < AWS_REGION_SIZE && region[len] == 0;
}

int environment_fetch(const struct aws_sources *sources, struct fetched *out, struct error *err)
{
    const char *access_key = sources_env(sources, "AWS_ACCESS_KEY_ID");
    const char *secret = sources_env(sources, "AWS_SECRET_ACCESS_KEY");
    const char *token = sources_env(sources, "AWS_SESSION_TOKEN");
    snprintf(out->kind, sizeof out->kind, "environment");
    if (access_key == NULL && secret == NULL) {
        snprintf(out->absent, sizeof out->absent, "environment has none");
        return OK;
    }
    if (access_key == NULL || secret == NULL)
        return error_set(err, ERROR_DENIED, "environment: %s is set, %s is not",
                         access_key != NULL ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY",
                         access_key != NULL ? "AWS_SECRET_ACCESS_KEY" : "AWS_ACCESS_KEY_ID");
    out->credentials.access_key = memory_copy_cstr(access_key);
    out->credentials.secret = memory_copy_cstr(secret);
    out->credentials.token = memory_copy_or_null(token);
    return OK;
}
