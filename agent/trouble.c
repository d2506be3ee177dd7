/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/trouble.h"

#include <string.h>

#include "lib/base/clock.h"
#include "lib/base/log.h"

enum {
    RETRY_FIRST_MS = 100,
    RETRY_MAX_MS = 30000,
    SAID_AGAIN_MS = 60000,
    REOPENINGS_MAX = 2, /* in a row; then what doesn't read is set aside */
};

static bool is_failed(int rc)
{
    return rc == ERROR_IO || rc == ERROR_CORRUPT;
}

int trouble_mend(struct trouble *trouble, struct spool *spool, struct error *err)
{
    if (!spool_has_failed(spool) && (trouble->failures == 0 || !is_failed((int)trouble->last.code)))
        return OK;
    /* It opened well and still does not work: opening it once more would change nothing. */
    bool beyond_use = trouble->reopenings >= REOPENINGS_MAX && trouble->last.code == ERROR_CORRUPT;
    int64_t start_ms = clock_mono_ms(&clock_system);
    log_event(LOG_LEVEL_ERROR, "daemon",
              "the spool failed, it is opened anew; events are refused meanwhile", "error=\"%s\"",
              trouble->failures > 0 ? trouble->last.text : "a write failed");
    int rc = spool_reopen(spool, beyond_use ? &trouble->last : NULL, err);
    if (rc != OK)
        return rc;
    trouble->reopenings = beyond_use ? 0 : trouble->reopenings + 1;
    log_event(LOG_LEVEL_WARN, "daemon", "the spool is open again", "epoch=%s took_ms=%lld",
              spool_epoch_borrow(spool), (long long)(clock_mono_ms(&clock_system) - start_ms));
    return OK;
}

/* 100 ms at first: a moment's failure should cost no more. */
static int64_t wait_ms(unsigned failures)
{
    int64_t wait = RETRY_FIRST_MS;
    for (unsigned i = 1; i < failures && wait < RETRY_MAX_MS; i++)
        wait *= 2;
    return wait < RETRY_MAX_MS ? wait : RETRY_MAX_MS;
}

void trouble_note(struct trouble *trouble, int rc, const struct error *err, int64_t now_ms)
{
    if (rc == OK) {
        if (trouble->failures > 0)
            log_event(LOG_LEVEL_WARN, "daemon", "delivery goes on", "failures=%u after_ms=%lld",
                      trouble->failures, (long long)(now_ms - trouble->since_ms));
        *trouble = (struct trouble){0};
        return;
    }
    bool changed = trouble->failures == 0 || strcmp(trouble->last.text, err->text) != 0;
    if (trouble->failures == 0)
        trouble->since_ms = now_ms;
    trouble->failures++;
    trouble->last = *err;
    trouble->last.code = (enum error_code)rc;
    trouble->retry_at_ms = now_ms + wait_ms(trouble->failures);
    if (!changed && now_ms - trouble->said_at_ms < SAID_AGAIN_MS)
        return;
    trouble->said_at_ms = now_ms;
    log_event(LOG_LEVEL_ERROR, "daemon", "the spool fails, delivery waits for it",
              "failures=%u since_ms=%lld error=\"%s\"", trouble->failures,
              (long long)(now_ms - trouble->since_ms), err->text);
}
