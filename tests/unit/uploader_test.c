/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/uploader_support.h"

/* An announcement ahead of its files, or of the one before it, would have the committer
 * refuse or wait for what is not there. */
static void files_go_before_their_announcement_and_segments_in_order(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    char key[OBJSTORE_KEY_MAX + 1];
    lake_init(&lake);
    add_segment(&lake, 3);
    add_segment(&lake, 4);
    build(&lake);
    step(&lake);
    assert_int_equal(lake.put_count, 4);
    data_key(&lake, 0, 3, 1, key);
    assert_string_equal(lake.puts[0], key);
    assert_non_null(strstr(lake.puts[1], "/00000000000000000000.json"));
    data_key(&lake, 3, 7, 1, key);
    assert_string_equal(lake.puts[2], key);
    assert_non_null(strstr(lake.puts[3], "/00000000000000000003.json"));
    struct spool_segment *segments = listed(&lake, &arena, 2);
    assert_int_equal(segments[0].state, SEGMENT_ANNOUNCED);
    assert_int_equal(segments[1].state, SEGMENT_ANNOUNCED);
    step(&lake);
    assert_int_equal(lake.put_count, 4);
    arena_free(&arena);
    lake_free(&lake);
}

/* A later segment must not overtake one whose put failed; and nothing is tried before
 * its wait is over, or a store that is down would be hammered. */
static void failed_put_holds_the_stream_until_its_time(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    add_segment(&lake, 4);
    build(&lake);
    lake.next_put = MEMORY_FAULT_BEFORE;
    step(&lake);
    assert_int_equal(lake.put_count, 1);
    assert_int_equal(listed(&lake, &arena, 2)[0].state, SEGMENT_BUILT);
    assert_int_equal(uploader_statistics_borrow(lake.uploader)->failures, 1);
    lake.now_ms += 60000;
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 2)[1].state, SEGMENT_ANNOUNCED);
    arena_free(&arena);
    lake_free(&lake);
}

/* A store that says when to come again is not asked sooner: it throttles harder then. */
static void store_that_names_a_time_is_not_asked_before_it(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    lake.next_put = MEMORY_FAULT_SLOW;
    step(&lake);
    assert_int_equal(lake.put_count, 1);
    lake.now_ms += MEMORY_SLOW_MS - 1;
    step(&lake);
    assert_int_equal(lake.put_count, 1);
    lake.now_ms += 60000;
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)[0].state, SEGMENT_ANNOUNCED);
    arena_free(&arena);
    lake_free(&lake);
}

/* A stop must not wait for minutes of sending; what is quick is still put. And the watchdog must
 * not end an agent that sends for long. */
static void a_put_that_takes_long_is_given_up_by_a_stop(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    lake_init(&lake);
    lake.clock.mono_ms = slow_mono_ms;
    add_segment(&lake, 3);
    build(&lake);
    lake.tick_ms = 1100;
    uploader_give_up_at(lake.uploader, lake.now_ms);
    step(&lake);
    lake.tick_ms = 0;
    assert_int_equal(listed(&lake, &arena, 1)[0].state, SEGMENT_BUILT);
    assert_true(uploader_paced_at_ms(lake.uploader) > 0);
    lake.now_ms += 120000;
    uploader_give_up_at(lake.uploader, lake.now_ms);
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)[0].state, SEGMENT_ANNOUNCED);
    arena_free(&arena);
    lake_free(&lake);
}

/* A file that is built without the table's contract is refused: that the store is not asked any
 * more makes no contract of one that cannot be read. */
static void a_stop_hides_no_unusable_contract(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct buf key = {0};
    const struct contract *contract;
    lake_init(&lake);
    key_of_contract("db.t", &key);
    must(objstore_put_bytes(lake.other, buf_cstr(&key), slice_cstr("{}"), PUT_ALWAYS, &err), &err);
    int rc = uploader_contract_borrow(lake.uploader, "db.t", &contract, &err);
    assert_true(rc == ERROR_INPUT || rc == ERROR_CORRUPT);
    lake.silent = true;
    lake.now_ms += 120000;
    uploader_give_up_at(lake.uploader, lake.now_ms);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(uploader_contract_borrow(lake.uploader, "db.t", &contract, &err), rc);
        assert_non_null(strstr(err.text, "contract of db.t"));
        assert_int_equal(lake.silent_count, 1);
    }
    buf_free(&key);
    lake_free(&lake);
}

/* A request to a store that hangs takes seconds of who stops: one may, not one of each stream. */
static void a_silent_store_is_asked_once_behind_a_stop(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct arena arena = {0};
    const struct contract *contract;
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    add_segment(&lake, 3);
    build(&lake);
    lake.now_ms += POLL_MS;
    lake.silent = true;
    step(&lake);
    assert_int_equal(lake.silent_count, 2); /* for the receipt, and to put a file */
    lake.now_ms += 120000;
    uploader_give_up_at(lake.uploader, lake.now_ms);
    step(&lake);
    step(&lake);
    assert_int_equal(lake.silent_count, 3);
    assert_int_equal(uploader_contract_borrow(lake.uploader, "db.t", &contract, &err), OK);
    assert_int_equal(lake.silent_count, 3);
    uploader_give_up_at(lake.uploader, lake.now_ms);
    assert_int_equal(uploader_contract_borrow(lake.uploader, "db.t", &contract, &err), OK);
    lake.now_ms += 120000;
    step(&lake);
    assert_int_equal(lake.silent_count, 4);
    assert_int_equal(listed(&lake, &arena, 2)[1].state, SEGMENT_BUILT);
    lake.silent = false;
    uploader_give_up_at(lake.uploader, INT64_MAX);
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 2)[1].state, SEGMENT_ANNOUNCED);
    arena_free(&arena);
    lake_free(&lake);
}

/* A store that is away for hours is asked now and then, not hammered, and 2,000 agents do not
 * come back in step: each waits by its own seed. Then all goes out, oldest first. */
static void store_away_for_hours_is_asked_now_and_then(void **state)
{
    (void)state;
    enum { STEP_MS = 200, HOURS_MS = 3 * 3600000 };
    struct lake lake;
    struct arena arena = {0};
    struct error err;
    struct uploader_backlog backlog;
    struct spool_streams streams = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    add_segment(&lake, 4);
    build(&lake);
    lake.away = true;
    for (int64_t ms = 0; ms < HOURS_MS; ms += STEP_MS) {
        lake.now_ms += STEP_MS;
        step(&lake);
    }
    /* Half a minute on the average. */
    assert_in_range(lake.away_count, 180, 720);
    must(spool_list_streams(lake.fixture.spool, &arena, &streams, &err), &err);
    must(uploader_backlog(lake.uploader, &streams, &backlog, &err), &err);
    assert_true(backlog.failing);
    assert_int_equal(
        strncmp(backlog.last_failure, streams.streams[0].name, strlen(streams.streams[0].name)), 0);
    assert_int_equal(backlog.unannounced, 2);
    lake.away = false;
    for (int64_t ms = 0; ms <= 60000; ms += STEP_MS) {
        lake.now_ms += STEP_MS;
        step(&lake);
    }
    assert_int_equal(listed(&lake, &arena, 2)[1].state, SEGMENT_ANNOUNCED);
    assert_int_equal(lake.put_count, 4);
    char key[OBJSTORE_KEY_MAX + 1];
    data_key(&lake, 0, 3, 1, key);
    assert_string_equal(lake.puts[0], key);
    must(spool_list_streams(lake.fixture.spool, &arena, &streams, &err), &err);
    must(uploader_backlog(lake.uploader, &streams, &backlog, &err), &err);
    assert_false(backlog.failing);
    arena_free(&arena);
    lake_free(&lake);
}

/* The answer to a put was lost: the file there is ours, and a second copy under another
 * name would be an orphan, or worse, a double. */
static void same_bytes_under_the_name_are_ours(void **state)
{
    (void)state;
    struct lake lake;
    char key[OBJSTORE_KEY_MAX + 1];
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    lake.next_put = MEMORY_FAULT_AFTER;
    step(&lake);
    lake.now_ms += 60000;
    step(&lake);
    data_key(&lake, 0, 3, 2, key);
    assert_false(stored(&lake, key));
    assert_int_equal(puts_of_inbox(&lake), 1);
    assert_int_equal(uploader_statistics_borrow(lake.uploader)->alarms, 0);
    lake_free(&lake);
}

/* Other bytes under the name may be in the table already: they stay, ours go under the
 * next n, the announcement names that one, and a person hears of it. */
static void taken_name_gives_the_next_n(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct arena arena = {0};
    struct announcement announcement;
    char key[OBJSTORE_KEY_MAX + 1];
    lake_init(&lake);
    data_key(&lake, 0, 3, 1, key);
    must(objstore_put_bytes(lake.other, key, slice_cstr("others"), PUT_ALWAYS, &err), &err);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    data_key(&lake, 0, 3, 2, key);
    assert_true(stored(&lake, key));
    struct spool_segment *segment = listed(&lake, &arena, 1);
    assert_int_equal(segment->state, SEGMENT_ANNOUNCED);
    announcement_init(&announcement);
    must(announcement_decode(&announcement, segment->payload, &err), &err);
    assert_non_null(strstr(key, announcement.files[0].path));
    assert_int_equal(uploader_statistics_borrow(lake.uploader)->alarms, 1);
    announcement_free(&announcement);
    arena_free(&arena);
    lake_free(&lake);
}

/* Somebody cleaned up sealed/, or its disk lied: the records are still there. */
static void cache_that_is_gone_or_damaged_is_built_again(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct arena arena = {0};
    struct buf path = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    struct spool_segment *segment = listed(&lake, &arena, 1);
    buf_printf(&path, "%s/", spool_sealed_directory_borrow(lake.fixture.spool));
    uploader_local_name(segment, 0, &path);
    assert_int_equal(unlink(buf_cstr(&path)), 0);
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)->state, SEGMENT_SEALED);
    build(&lake);
    /* Of the same size, so that only the checksum tells. */
    must(file_replace(buf_cstr(&path), slice_cstr("rows 1 to 9"), 0640, &err), &err);
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)->state, SEGMENT_SEALED);
    assert_int_equal(puts_of_inbox(&lake), 0);
    build(&lake);
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)->state, SEGMENT_ANNOUNCED);
    buf_free(&path);
    arena_free(&arena);
    lake_free(&lake);
}

/* The committed records are the store's now; to keep them would fill the disk. */
static void receipt_trims(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    add_segment(&lake, 4);
    build(&lake);
    step(&lake);
    put_receipt(&lake, (struct receipt){.next = 3, .committed_at_ms = lake.now_ms});
    lake.now_ms += POLL_MS;
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)->from, 3);
    assert_int_equal(stream_of(lake.fixture.spool, lake.fixture.stream, &arena).next, 3);
    arena_free(&arena);
    lake_free(&lake);
}

/* Receipts are not synced: after a power cut one may be empty or cut. It must not hold up
 * what is built meanwhile, nor the repeat that brings a new one. */
static void receipt_cut_by_a_power_cut_is_none(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct arena arena = {0};
    struct buf key = {0};
    static const char *const cut[] = {"", "{\"v\":1,\"stre"};
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    key_of_receipt(lake.fixture.stream, &key);
    for (size_t i = 0; i < 2; i++) {
        must(objstore_put_bytes(lake.other, buf_cstr(&key), slice_cstr(cut[i]), PUT_ALWAYS, &err),
             &err);
        add_segment(&lake, 4);
        build(&lake);
        lake.now_ms += POLL_MS;
        step(&lake);
        assert_int_equal(puts_of_inbox(&lake), 2 + i);
    }
    lake.now_ms += REPEAT_MS;
    step(&lake);
    assert_int_equal(puts_of_inbox(&lake), 4);
    put_receipt(&lake, (struct receipt){.next = 3, .committed_at_ms = lake.now_ms});
    lake.now_ms += REPEAT_MS; /* beyond the longest wait after a failure */
    step(&lake);
    assert_int_equal(stream_of(lake.fixture.spool, lake.fixture.stream, &arena).next, 3);
    buf_free(&key);
    arena_free(&arena);
    lake_free(&lake);
}

/* Somebody else writes under our stream: to trim by it would drop records that no table
 * has. The alarm is counted once, not at each look. */
static void receipt_beyond_the_announced_is_an_alarm(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    put_receipt(&lake, (struct receipt){.next = 9, .committed_at_ms = lake.now_ms});
    for (int i = 0; i < 3; i++) {
        lake.now_ms += POLL_MS;
        step(&lake);
    }
    assert_int_equal(listed(&lake, &arena, 1)->state, SEGMENT_ANNOUNCED);
    assert_int_equal(uploader_statistics_borrow(lake.uploader)->alarms, 1);
    arena_free(&arena);
    lake_free(&lake);
}

/* A file that the store lost can be made again as long as its records are there. */
static void missing_is_built_again_under_the_next_generation(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    char key[OBJSTORE_KEY_MAX + 1];
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    put_receipt(&lake, (struct receipt){.next = 0, .has_missing = true, .missing_from = 0});
    lake.now_ms += POLL_MS;
    step(&lake);
    struct spool_segment *segment = listed(&lake, &arena, 1);
    assert_int_equal(segment->state, SEGMENT_SEALED);
    assert_int_equal(segment->generation, 2);
    build(&lake);
    step(&lake);
    data_key(&lake, 0, 3, 2, key);
    assert_true(stored(&lake, key));
    assert_int_equal(puts_of_inbox(&lake), 2);
    arena_free(&arena);
    lake_free(&lake);
}

/* The receipt of the first time may still lie there when the second announcement is put:
 * it must not have the segment built in a circle. But when the wish is meant, because the
 * table was mended only later, the segment must not wait for ever either. */
static void later_refusals_are_heard_no_more_often_than_announcements_repeat(void **state)
{
    (void)state;
    struct lake lake;
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    put_receipt(&lake, (struct receipt){.next = 0,
                                        .has_refused = true,
                                        .refused_from = 0,
                                        .refused_reason = "other schema"});
    /* In steps as the agent makes them, of which not each looks for a receipt. */
    int64_t end_ms = lake.now_ms + 4 * REPEAT_MS;
    while (lake.now_ms < end_ms) {
        lake.now_ms += 1700;
        step(&lake);
        build(&lake);
    }
    uint64_t rebuilt = uploader_statistics_borrow(lake.uploader)->segments_rebuilt;
    assert_in_range(rebuilt, 3, 5);
    lake_free(&lake);
}

/* What was let go is sent back as well: only the roller's way to a lost range closes the
 * gap, and without it the table would wait for ever. */
static void missing_without_records_is_sent_back_too(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct arena arena = {0};
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    must(spool_let_go(lake.fixture.spool, lake.fixture.bytes_max, &err), &err);
    assert_true(listed(&lake, &arena, 1)->records_gone);
    put_receipt(&lake, (struct receipt){.next = 0, .has_missing = true, .missing_from = 0});
    lake.now_ms += POLL_MS;
    step(&lake);
    struct spool_segment *segment = listed(&lake, &arena, 1);
    assert_int_equal(segment->state, SEGMENT_SEALED);
    assert_true(segment->records_gone);
    arena_free(&arena);
    lake_free(&lake);
}

/* The one rule that heals lost notices, announcements and receipts: the oldest goes out
 * again, and only the oldest, or a committer that is down finds a flood. */
static void unanswered_announcement_is_repeated_oldest_first(void **state)
{
    (void)state;
    struct lake lake;
    lake_init(&lake);
    add_segment(&lake, 3);
    add_segment(&lake, 4);
    build(&lake);
    step(&lake);
    lake.now_ms += REPEAT_MS - 1;
    step(&lake);
    assert_int_equal(puts_of_inbox(&lake), 2);
    lake.now_ms += 1;
    step(&lake);
    assert_int_equal(puts_of_inbox(&lake), 3);
    assert_non_null(strstr(lake.puts[lake.put_count - 1], "/00000000000000000000.json"));
    step(&lake);
    assert_int_equal(puts_of_inbox(&lake), 3);
    lake_free(&lake);
}

/* The bidder's network is not ours: files go as fast as they may, whatever their number. */
static void bandwidth_is_kept(void **state)
{
    enum { SEGMENTS = 10, FILE_BYTES = 11 /* "rows 0 to 3" at least */ };
    (void)state;
    struct lake lake;
    lake_init(&lake);
    uploader_close(lake.uploader);
    spool_close(lake.fixture.spool);
    lake.bandwidth = 2;
    lake_open_parts(&lake);
    for (size_t i = 0; i < SEGMENTS; i++)
        add_segment(&lake, 3);
    build(&lake);
    int64_t start_ms = lake.now_ms;
    step(&lake);
    assert_int_equal(lake.put_count, 2); /* the others don't hold the step up */
    for (; lake.put_count < 2 * SEGMENTS; lake.now_ms += 20)
        step(&lake);
    /* The last one is paid for by who comes next. */
    assert_true(lake.now_ms - start_ms >= (SEGMENTS - 1) * FILE_BYTES * 1000 / 2 - 100);
    assert_true(lake.now_ms - start_ms < SEGMENTS * 2 * FILE_BYTES * 1000 / 2);
    lake_free(&lake);
}

/* A crash between the announcement and its note in the register: the next start puts the
 * same bytes under the same names, of the old epoch's stream. */
static void restart_announces_what_the_register_does_not_know_of(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    char stream[SPOOL_STREAM_NAME_MAX + 1];
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    lake.next_put = MEMORY_FAULT_AFTER;
    step(&lake);
    snprintf(stream, sizeof stream, "%s", lake.fixture.stream);
    uploader_close(lake.uploader);
    fixture_close(&lake.fixture);
    lake_open_parts(&lake);
    snprintf(lake.fixture.stream, sizeof lake.fixture.stream, "%s", stream);
    build(&lake);
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)->state, SEGMENT_ANNOUNCED);
    assert_int_equal(puts_of_inbox(&lake), 1);
    char key[OBJSTORE_KEY_MAX + 1];
    assert_false(memory_store_rewritten(lake.bytes, ".parquet", key));
    arena_free(&arena);
    lake_free(&lake);
}

static void stale_receipt_does_not_lose_what_was_put_again(void **state)
{
    (void)state;
    struct lake lake;
    struct error err;
    struct arena arena = {0};
    char key[OBJSTORE_KEY_MAX + 1];
    lake_init(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    put_receipt(&lake, (struct receipt){.next = 0, .has_missing = true, .missing_from = 0});
    lake.now_ms += POLL_MS;
    step(&lake);
    build(&lake);
    step(&lake); /* the wish is fulfilled: files and announcement of generation 2 are there */
    data_key(&lake, 0, 3, 2, key);
    assert_true(stored(&lake, key));
    must(spool_let_go(lake.fixture.spool, lake.fixture.bytes_max, &err), &err);
    assert_true(listed(&lake, &arena, 1)->records_gone);
    lake.now_ms += 2 * REPEAT_MS; /* no committer ran since: the receipt is the old one */
    step(&lake);
    assert_int_equal(listed(&lake, &arena, 1)->state, SEGMENT_ANNOUNCED);
    arena_free(&arena);
    lake_free(&lake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_go_before_their_announcement_and_segments_in_order),
        cmocka_unit_test(failed_put_holds_the_stream_until_its_time),
        cmocka_unit_test(store_that_names_a_time_is_not_asked_before_it),
        cmocka_unit_test(a_put_that_takes_long_is_given_up_by_a_stop),
        cmocka_unit_test(a_silent_store_is_asked_once_behind_a_stop),
        cmocka_unit_test(a_stop_hides_no_unusable_contract),
        cmocka_unit_test(store_away_for_hours_is_asked_now_and_then),
        cmocka_unit_test(same_bytes_under_the_name_are_ours),
        cmocka_unit_test(taken_name_gives_the_next_n),
        cmocka_unit_test(cache_that_is_gone_or_damaged_is_built_again),
        cmocka_unit_test(receipt_trims),
        cmocka_unit_test(receipt_cut_by_a_power_cut_is_none),
        cmocka_unit_test(receipt_beyond_the_announced_is_an_alarm),
        cmocka_unit_test(missing_is_built_again_under_the_next_generation),
        cmocka_unit_test(later_refusals_are_heard_no_more_often_than_announcements_repeat),
        cmocka_unit_test(missing_without_records_is_sent_back_too),
        cmocka_unit_test(stale_receipt_does_not_lose_what_was_put_again),
        cmocka_unit_test(unanswered_announcement_is_repeated_oldest_first),
        cmocka_unit_test(bandwidth_is_kept),
        cmocka_unit_test(restart_announces_what_the_register_does_not_know_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
