/* SPDX-License-Identifier: Apache-2.0
 *
 * uploader_support.h: the uploader over the store in memory, with a clock that the test owns. The
 * roller's part is played by build(): it writes a file a segment into the cache, and its
 * announcement into the register.
 */
#ifndef TESTS_UNIT_UPLOADER_SUPPORT_H
#define TESTS_UNIT_UPLOADER_SUPPORT_H

#include "tests/unit/spool_support.h"

#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/objstore/memory.h"
#include "uploader/uploader.h"

enum { REPEAT_MS = 300000, POLL_MS = 5000, PUTS_MAX = 64 };

struct lake {
    struct fixture fixture;
    struct clock clock;
    int64_t now_ms;
    int64_t tick_ms;
    struct memory_store *bytes;
    struct objstore *store; /* the uploader's, with the hook */
    struct objstore *other; /* the commit service's */
    struct uploader *uploader;
    enum memory_fault next_put; /* of a data file */
    uint64_t bandwidth;
    const char *probe_key;
    bool careless;     /* what is put overwrites */
    bool away;         /* nothing is put */
    size_t away_count; /* tries meanwhile */
    bool silent;       /* nothing is answered */
    size_t silent_count;
    size_t put_count;
    char puts[PUTS_MAX][OBJSTORE_KEY_MAX + 1];
};

static inline int64_t lake_wall_us(void *context)
{
    return ((struct lake *)context)->now_ms * 1000;
}

static inline int64_t lake_mono_ms(void *context)
{
    return ((struct lake *)context)->now_ms;
}

static inline void lake_sleep_ms(void *context, int64_t ms)
{
    ((struct lake *)context)->now_ms += ms;
}

/* Each look at the clock takes a while, as bytes to a store far away do. */
static inline int64_t slow_mono_ms(void *context)
{
    struct lake *lake = context;
    return lake->now_ms += lake->tick_ms;
}

static inline enum memory_fault on_operation(void *context, enum memory_operation operation,
                                             const char *key)
{
    struct lake *lake = context;
    if (lake->silent) {
        lake->silent_count++;
        return MEMORY_FAULT_BEFORE;
    }
    if (operation != MEMORY_PUT)
        return MEMORY_FAULT_NONE;
    if (lake->away) {
        lake->away_count++;
        return MEMORY_FAULT_BEFORE;
    }
    struct error err;
    if (lake->careless)
        must(objstore_remove(lake->other, key, &err), &err);
    assert_true(lake->put_count < PUTS_MAX);
    snprintf(lake->puts[lake->put_count++], sizeof lake->puts[0], "%s", key);
    enum memory_fault fault = lake->next_put;
    lake->next_put = MEMORY_FAULT_NONE;
    return fault;
}

static inline void lake_open_parts(struct lake *lake)
{
    struct error err;
    struct spool_options options = {.directory = lake->fixture.directory,
                                    .agent_id = "a1",
                                    .bytes_max = lake->fixture.bytes_max,
                                    .clock = &lake->clock};
    must(spool_open(&lake->fixture.spool, &options, &err), &err);
    snprintf(lake->fixture.stream, sizeof lake->fixture.stream, "a1/%s/db.t",
             spool_epoch_borrow(lake->fixture.spool));
    struct uploader_options uploader = {.spool = lake->fixture.spool,
                                        .store = lake->store,
                                        .clock = &lake->clock,
                                        .seed = 1,
                                        .announce_repeat_ms = REPEAT_MS,
                                        .receipt_poll_ms = POLL_MS,
                                        .bandwidth = lake->bandwidth,
                                        .probe_key = lake->probe_key};
    must(uploader_open(&lake->uploader, &uploader, &err), &err);
}

static inline void lake_init(struct lake *lake)
{
    *lake = (struct lake){.now_ms = 1760000000000};
    lake->clock = (struct clock){.wall_us = lake_wall_us,
                                 .mono_ms = lake_mono_ms,
                                 .sleep_ms = lake_sleep_ms,
                                 .context = lake};
    fixture_init(&lake->fixture);
    lake->bytes = memory_store_make(&lake->clock);
    lake->store = memory_store_attach(lake->bytes, on_operation, lake);
    lake->other = memory_store_attach(lake->bytes, NULL, NULL);
    lake_open_parts(lake);
}

static inline void lake_free(struct lake *lake)
{
    uploader_close(lake->uploader);
    fixture_free(&lake->fixture);
    objstore_close(lake->store);
    objstore_close(lake->other);
    memory_store_free(lake->bytes);
}

static inline void step(struct lake *lake)
{
    struct error err;
    must(uploader_step(lake->uploader, &err), &err);
}

/* A segment of `count` events of its own. */
static inline void add_segment(struct lake *lake, uint32_t count)
{
    append(&lake->fixture, count, 64);
    assert_true(seal(&lake->fixture));
}

static inline void build_one(struct lake *lake, struct spool_segment *segment)
{
    struct error err;
    struct buf bytes = {0};
    struct buf path = {0};
    struct buf payload = {0};
    struct announcement announcement;
    struct data_file file = {.rows = segment->to - segment->from, .partition_count = 0};
    buf_printf(&bytes, "rows %llu to %llu", (unsigned long long)segment->from,
               (unsigned long long)segment->to);
    buf_printf(&path, "%s/", spool_sealed_directory_borrow(lake->fixture.spool));
    uploader_local_name(segment, 0, &path);
    must(file_replace(buf_cstr(&path), buf_slice(&bytes), 0640, &err), &err);
    buf_reset(&path);
    data_file_path("", segment->stream, segment->from, segment->to, segment->generation, &path);
    announcement_init(&announcement);
    announcement.stream = segment->stream;
    announcement.agent = "a1";
    announcement.from = segment->from;
    announcement.to = segment->to;
    announcement.table = "db.t";
    announcement.schema = json_pack("{s:s,s:i,s:[]}", "type", "struct", "schema-id", 0, "fields");
    announcement.writer = "test";
    announcement.events = announcement.rows = segment->to - segment->from;
    announcement.lost_count = segment->lost_count;
    announcement.lost =
        arena_alloc(&announcement.arena, segment->lost_count + 1, sizeof *announcement.lost);
    for (size_t i = 0; i < segment->lost_count; i++)
        announcement.lost[i] = (struct lost_range){.from = segment->lost[i].from,
                                                   .to = segment->lost[i].to,
                                                   .events = segment->lost[i].events,
                                                   .reason = segment->lost[i].reason};
    if (segment->schema_key == 0)
        announcement.events = announcement.rows = 0;
    file.path = buf_cstr(&path);
    file.size = bytes.len;
    file.crc32c = crc32c(0, buf_slice(&bytes));
    announcement.file_count = segment->schema_key != 0;
    announcement.files = &file;
    announcement_encode(&announcement, &payload);
    segment->state = SEGMENT_BUILT;
    segment->payload = buf_slice(&payload);
    must(spool_update_segment(lake->fixture.spool, segment, &err), &err);
    announcement_free(&announcement);
    buf_free(&payload);
    buf_free(&path);
    buf_free(&bytes);
}

/* What the roller does between two steps. */
static inline void build(struct lake *lake)
{
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = segments_of(lake->fixture.spool, lake->fixture.stream, &arena, &segments);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].state == SEGMENT_SEALED)
            build_one(lake, &segments[i]);
    }
    arena_free(&arena);
}

/* The segments as the register has them; the arena is the caller's. */
static inline struct spool_segment *listed(struct lake *lake, struct arena *arena, size_t expected)
{
    struct spool_segment *segments = NULL;
    assert_int_equal(segments_of(lake->fixture.spool, lake->fixture.stream, arena, &segments),
                     expected);
    return segments;
}

static inline void put_receipt(struct lake *lake, struct receipt receipt)
{
    struct error err;
    struct buf key = {0};
    struct buf bytes = {0};
    receipt.stream = lake->fixture.stream;
    receipt_encode(&receipt, &bytes);
    key_of_receipt(receipt.stream, &key);
    must(objstore_put_bytes(lake->other, buf_cstr(&key), buf_slice(&bytes), PUT_ALWAYS, &err),
         &err);
    buf_free(&key);
    buf_free(&bytes);
}

static inline bool stored(struct lake *lake, const char *key)
{
    struct error err;
    struct objstore_info info = {0};
    must(objstore_head(lake->other, key, &info, &err), &err);
    return info.found;
}

static inline void data_key(struct lake *lake, uint64_t from, uint64_t to, unsigned n, char *out)
{
    struct buf path = {0};
    struct buf key = {0};
    data_file_path("", lake->fixture.stream, from, to, n, &path);
    key_of_data_file("db.t", buf_cstr(&path), &key);
    snprintf(out, OBJSTORE_KEY_MAX + 1, "%s", buf_cstr(&key));
    buf_free(&path);
    buf_free(&key);
}

static inline size_t puts_of_inbox(const struct lake *lake)
{
    size_t n = 0;
    for (size_t i = 0; i < lake->put_count; i++)
        n += strncmp(lake->puts[i], "_bidlake/inbox/", 15) == 0;
    return n;
}

#endif
