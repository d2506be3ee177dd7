/* SPDX-License-Identifier: Apache-2.0
 *
 * room.c: how much may be kept, by the budget and by the disk, whichever is less.
 *
 * Of the budget a part stays free (bytes_reserve), of the disk an eighth (256 MiB at most):
 * what is built from a segment must find room, or nothing could be delivered, and so
 * nothing trimmed, ever again. Files in sealed/ lie in that part, so they don't count
 * against it. data.mdb never gets shorter: it is not lengthened into that part, though the
 * budget allows it. As much again is left of the file, as the map has more than the budget:
 * pages that a reader holds, or that lie too scattered for a block.
 *
 * Where the file may not be lengthened, an append goes into pages of it that are free. LMDB
 * doesn't say beforehand where it puts something: who finds its block behind the file's end
 * gives up (room_check). The few pages of trees that a transaction may lay there have a slack
 * of their own.
 */
#include "spool/room.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "lib/base/assert.h"
#include "lib/base/log.h"

enum {
    FILE_STEP_MIN = 256 << 10,
    FILE_STEP_MAX = 16 << 20,
    FILE_SLACK = 256 << 10, /* tree pages and free list that a transaction may add */
    DISK_SHARE = 8,
    DISK_RESERVE_MAX = 256 << 20,
    SEGMENT_SHARE = 8,
    SEGMENT_LEAST = 1 << 20, /* smaller ones gain nothing: files have a size of their own */
};

/* What the disk has for us, with all that is ours on it; its size. UINT64_MAX: not known. */
struct disk {
    uint64_t free;
    uint64_t ours;
    uint64_t size;
};

static struct disk look_at_disk(const struct spool *spool)
{
    struct statvfs info;
    if (fstatvfs(spool->lock_fd >= 0 ? spool->lock_fd : spool->data_fd, &info) < 0 ||
        info.f_blocks == 0) /* so some of a network say that they don't know */
        return (struct disk){.free = UINT64_MAX, .ours = UINT64_MAX, .size = UINT64_MAX};
    uint64_t free = (uint64_t)info.f_bavail * info.f_frsize;
    return (struct disk){.free = free,
                         .ours = free + atomic_load(&spool->allocated_bytes) +
                                 atomic_load(&spool->sealed_bytes),
                         .size = (uint64_t)info.f_blocks * info.f_frsize};
}

static uint64_t disk_reserve(uint64_t bytes)
{
    uint64_t share = bytes / DISK_SHARE;
    return share < DISK_RESERVE_MAX ? share : DISK_RESERVE_MAX;
}

static uint64_t budget(const struct spool *spool)
{
    return spool->bytes_max - spool->bytes_reserve;
}

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool room_is_disks(const struct spool *spool)
{
    return atomic_load(&spool->disk_usable_bytes) < budget(spool);
}

uint64_t room_for_builds(const struct spool *spool)
{
    return room_is_disks(spool) ? atomic_load(&spool->disk_reserve_bytes) : spool->bytes_reserve;
}

/* Where others have filled the disk the file stays ours: to drop events for that would give
 * nothing back to it. */
static uint64_t disk_usable(const struct spool *spool, const struct disk *disk)
{
    if (disk->ours == UINT64_MAX)
        return UINT64_MAX;
    uint64_t reserve = disk_reserve(disk->ours);
    uint64_t file = atomic_load(&spool->allocated_bytes);
    uint64_t within = file > reserve ? file - reserve : 0;
    uint64_t usable = disk->ours - 2 * reserve;
    return usable > within ? usable : within;
}

/* Said once: the disk's room comes and goes with what else lies on it. */
static void note_disk(struct spool *spool, const struct disk *disk)
{
    uint64_t usable = disk_usable(spool, disk);
    atomic_store(&spool->disk_usable_bytes, usable);
    atomic_store(&spool->disk_reserve_bytes, disk_reserve(disk->ours));
    atomic_store(&spool->disk_most_bytes,
                 disk->size == UINT64_MAX ? UINT64_MAX : disk->size - 2 * disk_reserve(disk->size));
    bool near = store_used_bytes(spool) + usable / DISK_SHARE >= usable;
    if (!room_is_disks(spool) || !near || spool->read_only ||
        atomic_exchange(&spool->disk_noted, true))
        return;
    log_event(LOG_LEVEL_WARN, "spool",
              "the disk has less room than spool.bytes: it is full before the budget is spent",
              "spool=\"%s\" usable=%llu budget=%llu", spool->directory, (unsigned long long)usable,
              (unsigned long long)spool->bytes_max);
}

uint64_t store_appendable_bytes(const struct spool *spool)
{
    return least(budget(spool), atomic_load(&spool->disk_usable_bytes));
}

uint64_t store_used_bytes(const struct spool *spool)
{
    return atomic_load(&spool->live_bytes) + atomic_load(&spool->sealed_bytes);
}

uint64_t room_segment_bytes(const struct spool *spool)
{
    uint64_t share = spool->bytes_max / SEGMENT_SHARE;
    share = share < SEGMENT_LEAST ? SEGMENT_LEAST : share;
    return room_is_disks(spool) ? least(share, atomic_load(&spool->disk_reserve_bytes)) : share;
}

static bool count_sealed(struct spool *spool)
{
    uint64_t sum = 0;
    DIR *directory = opendir(spool->sealed_directory);
    if (directory == NULL)
        return false;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        struct stat info;
        if (fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(info.st_mode))
            sum += (uint64_t)info.st_size;
    }
    closedir(directory);
    atomic_store(&spool->sealed_bytes, sum);
    return true;
}

static struct disk measure(struct spool *spool)
{
    bool counted = count_sealed(spool);
    struct disk disk = look_at_disk(spool);
    if (counted)
        note_disk(spool, &disk);
    return disk;
}

void store_measure_sealed(struct spool *spool)
{
    (void)measure(spool);
}

/* ---- the file ---- */

/* As far as the disk's reserve stays free, or half of it. */
static int lengthen(struct spool *spool, uint64_t need, uint64_t want, bool into_reserve,
                    struct error *err)
{
    uint64_t from = atomic_load(&spool->allocated_bytes);
    struct disk disk = measure(spool);
    uint64_t reserve = disk_reserve(disk.ours) / (into_reserve ? 2 : 1);
    int rc = -1;
    if (disk.ours != UINT64_MAX)
        want = least(want, disk.ours - reserve);
    errno = ENOSPC;
    if (want >= need)
        rc = fallocate(spool->data_fd, 0, (off_t)from, (off_t)(want - from));
    if (rc < 0 && want > need && errno != EOPNOTSUPP) {
        want = need;
        rc = fallocate(spool->data_fd, 0, (off_t)from, (off_t)(want - from));
    }
    if (rc < 0 && errno != EOPNOTSUPP) {
        error_errno(err, "no room for data.mdb");
        return error_wrap(err, "spool %s", spool->directory);
    }
    atomic_store(&spool->allocated_bytes, want);
    return OK;
}

/* Whether so much finds room in the file as it is, which may not get longer. */
static bool fits_in_free_pages(struct spool *spool, MDB_txn *txn, uint64_t end, uint64_t bytes)
{
    struct error err;
    uint64_t slack_end = end + FILE_SLACK;
    bool slack = slack_end <= atomic_load(&spool->allocated_bytes) ||
                 lengthen(spool, slack_end, slack_end + FILE_SLACK, true, &err) == OK;
    /* Without a reader all pages that are free can be used, so that trees need no slack. */
    return (slack || atomic_load(&spool->reader_count) == 0) &&
           store_live_bytes(spool, txn) + bytes + FILE_SLACK <= end;
}

int store_reserve_file(struct spool *spool, MDB_txn *txn, uint64_t bytes, struct error *err)
{
    MDB_envinfo info = {0};
    int cause = mdb_env_info(spool->env, &info);
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: mdb_env_info", cause);
    uint64_t end = (info.me_last_pgno + 1) * spool->page_size;
    uint64_t need = least(end + bytes + FILE_SLACK, info.me_mapsize);
    spool->tight_end = 0;
    if (need <= atomic_load(&spool->allocated_bytes))
        return OK;
    uint64_t step = least(spool->bytes_max / 64, FILE_STEP_MAX);
    step = step < FILE_STEP_MIN ? FILE_STEP_MIN : step;
    int rc = lengthen(spool, need, least(need + step, info.me_mapsize), bytes == 0, err);
    if (rc != ERROR_LIMIT || bytes == 0)
        return rc;
    spool->tight_end = end;
    if (fits_in_free_pages(spool, txn, end, bytes))
        return OK;
    err->cause = MDB_MAP_FULL; /* like a map that is full: what is dropped makes room */
    return ERROR_LIMIT;
}

int room_check(const struct spool *spool, struct slice value, struct error *err)
{
    enum { HEADER = 16 }; /* before a value with pages of its own; begins with the first's number */
    uint64_t number = 0;
    if (spool->tight_end == 0 || value.len <= spool->page_size / 2)
        return OK;
    memcpy(&number, value.data - HEADER, sizeof number);
    uint64_t pages = (HEADER + value.len - 1) / spool->page_size + 1;
    if ((number + pages) * spool->page_size <= spool->tight_end)
        return OK;
    error_set(err, ERROR_LIMIT,
              "spool %s: the disk is full, and data.mdb has no %llu free pages side by side",
              spool->directory, (unsigned long long)pages);
    err->cause = MDB_MAP_FULL;
    return ERROR_LIMIT;
}

uint64_t room_file_max(const struct spool *spool)
{
    MDB_envinfo info = {0};
    int cause = mdb_env_info(spool->env, &info);
    ASSERT(cause == MDB_SUCCESS);
    return spool->tight_end > 0 ? least(info.me_mapsize, atomic_load(&spool->allocated_bytes))
                                : info.me_mapsize;
}

/* ---- what others are told ---- */

void spool_room(const struct spool *spool, struct spool_room *out)
{
    *out = (struct spool_room){.used = store_used_bytes(spool),
                               .usable = store_appendable_bytes(spool),
                               .most = least(budget(spool), atomic_load(&spool->disk_most_bytes))};
}
