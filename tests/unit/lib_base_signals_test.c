/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/base/signals.h"

/* How a child of ours ends that gets the signal behind the call. */
static int end_of_child(int status, int number)
{
    int ended = 0;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signals_end_with(status);
        kill(getpid(), number);
        _exit(99); /* swallowed */
    }
    assert_int_equal(waitpid(child, &ended, 0), child);
    return ended;
}

/* The harm: a supervisor counts an end that it asked for as a failure. */
static void ends_with_the_status(void **state)
{
    (void)state;
    int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        int ended = end_of_child(0, numbers[i]);
        assert_true(WIFEXITED(ended));
        assert_int_equal(WEXITSTATUS(ended), 0);
    }
}

/* The harm: a shell's loop goes on behind Ctrl-C, since no signal ended what it ran. */
static void ends_by_the_signal(void **state)
{
    (void)state;
    int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        int ended = end_of_child(SIGNALS_BY_DEFAULT, numbers[i]);
        assert_true(WIFSIGNALED(ended));
        assert_int_equal(WTERMSIG(ended), numbers[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends_with_the_status),
        cmocka_unit_test(ends_by_the_signal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
