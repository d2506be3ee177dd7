/* SPDX-License-Identifier: Apache-2.0
 *
 * append.c: group commit without a thread of its own.
 *
 * Who comes puts its call into a queue. The first that finds nobody leading leads: it
 * takes all that wait (bounded), writes them in one transaction with one sync, and answers
 * them. So the group grows with the load, and a lone call waits for nobody. Checksums are
 * computed by each caller before it queues.
 *
 * Senders that wait for their answers fall into two crowds by themselves, one of which
 * queues while the other syncs: half of them share a sync, where all could. So a group is
 * not begun before as many have come as were here when the last one ended, and who comes
 * last leads, without being woken for it. The wait ends after a quarter of what the last
 * group took, 1 ms at most; those who left are expected once, then no more. Where a commit
 * takes less than 40 us nobody waits.
 *
 * A group that does not fit is taken apart: each call is tried alone, so that a small one
 * is not refused for a large one's sake. A group whose commit failed is not tried again:
 * its outcome is not known.
 */
#include "spool/store.h"

#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"
#include "spool/drop.h"
#include "spool/room.h"

enum { GROUP_BYTES_MAX = 2 << 20, GROUP_CALLS_MAX = 4096, GROUP_STREAMS_MAX = 8, DROPS_MAX = 64 };
enum { GATHER_SHARE = 4, GATHER_NS_MAX = 1000000, GATHER_COMMIT_NS_MIN = 40000 };

/* What a waiting call is told to do. */
enum turn { TURN_NONE, TURN_GATHER, TURN_LEAD, TURN_DONE };

struct append_call {
    const struct spool_batch *batches;
    size_t batch_count;
    const struct spool_checkpoint *checkpoints;
    size_t checkpoint_count;
    uint64_t *firsts;
    uint32_t *payload_crcs;
    uint64_t bytes; /* of the values that it puts */
    uint64_t events;
    int rc;
    struct error *err;
    struct append_call *next;
    atomic_uint turn; /* enum turn; what its caller sleeps on */
};

static int check_batch(const struct spool *spool, const struct spool_batch *batch,
                       struct error *err)
{
    size_t agent_len = strlen(spool->agent_id);
    size_t epoch_len = strlen(spool->epoch);
    size_t name_len = strlen(batch->stream);
    if (name_len > SPOOL_STREAM_NAME_MAX || name_len < agent_len + epoch_len + 3 ||
        memcmp(batch->stream, spool->agent_id, agent_len) != 0 || batch->stream[agent_len] != '/' ||
        memcmp(batch->stream + agent_len + 1, spool->epoch, epoch_len) != 0 ||
        batch->stream[agent_len + 1 + epoch_len] != '/')
        return error_set(err, ERROR_INPUT, "spool: stream %.300s is not of agent %s, epoch %s",
                         batch->stream, spool->agent_id, spool->epoch);
    if (batch->rows.len > SPOOL_BATCH_BYTES_MAX)
        return error_set(err, ERROR_INPUT, "spool: a batch of %zu bytes; at most %d",
                         batch->rows.len, SPOOL_BATCH_BYTES_MAX);
    if (batch->schema.len == 0 || batch->schema.len > SPOOL_SCHEMA_BYTES_MAX)
        return error_set(err, ERROR_INPUT, "spool: a schema of %zu bytes", batch->schema.len);
    ASSERT(batch->event_count > 0);
    return OK;
}

/* Fills in what can be known before the transaction. */
static int prepare(const struct spool *spool, struct append_call *call, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; rc == OK && i < call->batch_count; i++) {
        const struct spool_batch *batch = &call->batches[i];
        rc = check_batch(spool, batch, err);
        call->bytes += batch->rows.len + BLOCK_HEADER_SIZE;
        call->events += batch->event_count;
        if (rc == OK)
            call->payload_crcs[i] = crc32c(0, batch->rows);
    }
    for (size_t i = 0; rc == OK && i < call->checkpoint_count; i++) {
        const struct spool_checkpoint *checkpoint = &call->checkpoints[i];
        if (checkpoint->key.len == 0 || checkpoint->key.len > SPOOL_CHECKPOINT_KEY_MAX ||
            checkpoint->value.len > SPOOL_BATCH_BYTES_MAX)
            rc = error_set(err, ERROR_INPUT, "spool: a checkpoint of %zu and %zu bytes",
                           checkpoint->key.len, checkpoint->value.len);
        call->bytes += checkpoint->value.len;
    }
    return rc;
}

/* ---- one call within a transaction ---- */

/* What a group has looked up already: most of its batches go to a few streams. A record is
 * written once, when the group is done or its place is needed. */
struct group {
    struct spool *spool;
    MDB_txn *txn;
    int64_t now_ms;
    size_t count;
    struct open_stream {
        struct stream_record record;
        struct slice schema; /* known to be kept under schema_key; NULL data: none yet */
        uint64_t schema_key;
    } streams[GROUP_STREAMS_MAX];
};

static int make_stream(const struct group *group, const char *name, struct stream_record *out,
                       struct error *err)
{
    uint8_t bytes[4];
    struct slice value = {0};
    bool found = false;
    struct slice key = slice_cstr("stream_id");
    int rc = store_get(group->spool, group->txn, DB_META, key, &value, &found, err);
    if (rc == OK && found && value.len != sizeof bytes)
        rc = error_set(err, ERROR_CORRUPT, "spool: meta record stream_id");
    if (rc != OK)
        return rc;
    uint32_t id = found ? get_u32le(value.data) : 1;
    if (id == UINT32_MAX)
        return error_set(err, ERROR_LIMIT, "spool: no stream id is left");
    *out = (struct stream_record){.id = id};
    memcpy(out->name, name, strlen(name) + 1);
    put_u32le(bytes, id + 1);
    return store_put(group->spool, group->txn, DB_META, key, slice_of(bytes, sizeof bytes), err);
}

static int flush_streams(struct group *group, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; rc == OK && i < group->count; i++)
        rc = store_put_stream(group->spool, group->txn, &group->streams[i].record, err);
    group->count = 0;
    return rc;
}

static int open_stream(struct group *group, const char *name, struct open_stream **out,
                       struct error *err)
{
    for (size_t i = 0; i < group->count; i++) {
        *out = &group->streams[i];
        if (strcmp((*out)->record.name, name) == 0)
            return OK;
    }
    bool found = false;
    int rc = group->count == GROUP_STREAMS_MAX ? flush_streams(group, err) : OK;
    *out = &group->streams[group->count];
    (*out)->schema = slice_of(NULL, 0);
    if (rc == OK)
        rc = store_find_stream(group->spool, group->txn, name, &(*out)->record, &found, err);
    if (rc == OK && !found)
        rc = make_stream(group, name, &(*out)->record, err);
    group->count += rc == OK;
    return rc;
}

static int keep_schema(const struct group *group, struct open_stream *stream,
                       const struct spool_batch *batch, struct error *err)
{
    uint8_t key_bytes[8];
    struct slice value = {0};
    bool found = false;
    if (stream->schema.data == batch->schema.data && stream->schema.len == batch->schema.len &&
        stream->schema_key == batch->schema_key)
        return OK;
    put_u64be(key_bytes, batch->schema_key);
    struct slice key = slice_of(key_bytes, sizeof key_bytes);
    int rc = store_get(group->spool, group->txn, DB_SCHEMAS, key, &value, &found, err);
    if (rc == OK && !found)
        rc = store_put(group->spool, group->txn, DB_SCHEMAS, key, batch->schema, err);
    else if (rc == OK && !slice_equal(value, batch->schema))
        rc = error_set(err, ERROR_CORRUPT, "spool: two schemas have the key %016llx",
                       (unsigned long long)batch->schema_key);
    stream->schema = rc == OK ? batch->schema : slice_of(NULL, 0);
    stream->schema_key = batch->schema_key;
    return rc;
}

static int put_block(const struct group *group, const struct block_header *header,
                     struct slice rows, struct error *err)
{
    uint8_t key_bytes[RANGE_KEY_SIZE];
    range_key_encode(header->stream_id, header->first, key_bytes);
    MDB_val key = {.mv_size = sizeof key_bytes, .mv_data = key_bytes};
    MDB_val value = {.mv_size = BLOCK_HEADER_SIZE + rows.len};
    int cause = mdb_put(group->txn, group->spool->dbi[DB_BLOCKS], &key, &value,
                        MDB_RESERVE | MDB_NOOVERWRITE);
    if (cause == MDB_KEYEXIST)
        return error_set(err, ERROR_CORRUPT, "spool: position %llu is given already",
                         (unsigned long long)header->first);
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: put a block", cause);
    int rc = room_check(group->spool, slice_of(value.mv_data, value.mv_size), err);
    if (rc != OK)
        return rc;
    uint8_t *to = value.mv_data;
    block_header_encode(header, to);
    if (rows.len > 0)
        memcpy(to + BLOCK_HEADER_SIZE, rows.data, rows.len);
    return OK;
}

static void count_open(struct stream_record *stream, const struct block_header *header,
                       int64_t now_ms)
{
    if (stream->sealed == stream->end)
        stream->open_since_ms = now_ms;
    if (stream->open_blocks == 0)
        stream->open_schema = header->schema_key;
    else if (stream->open_cut == 0 && stream->open_schema != header->schema_key)
        stream->open_cut = header->first;
    stream->open_blocks++;
    stream->open_bytes += header->payload_len;
    stream->open_rows += header->row_count;
    stream->bytes += BLOCK_HEADER_SIZE + header->payload_len;
    stream->end += header->event_count;
}

static int apply_batch(struct group *group, const struct append_call *call, size_t i,
                       struct error *err)
{
    const struct spool_batch *batch = &call->batches[i];
    struct open_stream *stream = NULL;
    int rc = open_stream(group, batch->stream, &stream, err);
    if (rc == OK)
        rc = keep_schema(group, stream, batch, err);
    if (rc != OK)
        return rc;
    struct block_header header = {
        .stream_id = stream->record.id,
        .first = stream->record.end,
        .event_count = batch->event_count,
        .row_count = batch->row_count,
        .schema_key = batch->schema_key,
        .time_min_us = batch->time_min_us,
        .time_max_us = batch->time_max_us,
        .payload_len = (uint32_t)batch->rows.len,
        .payload_crc = call->payload_crcs[i],
    };
    call->firsts[i] = header.first;
    rc = put_block(group, &header, batch->rows, err);
    if (rc == OK)
        count_open(&stream->record, &header, group->now_ms);
    return rc;
}

static int apply_call(struct group *group, const struct append_call *call, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; rc == OK && i < call->batch_count; i++)
        rc = apply_batch(group, call, i, err);
    for (size_t i = 0; rc == OK && i < call->checkpoint_count; i++) {
        const struct spool_checkpoint *checkpoint = &call->checkpoints[i];
        if (checkpoint->value.data == NULL)
            rc = store_delete(group->spool, group->txn, DB_CHECKPOINTS, checkpoint->key, err);
        else
            rc = store_put(group->spool, group->txn, DB_CHECKPOINTS, checkpoint->key,
                           checkpoint->value, err);
    }
    return rc;
}

/* ---- a group ---- */

static int over_budget(struct spool *spool, uint64_t used, struct error *err)
{
    if (used > store_appendable_bytes(spool) && room_is_disks(spool))
        store_measure_sealed(spool); /* others may have left the disk meanwhile */
    if (used <= store_appendable_bytes(spool))
        return OK;
    return error_set(
        err, ERROR_LIMIT, "spool: %s full: %llu bytes with this batch, %llu of %llu may be used",
        room_is_disks(spool) ? "the disk is" : "it is", (unsigned long long)used,
        (unsigned long long)store_appendable_bytes(spool), (unsigned long long)spool->bytes_max);
}

static int commit_group(struct spool *spool, MDB_txn *txn, struct error *err)
{
    int rc = fault_point("spool.append.before_commit", err);
    if (rc != OK) {
        store_end(spool, txn);
        store_fail(spool);
        return rc;
    }
    rc = store_commit(spool, txn, err);
    if (rc != OK)
        return rc;
    atomic_fetch_add(&spool->commit_count, 1);
    rc = fault_point("spool.append.committed", err);
    if (rc != OK)
        store_fail(spool);
    return rc;
}

/* One transaction for the `count` calls from `first` on. */
static int write_group(struct spool *spool, const struct append_call *first, size_t count,
                       struct error *err)
{
    MDB_txn *txn = NULL;
    uint64_t bytes = 0;
    uint64_t values = 0;
    const struct append_call *call = first;
    for (size_t i = 0; i < count; i++, call = call->next) {
        bytes += call->bytes;
        values += call->batch_count + call->checkpoint_count;
    }
    int rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = over_budget(spool, store_used_bytes(spool) + bytes, err);
    if (rc == OK)
        rc = store_reserve_file(spool, txn, bytes + values * spool->page_size, err);
    struct group group;
    group.spool = spool;
    group.txn = txn;
    group.now_ms = clock_wall_ms(spool->clock);
    group.count = 0;
    call = first;
    for (size_t i = 0; rc == OK && i < count; i++, call = call->next)
        rc = apply_call(&group, call, err);
    if (rc == OK)
        rc = flush_streams(&group, err);
    if (rc == OK)
        rc = over_budget(spool, store_live_bytes(spool, txn) + atomic_load(&spool->sealed_bytes),
                         err);
    if (rc == OK)
        return commit_group(spool, txn, err);
    store_end(spool, txn);
    return rc;
}

/* What a transaction freed may be used by the one after the next. With a file that can't
 * grow an append would fail, commit nothing, and fail again for ever: so an empty commit
 * goes in between, once for each state of the file. */
static bool nudge(struct spool *spool)
{
    MDB_envinfo info = {0};
    MDB_txn *txn = NULL;
    struct error err;
    int cause = mdb_env_info(spool->env, &info);
    ASSERT(cause == MDB_SUCCESS);
    if (info.me_last_txnid == spool->nudged_txnid)
        return false;
    int rc = store_begin_write(spool, &txn, &err);
    if (rc == OK)
        rc = store_put(spool, txn, DB_META, slice_cstr("nudge"), slice_cstr("x"), &err);
    if (rc == OK)
        rc = store_commit(spool, txn, &err);
    else
        store_end(spool, txn);
    spool->nudged_txnid = info.me_last_txnid + (rc == OK ? 1 : 0);
    return rc == OK;
}

static int write_or_nudge(struct spool *spool, const struct append_call *first, size_t count,
                          struct error *err)
{
    int rc = write_group(spool, first, count, err);
    if (rc == ERROR_LIMIT && err->cause == MDB_MAP_FULL && nudge(spool))
        rc = write_group(spool, first, count, err);
    return rc;
}

/* Whether letting something go would help: the budget is spent, or the file has no place
 * for so large a block and no reader holds pages that are free already. */
static bool drop_helps(struct spool *spool, uint64_t bytes, const struct error *refusal)
{
    if (!spool->drop_oldest || bytes > store_appendable_bytes(spool) / 2)
        return false;
    return store_used_bytes(spool) + bytes > store_appendable_bytes(spool) || refusal->cause == 0 ||
           (refusal->cause == MDB_MAP_FULL && atomic_load(&spool->reader_count) == 0);
}

/* The lowest of what the calls bring, or a click would pay for the bid requests beside
 * another; checkpoints alone may cost anything. */
static int priority_of(struct spool *spool, const struct append_call *call, size_t count)
{
    int lowest = INT_MAX;
    for (; count > 0; count--, call = call->next) {
        for (size_t i = 0; i < call->batch_count; i++) {
            int priority = drop_priority(spool, call->batches[i].stream);
            lowest = priority < lowest ? priority : lowest;
        }
    }
    return lowest;
}

static int write_dropping(struct spool *spool, const struct append_call *first, size_t count,
                          struct error *err)
{
    uint64_t bytes = 0;
    const struct append_call *call = first;
    for (size_t i = 0; i < count; i++, call = call->next)
        bytes += call->bytes + call->batch_count * spool->page_size;
    int rc = write_or_nudge(spool, first, count, err);
    for (int i = 0; rc == ERROR_LIMIT && i < DROPS_MAX && drop_helps(spool, bytes, err); i++) {
        struct error drop_err;
        bool dropped = false;
        int drop_rc =
            drop_oldest(spool, bytes, priority_of(spool, first, count), &dropped, &drop_err);
        if (drop_rc != OK || !dropped) {
            *err = drop_rc != OK ? drop_err : *err;
            return drop_rc != OK ? drop_rc : rc;
        }
        rc = write_or_nudge(spool, first, count, err);
    }
    return rc;
}

static void run_group(struct spool *spool, struct append_call *first, size_t count)
{
    struct error err;
    int rc = write_dropping(spool, first, count, &err);
    bool apart = rc != OK && rc != ERROR_IO && count > 1;
    struct append_call *call = first;
    for (size_t i = 0; i < count; i++, call = call->next) {
        call->rc = apart ? write_dropping(spool, call, 1, call->err) : rc;
        if (call->rc != OK && !apart)
            *call->err = err;
        if (call->rc == OK)
            atomic_fetch_add(&spool->append_count, 1);
        else if (call->rc == ERROR_LIMIT)
            atomic_fetch_add(&spool->refused_events, call->events);
    }
}

/* ---- who leads ---- */

/* Takes the head of the queue off, as much as one transaction should hold. */
static struct append_call *take_group(struct spool *spool, size_t *count)
{
    struct append_call *first = spool->head;
    struct append_call *last = first;
    uint64_t bytes = first->bytes;
    *count = 1;
    while (last->next != NULL && *count < GROUP_CALLS_MAX &&
           bytes + last->next->bytes <= GROUP_BYTES_MAX) {
        last = last->next;
        bytes += last->bytes;
        (*count)++;
    }
    spool->head = last->next;
    if (spool->head == NULL)
        spool->tail = NULL;
    spool->queued -= *count;
    last->next = NULL;
    return first;
}

/* Once it has its turn, a call may be gone with its caller's stack: the address is all
 * that is used of it here, and a wake-up that nobody waits for is none. */
static void give_turn(struct append_call *call, enum turn turn)
{
    atomic_store(&call->turn, turn);
    syscall(SYS_futex, &call->turn, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Sleeps until the turn is no longer `turn`; false when deadline_ns (monotonic; 0: none)
 * passed before. */
static bool wait_turn(struct append_call *call, enum turn turn, int64_t deadline_ns)
{
    struct timespec until = {.tv_sec = deadline_ns / 1000000000,
                             .tv_nsec = deadline_ns % 1000000000};
    while (atomic_load(&call->turn) == turn) {
        if (deadline_ns > 0 && clock_mono_ns() >= deadline_ns)
            return false;
        syscall(SYS_futex, &call->turn, FUTEX_WAIT_BITSET_PRIVATE, turn,
                deadline_ns > 0 ? &until : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
    }
    return true;
}

/* Whether the queue is worth waiting for more: only for those that were here a moment ago. */
static bool gathers(const struct spool *spool)
{
    return spool->queued < spool->expected && spool->commit_ns >= GATHER_COMMIT_NS_MIN;
}

/* One group. The lock is held when it is called and when it returns. */
static void lead(struct spool *spool)
{
    size_t count = 0;
    struct append_call *call = take_group(spool, &count);
    pthread_mutex_unlock(&spool->lock);
    int64_t start_ns = clock_mono_ns();
    run_group(spool, call, count);
    int64_t end_ns = clock_mono_ns();
    pthread_mutex_lock(&spool->lock);
    spool->commit_ns = end_ns - start_ns;
    spool->expected = spool->queued + count;
    spool->leading = false;
    struct append_call *heir = spool->head;
    if (heir != NULL) {
        bool gather = gathers(spool);
        spool->leading = !gather;
        give_turn(heir, gather ? TURN_GATHER : TURN_LEAD);
    }
    while (call != NULL) {
        struct append_call *next = call->next;
        give_turn(call, TURN_DONE);
        call = next;
    }
}

/* The head of a queue that nobody leads: leads itself when the others don't come in time. */
static void gather(struct spool *spool, struct append_call *call, enum turn turn)
{
    int64_t wait_ns = spool->commit_ns / GATHER_SHARE;
    if (wait_ns > GATHER_NS_MAX)
        wait_ns = GATHER_NS_MAX;
    pthread_mutex_unlock(&spool->lock);
    bool given = wait_turn(call, turn, clock_mono_ns() + wait_ns);
    pthread_mutex_lock(&spool->lock);
    if (given || spool->leading || atomic_load(&call->turn) != turn)
        return;
    spool->leading = true;
    lead(spool);
}

static void queue_and_wait(struct spool *spool, struct append_call *call)
{
    pthread_mutex_lock(&spool->lock);
    if (spool->tail != NULL)
        spool->tail->next = call;
    else
        spool->head = call;
    spool->tail = call;
    spool->queued++;
    enum turn turn = TURN_NONE;
    if (!spool->leading && !gathers(spool)) {
        spool->leading = true;
        lead(spool);
    } else if (!spool->leading && spool->head == call) {
        gather(spool, call, turn);
    }
    pthread_mutex_unlock(&spool->lock);
    for (;;) {
        wait_turn(call, turn, 0);
        turn = atomic_load(&call->turn);
        if (turn == TURN_DONE)
            return;
        pthread_mutex_lock(&spool->lock);
        if (turn == TURN_LEAD)
            lead(spool);
        else if (!spool->leading)
            gather(spool, call, turn);
        pthread_mutex_unlock(&spool->lock);
    }
}

int spool_append(struct spool *spool, const struct spool_batch *batches, size_t batch_count,
                 const struct spool_checkpoint *checkpoints, size_t checkpoint_count,
                 uint64_t *firsts, struct error *err)
{
    ASSERT(!spool->read_only && batch_count + checkpoint_count > 0);
    uint32_t few[16] = {0};
    struct append_call call = {
        .batches = batches,
        .batch_count = batch_count,
        .checkpoints = checkpoints,
        .checkpoint_count = checkpoint_count,
        .firsts = firsts,
        .payload_crcs = few,
        .err = err,
    };
    int rc = store_enter(spool, err); /* all of it goes by one epoch */
    if (rc != OK)
        return rc;
    if (batch_count > sizeof few / sizeof few[0])
        call.payload_crcs = memory_alloc(batch_count, sizeof *call.payload_crcs);
    rc = prepare(spool, &call, err);
    if (rc == OK) {
        queue_and_wait(spool, &call);
        rc = call.rc;
    }
    store_leave(spool);
    if (call.payload_crcs != few)
        free(call.payload_crcs);
    return rc;
}

int spool_checkpoint_get(struct spool *spool, struct slice key, struct buf *out, bool *found,
                         struct error *err)
{
    MDB_txn *txn = NULL;
    struct slice value = {0};
    *found = false;
    int rc = store_begin_read(spool, &txn, err);
    if (rc == OK)
        rc = store_get(spool, txn, DB_CHECKPOINTS, key, &value, found, err);
    if (rc == OK && *found) {
        buf_put_slice(out, value);
        if (buf_failed(out))
            rc = error_set(err, ERROR_LIMIT, "spool: a checkpoint of %zu bytes", value.len);
    }
    store_end(spool, txn);
    return rc;
}
