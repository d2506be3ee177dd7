/* SPDX-License-Identifier: Apache-2.0
 *
 * overlap.h: files that the patterns of two tables find. Each line of them goes to both tables,
 * which is hardly meant; `check` sees it only where the patterns' texts are the same. Private to
 * agent/.
 */
#ifndef AGENT_OVERLAP_H
#define AGENT_OVERLAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/view.h"

struct overlap { /* all zero is one that has not looked yet */
    _Atomic uint64_t files;
    int64_t look_at_ms;
};

/* Looks once a second, at thousands of files every ten seconds; logs it when there are more of
 * them. Not while sources close. */
void overlap_look(struct overlap *overlap, const struct view_sources *sources, int64_t now_ms);

#endif
