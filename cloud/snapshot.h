/* SPDX-License-Identifier: Apache-2.0
 *
 * snapshot.h: a table as one load shows it, with its ledger, and the one way in which we
 * change it: a snapshot that carries data files (or none) and the next ledger.
 */
#ifndef CLOUD_SNAPSHOT_H
#define CLOUD_SNAPSHOT_H

#include "cloud/commit.h"

enum { NAME_MAX_BYTES = 255 };

/* "db.bid_requests" in its two parts. */
struct table_name {
    const char *full;
    char ns[NAME_MAX_BYTES + 1];
    char name[NAME_MAX_BYTES + 1];
};
int table_name_parse(struct table_name *out, const char *full, struct error *err) MUST_USE;

/* The contract, read before the load: a property that it proves to have been set must be
 * in every later load. */
struct contract_state {
    bool found;
    struct contract contract;
};
int contract_state_read(const struct committer *committer, const char *table,
                        struct contract_state *out, struct error *err) MUST_USE;
void contract_state_free(struct contract_state *state);

struct table_state {
    struct catalog_table loaded;
    struct ledger *ledger; /* NULL: the table has no ledger yet */
    char *ledger_key;
};
void table_state_free(struct table_state *state);

/* Loads the table and its ledger, and checks what an alarm stands for (lib/announce/PROTOCOL.md);
 * the alarms go into the report. A table without a ledger that never had one is ERROR_INPUT,
 * unless `fresh_is_fine`. */
int table_state_load(const struct committer *committer, const struct table_name *table,
                     const struct contract_state *contract, bool fresh_is_fine,
                     struct table_state *out, struct commit_report *report,
                     struct error *err) MUST_USE;

/* A data file to commit: what the announcement says, and the path it has now. */
struct append_file {
    const struct data_file *file;
    const char *path; /* relative to the table */
};

struct append {
    const struct append_file *files;
    size_t file_count;
    struct ledger *ledger;  /* the next one; its snapshot id is set here */
    int64_t send_before_ms; /* monotonic; 0: no limit. Past it nothing is sent: ERROR_RETRY */
    int64_t snapshot_id;    /* out: set before anything is sent */
};

/* Writes manifests, manifest list and ledger, then swaps. ERROR_CONFLICT, ERROR_RETRY:
 * load again, decide again. ERROR_INPUT: see snapshot_refusal_is_conflict. */
int snapshot_append(const struct committer *committer, const struct table_name *table,
                    const struct table_state *state, struct append *append,
                    struct error *err) MUST_USE;

/* A refusal of a commit that was built on `before` is a lost race when main or the last
 * sequence number has moved since. */
bool snapshot_refusal_is_conflict(const struct table_state *before,
                                  const struct table_state *after);
/* The same by a load of its own: ERROR_RETRY, or the refusal that stands in `err`. */
int snapshot_refusal_judge(const struct committer *committer, const struct table_name *table,
                           const struct table_state *before, struct error *err) MUST_USE;

/* Seeded in a simulation, the system's otherwise. */
void committer_random(const struct committer *committer, void *out, size_t len);
void committer_uuid(const struct committer *committer, char out[UUID_TEXT_SIZE]);
const struct clock *committer_clock(const struct committer *committer);
bool committer_is_to_stop(const struct committer *committer);
/* OK, or the error of a turn that was asked to stop. */
int committer_go_on(const struct committer *committer, struct commit_report *report,
                    struct error *err) MUST_USE;
/* Full jitter below 100 ms * 2^attempt, at most 30 s; ends when it is to stop. */
void committer_back_off(const struct committer *committer, unsigned attempt);

/* Below: the report. The table that is begun has its own room for notes. */
void report_begin_table(struct commit_report *report);
void report_note(struct commit_report *report, enum commit_note_kind kind, const char *table,
                 const char *stream, uint64_t from, const char *format, ...)
    __attribute__((format(printf, 6, 7)));

#endif
