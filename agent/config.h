/* SPDX-License-Identifier: Apache-2.0
 *
 * config.h: the agent's configuration: one row of options.def an option, read from YAML
 * then from flags, then const. Private to agent/.
 */
#ifndef AGENT_CONFIG_H
#define AGENT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/arena.h"
#include "lib/base/error.h"
#include "lib/objstore/objstore.h"
#include "lib/options/options.h"

/* A door of the daemon, an entry of the list `listen`: the key that names its kind with
 * its address, and what else the kind wants: {http: 127.0.0.1:7180},
 * {http: 127.0.0.1:7180, threads: 2}, {unix: /run/bidlake/clicks.sock, table: clicks, ack: lines,
 * mode: 0660}. */
struct agent_listener {
    const char *kind;
    const char *address;
    const char *table; /* "" where none was given, as the others */
    const char *ack;
    const char *mode;
    const char *owner;
    const char *group;
    unsigned threads;   /* http: so many listen there; 0: one */
    const char *origin; /* "agent.yaml:7", "--listen" */
};

enum { AGENT_THREADS_MAX = 64 };
/* Of an http listener: so many sources, each with its connections and threads. */
static inline unsigned agent_listener_threads(const struct agent_listener *listener)
{
    return listener->threads > 0 ? listener->threads : 1;
}

struct agent_config {
    const char *agent_id; /* host name when the file names none */
    bool agent_id_is_default;
    const char *warehouse;
    const char *namespace;
    const char *spool_directory;
    int64_t spool_bytes;
    const char *spool_when_full; /* refuse, drop_oldest */
    const char *spool_keep;      /* committed */
    int64_t spool_linger_ms;
    int64_t commits_per_second_max;
    int64_t roll_age_ms;
    int64_t roll_bytes;
    int64_t roll_rows;
    int64_t roll_partition_bytes;
    int64_t announce_repeat_ms;
    int64_t memory_max;
    int64_t background_nice;
    const char *background_io; /* low, idle, normal */
    int64_t upload_bandwidth;
    struct objstore_s3 s3;
    int64_t event_bytes_max;
    int64_t deliver_deadline_ms;
    const char *operations; /* address of healthz, readyz, metrics */
    int64_t http_body_bytes;
    int64_t http_expanded_bytes;
    int64_t http_connections;
    int64_t http_idle_ms;
    int64_t http_head_ms;
    int64_t http_body_ms;
    const char *http_token_file;
    int64_t event_past_ms;
    int64_t event_future_ms;
    int64_t stop_deadline_ms;
    int64_t dedup_window_ms;
    size_t listener_count;
    struct agent_listener *listeners;
    struct option_names tables; /* preset families, presets, mapping files */
    struct arena arena;         /* of all the strings */
};

void agent_config_init(struct agent_config *out);
void agent_config_free(struct agent_config *config);

/* The rows of options.def, for options_load, options_set_flag and --help. */
extern const struct option_table agent_options;

/* The list `listen` of the file at `path`; NULL or no such list leaves what is there. */
int agent_config_load_listeners(struct agent_config *config, const char *path,
                                struct error *err) MUST_USE;
/* "http:127.0.0.1:7180,unix:/run/x.sock?table=clicks&ack=lines" instead of the list. */
int agent_config_set_listeners(struct agent_config *config, const char *text,
                               struct error *err) MUST_USE;

/* What must hold once file and flags are read. */
int agent_config_finish(struct agent_config *config, struct error *err) MUST_USE;

/* Logs the keys that were changed since the start and want a restart. */
void agent_config_name_unreloaded(const struct agent_config *started,
                                  const struct agent_config *reloaded);

#endif
