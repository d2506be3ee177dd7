/* SPDX-License-Identifier: Apache-2.0
 *
 * framing.h: refuses requests of which two readers may see different ends. libmicrohttpd
 * takes what comes with both lengths, with two, or with one under a name with a blank; a
 * proxy in front may go by the other, and what it takes for a body would be the next
 * request here (RFC 9112, 6.3 and 11.2). Private to agent/source.
 */
#ifndef AGENT_SOURCE_FRAMING_H
#define AGENT_SOURCE_FRAMING_H

#include <microhttpd.h>

/* What is wrong with the headers; NULL: nothing. */
const char *framing_fault(struct MHD_Connection *connection, const char *version);

#endif
