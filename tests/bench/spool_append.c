/* SPDX-License-Identifier: Apache-2.0
 *
 * spool_append: batches of 100 events of 1 kB from 1, 8 and 64 senders, against a bare
 * LMDB loop that puts the same bytes, one transaction and one sync a batch. The two are
 * interleaved, five rounds, the median counts. Argument: a directory on the disk to be
 * measured. Run by `make bench-spool`.
 */
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "spool/spool.h"

enum { ROUNDS = 5, BATCH_EVENTS = 100, EVENT_SIZE = 1000, BATCHES = 1000, SENDERS_MAX = 64 };

struct run {
    atomic_int left;
    struct spool *spool;
    char stream[256];
    MDB_env *env;
    MDB_dbi dbi;
};

static uint8_t rows[BATCH_EVENTS * EVENT_SIZE];

static void *send_spool(void *context)
{
    struct run *run = context;
    struct error err;
    struct spool_batch batch = {.stream = run->stream,
                                .schema = slice_cstr("schema"),
                                .schema_key = 1,
                                .rows = slice_of(rows, sizeof rows),
                                .event_count = BATCH_EVENTS,
                                .row_count = BATCH_EVENTS};
    while (atomic_fetch_sub(&run->left, 1) > 0) {
        uint64_t first = 0;
        int rc = spool_append(run->spool, &batch, 1, NULL, 0, &first, &err);
        ASSERT(rc == OK);
    }
    return NULL;
}

static void *send_bare(void *context)
{
    struct run *run = context;
    int left = 0;
    while ((left = atomic_fetch_sub(&run->left, 1)) > 0) {
        uint64_t number = (uint64_t)left;
        MDB_txn *txn = NULL;
        MDB_val key = {.mv_size = sizeof number, .mv_data = &number};
        MDB_val value = {.mv_size = sizeof rows, .mv_data = rows};
        int rc = mdb_txn_begin(run->env, NULL, 0, &txn);
        if (rc == 0)
            rc = mdb_put(txn, run->dbi, &key, &value, 0);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        ASSERT(rc == 0);
    }
    return NULL;
}

static double measure(struct run *run, int senders, void *(*send)(void *))
{
    pthread_t threads[SENDERS_MAX];
    atomic_store(&run->left, BATCHES);
    int64_t start_ns = clock_mono_ns();
    for (int i = 0; i < senders; i++) {
        int rc = pthread_create(&threads[i], NULL, send, run);
        ASSERT(rc == 0);
    }
    for (int i = 0; i < senders; i++)
        pthread_join(threads[i], NULL);
    return BATCHES / ((double)(clock_mono_ns() - start_ns) / 1e9);
}

static double measure_spool(const char *parent, int senders)
{
    struct error err;
    struct run run = {0};
    char *directory = memory_printf("%s/spool", parent);
    struct spool_options options = {.directory = directory, .agent_id = "bench"};
    int rc = file_remove_tree(directory, &err);
    if (rc == OK)
        rc = spool_open(&run.spool, &options, &err);
    ASSERT(rc == OK);
    snprintf(run.stream, sizeof run.stream, "bench/%s/db.t", spool_epoch_borrow(run.spool));
    double rate = measure(&run, senders, send_spool);
    spool_close(run.spool);
    rc = file_remove_tree(directory, &err);
    ASSERT(rc == OK);
    free(directory);
    return rate;
}

static double measure_bare(const char *parent, int senders)
{
    struct error err;
    struct run run = {0};
    MDB_txn *txn = NULL;
    char *directory = memory_printf("%s/bare", parent);
    int rc = file_remove_tree(directory, &err);
    if (rc == OK)
        rc = file_make_directories(directory, 0750, &err);
    ASSERT(rc == OK);
    rc = mdb_env_create(&run.env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(run.env, (size_t)20 << 30);
    if (rc == 0)
        rc = mdb_env_open(run.env, directory, 0, 0640);
    if (rc == 0)
        rc = mdb_txn_begin(run.env, NULL, 0, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, MDB_INTEGERKEY, &run.dbi);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    ASSERT(rc == 0);
    double rate = measure(&run, senders, send_bare);
    mdb_env_close(run.env);
    rc = file_remove_tree(directory, &err);
    ASSERT(rc == OK);
    free(directory);
    return rate;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static const int senders[] = {1, 8, 64};
    if (argc != 2) {
        fprintf(stderr, "usage: spool_append DIRECTORY\n");
        return 2;
    }
    for (size_t k = 0; k < sizeof senders / sizeof senders[0]; k++) {
        double spool[ROUNDS];
        double bare[ROUNDS];
        for (size_t i = 0; i < ROUNDS; i++) {
            spool[i] = measure_spool(argv[1], senders[k]);
            bare[i] = measure_bare(argv[1], senders[k]);
        }
        qsort(spool, ROUNDS, sizeof spool[0], by_value);
        qsort(bare, ROUNDS, sizeof bare[0], by_value);
        printf("senders=%d spool=%.0f bare=%.0f batches/s (100 x 1 kB) ratio=%.2f\n", senders[k],
               spool[ROUNDS / 2], bare[ROUNDS / 2], spool[ROUNDS / 2] / bare[ROUNDS / 2]);
    }
    return 0;
}
