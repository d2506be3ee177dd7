/* SPDX-License-Identifier: Apache-2.0
 *
 * ini.h: the shared files' form: [section], key = value, comments from '#' or ';' on.
 *
 * Lines that are indented deeper than the key before them belong to it, settings for single
 * services: those that are keys are kept with their `parent`, others are skipped. A key or section
 * that comes twice: the last one counts, key by key.
 */
#ifndef LIB_AWS_INI_H
#define LIB_AWS_INI_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

enum { INI_ENTRIES_MAX = 20000 };

/* All are slices of the text. A section itself has an entry without a key. */
struct ini_entry {
    struct slice section;
    struct slice parent; /* len 0: the key is the section's own */
    struct slice key;
    struct slice value;
};

struct ini {
    struct ini_entry *entries;
    size_t count;
    size_t cap;
};

/* All zero is valid and empty; what is in `out` is freed. The error names the line, and nothing
 * that stands in it. */
int ini_decode(struct ini *out, struct slice text, struct error *err) MUST_USE;
void ini_free(struct ini *ini);

#endif
