/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "lib/base/assert.h"
#include "spool/store.h"

static MDB_val value_of(struct slice bytes)
{
    return (MDB_val){.mv_size = bytes.len, .mv_data = (void *)(uintptr_t)bytes.data};
}

static bool begins_with(const MDB_val *key, struct slice prefix)
{
    return key->mv_size >= prefix.len && memcmp(key->mv_data, prefix.data, prefix.len) == 0;
}

/* The first key at or behind `from` (behind, if `after`) goes to *key. */
static int seek(MDB_cursor *cursor, struct slice from, bool after, MDB_val *key)
{
    *key = value_of(from);
    int code = mdb_cursor_get(cursor, key, NULL, MDB_SET_RANGE);
    if (code == 0 && after && key->mv_size == from.len &&
        memcmp(key->mv_data, from.data, from.len) == 0)
        code = mdb_cursor_get(cursor, key, NULL, MDB_NEXT);
    return code;
}

int spool_checkpoint_next(struct spool *spool, struct slice prefix, struct slice after,
                          struct buf *out, bool *found, struct error *err)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key;
    ASSERT(prefix.len > 0);
    *found = false;
    int rc = store_begin_read(spool, &txn, err);
    if (rc != OK)
        return rc;
    int code = mdb_cursor_open(txn, spool->dbi[DB_CHECKPOINTS], &cursor);
    if (code == 0)
        code = after.len > 0 ? seek(cursor, after, true, &key) : seek(cursor, prefix, false, &key);
    if (code == 0 && begins_with(&key, prefix)) {
        *found = true;
        buf_put(out, key.mv_data, key.mv_size);
    } else if (code != 0 && code != MDB_NOTFOUND) {
        rc = store_error(err, "spool: reading a checkpoint", code);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    store_end(spool, txn);
    return rc;
}

int spool_checkpoint_count(struct spool *spool, struct slice prefix, uint64_t *count,
                           struct error *err)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key;
    ASSERT(prefix.len > 0);
    *count = 0;
    int rc = store_begin_read(spool, &txn, err);
    if (rc != OK)
        return rc;
    int code = mdb_cursor_open(txn, spool->dbi[DB_CHECKPOINTS], &cursor);
    if (code == 0)
        code = seek(cursor, prefix, false, &key);
    for (; code == 0 && begins_with(&key, prefix);
         code = mdb_cursor_get(cursor, &key, NULL, MDB_NEXT))
        ++*count;
    if (code != 0 && code != MDB_NOTFOUND)
        rc = store_error(err, "spool: counting checkpoints", code);
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    store_end(spool, txn);
    return rc;
}
