/* SPDX-License-Identifier: Apache-2.0
 *
 * Answers that hold credentials. jansson's and expat's messages could quote them, so they are
 * put in our own words.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/aws/internal.h"
#include "lib/base/file.h"
#include "lib/base/instant.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

enum { CLOCK_MS = 60000 }; /* clocks that differ by less agree */

int token_read(const char *path, const char *what, char **out, struct error *err)
{
    *out = NULL;
    struct buf text = {0};
    int rc = file_read(path, TOKEN_BYTES_MAX, &text, err);
    while (rc == OK && text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
        text.len--;
    size_t len = 0;
    while (rc == OK && len < text.len && text.data[len] > ' ' && text.data[len] <= '~')
        len++;
    if (rc == OK && (len == 0 || len < text.len))
        rc = error_set(err, ERROR_DENIED, "%s: %s", path,
                       len == text.len ? "empty" : "not one line of printable characters");
    if (rc == OK)
        *out = memory_copy_slice(buf_slice(&text));
    buf_wipe(&text);
    return rc == OK ? OK : error_wrap(err, "%s", what);
}

int64_t expiry_ms(const char *text, const struct http_reply *reply, int64_t now_ms)
{
    int64_t us = 0;
    if (!instant_parse_rfc3339(slice_cstr(text), &us) || !instant_in_range(us) || us < 1000)
        return 0;
    int64_t date_ms = reply != NULL ? http_reply_date_ms(reply) : 0;
    int64_t ahead_ms = date_ms > 0 ? now_ms - date_ms : 0;
    if (ahead_ms > -CLOCK_MS && ahead_ms < CLOCK_MS)
        ahead_ms = 0;
    int64_t ours = us / 1000 + ahead_ms;
    return ours > 0 ? ours : 1; /* 0 would be for ever */
}

static char *copy_member(const json_t *object, const char *name)
{
    return memory_copy_or_null(json_string_value(json_object_get(object, name)));
}

int credentials_from_json(struct aws_credentials *out, struct slice bytes, const char *token_name,
                          const struct http_reply *reply, int64_t now_ms, struct error *err)
{
    json_t *object = NULL;
    struct error hidden;
    if (json_decode(&object, bytes, &hidden) != OK || !json_is_object(object)) {
        json_decref(object);
        return error_set(err, ERROR_RETRY, "the answer is no JSON object");
    }
    aws_credentials_free(out);
    out->access_key = copy_member(object, "AccessKeyId");
    out->secret = copy_member(object, "SecretAccessKey");
    out->token = copy_member(object, token_name);
    const json_t *expiration = json_object_get(object, "Expiration");
    const char *text = json_string_value(expiration);
    if (text != NULL)
        out->expires_ms = expiry_ms(text, reply, now_ms);
    int rc = OK;
    if (out->access_key == NULL || out->secret == NULL)
        rc = error_set(err, ERROR_DENIED, "the answer has no AccessKeyId or no SecretAccessKey");
    else if (expiration != NULL && !json_is_null(expiration) && out->expires_ms == 0)
        rc = error_set(err, ERROR_DENIED, "the answer's Expiration is no time");
    else
        rc = credentials_check(out, "the answer", err);
    if (rc != OK)
        aws_credentials_free(out);
    json_decref(object);
    return rc;
}
