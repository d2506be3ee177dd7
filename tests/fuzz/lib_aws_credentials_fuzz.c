/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as the JSON of a container's or an instance's service. What is taken can go into
 * headers; what is not leaves nothing behind, and an error that quotes none of it.
 */
#include <stdlib.h>

#include "lib/aws/internal.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct aws_credentials made = {0};
    struct error err = {0};
    int rc = credentials_from_json(&made, slice_of(data, size), "Token", NULL, 1, &err);
    if (rc == OK) {
        ASSERT(credentials_check(&made, "it", &err) == OK && made.expires_ms >= 0);
    } else {
        ASSERT(rc == ERROR_RETRY || rc == ERROR_DENIED);
        ASSERT(made.access_key == NULL && made.secret == NULL && made.token == NULL);
        ASSERT(strncmp(err.text, "the answer", 10) == 0);
    }
    aws_credentials_free(&made);
    return 0;
}
