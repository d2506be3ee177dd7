/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>
#include <string.h>

#include "lib/aws/aws.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

void aws_credentials_free(struct aws_credentials *credentials)
{
    memory_wipe(&credentials->access_key);
    memory_wipe(&credentials->secret);
    memory_wipe(&credentials->token);
    credentials->expires_ms = 0;
}

void aws_credentials_copy(struct aws_credentials *to, const struct aws_credentials *from)
{
    ASSERT(to != from);
    aws_credentials_free(to);
    to->access_key = memory_copy_cstr(from->access_key);
    to->secret = memory_copy_cstr(from->secret);
    to->token = memory_copy_or_null(from->token);
    to->expires_ms = from->expires_ms;
}
