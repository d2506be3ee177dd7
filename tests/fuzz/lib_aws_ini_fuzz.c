/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a shared file. What is taken lies within them, is trimmed, and written again from
 * its entries decodes to the same entries.
 */
#include <stdlib.h>

#include "lib/aws/ini.h"
#include "lib/base/assert.h"
#include "lib/base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_part(struct slice part, const uint8_t *data, size_t size)
{
    ASSERT(part.data >= data && part.data + part.len <= data + size);
    for (size_t i = 0; i < part.len; i++)
        ASSERT(part.data[i] != '\n');
    for (size_t i = 0; part.len > 0 && i<part.len; i += part.len> 1 ? part.len - 1 : 1)
        ASSERT(part.data[i] != ' ' && part.data[i] != '\t' && part.data[i] != '\r');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ini ini = {0};
    struct ini again = {0};
    struct buf text = {0};
    struct error err;
    int rc = ini_decode(&ini, slice_of(data, size), &err);
    if (rc != OK) {
        ASSERT((rc == ERROR_INPUT || rc == ERROR_LIMIT) && ini.entries == NULL);
        return 0;
    }
    for (size_t i = 0; i < ini.count; i++) {
        const struct ini_entry *entry = &ini.entries[i];
        check_part(entry->section, data, size);
        if (entry->key.data == NULL) {
            buf_put_cstr(&text, "[");
            buf_put_slice(&text, entry->section);
            buf_put_cstr(&text, "]\n");
            continue;
        }
        check_part(entry->key, data, size);
        check_part(entry->value, data, size);
        /* a key may begin with '[' where it is indented */
        buf_put_cstr(&text, entry->parent.len > 0 ? "  " : " ");
        buf_put_slice(&text, entry->key);
        buf_put_cstr(&text, "=");
        buf_put_slice(&text, entry->value);
        buf_put_cstr(&text, "\n");
    }
    ASSERT(ini_decode(&again, buf_slice(&text), &err) == OK && again.count == ini.count);
    for (size_t i = 0; i < ini.count; i++) {
        ASSERT(slice_equal(ini.entries[i].section, again.entries[i].section));
        ASSERT(slice_equal(ini.entries[i].parent, again.entries[i].parent));
        ASSERT(slice_equal(ini.entries[i].key, again.entries[i].key));
        ASSERT(slice_equal(ini.entries[i].value, again.entries[i].value));
    }
    ini_free(&ini);
    ini_free(&again);
    buf_free(&text);
    return 0;
}
