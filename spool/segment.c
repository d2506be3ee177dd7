/* SPDX-License-Identifier: Apache-2.0
 *
 * segment.c: the register: streams as listed, ranges sealed, segments as they go on.
 *
 * Sealing looks at no block unless it must: the stream's record knows whether all open
 * blocks have one schema and how much they hold, so the usual seal is two small writes.
 */
#include "spool/segment.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"

const char *segment_state_name(enum segment_state state)
{
    static const char *const names[] = {"sealed", "built", "announced"};
    ASSERT((unsigned)state < sizeof names / sizeof names[0]);
    return names[state];
}

/* ---- sealing ---- */

/* What a run of open blocks of one schema holds, up to its limits. */
struct open_run {
    uint64_t to; /* first position behind it */
    uint64_t blocks;
    uint64_t bytes;
    uint64_t rows;
    uint64_t schema_key;
    bool more; /* a block follows */
};

static bool run_is_full(const struct open_run *run, const struct block_header *header,
                        const struct spool_seal_limits *limits)
{
    if (run->blocks == 0)
        return false;
    return header->schema_key != run->schema_key ||
           (limits->bytes_max > 0 && run->bytes + header->payload_len > limits->bytes_max) ||
           (limits->rows_max > 0 && run->rows + header->row_count > limits->rows_max);
}

static int scan_run(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                    uint64_t from, const struct spool_seal_limits *limits, struct open_run *run,
                    struct error *err)
{
    struct range_walk walk = {0};
    *run = (struct open_run){.to = stream->end};
    int rc = range_open(&walk, spool, txn, DB_BLOCKS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, from, err);
    while (rc == OK && walk.valid) {
        struct block_header header;
        struct error damage;
        /* A damaged block goes with those around it: the reader will name it. */
        if (block_header_decode(walk.key, walk.value, &header, &damage) == OK) {
            if (run_is_full(run, &header, limits)) {
                run->to = walk.from;
                run->more = true;
                break;
            }
            run->schema_key = header.schema_key;
            run->blocks++;
            run->bytes += header.payload_len;
            run->rows += header.row_count;
        }
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc;
}

int segment_count_open(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                       struct error *err)
{
    static const struct spool_seal_limits unlimited = {0};
    struct open_run run = {0};
    uint64_t from = stream->sealed;
    stream->open_bytes = 0;
    stream->open_rows = 0;
    stream->open_blocks = 0;
    stream->open_cut = 0;
    if (from == stream->end)
        stream->open_since_ms = 0;
    do {
        int rc = scan_run(spool, txn, stream, from, &unlimited, &run, err);
        if (rc != OK)
            return rc;
        if (stream->open_blocks == 0)
            stream->open_schema = run.schema_key;
        else if (stream->open_cut == 0)
            stream->open_cut = from;
        stream->open_blocks += run.blocks;
        stream->open_bytes += run.bytes;
        stream->open_rows += run.rows;
        from = run.to;
    } while (run.more);
    return OK;
}

static bool within(const struct stream_record *stream, const struct spool_seal_limits *limits)
{
    return stream->open_cut == 0 &&
           (limits->bytes_max == 0 || stream->open_bytes <= limits->bytes_max) &&
           (limits->rows_max == 0 || stream->open_rows <= limits->rows_max);
}

int segment_seal(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                 const struct spool_seal_limits *limits, struct error *err)
{
    ASSERT(stream->sealed < stream->end);
    struct open_run run = {
        .to = stream->end,
        .blocks = stream->open_blocks,
        .bytes = stream->open_bytes,
        .rows = stream->open_rows,
        .schema_key = stream->open_blocks > 0 ? stream->open_schema : 0,
    };
    int rc = OK;
    if (!within(stream, limits))
        rc = scan_run(spool, txn, stream, stream->sealed, limits, &run, err);
    if (rc != OK)
        return rc;
    struct segment_record segment = {
        .to = run.to,
        .schema_key = run.schema_key,
        .sealed_at_ms = clock_wall_ms(spool->clock),
        .generation = 1,
        .state = SEGMENT_SEALED,
    };
    rc = store_put_segment(spool, txn, stream->id, stream->sealed, &segment, err);
    if (rc != OK)
        return rc;
    bool schema_ends = stream->open_cut == run.to;
    stream->sealed = run.to;
    stream->open_blocks -= run.blocks;
    stream->open_bytes -= run.bytes;
    stream->open_rows -= run.rows;
    /* Where the next schema begins and ends is known only by looking. */
    if (schema_ends)
        rc = segment_count_open(spool, txn, stream, err);
    if (stream->sealed == stream->end) {
        stream->open_since_ms = 0;
        stream->open_blocks = 0;
        stream->open_bytes = 0;
        stream->open_rows = 0;
        stream->open_cut = 0;
    }
    return rc == OK ? store_put_stream(spool, txn, stream, err) : rc;
}

int spool_seal(struct spool *spool, const char *name, const struct spool_seal_limits *limits,
               bool *sealed, struct error *err)
{
    static const struct spool_seal_limits unlimited = {0};
    MDB_txn *txn = NULL;
    struct stream_record stream;
    *sealed = false;
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = store_get_stream(spool, txn, name, &stream, err);
    if (rc != OK || stream.sealed == stream.end)
        goto out;
    rc = segment_seal(spool, txn, &stream, limits != NULL ? limits : &unlimited, err);
    if (rc == OK)
        rc = fault_point("spool.seal.before_commit", err);
    if (rc != OK)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    *sealed = rc == OK;
    if (rc == OK)
        rc = fault_point("spool.seal.committed", err);
out:
    store_end(spool, txn);
    return rc == OK ? OK : error_wrap(err, "seal %s", name);
}

/* ---- lists ---- */

static size_t count_entries(struct spool *spool, MDB_txn *txn, enum store_db db)
{
    MDB_stat stat = {0};
    int cause = mdb_stat(txn, spool->dbi[db], &stat);
    ASSERT(cause == MDB_SUCCESS);
    return stat.ms_entries;
}

struct lost_list {
    struct spool_lost *ranges;
    size_t count;
};

static int list_lost(struct spool *spool, MDB_txn *txn, uint32_t stream_id, struct arena *arena,
                     struct lost_list *out, struct error *err)
{
    struct range_walk walk = {0};
    size_t cap = 0;
    *out = (struct lost_list){0};
    int rc = range_open(&walk, spool, txn, DB_LOST, stream_id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        struct lost_record lost;
        rc = lost_record_decode(walk.from, walk.value, &lost, err);
        if (rc != OK) {
            error_wrap(err, "lost range at %llu", (unsigned long long)walk.from);
            break;
        }
        out->ranges = store_grow(arena, out->ranges, out->count, &cap, sizeof *out->ranges);
        out->ranges[out->count++] = (struct spool_lost){
            .from = walk.from,
            .to = lost.to,
            .events = lost.events,
            .reason = arena_copy_cstr(arena, slice_cstr(lost.reason)),
        };
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc;
}

int spool_list_streams(struct spool *spool, struct arena *arena, struct spool_streams *out,
                       struct error *err)
{
    MDB_txn *txn = NULL;
    struct stream_list list = {0};
    *out = (struct spool_streams){0};
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = store_list_streams(spool, txn, arena, &list, err);
    if (rc != OK)
        goto out;
    out->count = list.count;
    out->streams = arena_alloc(arena, list.count, sizeof *out->streams);
    bool any_lost = count_entries(spool, txn, DB_LOST) > 0;
    for (size_t i = 0; i < list.count; i++) {
        struct lost_list lost = {0};
        struct error ignored; /* a range that does not read: spool_list_segments says so */
        const struct stream_record *record = &list.records[i];
        out->streams[i] = (struct spool_stream){
            .name = record->name,
            .begin = record->begin,
            .sealed = record->sealed,
            .end = record->end,
            .next = record->next,
            .announced = record->announced,
            .committed_at_ms = record->committed_at_ms,
            .open_bytes = record->open_bytes,
            .open_rows = record->open_rows,
            .open_since_ms = record->open_since_ms,
            .bytes = record->bytes,
        };
        if (any_lost && list_lost(spool, txn, record->id, arena, &lost, &ignored) != OK)
            any_lost = false;
        out->streams[i].lost = lost.ranges;
        out->streams[i].lost_count = lost.count;
    }
out:
    store_end(spool, txn);
    return rc;
}

/* The part of each lost range that lies in the segment. */
static void give_lost(const struct lost_list *all, struct arena *arena,
                      struct spool_segment *segment)
{
    size_t n = 0;
    for (size_t i = 0; i < all->count; i++)
        n += all->ranges[i].from < segment->to && all->ranges[i].to > segment->from;
    segment->lost = arena_alloc(arena, n, sizeof *segment->lost);
    for (size_t i = 0; i < all->count; i++) {
        struct spool_lost lost = all->ranges[i];
        if (lost.from >= segment->to || lost.to <= segment->from)
            continue;
        if (lost.from < segment->from)
            lost.from = segment->from;
        if (lost.to > segment->to)
            lost.to = segment->to;
        if (lost.events > lost.to - lost.from)
            lost.events = lost.to - lost.from;
        segment->lost[segment->lost_count++] = lost;
    }
}

/* What of a stream's segments is asked for. */
struct segment_query {
    uint64_t from; /* those that begin at or behind it */
    size_t max;
    bool pending; /* only what is not announced */
};

static int list_segments(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                         const struct segment_query *query, struct arena *arena,
                         struct spool_segment **out, size_t *count, struct error *err)
{
    struct range_walk walk = {0};
    struct lost_list lost = {0};
    size_t cap = 0;
    const char *name = arena_copy_cstr(arena, slice_cstr(stream->name));
    int rc = list_lost(spool, txn, stream->id, arena, &lost, err);
    if (rc == OK)
        rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, query->from, err);
    while (rc == OK && walk.valid && *count < query->max) {
        struct segment_record record;
        rc = segment_record_decode(walk.from, walk.value, &record, err);
        if (rc != OK) {
            error_wrap(err, "segment at %llu", (unsigned long long)walk.from);
            break;
        }
        if (!query->pending || record.state != SEGMENT_ANNOUNCED) {
            *out = store_grow(arena, *out, *count, &cap, sizeof **out);
            struct spool_segment *segment = &(*out)[(*count)++];
            *segment = (struct spool_segment){
                .stream = name,
                .from = walk.from,
                .to = record.to,
                .state = record.state,
                .schema_key = record.schema_key,
                .generation = record.generation,
                .sealed_at_ms = record.sealed_at_ms,
                .announced_at_ms = record.announced_at_ms,
                .records_gone = record.records_gone,
                .payload = arena_copy(arena, record.payload),
            };
            give_lost(&lost, arena, segment);
        }
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc;
}

static int query_segments(struct spool *spool, const char *name, const struct segment_query *query,
                          struct arena *arena, struct spool_segment **out, size_t *count,
                          struct error *err)
{
    MDB_txn *txn = NULL;
    struct stream_record stream;
    *out = NULL;
    *count = 0;
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = store_get_stream(spool, txn, name, &stream, err);
    if (rc == OK)
        rc = list_segments(spool, txn, &stream, query, arena, out, count, err);
    store_end(spool, txn);
    return rc == OK ? OK : error_wrap(err, "segments of %s", name);
}

int spool_list_segments(struct spool *spool, const char *name, struct arena *arena,
                        struct spool_segment **out, size_t *count, struct error *err)
{
    struct segment_query query = {.max = SIZE_MAX};
    return query_segments(spool, name, &query, arena, out, count, err);
}

int spool_find_segment(struct spool *spool, const char *name, uint64_t from, struct arena *arena,
                       const struct spool_segment **out, struct error *err)
{
    struct segment_query query = {.from = from, .max = 1};
    struct spool_segment *segment = NULL;
    size_t count = 0;
    int rc = query_segments(spool, name, &query, arena, &segment, &count, err);
    *out = rc == OK && count > 0 && segment->from == from ? segment : NULL;
    return rc;
}

/* ---- what is not announced ---- */

/* A position of a stream below which all segments are announced. Kept in memory only: 0 is
 * always true, and the first look after a start finds a better one. It is lowered once a
 * change is committed, not before: a look that began earlier doesn't see the change, and
 * then must not raise it again. */
struct pending_hint {
    struct pending_hint *next;
    uint32_t stream_id;
    uint64_t from;
    uint64_t noted; /* by a transaction that is not known to have ended; UINT64_MAX: nothing */
    size_t noted_txn;
};

static struct pending_hint *hint_of(struct spool *spool, uint32_t stream_id)
{
    struct pending_hint *hint = spool->hints;
    while (hint != NULL && hint->stream_id != stream_id)
        hint = hint->next;
    if (hint != NULL)
        return hint;
    hint = memory_alloc(1, sizeof *hint);
    hint->stream_id = stream_id;
    hint->noted = UINT64_MAX;
    hint->next = spool->hints;
    spool->hints = hint;
    return hint;
}

void segment_note_pending(struct spool *spool, MDB_txn *txn, uint32_t stream_id, uint64_t from)
{
    pthread_mutex_lock(&spool->lock);
    struct pending_hint *hint = hint_of(spool, stream_id);
    if (hint->noted > from)
        hint->noted = from;
    hint->noted_txn = mdb_txn_id(txn);
    atomic_store(&spool->hints_noted, true);
    pthread_mutex_unlock(&spool->lock);
}

void segment_committed(struct spool *spool, size_t txn_id)
{
    if (!atomic_exchange(&spool->hints_noted, false))
        return;
    pthread_mutex_lock(&spool->lock);
    spool->hint_changes++;
    for (struct pending_hint *hint = spool->hints; hint != NULL; hint = hint->next) {
        if (hint->from > hint->noted)
            hint->from = hint->noted;
        /* The next writer may have begun since our commit: its notes stay for its own. */
        if (hint->noted != UINT64_MAX && hint->noted_txn > txn_id)
            atomic_store(&spool->hints_noted, true);
        else
            hint->noted = UINT64_MAX;
    }
    pthread_mutex_unlock(&spool->lock);
}

void segment_free_hints(struct spool *spool)
{
    while (spool->hints != NULL) {
        struct pending_hint *hint = spool->hints;
        spool->hints = hint->next;
        free(hint);
    }
}

static uint64_t read_hint(struct spool *spool, uint32_t stream_id)
{
    pthread_mutex_lock(&spool->lock);
    uint64_t from = hint_of(spool, stream_id)->from;
    pthread_mutex_unlock(&spool->lock);
    return from;
}

/* What was seen holds unless a segment went back since: its change may not have been seen. */
static void raise_hint(struct spool *spool, uint32_t stream_id, uint64_t from, uint64_t changes)
{
    pthread_mutex_lock(&spool->lock);
    struct pending_hint *hint = hint_of(spool, stream_id);
    if (changes == spool->hint_changes && from > hint->from)
        hint->from = from;
    pthread_mutex_unlock(&spool->lock);
}

/* The first segment from the hint on that is not announced, and how many there are up to
 * `max`. Looks at states only, not at payloads. */
static int scan_pending(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                        uint64_t hint, size_t max, uint64_t *first, size_t *count,
                        struct error *err)
{
    struct range_walk walk = {0};
    *first = stream->sealed;
    *count = 0;
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, hint, err);
    while (rc == OK && walk.valid && *count < max) {
        if (segment_record_state(walk.value) != SEGMENT_ANNOUNCED) {
            *first = *count == 0 ? walk.from : *first;
            (*count)++;
        }
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    return rc;
}

static int find_pending(struct spool *spool, MDB_txn *txn, const char *name, uint64_t changes,
                        struct stream_record *stream, size_t max, uint64_t *first, size_t *count,
                        struct error *err)
{
    int rc = store_get_stream(spool, txn, name, stream, err);
    if (rc == OK)
        rc = scan_pending(spool, txn, stream, read_hint(spool, stream->id), max, first, count, err);
    if (rc == OK)
        raise_hint(spool, stream->id, *first, changes);
    return rc;
}

/* The number of changes before the transaction begins: what is noted later may be missing
 * in it. */
static uint64_t count_changes(struct spool *spool)
{
    pthread_mutex_lock(&spool->lock);
    uint64_t changes = spool->hint_changes;
    pthread_mutex_unlock(&spool->lock);
    return changes;
}

int spool_list_pending(struct spool *spool, const char *name, size_t max, struct arena *arena,
                       struct spool_segment **out, size_t *count, struct error *err)
{
    MDB_txn *txn = NULL;
    struct stream_record stream;
    struct segment_query query = {.max = max, .pending = true};
    size_t found = 0;
    *out = NULL;
    *count = 0;
    uint64_t changes = count_changes(spool);
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = find_pending(spool, txn, name, changes, &stream, 1, &query.from, &found, err);
    if (rc == OK && found > 0)
        rc = list_segments(spool, txn, &stream, &query, arena, out, count, err);
    store_end(spool, txn);
    return rc == OK ? OK : error_wrap(err, "segments of %s", name);
}

int spool_count_pending(struct spool *spool, const char *name, size_t *count, struct error *err)
{
    MDB_txn *txn = NULL;
    struct stream_record stream;
    uint64_t first = 0;
    *count = 0;
    uint64_t changes = count_changes(spool);
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = find_pending(spool, txn, name, changes, &stream, SIZE_MAX, &first, count, err);
    store_end(spool, txn);
    return rc == OK ? OK : error_wrap(err, "segments of %s", name);
}

/* ---- what becomes of a segment ---- */

int segment_find_listed(struct spool *spool, MDB_txn *txn, const struct spool_segment *segment,
                        struct stream_record *stream, struct segment_record *record,
                        struct error *err)
{
    uint8_t key[RANGE_KEY_SIZE];
    struct slice value = {0};
    bool found = false;
    int rc = store_find_stream(spool, txn, segment->stream, stream, &found, err);
    if (rc == OK && found) {
        range_key_encode(stream->id, segment->from, key);
        rc = store_get(spool, txn, DB_SEGMENTS, slice_of(key, sizeof key), &value, &found, err);
    }
    if (rc == OK && !found)
        rc = error_set(err, ERROR_CONFLICT, "the segment is gone");
    if (rc == OK)
        rc = segment_record_decode(segment->from, value, record, err);
    if (rc == OK && record->to != segment->to)
        rc = error_set(err, ERROR_CONFLICT, "the segment ends at %llu now",
                       (unsigned long long)record->to);
    if (rc == OK && record->generation > segment->generation)
        rc = error_set(err, ERROR_CONFLICT, "a part of the segment was lost since it was listed");
    return rc;
}

static int update_segment(struct spool *spool, MDB_txn *txn, const struct spool_segment *segment,
                          struct error *err)
{
    struct stream_record stream;
    struct segment_record record = {0};
    int rc = segment_find_listed(spool, txn, segment, &stream, &record, err);
    if (rc != OK)
        return rc;
    if (segment->state != SEGMENT_ANNOUNCED)
        segment_note_pending(spool, txn, stream.id, segment->from);
    record.state = segment->state;
    record.generation = segment->generation;
    record.announced_at_ms = segment->announced_at_ms;
    record.payload = segment->payload;
    rc = store_put_segment(spool, txn, stream.id, segment->from, &record, err);
    if (rc == OK && segment->state == SEGMENT_ANNOUNCED && stream.announced < segment->to) {
        stream.announced = segment->to;
        rc = store_put_stream(spool, txn, &stream, err);
    }
    return rc;
}

int spool_update_segment(struct spool *spool, const struct spool_segment *segment,
                         struct error *err)
{
    ASSERT((unsigned)segment->state <= SEGMENT_ANNOUNCED);
    if (segment->payload.len > SPOOL_BATCH_BYTES_MAX)
        return error_set(err, ERROR_INPUT, "spool: a payload of %zu bytes", segment->payload.len);
    MDB_txn *txn = NULL;
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = update_segment(spool, txn, segment, err);
    if (rc == OK)
        rc = fault_point("spool.update.before_commit", err);
    if (rc != OK)
        goto out;
    rc = store_commit(spool, txn, err);
    txn = NULL;
    if (rc == OK)
        rc = fault_point("spool.update.committed", err);
    store_measure_sealed(spool);
out:
    store_end(spool, txn);
    return rc == OK ? OK
                    : error_wrap(err, "update segment %llu of %s",
                                 (unsigned long long)segment->from, segment->stream);
}

int spool_schema_get(struct spool *spool, uint64_t schema_key, struct buf *out, struct error *err)
{
    MDB_txn *txn = NULL;
    uint8_t key[8];
    struct slice value = {0};
    bool found = false;
    put_u64be(key, schema_key);
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = store_get(spool, txn, DB_SCHEMAS, slice_of(key, sizeof key), &value, &found, err);
    if (rc == OK && !found)
        rc = error_set(err, ERROR_CORRUPT, "spool: no schema has the key %016llx",
                       (unsigned long long)schema_key);
    if (rc == OK) {
        buf_put_slice(out, value);
        if (buf_failed(out))
            rc = error_set(err, ERROR_LIMIT, "spool: a schema of %zu bytes", value.len);
    }
    store_end(spool, txn);
    return rc;
}
