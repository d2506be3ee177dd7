/* SPDX-License-Identifier: Apache-2.0
 *
 * A receipt from a stranger's bytes: refused, or read; and what was read is written
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
    struct receipt first;
    struct receipt second;
    struct buf once = {0};
    struct buf twice = {0};
    if (receipt_decode(&first, slice_of(data, size), &err) != OK)
        return 0;
    receipt_encode(&first, &once);
    int rc = receipt_decode(&second, buf_slice(&once), &err);
    ASSERT(rc == OK);
    receipt_encode(&second, &twice);
    ASSERT(slice_equal(buf_slice(&once), buf_slice(&twice)));
    receipt_free(&first);
    receipt_free(&second);
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
