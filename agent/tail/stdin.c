/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard input: one thread that reads, hands in what is whole, waits until that is
 * durable, and only then reads on; so a full spool or a slow disk slows the writer of the
 * pipe down. Between events it sleeps in poll without a timeout.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "agent/input/input.h"
#include "agent/tail/tail.h"
#include "lib/base/assert.h"
#include "lib/base/buf.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum {
    READ_BYTES = 256 << 10,
    BUFFER_KEPT = 1 << 20,
    RETRY_MIN_MS = 50,
    RETRY_MAX_MS = 1000,
};
#define NAME "standard input"

enum { NUMBER_SIZE = 16 };

struct event_source {
    struct ticket ticket; /* first */
    struct source_options options;
    struct line_sink sink;
    size_t table;
    struct input *input;
    struct buf text; /* read and not durable yet */
    bool input_ended;
    struct spool_checkpoint checkpoint; /* key and value are the next two */
    char key[400];
    uint8_t number[NUMBER_SIZE]; /* of this life and its request, u64 each, little endian */
    bool unknown;                /* the request may be durable: its write failed */
    size_t unknown_taken;
    struct line_place unknown_place;
    int wake_fd;
    pthread_mutex_t lock; /* held while an answer is given: what it wakes ends after it */
    pthread_t thread;
    bool running;
    atomic_bool answered; /* the ticket came back */
    atomic_int answer_rc;
    atomic_bool closing; /* or paused: read no more */
    atomic_bool ended;
    _Atomic size_t line_bytes_max; /* a reload sets it */
    _Atomic uint64_t requests;
    _Atomic uint64_t bytes;
};

static void wake(struct event_source *source)
{
    uint64_t one = 1;
    /* It fails only when the counter is full, and then the thread is awake. */
    if (write(source->wake_fd, &one, sizeof one) < 0)
        return;
}

static void on_durable(struct ticket *ticket, int rc, const struct error *err)
{
    struct event_source *source = (struct event_source *)ticket;
    (void)err; /* the capture logs it once for all */
    pthread_mutex_lock(&source->lock);
    atomic_store(&source->answer_rc, rc);
    atomic_store(&source->answered, true);
    wake(source);
    pthread_mutex_unlock(&source->lock);
}

/* Until woken, or, with `input`, until there is something to read. */
static void wait_for(struct event_source *source, bool input, int ms)
{
    struct pollfd fds[] = {{.fd = source->wake_fd, .events = POLLIN},
                           {.fd = STDIN_FILENO, .events = POLLIN}};
    uint64_t count = 0;
    if (poll(fds, input ? 2 : 1, ms) > 0 && (fds[0].revents & POLLIN) != 0 &&
        read(source->wake_fd, &count, sizeof count) < 0)
        ASSERT(errno == EAGAIN || errno == EINTR);
}

/* ---- handing in ---- */

/* After a write that failed: its number, in the spool, says that it was kept. False: that can't be
 * told yet. *taken 0: it was not, it is to be handed in again. */
static bool ask_spool(struct event_source *source, size_t *taken)
{
    struct error err;
    bool stored = false;
    if (capture_has_stored(source->options.capture, &source->checkpoint, &stored, &err) != OK)
        return false;
    log_event(LOG_LEVEL_WARN, "stdin",
              stored ? "a write that failed was kept, going on behind it"
                     : "a write that failed was not kept, its lines are handed in again",
              "line=%llu", (unsigned long long)source->sink.place.line);
    source->unknown = false;
    *taken = stored ? source->unknown_taken : 0;
    if (stored)
        source->sink.place = source->unknown_place;
    return true;
}

/* True: it is durable, and *taken of the text can go. */
static bool offer(struct event_source *source, size_t *taken)
{
    struct line_sink *sink = &source->sink;
    struct line_place before = sink->place;
    struct error err;
    source->ticket.done = on_durable;
    source->ticket.checkpoints = &source->checkpoint;
    source->ticket.checkpoint_count = 1;
    atomic_store(&source->answered, false);
    if (intake_begin(sink->intake, source->table, &source->ticket, &err) != OK)
        return false;
    *taken = lines_take(sink, buf_slice(&source->text), source->input_ended);
    put_u64le(source->number + 8, atomic_fetch_add(&source->requests, 1));
    bool waits = intake_end(sink->intake);
    ASSERT(waits); /* for the number at least */
    while (!atomic_load(&source->answered))
        wait_for(source, false, -1);
    pthread_mutex_lock(&source->lock); /* until on_durable is done with the source */
    pthread_mutex_unlock(&source->lock);
    if (atomic_load(&source->answer_rc) == OK)
        return true;
    source->unknown = atomic_load(&source->answer_rc) == ERROR_IO;
    source->unknown_taken = *taken;
    source->unknown_place = sink->place;
    sink->place = before;
    return false;
}

static void drop_front(struct buf *text, size_t bytes)
{
    text->len -= bytes;
    memmove(text->data, text->data + bytes, text->len);
    if (text->len == 0 && text->cap > BUFFER_KEPT) {
        buf_free(text);
        *text = (struct buf){0};
    }
}

/* What was refused for want of room is handed in again, ever more seldom. */
static void take_lines(struct event_source *source)
{
    int wait_ms = RETRY_MIN_MS;
    source->sink.line_bytes_max = atomic_load(&source->line_bytes_max);
    while (lines_any(&source->sink, buf_slice(&source->text), source->input_ended)) {
        size_t taken = 0;
        if (source->unknown ? ask_spool(source, &taken) : offer(source, &taken)) {
            drop_front(&source->text, taken);
            wait_ms = RETRY_MIN_MS;
        } else if (atomic_load(&source->closing)) {
            return;
        } else {
            wait_for(source, false, wait_ms);
            wait_ms = wait_ms * 2 < RETRY_MAX_MS ? wait_ms * 2 : RETRY_MAX_MS;
        }
    }
}

/* ---- reading ---- */

static void read_some(struct event_source *source)
{
    struct error err;
    size_t n = 0;
    bool room = buf_reserve(&source->text, READ_BYTES);
    ASSERT(room);
    int rc = input_read(source->input, source->text.data + source->text.len, READ_BYTES, &n, &err);
    source->text.len += n;
    atomic_fetch_add(&source->bytes, n);
    if (rc == ERROR_RETRY) { /* silent */
        wait_for(source, true, -1);
        return;
    }
    if (rc != OK)
        log_event(LOG_LEVEL_ERROR, "stdin", "standard input does not read on, it ends here",
                  "line=%llu error=\"%s\"", (unsigned long long)source->sink.place.line, err.text);
    source->input_ended = rc != OK || n == 0;
}

static void *run(void *context)
{
    struct event_source *source = context;
    wait_for(source, true, -1);
    while (!source->input_ended && !atomic_load(&source->closing)) {
        read_some(source);
        take_lines(source);
    }
    if (source->text.len > 0)
        log_event(LOG_LEVEL_WARN, "stdin", "stopped, what was read last is not kept",
                  "bytes=%zu behind_line=%llu unknown_bytes=%zu", source->text.len,
                  (unsigned long long)source->sink.place.line,
                  source->unknown ? source->unknown_taken : 0);
    if (source->input_ended)
        log_event(LOG_LEVEL_INFO, "stdin", "standard input has ended", "lines=%llu",
                  (unsigned long long)source->sink.place.line);
    atomic_store(&source->ended, source->input_ended);
    return NULL;
}

/* ---- open and close ---- */

static void stdin_pause(struct event_source *source)
{
    atomic_store(&source->closing, true);
    wake(source);
}

static void stdin_close(struct event_source *source)
{
    if (source == NULL)
        return;
    if (source->running) {
        stdin_pause(source);
        pthread_join(source->thread, NULL);
    }
    intake_close(source->sink.intake);
    input_close(source->input);
    buf_free(&source->text);
    if (source->wake_fd >= 0)
        close(source->wake_fd);
    pthread_mutex_destroy(&source->lock);
    free(source);
}

static int stdin_open(struct event_source **out, const struct source_options *options,
                      struct error *err)
{
    struct event_source *source = memory_alloc(1, sizeof *source);
    pthread_mutex_init(&source->lock, NULL);
    source->options = *options;
    source->sink = (struct line_sink){.source = NAME, .host = options->host};
    atomic_store(&source->line_bytes_max, options->event_bytes_max + LINE_BLANKS_MAX);
    source->table = capture_find_table(options->capture, slice_cstr(options->table));
    int len = snprintf(source->key, sizeof source->key, "stdin/%s", options->table);
    ASSERT(len > 0 && (size_t)len < sizeof source->key);
    put_u64le(source->number, (uint64_t)clock_wall_us(&clock_system));
    source->checkpoint = (struct spool_checkpoint){
        .key = slice_cstr(source->key), .value = slice_of(source->number, sizeof source->number)};
    source->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = source->wake_fd >= 0 ? OK : error_errno(err, "eventfd");
    if (rc == OK && source->table == SIZE_MAX)
        rc = error_set(err, ERROR_INPUT, "there is no table %s", options->table);
    if (rc == OK)
        rc = intake_open(&source->sink.intake, options->capture, err);
    if (rc == OK)
        rc = input_open(&source->input, "-", 0, err);
    if (rc != OK) {
        stdin_close(source);
        return rc;
    }
    int failed = pthread_create(&source->thread, NULL, run, source);
    ASSERT(failed == 0);
    source->running = true;
    *out = source;
    return OK;
}

static int stdin_reload(struct event_source *source, const struct source_options *options,
                        struct error *err)
{
    (void)err;
    atomic_store(&source->line_bytes_max, options->event_bytes_max + LINE_BLANKS_MAX);
    return OK;
}

static void stdin_statistics(struct event_source *source, struct source_statistics *out)
{
    *out = (struct source_statistics){.requests = atomic_load(&source->requests),
                                      .bytes = atomic_load(&source->bytes),
                                      .connections = !atomic_load(&source->ended),
                                      .ended = atomic_load(&source->ended),
                                      .address = "-"};
}

const struct source_ops source_stdin = {.kind = "stdin",
                                        .open = stdin_open,
                                        .reload = stdin_reload,
                                        .pause = stdin_pause,
                                        .close = stdin_close,
                                        .statistics = stdin_statistics};
