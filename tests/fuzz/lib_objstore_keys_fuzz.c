/* SPDX-License-Identifier: Apache-2.0
 *
 * The file store against the one in memory: the input is a list of operations, a line
 * each: a letter for what to do, a digit for how, a key (or two, parted by '>'). Both must
 * give the same answers and lists; only the file store may refuse a key that no path can
 * be (too long, a file's name as a directory). Each line is also taken for a URL: what is
 * a key of the store is fine as one and gives the same URL.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/objstore/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { OPERATIONS_MAX = 40, PAGE_MAX = 3 };

struct pair {
    struct objstore *file;
    struct objstore *memory;
    char directory[64];
};

/* ".bidlake-tmp" is the file store's own. */
static bool is_own(const char *key)
{
    return strncmp(key, ".bidlake-tmp", 12) == 0;
}

/* To the file store a directory is there where nothing may be, though no object is. */
static bool is_directory(const struct pair *pair, const char *key)
{
    struct buf path = {0};
    struct stat at;
    buf_printf(&path, "%s/%s", pair->directory, key);
    bool found = stat(buf_cstr(&path), &at) == 0 && S_ISDIR(at.st_mode);
    buf_free(&path);
    return found;
}

static void try_put(const struct pair *pair, const char *key, unsigned how)
{
    struct error err;
    struct slice body = slice_of("0123456789", how % 10);
    unsigned condition = how & 1 ? PUT_IF_ABSENT : PUT_ALWAYS;
    int rc = objstore_put_bytes(pair->file, key, body, condition, &err);
    if (rc == ERROR_INPUT || (rc == ERROR_CONFLICT && is_directory(pair, key)))
        return;
    ASSERT(rc == OK || rc == ERROR_CONFLICT);
    int other = objstore_put_bytes(pair->memory, key, body, condition, &err);
    ASSERT(rc == other);
}

static void try_copy(const struct pair *pair, const char *from, const char *to, unsigned how)
{
    struct error err;
    unsigned condition = how & 1 ? PUT_IF_ABSENT : PUT_ALWAYS;
    int rc = objstore_copy(pair->file, from, to, condition, &err);
    if (rc == ERROR_INPUT || (rc == ERROR_CONFLICT && is_directory(pair, to)))
        return;
    int other = objstore_copy(pair->memory, from, to, condition, &err);
    ASSERT(rc == other);
}

static void try_get(const struct pair *pair, const char *key, unsigned how)
{
    struct error err;
    struct buf bytes[2] = {{0}};
    struct objstore_info info[2];
    int64_t offset = how < 5 ? (int64_t)how - 3 : 0;
    uint64_t len = how > 3 ? how - 3 : 0;
    int rc = objstore_get_range(pair->file, key, offset, len, &bytes[0], &info[0], &err);
    int other = objstore_get_range(pair->memory, key, offset, len, &bytes[1], &info[1], &err);
    ASSERT(rc == other || (rc == ERROR_INPUT && other == OK && !info[1].found));
    ASSERT(rc != OK || info[0].found == info[1].found);
    ASSERT(rc != OK || slice_equal(buf_slice(&bytes[0]), buf_slice(&bytes[1])));
    rc = objstore_head(pair->file, key, &info[0], &err);
    other = objstore_head(pair->memory, key, &info[1], &err);
    ASSERT(rc == other || (rc == ERROR_INPUT && other == OK && !info[1].found));
    if (rc == OK && info[0].found)
        ASSERT(info[1].found && info[0].size == info[1].size && info[0].has_crc32c &&
               info[0].crc32c == info[1].crc32c);
    buf_free(&bytes[0]);
    buf_free(&bytes[1]);
}

static void try_list(const struct pair *pair, const char *prefix, const char *after, size_t max)
{
    struct error err;
    struct objstore_list lists[2];
    int rc = objstore_list(pair->file, prefix, after, max, &lists[0], &err);
    int other = objstore_list(pair->memory, prefix, after, max, &lists[1], &err);
    if (rc == OK && other == OK) {
        ASSERT(lists[0].count == lists[1].count && lists[0].more == lists[1].more);
        for (size_t i = 0; i < lists[0].count; i++) {
            ASSERT(strcmp(lists[0].entries[i].key, lists[1].entries[i].key) == 0);
            ASSERT(lists[0].entries[i].size == lists[1].entries[i].size);
            ASSERT(i == 0 || strcmp(lists[0].entries[i - 1].key, lists[0].entries[i].key) < 0);
        }
    } else {
        ASSERT(rc == other || (rc == ERROR_INPUT && lists[1].count == 0));
    }
    objstore_list_free(&lists[0]);
    objstore_list_free(&lists[1]);
}

static void try_url(struct objstore *store, const char *url)
{
    char key[OBJSTORE_KEY_MAX + 1];
    char again[OBJSTORE_KEY_MAX + 1];
    struct buf back = {0};
    struct error err;
    struct objstore_info info;
    bool fine = objstore_head(store, url, &info, &err) == OK;
    if (fine) { /* as a key */
        objstore_url_of(store, url, &back);
        ASSERT(objstore_key_of(store, buf_cstr(&back), again) && strcmp(url, again) == 0);
    }
    buf_reset(&back);
    if (objstore_key_of(store, url, key)) {
        objstore_url_of(store, key, &back);
        ASSERT(objstore_key_of(store, buf_cstr(&back), again) && strcmp(key, again) == 0);
        ASSERT(key[0] != '/' && strstr(key, "//") == NULL && strstr(key, "/../") == NULL);
    }
    buf_free(&back);
}

static void try_line(const struct pair *pair, char *line)
{
    try_url(pair->file, line);
    try_url(pair->memory, line);
    if (line[0] == 0 || line[1] == 0)
        return;
    struct error err;
    unsigned how = (unsigned char)line[1] % 10;
    char *key = line + 2;
    char *second = strchr(key, '>');
    if (second != NULL)
        *second++ = 0;
    if (is_own(key) || (second != NULL && is_own(second)))
        return;
    int rc = OK;
    switch (line[0]) {
    case 'p':
        try_put(pair, key, how);
        break;
    case 'c':
        if (second != NULL)
            try_copy(pair, key, second, how);
        break;
    case 'g':
        try_get(pair, key, how);
        break;
    case 'l':
        try_list(pair, key, second, how + 1);
        break;
    case 'r':
        rc = objstore_remove(pair->file, key, &err);
        if (rc == OK)
            rc = objstore_remove(pair->memory, key, &err);
        ASSERT(rc == OK || rc == ERROR_INPUT);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct pair pair = {0};
    struct arena arena = {0};
    struct error err;
    snprintf(pair.directory, sizeof pair.directory, "%s/bidlake-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    char *made = mkdtemp(pair.directory);
    ASSERT(made != NULL);
    int rc = objstore_open(&pair.file, pair.directory, NULL, &err);
    ASSERT(rc == OK);
    rc = objstore_open(&pair.memory, "memory:", NULL, &err);
    ASSERT(rc == OK);
    char *line = arena_copy_cstr(&arena, slice_of(data, size));
    for (int i = 0; i < OPERATIONS_MAX && *line != 0; i++) {
        size_t len = strcspn(line, "\n");
        char *next = line + len + (line[len] != 0);
        line[len] = 0;
        try_line(&pair, line);
        line = next;
    }
    try_list(&pair, "", NULL, PAGE_MAX);
    try_list(&pair, "", NULL, OPERATIONS_MAX);
    objstore_close(pair.file);
    objstore_close(pair.memory);
    rc = file_remove_tree(pair.directory, &err);
    ASSERT(rc == OK);
    arena_free(&arena);
    return 0;
}
