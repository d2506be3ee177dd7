/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/pipeline.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

/* Built ahead of the uploads: a store that is away must not fill the disk with files. */
enum { BUILT_AHEAD_MAX = 16 };
enum { BUILD_RETRY_MS = 5000, CROWDED_MS = 10000, PRESSURE_SHARE = 8, REFUSED_SHARE = 2 };

/* A stream whose last build failed. */
struct stall {
    struct stall *next;
    char *stream;
    int64_t until_ms; /* monotonic */
};

struct pipeline {
    struct pipeline_options options; /* of roll rows_max alone; the others as they began */
    atomic_uint_fast64_t roll_bytes;
    atomic_int_fast64_t roll_age_ms;
    struct uploader *uploader;
    struct roller_options roller;
    struct roller_statistics roller_statistics;
    struct stall *stalls;
    int64_t upload_ns;
    uint64_t refused_events; /* of the spool, when pressure was last looked at */
    uint64_t room_bytes;     /* of row images: a larger segment may find no room when built */
    bool pressed;            /* too little room was free then */
    int64_t crowded_at_ms;   /* monotonic: from then on one is built without room for it */
    char last_failure[400];
    char seen_failure[400]; /* its own or the uploader's, when pipeline_backlog last looked */
    int64_t seen_failure_ms;
};

bool roll_due(const struct roll_policy *policy, uint64_t bytes, uint64_t rows, int64_t age_ms)
{
    if (rows == 0)
        return false;
    return bytes >= policy->bytes_max || rows >= policy->rows_max || age_ms >= policy->age_max_ms;
}

int pipeline_open(struct pipeline **out, const struct pipeline_options *options, struct error *err)
{
    struct pipeline *pipeline = memory_alloc(1, sizeof *pipeline);
    pipeline->options = *options;
    atomic_init(&pipeline->roll_bytes, options->roll.bytes_max);
    atomic_init(&pipeline->roll_age_ms, options->roll.age_max_ms);
    if (pipeline->options.clock == NULL)
        pipeline->options.clock = &clock_system;
    pipeline->roller = (struct roller_options){.spool = options->spool,
                                               .clock = pipeline->options.clock,
                                               .agent_id = options->agent_id,
                                               .partition_bytes = options->partition_bytes,
                                               .row_group_rows_max = options->row_group_rows_max,
                                               .zstd_level = options->zstd_level};
    struct uploader_options uploader = {.spool = options->spool,
                                        .store = options->store,
                                        .clock = pipeline->options.clock,
                                        .seed = options->seed,
                                        .announce_repeat_ms = options->announce_repeat_ms,
                                        .receipt_poll_ms = options->receipt_poll_ms,
                                        .retry_max_ms = options->retry_max_ms,
                                        .bandwidth = options->upload_bandwidth};
    struct buf probe_key = {0};
    if (options->store_is_unknown) {
        key_of_probe(options->agent_id, &probe_key);
        uploader.probe_key = buf_cstr(&probe_key);
    }
    int rc = uploader_open(&pipeline->uploader, &uploader, err);
    buf_free(&probe_key);
    if (rc != OK) {
        pipeline_close(pipeline);
        return rc;
    }
    *out = pipeline;
    return OK;
}

void pipeline_close(struct pipeline *pipeline)
{
    if (pipeline == NULL)
        return;
    uploader_close(pipeline->uploader);
    while (pipeline->stalls != NULL) {
        struct stall *stall = pipeline->stalls;
        pipeline->stalls = stall->next;
        free(stall->stream);
        free(stall);
    }
    free(pipeline);
}

void pipeline_give_up_at(struct pipeline *pipeline, int64_t mono_ms)
{
    uploader_give_up_at(pipeline->uploader, mono_ms);
}

int64_t pipeline_paced_at_ms(const struct pipeline *pipeline)
{
    return uploader_paced_at_ms(pipeline->uploader);
}

void pipeline_set_roll_bytes(struct pipeline *pipeline, uint64_t bytes)
{
    atomic_store(&pipeline->roll_bytes, bytes);
}

uint64_t pipeline_roll_bytes(const struct pipeline *pipeline)
{
    return atomic_load(&pipeline->roll_bytes);
}

void pipeline_set_roll_age(struct pipeline *pipeline, int64_t age_ms)
{
    atomic_store(&pipeline->roll_age_ms, age_ms);
}

void pipeline_set_bandwidth(struct pipeline *pipeline, uint64_t bytes_per_second)
{
    uploader_set_bandwidth(pipeline->uploader, bytes_per_second);
}

/* ---- stalls ---- */

static bool stalled(struct pipeline *pipeline, const char *stream, int64_t now_ms)
{
    for (struct stall **at = &pipeline->stalls; *at != NULL; at = &(*at)->next) {
        struct stall *stall = *at;
        if (strcmp(stall->stream, stream) != 0)
            continue;
        if (now_ms < stall->until_ms)
            return true;
        *at = stall->next;
        free(stall->stream);
        free(stall);
        return false;
    }
    return false;
}

static void stall_stream(struct pipeline *pipeline, const char *stream, int64_t now_ms,
                         const struct error *err)
{
    struct stall *stall = memory_alloc(1, sizeof *stall);
    stall->stream = memory_copy_cstr(stream);
    stall->until_ms = now_ms + BUILD_RETRY_MS;
    stall->next = pipeline->stalls;
    pipeline->stalls = stall;
    snprintf(pipeline->last_failure, sizeof pipeline->last_failure, "%s", err->text);
    log_event(LOG_LEVEL_ERROR, "roller",
              "building failed, the records stay and will be tried again",
              "stream=%s wait_ms=%d error=\"%s\"", stream, BUILD_RETRY_MS, err->text);
}

/* ---- the step ---- */

/* A spool without room whose records are all open would wait for roll.age: nothing that
 * is not sealed can be delivered, committed and trimmed. One segment at a time is on its
 * way then, so that pressure doesn't make many small ones. */
static bool only_open_records(const struct spool_stream *stream)
{
    return stream->end > stream->sealed && stream->begin == stream->sealed;
}

static struct spool_seal_limits seal_limits(const struct pipeline *pipeline)
{
    uint64_t bytes = pipeline_roll_bytes(pipeline);
    if (bytes > pipeline->room_bytes)
        bytes = pipeline->room_bytes;
    return (struct spool_seal_limits){.bytes_max = bytes,
                                      .rows_max = pipeline->options.roll.rows_max};
}

static int seal_stream(struct pipeline *pipeline, const struct spool_stream *stream, bool flush,
                       int64_t wall_ms, struct error *err)
{
    struct spool_seal_limits limits = seal_limits(pipeline);
    struct roll_policy policy = {.bytes_max = limits.bytes_max,
                                 .rows_max = limits.rows_max,
                                 .age_max_ms = atomic_load(&pipeline->roll_age_ms)};
    int64_t age_ms = wall_ms - stream->open_since_ms;
    if (age_ms < 0)
        age_ms = policy.age_max_ms; /* the wall clock leapt back */
    /* An open range of which all was lost has no rows, but its loss is to be announced. */
    bool lost_only = stream->end > stream->sealed && stream->open_rows == 0;
    uint64_t rows = lost_only ? 1 : stream->open_rows;
    if (!roll_due(&policy, stream->open_bytes, rows, age_ms) &&
        !(flush && stream->end > stream->sealed) &&
        !(pipeline->pressed && only_open_records(stream)))
        return OK;
    bool sealed = false;
    int rc = spool_seal(pipeline->options.spool, stream->name, &limits, &sealed, err);
    /* Limits and schema changes cut: what lies behind is sealed by the next calls. */
    while (rc == OK && sealed && flush)
        rc = spool_seal(pipeline->options.spool, stream->name, &limits, &sealed, err);
    return rc;
}

static int build_segment(struct pipeline *pipeline, const struct spool_segment *segment,
                         struct error *err)
{
    const char *slash = strrchr(segment->stream, '/');
    const struct contract *contract = NULL;
    int64_t begun_ns = clock_mono_ns();
    int rc = uploader_contract_borrow(pipeline->uploader,
                                      slash != NULL ? slash + 1 : segment->stream, &contract, err);
    /* Files of what it was before a part of it was lost are in nobody's register. */
    if (rc == OK)
        uploader_remove_built(pipeline->options.spool, segment->stream, segment->from);
    if (rc == OK)
        rc = roller_build(&pipeline->roller, segment, contract, &pipeline->roller_statistics, err);
    /* Half of it would be in the way of another stream's. */
    if (rc != OK)
        uploader_remove_built(pipeline->options.spool, segment->stream, segment->from);
    if (rc == OK)
        histogram_observe(&pipeline->roller_statistics.spans, (clock_mono_ns() - begun_ns) / 1000);
    return rc;
}

/* A segment may be larger than what is sealed now: a start found it open or sealed. *cut: it is
 * several now, none of them built. */
static int cut_or_build(struct pipeline *pipeline, const struct spool_segment *segment, bool *cut,
                        struct error *err)
{
    struct spool_seal_limits limits = seal_limits(pipeline);
    int rc = OK;
    if (!segment->records_gone)
        rc = spool_cut_segment(pipeline->options.spool, segment, &limits, cut, err);
    return rc == OK && !*cut ? build_segment(pipeline, segment, err) : rc;
}

/* What is built takes room beside its records until it is uploaded. Ahead of a stream's oldest
 * segment only as much is built as new events leave; the oldest may go into the reserve, which
 * is for that. Where that is taken, by streams whose uploads fail maybe, one more goes every ten
 * seconds: streams don't wait for each other, and what is delivered makes room. */
static bool has_room(struct pipeline *pipeline, bool oldest, int64_t now_ms)
{
    struct spool_statistics statistics = {0};
    spool_statistics(pipeline->options.spool, &statistics);
    if (!oldest)
        return statistics.bytes_used + seal_limits(pipeline).bytes_max <= statistics.bytes_usable;
    if (statistics.bytes_sealed > 0 &&
        statistics.bytes_used >= statistics.bytes_usable + statistics.bytes_for_builds) {
        if (now_ms < pipeline->crowded_at_ms)
            return false;
        pipeline->crowded_at_ms = now_ms + CROWDED_MS;
    }
    return true;
}

static void build_stream(struct pipeline *pipeline, const char *stream, int64_t now_ms)
{
    struct error err;
    struct arena arena = {0};
    bool cut = true;
    int rc = OK;
    while (rc == OK && cut) {
        struct spool_segment *segments = NULL;
        size_t count = 0;
        cut = false;
        rc = spool_list_pending(pipeline->options.spool, stream, BUILT_AHEAD_MAX, &arena, &segments,
                                &count, &err);
        for (size_t i = 0; rc == OK && !cut && i < count; i++) {
            if (segments[i].state != SEGMENT_SEALED)
                continue;
            if (!has_room(pipeline, i == 0, now_ms))
                break;
            rc = cut_or_build(pipeline, &segments[i], &cut, &err);
        }
    }
    /* It changed while it was built (its oldest events were dropped): the next step looks
     * at it anew. */
    if (rc != OK && rc != ERROR_CONFLICT)
        stall_stream(pipeline, stream, now_ms, &err);
    arena_free(&arena);
}

/* Room for new events comes before old ones that the store has: under pressure the
 * records of announced segments go, oldest first, until an eighth is free. A batch that was
 * refused is larger than what is free: then it is half, or it would wait for ever. */
static int relieve_pressure(struct pipeline *pipeline, struct error *err)
{
    struct spool_statistics statistics = {0};
    spool_statistics(pipeline->options.spool, &statistics);
    bool refused = statistics.refused_events > pipeline->refused_events;
    uint64_t bytes = statistics.bytes_usable + statistics.bytes_for_builds;
    uint64_t room = bytes / (refused ? REFUSED_SHARE : PRESSURE_SHARE);
    pipeline->refused_events = statistics.refused_events;
    pipeline->pressed = statistics.bytes_used + room > statistics.bytes_usable;
    pipeline->room_bytes = statistics.segment_bytes_max;
    if (!pipeline->pressed)
        return OK;
    return spool_let_go(pipeline->options.spool, room, err);
}

/* A disk without room for one thing may have some for the next, and what is uploaded and
 * committed makes room: the step goes on, the first such failure is its outcome. */
static int without_room(int rc, const struct error *err, struct error *full)
{
    if (rc != ERROR_LIMIT)
        return rc;
    if (full->code == OK)
        *full = *err;
    return OK;
}

int pipeline_step(struct pipeline *pipeline, bool flush, struct error *err)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct error full = {0};
    int64_t now_ms = clock_mono_ms(pipeline->options.clock);
    int64_t wall_ms = clock_wall_ms(pipeline->options.clock);
    int rc = without_room(relieve_pressure(pipeline, err), err, &full);
    if (rc == OK)
        rc = spool_list_streams(pipeline->options.spool, &arena, &streams, err);
    for (size_t i = 0; rc == OK && i < streams.count; i++) {
        const struct spool_stream *stream = &streams.streams[i];
        rc = without_room(seal_stream(pipeline, stream, flush, wall_ms, err), err, &full);
        if (rc == OK && !stalled(pipeline, stream->name, now_ms))
            build_stream(pipeline, stream->name, now_ms);
    }
    arena_free(&arena);
    int64_t start_ns = clock_thread_cpu_ns();
    if (rc == OK)
        rc = uploader_step(pipeline->uploader, err);
    pipeline->upload_ns += clock_thread_cpu_ns() - start_ns;
    if (rc == OK && full.code != OK) {
        *err = full;
        return ERROR_LIMIT;
    }
    return rc;
}

static void date_failure(struct pipeline *pipeline, struct pipeline_backlog *backlog)
{
    if (backlog->last_failure[0] != 0 &&
        (backlog->failing || strcmp(backlog->last_failure, pipeline->seen_failure) != 0)) {
        memcpy(pipeline->seen_failure, backlog->last_failure, sizeof pipeline->seen_failure);
        pipeline->seen_failure_ms = clock_mono_ms(pipeline->options.clock);
    }
    backlog->last_failure_ms = pipeline->seen_failure_ms;
}

int pipeline_backlog(struct pipeline *pipeline, const struct spool_streams *streams,
                     struct pipeline_backlog *out, struct error *err)
{
    struct uploader_backlog uploads;
    *out = (struct pipeline_backlog){0};
    int rc = uploader_backlog(pipeline->uploader, streams, &uploads, err);
    for (size_t i = 0; rc == OK && i < streams->count; i++) {
        out->open_streams += streams->streams[i].end > streams->streams[i].sealed;
        out->uncommitted += streams->streams[i].announced > streams->streams[i].next;
    }
    if (rc == OK) {
        out->unannounced = uploads.unannounced;
        out->failing = uploads.failing || pipeline->stalls != NULL;
        memcpy(out->last_failure,
               uploads.last_failure[0] != 0 ? uploads.last_failure : pipeline->last_failure,
               sizeof out->last_failure);
        date_failure(pipeline, out);
    }
    return rc;
}

const struct roller_statistics *pipeline_roller_statistics_borrow(const struct pipeline *pipeline)
{
    return &pipeline->roller_statistics;
}

const struct uploader_statistics *
pipeline_uploader_statistics_borrow(const struct pipeline *pipeline)
{
    return uploader_statistics_borrow(pipeline->uploader);
}

int64_t pipeline_upload_ns(const struct pipeline *pipeline)
{
    return pipeline->upload_ns;
}
