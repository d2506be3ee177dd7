/* SPDX-License-Identifier: Apache-2.0
 *
 * metric.h: Prometheus text (exposition format 0.0.4), written line by line. Which metrics there
 * are stands in one table a program (an X-macro file); this knows how a line looks.
 */
#ifndef LIB_BASE_METRIC_H
#define LIB_BASE_METRIC_H

#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/histogram.h"

struct metric {
    const char *name;
    const char *type; /* counter, gauge, histogram */
    const char *help;
};

/* HELP and TYPE, once before the metric's lines. Returns its name. */
const char *metric_head(struct buf *out, const struct metric *metric);
/* Head and the one line of a metric without labels. */
void metric_single(struct buf *out, const struct metric *metric, uint64_t value);
void metric_single_real(struct buf *out, const struct metric *metric, double value);
/* A label's value, escaped: what stands there comes from configurations. */
void metric_label(struct buf *out, const char *value);

/* `counts` has one bucket more than there are bounds: what is above them all. */
struct metric_buckets {
    const int64_t *bounds;
    double unit_seconds; /* of a bound */
    const uint64_t *counts;
    size_t bound_count;
    double sum_seconds;
};
void metric_buckets(struct buf *out, const struct metric *metric,
                    const struct metric_buckets *buckets);
void metric_histogram(struct buf *out, const struct metric *metric,
                      const struct histogram *histogram);

#endif
