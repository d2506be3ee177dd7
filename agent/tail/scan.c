/* SPDX-License-Identifier: Apache-2.0
 *
 * What lies where the pattern points: glob and stat, no inotify, which sees neither what
 * came before it nor what other machines do to a shared file system.
 */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/tail/files.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    OPEN_MAX = 256,   /* files at a time: those that changed last */
    ACTIVE_MS = 5000, /* after a change more are expected */
    FAULT_WAIT_MS = 10000,
};

static int64_t time_ns(const struct timespec *time)
{
    return (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
}

/* True: it is not as it was. A file that is seen for the first time changed when it says. */
static bool note_change(struct files *files, struct tail_file *file, const struct stat *info,
                        int64_t now_ms)
{
    int64_t mtime_ns = time_ns(&info->st_mtim);
    int64_t ctime_ns = time_ns(&info->st_ctim);
    bool as_it_was = file->size == (uint64_t)info->st_size && file->mtime_ns == mtime_ns;
    if (as_it_was && file->ctime_ns == ctime_ns)
        return false;
    int64_t age_ms = clock_wall_ms(files->clock) - mtime_ns / 1000000;
    bool first = file->ctime_ns == 0;
    pthread_mutex_lock(&files->lock);
    file->size = (uint64_t)info->st_size;
    file->mtime_ns = mtime_ns;
    file->ctime_ns = ctime_ns;
    if (!as_it_was || first) /* a name or a mode is no content */
        file->changed_at_ms = first && age_ms > 0 ? now_ms - age_ms : now_ms;
    pthread_mutex_unlock(&files->lock);
    return true;
}

static void set_path(struct files *files, struct tail_file *file, const char *path)
{
    if (file->path != NULL && strcmp(file->path, path) == 0)
        return;
    pthread_mutex_lock(&files->lock);
    free(file->path);
    file->path = memory_copy_cstr(path);
    pthread_mutex_unlock(&files->lock);
}

static int64_t birth_of(const char *path)
{
    struct statx info;
    if (statx(AT_FDCWD, path, 0, STATX_BTIME, &info) < 0 || (info.stx_mask & STATX_BTIME) == 0)
        return 0;
    return info.stx_btime.tv_sec * 1000000000 + info.stx_btime.tv_nsec;
}

static int by_birth(const void *one, const void *other)
{
    int64_t a = (*(struct tail_file *const *)one)->born_ns;
    int64_t b = (*(struct tail_file *const *)other)->born_ns;
    return (a > b) - (a < b);
}

/* A copy is younger than its original, which is to be read, and go on being read, first. */
static void queue_by_birth(struct files *files)
{
    size_t count = 0;
    struct tail_file **found = memory_alloc(files->count + 1, sizeof(struct tail_file *));
    for (struct tail_file *file = files->all; file != NULL; file = file->next) {
        if (file->unsorted)
            found[count++] = file;
        file->unsorted = false;
    }
    qsort(found, count, sizeof(struct tail_file *), by_birth);
    for (size_t i = 0; i < count; i++)
        files_queue(files, found[i]);
    free(found);
}

static void note_found(struct files *files, const char *path, const struct stat *info,
                       int64_t now_ms)
{
    struct tail_file *file = files_find(files, info->st_dev, info->st_ino);
    uint32_t path_crc32c = crc32c(0, slice_cstr(path));
    if (file == NULL) {
        file = files_add(files, info->st_dev, info->st_ino);
        file->place.path_crc32c = path_crc32c;
        file->born_ns = birth_of(path);
    }
    /* Two links to one file: the name it came with counts. */
    if (file->scan != files->scans || path_crc32c == file->place.path_crc32c) {
        bool rotated = file->path != NULL && tail_file_is_rotated(file);
        set_path(files, file, path);
        if (tail_file_is_rotated(file) && !rotated)
            files_queue(files, file);
    }
    file->scan = files->scans;
    pthread_mutex_lock(&files->lock);
    file->gone_at_ms = 0;
    pthread_mutex_unlock(&files->lock);
    if (!note_change(files, file, info, now_ms))
        return;
    file->unsorted = file->place.offset == 0;
    if (!file->unsorted)
        files_queue(files, file);
}

static void look_at_pattern(struct files *files, int64_t now_ms)
{
    glob_t found = {0};
    int rc = glob(files->pattern, GLOB_NOSORT | GLOB_BRACE, NULL, &found);
    for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++) {
        struct stat info;
        if (stat(found.gl_pathv[i], &info) == 0 && S_ISREG(info.st_mode))
            note_found(files, found.gl_pathv[i], &info, now_ms);
    }
    if (rc != 0 && !files->found_none)
        log_event(LOG_LEVEL_INFO, "tail", "no file yet", "pattern=\"%s\"", files->pattern);
    files->found_none = rc != 0;
    globfree(&found);
    queue_by_birth(files);
}

void files_scan(struct files *files, int64_t now_ms)
{
    int64_t start_ns = clock_thread_cpu_ns();
    files->scans++;
    look_at_pattern(files, now_ms);
    for (struct tail_file *file = files->all; file != NULL; file = file->next) {
        if (file->past)
            continue;
        if (file->scan != files->scans && file->gone_at_ms == 0)
            files_note_gone(files, file, now_ms);
        if (file->look_at_ms != 0 && now_ms >= file->look_at_ms)
            files_queue(files, file);
    }
    files_restore(files);
    files_forget(files, now_ms);
    files->scan_ns = clock_thread_cpu_ns() - start_ns;
}

bool files_poll(struct files *files, int64_t now_ms)
{
    bool active = false;
    for (struct tail_file *file = files->all; file != NULL; file = file->next) {
        struct stat info;
        if (file->fd < 0)
            continue;
        if (fstat(file->fd, &info) == 0 && note_change(files, file, &info, now_ms))
            files_queue(files, file);
        active = active || now_ms - file->changed_at_ms < ACTIVE_MS;
    }
    return active;
}

/* The one that has been quiet longest; what is gone can't be opened again. */
static void close_one(struct files *files)
{
    struct tail_file *quiet = NULL;
    for (struct tail_file *file = files->all; file != NULL; file = file->next) {
        if (file->fd >= 0 && !file->busy && file->gone_at_ms == 0 &&
            (quiet == NULL || file->changed_at_ms < quiet->changed_at_ms))
            quiet = file;
    }
    if (quiet != NULL)
        files_close_descriptor(files, quiet);
}

static void note_unreadable(struct files *files, struct tail_file *file, int error, int64_t now_ms)
{
    files_fault(files, file, FILE_UNREADABLE, strerror(error));
    file->look_at_ms = now_ms + FAULT_WAIT_MS;
}

bool files_ready(struct files *files, struct tail_file *file, int64_t now_ms)
{
    struct stat info;
    if (file->fd < 0 && (file->gone_at_ms != 0 || file->path == NULL))
        return false;
    if (file->fd < 0) {
        if (files->open_count >= OPEN_MAX)
            close_one(files);
        /* Not blocking: it may have become a pipe meanwhile. */
        int fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0 && errno != ENOENT)
            note_unreadable(files, file, errno, now_ms);
        if (fd < 0)
            return false;
        if (fstat(fd, &info) < 0 || !S_ISREG(info.st_mode) || info.st_dev != file->device ||
            info.st_ino != file->inode) {
            close(fd); /* the next scan knows more */
            return false;
        }
        files_set_descriptor(files, file, fd);
    }
    if (fstat(file->fd, &info) < 0) {
        note_unreadable(files, file, errno, now_ms);
        return false;
    }
    note_change(files, file, &info, now_ms);
    return true;
}
