/* SPDX-License-Identifier: Apache-2.0
 *
 * Linux has both by thread: `who` 0 is the caller, not its process.
 */
#include "agent/neighbour.h"

#include <errno.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/base/log.h"

/* linux/ioprio.h, which glibc has no words for */
enum {
    WHO_THREAD = 1, /* IOPRIO_WHO_PROCESS */
    CLASS_SHIFT = 13,
    CLASS_BEST_EFFORT = 2,
    CLASS_IDLE = 3,
    LEVEL_LOWEST = 7,
};
enum { NICE_MAX = 19 };

static void note_refusal(const char *option)
{
    log_event(LOG_LEVEL_WARN, "daemon", "the system does not let a thread stand back",
              "option=%s error=\"%s\"", option, strerror(errno));
}

void neighbour_stand_back(const struct agent_config *config)
{
    int nice = getpriority(PRIO_PROCESS, 0) + (int)config->background_nice;
    if (setpriority(PRIO_PROCESS, 0, nice < NICE_MAX ? nice : NICE_MAX) < 0)
        note_refusal("background.nice");
    if (strcmp(config->background_io, "normal") == 0)
        return;
    bool idle = strcmp(config->background_io, "idle") == 0;
    int priority =
        idle ? CLASS_IDLE << CLASS_SHIFT : CLASS_BEST_EFFORT << CLASS_SHIFT | LEVEL_LOWEST;
    if (syscall(SYS_ioprio_set, WHO_THREAD, 0, priority) < 0)
        note_refusal("background.io");
}
