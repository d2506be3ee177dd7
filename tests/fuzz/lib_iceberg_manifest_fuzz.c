/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a manifest and as a manifest list: no crash; what comes out is whole,
 * and a list that was read reads the same when written again.
 */
#include <stdint.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/iceberg/iceberg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode_list(struct slice bytes)
{
    struct arena arena = {0};
    struct manifest_file *files;
    struct manifest_file *again;
    struct buf out = {0};
    struct error err;
    size_t count;
    size_t count_again;
    if (manifest_list_decode(&files, &count, &arena, bytes, &err) == OK) {
        manifest_list_encode(files, count, 3, 1, -1, 2, &out);
        int rc = manifest_list_decode(&again, &count_again, &arena, buf_slice(&out), &err);
        ASSERT(rc == OK);
        ASSERT(count == count_again);
        for (size_t i = 0; i < count; i++) {
            ASSERT(strcmp(files[i].path, again[i].path) == 0);
            ASSERT(files[i].sequence_number == again[i].sequence_number);
            ASSERT(files[i].summary_count == again[i].summary_count);
            ASSERT((files[i].summaries == NULL) == (again[i].summaries == NULL));
        }
    }
    buf_free(&out);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct manifest_file list = {
        .sequence_number = 3, .has_first_row_id = true, .first_row_id = INT64_MAX - 10};
    struct arena arena = {0};
    struct manifest_entry *entries;
    struct error err;
    size_t count;
    size_t bytes = 0;
    int rc = manifest_decode(&entries, &count, &arena, &list, slice_of(data, size), &err);
    ASSERT(rc == OK || rc == ERROR_INPUT || rc == ERROR_LIMIT);
    for (size_t i = 0; rc == OK && i < count; i++) {
        ASSERT(entries[i].path[0] != 0 && entries[i].record_count >= 0);
        for (size_t n = 0; n < entries[i].bound_count; n++)
            bytes += entries[i].bounds[n].lower.len;
    }
    ASSERT(rc == OK || (count == 0 && bytes == 0));
    arena_free(&arena);
    decode_list(slice_of(data, size));
    return 0;
}
