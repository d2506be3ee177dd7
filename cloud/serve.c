/* SPDX-License-Identifier: Apache-2.0
 *
 * A turn here is one pass over the tables that are due, in their order. The two signals are
 * blocked all the time: one that came during a turn is pending at its end, and one that
 * comes during a pause ends it. So no handler runs and no flag is needed.
 */
#include "cloud/serve.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "cloud/result.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { CEILING_MS = 60 * 1000, FIRST_CEILING_MS = 1000 };

struct served {
    const char *table;
    int64_t due_ms; /* monotonic */
    unsigned failures;
};

struct server {
    const struct config *config;
    struct service service;
    bool opened;
    bool opened_once;
    unsigned open_failures;
    size_t count;
    struct served *tables;
    sigset_t signals;
    uint64_t turns;
};

int64_t serve_pause_ms(unsigned failures, int64_t interval_ms, uint64_t random)
{
    if (failures == 0)
        return interval_ms;
    int64_t most = interval_ms > CEILING_MS ? interval_ms : CEILING_MS;
    int64_t ceiling = (int64_t)FIRST_CEILING_MS << (failures < 16 ? failures : 16);
    if (ceiling > most)
        ceiling = most;
    return (int64_t)(random % (uint64_t)ceiling);
}

static int64_t pause_of(const struct server *server, unsigned failures)
{
    uint64_t random;
    random_system(&random, sizeof random);
    return serve_pause_ms(failures, server->config->interval_ms, random);
}

/* True: one of the signals has come, now or while we waited. */
static bool wait_is_over(const struct server *server, int64_t ms)
{
    struct timespec time = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (ms % 1000) * 1000000};
    return sigtimedwait(&server->signals, NULL, &time) > 0;
}

static bool is_to_stop(void)
{
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

/* OK also when it could not be opened but may be later. */
static int server_open(struct server *server, struct error *err)
{
    int rc = service_open(&server->service, server->config, err);
    server->opened = rc == OK;
    if (rc == OK) {
        server->opened_once = true;
        server->open_failures = 0;
        return OK;
    }
    service_close(&server->service);
    if (rc == ERROR_INPUT && !server->opened_once)
        return rc;
    server->open_failures++;
    log_event(LOG_LEVEL_ERROR, "commit", "cannot open store or catalog", "tries=%u text=\"%s\"",
              server->open_failures, err->text);
    return OK;
}

/* What may be wrong with a handle (a file that was replaced, a credential) is gone with it. */
static void server_close(struct server *server)
{
    if (server->opened)
        service_close(&server->service);
    server->opened = false;
}

static void turn_run(struct server *server)
{
    struct commit_report report = {0};
    struct error first = {0};
    int64_t at_ms = clock_wall_ms(&clock_system);
    int64_t start_ms = clock_mono_ms(&clock_system);
    /* Tables that fell out of step, one having failed, come together again by this. */
    int64_t slack_ms = server->config->interval_ms / 10;
    bool failed = false;
    for (size_t i = 0; i < server->count && !is_to_stop(); i++) {
        struct served *served = &server->tables[i];
        struct error err;
        if (served->due_ms > start_ms + slack_ms)
            continue;
        int rc = commit_turn(&server->service.committer, &served->table, 1, &report, &err);
        served->failures = rc == OK ? 0 : served->failures + 1;
        served->due_ms = (rc == OK ? start_ms : clock_mono_ms(&clock_system)) +
                         pause_of(server, served->failures) + (rc == OK ? 0 : err.retry_after_ms);
        if (rc != OK && !failed)
            first = err;
        failed = failed || rc != OK;
    }
    int64_t ms = clock_mono_ms(&clock_system) - start_ms;
    server->turns++;
    result_log_notes(&report);
    result_log_turn(&report, ms);
    if (server->config->json)
        result_print_json(&report, failed ? first.text : NULL, at_ms, ms);
    commit_report_free(&report);
    if (failed)
        server_close(server);
}

static int64_t next_due_ms(const struct server *server)
{
    int64_t due_ms = INT64_MAX;
    for (size_t i = 0; i < server->count; i++)
        if (server->tables[i].due_ms < due_ms)
            due_ms = server->tables[i].due_ms;
    return due_ms;
}

static int server_run(struct server *server, struct error *err)
{
    int rc = server_open(server, err);
    if (rc != OK)
        return rc;
    log_event(LOG_LEVEL_INFO, "commit", "serving", "tables=%zu interval_ms=%" PRId64, server->count,
              server->config->interval_ms);
    for (;;) {
        int64_t pause_ms = server->opened ? next_due_ms(server) - clock_mono_ms(&clock_system)
                                          : pause_of(server, server->open_failures);
        if (wait_is_over(server, pause_ms > 0 ? pause_ms : 0))
            break;
        if (!server->opened)
            rc = server_open(server, err);
        if (rc != OK)
            return rc;
        if (server->opened && next_due_ms(server) <= clock_mono_ms(&clock_system))
            turn_run(server);
    }
    log_event(LOG_LEVEL_INFO, "commit", "stopped", "turns=%" PRIu64, server->turns);
    return OK;
}

int serve(const struct config *config, const char *const *tables, size_t count, struct error *err)
{
    struct server server = {.config = config, .count = count};
    sigset_t before;
    server.tables = memory_alloc(count, sizeof *server.tables);
    for (size_t i = 0; i < count; i++)
        server.tables[i] = (struct served){.table = tables[i]};
    sigemptyset(&server.signals);
    sigaddset(&server.signals, SIGTERM);
    sigaddset(&server.signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &server.signals, &before);
    /* Who reads the reports may go; the commits go on. */
    signal(SIGPIPE, SIG_IGN);
    int rc = server_run(&server, err);
    server_close(&server);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(server.tables);
    return rc;
}
