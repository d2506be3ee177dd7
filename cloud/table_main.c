/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-table: look into a table, through its catalog.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cloud/view.h"
#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/signals.h"
#include "lib/schema/mapping.h"

struct command {
    const char *name;
    size_t arguments_min;
    size_t arguments_max;
    int (*run)(struct view *view, struct error *err);
};

static const struct command commands[] = {
    {"show", 1, 1, command_show},     {"snapshots", 1, 1, command_snapshots},
    {"files", 1, 1, command_files},   {"partitions", 1, 1, command_partitions},
    {"count", 1, 1, command_count},   {"check", 1, 1, command_check},
    {"ledger", 1, 3, command_ledger},
};

static void print_help(FILE *out)
{
    fputs("Usage: bidlake-table COMMAND [TABLE] [FLAGS]\n"
          "\n"
          "Commands:\n"
          "  ls                            tables, with rows and bytes\n"
          "  show TABLE                    schema, partition specs, properties\n"
          "  snapshots TABLE\n"
          "  files TABLE\n"
          "  partitions TABLE\n"
          "  count TABLE [--by COLUMN]     rows, by a partition column; from manifests\n"
          "  check TABLE [--deep]          do metadata, manifests, footers and ledger agree?\n"
          "                                --deep reads all data and compares page checksums\n"
          "  ledger TABLE                  each stream's next position, and what was lost\n"
          "  ledger TABLE --skip STREAM TO close a gap by hand: what is skipped is lost\n"
          "\n"
          "A table without a dot is in the configured namespace.\n"
          "\n"
          "Flags:\n"
          "  --config FILE           YAML configuration; flags win over it\n"
          "  --catalog SPEC          sqlite:PATH or rest:URL\n"
          "  --json                  the result as JSON\n"
          "  --help, --version\n"
          "\n"
          "Options, in the configuration and as flags:\n",
          out);
    if (out == stdout)
        config_print_help();
    fputs("\nExit: 0 done, 1 failed or ls or check found problems, 2 usage or configuration.\n",
          out);
}

static int run(const struct command *command, struct config *config, struct error *err)
{
    struct service service = {0};
    struct view view = {0};
    int status = EXIT_FAILED;
    err->text[0] = 0;
    config->catalog_must_exist = true; /* looking must not make one where a volume is missing */
    config->catalog_only_read = !config->skip;
    /* To look into it SQLite makes files beside it, too. Who looks wants no word of that. */
    if (!config->skip)
        log_set_level(LOG_LEVEL_WARN);
    int rc = service_become_owner(config, err);
    if (rc == OK)
        rc = service_open(&service, config, NULL, NULL, err);
    if (rc == ERROR_INPUT) /* a warehouse or catalog of a kind that nobody knows */
        status = EXIT_USAGE;
    if (rc == OK && command == NULL)
        status = command_ls(&service, config, err);
    else if (rc == OK) {
        rc = view_open(&view, &service, config, config->arguments[0], err);
        if (rc == OK)
            status = command->run(&view, err);
        view_close(&view);
    }
    if (status != EXIT_DONE && err->text[0] != 0)
        view_complain(err);
    service_close(&service);
    return status;
}

static int usage_error(const char *text)
{
    fprintf(stderr, "bidlake-table: %s\nTry: bidlake-table --help\n", text);
    return EXIT_USAGE;
}

static int unknown_command(const char *name)
{
    enum { COUNT = sizeof commands / sizeof commands[0] };
    const char *names[COUNT + 1] = {"ls"};
    for (size_t i = 0; i < COUNT; i++)
        names[i + 1] = commands[i].name;
    const char *near = nearest_name(name, names, COUNT + 1);
    fprintf(stderr, "bidlake-table: no such command: %.100s%s%s%s\nTry: bidlake-table --help\n",
            name, near != NULL ? "; did you mean " : "", near != NULL ? near : "",
            near != NULL ? "?" : "");
    return EXIT_USAGE;
}

int main(int argc, char **argv)
{
    struct error err;
    struct config config = {0};
    const struct command *command = NULL;
    signal(SIGPIPE, SIG_IGN); /* of a server that goes */
    signals_end_with(SIGNALS_BY_DEFAULT);
    if (config_answer(argc, argv, "bidlake-table", print_help))
        return EXIT_DONE;
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            command = &commands[i];
    if (command == NULL && strcmp(argv[1], "ls") != 0)
        return unknown_command(argv[1]);
    if (fault_from_environment(&err) != OK || config_parse(&config, argc, argv, &err) != OK) {
        config_free(&config);
        return usage_error(err.text);
    }
    size_t wanted_min = command != NULL ? command->arguments_min : 0;
    size_t wanted_max = command != NULL ? command->arguments_max : 0;
    if (config.skip)
        wanted_min = 3;
    else if (wanted_max > 1)
        wanted_max = 1;
    int status;
    if (config.argument_count < wanted_min || config.argument_count > wanted_max)
        status = usage_error(wanted_min == 0   ? "ls takes no table"
                             : wanted_min == 3 ? "ledger TABLE --skip STREAM TO"
                                               : "one TABLE is wanted");
    else
        status = run(command, &config, &err);
    config_free(&config);
    return status;
}
