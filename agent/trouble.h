/* SPDX-License-Identifier: Apache-2.0
 *
 * trouble.h: what the deliverer does when the spool fails under it. A write whose outcome is
 * not known, or a record that does not read, has the spool opened anew in this process, as a
 * start would; sources stay open and refuse meanwhile. A full disk is waited for. What doesn't
 * read after that either is set aside. Private to agent/.
 *
 * Threads  the deliverer's.
 */
#ifndef AGENT_TROUBLE_H
#define AGENT_TROUBLE_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/base/error.h"
#include "spool/spool.h"

struct trouble {         /* all zero: none */
    unsigned failures;   /* steps since the last good one */
    unsigned reopenings; /* of these, behind an opening that went well */
    int64_t since_ms;    /* monotonic, as all here: the first of them */
    int64_t retry_at_ms; /* before it no step is tried */
    int64_t said_at_ms;
    struct error last;
};

/* Before a step, not before retry_at_ms: opens the spool anew where it must be. */
int trouble_mend(struct trouble *trouble, struct spool *spool, struct error *err) MUST_USE;
/* What the step, or its mending, came to. Logged when it begins, when it changes, at its end,
 * and in between from time to time. */
void trouble_note(struct trouble *trouble, int rc, const struct error *err, int64_t now_ms);

#endif
