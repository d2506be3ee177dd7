/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/ending.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "lib/base/plain.h"
#include "lib/json/json.h"

enum { LINGER_MS = 500 };

void ending_init(struct ending *ending)
{
    *ending = (struct ending){0};
    pthread_mutex_init(&ending->lock, NULL);
}

void ending_free(struct ending *ending)
{
    pthread_mutex_destroy(&ending->lock);
}

void ending_drain(struct ending *ending, int64_t within_ms)
{
    pthread_mutex_lock(&ending->lock);
    if (!ending->drained && !ending->begun)
        ending->drain_within_ms = within_ms;
    ending->drained = true;
    pthread_mutex_unlock(&ending->lock);
}

bool ending_is_drained(struct ending *ending)
{
    pthread_mutex_lock(&ending->lock);
    bool drained = ending->drained;
    pthread_mutex_unlock(&ending->lock);
    return drained;
}

int64_t ending_begin(struct ending *ending, int64_t stop_ms, int64_t drain_ms)
{
    pthread_mutex_lock(&ending->lock);
    ending->begun = true;
    int64_t within_ms = !ending->drained              ? stop_ms
                        : ending->drain_within_ms < 0 ? drain_ms
                                                      : ending->drain_within_ms;
    pthread_mutex_unlock(&ending->lock);
    return within_ms;
}

static void set_over(struct ending *ending, bool complete, uint64_t events_left, const char *why)
{
    pthread_mutex_lock(&ending->lock);
    ending->over = true;
    ending->complete = complete;
    ending->events_left = events_left;
    snprintf(ending->why, sizeof ending->why, "%s", why);
    plain_ascii(ending->why);
    pthread_mutex_unlock(&ending->lock);
}

void ending_complete(struct ending *ending)
{
    set_over(ending, true, 0, "");
}

void ending_incomplete(struct ending *ending, uint64_t events_left, const char *why)
{
    set_over(ending, false, events_left, why);
}

bool ending_is_to_be_told(struct ending *ending, int64_t now_ms)
{
    pthread_mutex_lock(&ending->lock);
    bool lingers = !ending->told || now_ms - ending->told_at_ms < LINGER_MS;
    bool wanted = ending->drained && ending->over && lingers;
    pthread_mutex_unlock(&ending->lock);
    return wanted;
}

void ending_write(struct ending *ending, const int64_t *told_at_ms, struct buf *out)
{
    pthread_mutex_lock(&ending->lock);
    if (told_at_ms != NULL && ending->over && !ending->told) {
        ending->told = true;
        ending->told_at_ms = *told_at_ms;
    }
    json_t *text =
        json_pack("{s:b, s:b, s:b, s:I, s:s%}", "ending", (int)(ending->drained || ending->begun),
                  "over", (int)ending->over, "complete", (int)ending->complete, "events_left",
                  (json_int_t)ending->events_left, "why", ending->why, strlen(ending->why));
    pthread_mutex_unlock(&ending->lock);
    json_encode(text, out);
    buf_put_cstr(out, "\n");
    json_decref(text);
}

int ending_refuse(uint64_t events_left, const char *why, struct error *err)
{
    return error_set(err, ERROR_RETRY,
                     "events that stay in the spool for the next start: %" PRIu64 "; %s",
                     events_left, why);
}

int ending_outcome(struct ending *ending, struct error *err)
{
    pthread_mutex_lock(&ending->lock);
    int rc = ending->complete ? OK : ending_refuse(ending->events_left, ending->why, err);
    pthread_mutex_unlock(&ending->lock);
    return rc;
}
