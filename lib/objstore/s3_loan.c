/* SPDX-License-Identifier: Apache-2.0
 *
 * Credentials that a catalog lends for keys below a prefix: each prefix has a provider of its own,
 * which asks the catalog where the store's own goes through AWS's chain.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/objstore/s3.h"

#define KEY_ID "s3.access-key-id"
#define SECRET "s3.secret-access-key"

const char *const s3_borrows[] = {KEY_ID, SECRET, NULL};

struct s3_loan {
    char *prefix;
    int (*take)(void *context, struct objstore_lent *out, struct error *err);
    void *context;
    struct aws_provider *provider;
};

/* What of all that is lent is for S3. */
static int loan_take(void *context, struct aws_credentials *out, struct error *err)
{
    const struct s3_loan *loan = context;
    struct objstore_lent lent = {0};
    int rc = loan->take(loan->context, &lent, err);
    const char *key = objstore_lent_find(&lent, KEY_ID);
    const char *secret = objstore_lent_find(&lent, SECRET);
    const char *token = objstore_lent_find(&lent, "s3.session-token");
    if (rc == OK && (key == NULL || secret == NULL))
        rc = error_set(err, ERROR_DENIED, "no " KEY_ID " with a " SECRET " is lent");
    if (rc == OK)
        *out = (struct aws_credentials){.access_key = memory_copy_cstr(key),
                                        .secret = memory_copy_cstr(secret),
                                        .token = token != NULL ? memory_copy_cstr(token) : NULL,
                                        .expires_ms = lent.expires_ms};
    objstore_lent_free(&lent);
    return rc;
}

int s3_lend(void *impl, const struct objstore_loan *loan, struct error *err)
{
    struct s3_store *store = impl;
    bool known = false;
    int rc = OK;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->loan_count; i++)
        known = known || strcmp(store->loans[i]->prefix, loan->prefix) == 0;
    if (!known && store->loan_count == S3_LOANS_MAX) {
        rc = error_set(err, ERROR_LIMIT, "more than %d prefixes", S3_LOANS_MAX);
    } else if (!known) {
        struct s3_loan *new =
            memory_alloc(1, sizeof *new); /* it stays where it is: its provider's */
        *new = (struct s3_loan){
            .prefix = memory_copy_cstr(loan->prefix), .take = loan->take, .context = loan->context};
        struct aws_provider_options options = {
            .http = store->http, .clock = store->clock, .source = loan_take, .source_context = new};
        rc = aws_provider_open(&new->provider, &options, err);
        ASSERT(rc == OK); /* it looks at nothing yet */
        store->loans = memory_resize(store->loans, store->loan_count + 1, sizeof *store->loans);
        store->loans[store->loan_count++] = new;
    }
    pthread_mutex_unlock(&store->lock);
    return rc;
}

void s3_loans_free(struct s3_store *store)
{
    for (size_t i = 0; i < store->loan_count; i++) {
        aws_provider_close(store->loans[i]->provider);
        free(store->loans[i]->prefix);
        free(store->loans[i]);
    }
    free(store->loans);
}

struct aws_provider *s3_provider_find(struct s3_store *store, const char *key)
{
    struct aws_provider *found = store->provider;
    size_t found_len = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; key != NULL && i < store->loan_count; i++) {
        size_t len = strlen(store->loans[i]->prefix);
        if (len >= found_len && strncmp(key, store->loans[i]->prefix, len) == 0) {
            found = store->loans[i]->provider;
            found_len = len;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return found;
}
