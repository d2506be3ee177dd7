/* SPDX-License-Identifier: Apache-2.0
 *
 * A plain main for fuzz targets: gives each file named (or each file of a directory
 * named) to LLVMFuzzerTestOneInput, so that the corpus is replayed without a fuzzing
 * compiler. Ends with a crash, or with the number of inputs.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t replay_file(const char *path)
{
    struct error err;
    struct buf bytes = {0};
    if (file_read(path, 64 << 20, &bytes, &err) != OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    /* An exact allocation, so that a read past the end is seen. */
    uint8_t *copy = memory_alloc_raw(bytes.len, 1);
    if (bytes.len > 0)
        memcpy(copy, bytes.data, bytes.len);
    LLVMFuzzerTestOneInput(copy, bytes.len);
    free(copy);
    buf_free(&bytes);
    return 1;
}

static size_t replay(const char *path)
{
    struct stat info;
    if (stat(path, &info) < 0) {
        perror(path);
        exit(1);
    }
    if (!S_ISDIR(info.st_mode))
        return replay_file(path);
    size_t count = 0;
    struct dirent **names = NULL;
    int n = scandir(path, &names, NULL, alphasort);
    ASSERT(n >= 0);
    for (int i = 0; i < n; i++) {
        char *inner = memory_printf("%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            count += replay(inner);
        free(inner);
        free(names[i]);
    }
    free(names);
    return count;
}

int main(int argc, char **argv)
{
    size_t count = 0;
    for (int i = 1; i < argc; i++)
        count += replay(argv[i]);
    printf("%zu inputs\n", count);
    return count > 0 ? 0 : 1;
}
