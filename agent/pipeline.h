/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline.h: what happens to events behind the durable answer: seal, build, upload,
 * announce, trim. One step looks at every stream and does what is due; the daemon, an
 * ingest and the simulation all call it in a loop.
 *
 * Threads  one at a time (spool.h: the thread that rolls); capture goes on beside it.
 * Crash    nothing is kept here that a restart needs.
 */
#ifndef AGENT_PIPELINE_H
#define AGENT_PIPELINE_H

#include <stdbool.h>
#include <stdint.h>

#include "agent/roller.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/objstore/objstore.h"
#include "spool/spool.h"
#include "uploader/uploader.h"

struct roll_policy {
    uint64_t bytes_max; /* of row images */
    uint64_t rows_max;
    int64_t age_max_ms;
};

/* Whether an open range is to be sealed. An empty one never is. */
bool roll_due(const struct roll_policy *policy, uint64_t bytes, uint64_t rows, int64_t age_ms);

struct pipeline;

struct pipeline_options {
    struct spool *spool;
    struct objstore *store;
    const struct clock *clock; /* NULL: the system's */
    const char *agent_id;
    struct roll_policy roll;
    uint64_t partition_bytes;
    uint32_t row_group_rows_max;
    int zstd_level;
    int64_t announce_repeat_ms;
    int64_t receipt_poll_ms;
    int64_t retry_max_ms;
    uint64_t upload_bandwidth; /* bytes a second; 0: no limit */
    bool store_is_unknown;     /* it is asked whether it overwrites, before anything is put */
    uint64_t seed;
};

int pipeline_open(struct pipeline **out, const struct pipeline_options *options,
                  struct error *err) MUST_USE;
void pipeline_close(struct pipeline *pipeline);
/* Uploads that the bandwidth holds back fail from then on (monotonic). Any thread. */
void pipeline_give_up_at(struct pipeline *pipeline, int64_t mono_ms);
/* When the bandwidth last held an upload back (monotonic; 0: never). Any thread. */
int64_t pipeline_paced_at_ms(const struct pipeline *pipeline);

/* Row images that a segment is sealed at, and cut to if it is larger: as the options said, until
 * it is set. Any thread. */
void pipeline_set_roll_bytes(struct pipeline *pipeline, uint64_t bytes);
uint64_t pipeline_roll_bytes(const struct pipeline *pipeline);

/* The age that open records are sealed at, and bytes a second: as the options said, until they
 * are set. Any thread. */
void pipeline_set_roll_age(struct pipeline *pipeline, int64_t age_ms);
void pipeline_set_bandwidth(struct pipeline *pipeline, uint64_t bytes_per_second);

/* flush: seal whatever is open, whatever the policy says. Errors are the spool's;
 * a stream that fails is logged and waits, the others go on. */
int pipeline_step(struct pipeline *pipeline, bool flush, struct error *err) MUST_USE;

struct pipeline_backlog {
    size_t open_streams; /* with records that are not sealed */
    size_t unannounced;  /* segments */
    size_t uncommitted;  /* announced, no receipt yet */
    bool failing;        /* a stream's last build or upload failed */
    char last_failure[400];
    int64_t last_failure_ms; /* monotonic: when it was last seen to hold; 0: never */
};
/* Of these streams, which the caller has listed since the last step. */
int pipeline_backlog(struct pipeline *pipeline, const struct spool_streams *streams,
                     struct pipeline_backlog *out, struct error *err) MUST_USE;

const struct roller_statistics *pipeline_roller_statistics_borrow(const struct pipeline *pipeline);
const struct uploader_statistics *
pipeline_uploader_statistics_borrow(const struct pipeline *pipeline);
int64_t pipeline_upload_ns(const struct pipeline *pipeline); /* CPU, for stage tables */

#endif
