/* SPDX-License-Identifier: Apache-2.0
 *
 * What is left to do once it is decided: say it in receipts, then clear the inbox. Every
 * step is harmless to repeat, and a crash between two leaves an announcement that is
 * found dead by the next turn.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/inbox.h"
#include "lib/base/digest.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"
#include "lib/json/json.h"

/* So many refusals of a page are put durably one by one; more share one sync. */
enum { PLAIN_PUTS_MAX = 8 };
/* Refused ones are copied side by side as long as they have no more bytes together: as trees, if
 * their sender likes, twenty times as many. */
static const uint64_t side_by_side_bytes = 4u << 20;

/* Not synced: a receipt is a hint. One that a power cut takes, or cuts, comes again with the
 * announcement that asks for it. */
int receipt_put(const struct committer *committer, const struct receipt *receipt, struct error *err)
{
    struct buf key = {0};
    struct buf bytes;
    buf_init(&bytes, RECEIPT_BYTES_MAX);
    key_of_receipt(receipt->stream, &key);
    receipt_encode(receipt, &bytes);
    int rc =
        objstore_put_bytes(committer->store, buf_cstr(&key), buf_slice(&bytes), PUT_UNSYNCED, err);
    buf_free(&key);
    buf_free(&bytes);
    return rc;
}

/* {"v":1,"reason":...,"refused_at":...,"stream":...,"from":...,"announcement":...}; one
 * that is no JSON, or too much of it, is kept as base64 up to the limit of a receipt. */
static void refused_encode(const struct inbox_entry *entry, struct slice bytes, int64_t now_ms,
                           struct buf *out)
{
    json_t *document = NULL;
    struct error ignored; /* then it is kept as bytes */
    json_t *object =
        json_pack("{s:i,s:s,s:I,s:s,s:I}", "v", 1, "reason", entry->reason, "refused_at",
                  (json_int_t)now_ms, "stream", entry->stream, "from", (json_int_t)entry->from);
    if (object == NULL) /* a reason that is no UTF-8: it quotes what was sent */
        object = json_pack("{s:i,s:s,s:I,s:I}", "v", 1, "reason", "not UTF-8", "refused_at",
                           (json_int_t)now_ms, "from", (json_int_t)entry->from);
    if (announcement_document(&document, bytes, &ignored) == OK) {
        json_object_set_new(object, "announcement", document);
    } else {
        struct buf text = {0};
        if (bytes.len > RECEIPT_BYTES_MAX)
            bytes.len = RECEIPT_BYTES_MAX;
        base64_encode(bytes, &text);
        json_object_set_new(object, "bytes", json_string(buf_cstr(&text)));
        buf_free(&text);
    }
    json_encode(object, out);
    json_decref(object);
}

/* To refused/ under the same hash and range; the inbox object goes after the receipt. One
 * that isn't there any more, or isn't shown, is left alone: nothing goes from the inbox whose
 * refusal isn't kept. */
static int refused_put(const struct committer *committer, struct inbox_entry *entry,
                       enum put_condition condition, struct error *err)
{
    struct buf key = {0};
    struct buf bytes = {0};
    struct buf object = {0};
    struct objstore_info info = {0};
    key_of_refused_copy(entry->key, &key);
    int rc = objstore_get(committer->store, entry->key, ANNOUNCEMENT_BYTES_MAX, &bytes, &info, err);
    if (rc == ERROR_LIMIT)
        rc = objstore_get_range(committer->store, entry->key, 0, RECEIPT_BYTES_MAX, &bytes, &info,
                                err);
    if (rc == OK && info.found) {
        refused_encode(entry, buf_slice(&bytes), clock_wall_ms(committer_clock(committer)),
                       &object);
        rc = objstore_put_bytes(committer->store, buf_cstr(&key), buf_slice(&object), condition,
                                err);
    } else if (rc == OK) {
        entry->state = ENTRY_GONE;
    }
    if (rc != OK)
        rc = error_wrap(err, "refuse %s", entry->key);
    buf_free(&key);
    buf_free(&bytes);
    buf_free(&object);
    return rc;
}

int inbox_recall_refusal(const struct committer *committer, const char *table,
                         struct receipt *receipt, struct error *err)
{
    struct buf key = {0};
    struct buf bytes = {0};
    struct objstore_info info = {0};
    json_t *document = NULL;
    struct error ignored; /* one that doesn't read tells nothing */
    key_of_refused(table, receipt->stream, receipt->next, &key);
    int rc =
        objstore_get(committer->store, buf_cstr(&key), ANNOUNCEMENT_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && info.found &&
        announcement_document(&document, buf_slice(&bytes), &ignored) == OK) {
        const char *reason = json_string_value(json_object_get(document, "reason"));
        receipt->has_refused = reason != NULL;
        receipt->refused_from = receipt->next;
        receipt->refused_reason =
            reason != NULL ? arena_copy_cstr(&receipt->arena, slice_cstr(reason)) : NULL;
    }
    json_decref(document);
    buf_free(&key);
    buf_free(&bytes);
    return rc == ERROR_LIMIT ? OK : rc;
}

static bool in_state(const struct inbox_entry *entry, enum entry_state state)
{
    return !entry->finished && entry->state == state;
}

/* What is done for many entries of a page, each for itself. */
struct finishing {
    const struct committer *committer;
    const struct inbox_page *page;
    const struct stream_index *index;
    enum put_condition condition;
    size_t begin; /* of those that are under way */
    size_t count;
    size_t *at; /* places in the page */
};

static int refuse_one(void *context, size_t i, struct error *err)
{
    const struct finishing *f = context;
    return refused_put(f->committer, &f->page->entries[f->at[f->begin + i]], f->condition, err);
}

static int refusals_copy(struct finishing *f, struct error *err)
{
    int rc = OK;
    size_t end = 0;
    for (f->begin = 0; f->begin < f->count && rc == OK; f->begin = end) {
        uint64_t bytes = 0;
        for (end = f->begin; end < f->count; end++) {
            bytes += f->page->entries[f->at[end]].size;
            if (end > f->begin && bytes > side_by_side_bytes)
                break;
        }
        rc = objstore_each(f->committer->store, end - f->begin, refuse_one, f, err);
    }
    return rc;
}

/* All that the page has refused, on disk before anybody hears of it. */
static int refusals_put(struct finishing *f, struct error *err)
{
    f->count = 0;
    for (size_t i = 0; i < f->page->count; i++)
        if (in_state(&f->page->entries[i], ENTRY_REFUSED))
            f->at[f->count++] = i;
    if (f->count == 0)
        return OK;
    bool share = f->count > PLAIN_PUTS_MAX;
    f->condition = share ? PUT_UNSYNCED : PUT_ALWAYS;
    int rc = refusals_copy(f, err);
    if (rc == OK && share)
        rc = objstore_sync(f->committer->store, err);
    return rc == OK ? fault_point("commit.refused_written", err) : rc;
}

/* The receipt of one stream from its entries [begin, end). */
static int stream_receipt(const struct committer *committer, const struct inbox_page *page,
                          size_t begin, size_t end, const struct stream_row *row, struct error *err)
{
    struct receipt receipt;
    bool due = false;
    const char *stream = row != NULL ? row->stream : "";
    receipt_init(&receipt);
    receipt.next = row != NULL ? row->next : 0;
    receipt.committed_at_ms = row != NULL ? row->at_ms : 0;
    for (size_t i = begin; i < end; i++) {
        const struct inbox_entry *entry = &page->entries[i];
        if (*stream == 0)
            stream = entry->stream;
        due = due || in_state(entry, ENTRY_DEAD) || in_state(entry, ENTRY_TAKEN);
        if (in_state(entry, ENTRY_MISSING)) {
            receipt.has_missing = due = true;
            receipt.missing_from = entry->from;
        }
        if (in_state(entry, ENTRY_REFUSED) && !receipt.has_refused) {
            receipt.has_refused = due = true;
            receipt.refused_from = entry->from;
            receipt.refused_reason = entry->reason;
        }
    }
    int rc = OK;
    if (due && *stream != 0 && (row != NULL || receipt.has_missing || receipt.has_refused)) {
        receipt.stream = stream;
        rc = receipt_put(committer, &receipt, err);
    }
    receipt_free(&receipt);
    return rc;
}

static void entry_count(const struct inbox_entry *entry, const char *table,
                        struct commit_report *report)
{
    switch (entry->state) {
    case ENTRY_DEAD:
        report->dead++;
        if (entry->reason != NULL)
            report_note(report, NOTE_ALARM, table, entry->stream, entry->from, "%s", entry->reason);
        break;
    case ENTRY_MISSING:
        report->missing++;
        report_note(report, NOTE_MISSING, table, entry->stream, entry->from, "%s", entry->reason);
        break;
    case ENTRY_REFUSED:
        report->refused++;
        report_note(report, NOTE_REFUSED, table, entry->stream, entry->from, "%s", entry->reason);
        break;
    case ENTRY_RETIRED:
        report->retired++;
        report_note(report, NOTE_ALARM, table, entry->stream, entry->from,
                    "the stream is not in the ledger and its epoch is retired; not taken: was it "
                    "silent for long, or is this an old spool?");
        break;
    default:
        break;
    }
}

static int receipt_one(void *context, size_t i, struct error *err)
{
    const struct finishing *f = context;
    size_t begin = f->at[i];
    return stream_receipt(f->committer, f->page, begin, inbox_stream_end(f->page, begin),
                          stream_index_find(f->index, f->page->entries[begin].hash), err);
}

static int receipts_put(struct finishing *f, struct error *err)
{
    f->count = 0;
    for (size_t i = 0; i < f->page->count; i = inbox_stream_end(f->page, i))
        f->at[f->count++] = i;
    int rc = objstore_each(f->committer->store, f->count, receipt_one, f, err);
    return rc == OK ? fault_point("commit.receipts_written", err) : rc;
}

static bool is_to_go(const struct inbox_entry *entry)
{
    return entry->state == ENTRY_DEAD || entry->state == ENTRY_TAKEN ||
           entry->state == ENTRY_REFUSED;
}

static int entries_remove(const struct finishing *f, struct error *err)
{
    const char **keys = memory_alloc(f->count + 1, sizeof *keys);
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++) {
        const struct inbox_entry *entry = &f->page->entries[f->at[i]];
        if (is_to_go(entry))
            keys[count++] = entry->key;
    }
    int rc = objstore_remove_many(f->committer->store, keys, count, err);
    free(keys);
    return rc == OK && count > 0 ? fault_point("commit.inbox_removed", err) : rc;
}

static int entries_clear(struct finishing *f, const char *table, struct commit_report *report,
                         struct error *err)
{
    f->count = 0;
    for (size_t i = 0; i < f->page->count; i++) {
        const struct inbox_entry *entry = &f->page->entries[i];
        if (!entry->finished && entry->state != ENTRY_NEW && entry->state != ENTRY_LATER &&
            entry->state != ENTRY_WAITING)
            f->at[f->count++] = i;
    }
    int rc = entries_remove(f, err);
    for (size_t i = 0; i < f->count; i++) {
        struct inbox_entry *entry = &f->page->entries[f->at[i]];
        entry->finished = rc == OK || !is_to_go(entry);
        if (!entry->finished)
            continue;
        entry_count(entry, table, report);
        inbox_entry_drop(entry);
    }
    return rc;
}

int inbox_finish(const struct committer *committer, const char *table, struct inbox_page *page,
                 const struct stream_index *index, struct commit_report *report, struct error *err)
{
    struct finishing f = {.committer = committer, .page = page, .index = index};
    f.at = memory_alloc(page->count, sizeof *f.at);
    int rc = refusals_put(&f, err);
    if (rc == OK)
        rc = receipts_put(&f, err);
    if (rc == OK)
        rc = entries_clear(&f, table, report, err);
    free(f.at);
    return rc;
}

int store_prune(const struct committer *committer, const char *prefix, int64_t before_ms,
                const char *keep, const char *keep_too, struct error *err)
{
    enum { PAGE = 1000 };
    const char **keys = memory_alloc(PAGE, sizeof *keys);
    char *after = NULL;
    bool more = true;
    int rc = OK;
    while (more && rc == OK && !committer_is_to_stop(committer)) {
        struct objstore_list list = {0};
        rc = objstore_list(committer->store, prefix, after, PAGE, &list, err);
        if (rc != OK)
            break;
        size_t count = 0;
        for (size_t i = 0; i < list.count; i++) {
            const struct objstore_entry *entry = &list.entries[i];
            if (entry->modified_ms < before_ms && strcmp(entry->key, keep) != 0 &&
                strcmp(entry->key, keep_too) != 0)
                keys[count++] = entry->key;
        }
        rc = objstore_remove_many(committer->store, keys, count, err);
        more = list.more && list.count > 0;
        free(after);
        after = list.count > 0 ? memory_copy_cstr(list.entries[list.count - 1].key) : NULL;
        objstore_list_free(&list);
    }
    free(after);
    free(keys);
    return rc;
}
