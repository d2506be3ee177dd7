/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-commit: init, once. One log line a turn on stderr, results on stdout.
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/config.h"
#include "lib/base/fault.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/schema/mapping.h"

static void print_help(FILE *out)
{
    fputs("Usage: bidlake-commit COMMAND [FLAGS]\n"
          "\n"
          "Commands:\n"
          "  init    make namespace, tables, ledgers and contracts, as far as they are not there\n"
          "  once    one turn over the inbox of each table\n"
          "\n"
          "Flags:\n"
          "  --config FILE           YAML configuration; flags win over it\n"
          "  --catalog SPEC          sqlite:PATH\n"
          "  --tables A,B            presets or mapping files (default: openrtb)\n"
          "  --json                  the result as one JSON object\n"
          "  --anew                  init: begin a new table where the contract names another\n"
          "  --help, --version\n"
          "\n"
          "Options, in the configuration and as flags:\n",
          out);
    if (out == stdout)
        config_print_help();
    fputs("\nExit: 0 done, 1 failed (other tables may be done), 2 usage or configuration.\n", out);
}

static void log_notes(const struct commit_report *report)
{
    for (size_t i = 0; i < report->note_count; i++) {
        const struct commit_note *note = &report->notes[i];
        enum log_level level = note->kind == NOTE_ALARM  ? LOG_LEVEL_ERROR
                               : note->kind == NOTE_INFO ? LOG_LEVEL_INFO
                                                         : LOG_LEVEL_WARN;
        const char *msg = note->kind == NOTE_ALARM     ? "alarm"
                          : note->kind == NOTE_REFUSED ? "announcement refused"
                          : note->kind == NOTE_MISSING ? "file missing"
                                                       : "note";
        log_event(level, "commit", msg, "table=%s stream=\"%s\" from=%" PRIu64 " text=\"%s\"",
                  note->table, note->stream, note->from, note->text);
    }
}

static void log_turn(const struct commit_report *r, int64_t ms)
{
    log_event(LOG_LEVEL_INFO, "commit", "turn",
              "seen=%zu taken=%zu dead=%zu waiting=%zu refused=%zu missing=%zu retired=%zu "
              "files=%zu events=%" PRIu64 " rows=%" PRIu64 " bytes=%" PRIu64 " lost=%" PRIu64
              " snapshots=%zu attempts=%zu alarms=%zu failed=%zu ms=%" PRId64,
              r->seen, r->taken, r->dead, r->waiting, r->refused, r->missing, r->retired, r->files,
              r->events, r->rows, r->bytes, r->lost_events, r->snapshots, r->attempts, r->alarms,
              r->tables_failed, ms);
}

static json_t *notes_to_json(const struct commit_report *report)
{
    static const char *const kinds[] = {"alarm", "refused", "missing", "info"};
    json_t *notes = json_array();
    for (size_t i = 0; i < report->note_count; i++) {
        const struct commit_note *note = &report->notes[i];
        json_t *object =
            json_pack("{s:s,s:s,s:s,s:I}", "kind", kinds[note->kind], "table", note->table,
                      "stream", note->stream, "from", (json_int_t)note->from);
        /* What was sent may be quoted in it: '?' for what is no UTF-8. */
        json_t *text = json_string(note->text);
        json_object_set_new(object, "text", text != NULL ? text : json_string("?"));
        json_array_append_new(notes, object);
    }
    return notes;
}

static void print_json(const struct commit_report *r, const char *error)
{
    json_t *object = json_object();
    struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"seen", r->seen},
                  {"taken", r->taken},
                  {"dead", r->dead},
                  {"waiting", r->waiting},
                  {"refused", r->refused},
                  {"missing", r->missing},
                  {"retired", r->retired},
                  {"copied", r->copied},
                  {"files", r->files},
                  {"events", r->events},
                  {"rows", r->rows},
                  {"bytes", r->bytes},
                  {"lost_events", r->lost_events},
                  {"snapshots", r->snapshots},
                  {"attempts", r->attempts},
                  {"alarms", r->alarms},
                  {"tables_failed", r->tables_failed},
                  {"snapshot_id", (uint64_t)r->snapshot_id}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_object_set_new(object, counts[i].key, json_integer((json_int_t)counts[i].value));
    json_object_set_new(object, "notes", notes_to_json(r));
    json_object_set_new(object, "error", error != NULL ? json_string(error) : json_null());
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(object);
}

static void print_text(const struct commit_report *r, const char *command)
{
    printf("%s: %zu announcements taken, %" PRIu64 " events, %" PRIu64 " rows, %zu files, "
           "%zu snapshots\n",
           command, r->taken, r->events, r->rows, r->files, r->snapshots);
    if (r->waiting + r->refused + r->missing + r->alarms + r->tables_failed > 0)
        printf("%zu waiting, %zu refused, %zu with missing files, %zu alarms, %zu tables failed\n",
               r->waiting, r->refused, r->missing, r->alarms, r->tables_failed);
}

static int run_init(const struct service *service, const struct config *config,
                    const struct mapping_set *mappings, struct commit_report *report,
                    struct error *err)
{
    int rc = OK;
    for (size_t i = 0; i < mappings->count && rc == OK; i++)
        rc =
            commit_init_table(&service->committer, config->ns, &mappings->mappings[i], report, err);
    return rc;
}

static int run_once(const struct service *service, const struct config *config,
                    const struct mapping_set *mappings, struct commit_report *report,
                    struct error *err)
{
    char **tables = memory_alloc(mappings->count, sizeof *tables);
    for (size_t i = 0; i < mappings->count; i++)
        tables[i] = memory_printf("%s.%s", config->ns, mappings->mappings[i].schema.table);
    int rc =
        commit_turn(&service->committer, (const char *const *)tables, mappings->count, report, err);
    for (size_t i = 0; i < mappings->count; i++)
        free(tables[i]);
    free(tables);
    return rc;
}

static int run(const char *command, struct config *config, struct error *err)
{
    struct service service = {0};
    struct mapping_set mappings = {0};
    struct commit_report report = {0};
    int64_t start_ms = clock_mono_ms(&clock_system);
    int rc = mapping_set_load(&mappings, config->tables.names, config->tables.count, err);
    if (rc != OK) {
        if (config->tables.origin != NULL)
            rc = error_wrap(err, "%s", config->tables.origin);
        fprintf(stderr, "bidlake-commit: %s\n", err->text);
        return EXIT_USAGE;
    }
    config->catalog_must_exist = strcmp(command, "init") != 0;
    rc = service_open(&service, config, err);
    bool opened = rc == OK;
    if (rc == OK && strcmp(command, "init") == 0)
        rc = run_init(&service, config, &mappings, &report, err);
    else if (rc == OK)
        rc = run_once(&service, config, &mappings, &report, err);
    log_notes(&report);
    if (opened)
        log_turn(&report, clock_mono_ms(&clock_system) - start_ms);
    if (rc != OK)
        fprintf(stderr, "bidlake-commit: %s\n", err->text);
    if (config->json)
        print_json(&report, rc != OK ? err->text : NULL);
    else if (opened)
        print_text(&report, command);
    commit_report_free(&report);
    mapping_set_free(&mappings);
    service_close(&service);
    /* A warehouse or catalog of a kind that nobody knows is a mistake of configuration. */
    bool usage = !opened && rc == ERROR_INPUT;
    return rc == OK ? EXIT_DONE : usage ? EXIT_USAGE : EXIT_FAILED;
}

int main(int argc, char **argv)
{
    struct error err;
    struct config config = {0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            print_help(stdout);
            return EXIT_DONE;
        }
        if (strcmp(argv[i], "--version") == 0) {
            printf("bidlake-commit %s\n", BIDLAKE_VERSION);
            return EXIT_DONE;
        }
    }
    if (argc < 2) {
        print_help(stderr);
        return EXIT_USAGE;
    }
    if (strcmp(argv[1], "init") != 0 && strcmp(argv[1], "once") != 0) {
        fprintf(stderr,
                "bidlake-commit: unknown command %.100s; known are init, once\n"
                "Try: bidlake-commit --help\n",
                argv[1]);
        return EXIT_USAGE;
    }
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
