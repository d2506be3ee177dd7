/* SPDX-License-Identifier: Apache-2.0
 *
 * Ledger: zstd around {"v":1,"table_uuid":"...","snapshot_id":0,"streams":{"<stream>":
 * {"next":400000,"at":0,"lost":[{"from":0,"to":0,"events":0,"reason":"..."}]}},
 * "floor":"<epoch>"}, streams in byte order of their names, no floor until one retired.
 *
 * The JSON tree is the ledger: what a later version wrote into it stays where it is,
 * and jansson's hash finds a stream among a hundred thousand. Decoding checks the
 * whole tree once, so that the rest may rely on its shape.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "lib/announce/decode.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

enum {
    LEDGER_VALUES_MAX = 16000000,
    LEDGER_LEVEL = 3,
    LEDGER_WINDOW_LOG_MAX = 27, /* 128 MiB: what zstd itself takes without being asked */
};

struct ledger {
    json_t *document;
    json_t *streams; /* within the document */
};

struct ledger *ledger_make(const char *table_uuid)
{
    struct ledger *ledger = memory_alloc(1, sizeof *ledger);
    ledger->document = json_object();
    ledger->streams = json_object();
    json_object_set_new(ledger->document, "v", json_integer(1));
    json_object_set_new(ledger->document, "table_uuid", encode_text(table_uuid));
    json_object_set_new(ledger->document, "snapshot_id", json_integer(0));
    json_object_set_new(ledger->document, "streams", ledger->streams);
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    if (ledger == NULL)
        return;
    json_decref(ledger->document);
    free(ledger);
}

/* ---- to and from bytes ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A new object with the same members in byte order. */
static json_t *sorted_copy(json_t *object)
{
    size_t count = 0;
    const char **names = memory_alloc_raw(json_object_size(object), sizeof *names);
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(object, name, value) names[count++] = name;
    if (count > 1)
        qsort(names, count, sizeof *names, compare_names);
    json_t *out = json_object();
    for (size_t i = 0; i < count; i++)
        json_object_set(out, names[i], json_object_get(object, names[i]));
    free(names);
    return out;
}

void ledger_encode(const struct ledger *ledger, struct buf *out)
{
    struct buf text = {0};
    json_t *document = json_copy(ledger->document);
    json_object_set_new(document, "streams", sorted_copy(ledger->streams));
    json_encode(document, &text);
    json_decref(document);
    size_t room = ZSTD_compressBound(text.len);
    if (buf_reserve(out, room)) {
        size_t n = ZSTD_compress(out->data + out->len, room, text.data, text.len, LEDGER_LEVEL);
        ASSERT(!ZSTD_isError(n));
        out->len += n;
    }
    buf_free(&text);
}

/* One whole frame and nothing behind it. */
static int decompress(struct slice bytes, struct buf *out, struct error *err)
{
    int rc = OK;
    ZSTD_DCtx *context = ZSTD_createDCtx();
    ASSERT(context != NULL);
    ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, LEDGER_WINDOW_LOG_MAX);
    ZSTD_inBuffer in = {.src = bytes.data, .size = bytes.len};
    size_t piece = ZSTD_DStreamOutSize();
    for (size_t left = 1; left != 0;) {
        if (!buf_reserve(out, piece)) {
            rc = error_set(err, ERROR_INPUT, "ledger: more than %d bytes", LEDGER_BYTES_MAX);
            break;
        }
        ZSTD_outBuffer to = {.dst = out->data + out->len, .size = piece};
        left = ZSTD_decompressStream(context, &to, &in);
        if (ZSTD_isError(left)) {
            rc = error_set(err, ERROR_INPUT, "ledger: zstd: %s", ZSTD_getErrorName(left));
            break;
        }
        out->len += to.pos;
        if (left != 0 && to.pos < to.size && in.pos == in.size) {
            rc = error_set(err, ERROR_INPUT, "ledger: cut short");
            break;
        }
    }
    if (rc == OK && in.pos != in.size)
        rc = error_set(err, ERROR_INPUT, "ledger: bytes behind its end");
    ZSTD_freeDCtx(context);
    return rc;
}

static int stream_check(const char *name, const json_t *entry, struct error *err)
{
    const char *table = NULL;
    uint64_t next = 0;
    int64_t at = 0;
    struct lost_range *lost = NULL;
    size_t lost_count = 0;
    if (!stream_name_check(name, &table))
        return error_set(err, ERROR_INPUT, "no stream's name");
    if (!json_is_object(entry))
        return error_set(err, ERROR_INPUT, "not an object");
    int rc = decode_count(entry, "stream", "next", &next, err);
    if (rc == OK)
        rc = decode_time(entry, "stream", "at", &at, err);
    if (rc == OK)
        rc =
            decode_lost(json_object_get(entry, "lost"), "stream", 0, next, &lost, &lost_count, err);
    free(lost);
    return rc;
}

static int ledger_check(struct ledger *ledger, struct error *err)
{
    static const char what[] = "ledger";
    int64_t snapshot_id = 0;
    const char *text = NULL;
    int rc = decode_uuid_or_null(ledger->document, what, "table_uuid", &text, err);
    if (rc == OK && text == NULL)
        rc = error_set(err, ERROR_INPUT, "%s: no \"table_uuid\"", what);
    if (rc == OK)
        rc = json_get_i64(ledger->document, what, "snapshot_id", &snapshot_id, err);
    if (rc == OK)
        rc = decode_uuid_or_null(ledger->document, what, "floor", &text, err);
    if (rc == OK)
        rc = json_get_object(ledger->document, what, "streams", &ledger->streams, err);
    if (rc != OK)
        return rc;
    const char *name = NULL;
    json_t *entry = NULL;
    json_object_foreach(ledger->streams, name, entry)
    {
        rc = stream_check(name, entry, err);
        if (rc != OK)
            return error_wrap(err, "%s: stream \"%.200s\"", what, name);
    }
    return OK;
}

int ledger_decode(struct ledger **out, struct slice bytes, struct error *err)
{
    struct buf text;
    struct ledger *ledger = memory_alloc(1, sizeof *ledger);
    *out = NULL;
    buf_init(&text, LEDGER_BYTES_MAX);
    int rc = decompress(bytes, &text, err);
    if (rc == OK)
        rc = document_decode(&ledger->document, "ledger", buf_slice(&text), LEDGER_BYTES_MAX,
                             LEDGER_VALUES_MAX, err);
    buf_free(&text);
    if (rc == OK)
        rc = ledger_check(ledger, err);
    if (rc != OK) {
        ledger_free(ledger);
        return rc;
    }
    *out = ledger;
    return OK;
}

/* ---- what it says ---- */

const char *ledger_table_uuid_borrow(const struct ledger *ledger)
{
    return json_string_value(json_object_get(ledger->document, "table_uuid"));
}

int64_t ledger_snapshot_id(const struct ledger *ledger)
{
    return json_integer_value(json_object_get(ledger->document, "snapshot_id"));
}

void ledger_set_snapshot_id(struct ledger *ledger, int64_t snapshot_id)
{
    json_object_set_new(ledger->document, "snapshot_id", json_integer(snapshot_id));
}

static uint64_t entry_next(const json_t *entry)
{
    return (uint64_t)json_integer_value(json_object_get(entry, "next"));
}

static int64_t entry_at(const json_t *entry)
{
    return json_integer_value(json_object_get(entry, "at"));
}

uint64_t ledger_next(const struct ledger *ledger, const char *stream, bool *known)
{
    const json_t *entry = json_object_get(ledger->streams, stream);
    if (known != NULL)
        *known = entry != NULL;
    return entry != NULL ? entry_next(entry) : 0;
}

/* A loss that goes on where the last one ended, for the same reason, is one loss: a
 * disk that stays full must not make the ledger grow by an entry a minute. A stream with
 * as many losses as decoding takes gets no more entries: the last one then reaches
 * further than it should, but its count of events stays right. */
static bool lost_extend(json_t *list, const struct lost_range *lost)
{
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    json_t *to = json_object_get(last, "to");
    json_t *events = json_object_get(last, "events");
    const char *reason = json_string_value(json_object_get(last, "reason"));
    bool goes_on = last != NULL && (uint64_t)json_integer_value(to) == lost->from &&
                   lost->reason != NULL && strcmp(reason, lost->reason) == 0;
    if (!goes_on && json_array_size(list) < LOST_RANGES_MAX)
        return false;
    json_integer_set(to, (json_int_t)lost->to);
    json_integer_set(events, json_integer_value(events) + (json_int_t)lost->events);
    return true;
}

void ledger_advance(struct ledger *ledger, const char *stream, uint64_t to, int64_t at_ms,
                    const struct lost_range *lost, size_t lost_count)
{
    json_t *entry = json_object_get(ledger->streams, stream);
    uint64_t from = entry != NULL ? entry_next(entry) : 0;
    ASSERT(to >= from);
    if (entry == NULL) {
        entry = json_object();
        json_object_set_new(ledger->streams, stream, entry);
    }
    json_object_set_new(entry, "next", encode_count(to));
    json_object_set_new(entry, "at", json_integer(at_ms));
    json_t *list = json_object_get(entry, "lost");
    if (list == NULL) {
        list = json_array();
        json_object_set_new(entry, "lost", list);
    }
    for (size_t i = 0; i < lost_count; i++) {
        ASSERT(lost[i].from >= from && lost[i].from < lost[i].to && lost[i].to <= to);
        ASSERT(lost[i].events <= lost[i].to - lost[i].from);
        from = lost[i].to;
        if (!lost_extend(list, &lost[i]))
            json_array_append_new(list, encode_lost(&lost[i], NULL));
    }
}

size_t ledger_retire(struct ledger *ledger, int64_t before_ms)
{
    size_t count = 0;
    const char *name = NULL;
    json_t *entry = NULL;
    void *next = NULL;
    json_object_foreach_safe(ledger->streams, next, name, entry)
    {
        struct slice epoch = stream_epoch(name);
        if (epoch.data == NULL || entry_at(entry) >= before_ms)
            continue;
        const char *floor = ledger_floor_borrow(ledger);
        if (floor == NULL || slice_compare(epoch, slice_cstr(floor)) > 0)
            json_object_set_new(ledger->document, "floor",
                                json_stringn((const char *)epoch.data, epoch.len));
        json_object_del(ledger->streams, name);
        count++;
    }
    return count;
}

const char *ledger_floor_borrow(const struct ledger *ledger)
{
    return json_string_value(json_object_get(ledger->document, "floor"));
}

bool ledger_is_retired(const struct ledger *ledger, const char *stream)
{
    struct slice epoch = stream_epoch(stream);
    const char *floor = ledger_floor_borrow(ledger);
    if (epoch.data == NULL || floor == NULL)
        return false;
    return json_object_get(ledger->streams, stream) == NULL &&
           slice_compare(epoch, slice_cstr(floor)) <= 0;
}

void ledger_visit_streams(const struct ledger *ledger, ledger_visit *visit, void *context)
{
    const char *name = NULL;
    json_t *entry = NULL;
    json_object_foreach(ledger->streams, name, entry)
    {
        struct error err;
        struct lost_range *lost = NULL;
        size_t count = 0;
        uint64_t next = entry_next(entry);
        int rc = decode_lost(json_object_get(entry, "lost"), name, 0, next, &lost, &count, &err);
        ASSERT(rc == OK); /* checked when it was decoded, held since */
        visit(context, name, next, entry_at(entry), lost, count);
        free(lost);
    }
}
