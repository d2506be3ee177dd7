/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "agent/source/room.h"

enum { GUESTS = 40, READ = 64, LINE = 1000, ROOM = 3000, LATE = 100 };

struct sender {
    struct room_guest guest;
    size_t sent; /* of its line */
    size_t lines;
};

/* The owner's part: what a guest brings is kept until its line is whole. */
static void bring(struct room *room, struct sender *sender, int64_t now_ms)
{
    size_t more = READ;
    if (sender->guest.waits || !room_ask(room, &sender->guest, READ))
        return;
    if (room_is_tight(room, &sender->guest) && more > LINE - sender->sent)
        more = LINE - sender->sent;
    sender->sent += more;
    if (sender->sent >= LINE) {
        sender->sent -= LINE;
        sender->lines++;
    }
    room_keep(room, &sender->guest, sender->sent, now_ms);
}

/* All of them begin a line at once, and there is room for three: each comes to its end all the
 * same, and never is more kept than the bound and one line. */
static void every_line_can_end(void **state)
{
    (void)state;
    struct room room = {.bytes_max = ROOM};
    static struct sender senders[GUESTS];
    size_t most = 0;
    size_t least = 0;
    for (int64_t now_ms = 0; least < 3; now_ms++) {
        assert_in_range(now_ms, 0, 100000);
        for (size_t i = 0; i < GUESTS; i++) {
            bring(&room, &senders[i], now_ms);
            while (room_next(&room, READ, now_ms) != NULL)
                ;
        }
        size_t kept = 0;
        least = SIZE_MAX;
        for (size_t i = 0; i < GUESTS; i++) {
            kept += senders[i].guest.bytes;
            least = senders[i].lines < least ? senders[i].lines : least;
        }
        most = kept > most ? kept : most;
    }
    assert_in_range(most, ROOM - LINE, ROOM + LINE);
    for (size_t i = 0; i < GUESTS; i++)
        room_leave(&room, &senders[i].guest);
    assert_int_equal(room.bytes, 0);
    assert_null(room.first);
    assert_null(room.last);
    assert_null(room.favoured);
}

/* Who keeps the room and brings nothing would stop all others for ever. Who waits does not grow
 * late by it. */
static void who_holds_the_room_grows_late(void **state)
{
    (void)state;
    struct room room = {.bytes_max = 100};
    struct room_guest holder = {0};
    struct room_guest favoured = {0};
    struct room_guest waits[2] = {0};
    assert_true(room_ask(&room, &holder, 100));
    room_keep(&room, &holder, 100, 1000);
    assert_false(room_is_late(&room, &holder, LATE, 1000 + LATE)); /* nobody is in want */
    assert_true(room_ask(&room, &favoured, 50));
    assert_true(room_is_tight(&room, &favoured));
    room_keep(&room, &favoured, 50, 1050);
    for (size_t i = 0; i < 2; i++)
        assert_false(room_ask(&room, &waits[i], 50));
    assert_null(room_next(&room, 50, 1060));
    assert_false(room_is_late(&room, &holder, LATE, 999 + LATE));
    assert_true(room_is_late(&room, &holder, LATE, 1000 + LATE));
    assert_false(room_is_late(&room, &favoured, LATE, 1000 + LATE));
    assert_false(room_is_late(&room, &waits[0], LATE, 100000));
    room_leave(&room, &waits[0]);
    room_leave(&room, &holder);
    assert_ptr_equal(room_next(&room, 50, 1100), &waits[1]);
    assert_null(room.favoured); /* it fits by now */
    assert_false(room_is_tight(&room, &waits[1]));
    assert_int_equal(room.bytes, 100);
    assert_null(room_next(&room, 50, 1100));
    room_leave(&room, &waits[1]);
    room_leave(&room, &favoured);
    assert_int_equal(room.bytes, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_can_end),
        cmocka_unit_test(who_holds_the_room_grows_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
