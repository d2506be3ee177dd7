/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-agent: flags and subcommands.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/commands.h"
#include "agent/ingest.h"
#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/owner.h"
#include "lib/base/signals.h"

static void print_help(FILE *out)
{
    fputs("Usage: bidlake-agent COMMAND [FLAGS] [ARGUMENTS]\n"
          "\n"
          "Commands:\n"
          "  run                     the daemon: listens, answers once events are durable,\n"
          "                          delivers them; until SIGTERM\n"
          "  status [--ready]        what a running agent does; --ready: exit 1 unless it is\n"
          "  flush                   has a running agent announce all it took, and waits for that\n"
          "  drain                   has it take no more, announce all, and end; exit 1 if events\n"
          "                          stay in the spool (both: within --ingest-deadline)\n"
          "  ingest TABLE [FILE...]  take NDJSON (plain, gzip, zstd; - is stdin) into a table;\n"
          "                          returns when all of it is announced\n"
          "  check                   validate configuration, spool and store\n"
          "  spool [--check]         show streams and segments; --check reads every block\n"
          "\n"
          "Flags:\n"
          "  --config FILE           YAML configuration; flags win over it\n"
          "  --listen KIND:ADDRESS   doors of run, commas between (http:127.0.0.1:7180)\n"
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
        options_print_help(&agent_options);
    fputs("\nExit: 0 done, 1 failed, 2 usage or configuration, 3 done, some events refused.\n",
          out);
}

static int usage_error(const char *text)
{
    fprintf(stderr, "bidlake-agent: %s\nTry: bidlake-agent --help\n", text);
    return EXIT_USAGE;
}

static int take_flag(void *context, const char *flag, const char *value, bool *known,
                     struct error *err)
{
    struct command_line *line = context;
    struct {
        const char *name;
        bool *to;
    } switches[] = {{"--json", &line->json},
                    {"--again", &line->again},
                    {"--progress", &line->progress},
                    {"--check", &line->check},
                    {"--ready", &line->ready}};
    if (value != NULL && strcmp(flag, "--spool") == 0)
        return options_set_flag(&agent_options, &line->config, "--spool-directory", value,
                                &line->config.arena, err);
    if (value != NULL && strcmp(flag, "--listen") == 0) {
        line->listen_given = true;
        return agent_config_set_listeners(&line->config, value, err);
    }
    *known = value == NULL;
    for (size_t i = 0; *known && i < sizeof switches / sizeof switches[0]; i++) {
        if (strcmp(flag, switches[i].name) == 0)
            *switches[i].to = true;
    }
    if (*known && strcmp(flag, "--quiet") == 0)
        log_set_level(LOG_LEVEL_WARN);
    return OK;
}

int command_line_parse(struct command_line *line, int argc, char **argv, struct error *err)
{
    line->argc = argc;
    line->argv = argv;
    line->arguments = memory_alloc((size_t)argc, sizeof *line->arguments);
    struct agent_config *config = &line->config;
    struct option_line options = {.fields = config,
                                  .tables = &config->tables,
                                  .arena = &config->arena,
                                  .take = take_flag,
                                  .context = line,
                                  .arguments = line->arguments};
    int rc = options_parse(&agent_options, &options, argc, argv, err);
    /* A --listen flag has been taken by now and wins over the file. */
    if (rc == OK && !line->listen_given)
        rc = agent_config_load_listeners(config, options.config_path, err);
    line->argument_count = options.argument_count;
    return rc == OK ? agent_config_finish(config, err) : rc;
}

static void on_signal(int number)
{
    (void)number;
    ingest_stop();
}

/* ingest ends behind what it has begun; run takes them itself once it has opened anything, and
 * may end at once before; the others have nothing to finish at any time. */
static void take_signals(const char *command)
{
    signals_end_with(strcmp(command, "run") == 0 ? EXIT_DONE : SIGNALS_BY_DEFAULT);
    if (strcmp(command, "run") == 0) { /* which reads it again, once it is up */
        sigset_t again;
        sigemptyset(&again);
        sigaddset(&again, SIGHUP);
        sigprocmask(SIG_BLOCK, &again, NULL);
    }
    if (strcmp(command, "ingest") != 0)
        return;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int run_command(const char *name, const struct command_line *line)
{
    static const struct {
        const char *name;
        int (*run)(const struct command_line *line);
        bool takes_arguments;
        bool opens_spool; /* by hand, maybe as root, where a service of another user lives */
    } commands[] = {
        {"run", command_run, false, false},     {"status", command_status, false, false},
        {"flush", command_flush, false, false}, {"drain", command_drain, false, false},
        {"ingest", command_ingest, true, true}, {"check", command_check, false, true},
        {"spool", command_spool, false, true},
    };
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        struct error err;
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (!commands[i].takes_arguments && line->argument_count > 0) {
            fprintf(stderr, "bidlake-agent: unexpected argument %s\n", line->arguments[0]);
            return EXIT_USAGE;
        }
        if (commands[i].opens_spool && owner_become(line->config.spool_directory, &err) != OK) {
            fprintf(stderr, "bidlake-agent: %s\n", err.text);
            return EXIT_FAILED;
        }
        return commands[i].run(line);
    }
    fprintf(stderr, "bidlake-agent: unknown command %.100s; known are", name);
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        fprintf(stderr, "%s %s", i > 0 ? "," : "", commands[i].name);
    fputs("\nTry: bidlake-agent --help\n", stderr);
    return EXIT_USAGE;
}

/* A page of the spool's map can't be read where LMDB itself looks, so nothing can go on;
 * but whoever finds a process that is gone should know why. Only what a handler may call. */
static void on_bus_error(int number)
{
    static const char text[] =
        "bidlake-agent: SIGBUS: a page of the spool (data.mdb) does not read: the disk fails, or "
        "the file was cut. Look at the disk. The next start finds what is missing and announces "
        "it as lost, or sets the spool aside as a whole (set-aside/) and begins a new one.\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    raise(number); /* the handler was for one time: now it ends the process */
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
    take_signals(argv[1]);
    struct sigaction bus = {.sa_handler = on_bus_error, .sa_flags = (int)SA_RESETHAND};
    sigaction(SIGBUS, &bus, NULL);

    struct command_line line = {0};
    agent_config_init(&line.config);
    int code = command_line_parse(&line, argc, argv, &err) == OK ? run_command(argv[1], &line)
                                                                 : usage_error(err.text);
    agent_config_free(&line.config);
    free(line.arguments);
    return code;
}
