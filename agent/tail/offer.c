/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tail/offer.h"

#include <string.h>
#include <sys/stat.h>

#include "agent/tail/tail.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"

void reader_let_original_go(struct reader *reader)
{
    if (reader->original != NULL)
        reader->original->held = false;
    reader->original = NULL;
}

struct slice reader_lines(const struct reader *reader)
{
    size_t edge = place_edge_len(&reader->file->place);
    return slice_of(reader->window.data + edge, reader->window.len - edge);
}

bool reader_has_lines(const struct reader *reader, bool last)
{
    struct line_sink sink = {.line_bytes_max = reader->shared->line_bytes_max,
                             .place = reader->file->place.at};
    return lines_any(&sink, reader_lines(reader), last);
}

static void make_checkpoints(struct reader *reader)
{
    struct files *files = reader->shared->files;
    size_t len = tail_file_key(files, reader->file, reader->keys[0]);
    place_encode(&reader->next, reader->value);
    reader->checkpoints[0] =
        (struct spool_checkpoint){.key = slice_of(reader->keys[0], len),
                                  .value = slice_of(reader->value, sizeof reader->value)};
    reader->ticket.checkpoint_count = 1;
    reader->ticket.checkpoints = reader->checkpoints;
    if (reader->original == NULL || !reader->original->stored)
        return;
    len = tail_file_key(files, reader->original, reader->keys[1]);
    reader->checkpoints[1] = (struct spool_checkpoint){.key = slice_of(reader->keys[1], len)};
    reader->ticket.checkpoint_count = 2;
}

static void refuse(struct reader *reader, int64_t now_ms)
{
    reader->retry_at_ms = now_ms + reader->retry_ms;
    reader->retry_ms = reader->retry_ms * 2 < RETRY_MAX_MS ? reader->retry_ms * 2 : RETRY_MAX_MS;
}

/* What was the last line when it was refused may have been written on since. */
static bool is_last_still(const struct reader *reader)
{
    struct stat info;
    return reader->file->compressed ||
           (fstat(reader->file->fd, &info) == 0 && (uint64_t)info.st_size == reader->size);
}

void reader_offer(struct reader *reader, int64_t now_ms)
{
    struct reader_shared *shared = reader->shared;
    struct tail_file *file = reader->file;
    struct error err;
    struct line_sink sink = {.intake = shared->intake,
                             .source = file->path,
                             .host = shared->host,
                             .line_bytes_max = shared->line_bytes_max,
                             .place = file->place.at};
    reader->ticket.done = shared->done;
    reader->retry_at_ms = 0;
    reader->ticket.checkpoint_count = 0;
    if (intake_begin(shared->intake, shared->table, &reader->ticket, &err) != OK) {
        refuse(reader, now_ms);
        return;
    }
    size_t taken = lines_take(&sink, reader_lines(reader), reader->last);
    reader->next = file->place;
    place_advance(&reader->next, buf_slice(&reader->window), taken);
    reader->next.at = sink.place;
    reader->next.file_size = reader->size;
    reader->next.ended = file->compressed && reader->ended && taken == reader_lines(reader).len;
    reader->next.stored_at_ms = clock_wall_ms(shared->files->clock);
    make_checkpoints(reader);
    reader->answered = false;
    reader->waiting = true;
    atomic_fetch_add(&shared->requests, 1);
    atomic_fetch_add(&shared->bytes, taken);
    bool waits = intake_end(shared->intake);
    ASSERT(waits); /* for the place at least */
}

void reader_drop_taken(struct reader *reader)
{
    struct buf *window = &reader->window;
    uint64_t from = reader->file->place.offset - place_edge_len(&reader->file->place);
    size_t gone = (size_t)(from - reader->from);
    window->len -= gone;
    memmove(window->data, window->data + gone, window->len);
    reader->from = from;
}

static void settle(struct reader *reader)
{
    struct files *files = reader->shared->files;
    struct tail_file *file = reader->file;
    reader->retry_ms = RETRY_MIN_MS;
    struct tail_file *original = reader->original;
    reader_let_original_go(reader);
    if (original != NULL && tail_file_is_live(original)) { /* it came back meanwhile */
        original->stored = false;
        original->dirty = true;
        files_queue(files, original);
        original = NULL;
    }
    files_settle(files, file, &reader->next, original);
    if (!file->compressed) {
        reader_drop(reader);
        files_queue(files, file);
        return;
    }
    reader_drop_taken(reader);
    if (!file->place.ended)
        return;
    files_set_state(files, file, TAIL_FINISHED, NULL);
    reader_drop(reader);
    files_close_descriptor(files, file);
    files_wake_copies(files, file);
}

void reader_answered(struct reader *reader, int64_t now_ms)
{
    reader->waiting = false;
    reader->unknown = reader->rc == ERROR_IO;
    if (reader->rc == OK)
        settle(reader);
    else
        refuse(reader, now_ms);
}

/* What the spool says of the place that may be durable decides: behind it, or once more. */
static void ask_spool(struct reader *reader, int64_t now_ms)
{
    struct error err;
    bool stored = false;
    if (capture_has_stored(reader->shared->capture, &reader->checkpoints[0], &stored, &err) != OK) {
        refuse(reader, now_ms);
        return;
    }
    log_event(LOG_LEVEL_WARN, "tail",
              stored ? "a write that failed was kept, going on behind it"
                     : "a write that failed was not kept, its lines are handed in again",
              "file=\"%s\" offset=%llu", reader->file->path,
              (unsigned long long)reader->file->place.offset);
    reader->unknown = false;
    reader->retry_at_ms = 0;
    if (stored)
        settle(reader);
    else
        reader_offer(reader, now_ms);
}

void reader_offer_again(struct reader *reader, int64_t now_ms)
{
    if (reader->unknown) {
        ask_spool(reader, now_ms);
    } else if (reader->last && !is_last_still(reader)) {
        struct tail_file *file = reader->file;
        reader_drop(reader);
        files_queue(reader->shared->files, file);
    } else {
        reader_offer(reader, now_ms);
    }
}
