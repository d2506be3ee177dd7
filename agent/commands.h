/* SPDX-License-Identifier: Apache-2.0
 *
 * commands.h: the subcommands of bidlake-agent. Private to agent/.
 *
 * Results go to stdout, errors to stderr. Exit: 0 done, 1 failed, 2 usage or
 * configuration, 3 done but some events were refused.
 */
#ifndef AGENT_COMMANDS_H
#define AGENT_COMMANDS_H

#include <stdbool.h>
#include <stddef.h>

#include "agent/config.h"
#include "lib/schema/mapping.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_REFUSED = 3 };

struct command_line {
    int argc;
    char **argv;
    struct agent_config config;
    bool json;
    bool again;
    bool progress;
    bool check;
    bool ready;
    bool listen_given;
    size_t argument_count; /* what is no flag, behind the subcommand */
    const char **arguments;
};

/* The configured tables, and a warehouse of a kind that is known: what both `ingest` and
 * `run` want before anything is opened. */
int command_load_tables(const struct command_line *line, struct mapping_set *out,
                        struct error *err) MUST_USE;

/* The command line and its configuration file, as at the start of the program. */
int command_line_parse(struct command_line *line, int argc, char **argv,
                       struct error *err) MUST_USE;

int command_run(const struct command_line *line);
int command_status(const struct command_line *line);
int command_flush(const struct command_line *line);
int command_drain(const struct command_line *line);
int command_ingest(const struct command_line *line);
int command_check(const struct command_line *line);
int command_spool(const struct command_line *line);

#endif
