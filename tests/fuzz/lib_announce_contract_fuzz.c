/* SPDX-License-Identifier: Apache-2.0
 *
 * A contract from a stranger's bytes: refused, or read; and what was read is written
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
    struct contract first;
    struct contract second;
    struct buf once = {0};
    struct buf twice = {0};
    if (contract_decode(&first, slice_of(data, size), &err) != OK)
        return 0;
    contract_encode(&first, &once);
    int rc = contract_decode(&second, buf_slice(&once), &err);
    ASSERT(rc == OK);
    contract_encode(&second, &twice);
    ASSERT(slice_equal(buf_slice(&once), buf_slice(&twice)));
    contract_free(&first);
    contract_free(&second);
    buf_free(&once);
    buf_free(&twice);
    return 0;
}
