/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spool_support.h"

#include <fcntl.h>
#include <sys/stat.h>

static void append_schema(struct fixture *fixture, uint32_t count, uint64_t schema_key)
{
    struct error err;
    uint64_t first = 0;
    must(append_to(fixture->spool, fixture->stream, 1, 0, count, 100, schema_key, &first, &err),
         &err);
}

/* A segment is one Parquet schema: rows of two in it could not be written. */
static void schema_change_cuts(void **state)
{
    struct fixture *fixture = *state;
    struct arena arena = {0};
    static const uint64_t keys[] = {1, 1, 2, 3, 3, 1};
    static const uint64_t ends[] = {4, 6, 10, 12};
    static const uint64_t schemas[] = {1, 2, 3, 1};
    for (size_t i = 0; i < 6; i++)
        append_schema(fixture, 2, keys[i]);
    struct spool_stream stream = stream_of(fixture->spool, fixture->stream, &arena);
    assert_int_equal(stream.open_rows, 12);
    assert_int_equal(stream.open_bytes, 1200);
    int64_t since_ms = stream.open_since_ms;
    assert_true(since_ms > 0);
    for (size_t i = 0; i < 4; i++) {
        assert_true(seal(fixture));
        stream = stream_of(fixture->spool, fixture->stream, &arena);
        assert_int_equal(stream.sealed, ends[i]);
        assert_int_equal(stream.open_rows, 12 - ends[i]);
        assert_int_equal(stream.open_since_ms, i < 3 ? since_ms : 0);
    }
    assert_false(seal(fixture));
    struct spool_segment *segments = NULL;
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(segments[i].to, ends[i]);
        assert_int_equal(segments[i].schema_key, schemas[i]);
    }
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* The roller's memory is bounded by its segment: however far capture ran ahead. */
static void limits_bound_a_segment(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    bool sealed = false;
    for (size_t i = 0; i < 10; i++)
        append_schema(fixture, 10, 1);
    append_schema(fixture, 10, 2);
    struct spool_seal_limits limits = {.rows_max = 35};
    static const uint64_t ends[] = {30, 60, 90, 100, 110};
    for (size_t i = 0; i < 5; i++) {
        must(spool_seal(fixture->spool, fixture->stream, &limits, &sealed, &err), &err);
        assert_true(sealed);
        struct spool_stream stream = stream_of(fixture->spool, fixture->stream, &arena);
        assert_int_equal(stream.sealed, ends[i]);
        assert_int_equal(stream.open_rows, 110 - ends[i]);
        assert_int_equal(stream.open_bytes, 100 * (110 - ends[i]));
    }
    /* one block that is larger than the limit still goes */
    append_schema(fixture, 10, 1);
    append_schema(fixture, 10, 1);
    limits = (struct spool_seal_limits){.bytes_max = 1};
    must(spool_seal(fixture->spool, fixture->stream, &limits, &sealed, &err), &err);
    assert_int_equal(stream_of(fixture->spool, fixture->stream, &arena).sealed, 120);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* next within a segment: what is below must go from register and spool, what is above
 * must be built again, whole blocks given, or a half segment is doubled or lost. */
static void trim_in_mid_segment_leaves_the_rest(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    for (size_t i = 0; i < 10; i++)
        append(fixture, 10, 5000);
    assert_true(seal(fixture));
    announce(fixture, fixture->stream);
    append(fixture, 10, 100);
    must(spool_trim(fixture->spool, fixture->stream, 45, 77, &err), &err);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 1);
    assert_int_equal(segments[0].from, 45);
    assert_int_equal(segments[0].to, 100);
    assert_int_equal(segments[0].state, SEGMENT_SEALED);
    assert_int_equal(segments[0].payload.len, 0);
    assert_int_equal(segments[0].generation, 1);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 45, 100, NULL), 60);
    struct spool_stream stream = stream_of(fixture->spool, fixture->stream, &arena);
    assert_int_equal(stream.begin, 45);
    assert_int_equal(stream.next, 45);
    assert_int_equal(stream.announced, 100);
    assert_int_equal(stream.committed_at_ms, 77);
    /* a stale receipt changes nothing */
    must(spool_trim(fixture->spool, fixture->stream, 30, 99, &err), &err);
    assert_int_equal(stream_of(fixture->spool, fixture->stream, &arena).committed_at_ms, 77);
    /* one from beyond what was sealed is the sign of a copied spool */
    assert_int_equal(spool_trim(fixture->spool, fixture->stream, 101, 99, &err), ERROR_CORRUPT);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 1);
    /* the old segment's update comes too late */
    struct spool_segment late = segments[0];
    late.from = 0;
    assert_int_equal(spool_update_segment(fixture->spool, &late, &err), ERROR_CONFLICT);
    late = segments[0];
    late.to = 99;
    assert_int_equal(spool_update_segment(fixture->spool, &late, &err), ERROR_CONFLICT);
    must(spool_trim(fixture->spool, fixture->stream, 100, 99, &err), &err);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 0);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 0, 200, NULL), 10);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

static struct spool_segment segment_at(struct fixture *fixture, struct arena *arena, size_t i)
{
    struct spool_segment *segments = NULL;
    assert_true(segments_of(fixture->spool, fixture->stream, arena, &segments) > i);
    return segments[i];
}

/* Sealed under other limits, or found open by a start: what is larger than the roller's memory
 * holds would never be built. */
static void a_sealed_segment_is_cut_by_smaller_limits(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    bool cut = false;
    for (size_t i = 0; i < 10; i++)
        append(fixture, 10, 1000); /* 10,000 bytes a block */
    assert_true(seal(fixture));
    struct spool_seal_limits limits = {.bytes_max = 100000, .rows_max = 100};
    struct spool_segment whole = segment_at(fixture, &arena, 0);
    must(spool_cut_segment(fixture->spool, &whole, &limits, &cut, &err), &err);
    assert_false(cut);

    limits.bytes_max = 39999;
    must(spool_cut_segment(fixture->spool, &whole, &limits, &cut, &err), &err);
    assert_true(cut);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(segments[i].from, 30 * i);
        assert_int_equal(segments[i].to, i < 3 ? 30 * (i + 1) : 100);
        assert_int_equal(segments[i].state, SEGMENT_SEALED);
        assert_int_equal(segments[i].schema_key, whole.schema_key);
        assert_int_equal(segments[i].sealed_at_ms, whole.sealed_at_ms);
        must(spool_cut_segment(fixture->spool, &segments[i], &limits, &cut, &err), &err);
        assert_false(cut);
    }
    assert_int_equal(damage_of(fixture->spool), 0);
    size_t pending = 0;
    must(spool_count_pending(fixture->spool, fixture->stream, &pending, &err), &err);
    assert_int_equal(pending, 4);
    /* what was listed before is another segment now */
    assert_int_equal(spool_cut_segment(fixture->spool, &whole, &limits, &cut, &err),
                     ERROR_CONFLICT);
    /* one block is one segment at least */
    limits = (struct spool_seal_limits){.rows_max = 1};
    must(spool_cut_segment(fixture->spool, &segments[1], &limits, &cut, &err), &err);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 6);
    assert_int_equal(segments[2].from, 40);
    assert_int_equal(segments[2].to, 50);
    arena_free(&arena);
}

/* What was announced before a crash, and cut behind it, goes by the receipt as a whole; a piece
 * that begins within a block, behind lost ones, has rows to build; what has files is not cut. */
static void pieces_go_as_the_segment_would(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    bool cut = false;
    struct spool_seal_limits limits = {.rows_max = 20};
    for (size_t i = 0; i < 6; i++)
        append(fixture, 10, 100);
    assert_true(seal(fixture));
    struct spool_lost lost = {.from = 20, .to = 30, .events = 10, .reason = "bad_block"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    struct spool_segment segment = segment_at(fixture, &arena, 0);
    struct spool_segment stale = segment;
    stale.generation--;
    assert_int_equal(spool_cut_segment(fixture->spool, &stale, &limits, &cut, &err),
                     ERROR_CONFLICT);
    must(spool_trim(fixture->spool, fixture->stream, 15, 1, &err), &err);
    segment = segment_at(fixture, &arena, 0);
    must(spool_cut_segment(fixture->spool, &segment, &limits, &cut, &err), &err);
    assert_true(cut);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 2);
    assert_int_equal(segments[0].from, 15);
    assert_int_equal(segments[0].to, 40);
    assert_int_equal(segments[0].lost_count, 1);
    assert_int_equal(segments[1].to, 60);
    assert_int_equal(segments[1].lost_count, 0);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 15, 60, NULL), 40);
    announce(fixture, fixture->stream);
    segment = segment_at(fixture, &arena, 1);
    limits.rows_max = 1;
    assert_int_equal(spool_cut_segment(fixture->spool, &segment, &limits, &cut, &err),
                     ERROR_CONFLICT);
    must(spool_trim(fixture->spool, fixture->stream, 60, 2, &err), &err);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 0);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* Under pressure only what is announced may go, oldest first: else events are in no
 * place at all. The register keeps the announcement to repeat it. */
static void let_go_takes_announced_only(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    struct spool_statistics statistics;
    for (size_t i = 0; i < 3; i++) {
        append(fixture, 10, 5000);
        assert_true(seal(fixture));
        if (i < 2)
            announce(fixture, fixture->stream);
    }
    spool_statistics(fixture->spool, &statistics);
    uint64_t room = statistics.bytes_max - statistics.bytes_reserve - statistics.bytes_used + 20000;
    must(spool_let_go(fixture->spool, room, &err), &err);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_true(segments[0].records_gone);
    assert_true(slice_is(segments[0].payload, "announcement"));
    assert_false(segments[1].records_gone);
    must(spool_let_go(fixture->spool, UINT64_MAX, &err), &err);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_true(segments[1].records_gone);
    assert_false(segments[2].records_gone);
    assert_int_equal(read_events(fixture->spool, fixture->stream, 0, 30, NULL), 10);
    /* then its file is missing: it can only be counted as lost, and the stream goes on */
    struct spool_lost lost = {.from = 0, .to = 10, .events = 10, .reason = "records_gone"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_int_equal(segments[0].state, SEGMENT_SEALED);
    assert_false(segments[0].records_gone);
    assert_int_equal(segments[0].generation, 2);
    assert_int_equal(segments[0].schema_key, 0);
    assert_int_equal(segments[0].lost_count, 1);
    assert_int_equal(segments[0].lost[0].events, 10);
    assert_string_equal(segments[0].lost[0].reason, "records_gone");
    assert_int_equal(segments[1].state, SEGMENT_ANNOUNCED);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

/* Dropping the oldest must be counted in an open range as in a sealed one. */
static void lose_in_open_and_sealed_ranges(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    append_schema(fixture, 10, 1);
    append_schema(fixture, 10, 1);
    assert_true(seal(fixture));
    append_schema(fixture, 10, 1);
    append_schema(fixture, 10, 2);
    append_schema(fixture, 10, 2);
    struct spool_lost lost = {.from = 10, .to = 30, .events = 20, .reason = "disk_full"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    struct spool_stream stream = stream_of(fixture->spool, fixture->stream, &arena);
    assert_int_equal(stream.open_rows, 20);
    assert_int_equal(stream.end, 50);
    /* overlaps the first: only what is new counts */
    lost = (struct spool_lost){.from = 10, .to = 40, .events = 30, .reason = "disk_full"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    assert_true(seal(fixture));
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 2);
    assert_int_equal(segments[0].to, 20);
    assert_int_equal(segments[0].lost_count, 1);
    assert_int_equal(segments[0].lost[0].events, 10);
    assert_int_equal(segments[1].from, 20);
    assert_int_equal(segments[1].to, 50);
    assert_int_equal(segments[1].schema_key, 2);
    assert_int_equal(segments[1].lost_count, 1); /* one reason, one range */
    assert_int_equal(segments[1].lost[0].events, 20);
    /* no block can be cut */
    lost = (struct spool_lost){.from = 42, .to = 50, .events = 8, .reason = "disk_full"};
    assert_int_equal(spool_lose(fixture->spool, fixture->stream, &lost, &err), ERROR_INPUT);
    lost = (struct spool_lost){.from = 40, .to = 51, .events = 11, .reason = "disk_full"};
    assert_int_equal(spool_lose(fixture->spool, fixture->stream, &lost, &err), ERROR_INPUT);
    lost = (struct spool_lost){.from = 40, .to = 50, .events = 10, .reason = "disk_full"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    segments_of(fixture->spool, fixture->stream, &arena, &segments);
    assert_int_equal(segments[1].schema_key, 0);
    must(spool_trim(fixture->spool, fixture->stream, 35, 1, &err), &err);
    assert_int_equal(segments_of(fixture->spool, fixture->stream, &arena, &segments), 1);
    assert_int_equal(segments[0].lost[0].from, 35);
    assert_int_equal(segments[0].lost[0].events, 15);
    assert_int_equal(append(fixture, 1, 100), 50);
    assert_int_equal(damage_of(fixture->spool), 0);
    arena_free(&arena);
}

static void damage_one(struct fixture *fixture, bool header)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    uint64_t first = 0;
    uint64_t damaged = 0;
    char *old = NULL;
    for (uint64_t i = 0; i < 3; i++)
        must(append_to(fixture->spool, fixture->stream, 0x5a5a5a5a5a5a5a00 + i, 0, 10, 1000, 1,
                       &first, &err),
             &err);
    old = memory_copy_cstr(fixture->stream);
    fixture_close(fixture);
    uint8_t mark[8];
    put_u64le(mark, 0x5a5a5a5a5a5a5a01);
    uint8_t header_mark[12];
    put_u32le(header_mark, 0x314b4c42);
    put_u32le(header_mark + 4, 0);
    put_u32le(header_mark + 8, 10);
    flip(fixture, header ? slice_of(header_mark, 12) : slice_of(mark, 8), header ? 20 : 500);
    fixture_open(fixture);
    assert_int_equal(damage_of(fixture->spool), 1);
    assert_int_equal(read_events(fixture->spool, old, 0, 30, &damaged), 20);
    assert_int_equal(damaged, 10);
    struct spool_lost lost = {.from = 10, .to = 20, .events = 10, .reason = "bad_block"};
    must(spool_lose(fixture->spool, old, &lost, &err), &err);
    assert_int_equal(damage_of(fixture->spool), 0);
    assert_int_equal(segments_of(fixture->spool, old, &arena, &segments), 1);
    assert_int_equal(segments[0].lost_count, 1);
    assert_int_equal(segments[0].schema_key, 1);
    char *path = memory_printf("ls %s/quarantine/*-00000000000000000010.block >/dev/null",
                               fixture->directory);
    FILE *list = popen(path, "r");
    assert_int_equal(pclose(list), 0);
    free(path);
    free(old);
    arena_free(&arena);
}

/* A bad sector costs the events in it and no others, and is never silent. */
static void damaged_rows_are_named_and_set_aside(void **state)
{
    damage_one(*state, false);
}

/* Even without its header a block's place says how many events it held. */
static void damaged_header_is_named_and_set_aside(void **state)
{
    damage_one(*state, true);
}

static size_t pending_of(struct fixture *fixture, size_t max, struct arena *arena,
                         struct spool_segment **out)
{
    struct error err;
    size_t listed = 0;
    size_t counted = 0;
    must(spool_list_pending(fixture->spool, fixture->stream, max, arena, out, &listed, &err), &err);
    must(spool_count_pending(fixture->spool, fixture->stream, &counted, &err), &err);
    assert_int_equal(listed, counted < max ? counted : max);
    return counted;
}

enum { TAIL = 3000 };

/* A day without a committer leaves thousands of announced segments: a step that reads them
 * all is a core spent on nothing. That they aren't read is seen by damage in one of them. */
static void announced_segments_are_not_looked_at(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    size_t count = 0;
    char payload[4096];
    memset(payload, 'x', sizeof payload);
    memcpy(payload, "find me here", 12);
    fixture_close(fixture);
    fixture->no_sync = true;
    fixture_open(fixture);
    for (size_t i = 0; i < TAIL; i++) {
        append(fixture, 1, 16);
        assert_true(seal(fixture));
        assert_int_equal(pending_of(fixture, 2, &arena, &segments), 1);
        segments[0].state = SEGMENT_ANNOUNCED;
        segments[0].announced_at_ms = 1;
        segments[0].payload = i == 7 ? slice_of((const uint8_t *)payload, sizeof payload)
                                     : slice_cstr("announcement");
        must(spool_update_segment(fixture->spool, &segments[0], &err), &err);
        arena_reset(&arena);
    }
    assert_int_equal(pending_of(fixture, 2, &arena, &segments), 0);
    append(fixture, 1, 16);
    assert_true(seal(fixture));
    flip(fixture, slice_of((const uint8_t *)payload, 64), 20);
    assert_int_equal(
        spool_list_segments(fixture->spool, fixture->stream, &arena, &segments, &count, &err),
        ERROR_CORRUPT);
    assert_int_equal(pending_of(fixture, 9, &arena, &segments), 1);
    assert_int_equal(segments[0].from, TAIL);
    /* one that a receipt sends back is found again, and in order */
    const struct spool_segment *found = NULL;
    must(spool_find_segment(fixture->spool, fixture->stream, 40, &arena, &found, &err), &err);
    assert_non_null(found);
    struct spool_segment back = *found;
    back.state = SEGMENT_SEALED;
    back.generation++;
    must(spool_update_segment(fixture->spool, &back, &err), &err);
    assert_int_equal(pending_of(fixture, 9, &arena, &segments), 2);
    assert_int_equal(segments[0].from, 40);
    struct spool_lost lost = {.from = 20, .to = 21, .events = 1, .reason = "test"};
    must(spool_lose(fixture->spool, fixture->stream, &lost, &err), &err);
    assert_int_equal(pending_of(fixture, 1, &arena, &segments), 3);
    assert_int_equal(segments[0].from, 20);
    assert_int_equal(segments[0].lost_count, 1);
    must(spool_find_segment(fixture->spool, fixture->stream, TAIL + 1, &arena, &found, &err), &err);
    assert_null(found);
    arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(schema_change_cuts),
        SPOOL_TEST(limits_bound_a_segment),
        SPOOL_TEST(a_sealed_segment_is_cut_by_smaller_limits),
        SPOOL_TEST(pieces_go_as_the_segment_would),
        SPOOL_TEST(trim_in_mid_segment_leaves_the_rest),
        SPOOL_TEST(let_go_takes_announced_only),
        SPOOL_TEST(lose_in_open_and_sealed_ranges),
        SPOOL_TEST(damaged_rows_are_named_and_set_aside),
        SPOOL_TEST(damaged_header_is_named_and_set_aside),
        SPOOL_TEST(announced_segments_are_not_looked_at),
    };
    return cmocka_run_group_tests_name("spool segment", tests, NULL, NULL);
}
