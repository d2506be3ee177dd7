/* SPDX-License-Identifier: Apache-2.0
 *
 * One turn over one table: page by page through the inbox; what a page has that continues
 * the ledger goes into one snapshot (more, if it is too much for one).
 *
 * An attempt is: load the table and its ledger, decide for every announcement of the page
 * by the commit rule (rule.c), write, swap. Whatever goes wrong on the way (a lost swap, an answer
 * that was lost, somebody who was faster) has one answer: the next attempt, which begins
 * with a fresh load. Nothing but the ledger in that load says what is committed.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/retention.h"
#include "cloud/turn.h"
#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"

enum { DEFAULT_ATTEMPTS = 10, DEFAULT_PRUNE_EVERY = 64 };
enum { GAPS_MAX = 1000 };
static const int64_t default_attempt_ms = 3600LL * 1000;
static const int64_t day_ms = 24LL * 3600 * 1000;

/* A stream whose next piece the inbox doesn't show. */
struct gap {
    char hash[STREAM_HASH_SIZE];
    uint64_t lowest;
    char *key;
};

static int64_t limit_ms(int64_t given, int64_t otherwise)
{
    return given > 0 ? given : otherwise;
}

/* ---- one attempt ---- */

/* Copies of old files are made without a sync each: they have it before a manifest says so. */
static int copies_sync(struct turn *turn, struct error *err)
{
    if (turn->report->copied == turn->copies_synced)
        return OK;
    int rc = objstore_sync(turn->committer->store, err);
    if (rc == OK)
        turn->copies_synced = turn->report->copied;
    return rc == OK ? fault_point("commit.copies_synced", err) : rc;
}

static void ledger_move(struct turn *turn)
{
    int64_t now_ms = clock_wall_ms(committer_clock(turn->committer));
    for (size_t i = 0; i < turn->page.count; i++) {
        const struct announcement *a = &turn->page.entries[i].announcement;
        if (entry_is_taken(&turn->page.entries[i]))
            ledger_advance(turn->state.ledger, a->stream, a->to, now_ms, a->lost, a->lost_count);
    }
    ledger_retire(turn->state.ledger, now_ms - limit_ms(turn->committer->retire_ms, 30 * day_ms));
}

static int taken_append(struct turn *turn, struct error *err)
{
    struct append_file *files = memory_alloc(turn->taken_files + 1, sizeof *files);
    size_t count = 0;
    for (size_t i = 0; i < turn->page.count; i++) {
        const struct inbox_entry *entry = &turn->page.entries[i];
        for (size_t k = 0; entry_is_taken(entry) && k < entry->announcement.file_count; k++)
            files[count++] = (struct append_file){.file = &entry->announcement.files[k],
                                                  .path = entry->paths[k]};
    }
    turn->append =
        (struct append){.files = files, .file_count = count, .ledger = turn->state.ledger};
    if (turn->has_first_head)
        turn->append.send_before_ms =
            turn->first_head_ms + limit_ms(turn->committer->attempt_ms, default_attempt_ms);
    turn->report->attempts++;
    int rc = snapshot_append(turn->committer, &turn->table, &turn->state, &turn->append, err);
    free(files);
    turn->append.files = NULL;
    return rc;
}

static int state_load(struct turn *turn, struct error *err)
{
    stream_index_free(&turn->index);
    table_check_free(&turn->check);
    table_state_free(&turn->state);
    int rc = table_state_load(turn->committer, &turn->table, &turn->contract, false, &turn->state,
                              turn->report, err);
    if (rc == OK) {
        stream_index_build(&turn->index, turn->state.ledger);
        table_check_init(&turn->check, turn->state.loaded.metadata);
    }
    return rc;
}

/* An older HEAD says nothing any more: clean-ups have had their time since. */
static void heads_forget_old(struct turn *turn)
{
    int64_t now_ms = clock_mono_ms(committer_clock(turn->committer));
    if (turn->has_first_head &&
        now_ms - turn->first_head_ms <= limit_ms(turn->committer->attempt_ms, default_attempt_ms))
        return;
    turn->has_first_head = false;
    for (size_t i = 0; i < turn->page.count; i++)
        turn->page.entries[i].headed = false;
}

static int attempt(struct turn *turn, bool *refused, struct error *err)
{
    *refused = false;
    int rc = state_load(turn, err);
    if (rc != OK)
        return rc;
    /* The answer to the attempt before this one was lost, but it was applied. */
    if (turn->append.snapshot_id != 0 &&
        metadata_snapshot_borrow(turn->state.loaded.metadata, turn->append.snapshot_id) != NULL)
        return OK;
    turn->append.snapshot_id = 0;
    heads_forget_old(turn);
    rc = page_judge(turn, err);
    if (rc == OK)
        rc = copies_sync(turn, err);
    if (rc != OK || turn->taken == 0)
        return rc;
    ledger_move(turn);
    rc = taken_append(turn, err);
    *refused = rc == ERROR_INPUT;
    if (rc == OK) { /* retiring may have dropped names that the index borrowed */
        stream_index_free(&turn->index);
        stream_index_build(&turn->index, turn->state.ledger);
    }
    return rc;
}

/* ERROR_RETRY when the refusal was a lost race. */
static int refusal_judge(struct turn *turn, struct error *err)
{
    struct error refusal = *err;
    struct table_state before = turn->state;
    turn->state = (struct table_state){0};
    stream_index_free(&turn->index);
    int rc = state_load(turn, err);
    if (rc == OK && snapshot_refusal_is_conflict(&before, &turn->state)) {
        rc = ERROR_RETRY;
    } else if (rc == OK) {
        *err = refusal;
        rc = (int)refusal.code;
    }
    table_state_free(&before);
    return rc;
}

static void taken_count(struct turn *turn)
{
    struct commit_report *report = turn->report;
    for (size_t i = 0; i < turn->page.count; i++) {
        const struct announcement *a = &turn->page.entries[i].announcement;
        if (!entry_is_taken(&turn->page.entries[i]))
            continue;
        report->taken++;
        report->files += a->file_count;
        report->events += a->events;
        report->rows += a->rows;
        for (size_t k = 0; k < a->file_count; k++)
            report->bytes += a->files[k].size;
        for (size_t k = 0; k < a->lost_count; k++)
            report->lost_events += a->lost[k].events;
    }
    report->snapshots++;
    report->snapshot_id = turn->append.snapshot_id;
    turn->committed = true;
}

/* What the page has for one snapshot, however many attempts it takes. */
static int page_commit(struct turn *turn, struct error *err)
{
    unsigned attempts_max =
        turn->committer->attempts_max > 0 ? turn->committer->attempts_max : DEFAULT_ATTEMPTS;
    int rc = ERROR_RETRY;
    turn->append = (struct append){0};
    turn->taken = 0;
    for (unsigned i = 0; i < attempts_max; i++) {
        bool refused;
        if (i > 0)
            committer_back_off(turn->committer, i);
        rc = turn_go_on(turn, err);
        if (rc != OK)
            break;
        rc = attempt(turn, &refused, err);
        if (refused)
            rc = refusal_judge(turn, err);
        if (rc != ERROR_CONFLICT && rc != ERROR_RETRY)
            break;
        if (rc == ERROR_RETRY && (err->retry_after_ms > 0 || turn->report->stopped))
            break; /* the next turn's, which waits for it */
        if (rc == ERROR_RETRY && i + 1 < attempts_max)
            log_event(LOG_LEVEL_WARN, "commit", "attempt failed, will try again",
                      "table=%s attempt=%u text=\"%s\"", turn->table.full, i + 1, err->text);
    }
    if (rc == ERROR_CONFLICT)
        rc = err->code = ERROR_RETRY;
    if (rc == OK && turn->taken > 0)
        taken_count(turn);
    return rc;
}

/* ---- gaps ---- */

/* Noted when a stream's lowest announcement is above next and nothing else explains it. */
static void gap_note(struct turn *turn, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i++) {
        const struct inbox_entry *entry = &turn->page.entries[i];
        if (entry->finished && (entry->state == ENTRY_DEAD || entry->state == ENTRY_TAKEN))
            continue;
        if (entry->state != ENTRY_WAITING || turn->gap_count == GAPS_MAX)
            return;
        if (turn->gaps == NULL)
            turn->gaps = memory_alloc(GAPS_MAX, sizeof *turn->gaps);
        struct gap *gap = &turn->gaps[turn->gap_count++];
        memcpy(gap->hash, entry->hash, sizeof gap->hash);
        gap->lowest = entry->from;
        gap->key = memory_copy_cstr(entry->key);
        return;
    }
}

static void gaps_collect(struct turn *turn)
{
    for (size_t i = 0; i < turn->page.count;) {
        size_t end = inbox_stream_end(&turn->page, i);
        gap_note(turn, i, end);
        for (; i < end; i++)
            turn->report->waiting += turn->page.entries[i].state == ENTRY_WAITING;
    }
}

/* The agent learns where the ledger stands: it may be the one that can close the gap. */
static int gap_alarm(struct turn *turn, const struct gap *gap, struct error *err)
{
    const struct stream_row *row = stream_index_find(&turn->index, gap->hash);
    struct inbox_entry entry = {.key = gap->key, .from = gap->lowest};
    struct receipt receipt;
    int rc = OK;
    receipt_init(&receipt);
    announcement_init(&entry.announcement);
    memcpy(entry.hash, gap->hash, sizeof entry.hash);
    entry.stream = memory_copy_cstr(row != NULL ? row->stream : "");
    if (row == NULL)
        rc = inbox_fetch(turn->committer, &entry, err);
    if (rc == OK) {
        uint64_t next = row != NULL ? row->next : 0;
        report_note(turn->report, NOTE_ALARM, turn->table.full,
                    *entry.stream != 0 ? entry.stream : gap->hash, next,
                    "a gap: next is %" PRIu64 ", the lowest announcement begins at %" PRIu64
                    "; its agent must announce what is between, or a person skips it",
                    next, gap->lowest);
        receipt.stream = entry.stream;
        receipt.next = next;
        receipt.committed_at_ms = row != NULL ? row->at_ms : 0;
        if (*entry.stream != 0)
            rc = inbox_recall_refusal(turn->committer, turn->table.full, &receipt, err);
        if (rc == OK && *entry.stream != 0)
            rc = receipt_put(turn->committer, &receipt, err);
    }
    announcement_free(&entry.announcement);
    receipt_free(&receipt);
    free(entry.stream);
    free(entry.reason);
    return rc;
}

/* Only what a fresh list and, after it, a fresh load still show is an alarm. */
static int gaps_confirm(struct turn *turn, struct error *err)
{
    int rc = OK;
    for (size_t i = 0; i < turn->gap_count && rc == OK; i++) {
        bool found = false;
        rc = turn_go_on(turn, err);
        if (rc != OK)
            break;
        rc = inbox_lowest(turn->committer, turn->table.full, turn->gaps[i].hash,
                          &turn->gaps[i].lowest, &found, err);
        if (!found)
            turn->gaps[i].lowest = 0;
    }
    if (rc == OK && turn->gap_count > 0)
        rc = state_load(turn, err);
    for (size_t i = 0; i < turn->gap_count && rc == OK; i++) {
        const struct stream_row *row = stream_index_find(&turn->index, turn->gaps[i].hash);
        rc = turn_go_on(turn, err);
        if (rc == OK && turn->gaps[i].lowest > (row != NULL ? row->next : 0))
            rc = gap_alarm(turn, &turn->gaps[i], err);
    }
    return rc;
}

/* ---- the turn ---- */

static bool page_has(const struct inbox_page *page, enum entry_state state)
{
    for (size_t i = 0; i < page->count; i++)
        if (!page->entries[i].finished && page->entries[i].state == state)
            return true;
    return false;
}

static int page_work(struct turn *turn, struct error *err)
{
    int rc;
    bool again;
    do {
        rc = page_commit(turn, err);
        again = rc == OK && turn->taken > 0 && page_has(&turn->page, ENTRY_LATER);
        if (rc == OK)
            rc = inbox_finish(turn->committer, turn->table.full, &turn->page, &turn->index,
                              turn->report, err);
    } while (rc == OK && again);
    if (rc == OK)
        gaps_collect(turn);
    return rc;
}

static void strays_collect(struct turn *turn)
{
    turn->stray_count += turn->page.stray_count;
    if (turn->stray == NULL) {
        turn->stray = turn->page.stray;
        turn->page.stray = NULL;
    }
}

static void strays_note(const struct turn *turn)
{
    if (turn->stray_count > 0)
        report_note(turn->report, NOTE_INFO, turn->table.full, "", 0,
                    "objects in the inbox that are no announcements: %zu, the first is %s",
                    turn->stray_count, turn->stray);
}

static int inbox_work(struct turn *turn, struct error *err)
{
    char *after = NULL;
    bool more = true;
    int rc = OK;
    while (more && rc == OK) {
        rc = turn_go_on(turn, err);
        if (rc != OK)
            break;
        rc = inbox_list(turn->committer, turn->table.full, after, &turn->page, err);
        if (rc != OK)
            break;
        turn->report->seen += turn->page.count;
        strays_collect(turn);
        more = turn->page.more && turn->page.last_key != NULL;
        free(after);
        after = turn->page.last_key;
        turn->page.last_key = NULL;
        /* Also without an announcement: a table that isn't as it should be is an alarm. */
        rc = turn->page.count > 0 ? page_work(turn, err) : state_load(turn, err);
        inbox_page_free(&turn->page);
    }
    free(after);
    strays_note(turn);
    return rc;
}

/* The contract is what agents write by; one that is not this table's makes them write what
 * we refuse. */
static void contract_judge(struct turn *turn)
{
    const char *uuid = metadata_uuid_borrow(turn->state.loaded.metadata);
    const char *named = turn->contract.found ? turn->contract.contract.table_uuid : NULL;
    if (named == NULL)
        report_note(turn->report, NOTE_ALARM, turn->table.full, "", 0,
                    "the table has no contract: run bidlake-commit init");
    else if (strcmp(named, uuid) != 0)
        report_note(turn->report, NOTE_ALARM, turn->table.full, "", 0,
                    "the contract names table %s, the catalog has %s: run bidlake-commit init",
                    named, uuid);
}

/* Old ledgers that nothing points at, and refusals that nobody looked at for a month. Ages are
 * counted from the turn's begin, not from now: a committer that was frozen in between for longer
 * than ledgers are kept, and then reads a stale table, would take the current ledger, which may be
 * its own, for an old one that nobody points at. */
static int prune(struct turn *turn, struct error *err)
{
    unsigned every =
        turn->committer->prune_every > 0 ? turn->committer->prune_every : DEFAULT_PRUNE_EVERY;
    unsigned number;
    committer_random(turn->committer, &number, sizeof number);
    if (!turn->committed || number % every != 0)
        return OK;
    char *before = memory_copy_cstr(turn->state.ledger_key);
    struct buf prefix = {0};
    key_of_ledgers(turn->table.full, &prefix);
    int rc = state_load(turn, err);
    if (rc == OK)
        rc = store_prune(turn->committer, buf_cstr(&prefix),
                         turn->begun_ms - limit_ms(turn->committer->ledger_keep_ms, 7 * day_ms),
                         turn->state.ledger_key, before, err);
    buf_reset(&prefix);
    key_of_refusals(turn->table.full, &prefix);
    if (rc == OK)
        rc = store_prune(turn->committer, buf_cstr(&prefix),
                         turn->begun_ms - limit_ms(turn->committer->refused_keep_ms, 30 * day_ms),
                         "", "", err);
    if (rc == OK)
        rc = objstore_tidy(turn->committer->store, buf_cstr(&prefix), day_ms, err);
    /* Each stream that ever was left a directory, and each turn's list reads them all. */
    buf_reset(&prefix);
    key_of_inbox(turn->table.full, &prefix);
    if (rc == OK)
        rc = objstore_tidy(turn->committer->store, buf_cstr(&prefix), day_ms, err);
    if (rc == OK)
        rc = dropped_remove(turn->committer, turn->table.full, turn->state.loaded.metadata,
                            turn->report, err);
    buf_free(&prefix);
    free(before);
    return rc;
}

int commit_turn_table(const struct committer *committer, const char *table,
                      struct commit_report *report, struct error *err)
{
    struct turn turn = {.committer = committer,
                        .report = report,
                        .begun_ms = clock_wall_ms(committer_clock(committer)),
                        .copies_synced = report->copied};
    pthread_mutex_init(&turn.schema_lock, NULL);
    report_begin_table(report);
    int rc = table_name_parse(&turn.table, table, err);
    if (rc == OK)
        rc = contract_state_read(committer, table, &turn.contract, err);
    if (rc == OK)
        rc = inbox_work(&turn, err);
    if (rc == OK) {
        contract_judge(&turn);
        rc = gaps_confirm(&turn, err);
    }
    if (rc == OK)
        rc = turn_go_on(&turn, err);
    if (rc == OK)
        rc = prune(&turn, err);
    /* The store, too, gives up a pause when it is to stop. */
    if (rc == ERROR_RETRY && committer_is_to_stop(committer))
        report->stopped = true;
    inbox_page_free(&turn.page);
    json_decref(turn.schema);
    pthread_mutex_destroy(&turn.schema_lock);
    stream_index_free(&turn.index);
    table_check_free(&turn.check);
    table_state_free(&turn.state);
    contract_state_free(&turn.contract);
    for (size_t i = 0; i < turn.gap_count; i++)
        free(turn.gaps[i].key);
    free(turn.gaps);
    free(turn.stray);
    return rc;
}

int commit_turn(const struct committer *committer, const char *const *tables, size_t count,
                struct commit_report *report, struct error *err)
{
    int first = OK;
    for (size_t i = 0; i < count; i++) {
        struct error one;
        int rc = commit_turn_table(committer, tables[i], report, &one);
        if (rc == OK)
            continue;
        if (first == OK) {
            *err = one;
            first = rc;
        }
        if (report->stopped)
            break;
        report->tables_failed++;
        report_note(report, NOTE_FAILED, tables[i], "", 0, "%s", one.text);
    }
    return first;
}
