/* SPDX-License-Identifier: Apache-2.0
 *
 * room.h: bounded memory for what connections brought and what is not durable yet: lines that
 * are not whole, above all. Private to agent/source.
 *
 * A guest asks before it reads. While all of them keep less than `bytes_max` each may; beyond
 * that they wait in a queue, except one, the favoured, who may read on until its line is whole:
 * so one line can always be finished, and with it goes what it kept. Guests who keep something
 * and bring nothing are found by room_is_late, for the owner to send away while others wait.
 *
 * Bound    bytes_max, and what the favoured keeps.
 * Threads  one.
 */
#ifndef AGENT_SOURCE_ROOM_H
#define AGENT_SOURCE_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct room_guest { /* all zero keeps nothing */
    struct room_guest *next;
    bool waits;
    size_t bytes;     /* kept */
    size_t promised;  /* to be read next */
    int64_t since_ms; /* when it last kept nothing, had less of it taken, or was let in */
};

struct room { /* all zero but for bytes_max is an empty one */
    size_t bytes_max;
    size_t bytes; /* of all guests, kept and promised */
    struct room_guest *favoured;
    struct room_guest *first; /* who waits */
    struct room_guest *last;
};

/* Whether the guest may read `more` bytes now. False: it waits, room_next gives it back. */
bool room_ask(struct room *room, struct room_guest *guest, size_t more);
/* It may only because it is the favoured: it should read no more than its line. */
bool room_is_tight(const struct room *room, const struct room_guest *guest);
/* What it keeps by now. */
void room_keep(struct room *room, struct room_guest *guest, size_t bytes, int64_t now_ms);
/* It goes. */
void room_leave(struct room *room, struct room_guest *guest);
/* The next of those who wait that may read `more` bytes now; NULL: none. */
struct room_guest *room_next(struct room *room, size_t more, int64_t now_ms);
/* Others wait, and what it keeps is older than `max_ms` and not whole yet. */
bool room_is_late(const struct room *room, const struct room_guest *guest, int64_t max_ms,
                  int64_t now_ms);

#endif
