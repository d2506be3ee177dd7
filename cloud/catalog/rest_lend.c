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

/* `lent`: what there is instead; empty: nothing. */
static int refuse(const struct rest *rest, const char *url, const struct objstore_lent *lent,
                  struct error *err)
{
    const char *kind = rest_credentials_kind(lent);
    struct buf needs = {0};
    for (const char *const *need = objstore_borrows(rest->store); *need != NULL; need++)
        buf_printf(&needs, "%s%s", needs.len > 0 ? " and " : "", *need);
    int rc = error_set(err, ERROR_DENIED,
                       "the catalog lends %s%s for %.120s, and this store takes %s: let it vend "
                       "that to this principal, or take catalog.access_delegation out and give "
                       "the service rights of its own",
                       kind != NULL ? "only " : "nothing", kind != NULL ? kind : "", url,
                       buf_cstr(&needs));
    buf_free(&needs);
    return rc;
}

static int refuse_to_ask(const char *url, struct error *err)
{
    return error_set(err, ERROR_DENIED,
                     "the catalog lends nothing for %.120s: it wants to sign each request "
                     "itself (s3.remote-signing-enabled), which isn't supported; let it vend "
                     "credentials, or take catalog.access_delegation out and give the "
                     "service rights of its own",
                     url);
}

static bool is_for_store(const struct rest *rest, const struct objstore_lent *lent)
{
    const char *const *need = objstore_borrows(rest->store);
    while (*need != NULL && objstore_lent_find(lent, *need) != NULL)
        need++;
    return *need == NULL;
}

static int loan_take(void *context, struct objstore_lent *out, struct error *err)
{
    struct rest_loan *loan = context;
    struct rest *rest = loan->rest;
    pthread_mutex_lock(&rest->lend_lock);
    int rc = rest_credentials(rest, loan->ns, loan->name, loan->url, loan->given, out, err);
    if (rc == OK) {
        loan->given = true;
        if (!is_for_store(rest, out))
            rc = refuse(rest, loan->url, out, err);
    }
    pthread_mutex_unlock(&rest->lend_lock);
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

/* Where a table lies. */
struct place {
    struct rest *rest;
    const char *ns;
    const char *name;
    const struct rest_table *table;
    struct buf url; /* with a slash at its end */
    char key[OBJSTORE_KEY_MAX + 1];
};

/* `url`: of the place, or of one within it. */
static int loan_make(const struct place *place, const char *url, struct error *err)
{
    struct rest *rest = place->rest;
    for (size_t i = 0; i < rest->loan_count; i++)
        if (strcmp(rest->loans[i]->url, url) == 0)
            return OK;
    if (rest->loan_count == LOANS_MAX)
        return error_set(err, ERROR_LIMIT, "the catalog lends for more than %d places", LOANS_MAX);
    struct rest_loan *loan = memory_alloc(1, sizeof *loan);
    *loan = (struct rest_loan){.rest = rest,
                               .ns = memory_copy_cstr(place->ns),
                               .name = memory_copy_cstr(place->name),
                               .url = memory_copy_cstr(url)};
    char *key = memory_printf("%s/%s", place->key, url + place->url.len);
    struct objstore_loan given = {.prefix = key, .take = loan_take, .context = loan};
    int rc = objstore_lend(rest->store, &given, err);
    free(key);
    if (rc != OK) {
        loan_free(loan);
        return rc;
    }
    rest->loans = memory_resize(rest->loans, rest->loan_count + 1, sizeof *rest->loans);
    rest->loans[rest->loan_count++] = loan;
    return OK;
}

/* False: nobody knows, or it is elsewhere, and refused for that. */
static bool place_find(struct place *place)
{
    const struct catalog_table *table = &place->table->table;
    const char *location = text_of(table->metadata, "location");
    const char *end = location == NULL ? strstr(table->metadata_location, "/metadata/") : NULL;
    struct buf *url = &place->url;
    if (location != NULL)
        buf_put_cstr(url, location);
    else if (end != NULL)
        buf_put(url, table->metadata_location, (size_t)(end - table->metadata_location));
    while (url->len > 0 && url->data[url->len - 1] == '/')
        url->len--;
    bool found = url->len > 0 && objstore_key_of(place->rest->store, buf_cstr(url), place->key);
    buf_put_u8(url, '/');
    return found;
}

static int place_lend(const struct place *place, const char *url, bool *any, struct error *err)
{
    struct objstore_lent lent;
    const struct rest_table *table = place->table;
    if (!rest_credentials_pick(table->credentials, table->config, url, &lent))
        return OK; /* for places within it, maybe; within it, the place's own count */
    *any = true;
    int rc = is_for_store(place->rest, &lent) ? loan_make(place, url, err)
                                              : refuse(place->rest, url, &lent, err);
    objstore_lent_free(&lent);
    return rc;
}

int rest_lend(struct rest *rest, const char *ns, const char *name, const struct rest_table *table,
              struct error *err)
{
    static const struct objstore_lent nothing = {0};
    struct place place = {.rest = rest, .ns = ns, .name = name, .table = table};
    size_t i;
    const json_t *entry;
    int rc = OK;
    bool any = false;
    if (!rest->delegated || rest->store == NULL || objstore_borrows(rest->store) == NULL)
        return OK;
    if (!place_find(&place))
        goto out;
    const char *url = buf_cstr(&place.url);
    rc = place_lend(&place, url, &any, err);
    json_array_foreach(table->credentials, i, entry)
    {
        const char *prefix = text_of(entry, "prefix");
        if (rc == OK && strlen(prefix) > place.url.len && strncmp(prefix, url, place.url.len) == 0)
            rc = place_lend(&place, prefix, &any, err);
    }
    const char *remote = text_of(table->config, "s3.remote-signing-enabled");
    if (rc == OK && !any)
        rc = remote != NULL && strcmp(remote, "true") == 0 ? refuse_to_ask(url, err)
                                                           : refuse(rest, url, &nothing, err);
out:
    buf_free(&place.url);
    return rc;
}
