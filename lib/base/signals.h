/* SPDX-License-Identifier: Apache-2.0
 *
 * signals.h: how SIGTERM and SIGINT end a program that has nothing to finish. By a handler, not
 * by the default: the first process of a container gets no signal that it has no handler for.
 */
#ifndef LIB_BASE_SIGNALS_H
#define LIB_BASE_SIGNALS_H

enum { SIGNALS_BY_DEFAULT = -1 }; /* as without a handler: whoever waits sees the signal */

/* From now on, until the program takes them itself, each of the two ends it at once, with this
 * exit status. */
void signals_end_with(int status);

#endif
