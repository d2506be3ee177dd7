/* SPDX-License-Identifier: Apache-2.0
 *
 * One thread a pattern. It looks at the pattern every second and at the open files every
 * quarter of one while something happens, and gives what changed to a few readers, one of
 * which does the compressed files. Each file has one ticket out at most; so a slow disk
 * slows the reading down, and a full spool stops it until there is room.
 *
 * The more files the pattern finds, the more seldom it is looked at: scans take a few
 * thousandths of a core at most.
 */
#include "agent/tail/tail.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/tail/reader.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    READERS = 4, /* the first has the compressed files */
    POLL_MS = 250,
    SCAN_MIN_MS = 1000,
    SCAN_MAX_MS = 10000,
    SCAN_SHARE = 2000, /* at most one part in so many of a core */
};

struct event_source {
    struct source_options options;
    struct files files;
    struct reader_shared shared;
    struct reader readers[READERS];
    int64_t scan_at_ms;
    int64_t poll_at_ms;
    pthread_t thread;
    bool running;
    atomic_bool paused; /* nothing new is begun */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock, and of the readers `answered` and `rc` */
    bool closing;
};

static void on_durable(struct ticket *ticket, int rc, const struct error *err)
{
    struct reader *reader = (struct reader *)ticket;
    struct event_source *source = reader->shared->context;
    (void)err; /* the capture logs it once for all */
    pthread_mutex_lock(&source->lock);
    reader->rc = rc;
    reader->answered = true;
    pthread_cond_signal(&source->changed);
    pthread_mutex_unlock(&source->lock);
}

/* ---- the thread ---- */

static void take_answers(struct event_source *source, int64_t now_ms)
{
    for (size_t i = 0; i < READERS; i++) {
        struct reader *reader = &source->readers[i];
        pthread_mutex_lock(&source->lock);
        bool answered = reader->answered;
        reader->answered = false;
        pthread_mutex_unlock(&source->lock);
        if (answered)
            reader_answered(reader, now_ms);
    }
}

static void look_around(struct event_source *source, int64_t now_ms)
{
    if (now_ms >= source->scan_at_ms) {
        files_scan(&source->files, now_ms);
        int64_t wait_ms = source->files.scan_ns * SCAN_SHARE / 1000000;
        wait_ms = wait_ms < SCAN_MIN_MS ? SCAN_MIN_MS : wait_ms;
        source->scan_at_ms = now_ms + (wait_ms < SCAN_MAX_MS ? wait_ms : SCAN_MAX_MS);
    }
    if (now_ms >= source->poll_at_ms) {
        files_restore(&source->files); /* soon: what ends the agent before takes them along */
        bool active = files_poll(&source->files, now_ms);
        source->poll_at_ms = now_ms + (active ? POLL_MS : SCAN_MIN_MS);
    }
}

static bool can_step(const struct reader *reader, int64_t now_ms)
{
    return reader->file != NULL && !reader->waiting && reader->retry_at_ms <= now_ms;
}

/* One step of each reader; true: there is more to do at once. */
static bool step_all(struct event_source *source, int64_t now_ms)
{
    bool more = false;
    for (size_t i = 0; i < READERS; i++) {
        struct reader *reader = &source->readers[i];
        if (reader->file == NULL) {
            struct tail_file *file = files_next(&source->files, i == 0);
            if (file != NULL)
                reader_begin(reader, file);
        }
        if (can_step(reader, now_ms))
            reader_step(reader, now_ms);
        more = more || can_step(reader, now_ms) ||
               (reader->file == NULL && source->files.queues[i == 0].first != NULL);
    }
    return more;
}

/* A quiet agent holds no windows. */
static void free_windows(struct event_source *source)
{
    for (size_t i = 0; i < READERS; i++) {
        struct reader *reader = &source->readers[i];
        if (reader->file == NULL && reader->window.cap > 0) {
            buf_free(&reader->window);
            reader->window = (struct buf){0};
        }
    }
}

static int64_t wait_ms(const struct event_source *source, int64_t now_ms)
{
    int64_t until_ms =
        source->scan_at_ms < source->poll_at_ms ? source->scan_at_ms : source->poll_at_ms;
    for (size_t i = 0; i < READERS; i++) {
        const struct reader *reader = &source->readers[i];
        if (reader->retry_at_ms != 0 && reader->retry_at_ms < until_ms)
            until_ms = reader->retry_at_ms;
    }
    return until_ms > now_ms ? until_ms - now_ms : 1;
}

static bool any_waits(const struct event_source *source)
{
    bool waits = false;
    for (size_t i = 0; i < READERS; i++)
        waits = waits || source->readers[i].waiting;
    return waits;
}

/* Until a ticket is back, or for a while. False: it is over. */
static bool wait_for_more(struct event_source *source, int64_t ms)
{
    pthread_mutex_lock(&source->lock);
    bool answered = false;
    for (size_t i = 0; i < READERS; i++)
        answered = answered || source->readers[i].answered;
    bool waits = any_waits(source);
    if (ms > 0 && !answered && (!source->closing || waits))
        clock_condition_wait(&source->changed, &source->lock, ms);
    bool go_on = !source->closing || waits;
    pthread_mutex_unlock(&source->lock);
    return go_on;
}

static void *run(void *context)
{
    struct event_source *source = context;
    int64_t ms = 0;
    while (wait_for_more(source, ms)) {
        int64_t now_ms = clock_mono_ms(source->files.clock);
        bool more = false;
        take_answers(source, now_ms);
        bool paused = atomic_load(&source->paused);
        if (!paused) {
            look_around(source, now_ms);
            more = step_all(source, now_ms);
        }
        ms = more ? 0 : paused ? SCAN_MIN_MS : wait_ms(source, now_ms);
        if (!more && !any_waits(source))
            free_windows(source);
    }
    return NULL;
}

/* ---- open and close ---- */

static void tail_pause(struct event_source *source)
{
    atomic_store(&source->paused, true);
}

static void tail_close(struct event_source *source)
{
    if (source == NULL)
        return;
    if (source->running) {
        atomic_store(&source->paused, true);
        pthread_mutex_lock(&source->lock);
        source->closing = true;
        pthread_cond_signal(&source->changed);
        pthread_mutex_unlock(&source->lock);
        pthread_join(source->thread, NULL);
    }
    for (size_t i = 0; i < READERS; i++)
        reader_free(&source->readers[i]);
    intake_close(source->shared.intake);
    files_close(&source->files);
    pthread_cond_destroy(&source->changed);
    pthread_mutex_destroy(&source->lock);
    free(source);
}

static int tail_open(struct event_source **out, const struct source_options *options,
                     struct error *err)
{
    struct event_source *source = memory_alloc(1, sizeof *source);
    source->options = *options;
    source->shared = (struct reader_shared){
        .files = &source->files,
        .capture = options->capture,
        .table = capture_find_table(options->capture, slice_cstr(options->table)),
        .host = options->host,
        .readers = source->readers,
        .reader_count = READERS,
        .done = on_durable,
        .context = source};
    atomic_store(&source->shared.line_bytes_max, options->event_bytes_max + LINE_BLANKS_MAX);
    for (size_t i = 0; i < READERS; i++)
        source->readers[i].shared = &source->shared;
    pthread_mutex_init(&source->lock, NULL);
    clock_condition_init(&source->changed);
    int rc = source->shared.table != SIZE_MAX
                 ? intake_open(&source->shared.intake, options->capture, err)
                 : error_set(err, ERROR_INPUT, "there is no table %s", options->table);
    if (rc == OK)
        rc = files_open(&source->files, &source->options, err);
    if (rc != OK) {
        tail_close(source);
        return error_wrap(err, "%s", options->address);
    }
    int failed = pthread_create(&source->thread, NULL, run, source);
    ASSERT(failed == 0);
    source->running = true;
    *out = source;
    return OK;
}

static int tail_reload(struct event_source *source, const struct source_options *options,
                       struct error *err)
{
    (void)err;
    atomic_store(&source->shared.line_bytes_max, options->event_bytes_max + LINE_BLANKS_MAX);
    return OK;
}

/* ---- for those who look ---- */

/* A label of a metric: the pattern's end, in plain characters. */
static void name_pattern(const char *pattern, char out[SOURCE_ADDRESS_MAX])
{
    size_t len = strlen(pattern);
    size_t skipped = len < SOURCE_ADDRESS_MAX ? 0 : len - (SOURCE_ADDRESS_MAX - 1);
    snprintf(out, SOURCE_ADDRESS_MAX, "%s", pattern + skipped);
    for (char *at = out; *at != 0; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at > 0x7e || *at == '"' || *at == '\\')
            *at = '?';
    }
}

static void add_file(void *context, const struct source_file *file)
{
    struct source_statistics *out = context;
    out->files++;
    if (!file->compressed && file->size > file->offset)
        out->unread_bytes += file->size - file->offset;
}

static void tail_statistics(struct event_source *source, struct source_statistics *out)
{
    *out = (struct source_statistics){.requests = atomic_load(&source->shared.requests),
                                      .bytes = atomic_load(&source->shared.bytes)};
    name_pattern(source->options.address, out->address);
    for (size_t i = 0; i < SOURCE_FILE_FAULT_COUNT; i++)
        out->file_faults[i] = atomic_load(&source->files.faults[i]);
    files_list(&source->files, add_file, out);
}

static void tail_files(struct event_source *source, source_file_list *list, void *context)
{
    files_list(&source->files, list, context);
}

const struct source_ops source_tail = {.kind = "tail",
                                       .open = tail_open,
                                       .reload = tail_reload,
                                       .pause = tail_pause,
                                       .close = tail_close,
                                       .statistics = tail_statistics,
                                       .files = tail_files};
