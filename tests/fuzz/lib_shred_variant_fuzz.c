/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an event: each variant that this machine has must make of it what the plain
 * one makes, to the byte and to the column; also when other events came before it, since the
 * walk keeps what it learned.
 */
#include "tests/unit/lib_shred_variants.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Each line is an event, and so is the whole. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct variants variants;
    if (variants.shredders[SHRED_PLAIN] == NULL)
        variants_init(&variants);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end == NULL ? size - at : (size_t)(end - data) - at;
        /* An exact allocation, so that a read past the end is seen. */
        uint8_t *line = memory_alloc_raw(len > 0 ? len : 1, 1);
        memcpy(line, data + at, len);
        bool agree = variants_agree(&variants, slice_of(line, len));
        ASSERT(agree);
        free(line);
        at += len + 1;
    }
    bool agree = variants_agree(&variants, slice_of(data, size));
    ASSERT(agree);
    return 0;
}
