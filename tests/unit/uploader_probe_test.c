/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/uploader_support.h"

#include "tests/unit/store_over.h"

/* A store that was away at the start, and overwrites, could let a name stand for other bytes: it
 * gets nothing but the probe, whatever waits, and the rest once it is mended. */
static void unknown_store_gets_nothing_before_it_is_fit(void **state)
{
    (void)state;
    struct lake lake;
    struct arena arena = {0};
    struct error err;
    struct uploader_backlog backlog;
    struct spool_streams streams = {0};
    lake_init(&lake);
    uploader_close(lake.uploader);
    spool_close(lake.fixture.spool);
    lake.probe_key = "_bidlake/probe/a1";
    lake_open_parts(&lake);
    add_segment(&lake, 3);
    add_segment(&lake, 4);
    build(&lake);
    lake.away = true;
    step(&lake);
    assert_int_equal(lake.away_count, 1);
    lake.away = false;
    lake.careless = true;
    for (int i = 0; i < 3; i++) {
        lake.now_ms += 60000;
        step(&lake);
    }
    assert_int_equal(lake.put_count, 6);
    for (size_t i = 0; i < lake.put_count; i++)
        assert_string_equal(lake.puts[i], lake.probe_key);
    assert_int_equal(listed(&lake, &arena, 2)[0].state, SEGMENT_BUILT);
    must(spool_list_streams(lake.fixture.spool, &arena, &streams, &err), &err);
    must(uploader_backlog(lake.uploader, &streams, &backlog, &err), &err);
    assert_true(backlog.failing);
    assert_non_null(strstr(backlog.last_failure, "overwrites where it was asked not to"));
    lake.careless = false;
    lake.now_ms += 60000;
    step(&lake);
    assert_int_equal(lake.put_count, 6 + 2 + 4);
    assert_int_equal(listed(&lake, &arena, 2)[1].state, SEGMENT_ANNOUNCED);
    arena_free(&arena);
    lake_free(&lake);
}

struct denying {
    struct store_over over;
    const char *denied; /* keys that begin so; NULL: none */
};

static int deny_put(void *impl, const char *key, const struct objstore_body *body, uint32_t crc32c,
                    enum put_condition condition, struct error *err)
{
    const struct denying *denying = impl;
    if (denying->denied != NULL && strncmp(key, denying->denied, strlen(denying->denied)) == 0)
        return error_set(err, ERROR_DENIED, "denied");
    return over_put(impl, key, body, crc32c, condition, err);
}

/* Keys that hold from some moment on: until then all is denied, the probe as well; from then on a
 * store that overwrites must get nothing. */
static void denied_store_is_asked_before_it_gets_more(void **state)
{
    (void)state;
    struct lake lake;
    struct denying denying = {.denied = ""};
    lake_init(&lake);
    uploader_close(lake.uploader);
    spool_close(lake.fixture.spool);
    struct objstore *inner = lake.store;
    denying.over.inner = inner;
    lake.store = store_over_wrap(&denying.over, &(struct objstore_ops){.put = deny_put});
    lake.probe_key = "_bidlake/probe/a1";
    lake_open_parts(&lake);
    add_segment(&lake, 3);
    build(&lake);
    step(&lake);
    assert_int_equal(lake.put_count, 0);
    denying.denied = NULL;
    lake.careless = true;
    lake.now_ms += 1000; /* the first retry is due */
    step(&lake);
    assert_true(lake.put_count > 0);
    for (size_t i = 0; i < lake.put_count; i++)
        assert_string_equal(lake.puts[i], lake.probe_key);
    objstore_close(inner);
    lake_free(&lake);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unknown_store_gets_nothing_before_it_is_fit),
        cmocka_unit_test(denied_store_is_asked_before_it_gets_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
