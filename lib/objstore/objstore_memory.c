/* SPDX-License-Identifier: Apache-2.0
 *
 * The store of the tests. Objects stand in an array sorted by key and are never
 * taken out of it: a removed one stays as an absent one, so that what a key ever held
 * and what it held before its last change can be told.
 *
 * Each operation asks the hook first and touches the store only afterwards: the hook
 * may run other actors meanwhile, or never come back (an actor that crashed).
 */
#include "lib/objstore/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/objstore/store.h"

struct version {
    bool present;
    uint8_t *data;
    size_t len;
    uint32_t crc32c;
    int64_t modified_ms;
};

struct object {
    char *key;
    struct version now;
    struct version before; /* the last change */
    bool ever;             /* had contents once: those of the next two */
    uint32_t first_crc32c;
    size_t first_len;
    bool rewritten;
};

struct late_put {
    char *key;
    uint8_t *data;
    size_t len;
    enum put_condition condition;
};

struct memory_store {
    const struct clock *clock;
    size_t count;
    size_t cap;
    struct object **objects;
    const struct object *changed; /* the last one that was */
    size_t late_count;
    struct late_put *late;
};

/* What objstore_wrap is given: one actor's view. */
struct attachment {
    struct memory_store *store;
    memory_hook *hook;
    void *context;
    bool owns_store;
};

/* ---- the bytes ---- */

/* Where the key is, or would be. */
static size_t object_place(const struct memory_store *store, const char *key, bool *found)
{
    size_t low = 0;
    size_t high = store->count;
    *found = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(store->objects[middle]->key, key);
        if (order == 0) {
            *found = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct object *object_find(const struct memory_store *store, const char *key)
{
    bool found = false;
    size_t at = object_place(store, key, &found);
    return found ? store->objects[at] : NULL;
}

static struct object *object_find_or_add(struct memory_store *store, const char *key)
{
    bool found = false;
    size_t at = object_place(store, key, &found);
    if (found)
        return store->objects[at];
    if (store->count == store->cap) {
        store->cap = store->cap > 0 ? store->cap * 2 : 64;
        store->objects = memory_resize(store->objects, store->cap, sizeof *store->objects);
    }
    memmove(store->objects + at + 1, store->objects + at,
            (store->count - at) * sizeof *store->objects);
    struct object *object = memory_alloc(1, sizeof *object);
    object->key = memory_copy_cstr(key);
    store->objects[at] = object;
    store->count++;
    return object;
}

static void object_change(struct memory_store *store, struct object *object, struct version next)
{
    free(object->before.data);
    object->before = object->now;
    object->now = next;
    store->changed = object;
}

static bool is_present(const struct memory_store *store, const char *key)
{
    const struct object *object = object_find(store, key);
    return object != NULL && object->now.present;
}

/* Takes `data`. False when the condition forbids it. */
static bool apply_put(struct memory_store *store, const char *key, uint8_t *data, size_t len,
                      enum put_condition condition)
{
    if ((condition & PUT_IF_ABSENT) != 0 && is_present(store, key)) {
        free(data);
        return false;
    }
    struct object *object = object_find_or_add(store, key);
    struct version next = {.present = true,
                           .data = data,
                           .len = len,
                           .crc32c = crc32c(0, slice_of(data, len)),
                           .modified_ms = clock_wall_ms(store->clock)};
    if (!object->ever) {
        object->ever = true;
        object->first_crc32c = next.crc32c;
        object->first_len = len;
    } else if (next.crc32c != object->first_crc32c || len != object->first_len) {
        object->rewritten = true;
    }
    object_change(store, object, next);
    return true;
}

static uint8_t *bytes_copy(struct slice bytes)
{
    uint8_t *copy = memory_alloc_raw(bytes.len, 1);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    return copy;
}

/* ---- the interface ---- */

static enum memory_fault ask(const struct attachment *actor, enum memory_operation operation,
                             const char *key)
{
    if (actor->hook == NULL)
        return MEMORY_FAULT_NONE;
    enum memory_fault fault = actor->hook(actor->context, operation, key);
    if (fault == MEMORY_FAULT_SLOW)
        return fault;
    bool reads = operation == MEMORY_HEAD || operation == MEMORY_GET || operation == MEMORY_LIST;
    if (fault == MEMORY_FAULT_LATE && operation != MEMORY_PUT)
        return MEMORY_FAULT_BEFORE;
    if (fault == MEMORY_FAULT_STALE && !reads)
        return MEMORY_FAULT_NONE;
    return fault;
}

/* Nothing is applied. */
static bool is_refused(enum memory_fault fault)
{
    return fault == MEMORY_FAULT_BEFORE || fault == MEMORY_FAULT_SLOW;
}

static int lost(enum memory_fault fault, struct error *err)
{
    if (fault == MEMORY_FAULT_NONE || fault == MEMORY_FAULT_STALE)
        return OK;
    if (fault != MEMORY_FAULT_SLOW)
        return error_set(err, ERROR_RETRY, "timeout (injected)");
    int rc = error_set(err, ERROR_RETRY, "slow down (injected)");
    err->retry_after_ms = MEMORY_SLOW_MS;
    return rc;
}

static void late_add(struct memory_store *store, const char *key, uint8_t *data, size_t len,
                     enum put_condition condition)
{
    store->late = memory_resize(store->late, store->late_count + 1, sizeof *store->late);
    store->late[store->late_count++] = (struct late_put){
        .key = memory_copy_cstr(key), .data = data, .len = len, .condition = condition};
}

static int memory_put(void *impl, const char *key, const struct objstore_body *body,
                      uint32_t checksum, enum put_condition condition, struct error *err)
{
    const struct attachment *actor = impl;
    int rc = OK;
    struct buf file = {0};
    struct slice bytes = body->bytes;
    enum memory_fault fault = ask(actor, MEMORY_PUT, key);
    if (is_refused(fault))
        return lost(fault, err);
    if (body->file != NULL) {
        rc = file_read(body->file, SIZE_MAX, &file, err);
        bytes = buf_slice(&file);
        if (rc == OK && bytes.len < body->file_size)
            rc = error_set(err, ERROR_CORRUPT, "%s ends too early", body->file);
        else if (rc != OK && err->cause == ENOENT)
            err->code = ERROR_CORRUPT;
        rc = rc == OK ? OK : (int)err->code;
        bytes.len = rc == OK ? (size_t)body->file_size : 0;
    }
    if (rc == OK && body->pace != NULL)
        rc = body->pace(body->pace_context, bytes.len, err);
    if (rc == OK && crc32c(0, bytes) != checksum)
        rc = error_set(err, ERROR_CORRUPT, "the bytes don't have the checksum announced");
    if (rc == OK && fault == MEMORY_FAULT_LATE)
        late_add(actor->store, key, bytes_copy(bytes), bytes.len, condition);
    else if (rc == OK && !apply_put(actor->store, key, bytes_copy(bytes), bytes.len, condition))
        rc = error_set(err, ERROR_CONFLICT, "the object exists");
    buf_free(&file);
    /* A lost answer hides a conflict as well. */
    return (rc == OK || rc == ERROR_CONFLICT) && fault != MEMORY_FAULT_NONE ? lost(fault, err) : rc;
}

/* The version that a read sees, NULL when there is none. */
static const struct version *version_seen(const struct memory_store *store, const char *key,
                                          enum memory_fault fault)
{
    const struct object *object = object_find(store, key);
    if (object == NULL)
        return NULL;
    const struct version *seen = fault == MEMORY_FAULT_STALE ? &object->before : &object->now;
    return seen->present ? seen : NULL;
}

static void info_fill(const struct memory_store *store, const struct version *seen,
                      struct objstore_info *out)
{
    *out = (struct objstore_info){.store_time_ms = clock_wall_ms(store->clock)};
    if (seen == NULL)
        return;
    out->found = true;
    out->size = seen->len;
    out->has_crc32c = true;
    out->crc32c = seen->crc32c;
    out->modified_ms = seen->modified_ms;
}

static int memory_head(void *impl, const char *key, struct objstore_info *out, struct error *err)
{
    const struct attachment *actor = impl;
    enum memory_fault fault = ask(actor, MEMORY_HEAD, key);
    int rc = lost(fault, err);
    if (rc == OK)
        info_fill(actor->store, version_seen(actor->store, key, fault), out);
    return rc;
}

static int memory_get(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
                      struct buf *out, struct objstore_info *info, struct error *err)
{
    const struct attachment *actor = impl;
    enum memory_fault fault = ask(actor, MEMORY_GET, key);
    int rc = lost(fault, err);
    if (rc != OK)
        return rc;
    const struct version *seen = version_seen(actor->store, key, fault);
    info_fill(actor->store, seen, info);
    if (seen == NULL)
        return OK;
    uint64_t size = seen->len;
    uint64_t back = offset < 0 ? (uint64_t)-offset : 0;
    uint64_t start = offset >= 0 ? (uint64_t)offset : back < size ? size - back : 0;
    uint64_t rest = start < size ? size - start : 0;
    uint64_t want = len > 0 && len < rest ? len : rest;
    if (want > bytes_max || !buf_reserve(out, (size_t)want))
        return error_set(err, ERROR_LIMIT, "%llu bytes, more than the %zu allowed",
                         (unsigned long long)want, bytes_max);
    buf_put(out, seen->data + (want > 0 ? start : 0), (size_t)want);
    info->has_crc32c = want == size;
    return OK;
}

static int memory_list(void *impl, const char *prefix, const char *after, size_t count_max,
                       struct objstore_list *out, struct error *err)
{
    const struct attachment *actor = impl;
    enum memory_fault fault = ask(actor, MEMORY_LIST, prefix);
    int rc = lost(fault, err);
    if (rc != OK)
        return rc;
    const struct memory_store *store = actor->store;
    bool found = false;
    size_t prefix_len = strlen(prefix);
    size_t at = object_place(store, strcmp(after, prefix) > 0 ? after : prefix, &found);
    for (; at < store->count && out->count <= count_max; at++) {
        const struct object *object = store->objects[at];
        const struct version *seen = &object->now;
        if (fault == MEMORY_FAULT_STALE && object == store->changed)
            seen = &object->before;
        if (strncmp(object->key, prefix, prefix_len) != 0)
            break;
        if (seen->present && strcmp(object->key, after) > 0)
            objstore_list_add(out, object->key, seen->len, seen->modified_ms);
    }
    objstore_list_cut(out, count_max);
    return OK;
}

static int memory_remove(void *impl, const char *key, struct error *err)
{
    const struct attachment *actor = impl;
    enum memory_fault fault = ask(actor, MEMORY_REMOVE, key);
    if (is_refused(fault))
        return lost(fault, err);
    struct object *object = object_find(actor->store, key);
    if (object != NULL && object->now.present)
        object_change(actor->store, object, (struct version){0});
    return lost(fault, err);
}

static int memory_copy(void *impl, const char *from, const char *to, enum put_condition condition,
                       struct error *err)
{
    const struct attachment *actor = impl;
    enum memory_fault fault = ask(actor, MEMORY_COPY, from);
    if (is_refused(fault))
        return lost(fault, err);
    const struct version *seen = version_seen(actor->store, from, MEMORY_FAULT_NONE);
    int rc = OK;
    if (seen == NULL) {
        rc = error_set(err, ERROR_INPUT, "no such object");
        err->cause = ENOENT;
    } else {
        uint8_t *data = bytes_copy(slice_of(seen->data, seen->len));
        if (!apply_put(actor->store, to, data, seen->len, condition))
            rc = error_set(err, ERROR_CONFLICT, "the object exists");
    }
    return fault != MEMORY_FAULT_NONE ? lost(fault, err) : rc;
}

static void memory_close(void *impl)
{
    struct attachment *actor = impl;
    if (actor->owns_store)
        memory_store_free(actor->store);
    free(actor);
}

static const struct objstore_ops memory_ops = {
    .scheme = "memory",
    .put = memory_put,
    .head = memory_head,
    .get = memory_get,
    .list = memory_list,
    .remove = memory_remove,
    .copy = memory_copy,
    .close = memory_close,
};

/* ---- the test's side ---- */

struct memory_store *memory_store_make(const struct clock *clock)
{
    struct memory_store *store = memory_alloc(1, sizeof *store);
    store->clock = clock != NULL ? clock : &clock_system;
    return store;
}

void memory_store_free(struct memory_store *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->count; i++) {
        struct object *object = store->objects[i];
        free(object->now.data);
        free(object->before.data);
        free(object->key);
        free(object);
    }
    for (size_t i = 0; i < store->late_count; i++) {
        free(store->late[i].key);
        free(store->late[i].data);
    }
    free(store->objects);
    free(store->late);
    free(store);
}

struct objstore *memory_store_attach(struct memory_store *store, memory_hook *hook, void *context)
{
    struct attachment *actor = memory_alloc(1, sizeof *actor);
    *actor = (struct attachment){.store = store, .hook = hook, .context = context};
    return objstore_wrap(&memory_ops, actor, "memory:");
}

struct objstore *memory_store_open(const struct clock *clock)
{
    struct attachment *actor = memory_alloc(1, sizeof *actor);
    *actor = (struct attachment){.store = memory_store_make(clock), .owns_store = true};
    return objstore_wrap(&memory_ops, actor, "memory:");
}

size_t memory_store_late_count(const struct memory_store *store)
{
    return store->late_count;
}

void memory_store_apply_late(struct memory_store *store, size_t index)
{
    ASSERT(index < store->late_count);
    struct late_put put = store->late[index];
    store->late_count--;
    memmove(store->late + index, store->late + index + 1,
            (store->late_count - index) * sizeof *store->late);
    /* Whether its condition still holds is heard by nobody. */
    (void)apply_put(store, put.key, put.data, put.len, put.condition);
    free(put.key);
}

void memory_store_visit(const struct memory_store *store, memory_visit *visit, void *context)
{
    for (size_t i = 0; i < store->count; i++) {
        const struct object *object = store->objects[i];
        if (object->now.present)
            visit(context, object->key, slice_of(object->now.data, object->now.len),
                  object->now.modified_ms);
    }
}

bool memory_store_rewritten(const struct memory_store *store, const char *suffix,
                            char out[OBJSTORE_KEY_MAX + 1])
{
    size_t suffix_len = strlen(suffix);
    for (size_t i = 0; i < store->count; i++) {
        const struct object *object = store->objects[i];
        size_t len = strlen(object->key);
        if (object->rewritten && len >= suffix_len &&
            strcmp(object->key + len - suffix_len, suffix) == 0) {
            memcpy(out, object->key, len + 1);
            return true;
        }
    }
    return false;
}
