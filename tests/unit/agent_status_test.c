/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spool_support.h"

#include "agent/status.h"

struct bench {
    struct fixture spool;
    struct mapping_set mappings;
    struct capture *capture;
    struct agent_config config;
    struct flow *flow;
    struct view_sources sources;
    struct agent_view view;
};

static void bench_open(struct bench *bench, size_t open_bytes_max)
{
    static const char *const names[] = {"openrtb"};
    struct error err;
    *bench = (struct bench){0};
    fixture_init(&bench->spool);
    fixture_open(&bench->spool);
    agent_config_init(&bench->config);
    bench->config.spool_directory = bench->spool.directory;
    must(mapping_set_load(&bench->mappings, names, 1, &err), &err);
    struct capture_options options = {.spool = bench->spool.spool,
                                      .mappings = &bench->mappings,
                                      .agent_id = "a1",
                                      .namespace = "db",
                                      .open_bytes_max = open_bytes_max};
    must(capture_open(&bench->capture, &options, &err), &err);
    bench->flow = flow_open(spool_epoch_borrow(bench->spool.spool));
    bench->view = (struct agent_view){.config = &bench->config,
                                      .capture = bench->capture,
                                      .spool = bench->spool.spool,
                                      .flow = bench->flow,
                                      .sources = &bench->sources};
}

static void bench_close(struct bench *bench)
{
    flow_close(bench->flow);
    capture_close(bench->capture);
    mapping_set_free(&bench->mappings);
    agent_config_free(&bench->config);
    fixture_free(&bench->spool);
}

/* The state of one check, while all others are well. */
static enum check_state state_of(struct bench *bench, const char *name, const char *words,
                                 bool ready)
{
    struct status_check checks[STATUS_CHECKS];
    enum check_state found = CHECK_OK;
    assert_int_equal(status_checks(&bench->view, checks), ready);
    for (size_t i = 0; i < STATUS_CHECKS; i++) {
        if (strcmp(checks[i].name, name) != 0) {
            assert_int_equal(checks[i].state, CHECK_OK);
            continue;
        }
        found = checks[i].state;
        if (strstr(checks[i].why, words) == NULL)
            fail_msg("%s says %s", name, checks[i].why);
    }
    return found;
}

/* A probe that says ready sends events to a port that answers 503. */
static void each_check_is_told(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, 1);
    assert_int_equal(state_of(&bench, "running", "", true), CHECK_OK);
    bench.view.stopping = true;
    assert_int_equal(state_of(&bench, "running", "stops", false), CHECK_FAIL);
    bench.view.stopping = false;
    bench.view.deliver_rc = ERROR_IO;
    snprintf(bench.view.deliver_text, sizeof bench.view.deliver_text, "the disk is gone");
    assert_int_equal(state_of(&bench, "spool", "the disk is gone", false), CHECK_FAIL);
    bench.view.deliver_rc = OK;
    bench.view.step_age_ms = 61000;
    assert_int_equal(state_of(&bench, "store", "61 s", true), CHECK_WARN);
    bench.view.step_age_ms = 0;
    bench.view.backlog.failing = true;
    snprintf(bench.view.backlog.last_failure, sizeof bench.view.backlog.last_failure, "503");
    assert_int_equal(state_of(&bench, "store", "503", true), CHECK_WARN);
    /* Long paths stand before the cause, which is what somebody needs. */
    memset(bench.view.backlog.last_failure, '/', sizeof bench.view.backlog.last_failure - 1);
    size_t end = sizeof bench.view.backlog.last_failure - sizeof "No space left";
    memcpy(bench.view.backlog.last_failure + end, "No space left", sizeof "No space left");
    assert_int_equal(state_of(&bench, "store", "No space left", true), CHECK_WARN);
    bench.view.backlog.failing = false;
    assert_int_equal(state_of(&bench, "store", "", true), CHECK_OK);
    bench_close(&bench);
}

static void nobody_waits(struct ticket *ticket, int rc, const struct error *err)
{
    (void)ticket;
    (void)rc;
    (void)err;
}

/* Full for the moment: more is not taken before what waits is on the disk. */
static void intake_that_is_full(void **state)
{
    (void)state;
    struct bench bench;
    struct intake *intake = NULL;
    struct error err;
    struct refusal refusal;
    struct ticket ticket = {.done = nobody_waits};
    struct shred_context context = {.source_time_us = INT64_MIN, .partition = -1, .offset = -1};
    bench_open(&bench, 1);
    must(intake_open(&intake, bench.capture, &err), &err);
    size_t table = capture_find_table(bench.capture, slice_cstr("clicks"));
    must(intake_begin(intake, table, &ticket, &err), &err);
    assert_true(intake_event(intake, slice_cstr("{\"id\":\"a\"}"), &context, &refusal));
    assert_int_equal(state_of(&bench, "intake", "bytes wait for the disk", false), CHECK_FAIL);
    assert_true(intake_end(intake));
    struct capture_statistics statistics = {.waiting_bytes = 1};
    while (statistics.waiting_bytes > 0) {
        clock_sleep_ms(&clock_system, 1);
        capture_statistics(bench.capture, &statistics);
    }
    assert_int_equal(state_of(&bench, "intake", "", true), CHECK_OK);
    intake_close(intake);
    bench_close(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_check_is_told),
        cmocka_unit_test(intake_that_is_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
