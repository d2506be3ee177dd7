/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/memory.h"
#include "agent/memory_limit.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

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

/* ---- the system's limit ---- */

static void must_write(const char *root, const char *path, const char *text)
{
    struct error err;
    char *whole = memory_printf("%s/%s", root, path);
    char *slash = strrchr(whole, '/');
    *slash = 0;
    assert_int_equal(file_make_directories(whole, 0700, &err), OK);
    *slash = '/';
    assert_int_equal(file_replace(whole, slice_cstr(text), 0600, &err), OK);
    free(whole);
}

static void the_lowest_limit_of_all_groups_counts(void **state)
{
    enum { FILES = 3 };
    static const struct {
        const char *groups;
        const char *files[FILES][2];
        uint64_t limit; /* 0: the machine's memory */
    } cases[] = {
        {"0::/a/b\n", {{"a/b/memory.max", "67108864\n"}}, 64 * MIB},
        {"0::/a/b\n", {{"a/b/memory.max", "max\n"}, {"a/memory.max", "67108864\n"}}, 64 * MIB},
        {"0::/a/b\n",
         {{"a/b/memory.max", "67108864"}, {"a/memory.max", "33554432"}, {"memory.max", "max"}},
         32 * MIB},
        {"0::/a\n", {{"a/memory.max", "67108864\n"}, {"memory.high", "33554432\n"}}, 32 * MIB},
        {"0::/\n", {{"memory.max", "67108864\n"}}, 64 * MIB},
        {"0::/../host/path\n", {{"memory.max", "67108864\n"}}, 64 * MIB},
        {"3:cpu,memory:/p\n0::/\n", {{"memory/p/memory.limit_in_bytes", "67108864\n"}}, 64 * MIB},
        {"3:memory:/p\n", {{"memory/memory.limit_in_bytes", "67108864\n"}}, 64 * MIB},
        {"3:memory:/p\n", {{"memory/p/memory.limit_in_bytes", "9223372036854771712\n"}}, 0},
        {"3:memory_not:/p\n", {{"memory/p/memory.limit_in_bytes", "67108864\n"}}, 0},
        {"0::/a\n", {{"a/memory.max", "-5\n"}}, 0},
        {"no groups\n::\n:\n", {{"memory.max", "most"}}, 0},
    };
    (void)state;
    uint64_t machine = memory_limit_read("/nonexistent");
    assert_in_range(machine, 256 * (uint64_t)MIB, UINT64_MAX);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err;
        char root[] = "/tmp/agent_memory_XXXXXX";
        assert_non_null(mkdtemp(root));
        must_write(root, "proc/self/cgroup", cases[i].groups);
        for (size_t k = 0; k < FILES && cases[i].files[k][0] != NULL; k++) {
            char *path = memory_printf("sys/fs/cgroup/%s", cases[i].files[k][0]);
            must_write(root, path, cases[i].files[k][1]);
            free(path);
        }
        uint64_t wanted = cases[i].limit != 0 ? cases[i].limit : machine;
        if (memory_limit_read(root) != wanted)
            fail_msg("case %zu: %llu", i, (unsigned long long)memory_limit_read(root));
        assert_int_equal(file_remove_tree(root, &err), OK);
    }
}

static void the_cache_has_what_the_program_has_not(void **state)
{
    (void)state;
    struct agent_config config = config_of(256);
    assert_int_equal(memory_limit_cache(&config, 512 * (uint64_t)MIB), 256 * MIB);
    assert_int_equal(memory_limit_cache(&config, 128 * (uint64_t)MIB), 0);
    config.memory_max = 0;
    assert_int_equal(memory_limit_cache(&config, 64 * (uint64_t)MIB), 32 * MIB);
}

/* In 64 MB with the defaults a segment of roll.bytes is read from the disk for ever, and nothing
 * is delivered. What has room is not made smaller: each segment is a file. */
static void a_segment_has_room_in_the_cache(void **state)
{
    enum { DEFAULT_MIB = 256, FLOOR_MIB = 4 };
    static const struct {
        int64_t memory_mib; /* memory.max */
        uint64_t limit_mib;
        int64_t wanted_mib; /* roll.bytes */
        uint64_t roll_mib;
    } cases[] = {
        {0, 66, DEFAULT_MIB, 22},
        {0, 66, 22, 22},
        {0, 66, 16, 16},
        {0, 768, DEFAULT_MIB, DEFAULT_MIB},
        {0, 65536, DEFAULT_MIB, DEFAULT_MIB},
        {192, 384, DEFAULT_MIB, 128},         /* the image, in its examples */
        {384, 768, DEFAULT_MIB, DEFAULT_MIB}, /* the unit */
        {192, 192, DEFAULT_MIB, FLOOR_MIB},
        {192, 64, DEFAULT_MIB, FLOOR_MIB},
        {192, 64, 1, 1},
        {0, 4, DEFAULT_MIB, FLOOR_MIB},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct agent_config config = config_of(cases[i].memory_mib);
        if (cases[i].wanted_mib == DEFAULT_MIB)
            assert_int_equal(config.roll_bytes, DEFAULT_MIB * (int64_t)MIB);
        config.roll_bytes = cases[i].wanted_mib * MIB;
        uint64_t bytes = memory_limit_roll_bytes(&config, cases[i].limit_mib * MIB);
        if (bytes != cases[i].roll_mib * MIB)
            fail_msg("case %zu: %llu", i, (unsigned long long)bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_largest_body_has_its_place),
        cmocka_unit_test(a_reload_moves_the_share_of_bodies),
        cmocka_unit_test(windows_and_lines_are_in_the_sum),
        cmocka_unit_test(the_lowest_limit_of_all_groups_counts),
        cmocka_unit_test(the_cache_has_what_the_program_has_not),
        cmocka_unit_test(a_segment_has_room_in_the_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
