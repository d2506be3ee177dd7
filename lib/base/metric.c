/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/metric.h"

#include <inttypes.h>

const char *metric_head(struct buf *out, const struct metric *metric)
{
    buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", metric->name, metric->help, metric->name,
               metric->type);
    return metric->name;
}

void metric_single(struct buf *out, const struct metric *metric, uint64_t value)
{
    buf_printf(out, "%s %" PRIu64 "\n", metric_head(out, metric), value);
}

void metric_single_real(struct buf *out, const struct metric *metric, double value)
{
    buf_printf(out, "%s %.3f\n", metric_head(out, metric), value);
}

void metric_label(struct buf *out, const char *value)
{
    for (; *value != 0; value++) {
        if (*value == '\\' || *value == '"')
            buf_put_u8(out, '\\');
        if (*value == '\n')
            buf_put_cstr(out, "\\n");
        else
            buf_put_u8(out, (uint8_t)*value);
    }
}

void metric_buckets(struct buf *out, const struct metric *metric,
                    const struct metric_buckets *buckets)
{
    const char *name = metric_head(out, metric);
    uint64_t sum = 0;
    for (size_t i = 0; i < buckets->bound_count; i++) {
        sum += buckets->counts[i];
        buf_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                   (double)buckets->bounds[i] * buckets->unit_seconds, sum);
    }
    sum += buckets->counts[buckets->bound_count];
    buf_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
               sum, name, buckets->sum_seconds, name, sum);
}

void metric_histogram(struct buf *out, const struct metric *metric,
                      const struct histogram *histogram)
{
    struct metric_buckets buckets = {.bounds = histogram_bounds_us,
                                     .unit_seconds = 1e-6,
                                     .counts = histogram->counts,
                                     .bound_count = HISTOGRAM_BUCKETS - 1,
                                     .sum_seconds = (double)histogram->sum_us / 1e6};
    metric_buckets(out, metric, &buckets);
}
