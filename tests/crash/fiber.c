/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/crash/fiber.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

enum { STACK_SIZE = 1 << 20 };

struct fiber {
    ucontext_t context;
    fiber_main *main;
    void *argument;
    void *stack;
    bool started;
    bool ended;
    void *fake_stack;
};

static ucontext_t scheduler;
static struct fiber *running;
#if defined(__SANITIZE_ADDRESS__)
static void *scheduler_fake_stack;
static const void *scheduler_bottom;
static size_t scheduler_size;
#endif

static void enter(void)
{
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(running->fake_stack, &scheduler_bottom, &scheduler_size);
#endif
    running->main(running->argument);
    running->ended = true;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(NULL, scheduler_bottom, scheduler_size);
#endif
    swapcontext(&running->context, &scheduler);
}

struct fiber *fiber_make(fiber_main *main, void *context)
{
    struct fiber *fiber = memory_alloc(1, sizeof *fiber);
    fiber->main = main;
    fiber->argument = context;
    fiber->stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    ASSERT(fiber->stack != MAP_FAILED);
    getcontext(&fiber->context);
    fiber->context.uc_stack.ss_sp = fiber->stack;
    fiber->context.uc_stack.ss_size = STACK_SIZE;
    makecontext(&fiber->context, enter, 0);
    return fiber;
}

void fiber_free(struct fiber *fiber)
{
    if (fiber == NULL)
        return;
    ASSERT(fiber->ended || !fiber->started);
    munmap(fiber->stack, STACK_SIZE);
    free(fiber);
}

void fiber_run(struct fiber *fiber)
{
    ASSERT(running == NULL && !fiber->ended);
    running = fiber;
    fiber->started = true;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&scheduler_fake_stack, fiber->stack, STACK_SIZE);
#endif
    swapcontext(&scheduler, &fiber->context);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(scheduler_fake_stack, NULL, NULL);
#endif
    running = NULL;
}

bool fiber_ended(const struct fiber *fiber)
{
    return fiber->ended;
}

void fiber_yield(void)
{
    struct fiber *fiber = running;
    if (fiber == NULL)
        return;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&fiber->fake_stack, scheduler_bottom, scheduler_size);
#endif
    swapcontext(&fiber->context, &scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fiber->fake_stack, &scheduler_bottom, &scheduler_size);
#endif
}

struct fiber *fiber_current(void)
{
    return running;
}
