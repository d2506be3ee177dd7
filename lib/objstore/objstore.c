/* SPDX-License-Identifier: Apache-2.0
 *
 * What all stores have in common: URLs, keys, and the checks that an
 * implementation need not repeat. A store sees only keys that passed key_check.
 */
#include "lib/objstore/objstore.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/objstore/store.h"

struct objstore {
    const struct objstore_ops *ops;
    void *impl;
    char *url; /* without a trailing slash */
    unsigned parallel;
    struct throttle *throttle; /* the implementation's; NULL: what fails is not tried again */
};

enum { PARALLEL_REMOTE = 32 };

static bool segment_is_dots(const char *at, size_t len)
{
    return (len == 1 && at[0] == '.') || (len == 2 && at[0] == '.' && at[1] == '.');
}

/* `last_may_be_empty`: a list prefix may end in a slash, or be empty. */
static bool key_is_fine(const char *key, bool last_may_be_empty)
{
    const char *segment = key;
    const char *at = key;
    for (;; at++) {
        unsigned char c = (unsigned char)*at;
        if (c != 0 && c != '/') {
            if (c < 0x20 || c == 0x7f)
                return false;
            continue;
        }
        size_t len = (size_t)(at - segment);
        if (segment_is_dots(segment, len))
            return false;
        if (len == 0 && !(c == 0 && last_may_be_empty))
            return false;
        if (c == 0)
            break;
        segment = at + 1;
    }
    return at - key <= OBJSTORE_KEY_MAX;
}

bool objstore_key_is_fine(const char *key)
{
    return key_is_fine(key, false);
}

static int key_check(const char *key, struct error *err)
{
    ASSERT(key != NULL);
    if (key_is_fine(key, false))
        return OK;
    return error_set(err, ERROR_INPUT, "not an object's key: \"%.100s\"", key);
}

struct objstore *objstore_wrap(const struct objstore_ops *ops, void *impl, const char *url)
{
    ASSERT((ops->borrows != NULL) == (ops->lend != NULL));
    struct objstore *store = memory_alloc(1, sizeof *store);
    store->ops = ops;
    store->impl = impl;
    store->throttle = ops->throttle != NULL ? ops->throttle(impl) : NULL;
    store->url = memory_copy_cstr(url);
    size_t len = strlen(store->url);
    while (len > 0 && store->url[len - 1] == '/')
        store->url[--len] = 0;
    return store;
}

void objstore_close(struct objstore *store)
{
    if (store == NULL)
        return;
    store->ops->close(store->impl);
    free(store->url);
    free(store);
}

/* The path that a file URL or a plain absolute path stands for, else NULL. Names are
 * taken as they stand: nothing that reads our tables decodes %XX in a file's path. */
static const char *local_path(const char *url)
{
    if (url[0] == '/')
        return url;
    if (strncmp(url, "file:/", 6) != 0)
        return NULL;
    const char *path = url + 5;
    if (strncmp(path, "//localhost/", 12) == 0)
        return path + 11;
    if (strncmp(path, "///", 3) == 0)
        return path + 2;
    return path[1] == '/' ? NULL : path;
}

/* Appends the segments of `path` to an absolute path: no empty or "." ones, ".." goes up. */
static void path_append(struct buf *out, const char *path)
{
    while (*path != 0) {
        size_t len = strcspn(path, "/");
        if (len == 2 && segment_is_dots(path, len)) {
            while (out->len > 0 && out->data[--out->len] != '/')
                continue;
        } else if (len > 0 && !segment_is_dots(path, len)) {
            buf_put_u8(out, '/');
            buf_put(out, path, len);
        }
        path += len + (path[len] == '/');
    }
}

static int path_make_absolute(const char *path, struct buf *out, struct error *err)
{
    if (path[0] != '/') {
        char *here = getcwd(NULL, 0);
        if (here == NULL)
            return error_errno(err, "current directory");
        path_append(out, here);
        free(here);
    }
    path_append(out, path);
    for (size_t i = 0; i < out->len; i++) {
        uint8_t c = out->data[i];
        /* PyIceberg and others take a location apart as a URL and cut it there. */
        if (c < 0x20 || c == 0x7f || c == '?' || c == '#')
            return error_set(err, ERROR_INPUT,
                             "%s: a warehouse path may not have '?', '#' or control characters",
                             path);
    }
    if (out->len == 0)
        return error_set(err, ERROR_INPUT, "the root directory is no warehouse");
    return OK;
}

/* 0: as many as suits a store that is so far away. */
static void parallel_set(struct objstore *store, unsigned wanted)
{
    if (wanted == 0)
        wanted = store->throttle != NULL ? PARALLEL_REMOTE : 1;
    store->parallel = wanted < PARALLEL_MAX ? wanted : PARALLEL_MAX;
}

int objstore_open(struct objstore **out, const char *url, const struct objstore_options *options,
                  struct error *err)
{
    struct objstore_options all = options != NULL ? *options : (struct objstore_options){0};
    if (all.clock == NULL)
        all.clock = &clock_system;
    *out = NULL;
    if (strcmp(url, "memory:") == 0) {
        *out = memory_store_open(all.clock);
        return OK;
    }
    if (strncmp(url, "s3://", 5) == 0) {
        int opened = s3_store_open(out, url, &all, err);
        if (opened != OK)
            return error_wrap(err, "warehouse %.200s", url);
        parallel_set(*out, all.parallel);
        return OK;
    }
    const char *path = local_path(url);
    size_t word = strcspn(url, ":/");
    if (path == NULL && (word == 0 || url[word] == ':'))
        return error_set(err, ERROR_INPUT,
                         "warehouse \"%.200s\": this program knows s3://bucket/prefix, "
                         "file:///directory, a plain path and memory:",
                         url);
    struct buf directory = {0};
    int rc = path_make_absolute(path != NULL ? path : url, &directory, err);
    if (rc == OK)
        rc = file_store_open(out, buf_cstr(&directory), all.clock, err);
    buf_free(&directory);
    if (rc != OK)
        return error_wrap(err, "warehouse %.200s", url);
    parallel_set(*out, all.parallel);
    return OK;
}

const char *objstore_url_borrow(const struct objstore *store)
{
    return store->url;
}

void objstore_url_of(const struct objstore *store, const char *key, struct buf *out)
{
    buf_put_cstr(out, store->url);
    buf_put_u8(out, '/');
    buf_put_cstr(out, key);
}

bool objstore_key_of(const struct objstore *store, const char *url, char out[OBJSTORE_KEY_MAX + 1])
{
    const char *base = store->url;
    if (strcmp(store->ops->scheme, "file") == 0) {
        base = local_path(base);
        url = local_path(url);
        if (base == NULL || url == NULL)
            return false;
    } else if (strncmp(url, "s3a://", 6) == 0 || strncmp(url, "s3n://", 6) == 0) {
        /* Hadoop's names for the same place. */
        if (strncmp(base, "s3://", 5) != 0)
            return false;
        base += 5;
        url += 6;
    }
    size_t len = strlen(base);
    if (strncmp(url, base, len) != 0 || url[len] != '/' || !key_is_fine(url + len + 1, false))
        return false;
    memcpy(out, url + len + 1, strlen(url + len + 1) + 1);
    return true;
}

int objstore_put(struct objstore *store, const char *key, const struct objstore_body *body,
                 uint32_t checksum, enum put_condition condition, struct error *err)
{
    int rc = key_check(key, err);
    if (rc == OK)
        rc = store->ops->put(store->impl, key, body, checksum, condition, err);
    return rc == OK ? OK : error_wrap(err, "put %.200s", key);
}

int objstore_put_bytes(struct objstore *store, const char *key, struct slice bytes,
                       enum put_condition condition, struct error *err)
{
    struct objstore_body body = {.bytes = bytes};
    return objstore_put(store, key, &body, crc32c(0, bytes), condition, err);
}

int objstore_head(struct objstore *store, const char *key, struct objstore_info *out,
                  struct error *err)
{
    *out = (struct objstore_info){0};
    int rc = key_check(key, err);
    if (rc == OK)
        rc = store->ops->head(store->impl, key, out, err);
    return rc == OK ? OK : error_wrap(err, "head %.200s", key);
}

static int get(struct objstore *store, const char *key, int64_t offset, uint64_t len,
               size_t bytes_max, struct buf *out, struct objstore_info *info, struct error *err)
{
    struct objstore_info own = {0};
    size_t start = out->len;
    if (info != NULL)
        *info = own;
    int rc = key_check(key, err);
    if (rc == OK)
        rc = store->ops->get(store->impl, key, offset, len, bytes_max, out, &own, err);
    /* Who takes no info has no other way to hear of it. */
    if (rc == OK && info == NULL && !own.found) {
        rc = error_set(err, ERROR_INPUT, "no such object");
        err->cause = ENOENT;
    }
    if (rc != OK) {
        out->len = start;
        return error_wrap(err, "get %.200s", key);
    }
    if (info != NULL)
        *info = own;
    return OK;
}

int objstore_get(struct objstore *store, const char *key, size_t bytes_max, struct buf *out,
                 struct objstore_info *info, struct error *err)
{
    return get(store, key, 0, 0, bytes_max, out, info, err);
}

int objstore_get_range(struct objstore *store, const char *key, int64_t offset, uint64_t len,
                       struct buf *out, struct objstore_info *info, struct error *err)
{
    ASSERT(offset != INT64_MIN);
    /* To the end of an object of unknown size only what the buffer's ceiling allows. */
    size_t bytes_max = len > 0 ? len : offset < 0 ? (size_t)-offset : SIZE_MAX;
    return get(store, key, offset, len, bytes_max, out, info, err);
}

int objstore_list(struct objstore *store, const char *prefix, const char *after, size_t count_max,
                  struct objstore_list *out, struct error *err)
{
    ASSERT(count_max > 0);
    int rc = OK;
    *out = (struct objstore_list){0};
    if (!key_is_fine(prefix, true))
        rc = error_set(err, ERROR_INPUT, "not a prefix of keys");
    if (rc == OK)
        rc = store->ops->list(store->impl, prefix, after != NULL ? after : "", count_max, out, err);
    if (rc == OK)
        return OK;
    objstore_list_free(out);
    return error_wrap(err, "list %.200s", prefix);
}

void objstore_list_add(struct objstore_list *list, const char *key, uint64_t size,
                       int64_t modified_ms)
{
    /* Full at each power of two: no field of the public struct is spent on a capacity. */
    if ((list->count & (list->count - 1)) == 0)
        list->entries = memory_resize(list->entries, list->count > 0 ? list->count * 2 : 1,
                                      sizeof *list->entries);
    list->entries[list->count++] = (struct objstore_entry){
        .key = memory_copy_cstr(key), .size = size, .modified_ms = modified_ms};
}

void objstore_list_cut(struct objstore_list *list, size_t count_max)
{
    list->more = list->count > count_max;
    while (list->count > count_max)
        free(list->entries[--list->count].key);
}

void objstore_list_free(struct objstore_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->entries[i].key);
    free(list->entries);
    *list = (struct objstore_list){0};
}

int objstore_remove(struct objstore *store, const char *key, struct error *err)
{
    int rc = key_check(key, err);
    if (rc == OK)
        rc = store->ops->remove(store->impl, key, err);
    return rc == OK ? OK : error_wrap(err, "remove %.200s", key);
}

int objstore_copy(struct objstore *store, const char *from, const char *to,
                  enum put_condition condition, struct error *err)
{
    int rc = key_check(from, err);
    if (rc == OK)
        rc = key_check(to, err);
    if (rc == OK)
        rc = store->ops->copy(store->impl, from, to, condition, err);
    return rc == OK ? OK : error_wrap(err, "copy %.150s to %.150s", from, to);
}

/* ---- many at once ---- */

struct each {
    const struct objstore_many *many;
    atomic_size_t next;
    atomic_bool over; /* one has failed */
    pthread_mutex_t lock;

    /* guarded by lock */
    size_t failed_at; /* count: none */
    struct error error;
};

/* One of them while it waits. */
struct waiting {
    const struct each *each;
    bool gave_up; /* since another one has failed */
};

static bool gives_up(void *context)
{
    struct waiting *waiting = context;
    const struct objstore_many *many = waiting->each->many;
    waiting->gave_up = atomic_load(&waiting->each->over);
    return waiting->gave_up || (many->look != NULL && many->look(many->look_context));
}

/* Of a store in a cloud one request in some thousands fails for a moment, and with it all of
 * them would. */
static int each_try(const struct each *each, size_t at, bool *gave_up, struct error *err)
{
    const struct objstore_many *many = each->many;
    struct throttle *throttle = many->throttle;
    struct waiting waiting = {.each = each};
    int rc = throttle != NULL ? throttle_await(throttle, gives_up, &waiting, err) : OK;
    if (rc == OK)
        rc = many->one(many->context, at, err);
    for (int tries = 1; rc == ERROR_RETRY && throttle != NULL && !waiting.gave_up &&
                        throttle_again(throttle, tries, gives_up, &waiting, err);
         tries++)
        rc = many->one(many->context, at, err);
    *gave_up = waiting.gave_up;
    return rc;
}

/* Takes indices until none is left; after a failure none is. */
static void *each_work(void *argument)
{
    struct each *each = argument;
    size_t count = each->many->count;
    size_t at;
    while ((at = atomic_fetch_add(&each->next, 1)) < count) {
        struct error err;
        bool gave_up = false;
        if (each_try(each, at, &gave_up, &err) == OK || gave_up)
            continue;
        atomic_store(&each->over, true);
        atomic_store(&each->next, count);
        pthread_mutex_lock(&each->lock);
        if (at < each->failed_at) {
            each->failed_at = at;
            each->error = err;
        }
        pthread_mutex_unlock(&each->lock);
    }
    return NULL;
}

int objstore_run(const struct objstore_many *many, struct error *err)
{
    size_t count = many->count;
    struct each each = {.many = many, .failed_at = count};
    pthread_t threads[PARALLEL_MAX];
    size_t started = 0;
    size_t wanted = many->parallel < count ? many->parallel : count;
    wanted = wanted < PARALLEL_MAX ? wanted : PARALLEL_MAX;
    pthread_mutex_init(&each.lock, NULL);
    /* The calling thread is one of them; it does all alone if no other can be started. */
    while (started + 1 < wanted && pthread_create(&threads[started], NULL, each_work, &each) == 0) {
        pthread_setname_np(threads[started], "store");
        started++;
    }
    each_work(&each);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&each.lock);
    if (each.failed_at == count)
        return OK;
    *err = each.error;
    return (int)err->code;
}

int objstore_each(struct objstore *store, size_t count, objstore_one *one, void *context,
                  struct error *err)
{
    struct objstore_many many = {.count = count,
                                 .parallel = store->parallel,
                                 .throttle = store->throttle,
                                 .one = one,
                                 .context = context};
    return objstore_run(&many, err);
}

struct removing {
    struct objstore *store;
    const char *const *keys;
};

static int remove_one(void *context, size_t index, struct error *err)
{
    const struct removing *removing = context;
    return objstore_remove(removing->store, removing->keys[index], err);
}

/* Up to OBJSTORE_REMOVE_MAX. */
static int remove_some(struct objstore *store, const char *const *keys, size_t count,
                       struct error *err)
{
    bool known = false;
    int rc = OK;
    if (store->ops->remove_many != NULL && count > 1)
        rc = store->ops->remove_many(store->impl, keys, count, &known, err);
    if (rc != OK)
        return error_wrap(err, "remove %zu objects from %.200s on", count, keys[0]);
    struct removing removing = {.store = store, .keys = keys};
    return known ? OK : objstore_each(store, count, remove_one, &removing, err);
}

int objstore_remove_many(struct objstore *store, const char *const *keys, size_t count,
                         struct error *err)
{
    int rc = OK;
    for (size_t i = 0; i < count && rc == OK; i++)
        rc = key_check(keys[i], err);
    for (size_t at = 0; at < count && rc == OK;) {
        size_t some = count - at < OBJSTORE_REMOVE_MAX ? count - at : OBJSTORE_REMOVE_MAX;
        rc = remove_some(store, keys + at, some, err);
        at += some;
    }
    return rc;
}

const char *const *objstore_borrows(const struct objstore *store)
{
    return store->ops->borrows;
}

int objstore_lend(struct objstore *store, const struct objstore_loan *loan, struct error *err)
{
    ASSERT(loan->take != NULL);
    int rc = OK;
    if (!key_is_fine(loan->prefix, true))
        rc = error_set(err, ERROR_INPUT, "not a prefix of keys");
    else if (store->ops->lend != NULL)
        rc = store->ops->lend(store->impl, loan, err);
    return rc == OK ? OK : error_wrap(err, "credentials for %.200s", loan->prefix);
}

int objstore_sync(struct objstore *store, struct error *err)
{
    int rc = store->ops->sync != NULL ? store->ops->sync(store->impl, err) : OK;
    return rc == OK ? OK : error_wrap(err, "sync %.200s", store->url);
}

int objstore_tidy(struct objstore *store, const char *prefix, int64_t age_ms, struct error *err)
{
    int rc = OK;
    if (!key_is_fine(prefix, true))
        rc = error_set(err, ERROR_INPUT, "not a prefix of keys");
    else if (store->ops->tidy != NULL)
        rc = store->ops->tidy(store->impl, prefix, age_ms, err);
    return rc == OK ? OK : error_wrap(err, "tidy %.200s", prefix);
}

int objstore_probe(struct objstore *store, const char *key, struct error *err)
{
    struct slice bytes = slice_cstr("bidlake probe\n");
    /* A conflict at once is a probe that could not be removed, or this one, its answer lost: only
     * one whose name was taken before proves anything, and only if the store says so itself. */
    int rc = objstore_put_bytes(store, key, bytes, PUT_IF_ABSENT, err);
    if (rc == OK || rc == ERROR_CONFLICT) {
        rc = objstore_put_bytes(store, key, bytes, PUT_IF_ABSENT, err);
        if (rc == OK) {
            rc = objstore_remove(store, key, err);
            (void)rc; /* the verdict stands, whether or not the probe could be cleared */
            return error_set(err, ERROR_INPUT,
                             "%s: the store overwrites where it was asked not to (If-None-Match); "
                             "it can't hold a warehouse",
                             store->url);
        }
    }
    if (rc == ERROR_CONFLICT && err->cause == ETIMEDOUT)
        rc = err->code = ERROR_RETRY;
    if (rc != ERROR_CONFLICT)
        return rc;
    /* An agent need not have the right to delete. */
    rc = objstore_remove(store, key, err);
    return rc == ERROR_DENIED ? OK : rc;
}
