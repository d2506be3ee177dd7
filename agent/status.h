/* SPDX-License-Identifier: Apache-2.0
 *
 * status.h: the checks behind /readyz and the JSON of /v1/status; agent/README.md has its
 * members. Private to agent/.
 */
#ifndef AGENT_STATUS_H
#define AGENT_STATUS_H

#include <stdbool.h>

#include "agent/view.h"
#include "lib/base/buf.h"

/* A check warns where events are still taken: a store that is away is no reason to send
 * them elsewhere, as long as the spool has room. */
enum check_state { CHECK_OK, CHECK_WARN, CHECK_FAIL };

struct status_check {
    const char *name;
    enum check_state state;
    char why[500]; /* "": ok; a whole error's text, which has the cause at its end, and more */
};

enum { STATUS_CHECKS = 5 };
/* True: none failed, the agent takes events. */
bool status_checks(const struct agent_view *view, struct status_check out[STATUS_CHECKS]);

/* One line a check: "ok NAME", "WARN NAME: why", "FAIL NAME: why". */
void status_write_checks_text(const struct status_check checks[STATUS_CHECKS], struct buf *out);
/* {"ready":false,"checks":[{"name":...,"state":"fail","why":...}]} */
void status_write_checks_json(const struct status_check checks[STATUS_CHECKS], bool ready,
                              struct buf *out);

void status_write(const struct agent_view *view, struct buf *out);

#endif
