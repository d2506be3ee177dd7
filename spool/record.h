/* SPDX-License-Identifier: Apache-2.0
 *
 * record.h: the spool's records as bytes and back; the layout stands in record.c.
 *
 * Pure: no LMDB, no clock, no allocation but the caller's buffer. Decoded slices point
 * into the input. What does not read back is ERROR_CORRUPT with the reason.
 */
#ifndef SPOOL_RECORD_H
#define SPOOL_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "spool/spool.h"

enum {
    SPOOL_FORMAT_VERSION = 1,
    RANGE_KEY_SIZE = 12,
    STREAM_KEY_SIZE = 16,
    BLOCK_HEADER_SIZE = 64,
    SPOOL_REASON_MAX = 64,
    SPOOL_CHECKPOINT_KEY_MAX = 400,
    SPOOL_SCHEMA_BYTES_MAX = 4 << 20,
};

/* Of blocks, segments and lost ranges. */
void range_key_encode(uint32_t stream_id, uint64_t from, uint8_t out[RANGE_KEY_SIZE]);
int range_key_decode(struct slice key, uint32_t *stream_id, uint64_t *from,
                     struct error *err) MUST_USE;
void stream_key_encode(const char *name, uint8_t out[STREAM_KEY_SIZE]);

struct block_header {
    uint32_t stream_id;
    uint64_t first;
    uint32_t event_count;
    uint32_t row_count;
    uint64_t schema_key;
    int64_t time_min_us;
    int64_t time_max_us;
    uint32_t payload_len;
    uint32_t payload_crc;
};

void block_header_encode(const struct block_header *header, uint8_t out[BLOCK_HEADER_SIZE]);
/* Checks the header against its own checksum, its key and the value's length; the
 * payload is not looked at. */
int block_header_decode(struct slice key, struct slice value, struct block_header *out,
                        struct error *err) MUST_USE;
/* The rows behind a header that was decoded from the same value, checksum verified. */
int block_payload(const struct block_header *header, struct slice value, struct slice *out,
                  struct error *err) MUST_USE;

struct stream_record {
    uint32_t id;
    uint64_t begin;
    uint64_t sealed;
    uint64_t end;
    uint64_t next;
    uint64_t announced;
    int64_t committed_at_ms;
    int64_t open_since_ms;
    uint64_t open_bytes;
    uint64_t open_rows;
    uint64_t open_blocks;
    uint64_t open_schema; /* of the first open block; of no meaning when there is none */
    uint64_t open_cut;    /* first position of another schema; 0: none */
    uint64_t bytes;
    char name[SPOOL_STREAM_NAME_MAX + 1];
};

void stream_record_encode(const struct stream_record *record, struct buf *out);
int stream_record_decode(struct slice value, struct stream_record *out, struct error *err) MUST_USE;

struct segment_record {
    uint64_t to;
    uint64_t schema_key;
    int64_t sealed_at_ms;
    int64_t announced_at_ms;
    uint32_t generation;
    enum segment_state state;
    bool records_gone;
    struct slice payload;
};

void segment_record_encode(const struct segment_record *record, struct buf *out);
int segment_record_decode(uint64_t from, struct slice value, struct segment_record *out,
                          struct error *err) MUST_USE;

/* The state alone, nothing else looked at; a record that is too short counts as sealed. */
enum segment_state segment_record_state(struct slice value);

struct lost_record {
    uint64_t to;
    uint64_t events;
    char reason[SPOOL_REASON_MAX + 1];
};

void lost_record_encode(const struct lost_record *record, struct buf *out);
int lost_record_decode(uint64_t from, struct slice value, struct lost_record *out,
                       struct error *err) MUST_USE;

#endif
