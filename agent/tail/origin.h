/* SPDX-License-Identifier: Apache-2.0
 *
 * origin.h: whether a file that is new holds what was taken of another one. Private to
 * agent/tail.
 *
 * place.h says which known texts it may be of. When the file of such a text is still there,
 * it is read: a copy is never more than its original, so what goes on otherwise, or longer,
 * is a text of its own that begins alike, and is taken from its start. Unless it begins with
 * all of the other file, and that is too much to be an accident: then the other is the copy,
 * which was only found first, and this one goes on behind it. The original is
 * believed only as far as its own place still stands in it: one that was truncated
 * meanwhile is looked at first.
 */
#ifndef AGENT_TAIL_ORIGIN_H
#define AGENT_TAIL_ORIGIN_H

#include "agent/tail/files.h"

/* What becomes of a file. */
enum origin {
    ORIGIN_NONE,   /* a text of its own */
    ORIGIN_WAIT,   /* to be looked at again: look_at_ms is set */
    ORIGIN_COPY,   /* the other gives what it holds, or was taken that far */
    ORIGIN_BEHIND, /* the other gives no more: it goes on behind the other's place */
    ORIGIN_FAULTY, /* it does not read: errno */
};

/* Of an open plain file whose first bytes are `head`. *original is the other one, of which
 * it is a copy, or behind which it goes on. */
enum origin origin_of_plain(struct files *files, struct tail_file *file, struct slice head,
                            int64_t now_ms, struct tail_file **original);

enum origin_sameness {
    SAMENESS_UNKNOWN, /* the original does not read, or is not what it was */
    SAMENESS_YES,
    SAMENESS_NO,
};
/* Whether `text`, which stands at `from`, stands there in the original too, and no less. */
enum origin_sameness origin_compare(struct files *files, struct tail_file *original,
                                    struct slice text, uint64_t from);

/* All of it was taken, and is too much to stand in another file by accident. */
bool origin_is_whole(const struct tail_file *original);

/* Of texts that can't be read at will: the place furthest on, below `below`, that a text
 * with such a beginning may belong to; NULL: none. *shorter: the text ends before it. */
struct tail_file *origin_find(struct files *files, const struct tail_file *file,
                              const struct place_head *head, uint64_t len, uint64_t below,
                              bool *shorter);
/* Of those at the same offset the one whose edge stands; one that gives more comes first. */
struct tail_file *origin_find_at(struct files *files, const struct tail_file *file,
                                 const struct place_head *head, uint64_t offset, struct slice edge);

#endif
