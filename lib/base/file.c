/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/fault.h"
#include "lib/base/memory.h"

int file_write_all(int fd, struct slice bytes, struct error *err)
{
    int rc = fault_point("file.write", err);
    while (rc == OK && bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "write");
        bytes.data += n;
        bytes.len -= (size_t)n;
    }
    return rc;
}

int file_sync(int fd, struct error *err)
{
    int rc = fault_point("file.sync", err);
    if (rc != OK)
        return rc;
    return fsync(fd) == 0 ? OK : error_errno(err, "fsync");
}

int file_sync_filesystem(int fd, struct error *err)
{
    int rc = fault_point("file.sync_filesystem", err);
    if (rc != OK)
        return rc;
    return syncfs(fd) == 0 ? OK : error_errno(err, "syncfs");
}

int file_sync_directory(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, path);
    int rc = file_sync(fd, err);
    close(fd);
    return rc == OK ? OK : error_wrap(err, "%s", path);
}

int file_read(const char *path, size_t bytes_max, struct buf *out, struct error *err)
{
    int rc = OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, path);
    size_t start = out->len;
    for (;;) {
        if (!buf_reserve(out, 65536)) {
            rc = error_set(err, ERROR_LIMIT, "%s: larger than the buffer's ceiling", path);
            break;
        }
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            rc = error_errno(err, path);
        if (n <= 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > bytes_max) {
            rc = error_set(err, ERROR_LIMIT, "%s: larger than %zu bytes", path, bytes_max);
            break;
        }
    }
    close(fd);
    return rc;
}

/* The directory part of a path, to be freed: "." when there is none. */
static char *directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return memory_copy_cstr(".");
    if (slash == path)
        return memory_copy_cstr("/");
    return memory_copy_slice(slice_of(path, (size_t)(slash - path)));
}

int file_replace(const char *path, struct slice bytes, mode_t mode, struct error *err)
{
    int rc = OK;
    char *directory = directory_of(path);
    char *beside = memory_printf("%s.%d.tmp", path, (int)getpid());
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0) {
        rc = error_errno(err, "open");
        goto out;
    }
    rc = file_write_all(fd, bytes, err);
    if (rc == OK)
        rc = file_sync(fd, err);
    if (rc == OK && rename(beside, path) < 0)
        rc = error_errno(err, "rename");
    if (rc == OK)
        rc = file_sync_directory(directory, err);
out:
    if (fd >= 0)
        close(fd);
    if (rc != OK)
        unlink(beside);
    free(beside);
    free(directory);
    return rc == OK ? OK : error_wrap(err, "%s", path);
}

int file_make_directories(const char *path, mode_t mode, struct error *err)
{
    int rc = OK;
    char *copy = memory_copy_cstr(path);
    for (char *at = copy + 1; rc == OK; at++) {
        char saved = *at;
        if (saved != '/' && saved != 0)
            continue;
        *at = 0;
        struct stat info;
        if (mkdir(copy, mode) < 0 && errno != EEXIST)
            rc = error_errno(err, copy);
        else if (stat(copy, &info) < 0)
            rc = error_errno(err, copy);
        else if (!S_ISDIR(info.st_mode))
            rc = error_set(err, ERROR_INPUT, "%s: not a directory", copy);
        *at = saved;
        if (saved == 0)
            break;
    }
    free(copy);
    return rc;
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *where)
{
    (void)info;
    (void)type;
    (void)where;
    return remove(path);
}

int file_remove_tree(const char *path, struct error *err)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
        return error_errno(err, path);
    return OK;
}
