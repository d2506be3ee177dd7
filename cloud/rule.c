/* SPDX-License-Identifier: Apache-2.0
 *
 * The commit rule over a page of the inbox: which announcements continue the ledger of the
 * load in hand, what is dead, what waits, what is refused.
 *
 * What it needs from the store is asked for before, many at a time: the announcements, as far as
 * can be guessed, and the files of those that would be taken. A file that isn't there makes
 * what is behind its announcement wait, so the decision is made anew without it.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cloud/turn.h"
#include "lib/base/memory.h"

enum { DEFAULT_ANNOUNCEMENTS = 10000 };
static const size_t default_bytes = 32u << 20; /* in memory three times that */
static const size_t large_bytes = 1u << 20;

/* ---- the rule ---- */

/* Of a dead one nothing but its end is wanted. They pile up where nobody may remove them, so the
 * rest goes at once. */
static int end_fetch(const struct turn *turn, struct inbox_entry *entry, struct error *err)
{
    if (entry->end_known)
        return OK;
    int rc = inbox_fetch(turn->committer, entry, err);
    if (rc != OK)
        return rc;
    entry->end = entry->fetched ? entry->announcement.to : 0;
    entry->end_known = true;
    return OK;
}

/* An own stream seals a range once: two that overlap mean two agents with one identity. */
static int overlap_check(struct turn *turn, struct inbox_entry *entry, const struct stream_row *row,
                         struct error *err)
{
    if (row == NULL || stream_epoch(row->stream).data == NULL)
        return OK;
    int rc = end_fetch(turn, entry, err);
    free(entry->reason);
    entry->reason = NULL; /* dead is dead, also when it doesn't decode */
    if (rc == OK && entry->end > row->next) {
        entry->reason =
            memory_printf("announced up to %" PRIu64 " from below next %" PRIu64
                          ": two agents with one identity, a skip by hand within a segment, or one "
                          "cut by a restart under smaller limits",
                          entry->end, row->next);
    }
    return rc;
}

static bool snapshot_is_full(const struct turn *turn, const struct inbox_entry *entry)
{
    size_t count_max = turn->committer->announcements_max > 0 ? turn->committer->announcements_max
                                                              : DEFAULT_ANNOUNCEMENTS;
    size_t bytes_max = turn->committer->bytes_max > 0 ? turn->committer->bytes_max : default_bytes;
    return turn->taken >= count_max ||
           (turn->taken > 0 && turn->taken_bytes + entry->size > bytes_max);
}

/* For one whose `from` is next: leaves ENTRY_TAKEN, or the reason why not, as its state. */
static int entry_try(struct turn *turn, struct inbox_entry *entry, struct error *err)
{
    if (snapshot_is_full(turn, entry)) {
        entry->state = ENTRY_LATER;
        return OK;
    }
    int rc = inbox_fetch(turn->committer, entry, err);
    if (rc != OK || !entry->fetched)
        return rc;
    if (ledger_is_retired(turn->state.ledger, entry->announcement.stream)) {
        entry->state = ENTRY_RETIRED;
        inbox_entry_drop(entry);
        return OK;
    }
    struct error why;
    if (announcement_check(&turn->check, &entry->announcement, turn->table.full, &why) != OK) {
        inbox_refuse(entry, why.text);
        inbox_entry_drop(entry);
        return OK;
    }
    /* A thousand of them wait for their snapshot: they share what they have in common. */
    json_decref(entry->announcement.schema);
    entry->announcement.schema = json_incref(turn->check.fitting);
    entry->state = ENTRY_TAKEN; /* if its files are there: page_heads */
    turn->taken++;
    turn->taken_bytes += entry->size;
    turn->taken_files += entry->announcement.file_count;
    return OK;
}

/* The commit rule for one stream's entries, in order of `from`; each that is taken moves
 * next for those behind it. */
static int stream_decide(struct turn *turn, size_t begin, size_t end, struct error *err)
{
    const struct stream_row *row = stream_index_find(&turn->index, turn->page.entries[begin].hash);
    uint64_t next = row != NULL ? row->next : 0;
    int rc = OK;
    for (size_t i = begin; i < end && rc == OK; i++) {
        struct inbox_entry *entry = &turn->page.entries[i];
        if (entry->finished || entry->unfit) /* what is behind it waits */
            continue;
        rc = turn_go_on(turn, err);
        if (rc != OK)
            return rc;
        if (entry->settled && entry->from == next)
            continue;
        entry->settled = false;
        entry->state = ENTRY_NEW;
        free(entry->reason);
        entry->reason = NULL;
        if (entry->from > next) {
            entry->state = ENTRY_WAITING;
        } else if (entry->from < next) {
            rc = overlap_check(turn, entry, row, err);
            entry->state = ENTRY_DEAD;
            inbox_entry_drop(entry);
        } else {
            rc = entry_try(turn, entry, err);
            if (rc == OK && entry->state == ENTRY_TAKEN)
                next = entry->announcement.to;
            else
                entry->settled = rc == OK && entry->state != ENTRY_LATER;
        }
    }
    return rc;
}

static int page_decide(struct turn *turn, struct error *err)
{
    turn->taken = turn->taken_bytes = turn->taken_files = 0;
    int rc = OK;
    for (size_t i = 0; i < turn->page.count && rc == OK;) {
        size_t end = inbox_stream_end(&turn->page, i);
        rc = stream_decide(turn, i, end, err);
        i = end;
    }
    return rc;
}

/* ---- what the store is asked for ---- */

/* Some entries of the page, each for itself, many at a time. */
struct batch {
    struct turn *turn;
    size_t count;
    struct inbox_entry **entries;
};

static void batch_add(struct batch *batch, struct inbox_entry *entry)
{
    if (batch->entries == NULL)
        batch->entries = memory_alloc(batch->turn->page.count, sizeof *batch->entries);
    batch->entries[batch->count++] = entry;
}

/* They all have mostly the same, ten times as large as the rest of them. */
static void schema_share(struct turn *turn, struct announcement *announcement)
{
    pthread_mutex_lock(&turn->schema_lock);
    json_t *other = json_incref(turn->schema);
    pthread_mutex_unlock(&turn->schema_lock);
    if (other != NULL && json_equal(other, announcement->schema)) {
        json_decref(announcement->schema);
        announcement->schema = other;
        return;
    }
    pthread_mutex_lock(&turn->schema_lock);
    json_decref(other);
    json_decref(turn->schema);
    turn->schema = json_incref(announcement->schema);
    pthread_mutex_unlock(&turn->schema_lock);
}

static int fetch_one(void *context, size_t index, struct error *err)
{
    const struct batch *batch = context;
    struct turn *turn = batch->turn;
    struct inbox_entry *entry = batch->entries[index];
    const struct stream_row *row = stream_index_find(&turn->index, entry->hash);
    if (committer_is_to_stop(turn->committer)) /* page_fetch says so */
        return OK;
    if (row != NULL && entry->from < row->next) {
        int rc = end_fetch(turn, entry, err);
        inbox_entry_drop(entry);
        return rc;
    }
    int rc = inbox_fetch(turn->committer, entry, err);
    entry->settled = rc == OK && !entry->fetched;
    if (rc == OK && entry->fetched)
        schema_share(turn, &entry->announcement);
    return rc;
}

/* Those of one stream that page_decide will look into if the pieces fit together: a guess,
 * what it needs besides it fetches itself. At most *room bytes, but always one; dead ones take no
 * room, they are let go at once. Large ones are left to it, too: decoded side by side they would
 * want a multiple of the memory. */
static void stream_wants(struct batch *batch, size_t begin, size_t end, size_t *room)
{
    const struct turn *turn = batch->turn;
    const struct stream_row *row = stream_index_find(&turn->index, turn->page.entries[begin].hash);
    uint64_t next = row != NULL ? row->next : 0;
    bool own = row != NULL && stream_epoch(row->stream).data != NULL;
    bool goes_on = false;
    for (size_t i = begin; i < end; i++) {
        struct inbox_entry *entry = &turn->page.entries[i];
        bool dead = entry->from < next;
        goes_on = goes_on || entry->from == next;
        if (entry->finished || entry->fetched || entry->size > large_bytes ||
            (dead ? !own || entry->end_known : !goes_on || *room == 0))
            continue;
        batch_add(batch, entry);
        if (!dead)
            *room -= entry->size < *room ? (size_t)entry->size : *room;
    }
}

static int page_fetch(struct turn *turn, struct error *err)
{
    struct batch batch = {.turn = turn};
    size_t room = turn->committer->bytes_max > 0 ? turn->committer->bytes_max : default_bytes;
    for (size_t i = 0; i < turn->page.count;) {
        size_t end = inbox_stream_end(&turn->page, i);
        stream_wants(&batch, i, end, &room);
        i = end;
    }
    int rc = objstore_each(turn->committer->store, batch.count, fetch_one, &batch, err);
    free(batch.entries);
    return rc == OK ? turn_go_on(turn, err) : rc;
}

static int head_one(void *context, size_t index, struct error *err)
{
    const struct batch *batch = context;
    if (committer_is_to_stop(batch->turn->committer)) /* page_heads says so */
        return OK;
    return inbox_check_files(batch->turn->committer, batch->turn->table.full, batch->entries[index],
                             err);
}

/* Once a turn: nothing is lost by it, but every file is copied until somebody mends it. */
static void clock_tell(struct turn *turn, struct inbox_entry *entry)
{
    if (entry->ahead_ms != 0 && !turn->clock_told) {
        report_note(turn->report, NOTE_WARNING, turn->table.full, entry->stream, entry->from,
                    "a copy made just now looks %" PRId64
                    " s old: this machine's clock, or what the store answers as its own, is so far "
                    "ahead of the times that the store gives to files; they are copied needlessly",
                    entry->ahead_ms / 1000);
        turn->clock_told = true;
    }
    entry->ahead_ms = 0;
}

/* Asks for the files of all that the decision would take. *again: some are not fit, so it
 * has to be made anew. */
static int page_heads(struct turn *turn, bool *again, struct error *err)
{
    struct batch batch = {.turn = turn};
    for (size_t i = 0; i < turn->page.count; i++)
        if (entry_is_taken(&turn->page.entries[i]) && !turn->page.entries[i].headed)
            batch_add(&batch, &turn->page.entries[i]);
    if (batch.count > 0 && !turn->has_first_head) {
        turn->first_head_ms = clock_mono_ms(committer_clock(turn->committer));
        turn->has_first_head = true;
    }
    int rc = objstore_each(turn->committer->store, batch.count, head_one, &batch, err);
    if (rc == OK)
        rc = turn_go_on(turn, err);
    *again = false;
    for (size_t i = 0; i < batch.count; i++) {
        turn->report->copied += batch.entries[i]->copied;
        batch.entries[i]->copied = 0;
        clock_tell(turn, batch.entries[i]);
        batch.entries[i]->unfit = rc == OK && !batch.entries[i]->headed;
        *again = *again || batch.entries[i]->unfit;
        if (batch.entries[i]->unfit)
            inbox_entry_drop(batch.entries[i]);
    }
    free(batch.entries);
    return rc;
}

int page_judge(struct turn *turn, struct error *err)
{
    bool again = true;
    for (size_t i = 0; i < turn->page.count; i++)
        turn->page.entries[i].unfit = turn->page.entries[i].settled = false;
    int rc = page_fetch(turn, err);
    while (rc == OK && again) {
        rc = page_decide(turn, err);
        if (rc == OK)
            rc = page_heads(turn, &again, err);
    }
    return rc;
}
