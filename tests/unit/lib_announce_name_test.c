/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/announce/announce.h"

#define EPOCH "01940000-0000-7000-8000-000000000001"
#define STREAM "edge-17/" EPOCH "/db.bid_requests"
/* printf STREAM | sha256sum | cut -c1-32 */
#define HASH "2a50e07e391c4295a4d86449debc0f86"

static void assert_key(struct buf *key, const char *expected)
{
    assert_string_equal(buf_cstr(key), expected);
    buf_free(key);
}

/* An agent and a committer that spell a key differently never meet. */
static void keys_lie_where_the_design_says(void **state)
{
    (void)state;
    struct buf key = {0};
    key_of_table("db.bid_requests", &key);
    assert_key(&key, "db/bid_requests");
    key_of_table("a.b.clicks", &key);
    assert_key(&key, "a.b/clicks");
    key_of_data_file("db.clicks", "data/x.parquet", &key);
    assert_key(&key, "db/clicks/data/x.parquet");
    key_of_inbox("db.clicks", &key);
    assert_key(&key, "_bidlake/inbox/db.clicks/");
    key_of_announcement("db.bid_requests", STREAM, 400000, &key);
    assert_key(&key, "_bidlake/inbox/db.bid_requests/" HASH "/00000000000000400000.json");
    key_of_refused("db.bid_requests", STREAM, INT64_MAX, &key);
    assert_key(&key, "_bidlake/refused/db.bid_requests/" HASH "/09223372036854775807.json");
    key_of_refusals("db.clicks", &key);
    assert_key(&key, "_bidlake/refused/db.clicks/");
    key_of_refused_copy("_bidlake/inbox/db.clicks/" HASH "/00000000000000000007.json", &key);
    assert_key(&key, "_bidlake/refused/db.clicks/" HASH "/00000000000000000007.json");
    key_of_ledgers("db.clicks", &key);
    assert_key(&key, "_bidlake/ledger/db.clicks/");
    key_of_dropped("db.clicks", &key);
    assert_key(&key, "_bidlake/dropped/db.clicks/");
    key_of_dropped_note("db.clicks", 7, "0a0b", &key);
    assert_key(&key, "_bidlake/dropped/db.clicks/7-0a0b.json");
    key_of_contract("db.clicks", &key);
    assert_key(&key, "_bidlake/tables/db.clicks.json");
    key_of_receipt(STREAM, &key);
    assert_key(&key, "_bidlake/receipts/" HASH ".json");
    key_of_ledger("db.clicks", 7, "0a0b", &key);
    assert_key(&key, "_bidlake/ledger/db.clicks/7-0a0b.json.zst");
    key_of_probe("edge-17", &key);
    assert_key(&key, "_bidlake/probe/edge-17");
}

static void streams_are_named_by_agent_epoch_and_table(void **state)
{
    (void)state;
    struct error err;
    char name[STREAM_NAME_MAX + 1];
    assert_int_equal(stream_name_make(name, "edge-17", EPOCH, "db.bid_requests", &err), OK);
    assert_string_equal(name, STREAM);
    assert_true(slice_is(stream_epoch(name), EPOCH));
    assert_null(stream_epoch("kafka/c/topic/id/3/db.clicks").data);
    assert_null(stream_epoch("a/b/c").data);
    static const char *const agents[] = {"", "a/b", "..", ".", "a b", "\xc3\xa4"};
    for (size_t i = 0; i < sizeof agents / sizeof agents[0]; i++)
        assert_int_equal(stream_name_make(name, agents[i], EPOCH, "db.x", &err), ERROR_INPUT);
    static const char *const tables[] = {"", "x", ".x", "db.", "a..b", "db.x/y", "db.x y"};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        assert_int_equal(stream_name_make(name, "a", EPOCH, tables[i], &err), ERROR_INPUT);
    assert_int_equal(stream_name_make(name, "a", "1", "db.x", &err), ERROR_INPUT);
}

static void data_file_paths_are_made_of_stream_and_range(void **state)
{
    (void)state;
    struct buf path = {0};
    data_file_path("event_timestamp_day=2026-01-01/c=USA", STREAM, 0, 400000, 0, &path);
    assert_true(data_file_path_check(buf_cstr(&path), STREAM));
    assert_false(data_file_path_check(buf_cstr(&path), "edge-18/" EPOCH "/db.bid_requests"));
    assert_key(&path, "data/event_timestamp_day=2026-01-01/c=USA/" HASH "-0-400000-0.parquet");
    data_file_path("", STREAM, 5, 6, 12, &path);
    assert_true(data_file_path_check(buf_cstr(&path), STREAM));
    assert_key(&path, "data/" HASH "-5-6-12.parquet");
}

/* A path decides which object a table's row comes from: none may lead elsewhere. */
static void paths_that_were_not_made_here_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "data/",
        "data",
        HASH "-0-1-0.parquet",
        "/data/" HASH "-0-1-0.parquet",
        "data//" HASH "-0-1-0.parquet",
        "data/../data/" HASH "-0-1-0.parquet",
        "data/./" HASH "-0-1-0.parquet",
        "data/a\n/" HASH "-0-1-0.parquet",
        "data/a b/" HASH "-0-1-0.parquet",
        "data/a?b/" HASH "-0-1-0.parquet",
        "metadata/" HASH "-0-1-0.parquet",
        "data/" HASH "-0-1-0.parquet/x",
        "data/" HASH "-0-1-0.parque",
        "data/" HASH "-0-1-0.parquet ",
        "data/" HASH "-0-1.parquet",
        "data/" HASH "-00-1-0.parquet",
        "data/" HASH "-0-+1-0.parquet",
        "data/" HASH "-1-1-0.parquet",
        "data/" HASH "-0-9223372036854775808-0.parquet",
        "data/" HASH "-0-99999999999999999999999-0.parquet",
        "data/" HASH "-0-1-4294967296.parquet",
        "data/" HASH "a-0-1-0.parquet",
        "data/xx-0-1-0.parquet",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct buf next = {0};
        assert_false(data_file_path_check(bad[i], STREAM));
        assert_false(data_file_path_next(bad[i], &next));
        assert_int_equal(next.len, 0);
        buf_free(&next);
    }
}

/* A copy under a name that is taken would put two contents under it. */
static void next_path_counts_on(void **state)
{
    (void)state;
    struct buf next = {0};
    assert_true(data_file_path_next("data/c=USA/" HASH "-0-1-9.parquet", &next));
    assert_key(&next, "data/c=USA/" HASH "-0-1-10.parquet");
    assert_false(data_file_path_next("data/" HASH "-0-1-4294967295.parquet", &next));
    buf_free(&next);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_lie_where_the_design_says),
        cmocka_unit_test(streams_are_named_by_agent_epoch_and_table),
        cmocka_unit_test(data_file_paths_are_made_of_stream_and_range),
        cmocka_unit_test(paths_that_were_not_made_here_are_refused),
        cmocka_unit_test(next_path_counts_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
