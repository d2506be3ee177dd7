/* SPDX-License-Identifier: Apache-2.0
 *
 * The same checks against any store: objstore_conformance URL [PART_BYTES]. What one store does
 * and another doesn't is what the rest of the program would trip over. Run by test_s3.py.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/objstore/objstore.h"

enum { LARGE_BYTES = (23 << 20) + 12345 };

static struct objstore *store;
static struct error err;
static const char *url;
static unsigned checks;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        checks++;                                                                                  \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s: line %d: %s (last error: %s)\n", url, __LINE__, #condition,       \
                    err.text);                                                                     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static int put(const char *key, const char *text, enum put_condition condition)
{
    return objstore_put_bytes(store, key, slice_cstr(text), condition, &err);
}

static bool reads(const char *key, int64_t offset, uint64_t len, const char *text)
{
    struct buf bytes = {0};
    struct objstore_info info;
    bool fine = objstore_get_range(store, key, offset, len, &bytes, &info, &err) == OK &&
                info.found && slice_is(buf_slice(&bytes), text);
    buf_free(&bytes);
    return fine;
}

static bool absent(const char *key)
{
    struct objstore_info info;
    struct buf bytes = {0};
    bool fine = objstore_head(store, key, &info, &err) == OK && !info.found &&
                objstore_get(store, key, 1000, &bytes, &info, &err) == OK && !info.found &&
                bytes.len == 0;
    buf_free(&bytes);
    return fine;
}

static void puts_and_conditions(void)
{
    struct objstore_info info;
    CHECK(absent("c/a"));
    CHECK(put("c/a", "hello", PUT_IF_ABSENT) == OK);
    CHECK(put("c/a", "other", PUT_IF_ABSENT) == ERROR_CONFLICT);
    CHECK(reads("c/a", 0, 0, "hello"));
    CHECK(put("c/a", "hello world", PUT_ALWAYS) == OK);
    CHECK(objstore_head(store, "c/a", &info, &err) == OK && info.found);
    CHECK(info.size == 11 && info.has_crc32c);
    CHECK(info.crc32c == crc32c(0, slice_cstr("hello world")));
    int64_t now_ms = clock_wall_ms(&clock_system);
    CHECK(info.store_time_ms > now_ms - 60000 && info.store_time_ms < now_ms + 60000);
    CHECK(info.modified_ms > now_ms - 60000 && info.modified_ms < now_ms + 60000);
    CHECK(put("c/empty", "", PUT_IF_ABSENT) == OK);
    CHECK(objstore_head(store, "c/empty", &info, &err) == OK && info.found && info.size == 0);
    struct objstore_body body = {.bytes = slice_cstr("bytes")};
    CHECK(objstore_put(store, "c/wrong", &body, 12345, PUT_ALWAYS, &err) == ERROR_CORRUPT);
    CHECK(absent("c/wrong"));
    CHECK(objstore_probe(store, "c/probe", &err) == OK);
    CHECK(absent("c/probe"));
}

static void ranges(void)
{
    struct buf bytes = {0};
    struct objstore_info info;
    CHECK(put("c/range", "0123456789", PUT_ALWAYS) == OK);
    CHECK(reads("c/range", 2, 3, "234"));
    CHECK(reads("c/range", 8, 100, "89"));
    CHECK(reads("c/range", -3, 0, "789"));
    CHECK(reads("c/range", -100, 0, "0123456789"));
    CHECK(reads("c/range", -5, 2, "56"));
    CHECK(reads("c/range", 9, 0, "9"));
    CHECK(reads("c/range", 10, 5, ""));
    CHECK(reads("c/range", 1000, 0, ""));
    CHECK(reads("c/empty", 0, 5, ""));
    CHECK(reads("c/empty", -5, 0, ""));
    CHECK(objstore_get_range(store, "c/range", 2, 3, &bytes, &info, &err) == OK);
    CHECK(info.size == 10);
    CHECK(objstore_get(store, "c/range", 9, &bytes, &info, &err) == ERROR_LIMIT);
    CHECK(objstore_get(store, "c/none", 9, &bytes, NULL, &err) == ERROR_INPUT);
    buf_free(&bytes);
}

static void lists(void)
{
    /* In byte order '.' and '-' come before '/'; a directory's name is no key. */
    static const char *const keys[] = {"l/a-b",   "l/a.b",    "l/a/1", "l/a/2",   "l/a=1/x",
                                       "l/a b+%", "l/ab/c/d", "l/b",   "l/zz&<>", "l/\xc3\xa9"};
    static const char *const sorted[] = {"l/a b+%", "l/a-b",    "l/a.b", "l/a/1",   "l/a/2",
                                         "l/a=1/x", "l/ab/c/d", "l/b",   "l/zz&<>", "l/\xc3\xa9"};
    enum { COUNT = sizeof keys / sizeof keys[0] };
    for (size_t i = 0; i < COUNT; i++)
        CHECK(put(keys[i], keys[i], PUT_ALWAYS) == OK);
    for (size_t page = 1; page <= COUNT + 1; page++) {
        char after[OBJSTORE_KEY_MAX + 1] = "";
        size_t at = 0;
        bool more = true;
        while (more) {
            struct objstore_list list;
            CHECK(objstore_list(store, "l/", after, page, &list, &err) == OK);
            for (size_t i = 0; i < list.count; i++, at++) {
                CHECK(at < COUNT && strcmp(list.entries[i].key, sorted[at]) == 0);
                CHECK(list.entries[i].size == strlen(sorted[at]));
                CHECK(list.entries[i].modified_ms > 0);
                snprintf(after, sizeof after, "%s", list.entries[i].key);
            }
            more = list.more;
            CHECK(!more || list.count == page);
            objstore_list_free(&list);
        }
        CHECK(at == COUNT);
    }
    for (size_t i = 0; i < COUNT; i++)
        CHECK(reads(keys[i], 0, 0, keys[i]));
    struct objstore_list list;
    CHECK(objstore_list(store, "l/a/", NULL, 10, &list, &err) == OK && list.count == 2);
    objstore_list_free(&list);
    CHECK(objstore_list(store, "l/a", "l/a/1", 1, &list, &err) == OK && list.count == 1);
    CHECK(strcmp(list.entries[0].key, "l/a/2") == 0 && list.more);
    objstore_list_free(&list);
    CHECK(objstore_list(store, "none/", NULL, 10, &list, &err) == OK && list.count == 0);
    objstore_list_free(&list);
}

static void copies_and_removals(void)
{
    struct objstore_info info;
    CHECK(objstore_copy(store, "c/range", "c/copy", PUT_IF_ABSENT, &err) == OK);
    CHECK(reads("c/copy", 0, 0, "0123456789"));
    CHECK(objstore_head(store, "c/copy", &info, &err) == OK && info.has_crc32c);
    CHECK(info.crc32c == crc32c(0, slice_cstr("0123456789")));
    CHECK(objstore_copy(store, "c/a", "c/copy", PUT_IF_ABSENT, &err) == ERROR_CONFLICT);
    CHECK(reads("c/copy", 0, 0, "0123456789"));
    CHECK(objstore_copy(store, "c/a", "c/copy", PUT_ALWAYS, &err) == OK);
    CHECK(reads("c/copy", 0, 0, "hello world"));
    CHECK(objstore_copy(store, "c/none", "c/x", PUT_ALWAYS, &err) == ERROR_INPUT);
    CHECK(err.cause == ENOENT && absent("c/x"));
    CHECK(objstore_remove(store, "c/copy", &err) == OK && absent("c/copy"));
    CHECK(objstore_remove(store, "c/copy", &err) == OK);
}

static int count_paced(void *context, size_t bytes, struct error *e)
{
    (void)e;
    *(uint64_t *)context += bytes;
    return OK;
}

static void large_files(void)
{
    char path[] = "/tmp/objstore_conformance_XXXXXX";
    uint8_t *bytes = memory_alloc_raw(LARGE_BYTES, 1);
    uint64_t paced = 0;
    struct buf back = {0};
    struct objstore_info info;
    for (size_t i = 0; i < LARGE_BYTES; i++)
        bytes[i] = (uint8_t)(i * 2654435761u >> 13);
    int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, bytes, LARGE_BYTES) == LARGE_BYTES);
    uint32_t checksum = crc32c(0, slice_of(bytes, LARGE_BYTES));
    struct objstore_body body = {.file = path, .file_size = LARGE_BYTES};
    CHECK(objstore_put(store, "big/x.parquet", &body, checksum + 1, PUT_IF_ABSENT, &err) ==
          ERROR_CORRUPT);
    CHECK(absent("big/x.parquet"));
    CHECK(objstore_put(store, "big/x.parquet", &body, checksum, PUT_IF_ABSENT, &err) == OK);
    CHECK(objstore_put(store, "big/x.parquet", &body, checksum, PUT_IF_ABSENT, &err) ==
          ERROR_CONFLICT);
    CHECK(objstore_head(store, "big/x.parquet", &info, &err) == OK && info.found);
    CHECK(info.size == LARGE_BYTES && info.has_crc32c && info.crc32c == checksum);
    CHECK(objstore_get(store, "big/x.parquet", LARGE_BYTES, &back, &info, &err) == OK);
    CHECK(slice_equal(buf_slice(&back), slice_of(bytes, LARGE_BYTES)));
    body.pace = count_paced;
    body.pace_context = &paced;
    body.pace_waits = true;
    CHECK(objstore_put(store, "big/paced.parquet", &body, checksum, PUT_ALWAYS, &err) == OK);
    CHECK(paced >= LARGE_BYTES);
    body.file_size++;
    CHECK(objstore_put(store, "big/short.parquet", &body, checksum, PUT_ALWAYS, &err) ==
          ERROR_CORRUPT);
    CHECK(absent("big/short.parquet"));
    CHECK(objstore_copy(store, "big/x.parquet", "big/y.parquet", PUT_IF_ABSENT, &err) == OK);
    CHECK(objstore_head(store, "big/y.parquet", &info, &err) == OK && info.crc32c == checksum);
    close(fd);
    unlink(path);
    CHECK(objstore_put(store, "big/gone.parquet", &body, checksum, PUT_ALWAYS, &err) ==
          ERROR_CORRUPT);
    free(bytes);
    buf_free(&back);
}

static int put_one(void *context, size_t index, struct error *e)
{
    (void)context;
    char key[64];
    snprintf(key, sizeof key, "many/%04zu", index);
    int rc = objstore_put_bytes(store, key, slice_cstr(key), PUT_IF_ABSENT, e);
    return rc;
}

static bool remove_all(size_t count)
{
    const char **keys = memory_alloc(count, sizeof *keys);
    for (size_t i = 0; i < count; i++)
        keys[i] = memory_printf("many/%04zu", i);
    int rc = objstore_remove_many(store, keys, count, &err);
    for (size_t i = 0; i < count; i++)
        free((void *)(uintptr_t)keys[i]);
    free(keys);
    return rc == OK;
}

static void many(void)
{
    enum { MANY = 1100 };
    struct objstore_list list;
    CHECK(objstore_each(store, MANY, put_one, NULL, &err) == OK);
    CHECK(objstore_list(store, "many/", NULL, 5000, &list, &err) == OK);
    CHECK(list.count == MANY && !list.more);
    objstore_list_free(&list);
    CHECK(remove_all(MANY - 50));
    CHECK(remove_all(MANY)); /* most aren't there any more */
    CHECK(remove_all(1));
    CHECK(objstore_remove_many(store, NULL, 0, &err) == OK);
    CHECK(objstore_list(store, "many/", NULL, 5000, &list, &err) == OK && list.count == 0);
    objstore_list_free(&list);
}

/* Of many who put one name at once one wins, and its bytes stay. */
enum { RACERS = 16 };
static int outcomes[RACERS];

static int race_one(void *context, size_t index, struct error *e)
{
    char text[16];
    snprintf(text, sizeof text, "%zu", index);
    outcomes[index] = objstore_put_bytes(store, context, slice_cstr(text), PUT_IF_ABSENT, e);
    return OK;
}

static void races(void)
{
    for (int round = 0; round < 20; round++) {
        char key[32];
        char text[16];
        size_t winner = RACERS;
        snprintf(key, sizeof key, "race/%d", round);
        CHECK(objstore_each(store, RACERS, race_one, key, &err) == OK);
        for (size_t i = 0; i < RACERS; i++) {
            CHECK(outcomes[i] == ERROR_CONFLICT || outcomes[i] == ERROR_RETRY ||
                  (outcomes[i] == OK && winner == RACERS));
            if (outcomes[i] == OK)
                winner = i;
        }
        snprintf(text, sizeof text, "%zu", winner);
        CHECK(winner < RACERS && reads(key, 0, 0, text));
    }
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "objstore_conformance URL [PART_BYTES]\n");
        return 2;
    }
    struct objstore_s3 s3 = {.part_bytes = argc > 2 ? strtoll(argv[2], NULL, 10) : 0};
    struct objstore_options options = {.parallel = 8, .s3 = &s3};
    url = argv[1];
    CHECK(objstore_open(&store, url, &options, &err) == OK);
    puts_and_conditions();
    ranges();
    lists();
    copies_and_removals();
    large_files();
    many();
    races();
    objstore_close(store);
    printf("%s: %u checks passed\n", url, checks);
    return 0;
}
