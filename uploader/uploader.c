/* SPDX-License-Identifier: Apache-2.0
 *
 * A step lists the spool's streams and does for each, in this order:
 *
 *   1. receipt     greatest next -> spool_trim; missing, refused -> back to SEALED
 *   2. upload      segments in order of `from`, as far as they are BUILT
 *   3. repeat      the oldest announcement, if nobody answered it for long
 *
 * What a stream waits for (backoff, poll times) is kept in memory only: after a
 * restart everything is due at once, which is what a restart is for.
 */
#include "uploader/uploader.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "uploader/contracts.h"
#include "uploader/pace.h"

enum {
    RETRY_FIRST_MS = 200,
    NAMES_TRIED_MAX = 100,
    UPLOADS_MAX = 16,
    PACE_STEP_MS = 200,
    PATIENCE_MS = 1000,
    SAID_AGAIN_MS = 300000,
};

/* Something that failed and is tried again; all zero: it works. */
struct retry {
    unsigned failures; /* since it worked */
    int64_t since_ms;  /* monotonic: the first of them; the last that was logged */
    int64_t said_at_ms;
};

/* What one stream waits for. */
struct watch {
    struct watch *next;
    char *stream;
    int64_t retry_at_ms; /* monotonic; before it nothing is put */
    struct retry upload;
    struct retry receipt;
    int64_t receipt_at_ms; /* monotonic; the next look */
    int64_t rebuild_at_ms; /* monotonic; before it no segment is built a third time */
    int64_t receipt_ms;    /* the store's clock: the receipt that sent a segment back last */
    bool seen;             /* in this step's list of streams */
    bool alarmed;          /* an impossible receipt was logged */
};

struct uploader {
    struct uploader_options options;
    struct random random;
    struct watch *watches;
    struct contracts contracts;
    struct uploader_statistics statistics;
    struct pace pace;
    _Atomic uint64_t bandwidth; /* that the pace takes up */
    size_t turn;                /* steps */
    _Atomic int64_t give_up_at_ms;
    atomic_bool gave_up; /* a request failed behind it: the store is not asked any more */
    _Atomic int64_t paced_at_ms;
    struct error last_failure;
    char *probe_key;     /* NULL: the store refuses to overwrite */
    int64_t probe_at_ms; /* monotonic; before it is asked again, having denied it */
    bool probe_denied;   /* and nothing was put since */
};

int uploader_open(struct uploader **out, const struct uploader_options *options, struct error *err)
{
    (void)err;
    ASSERT(options->spool != NULL && options->store != NULL);
    struct uploader *uploader = memory_alloc(1, sizeof *uploader);
    uploader->options = *options;
    if (uploader->options.clock == NULL)
        uploader->options.clock = &clock_system;
    if (uploader->options.announce_repeat_ms == 0)
        uploader->options.announce_repeat_ms = 300000;
    if (uploader->options.receipt_poll_ms == 0)
        uploader->options.receipt_poll_ms = 5000;
    if (uploader->options.retry_max_ms == 0)
        uploader->options.retry_max_ms = 60000;
    uploader->contracts =
        (struct contracts){.store = options->store, .clock = uploader->options.clock};
    uploader->probe_key = memory_copy_or_null(options->probe_key);
    random_seed(&uploader->random, options->seed);
    atomic_store(&uploader->bandwidth, options->bandwidth);
    uploader->pace.bytes_per_second = options->bandwidth;
    atomic_store(&uploader->give_up_at_ms, INT64_MAX);
    *out = uploader;
    return OK;
}

void uploader_close(struct uploader *uploader)
{
    if (uploader == NULL)
        return;
    while (uploader->watches != NULL) {
        struct watch *watch = uploader->watches;
        uploader->watches = watch->next;
        free(watch->stream);
        free(watch);
    }
    contracts_free(&uploader->contracts);
    free(uploader->probe_key);
    free(uploader);
}

const struct uploader_statistics *uploader_statistics_borrow(const struct uploader *uploader)
{
    return &uploader->statistics;
}

/* Who stops waits for one request that hangs, not for one of each stream. */
static void note_silence(struct uploader *uploader, bool silent)
{
    if (silent && clock_mono_ms(uploader->options.clock) >= atomic_load(&uploader->give_up_at_ms))
        atomic_store(&uploader->gave_up, true);
}

int uploader_contract_borrow(struct uploader *uploader, const char *table,
                             const struct contract **out, struct error *err)
{
    uploader->contracts.asks = !atomic_load(&uploader->gave_up);
    int rc = contracts_borrow(&uploader->contracts, table, out, err);
    note_silence(uploader, uploader->contracts.silent);
    return rc;
}

/* ---- waiting ---- */

static struct watch *watch_of(struct uploader *uploader, const char *stream)
{
    for (struct watch *watch = uploader->watches; watch != NULL; watch = watch->next) {
        if (strcmp(watch->stream, stream) == 0)
            return watch;
    }
    struct watch *watch = memory_alloc(1, sizeof *watch);
    watch->stream = memory_copy_cstr(stream);
    watch->next = uploader->watches;
    uploader->watches = watch;
    return watch;
}

/* Forgets streams that the spool has forgotten. */
static void watches_sweep(struct uploader *uploader)
{
    struct watch **at = &uploader->watches;
    while (*at != NULL) {
        struct watch *watch = *at;
        if (watch->seen) {
            watch->seen = false;
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        free(watch->stream);
        free(watch);
    }
}

/* Full jitter: anything between nothing and a ceiling that doubles. Two thousand agents whose
 * store comes back must not come all at once. */
static int64_t jitter_ms(struct uploader *uploader, unsigned failures, const struct error *err)
{
    int64_t ceiling = RETRY_FIRST_MS;
    for (unsigned i = 0; i < failures && ceiling < uploader->options.retry_max_ms; i++)
        ceiling *= 2;
    if (ceiling > uploader->options.retry_max_ms)
        ceiling = uploader->options.retry_max_ms;
    /* A person must act: no use in hurry. */
    if (err->code == ERROR_DENIED || err->code == ERROR_INPUT)
        return ceiling;
    /* A store that names a time names it to all: they come spread behind it. */
    return err->retry_after_ms + (int64_t)random_below(&uploader->random, (uint64_t)ceiling + 1);
}

/* Returns how long to wait. Said when it begins, then once in SAID_AGAIN_MS: a store is away for
 * hours, and streams are many. */
static int64_t retry_failed(struct uploader *uploader, struct retry *retry, const char *what,
                            const char *stream, const struct error *err)
{
    int64_t now_ms = clock_mono_ms(uploader->options.clock);
    int64_t wait = jitter_ms(uploader, retry->failures, err);
    bool say = retry->failures == 0 || now_ms - retry->said_at_ms >= SAID_AGAIN_MS;
    if (retry->failures == 0)
        retry->since_ms = now_ms;
    retry->failures++;
    uploader->statistics.failures++;
    uploader->last_failure = *err;
    (void)error_wrap(&uploader->last_failure, "%s", stream);
    note_silence(uploader, err->code == ERROR_RETRY);
    if (!say)
        return wait;
    retry->said_at_ms = now_ms;
    log_event(err->code == ERROR_RETRY ? LOG_LEVEL_WARN : LOG_LEVEL_ERROR, "uploader",
              "step failed, will try again",
              "step=%s stream=%s wait_ms=%lld failures=%u since_ms=%lld error=\"%s\"", what, stream,
              (long long)wait, retry->failures, (long long)(now_ms - retry->since_ms), err->text);
    return wait;
}

static void retry_worked(const struct uploader *uploader, struct retry *retry, const char *what,
                         const char *stream)
{
    if (retry->failures > 0)
        log_event(LOG_LEVEL_INFO, "uploader", "step works again",
                  "step=%s stream=%s failures=%u after_ms=%lld", what, stream, retry->failures,
                  (long long)(clock_mono_ms(uploader->options.clock) - retry->since_ms));
    *retry = (struct retry){0};
}

/* ---- upload ---- */

static const char *table_of(const char *stream)
{
    const char *slash = strrchr(stream, '/');
    return slash != NULL ? slash + 1 : stream;
}

/* *same: the store already has these very bytes under this key; *taken: it has others. */
static int same_object(struct uploader *uploader, const char *key, const struct data_file *file,
                       bool *same, bool *taken, struct error *err)
{
    struct objstore_info info = {0};
    int rc = objstore_head(uploader->options.store, key, &info, err);
    *same = rc == OK && info.found && info.size == file->size && info.has_crc32c &&
            info.crc32c == file->crc32c;
    *taken = rc == OK && info.found && !*same;
    return rc;
}

static bool is_first_name(const char *path)
{
    static const char end[] = "-1.parquet";
    size_t len = strlen(path);
    return len >= sizeof end - 1 && strcmp(path + len - (sizeof end - 1), end) == 0;
}

/* After an upgrade, a rebuild of an old epoch may have other bytes; a later name may be a
 * committer's copy of an earlier build. The first name in a stream of this very process has
 * no such excuse: two machines may be giving the same positions. */
static void note_taken_name(struct uploader *uploader, const char *stream, const char *path)
{
    struct slice epoch = stream_epoch(stream);
    bool ours = epoch.data != NULL &&
                slice_is(epoch, spool_epoch_borrow(uploader->options.spool)) && is_first_name(path);
    uploader->statistics.alarms += ours;
    log_event(ours ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "uploader",
              ours ? "ALARM: a name of this process is taken by other bytes"
                   : "name is taken by other bytes, using the next one",
              "path=%s", path);
}

void uploader_give_up_at(struct uploader *uploader, int64_t mono_ms)
{
    atomic_store(&uploader->give_up_at_ms, mono_ms);
    atomic_store(&uploader->gave_up, false);
}

void uploader_set_bandwidth(struct uploader *uploader, uint64_t bytes_per_second)
{
    atomic_store(&uploader->bandwidth, bytes_per_second);
}

static bool take_bandwidth(struct uploader *uploader, bool within_file)
{
    return pace_change(&uploader->pace, atomic_load(&uploader->bandwidth), within_file);
}

int64_t uploader_paced_at_ms(const struct uploader *uploader)
{
    return atomic_load(&uploader->paced_at_ms);
}

/* Whether a put that the bandwidth or the store holds back is to wait on. Any thread. */
static int may_wait(struct uploader *uploader, int64_t now_ms, struct error *err)
{
    if (now_ms >= atomic_load(&uploader->give_up_at_ms))
        return error_set(err, ERROR_RETRY, "stopped while it was held back");
    /* Whoever is to open it anew may be this thread; until then events are refused. */
    if (spool_has_failed(uploader->options.spool))
        return error_set(err, ERROR_RETRY, "the spool is to be opened anew first");
    atomic_store(&uploader->paced_at_ms, now_ms);
    return OK;
}

/* A put to a store far away may take minutes: it shows that it moves on, and who stops need not
 * wait for its end. Any thread. */
struct moving {
    struct uploader *uploader;
    int64_t begun_ms;
};

static int move_on(void *context, size_t bytes, struct error *err)
{
    const struct moving *moving = context;
    struct uploader *uploader = moving->uploader;
    int64_t now_ms = clock_mono_ms(uploader->options.clock);
    if (bytes == 0)
        return may_wait(uploader, now_ms, err);
    atomic_store(&uploader->paced_at_ms, now_ms);
    if (now_ms - moving->begun_ms >= PATIENCE_MS && now_ms >= atomic_load(&uploader->give_up_at_ms))
        return error_set(err, ERROR_RETRY, "stopped before it was sent");
    return OK;
}

/* In steps, so that a stop need not wait for the whole of it. */
static int wait_for_bandwidth(void *context, size_t bytes, struct error *err)
{
    struct uploader *uploader = context;
    const struct clock *clock = uploader->options.clock;
    int64_t now_ms = clock_mono_ms(clock);
    take_bandwidth(uploader, true);
    int64_t until_ms = now_ms + pace_take(&uploader->pace, bytes, now_ms);
    int rc = bytes == 0 ? may_wait(uploader, now_ms, err) : OK;
    while (rc == OK && now_ms < until_ms && !take_bandwidth(uploader, true) &&
           (rc = may_wait(uploader, now_ms, err)) == OK) {
        clock_sleep_ms(clock, until_ms - now_ms < PACE_STEP_MS ? until_ms - now_ms : PACE_STEP_MS);
        now_ms = clock_mono_ms(clock);
    }
    return rc;
}

/* Puts one file; when its name stands for other bytes already, under the next one.
 * *renamed says that file->path was changed. */
static int put_file(struct uploader *uploader, const char *table, const char *local,
                    struct announcement *announcement, struct data_file *file, bool *renamed,
                    struct error *err)
{
    struct buf key = {0};
    int rc = ERROR_CONFLICT;
    take_bandwidth(uploader, false);
    for (int tries = 0; rc == ERROR_CONFLICT && tries < NAMES_TRIED_MAX; tries++) {
        struct moving moving = {uploader, clock_mono_ms(uploader->options.clock)};
        bool waits = uploader->pace.bytes_per_second > 0;
        struct objstore_body body = {.file = local,
                                     .file_size = file->size,
                                     .pace = waits ? wait_for_bandwidth : move_on,
                                     .pace_context = waits ? (void *)uploader : &moving,
                                     .pace_waits = waits,
                                     .pace_bytes_max = pace_piece(&uploader->pace)};
        buf_reset(&key);
        key_of_data_file(table, file->path, &key);
        rc = objstore_put(uploader->options.store, buf_cstr(&key), &body, file->crc32c,
                          PUT_IF_ABSENT, err);
        if (rc != ERROR_CONFLICT)
            break;
        bool same = false;
        bool taken = false;
        rc = same_object(uploader, buf_cstr(&key), file, &same, &taken, err);
        if (rc != OK || same)
            break;
        rc = error_set(err, ERROR_CONFLICT, "%s: no free name", buf_cstr(&key));
        if (!taken) /* it went since the put: the name is free */
            continue;
        struct buf next = {0};
        bool made = data_file_path_next(file->path, &next);
        ASSERT(made);
        note_taken_name(uploader, announcement->stream, file->path);
        file->path = arena_copy_cstr(&announcement->arena, buf_slice(&next));
        buf_free(&next);
        *renamed = true;
    }
    buf_free(&key);
    return rc;
}

static int local_path(struct uploader *uploader, const struct spool_segment *segment, size_t index,
                      struct buf *out)
{
    buf_reset(out);
    buf_printf(out, "%s/", spool_sealed_directory_borrow(uploader->options.spool));
    uploader_local_name(segment, index, out);
    return buf_failed(out) ? 1 : 0;
}

static void remove_local_files(struct uploader *uploader, const struct spool_segment *segment,
                               size_t count)
{
    struct buf path = {0};
    for (size_t i = 0; i < count; i++) {
        /* One that stays is dropped at the next start: it is a cache. */
        if (local_path(uploader, segment, i, &path) == 0)
            unlink(buf_cstr(&path));
    }
    buf_free(&path);
}

/* A cached file that is gone or cut (somebody cleaned up): build the segment again. */
static bool cache_is_whole(struct uploader *uploader, const struct spool_segment *segment,
                           const struct announcement *announcement)
{
    struct buf path = {0};
    bool whole = true;
    for (size_t i = 0; whole && i < announcement->file_count; i++) {
        struct stat info;
        whole = local_path(uploader, segment, i, &path) == 0 && stat(buf_cstr(&path), &info) == 0 &&
                info.st_size >= 0 && (uint64_t)info.st_size == announcement->files[i].size;
    }
    buf_free(&path);
    return whole;
}

static int put_files(struct uploader *uploader, const struct spool_segment *segment,
                     struct announcement *announcement, bool *renamed, struct error *err)
{
    struct buf path = {0};
    int rc = OK;
    for (size_t i = 0; rc == OK && i < announcement->file_count; i++) {
        struct data_file *file = &announcement->files[i];
        if (local_path(uploader, segment, i, &path) != 0)
            rc = error_set(err, ERROR_LIMIT, "path of a built file is too long");
        if (rc == OK)
            rc = put_file(uploader, announcement->table, buf_cstr(&path), announcement, file,
                          renamed, err);
        if (rc == OK) {
            uploader->statistics.files_put++;
            uploader->statistics.bytes_put += file->size;
            rc = fault_point("upload.file_put", err);
        }
    }
    buf_free(&path);
    return rc;
}

/* What the inbox has of the segment's `from` reaches further than the segment: a later state
 * of this very spool announced it, and then an older disk was put back. Only in a stream of
 * an older epoch can that be, and not in what a receipt asked to be built again. */
static int is_announced_further(struct uploader *uploader, const struct spool_segment *segment,
                                const char *key, bool *further, struct error *err)
{
    struct announcement there;
    struct objstore_info info = {0};
    struct buf bytes;
    struct error ignored; /* one that doesn't decode is nobody's work */
    struct slice epoch = stream_epoch(segment->stream);
    *further = false;
    if (segment->generation > 1 || epoch.data == NULL ||
        slice_is(epoch, spool_epoch_borrow(uploader->options.spool)))
        return OK;
    announcement_init(&there);
    buf_init(&bytes, ANNOUNCEMENT_BYTES_MAX);
    int rc = objstore_get(uploader->options.store, key, ANNOUNCEMENT_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && info.found && announcement_decode(&there, buf_slice(&bytes), &ignored) == OK)
        *further = strcmp(there.stream, segment->stream) == 0 && there.to > segment->to;
    announcement_free(&there);
    buf_free(&bytes);
    return rc == ERROR_LIMIT ? OK : rc;
}

/* The last one wins, but for one that an older disk would shorten: its rows may be nowhere
 * else any more. */
static int put_announcement(struct uploader *uploader, const struct spool_segment *segment,
                            const char *table, struct slice bytes, struct error *err)
{
    struct buf key = {0};
    bool further = false;
    key_of_announcement(table, segment->stream, segment->from, &key);
    int rc = is_announced_further(uploader, segment, buf_cstr(&key), &further, err);
    if (rc == OK && further) {
        log_event(LOG_LEVEL_ERROR, "uploader",
                  "ALARM: more is announced of this stream than this spool holds; that stays. Was "
                  "an older disk put back?",
                  "stream=%s from=%llu to=%llu", segment->stream, (unsigned long long)segment->from,
                  (unsigned long long)segment->to);
        uploader->statistics.alarms++;
    } else if (rc == OK) {
        rc = objstore_put_bytes(uploader->options.store, buf_cstr(&key), bytes, PUT_ALWAYS, err);
        if (rc == OK && uploader->probe_denied) {
            uploader->probe_denied = false;
            uploader->probe_at_ms =
                clock_mono_ms(uploader->options.clock) + uploader->options.retry_max_ms;
        }
    }
    buf_free(&key);
    return rc;
}

/* Before anything is put: a store that nobody has seen refuse to overwrite is asked. An agent
 * that has no right to put the probe goes on without, as it does from its start; but one that is
 * denied all (until its keys hold) asks again before the next segment. */
static int know_store(struct uploader *uploader, struct error *err)
{
    int64_t now_ms = clock_mono_ms(uploader->options.clock);
    if (uploader->probe_key == NULL || now_ms < uploader->probe_at_ms)
        return OK;
    int rc = objstore_probe(uploader->options.store, uploader->probe_key, err);
    uploader->probe_denied = rc == ERROR_DENIED;
    if (rc == ERROR_DENIED)
        return OK;
    if (rc != OK)
        return rc;
    free(uploader->probe_key);
    uploader->probe_key = NULL;
    log_event(LOG_LEVEL_INFO, "uploader", "the store answers and is fit for a warehouse", "url=%s",
              objstore_url_borrow(uploader->options.store));
    return OK;
}

/* What became of the segment goes to the register. It may have changed since it was listed
 * (its oldest events were dropped): then it is the roller's again, and what was put of it
 * is replaced by what it is now. */
static int register_segment(struct uploader *uploader, struct spool_segment *segment,
                            struct error *err)
{
    int rc = spool_update_segment(uploader->options.spool, segment, err);
    if (rc != ERROR_CONFLICT)
        return rc;
    segment->state = SEGMENT_SEALED;
    return OK;
}

static int back_to_sealed(struct uploader *uploader, struct spool_segment *segment,
                          struct error *err)
{
    segment->state = SEGMENT_SEALED;
    segment->payload = slice_of(NULL, 0);
    return register_segment(uploader, segment, err);
}

/* Files, names as they turned out to the register, announcement, register. The segment
 * lives in `arena`, and so does a payload that changed: it may be put again in this pass. */
static int upload_segment(struct uploader *uploader, struct spool_segment *segment,
                          struct arena *arena, struct error *err)
{
    struct announcement announcement;
    struct buf bytes = {0};
    bool renamed = false;
    int64_t begun_ns = clock_mono_ns();
    announcement_init(&announcement);
    int rc = announcement_decode(&announcement, segment->payload, err);
    if (rc != OK)
        goto out;
    if (!cache_is_whole(uploader, segment, &announcement)) {
        rc = back_to_sealed(uploader, segment, err);
        goto out;
    }
    rc = know_store(uploader, err);
    if (rc == OK)
        rc = put_files(uploader, segment, &announcement, &renamed, err);
    if (rc == ERROR_CORRUPT) {
        /* The cached file is not what the roller wrote: a disk's fault, but no loss. */
        log_event(LOG_LEVEL_ERROR, "uploader", "built file is damaged, building it again",
                  "stream=%s from=%llu error=\"%s\"", segment->stream,
                  (unsigned long long)segment->from, err->text);
        rc = back_to_sealed(uploader, segment, err);
        goto out;
    }
    if (rc != OK)
        goto out;
    if (renamed) {
        announcement_encode(&announcement, &bytes);
        segment->payload = arena_copy(arena, buf_slice(&bytes));
        rc = register_segment(uploader, segment, err);
        if (rc != OK || segment->state == SEGMENT_SEALED)
            goto out;
    }
    rc = fault_point("upload.before_announcement", err);
    if (rc == OK)
        rc = put_announcement(uploader, segment, announcement.table, segment->payload, err);
    if (rc == OK)
        rc = fault_point("upload.announced", err);
    if (rc != OK)
        goto out;
    uploader->statistics.announcements_put++;
    segment->state = SEGMENT_ANNOUNCED;
    segment->announced_at_ms = clock_wall_ms(uploader->options.clock);
    uploader->statistics.announced_at_ms = segment->announced_at_ms;
    histogram_observe(&uploader->statistics.spans, (clock_mono_ns() - begun_ns) / 1000);
    rc = register_segment(uploader, segment, err);
    if (rc == OK)
        remove_local_files(uploader, segment, announcement.file_count);
out:
    buf_free(&bytes);
    announcement_free(&announcement);
    /* Who logs it names the stream. */
    return rc == OK ? OK : error_wrap(err, "segment %llu", (unsigned long long)segment->from);
}

/* ---- receipts ---- */

static bool repeat_due(const struct uploader *uploader, const struct spool_segment *segment)
{
    /* The wall clock may have leapt either way since; then it is due. */
    int64_t age_ms = clock_wall_ms(uploader->options.clock) - segment->announced_at_ms;
    return age_ms >= uploader->options.announce_repeat_ms || age_ms < -60000;
}

/* The receipt asks for a segment's files once more. A receipt is a hint that may be old:
 * the first time is believed at once, later ones no more often than announcements
 * are repeated. That time is the stream's own: announced_at_ms begins anew at each
 * repeat, which would put the rebuild off for ever. */
static int send_back(struct uploader *uploader, struct watch *watch, uint64_t from,
                     int64_t receipt_ms, const char *reason, struct error *err)
{
    int64_t now_ms = clock_mono_ms(uploader->options.clock);
    struct arena arena = {0};
    const struct spool_segment *found = NULL;
    int rc = spool_find_segment(uploader->options.spool, watch->stream, from, &arena, &found, err);
    if (rc != OK || found == NULL || found->state != SEGMENT_ANNOUNCED)
        goto out;
    struct spool_segment segment = *found;
    if (segment.generation > 1 && now_ms < watch->rebuild_at_ms)
        goto out;
    /* What was let go can only be given up: not for a wish that was fulfilled already. */
    if (segment.records_gone && segment.generation > 1 && watch->receipt_ms == receipt_ms)
        goto out;
    watch->receipt_ms = receipt_ms;
    log_event(LOG_LEVEL_WARN, "uploader", "segment is built again",
              "stream=%s from=%llu to=%llu reason=\"%s\"", segment.stream,
              (unsigned long long)segment.from, (unsigned long long)segment.to, reason);
    segment.generation++;
    watch->rebuild_at_ms = now_ms + uploader->options.announce_repeat_ms;
    uploader->statistics.segments_rebuilt++;
    rc = back_to_sealed(uploader, &segment, err);
out:
    arena_free(&arena);
    return rc;
}

static int apply_receipt(struct uploader *uploader, struct watch *watch,
                         const struct spool_stream *stream, const struct receipt *receipt,
                         int64_t receipt_ms, struct error *err)
{
    int rc = OK;
    if (receipt->next > stream->next) {
        rc = spool_trim(uploader->options.spool, stream->name, receipt->next,
                        receipt->committed_at_ms, err);
        if (rc == ERROR_CORRUPT) {
            /* A sign of a copied spool or a foreign hand: keep all, tell a person. */
            if (!watch->alarmed)
                log_event(LOG_LEVEL_ERROR, "uploader",
                          "ALARM: receipt is beyond what was announced; nothing is trimmed",
                          "stream=%s next=%llu error=\"%s\"", stream->name,
                          (unsigned long long)receipt->next, err->text);
            uploader->statistics.alarms += !watch->alarmed;
            watch->alarmed = true;
            return OK;
        }
    }
    if (rc == OK && receipt->has_missing)
        rc =
            send_back(uploader, watch, receipt->missing_from, receipt_ms, "files are missing", err);
    if (rc == OK && receipt->has_refused) {
        contracts_forget(&uploader->contracts, table_of(stream->name));
        rc = send_back(uploader, watch, receipt->refused_from, receipt_ms, receipt->refused_reason,
                       err);
    }
    return rc;
}

static int read_receipt(struct uploader *uploader, struct watch *watch,
                        const struct spool_stream *stream, struct error *err)
{
    struct buf key = {0};
    struct buf bytes;
    struct objstore_info info = {0};
    struct receipt receipt;
    buf_init(&bytes, RECEIPT_BYTES_MAX);
    receipt_init(&receipt);
    key_of_receipt(stream->name, &key);
    int rc = objstore_get(uploader->options.store, buf_cstr(&key), RECEIPT_BYTES_MAX, &bytes, &info,
                          err);
    if (rc == OK && info.found)
        rc = receipt_decode(&receipt, buf_slice(&bytes), err);
    if (rc == OK && info.found && strcmp(receipt.stream, stream->name) != 0)
        rc = error_set(err, ERROR_INPUT, "receipt names the stream %s", receipt.stream);
    if (rc == OK && info.found)
        rc = apply_receipt(uploader, watch, stream, &receipt, info.modified_ms, err);
    receipt_free(&receipt);
    buf_free(&bytes);
    buf_free(&key);
    return rc == OK ? OK : error_wrap(err, "receipt of %s", stream->name);
}

/* ---- the step ---- */

/* The stream's oldest unanswered announcement once more. */
static int repeat_oldest(struct uploader *uploader, const char *stream, uint64_t begin,
                         struct error *err)
{
    struct arena arena = {0};
    const struct spool_segment *found = NULL;
    int rc = spool_find_segment(uploader->options.spool, stream, begin, &arena, &found, err);
    if (rc != OK || found == NULL || found->state != SEGMENT_ANNOUNCED ||
        !repeat_due(uploader, found))
        goto out;
    struct spool_segment segment = *found;
    rc = know_store(uploader, err);
    if (rc == OK)
        rc = put_announcement(uploader, &segment, table_of(stream), segment.payload, err);
    if (rc != OK)
        goto out;
    uploader->statistics.announcements_repeated++;
    segment.announced_at_ms = clock_wall_ms(uploader->options.clock);
    rc = register_segment(uploader, &segment, err);
out:
    arena_free(&arena);
    return rc;
}

static int upload_stream(struct uploader *uploader, const struct spool_stream *stream,
                         struct error *err)
{
    size_t count = UPLOADS_MAX;
    int rc = OK;
    while (rc == OK && count == UPLOADS_MAX) {
        struct arena arena = {0};
        struct spool_segment *segments = NULL;
        rc = spool_list_pending(uploader->options.spool, stream->name, UPLOADS_MAX, &arena,
                                &segments, &count, err);
        for (size_t i = 0; rc == OK && i < count; i++) {
            /* The rest of the step is not held up by the bandwidth of a segment before. */
            if (!pace_is_free(&uploader->pace, clock_mono_ms(uploader->options.clock)))
                count = 0;
            else if (segments[i].state == SEGMENT_BUILT)
                rc = upload_segment(uploader, &segments[i], &arena, err);
            /* Not built, or its cache was gone: in order, so wait for the roller. */
            if (segments[i].state != SEGMENT_ANNOUNCED)
                count = 0;
        }
        arena_free(&arena);
    }
    return rc == OK ? repeat_oldest(uploader, stream->name, stream->begin, err) : rc;
}

static void step_stream(struct uploader *uploader, const struct spool_stream *stream)
{
    struct error err;
    struct watch *watch = watch_of(uploader, stream->name);
    int64_t now_ms = clock_mono_ms(uploader->options.clock);
    watch->seen = true;
    if (now_ms < watch->retry_at_ms)
        return;
    if (stream->announced > stream->next && now_ms >= watch->receipt_at_ms) {
        watch->receipt_at_ms = now_ms + uploader->options.receipt_poll_ms;
        /* A receipt is only a hint: one that can't be read doesn't hold uploads up. */
        if (read_receipt(uploader, watch, stream, &err) != OK)
            watch->receipt_at_ms +=
                retry_failed(uploader, &watch->receipt, "receipt", stream->name, &err);
        else
            retry_worked(uploader, &watch->receipt, "receipt", stream->name);
    }
    if (atomic_load(&uploader->gave_up))
        return;
    if (upload_stream(uploader, stream, &err) != OK)
        watch->retry_at_ms = clock_mono_ms(uploader->options.clock) +
                             retry_failed(uploader, &watch->upload, "upload", stream->name, &err);
    else
        retry_worked(uploader, &watch->upload, "upload", stream->name);
}

int uploader_step(struct uploader *uploader, struct error *err)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    int rc = spool_list_streams(uploader->options.spool, &arena, &streams, err);
    /* Another one first each time, or one would have all of the bandwidth. */
    uploader->turn++;
    take_bandwidth(uploader, false);
    size_t i = 0;
    for (; rc == OK && i < streams.count && !atomic_load(&uploader->gave_up); i++)
        step_stream(uploader, &streams.streams[(uploader->turn + i) % streams.count]);
    if (rc == OK && i == streams.count)
        watches_sweep(uploader);
    arena_free(&arena);
    return rc;
}

int uploader_backlog(struct uploader *uploader, const struct spool_streams *streams,
                     struct uploader_backlog *out, struct error *err)
{
    *out = (struct uploader_backlog){0};
    memcpy(out->last_failure, uploader->last_failure.text, sizeof out->last_failure);
    for (const struct watch *watch = uploader->watches; watch != NULL; watch = watch->next)
        out->failing = out->failing || watch->upload.failures + watch->receipt.failures > 0;
    int rc = OK;
    for (size_t i = 0; rc == OK && i < streams->count; i++) {
        size_t count = 0;
        rc = spool_count_pending(uploader->options.spool, streams->streams[i].name, &count, err);
        out->unannounced += count;
    }
    return rc;
}
