/* SPDX-License-Identifier: Apache-2.0
 *
 * What a REST catalog answers to a load, a commit, a question for credentials or a token, and
 * with an error: taken, or refused with a reason; what is taken encodes to what is taken again.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void table_check(struct slice bytes)
{
    struct rest_table table;
    struct error err = {0};
    struct objstore_lent lent;
    int rc = rest_table_decode(&table, bytes, &err);
    ASSERT(rc == OK ? table.table.metadata_location != NULL : err.text[0] != 0);
    if (rc == OK && table.table.metadata != NULL) {
        struct buf again = {0};
        json_t *copy = NULL;
        metadata_encode(table.table.metadata, &again);
        rc = metadata_decode(&copy, buf_slice(&again), &err);
        ASSERT(rc == OK && json_equal(copy, table.table.metadata));
        json_decref(copy);
        buf_free(&again);
    }
    if (rest_credentials_pick(table.credentials, table.config, "s3://b/wh/db/t/x", &lent))
        ASSERT(rest_credentials_kind(&lent) != NULL && lent.expires_ms >= 0);
    objstore_lent_free(&lent);
    rest_table_free(&table);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_of(data, size);
    struct error err = {0};
    struct rest_grant grant;
    struct buf text = {0};
    json_t *list = NULL;
    table_check(bytes);
    int rc = rest_credentials_decode(&list, bytes, &err);
    ASSERT(rc == OK || list == NULL);
    json_decref(list);
    rc = rest_grant_decode(&grant, bytes, 1790000000000, &err);
    ASSERT(rc == OK ? grant.life_ms > 0 && strpbrk(grant.bearer, " \r\n") == NULL
                    : grant.bearer == NULL);
    memory_wipe(&grant.bearer);
    rest_error_put(bytes, &text);
    for (size_t i = 0; i < text.len; i++)
        ASSERT(text.data[i] >= ' ' && text.data[i] < 0x7f);
    ASSERT(text.len < 400);
    buf_free(&text);
    return 0;
}
