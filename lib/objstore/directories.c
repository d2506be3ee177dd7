/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/objstore/directories.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

void directories_init(struct directories *directories, const char *root)
{
    *directories = (struct directories){.root = memory_copy_cstr(root)};
    pthread_mutex_init(&directories->lock, NULL);
}

void directories_free(struct directories *directories)
{
    directories_forget(directories);
    pthread_mutex_destroy(&directories->lock);
    free(directories->root);
}

int path_errno(struct error *err, const char *what)
{
    int cause = errno;
    int rc = error_errno(err, what);
    if (cause == ENAMETOOLONG || cause == ENOTDIR || cause == EISDIR || cause == ELOOP)
        err->code = ERROR_INPUT;
    if (cause == ENOSPC || cause == EDQUOT)
        rc = error_wrap(err, "the warehouse's disk is full");
    return rc == OK ? OK : (int)err->code;
}

static bool synced_swap(struct directories *directories, struct slice directory, bool add)
{
    size_t slot = crc32c(0, directory) & (SYNCED_SLOTS - 1);
    pthread_mutex_lock(&directories->lock);
    char **held = &directories->synced[slot];
    bool known = *held != NULL && slice_is(directory, *held);
    if (add && !known) {
        free(*held);
        *held = memory_copy_slice(directory);
    }
    pthread_mutex_unlock(&directories->lock);
    return known;
}

void directories_forget(struct directories *directories)
{
    pthread_mutex_lock(&directories->lock);
    for (size_t i = 0; i < SYNCED_SLOTS; i++) {
        free(directories->synced[i]);
        directories->synced[i] = NULL;
    }
    pthread_mutex_unlock(&directories->lock);
}

/* Makes `segment` in `parent`, where it isn't there, and with `durable` its name durable. */
static int directory_make(struct directories *directories, int parent, const char *segment,
                          struct slice directory, bool durable, struct error *err)
{
    bool made = mkdirat(parent, segment, 0755) == 0;
    if (!made && errno == ENOENT) /* the parent itself */
        return error_set(err, ERROR_RETRY, "\"%s\" was tidied away meanwhile", segment);
    if (!made && errno != EEXIST)
        return path_errno(err, "make directory");
    if (!durable)
        return OK;
    if (!made && synced_swap(directories, directory, false))
        return OK;
    int rc = file_sync(parent, err);
    if (rc == OK)
        (void)synced_swap(directories, directory, true);
    return rc;
}

int directories_open_root(const struct directories *directories, int *out, struct error *err)
{
    *out = open(directories->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *out >= 0 ? OK : error_errno(err, directories->root);
}

int directory_enter(int parent, const char *segment, int *out, struct error *err)
{
    *out = openat(parent, segment, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*out >= 0 || errno == ENOENT)
        return OK;
    int cause = errno;
    struct stat info;
    bool there = fstatat(parent, segment, &info, AT_SYMLINK_NOFOLLOW) == 0;
    if (there && S_ISLNK(info.st_mode))
        return error_set(err, ERROR_INPUT, "\"%s\" is a symbolic link: not followed", segment);
    if (cause == ENOTDIR)
        return OK;
    errno = cause;
    return path_errno(err, "open directory");
}

/* One that is a directory by now was made anew after it was tidied away. */
static bool object_stands(int directory, const char *name)
{
    struct stat info;
    return fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(info.st_mode);
}

int directories_open(struct directories *directories, const char *key, enum directory_use use,
                     int *out, const char **name, struct error *err)
{
    bool make = use != DIRECTORY_FIND;
    const char *at = key;
    int rc = directories_open_root(directories, out, err);
    for (const char *slash; rc == OK && *out >= 0 && (slash = strchr(at, '/')) != NULL;) {
        char segment[NAME_MAX + 1];
        size_t len = (size_t)(slash - at);
        int next = -1;
        if (len > NAME_MAX) {
            errno = ENAMETOOLONG;
            rc = path_errno(err, "open directory");
            break;
        }
        memcpy(segment, at, len);
        segment[len] = 0;
        if (make)
            rc = directory_make(directories, *out, segment, slice_of(key, (size_t)(slash - key)),
                                use == DIRECTORY_MAKE_DURABLE, err);
        if (rc == OK)
            rc = directory_enter(*out, segment, &next, err);
        if (rc == OK && next < 0 && make)
            rc = object_stands(*out, segment)
                     ? error_set(err, ERROR_INPUT, "\"%s\" is an object, not a directory", segment)
                     : error_set(err, ERROR_RETRY, "\"%s\" was tidied away meanwhile", segment);
        close(*out);
        *out = next;
        at = slash + 1;
    }
    *name = at;
    if (rc != OK && *out >= 0) {
        close(*out);
        *out = -1;
    }
    return rc;
}
