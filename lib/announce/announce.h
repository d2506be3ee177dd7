/* SPDX-License-Identifier: Apache-2.0
 *
 * announce.h: what passes between agent and commit service: announcement,
 * receipt, ledger, the table's contract, and where each lies in the store.
 *
 * Shapes are those of PROTOCOL.md, section 4, frozen by tests/golden. Keys that we don't
 * know are kept: the decoded form holds the JSON document it came from, and
 * encoding writes known keys over it. Integers are 64 bit, times epoch ms.
 * Everything decoded is hostile: counts, sizes and names are bounded, ranges
 * are ordered, numbers are in range, or it is ERROR_INPUT with the reason.
 *
 * Ownership  x_init makes an empty one, x_decode fills one, x_free releases all.
 *            Strings inside live in its arena: add with announcement_copy and kin.
 */
#ifndef LIB_ANNOUNCE_ANNOUNCE_H
#define LIB_ANNOUNCE_ANNOUNCE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/schema/schema.h"

enum {
    STREAM_NAME_MAX = 512,
    ANNOUNCEMENT_BYTES_MAX = 64 << 20,
    ANNOUNCEMENT_FILES_MAX = 100000,
    LEDGER_BYTES_MAX = 256 << 20,
    CONTRACT_BYTES_MAX = 4 << 20,
    RECEIPT_BYTES_MAX = 1 << 20,
};

struct lost_range {
    uint64_t from;
    uint64_t to;        /* half open, within the announcement's range */
    uint64_t events;    /* to - from for an own stream; less where the source had gaps */
    const char *reason; /* "disk_full", "bad_block", "records_gone", ... */
};

struct file_metric {
    int32_t field_id;
    int64_t size;
    int64_t values; /* -1: not given, as nulls and nans */
    int64_t nulls;
    int64_t nans;
    bool has_lower;
    bool has_upper;
    struct slice lower; /* Iceberg single-value bytes */
    struct slice upper;
};

struct data_file {
    const char *path; /* relative to the table: "data/..." */
    uint64_t offset;  /* 0; packed objects later */
    uint64_t size;
    uint32_t crc32c;
    uint64_t rows;
    int32_t spec;
    int32_t sort;
    size_t partition_count;
    struct partition_value partition[PARTITION_FIELDS_MAX];
    size_t split_count;
    int64_t *splits;
    size_t metric_count;
    struct file_metric *metrics;
};

struct announcement {
    const char *stream;
    const char *agent;
    uint64_t from;
    uint64_t to;
    const char *table;      /* "db.bid_requests" */
    const char *table_uuid; /* NULL: the agent had no contract */
    json_t *schema;         /* Iceberg schema JSON the files were written with */
    const char *writer;     /* "bidlake 0.1.0" */
    uint64_t events;
    uint64_t rows;
    int64_t sealed_at_ms;
    bool has_event_time; /* rows > 0 with a time column */
    int64_t event_time_min_ms;
    int64_t event_time_max_ms;
    size_t lost_count;
    struct lost_range *lost;
    size_t file_count;
    struct data_file *files;
    json_t *document; /* as decoded, with unknown keys; NULL when new */
    struct arena arena;
};

/* Lets go of the document, a tenth of whose memory the rest takes; unknown keys go with it.
 * The schema stays: it has a reference of its own. */
void announcement_detach(struct announcement *announcement);
void announcement_init(struct announcement *out);
void announcement_free(struct announcement *announcement);
void announcement_encode(const struct announcement *announcement, struct buf *out);
int announcement_decode(struct announcement *out, struct slice bytes, struct error *err) MUST_USE;
/* For one that announcement_decode refused, under the same bounds: its JSON, whatever it says;
 * and the stream that it says it is of, false if that is none. */
int announcement_document(json_t **out, struct slice bytes, struct error *err) MUST_USE;
bool announcement_stream_guess(struct slice bytes, char out[STREAM_NAME_MAX + 1]) MUST_USE;

struct receipt {
    const char *stream;
    uint64_t next;
    int64_t committed_at_ms; /* 0: not committed yet */
    bool has_missing;
    uint64_t missing_from;
    bool has_refused;
    uint64_t refused_from;
    const char *refused_reason;
    json_t *document;
    struct arena arena;
};
void receipt_init(struct receipt *out);
void receipt_free(struct receipt *receipt);
void receipt_encode(const struct receipt *receipt, struct buf *out);
int receipt_decode(struct receipt *out, struct slice bytes, struct error *err) MUST_USE;

/* A table's ledger: stream -> next, and what was lost. */
struct ledger;
struct ledger *ledger_make(const char *table_uuid);
void ledger_free(struct ledger *ledger);
/* zstd around the JSON, as stored. */
void ledger_encode(const struct ledger *ledger, struct buf *out);
int ledger_decode(struct ledger **out, struct slice bytes, struct error *err) MUST_USE;
const char *ledger_table_uuid_borrow(const struct ledger *ledger);
int64_t ledger_snapshot_id(const struct ledger *ledger);
void ledger_set_snapshot_id(struct ledger *ledger, int64_t snapshot_id);
/* 0 for a stream it doesn't know; *known says which (NULL is fine). */
uint64_t ledger_next(const struct ledger *ledger, const char *stream, bool *known);
/* next becomes `to` (never less than it is: ASSERT), `lost` is added to the stream's. */
void ledger_advance(struct ledger *ledger, const char *stream, uint64_t to, int64_t at_ms,
                    const struct lost_range *lost, size_t lost_count);
/* Drops own streams whose `at` is before that time and raises the floor to the newest
 * epoch so dropped; Kafka streams stay. How many were dropped. */
size_t ledger_retire(struct ledger *ledger, int64_t before_ms);
/* The newest retired epoch, or NULL. */
const char *ledger_floor_borrow(const struct ledger *ledger);
/* True when the stream is unlisted and its epoch is not above the floor. */
bool ledger_is_retired(const struct ledger *ledger, const char *stream);
typedef void ledger_visit(void *context, const char *stream, uint64_t next, int64_t at_ms,
                          const struct lost_range *lost, size_t lost_count);
void ledger_visit_streams(const struct ledger *ledger, ledger_visit *visit, void *context);

/* The table's contract: what an agent must know of a table. {"v":1,"table":"db.x",
 * "table_uuid":...,"updated_at":...,"schema":table_schema_encode's form} */
struct contract {
    char *table; /* "db.bid_requests" */
    char *table_uuid;
    int64_t updated_at_ms;
    struct table_schema schema;
};
void contract_free(struct contract *contract);
void contract_encode(const struct contract *contract, struct buf *out);
int contract_decode(struct contract *out, struct slice bytes, struct error *err) MUST_USE;

/* Streams. Own: "<agent>/<epoch>/<ns>.<table>"; the agent id is [A-Za-z0-9._-]{1,128}. */
int stream_name_make(char out[STREAM_NAME_MAX + 1], const char *agent, const char *epoch,
                     const char *table, struct error *err) MUST_USE;
/* An own stream's name or a Kafka stream's, with its table behind the last slash. */
bool stream_name_check(const char *stream, const char **table) MUST_USE;
/* The epoch's text within an own stream's name (36 bytes), NULL data for Kafka's. */
struct slice stream_epoch(const char *stream);
/* First 128 bits of SHA-256 of the name, in hex. */
enum { STREAM_HASH_SIZE = 33 }; /* with the NUL */
void stream_hash(const char *stream, char out[STREAM_HASH_SIZE]);

/* Keys in the store (PROTOCOL.md, section 3). `table` is "<namespace>.<table>"; of several
 * dots the last parts them. Each appends to `out`; read it with buf_cstr. */
void key_of_table(const char *table, struct buf *out); /* "db/bid_requests" */
void key_of_data_file(const char *table, const char *path, struct buf *out);
void key_of_inbox(const char *table, struct buf *out); /* with the closing slash */
void key_of_announcement(const char *table, const char *stream, uint64_t from, struct buf *out);
void key_of_contract(const char *table, struct buf *out);
void key_of_receipt(const char *stream, struct buf *out);
void key_of_ledgers(const char *table, struct buf *out); /* with the closing slash, as all lists */
void key_of_ledger(const char *table, int64_t snapshot_id, const char *random, struct buf *out);
void key_of_refusals(const char *table, struct buf *out);
void key_of_refused(const char *table, const char *stream, uint64_t from, struct buf *out);
/* Where the object at this key of an inbox is kept when it is refused. */
void key_of_refused_copy(const char *inbox_key, struct buf *out);
/* Notes of dropped snapshots: cloud/README.md. */
void key_of_dropped(const char *table, struct buf *out);
void key_of_dropped_note(const char *table, int64_t snapshot_id, const char *random,
                         struct buf *out);
void key_of_probe(const char *agent, struct buf *out);
/* "data/[<partition path>/]<stream hash>-<from>-<to>-<n>.parquet" */
void data_file_path(const char *partition_path, const char *stream, uint64_t from, uint64_t to,
                    unsigned n, struct buf *out);
/* True for a path that data_file_path could have made for this stream: below data/,
 * no empty, "." or ".." segment, no control characters, ends in <hash>-...-n.parquet. */
bool data_file_path_check(const char *path, const char *stream) MUST_USE;
/* The same path with the next n, for a copy of an old file. */
bool data_file_path_next(const char *path, struct buf *out) MUST_USE;

#endif
