/* SPDX-License-Identifier: Apache-2.0
 *
 * record.c: what lies in the spool, byte by byte.
 *
 * A spool is a directory:
 *   data.mdb, lock.mdb  one LMDB environment of the seven databases below
 *   lock                held (flock) by the process that writes; its text is the pid, and
 *                       " closed" behind it once that has closed the spool well
 *   sealed/             Parquet files, a cache: emptied at each open for writing
 *   set-aside/          <UTC time>-<n>/: environments that did not read, as they were
 *   quarantine/         <stream hash>-<first, 20 digits>.block: values that did not read
 *
 * Integers in values are little-endian, in keys big-endian so that LMDB's order is
 * theirs. crc is CRC-32C. The stream hash is the first 16 bytes of SHA-256 of the name.
 *
 * meta         "format"     u32: 1. A reader refuses what is greater.
 *              "agent"      the agent's id
 *              "epoch"      36 bytes: UUIDv7 of the last open for writing, above all before
 *              "epochs"     the newest 256 of them, oldest first, 36 bytes each
 *              "stream_id"  u32: next id to be given; ids are never given twice
 *              "nudge"      of no meaning: rewritten where an empty commit is needed
 * streams      key: stream hash
 *              0 u32 id           4 u32 name length      8 u64 begin     16 u64 sealed
 *              24 u64 end         32 u64 next            40 u64 announced
 *              48 i64 committed_at_ms                    56 i64 open_since_ms
 *              64 u64 open_bytes  72 u64 open_rows       80 u64 open_blocks
 *              88 u64 open_schema 96 u64 open_cut        104 u64 bytes
 *              112 name, then u32 crc of all before
 * blocks       key: u32 stream id, u64 first position
 *              0 u32 "BLK1"       4 u8 codec (0: plain), three zero bytes
 *              8 u64 first        16 u32 event_count     20 u32 row_count
 *              24 u64 schema_key  32 i64 time_min_us     40 i64 time_max_us
 *              48 u32 payload length                     52 u32 crc of the payload
 *              56 u32 stream id   60 u32 crc of bytes 0 .. 59
 *              64 payload: row images
 * segments     key: u32 stream id, u64 from
 *              0 u64 to           8 u64 schema_key       16 i64 sealed_at_ms
 *              24 i64 announced_at_ms                    32 u32 generation
 *              36 u8 state (0 sealed, 1 built, 2 announced)
 *              37 u8 records_gone 38 two zero bytes      40 u32 payload length
 *              44 payload, then u32 crc of all before
 * lost         key: u32 stream id, u64 from
 *              0 u64 to           8 u64 events           16 u32 reason length
 *              20 reason, then u32 crc of all before
 * schemas      key: u64 schema_key; value: the encoded table_schema
 * checkpoints  key and value are the source's
 *
 * A header has a checksum of its own so that a block whose rows are damaged still says
 * how many events it held.
 *
 * Order of writes. Each change of state is one LMDB transaction: blocks, the counters
 * of their stream, and the checkpoints they stand for; a segment and the stream's
 * `sealed`; a receipt's `next`, the segments and lost ranges below it. LMDB writes new
 * pages beside the live ones, syncs, then switches by one meta page through an O_DSYNC
 * descriptor; only then is anybody answered. Removal of many blocks is cut into several
 * transactions, after the first has moved `begin` (or set records_gone) past them; what
 * a crash leaves is swept at the next open. A file of sealed/ is never needed by a
 * SEALED segment, and at an open every BUILT segment becomes SEALED before sealed/ is
 * emptied. A damaged block is in quarantine/, synced, before its removal commits.
 */
#include "spool/record.h"

#include "lib/base/assert.h"
#include "lib/base/bytes.h"
#include "lib/base/digest.h"

enum {
    BLOCK_MAGIC = 0x314b4c42,
    STREAM_FIXED_SIZE = 112,
    SEGMENT_FIXED_SIZE = 44,
    LOST_FIXED_SIZE = 20,
    CRC_SIZE = 4,
};

void range_key_encode(uint32_t stream_id, uint64_t from, uint8_t out[RANGE_KEY_SIZE])
{
    put_u32be(out, stream_id);
    put_u64be(out + 4, from);
}

int range_key_decode(struct slice key, uint32_t *stream_id, uint64_t *from, struct error *err)
{
    if (key.len != RANGE_KEY_SIZE)
        return error_set(err, ERROR_CORRUPT, "a key of %zu bytes", key.len);
    *stream_id = get_u32be(key.data);
    *from = get_u64be(key.data + 4);
    return OK;
}

void stream_key_encode(const char *name, uint8_t out[STREAM_KEY_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    sha256(slice_cstr(name), digest);
    memcpy(out, digest, STREAM_KEY_SIZE);
}

void block_header_encode(const struct block_header *header, uint8_t out[BLOCK_HEADER_SIZE])
{
    ASSERT(header->event_count > 0);
    put_u32le(out, BLOCK_MAGIC);
    put_u32le(out + 4, 0);
    put_u64le(out + 8, header->first);
    put_u32le(out + 16, header->event_count);
    put_u32le(out + 20, header->row_count);
    put_u64le(out + 24, header->schema_key);
    put_u64le(out + 32, (uint64_t)header->time_min_us);
    put_u64le(out + 40, (uint64_t)header->time_max_us);
    put_u32le(out + 48, header->payload_len);
    put_u32le(out + 52, header->payload_crc);
    put_u32le(out + 56, header->stream_id);
    put_u32le(out + 60, crc32c(0, slice_of(out, 60)));
}

int block_header_decode(struct slice key, struct slice value, struct block_header *out,
                        struct error *err)
{
    uint32_t stream_id = 0;
    uint64_t first = 0;
    int rc = range_key_decode(key, &stream_id, &first, err);
    if (rc != OK)
        return rc;
    if (value.len < BLOCK_HEADER_SIZE)
        return error_set(err, ERROR_CORRUPT, "%zu bytes are no block header", value.len);
    const uint8_t *at = value.data;
    if (get_u32le(at + 60) != crc32c(0, slice_of(at, 60)))
        return error_set(err, ERROR_CORRUPT, "the block header's checksum does not match");
    *out = (struct block_header){
        .first = get_u64le(at + 8),
        .event_count = get_u32le(at + 16),
        .row_count = get_u32le(at + 20),
        .schema_key = get_u64le(at + 24),
        .time_min_us = (int64_t)get_u64le(at + 32),
        .time_max_us = (int64_t)get_u64le(at + 40),
        .payload_len = get_u32le(at + 48),
        .payload_crc = get_u32le(at + 52),
        .stream_id = get_u32le(at + 56),
    };
    if (get_u32le(at) != BLOCK_MAGIC || get_u32le(at + 4) != 0)
        return error_set(err, ERROR_CORRUPT, "unknown block version or codec");
    if (out->stream_id != stream_id || out->first != first)
        return error_set(err, ERROR_CORRUPT, "the block belongs to another place");
    if (out->event_count == 0 || first > UINT64_MAX - out->event_count)
        return error_set(err, ERROR_CORRUPT, "impossible event count %u", out->event_count);
    if (out->payload_len != value.len - BLOCK_HEADER_SIZE)
        return error_set(err, ERROR_CORRUPT, "%zu bytes of rows where %u were written",
                         value.len - BLOCK_HEADER_SIZE, out->payload_len);
    return OK;
}

int block_payload(const struct block_header *header, struct slice value, struct slice *out,
                  struct error *err)
{
    ASSERT(value.len == BLOCK_HEADER_SIZE + (size_t)header->payload_len);
    *out = slice_of(value.data + BLOCK_HEADER_SIZE, header->payload_len);
    if (crc32c(0, *out) != header->payload_crc)
        return error_set(err, ERROR_CORRUPT, "the rows' checksum does not match");
    return OK;
}

static void put_crc(struct buf *out, size_t start)
{
    ASSERT(!buf_failed(out));
    buf_put_u32le(out, crc32c(0, slice_of(out->data + start, out->len - start)));
}

/* The record must be fixed bytes, a tail whose u32 length stands at `len_at`, a crc. */
static int check_frame(struct slice value, size_t fixed, size_t len_at, struct slice *tail,
                       struct error *err)
{
    if (value.len < fixed + CRC_SIZE)
        return error_set(err, ERROR_CORRUPT, "a record of %zu bytes", value.len);
    size_t body = value.len - CRC_SIZE;
    if (get_u32le(value.data + body) != crc32c(0, slice_of(value.data, body)))
        return error_set(err, ERROR_CORRUPT, "the record's checksum does not match");
    if (get_u32le(value.data + len_at) != body - fixed)
        return error_set(err, ERROR_CORRUPT, "the record's length does not match");
    *tail = slice_of(value.data + fixed, body - fixed);
    return OK;
}

void stream_record_encode(const struct stream_record *record, struct buf *out)
{
    size_t start = out->len;
    size_t name_len = strlen(record->name);
    ASSERT(record->begin <= record->sealed && record->sealed <= record->end);
    buf_put_u32le(out, record->id);
    buf_put_u32le(out, (uint32_t)name_len);
    buf_put_u64le(out, record->begin);
    buf_put_u64le(out, record->sealed);
    buf_put_u64le(out, record->end);
    buf_put_u64le(out, record->next);
    buf_put_u64le(out, record->announced);
    buf_put_u64le(out, (uint64_t)record->committed_at_ms);
    buf_put_u64le(out, (uint64_t)record->open_since_ms);
    buf_put_u64le(out, record->open_bytes);
    buf_put_u64le(out, record->open_rows);
    buf_put_u64le(out, record->open_blocks);
    buf_put_u64le(out, record->open_schema);
    buf_put_u64le(out, record->open_cut);
    buf_put_u64le(out, record->bytes);
    ASSERT(out->len - start == STREAM_FIXED_SIZE);
    buf_put(out, record->name, name_len);
    put_crc(out, start);
}

int stream_record_decode(struct slice value, struct stream_record *out, struct error *err)
{
    struct slice name = {0};
    int rc = check_frame(value, STREAM_FIXED_SIZE, 4, &name, err);
    if (rc != OK)
        return rc;
    const uint8_t *at = value.data;
    out->id = get_u32le(at);
    out->begin = get_u64le(at + 8);
    out->sealed = get_u64le(at + 16);
    out->end = get_u64le(at + 24);
    out->next = get_u64le(at + 32);
    out->announced = get_u64le(at + 40);
    out->committed_at_ms = (int64_t)get_u64le(at + 48);
    out->open_since_ms = (int64_t)get_u64le(at + 56);
    out->open_bytes = get_u64le(at + 64);
    out->open_rows = get_u64le(at + 72);
    out->open_blocks = get_u64le(at + 80);
    out->open_schema = get_u64le(at + 88);
    out->open_cut = get_u64le(at + 96);
    out->bytes = get_u64le(at + 104);
    if (name.len == 0 || name.len > SPOOL_STREAM_NAME_MAX ||
        memchr(name.data, 0, name.len) != NULL || out->begin > out->sealed ||
        out->sealed > out->end)
        return error_set(err, ERROR_CORRUPT, "the stream's record contradicts itself");
    memcpy(out->name, name.data, name.len);
    out->name[name.len] = 0;
    return OK;
}

void segment_record_encode(const struct segment_record *record, struct buf *out)
{
    size_t start = out->len;
    ASSERT(record->payload.len <= SPOOL_BATCH_BYTES_MAX);
    buf_put_u64le(out, record->to);
    buf_put_u64le(out, record->schema_key);
    buf_put_u64le(out, (uint64_t)record->sealed_at_ms);
    buf_put_u64le(out, (uint64_t)record->announced_at_ms);
    buf_put_u32le(out, record->generation);
    buf_put_u8(out, (uint8_t)record->state);
    buf_put_u8(out, record->records_gone);
    buf_put_u16le(out, 0);
    buf_put_u32le(out, (uint32_t)record->payload.len);
    ASSERT(out->len - start == SEGMENT_FIXED_SIZE);
    buf_put_slice(out, record->payload);
    put_crc(out, start);
}

int segment_record_decode(uint64_t from, struct slice value, struct segment_record *out,
                          struct error *err)
{
    struct slice payload = {0};
    int rc = check_frame(value, SEGMENT_FIXED_SIZE, 40, &payload, err);
    if (rc != OK)
        return rc;
    const uint8_t *at = value.data;
    if (at[36] > SEGMENT_ANNOUNCED || at[37] > 1 || at[38] != 0 || at[39] != 0 ||
        get_u64le(at) <= from)
        return error_set(err, ERROR_CORRUPT, "the segment's record contradicts itself");
    *out = (struct segment_record){
        .to = get_u64le(at),
        .schema_key = get_u64le(at + 8),
        .sealed_at_ms = (int64_t)get_u64le(at + 16),
        .announced_at_ms = (int64_t)get_u64le(at + 24),
        .generation = get_u32le(at + 32),
        .state = (enum segment_state)at[36],
        .records_gone = at[37] == 1,
        .payload = payload,
    };
    return OK;
}

enum segment_state segment_record_state(struct slice value)
{
    return value.len >= SEGMENT_FIXED_SIZE ? (enum segment_state)value.data[36] : SEGMENT_SEALED;
}

void lost_record_encode(const struct lost_record *record, struct buf *out)
{
    size_t start = out->len;
    size_t reason_len = strlen(record->reason);
    buf_put_u64le(out, record->to);
    buf_put_u64le(out, record->events);
    buf_put_u32le(out, (uint32_t)reason_len);
    ASSERT(out->len - start == LOST_FIXED_SIZE);
    buf_put(out, record->reason, reason_len);
    put_crc(out, start);
}

int lost_record_decode(uint64_t from, struct slice value, struct lost_record *out,
                       struct error *err)
{
    struct slice reason = {0};
    int rc = check_frame(value, LOST_FIXED_SIZE, 16, &reason, err);
    if (rc != OK)
        return rc;
    out->to = get_u64le(value.data);
    out->events = get_u64le(value.data + 8);
    if (out->to <= from || reason.len > SPOOL_REASON_MAX ||
        memchr(reason.data, 0, reason.len) != NULL)
        return error_set(err, ERROR_CORRUPT, "the lost range's record contradicts itself");
    memcpy(out->reason, reason.data, reason.len);
    out->reason[reason.len] = 0;
    return OK;
}
