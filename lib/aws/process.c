/* SPDX-License-Identifier: Apache-2.0
 *
 * A profile's credential_process: a command line whose output is JSON. The shared files are the
 * operator's own, and AWS defines the value as a command line, so a shell reads it. What it
 * writes to stderr may hold a secret and goes nowhere. It has a process group of its own and is
 * ended with all of it when time is over.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/aws/internal.h"
#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/json/json.h"

enum { WAIT_MS = 5 };

extern char **environ;

static int spawn(const char *command, int out_fd, pid_t *pid, struct error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                              POSIX_SPAWN_SETSIGDEF);
    char shell[] = "/bin/sh";
    char flag[] = "-c";
    char *argv[] = {shell, flag, (char *)(uintptr_t)command, NULL};
    int failed = posix_spawn(pid, shell, &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    errno = failed;
    return failed == 0 ? OK : error_errno(err, "spawn");
}

/* All that it writes until it closes its output. */
static int collect(int fd, int64_t deadline_ms, struct buf *out, struct error *err)
{
    for (;;) {
        int64_t left_ms = deadline_ms - clock_mono_ms(&clock_system);
        struct pollfd waited = {.fd = fd, .events = POLLIN};
        int ready = left_ms > 0 ? poll(&waited, 1, (int)left_ms) : 0;
        if (ready < 0 && errno == EINTR)
            continue;
        if (ready <= 0)
            return error_set(err, ERROR_RETRY, "not done in time");
        uint8_t bytes[4096];
        ssize_t n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            buf_put(out, bytes, (size_t)n);
        explicit_bzero(bytes, sizeof bytes);
        if (buf_failed(out))
            return error_set(err, ERROR_DENIED, "its output is longer than %d bytes",
                             ANSWER_BYTES_MAX);
        if (n < 0)
            return error_errno(err, "read");
        if (n == 0)
            return OK;
    }
}

/* Until it ends; after the deadline it is made to, with all that it started. */
static int await(pid_t pid, int64_t deadline_ms, bool wanted, int *status, struct error *err)
{
    int rc = OK;
    if (!wanted)
        (void)kill(-pid, SIGKILL);
    for (;;) {
        pid_t ended = waitpid(pid, status, wanted && rc == OK ? WNOHANG : 0);
        if (ended == pid)
            return rc;
        if (ended < 0 && errno != EINTR)
            return error_errno(err, "wait");
        if (ended == 0 && clock_mono_ms(&clock_system) >= deadline_ms) {
            rc = error_set(err, ERROR_RETRY, "not done in time");
            (void)kill(-pid, SIGKILL);
        } else if (ended == 0) {
            clock_sleep_ms(&clock_system, WAIT_MS);
        }
    }
}

static int run(const char *command, int64_t span_ms, struct buf *out, struct error *err)
{
    int ends[2];
    pid_t pid = 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(err, "pipe");
    int rc = spawn(command, ends[1], &pid, err);
    close(ends[1]);
    if (rc == OK) {
        int64_t deadline_ms = clock_mono_ms(&clock_system) + span_ms;
        int status = 0;
        struct error later;
        rc = collect(ends[0], deadline_ms, out, err);
        int waited = await(pid, deadline_ms, rc == OK, &status, &later);
        if (rc == OK && waited != OK) {
            *err = later;
            rc = waited;
        }
        if (rc == OK && !(WIFEXITED(status) && WEXITSTATUS(status) == 0))
            rc = error_set(err, ERROR_DENIED, "it ended with %s %d: run it by hand to see why",
                           WIFEXITED(status) ? "status" : "signal",
                           WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    }
    close(ends[0]);
    return rc;
}

static int check_version(struct slice bytes, struct error *err)
{
    json_t *object = NULL;
    struct error hidden;
    bool is_one = json_decode(&object, bytes, &hidden) == OK &&
                  json_integer_value(json_object_get(object, "Version")) == 1;
    json_decref(object);
    return is_one ? OK : error_set(err, ERROR_DENIED, "its output is no JSON with \"Version\": 1");
}

int process_fetch(const struct aws_sources *sources, const char *command,
                  struct aws_credentials *out, struct error *err)
{
    struct buf output = {.max = ANSWER_BYTES_MAX};
    int rc = run(command, sources->process_ms, &output, err);
    if (rc == OK)
        rc = check_version(buf_slice(&output), err);
    if (rc == OK)
        rc = credentials_from_json(out, buf_slice(&output), "SessionToken", NULL,
                                   clock_wall_ms(sources->clock), err);
    buf_wipe(&output);
    return rc == OK ? OK : error_wrap(err, "credential_process");
}
