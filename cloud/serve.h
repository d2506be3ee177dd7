/* SPDX-License-Identifier: Apache-2.0
 *
 * serve.h: turns without end. Each table is looked at every `interval`; one whose turn
 * failed is tried again by itself, with full jitter, and holds up no other.
 *
 * What survives  nothing is kept here: a service that is killed leaves what any killed turn
 *                leaves. Any number of them may serve one table; who loses a swap goes on.
 * Ending         SIGTERM or SIGINT: a commit that is under way is finished, nothing further is
 *                begun: within seconds, unless a request hangs. Who waits at the port is told 503.
 * Errors         only those of configuration end it (ERROR_INPUT at the first opening). A
 *                store or a catalog that is away is waited for, and opened anew; one that names
 *                a time (Retry-After) is not asked before it.
 * Port           with `listen` cloud/door answers probes, metrics and notices.
 * Threads        one for the turns, and the port's; the two signals are blocked in both.
 */
#ifndef CLOUD_SERVE_H
#define CLOUD_SERVE_H

#include "cloud/config.h"

/* Until a table is looked at again: after a good turn (failures 0) the interval, else
 * anything below a ceiling that doubles from 2 s up to a minute, or the interval if that
 * is longer. */
int64_t serve_pause_ms(unsigned failures, int64_t interval_ms, uint64_t random);

int serve(const struct config *config, const char *const *tables, size_t count,
          struct error *err) MUST_USE;

#endif
