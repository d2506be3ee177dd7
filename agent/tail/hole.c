/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tail/hole.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

size_t hole_run(struct slice bytes)
{
    size_t len = 0;
    if (bytes.len > 0 && bytes.data[0] == 0 &&
        memcmp(bytes.data, bytes.data + 1, bytes.len - 1) == 0)
        return bytes.len;
    while (len < bytes.len && bytes.data[len] == 0)
        len++;
    return len;
}

enum hole hole_step(int fd, uint64_t *at, uint8_t *piece, size_t len)
{
    off_t data = lseek(fd, (off_t)*at, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        return HOLE_OPEN;
    if (data > (off_t)*at) /* a file system that can't tell says that all is data, or nothing */
        *at = (uint64_t)data;
    ssize_t got = pread(fd, piece, len, (off_t)*at);
    if (got < 0)
        return errno == EINTR ? HOLE_GOES_ON : HOLE_FAULTY;
    if (got == 0)
        return HOLE_OPEN;
    size_t nuls = hole_run(slice_of(piece, (size_t)got));
    *at += nuls;
    return nuls < (size_t)got ? HOLE_ENDS : HOLE_GOES_ON;
}
