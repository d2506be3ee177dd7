/* SPDX-License-Identifier: Apache-2.0
 *
 * fault.h: named points at which tests kill the process or make a step fail.
 *
 * A point stands where a crash matters: between two writes that must not be
 * parted. Names are "<module>.<step>", each used at one place; the crash tests
 * find them by searching the source. Without a hook a point costs one branch.
 *
 * BIDLAKE_FAULT=kill:<name>[:<nth>] ends the program by SIGKILL the nth time it
 * comes by (1 by default); BIDLAKE_FAULT=fail:<name>[:<nth>] makes the step
 * return ERROR_IO that one time. It is read by fault_from_environment, which
 * every program calls first and which refuses a value that it can't read.
 */
#ifndef LIB_BASE_FAULT_H
#define LIB_BASE_FAULT_H

#include "lib/base/error.h"

/* Returns OK or the error to return; called by the thread that comes by. */
typedef int fault_hook(void *context, const char *name, struct error *err);

/* Before threads start; NULL takes the hook away. */
void fault_install(fault_hook *hook, void *context);
int fault_from_environment(struct error *err) MUST_USE;

int fault_point(const char *name, struct error *err) MUST_USE;

#endif
