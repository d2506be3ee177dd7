/* SPDX-License-Identifier: Apache-2.0
 *
 * Any text is a mapping or an error with a place; a mapping that is taken gives a schema
 * that decodes to itself. The same bytes are tried as an encoded schema too.
 */
#include "lib/base/assert.h"
#include "lib/schema/mapping.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What decodes encodes, and that decodes to the same bytes. */
static void check_decode(struct slice bytes, bool must)
{
    struct table_schema schema;
    struct error err;
    struct buf first = {0};
    struct buf second = {0};
    if (table_schema_decode(&schema, bytes, &err) != OK) {
        ASSERT(!must);
        return;
    }
    table_schema_encode(&schema, &first);
    table_schema_free(&schema);
    int rc = table_schema_decode(&schema, buf_slice(&first), &err);
    ASSERT(rc == OK);
    table_schema_encode(&schema, &second);
    ASSERT(slice_equal(buf_slice(&first), buf_slice(&second)));
    ASSERT(!must || slice_equal(bytes, buf_slice(&first)));
    json_t *iceberg = table_schema_to_iceberg(&schema);
    ASSERT(iceberg != NULL);
    json_decref(iceberg);
    table_schema_free(&schema);
    buf_free(&first);
    buf_free(&second);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of(data, size);
    struct mapping mapping;
    struct error err;
    check_decode(text, false);
    if (mapping_parse(&mapping, "fuzz", text, &err) != OK) {
        ASSERT(err.code == ERROR_INPUT);
        ASSERT(strncmp(err.text, "fuzz:", 5) == 0 || strncmp(err.text, "openrtb/", 8) == 0);
        return 0;
    }
    struct buf bytes = {0};
    table_schema_encode(&mapping.schema, &bytes);
    check_decode(buf_slice(&bytes), true);
    buf_free(&bytes);
    mapping_free(&mapping);
    return 0;
}
