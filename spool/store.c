/* SPDX-License-Identifier: Apache-2.0
 *
 * store.c: transactions, records by key, walks over a stream's entries.
 */
#include "spool/store.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "spool/segment.h"

enum {
    AHEAD_BYTES = 4 << 20,
    STREAMS_MAX = 1 << 17,
};

static enum error_code code_of(int cause)
{
    switch (cause) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return ERROR_LIMIT;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
        return ERROR_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return ERROR_INPUT;
    case MDB_READERS_FULL:
    case MDB_MAP_RESIZED:
    case EAGAIN:
        return ERROR_RETRY;
    case EACCES:
    case EPERM:
    case EROFS:
        return ERROR_DENIED;
    default:
        return ERROR_IO;
    }
}

int store_error(struct error *err, const char *what, int cause)
{
    ASSERT(cause != MDB_SUCCESS);
    error_set(err, code_of(cause), "%s: %s", what, mdb_strerror(cause));
    err->cause = cause;
    return (int)err->code;
}

/* ---- the gate ---- */

int store_enter(struct spool *spool, struct error *err)
{
    atomic_fetch_add(&spool->inside, 1);
    if (!atomic_load(&spool->shut) ||
        (pthread_equal(atomic_load(&spool->reopener), pthread_self()) && spool->env != NULL))
        return OK;
    atomic_fetch_sub(&spool->inside, 1);
    return error_set(err, ERROR_RETRY, "spool: it is being opened anew after a failure");
}

void store_leave(struct spool *spool)
{
    unsigned before = atomic_fetch_sub(&spool->inside, 1);
    ASSERT(before > 0);
}

int store_shut(struct spool *spool, int64_t wait_ms, struct error *err)
{
    if (atomic_load(&spool->shut))
        return OK;
    atomic_store(&spool->reopener, pthread_self());
    atomic_store(&spool->shut, true);
    for (int64_t waited_ms = 0; atomic_load(&spool->inside) > 0; waited_ms++) {
        if (waited_ms >= wait_ms) {
            atomic_store(&spool->shut, false);
            return error_set(err, ERROR_RETRY, "spool: %u calls are still under way in it",
                             atomic_load(&spool->inside));
        }
        clock_sleep_ms(&clock_system, 1);
    }
    return OK;
}

void store_let_in(struct spool *spool)
{
    atomic_store(&spool->shut, false);
}

/* ---- transactions ---- */

int store_begin_read(struct spool *spool, MDB_txn **out, struct error *err)
{
    *out = NULL;
    int rc = store_enter(spool, err);
    if (rc != OK)
        return rc;
    int cause = mdb_txn_begin(spool->env, NULL, MDB_RDONLY, out);
    if (cause == MDB_SUCCESS)
        return OK;
    *out = NULL;
    store_leave(spool);
    return store_error(err, "spool: begin reading", cause);
}

void store_end(struct spool *spool, MDB_txn *txn)
{
    if (txn == NULL)
        return;
    mdb_txn_abort(txn);
    store_leave(spool);
}

int store_begin_write(struct spool *spool, MDB_txn **out, struct error *err)
{
    *out = NULL;
    if (spool->read_only)
        return error_set(err, ERROR_INPUT, "spool: opened for reading only");
    if (atomic_load(&spool->failed))
        return error_set(err, ERROR_RETRY,
                         "spool: an earlier write failed, it is to be opened anew");
    int rc = store_enter(spool, err);
    if (rc != OK)
        return rc;
    int cause = mdb_txn_begin(spool->env, NULL, 0, out);
    if (cause == MDB_SUCCESS)
        return OK;
    *out = NULL;
    if (cause == MDB_PANIC)
        store_fail(spool);
    store_leave(spool);
    return store_error(err, "spool: begin writing", cause);
}

void store_fail(struct spool *spool)
{
    atomic_store(&spool->failed, true);
}

int store_commit(struct spool *spool, MDB_txn *txn, struct error *err)
{
    uint64_t live = store_live_bytes(spool, txn);
    size_t txn_id = mdb_txn_id(txn);
    int cause = mdb_txn_commit(txn);
    if (cause == MDB_SUCCESS) {
        atomic_store(&spool->live_bytes, live);
        segment_committed(spool, txn_id);
        store_leave(spool);
        return OK;
    }
    int rc = store_error(err, "spool: commit", cause);
    if (rc != ERROR_LIMIT)
        store_fail(spool);
    store_leave(spool);
    return rc;
}

static uint64_t pages_of(MDB_txn *txn, MDB_dbi dbi)
{
    MDB_stat stat = {0};
    int cause = mdb_stat(txn, dbi, &stat);
    ASSERT(cause == MDB_SUCCESS);
    return (uint64_t)stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
}

uint64_t store_live_bytes(struct spool *spool, MDB_txn *txn)
{
    /* 0 and 1 are LMDB's free list and its list of databases; two meta pages. */
    uint64_t pages = 2 + pages_of(txn, 0) + pages_of(txn, 1);
    for (size_t i = 0; i < DB_COUNT; i++)
        pages += pages_of(txn, spool->dbi[i]);
    return pages * spool->page_size;
}

/* About the map's pages under `bytes`. */
static int advise(struct slice bytes, int advice)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)bytes.data / page * page;
    uintptr_t to = ((uintptr_t)bytes.data + bytes.len + page - 1) / page * page;
    return madvise((void *)from, to - from, advice);
}

bool store_can_read(struct slice bytes)
{
#ifdef MADV_POPULATE_READ
    int rc = 0;
    /* Else each page would be waited for by itself: the map is opened for single ones. */
    (void)advise(bytes, MADV_WILLNEED);
    do {
        rc = advise(bytes, MADV_POPULATE_READ);
    } while (rc < 0 && errno == EAGAIN);
    return rc == 0 || (errno != EFAULT && errno != EHWPOISON);
#else
    (void)bytes;
    return true;
#endif
}

/* ---- records by key ---- */

static MDB_val val_of(struct slice bytes)
{
    union {
        const uint8_t *in;
        void *out;
    } data = {.in = bytes.data}; /* LMDB reads through it, though it says void * */
    return (MDB_val){.mv_size = bytes.len, .mv_data = data.out};
}

int store_get(struct spool *spool, MDB_txn *txn, enum store_db db, struct slice key,
              struct slice *out, bool *found, struct error *err)
{
    MDB_val k = val_of(key);
    MDB_val value = {0};
    int cause = mdb_get(txn, spool->dbi[db], &k, &value);
    *found = cause == MDB_SUCCESS;
    *out = slice_of(value.mv_data, value.mv_size);
    if (cause == MDB_SUCCESS || cause == MDB_NOTFOUND)
        return OK;
    return store_error(err, "spool: get", cause);
}

int store_put(struct spool *spool, MDB_txn *txn, enum store_db db, struct slice key,
              struct slice value, struct error *err)
{
    MDB_val k = val_of(key);
    MDB_val v = val_of(value);
    int cause = mdb_put(txn, spool->dbi[db], &k, &v, 0);
    return cause == MDB_SUCCESS ? OK : store_error(err, "spool: put", cause);
}

int store_delete(struct spool *spool, MDB_txn *txn, enum store_db db, struct slice key,
                 struct error *err)
{
    MDB_val k = val_of(key);
    int cause = mdb_del(txn, spool->dbi[db], &k, NULL);
    if (cause == MDB_SUCCESS || cause == MDB_NOTFOUND)
        return OK;
    return store_error(err, "spool: delete", cause);
}

int store_find_stream(struct spool *spool, MDB_txn *txn, const char *name,
                      struct stream_record *out, bool *found, struct error *err)
{
    uint8_t key[STREAM_KEY_SIZE];
    struct slice value = {0};
    stream_key_encode(name, key);
    int rc = store_get(spool, txn, DB_STREAMS, slice_of(key, sizeof key), &value, found, err);
    if (rc != OK || !*found)
        return rc;
    rc = stream_record_decode(value, out, err);
    if (rc == OK && strcmp(out->name, name) != 0)
        rc = error_set(err, ERROR_CORRUPT, "its record is that of %s", out->name);
    return rc == OK ? OK : error_wrap(err, "spool: stream %s", name);
}

int store_get_stream(struct spool *spool, MDB_txn *txn, const char *name, struct stream_record *out,
                     struct error *err)
{
    bool found = false;
    int rc = store_find_stream(spool, txn, name, out, &found, err);
    if (rc == OK && !found)
        rc = error_set(err, ERROR_INPUT, "spool: no stream %s", name);
    return rc;
}

int store_put_stream(struct spool *spool, MDB_txn *txn, const struct stream_record *record,
                     struct error *err)
{
    uint8_t key[STREAM_KEY_SIZE];
    struct buf value = {0};
    stream_key_encode(record->name, key);
    stream_record_encode(record, &value);
    int rc = store_put(spool, txn, DB_STREAMS, slice_of(key, sizeof key), buf_slice(&value), err);
    buf_free(&value);
    return rc;
}

int store_put_segment(struct spool *spool, MDB_txn *txn, uint32_t stream_id, uint64_t from,
                      const struct segment_record *record, struct error *err)
{
    uint8_t key[RANGE_KEY_SIZE];
    struct buf value = {0};
    range_key_encode(stream_id, from, key);
    segment_record_encode(record, &value);
    int rc = store_put(spool, txn, DB_SEGMENTS, slice_of(key, sizeof key), buf_slice(&value), err);
    buf_free(&value);
    return rc;
}

int store_put_lost(struct spool *spool, MDB_txn *txn, uint32_t stream_id, uint64_t from,
                   const struct lost_record *record, struct error *err)
{
    uint8_t key[RANGE_KEY_SIZE];
    struct buf value = {0};
    range_key_encode(stream_id, from, key);
    lost_record_encode(record, &value);
    int rc = store_put(spool, txn, DB_LOST, slice_of(key, sizeof key), buf_slice(&value), err);
    buf_free(&value);
    return rc;
}

void *store_grow(struct arena *arena, const void *array, size_t count, size_t *cap, size_t size)
{
    if (count < *cap) {
        union {
            const void *in;
            void *out;
        } same = {.in = array};
        return same.out;
    }
    *cap = *cap > 0 ? 2 * *cap : 8;
    void *larger = arena_alloc(arena, *cap, size);
    if (count > 0)
        memcpy(larger, array, count * size);
    return larger;
}

int store_list_streams(struct spool *spool, MDB_txn *txn, struct arena *arena,
                       struct stream_list *out, struct error *err)
{
    MDB_cursor *cursor = NULL;
    MDB_val key = {0};
    MDB_val value = {0};
    size_t cap = 0;
    int rc = OK;
    *out = (struct stream_list){0};
    int cause = mdb_cursor_open(txn, spool->dbi[DB_STREAMS], &cursor);
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: list streams", cause);
    cause = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (rc == OK && cause == MDB_SUCCESS) {
        /* A damaged tree may lead round in circles. */
        if (out->count == STREAMS_MAX) {
            rc = error_set(err, ERROR_CORRUPT, "spool: more than %d streams", STREAMS_MAX);
            break;
        }
        out->records = store_grow(arena, out->records, out->count, &cap, sizeof *out->records);
        rc = stream_record_decode(slice_of(value.mv_data, value.mv_size), &out->records[out->count],
                                  err);
        if (rc != OK)
            error_wrap(err, "spool: record %zu of the streams", out->count);
        out->count++;
        cause = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    if (rc == OK && cause != MDB_SUCCESS && cause != MDB_NOTFOUND)
        rc = store_error(err, "spool: list streams", cause);
    return rc;
}

/* ---- walks ---- */

int range_open(struct range_walk *walk, const struct spool *spool, MDB_txn *txn, enum store_db db,
               uint32_t stream_id, struct error *err)
{
    *walk = (struct range_walk){.spool = spool, .stream_id = stream_id};
    int cause = mdb_cursor_open(txn, spool->dbi[db], &walk->cursor);
    return cause == MDB_SUCCESS ? OK : store_error(err, "spool: open a cursor", cause);
}

void range_close(struct range_walk *walk)
{
    if (walk->cursor != NULL)
        mdb_cursor_close(walk->cursor);
    *walk = (struct range_walk){0};
}

/* Takes what the cursor gave; another stream's entry is the end of this one. */
static int range_stand(struct range_walk *walk, int cause, MDB_val key, MDB_val value,
                       struct error *err)
{
    uint32_t stream_id = 0;
    walk->valid = false;
    walk->key = slice_of(NULL, 0);
    if (cause == MDB_NOTFOUND)
        return OK;
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: read", cause);
    walk->key = slice_of(key.mv_data, key.mv_size);
    walk->value = slice_of(value.mv_data, value.mv_size);
    int rc = range_key_decode(walk->key, &stream_id, &walk->from, err);
    walk->valid = rc == OK && stream_id == walk->stream_id;
    return rc;
}

int range_seek(struct range_walk *walk, uint64_t from, struct error *err)
{
    uint8_t bytes[RANGE_KEY_SIZE];
    range_key_encode(walk->stream_id, from, bytes);
    MDB_val key = {.mv_size = sizeof bytes, .mv_data = bytes};
    MDB_val value = {0};
    int cause = mdb_cursor_get(walk->cursor, &key, &value, MDB_SET_RANGE);
    return range_stand(walk, cause, key, value, err);
}

int range_seek_covering(struct range_walk *walk, uint64_t from, struct error *err)
{
    int rc = range_seek(walk, from, err);
    if (rc != OK || (walk->valid && walk->from == from))
        return rc;
    MDB_val key = {0};
    MDB_val value = {0};
    bool behind_all = walk->key.len == 0;
    int cause = mdb_cursor_get(walk->cursor, &key, &value, behind_all ? MDB_LAST : MDB_PREV);
    rc = range_stand(walk, cause, key, value, err);
    if (rc == OK && !walk->valid)
        rc = range_seek(walk, from, err);
    return rc;
}

int range_next(struct range_walk *walk, struct error *err)
{
    ASSERT(walk->valid);
    MDB_val key = {0};
    MDB_val value = {0};
    int cause = mdb_cursor_get(walk->cursor, &key, &value, MDB_NEXT);
    return range_stand(walk, cause, key, value, err);
}

enum { HEADER = 16, FLAGS_AT = 10, PAGES_AT = 12, OVERFLOW_PAGE = 4 };

/* A large value has pages of its own, which LMDB frees by what it finds before its bytes: page
 * number, flags, number of pages. It believes what it finds there, and asserts some of it. Zeros,
 * which a disk that lost the page gives, do no harm. */
static bool has_page_header(struct slice value)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE); /* as LMDB makes its own */
    const uint8_t *header = value.data - HEADER;
    uint16_t flags = 0;
    uint32_t pages = 0;
    if (value.len <= page / 2 || (uintptr_t)header % page != 0 ||
        !store_can_read(slice_of(header, HEADER)))
        return true;
    memcpy(&flags, header + FLAGS_AT, sizeof flags); /* in the machine's byte order */
    memcpy(&pages, header + PAGES_AT, sizeof pages);
    return (flags & ~OVERFLOW_PAGE) == 0 &&
           (pages == 0 || pages == (HEADER + value.len - 1) / page + 1);
}

/* That header, where the disk does not give its page: written anew, zeros behind it, for LMDB
 * would end the process at the look. Its number stands behind the key of the value. Only what
 * does not read is written to. */
static int mend_page_header(const struct range_walk *walk, struct error *err)
{
    const struct spool *spool = walk->spool;
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    const uint8_t *header = walk->value.data - HEADER;
    const uint16_t flags = OVERFLOW_PAGE;
    const uint32_t pages = (uint32_t)((HEADER + walk->value.len - 1) / size + 1);
    uint64_t number = 0;
    MDB_envinfo info = {0};
    if (walk->value.len <= size / 2 || (uintptr_t)header % size != 0 ||
        store_can_read(slice_of(header, HEADER)))
        return OK;
    memcpy(&number, walk->key.data + walk->key.len, sizeof number);
    int cause = mdb_env_info(spool->env, &info);
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: mdb_env_info", cause);
    uint8_t *page = memory_alloc(size, 1);
    bool known = number >= 2 && number + pages <= info.me_last_pgno + 1;
    ssize_t given = known ? pread(spool->data_fd, page, size, (off_t)(number * size)) : 0;
    if (!known || given > 0 || (given < 0 && errno != EIO)) {
        free(page);
        return error_set(err, ERROR_CORRUPT, "spool: the page of the record at %llu",
                         (unsigned long long)walk->from);
    }
    memset(page, 0, size);
    memcpy(page, &number, sizeof number);
    memcpy(page + FLAGS_AT, &flags, sizeof flags);
    memcpy(page + PAGES_AT, &pages, sizeof pages);
    ssize_t written = pwrite(spool->data_fd, page, size, (off_t)(number * size));
    bool mended = written == (ssize_t)size && store_can_read(slice_of(header, HEADER)) &&
                  memcmp(header, page, HEADER) == 0;
    free(page);
    return mended
               ? OK
               : error_set(err, ERROR_CORRUPT,
                           "spool: the first page of the record at %llu does not read, and can't "
                           "be written anew",
                           (unsigned long long)walk->from);
}

int range_delete(struct range_walk *walk, struct error *err)
{
    ASSERT(walk->valid);
    uint64_t from = walk->from;
    int rc = mend_page_header(walk, err);
    if (rc != OK)
        return rc;
    if (!has_page_header(walk->value))
        return error_set(err, ERROR_CORRUPT, "spool: the first page of the record at %llu",
                         (unsigned long long)from);
    int cause = mdb_cursor_del(walk->cursor, 0);
    if (cause != MDB_SUCCESS)
        return store_error(err, "spool: delete", cause);
    return range_seek(walk, from, err);
}

int range_block_header(const struct range_walk *walk, struct block_header *out, struct error *err)
{
    ASSERT(walk->valid);
    size_t head = walk->value.len < BLOCK_HEADER_SIZE ? walk->value.len : BLOCK_HEADER_SIZE;
    if (!store_can_read(slice_of(walk->value.data, head)))
        return error_set(err, ERROR_CORRUPT, "the disk does not give its bytes");
    return block_header_decode(walk->key, walk->value, out, err);
}

int range_block_end(struct range_walk *walk, uint64_t stream_end, uint64_t *end, struct error *err)
{
    ASSERT(walk->valid);
    struct block_header header;
    if (range_block_header(walk, &header, err) == OK) {
        *end = header.first + header.event_count;
        return OK;
    }
    uint64_t first = walk->from;
    int rc = range_next(walk, err);
    *end = rc == OK && walk->valid ? walk->from : stream_end;
    if (*end <= first)
        *end = first + 1;
    return rc == OK ? range_seek(walk, first, err) : rc;
}

int range_seek_block(struct range_walk *walk, uint64_t from, uint64_t stream_end, struct error *err)
{
    uint64_t end = 0;
    int rc = range_seek_covering(walk, from, err);
    if (rc != OK || !walk->valid)
        return rc;
    rc = range_block_end(walk, stream_end, &end, err);
    return rc == OK && end <= from ? range_next(walk, err) : rc;
}

int range_first_block(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                      uint64_t from, uint64_t to, bool *found, uint64_t *first, struct error *err)
{
    struct range_walk walk = {0};
    int rc = range_open(&walk, spool, txn, DB_BLOCKS, stream->id, err);
    if (rc == OK)
        rc = range_seek_block(&walk, from, stream->end, err);
    *found = rc == OK && walk.valid && walk.from < to;
    if (*found)
        *first = walk.from > from ? walk.from : from;
    range_close(&walk);
    return rc;
}

/* ---- ahead of a walk ---- */

void range_ahead_step(struct range_ahead *ahead, size_t passed)
{
    struct error ignored; /* the walk itself will meet it */
    ahead->bytes -= passed < ahead->bytes ? passed : ahead->bytes;
    while (ahead->walk.valid && ahead->walk.from < ahead->to && ahead->bytes < AHEAD_BYTES) {
        (void)advise(ahead->walk.value, MADV_WILLNEED);
        ahead->bytes += ahead->walk.value.len;
        if (range_next(&ahead->walk, &ignored) != OK)
            ahead->walk.valid = false;
    }
}

int range_ahead_open(struct range_ahead *ahead, const struct range_walk *behind, MDB_txn *txn,
                     uint64_t to, struct error *err)
{
    *ahead = (struct range_ahead){.to = to};
    if (!behind->valid)
        return OK;
    int rc = range_open(&ahead->walk, behind->spool, txn, DB_BLOCKS, behind->stream_id, err);
    if (rc == OK)
        rc = range_seek(&ahead->walk, behind->from, err);
    if (rc == OK)
        range_ahead_step(ahead, 0);
    return rc;
}
