/* SPDX-License-Identifier: Apache-2.0
 *
 * files.h: the files of one pattern: what is there, how far each was taken, which is to be
 * looked at next. Private to agent/tail.
 *
 * A file is its device and inode, and a generation: when its content is replaced under the
 * same inode, what was known stays as a `past` entry, since a copy of the old content may
 * turn up under another inode.
 *
 * Threads  one works with it; files_list: any. `lock` is held where that one changes what
 *          the other reads, never over I/O.
 */
#ifndef AGENT_TAIL_FILES_H
#define AGENT_TAIL_FILES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/source/source.h"
#include "agent/tail/place.h"
#include "lib/base/clock.h"
#include "spool/spool.h"

enum tail_state {
    TAIL_FRESH,    /* not looked at yet, or too short to know what it is */
    TAIL_READ,     /* its content is known: taken from its place on */
    TAIL_COPY,     /* what it holds stands in another file, or was taken from one */
    TAIL_FAULTY,   /* `fault` says why; looked at again when it changes */
    TAIL_FINISHED, /* compressed, taken to its end */
};

struct tail_file {
    uint64_t device, inode;
    uint32_t generation;
    struct tail_file *next;   /* of all */
    struct tail_file *bucket; /* of those with the same hash */
    struct tail_file *queued_next;
    struct tail_file *original; /* a copy's */
    char *path;                 /* last seen under */
    struct tail_place place;    /* durable */
    uint64_t size;
    uint64_t hole; /* NULs that a plain one begins with: its text, and with it each place,
                    * begins behind them */
    int64_t mtime_ns;
    int64_t ctime_ns;      /* tells of changes that mtime doesn't */
    int64_t changed_at_ms; /* monotonic, when that was seen */
    int64_t look_at_ms;    /* monotonic; 0: only when it changes */
    int64_t gone_at_ms;    /* 0: the pattern finds it */
    int64_t born_ns;       /* wall clock; 0: the file system does not say */
    bool unsorted;         /* not known yet, changed, to be queued by that */
    int64_t doubt_at_ms;   /* since then it is a copy or a text of its own; 0: no doubt */
    uint64_t scan;         /* the last that found it */
    int fd;                /* -1: closed */
    enum tail_state state;
    enum source_file_fault fault;
    unsigned named; /* faults that were logged, a bit each */
    bool stored;    /* the spool has its place */
    bool dirty;     /* the spool is to get its place, even without new lines */
    bool past;
    bool compressed;
    bool queued;
    bool busy;   /* a reader has it */
    bool missed; /* and it is to be looked at again then */
    bool held;   /* a reader seeks or follows its place: the entry stays */
};

struct tail_queue {
    struct tail_file *first, *last;
};

struct files {
    struct spool *spool; /* borrowed, as the next three */
    const struct clock *clock;
    const char *pattern;
    const char *table;
    struct tail_file **buckets;
    size_t count;
    size_t open_count;
    struct tail_queue queues[2]; /* to be looked at, in order; [1] those known as compressed */
    uint64_t scans;
    int64_t scan_ns; /* CPU that the last one took */
    bool found_none; /* was logged */
    _Atomic uint64_t faults[SOURCE_FILE_FAULT_COUNT];
    pthread_mutex_t lock;
    /* guarded by lock for files_list */
    struct tail_file *all;
};

/* Reads what the spool remembers of the table's files. */
int files_open(struct files *files, const struct source_options *options,
               struct error *err) MUST_USE;
void files_close(struct files *files);

struct tail_file *files_find(const struct files *files, uint64_t device, uint64_t inode);
struct tail_file *files_add(struct files *files, uint64_t device, uint64_t inode);
void files_note_gone(struct files *files, struct tail_file *file, int64_t now_ms);
/* When the spool was set aside and begun anew while the agent ran: stores all places again. */
void files_restore(struct files *files);
/* Of what is long gone, some. */
void files_forget(struct files *files, int64_t now_ms);

/* What the pattern finds now; what changed is queued. */
void files_scan(struct files *files, int64_t now_ms);
/* The same of those that are open alone. True: one of them changed in the last seconds. */
bool files_poll(struct files *files, int64_t now_ms);

/* One that is busy: when it is let go. */
void files_queue(struct files *files, struct tail_file *file);
void files_set_busy(struct files *files, struct tail_file *file, bool busy);
struct tail_file *files_next(struct files *files, bool compressed);

/* What waited for this one's end can be judged now. */
void files_wake_copies(struct files *files, const struct tail_file *original);

/* Opens it if it isn't; false: it can't be, or is another one now. Updates its size. */
bool files_ready(struct files *files, struct tail_file *file, int64_t now_ms);
void files_set_descriptor(struct files *files, struct tail_file *file, int fd);
void files_close_descriptor(struct files *files, struct tail_file *file);

/* Its content is another now: the old place becomes a past entry. */
void files_replace(struct files *files, struct tail_file *file, enum source_file_fault why);
/* Counts, logs once a file, and leaves it until it changes. */
void files_fault(struct files *files, struct tail_file *file, enum source_file_fault fault,
                 const char *why);
/* `place` is durable; `superseded`, if any, is gone from the spool and from here. */
void files_settle(struct files *files, struct tail_file *file, const struct tail_place *place,
                  struct tail_file *superseded);
void files_set_hole(struct files *files, struct tail_file *file, uint64_t hole);
void files_set_compressed(struct files *files, struct tail_file *file, bool compressed);
void files_set_state(struct files *files, struct tail_file *file, enum tail_state state,
                     struct tail_file *original);

/* What follows the hole. */
uint64_t tail_file_text_size(const struct tail_file *file);
/* Somebody still writes or reads it under its own name. */
bool tail_file_is_live(const struct tail_file *file);
/* And what stands behind its place comes from it. */
bool tail_file_gives(const struct tail_file *file);
/* Another name than at first, or none. */
bool tail_file_is_rotated(const struct tail_file *file);

enum { TAIL_KEY_MAX = 400 };
size_t tail_file_key(const struct files *files, const struct tail_file *file,
                     char out[TAIL_KEY_MAX]);

void files_list(struct files *files, source_file_list *list, void *context);

#endif
