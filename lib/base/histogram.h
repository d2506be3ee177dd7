/* SPDX-License-Identifier: Apache-2.0
 *
 * histogram.h: how long a thing took, counted in buckets from 5 ms to 5 minutes. All zero is
 * an empty one. Threads: one, or the caller's lock.
 */
#ifndef LIB_BASE_HISTOGRAM_H
#define LIB_BASE_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BUCKETS = 15 };

/* Upper bounds; the last bucket is all above them. */
extern const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS - 1];

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    int64_t sum_us;
};

void histogram_observe(struct histogram *histogram, int64_t took_us);

#endif
