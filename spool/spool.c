/* SPDX-License-Identifier: Apache-2.0
 *
 * spool.c: open and close. The layout and the order of writes stand in record.c.
 *
 * An open for writing takes the lock, looks (in a read transaction, so that what is
 * refused is not touched), and then recovers in one transaction: new epoch, older
 * epochs' open ranges sealed, BUILT back to SEALED, streams with nothing left forgotten.
 * Then sealed/ is emptied and what an interrupted removal left is swept. The ordinary
 * start is the start after a crash.
 */
#include "spool/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "spool/aside.h"
#include "spool/drop.h"
#include "spool/room.h"
#include "spool/segment.h"
#include "spool/trim.h"

enum {
    RESERVE_BYTES = 64 << 20,
    EPOCH_LEN = UUID_TEXT_SIZE - 1,
    EPOCHS_KEPT = 256,
    EPOCH_LEAP_MS = 5000,
    EPOCH_SILENCE_MS = 86400000,
    AGENT_ID_MAX = 128,
    REOPEN_WAIT_MS = 10000, /* a segment's encoding holds a reader for two seconds */
    ALLOCATOR_KEEPS = 2 << 20,
    LOCK_FILE_BYTES = 8192, /* what LMDB makes of it for its 126 readers */
};

#define LOCK_CLOSED " closed"

static const uint64_t BYTES_DEFAULT = (uint64_t)20 << 30;
static const uint64_t BYTES_MIN = 1 << 20;
/* What older epochs left open is sealed in pieces that any roller can hold. */
static const struct spool_seal_limits recovery_limits = {.bytes_max = 256 << 20,
                                                         .rows_max = 1000000};

const char *const store_db_names[DB_COUNT] = {"meta", "streams", "blocks",     "segments",
                                              "lost", "schemas", "checkpoints"};

/* ---- the directory ---- */

/* The lock's text is the process that writes, and behind a good end the word "closed". */
static int write_lock(const struct spool *spool, const char *word, struct error *err)
{
    char text[48];
    int len = snprintf(text, sizeof text, "%d%s\n", (int)getpid(), word);
    ASSERT(len > 0 && (size_t)len < sizeof text);
    if (ftruncate(spool->lock_fd, 0) < 0 || pwrite(spool->lock_fd, text, (size_t)len, 0) != len ||
        (!spool->no_sync && fdatasync(spool->lock_fd) < 0))
        return error_errno(err, "lock");
    return OK;
}

static int take_lock(struct spool *spool, struct error *err)
{
    char text[48];
    char *path = memory_printf("%s/lock", spool->directory);
    int rc = OK;
    spool->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (spool->lock_fd < 0) {
        rc = error_errno(err, path);
        free(path);
        return rc;
    }
    bool taken = flock(spool->lock_fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK;
    ssize_t n = pread(spool->lock_fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = 0;
    if (taken) {
        spool->closed_well = n <= 0 || strstr(text, LOCK_CLOSED) != NULL;
        rc = write_lock(spool, "", err);
    } else {
        rc = error_set(err, ERROR_CONFLICT, "%s is in use by process %ld", spool->directory,
                       strtol(text, NULL, 10));
    }
    free(path);
    return rc;
}

static int prepare_directory(struct spool *spool, struct error *err)
{
    int rc = file_make_directories(spool->directory, 0750, err);
    if (rc == OK)
        rc = take_lock(spool, err);
    if (rc == OK)
        rc = file_make_directories(spool->sealed_directory, 0750, err);
    return rc;
}

static int empty_sealed(struct spool *spool, struct error *err)
{
    int rc = file_remove_tree(spool->sealed_directory, err);
    if (rc == OK)
        rc = file_make_directories(spool->sealed_directory, 0750, err);
    if (rc != OK)
        err->cause = 0; /* a cache that fails is no reason to set data.mdb aside */
    return rc;
}

/* ---- the environment ---- */

static int size_map(struct spool *spool, const char *data_path, struct error *err)
{
    /* Room beyond the budget: pages that a reader holds or that lie too scattered for a
     * large block must not stop what the budget allows. */
    uint64_t size = spool->bytes_max + spool->bytes_reserve;
    struct stat info;
    if (stat(data_path, &info) == 0 && (uint64_t)info.st_size + spool->bytes_reserve > size)
        size = (uint64_t)info.st_size + spool->bytes_reserve;
    size = (size + 65535) / 65536 * 65536;
    int cause = mdb_env_set_mapsize(spool->env, size);
    return cause == MDB_SUCCESS ? OK : store_error(err, "map size", cause);
}

/* LMDB maps lock.mdb to write to it: a hole that finds the disk full is a SIGBUS. */
static int reserve_lock_file(const struct spool *spool, struct error *err)
{
    char *path = memory_printf("%s/lock.mdb", spool->directory);
    int rc = OK;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        rc = error_errno(err, path);
    } else {
        errno = posix_fallocate(fd, 0, LOCK_FILE_BYTES);
        if (errno != 0)
            rc = error_errno(err, path);
        close(fd);
    }
    free(path);
    return rc;
}

/* LMDB begins a file by one write of two meta pages. A disk that filled up or a process
 * that ended in between leaves the first alone, with nothing behind it yet; LMDB takes that
 * for damage, for ever. */
static int drop_unfinished_file(const char *path, struct error *err)
{
    enum { MAGIC_AT = 16, TXNID_AT = 144 };
    static const uint32_t magic = 0xBEEFC0DE; /* in the machine's byte order */
    static const uint64_t never_used = 0;
    uint8_t head[TXNID_AT + sizeof never_used];
    struct stat info;
    int rc = OK;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? OK : error_errno(err, path);
    if (fstat(fd, &info) == 0 && info.st_size < 2 * sysconf(_SC_PAGESIZE) &&
        pread(fd, head, sizeof head, 0) == sizeof head &&
        memcmp(head + MAGIC_AT, &magic, sizeof magic) == 0 &&
        memcmp(head + TXNID_AT, &never_used, sizeof never_used) == 0 && ftruncate(fd, 0) < 0)
        rc = error_errno(err, path);
    close(fd);
    return rc;
}

static int open_environment(struct spool *spool, struct error *err)
{
    int rc = OK;
    int dead = 0;
    struct stat info;
    MDB_stat stat_env = {0};
    char *data_path = memory_printf("%s/data.mdb", spool->directory);
    /* Who touches a page wants that one: rows of a segment in their sorted order, LMDB's trees.
     * What lies around it belongs to other streams, and takes the file cache from what is read;
     * and where a page doesn't read, its neighbours must not fail with it. */
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (spool->read_only ? MDB_RDONLY : 0U) |
                     (spool->no_sync ? MDB_NOSYNC | MDB_NOMETASYNC : 0U);
    if (spool->read_only && stat(data_path, &info) < 0) {
        rc = errno == ENOENT ? error_set(err, ERROR_INPUT, "no spool in %s", spool->directory)
                             : error_errno(err, data_path);
        goto out;
    }
    if (!spool->read_only) {
        rc = drop_unfinished_file(data_path, err);
        if (rc == OK)
            rc = reserve_lock_file(spool, err);
        if (rc != OK)
            goto out;
    }
    int cause = mdb_env_create(&spool->env);
    if (cause == MDB_SUCCESS)
        cause = mdb_env_set_maxdbs(spool->env, DB_COUNT + 1);
    if (cause == MDB_SUCCESS && !spool->read_only)
        rc = size_map(spool, data_path, err);
    if (cause == MDB_SUCCESS && rc == OK)
        cause = mdb_env_open(spool->env, spool->directory, flags, 0640);
    if (cause == MDB_SUCCESS && rc == OK)
        cause = mdb_env_get_fd(spool->env, &spool->data_fd);
    if (cause == MDB_SUCCESS && rc == OK)
        cause = mdb_env_stat(spool->env, &stat_env);
    spool->page_size = stat_env.ms_psize;
    if (cause == MDB_SUCCESS && rc == OK && !spool->read_only)
        cause = mdb_reader_check(spool->env, &dead);
    if (cause != MDB_SUCCESS && rc == OK)
        rc = store_error(err, "open data.mdb", cause);
    if (rc == OK)
        rc = aside_check_length(spool, err);
    if (rc == OK && fstat(spool->data_fd, &info) == 0)
        atomic_store(&spool->allocated_bytes, (uint64_t)info.st_size);
out:
    free(data_path);
    return rc;
}

static int open_databases(struct spool *spool, MDB_txn *txn, unsigned flags, struct error *err)
{
    for (size_t i = 0; i < DB_COUNT; i++) {
        int cause = mdb_dbi_open(txn, store_db_names[i], flags, &spool->dbi[i]);
        if (cause == MDB_NOTFOUND)
            return error_set(err, ERROR_CORRUPT, "data.mdb has no %s", store_db_names[i]);
        if (cause != MDB_SUCCESS)
            return store_error(err, store_db_names[i], cause);
    }
    return OK;
}

/* ---- identity ---- */

static int get_text(struct spool *spool, MDB_txn *txn, const char *key, char *out, size_t size,
                    struct error *err)
{
    struct slice value = {0};
    bool found = false;
    int rc = store_get(spool, txn, DB_META, slice_cstr(key), &value, &found, err);
    if (rc == OK && (!found || value.len >= size))
        rc = error_set(err, ERROR_CORRUPT, "its record of the %s does not read", key);
    if (rc == OK) {
        memcpy(out, value.data, value.len);
        out[value.len] = 0;
    }
    return rc;
}

/* Where a spool of ours was its marks may be gone with a damaged page. */
static int no_spool(const struct spool *spool, struct error *err)
{
    return error_set(err, spool->was_here ? ERROR_CORRUPT : ERROR_INPUT, "data.mdb is no spool");
}

static int check_identity(struct spool *spool, MDB_txn *txn, struct error *err)
{
    struct slice value = {0};
    bool found = false;
    char agent[AGENT_ID_MAX + 1];
    int rc = store_get(spool, txn, DB_META, slice_cstr("format"), &value, &found, err);
    if (rc != OK)
        return rc;
    if (!found || value.len != 4)
        return no_spool(spool, err);
    uint32_t version = get_u32le(value.data);
    if (version > SPOOL_FORMAT_VERSION)
        return error_set(err, ERROR_INPUT,
                         "the spool has format %u, this program knows up to %d: a newer bidlake "
                         "wrote it",
                         version, SPOOL_FORMAT_VERSION);
    if (version == 0)
        return error_set(err, ERROR_CORRUPT, "the spool has format 0");
    rc = get_text(spool, txn, "agent", agent, sizeof agent, err);
    if (rc == OK)
        rc = get_text(spool, txn, "epoch", spool->epoch, sizeof spool->epoch, err);
    bool same = spool->agent_id != NULL && strcmp(agent, spool->agent_id) == 0;
    if (rc != OK || same)
        return rc;
    if (!spool->takes_any_agent)
        return error_set(err, ERROR_INPUT, "the spool is that of agent %s, not of %s", agent,
                         spool->agent_id);
    free(spool->agent_id);
    spool->agent_id = memory_copy_cstr(agent);
    return OK;
}

/* *fresh when there is nothing in it yet. Changes nothing. */
static int look(struct spool *spool, bool *fresh, struct error *err)
{
    MDB_txn *txn = NULL;
    MDB_stat stat_main = {0};
    *fresh = false;
    int rc = store_begin_read(spool, &txn, err);
    if (rc != OK)
        return rc;
    int cause = mdb_dbi_open(txn, store_db_names[DB_META], 0, &spool->dbi[DB_META]);
    if (cause == MDB_NOTFOUND) {
        MDB_dbi main_dbi = 0;
        cause = mdb_dbi_open(txn, NULL, 0, &main_dbi);
        if (cause == MDB_SUCCESS)
            cause = mdb_stat(txn, main_dbi, &stat_main);
        *fresh = cause == MDB_SUCCESS && stat_main.ms_entries == 0;
        if (cause == MDB_SUCCESS && (!*fresh || spool->read_only))
            rc = no_spool(spool, err);
    } else if (cause == MDB_SUCCESS) {
        rc = check_identity(spool, txn, err);
    }
    if (rc == OK && cause != MDB_SUCCESS)
        rc = store_error(err, "look into data.mdb", cause);
    if (rc == OK && spool->read_only) {
        rc = open_databases(spool, txn, 0, err);
        if (rc == OK)
            atomic_store(&spool->live_bytes, store_live_bytes(spool, txn));
        cause = rc == OK ? mdb_txn_commit(txn) : MDB_SUCCESS; /* keeps the handles */
        if (rc == OK) {
            txn = NULL;
            store_leave(spool);
        }
        if (rc == OK && cause != MDB_SUCCESS)
            rc = store_error(err, "look into data.mdb", cause);
    }
    store_end(spool, txn);
    return rc;
}

/* ---- recovery ---- */

/* Milliseconds of a UUIDv7's text; 0 when it is none. */
static int64_t epoch_ms(const char *epoch)
{
    char digits[13];
    if (strlen(epoch) != EPOCH_LEN)
        return 0;
    memcpy(digits, epoch, 8);
    memcpy(digits + 8, epoch + 9, 4);
    digits[12] = 0;
    return (int64_t)strtoull(digits, NULL, 16);
}

static int make_epoch(struct spool *spool, MDB_txn *txn, struct error *err)
{
    struct buf epochs = {0};
    struct slice value = {0};
    bool found = false;
    /* Above the last one though the clock went back: ledgers retire epochs by order. */
    int64_t now_ms = clock_wall_ms(spool->clock);
    int64_t last_ms = epoch_ms(spool->epoch);
    if (now_ms <= last_ms)
        now_ms = last_ms + 1;
    if (spool->random != NULL)
        uuid_v7_from(spool->epoch, now_ms, spool->random);
    else
        uuid_v7(spool->epoch, now_ms);
    struct slice epoch = slice_of(spool->epoch, EPOCH_LEN);
    int rc = store_get(spool, txn, DB_META, slice_cstr("epochs"), &value, &found, err);
    if (rc != OK)
        return rc;
    size_t skip = 0;
    if (value.len >= (size_t)EPOCHS_KEPT * EPOCH_LEN)
        skip = value.len - (size_t)(EPOCHS_KEPT - 1) * EPOCH_LEN;
    if (found) /* else there is nothing to point into */
        buf_put_slice(&epochs, slice_of(value.data + skip, value.len - skip));
    buf_put_slice(&epochs, epoch);
    rc = store_put(spool, txn, DB_META, slice_cstr("epochs"), buf_slice(&epochs), err);
    if (rc == OK)
        rc = store_put(spool, txn, DB_META, slice_cstr("epoch"), epoch, err);
    buf_free(&epochs);
    return rc;
}

bool spool_epoch_is_due(struct spool_epoch_watch *watch, int64_t wall_ms, int64_t mono_ms)
{
    bool seen = watch->mono_ms != 0;
    int64_t passed_ms = mono_ms - watch->mono_ms;
    int64_t leap_ms = wall_ms - watch->wall_ms - passed_ms;
    watch->wall_ms = wall_ms;
    watch->mono_ms = mono_ms;
    return seen &&
           (passed_ms >= EPOCH_SILENCE_MS || leap_ms > EPOCH_LEAP_MS || leap_ms < -EPOCH_LEAP_MS);
}

static void show_epoch(struct spool *spool)
{
    struct shown_epoch *shown = memory_alloc(1, sizeof *shown);
    memcpy(shown->text, spool->epoch, sizeof shown->text);
    shown->older = atomic_load(&spool->shown_epoch);
    atomic_store(&spool->shown_epoch, shown);
}

int spool_renew_epoch(struct spool *spool, struct error *err)
{
    MDB_txn *txn = NULL;
    char before[sizeof spool->epoch];
    ASSERT(!spool->read_only);
    int rc = store_enter(spool, err);
    if (rc != OK)
        return error_wrap(err, "a new epoch");
    memcpy(before, spool->epoch, sizeof before);
    rc = store_begin_write(spool, &txn, err);
    if (rc == OK)
        rc = make_epoch(spool, txn, err);
    if (rc == OK) {
        rc = store_commit(spool, txn, err);
        txn = NULL;
    }
    store_end(spool, txn);
    if (rc != OK)
        memcpy(spool->epoch, before, sizeof before);
    else
        show_epoch(spool);
    store_leave(spool);
    if (rc != OK)
        return error_wrap(err, "a new epoch");
    log_event(LOG_LEVEL_WARN, "spool", "began a new epoch: the clock leapt, or a day was silent",
              "epoch=%s before=%s", spool_epoch_borrow(spool), before);
    return OK;
}

static int put_identity(struct spool *spool, MDB_txn *txn, struct error *err)
{
    uint8_t version[4];
    put_u32le(version, SPOOL_FORMAT_VERSION);
    int rc = store_put(spool, txn, DB_META, slice_cstr("format"), slice_of(version, sizeof version),
                       err);
    if (rc == OK)
        rc = store_put(spool, txn, DB_META, slice_cstr("agent"), slice_cstr(spool->agent_id), err);
    return rc;
}

/* BUILT goes back to SEALED; *count is the number of segments held. */
static int reset_built(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                       size_t *count, struct error *err)
{
    struct range_walk walk = {0};
    *count = 0;
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        struct segment_record record;
        uint64_t from = walk.from;
        rc = segment_record_decode(from, walk.value, &record, err);
        if (rc != OK) {
            error_wrap(err, "segment at %llu", (unsigned long long)from);
            break;
        }
        (*count)++;
        if (record.state == SEGMENT_BUILT) {
            record.state = SEGMENT_SEALED;
            record.payload = slice_of(NULL, 0);
            rc = store_put_segment(spool, txn, stream->id, from, &record, err);
        }
        if (rc == OK)
            rc = range_seek(&walk, from + 1, err);
    }
    range_close(&walk);
    return rc;
}

static int recover_stream(struct spool *spool, MDB_txn *txn, struct stream_record *stream,
                          struct error *err)
{
    size_t segment_count = 0;
    int rc = OK;
    while (rc == OK && stream->sealed < stream->end)
        rc = segment_seal(spool, txn, stream, &recovery_limits, err);
    if (rc == OK)
        rc = reset_built(spool, txn, stream, &segment_count, err);
    /* Of an older epoch and all of it committed: its name never comes again. */
    if (rc == OK && segment_count == 0 && stream->begin == stream->end && stream->bytes == 0) {
        uint8_t key[STREAM_KEY_SIZE];
        stream_key_encode(stream->name, key);
        rc = store_delete(spool, txn, DB_STREAMS, slice_of(key, sizeof key), err);
    }
    return rc == OK ? OK : error_wrap(err, "stream %s", stream->name);
}

static int recover(struct spool *spool, bool fresh, struct error *err)
{
    MDB_txn *txn = NULL;
    struct arena arena = {0};
    struct stream_list list = {0};
    struct error full = {0};
    int rc = store_begin_write(spool, &txn, err);
    /* Without room it may still be done, in pages that are free. */
    int room = rc == OK ? store_reserve_file(spool, txn, 0, &full) : OK;
    if (rc == OK)
        rc = open_databases(spool, txn, MDB_CREATE, err);
    if (rc == OK && fresh)
        rc = put_identity(spool, txn, err);
    if (rc == OK)
        rc = store_list_streams(spool, txn, &arena, &list, err);
    for (size_t i = 0; rc == OK && i < list.count; i++)
        rc = recover_stream(spool, txn, &list.records[i], err);
    if (rc == OK)
        rc = make_epoch(spool, txn, err);
    if (rc == OK)
        rc = fault_point("spool.open.before_commit", err);
    if (rc == OK) {
        rc = store_commit(spool, txn, err);
        txn = NULL;
    }
    if (rc == ERROR_IO && room != OK) { /* so LMDB calls a full disk */
        *err = full;
        rc = room;
    }
    if (rc == OK)
        rc = fault_point("spool.open.committed", err);
    store_end(spool, txn);
    arena_free(&arena);
    return rc;
}

/* Ends what a crash between two transactions of a removal left half done. */
static int sweep(struct spool *spool, struct error *err)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    int rc = spool_list_streams(spool, &arena, &streams, err);
    for (size_t i = 0; rc == OK && i < streams.count; i++) {
        const struct spool_stream *stream = &streams.streams[i];
        struct arena own = {0}; /* announcements of one stream at a time */
        struct spool_segment *segments = NULL;
        size_t count = 0;
        rc = trim_sweep(spool, stream->name, 0, stream->begin, err);
        if (rc == OK && stream->bytes > 0)
            rc = spool_list_segments(spool, stream->name, &own, &segments, &count, err);
        for (size_t k = 0; rc == OK && k < count; k++)
            if (segments[k].records_gone)
                rc = trim_sweep(spool, stream->name, segments[k].from, segments[k].to, err);
        arena_free(&own);
    }
    arena_free(&arena);
    return rc;
}

/* ---- open and close ---- */

/* LMDB allocates the pages of a large value and frees them at each commit. The C library
 * gives so much back to the kernel and faults it in again, page by page, until it has
 * once seen a block of that size freed: then it keeps twice that. */
static void warm_allocator(void)
{
    void *volatile block = malloc(ALLOCATOR_KEEPS);
    free(block);
}

static struct spool *make_handle(const struct spool_options *options)
{
    struct spool *spool = memory_alloc(1, sizeof *spool);
    spool->directory = memory_copy_cstr(options->directory);
    spool->sealed_directory = memory_printf("%s/sealed", options->directory);
    spool->quarantine_directory = memory_printf("%s/quarantine", options->directory);
    spool->agent_id = memory_copy_or_null(options->agent_id);
    spool->takes_any_agent = options->agent_id == NULL || options->agent_id_is_default;
    spool->clock = options->clock != NULL ? options->clock : &clock_system;
    spool->random = options->random;
    spool->read_only = options->read_only;
    spool->no_sync = options->no_sync;
    spool->drop_oldest = options->drop_oldest;
    spool->bytes_max = options->bytes_max != 0 ? options->bytes_max : BYTES_DEFAULT;
    spool->bytes_reserve = spool->bytes_max / 8;
    if (spool->bytes_reserve > RESERVE_BYTES)
        spool->bytes_reserve = RESERVE_BYTES;
    spool->lock_fd = -1;
    atomic_store(&spool->disk_usable_bytes, UINT64_MAX);
    atomic_store(&spool->disk_most_bytes, UINT64_MAX);
    pthread_mutex_init(&spool->lock, NULL);
    return spool;
}

static int check_options(const struct spool_options *options, struct error *err)
{
    if (options->bytes_max != 0 && options->bytes_max < BYTES_MIN)
        return error_set(err, ERROR_INPUT, "a budget of %llu bytes; at least 1 MiB",
                         (unsigned long long)options->bytes_max);
    if (options->read_only)
        return OK;
    size_t len = options->agent_id != NULL ? strlen(options->agent_id) : 0;
    if (len == 0 || len > AGENT_ID_MAX || strchr(options->agent_id, '/') != NULL)
        return error_set(err, ERROR_INPUT, "an agent id has 1 to %d bytes and no slash",
                         AGENT_ID_MAX);
    return OK;
}

static int open_all(struct spool *spool, struct error *err)
{
    bool fresh = false;
    int rc = open_environment(spool, err);
    if (rc == OK && !spool->read_only && !spool->closed_well && !spool->no_sync)
        rc = aside_probe(spool, err);
    if (rc == OK)
        rc = look(spool, &fresh, err);
    if (rc != OK || spool->read_only)
        return rc;
    rc = recover(spool, fresh, err);
    if (rc == OK)
        rc = empty_sealed(spool, err);
    if (rc == OK)
        rc = sweep(spool, err);
    if (rc == OK && !spool->closed_well)
        rc = aside_verify(spool, err);
    return rc;
}

/* It can't be read, now or later; a commit that failed is another matter. */
static bool is_beyond_use(const struct spool *spool, int rc, const struct error *err)
{
    return rc == ERROR_CORRUPT ||
           (rc == ERROR_IO && err->cause == EIO && !atomic_load(&spool->failed));
}

/* One of ours that doesn't read is set aside. */
static int open_or_set_aside(struct spool *spool, struct error *err)
{
    int rc = open_all(spool, err);
    /* An EIO may be a moment's: what is set aside for it is missing, or taken twice. */
    if (spool->was_here && rc == ERROR_IO && is_beyond_use(spool, rc, err)) {
        log_event(LOG_LEVEL_WARN, "spool", "the spool did not open, once more", "error=\"%s\"",
                  err->text);
        aside_close(spool);
        aside_forget_cached(spool);
        rc = open_all(spool, err);
    }
    if (spool->was_here && is_beyond_use(spool, rc, err)) {
        struct error why = *err;
        rc = aside_move(spool, &why, err);
        if (rc == OK)
            rc = open_all(spool, err);
    }
    return rc;
}

int spool_open(struct spool **out, const struct spool_options *options, struct error *err)
{
    ASSERT(options->directory != NULL);
    *out = NULL;
    struct spool *spool = make_handle(options);
    if (!options->read_only)
        warm_allocator();
    spool->was_here = !options->read_only && aside_was_here(spool);
    int rc = check_options(options, err);
    if (rc == OK && !spool->read_only)
        rc = prepare_directory(spool, err);
    if (rc == OK)
        rc = open_or_set_aside(spool, err);
    if (rc != OK) {
        spool_close(spool);
        return error_wrap(err, "spool %s", options->directory);
    }
    show_epoch(spool);
    store_measure_sealed(spool);
    spool->opened = !spool->read_only;
    spool->takes_any_agent = false;
    *out = spool;
    return OK;
}

bool spool_has_failed(const struct spool *spool)
{
    return atomic_load(&spool->failed) || atomic_load(&spool->shut);
}

int spool_reopen(struct spool *spool, const struct error *beyond_use, struct error *err)
{
    ASSERT(!spool->read_only);
    store_fail(spool);
    int rc = store_shut(spool, REOPEN_WAIT_MS, err);
    if (rc != OK)
        return error_wrap(err, "spool %s: open anew", spool->directory);
    aside_close(spool);
    aside_forget_cached(spool);
    spool->was_here = true;
    spool->closed_well = false;
    spool->nudged_txnid = 0;
    atomic_store(&spool->failed, false);
    if (beyond_use != NULL)
        rc = aside_move(spool, beyond_use, err);
    if (rc == OK)
        rc = open_or_set_aside(spool, err);
    if (rc != OK) {
        /* Shut as it is: without an environment nobody may come in. */
        aside_close(spool);
        store_fail(spool);
        return error_wrap(err, "spool %s: open anew", spool->directory);
    }
    show_epoch(spool);
    store_measure_sealed(spool);
    store_let_in(spool);
    return OK;
}

void spool_close(struct spool *spool)
{
    if (spool == NULL)
        return;
    ASSERT(spool->head == NULL && !spool->leading);
    struct error err;
    if (spool->env != NULL)
        mdb_env_close(spool->env);
    /* Failing that the next open looks closer than it must. */
    if (spool->opened && !atomic_load(&spool->failed) && write_lock(spool, LOCK_CLOSED, &err) != OK)
        log_event(LOG_LEVEL_WARN, "spool", "the lock can't be written", "error=\"%s\"", err.text);
    if (spool->lock_fd >= 0)
        close(spool->lock_fd);
    segment_free_hints(spool);
    pthread_mutex_destroy(&spool->lock);
    free(spool->directory);
    free(spool->sealed_directory);
    free(spool->quarantine_directory);
    drop_free_priorities(spool);
    free(spool->agent_id);
    for (struct shown_epoch *shown = atomic_load(&spool->shown_epoch); shown != NULL;) {
        struct shown_epoch *older = shown->older;
        free(shown);
        shown = older;
    }
    free(spool);
}

const char *spool_agent_id_borrow(const struct spool *spool)
{
    return spool->agent_id;
}

const char *spool_epoch_borrow(const struct spool *spool)
{
    return atomic_load(&spool->shown_epoch)->text;
}

const char *spool_sealed_directory_borrow(const struct spool *spool)
{
    return spool->sealed_directory;
}

void spool_statistics(struct spool *spool, struct spool_statistics *out)
{
    MDB_txn *txn = NULL;
    struct error err;
    /* Beside a writer the last commit is not ours: ask. On failure the last known stays. */
    if (spool->read_only && store_begin_read(spool, &txn, &err) == OK) {
        atomic_store(&spool->live_bytes, store_live_bytes(spool, txn));
        store_end(spool, txn);
    }
    store_measure_sealed(spool);
    *out = (struct spool_statistics){
        .bytes_used = store_used_bytes(spool),
        .bytes_max = spool->bytes_max,
        .bytes_reserve = spool->bytes_reserve,
        .bytes_for_builds = room_for_builds(spool),
        .bytes_usable = store_appendable_bytes(spool),
        .bytes_sealed = atomic_load(&spool->sealed_bytes),
        .segment_bytes_max = room_segment_bytes(spool),
        .commit_count = atomic_load(&spool->commit_count),
        .append_count = atomic_load(&spool->append_count),
        .refused_events = atomic_load(&spool->refused_events),
        .dropped_events = atomic_load(&spool->dropped_events),
    };
}
