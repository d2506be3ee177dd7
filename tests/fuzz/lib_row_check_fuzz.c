/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a row image: what row_check takes can be read without leaving it.
 */
#include "lib/base/assert.h"
#include "lib/row/row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_column(const struct row_layout *layout, struct slice row, size_t column)
{
    if (row_is_null(row.data, column))
        return;
    if (!layout->lists[column] && layout->types[column] != TYPE_STRING) {
        if (layout->types[column] == TYPE_BOOLEAN)
            ASSERT((uint32_t)row_int(layout, row.data, column) <= 1);
        return;
    }
    struct slice bytes = row_bytes(layout, row.data, column);
    ASSERT(bytes.data >= row.data && bytes.data + bytes.len <= row.data + row.len);
    if (!layout->lists[column])
        return;
    ASSERT(bytes.len >= 4);
    const uint8_t *at = bytes.data + 4;
    if (layout->types[column] != TYPE_STRING)
        return;
    for (uint32_t i = 0; i < row_list_count(bytes); i++)
        row_list_next_string(&at);
    ASSERT(at == bytes.data + bytes.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct column columns[] = {
        {.type = TYPE_STRING},
        {.type = TYPE_STRING, .list = true},
        {.type = TYPE_INT, .list = true},
        {.type = TYPE_BOOLEAN},
        {.type = TYPE_BOOLEAN, .list = true},
    };
    static const struct table_schema schema = {.column_count = 5, .columns = columns};
    struct row_layout layout;
    uint32_t len = 0;
    row_layout_init(&layout, &schema);
    if (row_check(&layout, slice_of(data, size), &len)) {
        ASSERT(len <= size && len % 4 == 0);
        for (size_t i = 0; i < layout.column_count; i++)
            read_column(&layout, slice_of(data, len), i);
    }
    row_layout_free(&layout);
    return 0;
}
