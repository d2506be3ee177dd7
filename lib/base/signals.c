/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/signals.h"

#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static volatile sig_atomic_t exit_status;

static void on_signal(int number)
{
    if (exit_status == SIGNALS_BY_DEFAULT)
        raise(number); /* the handler was for one time; a container's first process survives it */
    _exit(exit_status == SIGNALS_BY_DEFAULT ? 128 + number : exit_status);
}

void signals_end_with(int status)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_NODEFER | (int)SA_RESETHAND};
    exit_status = status;
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}
