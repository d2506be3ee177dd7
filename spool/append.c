/* SPDX-License-Identifier: Apache-2.0
 *
 * append.c: group commit without a thread of its own.
 *
 * Who comes puts its call into a queue. The first that finds nobody leading leads: it
 * takes all that wait (bounded), writes them in one transaction with one sync, wakes
 * them, and hands the lead to the head of what has queued up meanwhile. So the group
 * grows with the load, a lone call waits for nobody, and no timer is needed. Checksums
 * are computed by each caller before it queues.
 *
 * A group that does not fit is taken apart: each call is tried alone, so that a small one
 * is not refused for a large one's sake. A group whose commit failed is not tried again:
 * its outcome is not known.
 */
#include "spool/store.h"

#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"

enum { GROUP_BYTES_MAX = 32 << 20, GROUP_CALLS_MAX = 4096 };

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
    pthread_cond_t wake;
    struct append_call *next;
    /* guarded by spool->lock */
    bool leads;
    bool done;
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

static int make_stream(struct spool *spool, MDB_txn *txn, const char *name,
                       struct stream_record *out, struct error *err)
{
    uint8_t bytes[4];
    struct slice value = {0};
    bool found = false;
    struct slice key = slice_cstr("stream_id");
    int rc = store_get(spool, txn, DB_META, key, &value, &found, err);
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
    return store_put(spool, txn, DB_META, key, slice_of(bytes, sizeof bytes), err);
}

static int keep_schema(struct spool *spool, MDB_txn *txn, const struct spool_batch *batch,
                       struct error *err)
{
    uint8_t key[8];
    struct slice value = {0};
    bool found = false;
    put_u64be(key, batch->schema_key);
    int rc = store_get(spool, txn, DB_SCHEMAS, slice_of(key, sizeof key), &value, &found, err);
    if (rc == OK && !found)
        return store_put(spool, txn, DB_SCHEMAS, slice_of(key, sizeof key), batch->schema, err);
    if (rc == OK && !slice_equal(value, batch->schema))
        rc = error_set(err, ERROR_CORRUPT, "spool: two schemas have the key %016llx",
                       (unsigned long long)batch->schema_key);
    return rc;
}

static int put_block(struct spool *spool, MDB_txn *txn, const struct block_header *header,
                     struct slice rows, struct error *err)
{
    uint8_t key_bytes[RANGE_KEY_SIZE];
    range_key_encode(header->stream_id, header->first, key_bytes);
    MDB_val key = {.mv_size = sizeof key_bytes, .mv_data = key_bytes};
    MDB_val value = {.mv_size = BLOCK_HEADER_SIZE + rows.len};
    int cause = mdb_put(txn, spool->dbi[DB_BLOCKS], &key, &value, MDB_RESERVE | MDB_NOOVERWRITE);
    if (cause == MDB_KEYEXIST)
        return error_set(err, ERROR_CORRUPT, "spool: position %llu is given already",
                         (unsigned long long)header->first);
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: put a block", cause);
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

static int apply_batch(struct spool *spool, MDB_txn *txn, const struct append_call *call, size_t i,
                       int64_t now_ms, struct error *err)
{
    const struct spool_batch *batch = &call->batches[i];
    struct stream_record stream;
    bool found = false;
    int rc = store_find_stream(spool, txn, batch->stream, &stream, &found, err);
    if (rc == OK && !found)
        rc = make_stream(spool, txn, batch->stream, &stream, err);
    if (rc == OK)
        rc = keep_schema(spool, txn, batch, err);
    if (rc != OK)
        return rc;
    struct block_header header = {
        .stream_id = stream.id,
        .first = stream.end,
        .event_count = batch->event_count,
        .row_count = batch->row_count,
        .schema_key = batch->schema_key,
        .time_min_us = batch->time_min_us,
        .time_max_us = batch->time_max_us,
        .payload_len = (uint32_t)batch->rows.len,
        .payload_crc = call->payload_crcs[i],
    };
    call->firsts[i] = header.first;
    rc = put_block(spool, txn, &header, batch->rows, err);
    if (rc != OK)
        return rc;
    count_open(&stream, &header, now_ms);
    return store_put_stream(spool, txn, &stream, err);
}

static int apply_call(struct spool *spool, MDB_txn *txn, const struct append_call *call,
                      int64_t now_ms, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; rc == OK && i < call->batch_count; i++)
        rc = apply_batch(spool, txn, call, i, now_ms, err);
    for (size_t i = 0; rc == OK && i < call->checkpoint_count; i++) {
        const struct spool_checkpoint *checkpoint = &call->checkpoints[i];
        if (checkpoint->value.data == NULL)
            rc = store_delete(spool, txn, DB_CHECKPOINTS, checkpoint->key, err);
        else
            rc = store_put(spool, txn, DB_CHECKPOINTS, checkpoint->key, checkpoint->value, err);
    }
    return rc;
}

/* ---- a group ---- */

static int over_budget(const struct spool *spool, uint64_t used, struct error *err)
{
    if (used <= store_appendable_bytes(spool))
        return OK;
    return error_set(err, ERROR_LIMIT,
                     "spool: full: %llu bytes with this batch, %llu of %llu may be used",
                     (unsigned long long)used, (unsigned long long)store_appendable_bytes(spool),
                     (unsigned long long)spool->bytes_max);
}

static int commit_group(struct spool *spool, MDB_txn *txn, struct error *err)
{
    int rc = fault_point("spool.append.before_commit", err);
    if (rc != OK) {
        mdb_txn_abort(txn);
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
    int64_t now_ms = clock_wall_ms(spool->clock);
    call = first;
    for (size_t i = 0; rc == OK && i < count; i++, call = call->next)
        rc = apply_call(spool, txn, call, now_ms, err);
    if (rc == OK)
        rc = over_budget(spool, store_live_bytes(spool, txn) + atomic_load(&spool->sealed_bytes),
                         err);
    if (rc == OK)
        return commit_group(spool, txn, err);
    if (txn != NULL)
        mdb_txn_abort(txn);
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
    else if (txn != NULL)
        mdb_txn_abort(txn);
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

static void run_group(struct spool *spool, struct append_call *first, size_t count)
{
    struct error err;
    int rc = write_or_nudge(spool, first, count, &err);
    bool apart = rc != OK && rc != ERROR_IO && count > 1;
    struct append_call *call = first;
    for (size_t i = 0; i < count; i++, call = call->next) {
        call->rc = apart ? write_or_nudge(spool, call, 1, call->err) : rc;
        if (call->rc != OK && !apart)
            *call->err = err;
        if (call->rc == OK)
            atomic_fetch_add(&spool->append_count, 1);
        else if (call->rc == ERROR_LIMIT)
            atomic_fetch_add(&spool->refused_events, call->events);
    }
}

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
    last->next = NULL;
    return first;
}

static void lead(struct spool *spool)
{
    size_t count = 0;
    struct append_call *call = take_group(spool, &count);
    pthread_mutex_unlock(&spool->lock);
    run_group(spool, call, count);
    pthread_mutex_lock(&spool->lock);
    while (call != NULL) {
        /* The caller's stack may be gone once the lock is: nothing after this loop. */
        struct append_call *next = call->next;
        call->done = true;
        pthread_cond_signal(&call->wake);
        call = next;
    }
    spool->leading = spool->head != NULL;
    if (spool->leading) {
        spool->head->leads = true;
        pthread_cond_signal(&spool->head->wake);
    }
}

static void queue_and_wait(struct spool *spool, struct append_call *call)
{
    pthread_cond_init(&call->wake, NULL);
    pthread_mutex_lock(&spool->lock);
    if (spool->tail != NULL)
        spool->tail->next = call;
    else
        spool->head = call;
    spool->tail = call;
    if (!spool->leading) {
        spool->leading = true;
        call->leads = true;
    }
    while (!call->done && !call->leads)
        pthread_cond_wait(&call->wake, &spool->lock);
    if (!call->done)
        lead(spool);
    ASSERT(call->done);
    pthread_mutex_unlock(&spool->lock);
    pthread_cond_destroy(&call->wake);
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
    if (batch_count > sizeof few / sizeof few[0])
        call.payload_crcs = memory_alloc(batch_count, sizeof *call.payload_crcs);
    int rc = prepare(spool, &call, err);
    if (rc == OK) {
        queue_and_wait(spool, &call);
        rc = call.rc;
    }
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
    if (txn != NULL)
        mdb_txn_abort(txn);
    return rc;
}
