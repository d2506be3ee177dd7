/* SPDX-License-Identifier: Apache-2.0
 *
 * disk: a disk that writes down what is done to it. A FUSE file system of two files:
 * `disk`, for a loop device, and `mark`, whose writes are no data but remarks in the log
 * between the disk's writes. Contents are in memory and begin as IMAGE, which stays as it
 * is; the log (log.h) says how to get from it to any later moment. One thread, so the log
 * is the order of things. The remark "bad OFFSET" makes the page there unreadable, as
 * a worn disk does. Ends when it is unmounted.
 *
 * usage: disk IMAGE LOG MOUNTPOINT
 */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/crash/power/log.h"

enum { BAD_MAX = 64, PAGE = 4096 };

static struct {
    uint8_t *bytes;
    size_t size;
    FILE *log;
    uint64_t bad[BAD_MAX]; /* offsets of pages that do not read */
    size_t bad_count;
} disk;

static int note(enum log_kind kind, const void *data, size_t len, uint64_t offset)
{
    struct log_record record = {.kind = kind, .len = (uint32_t)len, .offset = offset};
    if (fwrite(&record, sizeof record, 1, disk.log) != 1 ||
        (len > 0 && fwrite(data, len, 1, disk.log) != 1)) {
        perror("disk: the log");
        exit(1);
    }
    return 0;
}

static int disk_getattr(const char *path, struct stat *out, struct fuse_file_info *info)
{
    (void)info;
    *out = (struct stat){.st_nlink = 1, .st_mode = S_IFREG | 0600};
    if (strcmp(path, "/") == 0)
        out->st_mode = S_IFDIR | 0700;
    else if (strcmp(path, "/disk") == 0)
        out->st_size = (off_t)disk.size;
    else if (strcmp(path, "/mark") != 0)
        return -ENOENT;
    return 0;
}

static int disk_readdir(const char *path, void *out, fuse_fill_dir_t fill, off_t offset,
                        struct fuse_file_info *info, enum fuse_readdir_flags flags)
{
    (void)path;
    (void)offset;
    (void)info;
    (void)flags;
    return fill(out, "disk", NULL, 0, 0) || fill(out, "mark", NULL, 0, 0) ? -ENOMEM : 0;
}

static int disk_open(const char *path, struct fuse_file_info *info)
{
    info->direct_io = strcmp(path, "/mark") == 0; /* each write comes, as one */
    return 0;
}

static int disk_truncate(const char *path, off_t size, struct fuse_file_info *info)
{
    (void)path;
    (void)size;
    (void)info;
    return 0; /* `echo ... >mark` */
}

static int disk_read(const char *path, char *out, size_t len, off_t offset,
                     struct fuse_file_info *info)
{
    (void)info;
    if (strcmp(path, "/disk") != 0 || (size_t)offset >= disk.size)
        return 0;
    if (len > disk.size - (size_t)offset)
        len = disk.size - (size_t)offset;
    for (size_t i = 0; i < disk.bad_count; i++)
        if ((uint64_t)offset < disk.bad[i] + PAGE && disk.bad[i] < (uint64_t)offset + len)
            return -EIO;
    memcpy(out, disk.bytes + offset, len);
    return (int)len;
}

static int disk_write(const char *path, const char *data, size_t len, off_t offset,
                      struct fuse_file_info *info)
{
    (void)info;
    if (strcmp(path, "/disk") != 0) {
        note(LOG_MARK, data, len, 0);
        if (len > 4 && len < 32 && memcmp(data, "bad ", 4) == 0 && disk.bad_count < BAD_MAX) {
            char text[32] = {0};
            memcpy(text, data + 4, len - 4);
            disk.bad[disk.bad_count++] = strtoull(text, NULL, 10) / PAGE * PAGE;
        }
        return (int)len;
    }
    if ((size_t)offset > disk.size || len > disk.size - (size_t)offset)
        return -ENOSPC;
    memcpy(disk.bytes + offset, data, len);
    note(LOG_WRITE, data, len, (uint64_t)offset);
    return (int)len;
}

static int disk_fsync(const char *path, int data_only, struct fuse_file_info *info)
{
    (void)data_only;
    (void)info;
    return strcmp(path, "/disk") == 0 ? note(LOG_FLUSH, NULL, 0, 0) : 0;
}

static const struct fuse_operations operations = {
    .getattr = disk_getattr,
    .readdir = disk_readdir,
    .open = disk_open,
    .truncate = disk_truncate,
    .read = disk_read,
    .write = disk_write,
    .fsync = disk_fsync,
};

int main(int argc, char **argv)
{
    struct stat info;
    if (argc != 4) {
        fprintf(stderr, "usage: disk IMAGE LOG MOUNTPOINT\n");
        return 2;
    }
    int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0) {
        perror(argv[1]);
        return 1;
    }
    disk.size = (size_t)info.st_size;
    disk.bytes = mmap(NULL, disk.size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    disk.log = fopen(argv[2], "wb");
    if (disk.bytes == MAP_FAILED || disk.log == NULL) {
        perror(argv[2]);
        return 1;
    }
    setvbuf(disk.log, NULL, _IOFBF, 1 << 20);
    char *arguments[] = {argv[0], argv[3], (char[]){"-f"}, (char[]){"-s"}, NULL};
    int rc = fuse_main(4, arguments, &operations, NULL);
    if (fclose(disk.log) != 0) {
        perror(argv[2]);
        return 1;
    }
    return rc;
}
