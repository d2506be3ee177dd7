/* SPDX-License-Identifier: Apache-2.0
 *
 * inbox.h: a page of a table's inbox, what is known of each announcement in it, and what
 * is done with it once that is decided: receipts, refusals, removal.
 */
#ifndef CLOUD_INBOX_H
#define CLOUD_INBOX_H

#include "cloud/snapshot.h"

enum entry_state {
    ENTRY_NEW,
    ENTRY_GONE,    /* removed by somebody since it was listed */
    ENTRY_DEAD,    /* from is below next */
    ENTRY_WAITING, /* from is above next */
    ENTRY_RETIRED, /* its stream is behind the ledger's floor */
    ENTRY_REFUSED,
    ENTRY_MISSING, /* a file it names is not there */
    ENTRY_LATER,   /* the snapshot is full: it is for the next one */
    ENTRY_TAKEN,
};

struct inbox_entry {
    char *key;
    char hash[STREAM_HASH_SIZE];
    uint64_t from;
    uint64_t size;
    enum entry_state state;
    bool finished; /* what its state asks for is done: not looked at again */
    bool fetched;  /* announcement is filled */
    bool headed;   /* its files were there, with their bytes */
    bool unfit;    /* they were not, in this attempt: state and reason say why */
    bool settled;  /* not taken where it is next, by the load in hand: not fetched again for it */
    bool end_known;
    uint64_t end;  /* of a dead one, whose announcement is let go: its `to`; 0: it has none */
    size_t copied; /* of its files, because of their age; not yet counted */
    /* 0, or how old a copy looked that was just made: not yet told */
    int64_t ahead_ms;
    struct announcement announcement;
    const char **paths; /* of its files, after copies; in the announcement's arena */
    char *stream;       /* "" until known */
    char *reason;       /* for which it is refused; NULL */
};

/* A stream as the ledger has it, or as a page brings it. */
struct stream_row {
    char hash[STREAM_HASH_SIZE];
    const char *stream; /* borrowed from the ledger */
    uint64_t next;
    int64_t at_ms;
};

struct stream_index {
    size_t count;
    size_t cap;
    struct stream_row *rows; /* by hash */
};
void stream_index_build(struct stream_index *out, const struct ledger *ledger);
void stream_index_free(struct stream_index *index);
/* NULL: the ledger doesn't list it; its next is 0. */
const struct stream_row *stream_index_find(const struct stream_index *index, const char *hash);

struct inbox_page {
    size_t count;
    struct inbox_entry *entries; /* by key: the entries of a stream are together, in order */
    bool more;
    char *last_key;
    size_t stray_count; /* objects whose key is no announcement's: they are left alone */
    char *stray;        /* the first of them */
};
int inbox_list(const struct committer *committer, const char *table, const char *after,
               struct inbox_page *out, struct error *err) MUST_USE;
void inbox_page_free(struct inbox_page *page);
/* The first entry behind those of the stream that `begin` belongs to. */
size_t inbox_stream_end(const struct inbox_page *page, size_t begin);
/* The lowest `from` that a fresh list shows for a stream; *found false: none. */
int inbox_lowest(const struct committer *committer, const char *table, const char *hash,
                 uint64_t *from, bool *found, struct error *err) MUST_USE;

/* Brings and decodes it; the state becomes ENTRY_GONE or ENTRY_REFUSED where it is so. */
int inbox_fetch(const struct committer *committer, struct inbox_entry *entry,
                struct error *err) MUST_USE;
void inbox_refuse(struct inbox_entry *entry, const char *reason);
void inbox_entry_drop(struct inbox_entry *entry); /* the announcement's memory */

/* Sees to it that each file is there with its bytes; one that is old is copied to its next
 * name first, which is not yet synced (entry->copied). ENTRY_MISSING, ENTRY_REFUSED where it
 * is so. This and inbox_fetch touch nothing but the store and the entry. */
int inbox_check_files(const struct committer *committer, const char *table,
                      struct inbox_entry *entry, struct error *err) MUST_USE;

/* Receipts, refused objects, removal, for all entries of the page whose state asks for
 * it. `index` is the ledger that holds now. */
int inbox_finish(const struct committer *committer, const char *table, struct inbox_page *page,
                 const struct stream_index *index, struct commit_report *report,
                 struct error *err) MUST_USE;

/* Says in the receipt that the announcement at its next was refused, if that is kept: a
 * receipt that is written without it takes the agent's only word of it away. */
int inbox_recall_refusal(const struct committer *committer, const char *table,
                         struct receipt *receipt, struct error *err) MUST_USE;

int receipt_put(const struct committer *committer, const struct receipt *receipt,
                struct error *err) MUST_USE;

/* Removes objects below `prefix` that were written before before_ms, except the two keys. */
int store_prune(const struct committer *committer, const char *prefix, int64_t before_ms,
                const char *keep, const char *keep_too, struct error *err) MUST_USE;

#endif
