/* SPDX-License-Identifier: Apache-2.0
 *
 * capture.h: where sources meet the spool: from an event's text to the durable answer.
 *
 * Each source thread has an intake. It begins a request at one table, hands in the
 * request's events and ends it with a ticket. The rows wait in the intake's open batch of
 * that table. One committer thread takes the open batches of all intakes at once (a cut),
 * appends them in one transaction of the spool, and answers the tickets. While it syncs,
 * the next cut grows: no timer, the batch grows with the load. Only where linger_ms says so
 * a cut that comes too soon after others waits for company, to spare the disk.
 *
 * Durability  a ticket is answered OK only after its events are on disk. All events of a
 *             request are in one transaction; with one error none of them is kept.
 * Order       received_at is one value a cut, and never goes back, whatever the clock does.
 * Room        is kept for tables of higher priority: of open_bytes_max low ones may use a half,
 *             normal ones three quarters; of the spool all but a 16th and a 32nd. When the
 *             spool refused a cut all the same, the lowest priority of it waits for a second.
 * Memory      rows that wait are bounded by open_bytes_max: beyond it a request is refused.
 *             One request makes at most request_bytes_max of rows and one event more,
 *             whatever else is in its cut.
 * Threads     capture_*: any. An intake belongs to one thread; tickets are answered on the
 *             committer's thread, which holds no lock then.
 * Errors      ERROR_LIMIT: no room, nothing was kept, the same may succeed later. So do all
 *             others (ERROR_RETRY: the spool is being opened anew), except
 *             ERROR_IO of a ticket: a write failed, and whether the request is durable is not
 *             known; it may be in the table later. Its source does not simply hand it in again:
 *             it asks capture_has_stored first (files, standard input), or leaves it to the
 *             sender, who is told (HTTP, streams), or lets it go (datagrams). It is counted as
 *             rejected.
 */
#ifndef AGENT_CAPTURE_CAPTURE_H
#define AGENT_CAPTURE_CAPTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/schema/mapping.h"
#include "lib/shred/shred.h"
#include "spool/spool.h"

struct capture;
struct intake;
struct generation;

/* What of the options a reload may change. */
struct capture_limits {
    size_t event_bytes_max; /* 0: 1 MiB */
    int64_t time_past_us;   /* event_time.past: older becomes received_at; 0: off */
    int64_t time_future_us; /* event_time.future, likewise */
};

struct capture_options {
    struct spool *spool;                /* borrowed, as the next three */
    const struct mapping_set *mappings; /* the tables that are taken */
    const char *agent_id;
    const char *namespace;
    const struct clock *clock; /* NULL: the system's */
    struct capture_limits limits;
    /* Of row images; neither is more than a quarter of what fits into the spool. */
    size_t open_bytes_max;    /* that wait; 0: 16 MiB */
    size_t request_bytes_max; /* of one request; 0: 64 MiB */
    bool spool_drops;         /* it makes room by itself (drop_oldest): no share of it is kept */
    /* A cut waits so long for company while more are made in a second than this. */
    int64_t linger_ms; /* 0: never */
    unsigned commits_per_second_max;
};

int capture_open(struct capture **out, const struct capture_options *options,
                 struct error *err) MUST_USE;
/* Every intake is closed before. Commits what waits, then returns. */
void capture_close(struct capture *capture);

/* New mappings and limits, in two steps, so that other parts can refuse theirs in between.
 * prepare takes the mappings over when it succeeds; apply or discard takes its result. From
 * apply on, each intake's next request goes by them; what was begun goes by the old ones. A
 * table that is not among them any more is taken as before, until the next start. Any
 * thread, one at a time. */
int capture_prepare(struct capture *capture, struct mapping_set *mappings,
                    const struct capture_limits *limits, struct generation **out,
                    struct error *err) MUST_USE;
void capture_apply(struct capture *capture, struct generation *generation);
void capture_discard(struct capture *capture, struct generation *generation);

/* The agent's own: what was no event. No sender writes it, so no door finds it. */
#define CAPTURE_DEAD_LETTERS "dead_letters"

/* The table's number, for intake_begin; SIZE_MAX: no such table of senders. It stays the same
 * over a reload. */
size_t capture_find_table(const struct capture *capture, struct slice table);
size_t capture_table_count(const struct capture *capture);
const char *capture_table_name_borrow(const struct capture *capture, size_t table);
/* Whether a request of this table would find room now: else ERROR_LIMIT, and why. */
int capture_room(struct capture *capture, size_t table, struct error *err) MUST_USE;

/* Lives in the source's request, from intake_end until `done` was called. */
struct ticket {
    /* set by the source */
    void (*done)(struct ticket *ticket, int rc, const struct error *err);
    const struct spool_checkpoint *checkpoints; /* stored in the same transaction */
    size_t checkpoint_count;
    /* set by the capture */
    struct ticket *next;
    uint32_t accepted; /* dead letters are none of these */
    uint32_t refused;
    uint32_t dead_letters;
    bool too_large; /* all its events were refused: they don't fit into one transaction, or it was
                       given up */
};

int intake_open(struct intake **out, struct capture *capture, struct error *err) MUST_USE;
/* The same, for requests that may take long: it lets a cut that waits pass before it begins
 * another. */
int intake_open_giving_way(struct intake **out, struct capture *capture,
                           struct error *err) MUST_USE;
/* Every ticket of it was answered before. */
void intake_close(struct intake *intake);

/* Begins a request of one table. ERROR_LIMIT: full for tables of its priority, the request is
 * to be refused, which is counted, and not ended. Between begin and end the intake is locked: no
 * waiting there. */
int intake_begin(struct intake *intake, size_t table, struct ticket *ticket,
                 struct error *err) MUST_USE;
/* One event. False: refused and counted, why is in *refusal. */
bool intake_event(struct intake *intake, struct slice json, struct shred_context *context,
                  struct refusal *refusal);
/* The request has what fits. A source without a sender to tell ends it and begins another;
 * with one event more all of it is refused (ticket->too_large). */
bool intake_is_full(const struct intake *intake);
size_t capture_request_bytes_max(const struct capture *capture);
/* The source takes no more of the request: the same as if it had too many events. */
void intake_give_up(struct intake *intake);
/* The source found the event bad itself (too large, no UTF-8 frame, ...). */
void intake_refuse(struct intake *intake, enum refusal_reason reason);
/* After ERROR_IO: whether the request whose ticket had this checkpoint is durable. Its value must
 * be one that no other request stored under the key. ERROR_RETRY: the spool is not open again,
 * ask later. Of a spool that was set aside nothing is stored. */
int capture_has_stored(struct capture *capture, const struct spool_checkpoint *checkpoint,
                       bool *stored, struct error *err) MUST_USE;
/* For a source without a sender to tell: the event that was just refused becomes a row of
 * dead_letters, in the same transaction as the request's good ones. */
struct dead_letter {
    const char *source;
    int64_t position; /* line, message; of the source's own counting */
    const char *reason;
    struct slice body; /* its beginning is kept */
};
void intake_dead_letter(struct intake *intake, const struct dead_letter *letter);
/* The request is whole: true, `done` comes later; false, there is nothing to wait for (no
 * event was accepted and no checkpoint is to be stored), `done` does not come. */
bool intake_end(struct intake *intake) MUST_USE;

/* ---- a text of lines, as files, pipes and streams bring it ---- */

enum { LINE_BLANKS_MAX = 4096 }; /* around an event, none of its bytes */

struct line_place {
    uint64_t line; /* that were taken */
    bool skipping; /* within one that was too long, whose beginning was taken */
};

struct line_sink {
    struct intake *intake;
    const char *source; /* as dead letters name it */
    const char *host;
    size_t line_bytes_max; /* LINE_BLANKS_MAX more than an event has */
    struct line_place place;
};

/* Between intake_begin and intake_end: takes whole lines from the front of `text`, with
 * `last` also what stands behind the last line end, as far as they fit into one request, and
 * says how many bytes that were. What is no event becomes a row of dead_letters. */
size_t lines_take(struct line_sink *sink, struct slice text, bool last);

/* Whether lines_take would take anything. */
bool lines_any(const struct line_sink *sink, struct slice text, bool last);

/* Counted since open. The law: received = kept + refused + rejected + waiting. */
struct capture_table_statistics {
    uint64_t received; /* events that were handed in */
    uint64_t received_bytes;
    uint64_t kept; /* durable */
    uint64_t kept_rows;
    uint64_t refused[REFUSED_REASON_COUNT]; /* by what is wrong with them */
    uint64_t rejected;                      /* for want of room or by a failed disk */
    uint64_t waiting;
    uint64_t
        turned_away; /* requests, at the door, their events not counted; maybe they came again */
};

enum { CAPTURE_LATENCY_BUCKETS = 12 };
/* Upper bounds in microseconds: 100 us to 500 ms; the last bucket is all. */
extern const int64_t capture_latency_bounds_us[CAPTURE_LATENCY_BUCKETS - 1];

struct capture_statistics {
    uint64_t cuts;
    uint64_t full;          /* requests turned away at the door */
    uint64_t waiting_bytes; /* of rows that wait for the disk now */
    uint64_t waiting_bytes_max;
    uint64_t latency[CAPTURE_LATENCY_BUCKETS]; /* of cuts: from the first event to durable */
    int64_t latency_sum_us;
    int64_t busy_since_ms; /* monotonic: a cut is on its way to the disk since; 0: none is */
};
void capture_statistics(struct capture *capture, struct capture_statistics *out);
void capture_table_statistics(struct capture *capture, size_t table,
                              struct capture_table_statistics *out);

#endif
