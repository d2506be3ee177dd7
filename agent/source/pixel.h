/* SPDX-License-Identifier: Apache-2.0
 *
 * pixel.h: GET /px/{table}?name=value...: trackers and win notices. Private to
 * agent/source.
 */
#ifndef AGENT_SOURCE_PIXEL_H
#define AGENT_SOURCE_PIXEL_H

#include <stdint.h>

#include "agent/source/query.h"
#include "lib/base/buf.h"
#include "lib/base/slice.h"

/* The query's parameters as one JSON object of strings, in `out`; the mapping's coercions
 * make numbers of them. A macro that nobody filled in (${AUCTION_PRICE}, also
 * percent-encoded) is left out and counted. Of a name given twice the last wins, as in
 * any event. */
struct slice pixel_event(const struct query *query, struct buf *out, uint64_t *unresolved_macros);

/* A transparent GIF of one pixel. */
extern const struct slice pixel_gif;

#endif
