/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/result.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"

void result_log_notes(const struct commit_report *report)
{
    for (size_t i = 0; i < report->note_count; i++) {
        const struct commit_note *note = &report->notes[i];
        enum log_level level = note->kind == NOTE_ALARM  ? LOG_LEVEL_ERROR
                               : note->kind == NOTE_INFO ? LOG_LEVEL_INFO
                                                         : LOG_LEVEL_WARN;
        const char *msg = note->kind == NOTE_ALARM     ? "alarm"
                          : note->kind == NOTE_REFUSED ? "announcement refused"
                          : note->kind == NOTE_MISSING ? "file missing"
                          : note->kind == NOTE_FAILED  ? "turn failed"
                          : note->kind == NOTE_WARNING ? "warning"
                                                       : "note";
        log_event(level, "commit", msg, "table=%s stream=\"%s\" from=%" PRIu64 " text=\"%s\"",
                  note->table, note->stream, note->from, note->text);
    }
}

void result_log_turn(const struct commit_report *r, int64_t ms)
{
    log_event(LOG_LEVEL_INFO, "commit", "turn",
              "seen=%zu taken=%zu dead=%zu waiting=%zu refused=%zu missing=%zu retired=%zu "
              "files=%zu events=%" PRIu64 " rows=%" PRIu64 " bytes=%" PRIu64 " lost=%" PRIu64
              " snapshots=%zu attempts=%zu alarms=%zu failed=%zu notes_left_out=%zu ms=%" PRId64,
              r->seen, r->taken, r->dead, r->waiting, r->refused, r->missing, r->retired, r->files,
              r->events, r->rows, r->bytes, r->lost_events, r->snapshots, r->attempts, r->alarms,
              r->tables_failed, r->notes_left_out, ms);
}

/* Names and words of others are quoted in it, and it may have been cut within a character: where it
 * is no UTF-8 its bytes beyond ASCII are '?'. */
static json_t *text_to_json(const char *text)
{
    json_t *json = json_string(text);
    if (json != NULL)
        return json;
    char *plain = memory_copy_cstr(text);
    for (char *at = plain; *at != 0; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
    json = json_string(plain);
    free(plain);
    return json;
}

static json_t *notes_to_json(const struct commit_report *report)
{
    static const char *const kinds[] = {"alarm", "refused", "missing", "failed", "warning", "info"};
    json_t *notes = json_array();
    for (size_t i = 0; i < report->note_count; i++) {
        const struct commit_note *note = &report->notes[i];
        json_array_append_new(
            notes, json_pack("{s:s,s:o,s:o,s:I,s:o}", "kind", kinds[note->kind], "table",
                             text_to_json(note->table), "stream", text_to_json(note->stream),
                             "from", (json_int_t)note->from, "text", text_to_json(note->text)));
    }
    return notes;
}

void result_print_json(const struct commit_report *r, const char *error, int64_t at_ms, int64_t ms)
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
                  {"notes_left_out", r->notes_left_out},
                  {"snapshot_id", (uint64_t)r->snapshot_id},
                  {"at", (uint64_t)at_ms},
                  {"ms", (uint64_t)ms}};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        json_object_set_new(object, counts[i].key, json_integer((json_int_t)counts[i].value));
    json_object_set_new(object, "notes", notes_to_json(r));
    json_object_set_new(object, "error", error != NULL ? text_to_json(error) : json_null());
    json_dumpf(object, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(object);
}

void result_print_text(const struct commit_report *r, const char *command)
{
    printf("%s: %zu announcements taken, %" PRIu64 " events, %" PRIu64 " rows, %zu files, "
           "%zu snapshots\n",
           command, r->taken, r->events, r->rows, r->files, r->snapshots);
    if (r->waiting + r->refused + r->missing + r->alarms + r->tables_failed > 0)
        printf("%zu waiting, %zu refused, %zu with missing files, %zu alarms, %zu tables failed\n",
               r->waiting, r->refused, r->missing, r->alarms, r->tables_failed);
}
