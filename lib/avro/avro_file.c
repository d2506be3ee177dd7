/* SPDX-License-Identifier: Apache-2.0
 *
 * Object container files:
 *
 *   "Obj" 01, metadata (a map of string to bytes), 16 bytes of sync marker
 *   blocks: rows (varint), bytes (varint), the rows (by codec), the sync marker
 *
 * The marker that we write is made from the metadata, not by chance: equal content
 * gives equal bytes. It only has to be unlikely among the rows, for readers that
 * look for the next block.
 */
#include "lib/avro/avro.h"

#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "lib/base/assert.h"
#include "lib/base/digest.h"

enum { CODEC_NULL, CODEC_DEFLATE, CODEC_ZSTANDARD };
enum { PAIRS_MAX = 1000, BLOCK_SIZE = 64 << 10 };

static const uint8_t magic[4] = {'O', 'b', 'j', 1};

/* ---- writing ---- */

static void put_counted(struct buf *out, struct slice bytes)
{
    buf_put_varint(out, (int64_t)bytes.len);
    buf_put_slice(out, bytes);
}

void avro_writer_init(struct avro_writer *writer, struct buf *out, const struct avro_pair *pairs,
                      size_t pair_count)
{
    *writer = (struct avro_writer){.out = out};
    writer->block.max = out->max;
    size_t start = out->len;
    buf_put(out, magic, sizeof magic);
    buf_put_varint(out, (int64_t)pair_count + 1);
    put_counted(out, slice_cstr("avro.codec"));
    put_counted(out, slice_cstr("null"));
    for (size_t i = 0; i < pair_count; i++) {
        put_counted(out, slice_cstr(pairs[i].key));
        put_counted(out, pairs[i].value);
    }
    buf_put_varint(out, 0);
    if (buf_failed(out))
        return;
    uint8_t digest[SHA256_SIZE];
    sha256(slice_of(out->data + start, out->len - start), digest);
    memcpy(writer->sync, digest, sizeof writer->sync);
    buf_put(out, writer->sync, sizeof writer->sync);
}

static void flush_block(struct avro_writer *writer)
{
    if (writer->rows == 0)
        return;
    buf_put_varint(writer->out, writer->rows);
    put_counted(writer->out, buf_slice(&writer->block));
    buf_put(writer->out, writer->sync, sizeof writer->sync);
    if (buf_failed(&writer->block))
        writer->out->failed = true;
    buf_reset(&writer->block);
    writer->rows = 0;
}

void avro_writer_end_row(struct avro_writer *writer)
{
    writer->rows++;
    if (writer->block.len >= BLOCK_SIZE || buf_failed(&writer->block))
        flush_block(writer);
}

void avro_writer_finish(struct avro_writer *writer)
{
    flush_block(writer);
    buf_free(&writer->block);
}

/* ---- reading ---- */

static int read_header(struct avro_reader *reader, struct avro_cursor *cursor, struct error *err)
{
    static const struct avro_type text = {.kind = AVRO_BYTES};
    struct slice start = avro_read_raw(cursor, sizeof magic);
    if (!slice_equal(start, slice_of(magic, sizeof magic)))
        return error_set(err, ERROR_INPUT, "avro: no container file");
    struct avro_pair *pairs = arena_alloc(reader->arena, PAIRS_MAX, sizeof *pairs);
    struct avro_items items = {0};
    while (avro_items_next(cursor, &items)) {
        struct slice key = {0};
        struct slice value = {0};
        if (reader->pair_count == PAIRS_MAX)
            return error_set(err, ERROR_LIMIT, "avro: too much metadata");
        if (avro_read_bytes(cursor, &text, &key) && avro_read_bytes(cursor, &text, &value)) {
            struct avro_pair *pair = &pairs[reader->pair_count++];
            pair->key = arena_copy_cstr(reader->arena, key);
            pair->value = arena_copy(reader->arena, value);
        }
    }
    reader->pairs = pairs;
    struct slice sync = avro_read_raw(cursor, sizeof reader->sync);
    if (cursor->failed)
        return error_set(err, ERROR_INPUT, "avro: the header is cut short or damaged");
    memcpy(reader->sync, sync.data, sizeof reader->sync);
    return OK;
}

struct slice avro_reader_meta(const struct avro_reader *reader, const char *key)
{
    for (size_t i = 0; i < reader->pair_count; i++) {
        if (strcmp(reader->pairs[i].key, key) == 0)
            return reader->pairs[i].value;
    }
    return slice_of(NULL, 0);
}

int avro_reader_init(struct avro_reader *out, struct arena *arena, struct slice bytes,
                     size_t plain_max, struct error *err)
{
    *out = (struct avro_reader){.arena = arena, .plain_left = plain_max};
    struct avro_cursor cursor;
    avro_cursor_init(&cursor, bytes);
    int rc = read_header(out, &cursor, err);
    if (rc != OK)
        return rc;
    out->rest = slice_of(cursor.at, (size_t)(cursor.end - cursor.at));
    struct slice codec = avro_reader_meta(out, "avro.codec");
    if (codec.data == NULL || slice_is(codec, "null"))
        out->codec = CODEC_NULL;
    else if (slice_is(codec, "deflate"))
        out->codec = CODEC_DEFLATE;
    else if (slice_is(codec, "zstandard"))
        out->codec = CODEC_ZSTANDARD;
    else
        return error_set(err, ERROR_INPUT, "avro: codec %.*s is not supported",
                         (int)(codec.len < 40 ? codec.len : 40), (const char *)codec.data);
    struct slice schema = avro_reader_meta(out, "avro.schema");
    if (schema.data == NULL)
        return error_set(err, ERROR_INPUT, "avro: no schema in the header");
    return avro_schema_decode(&out->type, arena, schema, err);
}

int avro_inflate(struct buf *out, struct slice bytes, int window_bits, struct error *err)
{
    z_stream stream = {0};
    int rc = inflateInit2(&stream, window_bits);
    ASSERT(rc == Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)bytes.data;
    size_t left = bytes.len;
    do {
        uInt room = 32 << 10;
        if (!buf_reserve(out, 1))
            break;
        if (out->max != 0 && room > out->max - out->len)
            room = (uInt)(out->max - out->len);
        stream.next_out = buf_extend(out, room);
        stream.avail_out = room;
        if (stream.avail_in == 0) {
            stream.avail_in = (uInt)(left < (1u << 30) ? left : (1u << 30));
            left -= stream.avail_in;
        }
        rc = inflate(&stream, Z_NO_FLUSH);
        out->len -= stream.avail_out;
    } while (rc == Z_OK);
    bool tail = stream.avail_in > 0 || left > 0;
    inflateEnd(&stream);
    if (buf_failed(out))
        return error_set(err, ERROR_LIMIT, "more than %zu bytes when inflated", out->max);
    if (rc != Z_STREAM_END)
        return error_set(err, ERROR_INPUT, "deflated data is cut short or damaged");
    /* Raw, three bytes are common: PyIceberg leaves most of zlib's checksum on. */
    if (tail && window_bits > 0)
        return error_set(err, ERROR_INPUT, "bytes behind the deflated data");
    return OK;
}

static int unpack_zstandard(struct buf *out, struct slice bytes, struct error *err)
{
    ZSTD_DStream *stream = ZSTD_createDStream();
    ASSERT(stream != NULL);
    ZSTD_inBuffer in = {.src = bytes.data, .size = bytes.len};
    size_t room = ZSTD_DStreamOutSize();
    size_t rc = 1;
    bool full;
    do {
        if (!buf_reserve(out, 1))
            break;
        size_t size = out->max != 0 && room > out->max - out->len ? out->max - out->len : room;
        ZSTD_outBuffer to = {.dst = buf_extend(out, size), .size = size};
        rc = ZSTD_decompressStream(stream, &to, &in);
        out->len -= size - to.pos;
        full = to.pos == to.size;
    } while (!ZSTD_isError(rc) && (in.pos < in.size || (rc != 0 && full)));
    ZSTD_freeDStream(stream);
    if (buf_failed(out))
        return error_set(err, ERROR_LIMIT, "more than %zu bytes when unpacked", out->max);
    if (rc != 0)
        return error_set(err, ERROR_INPUT, "zstandard data is cut short or damaged");
    return OK;
}

static int unpack_block(struct avro_reader *reader, struct slice packed, struct slice *out,
                        struct error *err)
{
    if (reader->codec == CODEC_NULL) {
        if (packed.len > reader->plain_left)
            return error_set(err, ERROR_LIMIT, "avro: more bytes than allowed");
        *out = arena_copy(reader->arena, packed);
    } else {
        struct buf plain;
        buf_init(&plain, reader->plain_left);
        int rc = ERROR_LIMIT;
        if (reader->plain_left == 0) /* a ceiling of 0 would be none */
            error_set(err, ERROR_LIMIT, "more bytes than allowed");
        else if (reader->codec == CODEC_DEFLATE)
            rc = avro_inflate(&plain, packed, -15, err);
        else
            rc = unpack_zstandard(&plain, packed, err);
        if (rc == OK)
            *out = arena_copy(reader->arena, buf_slice(&plain));
        buf_free(&plain);
        if (rc != OK)
            return error_wrap(err, "avro");
    }
    reader->plain_left -= out->len;
    return OK;
}

int avro_reader_next(struct avro_reader *reader, struct avro_cursor *out, int64_t *rows,
                     struct error *err)
{
    *rows = 0;
    while (reader->rest.len > 0) {
        struct avro_cursor cursor;
        avro_cursor_init(&cursor, reader->rest);
        int64_t count = avro_read_varint(&cursor);
        int64_t len = avro_read_varint(&cursor);
        if (cursor.failed || count < 0 || len < 0 || len > cursor.end - cursor.at)
            return error_set(err, ERROR_INPUT, "avro: a block is cut short or damaged");
        struct slice packed = avro_read_raw(&cursor, (size_t)len);
        struct slice sync = avro_read_raw(&cursor, sizeof reader->sync);
        if (!slice_equal(sync, slice_of(reader->sync, sizeof reader->sync)))
            return error_set(err, ERROR_INPUT, "avro: a block does not end in the sync marker");
        reader->rest = slice_of(cursor.at, (size_t)(cursor.end - cursor.at));
        if (count == 0)
            continue;
        struct slice plain;
        int rc = unpack_block(reader, packed, &plain, err);
        if (rc != OK)
            return rc;
        avro_cursor_init(out, plain);
        *rows = count;
        return OK;
    }
    return OK;
}
