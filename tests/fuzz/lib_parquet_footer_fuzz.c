/* SPDX-License-Identifier: Apache-2.0
 *
 * parquet_footer_decode and parquet_chunk_check on any bytes: no crash, no leak, and what is
 * taken for a footer adds up. The trailer is put behind the input, so that mutations reach the
 * structs.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"
#include "lib/parquet/parquet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(struct slice tail, uint64_t file_size)
{
    struct parquet_footer footer;
    struct error err;
    size_t need = 0;
    int rc = parquet_footer_decode(&footer, tail, file_size, &need, &err);
    if (rc != OK) {
        ASSERT(rc == ERROR_CORRUPT || rc == ERROR_LIMIT);
        ASSERT(rc == ERROR_LIMIT || need == 0);
        ASSERT(need == 0 || (need > tail.len && need <= file_size));
        ASSERT(footer.leaves == NULL && footer.row_group_rows == NULL);
        return;
    }
    int64_t rows = 0;
    for (size_t i = 0; i < footer.row_group_count; i++) {
        ASSERT(footer.row_group_rows[i] >= 0 && footer.row_group_offsets[i] > 0);
        ASSERT((uint64_t)footer.row_group_offsets[i] <= file_size);
        rows += footer.row_group_rows[i];
    }
    ASSERT(rows == footer.row_count && footer.leaf_count > 0);
    for (size_t i = 0; i < footer.leaf_count; i++) {
        const struct parquet_footer_leaf *leaf = &footer.leaves[i];
        ASSERT(leaf->field_id >= 0 && leaf->compressed_size >= 0 && leaf->value_count >= 0);
        ASSERT(leaf->null_count >= -1 && leaf->null_count <= leaf->value_count);
    }
    ASSERT(footer.chunk_count == footer.leaf_count * footer.row_group_count);
    for (size_t i = 0; i < footer.chunk_count; i++)
        ASSERT(footer.chunks[i].offset > 0 && footer.chunks[i].size >= 0 &&
               (uint64_t)footer.chunks[i].offset + (uint64_t)footer.chunks[i].size <= file_size);
    parquet_footer_free(&footer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 20)
        return 0;
    struct parquet_pages pages = {0};
    struct error err;
    int rc = parquet_chunk_check(slice_of(data, size), &pages, &err);
    ASSERT(rc == OK || rc == ERROR_CORRUPT);
    ASSERT(pages.unchecked <= pages.count && pages.count <= size);
    decode(slice_of(data, size), size);
    decode(slice_of(data, size), (uint64_t)1 << 40);
    uint8_t *file = memory_alloc_raw(size + 8, 1);
    memcpy(file, data, size);
    put_u32le(file + size, (uint32_t)size);
    memcpy(file + size + 4, "PAR1", 4);
    decode(slice_of(file, size + 8), size + 100000);
    free(file);
    return 0;
}
