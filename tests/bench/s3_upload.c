/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_upload FILE WAREHOUSE KEY [PART_BYTES [CONCURRENCY]]: puts a file as the uploader does, for
 * s3_upload.py, which measures it from outside. The checksum, which an uploader knows from
 * writing the file, is made here and counts.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/digest.h"
#include "lib/base/memory.h"
#include "lib/objstore/objstore.h"

enum { READ_BYTES = 1 << 20 };

static int file_sum(const char *path, uint64_t *size, uint32_t *sum, struct error *err)
{
    int rc = OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return error_errno(err, path);
    void *room = memory_alloc_raw(READ_BYTES, 1);
    for (;;) {
        ssize_t n = read(fd, room, READ_BYTES);
        if (n < 0)
            rc = error_errno(err, path);
        if (n <= 0)
            break;
        *sum = crc32c(*sum, slice_of(room, (size_t)n));
        *size += (uint64_t)n;
    }
    free(room);
    close(fd);
    return rc;
}

int main(int count, char **arguments)
{
    if (count < 4 || count > 6) {
        fprintf(stderr, "usage: s3_upload FILE WAREHOUSE KEY [PART_BYTES [CONCURRENCY]]\n");
        return 2;
    }
    struct error err;
    struct objstore *store = NULL;
    struct objstore_body body = {.file = arguments[1]};
    uint32_t sum = 0;
    struct objstore_s3 s3 = {.part_bytes = count > 4 ? strtoll(arguments[4], NULL, 10) : 0,
                             .concurrency = count > 5 ? strtoll(arguments[5], NULL, 10) : 0};
    struct objstore_options options = {.s3 = &s3};
    int rc = objstore_open(&store, arguments[2], &options, &err);
    if (rc == OK)
        rc = file_sum(arguments[1], &body.file_size, &sum, &err);
    if (rc == OK)
        rc = objstore_put(store, arguments[3], &body, sum, PUT_IF_ABSENT, &err);
    objstore_close(store);
    if (rc != OK)
        fprintf(stderr, "s3_upload: %s\n", err.text);
    return rc == OK ? 0 : 1;
}
