/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-commit: init, once, serve. One log line a turn on stderr, results on stdout.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/config.h"
#include "cloud/result.h"
#include "cloud/serve.h"
#include "cloud/snapshot.h"
#include "lib/base/fault.h"
#include "lib/base/memory.h"
#include "lib/base/signals.h"
#include "lib/schema/mapping.h"

static void print_help(FILE *out)
{
    fputs("Usage: bidlake-commit COMMAND [FLAGS]\n"
          "\n"
          "Commands:\n"
          "  init    make namespace, tables, ledgers and contracts, as far as they are not there\n"
          "  once    one turn over the inbox of each table\n"
          "  serve   a turn every interval, until SIGTERM or SIGINT; what fails is tried again\n"
          "\n"
          "Flags:\n"
          "  --config FILE           YAML configuration; flags win over it\n"
          "  --catalog SPEC          sqlite:PATH or rest:URL\n"
          "  --tables A,B            presets or mapping files (default: openrtb)\n"
          "  --json                  the result as one JSON object (serve: a line a turn)\n"
          "  --anew                  init: begin a new table where the contract names another\n"
          "  --help, --version\n"
          "\n"
          "Options, in the configuration and as flags:\n",
          out);
    if (out == stdout)
        config_print_help();
    fputs(
        "\nExit: 0 done, 1 failed (other tables may be done), 2 usage or configuration, 3 once is\n"
        "done, but refused an announcement: the reason is in the log and in _bidlake/refused/.\n"
        "SIGTERM and SIGINT end each command behind the commit that is under way (a request that\n"
        "hangs has five seconds then): serve with 0, once and init with 1, if something is left,\n"
        "which the next run does.\n",
        out);
}

/* ---- a pass that is asked to end ---- */

static volatile sig_atomic_t asked_to_stop;

static void on_signal(int number)
{
    (void)number;
    asked_to_stop = 1;
}

static bool is_to_stop(void *context)
{
    (void)context;
    return asked_to_stop != 0;
}

/* A second signal does what it does without a handler. */
static void take_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

static int run_init(const struct service *service, const struct config *config,
                    const struct mapping_set *mappings, struct commit_report *report,
                    struct error *err)
{
    int rc = OK;
    for (size_t i = 0; i < mappings->count && rc == OK; i++) {
        rc = committer_go_on(&service->committer, report, err);
        if (rc == OK)
            rc = commit_init_table(&service->committer, config->ns, &mappings->mappings[i], report,
                                   err);
    }
    return rc;
}

static char **table_names(const struct config *config, const struct mapping_set *mappings)
{
    char **tables = memory_alloc(mappings->count, sizeof *tables);
    for (size_t i = 0; i < mappings->count; i++)
        tables[i] = memory_printf("%s.%s", config->ns, mappings->mappings[i].schema.table);
    return tables;
}

/* init or once: a pass, and what came of it. */
static int run_one(const char *command, const struct config *config,
                   const struct mapping_set *mappings, const char *const *tables, struct error *err)
{
    struct service service = {0};
    struct commit_report report = {0};
    int64_t at_ms = clock_wall_ms(&clock_system);
    int64_t start_ms = clock_mono_ms(&clock_system);
    take_signals();
    int rc = service_become_owner(config, err);
    if (rc == OK)
        rc = service_open(&service, config, NULL, is_to_stop, err);
    bool opened = rc == OK;
    if (rc == OK && strcmp(command, "init") == 0)
        rc = run_init(&service, config, mappings, &report, err);
    else if (rc == OK)
        rc = commit_turn(&service.committer, tables, mappings->count, &report, err);
    int64_t ms = clock_mono_ms(&clock_system) - start_ms;
    result_log_notes(&report);
    if (opened)
        result_log_turn(&report, ms);
    if (config->json)
        result_print_json(&report, rc != OK ? err->text : NULL, at_ms, ms);
    else if (opened)
        result_print_text(&report, command);
    bool refused = report.refused > 0;
    commit_report_free(&report);
    service_close(&service);
    /* A warehouse or catalog of a kind that nobody knows is a mistake of configuration. */
    bool usage = !opened && rc == ERROR_INPUT;
    if (rc != OK)
        return usage ? EXIT_USAGE : EXIT_FAILED;
    return refused ? EXIT_REFUSED : EXIT_DONE;
}

static int run_serve(const struct config *config, const char *const *tables, size_t count,
                     struct error *err)
{
    int rc = serve(config, tables, count, err);
    return rc == OK ? EXIT_DONE : EXIT_USAGE;
}

static int run(const char *command, struct config *config, struct error *err)
{
    struct mapping_set mappings = {0};
    *err = (struct error){0};
    int rc = mapping_set_load(&mappings, config->tables.names, config->tables.count, err);
    if (rc != OK) {
        if (config->tables.origin != NULL)
            rc = error_wrap(err, "%s", config->tables.origin);
        fprintf(stderr, "bidlake-commit: %s\n", err->text);
        return EXIT_USAGE;
    }
    char **tables = table_names(config, &mappings);
    config->catalog_must_exist = strcmp(command, "init") != 0;
    int status = strcmp(command, "serve") == 0
                     ? run_serve(config, (const char *const *)tables, mappings.count, err)
                     : run_one(command, config, &mappings, (const char *const *)tables, err);
    if (status == EXIT_FAILED || status == EXIT_USAGE)
        fprintf(stderr, "bidlake-commit: %s\n", err->text);
    for (size_t i = 0; i < mappings.count; i++)
        free(tables[i]);
    free(tables);
    mapping_set_free(&mappings);
    return status;
}

static bool is_command(const char *word)
{
    return strcmp(word, "init") == 0 || strcmp(word, "once") == 0 || strcmp(word, "serve") == 0;
}

int main(int argc, char **argv)
{
    struct error err;
    struct config config = {0};
    /* A server that goes, or who reads the reports, must not take us along. */
    signal(SIGPIPE, SIG_IGN);
    if (config_answer(argc, argv, "bidlake-commit", print_help))
        return EXIT_DONE;
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (!is_command(argv[1])) {
        fprintf(stderr,
                "bidlake-commit: unknown command %.100s; known are init, once, serve\n"
                "Try: bidlake-commit --help\n",
                argv[1]);
        return EXIT_USAGE;
    }
    /* Until the command takes them itself: there is nothing to finish yet. */
    signals_end_with(strcmp(argv[1], "serve") == 0 ? EXIT_DONE : SIGNALS_BY_DEFAULT);
    int rc = fault_from_environment(&err);
    if (rc == OK)
        rc = config_parse(&config, argc, argv, &err);
    if (rc == OK && config.argument_count > 0)
        rc = error_set(&err, ERROR_INPUT, "unexpected argument %s", config.arguments[0]);
    if (rc != OK) {
        fprintf(stderr, "bidlake-commit: %s\n", err.text);
        config_free(&config);
        return EXIT_USAGE;
    }
    int status = run(argv[1], &config, &err);
    config_free(&config);
    return status;
}
