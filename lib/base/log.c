/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/base/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/clock.h"

enum { LINE_SIZE = 2048, SLOT_COUNT = 64, BURST = 10, WINDOW_MS = 10000 };

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

static int format_head(char *line, enum log_level level, const char *at, const char *msg)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    int64_t now_ms = clock_wall_ms(&clock_system);
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm utc;
    char time_text[32];
    gmtime_r(&seconds, &utc);
    strftime(time_text, sizeof time_text, "%Y-%m-%dT%H:%M:%S", &utc);
    return snprintf(line, LINE_SIZE, "time=%s.%03dZ level=%s at=%s msg=\"%s\"", time_text,
                    (int)(now_ms % 1000), names[level], at, msg);
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

    char line[LINE_SIZE + 1];
    size_t len = (size_t)format_head(line, level, at, msg);
    if (held > 0 && len < LINE_SIZE)
        len += (size_t)snprintf(line + len, LINE_SIZE - len, " held_back=%d", held);
    size_t fields_at = 0;
    if (*fields != 0 && len < LINE_SIZE - 1) {
        line[len++] = ' ';
        fields_at = len;
        va_list args;
        va_start(args, fields);
        int n = vsnprintf(line + len, LINE_SIZE - len, fields, args);
        va_end(args);
        len += n > 0 ? (size_t)n : 0;
    }
    if (len > LINE_SIZE - 1)
        len = LINE_SIZE - 1;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < 0x20)
            line[i] = '?';
    }
    line[len] = 0;
    if (level >= LOG_LEVEL_WARN)
        note_trouble(level, at, msg, fields_at > 0 ? line + fields_at : "", now_ms);
    line[len++] = '\n';
    /* One write, so that lines of several threads don't mix. A log that can't
     * be written has nowhere to say so. */
    if (write(STDERR_FILENO, line, len) < 0)
        return;
}
