/* SPDX-License-Identifier: Apache-2.0
 *
 * LD_PRELOAD: a disk whose every sync takes SYNC_DELAY_US longer. At exit it writes how many
 * there were to the file SYNC_COUNT.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static atomic_long count;
static long delay_us;

static void __attribute__((constructor)) begin(void)
{
    const char *text = getenv("SYNC_DELAY_US");
    delay_us = text != NULL ? strtol(text, NULL, 10) : 0;
}

static void __attribute__((destructor)) end(void)
{
    const char *path = getenv("SYNC_COUNT");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%ld\n", atomic_load(&count));
    fclose(file);
}

static int slowly(const char *name, int fd)
{
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    int result = real(fd);
    struct timespec wait = {delay_us / 1000000, delay_us % 1000000 * 1000};
    atomic_fetch_add(&count, 1);
    if (delay_us > 0)
        nanosleep(&wait, NULL);
    return result;
}

int fsync(int fd)
{
    return slowly("fsync", fd);
}

int fdatasync(int fd)
{
    return slowly("fdatasync", fd);
}

int syncfs(int fd)
{
    return slowly("syncfs", fd);
}
