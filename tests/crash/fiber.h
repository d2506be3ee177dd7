/* SPDX-License-Identifier: Apache-2.0
 *
 * fiber.h: actors of the simulation on stacks of their own, one running at a time: a
 * fiber runs until it yields, the scheduler decides who is next. AddressSanitizer is
 * told of every switch.
 */
#ifndef TESTS_CRASH_FIBER_H
#define TESTS_CRASH_FIBER_H

#include <stdbool.h>

struct fiber;
typedef void fiber_main(void *context);

struct fiber *fiber_make(fiber_main *main, void *context);
void fiber_free(struct fiber *fiber); /* one that has ended, or never ran */

/* From the scheduler: runs it until it yields or ends. */
void fiber_run(struct fiber *fiber);
bool fiber_ended(const struct fiber *fiber);

/* From within a fiber: back to the scheduler. Outside of one: nothing. */
void fiber_yield(void);
/* The fiber that runs, NULL in the scheduler. */
struct fiber *fiber_current(void);

#endif
