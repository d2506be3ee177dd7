/* SPDX-License-Identifier: Apache-2.0
 *
 * The files of an announcement, asked for before they are committed: a table must never
 * name an object that isn't there or has other bytes.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cloud/inbox.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"

static const int64_t default_file_age_ms = 24LL * 3600 * 1000;
enum { COPY_NAMES_MAX = 16 };

struct asking {
    const struct committer *committer;
    const char *table;
    struct inbox_entry *entry;
    const struct data_file *file;
    struct buf key;
    struct objstore_info info;
};

static int head(struct asking *a, const char *path, struct error *err)
{
    buf_reset(&a->key);
    key_of_data_file(a->table, path, &a->key);
    return objstore_head(a->committer->store, buf_cstr(&a->key), &a->info, err);
}

static bool has_its_bytes(const struct asking *a)
{
    return a->info.found && a->info.size == a->file->size && a->info.has_crc32c &&
           a->info.crc32c == a->file->crc32c;
}

static bool is_old(const struct asking *a)
{
    int64_t limit = a->committer->file_age_ms > 0 ? a->committer->file_age_ms : default_file_age_ms;
    return a->info.store_time_ms - a->info.modified_ms > limit;
}

/* What this very call has made is new, however old it looks: then the clock that the store tells
 * the time by is ahead of the one that it stamps files by (a store of files tells this machine's
 * time, a file server stamps by its own). A copy with its source's time is none the wiser: that
 * store shows it to every clean-up as an old file. */
static bool copy_is_fit(struct asking *a, bool made, int64_t source_modified_ms)
{
    if (!has_its_bytes(a))
        return false;
    if (!is_old(a))
        return true;
    if (!made || a->info.modified_ms == source_modified_ms)
        return false;
    a->entry->ahead_ms = a->info.store_time_ms - a->info.modified_ms;
    return true;
}

/* An old file may stand on some clean-up's list already: its copy doesn't. A next name
 * that is taken is used if it holds the same bytes and is young (an attempt before this
 * one made it), else the one after it. `a` knows of the old file. */
static int copy_to_next(struct asking *a, const char **path, struct error *err)
{
    struct buf next = {0};
    struct buf source = {0};
    const char *at = *path;
    int64_t source_modified_ms = a->info.modified_ms;
    int rc = OK;
    key_of_data_file(a->table, *path, &source);
    for (int i = 0; i < COPY_NAMES_MAX; i++) {
        buf_reset(&next);
        if (!data_file_path_next(at, &next)) {
            rc = error_set(err, ERROR_LIMIT, "%s: no next name", at);
            goto out;
        }
        at = arena_copy_cstr(&a->entry->announcement.arena, buf_slice(&next));
        buf_reset(&a->key);
        key_of_data_file(a->table, at, &a->key);
        rc = objstore_copy(a->committer->store, buf_cstr(&source), buf_cstr(&a->key),
                           PUT_IF_ABSENT | PUT_UNSYNCED, err);
        if (rc != OK && rc != ERROR_CONFLICT) {
            rc = error_wrap(err, "copy to %s", buf_cstr(&a->key));
            goto out;
        }
        bool made = rc == OK;
        rc = head(a, at, err);
        if (rc != OK)
            goto out;
        if (copy_is_fit(a, made, source_modified_ms)) {
            *path = at;
            a->entry->copied++;
            goto out;
        }
    }
    rc = error_set(err, ERROR_RETRY, "%s: none of the next %d names could be used", *path,
                   COPY_NAMES_MAX);
out:
    buf_free(&next);
    buf_free(&source);
    return rc;
}

static void refuse_bytes(struct asking *a, const char *path)
{
    char reason[300];
    if (!a->info.has_crc32c)
        snprintf(reason, sizeof reason, "file %.150s: the store shows no checksum of it", path);
    else
        snprintf(reason, sizeof reason,
                 "file %.150s: announced %" PRIu64 " bytes, CRC32C %08x; stored %" PRIu64
                 " bytes, %08x",
                 path, a->file->size, a->file->crc32c, a->info.size, a->info.crc32c);
    inbox_refuse(a->entry, reason);
}

static int file_ask(struct asking *a, const char **path, struct error *err)
{
    int rc = head(a, *path, err);
    if (rc != OK)
        return rc;
    if (!a->info.found) {
        a->entry->state = ENTRY_MISSING;
        free(a->entry->reason);
        a->entry->reason = memory_printf("file %s is not in the store", *path);
        return OK;
    }
    if (!has_its_bytes(a)) {
        refuse_bytes(a, *path);
        return OK;
    }
    return is_old(a) ? copy_to_next(a, path, err) : OK;
}

int inbox_check_files(const struct committer *committer, const char *table,
                      struct inbox_entry *entry, struct error *err)
{
    struct announcement *announcement = &entry->announcement;
    struct asking asking = {.committer = committer, .table = table, .entry = entry};
    int rc = OK;
    entry->paths =
        arena_alloc(&announcement->arena, announcement->file_count + 1, sizeof *entry->paths);
    for (size_t i = 0; i < announcement->file_count && rc == OK; i++) {
        asking.file = &announcement->files[i];
        entry->paths[i] = asking.file->path;
        rc = file_ask(&asking, &entry->paths[i], err);
        if (entry->state == ENTRY_MISSING || entry->state == ENTRY_REFUSED)
            break;
    }
    entry->headed = rc == OK && entry->state != ENTRY_MISSING && entry->state != ENTRY_REFUSED;
    buf_free(&asking.key);
    return rc == OK ? fault_point("commit.heads_done", err) : rc;
}
