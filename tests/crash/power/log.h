/* SPDX-License-Identifier: Apache-2.0
 *
 * log.h: what the recording disk (disk_main.c) writes and the replay reads: records in
 * the order in which the disk served them, in the machine's byte order.
 *
 *   LOG_WRITE  `len` bytes at `offset` of the disk follow. They are in the disk's cache.
 *   LOG_FLUSH  all writes before it are on the medium.
 *   LOG_MARK   `len` bytes of text follow: what a program on the disk said it had been
 *              given, or had answered, at this very moment between the writes.
 */
#ifndef TESTS_CRASH_POWER_LOG_H
#define TESTS_CRASH_POWER_LOG_H

#include <stdint.h>

enum log_kind { LOG_WRITE = 1, LOG_FLUSH, LOG_MARK };

struct log_record {
    uint32_t kind;
    uint32_t len;
    uint64_t offset;
};

_Static_assert(sizeof(struct log_record) == 16, "no padding in the log");

#endif
