/* SPDX-License-Identifier: Apache-2.0
 *
 * notify.h: what systemd is told and tells: sd_notify(3), sd_listen_fds(3), by their
 * protocols (one datagram; three variables), so that nothing has to be linked. Without
 * systemd all of it does nothing. Private to agent/.
 *
 * Threads  main.
 */
#ifndef AGENT_NOTIFY_H
#define AGENT_NOTIFY_H

#include <stdint.h>

/* "READY=1", "WATCHDOG=1", "STATUS=..."; lines parted by '\n'. */
void notify_send(const char *state);
/* "RELOADING=1" with the time that systemd wants beside it. */
void notify_reloading(void);
/* Done; `refusal` (plain text; NULL: none) stands in "systemctl status" until the next. */
void notify_reloaded(const char *refusal);
/* "STOPPING=1", and that it may take so long, whatever the unit's TimeoutStopSec= says. */
void notify_stopping(int64_t within_ms);

/* How often "WATCHDOG=1" is due: half of what systemd waits; 0: never. */
int64_t notify_watchdog_ms(void);

#endif
