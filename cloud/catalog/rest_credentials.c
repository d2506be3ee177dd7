/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials for a table's files, as the server lends them with a load: first those that name a
 * prefix, the longest that fits; else those among the table's configuration. They are asked for
 * anew five minutes before they expire, through their own endpoint where there is one.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"

static const int64_t ahead_ms = 300 * 1000;

static bool starts(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Of a store, not of the catalog ("token" is the catalog's). */
static bool is_for_files(const char *key)
{
    return starts(key, "s3.") || starts(key, "gcs.") || starts(key, "adls.") ||
           starts(key, "client.");
}

/* NULL: it is none. */
static const char *secret_of(const char *key)
{
    static const char *const secrets[] = {"s3.secret-access-key", "gcs.oauth2.token"};
    static const char of_account[] = "adls.sas-token";
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++)
        if (strcmp(key, secrets[i]) == 0)
            return secrets[i];
    return starts(key, "adls.sas-token.") ? of_account : NULL;
}

const char *rest_credentials_kind(const struct objstore_lent *lent)
{
    const char *found = NULL;
    for (size_t i = 0; i < lent->count && found == NULL; i++)
        found = secret_of(lent->properties[i].name);
    return found;
}

/* Epoch ms; 0: not an end. */
static int64_t end_of(const char *key, const char *text)
{
    static const char *const keys[] = {
        "s3.session-token-expires-at-ms", "gcs.oauth2.token-expires-at",
        "gcs.oauth2.token-expires-at-ms", "gcs.oauth2.token_expires_at"};
    bool known = starts(key, "adls.sas-token-expires-at-ms.");
    size_t len = strspn(text, "0123456789");
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        known = known || strcmp(key, keys[i]) == 0;
    return known && len > 0 && len <= 18 && text[len] == 0 ? strtoll(text, NULL, 10) : 0;
}

static bool take(const json_t *config, struct objstore_lent *out)
{
    const char *key;
    json_t *value;
    *out = (struct objstore_lent){0};
    json_object_foreach((json_t *)(uintptr_t)config, key, value)
    {
        const char *text = json_string_value(value);
        if (text == NULL || !is_for_files(key))
            continue;
        int64_t end_ms = end_of(key, text);
        if (end_ms > 0 && (out->expires_ms == 0 || end_ms < out->expires_ms))
            out->expires_ms = end_ms;
        objstore_lent_add(out, key, text);
    }
    bool found = rest_credentials_kind(out) != NULL;
    if (!found)
        objstore_lent_free(out);
    return found;
}

bool rest_credentials_pick(const json_t *list, const json_t *config, const char *url,
                           struct objstore_lent *out)
{
    const json_t *best = NULL;
    const char *best_prefix = "";
    size_t i;
    const json_t *entry;
    json_array_foreach(list, i, entry)
    {
        const char *prefix = json_string_value(json_object_get(entry, "prefix"));
        if (prefix != NULL && starts(url, prefix) &&
            (best == NULL || strlen(prefix) > strlen(best_prefix))) {
            best = json_object_get(entry, "config");
            best_prefix = prefix;
        }
    }
    return (best != NULL && take(best, out)) || take(config, out);
}

/* By their own endpoint; what was lent before stays if the answer has none. */
static int endpoint_ask(struct rest *rest, const char *ns, const char *name,
                        struct rest_table *table, struct error *err)
{
    struct http_reply reply = {0};
    struct buf path = {0};
    json_t *list = NULL;
    int rc = rest_path_make(&rest->config, ns, name, "/credentials", &path, err);
    struct rest_request request = {.method = "GET",
                                   .path = buf_cstr(&path),
                                   .table = table,
                                   .answer_bytes_max = REST_CONFIG_BYTES_MAX};
    if (rc == OK)
        rc = rest_call(rest, &request, &reply, err);
    if (rc == OK && reply.status == 200)
        rc = rest_credentials_decode(&list, buf_slice(&reply.body), err);
    else if (rc == OK)
        rc = rest_refusal(rest, &reply, false, err);
    if (rc == OK && list != NULL) {
        json_decref(table->credentials);
        table->credentials = list;
    }
    http_reply_wipe(&reply);
    buf_free(&path);
    return rc;
}

/* By a load of the table, of which only what it lends is taken: a store waits for it, so nothing
 * may be read from one. */
static int load_ask(struct rest *rest, const char *ns, const char *name, struct rest_table *table,
                    struct error *err)
{
    struct http_reply reply = {0};
    struct rest_table now = {0};
    struct buf path = {0};
    int rc = rest_path_make(&rest->config, ns, name, "?snapshots=refs", &path, err);
    struct rest_request request = {.method = "GET",
                                   .path = buf_cstr(&path),
                                   .table = table,
                                   .answer_bytes_max = REST_TABLE_BYTES_MAX};
    if (rc == OK)
        rc = rest_call(rest, &request, &reply, err);
    if (rc == OK && reply.status == 200)
        rc = rest_table_decode(&now, buf_slice(&reply.body), err);
    else if (rc == OK)
        rc = rest_refusal(rest, &reply, false, err);
    if (rc == OK) {
        json_decref(table->config);
        json_decref(table->credentials);
        table->config = json_incref(now.config);
        table->credentials = json_incref(now.credentials);
    }
    rest_table_free(&now);
    http_reply_wipe(&reply);
    buf_free(&path);
    return rc;
}

static bool is_good(const struct rest *rest, const struct objstore_lent *lent)
{
    return lent->expires_ms == 0 || lent->expires_ms - clock_wall_ms(rest->clock) > ahead_ms;
}

int rest_credentials(struct rest *rest, const char *ns, const char *name, const char *url,
                     bool anew, struct objstore_lent *out, struct error *err)
{
    struct rest_table unknown = {0};
    struct rest_table *table = rest_known(rest, ns, name);
    bool must_ask = anew || table == NULL;
    bool found = false;
    int rc = OK;
    *out = (struct objstore_lent){0};
    if (!rest->delegated)
        return OK;
    if (table != NULL)
        found = rest_credentials_pick(table->credentials, table->config, url, out);
    else
        table = &unknown;
    if (must_ask || (found && !is_good(rest, out))) {
        objstore_lent_free(out);
        if (rest->config.endpoints[REST_TABLE_CREDENTIALS] && table->credentials != NULL)
            rc = endpoint_ask(rest, ns, name, table, err);
        else
            rc = load_ask(rest, ns, name, table, err);
        if (rc == OK)
            (void)rest_credentials_pick(table->credentials, table->config, url, out);
    }
    rest_table_free(&unknown);
    return rc == OK ? OK : error_wrap(err, "credentials of %s.%s", ns, name);
}
