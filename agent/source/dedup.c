/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/dedup.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/memory.h"

enum { SLOTS = 1024, VALUE_HEAD = 16, EXPIRY_DIGITS = 20, SWEEP = 2, NOTED_MS = 1000 };

static const char answers[] = "dedup/a/";
static const char times[] = "dedup/t/";
static const char now_key[] = "dedup/now";

struct dedup {
    struct spool *spool;
    const struct clock *clock;
    int64_t ahead_ms; /* of the clock that is never set, as long as this agent runs */
    int64_t window_ms;
    uint64_t keys_max;
    _Atomic uint64_t key_count;
    const char *counted;        /* the epoch that this is of; the committer's */
    atomic_bool rewind;         /* a transaction failed: what it swept is there still */
    pthread_mutex_t sweep_lock; /* before `lock` */
    /* guarded by sweep_lock */
    struct buf swept; /* the last order key that was taken along */
    int64_t noted_ms; /* the time that was stored last */
    pthread_mutex_t lock;
    /* guarded by lock */
    struct dedup_entry *slots[SLOTS]; /* under way, by name */
};

void dedup_entry_free(struct dedup_entry *entry)
{
    buf_free(&entry->name);
    for (size_t i = 0; i < sizeof entry->keys / sizeof entry->keys[0]; i++)
        buf_free(&entry->keys[i]);
    free(entry->value);
}

/* Key by key it goes on, also over a restart: a wall clock that is set back would keep answers
 * for too long, one that is set forth would forget them while their senders try again. */
static int64_t time_ms(const struct dedup *dedup)
{
    return clock_mono_ms(dedup->clock) + dedup->ahead_ms;
}

/* The wall clock's, but no less than keys were stored by. */
static int find_time(struct dedup *dedup, struct error *err)
{
    struct buf value = {0};
    bool found = false;
    int64_t now_ms = clock_wall_ms(dedup->clock);
    int rc = spool_checkpoint_get(dedup->spool, slice_cstr(now_key), &value, &found, err);
    if (rc == OK && found && value.len == sizeof(uint64_t)) {
        int64_t noted_ms = (int64_t)get_u64le(value.data);
        now_ms = noted_ms > now_ms ? noted_ms : now_ms;
    }
    dedup->ahead_ms = now_ms - clock_mono_ms(dedup->clock);
    buf_free(&value);
    return rc;
}

int dedup_open(struct dedup **out, struct spool *spool, const struct clock *clock,
               int64_t window_ms, uint64_t keys_max, struct error *err)
{
    uint64_t count = 0;
    int rc = spool_checkpoint_count(spool, slice_cstr(times), &count, err);
    if (rc != OK)
        return rc;
    struct dedup *dedup = memory_alloc(1, sizeof *dedup);
    dedup->spool = spool;
    dedup->clock = clock;
    dedup->window_ms = window_ms;
    dedup->keys_max = keys_max;
    atomic_store(&dedup->key_count, count);
    dedup->counted = spool_epoch_borrow(spool);
    pthread_mutex_init(&dedup->lock, NULL);
    pthread_mutex_init(&dedup->sweep_lock, NULL);
    rc = find_time(dedup, err);
    if (rc != OK) {
        dedup_close(dedup);
        return rc;
    }
    *out = dedup;
    return OK;
}

void dedup_close(struct dedup *dedup)
{
    if (dedup == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        ASSERT(dedup->slots[i] == NULL);
    pthread_mutex_destroy(&dedup->lock);
    pthread_mutex_destroy(&dedup->sweep_lock);
    buf_free(&dedup->swept);
    free(dedup);
}

static struct dedup_entry **slot_of(struct dedup *dedup, struct slice name)
{
    return &dedup->slots[XXH3_64bits(name.data, name.len) % SLOTS];
}

/* Those who wait for the same name join it; true if there is one. */
static bool follow(struct dedup *dedup, struct dedup_entry *entry)
{
    struct slice name = buf_slice(&entry->name);
    pthread_mutex_lock(&dedup->lock);
    struct dedup_entry **slot = slot_of(dedup, name);
    struct dedup_entry *first = *slot;
    while (first != NULL && !slice_equal(buf_slice(&first->name), name))
        first = first->next;
    if (first != NULL) {
        entry->next = first->followers;
        first->followers = entry;
    } else {
        entry->next = *slot;
        *slot = entry;
    }
    pthread_mutex_unlock(&dedup->lock);
    return first != NULL;
}

static int find_answer(struct dedup *dedup, const struct dedup_entry *entry,
                       struct dedup_answer *answer, bool *found, struct error *err)
{
    struct buf key = {0};
    struct buf value = {0};
    /* Whether a write that failed was kept is known only once the spool is open again. */
    if (spool_has_failed(dedup->spool))
        return error_set(err, ERROR_RETRY, "the spool is being opened anew after a failure");
    buf_put_cstr(&key, answers);
    buf_put_slice(&key, buf_slice(&entry->name));
    int rc = spool_checkpoint_get(dedup->spool, buf_slice(&key), &value, found, err);
    *found = rc == OK && *found && value.len >= VALUE_HEAD &&
             (int64_t)get_u64le(value.data) > time_ms(dedup);
    if (*found) {
        answer->accepted = get_u32le(value.data + 8);
        answer->refused = get_u32le(value.data + 12);
        buf_reset(&answer->errors);
        buf_put(&answer->errors, value.data + VALUE_HEAD, value.len - VALUE_HEAD);
    }
    buf_free(&key);
    buf_free(&value);
    return rc;
}

int dedup_begin(struct dedup *dedup, struct dedup_entry *entry, const struct dedup_request *request,
                enum dedup_outcome *outcome, struct dedup_answer *answer, struct error *err)
{
    bool found = false;
    ASSERT(request->key.len > 0 && request->key.len <= DEDUP_KEY_MAX);
    buf_printf(&entry->name, "%s/", request->table);
    buf_put_slice(&entry->name, request->key);
    *outcome = DEDUP_FOLLOWS;
    if (follow(dedup, entry))
        return OK;
    /* Looked up behind the entry's place among those under way: one that was settled just
     * before is in the spool by now. */
    int rc = find_answer(dedup, entry, answer, &found, err);
    *outcome = found ? DEDUP_ANSWERED : DEDUP_FIRST;
    return rc;
}

static bool is_under_way(struct dedup *dedup, struct slice name)
{
    pthread_mutex_lock(&dedup->lock);
    const struct dedup_entry *entry = *slot_of(dedup, name);
    while (entry != NULL && !slice_equal(buf_slice(&entry->name), name))
        entry = entry->next;
    pthread_mutex_unlock(&dedup->lock);
    return entry != NULL;
}

/* A key that was used again after its time has a newer answer: that one stays. */
static int is_newest(struct dedup *dedup, struct slice answer_key, int64_t expires_ms, bool *out,
                     struct error *err)
{
    struct buf value = {0};
    bool found = false;
    *out = false;
    /* Under way first: one that was settled between is in the spool by now. */
    if (is_under_way(dedup, slice_of(answer_key.data + sizeof answers - 1,
                                     answer_key.len - (sizeof answers - 1))))
        return OK;
    int rc = spool_checkpoint_get(dedup->spool, answer_key, &value, &found, err);
    *out = rc == OK && found && value.len >= VALUE_HEAD &&
           (int64_t)get_u64le(value.data) <= expires_ms;
    buf_free(&value);
    return rc;
}

static void checkpoint(struct dedup_entry *entry, size_t *count, const struct buf *key,
                       struct slice value)
{
    ASSERT(*count < DEDUP_CHECKPOINTS);
    entry->checkpoints[(*count)++] =
        (struct spool_checkpoint){.key = buf_slice(key), .value = value};
}

/* Takes up to two that have expired, or that are too many, along. */
static int sweep(struct dedup *dedup, struct dedup_entry *entry, int64_t now_ms, size_t *count,
                 struct error *err)
{
    if (atomic_exchange(&dedup->rewind, false)) {
        buf_reset(&dedup->swept);
        dedup->noted_ms = 0;
    }
    for (size_t i = 0; i < SWEEP; i++) {
        struct buf *order = &entry->keys[2 + i];
        bool found = false;
        buf_reset(order);
        int rc = spool_checkpoint_next(dedup->spool, slice_cstr(times), buf_slice(&dedup->swept),
                                       order, &found, err);
        if (rc != OK)
            return rc;
        size_t head = sizeof times - 1 + EXPIRY_DIGITS;
        bool due = found && order->len > head + 1 &&
                   (strtoll((const char *)order->data + sizeof times - 1, NULL, 10) <= now_ms ||
                    atomic_load(&dedup->key_count) >= dedup->keys_max);
        if (!due)
            return OK;
        int64_t expires_ms = strtoll((const char *)order->data + sizeof times - 1, NULL, 10);
        bool newest = false;
        buf_reset(&dedup->swept);
        buf_put_slice(&dedup->swept, buf_slice(order));
        struct slice name = slice_of(order->data + head + 1, order->len - head - 1);
        size_t at = order->len;
        /* Both keys in one buffer: the order's, then the answer's. */
        struct buf pair = {0};
        buf_put_slice(&pair, buf_slice(order));
        buf_put_cstr(&pair, answers);
        buf_put_slice(&pair, name);
        buf_free(order);
        *order = pair;
        entry->checkpoints[(*count)++] =
            (struct spool_checkpoint){.key = slice_of(order->data, at)};
        struct slice answer_key = slice_of(order->data + at, order->len - at);
        rc = is_newest(dedup, answer_key, expires_ms, &newest, err);
        if (rc != OK)
            return rc;
        if (newest)
            entry->checkpoints[(*count)++] = (struct spool_checkpoint){.key = answer_key};
        entry->removed++;
    }
    return OK;
}

/* The time goes along once a second. */
static void note_time(struct dedup *dedup, struct dedup_entry *entry, int64_t now_ms, size_t *count)
{
    if (now_ms < dedup->noted_ms + NOTED_MS)
        return;
    dedup->noted_ms = now_ms;
    put_u64le(entry->now, (uint64_t)now_ms);
    ASSERT(*count < DEDUP_CHECKPOINTS);
    entry->checkpoints[(*count)++] = (struct spool_checkpoint){
        .key = slice_cstr(now_key), .value = slice_of(entry->now, sizeof entry->now)};
}

int dedup_store(struct dedup *dedup, struct dedup_entry *entry, const struct dedup_answer *answer,
                size_t *count, struct error *err)
{
    size_t size = VALUE_HEAD + answer->errors.len;
    *count = 0;
    pthread_mutex_lock(&dedup->sweep_lock);
    int64_t now_ms = time_ms(dedup);
    int64_t expires_ms = now_ms + dedup->window_ms;
    int rc = sweep(dedup, entry, now_ms, count, err);
    if (rc == OK)
        note_time(dedup, entry, now_ms, count);
    pthread_mutex_unlock(&dedup->sweep_lock);
    if (rc != OK) {
        entry->removed = 0;
        atomic_store(&dedup->rewind, true);
        return rc;
    }
    entry->value = memory_alloc(1, size);
    put_u64le(entry->value, (uint64_t)expires_ms);
    put_u32le(entry->value + 8, answer->accepted);
    put_u32le(entry->value + 12, answer->refused);
    if (answer->errors.len > 0)
        memcpy(entry->value + VALUE_HEAD, answer->errors.data, answer->errors.len);
    buf_put_cstr(&entry->keys[0], answers);
    buf_put_slice(&entry->keys[0], buf_slice(&entry->name));
    buf_printf(&entry->keys[1], "%s%0*" PRId64 "/", times, EXPIRY_DIGITS, expires_ms);
    buf_put_slice(&entry->keys[1], buf_slice(&entry->name));
    checkpoint(entry, count, &entry->keys[0], slice_of(entry->value, size));
    checkpoint(entry, count, &entry->keys[1], slice_cstr(""));
    pthread_mutex_lock(&dedup->lock); /* recount looks from here on */
    entry->added = 1;
    pthread_mutex_unlock(&dedup->lock);
    return OK;
}

uint64_t dedup_key_count(const struct dedup *dedup)
{
    return atomic_load(&dedup->key_count);
}

static bool is_stored(struct dedup *dedup, struct slice key)
{
    struct buf value = {0};
    struct error err;
    bool found = false;
    int rc = spool_checkpoint_get(dedup->spool, key, &value, &found, &err);
    buf_free(&value);
    return rc == OK && found;
}

/* What is under way and stored is in the count by now; what is not removes what is there still. */
static void adjust(struct dedup *dedup, struct dedup_entry *entry)
{
    entry->removed = 0;
    if (is_stored(dedup, buf_slice(&entry->keys[1]))) {
        entry->added = 0;
        return;
    }
    for (size_t i = 0; i < DEDUP_CHECKPOINTS; i++) {
        const struct spool_checkpoint *at = &entry->checkpoints[i];
        bool order = at->key.len > sizeof times - 1 && at->value.data == NULL &&
                     memcmp(at->key.data, times, sizeof times - 1) == 0;
        if (order && is_stored(dedup, at->key))
            entry->removed++;
    }
}

/* The spool is another one, or a write that failed was kept: the keys are counted anew. On the
 * committer's thread, so nothing is stored meanwhile. */
static void recount(struct dedup *dedup)
{
    const char *epoch = spool_epoch_borrow(dedup->spool);
    uint64_t count = 0;
    struct error err;
    if (epoch == dedup->counted ||
        spool_checkpoint_count(dedup->spool, slice_cstr(times), &count, &err) != OK)
        return;
    pthread_mutex_lock(&dedup->lock);
    for (size_t i = 0; i < SLOTS; i++) {
        for (struct dedup_entry *entry = dedup->slots[i]; entry != NULL; entry = entry->next) {
            if (entry->added > 0)
                adjust(dedup, entry);
        }
    }
    pthread_mutex_unlock(&dedup->lock);
    atomic_store(&dedup->key_count, count);
    dedup->counted = epoch;
}

struct dedup_entry *dedup_settle(struct dedup *dedup, struct dedup_entry *entry, bool durable)
{
    if (durable && entry->added > 0)
        recount(dedup);
    pthread_mutex_lock(&dedup->lock);
    struct dedup_entry **at = slot_of(dedup, buf_slice(&entry->name));
    while (*at != entry)
        at = &(*at)->next;
    *at = entry->next;
    if (durable) {
        uint64_t count = atomic_load(&dedup->key_count) + entry->added;
        atomic_store(&dedup->key_count, count > entry->removed ? count - entry->removed : 0);
    } else if (entry->added > 0) {
        atomic_store(&dedup->rewind, true);
    }
    struct dedup_entry *followers = entry->followers;
    entry->followers = NULL;
    pthread_mutex_unlock(&dedup->lock);
    return followers;
}
