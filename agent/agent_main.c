/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-agent: flags and subcommands.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/commands.h"
#include "agent/ingest.h"
#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

static void print_help(FILE *out)
{
    fputs("Usage: bidlake-agent COMMAND [FLAGS] [ARGUMENTS]\n"
          "\n"
          "Commands:\n"
          "  ingest TABLE [FILE...]  take NDJSON (plain, gzip, zstd; - is stdin) into a table;\n"
          "                          returns when all of it is announced\n"
          "  check                   validate configuration, spool and store\n"
          "  spool [--check]         show streams and segments; --check reads every block\n"
          "\n"
          "Flags:\n"
          "  --config FILE           YAML configuration; flags win over it\n"
          "  --spool DIR             same as --spool-directory\n"
          "  --tables A,B            presets or mapping files (default: openrtb)\n"
          "  --json                  results as one JSON object\n"
          "  --again                 ingest: take files anew that were taken before\n"
          "  --progress              ingest: report progress on stderr\n"
          "  --quiet                 only warnings and errors in the log\n"
          "  --help, --version\n"
          "\n"
          "Options, in the configuration and as flags:\n",
          out);
    if (out == stdout)
        agent_config_print_help();
    fputs("\nExit: 0 done, 1 failed, 2 usage or configuration, 3 done, some events refused.\n",
          out);
}

static int usage_error(const char *text)
{
    fprintf(stderr, "bidlake-agent: %s\nTry: bidlake-agent --help\n", text);
    return EXIT_USAGE;
}

static void set_tables(struct agent_config *config, const char *value)
{
    config->tables = arena_alloc(&config->arena, strlen(value) + 1, sizeof *config->tables);
    config->table_count = 0;
    while (*value != 0) {
        size_t len = strcspn(value, ",");
        if (len > 0)
            config->tables[config->table_count++] =
                arena_copy_cstr(&config->arena, slice_of(value, len));
        value += len + (value[len] == ',');
    }
}

static bool take_switch(struct command_line *line, const char *flag)
{
    struct {
        const char *name;
        bool *to;
    } switches[] = {{"--json", &line->json},
                    {"--again", &line->again},
                    {"--progress", &line->progress},
                    {"--check", &line->check}};
    for (size_t i = 0; i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(flag, switches[i].name) == 0) {
            *switches[i].to = true;
            return true;
        }
    }
    if (strcmp(flag, "--quiet") == 0) {
        log_set_level(LOG_LEVEL_WARN);
        return true;
    }
    return false;
}

/* A flag with a value; the configuration file was read before, so that flags win. */
static int take_flag(struct command_line *line, const char *flag, const char *value,
                     struct error *err)
{
    bool known = true;
    int rc = OK;
    if (strcmp(flag, "--config") == 0)
        return OK;
    if (strcmp(flag, "--tables") == 0)
        set_tables(&line->config, value);
    else
        rc = agent_config_set_flag(&line->config,
                                   strcmp(flag, "--spool") == 0 ? "--spool-directory" : flag, value,
                                   &known, err);
    if (rc == OK && !known)
        rc = error_set(err, ERROR_INPUT, "unknown flag %s", flag);
    return rc;
}

/* "--flag value" and "--flag=value" alike; *at moves over what was used. */
static int parse_one(struct command_line *line, int argc, char **argv, int *at, bool only_config,
                     struct error *err)
{
    const char *flag = argv[*at];
    const char *equals = strchr(flag, '=');
    if (strcmp(flag, "-") == 0 || strncmp(flag, "--", 2) != 0) {
        if (!only_config)
            line->arguments[line->argument_count++] = flag;
        return OK;
    }
    if (take_switch(line, flag))
        return OK;
    const char *value = equals != NULL ? equals + 1 : NULL;
    if (value == NULL && *at + 1 < argc)
        value = argv[++*at];
    if (value == NULL)
        return error_set(err, ERROR_INPUT, "%s wants a value", flag);
    char *name = equals != NULL ? memory_copy_slice(slice_of(flag, (size_t)(equals - flag)))
                                : memory_copy_cstr(flag);
    int rc = OK;
    if (only_config && strcmp(name, "--config") == 0)
        rc = agent_config_load(&line->config, value, err);
    else if (!only_config)
        rc = take_flag(line, name, value, err);
    free(name);
    return rc;
}

static int parse(struct command_line *line, int argc, char **argv, struct error *err)
{
    int rc = OK;
    for (int i = 2; rc == OK && i < argc; i++)
        rc = parse_one(line, argc, argv, &i, true, err);
    for (int i = 2; rc == OK && i < argc; i++)
        rc = parse_one(line, argc, argv, &i, false, err);
    if (rc == OK)
        rc = agent_config_finish(&line->config, err);
    return rc;
}

static void on_signal(int number)
{
    (void)number;
    ingest_stop();
}

static int run_command(const char *name, const struct command_line *line)
{
    if (strcmp(name, "ingest") == 0)
        return command_ingest(line);
    if (strcmp(name, "check") == 0)
        return command_check(line);
    if (strcmp(name, "spool") == 0)
        return command_spool(line);
    return usage_error("unknown command; known are ingest, check, spool");
}

int main(int argc, char **argv)
{
    struct error err;
    if (fault_from_environment(&err) != OK)
        return usage_error(err.text);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(stdout);
            return EXIT_DONE;
        }
        if (strcmp(argv[i], "--version") == 0) {
            puts("bidlake-agent " BIDLAKE_VERSION);
            return EXIT_DONE;
        }
    }
    if (argc < 2)
        return usage_error("no command");
    signal(SIGPIPE, SIG_IGN);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    struct command_line line = {0};
    line.arguments = memory_alloc((size_t)argc, sizeof *line.arguments);
    agent_config_init(&line.config);
    int code =
        parse(&line, argc, argv, &err) == OK ? run_command(argv[1], &line) : usage_error(err.text);
    agent_config_free(&line.config);
    free(line.arguments);
    return code;
}
