/* SPDX-License-Identifier: Apache-2.0
 *
 * reader.h: looks at one file at a time: is it the one it was, or a copy of another; then
 * takes its lines, a window at a time, each with the place behind it in one transaction.
 * Private to agent/tail.
 *
 * Memory  a window of 1 MiB or one line; of a compressed file what agent/input takes.
 */
#ifndef AGENT_TAIL_READER_H
#define AGENT_TAIL_READER_H

#include "agent/input/input.h"
#include "agent/tail/files.h"

struct reader;

/* What the readers of a source have in common. */
struct reader_shared {
    struct files *files;
    struct capture *capture;
    struct intake *intake;
    size_t table;
    const char *host;
    _Atomic size_t line_bytes_max; /* a reload sets it */
    const struct reader *readers;
    size_t reader_count;
    void (*done)(struct ticket *ticket, int rc, const struct error *err);
    void *context;
    _Atomic uint64_t requests;
    _Atomic uint64_t bytes;
};

enum reader_phase { PHASE_LOOK, PHASE_HOLE, PHASE_HEAD, PHASE_SEEK, PHASE_LINES };

struct reader {
    struct ticket ticket; /* first */
    struct reader_shared *shared;
    struct tail_file *file; /* NULL: none */
    enum reader_phase phase;
    struct buf window;   /* of the plain text, */
    uint64_t from;       /* from here on */
    struct input *input; /* of a compressed file */
    bool ended;          /* the window ends where the text does */
    bool failed;         /* behind the window it does not read: `failure` */
    struct error failure;
    struct place_head head;     /* of a compressed file's text */
    struct tail_file *original; /* whose place is sought, and then taken over */
    struct tail_place sought;   /* as it was then */
    uint64_t below;             /* only places before this one are left */
    uint64_t size;              /* the file's, when it was looked at */
    uint64_t hole;              /* NULs before the text, as far as they were seen */
    int64_t mtime_ns;
    bool last;              /* what stands behind the last line end is a line */
    struct tail_place next; /* the file's, once the ticket is back */
    bool waiting;           /* the ticket is out */
    bool unknown;           /* it came back with ERROR_IO: `next` may be durable */
    bool answered;          /* it is back; guarded by the source's lock, as the next */
    int rc;
    int64_t retry_at_ms; /* 0: not refused */
    int64_t retry_ms;
    struct spool_checkpoint checkpoints[2];
    char keys[2][TAIL_KEY_MAX];
    uint8_t value[PLACE_SIZE];
};

void reader_free(struct reader *reader);
void reader_begin(struct reader *reader, struct tail_file *file);
/* A step that takes some milliseconds at most. Afterwards the reader is free (file NULL),
 * waits for its ticket (waiting), waits for room (retry_at_ms), or is to step again. */
void reader_step(struct reader *reader, int64_t now_ms);
/* The ticket came back. */
void reader_answered(struct reader *reader, int64_t now_ms);
/* Lets its file go as it is. */
void reader_drop(struct reader *reader);

#endif
