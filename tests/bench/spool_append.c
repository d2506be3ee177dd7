/* SPDX-License-Identifier: Apache-2.0
 *
 * spool_append: batches of 100 events of 1 kB from 1, 8 and 64 senders, and single events
 * from 64, against a bare LMDB loop that puts the same bytes, one transaction and one sync
 * a batch. All are interleaved, five rounds, the median counts, best beside it: on a disk
 * that others use a sync takes ten times as long from one second to the next. Argument: a
 * directory on the disk to be measured. Run by `make bench-spool`.
 */
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "spool/spool.h"

enum { ROUNDS = 5, BATCH_EVENTS = 100, EVENT_SIZE = 1000, SENDERS_MAX = 64 };

struct sample {
    double rate;  /* batches a second */
    double cpu;   /* microseconds a batch, of all threads */
    double group; /* batches a commit */
};

struct load {
    int senders;
    uint32_t events; /* of a batch */
    int batches;
    struct sample spool[ROUNDS];
    struct sample bare[ROUNDS];
};

struct run {
    const struct load *load;
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
                                .rows = slice_of(rows, run->load->events * EVENT_SIZE),
                                .event_count = run->load->events,
                                .row_count = run->load->events};
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
        MDB_val value = {.mv_size = run->load->events * EVENT_SIZE, .mv_data = rows};
        int rc = mdb_txn_begin(run->env, NULL, 0, &txn);
        if (rc == 0)
            rc = mdb_put(txn, run->dbi, &key, &value, 0);
        if (rc == 0)
            rc = mdb_txn_commit(txn);
        ASSERT(rc == 0);
    }
    return NULL;
}

static double cpu_us(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec * 1e6 + (double)used.tv_nsec / 1e3;
}

static struct sample measure(struct run *run, void *(*send)(void *))
{
    pthread_t threads[SENDERS_MAX];
    const struct load *load = run->load;
    atomic_store(&run->left, load->batches);
    int64_t start_ns = clock_mono_ns();
    double start_us = cpu_us();
    for (int i = 0; i < load->senders; i++) {
        int rc = pthread_create(&threads[i], NULL, send, run);
        ASSERT(rc == 0);
    }
    for (int i = 0; i < load->senders; i++)
        pthread_join(threads[i], NULL);
    return (struct sample){.rate = load->batches / ((double)(clock_mono_ns() - start_ns) / 1e9),
                           .cpu = (cpu_us() - start_us) / load->batches,
                           .group = 1};
}

static struct sample measure_spool(const char *parent, const struct load *load)
{
    struct error err;
    struct run run = {.load = load};
    char *directory = memory_printf("%s/spool", parent);
    struct spool_options options = {.directory = directory, .agent_id = "bench"};
    int rc = file_remove_tree(directory, &err);
    if (rc == OK)
        rc = spool_open(&run.spool, &options, &err);
    ASSERT(rc == OK);
    snprintf(run.stream, sizeof run.stream, "bench/%s/db.t", spool_epoch_borrow(run.spool));
    struct sample sample = measure(&run, send_spool);
    struct spool_statistics statistics;
    spool_statistics(run.spool, &statistics);
    sample.group = (double)statistics.append_count / (double)statistics.commit_count;
    spool_close(run.spool);
    rc = file_remove_tree(directory, &err);
    ASSERT(rc == OK);
    free(directory);
    return sample;
}

static struct sample measure_bare(const char *parent, const struct load *load)
{
    struct error err;
    struct run run = {.load = load};
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
    struct sample sample = measure(&run, send_bare);
    mdb_env_close(run.env);
    rc = file_remove_tree(directory, &err);
    ASSERT(rc == OK);
    free(directory);
    return sample;
}

static int by_rate(const void *a, const void *b)
{
    double x = ((const struct sample *)a)->rate;
    double y = ((const struct sample *)b)->rate;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static struct load loads[] = {{.senders = 1, .events = BATCH_EVENTS, .batches = 300},
                                  {.senders = 8, .events = BATCH_EVENTS, .batches = 1000},
                                  {.senders = 64, .events = BATCH_EVENTS, .batches = 1000},
                                  {.senders = 1, .events = 1, .batches = 300},
                                  {.senders = 64, .events = 1, .batches = 10000}};
    enum { LOADS = sizeof loads / sizeof loads[0] };
    if (argc != 2) {
        fprintf(stderr, "usage: spool_append DIRECTORY\n");
        return 2;
    }
    for (size_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < LOADS; k++) {
            struct load bare = loads[k];
            bare.senders = 1; /* LMDB has one writer: more senders only wait for each other */
            bare.batches = 300;
            loads[k].spool[i] = measure_spool(argv[1], &loads[k]);
            loads[k].bare[i] = measure_bare(argv[1], &bare);
        }
    }
    printf("senders  kB  batches/s (best)  bare (best)  of bare  CPU us (bare)  batches/commit\n");
    for (size_t k = 0; k < LOADS; k++) {
        qsort(loads[k].spool, ROUNDS, sizeof loads[k].spool[0], by_rate);
        qsort(loads[k].bare, ROUNDS, sizeof loads[k].bare[0], by_rate);
        const struct sample *spool = &loads[k].spool[ROUNDS / 2];
        const struct sample *bare = &loads[k].bare[ROUNDS / 2];
        printf("%7d %3u %9.0f (%.0f) %6.0f (%.0f) %8.2f %7.1f (%.1f) %8.1f\n", loads[k].senders,
               loads[k].events, spool->rate, loads[k].spool[ROUNDS - 1].rate, bare->rate,
               loads[k].bare[ROUNDS - 1].rate, spool->rate / bare->rate, spool->cpu, bare->cpu,
               spool->group);
    }
    return 0;
}
