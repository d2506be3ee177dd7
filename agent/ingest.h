/* SPDX-License-Identifier: Apache-2.0
 *
 * ingest.h: `bidlake-agent ingest TABLE [FILE...]`: lines of files through the same
 * spool, roller and upload as the daemon's events. Private to agent/.
 *
 * A batch of lines and the file's new offset are one transaction of the spool, so a run
 * after a crash goes on where the last one was durable, and nothing is taken twice.
 *
 * Threads  the caller's reads, shreds and appends; one more seals, builds and uploads.
 */
#ifndef AGENT_INGEST_H
#define AGENT_INGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/config.h"
#include "agent/roller.h"
#include "lib/base/error.h"
#include "lib/schema/mapping.h"
#include "lib/shred/shred.h"

enum { INGEST_REFUSALS_SHOWN = 10 };

struct ingest_refusal {
    char *file;
    uint64_t line;
    struct refusal refusal;
};

struct ingest_report {
    uint64_t events;
    uint64_t rows;
    uint64_t refused;
    uint64_t refused_by_reason[REFUSED_REASON_COUNT];
    size_t shown_count;
    struct ingest_refusal shown[INGEST_REFUSALS_SHOWN];
    struct shred_statistics shred; /* coerced_to_null belongs to the report */
    uint64_t bytes_in;             /* of plain text */
    uint64_t files_put;
    uint64_t bytes_put;
    uint64_t segments;
    uint64_t files_skipped; /* remembered as taken to their end */
    double seconds;
    int64_t read_ns; /* CPU by stage, with `roller` */
    int64_t shred_ns;
    int64_t spool_ns;
    int64_t upload_ns;
    struct roller_statistics roller;
};
void ingest_report_free(struct ingest_report *report);

struct ingest_options {
    const struct agent_config *config;
    const struct mapping *mapping;
    const char *const *files; /* "-" is standard input */
    size_t file_count;
    bool again;    /* takes remembered files anew */
    bool progress; /* on stderr */
};

/* Returns when everything that was read is announced. The report says what was done up
 * to an error as well. ERROR_INPUT: an input that doesn't read to its end. ERROR_RETRY:
 * the deadline passed before all was announced; the spool keeps it. */
int ingest_run(const struct ingest_options *options, struct ingest_report *report,
               struct error *err) MUST_USE;

/* Asks a running ingest to stop at the next line, deliver what it has (unless the store
 * fails: then it stays in the spool) and return ERROR_RETRY. Safe in a signal handler. */
void ingest_stop(void);

#endif
