/* SPDX-License-Identifier: Apache-2.0
 *
 * A place is kept in the spool under "tail/<table>/<device>/<inode>/<generation>", the
 * numbers in hex; of several generations the greatest is the inode's present content.
 */
#include "agent/tail/files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/tail/tail.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    BUCKETS = 4096,
    IDLE_MS = 60000,          /* whoever writes a file has written by then */
    FORGET_GONE_MS = 3600000, /* of this life; a copy may still turn up */
    AT_ONCE = 64,             /* places that are stored or forgotten */
};
#define FORGET_STORED_MS (7 * 24 * INT64_C(3600000))

const char *const tail_fault_names[SOURCE_FILE_FAULT_COUNT] = {[FILE_UNREADABLE] = "unreadable",
                                                               [FILE_BINARY] = "binary",
                                                               [FILE_DAMAGED] = "damaged",
                                                               [FILE_TRUNCATED] = "truncated",
                                                               [FILE_REPLACED] = "replaced",
                                                               [FILE_GONE] = "gone",
                                                               [FILE_HOLE] = "hole"};

/* ---- entries ---- */

static size_t bucket_of(uint64_t device, uint64_t inode)
{
    return (size_t)((inode * UINT64_C(0x9e3779b97f4a7c15) + device) >> 20) % BUCKETS;
}

struct tail_file *files_find(const struct files *files, uint64_t device, uint64_t inode)
{
    struct tail_file *file = files->buckets[bucket_of(device, inode)];
    while (file != NULL && (file->past || file->device != device || file->inode != inode))
        file = file->bucket;
    return file;
}

struct tail_file *files_add(struct files *files, uint64_t device, uint64_t inode)
{
    struct tail_file **bucket = &files->buckets[bucket_of(device, inode)];
    struct tail_file *file = memory_alloc(1, sizeof *file);
    file->device = device;
    file->inode = inode;
    file->fd = -1;
    for (const struct tail_file *at = *bucket; at != NULL; at = at->bucket) {
        if (at->device == device && at->inode == inode && at->generation >= file->generation)
            file->generation = at->generation + 1;
    }
    file->bucket = *bucket;
    *bucket = file;
    pthread_mutex_lock(&files->lock);
    file->next = files->all;
    files->all = file;
    files->count++;
    pthread_mutex_unlock(&files->lock);
    return file;
}

static void free_file(struct tail_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    free(file->path);
    free(file);
}

static void remove_file(struct files *files, struct tail_file *file)
{
    ASSERT(!file->queued && !file->busy && !file->held && file->fd < 0);
    struct tail_file **at = &files->buckets[bucket_of(file->device, file->inode)];
    while (*at != file)
        at = &(*at)->bucket;
    *at = file->bucket;
    pthread_mutex_lock(&files->lock);
    for (at = &files->all; *at != NULL;) {
        struct tail_file *other = *at;
        if (other->original == file)
            other->original = NULL;
        if (other == file)
            *at = file->next;
        else
            at = &other->next;
    }
    files->count--;
    pthread_mutex_unlock(&files->lock);
    free_file(file);
}

void files_queue(struct files *files, struct tail_file *file)
{
    file->missed = file->busy && !file->past;
    if (file->queued || file->past || file->busy)
        return;
    file->queued = true;
    file->queued_next = NULL;
    struct tail_queue *queue = &files->queues[file->compressed];
    if (queue->first == NULL)
        queue->first = file;
    else
        queue->last->queued_next = file;
    queue->last = file;
}

void files_set_busy(struct files *files, struct tail_file *file, bool busy)
{
    ASSERT(file->busy != busy);
    file->busy = busy;
    if (!busy && file->missed)
        files_queue(files, file);
}

struct tail_file *files_next(struct files *files, bool compressed)
{
    struct tail_queue *queue = &files->queues[compressed];
    struct tail_file *file = queue->first;
    if (file == NULL)
        return NULL;
    queue->first = file->queued_next;
    file->queued = false;
    return file;
}

uint64_t tail_file_text_size(const struct tail_file *file)
{
    return file->size > file->hole ? file->size - file->hole : 0;
}

bool tail_file_is_live(const struct tail_file *file)
{
    return !file->past && (file->gone_at_ms == 0 || file->fd >= 0);
}

bool tail_file_gives(const struct tail_file *file)
{
    bool whole = file->place.ended && file->place.file_size == file->size;
    bool damaged = file->state == TAIL_FAULTY && file->fault == FILE_DAMAGED;
    return tail_file_is_live(file) && !whole && !damaged;
}

bool tail_file_is_rotated(const struct tail_file *file)
{
    return file->gone_at_ms != 0 || file->path == NULL ||
           crc32c(0, slice_cstr(file->path)) != file->place.path_crc32c;
}

void files_wake_copies(struct files *files, const struct tail_file *original)
{
    for (struct tail_file *file = files->all; file != NULL; file = file->next) {
        if (file->original == original)
            files_queue(files, file);
    }
}

void files_set_descriptor(struct files *files, struct tail_file *file, int fd)
{
    pthread_mutex_lock(&files->lock);
    file->fd = fd;
    pthread_mutex_unlock(&files->lock);
    if (fd >= 0)
        files->open_count++;
    else
        files->open_count--;
}

void files_close_descriptor(struct files *files, struct tail_file *file)
{
    if (file->fd < 0)
        return;
    close(file->fd);
    files_set_descriptor(files, file, -1);
    if (!tail_file_is_live(file))
        files_wake_copies(files, file);
}

void files_note_gone(struct files *files, struct tail_file *file, int64_t now_ms)
{
    pthread_mutex_lock(&files->lock);
    file->gone_at_ms = now_ms;
    pthread_mutex_unlock(&files->lock);
    if (file->fd >= 0) {
        files_queue(files, file);
        return;
    }
    bool unread = !file->compressed && file->state != TAIL_COPY &&
                  tail_file_text_size(file) > file->place.offset;
    if (file->path != NULL && unread)
        files_fault(files, file, FILE_GONE, "it is gone before it was read to its end");
    files_wake_copies(files, file);
}

/* ---- what becomes of them ---- */

void files_fault(struct files *files, struct tail_file *file, enum source_file_fault fault,
                 const char *why)
{
    bool again = fault != FILE_TRUNCATED && fault != FILE_REPLACED && fault != FILE_HOLE;
    unsigned bit = 1U << fault;
    if (again && file->state == TAIL_FAULTY && file->fault == fault)
        return;
    atomic_fetch_add(&files->faults[fault], 1);
    if ((file->named & bit) == 0 && !again)
        log_event(LOG_LEVEL_INFO, "tail", why, "file=\"%s\" offset=%" PRIu64 " line=%" PRIu64,
                  file->path, file->hole + file->place.offset, file->place.at.line);
    else if ((file->named & bit) == 0)
        log_event(LOG_LEVEL_WARN, "tail", "a file does not read on, the others do",
                  "file=\"%s\" fault=%s offset=%" PRIu64 " line=%" PRIu64 " why=\"%s\"", file->path,
                  tail_fault_names[fault], file->hole + file->place.offset, file->place.at.line,
                  why);
    file->named |= bit;
    if (!again)
        return;
    pthread_mutex_lock(&files->lock);
    file->state = TAIL_FAULTY;
    file->fault = fault;
    pthread_mutex_unlock(&files->lock);
}

void files_replace(struct files *files, struct tail_file *file, enum source_file_fault why)
{
    files_fault(files, file, why,
                why == FILE_TRUNCATED
                    ? "a file is shorter than what was taken of it, taken from its start"
                    : "a file has other content than was taken of it, taken from its start");
    struct tail_file *past = files_add(files, file->device, file->inode);
    uint32_t generation = past->generation;
    pthread_mutex_lock(&files->lock);
    past->generation = file->generation;
    past->place = file->place;
    past->stored = file->stored;
    past->past = true;
    past->gone_at_ms = clock_mono_ms(files->clock);
    file->generation = generation;
    file->place = (struct tail_place){.path_crc32c = crc32c(0, slice_cstr(file->path))};
    file->stored = false;
    file->dirty = false;
    file->hole = 0;
    file->doubt_at_ms = 0;
    file->compressed = false;
    file->state = TAIL_FRESH;
    pthread_mutex_unlock(&files->lock);
    for (struct tail_file *at = files->all; at != NULL; at = at->next) {
        if (at->original == file)
            at->original = past;
    }
    files_wake_copies(files, past);
}

void files_settle(struct files *files, struct tail_file *file, const struct tail_place *place,
                  struct tail_file *superseded)
{
    pthread_mutex_lock(&files->lock);
    file->place = *place;
    file->stored = true;
    file->dirty = false;
    pthread_mutex_unlock(&files->lock);
    if (superseded != NULL)
        remove_file(files, superseded);
}

void files_set_hole(struct files *files, struct tail_file *file, uint64_t hole)
{
    pthread_mutex_lock(&files->lock);
    file->hole = hole;
    pthread_mutex_unlock(&files->lock);
}

void files_set_compressed(struct files *files, struct tail_file *file, bool compressed)
{
    ASSERT(!file->queued); /* its queue goes by that */
    pthread_mutex_lock(&files->lock);
    file->compressed = compressed;
    pthread_mutex_unlock(&files->lock);
}

void files_set_state(struct files *files, struct tail_file *file, enum tail_state state,
                     struct tail_file *original)
{
    pthread_mutex_lock(&files->lock);
    file->state = state;
    file->original = original;
    pthread_mutex_unlock(&files->lock);
}

/* ---- in the spool ---- */

size_t tail_file_key(const struct files *files, const struct tail_file *file,
                     char out[TAIL_KEY_MAX])
{
    int len = snprintf(out, TAIL_KEY_MAX, "tail/%s/%" PRIx64 "/%" PRIx64 "/%" PRIx32, files->table,
                       file->device, file->inode, file->generation);
    ASSERT(len > 0 && len < TAIL_KEY_MAX);
    return (size_t)len;
}

/* What can't be read is somebody else's: it stays, and the file is taken for a new one. */
static void load_one(struct files *files, struct slice key, struct slice value)
{
    uint64_t device = 0;
    uint64_t inode = 0;
    uint32_t generation = 0;
    char name[TAIL_KEY_MAX];
    char format[TAIL_KEY_MAX];
    char again[TAIL_KEY_MAX] = "";
    struct tail_place place;
    ASSERT(key.len < sizeof name);
    memcpy(name, key.data, key.len);
    name[key.len] = 0;
    size_t prefix = (size_t)snprintf(format, sizeof format, "tail/%s/", files->table);
    struct tail_file probe = {0};
    if (sscanf(name + prefix, "%" SCNx64 "/%" SCNx64 "/%" SCNx32, &device, &inode, &generation) ==
        3) {
        probe.device = device;
        probe.inode = inode;
        probe.generation = generation;
        tail_file_key(files, &probe, again);
    }
    if (probe.inode == 0 || strcmp(name, again) != 0 || !place_decode(value, &place)) {
        log_event(LOG_LEVEL_WARN, "tail", "a place in a file is not understood", "key=\"%s\"",
                  name);
        return;
    }
    struct tail_file *current = files_find(files, device, inode);
    struct tail_file *file = files_add(files, device, inode);
    file->generation = generation;
    file->place = place;
    file->stored = true;
    if (current != NULL && current->generation > generation)
        file->past = true;
    else if (current != NULL)
        current->past = true;
}

static int load_all(struct files *files, struct error *err)
{
    char prefix[TAIL_KEY_MAX];
    struct buf key = {0};
    struct buf value = {0};
    bool found = true;
    int rc = OK;
    snprintf(prefix, sizeof prefix, "tail/%s/", files->table);
    while (rc == OK && found) {
        struct buf next = {0};
        rc = spool_checkpoint_next(files->spool, slice_cstr(prefix), buf_slice(&key), &next, &found,
                                   err);
        buf_free(&key);
        key = next;
        buf_reset(&value);
        if (rc == OK && found)
            rc = spool_checkpoint_get(files->spool, buf_slice(&key), &value, &found, err);
        if (rc == OK && found)
            load_one(files, buf_slice(&key), buf_slice(&value));
    }
    buf_free(&key);
    buf_free(&value);
    return rc;
}

int files_open(struct files *files, const struct source_options *options, struct error *err)
{
    *files = (struct files){.spool = options->spool,
                            .clock = options->clock != NULL ? options->clock : &clock_system,
                            .pattern = options->address,
                            .table = options->table,
                            .buckets = memory_alloc(BUCKETS, sizeof *files->buckets)};
    pthread_mutex_init(&files->lock, NULL);
    return load_all(files, err);
}

void files_close(struct files *files)
{
    if (files->buckets == NULL)
        return;
    while (files->all != NULL) {
        struct tail_file *file = files->all;
        files->all = file->next;
        free_file(file);
    }
    free(files->buckets);
    pthread_mutex_destroy(&files->lock);
    *files = (struct files){0};
}

/* Stores what there is room for of the places from *at on; with the last the mark. */
static int restore_some(struct files *files, struct tail_file **at, struct slice mark,
                        struct error *err)
{
    struct spool_checkpoint places[AT_ONCE + 1];
    char keys[AT_ONCE][TAIL_KEY_MAX];
    uint8_t values[AT_ONCE][PLACE_SIZE];
    size_t count = 0;
    struct tail_file *file = *at;
    for (; file != NULL && count < AT_ONCE; file = file->next) {
        if (!file->stored)
            continue;
        file->dirty = file->busy; /* a newer place may be on its way */
        if (file->busy)
            continue;
        size_t len = tail_file_key(files, file, keys[count]);
        place_encode(&file->place, values[count]);
        places[count] = (struct spool_checkpoint){.key = slice_of(keys[count], len),
                                                  .value = slice_of(values[count], PLACE_SIZE)};
        count++;
    }
    if (file == NULL)
        places[count++] = (struct spool_checkpoint){.key = mark, .value = slice_cstr("1")};
    int rc = count > 0 ? spool_append(files->spool, NULL, 0, places, count, NULL, err) : OK;
    if (rc == OK)
        *at = file;
    return rc;
}

void files_restore(struct files *files)
{
    char mark[TAIL_KEY_MAX];
    struct buf value = {0};
    struct error err;
    bool found = false;
    snprintf(mark, sizeof mark, "tail-mark/%s", files->table);
    int rc = spool_checkpoint_get(files->spool, slice_cstr(mark), &value, &found, &err);
    buf_free(&value);
    if (rc != OK || found)
        return;
    struct tail_file *at = files->all;
    do
        rc = restore_some(files, &at, slice_cstr(mark), &err);
    while (rc == OK && at != NULL);
    if (rc == OK && files->scans > 1) /* if not, with the next scan */
        log_event(LOG_LEVEL_WARN, "tail", "the spool was begun anew, places are stored again",
                  "files=%zu", files->count);
}

/* Without its place they would be new at the next start. */
static bool has_copies(const struct files *files, const struct tail_file *original)
{
    for (const struct tail_file *at = files->all; at != NULL; at = at->next) {
        if (at->original == original && tail_file_is_live(at))
            return true;
    }
    return false;
}

static bool is_forgotten(const struct files *files, const struct tail_file *file, int64_t now_ms)
{
    return !tail_file_is_live(file) && !file->queued && !file->busy && !file->held &&
           now_ms - file->gone_at_ms >= FORGET_GONE_MS &&
           (!file->stored ||
            clock_wall_ms(files->clock) - file->place.stored_at_ms >= FORGET_STORED_MS) &&
           !has_copies(files, file);
}

void files_forget(struct files *files, int64_t now_ms)
{
    char keys[AT_ONCE][TAIL_KEY_MAX];
    struct spool_checkpoint removed[AT_ONCE];
    struct tail_file *forgotten[AT_ONCE];
    size_t count = 0;
    size_t stored = 0;
    struct error err;
    for (struct tail_file *at = files->all; at != NULL && count < AT_ONCE; at = at->next) {
        if (!is_forgotten(files, at, now_ms))
            continue;
        forgotten[count++] = at;
        if (!at->stored)
            continue;
        size_t len = tail_file_key(files, at, keys[stored]);
        removed[stored] = (struct spool_checkpoint){.key = slice_of(keys[stored], len)};
        stored++;
    }
    if (stored > 0 && spool_append(files->spool, NULL, 0, removed, stored, NULL, &err) != OK)
        return; /* with the next scan */
    for (size_t i = 0; i < count; i++)
        remove_file(files, forgotten[i]);
}

/* ---- for those who look ---- */

static const char *state_of(const struct tail_file *file)
{
    static const char *const names[] = {[TAIL_FRESH] = "waiting",
                                        [TAIL_READ] = "reading",
                                        [TAIL_COPY] = "copy",
                                        [TAIL_FINISHED] = "finished"};
    return file->state == TAIL_FAULTY ? tail_fault_names[file->fault] : names[file->state];
}

static bool is_safe(const struct tail_file *file, int64_t now_ms)
{
    if (file->state == TAIL_FINISHED)
        return file->place.file_size == file->size;
    return file->state == TAIL_READ && !file->compressed &&
           file->place.offset == tail_file_text_size(file) && file->stored &&
           (tail_file_is_rotated(file) || now_ms - file->changed_at_ms >= IDLE_MS);
}

void files_list(struct files *files, source_file_list *list, void *context)
{
    int64_t now_ms = clock_mono_ms(files->clock);
    pthread_mutex_lock(&files->lock);
    for (const struct tail_file *file = files->all; file != NULL; file = file->next) {
        if (file->path == NULL || !tail_file_is_live(file))
            continue;
        struct source_file out = {.path = file->path,
                                  .table = files->table,
                                  .state = state_of(file),
                                  .size = file->size,
                                  .offset = file->hole + file->place.offset,
                                  .lines = file->place.at.line,
                                  .compressed = file->compressed,
                                  .safe_to_delete = is_safe(file, now_ms)};
        list(context, &out);
    }
    pthread_mutex_unlock(&files->lock);
}
