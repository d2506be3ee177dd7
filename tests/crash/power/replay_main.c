/* SPDX-License-Identifier: Apache-2.0
 *
 * replay: cuts the power. From an image and the log of what was done to it (log.h) it
 * makes disks as a cut leaves them: at some moment of the log, everything that was flushed
 * before is there; of the writes after the last flush each is there, or not, or in part,
 * by sectors of 512 bytes. A cut is a number: the same log and number give the same disk.
 * Half of the cuts come just behind a remark, where an answer has been given and nothing
 * has followed yet.
 *
 * usage: replay LOG IMAGE FOLDER FIRST COUNT [COMMAND...]
 * Makes the disks of cuts FIRST, FIRST + 1, ...; for each FOLDER/marks is what was said
 * before it. With a COMMAND the disk is mounted at FOLDER/mount and the command run; what
 * it changes is undone. Any failure of mount or command is printed with the cut's number,
 * and the exit code is 1 then. Without a command one cut's disk is left in FOLDER/disk.
 * Must run in a mount namespace of its own, as root.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "tests/crash/power/log.h"

enum { SECTOR = 512, CHUNK = 16 << 10, LOOP_TRIES = 100, LOOP_MAJOR = 7 };

struct cut {
    uint64_t number;
    size_t records; /* of the log come before it */
    bool whole;     /* no write is torn */
    struct random random;
};

struct replay {
    const uint8_t *log;
    size_t log_size;
    size_t *offsets; /* of the log's records */
    size_t count;
    size_t *marks; /* the records that are remarks */
    size_t mark_count;
    uint8_t *flushed; /* the medium: all writes before the last flush */
    size_t size;
    uint8_t *disk; /* FOLDER/disk */
    char *disk_path, *mount_path, *marks_path;
    FILE *marks_file;
    size_t at;         /* records looked at */
    size_t flushed_to; /* records up to the last flush before `at` */
};

static void must(int fine, const char *what)
{
    if (!fine) {
        fprintf(stderr, "replay: %s: %s\n", what, strerror(errno));
        exit(1);
    }
}

static const uint8_t *map(const char *path, size_t *size, int writable)
{
    struct stat info;
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    must(fd >= 0 && fstat(fd, &info) == 0, path);
    *size = (size_t)info.st_size;
    void *found = mmap(NULL, *size, PROT_READ | (writable ? PROT_WRITE : 0),
                       writable ? MAP_SHARED : MAP_PRIVATE, fd, 0);
    must(found != MAP_FAILED, path);
    close(fd);
    return found;
}

static struct log_record record_at(const struct replay *replay, size_t index)
{
    struct log_record record;
    memcpy(&record, replay->log + replay->offsets[index], sizeof record);
    return record;
}

static void read_log(struct replay *replay)
{
    size_t cap = 0;
    size_t mark_cap = 0;
    for (size_t at = 0; at + sizeof(struct log_record) <= replay->log_size;) {
        struct log_record record;
        memcpy(&record, replay->log + at, sizeof record);
        if (replay->count == cap) {
            cap = cap > 0 ? cap * 2 : 1024;
            replay->offsets = memory_resize(replay->offsets, cap, sizeof *replay->offsets);
        }
        if (replay->mark_count == mark_cap) {
            mark_cap = mark_cap > 0 ? mark_cap * 2 : 1024;
            replay->marks = memory_resize(replay->marks, mark_cap, sizeof *replay->marks);
        }
        if (record.kind == LOG_MARK)
            replay->marks[replay->mark_count++] = replay->count;
        replay->offsets[replay->count++] = at;
        at += sizeof record + record.len;
    }
    must(replay->count > 0, "the log is empty");
}

/* ---- what a cut leaves ---- */

/* Of a write that was under way: every sector by itself, or a beginning. */
static void apply_torn(struct replay *replay, struct log_record record, const uint8_t *data,
                       struct random *random)
{
    size_t sectors = (record.len + SECTOR - 1) / SECTOR;
    size_t prefix = random_below(random, 2) == 0 ? random_below(random, sectors + 1) : SIZE_MAX;
    for (size_t i = 0; i < sectors; i++) {
        size_t at = i * SECTOR;
        size_t len = record.len - at < SECTOR ? record.len - at : SECTOR;
        if (prefix == SIZE_MAX ? random_below(random, 2) == 0 : i < prefix)
            memcpy(replay->disk + record.offset + at, data + at, len);
    }
}

/* The medium goes on to `records`: up to the last flush, and its remarks to the file. */
static void advance(struct replay *replay, size_t records)
{
    for (; replay->at < records; replay->at++) {
        struct log_record record = record_at(replay, replay->at);
        const uint8_t *data = replay->log + replay->offsets[replay->at] + sizeof record;
        if (record.kind == LOG_MARK)
            fwrite(data, record.len, 1, replay->marks_file);
        if (record.kind != LOG_FLUSH)
            continue;
        for (; replay->flushed_to < replay->at; replay->flushed_to++) {
            struct log_record write = record_at(replay, replay->flushed_to);
            if (write.kind == LOG_WRITE)
                memcpy(replay->flushed + write.offset,
                       replay->log + replay->offsets[replay->flushed_to] + sizeof write, write.len);
        }
    }
    must(fflush(replay->marks_file) == 0, replay->marks_path);
}

static void make_disk(struct replay *replay, const struct cut *cut)
{
    static const double shares[] = {0, 1, 0.5, 0.9, 0.1};
    struct random again = cut->random;
    struct random *random = &again;
    advance(replay, cut->records);
    for (size_t at = 0; at < replay->size; at += CHUNK) {
        size_t len = replay->size - at < CHUNK ? replay->size - at : CHUNK;
        if (memcmp(replay->disk + at, replay->flushed + at, len) != 0)
            memcpy(replay->disk + at, replay->flushed + at, len);
    }
    double kept = shares[random_below(random, sizeof shares / sizeof *shares)];
    double torn = shares[random_below(random, sizeof shares / sizeof *shares)];
    for (size_t i = replay->flushed_to; i < cut->records; i++) {
        struct log_record record = record_at(replay, i);
        const uint8_t *data = replay->log + replay->offsets[i] + sizeof record;
        if (record.kind != LOG_WRITE)
            continue;
        double dice = random_unit(random);
        if (dice < kept)
            memcpy(replay->disk + record.offset, data, record.len);
        else if (random_unit(random) < torn && !cut->whole)
            apply_torn(replay, record, data, random);
    }
}

/* ---- mounting it ---- */

static int loop_attach(const char *path, char *device, size_t size)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    must(file >= 0 && control >= 0, "/dev/loop-control");
    for (int i = 0; i < LOOP_TRIES; i++) {
        int number = ioctl(control, LOOP_CTL_GET_FREE);
        must(number >= 0, "a free loop device");
        snprintf(device, size, "/dev/loop%d", number);
        if (access(device, F_OK) < 0)
            mknod(device, S_IFBLK | 0600, makedev(LOOP_MAJOR, (unsigned)number));
        int fd = open(device, O_RDWR | O_CLOEXEC);
        struct loop_config config = {.fd = (uint32_t)file,
                                     .info = {.lo_flags = LO_FLAGS_AUTOCLEAR}};
        if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
            close(file);
            close(control);
            return fd;
        }
        must(fd < 0 || errno == EBUSY, device); /* somebody else was quicker */
        if (fd >= 0)
            close(fd);
    }
    must(0, "no loop device");
    return -1;
}

static int run(char **command)
{
    int status = 0;
    pid_t pid = fork();
    must(pid >= 0, "fork");
    if (pid == 0) {
        execv(command[0], command);
        perror(command[0]);
        _exit(127);
    }
    must(waitpid(pid, &status, 0) == pid, "waitpid");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int mount_and_run(struct replay *replay, struct cut *cut, char **command)
{
    char device[32];
    int rc = 0;
    int loop = loop_attach(replay->disk_path, device, sizeof device);
    int mounted = mount(device, replay->mount_path, "ext4", 0, NULL);
    if (mounted < 0 && errno == EBADMSG && !cut->whole) {
        /* The superblocks of ext4 and its journal are two sectors under one checksum: torn, they
         * are its loss, not ours. The same cut then, by a disk that tears nothing. */
        close(loop);
        cut->whole = true;
        make_disk(replay, cut);
        return mount_and_run(replay, cut, command);
    }
    if (mounted < 0) {
        fprintf(stderr, "mount: %s\n", strerror(errno));
        rc = 1;
    } else {
        rc = run(command);
        must(umount2(replay->mount_path, 0) == 0, "umount");
    }
    close(loop);
    if (rc != 0)
        printf("cut %llu, behind record %zu of %zu: exit %d\n", (unsigned long long)cut->number,
               cut->records, replay->count, rc);
    return rc;
}

/* ---- */

static int compare_cuts(const void *a, const void *b)
{
    const struct cut *x = a;
    const struct cut *y = b;
    return (x->records > y->records) - (x->records < y->records);
}

static struct cut make_cut(const struct replay *replay, uint64_t number)
{
    struct cut cut = {.number = number};
    random_seed(&cut.random, number);
    if (random_below(&cut.random, 2) == 0 && replay->mark_count > 0)
        cut.records = replay->marks[random_below(&cut.random, replay->mark_count)] + 1;
    else
        cut.records = 1 + random_below(&cut.random, replay->count);
    return cut;
}

static void prepare(struct replay *replay, const char *image, const char *folder)
{
    size_t size = 0;
    const uint8_t *bytes = map(image, &replay->size, 0);
    replay->flushed = memory_alloc_raw(replay->size, 1);
    memcpy(replay->flushed, bytes, replay->size);
    replay->disk_path = memory_printf("%s/disk", folder);
    replay->mount_path = memory_printf("%s/mount", folder);
    replay->marks_path = memory_printf("%s/marks", folder);
    must(mkdir(replay->mount_path, 0700) == 0 || errno == EEXIST, replay->mount_path);
    int fd = open(replay->disk_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && ftruncate(fd, (off_t)replay->size) == 0, replay->disk_path);
    close(fd);
    union {
        const uint8_t *in;
        uint8_t *out;
    } disk = {.in = map(replay->disk_path, &size, 1)};
    replay->disk = disk.out;
    replay->marks_file = fopen(replay->marks_path, "wb");
    must(replay->marks_file != NULL, replay->marks_path);
}

int main(int argc, char **argv)
{
    struct replay replay = {0};
    if (argc < 6) {
        fprintf(stderr, "usage: replay LOG IMAGE FOLDER FIRST COUNT [COMMAND...]\n");
        return 2;
    }
    replay.log = map(argv[1], &replay.log_size, 0);
    read_log(&replay);
    prepare(&replay, argv[2], argv[3]);
    uint64_t first = strtoull(argv[4], NULL, 10);
    size_t count = strtoull(argv[5], NULL, 10);
    size_t failed = 0;
    struct cut *cuts = memory_alloc(count, sizeof *cuts);
    for (size_t i = 0; i < count; i++)
        cuts[i] = make_cut(&replay, first + i);
    qsort(cuts, count, sizeof *cuts, compare_cuts);
    for (size_t i = 0; i < count; i++) {
        make_disk(&replay, &cuts[i]);
        if (argc > 6)
            failed += mount_and_run(&replay, &cuts[i], argv + 6) != 0;
    }
    printf("%zu cuts, %zu failed, %zu records, %zu remarks\n", count, failed, replay.count,
           replay.mark_count);
    return failed > 0;
}
