/* SPDX-License-Identifier: Apache-2.0
 *
 * aside.c: after a failed sync, an I/O error, a SIGBUS or a kill.
 *
 * Who opens a spool that was not closed looks at what was written last: the newest blocks of
 * each stream, whole. One that doesn't read goes to quarantine/ and is announced as lost. An
 * environment that LMDB doesn't open, or whose tree doesn't read, is moved to
 * set-aside/<time>/ and a new one is begun: its epoch is another, so no position comes again.
 * What the old one held and was not announced is lost without being counted in a ledger;
 * the log names the streams that still read, and a person may know more.
 */
#include "spool/aside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "spool/segment.h"

enum { VERIFY_BYTES = 16 << 20, NAMES_TRIED_MAX = 100 };

bool aside_was_here(const struct spool *spool)
{
    char *lock = memory_printf("%s/lock", spool->directory);
    bool found = access(lock, F_OK) == 0 && access(spool->sealed_directory, F_OK) == 0;
    free(lock);
    return found;
}

/* ---- a whole environment ---- */

static void name_streams(struct spool *spool)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct error err;
    bool opened = spool->dbi[DB_STREAMS] != 0;
    if (!opened || spool_list_streams(spool, &arena, &streams, &err) != OK)
        log_event(LOG_LEVEL_ERROR, "spool", "what the spool held that was set aside is not known",
                  "spool=\"%s\"", spool->directory);
    for (size_t i = 0; i < streams.count; i++) {
        const struct spool_stream *stream = &streams.streams[i];
        if (stream->announced < stream->end)
            log_event(LOG_LEVEL_ERROR, "spool", "set aside before it was announced",
                      "stream=%s from=%llu to=%llu", stream->name,
                      (unsigned long long)stream->announced, (unsigned long long)stream->end);
    }
    arena_free(&arena);
}

static int make_place(const struct spool *spool, char **out, struct error *err)
{
    char stamp[32];
    struct tm utc;
    time_t now = (time_t)(clock_wall_ms(spool->clock) / 1000);
    gmtime_r(&now, &utc);
    size_t len = strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &utc);
    ASSERT(len > 0);
    char *parent = memory_printf("%s/set-aside", spool->directory);
    int rc = file_make_directories(parent, 0750, err);
    *out = NULL;
    for (int n = 1; rc == OK && *out == NULL; n++) {
        char *path = memory_printf("%s/%s-%d", parent, stamp, n);
        if (mkdir(path, 0750) == 0) {
            *out = path;
            path = NULL;
        } else if (errno != EEXIST || n == NAMES_TRIED_MAX) {
            rc = error_errno(err, path);
        }
        free(path);
    }
    if (rc == OK)
        rc = file_sync_directory(parent, err);
    free(parent);
    return rc;
}

static int move(const struct spool *spool, const char *place, const char *name, struct error *err)
{
    char *from = memory_printf("%s/%s", spool->directory, name);
    char *to = memory_printf("%s/%s", place, name);
    int rc = rename(from, to) == 0 || errno == ENOENT ? OK : error_errno(err, from);
    free(from);
    free(to);
    return rc;
}

void aside_close(struct spool *spool)
{
    if (spool->env != NULL)
        mdb_env_close(spool->env);
    spool->env = NULL;
    memset(spool->dbi, 0, sizeof spool->dbi);
    memset(spool->epoch, 0, sizeof spool->epoch);
    segment_free_hints(spool);
}

void aside_forget_cached(const struct spool *spool)
{
    ASSERT(spool->env == NULL);
    char *path = memory_printf("%s/data.mdb", spool->directory);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        /* An advice: where it isn't followed (tmpfs) the pages are all there is. */
        errno = posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    free(path);
}

int aside_move(struct spool *spool, const struct error *why, struct error *err)
{
    char *place = NULL;
    if (spool->env != NULL)
        name_streams(spool);
    aside_close(spool);
    int rc = make_place(spool, &place, err);
    if (rc == OK)
        rc = move(spool, place, "data.mdb", err);
    if (rc == OK)
        rc = move(spool, place, "lock.mdb", err);
    if (rc == OK)
        rc = file_sync_directory(place, err);
    if (rc == OK)
        rc = file_sync_directory(spool->directory, err);
    if (rc == OK)
        log_event(LOG_LEVEL_ERROR, "spool",
                  "ALARM: the spool does not read, it was set aside and a new one begun; what it "
                  "held and was not announced is missing in its tables, and inputs that it "
                  "remembered are taken anew: look at the disk, keep the files for repair",
                  "files=\"%s\" error=\"%s\"", place, why->text);
    free(place);
    return rc;
}

size_t spool_count_set_aside(const struct spool *spool)
{
    char *path = memory_printf("%s/set-aside", spool->directory);
    DIR *directory = opendir(path);
    size_t count = directory == NULL && errno != ENOENT ? 1 : 0;
    if (directory != NULL) {
        for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
            count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
        closedir(directory);
    }
    free(path);
    return count;
}

/* ---- the file ---- */

int aside_check_length(struct spool *spool, struct error *err)
{
    struct stat info;
    MDB_envinfo env = {0};
    int cause = mdb_env_info(spool->env, &env);
    if (cause != MDB_SUCCESS)
        return store_error(err, "mdb_env_info", cause);
    if (fstat(spool->data_fd, &info) < 0)
        return error_errno(err, "data.mdb");
    uint64_t need = (env.me_last_pgno + 1) * spool->page_size;
    if (info.st_size == 0 || (uint64_t)info.st_size >= need)
        return OK;
    if (spool->read_only)
        return error_set(err, ERROR_CORRUPT,
                         "data.mdb is cut: %lld bytes, %llu belong to it; the next start of the "
                         "agent finds out what is missing",
                         (long long)info.st_size, (unsigned long long)need);
    log_event(LOG_LEVEL_ERROR, "spool",
              "data.mdb is cut; what is missing will be found by its checksums: look at the disk",
              "spool=\"%s\" bytes=%lld of=%llu", spool->directory, (long long)info.st_size,
              (unsigned long long)need);
    spool->closed_well = false;
    return ftruncate(spool->data_fd, (off_t)need) == 0 ? OK : error_errno(err, "data.mdb");
}

/* ---- the trees ---- */

/* In the child: what others wait for on our descriptors must not wait for us, and without
 * the parent there is nobody to tell. */
static void leave_parent(pid_t parent)
{
    static const struct rlimit none = {0};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    close_range(STDERR_FILENO + 1, ~0U, 0);
    setrlimit(RLIMIT_CORE, &none);
    signal(SIGSEGV, SIG_DFL);
    signal(SIGBUS, SIG_DFL);
    signal(SIGABRT, SIG_DFL);
    /* An assertion's text belongs to nobody: the parent says what matters. */
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0)
        dup2(null, STDERR_FILENO);
}

/* Every key, and all values but the blocks', which have checksums. What LMDB refuses by
 * itself the parent will hear as well. */
static void walk_tree(MDB_txn *txn, MDB_dbi dbi, bool values)
{
    MDB_stat stat = {0};
    MDB_cursor *cursor = NULL;
    MDB_val key = {0};
    MDB_val value = {0};
    volatile uint8_t seen = 0;
    size_t count = 0;
    if (mdb_stat(txn, dbi, &stat) != MDB_SUCCESS ||
        mdb_cursor_open(txn, dbi, &cursor) != MDB_SUCCESS)
        return;
    int cause = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (cause == MDB_SUCCESS && count <= stat.ms_entries) {
        for (size_t i = 0; i < key.mv_size; i++)
            seen ^= ((const uint8_t *)key.mv_data)[i];
        for (size_t i = 0; values && i < value.mv_size; i++)
            seen ^= ((const uint8_t *)value.mv_data)[i];
        count++;
        cause = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    /* Entries are gone with a page, or the tree leads round in circles. */
    if (count != stat.ms_entries)
        abort();
    mdb_cursor_close(cursor);
}

/* A transaction's number -> how many pages it freed, and which, downwards. LMDB asserts that. */
static bool is_free_list(MDB_val key, MDB_val value, const MDB_envinfo *info)
{
    uint64_t txnid = 0;
    uint64_t count = 0;
    uint64_t last = info->me_last_pgno + 1;
    if (key.mv_size != sizeof txnid || value.mv_size < sizeof count)
        return false;
    memcpy(&txnid, key.mv_data, sizeof txnid);
    memcpy(&count, value.mv_data, sizeof count);
    if (txnid > info->me_last_txnid || count > value.mv_size / sizeof count - 1)
        return false;
    for (uint64_t i = 1; i <= count; i++) {
        uint64_t page = 0;
        memcpy(&page, (const uint8_t *)value.mv_data + i * sizeof page, sizeof page);
        if (page < 2 || page >= last)
            return false;
        last = page;
    }
    return true;
}

static void walk_free_pages(MDB_env *env, MDB_txn *txn)
{
    MDB_envinfo info = {0};
    MDB_cursor *cursor = NULL;
    MDB_val key = {0};
    MDB_val value = {0};
    if (mdb_env_info(env, &info) != MDB_SUCCESS || mdb_cursor_open(txn, 0, &cursor) != MDB_SUCCESS)
        return;
    int cause = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    while (cause == MDB_SUCCESS) {
        if (!is_free_list(key, value, &info))
            abort();
        cause = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
}

static void walk_all(const struct spool *spool, uint64_t map_bytes)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi = 0;
    unsigned flags = MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS | MDB_NORDAHEAD;
    if (mdb_env_create(&env) != MDB_SUCCESS || mdb_env_set_maxdbs(env, DB_COUNT + 1) != 0 ||
        mdb_env_set_mapsize(env, map_bytes) != 0 ||
        mdb_env_open(env, spool->directory, flags, 0640) != 0 ||
        mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0)
        return;
    walk_tree(txn, 0, true); /* LMDB's free pages, then its databases */
    walk_free_pages(env, txn);
    walk_tree(txn, 1, true);
    for (enum store_db db = 0; db < DB_COUNT; db++) {
        if (mdb_dbi_open(txn, store_db_names[db], 0, &dbi) == MDB_SUCCESS)
            walk_tree(txn, dbi, db != DB_BLOCKS);
    }
}

int aside_probe(struct spool *spool, struct error *err)
{
    MDB_envinfo info = {0};
    int status = 0;
    int cause = mdb_env_info(spool->env, &info);
    if (cause != MDB_SUCCESS)
        return store_error(err, "mdb_env_info", cause);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) /* without processes to be had it goes without */
        return OK;
    if (child == 0) {
        leave_parent(parent);
        walk_all(spool, info.me_mapsize);
        _exit(0);
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR)
            return OK;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return OK;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS) {
        error_set(err, ERROR_IO, "a page of LMDB's tree does not read");
        err->cause = EIO;
        return ERROR_IO;
    }
    return error_set(err, ERROR_CORRUPT,
                     "a page of LMDB's tree is damaged: a look at all of them "
                     "ended with %s",
                     WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "an error");
}

/* ---- the newest blocks ---- */

/* Where the newest VERIFY_BYTES of a stream begin. Walks the tree of its blocks from end to
 * end, but reads none of them. */
static int find_newest(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                       uint64_t *from, struct error *err)
{
    struct range_walk walk = {0};
    uint64_t skip = stream->bytes > VERIFY_BYTES ? stream->bytes - VERIFY_BYTES : 0;
    uint64_t bytes = 0;
    *from = stream->end;
    int rc = range_open(&walk, spool, txn, DB_BLOCKS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid) {
        bytes += walk.value.len;
        if (bytes > skip && walk.from < *from)
            *from = walk.from;
        rc = range_next(&walk, err);
    }
    range_close(&walk);
    if (rc == OK && bytes != stream->bytes)
        rc = error_set(err, ERROR_CORRUPT, "stream %s: %llu bytes of blocks, %llu are counted",
                       stream->name, (unsigned long long)bytes, (unsigned long long)stream->bytes);
    return rc;
}

/* The register's segments lie side by side: one that is gone without a trace is a damaged page. */
static int verify_register(struct spool *spool, MDB_txn *txn, const struct stream_record *stream,
                           struct error *err)
{
    struct range_walk walk = {0};
    struct segment_record record;
    uint64_t expected = stream->begin;
    int rc = range_open(&walk, spool, txn, DB_SEGMENTS, stream->id, err);
    if (rc == OK)
        rc = range_seek(&walk, 0, err);
    while (rc == OK && walk.valid && walk.from == expected) {
        rc = segment_record_decode(walk.from, walk.value, &record, err);
        expected = record.to;
        if (rc == OK)
            rc = range_next(&walk, err);
    }
    if (rc == OK && (walk.valid || expected != stream->sealed))
        rc = error_set(err, ERROR_CORRUPT, "stream %s: the segment at %llu is gone", stream->name,
                       (unsigned long long)expected);
    range_close(&walk);
    return rc;
}

static int lose_bad(struct spool *spool, const struct spool_stream *stream,
                    const struct spool_block *block, const struct error *why, struct error *err)
{
    uint64_t to = block->first + block->event_count;
    struct spool_lost lost = {.from = block->first > stream->begin ? block->first : stream->begin,
                              .to = to < stream->end ? to : stream->end,
                              .reason = "bad_block"};
    lost.events = lost.to - lost.from;
    log_event(LOG_LEVEL_ERROR, "spool",
              "a block that was written last does not read: it is set aside in quarantine/, its "
              "events are announced as lost; look at the disk",
              "spool=\"%s\" stream=%s from=%llu to=%llu error=\"%s\"", spool->directory,
              stream->name, (unsigned long long)lost.from, (unsigned long long)lost.to, why->text);
    return spool_lose(spool, stream->name, &lost, err);
}

/* One pass; *again when a block was declared lost, which no open reader may see. */
static int verify_stream(struct spool *spool, const struct spool_stream *stream, uint64_t from,
                         bool *again, struct error *err)
{
    struct spool_reader *reader = NULL;
    struct spool_block block = {0};
    struct error why = {0};
    bool more = true;
    *again = false;
    int rc = spool_reader_open(&reader, spool, stream->name, from, stream->end, err);
    while (rc == OK && more && !*again) {
        rc = spool_reader_next(reader, &block, &more, err);
        if (rc == ERROR_CORRUPT) {
            why = *err;
            *again = true;
            rc = OK;
        }
    }
    spool_reader_close(reader);
    return rc == OK && *again ? lose_bad(spool, stream, &block, &why, err) : rc;
}

int aside_verify(struct spool *spool, struct error *err)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    int rc = spool_list_streams(spool, &arena, &streams, err);
    for (size_t i = 0; rc == OK && i < streams.count; i++) {
        const struct spool_stream *stream = &streams.streams[i];
        struct stream_record record;
        MDB_txn *txn = NULL;
        uint64_t from = 0;
        bool again = true;
        rc = store_begin_read(spool, &txn, err);
        if (rc == OK)
            rc = store_get_stream(spool, txn, stream->name, &record, err);
        if (rc == OK)
            rc = verify_register(spool, txn, &record, err);
        if (rc == OK)
            rc = find_newest(spool, txn, &record, &from, err);
        store_end(spool, txn);
        while (rc == OK && again && from < stream->end)
            rc = verify_stream(spool, stream, from, &again, err);
    }
    arena_free(&arena);
    return rc;
}
