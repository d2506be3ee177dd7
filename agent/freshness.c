/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/freshness.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"

enum { MARKS_MAX = 512 };

const int64_t freshness_bounds_s[FRESHNESS_BUCKETS - 1] = {1,  2,   5,   10,   20,  30,
                                                           60, 120, 300, 1200, 3600};

/* Positions below `end` were durable by at_ms. */
struct mark {
    uint64_t end;
    int64_t at_ms;
};

struct track {
    struct track *next;
    char *stream;
    bool seen; /* in this look */
    size_t count;
    struct mark marks[MARKS_MAX]; /* oldest first */
};

struct freshness {
    struct track *tracks;
    struct freshness_statistics statistics;
};

struct freshness *freshness_open(void)
{
    struct freshness *freshness = memory_alloc(1, sizeof *freshness);
    freshness->statistics.last_ms = -1;
    return freshness;
}

static void track_free(struct track *track)
{
    free(track->stream);
    free(track);
}

void freshness_close(struct freshness *freshness)
{
    if (freshness == NULL)
        return;
    while (freshness->tracks != NULL) {
        struct track *track = freshness->tracks;
        freshness->tracks = track->next;
        track_free(track);
    }
    free(freshness);
}

static struct track *track_of(struct freshness *freshness, const char *stream)
{
    struct track *track = freshness->tracks;
    while (track != NULL && strcmp(track->stream, stream) != 0)
        track = track->next;
    if (track != NULL)
        return track;
    track = memory_alloc(1, sizeof *track);
    track->stream = memory_copy_cstr(stream);
    track->next = freshness->tracks;
    freshness->tracks = track;
    return track;
}

/* Two become one, as old as the older: half as fine, and never fresher than it is. */
static void thin_out(struct track *track)
{
    size_t kept = 0;
    for (size_t i = 1; i < track->count; i += 2)
        track->marks[kept++] =
            (struct mark){.end = track->marks[i].end, .at_ms = track->marks[i - 1].at_ms};
    track->count = kept;
}

static void observe(struct freshness_statistics *statistics, int64_t took_ms)
{
    size_t bucket = 0;
    if (took_ms < 0)
        took_ms = 0; /* the committer's clock is another one */
    while (bucket < FRESHNESS_BUCKETS - 1 && took_ms > freshness_bounds_s[bucket] * 1000)
        bucket++;
    statistics->marks[bucket]++;
    statistics->sum_ms += took_ms;
    statistics->last_ms = took_ms;
}

static void look_at(struct freshness *freshness, struct track *track,
                    const struct spool_stream *stream, int64_t now_ms)
{
    size_t passed = 0;
    while (passed < track->count && track->marks[passed].end <= stream->next)
        observe(&freshness->statistics, stream->committed_at_ms - track->marks[passed++].at_ms);
    track->count -= passed;
    memmove(track->marks, track->marks + passed, track->count * sizeof *track->marks);
    uint64_t marked = track->count > 0 ? track->marks[track->count - 1].end : stream->next;
    if (stream->end > marked) {
        if (track->count == MARKS_MAX)
            thin_out(track);
        track->marks[track->count++] = (struct mark){.end = stream->end, .at_ms = now_ms};
    }
    struct freshness_statistics *statistics = &freshness->statistics;
    size_t waits = 0; /* the first mark behind what is announced */
    while (waits < track->count && track->marks[waits].end <= stream->announced)
        waits++;
    if (track->count > 0 && now_ms - track->marks[0].at_ms > statistics->oldest_ms)
        statistics->oldest_ms = now_ms - track->marks[0].at_ms;
    if (waits < track->count &&
        now_ms - track->marks[waits].at_ms > statistics->oldest_unannounced_ms)
        statistics->oldest_unannounced_ms = now_ms - track->marks[waits].at_ms;
    if (stream->committed_at_ms > statistics->committed_at_ms)
        statistics->committed_at_ms = stream->committed_at_ms;
}

void freshness_look(struct freshness *freshness, const struct spool_streams *streams,
                    int64_t now_ms)
{
    freshness->statistics.oldest_ms = 0;
    freshness->statistics.oldest_unannounced_ms = 0;
    for (struct track *track = freshness->tracks; track != NULL; track = track->next)
        track->seen = false;
    for (size_t i = 0; i < streams->count; i++) {
        struct track *track = track_of(freshness, streams->streams[i].name);
        track->seen = true;
        look_at(freshness, track, &streams->streams[i], now_ms);
    }
    for (struct track **at = &freshness->tracks; *at != NULL;) {
        struct track *track = *at;
        if (track->seen) {
            at = &track->next;
            continue;
        }
        *at = track->next;
        track_free(track);
    }
}

const struct freshness_statistics *freshness_borrow(const struct freshness *freshness)
{
    return &freshness->statistics;
}
