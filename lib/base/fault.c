/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/fault.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static fault_hook *installed;
static void *installed_context;

void fault_install(fault_hook *hook, void *context)
{
    installed = hook;
    installed_context = context;
}

int fault_point(const char *name, struct error *err)
{
    return installed == NULL ? OK : installed(installed_context, name, err);
}

static struct {
    bool kill;
    char name[96];
    atomic_long left; /* passes until it happens */
} plan;

static int plan_hook(void *context, const char *name, struct error *err)
{
    (void)context;
    if (strcmp(name, plan.name) != 0 || atomic_fetch_sub(&plan.left, 1) != 1)
        return OK;
    if (plan.kill)
        kill(getpid(), SIGKILL);
    return error_set(err, ERROR_IO, "%s: fault injected", name);
}

int fault_from_environment(struct error *err)
{
    const char *text = getenv("BIDLAKE_FAULT");
    if (text == NULL || *text == 0)
        return OK;
    plan.kill = strncmp(text, "kill:", 5) == 0;
    if (!plan.kill && strncmp(text, "fail:", 5) != 0)
        return error_set(err, ERROR_INPUT, "BIDLAKE_FAULT: kill:NAME or fail:NAME, not %s", text);
    const char *name = text + 5;
    const char *colon = strchr(name, ':');
    size_t len = colon != NULL ? (size_t)(colon - name) : strlen(name);
    char *end = NULL;
    long nth = colon != NULL ? strtol(colon + 1, &end, 10) : 1;
    if (len == 0 || len >= sizeof plan.name || nth < 1 || (end != NULL && *end != 0))
        return error_set(err, ERROR_INPUT, "BIDLAKE_FAULT: bad name or count in %s", text);
    memcpy(plan.name, name, len);
    plan.name[len] = 0;
    atomic_store(&plan.left, nth);
    fault_install(plan_hook, NULL);
    return OK;
}
