/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <signal.h>

#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/objstore/objstore.h"

struct place {
    char directory[64];
    struct objstore *store;
    struct error err;
};

static int setup(void **state)
{
    struct place *place = memory_alloc(1, sizeof *place);
    snprintf(place->directory, sizeof place->directory, "/tmp/bidlake-objstore-XXXXXX");
    assert_non_null(mkdtemp(place->directory));
    char *url = memory_printf("file://%s/wh", place->directory);
    assert_int_equal(objstore_open(&place->store, url, NULL, &place->err), OK);
    free(url);
    *state = place;
    return 0;
}

static int teardown(void **state)
{
    struct place *place = *state;
    fault_install(NULL, NULL);
    objstore_close(place->store);
    assert_int_equal(file_remove_tree(place->directory, &place->err), OK);
    free(place);
    return 0;
}

static int put(struct place *place, const char *key, const char *text, enum put_condition condition)
{
    return objstore_put_bytes(place->store, key, slice_cstr(text), condition, &place->err);
}

static void assert_holds(struct place *place, const char *key, const char *text)
{
    struct buf bytes = {0};
    struct objstore_info info;
    assert_int_equal(objstore_get(place->store, key, 1 << 20, &bytes, &info, &place->err), OK);
    assert_int_equal(info.found, text != NULL);
    assert_true(slice_is(buf_slice(&bytes), text != NULL ? text : ""));
    buf_free(&bytes);
}

static size_t temporary_count(const struct place *place)
{
    char *path = memory_printf("%s/wh/.bidlake-tmp", place->directory);
    DIR *directory = opendir(path);
    size_t count = 0;
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        count += entry->d_name[0] != '.';
    if (directory != NULL)
        closedir(directory);
    free(path);
    return count;
}

/* A name that is given twice would let one file's bytes stand for another's rows. */
static void put_if_absent_never_overwrites(void **state)
{
    struct place *place = *state;
    assert_int_equal(put(place, "db/t/data/a.parquet", "first", PUT_IF_ABSENT), OK);
    assert_int_equal(put(place, "db/t/data/a.parquet", "second", PUT_IF_ABSENT), ERROR_CONFLICT);
    assert_holds(place, "db/t/data/a.parquet", "first");
    assert_int_equal(put(place, "db/t/data/a.parquet", "third", PUT_ALWAYS), OK);
    assert_holds(place, "db/t/data/a.parquet", "third");
    assert_int_equal(temporary_count(place), 0);
}

/* A file damaged on its way must not be announced under its old checksum. */
static void put_refuses_bytes_with_another_checksum(void **state)
{
    struct place *place = *state;
    struct objstore_body body = {.bytes = slice_cstr("bytes")};
    assert_int_equal(objstore_put(place->store, "k", &body, 1, PUT_ALWAYS, &place->err),
                     ERROR_CORRUPT);
    assert_holds(place, "k", NULL);
    assert_int_equal(temporary_count(place), 0);
}

/* The uploader gives a path: large files, short ones and absent ones. */
static void put_of_a_file(void **state)
{
    struct place *place = *state;
    struct objstore_info info;
    size_t size = (3 << 20) + 17;
    uint8_t *bytes = memory_alloc_raw(size, 1);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(i * 31 + (i >> 12));
    char *path = memory_printf("%s/sealed", place->directory);
    assert_int_equal(file_replace(path, slice_of(bytes, size), 0600, &place->err), OK);
    uint32_t sum = crc32c(0, slice_of(bytes, size));
    struct objstore_body body = {.file = path, .file_size = size};
    assert_int_equal(objstore_put(place->store, "big", &body, sum, PUT_IF_ABSENT, &place->err), OK);
    assert_int_equal(objstore_head(place->store, "big", &info, &place->err), OK);
    assert_true(info.found && info.has_crc32c && info.size == size && info.crc32c == sum);

    body.file_size = size + 1;
    assert_int_equal(objstore_put(place->store, "long", &body, sum, PUT_ALWAYS, &place->err),
                     ERROR_CORRUPT);
    body.file = "/nonexistent/sealed";
    assert_int_equal(objstore_put(place->store, "gone", &body, sum, PUT_ALWAYS, &place->err),
                     ERROR_CORRUPT);
    assert_int_equal(place->err.cause, ENOENT);
    assert_int_equal(temporary_count(place), 0);
    free(path);
    free(bytes);
}

/* A key from an announcement must not reach files outside the warehouse. */
static void keys_that_leave_the_warehouse_are_refused(void **state)
{
    struct place *place = *state;
    static const char *const bad[] = {
        "",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a/..",
        ".",
        "a\nb",
        ("a\x7f"
         "b"),
        ".bidlake-tmp/x",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(put(place, bad[i], "x", PUT_ALWAYS), ERROR_INPUT);
    char key[OBJSTORE_KEY_MAX + 2];
    memset(key, 'k', sizeof key);
    for (size_t i = 100; i < sizeof key; i += 100)
        key[i] = '/';
    key[OBJSTORE_KEY_MAX + 1] = 0;
    assert_int_equal(put(place, key, "x", PUT_ALWAYS), ERROR_INPUT);
    key[OBJSTORE_KEY_MAX - 1] = 0;
    assert_int_equal(put(place, key, "x", PUT_ALWAYS), OK);
}

/* A link planted in the warehouse must lead neither reads nor writes out of it. */
static void symbolic_links_are_not_followed(void **state)
{
    struct place *place = *state;
    struct objstore_info info;
    struct objstore_list list;
    char *outside = memory_printf("%s/outside", place->directory);
    char *link_directory = memory_printf("%s/wh/link", place->directory);
    char *link_file = memory_printf("%s/wh/secret", place->directory);
    assert_int_equal(mkdir(outside, 0700), 0);
    assert_int_equal(symlink(outside, link_directory), 0);
    assert_int_equal(symlink("/etc/passwd", link_file), 0);
    assert_int_equal(put(place, "link/x", "x", PUT_ALWAYS), ERROR_INPUT);
    assert_int_equal(objstore_head(place->store, "link/x", &info, &place->err), ERROR_INPUT);
    assert_int_equal(objstore_head(place->store, "secret", &info, &place->err), ERROR_INPUT);
    assert_int_equal(objstore_list(place->store, "", NULL, 10, &list, &place->err), OK);
    assert_int_equal(list.count, 0);
    objstore_list_free(&list);
    free(outside);
    free(link_directory);
    free(link_file);
}

static void ranges_as_footers_are_read(void **state)
{
    struct place *place = *state;
    static const struct {
        int64_t offset;
        uint64_t len;
        const char *expected;
    } cases[] = {
        {0, 0, "0123456789"},   {2, 3, "234"}, {-4, 0, "6789"}, {-4, 2, "67"},
        {-40, 0, "0123456789"}, {8, 40, "89"}, {10, 1, ""},     {40, 0, ""},
    };
    assert_int_equal(put(place, "k", "0123456789", PUT_ALWAYS), OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct buf bytes = {0};
        struct objstore_info info;
        assert_int_equal(objstore_get_range(place->store, "k", cases[i].offset, cases[i].len,
                                            &bytes, &info, &place->err),
                         OK);
        assert_true(info.found && info.size == 10);
        assert_true(slice_is(buf_slice(&bytes), cases[i].expected));
        buf_free(&bytes);
    }
}

/* An object that grew absurd must not take the memory of who reads it. */
static void get_keeps_to_its_limit(void **state)
{
    struct place *place = *state;
    struct buf bytes = {0};
    struct objstore_info info;
    assert_int_equal(put(place, "k", "0123456789", PUT_ALWAYS), OK);
    buf_put_cstr(&bytes, "before");
    assert_int_equal(objstore_get(place->store, "k", 9, &bytes, &info, &place->err), ERROR_LIMIT);
    assert_true(slice_is(buf_slice(&bytes), "before"));
    assert_int_equal(objstore_get(place->store, "k", 10, &bytes, &info, &place->err), OK);
    assert_true(slice_is(buf_slice(&bytes), "before0123456789"));
    assert_true(info.has_crc32c && info.crc32c == crc32c(0, slice_cstr("0123456789")));
    buf_free(&bytes);
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Pages through all keys with a prefix; returns how many there were, in order. */
static size_t walk(struct place *place, const char *prefix, size_t page, char **expected,
                   size_t count)
{
    char after[OBJSTORE_KEY_MAX + 1] = "";
    size_t seen = 0;
    size_t at = 0;
    for (bool more = true; more;) {
        struct objstore_list list;
        assert_int_equal(objstore_list(place->store, prefix, after, page, &list, &place->err), OK);
        assert_true(list.count <= page);
        for (size_t i = 0; i < list.count; i++) {
            while (at < count && strncmp(expected[at], prefix, strlen(prefix)) != 0)
                at++;
            assert_true(at < count);
            assert_string_equal(list.entries[i].key, expected[at++]);
            assert_int_equal(list.entries[i].size, strlen(list.entries[i].key));
            snprintf(after, sizeof after, "%s", list.entries[i].key);
            seen++;
        }
        more = list.more;
        assert_true(!more || list.count == page);
        objstore_list_free(&list);
    }
    for (; at < count; at++)
        assert_true(strncmp(expected[at], prefix, strlen(prefix)) != 0);
    return seen;
}

/* A key that a list leaves out is an announcement that is never committed. "a.b" and
 * "a/b" are where the order of names and that of keys differ. */
static void list_gives_every_key_once_in_byte_order(void **state)
{
    struct place *place = *state;
    enum { COUNT = 300 };
    static const char *const parts[] = {"a", "a.b", "a-", "a0", "b", "inbox", "i"};
    char *keys[COUNT];
    struct random random;
    random_seed(&random, 7);
    for (size_t i = 0; i < COUNT; i++) {
        struct buf key = {0};
        for (uint64_t depth = random_below(&random, 4); depth > 0; depth--)
            buf_printf(&key, "%s/", parts[random_below(&random, 7)]);
        buf_printf(&key, "%s_%zu", parts[random_below(&random, 7)], i);
        keys[i] = memory_copy_cstr(buf_cstr(&key));
        assert_int_equal(put(place, keys[i], keys[i], PUT_IF_ABSENT), OK);
        buf_free(&key);
    }
    qsort(keys, COUNT, sizeof keys[0], compare_keys);
    static const char *const prefixes[] = {"", "a", "a/", "a.b/", "i", "inbox/a", "a/a/", "none/"};
    for (size_t p = 0; p < sizeof prefixes / sizeof prefixes[0]; p++) {
        size_t all = walk(place, prefixes[p], 1000, keys, COUNT);
        assert_int_equal(walk(place, prefixes[p], 1, keys, COUNT), all);
        assert_int_equal(walk(place, prefixes[p], 7, keys, COUNT), all);
        if (p == 0)
            assert_int_equal(all, COUNT);
    }
    for (size_t i = 0; i < COUNT; i++)
        free(keys[i]);
}

static void remove_and_copy(void **state)
{
    struct place *place = *state;
    struct objstore *store = place->store;
    assert_int_equal(objstore_remove(store, "not/there", &place->err), OK);
    assert_int_equal(put(place, "a/b", "bytes", PUT_ALWAYS), OK);
    assert_int_equal(objstore_copy(store, "a/b", "c/d", PUT_IF_ABSENT, &place->err), OK);
    assert_holds(place, "c/d", "bytes");
    assert_int_equal(objstore_copy(store, "a/b", "c/d", PUT_IF_ABSENT, &place->err),
                     ERROR_CONFLICT);
    assert_int_equal(objstore_copy(store, "a/x", "c/e", PUT_ALWAYS, &place->err), ERROR_INPUT);
    assert_int_equal(objstore_remove(store, "a/b", &place->err), OK);
    assert_holds(place, "a/b", NULL);
    assert_int_equal(objstore_remove(store, "a", &place->err), OK); /* a directory is no object */
    assert_int_equal(put(place, "c", "x", PUT_ALWAYS), ERROR_INPUT);
    assert_int_equal(put(place, "c/d/e", "x", PUT_ALWAYS), ERROR_INPUT);
}

/* Tables name their files by URL: what does not map back would never be cleaned up. */
static void urls_and_keys_are_each_others_inverse(void **state)
{
    struct place *place = *state;
    char key[OBJSTORE_KEY_MAX + 1];
    struct buf url = {0};
    objstore_url_of(place->store, "db/t/data/x", &url);
    assert_true(objstore_key_of(place->store, buf_cstr(&url), key));
    assert_string_equal(key, "db/t/data/x");
    const char *path = buf_cstr(&url) + 7;
    assert_true(objstore_key_of(place->store, path, key));
    char *short_url = memory_printf("file:%s", path);
    assert_true(objstore_key_of(place->store, short_url, key));
    assert_string_equal(key, "db/t/data/x");
    char *beside = memory_printf("%s2/x", objstore_url_borrow(place->store));
    assert_false(objstore_key_of(place->store, beside, key));
    char *escape = memory_printf("%s/../x", objstore_url_borrow(place->store));
    assert_false(objstore_key_of(place->store, escape, key));
    assert_false(objstore_key_of(place->store, "s3://bucket/x", key));
    free(short_url);
    free(beside);
    free(escape);
    buf_free(&url);
}

static void plain_paths_are_made_absolute(void **state)
{
    struct place *place = *state;
    struct objstore *store = NULL;
    char *path = memory_printf("%s//x/./y/../z/", place->directory);
    char *expected = memory_printf("file://%s/x/z", place->directory);
    assert_int_equal(objstore_open(&store, path, NULL, &place->err), OK);
    assert_string_equal(objstore_url_borrow(store), expected);
    objstore_close(store);
    free(path);
    free(expected);
    static const char *const bad[] = {"s3a://bucket/wh", "s3://", "gs://b",
                                      "/tmp/what?",      "/",     "file://host/x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(objstore_open(&store, bad[i], NULL, &place->err), ERROR_INPUT);
}

/* A disk that isn't mounted must not look like a warehouse with nothing in it. */
static void missing_warehouse_is_an_error(void **state)
{
    struct place *place = *state;
    struct objstore_info info;
    struct objstore_list list;
    char *path = memory_printf("%s/wh", place->directory);
    assert_int_equal(file_remove_tree(path, &place->err), OK);
    assert_int_equal(objstore_head(place->store, "k", &info, &place->err), ERROR_IO);
    assert_int_equal(objstore_list(place->store, "", NULL, 1, &list, &place->err), ERROR_IO);
    free(path);
}

static void store_that_keeps_the_condition_passes_the_probe(void **state)
{
    struct place *place = *state;
    assert_int_equal(objstore_probe(place->store, "_bidlake/probe/a", &place->err), OK);
    assert_holds(place, "_bidlake/probe/a", NULL);
    /* One that a crash left behind. */
    assert_int_equal(put(place, "_bidlake/probe/a", "x", PUT_ALWAYS), OK);
    assert_int_equal(objstore_probe(place->store, "_bidlake/probe/a", &place->err), OK);
    assert_holds(place, "_bidlake/probe/a", NULL);
}

struct racer {
    struct place *place;
    unsigned number;
    unsigned won;
};

enum { RACE_KEYS = 40, RACERS = 4 };

static void *race(void *context)
{
    struct racer *racer = context;
    for (unsigned i = 0; i < RACE_KEYS; i++) {
        struct error err;
        char *key = memory_printf("race/%u/x/%u", i % 5, i);
        char *text = memory_printf("racer %u", racer->number);
        int rc =
            objstore_put_bytes(racer->place->store, key, slice_cstr(text), PUT_IF_ABSENT, &err);
        racer->won += rc == OK;
        if (rc != OK && rc != ERROR_CONFLICT)
            racer->won = 1000000;
        free(key);
        free(text);
    }
    return NULL;
}

/* Two agents that make the same name at once: exactly one may hear that it is its. */
static void one_of_many_wins_each_name(void **state)
{
    struct place *place = *state;
    pthread_t threads[RACERS];
    struct racer racers[RACERS];
    unsigned won = 0;
    for (unsigned i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.place = place, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (unsigned i = 0; i < RACERS; i++) {
        pthread_join(threads[i], NULL);
        won += racers[i].won;
    }
    assert_int_equal(won, RACE_KEYS);
    assert_int_equal(temporary_count(place), 0);
}

struct nth_fault {
    unsigned left;
};

static int fail_nth(void *context, const char *name, struct error *err)
{
    struct nth_fault *fault = context;
    if (fault->left == 0 || --fault->left > 0)
        return OK;
    return error_set(err, ERROR_IO, "%s: fault injected", name);
}

/* Whatever step fails, the object is absent or whole, and trying again mends it. */
static void failed_put_leaves_all_or_nothing(void **state)
{
    struct place *place = *state;
    bool failed = true;
    unsigned failures = 0;
    for (unsigned n = 1; failed; n++) {
        struct nth_fault fault = {.left = n};
        char *key = memory_printf("new%u/sub/k", n);
        fault_install(fail_nth, &fault);
        failed = put(place, key, "whole", PUT_IF_ABSENT) != OK;
        fault_install(NULL, NULL);
        failures += failed;
        struct objstore_info info;
        assert_int_equal(objstore_head(place->store, key, &info, &place->err), OK);
        assert_true(!info.found || info.crc32c == crc32c(0, slice_cstr("whole")));
        int rc = put(place, key, "whole", PUT_IF_ABSENT);
        assert_true(rc == (info.found ? ERROR_CONFLICT : OK));
        assert_holds(place, key, "whole");
        assert_int_equal(temporary_count(place), 0);
        free(key);
    }
    assert_true(failures >= 6);
}

static int kill_at(void *context, const char *name, struct error *err)
{
    (void)err;
    if (strcmp(context, name) == 0)
        kill(getpid(), SIGKILL);
    return OK;
}

/* What a killed put left behind must not be taken for an object. */
static void killed_put_is_not_listed(void **state)
{
    struct place *place = *state;
    static const char *const points[] = {"objstore.put.written", "objstore.put.published"};
    for (size_t i = 0; i < 2; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            fault_install(kill_at, (void *)(uintptr_t)points[i]);
            _exit(put(place, "db/k", "whole", PUT_IF_ABSENT));
        }
        int status = 0;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        struct objstore_list list;
        assert_int_equal(objstore_list(place->store, "", NULL, 10, &list, &place->err), OK);
        assert_int_equal(list.count, i);
        objstore_list_free(&list);
        assert_int_equal(temporary_count(place), 1);
    }
    assert_holds(place, "db/k", "whole");
}

struct syncs {
    unsigned each;
    unsigned all;
    bool fail;
};

static int count_syncs(void *context, const char *name, struct error *err)
{
    struct syncs *syncs = context;
    syncs->each += strcmp(name, "file.sync") == 0;
    syncs->all += strcmp(name, "file.sync_filesystem") == 0;
    if (syncs->fail && strncmp(name, "file.sync", strlen("file.sync")) == 0)
        return error_set(err, ERROR_IO, "the disk is sick");
    return OK;
}

/* A hint must not wait for the disk; one sync makes any number of objects durable; and what
 * was left unsynced, a directory's name too, is no excuse for a durable put that follows. */
static void unsynced_puts_share_one_sync(void **state)
{
    struct place *place = *state;
    struct syncs syncs = {0};
    fault_install(count_syncs, &syncs);
    assert_int_equal(put(place, "a/b/1", "one", PUT_UNSYNCED), OK);
    assert_int_equal(put(place, "a/b/1", "two", PUT_UNSYNCED), OK);
    assert_int_equal(put(place, "a/b/1", "x", PUT_IF_ABSENT | PUT_UNSYNCED), ERROR_CONFLICT);
    assert_int_equal(put(place, "a/c/1", "new", PUT_IF_ABSENT | PUT_UNSYNCED), OK);
    assert_int_equal(objstore_copy(place->store, "a/b/1", "a/b/2", PUT_UNSYNCED, &place->err), OK);
    assert_int_equal(syncs.each, 0);
    assert_holds(place, "a/b/1", "two");
    assert_holds(place, "a/b/2", "two");
    assert_holds(place, "a/c/1", "new");
    assert_int_equal(temporary_count(place), 0);
    assert_int_equal(objstore_sync(place->store, &place->err), OK);
    assert_int_equal(syncs.all, 1);
    assert_int_equal(syncs.each, 0);
    assert_int_equal(put(place, "a/b/3", "safe", PUT_ALWAYS), OK);
    assert_int_equal(syncs.each, 4); /* names of a and b, the bytes, their name */
    assert_int_equal(put(place, "a/b/3", "x", PUT_IF_ABSENT), ERROR_CONFLICT);
    assert_int_equal(syncs.each, 5);
}

/* The kernel tells of a failed sync once, and not whose bytes it were: what was known to be on
 * disk is not known any more. */
static void failed_sync_is_remembered(void **state)
{
    struct place *place = *state;
    struct syncs syncs = {0};
    fault_install(count_syncs, &syncs);
    assert_int_equal(put(place, "a/b/1", "one", PUT_ALWAYS), OK);
    syncs.each = 0;
    assert_int_equal(put(place, "a/b/2", "two", PUT_ALWAYS), OK);
    assert_int_equal(syncs.each, 2); /* the bytes, their name */
    syncs.fail = true;
    assert_int_equal(objstore_sync(place->store, &place->err), ERROR_IO);
    syncs = (struct syncs){0};
    assert_int_equal(put(place, "a/b/3", "three", PUT_ALWAYS), OK);
    assert_int_equal(syncs.each, 4); /* and the names of a and b */
    syncs.fail = true;
    assert_int_equal(put(place, "a/b/4", "four", PUT_ALWAYS), ERROR_IO);
    syncs = (struct syncs){0};
    assert_int_equal(put(place, "a/b/4", "four", PUT_ALWAYS), OK);
    assert_int_equal(syncs.each, 4);
}

static bool is_directory(const struct place *place, const char *key)
{
    struct stat info;
    char *path = memory_printf("%s/wh/%s", place->directory, key);
    bool found = stat(path, &info) == 0 && S_ISDIR(info.st_mode);
    free(path);
    return found;
}

enum { DAY_MS = 86400 * 1000 };

static void directory_age(const struct place *place, const char *key, int64_t seconds)
{
    char *path = memory_printf("%s/wh/%s", place->directory, key);
    struct timespec times[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    free(path);
}

static void put_and_remove(struct place *place, const char *key)
{
    assert_int_equal(put(place, key, "x", PUT_ALWAYS), OK);
    assert_int_equal(objstore_remove(place->store, key, &place->err), OK);
}

/* Only what is empty, and was for long: somebody may be about to put there. */
static void tidy_takes_old_empty_directories(void **state)
{
    struct place *place = *state;
    put_and_remove(place, "inbox/t/old/1");
    put_and_remove(place, "inbox/t/young/1");
    put_and_remove(place, "inbox/t/deep/er/1");
    put_and_remove(place, "other/old/1");
    assert_int_equal(put(place, "inbox/t/full/1", "kept", PUT_ALWAYS), OK);
    directory_age(place, "inbox/t/old", 90000);
    directory_age(place, "inbox/t/full", 90000);
    directory_age(place, "inbox/t/deep/er", 90000);
    directory_age(place, "other/old", 90000);
    assert_int_equal(objstore_tidy(place->store, "inbox/t/", DAY_MS, &place->err), OK);
    assert_int_equal(objstore_tidy(place->store, "inbox/none/", DAY_MS, &place->err), OK);
    assert_false(is_directory(place, "inbox/t/old"));
    assert_true(is_directory(place, "inbox/t/young"));
    assert_false(is_directory(place, "inbox/t/deep/er"));
    assert_true(is_directory(place, "inbox/t/deep")); /* changed just now */
    assert_true(is_directory(place, "other/old"));
    assert_holds(place, "inbox/t/full/1", "kept");
    /* What is made again is durable again. */
    struct syncs syncs = {0};
    fault_install(count_syncs, &syncs);
    assert_int_equal(put(place, "inbox/t/old/1", "again", PUT_ALWAYS), OK);
    assert_int_equal(syncs.each, 5);
}

static int tidy_meanwhile(void *context, const char *name, struct error *err)
{
    struct place *place = context;
    (void)err;
    if (strcmp(name, "objstore.put.written") == 0)
        assert_int_equal(objstore_tidy(place->store, "inbox/", -DAY_MS, &place->err), OK);
    return OK;
}

/* The directory goes between a put's look at it and its rename: nothing was put, and the
 * next try is an ordinary one. */
static void put_that_meets_a_tidy_is_tried_again(void **state)
{
    struct place *place = *state;
    put_and_remove(place, "inbox/s/1");
    fault_install(tidy_meanwhile, place);
    assert_int_equal(put(place, "inbox/s/2", "x", PUT_ALWAYS), ERROR_RETRY);
    assert_int_equal(put(place, "inbox/s/2", "x", PUT_IF_ABSENT), ERROR_RETRY);
    fault_install(NULL, NULL);
    assert_int_equal(temporary_count(place), 0);
    assert_int_equal(put(place, "inbox/s/2", "x", PUT_IF_ABSENT), OK);
    assert_holds(place, "inbox/s/2", "x");
}

/* Who asks for a sync must hear that it failed. */
static void failed_sync_is_told(void **state)
{
    struct place *place = *state;
    struct nth_fault fault = {.left = 1};
    fault_install(fail_nth, &fault);
    assert_int_equal(objstore_sync(place->store, &place->err), ERROR_IO);
}

enum { EACH_COUNT = 200, EACH_TOGETHER = 4 };

struct together {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned wanted; /* at once, before any may go on */
    unsigned inside;
    bool met;
    size_t fails_at;
    size_t calls;
    size_t last;
    bool in_order;
    bool seen[EACH_COUNT];
};

static int meet(void *context, size_t index, struct error *err)
{
    struct together *t = context;
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 20;
    pthread_mutex_lock(&t->lock);
    t->in_order = t->in_order && index == t->calls;
    t->calls++;
    t->seen[index] = true;
    t->inside++;
    t->met = t->met || t->inside >= t->wanted;
    pthread_cond_broadcast(&t->changed);
    while (!t->met && pthread_cond_timedwait(&t->changed, &t->lock, &deadline) == 0)
        continue;
    t->inside--;
    pthread_mutex_unlock(&t->lock);
    return index >= t->fails_at ? error_set(err, ERROR_RETRY, "at %zu", index) : OK;
}

static struct together together(unsigned wanted, size_t fails_at)
{
    return (struct together){.lock = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER,
                             .wanted = wanted,
                             .fails_at = fails_at,
                             .in_order = true};
}

/* A store a round trip away must have several requests under way, and lose none. */
static void each_keeps_many_under_way(void **state)
{
    struct place *place = *state;
    struct objstore_options options = {.parallel = EACH_TOGETHER};
    struct objstore *store;
    struct together t = together(EACH_TOGETHER, SIZE_MAX);
    assert_int_equal(
        objstore_open(&store, objstore_url_borrow(place->store), &options, &place->err), OK);
    assert_int_equal(objstore_each(store, EACH_COUNT, meet, &t, &place->err), OK);
    assert_true(t.met);
    assert_int_equal(t.calls, EACH_COUNT);
    for (size_t i = 0; i < EACH_COUNT; i++)
        assert_true(t.seen[i]);
    /* The first failure in order is told, whoever came first, and ends it. */
    t = together(1, 5);
    assert_int_equal(objstore_each(store, EACH_COUNT, meet, &t, &place->err), ERROR_RETRY);
    assert_string_equal(place->err.text, "at 5");
    assert_true(t.calls < EACH_COUNT);
    t = together(1, 0);
    assert_int_equal(objstore_each(store, 0, meet, &t, &place->err), OK);
    assert_int_equal(t.calls, 0);
    objstore_close(store);
}

/* The simulation's actors run one at a time: no thread may come of a store of theirs. */
static void each_is_a_loop_by_default(void **state)
{
    struct place *place = *state;
    struct together t = together(1, 7);
    assert_int_equal(objstore_each(place->store, EACH_COUNT, meet, &t, &place->err), ERROR_RETRY);
    assert_true(t.in_order);
    assert_int_equal(t.calls, 8);
}

/* A full disk is a limit that a person lifts, not a reason to set anything aside. */
static void full_disk_is_a_limit(void **state)
{
    struct place *place = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit = {.rlim_cur = 4, .rlim_max = 4};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &limit);
        _exit(put(place, "k", "more than four bytes", PUT_ALWAYS));
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), ERROR_LIMIT);
    assert_holds(place, "k", NULL);
    assert_int_equal(temporary_count(place), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(put_if_absent_never_overwrites),
        TEST(put_refuses_bytes_with_another_checksum),
        TEST(put_of_a_file),
        TEST(keys_that_leave_the_warehouse_are_refused),
        TEST(symbolic_links_are_not_followed),
        TEST(ranges_as_footers_are_read),
        TEST(get_keeps_to_its_limit),
        TEST(list_gives_every_key_once_in_byte_order),
        TEST(remove_and_copy),
        TEST(urls_and_keys_are_each_others_inverse),
        TEST(plain_paths_are_made_absolute),
        TEST(missing_warehouse_is_an_error),
        TEST(store_that_keeps_the_condition_passes_the_probe),
        TEST(one_of_many_wins_each_name),
        TEST(failed_put_leaves_all_or_nothing),
        TEST(killed_put_is_not_listed),
        TEST(unsynced_puts_share_one_sync),
        TEST(failed_sync_is_remembered),
        TEST(failed_sync_is_told),
        TEST(tidy_takes_old_empty_directories),
        TEST(put_that_meets_a_tidy_is_tried_again),
        TEST(each_keeps_many_under_way),
        TEST(each_is_a_loop_by_default),
        TEST(full_disk_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
