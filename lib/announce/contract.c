/* SPDX-License-Identifier: Apache-2.0
 *
 * Contract: {"v":1,"table":"db.x","table_uuid":"...","updated_at":0,"schema":{...}}, where
 * schema is table_schema_encode's form.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/announce/decode.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

enum { CONTRACT_VALUES_MAX = 400000 };

void contract_free(struct contract *contract)
{
    free(contract->table);
    free(contract->table_uuid);
    table_schema_free(&contract->schema);
    *contract = (struct contract){0};
}

void contract_encode(const struct contract *contract, struct buf *out)
{
    ASSERT(contract->table != NULL);
    struct error err;
    struct buf text = {0};
    json_t *schema = NULL;
    table_schema_encode(&contract->schema, &text);
    int rc = json_decode(&schema, buf_slice(&text), &err);
    ASSERT(rc == OK); /* the other half of a pair of our own */
    buf_free(&text);
    json_t *document = json_object();
    json_object_set_new(document, "v", json_integer(1));
    json_object_set_new(document, "table", encode_text(contract->table));
    json_object_set_new(document, "table_uuid", encode_text_or_null(contract->table_uuid));
    json_object_set_new(document, "updated_at", json_integer(contract->updated_at_ms));
    json_object_set_new(document, "schema", schema);
    json_encode(document, out);
    json_decref(document);
}

static int contract_fill(struct contract *out, const json_t *document, struct error *err)
{
    static const char what[] = "contract";
    const char *table = NULL;
    const char *uuid = NULL;
    json_t *schema = NULL;
    struct buf text = {0};
    int rc = decode_text(document, what, "table", TABLE_NAME_MAX, &table, err);
    if (rc == OK && !table_name_check(table))
        rc = error_set(err, ERROR_INPUT, "%s: \"table\" is not <namespace>.<table>", what);
    if (rc == OK)
        rc = decode_uuid_or_null(document, what, "table_uuid", &uuid, err);
    if (rc == OK)
        rc = decode_time(document, what, "updated_at", &out->updated_at_ms, err);
    if (rc == OK)
        rc = json_get_object(document, what, "schema", &schema, err);
    if (rc != OK)
        return rc;
    json_encode(schema, &text);
    rc = table_schema_decode(&out->schema, buf_slice(&text), err);
    buf_free(&text);
    if (rc != OK)
        return error_wrap(err, "%s", what);
    out->table = memory_copy_cstr(table);
    out->table_uuid = memory_copy_or_null(uuid);
    if (strcmp(out->schema.table, strrchr(table, '.') + 1) != 0)
        return error_set(err, ERROR_INPUT, "%s: the schema is of another table", what);
    return OK;
}

int contract_decode(struct contract *out, struct slice bytes, struct error *err)
{
    json_t *document = NULL;
    *out = (struct contract){0};
    int rc =
        document_decode(&document, "contract", bytes, CONTRACT_BYTES_MAX, CONTRACT_VALUES_MAX, err);
    if (rc == OK)
        rc = contract_fill(out, document, err);
    if (rc != OK)
        contract_free(out);
    json_decref(document);
    return rc;
}
