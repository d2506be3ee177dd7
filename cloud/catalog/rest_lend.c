/* SPDX-License-Identifier: Apache-2.0
 *
 * What a server lends for a table's files, given to the store that holds them: for the table's
 * place, and for each place within it that has credentials of its own. The store asks for others
 * when they are about to end or are refused; it may do so by any of its threads while the
 * catalog's own thread waits for them, so one at a time is let in.
 *
 * What lies outside of the tables (`_bidlake/`) is none of the catalog's: the service has rights
 * of its own to it.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/memory.h"

enum { LOANS_MAX = 1024 };

struct rest_loan {
    struct rest *rest;
    char *ns;
    char *name;
    char *url;  /* that of the place, with a slash at its end or the server's prefix */
    bool given; /* the store had some already: it wants others */
};

static const char *text_of(const json_t *properties, const char *key)
{
    return json_string_value(json_object_get(properties, key));
}

static char *copy_or_null(const char *text)
{
    return text != NULL && *text != 0 ? memory_copy_cstr(text) : NULL;
}

static int refuse(const char *url, const json_t *properties, struct error *err)
{
    const char *remote = text_of(properties, "s3.remote-signing-enabled");
    if (remote != NULL && strcmp(remote, "true") == 0)
        return error_set(err, ERROR_DENIED,
                         "the catalog lends nothing for %.120s: it wants to sign each request "
                         "itself (s3.remote-signing-enabled), which isn't supported; let it vend "
                         "credentials, or take catalog.access_delegation out and give the "
                         "service rights of its own",
                         url);
    return error_set(err, ERROR_DENIED,
                     "the catalog lends no S3 credentials for %.120s: let it vend them to this "
                     "principal, or take catalog.access_delegation out and give the service "
                     "rights of its own",
                     url);
}

static int lend(void *context, struct aws_credentials *out, struct error *err)
{
    struct rest_loan *loan = context;
    struct rest *rest = loan->rest;
    struct rest_lent lent = {0};
    bool found = false;
    pthread_mutex_lock(&rest->lend_lock);
    int rc =
        rest_credentials(rest, loan->ns, loan->name, loan->url, loan->given, &lent, &found, err);
    if (rc == OK) {
        out->access_key = copy_or_null(text_of(lent.properties, "s3.access-key-id"));
        out->secret = copy_or_null(text_of(lent.properties, "s3.secret-access-key"));
        out->token = copy_or_null(text_of(lent.properties, "s3.session-token"));
        out->expires_ms = lent.expires_ms;
        loan->given = true;
        if (out->access_key == NULL || out->secret == NULL)
            rc = refuse(loan->url, lent.properties, err);
    }
    pthread_mutex_unlock(&rest->lend_lock);
    rest_lent_free(&lent);
    return rc;
}

static void loan_free(struct rest_loan *loan)
{
    free(loan->ns);
    free(loan->name);
    free(loan->url);
    free(loan);
}

void rest_loans_free(struct rest *rest)
{
    for (size_t i = 0; i < rest->loan_count; i++)
        loan_free(rest->loans[i]);
    free(rest->loans);
}

/* `key`: the prefix of keys that `url` stands for. */
static int loan_make(struct rest *rest, const char *ns, const char *name, const char *url,
                     const char *key, struct error *err)
{
    for (size_t i = 0; i < rest->loan_count; i++)
        if (strcmp(rest->loans[i]->url, url) == 0)
            return OK;
    if (rest->loan_count == LOANS_MAX)
        return error_set(err, ERROR_LIMIT, "the catalog lends for more than %d places", LOANS_MAX);
    struct rest_loan *loan = memory_alloc(1, sizeof *loan);
    *loan = (struct rest_loan){.rest = rest,
                               .ns = memory_copy_cstr(ns),
                               .name = memory_copy_cstr(name),
                               .url = memory_copy_cstr(url)};
    struct objstore_loan given = {.prefix = key, .aws = lend, .context = loan};
    int rc = objstore_lend(rest->store, &given, err);
    if (rc != OK) {
        loan_free(loan);
        return rc;
    }
    rest->loans = memory_resize(rest->loans, rest->loan_count + 1, sizeof *rest->loans);
    rest->loans[rest->loan_count++] = loan;
    return OK;
}

/* Where the table lies. "": nobody knows. */
static void place_of(const struct rest_table *table, struct buf *out)
{
    const char *location = text_of(table->table.metadata, "location");
    const char *metadata = table->table.metadata_location;
    const char *end = location == NULL ? strstr(metadata, "/metadata/") : NULL;
    if (location != NULL)
        buf_put_cstr(out, location);
    else if (end != NULL)
        buf_put(out, metadata, (size_t)(end - metadata));
    while (out->len > 0 && out->data[out->len - 1] == '/')
        out->len--;
}

/* The prefix of keys for `url`, which is below `place` or is it. */
static void key_of(const char *place_key, const char *place, const char *url, struct buf *out)
{
    buf_printf(out, "%s/%s", place_key, url + strlen(place));
}

int rest_lend(struct rest *rest, const char *ns, const char *name, const struct rest_table *table,
              struct error *err)
{
    char place_key[OBJSTORE_KEY_MAX + 1];
    struct buf place = {0};
    struct buf key = {0};
    struct rest_lent lent = {0};
    size_t i;
    const json_t *entry;
    int rc = OK;
    bool any = false;
    if (!rest->delegated || rest->store == NULL || !objstore_borrows(rest->store))
        return OK;
    place_of(table, &place);
    if (place.len == 0 || !objstore_key_of(rest->store, buf_cstr(&place), place_key))
        goto out; /* what is elsewhere is refused for that */
    buf_put_cstr(&place, "/");
    const char *url = buf_cstr(&place);
    if (rest_credentials_pick(table->credentials, table->config, url, &lent)) {
        key_of(place_key, url, url, &key);
        rc = loan_make(rest, ns, name, url, buf_cstr(&key), err);
        any = true;
    }
    json_array_foreach(table->credentials, i, entry)
    {
        const char *prefix = text_of(entry, "prefix");
        if (rc != OK || strlen(prefix) <= place.len || strncmp(prefix, url, place.len) != 0)
            continue;
        buf_reset(&key);
        key_of(place_key, url, prefix, &key);
        rc = loan_make(rest, ns, name, prefix, buf_cstr(&key), err);
        any = true;
    }
    if (rc == OK && !any)
        rc = refuse(url, table->config, err);
out:
    rest_lent_free(&lent);
    buf_free(&place);
    buf_free(&key);
    return rc;
}
