/* SPDX-License-Identifier: Apache-2.0
 *
 * uploader.h: from segments that the roller built to objects in the store, and back:
 * receipts that let the spool go.
 *
 * Order      per stream: data files, then their announcement, then the next segment's.
 *            A file is put with "must not exist"; one that exists with the same
 *            checksum is ours from before a crash, with another checksum the new one
 *            takes the next n. The announcement is put without a condition,
 *            but doesn't replace one that reaches further (see README).
 * Crash      every state is in the spool's register; a step that was cut short is done
 *            again. Built files are a cache in <spool>/sealed/, named by
 *            uploader_local_name; they go once their announcement is put.
 * Receipts   a hint: the greatest next counts. "missing" and "refused" send a segment
 *            back to SEALED under the next generation (who builds it declares it lost
 *            when its records are gone). An announcement that nobody answers for
 *            announce_repeat_ms is put again, the stream's oldest first.
 * Threads    one: the one that rolls and trims (spool.h).
 * Errors     a stream that fails is logged, waits with full jitter and is tried again;
 *            the others go on. uploader_step returns an error only for the spool.
 */
#ifndef UPLOADER_UPLOADER_H
#define UPLOADER_UPLOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/announce/announce.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/histogram.h"
#include "lib/base/random.h"
#include "lib/objstore/objstore.h"
#include "spool/spool.h"

struct uploader;

struct uploader_options {
    struct spool *spool; /* borrowed, as the next two */
    struct objstore *store;
    const struct clock *clock;  /* NULL: the system's */
    uint64_t seed;              /* of the jitter */
    int64_t announce_repeat_ms; /* 0: 5 minutes */
    int64_t receipt_poll_ms;    /* 0: 5 s: at most one look a stream in that time */
    int64_t retry_max_ms;       /* 0: 60 s: ceiling of the wait between tries */
    uint64_t bandwidth;         /* of data files, bytes a second on average; 0: what it takes */
    /* Nobody has seen the store refuse to overwrite: it is asked by this key (objstore_probe)
     * before anything is put, until it has shown it. A store that overwrites gets nothing; one
     * that denies the probe alone does. NULL: it is known. Copied. */
    const char *probe_key;
};

/* Counted since open. */
struct uploader_statistics {
    uint64_t files_put;
    uint64_t bytes_put;
    uint64_t announcements_put;
    uint64_t announcements_repeated;
    uint64_t segments_rebuilt; /* sent back by a receipt */
    uint64_t failures;
    uint64_t alarms;         /* logged as ALARM: a person must look */
    int64_t announced_at_ms; /* wall clock, of the last one put; 0: none */
    struct histogram spans;  /* wall clock, a segment's files and announcement each */
};

int uploader_open(struct uploader **out, const struct uploader_options *options,
                  struct error *err) MUST_USE;
void uploader_close(struct uploader *uploader);

/* One pass over all streams: receipts, then what is built, then repeats. */
int uploader_step(struct uploader *uploader, struct error *err) MUST_USE;

/* From that time of the monotonic clock on a put fails that is held back by the bandwidth or has
 * lasted for a second, so that who stops need not wait for it; and once a request has failed then
 * by ERROR_RETRY, the store is asked nothing more. Any thread. */
void uploader_give_up_at(struct uploader *uploader, int64_t mono_ms);
/* Another one than the options': more holds at once, less from the next file on. Any thread. */
void uploader_set_bandwidth(struct uploader *uploader, uint64_t bytes_per_second);
/* When a put last moved on or was held back by the bandwidth (monotonic clock; 0: never): a pass
 * that takes long for that is no pass that hangs. Any thread. */
int64_t uploader_paced_at_ms(const struct uploader *uploader);

/* Segments that are not announced yet; last is the newest failure's text, "" for none. */
struct uploader_backlog {
    size_t unannounced;
    bool failing; /* a stream's last try failed */
    char last_failure[400];
};
/* Of these streams, which the caller has listed. */
int uploader_backlog(struct uploader *uploader, const struct spool_streams *streams,
                     struct uploader_backlog *out, struct error *err) MUST_USE;

const struct uploader_statistics *uploader_statistics_borrow(const struct uploader *uploader);

/* The table's contract as the store has it, read again at most once a minute and after
 * each refusal. NULL in *out: there is none (yet), or the store can't be asked and none
 * was ever seen: write with the preset's own field ids. Borrowed until the next call. */
int uploader_contract_borrow(struct uploader *uploader, const char *table,
                             const struct contract **out, struct error *err) MUST_USE;

/* Removes the built files of the segment at `from`, whatever its generation was then. */
void uploader_remove_built(struct spool *spool, const char *stream, uint64_t from);

/* The name of a built file within <spool>/sealed/: "<hash>-<from>-<to>-<n>-<index>.parquet",
 * index its place in the announcement. */
void uploader_local_name(const struct spool_segment *segment, size_t index, struct buf *out);

#endif
