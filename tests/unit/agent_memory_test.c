/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "agent/memory.h"

enum { MIB = 1 << 20 };

static struct agent_listener listeners[2];

static struct agent_config config_of(int64_t memory_mib)
{
    struct agent_config config;
    agent_config_init(&config);
    config.memory_max = memory_mib * MIB;
    config.listeners = listeners;
    config.listener_count = 1;
    listeners[0] = (struct agent_listener){.kind = "http"};
    return config;
}

static struct memory_shares must_share(const struct agent_config *config)
{
    struct memory_shares shares;
    struct error err;
    int rc = memory_share(config, &shares, &err);
    if (rc != OK)
        fail_msg("%s", err.text);
    return shares;
}

/* How many MiB the configuration takes at least. */
static int64_t needed(struct agent_config config)
{
    struct memory_shares shares;
    struct error err;
    for (int64_t mib = 1;; mib++) {
        config.memory_max = mib * MIB;
        if (memory_share(&config, &shares, &err) == OK)
            return mib;
    }
}

/* A body that can be sent but never finds room is answered 503 for ever. */
static void the_largest_body_has_its_place(void **state)
{
    (void)state;
    for (int64_t body = 1; body <= 64; body *= 4) {
        struct agent_config config = config_of(0);
        config.http_body_bytes = body * MIB;
        config.memory_max = needed(config) * MIB;
        assert_in_range(must_share(&config).held_bytes, body * MIB, SIZE_MAX);
    }
}

/* The same behind a reload: larger bodies fit, or are refused; what the shares sum up to must not
 * grow beyond the ceiling either. */
static void a_reload_moves_the_share_of_bodies(void **state)
{
    (void)state;
    struct agent_config started = config_of(200);
    started.http_body_bytes = MIB;
    struct memory_shares shares = must_share(&started);
    struct memory_shares before = shares;
    struct agent_config reloaded = started;
    struct error err;
    reloaded.http_body_bytes = 12 * MIB;
    assert_in_range(before.held_bytes, MIB, 12 * MIB - 1);
    assert_int_equal(memory_share_again(&started, &reloaded, &shares, &err), OK);
    assert_in_range(shares.held_bytes, 12 * MIB, SIZE_MAX);
    assert_int_equal(shares.open_bytes, before.open_bytes);
    before = shares;
    reloaded.http_body_bytes = 24 * MIB; /* would do at a start, with smaller shares for rows */
    must_share(&reloaded);
    assert_int_equal(memory_share_again(&started, &reloaded, &shares, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "memory.max: 200 MiB are too little for"));
    assert_memory_equal(&shares, &before, sizeof shares);
    started.memory_max = 0;
    assert_int_equal(memory_share_again(&started, &reloaded, &shares, &err), OK);
}

/* What a door reads into counts, or the ceiling is none: four windows a pattern, with lines of
 * the largest size. */
static void windows_and_lines_are_in_the_sum(void **state)
{
    (void)state;
    static const struct {
        const char *kind;
        int64_t mib;
        int64_t mib_large; /* with events of 16 MiB */
    } cases[] = {{"tail", 4 * 2 + 10, 4 * 2 + 10 + 4 * 2 * 16},
                 {"stdin", 2 + 10, 2 + 10 + 2 * 16},
                 {"unix", 1, 1 + 2 * 16},
                 {"unix_datagram", 0, 2 * 16}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct agent_config config = config_of(0);
        int64_t bare = needed(config);
        config.listener_count = 2;
        listeners[1] = (struct agent_listener){.kind = cases[i].kind};
        assert_in_range(needed(config) - bare, cases[i].mib, cases[i].mib + 20);
        config.event_bytes_max = 16 * MIB;
        config.listener_count = 1;
        bare = needed(config);
        config.listener_count = 2;
        assert_in_range(needed(config) - bare, cases[i].mib_large + 4 * 16,
                        cases[i].mib_large + 4 * 16 + 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_body_has_its_place),
        cmocka_unit_test(a_reload_moves_the_share_of_bodies),
        cmocka_unit_test(windows_and_lines_are_in_the_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
