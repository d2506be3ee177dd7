/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as table metadata: no crash; what is taken for metadata can be asked,
 * changed and written, and reads the same again.
 */
#include <stdint.h>

#include "lib/base/assert.h"
#include "lib/iceberg/iceberg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void append(const json_t *metadata)
{
    struct error err;
    int64_t seq = metadata_last_sequence_number(metadata);
    json_t *snapshot =
        json_pack("{s:I,s:I,s:I,s:s,s:{s:s},s:I,s:i}", "snapshot-id", (json_int_t)INT64_MAX,
                  "sequence-number", (json_int_t)(seq < INT64_MAX ? seq + 1 : seq), "timestamp-ms",
                  (json_int_t)metadata_last_updated_ms(metadata), "manifest-list", "l", "summary",
                  "operation", "append", "first-row-id", (json_int_t)1 << 50, "added-rows", 5);
    json_t *updates = json_pack("[{s:s,s:o},o]", "action", "add-snapshot", "snapshot", snapshot,
                                metadata_main_update(metadata, INT64_MAX));
    json_t *next;
    int rc = metadata_apply(&next, metadata, "old", updates, 1, &err);
    if (rc == OK) {
        ASSERT(metadata_current_snapshot_id(next) == INT64_MAX);
        json_t *ids = json_pack("[{s:s,s:[I]}]", "action", "remove-snapshots", "snapshot-ids",
                                (json_int_t)metadata_current_snapshot_id(metadata));
        json_t *last = NULL;
        rc = metadata_apply(&last, next, "", ids, 2, &err);
        ASSERT((rc == OK) == (last != NULL));
        json_decref(last);
        json_decref(ids);
        json_decref(next);
    }
    json_decref(updates);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    struct buf bytes = {0};
    json_t *metadata;
    json_t *again;
    char why[200];
    int rc = metadata_decode(&metadata, slice_of(data, size), &err);
    ASSERT(rc == OK || rc == ERROR_INPUT || rc == ERROR_LIMIT);
    if (rc != OK)
        return 0;
    metadata_encode(metadata, &bytes);
    rc = metadata_decode(&again, buf_slice(&bytes), &err);
    ASSERT(rc == OK);
    ASSERT(json_equal(metadata, again));
    const json_t *schema = metadata_current_schema_borrow(metadata);
    schema_compare(schema, schema, why, sizeof why);
    if (iceberg_check_writable(metadata, &err) == OK)
        append(metadata);
    json_decref(again);
    json_decref(metadata);
    buf_free(&bytes);
    return 0;
}
