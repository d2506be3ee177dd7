/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/capture/capture.h"

#include <string.h>

static void take_event(struct line_sink *sink, struct slice text, uint64_t line)
{
    struct shred_context context = {
        .source_time_us = INT64_MIN, .host = slice_cstr(sink->host), .partition = -1, .offset = -1};
    struct refusal refusal;
    if (intake_event(sink->intake, text, &context, &refusal))
        return;
    struct dead_letter letter = {
        .source = sink->source, .position = (int64_t)line, .reason = refusal.text, .body = text};
    intake_dead_letter(sink->intake, &letter);
}

/* Blank lines are lines, but no events. The end of a line that was too long belongs to the
 * beginning that was taken before. */
static void take_line(struct line_sink *sink, struct slice line)
{
    sink->place.line++;
    if (sink->place.skipping) {
        sink->place.skipping = false;
        return;
    }
    line = slice_trim(line, " \t\r");
    if (line.len > 0)
        take_event(sink, line, sink->place.line);
}

size_t lines_take(struct line_sink *sink, struct slice text, bool last)
{
    size_t at = 0;
    while (at < text.len && !intake_is_full(sink->intake)) {
        struct slice rest = slice_of(text.data + at, text.len - at);
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        if (end != NULL) {
            size_t len = (size_t)(end - rest.data);
            take_line(sink, slice_of(rest.data, len));
            at += len + 1;
        } else if (last) {
            take_line(sink, rest);
            at = text.len;
        } else if (sink->place.skipping) {
            at = text.len;
        } else if (rest.len >= sink->line_bytes_max) {
            /* Too long by now, whatever follows: the shredder says so. */
            take_event(sink, rest, sink->place.line + 1);
            sink->place.skipping = true;
            at = text.len;
        } else {
            break;
        }
    }
    return at;
}

bool lines_any(const struct line_sink *sink, struct slice text, bool last)
{
    if (text.len == 0)
        return false;
    return last || sink->place.skipping || text.len >= sink->line_bytes_max ||
           memrchr(text.data, '\n', text.len) != NULL;
}
