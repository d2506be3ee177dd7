/* SPDX-License-Identifier: Apache-2.0
 *
 * The port by what goes over the wire; turns are the test's own. */
#include "cloud/door/door.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"

static const char *const tables[] = {"db.clicks", "a.b.views"};

#define NOTICE(bucket, key)                                                                        \
    "{\"detail-type\":\"Object Created\",\"detail\":{\"bucket\":{\"name\":\"" bucket               \
    "\"},\"object\":{\"key\":\"" key "\"}}}"
static const char clicks[] = NOTICE("lake", "wh/x/_bidlake/inbox/db.clicks/s/1.json");

struct fixture {
    struct door *door;
    int port;
    atomic_uint woken[2];
};

static void woken(void *context, size_t table)
{
    struct fixture *fixture = context;
    atomic_fetch_add(&fixture->woken[table], 1);
}

/* A port that nobody has: it is let go of just before the door takes it. */
static int free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &size), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int setup(void **state)
{
    static struct fixture fixture;
    struct error err;
    char address[32];
    fixture = (struct fixture){.port = free_port()};
    snprintf(address, sizeof address, "127.0.0.1:%d", fixture.port);
    struct door_options options = {.address = address,
                                   .warehouse = "s3://lake/wh/x/",
                                   .tables = tables,
                                   .table_count = 2,
                                   .clock = &clock_system,
                                   .wake = woken,
                                   .context = &fixture};
    *state = &fixture;
    return door_open(&fixture.door, &options, &err);
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    door_close(fixture->door);
    return 0;
}

static int ask(const struct fixture *fixture, const char *path, const char *body)
{
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)fixture->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct buf text = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    buf_printf(&text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", path,
               strlen(body), body);
    assert_int_equal(send(fd, text.data, text.len, 0), (int)text.len);
    buf_free(&text);
    return fd;
}

/* The status of the answer; 0: none within `ms`. */
static int answer(int fd, int ms)
{
    char text[4096] = "";
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    if (poll(&poll_fd, 1, ms) == 0)
        return 0;
    assert_true(recv(fd, text, sizeof text - 1, 0) > 12);
    close(fd);
    return (int)strtol(text + 9, NULL, 10);
}

static void turn(struct fixture *fixture, size_t table, const char *error)
{
    struct door_turn turn = {.error = error};
    door_turn_begin(fixture->door, table);
    door_turn_end(fixture->door, table, &turn);
}

/* The harm: a notice that counts for nothing, or a stranger's that makes turns. */
static void a_notice_wakes_its_table_alone(void **state)
{
    static const struct {
        const char *body;
        int status;
        unsigned woken[2];
    } cases[] = {
        {clicks, 202, {1, 0}},
        {NOTICE("lake", "wh/x/_bidlake/inbox/a.b.views/s/1.json"), 202, {1, 1}},
        {NOTICE("other", "wh/x/_bidlake/inbox/db.clicks/s/1.json"), 200, {1, 1}},
        {NOTICE("lake", "_bidlake/inbox/db.clicks/s/1.json"), 200, {1, 1}},
        {NOTICE("lake", "wh/x/_bidlake/inbox/db.click/s/1.json"), 200, {1, 1}},
        {NOTICE("lake", "wh/x/db/clicks/data/1.parquet"), 200, {1, 1}},
        {"{}", 400, {1, 1}},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(answer(ask(fixture, "/v1/notify", cases[i].body), 10000), cases[i].status);
        /* The answer may be there before the wake is. */
        for (int left = 10000; left > 0 && (fixture->woken[0] != cases[i].woken[0] ||
                                            fixture->woken[1] != cases[i].woken[1]);
             left--)
            poll(NULL, 0, 1);
        assert_int_equal(fixture->woken[0], cases[i].woken[0]);
        assert_int_equal(fixture->woken[1], cases[i].woken[1]);
    }
}

static void wait_until_woken(const struct fixture *fixture, unsigned times)
{
    for (int left = 10000; left > 0 && fixture->woken[0] < times; left--)
        poll(NULL, 0, 1);
    assert_int_equal(fixture->woken[0], times);
}

/* The harm: "done" is said after a turn that had looked before the object came. */
static void who_waits_is_answered_after_a_turn_that_began_later(void **state)
{
    struct fixture *fixture = *state;
    struct door_turn good = {0};
    door_turn_begin(fixture->door, 0);
    int fd = ask(fixture, "/v1/notify?wait=1", clicks);
    wait_until_woken(fixture, 1);
    door_turn_end(fixture->door, 0, &good);
    turn(fixture, 1, NULL); /* another table's */
    assert_int_equal(answer(fd, 50), 0);
    turn(fixture, 0, NULL);
    assert_int_equal(answer(fd, 10000), 200);

    fd = ask(fixture, "/v1/notify?wait=1", clicks);
    wait_until_woken(fixture, 2);
    turn(fixture, 0, "no catalog");
    assert_int_equal(answer(fd, 10000), 503);

    fd = ask(fixture, "/v1/notify?wait=1", clicks);
    wait_until_woken(fixture, 3);
    door_closed(fixture->door, "no catalog"); /* no turn comes soon */
    assert_int_equal(answer(fd, 10000), 503);
    door_closed(fixture->door, NULL);

    /* One that hung up is forgotten, one that still waits at the end is told. */
    close(ask(fixture, "/v1/notify?wait=1", clicks));
    wait_until_woken(fixture, 4);
    turn(fixture, 0, NULL);
    fd = ask(fixture, "/v1/notify?wait=1", clicks);
    wait_until_woken(fixture, 5);
    door_close(fixture->door);
    fixture->door = NULL;
    assert_int_equal(answer(fd, 10000), 503);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_notice_wakes_its_table_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(who_waits_is_answered_after_a_turn_that_began_later, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
