/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/parts.h"

#include <string.h>

#include "agent/memory_limit.h"
#include "lib/announce/announce.h"
#include "lib/base/log.h"

static bool patience_is_over(void *context)
{
    const struct agent_parts *parts = context;
    return atomic_load(&parts->starting) || parts->patience.is_over(parts->patience.context);
}

/* A store that says nothing has the few seconds of one that is asked at a stop: doors wait for
 * this. Whoever delivers asks it again then. */
static int probe_store(struct agent_parts *parts, const char *agent_id, bool *unknown,
                       struct error *err)
{
    struct buf key = {0};
    key_of_probe(agent_id, &key);
    atomic_store(&parts->starting, true);
    int rc = objstore_probe(parts->store, buf_cstr(&key), err);
    atomic_store(&parts->starting, false);
    buf_free(&key);
    *unknown = rc != OK;
    if (rc == OK || rc == ERROR_INPUT)
        return rc;
    log_event(LOG_LEVEL_WARN, "agent", "store does not answer yet, events wait in the spool",
              "error=\"%s\"", err->text);
    return OK;
}

int agent_store_open(struct objstore **out, const struct agent_config *config, struct error *err)
{
    struct objstore_options options = {.s3 = &config->s3};
    return objstore_open(out, config->warehouse, &options, err);
}

struct spool_options agent_spool_options(const struct agent_config *config)
{
    return (struct spool_options){.directory = config->spool_directory,
                                  .agent_id = config->agent_id,
                                  .agent_id_is_default = config->agent_id_is_default,
                                  .bytes_max = (uint64_t)config->spool_bytes,
                                  .drop_oldest =
                                      strcmp(config->spool_when_full, "drop_oldest") == 0};
}

static int open_spool(struct agent_parts *parts, const struct agent_config *config,
                      struct error *err)
{
    struct spool_options options = agent_spool_options(config);
    int rc = spool_open(&parts->spool, &options, err);
    if (rc != OK)
        return rc;
    parts->agent_id = spool_agent_id_borrow(parts->spool);
    if (strcmp(parts->agent_id, config->agent_id) != 0)
        log_event(LOG_LEVEL_INFO, "agent",
                  "the host has another name than the spool, which keeps its own as agent_id is "
                  "not set",
                  "agent_id=%s host=%s", parts->agent_id, config->agent_id);
    return OK;
}

int agent_parts_open(struct agent_parts *parts, const struct agent_config *config,
                     const struct agent_patience *patience, struct error *err)
{
    struct objstore_options store = {
        .s3 = &config->s3, .stop = patience_is_over, .stop_context = parts};
    struct pipeline_options pipeline = {.roll = {.bytes_max = memory_limit_roll_bytes_now(config),
                                                 .rows_max = (uint64_t)config->roll_rows,
                                                 .age_max_ms = config->roll_age_ms},
                                        .partition_bytes = (uint64_t)config->roll_partition_bytes,
                                        .announce_repeat_ms = config->announce_repeat_ms,
                                        .upload_bandwidth = (uint64_t)config->upload_bandwidth,
                                        .seed = (uint64_t)clock_wall_us(&clock_system)};
    parts->patience = *patience;
    int rc = objstore_open(&parts->store, config->warehouse, &store, err);
    if (rc == OK)
        rc = probe_store(parts, config->agent_id, &pipeline.store_is_unknown, err);
    if (rc == OK)
        rc = open_spool(parts, config, err);
    if (rc != OK)
        return rc;
    pipeline.spool = parts->spool;
    pipeline.agent_id = parts->agent_id;
    pipeline.store = parts->store;
    return pipeline_open(&parts->pipeline, &pipeline, err);
}

void agent_parts_close(struct agent_parts *parts)
{
    pipeline_close(parts->pipeline);
    spool_close(parts->spool);
    objstore_close(parts->store);
    *parts = (struct agent_parts){0};
}
