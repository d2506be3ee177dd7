/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/room.h"

#include "lib/base/assert.h"

static bool fits(const struct room *room, size_t more)
{
    return room->bytes <= room->bytes_max && more <= room->bytes_max - room->bytes;
}

bool room_is_tight(const struct room *room, const struct room_guest *guest)
{
    return room->favoured == guest && guest->promised == 0;
}

bool room_ask(struct room *room, struct room_guest *guest, size_t more)
{
    ASSERT(!guest->waits);
    if (guest->promised > 0 || room->favoured == guest)
        return true;
    if (room->first == NULL && fits(room, more))
        return true;
    if (room->first == NULL && room->favoured == NULL) {
        room->favoured = guest;
        return true;
    }
    guest->waits = true;
    guest->next = NULL;
    if (room->last != NULL)
        room->last->next = guest;
    else
        room->first = guest;
    room->last = guest;
    return false;
}

void room_keep(struct room *room, struct room_guest *guest, size_t bytes, int64_t now_ms)
{
    size_t before = guest->bytes + guest->promised;
    ASSERT(room->bytes >= before);
    room->bytes = room->bytes - before + bytes;
    if (guest->bytes == 0 || bytes < guest->bytes)
        guest->since_ms = now_ms;
    guest->bytes = bytes;
    guest->promised = 0;
    if (room->bytes <= room->bytes_max || (room->favoured == guest && bytes == 0))
        room->favoured = NULL;
}

void room_leave(struct room *room, struct room_guest *guest)
{
    struct room_guest *before = NULL;
    struct room_guest *at = guest->waits ? room->first : NULL;
    for (; at != NULL && at != guest; at = at->next)
        before = at;
    ASSERT(!guest->waits || at == guest);
    if (guest->waits && before != NULL)
        before->next = guest->next;
    else if (guest->waits)
        room->first = guest->next;
    if (guest->waits && room->last == guest)
        room->last = before;
    guest->waits = false;
    room_keep(room, guest, 0, 0);
}

struct room_guest *room_next(struct room *room, size_t more, int64_t now_ms)
{
    struct room_guest *guest = room->first;
    bool room_for_all = fits(room, more);
    if (guest == NULL || (!room_for_all && room->favoured != NULL))
        return NULL;
    room->first = guest->next;
    if (room->first == NULL)
        room->last = NULL;
    guest->waits = false;
    guest->since_ms = now_ms;
    if (room_for_all) {
        guest->promised = more;
        room->bytes += more;
    } else {
        room->favoured = guest;
    }
    return guest;
}

bool room_is_late(const struct room *room, const struct room_guest *guest, int64_t max_ms,
                  int64_t now_ms)
{
    return room->first != NULL && !guest->waits && guest->bytes > 0 &&
           now_ms - guest->since_ms >= max_ms;
}
