/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/histogram.h"

const int64_t histogram_bounds_us[HISTOGRAM_BUCKETS - 1] = {
    5000,    10000,   25000,   50000,    100000,   250000,   500000,
    1000000, 2500000, 5000000, 10000000, 30000000, 60000000, 300000000};

void histogram_observe(struct histogram *histogram, int64_t took_us)
{
    size_t bucket = 0;
    while (bucket < HISTOGRAM_BUCKETS - 1 && took_us > histogram_bounds_us[bucket])
        bucket++;
    histogram->counts[bucket]++;
    histogram->sum_us += took_us;
}
