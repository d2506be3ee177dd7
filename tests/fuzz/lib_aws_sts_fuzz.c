/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an answer of STS, as success and as refusal. What is taken can go into headers; a
 * message is one printable line, without a word as long as a token.
 */
#include <stdlib.h>

#include "lib/aws/internal.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text)
{
    size_t word = 0;
    for (; *text != 0; text++) {
        ASSERT(*text >= ' ' && *text <= '~');
        word = *text == ' ' ? 0 : word + 1;
        ASSERT(word <= 200);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int statuses[] = {200, 403, 503};
    for (size_t i = 0; i < 3; i++) {
        struct aws_credentials made = {0};
        struct error err = {0};
        struct http_reply reply = {.status = statuses[i]};
        buf_put(&reply.body, data, size);
        int rc = sts_decode(&made, &reply, 1, &err);
        ASSERT(statuses[i] == 200 || rc == ERROR_RETRY || (i == 1 && rc == ERROR_DENIED));
        if (rc == OK)
            ASSERT(credentials_check(&made, "it", &err) == OK && made.expires_ms > 0);
        else
            ASSERT(made.access_key == NULL && made.secret == NULL && made.token == NULL);
        check_text(err.text);
        aws_credentials_free(&made);
        http_reply_free(&reply);
    }
    return 0;
}
