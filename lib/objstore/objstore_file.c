/* SPDX-License-Identifier: Apache-2.0
 *
 * The file store: a key is a path below the warehouse's directory.
 *
 * A put writes <warehouse>/.bidlake-tmp/<pid>-<random>, syncs it, moves it to its
 * name (renameat2 with RENAME_NOREPLACE, or link where the file system has no such
 * thing), syncs the directory. So a name is absent or stands for whole bytes, and
 * what a crash leaves behind lies where no list looks; it is cleared at a later open.
 * With PUT_UNSYNCED all syncs are left out, and one syncfs of the whole file system stands
 * for them later.
 *
 * How a path is walked, and its directories made durable: directories.h.
 */
#include "lib/objstore/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/objstore/directories.h"

#define TEMPORARY_DIRECTORY ".bidlake-tmp"

enum {
    COPY_BYTES = 1 << 20,
    LEFT_OVER_AGE_S = 86400,
    TEMPORARY_NAME_SIZE = 64,
};

struct file_store {
    const struct clock *clock;
    struct directories directories;
};

/* ---- reading ---- */

static int64_t modified_ms(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000 + info->st_mtim.tv_nsec / 1000000;
}

/* *out < 0 with OK: no such object. */
static int object_open(struct file_store *store, const char *key, int *out,
                       struct objstore_info *info, struct error *err)
{
    int directory = -1;
    const char *name = NULL;
    struct stat found;
    *out = -1;
    *info = (struct objstore_info){.store_time_ms = clock_wall_ms(store->clock)};
    int rc = directories_open(&store->directories, key, DIRECTORY_FIND, &directory, &name, err);
    if (rc != OK || directory < 0)
        return rc;
    /* Not blocking: somebody may have put a pipe there. */
    *out = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (*out < 0 && errno != ENOENT)
        rc = path_errno(err, "open");
    close(directory);
    if (*out < 0)
        return rc;
    if (fstat(*out, &found) < 0)
        rc = path_errno(err, "stat");
    if (rc != OK || !S_ISREG(found.st_mode)) {
        close(*out);
        *out = -1;
        return rc;
    }
    info->found = true;
    info->size = (uint64_t)found.st_size;
    info->modified_ms = modified_ms(&found);
    return OK;
}

/* Reads `size` bytes into `to` (a descriptor, or -1) and sums them. */
static int pace(const struct objstore_body *body, size_t bytes, struct error *err)
{
    return body == NULL || body->pace == NULL ? OK : body->pace(body->pace_context, bytes, err);
}

/* `paced`: the body whose bytes they are, or NULL. */
static int stream_copy(int from, uint64_t size, int to, const struct objstore_body *paced,
                       uint32_t *checksum, struct error *err)
{
    int rc = OK;
    size_t cap = size < COPY_BYTES ? (size_t)size : COPY_BYTES;
    if (paced != NULL && paced->pace_bytes_max > 0 && cap > paced->pace_bytes_max)
        cap = paced->pace_bytes_max;
    uint8_t *bytes = memory_alloc_raw(cap, 1);
    *checksum = 0;
    while (rc == OK && size > 0) {
        ssize_t n = read(from, bytes, size < cap ? (size_t)size : cap);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            rc = error_errno(err, "read");
        } else if (n == 0) {
            rc = error_set(err, ERROR_CORRUPT, "the file ends %llu bytes too early",
                           (unsigned long long)size);
        } else {
            *checksum = crc32c(*checksum, slice_of(bytes, (size_t)n));
            size -= (uint64_t)n;
            rc = pace(paced, (size_t)n, err);
            if (rc == OK && to >= 0)
                rc = file_write_all(to, slice_of(bytes, (size_t)n), err);
        }
    }
    free(bytes);
    return rc;
}

static int file_head(void *impl, const char *key, struct objstore_info *out, struct error *err)
{
    int fd = -1;
    int rc = object_open(impl, key, &fd, out, err);
    if (fd < 0)
        return rc;
    rc = stream_copy(fd, out->size, -1, NULL, &out->crc32c, err);
    out->has_crc32c = rc == OK;
    close(fd);
    return rc;
}

static int range_read(int fd, uint64_t offset, size_t len, struct buf *out, struct error *err)
{
    while (len > 0) {
        ssize_t n = pread(fd, out->data + out->len, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(err, "read");
        if (n == 0)
            return error_set(err, ERROR_RETRY, "the file was cut while it was read");
        out->len += (size_t)n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return OK;
}

static int file_get(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
                    struct buf *out, struct objstore_info *info, struct error *err)
{
    int fd = -1;
    int rc = object_open(impl, key, &fd, info, err);
    if (fd < 0)
        return rc;
    uint64_t size = info->size;
    uint64_t back = offset < 0 ? (uint64_t)-offset : 0;
    uint64_t start = offset >= 0 ? (uint64_t)offset : back < size ? size - back : 0;
    uint64_t rest = start < size ? size - start : 0;
    uint64_t want = len > 0 && len < rest ? len : rest;
    size_t before = out->len;
    if (want > bytes_max || !buf_reserve(out, (size_t)want))
        rc = error_set(err, ERROR_LIMIT, "%llu bytes, more than the %zu allowed",
                       (unsigned long long)want, bytes_max);
    else
        rc = range_read(fd, start, (size_t)want, out, err);
    if (rc == OK && want == size) {
        info->has_crc32c = true;
        info->crc32c = crc32c(0, slice_of(want > 0 ? out->data + before : NULL, (size_t)want));
    }
    close(fd);
    return rc;
}

/* ---- writing ---- */

struct temporary {
    int root;
    int fd;
    char name[TEMPORARY_NAME_SIZE];
};

static int temporary_open(struct file_store *store, struct temporary *out, struct error *err)
{
    enum { FLAGS = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };
    uint64_t number = 0;
    *out = (struct temporary){.root = -1, .fd = -1};
    int rc = directories_open_root(&store->directories, &out->root, err);
    if (rc != OK)
        return rc;
    random_system(&number, sizeof number);
    snprintf(out->name, sizeof out->name, TEMPORARY_DIRECTORY "/%d-%016llx", (int)getpid(),
             (unsigned long long)number);
    out->fd = openat(out->root, out->name, FLAGS, 0644);
    if (out->fd < 0 && errno == ENOENT) {
        if (mkdirat(out->root, TEMPORARY_DIRECTORY, 0755) < 0 && errno != EEXIST)
            return path_errno(err, "make " TEMPORARY_DIRECTORY);
        out->fd = openat(out->root, out->name, FLAGS, 0644);
    }
    return out->fd >= 0 ? OK : path_errno(err, "open " TEMPORARY_DIRECTORY);
}

static void temporary_close(struct temporary *temporary)
{
    if (temporary->fd >= 0) {
        close(temporary->fd);
        /* Gone already when it was moved to its name. */
        unlinkat(temporary->root, temporary->name, 0);
    }
    if (temporary->root >= 0)
        close(temporary->root);
}

static int body_write(const struct objstore_body *body, int to, uint32_t *checksum,
                      struct error *err)
{
    if (body->file == NULL) {
        *checksum = crc32c(0, body->bytes);
        int paced = pace(body, body->bytes.len, err);
        return paced == OK ? file_write_all(to, body->bytes, err) : paced;
    }
    int from = open(body->file, O_RDONLY | O_CLOEXEC);
    if (from < 0 && errno == ENOENT) {
        int rc = error_set(err, ERROR_CORRUPT, "%s is gone", body->file);
        err->cause = ENOENT;
        return rc;
    }
    if (from < 0)
        return error_errno(err, body->file);
    int rc = stream_copy(from, body->file_size, to, body, checksum, err);
    close(from);
    return rc == OK ? OK : error_wrap(err, "%s", body->file);
}

static int move_into_place(const struct temporary *temporary, int directory, const char *name,
                           enum put_condition condition)
{
    if ((condition & PUT_IF_ABSENT) == 0)
        return renameat(temporary->root, temporary->name, directory, name);
    if (renameat2(temporary->root, temporary->name, directory, name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
        return -1;
    return linkat(temporary->root, temporary->name, directory, name, 0);
}

/* A conflict is answered only once the name that stands there is on disk: the caller may
 * find that the object is its own, from before a crash, and go on as after OK. */
static int conflict(int directory, enum put_condition condition, struct error *err)
{
    int rc = (condition & PUT_UNSYNCED) != 0 ? OK : file_sync(directory, err);
    return rc == OK ? error_set(err, ERROR_CONFLICT, "the object exists") : rc;
}

/* The bytes are written, and synced if they are to be: gives them their name. */
static int publish(const struct temporary *temporary, int directory, const char *name,
                   enum put_condition condition, struct error *err)
{
    int rc = fault_point("objstore.put.written", err);
    if (rc != OK)
        return rc;
    if (move_into_place(temporary, directory, name, condition) < 0) {
        if (errno == ENOENT) /* file_tidy was faster: the next try makes it again */
            return error_set(err, ERROR_RETRY, "the directory was tidied away meanwhile");
        return errno == EEXIST ? conflict(directory, condition, err) : path_errno(err, "rename");
    }
    rc = fault_point("objstore.put.published", err);
    if (rc != OK || (condition & PUT_UNSYNCED) != 0)
        return rc;
    rc = file_sync(directory, err);
    if (rc == OK)
        rc = fault_point("objstore.put.synced", err);
    return rc;
}

static bool name_exists(int directory, const char *name)
{
    struct stat info;
    return fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0;
}

/* `expected` NULL: the bytes are taken as they are. */
static int object_write(struct file_store *store, const char *key, const struct objstore_body *body,
                        const uint32_t *expected, enum put_condition condition, struct error *err)
{
    int directory = -1;
    const char *name = NULL;
    uint32_t checksum = 0;
    struct temporary temporary = {.root = -1, .fd = -1};
    if (strncmp(key, TEMPORARY_DIRECTORY "/", strlen(TEMPORARY_DIRECTORY) + 1) == 0)
        return error_set(err, ERROR_INPUT, TEMPORARY_DIRECTORY " is the store's own");
    bool durable = (condition & PUT_UNSYNCED) == 0;
    int rc =
        directories_open(&store->directories, key,
                         durable ? DIRECTORY_MAKE_DURABLE : DIRECTORY_MAKE, &directory, &name, err);
    if (rc != OK)
        goto out;
    if ((condition & PUT_IF_ABSENT) != 0 && name_exists(directory, name)) {
        rc = conflict(directory, condition, err);
        goto out;
    }
    rc = temporary_open(store, &temporary, err);
    if (rc == OK)
        rc = body_write(body, temporary.fd, &checksum, err);
    if (rc == OK && expected != NULL && checksum != *expected)
        rc = error_set(err, ERROR_CORRUPT, "the bytes have checksum %08x, %08x was announced",
                       checksum, *expected);
    if (rc == OK && durable)
        rc = file_sync(temporary.fd, err);
    if (rc == OK)
        rc = publish(&temporary, directory, name, condition, err);
out:
    temporary_close(&temporary);
    if (directory >= 0)
        close(directory);
    if (rc == ERROR_IO) /* a sync that failed is told once: what it was for is unknown */
        directories_forget(&store->directories);
    if (rc == ERROR_LIMIT)
        return error_wrap(err, "warehouse %s", store->directories.root);
    return rc;
}

static int file_put(void *impl, const char *key, const struct objstore_body *body,
                    uint32_t checksum, enum put_condition condition, struct error *err)
{
    return object_write(impl, key, body, &checksum, condition, err);
}

static int file_copy(void *impl, const char *from, const char *to, enum put_condition condition,
                     struct error *err)
{
    int fd = -1;
    char path[32];
    struct objstore_info info;
    int rc = object_open(impl, from, &fd, &info, err);
    if (rc == OK && fd < 0) {
        rc = error_set(err, ERROR_INPUT, "no such object");
        err->cause = ENOENT;
    }
    if (rc != OK)
        return rc;
    /* The very file that was opened, whatever its name stands for by now. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct objstore_body body = {.file = path, .file_size = info.size};
    rc = object_write(impl, to, &body, NULL, condition, err);
    close(fd);
    return rc;
}

static int file_remove(void *impl, const char *key, struct error *err)
{
    int directory = -1;
    const char *name = NULL;
    struct file_store *store = impl;
    int rc = directories_open(&store->directories, key, DIRECTORY_FIND, &directory, &name, err);
    if (rc != OK || directory < 0)
        return rc;
    /* Not synced: an object that comes back after a power cut is removed again. */
    if (unlinkat(directory, name, 0) < 0 && errno != ENOENT && errno != EISDIR)
        rc = path_errno(err, "unlink");
    close(directory);
    return rc;
}

/* Directories that are only known to be there are not taken note of by it: who puts
 * durably below them later pays their sync once. */
static int file_sync_all(void *impl, struct error *err)
{
    int root = -1;
    struct file_store *store = impl;
    int rc = directories_open_root(&store->directories, &root, err);
    if (rc == OK)
        rc = file_sync_filesystem(root, err);
    if (rc != OK)
        directories_forget(&store->directories);
    if (root >= 0)
        close(root);
    return rc;
}

/* ---- listing ---- */

struct lister {
    const char *prefix;
    const char *after;
    size_t wanted; /* one more than asked for, to know whether there is more */
    struct objstore_list *out;
    char path[OBJSTORE_KEY_MAX + 1]; /* of the directory in hand, with its slash */
    size_t path_len;
};

/* Whether `name` in the directory in hand, with a slash behind it when it is a
 * directory, is or can hold a key that is wanted. */
static bool lister_wants(const struct lister *lister, const char *name, bool is_directory)
{
    char key[OBJSTORE_KEY_MAX + 1];
    size_t len = strlen(name);
    if (lister->path_len + len > OBJSTORE_KEY_MAX)
        return false;
    memcpy(key, lister->path, lister->path_len);
    memcpy(key + lister->path_len, name, len + 1);
    len += lister->path_len;
    for (size_t i = lister->path_len; i < len; i++) {
        if ((unsigned char)key[i] < 0x20 || key[i] == 0x7f)
            return false;
    }
    size_t prefix_len = strlen(lister->prefix);
    bool matches = strncmp(key, lister->prefix, prefix_len) == 0;
    if (!is_directory)
        return matches && strcmp(key, lister->after) > 0;
    if (strcmp(key, TEMPORARY_DIRECTORY "/") == 0)
        return false;
    if (!matches && strncmp(key, lister->prefix, len) != 0)
        return false;
    /* All keys below begin with this one: all are above `after`, or it is among them. */
    return strcmp(key, lister->after) > 0 || strncmp(key, lister->after, len) == 0;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names wanted, directories with a slash behind: that is also their place in the
 * order of keys ("a.b" comes before "a/b"). */
static int read_names(DIR *directory, const struct lister *lister, struct arena *arena,
                      char ***names, size_t *count, struct error *err)
{
    size_t cap = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (entry == NULL)
            break;
        const char *name = entry->d_name;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        unsigned char type = entry->d_type;
        struct stat info;
        if (type == DT_UNKNOWN && fstatat(dirfd(directory), name, &info, AT_SYMLINK_NOFOLLOW) == 0)
            type = S_ISDIR(info.st_mode) ? DT_DIR : S_ISREG(info.st_mode) ? DT_REG : DT_UNKNOWN;
        if (type != DT_DIR && type != DT_REG)
            continue;
        char *text = arena_printf(arena, type == DT_DIR ? "%s/" : "%s", name);
        if (!lister_wants(lister, text, type == DT_DIR))
            continue;
        if (*count == cap) {
            cap = cap > 0 ? cap * 2 : 64;
            *names = memory_resize(*names, cap, sizeof **names);
        }
        (*names)[(*count)++] = text;
    }
    if (errno != 0)
        return path_errno(err, "read directory");
    if (*count > 1)
        qsort(*names, *count, sizeof **names, compare_names);
    return OK;
}

static int list_directory(struct lister *lister, int fd, struct error *err);

static int list_name(struct lister *lister, int directory, char *name, struct error *err)
{
    size_t len = strlen(name);
    size_t before = lister->path_len;
    memcpy(lister->path + before, name, len + 1);
    if (name[len - 1] != '/') {
        struct stat info;
        /* Removed since the directory was read: it isn't there. */
        if (fstatat(directory, name, &info, AT_SYMLINK_NOFOLLOW) < 0)
            return errno == ENOENT ? OK : path_errno(err, lister->path);
        if (S_ISREG(info.st_mode))
            objstore_list_add(lister->out, lister->path, (uint64_t)info.st_size,
                              modified_ms(&info));
        return OK;
    }
    int fd = -1;
    name[len - 1] = 0;
    int rc = directory_enter(directory, name, &fd, err);
    if (rc != OK || fd < 0)
        return rc;
    lister->path_len += len;
    rc = list_directory(lister, fd, err);
    lister->path_len = before;
    return rc;
}

/* Takes the descriptor. The length of keys bounds the depth. */
static int list_directory(struct lister *lister, int fd, struct error *err)
{
    struct arena arena = {0};
    char **names = NULL;
    size_t count = 0;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close(fd);
        return path_errno(err, "open directory");
    }
    int rc = read_names(directory, lister, &arena, &names, &count, err);
    for (size_t i = 0; rc == OK && i < count && lister->out->count < lister->wanted; i++)
        rc = list_name(lister, dirfd(directory), names[i], err);
    free(names);
    arena_free(&arena);
    closedir(directory);
    return rc;
}

static int file_list(void *impl, const char *prefix, const char *after, size_t count_max,
                     struct objstore_list *out, struct error *err)
{
    int directory = -1;
    const char *rest = NULL;
    struct lister lister = {
        .prefix = prefix, .after = after, .wanted = count_max + (count_max < SIZE_MAX), .out = out};
    struct file_store *store = impl;
    int rc = directories_open(&store->directories, prefix, DIRECTORY_FIND, &directory, &rest, err);
    if (rc != OK || directory < 0)
        return rc;
    lister.path_len = (size_t)(rest - prefix);
    memcpy(lister.path, prefix, lister.path_len);
    rc = list_directory(&lister, directory, err);
    objstore_list_cut(out, count_max);
    return rc;
}

/* ---- tidying ---- */

/* Removes the empty directories below this one that nobody changed since. rmdir itself sees
 * to it that none goes which holds something by now. */
static int tidy_directory(int fd, int64_t before_ms, struct error *err)
{
    int rc = OK;
    const struct dirent *entry;
    DIR *directory = fdopendir(fd);
    if (directory == NULL) {
        close(fd);
        return path_errno(err, "open directory");
    }
    while (rc == OK && (entry = readdir(directory)) != NULL) {
        struct stat info;
        int below = -1;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISDIR(info.st_mode))
            continue;
        if (modified_ms(&info) < before_ms && unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0)
            continue;
        rc = directory_enter(fd, entry->d_name, &below, err);
        if (rc == OK && below >= 0)
            rc = tidy_directory(below, before_ms, err);
    }
    closedir(directory);
    return rc;
}

static int file_tidy(void *impl, const char *prefix, int64_t age_ms, struct error *err)
{
    int directory = -1;
    const char *rest = NULL;
    struct file_store *store = impl;
    int rc = directories_open(&store->directories, prefix, DIRECTORY_FIND, &directory, &rest, err);
    if (rc != OK || directory < 0)
        return rc;
    rc = tidy_directory(directory, clock_wall_ms(store->clock) - age_ms, err);
    /* What was removed and is made again has a new name to sync. */
    directories_forget(&store->directories);
    return rc;
}

/* ---- opening ---- */

static void file_close(void *impl)
{
    struct file_store *store = impl;
    directories_free(&store->directories);
    free(store);
}

static const struct objstore_ops file_ops = {
    .scheme = "file",
    .put = file_put,
    .head = file_head,
    .get = file_get,
    .list = file_list,
    .remove = file_remove,
    .copy = file_copy,
    .sync = file_sync_all,
    .tidy = file_tidy,
    .close = file_close,
};

/* Cuts the last segment off; the root directory keeps its slash. */
static void path_up(char *path)
{
    char *slash = strrchr(path, '/');
    slash[slash == path] = 0;
}

/* Makes the warehouse's directory; the names of all that had to be made are synced. */
static int root_make(const char *root, struct error *err)
{
    struct stat info;
    if (stat(root, &info) == 0 && S_ISDIR(info.st_mode))
        return OK;
    char *existing = memory_copy_cstr(root);
    do
        path_up(existing);
    while (stat(existing, &info) < 0 && strcmp(existing, "/") != 0);
    int rc = file_make_directories(root, 0755, err);
    char *above = memory_copy_cstr(root);
    while (rc == OK && strcmp(above, existing) != 0) {
        path_up(above);
        rc = file_sync_directory(above, err);
    }
    free(above);
    free(existing);
    return rc;
}

/* What crashed puts left. Best effort: who may only read the warehouse may open it. */
static void left_overs_clear(const struct file_store *store)
{
    char *path = memory_printf("%s/" TEMPORARY_DIRECTORY, store->directories.root);
    DIR *directory = opendir(path);
    int64_t before_s = clock_wall_ms(&clock_system) / 1000 - LEFT_OVER_AGE_S;
    for (const struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        struct stat info;
        if (fstatat(dirfd(directory), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(info.st_mode) && info.st_mtim.tv_sec < before_s)
            unlinkat(dirfd(directory), entry->d_name, 0);
    }
    if (directory != NULL)
        closedir(directory);
    free(path);
}

int file_store_open(struct objstore **out, const char *directory, const struct clock *clock,
                    struct error *err)
{
    ASSERT(directory[0] == '/' && directory[1] != 0);
    int rc = root_make(directory, err);
    if (rc != OK)
        return rc;
    struct file_store *store = memory_alloc(1, sizeof *store);
    store->clock = clock;
    directories_init(&store->directories, directory);
    left_overs_clear(store);
    char *url = memory_printf("file://%s", directory);
    *out = objstore_wrap(&file_ops, store, url);
    free(url);
    return OK;
}
