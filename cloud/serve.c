/* SPDX-License-Identifier: Apache-2.0
 *
 * A turn here is one pass over the tables that are due, in their order. The two signals are
 * blocked all the time: one that came during a turn is pending, which the turn asks for at its
 * steps, and one that comes during a pause ends it. So no handler runs and no flag is needed.
 *
 * A notice (cloud/door) ends a pause, too: its table is due at once, but not sooner than
 * notify.pause after its last turn began, so that 2,000 agents' notices make one snapshot, and
 * not at all while its turns fail: then back-off decides.
 */
#include "cloud/serve.h"

#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "cloud/door/door.h"
#include "cloud/result.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { CEILING_MS = 60 * 1000, FIRST_CEILING_MS = 1000 };

struct served {
    const char *table;
    int64_t begun_ms; /* monotonic: when its newest turn began */
    int64_t due_ms;
    unsigned failures;
    atomic_bool noticed; /* by the door's thread */
};

struct server {
    const struct config *config;
    struct service service;
    struct catalog_exchanged exchanged; /* while it is closed */
    bool opened;
    bool opened_once;
    unsigned open_failures; /* since it was open last */
    int64_t open_at_ms;     /* monotonic: no try before it, after a failure */
    size_t count;
    struct served *tables;
    sigset_t signals;
    int signal_fd;
    int notice_fd;
    struct door *door; /* NULL: no port */
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

/* `err` NULL: nothing failed. Who was asked may have named a time (Retry-After): to all who
 * ask, so they come spread behind it. */
static int64_t pause_of(const struct server *server, unsigned failures, const struct error *err)
{
    uint64_t random;
    random_system(&random, sizeof random);
    return serve_pause_ms(failures, server->config->interval_ms, random) +
           (err != NULL ? err->retry_after_ms : 0);
}

/* By the door's thread. */
static void notice_came(void *context, size_t table)
{
    struct server *server = context;
    atomic_store(&server->tables[table].noticed, true);
    eventfd_write(server->notice_fd, 1);
}

static void take_notices(struct server *server)
{
    eventfd_t ignored;
    eventfd_read(server->notice_fd, &ignored);
    for (size_t i = 0; i < server->count; i++) {
        struct served *served = &server->tables[i];
        int64_t soon_ms = served->begun_ms + server->config->notify_pause_ms;
        if (!atomic_exchange(&served->noticed, false) || served->failures > 0)
            continue;
        if (served->begun_ms == 0 || soon_ms < served->due_ms)
            served->due_ms = soon_ms;
    }
}

/* Until one of the signals or a notice has come, at most for that time. */
static void wait_for_news(const struct server *server, int64_t ms)
{
    struct pollfd fds[] = {{.fd = server->signal_fd, .events = POLLIN},
                           {.fd = server->notice_fd, .events = POLLIN}};
    poll(fds, 2, ms < INT_MAX ? (int)ms : INT_MAX);
}

/* Has one of the signals come? It is taken then: it must not end the process later. */
static bool take_signal(const struct server *server)
{
    struct signalfd_siginfo ignored;
    return read(server->signal_fd, &ignored, sizeof ignored) == (ssize_t)sizeof ignored;
}

/* The same, left pending. By any thread, of which each has them blocked. */
static bool is_to_stop(void *context)
{
    (void)context;
    sigset_t pending;
    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

/* OK also when it could not be opened but may be later. */
static int server_open(struct server *server, struct error *err)
{
    int rc = service_open(&server->service, server->config, &server->exchanged, is_to_stop, err);
    server->opened = rc == OK;
    door_closed(server->door, rc == OK ? NULL : err->text);
    if (rc == OK) {
        server->opened_once = true;
        server->open_failures = 0;
        return OK;
    }
    service_close(&server->service);
    if (rc == ERROR_INPUT && !server->opened_once)
        return rc;
    server->open_failures++;
    int64_t pause_ms = pause_of(server, server->open_failures, err);
    server->open_at_ms = clock_mono_ms(&clock_system) + pause_ms;
    log_event(LOG_LEVEL_ERROR, "commit", "cannot open store or catalog",
              "tries=%u wait_ms=%" PRId64 " text=\"%s\"", server->open_failures, pause_ms,
              err->text);
    return OK;
}

/* What may be wrong with a handle (a file that was replaced, a credential) is gone with it. A token
 * that was exchanged is not: the one in the file may have ended. */
static void server_close(struct server *server)
{
    if (server->opened)
        service_close(&server->service);
    server->opened = false;
}

/* What the report grew by. */
static struct door_turn turn_of(const struct commit_report *before,
                                const struct commit_report *after, const char *error)
{
    return (struct door_turn){
        .error = error,
        .announcements = after->taken - before->taken,
        .refused = after->refused - before->refused,
        .missing = after->missing - before->missing,
        .waiting = after->waiting - before->waiting,
        .files = after->files - before->files,
        .events = after->events - before->events,
        .rows = after->rows - before->rows,
        .bytes = after->bytes - before->bytes,
        .lost_events = after->lost_events - before->lost_events,
        .snapshots = after->snapshots - before->snapshots,
        .swaps = after->attempts - before->attempts,
        .alarms = after->alarms - before->alarms,
    };
}

static int table_run(struct server *server, size_t table, int64_t start_ms,
                     struct commit_report *report, struct error *err)
{
    struct served *served = &server->tables[table];
    struct commit_report before = *report;
    door_turn_begin(server->door, table);
    served->begun_ms = clock_mono_ms(&clock_system);
    int rc = commit_turn(&server->service.committer, &served->table, 1, report, err);
    served->failures = rc == OK ? 0 : served->failures + 1;
    served->due_ms = (rc == OK ? start_ms : clock_mono_ms(&clock_system)) +
                     pause_of(server, served->failures, rc == OK ? NULL : err);
    struct door_turn turn = turn_of(&before, report, rc == OK ? NULL : err->text);
    door_turn_end(server->door, table, &turn);
    return rc;
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
    for (size_t i = 0; i < server->count && !is_to_stop(NULL); i++) {
        struct error err;
        if (server->tables[i].due_ms > start_ms + slack_ms)
            continue;
        int rc = table_run(server, i, start_ms, &report, &err);
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

/* Notices don't hasten what failed: everybody may send one. */
static int64_t next_due_ms(const struct server *server)
{
    int64_t due_ms = INT64_MAX;
    if (server->open_failures > 0)
        return server->open_at_ms;
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
        int64_t pause_ms = next_due_ms(server) - clock_mono_ms(&clock_system);
        wait_for_news(server, pause_ms > 0 ? pause_ms : 0);
        if (take_signal(server))
            break;
        take_notices(server);
        if (!server->opened && next_due_ms(server) <= clock_mono_ms(&clock_system))
            rc = server_open(server, err);
        if (rc != OK)
            return rc;
        if (server->opened && next_due_ms(server) <= clock_mono_ms(&clock_system))
            turn_run(server);
    }
    log_event(LOG_LEVEL_INFO, "commit", "stopped", "turns=%" PRIu64, server->turns);
    return OK;
}

static int door_run(struct server *server, struct error *err)
{
    const char **tables = memory_alloc(server->count, sizeof *tables);
    for (size_t i = 0; i < server->count; i++)
        tables[i] = server->tables[i].table;
    struct door_options options = {.address = server->config->listen,
                                   .warehouse = server->config->warehouse,
                                   .tables = tables,
                                   .table_count = server->count,
                                   .clock = &clock_system,
                                   .wake = notice_came,
                                   .context = server};
    int rc = options.address[0] != 0 ? door_open(&server->door, &options, err) : OK;
    if (rc == OK)
        rc = server_run(server, err);
    server_close(server);
    catalog_exchanged_free(&server->exchanged);
    door_close(server->door);
    free(tables);
    return rc;
}

int serve(const struct config *config, const char *const *tables, size_t count, struct error *err)
{
    struct server server = {.config = config, .count = count};
    sigset_t before;
    server.tables = memory_alloc(count, sizeof *server.tables);
    for (size_t i = 0; i < count; i++)
        server.tables[i].table = tables[i];
    sigemptyset(&server.signals);
    sigaddset(&server.signals, SIGTERM);
    sigaddset(&server.signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &server.signals, &before);
    server.signal_fd = signalfd(-1, &server.signals, SFD_CLOEXEC | SFD_NONBLOCK);
    server.notice_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = server.signal_fd < 0 || server.notice_fd < 0 ? error_errno(err, "serve")
                                                          : door_run(&server, err);
    if (server.signal_fd >= 0)
        close(server.signal_fd);
    if (server.notice_fd >= 0)
        close(server.notice_fd);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    free(server.tables);
    return rc;
}
