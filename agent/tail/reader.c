/* SPDX-License-Identifier: Apache-2.0
 *
 * The window begins place_edge_len before the place, so that each look at a file also sees
 * whether what was taken still stands there, and the places' checksums need nothing else.
 *
 * Of a plain file it is read anew each time, so nothing is kept of a file between looks. A
 * compressed one is read through once, from its beginning up to the place that was sought.
 */
#include "agent/tail/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/tail/hole.h"
#include "agent/tail/offer.h"
#include "agent/tail/origin.h"
#include "agent/tail/tail.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    WINDOW = 1 << 20,
    ZSTD_WINDOW_LOG = 23, /* 8 MiB */
    ROTATED_MS = 5000,    /* then a last line without a line end is one */
    GONE_MS = 15000,      /* so long may somebody still write to a file without a name */
    COMPRESSED_MS = 2000, /* unchanged for so long it is whole */
    AGAIN_MS = 10000,
    TICK_MS = 1000,
};
#define NAMED_COPY (1U << 31)

/* ---- begin and end ---- */

static void seek_original(struct reader *reader, struct tail_file *original)
{
    reader_let_original_go(reader);
    reader->original = original;
    if (original == NULL)
        return;
    original->held = true;
    reader->sought = original->place;
}

static void close_input(struct reader *reader)
{
    input_close(reader->input);
    reader->input = NULL;
    reader->ended = false;
    reader->failed = false;
    reader->from = 0;
    reader->hole = 0;
    buf_reset(&reader->window);
}

void reader_drop(struct reader *reader)
{
    struct files *files = reader->shared->files;
    struct tail_file *file = reader->file;
    ASSERT(!reader->waiting);
    close_input(reader);
    reader_let_original_go(reader);
    reader->file = NULL;
    reader->retry_at_ms = 0;
    reader->unknown = false;
    files_set_busy(files, file, false);
    if (file->state == TAIL_COPY || (file->state == TAIL_FAULTY && file->gone_at_ms != 0))
        files_close_descriptor(files, file);
}

void reader_free(struct reader *reader)
{
    if (reader->file != NULL)
        reader_drop(reader);
    buf_free(&reader->window);
    reader->window = (struct buf){0};
}

void reader_begin(struct reader *reader, struct tail_file *file)
{
    ASSERT(reader->file == NULL && !file->busy);
    reader->file = file;
    reader->phase = PHASE_LOOK;
    reader->below = UINT64_MAX;
    reader->size = file->size;
    reader->retry_ms = RETRY_MIN_MS;
    files_set_busy(reader->shared->files, file, true);
    file->look_at_ms = 0;
}

/* ---- what a file is ---- */

static void hold_copy(struct reader *reader, struct tail_file *original)
{
    struct tail_file *file = reader->file;
    if ((file->named & NAMED_COPY) == 0)
        log_event(LOG_LEVEL_INFO, "tail", "a file is a copy, it waits for the other's end",
                  "file=\"%s\" of=\"%s\"", file->path,
                  original->path != NULL ? original->path : "one that is gone");
    file->named |= NAMED_COPY;
    files_set_state(reader->shared->files, file, TAIL_COPY, original);
    reader_drop(reader);
}

/* Its lines go on where the original's were taken up to. */
static void take_over(struct reader *reader, struct tail_file *original)
{
    struct tail_file *file = reader->file;
    log_event(LOG_LEVEL_INFO, "tail", "a file holds what was taken already, going on behind it",
              "file=\"%s\" offset=%llu line=%llu", file->path,
              (unsigned long long)(file->hole + original->place.offset),
              (unsigned long long)original->place.at.line);
    pthread_mutex_lock(&reader->shared->files->lock);
    file->place = original->place;
    file->place.ended = false;
    file->dirty = true;
    pthread_mutex_unlock(&reader->shared->files->lock);
    files_set_state(reader->shared->files, file, TAIL_READ, NULL);
    /* What somebody else still has to do with it stays. */
    bool superseded = !tail_file_is_live(original) && !original->queued && original->fd < 0;
    seek_original(reader, superseded ? original : NULL);
}

/* JSON text has no control characters but these. */
static bool is_binary(struct slice head)
{
    for (size_t i = 0; i < head.len && i < PLACE_EDGE; i++) {
        uint8_t c = head.data[i];
        if (c < 0x20 && c != '\t' && c != '\n' && c != '\r')
            return true;
    }
    return false;
}

/* Somebody takes the first lines of such a text just now: only then can it be told. */
static bool is_being_taken(const struct reader *reader, struct slice head)
{
    const struct reader_shared *shared = reader->shared;
    for (size_t i = 0; i < shared->reader_count; i++) {
        const struct reader *other = &shared->readers[i];
        if (other == reader || other->file == NULL || other->from != 0)
            continue;
        size_t len = other->window.len < head.len ? other->window.len : head.len;
        if (len > 0 && memcmp(other->window.data, head.data, len) == 0)
            return true;
    }
    return false;
}

static bool is_odd(struct reader *reader, struct slice head, int64_t now_ms)
{
    if (is_binary(head)) {
        reader->file->look_at_ms = 0;
        files_fault(reader->shared->files, reader->file, FILE_BINARY,
                    "there are control characters in its first KiB");
    } else if (is_being_taken(reader, head)) {
        reader->file->look_at_ms = now_ms;
    } else {
        return false;
    }
    reader_drop(reader);
    return true;
}

/* ---- plain files ---- */

static void note_unreadable(struct reader *reader, int64_t now_ms)
{
    files_fault(reader->shared->files, reader->file, FILE_UNREADABLE, strerror(errno));
    reader->file->look_at_ms = now_ms + AGAIN_MS;
}

/* Of its text: the number of bytes, as many as there are; -1 and a fault when it does not
 * read. */
static ssize_t read_at(struct reader *reader, uint8_t *to, size_t len, uint64_t offset,
                       int64_t now_ms)
{
    uint64_t hole = reader->file->hole;
    size_t have = 0;
    while (have < len) {
        ssize_t got = pread(reader->file->fd, to + have, len - have, (off_t)(hole + offset + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            note_unreadable(reader, now_ms);
            return -1;
        }
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

/* False: it does not read. */
static bool look_at_edge(struct reader *reader, const struct tail_place *place, int64_t now_ms,
                         bool *stands)
{
    uint8_t edge[PLACE_EDGE];
    size_t len = place_edge_len(place);
    ssize_t got = read_at(reader, edge, len, place->offset - len, now_ms);
    *stands = got >= 0 && place_edge_is(place, slice_of(edge, (size_t)got));
    return got >= 0;
}

/* Of a text that is begun now; a copy's was said of the original. */
static void note_hole(struct reader *reader, uint64_t hole)
{
    if (hole > 0 && reader->file->state != TAIL_READ)
        files_fault(reader->shared->files, reader->file, FILE_HOLE,
                    "a file begins with NULs, they are skipped; was it truncated while its "
                    "writer did not append?");
}

/* True: its lines can be taken. False: the reader has let it go. */
static bool identify_new(struct reader *reader, struct slice head, int64_t now_ms)
{
    struct files *files = reader->shared->files;
    struct tail_file *file = reader->file;
    struct tail_file *original = NULL;
    if (is_odd(reader, head, now_ms))
        return false;
    switch (origin_of_plain(files, file, head, now_ms, &original)) {
    case ORIGIN_NONE:
        note_hole(reader, file->hole);
        files_set_state(files, file, TAIL_READ, NULL);
        return true;
    case ORIGIN_BEHIND:
        take_over(reader, original);
        return true;
    case ORIGIN_COPY:
        hold_copy(reader, original);
        return false;
    case ORIGIN_FAULTY:
        note_unreadable(reader, now_ms);
        break;
    case ORIGIN_WAIT:
        files_set_state(files, file, TAIL_FRESH, NULL);
        break;
    }
    reader_drop(reader);
    return false;
}

/* Whether it is the file that its place was taken in; else it is a new one. */
static bool identify_plain(struct reader *reader, struct slice head, int64_t now_ms)
{
    struct files *files = reader->shared->files;
    struct tail_file *file = reader->file;
    struct place_head sums = {0};
    uint64_t size = tail_file_text_size(file);
    bool stands = false;
    files_set_compressed(files, file, false);
    if (file->place.offset > 0) {
        place_head_add(&sums, head);
        if (size >= file->place.offset && place_compare(&file->place, &sums, size) == PLACE_ALIKE &&
            !look_at_edge(reader, &file->place, now_ms, &stands)) {
            reader_drop(reader);
            return false;
        }
        if (stands) {
            files_set_state(files, file, TAIL_READ, NULL);
            return true;
        }
        uint64_t hole = file->hole;
        files_replace(files, file, size < file->place.offset ? FILE_TRUNCATED : FILE_REPLACED);
        files_set_hole(files, file, hole);
    }
    return identify_new(reader, head, now_ms);
}

/* False: there is none, or it is not where it was. */
static bool read_window(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    size_t edge = place_edge_len(&file->place);
    uint64_t left = tail_file_text_size(file) - file->place.offset;
    size_t max = WINDOW;
    for (;;) {
        size_t want = left < max ? (size_t)left : max;
        buf_reset(&reader->window);
        reader->from = file->place.offset - edge;
        bool room = buf_reserve(&reader->window, edge + want);
        ASSERT(room);
        ssize_t got = read_at(reader, reader->window.data, edge + want, reader->from, now_ms);
        if (got < 0)
            return false;
        reader->window.len = (size_t)got;
        struct slice stood = slice_of(reader->window.data, (size_t)got < edge ? (size_t)got : edge);
        if (!place_edge_is(&file->place, stood)) {
            files_replace(reader->shared->files, file,
                          (size_t)got < edge ? FILE_TRUNCATED : FILE_REPLACED);
            return false;
        }
        reader->ended = (uint64_t)got - edge == left;
        if (reader->ended || reader_has_lines(reader, false) ||
            max >= reader->shared->line_bytes_max)
            return true;
        max = reader->shared->line_bytes_max;
    }
}

/* What is to come of a file that has nothing more for now. */
static void leave_plain(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    bool rest = tail_file_text_size(file) > file->place.offset;
    bool gone = file->gone_at_ms != 0;
    int64_t quiet_ms =
        gone && file->gone_at_ms > file->changed_at_ms ? file->gone_at_ms : file->changed_at_ms;
    reader_drop(reader);
    /* A clock's tick is some milliseconds: a change behind this look may bear the same time. */
    if (clock_wall_ms(reader->shared->files->clock) - file->ctime_ns / 1000000 < TICK_MS)
        file->look_at_ms = now_ms + TICK_MS;
    if (rest && tail_file_is_rotated(file) && now_ms - quiet_ms < ROTATED_MS)
        file->look_at_ms = quiet_ms + ROTATED_MS;
    else if (gone && now_ms - quiet_ms < GONE_MS)
        file->look_at_ms = quiet_ms + GONE_MS;
    else if (gone)
        files_close_descriptor(reader->shared->files, file);
}

static void take_plain(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    if (!read_window(reader, now_ms)) {
        reader_drop(reader);
        if (file->state == TAIL_FRESH)
            files_queue(reader->shared->files, file);
        return;
    }
    int64_t quiet_ms =
        file->gone_at_ms > file->changed_at_ms ? file->gone_at_ms : file->changed_at_ms;
    reader->last = reader->ended && tail_file_is_rotated(file) && now_ms - quiet_ms >= ROTATED_MS;
    if (reader_has_lines(reader, reader->last) || file->dirty)
        reader_offer(reader, now_ms);
    else
        leave_plain(reader, now_ms);
}

/* ---- compressed files ---- */

/* One more piece of the plain text. */
static void read_on(struct reader *reader)
{
    size_t n = 0;
    bool room = buf_reserve(&reader->window, WINDOW);
    ASSERT(room);
    int rc = input_read(reader->input, reader->window.data + reader->window.len, WINDOW, &n,
                        &reader->failure);
    reader->window.len += n;
    reader->ended = rc == OK && n == 0;
    reader->failed = rc != OK;
}

/* The text begins behind the NULs of a copy of a file with a hole. */
static void read_head(struct reader *reader)
{
    struct buf *window = &reader->window;
    read_on(reader);
    size_t nuls = hole_run(buf_slice(window));
    window->len -= nuls;
    memmove(window->data, window->data + nuls, window->len);
    reader->hole += nuls;
}

static void begin_compressed(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    close_input(reader);
    int fd = dup(file->fd);
    if (fd < 0 || lseek(fd, 0, SEEK_SET) < 0) {
        note_unreadable(reader, now_ms);
        if (fd >= 0)
            close(fd);
        reader_drop(reader);
        return;
    }
    input_open_descriptor(&reader->input, fd, file->path, 0, ZSTD_WINDOW_LOG);
    reader->phase = PHASE_HEAD;
}

static void fail_damaged(struct reader *reader)
{
    struct tail_file *file = reader->file;
    files_fault(reader->shared->files, file, FILE_DAMAGED, reader->failure.text);
    reader_drop(reader);
    files_close_descriptor(reader->shared->files, file);
    files_wake_copies(reader->shared->files, file);
}

/* Its content is another one than before: from the beginning, as a new file. */
static void begin_anew(struct reader *reader, enum source_file_fault why, int64_t now_ms)
{
    files_replace(reader->shared->files, reader->file, why);
    files_set_compressed(reader->shared->files, reader->file, true);
    begin_compressed(reader, now_ms);
}

/* Another copy goes on behind it just now. */
static bool is_held(struct reader *reader, const struct tail_file *original, int64_t now_ms)
{
    if (original == NULL || !original->held)
        return false;
    reader->file->look_at_ms = now_ms;
    reader_drop(reader);
    return true;
}

/* The beginning is read: whose is it? */
static void identify_compressed(struct reader *reader, int64_t now_ms)
{
    struct files *files = reader->shared->files;
    struct tail_file *file = reader->file;
    struct slice head = buf_slice(&reader->window);
    uint64_t text_len = reader->ended ? reader->window.len : UINT64_MAX;
    bool shorter = false;
    reader->phase = PHASE_SEEK;
    reader->head = (struct place_head){0};
    place_head_add(&reader->head, head);
    if (file->place.offset > 0) {
        if (place_compare(&file->place, &reader->head, text_len) != PLACE_ALIKE) {
            begin_anew(reader, FILE_REPLACED, now_ms);
        } else if (file->place.ended && file->place.file_size == file->size) {
            files_set_state(files, file, TAIL_FINISHED, NULL);
            reader_drop(reader);
            files_close_descriptor(files, file);
        }
        return;
    }
    head.len = head.len < PLACE_HEAD ? head.len : PLACE_HEAD;
    if (is_odd(reader, head, now_ms))
        return;
    struct tail_file *original =
        origin_find(files, file, &reader->head, text_len, reader->below, &shorter);
    if (is_held(reader, original, now_ms))
        return;
    seek_original(reader, original);
    if (original != NULL)
        return;
    note_hole(reader, reader->hole);
    files_set_state(files, file, TAIL_READ, NULL);
    reader->phase = PHASE_LINES;
}

/* The text is another than the one that was sought: maybe one that was not taken as far. */
static void seek_next(struct reader *reader, int64_t now_ms)
{
    reader->below = reader->sought.offset; /* also of one that is let go */
    seek_original(reader, NULL);
    begin_compressed(reader, now_ms);
}

static void go_on_behind(struct reader *reader)
{
    take_over(reader, reader->original);
    reader_drop_taken(reader);
    reader->phase = PHASE_LINES;
}

/* What `text` at `from` says of it while the original is still read itself. */
static void judge_copy(struct reader *reader, struct slice text, uint64_t from, int64_t now_ms)
{
    struct tail_file *original = reader->original;
    enum origin_sameness same = SAMENESS_YES;
    if (tail_file_gives(original))
        same = origin_compare(reader->shared->files, original, text, from);
    /* One that lost its name may have been replaced by what goes on behind it. */
    bool holds = from == reader->sought.offset;
    if (same == SAMENESS_NO && holds && original->gone_at_ms == 0 && origin_is_whole(original)) {
        go_on_behind(reader);
        return;
    }
    if (same == SAMENESS_NO && (original->gone_at_ms == 0 || !holds)) {
        seek_next(reader, now_ms);
        return;
    }
    reader->file->look_at_ms = same == SAMENESS_YES ? 0 : now_ms + AGAIN_MS;
    hold_copy(reader, original);
}

/* The window holds the sought place's offset, or the text ends before it. */
static void judge_original(struct reader *reader, struct slice edge, int64_t now_ms)
{
    const struct reader_shared *shared = reader->shared;
    struct tail_file *file = reader->file;
    uint64_t offset = reader->sought.offset;
    if (!place_edge_is(&reader->sought, edge)) {
        struct tail_file *other = origin_find_at(shared->files, file, &reader->head, offset, edge);
        if (is_held(reader, other, now_ms))
            return;
        seek_original(reader, other);
    }
    size_t at = (size_t)(offset - reader->from);
    if (reader->original == NULL) {
        seek_next(reader, now_ms);
    } else if (tail_file_gives(reader->original)) {
        judge_copy(reader, slice_of(reader->window.data + at, reader->window.len - at), offset,
                   now_ms);
    } else {
        go_on_behind(reader);
    }
}

/* Its own place. */
static void judge_place(struct reader *reader, struct slice edge, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    if (!place_edge_is(&file->place, edge)) {
        begin_anew(reader, edge.len == 0 ? FILE_TRUNCATED : FILE_REPLACED, now_ms);
        return;
    }
    files_set_state(reader->shared->files, file, TAIL_READ, NULL);
    reader_drop_taken(reader);
    reader->phase = PHASE_LINES;
}

static void seek(struct reader *reader, int64_t now_ms)
{
    bool original = reader->original != NULL;
    const struct tail_place *place = original ? &reader->sought : &reader->file->place;
    uint64_t end = reader->from + reader->window.len;
    uint64_t wanted = place->offset + (original ? PLACE_HEAD : 0);
    size_t edge = place_edge_len(place);
    if (end < wanted && !reader->ended && !reader->failed) {
        /* Kept is what an edge may begin with. */
        uint64_t from = end < place->offset ? end : place->offset;
        from = from > reader->from + PLACE_EDGE ? from - PLACE_EDGE : reader->from;
        size_t gone = (size_t)(from - reader->from);
        reader->window.len -= gone;
        memmove(reader->window.data, reader->window.data + gone, reader->window.len);
        reader->from = from;
        read_on(reader);
    } else if (end < place->offset && reader->failed) {
        fail_damaged(reader);
    } else if (end < place->offset && original) {
        judge_copy(reader, buf_slice(&reader->window), reader->from, now_ms);
    } else {
        bool there = end >= place->offset;
        const uint8_t *at = reader->window.data + (there ? place->offset - edge - reader->from : 0);
        struct slice stood = slice_of(at, there ? edge : 0);
        if (original)
            judge_original(reader, stood, now_ms);
        else
            judge_place(reader, stood, now_ms);
    }
}

static void take_compressed(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    size_t len = reader_lines(reader).len;
    bool any = reader_has_lines(reader, reader->ended);
    reader->last = reader->ended;
    if (!reader->ended && !reader->failed && (len < WINDOW || !any))
        read_on(reader);
    else if (any || reader->ended || file->dirty)
        reader_offer(reader, now_ms);
    else
        fail_damaged(reader);
}

/* ---- a step ---- */

/* gzip or zstd by its first bytes; *sure false when there are too few of them. */
static bool is_compressed(struct slice head, bool *sure)
{
    static const uint8_t gzip[] = {0x1f, 0x8b};
    static const uint8_t zstd[] = {0x28, 0xb5, 0x2f, 0xfd};
    *sure = head.len >= sizeof zstd || (memcmp(head.data, gzip, head.len < 2 ? head.len : 2) != 0 &&
                                        memcmp(head.data, zstd, head.len) != 0);
    return head.len >= sizeof zstd &&
           (memcmp(head.data, gzip, sizeof gzip) == 0 || memcmp(head.data, zstd, sizeof zstd) == 0);
}

static void look_at_compressed(struct reader *reader, bool known, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    if (!known) { /* to the one reader that does these */
        files_set_compressed(reader->shared->files, file, true);
        reader_drop(reader);
        files_queue(reader->shared->files, file);
    } else if (file->state == TAIL_FINISHED && file->place.file_size == file->size) {
        reader_drop(reader);
        files_close_descriptor(reader->shared->files, file);
    } else if (now_ms - file->changed_at_ms < COMPRESSED_MS) {
        file->look_at_ms = file->changed_at_ms + COMPRESSED_MS;
        reader_drop(reader);
    } else {
        begin_compressed(reader, now_ms);
    }
}

/* Nothing is left of what was taken, if anything was. */
static void leave_without_text(struct reader *reader, ssize_t got, int64_t now_ms)
{
    if (got == 0 && reader->file->place.offset > 0)
        files_replace(reader->shared->files, reader->file, FILE_TRUNCATED);
    leave_plain(reader, now_ms);
}

/* What ends in NULs too is only being copied, or not written yet: it is not read again and
 * again meanwhile. */
static void begin_hole(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    uint8_t end[PLACE_EDGE];
    size_t len = file->size < sizeof end ? (size_t)file->size : sizeof end;
    ssize_t got = read_at(reader, end, len, file->size - len, now_ms);
    if (got > 0 && hole_run(slice_of(end, (size_t)got)) == (size_t)got &&
        now_ms - file->changed_at_ms < COMPRESSED_MS) {
        file->look_at_ms = file->changed_at_ms + COMPRESSED_MS;
        reader_drop(reader);
        return;
    }
    close_input(reader);
    reader->phase = PHASE_HOLE;
}

/* The hole's end was found at `hole`. What was truncated or written anew since it was begun is
 * looked at again. */
static void take_behind_hole(struct reader *reader, uint64_t hole, int64_t now_ms)
{
    struct files *files = reader->shared->files;
    struct tail_file *file = reader->file;
    uint8_t bytes[PLACE_HEAD];
    uint8_t ends[2] = {1, 1};
    if (!files_ready(files, file, now_ms) || read_at(reader, &ends[0], 1, 0, now_ms) < 0 ||
        (hole > 0 && read_at(reader, &ends[1], 1, hole - 1, now_ms) < 0)) {
        reader_drop(reader);
        return;
    }
    reader->size = file->size;
    files_set_hole(files, file, hole);
    ssize_t got = read_at(reader, bytes, sizeof bytes, 0, now_ms);
    if (got < 0) {
        reader_drop(reader);
    } else if (got == 0 || ends[0] != 0 || ends[1] != 0 || bytes[0] == 0) {
        files_set_hole(files, file, 0);
        file->look_at_ms = now_ms + TICK_MS; /* not at once: it may go on so */
        reader_drop(reader);
    } else if (identify_plain(reader, slice_of(bytes, (size_t)got), now_ms)) {
        take_plain(reader, now_ms);
    }
}

static void skip_hole(struct reader *reader, int64_t now_ms)
{
    bool room = buf_reserve(&reader->window, WINDOW);
    ASSERT(room);
    switch (hole_step(reader->file->fd, &reader->hole, reader->window.data, WINDOW)) {
    case HOLE_GOES_ON:
        break;
    case HOLE_ENDS:
        take_behind_hole(reader, reader->hole, now_ms);
        break;
    case HOLE_OPEN:
        leave_without_text(reader, 0, now_ms);
        break;
    case HOLE_FAULTY:
        note_unreadable(reader, now_ms);
        reader_drop(reader);
        break;
    }
}

static void look(struct reader *reader, int64_t now_ms)
{
    struct tail_file *file = reader->file;
    uint8_t bytes[PLACE_HEAD];
    bool sure = true;
    if (!files_ready(reader->shared->files, file, now_ms)) {
        reader_drop(reader);
        return;
    }
    reader->size = file->size;
    if (file->state == TAIL_READ && !file->compressed && file->place.offset > 0 &&
        tail_file_text_size(file) >= file->place.offset) {
        take_plain(reader, now_ms);
        return;
    }
    files_set_hole(reader->shared->files, file, 0);
    ssize_t got = read_at(reader, bytes, sizeof bytes, 0, now_ms);
    if (got <= 0) {
        leave_without_text(reader, got, now_ms);
        return;
    }
    struct slice head = slice_of(bytes, (size_t)got);
    bool known = file->compressed;
    if (bytes[0] == 0)
        begin_hole(reader, now_ms);
    else if (is_compressed(head, &sure))
        look_at_compressed(reader, known, now_ms);
    else if (!sure)
        leave_plain(reader, now_ms);
    else if (identify_plain(reader, head, now_ms))
        take_plain(reader, now_ms);
}

void reader_step(struct reader *reader, int64_t now_ms)
{
    if (reader->retry_at_ms != 0) {
        reader_offer_again(reader, now_ms);
        return;
    }
    switch (reader->phase) {
    case PHASE_LOOK:
        look(reader, now_ms);
        break;
    case PHASE_HOLE:
        skip_hole(reader, now_ms);
        break;
    case PHASE_HEAD:
        if (reader->window.len < PLACE_HEAD && !reader->ended && !reader->failed)
            read_head(reader);
        else if (reader->window.len == 0 && reader->failed)
            fail_damaged(reader);
        else
            identify_compressed(reader, now_ms);
        break;
    case PHASE_SEEK:
        seek(reader, now_ms);
        break;
    case PHASE_LINES:
        take_compressed(reader, now_ms);
        break;
    }
}
