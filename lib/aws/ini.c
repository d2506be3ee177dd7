/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/aws/ini.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

static const char blanks[] = " \t\r";

static struct slice trim(struct slice text)
{
    return slice_trim(text, blanks);
}

/* Up to the first '#' or ';' that stands at the start or behind a blank. */
static struct slice without_comment(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((text.data[i] == '#' || text.data[i] == ';') &&
            (i == 0 || slice_byte_is(text.data[i - 1], blanks)))
            return slice_of(text.data, i);
    return text;
}

static int add(struct ini *ini, struct ini_entry entry, struct error *err)
{
    if (ini->count == INI_ENTRIES_MAX)
        return error_set(err, ERROR_LIMIT, "more than %d keys", INI_ENTRIES_MAX);
    if (ini->count == ini->cap) {
        ini->cap = ini->cap == 0 ? 64 : 2 * ini->cap;
        ini->entries = memory_resize(ini->entries, ini->cap, sizeof *ini->entries);
    }
    ini->entries[ini->count++] = entry;
    return OK;
}

static int decode_section(struct ini *ini, struct slice line, struct slice *section,
                          struct error *err)
{
    const uint8_t *end = memchr(line.data, ']', line.len);
    if (end == NULL)
        return error_set(err, ERROR_INPUT, "a section without ]");
    size_t len = (size_t)(end - line.data);
    if (trim(without_comment(slice_of(end + 1, line.len - len - 1))).len > 0)
        return error_set(err, ERROR_INPUT, "something behind a section's ]");
    *section = trim(slice_of(line.data + 1, len - 1));
    return add(ini, (struct ini_entry){.section = *section}, err);
}

static int decode_key(struct ini *ini, struct slice line, struct slice section, struct error *err)
{
    const uint8_t *equals = memchr(line.data, '=', line.len);
    if (equals == NULL)
        return error_set(err, ERROR_INPUT, "no section, key or comment");
    if (section.data == NULL)
        return error_set(err, ERROR_INPUT, "a key before any section");
    size_t len = (size_t)(equals - line.data);
    struct ini_entry entry = {.section = section,
                              .key = trim(slice_of(line.data, len)),
                              .value =
                                  trim(without_comment(slice_of(equals + 1, line.len - len - 1)))};
    if (entry.key.len == 0)
        return error_set(err, ERROR_INPUT, "a value without a key");
    return add(ini, entry, err);
}

/* A line below `parent`. */
static int decode_inner(struct ini *ini, struct slice line, struct slice section,
                        struct slice parent, struct error *err)
{
    const uint8_t *equals = memchr(line.data, '=', line.len);
    size_t len = equals != NULL ? (size_t)(equals - line.data) : 0;
    struct ini_entry entry = {
        .section = section, .parent = parent, .key = trim(slice_of(line.data, len))};
    if (entry.key.len == 0)
        return OK;
    entry.value = trim(without_comment(slice_of(equals + 1, line.len - len - 1)));
    return add(ini, entry, err);
}

int ini_decode(struct ini *out, struct slice text, struct error *err)
{
    ini_free(out);
    if (text.len >= 3 && memcmp(text.data, "\xef\xbb\xbf", 3) == 0)
        text = slice_of(text.data + 3, text.len - 3);
    struct slice section = {0};
    struct slice parent = {0};
    size_t key_indent = SIZE_MAX; /* of the latest key; none yet in this section */
    size_t number = 0;
    int rc = OK;
    while (rc == OK && text.len > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end != NULL ? (size_t)(end - text.data) : text.len;
        struct slice whole = slice_of(text.data, len);
        struct slice line = trim(whole);
        size_t step = len + (end != NULL);
        text = slice_of(text.data + step, text.len - step);
        number++;
        if (line.len == 0 || line.data[0] == '#' || line.data[0] == ';')
            continue;
        size_t indent = (size_t)(line.data - whole.data);
        if (line.data[0] == '[' && indent == 0) {
            rc = decode_section(out, line, &section, err);
            key_indent = SIZE_MAX;
        } else if (indent <= key_indent) {
            rc = decode_key(out, line, section, err);
            key_indent = indent;
            if (rc == OK)
                parent = out->entries[out->count - 1].key;
        } else {
            rc = decode_inner(out, line, section, parent, err);
        }
    }
    if (rc == OK)
        return OK;
    ini_free(out);
    return error_wrap(err, "line %zu", number);
}

void ini_free(struct ini *ini)
{
    free(ini->entries);
    *ini = (struct ini){0};
}
