/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* "VmRSS:     1234 kB" */
static void read_memory(struct process_figures *out)
{
    char line[200];
    FILE *file = fopen("/proc/self/status", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        unsigned long long kib = 0;
        if (sscanf(line, "VmRSS: %llu kB", &kib) == 1)
            out->resident_bytes = kib << 10;
        else if (sscanf(line, "RssAnon: %llu kB", &kib) == 1)
            out->anonymous_bytes = kib << 10;
        else if (sscanf(line, "VmSize: %llu kB", &kib) == 1)
            out->virtual_bytes = kib << 10;
    }
    if (file != NULL)
        fclose(file);
}

static uint64_t count_files(void)
{
    uint64_t count = 0;
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL)
        return 0;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count > 0 ? count - 1 : 0; /* the directory's own is among them */
}

void process_look(struct process_figures *out)
{
    struct timespec cpu;
    struct rlimit files;
    *out = (struct process_figures){0};
    if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
        out->cpu_seconds = (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9;
    read_memory(out);
    out->open_files = count_files();
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        out->open_files_max = files.rlim_cur;
}
