/* SPDX-License-Identifier: Apache-2.0
 *
 * A spool whose records were changed, and their checksums with them: what no disk does by
 * chance, but a bug of yesterday's program or a hand might. The input is a list of
 * changes to a spool with three streams, blocks, segments in each state and a lost range:
 * a byte for the database and what to do, one for the entry, then what is written. The
 * spool is opened, read, checked, sealed, trimmed and appended to: each step succeeds or
 * says why, and none asks for memory without bound.
 */
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "spool/record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CHANGES_MAX = 16, PATCH_MAX = 24, VALUE_MAX = 4096, STEPS_MAX = 64 };

static const char *const databases[] = {"streams", "blocks",  "segments",   "lost",
                                        "meta",    "schemas", "checkpoints"};

struct place {
    char directory[64];
    struct spool *spool;
    char stream[SPOOL_STREAM_NAME_MAX + 1]; /* of the epoch now */
};

static bool is_known(int rc)
{
    return rc >= OK && rc <= ERROR_IO;
}

static int place_open(struct place *place, struct error *err)
{
    struct random random;
    random_seed(&random, 7);
    struct spool_options options = {.directory = place->directory,
                                    .agent_id = "a1",
                                    .bytes_max = 128 << 20,
                                    .no_sync = true,
                                    .random = &random};
    int rc = spool_open(&place->spool, &options, err);
    ASSERT(is_known(rc));
    if (rc == OK)
        snprintf(place->stream, sizeof place->stream, "a1/%s/db.t",
                 spool_epoch_borrow(place->spool));
    return rc;
}

static int append(struct place *place, uint32_t count, struct error *err)
{
    static const uint8_t rows[64] = {1};
    uint64_t first = 0;
    struct spool_batch batch = {.stream = place->stream,
                                .schema = slice_cstr("schema"),
                                .schema_key = 1,
                                .rows = slice_of(rows, sizeof rows),
                                .event_count = count,
                                .row_count = count,
                                .time_min_us = 1,
                                .time_max_us = 2};
    struct spool_checkpoint checkpoint = {.key = slice_cstr("file"), .value = slice_cstr("5")};
    return spool_append(place->spool, &batch, 1, &checkpoint, 1, &first, err);
}

/* ---- a spool with something in every place ---- */

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fprintf(stderr, "%s\n", err->text);
    ASSERT(rc == OK);
}

static void announce_first(struct place *place)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = 0;
    must(spool_list_segments(place->spool, place->stream, &arena, &segments, &count, &err), &err);
    ASSERT(count > 0);
    segments[0].state = SEGMENT_ANNOUNCED;
    segments[0].announced_at_ms = 1;
    segments[0].payload = slice_cstr("announcement");
    must(spool_update_segment(place->spool, &segments[0], &err), &err);
    arena_free(&arena);
}

/* Two epochs: the older one's stream has an announced segment, a sealed one with a lost
 * range in it, and what the next open seals. */
static void place_fill(struct place *place)
{
    struct error err;
    bool sealed = false;
    struct spool_lost lost = {.from = 6, .to = 8, .events = 2, .reason = "bad_block"};
    for (int epoch = 0; epoch < 2; epoch++) {
        must(place_open(place, &err), &err);
        for (int segment = 0; segment < 2; segment++) {
            for (int block = 0; block < 3; block++)
                must(append(place, 2, &err), &err);
            must(spool_seal(place->spool, place->stream, NULL, &sealed, &err), &err);
        }
        must(spool_lose(place->spool, place->stream, &lost, &err), &err);
        announce_first(place);
        must(append(place, 2, &err), &err);
        spool_close(place->spool);
        place->spool = NULL;
    }
}

/* ---- changes ---- */

static void mend(const char *database, uint8_t *value, size_t len)
{
    if (database[0] == 'b' && len >= BLOCK_HEADER_SIZE) {
        put_u32le(value + 48, (uint32_t)(len - BLOCK_HEADER_SIZE));
        put_u32le(value + 52,
                  crc32c(0, slice_of(value + BLOCK_HEADER_SIZE, len - BLOCK_HEADER_SIZE)));
        put_u32le(value + 60, crc32c(0, slice_of(value, 60)));
    } else if ((database[0] == 's' || database[0] == 'l') && len >= 4 && database[1] != 'c') {
        put_u32le(value + len - 4, crc32c(0, slice_of(value, len - 4)));
    }
}

/* The nth entry of a database, counted around. */
static bool entry_find(MDB_cursor *cursor, size_t n, MDB_val *key, MDB_val *value)
{
    int cause = mdb_cursor_get(cursor, key, value, MDB_FIRST);
    for (size_t i = 0; cause == MDB_SUCCESS && i < n; i++)
        cause = mdb_cursor_get(cursor, key, value, MDB_NEXT);
    return cause == MDB_SUCCESS;
}

/* Overwrites bytes of the value, or its end; or puts a value under another key. */
static void entry_change(MDB_txn *txn, MDB_dbi dbi, const char *database, uint8_t how,
                         const MDB_val *key, const MDB_val *value, struct slice patch)
{
    uint8_t bytes[VALUE_MAX];
    uint8_t name[64];
    MDB_val to = {.mv_size = key->mv_size, .mv_data = name};
    MDB_val out = {.mv_size = value->mv_size, .mv_data = bytes};
    if (value->mv_size > sizeof bytes - PATCH_MAX || key->mv_size > sizeof name)
        return;
    memcpy(bytes, value->mv_data, value->mv_size);
    memcpy(name, key->mv_data, key->mv_size);
    size_t at = patch.len > 0 && value->mv_size > 0 ? patch.data[0] % value->mv_size : 0;
    for (size_t i = 1; i < patch.len; i++) {
        if (how == 0 && at + i - 1 < out.mv_size)
            bytes[at + i - 1] = patch.data[i];
        else if (how == 1)
            name[key->mv_size - 1 - (i - 1) % key->mv_size] = patch.data[i];
        else if (how == 2)
            bytes[out.mv_size++] = patch.data[i];
    }
    if (how == 3)
        out.mv_size = at;
    mend(database, bytes, out.mv_size);
    int cause = mdb_put(txn, dbi, &to, &out, 0);
    (void)cause; /* a key that LMDB refuses is one change less */
}

static size_t change(MDB_txn *txn, struct slice input)
{
    const char *database = databases[input.data[0] % 7];
    uint8_t how = input.data[0] / 7 % 5;
    size_t len = input.data[2] % PATCH_MAX;
    if (len > input.len - 3)
        len = input.len - 3;
    MDB_dbi dbi;
    MDB_cursor *cursor = NULL;
    MDB_val key = {0};
    MDB_val value = {0};
    if (mdb_dbi_open(txn, database, 0, &dbi) != MDB_SUCCESS)
        return 3 + len;
    int cause = mdb_cursor_open(txn, dbi, &cursor);
    ASSERT(cause == MDB_SUCCESS);
    if (entry_find(cursor, input.data[1] % 32, &key, &value)) {
        if (how == 4)
            mdb_cursor_del(cursor, 0);
        else
            entry_change(txn, dbi, database, how, &key, &value, slice_of(input.data + 3, len));
    }
    mdb_cursor_close(cursor);
    return 3 + len;
}

static void place_change(const struct place *place, struct slice input)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    int cause = mdb_env_create(&env);
    ASSERT(cause == MDB_SUCCESS);
    mdb_env_set_maxdbs(env, 8);
    mdb_env_set_mapsize(env, 256 << 20);
    cause = mdb_env_open(env, place->directory, MDB_NOSYNC, 0640);
    ASSERT(cause == MDB_SUCCESS);
    cause = mdb_txn_begin(env, NULL, 0, &txn);
    ASSERT(cause == MDB_SUCCESS);
    for (int i = 0; i < CHANGES_MAX && input.len > 3; i++) {
        size_t used = change(txn, input);
        input = slice_of(input.data + used, input.len - used);
    }
    cause = mdb_txn_commit(txn);
    ASSERT(cause == MDB_SUCCESS);
    mdb_env_close(env);
}

/* ---- what is done with it ---- */

static void ignore_line(void *context, const char *line)
{
    (void)context;
    ASSERT(line[0] != 0);
}

static void read_all(struct spool *spool, const struct spool_stream *stream)
{
    struct error err;
    struct spool_reader *reader = NULL;
    struct spool_block block;
    bool more = true;
    uint64_t sum = 0;
    int rc = spool_reader_open(&reader, spool, stream->name, stream->begin, stream->end, &err);
    ASSERT(is_known(rc));
    for (int i = 0; rc == OK && more && i < STEPS_MAX; i++) {
        rc = spool_reader_next(reader, &block, &more, &err);
        ASSERT(is_known(rc));
        for (size_t k = 0; rc == OK && more && k < block.rows.len; k++)
            sum += block.rows.data[k];
        if (rc == ERROR_CORRUPT)
            rc = OK;
    }
    ASSERT(sum < UINT64_MAX);
    spool_reader_close(reader);
}

static void use_segments(struct spool *spool, const struct spool_stream *stream)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    struct buf schema = {0};
    size_t count = 0;
    bool sealed = true;
    int rc = OK;
    for (int i = 0; rc == OK && sealed && i < STEPS_MAX; i++)
        rc = spool_seal(spool, stream->name, NULL, &sealed, &err);
    ASSERT(is_known(rc));
    rc = spool_list_segments(spool, stream->name, &arena, &segments, &count, &err);
    ASSERT(is_known(rc));
    for (size_t i = 0; rc == OK && i < count; i++) {
        int update = spool_update_segment(spool, &segments[i], &err);
        ASSERT(is_known(update));
        update = spool_schema_get(spool, segments[i].schema_key, &schema, &err);
        ASSERT(is_known(update));
    }
    uint64_t middle = stream->begin + (stream->end - stream->begin) / 2;
    struct spool_lost lost = {.from = middle, .to = stream->end, .events = 1, .reason = "test"};
    rc = lost.from < lost.to ? spool_lose(spool, stream->name, &lost, &err) : OK;
    ASSERT(is_known(rc));
    rc = spool_trim(spool, stream->name, middle, 5, &err);
    ASSERT(is_known(rc));
    rc = spool_trim(spool, stream->name, stream->end, 5, &err);
    ASSERT(is_known(rc));
    buf_free(&schema);
    arena_free(&arena);
}

static void use(struct place *place)
{
    struct error err;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    struct buf value = {0};
    size_t damaged = 0;
    bool found = false;
    int rc = spool_check(place->spool, ignore_line, NULL, &damaged, &err);
    ASSERT(is_known(rc));
    rc = spool_checkpoint_get(place->spool, slice_cstr("file"), &value, &found, &err);
    ASSERT(is_known(rc));
    rc = append(place, 3, &err);
    ASSERT(is_known(rc));
    rc = spool_list_streams(place->spool, &arena, &streams, &err);
    ASSERT(is_known(rc));
    for (size_t i = 0; rc == OK && i < streams.count; i++) {
        read_all(place->spool, &streams.streams[i]);
        use_segments(place->spool, &streams.streams[i]);
    }
    rc = spool_let_go(place->spool, 1 << 20, &err);
    ASSERT(is_known(rc));
    buf_free(&value);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct buf whole;
    struct place place = {0};
    struct error err;
    char path[96];
    snprintf(place.directory, sizeof place.directory, "%s/bidlake-fuzz-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    char *made = mkdtemp(place.directory);
    ASSERT(made != NULL);
    snprintf(path, sizeof path, "%s/data.mdb", place.directory);
    if (whole.len == 0) {
        place_fill(&place);
        must(file_read(path, 64 << 20, &whole, &err), &err);
    } else {
        must(file_replace(path, buf_slice(&whole), 0640, &err), &err);
    }
    place_change(&place, slice_of(data, size));
    for (int i = 0; i < 2; i++) {
        if (place_open(&place, &err) == OK)
            use(&place);
        spool_close(place.spool);
        place.spool = NULL;
    }
    must(file_remove_tree(place.directory, &err), &err);
    return 0;
}
