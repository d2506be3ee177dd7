/* SPDX-License-Identifier: Apache-2.0
 *
 * spool.h: the durable log between capture and upload, and the register of the
 * segments cut from it. One LMDB environment in one directory. It knows no JSON of
 * events: a record is a row image (lib/row), kept in blocks as it came.
 *
 * Durability  spool_append returns OK only after its batches are on disk.
 * Positions   each stream's begin at 0 and are never given twice. At every open for
 *             writing the agent's epoch is made anew, and with it its streams' names.
 * Ownership   spool_open gives the handle, spool_close takes it back. Slices handed in
 *             are borrowed for the call only.
 * Threads     any number append (whoever comes first commits for all that wait); one
 *             thread rolls, uploads and trims; any number read statistics.
 * Errors      ERROR_LIMIT: the disk budget is spent, or the disk full; nothing of the call was
 *             kept. With drop_oldest only for what doesn't fit in half of it.
 *             ERROR_CORRUPT: a block or record does not read back: it is named.
 *             ERROR_CONFLICT: another process has the spool open for writing.
 *             ERROR_IO: a write failed and its outcome is not known: what was handed in may
 *             be found on the disk later, so it must not be handed in again unless its
 *             checkpoint, read anew, says that it is not there.
 *             ERROR_RETRY: nothing was done; after a failed write all are sent away so
 *             until spool_reopen. Reads go on until then.
 */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/random.h"
#include "lib/base/slice.h"

struct spool;

enum { SPOOL_STREAM_NAME_MAX = 512, SPOOL_BATCH_BYTES_MAX = 64 << 20 };

struct spool_options {
    const char *directory;     /* made when it isn't there */
    const char *agent_id;      /* kept in the spool; a spool of another agent is ERROR_INPUT */
    bool agent_id_is_default;  /* nobody chose it: a spool of another agent keeps its own */
    uint64_t bytes_max;        /* data.mdb and sealed/ together; 0: 20 GiB */
    const struct clock *clock; /* NULL: the system's */
    struct random *random;     /* NULL: the system's; for epochs in simulations */
    bool drop_oldest;          /* when full: declares the oldest lost instead of refusing */
    bool read_only;            /* beside a running agent; no epoch, no recovery */
    bool no_sync;              /* simulations only */
};

/* What a failing disk left of a spool of ours is mended, loudly: blocks that don't read are
 * declared lost, an environment that doesn't is moved to <spool>/set-aside/.
 *
 * Opens, takes the lock, recovers, makes the new epoch, seals what older epochs hold
 * open, drops files in sealed/ that are not in the register. */
int spool_open(struct spool **out, const struct spool_options *options, struct error *err) MUST_USE;
void spool_close(struct spool *spool);

/* A write failed, or the last spool_reopen did. */
bool spool_has_failed(const struct spool *spool);
/* What a new start would do, in this handle: closes the environment, has what was written
 * last read from the disk (not from memory), recovers, makes a new epoch, sets aside what
 * doesn't read. With beyond_use it is set aside for that reason in any case. All others are
 * sent away with ERROR_RETRY meanwhile; the caller holds no spool_reader. Names come from
 * spool_epoch_borrow again. After an error the spool stays shut: call it again, or close. */
int spool_reopen(struct spool *spool, const struct error *beyond_use, struct error *err) MUST_USE;

/* How many environments lie in <spool>/set-aside/, of this run or an older one, and may hold
 * events that were not announced; one, if that can't be seen. Any thread. */
size_t spool_count_set_aside(const struct spool *spool) MUST_USE;

/* Whose it is: the option, or what it keeps. Stays until the spool is closed. */
const char *spool_agent_id_borrow(const struct spool *spool);

/* The name belongs to the spool and stays until it is closed; another pointer, another epoch. */
const char *spool_epoch_borrow(const struct spool *spool);

/* When an agent that runs on needs a new epoch: the wall clock leapt against the monotonic
 * one (a machine that was put to sleep with its memory, and maybe woken twice), or a day
 * passed without a record. All zero is a watch that has seen nothing. */
struct spool_epoch_watch {
    int64_t wall_ms; /* of the last look */
    int64_t mono_ms; /* counts sleep */
};
/* Before each append; true: spool_renew_epoch first. The watch goes on from these times. */
bool spool_epoch_is_due(struct spool_epoch_watch *watch, int64_t wall_ms, int64_t mono_ms);
/* A new epoch, durable. Streams of the one before take no more records; what they hold
 * goes out under their names. Not while somebody appends; names come from
 * spool_epoch_borrow again. */
int spool_renew_epoch(struct spool *spool, struct error *err) MUST_USE;
/* "<spool>/sealed", where the roller writes its files. */
const char *spool_sealed_directory_borrow(const struct spool *spool);

/* ---- append ---- */

struct spool_batch {
    const char *stream;   /* "<agent>/<epoch>/<ns>.<table>" of the current epoch */
    struct slice schema;  /* table_schema_encode's form; kept once a schema */
    uint64_t schema_key;  /* table_schema_key's number */
    struct slice rows;    /* row images; their event numbers are 0 .. event_count - 1 */
    uint32_t event_count; /* > 0: positions the batch takes */
    uint32_t row_count;
    int64_t time_min_us; /* INT64_MAX, INT64_MIN: none */
    int64_t time_max_us;
};

/* A source checkpoint: stored under its key in the same transaction. */
struct spool_checkpoint {
    struct slice key;   /* up to 400 bytes */
    struct slice value; /* NULL data: removes it */
};

/* All batches and checkpoints in one transaction, or none. firsts[i] is the first
 * position of batch i. */
int spool_append(struct spool *spool, const struct spool_batch *batches, size_t batch_count,
                 const struct spool_checkpoint *checkpoints, size_t checkpoint_count,
                 uint64_t *firsts, struct error *err) MUST_USE;
/* Appends the value to `out`; *found false when there is none. */
int spool_checkpoint_get(struct spool *spool, struct slice key, struct buf *out, bool *found,
                         struct error *err) MUST_USE;
/* Appends to `out` the first key of that prefix that is greater than `after` (empty: the
 * first of all), in byte order; *found false when there is none. */
int spool_checkpoint_next(struct spool *spool, struct slice prefix, struct slice after,
                          struct buf *out, bool *found, struct error *err) MUST_USE;
/* How many keys have that prefix: walks them. */
int spool_checkpoint_count(struct spool *spool, struct slice prefix, uint64_t *count,
                           struct error *err) MUST_USE;
/* The last received_at given out in a stream's table, so that it never goes back. */

/* ---- streams and segments ---- */

enum segment_state {
    SEGMENT_SEALED,    /* range fixed; no files, or files to be built anew */
    SEGMENT_BUILT,     /* Parquet files lie in sealed/ */
    SEGMENT_ANNOUNCED, /* files and announcement are in the store */
};
const char *segment_state_name(enum segment_state state);

struct spool_lost {
    uint64_t from, to, events;
    const char *reason;
};

struct spool_stream {
    const char *name;
    uint64_t begin;          /* records below are gone: trimmed or let go */
    uint64_t sealed;         /* end of the last segment */
    uint64_t end;            /* next position to be given */
    uint64_t next;           /* greatest next heard of in a receipt */
    uint64_t announced;      /* end of the last announced segment */
    int64_t committed_at_ms; /* of that receipt */
    /* of the open range [sealed, end): */
    uint64_t open_bytes;
    uint64_t open_rows;
    int64_t open_since_ms; /* wall clock of its first append; 0: empty */
    uint64_t bytes;        /* of all blocks held */
    size_t lost_count;
    struct spool_lost *lost; /* declared so and not trimmed yet, ordered */
};

struct spool_streams {
    size_t count;
    struct spool_stream *streams; /* names and array live in the arena */
};
int spool_list_streams(struct spool *spool, struct arena *arena, struct spool_streams *out,
                       struct error *err) MUST_USE;

struct spool_segment {
    const char *stream;
    uint64_t from, to;
    enum segment_state state;
    uint64_t schema_key; /* all its blocks have this one; 0: no block is left */
    unsigned generation; /* the n of its file names: 1 at first, one more at each rebuild */
    int64_t sealed_at_ms;
    int64_t announced_at_ms; /* last time the announcement was put; 0: never */
    bool records_gone;       /* let go: can't be built again, only announced as lost */
    struct slice payload;    /* the announcement's bytes from BUILT on; opaque here */
    size_t lost_count;
    struct spool_lost *lost; /* within [from, to), ordered */
};

/* Where a segment ends at the latest: before the block that would pass a limit, but
 * after one block at least. 0: no limit. */
struct spool_seal_limits {
    uint64_t bytes_max; /* of row images */
    uint64_t rows_max;
};

/* Seals the beginning of [sealed, end) of a stream: one segment a call, cut where the
 * blocks' schema changes and by the limits (NULL: none), so that a segment stays bounded
 * however far capture ran ahead. *sealed false when there is nothing open. The stream's
 * open_bytes, open_rows and open_since then speak of what is left. */
int spool_seal(struct spool *spool, const char *stream, const struct spool_seal_limits *limits,
               bool *sealed, struct error *err) MUST_USE;

/* The same for a SEALED segment that holds more than the limits allow, which were others when it
 * was sealed: it becomes several that don't. *cut false when there is nothing to do.
 * ERROR_CONFLICT when it is not the segment that was listed. */
int spool_cut_segment(struct spool *spool, const struct spool_segment *segment,
                      const struct spool_seal_limits *limits, bool *cut,
                      struct error *err) MUST_USE;

/* All segments of a stream in order; everything lives in `arena`. */
int spool_list_segments(struct spool *spool, const char *stream, struct arena *arena,
                        struct spool_segment **out, size_t *count, struct error *err) MUST_USE;

/* The first `max` that are not announced, in order. What it costs goes by these, not by the
 * announced ones before them, of which there may be thousands. */
int spool_list_pending(struct spool *spool, const char *stream, size_t max, struct arena *arena,
                       struct spool_segment **out, size_t *count, struct error *err) MUST_USE;
int spool_count_pending(struct spool *spool, const char *stream, size_t *count,
                        struct error *err) MUST_USE;
/* The segment that begins at `from`; *out NULL: there is none. A stream's oldest begins at
 * its `begin`. */
int spool_find_segment(struct spool *spool, const char *stream, uint64_t from, struct arena *arena,
                       const struct spool_segment **out, struct error *err) MUST_USE;

/* State, payload, generation, announced_at_ms of (stream, from) become the given ones.
 * ERROR_CONFLICT when it is not the segment that was listed: it was trimmed, or a part
 * of it was lost (its generation is greater then); list it again. */
int spool_update_segment(struct spool *spool, const struct spool_segment *segment,
                         struct error *err) MUST_USE;

/* The encoded table_schema of a key; appended to `out`. */
int spool_schema_get(struct spool *spool, uint64_t schema_key, struct buf *out,
                     struct error *err) MUST_USE;

/* ---- reading a segment's records ---- */

struct spool_block {
    uint64_t first; /* position of event 0 */
    uint32_t event_count;
    uint32_t row_count;
    uint64_t schema_key;
    int64_t time_min_us, time_max_us;
    struct slice rows; /* into the memory map, until the reader is closed */
};

struct spool_reader; /* a read transaction: hold it for one encoding at most */

int spool_reader_open(struct spool_reader **out, struct spool *spool, const char *stream,
                      uint64_t from, uint64_t to, struct error *err) MUST_USE;
/* Blocks that touch [from, to), in order; *more false at the end. A block that
 * straddles `from` is given whole: the caller drops its rows below. A damaged block is
 * ERROR_CORRUPT; `out` then still says first and event_count, and reading goes on
 * behind it. */
int spool_reader_next(struct spool_reader *reader, struct spool_block *out, bool *more,
                      struct error *err) MUST_USE;
void spool_reader_close(struct spool_reader *reader);

/* Declares [from, to) of a stream lost: its records are removed (quarantined under
 * <spool>/quarantine/ when they don't read), and the range is kept with its reason until
 * it is trimmed. */
int spool_lose(struct spool *spool, const char *stream, const struct spool_lost *lost,
               struct error *err) MUST_USE;

/* ---- trimming ---- */

/* `next` from a receipt (greatest wins; less than before is nothing). Records, segments
 * and lost ranges below go. A segment that next falls into becomes [next, to), SEALED,
 * generation 1. next beyond what was ever announced is ERROR_CORRUPT: alarm. */
int spool_trim(struct spool *spool, const char *stream, uint64_t next, int64_t committed_at_ms,
               struct error *err) MUST_USE;

/* Lets go the records of announced segments, oldest first, until `bytes` are free
 * within the budget or none is left; the register keeps the announcements. */
int spool_let_go(struct spool *spool, uint64_t bytes, struct error *err) MUST_USE;

/* ---- statistics ---- */

struct spool_statistics {
    uint64_t bytes_used; /* of data.mdb's live pages and sealed/ */
    uint64_t bytes_max;
    uint64_t bytes_reserve;     /* kept free so that a full spool can be drained */
    uint64_t bytes_usable;      /* by appends: of the budget, or of a disk that has less */
    uint64_t bytes_for_builds;  /* free beyond that: the reserve, or the part of such a disk */
    uint64_t bytes_sealed;      /* of bytes_used, in sealed/ */
    uint64_t segment_bytes_max; /* a segment of more may not find room when it is built */
    uint64_t commit_count;      /* transactions of appends since open */
    uint64_t append_count;
    uint64_t refused_events; /* for room, since open */
    uint64_t dropped_events; /* declared lost for room, since open (drop_oldest) */
};
void spool_statistics(struct spool *spool, struct spool_statistics *out);

/* Which tables' records drop_oldest lets go first: those of the lowest priority, and among
 * them the oldest. A table that is not named has SPOOL_PRIORITY_OTHERS. An append makes no room
 * of what counts more than all that it brings. Replaces what was set before; copied. Any
 * thread. */
struct spool_priority {
    const char *table; /* "<ns>.<table>", as streams end */
    int priority;
};
enum { SPOOL_PRIORITY_OTHERS = 1 };
void spool_set_priorities(struct spool *spool, const struct spool_priority *priorities,
                          size_t count);

/* What of budget and disk appends may use, and what is used, as of the last commit: cheap. */
struct spool_room {
    uint64_t used;
    uint64_t usable;
    uint64_t most; /* usable, were the disk ours alone */
};
void spool_room(const struct spool *spool, struct spool_room *out);

/* Reads every block and record, names what is damaged through `report`; *damaged is
 * their number. Also read-only. */
typedef void spool_report(void *context, const char *line);
int spool_check(struct spool *spool, spool_report *report, void *context, size_t *damaged,
                struct error *err) MUST_USE;

#endif
