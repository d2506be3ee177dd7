/* SPDX-License-Identifier: Apache-2.0
 *
 * The report of a turn, and what every part of a committer needs: its clock, its random
 * numbers, its pauses.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/snapshot.h"
#include "lib/base/memory.h"

void commit_report_free(struct commit_report *report)
{
    for (size_t i = 0; i < report->note_count; i++) {
        free(report->notes[i].table);
        free(report->notes[i].stream);
        free(report->notes[i].text);
    }
    free(report->notes);
    *report = (struct commit_report){0};
}

void report_begin_table(struct commit_report *report)
{
    memset(report->noted, 0, sizeof report->noted);
}

void report_note(struct commit_report *report, enum commit_note_kind kind, const char *table,
                 const char *stream, uint64_t from, const char *format, ...)
{
    if (kind == NOTE_ALARM)
        report->alarms++;
    if (report->noted[kind] == COMMIT_NOTES_MAX) {
        report->notes_left_out++;
        return;
    }
    report->noted[kind]++;
    if (report->note_count == report->note_cap) {
        report->note_cap = report->note_cap == 0 ? 16 : report->note_cap * 2;
        report->notes = memory_resize(report->notes, report->note_cap, sizeof *report->notes);
    }
    char text[600];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    report->notes[report->note_count++] = (struct commit_note){
        .kind = kind,
        .table = memory_copy_cstr(table),
        .stream = memory_copy_cstr(stream),
        .from = from,
        .text = memory_copy_cstr(text),
    };
}

const struct clock *committer_clock(const struct committer *committer)
{
    return committer->clock != NULL ? committer->clock : &clock_system;
}

void committer_random(const struct committer *committer, void *out, size_t len)
{
    if (committer->random == NULL) {
        random_system(out, len);
        return;
    }
    uint8_t *at = out;
    for (size_t i = 0; i < len; i++)
        at[i] = (uint8_t)random_below(committer->random, 256);
}

void committer_uuid(const struct committer *committer, char out[UUID_TEXT_SIZE])
{
    int64_t now_ms = clock_wall_ms(committer_clock(committer));
    if (committer->random == NULL)
        uuid_v7(out, now_ms);
    else
        uuid_v7_from(out, now_ms, committer->random);
}

bool committer_is_to_stop(const struct committer *committer)
{
    return committer->stop != NULL && committer->stop(committer->stop_context);
}

int committer_go_on(const struct committer *committer, struct commit_report *report,
                    struct error *err)
{
    if (!committer_is_to_stop(committer))
        return OK;
    report->stopped = true;
    return error_set(err, ERROR_RETRY, "asked to stop; what is left is for the next turn");
}

void committer_back_off(const struct committer *committer, unsigned attempt)
{
    enum { STEP_MS = 100 };
    uint64_t ceiling = 100u << (attempt < 8 ? attempt : 8);
    uint64_t number;
    committer_random(committer, &number, sizeof number);
    int64_t left_ms = (int64_t)(number % ceiling);
    while (left_ms > 0 && !committer_is_to_stop(committer)) {
        int64_t step_ms = left_ms < STEP_MS ? left_ms : STEP_MS;
        clock_sleep_ms(committer_clock(committer), step_ms);
        left_ms -= step_ms;
    }
}
