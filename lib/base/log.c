/* SPDX-License-Identifier: Apache-2.0
 *
 * A line is made field by field: a value is formatted by itself, then written as one, so that
 * no text in it (a server's words, a stranger's names) can end it and begin another field.
 */
#include "lib/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"
#include "lib/base/plain.h"

enum { LINE_SIZE = 2048, VALUE_SIZE = LINE_SIZE, SLOT_COUNT = 64, BURST = 10, WINDOW_MS = 10000 };

/* One slot a message, found by the address of its literal. */
struct slot {
    const char *msg;
    int64_t window_start_ms;
    unsigned count;
    unsigned held;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* guarded by lock */
static struct slot slots[SLOT_COUNT];
static enum log_level threshold = LOG_LEVEL_INFO;
static struct log_trouble troubles[LOG_TROUBLES_MAX];
static size_t trouble_count;
static uint64_t trouble_order;

void log_set_level(enum log_level level)
{
    pthread_mutex_lock(&lock);
    threshold = level;
    pthread_mutex_unlock(&lock);
}

/* -1: hold this one back; else how many were held back before it. */
static int admit(const char *msg, int64_t now_ms)
{
    struct slot *slot = &slots[((uintptr_t)msg >> 3) % SLOT_COUNT];
    if (slot->msg != msg || now_ms - slot->window_start_ms >= WINDOW_MS) {
        int held = slot->msg == msg ? (int)slot->held : 0;
        *slot = (struct slot){.msg = msg, .window_start_ms = now_ms, .count = 1};
        return held;
    }
    if (slot->count >= BURST) {
        slot->held++;
        return -1;
    }
    slot->count++;
    return 0;
}

/* Its own entry, else a free one, else that which has been quiet longest. lock is held. */
static struct log_trouble *trouble_of(const char *msg)
{
    struct log_trouble *oldest = &troubles[0];
    for (size_t i = 0; i < trouble_count; i++) {
        if (troubles[i].msg == msg)
            return &troubles[i];
        if (troubles[i].order < oldest->order)
            oldest = &troubles[i];
    }
    if (trouble_count < LOG_TROUBLES_MAX)
        oldest = &troubles[trouble_count++];
    *oldest = (struct log_trouble){.msg = msg};
    return oldest;
}

/* fields NULL: they are as good as before, the line was held back. */
static void note_trouble(enum log_level level, const char *at, const char *msg, const char *fields,
                         int64_t now_ms)
{
    pthread_mutex_lock(&lock);
    struct log_trouble *trouble = trouble_of(msg);
    trouble->level = level;
    trouble->at = at;
    trouble->last_ms = now_ms;
    trouble->count++;
    trouble->order = ++trouble_order;
    if (fields != NULL) {
        size_t len = 0;
        /* Names and a server's words need not be UTF-8, and text that was cut is not. */
        for (; len < sizeof trouble->fields - 1 && fields[len] != 0; len++)
            trouble->fields[len] =
                (unsigned char)fields[len] < 0x20 || (unsigned char)fields[len] > 0x7e
                    ? '?'
                    : fields[len];
        trouble->fields[len] = 0;
    }
    pthread_mutex_unlock(&lock);
}

static int compare_troubles(const void *a, const void *b)
{
    const struct log_trouble *x = a;
    const struct log_trouble *y = b;
    return (x->order < y->order) - (x->order > y->order);
}

size_t log_troubles(struct log_trouble out[LOG_TROUBLES_MAX])
{
    pthread_mutex_lock(&lock);
    size_t count = trouble_count;
    memcpy(out, troubles, count * sizeof *out);
    pthread_mutex_unlock(&lock);
    qsort(out, count, sizeof *out, compare_troubles);
    return count;
}

/* ---- fields ---- */

/* As formatted, before it is escaped; what is longer is cut. */
struct value {
    size_t len;
    char text[VALUE_SIZE];
};

struct line {
    size_t len;
    char text[LINE_SIZE + 1]; /* room for the line end */
};

static void value_put(struct value *value, const char *text, size_t len)
{
    size_t room = sizeof value->text - value->len;
    len = len < room ? len : room;
    memcpy(value->text + value->len, text, len);
    value->len += len;
}

/* False: no conversion of log.h's, so there is no telling where its argument ends. */
static bool value_convert(struct value *value, const char **format, va_list *args)
{
    const char *at = *format + 1;
    char number[24];
    size_t most = sizeof value->text;
    int longs = 0;
    if (*at == '.' && at[1] == '*') {
        int given = va_arg(*args, int);
        most = given >= 0 ? (size_t)given : most;
        at += 2;
    } else if (*at == '.') {
        for (most = 0, at++; *at >= '0' && *at <= '9'; at++)
            most = most * 10 + (size_t)(*at - '0');
    }
    bool size = *at == 'z';
    for (; *at == 'l' || *at == 'z'; at++)
        longs++;
    *format = at + 1;
    if (*at == 's') {
        const char *text = va_arg(*args, const char *);
        text = text != NULL ? text : "(null)";
        value_put(value, text, strnlen(text, most));
        return true;
    }
    if (*at == 'd')
        snprintf(number, sizeof number, "%lld",
                 longs > 1    ? va_arg(*args, long long)
                 : longs == 1 ? va_arg(*args, long)
                              : va_arg(*args, int));
    else if (*at == 'u')
        snprintf(number, sizeof number, "%llu",
                 size         ? va_arg(*args, size_t)
                 : longs > 1  ? va_arg(*args, unsigned long long)
                 : longs == 1 ? va_arg(*args, unsigned long)
                              : va_arg(*args, unsigned));
    else
        return false;
    value_put(value, number, strlen(number));
    return true;
}

/* What stands for the character within quotes; the bytes that it took. */
static size_t character_escape(const unsigned char *at, size_t left, char out[8])
{
    if (*at != '"' && *at != '\\')
        return plain_character(at, left, out);
    snprintf(out, 8, "\\%c", *at);
    return 1;
}

static bool is_plain(const struct value *value)
{
    for (size_t i = 0; i < value->len; i++) {
        unsigned char c = (unsigned char)value->text[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\')
            return false;
    }
    return true;
}

static void line_put(struct line *line, const char *text, size_t len)
{
    size_t room = LINE_SIZE - line->len;
    len = len < room ? len : room;
    memcpy(line->text + line->len, text, len);
    line->len += len;
}

/* Cut, if need be, between two characters and before the closing quote. */
static void line_put_quoted(struct line *line, const struct value *value)
{
    char out[8];
    line_put(line, "\"", 1);
    for (size_t i = 0; i < value->len;) {
        i += character_escape((const unsigned char *)value->text + i, value->len - i, out);
        if (line->len + strlen(out) + 1 > LINE_SIZE)
            break;
        line_put(line, out, strlen(out));
    }
    line_put(line, "\"", 1);
}

/* The value at *format, to the blank or the quote that ends it. */
static bool line_put_value(struct line *line, const char **format, va_list *args)
{
    struct value value = {0};
    bool known = true;
    bool quoted = **format == '"';
    const char end = quoted ? '"' : ' ';
    *format += quoted;
    while (known && **format != 0 && **format != end) {
        if (**format == '%')
            known = value_convert(&value, format, args);
        else
            value_put(&value, (*format)++, 1);
    }
    *format += known && quoted && **format == '"';
    if (quoted || !is_plain(&value))
        line_put_quoted(line, &value);
    else
        line_put(line, value.text, value.len);
    return known;
}

static void line_put_fields(struct line *line, const char *format, va_list *args)
{
    bool known = true;
    while (known && *format != 0) {
        if (*format == ' ') {
            line_put(line, format++, 1);
            continue;
        }
        size_t key = strcspn(format, "=%\" ");
        key += format[key] == '=';
        if (line->len + key + 2 > LINE_SIZE)
            return;
        line_put(line, format, key);
        format += key;
        if (*format != 0 && *format != ' ')
            known = line_put_value(line, &format, args);
    }
}

static size_t format_head(char *line, enum log_level level, const char *at, const char *msg)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    int64_t now_ms = clock_wall_ms(&clock_system);
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    char time_text[32];
    gmtime_r(&seconds, &utc);
    strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &utc);
    int n = snprintf(line, LINE_SIZE, "time=%s.%03dZ level=%s at=%s msg=\"%s\"", time_text,
                     (int)(now_ms % 1000), names[level], at, msg);
    return n < LINE_SIZE ? (size_t)n : LINE_SIZE - 1;
}

void log_event(enum log_level level, const char *at, const char *msg, const char *fields, ...)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    pthread_mutex_lock(&lock);
    int held = level < threshold ? -1 : admit(msg, now_ms);
    pthread_mutex_unlock(&lock);
    if (held < 0) {
        if (level >= LOG_LEVEL_WARN)
            note_trouble(level, at, msg, NULL, now_ms);
        return;
    }

    struct line line;
    line.len = format_head(line.text, level, at, msg);
    if (held > 0) {
        char text[32];
        snprintf(text, sizeof text, " held_back=%d", held);
        line_put(&line, text, strlen(text));
    }
    if (*fields != 0)
        line_put(&line, " ", 1);
    size_t fields_at = line.len;
    va_list args;
    va_start(args, fields);
    line_put_fields(&line, fields, &args);
    va_end(args);
    line.text[line.len] = 0;
    if (level >= LOG_LEVEL_WARN)
        note_trouble(level, at, msg, line.text + fields_at, now_ms);
    line.text[line.len++] = '\n';
    /* One write, so that lines of several threads don't mix. A log that can't
     * be written has nowhere to say so. */
    if (write(STDERR_FILENO, line.text, line.len) < 0)
        return;
}
