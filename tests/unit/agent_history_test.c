/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spool_support.h"

#include "agent/history.h"
#include "lib/json/json.h"

static json_t *samples_of(struct history *history, int64_t now_ms)
{
    struct error err;
    struct buf text = {0};
    json_t *whole = NULL;
    history_write(history, now_ms, &text);
    must(json_decode(&whole, buf_slice(&text), &err), &err);
    buf_free(&text);
    return whole;
}

static int64_t number(const json_t *whole, size_t index, const char *key)
{
    return json_integer_value(
        json_object_get(json_array_get(json_object_get(whole, "samples"), index), key));
}

/* An agent that runs for months must not grow by its own memories, and the page must not
 * begin with old ones. */
static void the_last_samples_are_kept(void **state)
{
    (void)state;
    struct fixture fixture;
    fixture_init(&fixture);
    fixture_open(&fixture);
    struct flow *flow = flow_open(spool_epoch_borrow(fixture.spool));
    struct view_sources sources = {0};
    struct agent_view view = {.spool = fixture.spool, .flow = flow, .sources = &sources};
    struct history *history = history_open();
    json_t *whole = samples_of(history, 0);
    assert_int_equal(json_array_size(json_object_get(whole, "samples")), 0);
    json_decref(whole);
    int64_t now_ms = 1000;
    for (int i = 0; i < HISTORY_SAMPLES + 20; i++) {
        assert_true(history_is_due(history, now_ms));
        view.freshness.oldest_ms = i;
        history_note(history, &view, now_ms);
        assert_false(history_is_due(history, now_ms + HISTORY_EVERY_MS - 1));
        now_ms += HISTORY_EVERY_MS;
    }
    whole = samples_of(history, now_ms);
    size_t last = HISTORY_SAMPLES - 1;
    assert_int_equal(json_array_size(json_object_get(whole, "samples")), HISTORY_SAMPLES);
    assert_int_equal(number(whole, 0, "oldest_ms"), 20);
    assert_int_equal(number(whole, last, "oldest_ms"), HISTORY_SAMPLES + 19);
    assert_int_equal(number(whole, last, "age_ms"), HISTORY_EVERY_MS);
    assert_int_equal(number(whole, 0, "age_ms"), (int64_t)HISTORY_SAMPLES * HISTORY_EVERY_MS);
    assert_true(number(whole, last, "spool_bytes") > 0);
    json_decref(whole);
    history_close(history);
    flow_close(flow);
    fixture_free(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_samples_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
