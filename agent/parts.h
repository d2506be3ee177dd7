/* SPDX-License-Identifier: Apache-2.0
 *
 * parts.h: what `run` and `ingest` have in common: the store, the spool, and the pipeline
 * between them, as the configuration says. Private to agent/.
 */
#ifndef AGENT_PARTS_H
#define AGENT_PARTS_H

#include <stdatomic.h>

#include "agent/config.h"
#include "agent/pipeline.h"
#include "lib/base/error.h"
#include "lib/objstore/objstore.h"
#include "spool/spool.h"

/* The warehouse; nobody is asked yet. */
int agent_store_open(struct objstore **out, const struct agent_config *config,
                     struct error *err) MUST_USE;

/* Without agent_id in the configuration a spool that is there gives its own. */
struct spool_options agent_spool_options(const struct agent_config *config);

/* Whether a request is to wait no longer where the store asks it to, or hangs; by any thread. */
struct agent_patience {
    bool (*is_over)(void *context);
    void *context;
};

struct agent_parts { /* stays where it is while it is open */
    struct objstore *store;
    struct spool *spool;
    const char *agent_id; /* the spool's */
    struct pipeline *pipeline;
    struct agent_patience patience;
    atomic_bool starting; /* nobody waits for the store then */
};

/* A store that does not answer within a few seconds is no error (events wait in the spool); one
 * that has no "must not exist" is: two segments could share a name there. One of which that is
 * found out later gets nothing. Close also after an error. */
int agent_parts_open(struct agent_parts *parts, const struct agent_config *config,
                     const struct agent_patience *patience, struct error *err) MUST_USE;
void agent_parts_close(struct agent_parts *parts);

#endif
