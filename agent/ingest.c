/* SPDX-License-Identifier: Apache-2.0
 *
 * A file is remembered under "ingest/<table>/<device>/<inode>" as
 *
 *   u32 version 1, u32 head_len, u32 head_crc32c, u32 ended,
 *   u64 size, u64 offset, u64 line, all little endian
 *
 * offset and line are those of the first line that no durable batch holds. The entry is
 * this file's when its first head_len bytes still have that checksum and it is not
 * shorter than it was; a file that grew goes on at offset.
 */
#include "agent/ingest.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/input/input.h"
#include "agent/parts.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    BATCH_BYTES = 4 << 20, /* of row images: one transaction and one sync */
    BATCH_EVENTS = 50000,
    CHECKPOINT_SIZE = 40,
    CHECKPOINT_VERSION = 1,
    FULL_WAIT_MS = 100,
    IDLE_WAIT_MS = 20,
    BATCH_AGE_MS = 1000, /* a slow pipe's events don't wait longer for their sync */
    PROGRESS_MS = 1000,
    LINE_BLANKS_MAX = 4096,
};

/* Atomic, not sig_atomic_t: the signal may come to the deliverer's thread. */
static atomic_bool stop_asked;
_Static_assert(ATOMIC_BOOL_LOCK_FREE == 2, "a signal handler sets it");

void ingest_stop(void)
{
    atomic_store(&stop_asked, true);
}

struct checkpoint {
    bool have; /* the input can be remembered at all */
    char key[256];
    struct input_identity identity;
    uint64_t offset;
    uint64_t line;
    bool ended;
};

struct ingest {
    const struct ingest_options *options;
    struct ingest_report *report;
    struct agent_parts parts;
    struct shredder *shredder;
    struct shred_batch batch;
    struct buf schema;
    uint64_t schema_key;
    char host[256];
    char table[256];
    char stream[STREAM_NAME_MAX + 1];
    struct spool_epoch_watch watch;
    bool epoch_is_due;      /* also while making it fails */
    int64_t received_at_us; /* never goes back */
    int64_t batch_due_ms;   /* monotonic: when the batch is old enough */
    bool broken;            /* spool or deliverer failed: no input can be taken */
    uint64_t durable_line;  /* the last of the file, or pipe */
    bool half_line;         /* the file ends in a line that was refused and may grow */
    struct input_line half; /* its place */
    int64_t progress_at_ms;
    _Atomic int64_t deadline_ms; /* monotonic: of the delivery; INT64_MAX while there is input */
    pthread_t deliverer;
    bool delivering;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    bool reading_done;
    int deliver_rc;
    struct error deliver_err;
};

void ingest_report_free(struct ingest_report *report)
{
    for (size_t i = 0; i < report->shown_count; i++)
        free(report->shown[i].file);
    free(report->shred.coerced_to_null);
    *report = (struct ingest_report){0};
}

/* ---- the delivering thread ---- */

static bool patience_is_over(void *context)
{
    const struct ingest *ingest = context;
    return atomic_load(&stop_asked) ||
           clock_mono_ms(&clock_system) >= atomic_load(&ingest->deadline_ms);
}

static bool delivered(struct ingest *ingest, int *rc, struct error *err)
{
    struct pipeline_backlog backlog;
    struct arena arena = {0};
    struct spool_streams streams = {0};
    *rc = spool_list_streams(ingest->parts.spool, &arena, &streams, err);
    if (*rc == OK)
        *rc = pipeline_backlog(ingest->parts.pipeline, &streams, &backlog, err);
    arena_free(&arena);
    if (*rc != OK)
        return true;
    if (backlog.open_streams == 0 && backlog.unannounced == 0)
        return true;
    /* Who asked to stop doesn't wait for a store that is away: the spool keeps it. */
    bool given_up = atomic_load(&stop_asked) && backlog.failing;
    if (clock_mono_ms(&clock_system) < atomic_load(&ingest->deadline_ms) && !given_up)
        return false;
    error_set(err, ERROR_RETRY, "%s", backlog.last_failure[0] != 0 ? backlog.last_failure : "none");
    *rc = error_wrap(err,
                     "%zu segments are not delivered; they stay in the spool and a later run "
                     "delivers them; last failure",
                     backlog.unannounced);
    return true;
}

/* Waits a moment, or until reading is done; true when it is. */
static bool wait_for_more(struct ingest *ingest)
{
    pthread_mutex_lock(&ingest->lock);
    if (!ingest->reading_done)
        clock_condition_wait(&ingest->changed, &ingest->lock, IDLE_WAIT_MS);
    bool done = ingest->reading_done;
    pthread_mutex_unlock(&ingest->lock);
    return done;
}

static void *deliver(void *context)
{
    struct ingest *ingest = context;
    struct error err = {0};
    int rc = OK;
    for (bool done = false; rc == OK;) {
        rc = pipeline_step(ingest->parts.pipeline, done, &err);
        if (rc == OK && done && delivered(ingest, &rc, &err))
            break;
        if (rc == OK && done)
            clock_sleep_ms(&clock_system, IDLE_WAIT_MS);
        else if (rc == OK)
            done = wait_for_more(ingest);
    }
    pthread_mutex_lock(&ingest->lock);
    ingest->deliver_rc = rc;
    ingest->deliver_err = err;
    pthread_mutex_unlock(&ingest->lock);
    return NULL;
}

static int deliverer_failed(struct ingest *ingest, struct error *err)
{
    pthread_mutex_lock(&ingest->lock);
    int rc = ingest->deliver_rc;
    if (rc != OK)
        *err = ingest->deliver_err;
    pthread_mutex_unlock(&ingest->lock);
    return rc;
}

static int deliver_finish(struct ingest *ingest, struct error *err)
{
    if (!ingest->delivering)
        return OK;
    atomic_store(&ingest->deadline_ms,
                 clock_mono_ms(&clock_system) + ingest->options->config->deliver_deadline_ms);
    pthread_mutex_lock(&ingest->lock);
    ingest->reading_done = true;
    pthread_cond_signal(&ingest->changed);
    pthread_mutex_unlock(&ingest->lock);
    pthread_join(ingest->deliverer, NULL);
    ingest->delivering = false;
    return deliverer_failed(ingest, err);
}

/* ---- checkpoints ---- */

static void checkpoint_encode(const struct checkpoint *checkpoint, uint8_t out[CHECKPOINT_SIZE])
{
    put_u32le(out, CHECKPOINT_VERSION);
    put_u32le(out + 4, checkpoint->identity.head_len);
    put_u32le(out + 8, checkpoint->identity.head_crc32c);
    put_u32le(out + 12, checkpoint->ended);
    put_u64le(out + 16, checkpoint->identity.size);
    put_u64le(out + 24, checkpoint->offset);
    put_u64le(out + 32, checkpoint->line);
}

/* What an earlier run remembered of this file; nothing when it is another one now. */
static int checkpoint_load(struct ingest *ingest, struct input *input, struct checkpoint *out,
                           struct error *err)
{
    struct buf value = {0};
    bool found = false;
    *out = (struct checkpoint){0};
    int rc = input_identity(input, &out->identity, &out->have, err);
    if (rc != OK || !out->have)
        return rc;
    snprintf(out->key, sizeof out->key, "ingest/%s/%llx/%llx", ingest->table,
             (unsigned long long)out->identity.device, (unsigned long long)out->identity.inode);
    rc = spool_checkpoint_get(ingest->parts.spool, slice_cstr(out->key), &value, &found, err);
    if (rc == OK && found && !ingest->options->again && value.len == CHECKPOINT_SIZE &&
        get_u32le(value.data) == CHECKPOINT_VERSION) {
        uint32_t crc = 0;
        rc = input_head_crc32c(input, get_u32le(value.data + 4), &crc, err);
        bool same =
            out->identity.size >= get_u64le(value.data + 16) && crc == get_u32le(value.data + 8);
        if (rc == OK && same) {
            out->offset = get_u64le(value.data + 24);
            out->line = get_u64le(value.data + 32);
            out->ended =
                get_u32le(value.data + 12) != 0 && out->identity.size == get_u64le(value.data + 16);
        }
    }
    buf_free(&value);
    return rc;
}

/* ---- batches ---- */

/* A full spool holds the reader back: receipts make room again. */
static int append_patiently(struct ingest *ingest, const struct spool_batch *batch, size_t count,
                            const struct spool_checkpoint *checkpoint, size_t checkpoint_count,
                            struct error *err)
{
    int64_t deadline_ms =
        clock_mono_ms(&clock_system) + ingest->options->config->deliver_deadline_ms;
    for (;;) {
        uint64_t first = 0;
        int rc = spool_append(ingest->parts.spool, batch, count, checkpoint, checkpoint_count,
                              &first, err);
        if (rc != ERROR_LIMIT)
            return rc;
        log_event(LOG_LEVEL_WARN, "ingest", "spool is full, waiting for commits", "error=\"%s\"",
                  err->text);
        struct error failure;
        if (deliverer_failed(ingest, &failure) != OK) {
            *err = failure;
            return (int)err->code;
        }
        if (stop_asked || clock_mono_ms(&clock_system) >= deadline_ms)
            return rc;
        clock_sleep_ms(&clock_system, FULL_WAIT_MS);
    }
}

/* A pipe may be read for days. */
static int renew_epoch(struct ingest *ingest, struct error *err)
{
    if (spool_epoch_is_due(&ingest->watch, clock_wall_ms(&clock_system),
                           clock_mono_ms(&clock_system)))
        ingest->epoch_is_due = true;
    if (!ingest->epoch_is_due)
        return OK;
    int rc = spool_renew_epoch(ingest->parts.spool, err);
    if (rc == OK)
        rc = stream_name_make(ingest->stream, ingest->parts.agent_id,
                              spool_epoch_borrow(ingest->parts.spool), ingest->table, err);
    ingest->epoch_is_due = rc != OK;
    return rc;
}

/* A write that failed may have been kept. The next run asks the spool for a file's place; of a
 * pipe only who wrote it can go on, from the line that is said here. */
static int say_what_is_durable(const struct ingest *ingest, const struct checkpoint *checkpoint,
                               struct error *err)
{
    const char *next = checkpoint->have ? "a run without --again goes on behind what is durable"
                                        : "give it what comes behind, once more";
    if (err->code != ERROR_IO)
        return error_wrap(err, "lines up to %llu are durable, %s",
                          (unsigned long long)ingest->durable_line, next);
    return error_wrap(err, "lines up to %llu are durable, of those up to %llu it is not known: %s",
                      (unsigned long long)ingest->durable_line,
                      (unsigned long long)checkpoint->line,
                      checkpoint->have ? next : "look into the table");
}

/* Makes durable what the batch holds, with the place behind it. */
static int flush_batch(struct ingest *ingest, struct checkpoint *checkpoint, struct error *err)
{
    uint8_t value[CHECKPOINT_SIZE];
    struct spool_batch batch = {.stream = ingest->stream,
                                .schema = buf_slice(&ingest->schema),
                                .schema_key = ingest->schema_key,
                                .rows = buf_slice(&ingest->batch.rows),
                                .event_count = ingest->batch.event_count,
                                .row_count = ingest->batch.row_count,
                                .time_min_us = ingest->batch.time_min_us,
                                .time_max_us = ingest->batch.time_max_us};
    struct spool_checkpoint place = {.key = slice_cstr(checkpoint->key),
                                     .value = slice_of(value, sizeof value)};
    size_t batch_count = batch.event_count > 0 ? 1 : 0;
    if (batch_count == 0 && !checkpoint->have)
        return OK;
    checkpoint_encode(checkpoint, value);
    int rc = renew_epoch(ingest, err);
    if (rc != OK)
        return rc;
    int64_t start_ns = clock_thread_cpu_ns();
    rc = append_patiently(ingest, &batch, batch_count, &place, checkpoint->have ? 1 : 0, err);
    ingest->report->spool_ns += clock_thread_cpu_ns() - start_ns;
    ingest->broken = rc != OK;
    if (rc != OK)
        return say_what_is_durable(ingest, checkpoint, err);
    ingest->durable_line = checkpoint->line;
    ingest->report->events += batch.event_count;
    ingest->report->rows += batch.row_count;
    shred_batch_reset(&ingest->batch);
    return OK;
}

static void note_refusal(struct ingest *ingest, const char *file, uint64_t line,
                         const struct refusal *refusal)
{
    struct ingest_report *report = ingest->report;
    report->refused++;
    report->refused_by_reason[refusal->reason]++;
    if (report->shown_count == INGEST_REFUSALS_SHOWN)
        return;
    report->shown[report->shown_count++] =
        (struct ingest_refusal){.file = memory_copy_cstr(file), .line = line, .refusal = *refusal};
}

/* Behind the last line that was taken or refused. A refused line without a line end may be
 * the first half of an event: it is looked at again by the run that finds it grown. */
static void note_place(const struct ingest *ingest, const struct input *input,
                       struct checkpoint *checkpoint)
{
    checkpoint->offset = ingest->half_line ? ingest->half.offset : input_offset(input);
    checkpoint->line = ingest->half_line ? ingest->half.number - 1 : input_line_number(input);
    checkpoint->ended = checkpoint->ended && !ingest->half_line;
}

static void take_line(struct ingest *ingest, const char *file, const struct input_line *line)
{
    struct shred_context context = {.received_at_us = ingest->received_at_us,
                                    .source_time_us = INT64_MIN,
                                    .host = slice_cstr(ingest->host),
                                    .partition = -1,
                                    .offset = -1};
    struct refusal refusal;
    uint64_t refused_before = ingest->report->refused;
    if (line->too_long) {
        refusal = (struct refusal){.reason = REFUSED_SIZE, .line = 1, .column = 1};
        snprintf(refusal.text, sizeof refusal.text, "larger than %lld bytes (limits.event_bytes)",
                 (long long)ingest->options->config->event_bytes_max);
        note_refusal(ingest, file, line->number, &refusal);
    } else if (slice_trim(line->text, " \t\r").len > 0 &&
               !shredder_event(ingest->shredder, line->text, &context, &ingest->batch, &refusal)) {
        note_refusal(ingest, file, line->number, &refusal);
    }
    ingest->half_line = line->unterminated && ingest->report->refused > refused_before;
    ingest->half = *line;
}

static void new_batch_time(struct ingest *ingest)
{
    int64_t now_us = clock_wall_us(&clock_system);
    ingest->batch_due_ms = clock_mono_ms(&clock_system) + BATCH_AGE_MS;
    if (now_us > ingest->received_at_us)
        ingest->received_at_us = now_us;
}

/* ---- files ---- */

static void show_progress(struct ingest *ingest, const char *file, const struct input *input,
                          const struct checkpoint *checkpoint, bool last)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    if (!ingest->options->progress || (!last && now_ms < ingest->progress_at_ms))
        return;
    ingest->progress_at_ms = now_ms + PROGRESS_MS;
    bool terminal = isatty(STDERR_FILENO) != 0;
    uint64_t events = ingest->report->events + ingest->batch.event_count;
    double percent =
        checkpoint->have && checkpoint->identity.size > 0
            ? 100.0 * (double)input_bytes_read(input) / (double)checkpoint->identity.size
            : 0.0;
    if (last)
        percent = 100.0;
    fprintf(stderr, "%s%s: %3.0f%%, %llu events%s", terminal ? "\r" : "", file, percent,
            (unsigned long long)events, terminal && !last ? "" : "\n");
}

/* Whether what was taken is to be made durable now. The clock is looked at when bytes were
 * read, which is seldom. */
static bool batch_is_due(const struct ingest *ingest, bool silent, bool read)
{
    const struct shred_batch *batch = &ingest->batch;
    if (batch->rows.len >= BATCH_BYTES || batch->event_count >= BATCH_EVENTS)
        return true;
    return batch->event_count > 0 &&
           (silent || (read && clock_mono_ms(&clock_system) >= ingest->batch_due_ms));
}

static int flush_lines(struct ingest *ingest, const char *file, struct input *input,
                       struct checkpoint *checkpoint, struct error *err)
{
    note_place(ingest, input, checkpoint);
    int rc = flush_batch(ingest, checkpoint, err);
    new_batch_time(ingest);
    show_progress(ingest, file, input, checkpoint, false);
    if (rc == OK) {
        rc = deliverer_failed(ingest, err);
        ingest->broken = rc != OK;
    }
    return rc;
}

/* Reads lines into batches; checkpoint->ended says that the file was read to its end. */
static int take_lines(struct ingest *ingest, const char *file, struct input *input,
                      struct checkpoint *checkpoint, struct error *err)
{
    int rc = OK;
    uint64_t read_before = 0;
    int64_t shred_start_ns = clock_thread_cpu_ns();
    int64_t read_before_ns = input_cpu_ns(input);
    new_batch_time(ingest);
    while (rc == OK && !stop_asked) {
        struct input_line line;
        bool more = false;
        rc = input_next(input, &line, &more, err);
        bool silent = rc == ERROR_RETRY;
        checkpoint->ended = rc == OK && !more;
        if (checkpoint->ended || (rc != OK && !silent))
            break;
        rc = OK;
        if (!silent)
            take_line(ingest, file, &line);
        bool read = input_bytes_read(input) != read_before;
        read_before = input_bytes_read(input);
        if (!batch_is_due(ingest, silent, read))
            continue;
        int64_t spool_start_ns = clock_thread_cpu_ns();
        rc = flush_lines(ingest, file, input, checkpoint, err);
        shred_start_ns += clock_thread_cpu_ns() - spool_start_ns;
    }
    int64_t read_ns = input_cpu_ns(input) - read_before_ns;
    ingest->report->read_ns += read_ns;
    ingest->report->shred_ns += clock_thread_cpu_ns() - shred_start_ns - read_ns;
    return rc;
}

static int ingest_file(struct ingest *ingest, const char *file, struct error *err)
{
    struct input *input = NULL;
    struct checkpoint checkpoint = {0};
    /* The blanks around an event (CRLF, indentation) are none of its bytes. */
    size_t line_max = (size_t)ingest->options->config->event_bytes_max + LINE_BLANKS_MAX;
    shred_batch_reset(&ingest->batch);
    ingest->half_line = false;
    int rc = input_open(&input, file, line_max, err);
    if (rc != OK)
        return rc;
    rc = checkpoint_load(ingest, input, &checkpoint, err);
    if (rc == OK && checkpoint.ended) {
        ingest->report->files_skipped++;
        log_event(LOG_LEVEL_INFO, "ingest", "file was taken before; --again takes it anew",
                  "file=\"%s\"", file);
        goto out;
    }
    uint64_t start = checkpoint.offset;
    ingest->durable_line = checkpoint.line;
    if (rc == OK && start > 0) {
        log_event(LOG_LEVEL_INFO, "ingest", "going on where an earlier run ended",
                  "file=\"%s\" offset=%llu line=%llu", file, (unsigned long long)start,
                  (unsigned long long)checkpoint.line + 1);
        rc = input_skip(input, start, checkpoint.line, err);
    }
    if (rc != OK)
        goto out;
    rc = take_lines(ingest, file, input, &checkpoint, err);
    ingest->report->bytes_in += input_offset(input) - start;
    if (rc == OK || (rc == ERROR_INPUT && !ingest->broken)) {
        /* What came before a damaged place is kept, and so is the place. */
        struct error flush_err;
        note_place(ingest, input, &checkpoint);
        int flush_rc = flush_batch(ingest, &checkpoint, &flush_err);
        if (rc == OK && flush_rc != OK) {
            *err = flush_err;
            rc = flush_rc;
        }
    }
    show_progress(ingest, file, input, &checkpoint, true);
out:
    input_close(input);
    return rc;
}

/* ---- a run ---- */

static int open_parts(struct ingest *ingest, struct error *err)
{
    const struct agent_config *config = ingest->options->config;
    const struct mapping *mapping = ingest->options->mapping;
    struct shred_options shred = {.bytes_max = (size_t)config->event_bytes_max};
    const struct agent_patience patience = {patience_is_over, ingest};
    int rc = agent_parts_open(&ingest->parts, config, &patience, err);
    if (rc == OK)
        rc = shredder_open(&ingest->shredder, mapping, &shred, err);
    if (rc != OK)
        return rc;
    snprintf(ingest->table, sizeof ingest->table, "%s.%s", config->namespace,
             mapping->schema.table);
    rc = stream_name_make(ingest->stream, ingest->parts.agent_id,
                          spool_epoch_borrow(ingest->parts.spool), ingest->table, err);
    if (rc != OK)
        return rc;
    table_schema_encode(&mapping->schema, &ingest->schema);
    ingest->schema_key = table_schema_key(&mapping->schema);
    if (gethostname(ingest->host, sizeof ingest->host - 1) < 0)
        ingest->host[0] = 0;
    return OK;
}

static void fill_report(struct ingest *ingest)
{
    struct ingest_report *report = ingest->report;
    if (ingest->parts.pipeline != NULL) {
        const struct uploader_statistics *uploads =
            pipeline_uploader_statistics_borrow(ingest->parts.pipeline);
        report->roller = *pipeline_roller_statistics_borrow(ingest->parts.pipeline);
        report->files_put = uploads->files_put;
        report->bytes_put = uploads->bytes_put;
        report->segments = uploads->announcements_put;
        report->upload_ns = pipeline_upload_ns(ingest->parts.pipeline);
    }
    if (ingest->shredder != NULL) {
        size_t columns = ingest->options->mapping->schema.column_count;
        report->shred = *shredder_statistics_borrow(ingest->shredder);
        uint64_t *copy = memory_alloc(columns, sizeof *copy);
        memcpy(copy, report->shred.coerced_to_null, columns * sizeof *copy);
        report->shred.coerced_to_null = copy;
    }
}

static int ingest_files(struct ingest *ingest, struct error *err)
{
    int first_rc = OK;
    /* One input that is damaged or not there doesn't keep the others out. */
    for (size_t i = 0; i < ingest->options->file_count && !stop_asked && !ingest->broken; i++) {
        struct error file_err;
        int rc = ingest_file(ingest, ingest->options->files[i], &file_err);
        if (rc != OK && first_rc == OK) {
            *err = file_err;
            first_rc = rc;
        } else if (rc != OK) {
            log_event(LOG_LEVEL_ERROR, "ingest", "one more input does not read to its end",
                      "error=\"%s\"", file_err.text);
        }
    }
    if (first_rc == OK && stop_asked)
        first_rc =
            error_set(err, ERROR_RETRY, "stopped by a signal; a later run goes on from here");
    return first_rc;
}

int ingest_run(const struct ingest_options *options, struct ingest_report *report,
               struct error *err)
{
    struct ingest ingest = {.options = options, .report = report, .deadline_ms = INT64_MAX};
    int64_t start_ns = clock_mono_ns();
    *report = (struct ingest_report){0};
    pthread_mutex_init(&ingest.lock, NULL);
    clock_condition_init(&ingest.changed);
    int rc = open_parts(&ingest, err);
    if (rc == OK) {
        int failed = pthread_create(&ingest.deliverer, NULL, deliver, &ingest);
        ASSERT(failed == 0);
        ingest.delivering = true;
        rc = ingest_files(&ingest, err);
    }
    struct error deliver_err;
    int deliver_rc = deliver_finish(&ingest, &deliver_err);
    if (rc == OK && deliver_rc != OK) {
        *err = deliver_err;
        rc = deliver_rc;
    }
    fill_report(&ingest);
    report->seconds = (double)(clock_mono_ns() - start_ns) / 1e9;
    shredder_close(ingest.shredder);
    agent_parts_close(&ingest.parts);
    shred_batch_free(&ingest.batch);
    buf_free(&ingest.schema);
    pthread_cond_destroy(&ingest.changed);
    pthread_mutex_destroy(&ingest.lock);
    return rc;
}
