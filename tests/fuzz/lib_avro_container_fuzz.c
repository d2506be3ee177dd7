/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an Avro file, skipped through along its own schema: no crash, and work
 * and memory in proportion to the input.
 */
#include <stdint.h>

#include "lib/avro/avro.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct avro_reader reader;
    struct avro_cursor cursor;
    struct error err;
    int64_t rows = 0;
    int rc = avro_reader_init(&reader, &arena, slice_of(data, size), 1 << 22, &err);
    while (rc == OK && (rc = avro_reader_next(&reader, &cursor, &rows, &err)) == OK && rows > 0) {
        for (; rows > 0 && !cursor.failed; rows--) {
            avro_charge(&cursor, 1);
            avro_skip(&cursor, reader.type);
            ASSERT(cursor.at <= cursor.end);
        }
    }
    ASSERT(rc == OK || rc == ERROR_INPUT || rc == ERROR_LIMIT);
    arena_free(&arena);
    return 0;
}
