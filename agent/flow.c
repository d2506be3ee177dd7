/* SPDX-License-Identifier: Apache-2.0
 *
 * A stream's ends only grow, and a position is an event: what they grew by since the last
 * look was appended, announced, committed. Where a part of it was declared lost, it counts
 * there. The spool forgets a lost range with the receipt that passes it, so the ranges of
 * the last look are kept. A range is announced before a receipt can pass it, and there is a
 * look between the two: none is missed.
 */
#include "agent/flow.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/memory.h"

const char *const flow_reasons[FLOW_REASONS] = {"disk_full", "bad_block", "records_gone",
                                                "set_aside", "other"};
enum { SET_ASIDE = 3 };

struct range {
    uint64_t from, to, events;
    size_t reason;
};

struct track {
    struct track *next;
    char *stream;
    size_t table; /* its number */
    bool seen;    /* in this look */
    uint64_t next_position;
    uint64_t announced;
    uint64_t end;
    struct range *lost;
    size_t lost_count;
};

struct flow {
    char *epoch;
    struct track *tracks;
    pthread_mutex_t lock;
    /* guarded by lock */
    struct flow_table *tables; /* `dropped` of what receipts have passed */
    size_t table_count;
    uint64_t (*waiting_lost)[FLOW_REASONS]; /* by table: no receipt has passed it yet */
};

struct flow *flow_open(const char *epoch)
{
    struct flow *flow = memory_alloc(1, sizeof *flow);
    flow->epoch = memory_copy_cstr(epoch);
    pthread_mutex_init(&flow->lock, NULL);
    return flow;
}

static void track_free(struct track *track)
{
    free(track->lost);
    free(track->stream);
    free(track);
}

void flow_close(struct flow *flow)
{
    if (flow == NULL)
        return;
    while (flow->tracks != NULL) {
        struct track *track = flow->tracks;
        flow->tracks = track->next;
        track_free(track);
    }
    pthread_mutex_destroy(&flow->lock);
    free(flow->tables);
    free(flow->waiting_lost);
    free(flow->epoch);
    free(flow);
}

/* Of the stream "<agent>/<epoch>/<namespace>.<table>". */
static size_t table_of(struct flow *flow, const char *stream)
{
    const char *slash = strrchr(stream, '/');
    const char *name = slash != NULL ? slash + 1 : stream;
    const char *dot = strrchr(name, '.');
    name = dot != NULL ? dot + 1 : name;
    for (size_t i = 0; i < flow->table_count; i++) {
        if (strncmp(flow->tables[i].name, name, FLOW_TABLE_NAME_MAX - 1) == 0)
            return i;
    }
    size_t i = flow->table_count++;
    flow->tables = memory_resize(flow->tables, flow->table_count, sizeof *flow->tables);
    flow->waiting_lost =
        memory_resize(flow->waiting_lost, flow->table_count, sizeof *flow->waiting_lost);
    memset(&flow->tables[i], 0, sizeof flow->tables[i]);
    memset(&flow->waiting_lost[i], 0, sizeof flow->waiting_lost[i]);
    size_t len = strlen(name);
    memcpy(flow->tables[i].name, name, len < FLOW_TABLE_NAME_MAX ? len : FLOW_TABLE_NAME_MAX - 1);
    return i;
}

/* Epochs are UUIDv7: their text sorts by time. */
static bool is_own(const struct flow *flow, const char *stream)
{
    struct slice epoch = stream_epoch(stream);
    return epoch.data != NULL && strncmp((const char *)epoch.data, flow->epoch, epoch.len) >= 0;
}

/* Seen for the first time: what it held before is recovered, if it is not this process's. */
static struct track *track_of(struct flow *flow, const struct spool_stream *stream)
{
    for (struct track *track = flow->tracks; track != NULL; track = track->next) {
        if (strcmp(track->stream, stream->name) == 0)
            return track;
    }
    struct track *track = memory_alloc(1, sizeof *track);
    track->stream = memory_copy_cstr(stream->name);
    track->table = table_of(flow, stream->name);
    if (!is_own(flow, stream->name)) {
        track->next_position = stream->next;
        track->announced = stream->announced > stream->next ? stream->announced : stream->next;
        flow->tables[track->table].recovered += stream->end - stream->next;
    }
    track->next = flow->tracks;
    flow->tracks = track;
    return track;
}

/* Lost events within [from, to); of a range that reaches beyond, a position is an event. */
static uint64_t lost_within(const struct range *lost, size_t count, uint64_t from, uint64_t to,
                            uint64_t by_reason[FLOW_REASONS])
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t begin = lost[i].from > from ? lost[i].from : from;
        uint64_t end = lost[i].to < to ? lost[i].to : to;
        if (begin >= end)
            continue;
        uint64_t events = lost[i].events < end - begin ? lost[i].events : end - begin;
        if (by_reason != NULL)
            by_reason[lost[i].reason] += events;
        sum += events;
    }
    return sum;
}

static void keep_lost(struct track *track, const struct spool_stream *stream)
{
    track->lost_count = stream->lost_count;
    track->lost = memory_resize(track->lost, stream->lost_count + 1, sizeof *track->lost);
    for (size_t i = 0; i < stream->lost_count; i++) {
        const struct spool_lost *lost = &stream->lost[i];
        size_t reason = 0;
        while (reason < FLOW_REASONS - 1 && strcmp(flow_reasons[reason], lost->reason) != 0)
            reason++;
        track->lost[i] = (struct range){
            .from = lost->from, .to = lost->to, .events = lost->events, .reason = reason};
    }
}

/* What receipts passed, by the ranges of the last look; then what lies behind, by today's. */
static void look_at(struct flow *flow, const struct spool_stream *stream)
{
    struct track *track = track_of(flow, stream);
    struct flow_table *table = &flow->tables[track->table];
    uint64_t *waiting = flow->waiting_lost[track->table];
    uint64_t next = stream->next;
    track->seen = true;
    if (next > track->next_position)
        table->committed +=
            next - track->next_position -
            lost_within(track->lost, track->lost_count, track->next_position, next, table->dropped);
    uint64_t announced = stream->announced > next ? stream->announced : next;
    uint64_t not_put = lost_within(track->lost, track->lost_count, track->announced, next, NULL);
    keep_lost(track, stream);
    uint64_t from = track->announced > next ? track->announced : next;
    not_put += lost_within(track->lost, track->lost_count, from, announced, NULL);
    if (announced > track->announced)
        table->uploaded += announced - track->announced - not_put;
    uint64_t sealed = stream->sealed > announced ? stream->sealed : announced;
    table->announced +=
        announced - next - lost_within(track->lost, track->lost_count, next, announced, waiting);
    table->sealed += sealed - announced -
                     lost_within(track->lost, track->lost_count, announced, sealed, waiting);
    table->open += stream->end - sealed -
                   lost_within(track->lost, track->lost_count, sealed, stream->end, waiting);
    track->next_position = next;
    track->announced = announced;
    track->end = stream->end;
}

/* The spool forgets a stream of an older epoch when a receipt has passed all of it. What was
 * not even announced went with an environment that was set aside. */
static void settle_gone(struct flow *flow, const struct track *track)
{
    struct flow_table *table = &flow->tables[track->table];
    table->committed += track->announced - track->next_position -
                        lost_within(track->lost, track->lost_count, track->next_position,
                                    track->announced, table->dropped);
    table->dropped[SET_ASIDE] +=
        track->end - track->announced -
        lost_within(track->lost, track->lost_count, track->announced, track->end, table->dropped);
}

void flow_look(struct flow *flow, const struct spool_streams *streams)
{
    pthread_mutex_lock(&flow->lock);
    for (size_t i = 0; i < flow->table_count; i++) {
        flow->tables[i].open = 0;
        flow->tables[i].sealed = 0;
        flow->tables[i].announced = 0;
        memset(flow->waiting_lost[i], 0, sizeof flow->waiting_lost[i]);
    }
    for (struct track *track = flow->tracks; track != NULL; track = track->next)
        track->seen = false;
    for (size_t i = 0; i < streams->count; i++)
        look_at(flow, &streams->streams[i]);
    for (struct track **at = &flow->tracks; *at != NULL;) {
        struct track *track = *at;
        if (track->seen) {
            at = &track->next;
            continue;
        }
        *at = track->next;
        settle_gone(flow, track);
        track_free(track);
    }
    pthread_mutex_unlock(&flow->lock);
}

static int compare_tables(const void *a, const void *b)
{
    const struct flow_table *x = a;
    const struct flow_table *y = b;
    return strcmp(x->name, y->name);
}

size_t flow_copy(struct flow *flow, struct flow_table **out)
{
    pthread_mutex_lock(&flow->lock);
    size_t count = flow->table_count;
    *out = memory_alloc(count + 1, sizeof **out);
    for (size_t i = 0; i < count; i++) {
        (*out)[i] = flow->tables[i];
        for (size_t r = 0; r < FLOW_REASONS; r++)
            (*out)[i].dropped[r] += flow->waiting_lost[i][r];
    }
    pthread_mutex_unlock(&flow->lock);
    qsort(*out, count, sizeof **out, compare_tables);
    return count;
}
