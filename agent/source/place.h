/* SPDX-License-Identifier: Apache-2.0
 *
 * place.h: where a unix socket is made, and whose it becomes; with source_check_path, which says
 * beforehand what is wrong with that. Private to agent/source.
 */
#ifndef AGENT_SOURCE_PLACE_H
#define AGENT_SOURCE_PLACE_H

#include <sys/un.h>

#include "agent/source/source.h"
#include "lib/base/error.h"

/* ERROR_INPUT: the path is too long for a socket. */
int place_address(const char *path, struct sockaddr_un *out, struct error *err) MUST_USE;
/* Nothing is at the path then: a socket that nobody listens on, as a killed agent leaves it, is
 * removed. ERROR_INPUT: another file is there. ERROR_CONFLICT: somebody listens. */
int place_clear(const struct sockaddr_un *address, int type, struct error *err) MUST_USE;
/* Owner, group and mode of the options, for the socket that is there now. */
int place_give(const struct source_options *options, struct error *err) MUST_USE;

#endif
