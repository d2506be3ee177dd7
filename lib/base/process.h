/* SPDX-License-Identifier: Apache-2.0
 *
 * process.h: what this process takes of the machine, by /proc.
 */
#ifndef LIB_BASE_PROCESS_H
#define LIB_BASE_PROCESS_H

#include <stdint.h>

struct process_figures {
    double cpu_seconds;
    uint64_t resident_bytes;
    uint64_t anonymous_bytes; /* of them: no file's */
    uint64_t virtual_bytes;
    uint64_t open_files;
    uint64_t open_files_max;
};

/* What can't be read is 0. */
void process_look(struct process_figures *out);

#endif
