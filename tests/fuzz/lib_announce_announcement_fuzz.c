/* SPDX-License-Identifier: Apache-2.0
 *
 * An announcement from a stranger's bytes: refused, or read; and what was read is written
 * and read again to the same bytes.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct error err;
    struct announcement first;
    struct announcement second;
    struct buf once = {0};
    struct buf twice = {0};
    if (announcement_decode(&first, slice_of(data, size), &err) != OK)
        return 0;
    announcement_encode(&first, &once);
    int rc = announcement_decode(&second, buf_slice(&once), &err);
    ASSERT(rc == OK);
    announcement_encode(&second, &twice);
    ASSERT(slice_equal(buf_slice(&once), buf_slice(&twice)));
    announcement_free(&first);
    announcement_free(&second);
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
