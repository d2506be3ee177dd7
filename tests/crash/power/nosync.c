/* SPDX-License-Identifier: Apache-2.0
 *
 * nosync.so: a disk that lies, for LD_PRELOAD; the negative control of the power cut
 * tests. BIDLAKE_NOSYNC names what is left out: `data` (fsync, fdatasync, sync_file_range
 * and msync do nothing), `dsync` (files are opened without O_DSYNC and O_SYNC), `all`.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

static bool left_out(const char *what)
{
    const char *wanted = getenv("BIDLAKE_NOSYNC");
    return wanted == NULL || strcmp(wanted, "all") == 0 || strcmp(wanted, what) == 0;
}

static void *next(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        abort();
    return found;
}

static int sync_or_not(const char *name, int fd)
{
    if (left_out("data"))
        return 0;
    int (*real)(int) = (int (*)(int))next(name);
    return real(fd);
}

int fsync(int fd)
{
    return sync_or_not("fsync", fd);
}

int fdatasync(int fd)
{
    return sync_or_not("fdatasync", fd);
}

static int open_without(const char *name, const char *path, int flags, va_list rest)
{
    mode_t mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(rest, mode_t) : 0;
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))next(name);
    return real(path, left_out("dsync") ? flags & ~O_SYNC : flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int fd = open_without("open", path, flags, rest);
    va_end(rest);
    return fd;
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    int fd = open_without("open64", path, flags, rest);
    va_end(rest);
    return fd;
}
