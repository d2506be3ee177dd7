/* SPDX-License-Identifier: Apache-2.0
 *
 * turn.h: what one turn over one table has in hand; shared by turn.c, which loads, writes and
 * swaps, and rule.c, which decides what of a page may be written.
 */
#ifndef CLOUD_TURN_H
#define CLOUD_TURN_H

#include <pthread.h>

#include "cloud/check.h"
#include "cloud/inbox.h"

struct gap;

struct turn {
    const struct committer *committer;
    struct table_name table;
    struct contract_state contract;
    struct commit_report *report;
    struct inbox_page page;
    struct table_state state;  /* of the newest load; its ledger is advanced in place */
    struct stream_index index; /* of that ledger */
    struct table_check check;  /* of that metadata */
    struct append append;
    size_t taken; /* by this attempt */
    size_t taken_bytes;
    size_t taken_files;
    bool committed;       /* in this turn, at least once */
    int64_t begun_ms;     /* wall clock */
    size_t copies_synced; /* of report->copied */
    bool clock_told;      /* that the store's two clocks are apart */
    bool has_first_head;
    int64_t first_head_ms; /* monotonic */
    size_t gap_count;
    struct gap *gaps;
    size_t stray_count; /* objects in the inbox that are no announcements */
    char *stray;        /* the first of them */
    pthread_mutex_t schema_lock;
    /* guarded by schema_lock */
    json_t *schema; /* of the announcement fetched last */
};

static inline int turn_go_on(const struct turn *turn, struct error *err)
{
    return committer_go_on(turn->committer, turn->report, err);
}

static inline bool entry_is_taken(const struct inbox_entry *entry)
{
    return !entry->finished && entry->state == ENTRY_TAKEN;
}

/* By the newest load in `turn`: leaves each entry of the page with its state, and in taken,
 * taken_bytes and taken_files what of them goes into the next snapshot. */
int page_judge(struct turn *turn, struct error *err) MUST_USE;

#endif
