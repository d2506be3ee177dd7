/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tail/origin.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    DOUBT_MS = 3000, /* a rotator that adds a line to its copy has truncated by then */
    AGAIN_MS = 1000,
    AGAIN_COMPRESSED_MS = 10000,
    PIECE = 4096,
    ACCIDENT_LINES = 4, /* fewer may be a header, or what a program says first */
};

/* As many bytes as there are, up to `len`; -1: errno. */
static ssize_t read_bytes(int fd, uint8_t *to, size_t len, uint64_t offset)
{
    size_t have = 0;
    while (have < len) {
        ssize_t got = pread(fd, to + have, len - have, (off_t)(offset + have));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static bool is_candidate(const struct tail_file *at, const struct tail_file *file)
{
    return at->place.offset > 0 && (at->device != file->device || at->inode != file->inode);
}

/* Of two places as far the one whose file still gives the rest. */
static bool is_better(const struct tail_file *at, const struct tail_file *best)
{
    return best == NULL || at->place.offset > best->place.offset ||
           (at->place.offset == best->place.offset && tail_file_gives(at) &&
            !tail_file_gives(best));
}

struct tail_file *origin_find(struct files *files, const struct tail_file *file,
                              const struct place_head *head, uint64_t len, uint64_t below,
                              bool *shorter)
{
    struct tail_file *best = NULL;
    *shorter = false;
    for (struct tail_file *at = files->all; at != NULL; at = at->next) {
        if (!is_candidate(at, file) || at->place.offset >= below || !is_better(at, best))
            continue;
        enum place_likeness likeness = place_compare(&at->place, head, len);
        if (likeness != PLACE_SHORTER && likeness != PLACE_ALIKE)
            continue;
        best = at;
        *shorter = likeness == PLACE_SHORTER;
    }
    return best;
}

struct tail_file *origin_find_at(struct files *files, const struct tail_file *file,
                                 const struct place_head *head, uint64_t offset, struct slice edge)
{
    struct tail_file *best = NULL;
    for (struct tail_file *at = files->all; at != NULL; at = at->next) {
        if (is_candidate(at, file) && at->place.offset == offset && is_better(at, best) &&
            place_compare(&at->place, head, offset) == PLACE_ALIKE &&
            place_edge_is(&at->place, edge))
            best = at;
    }
    return best;
}

/* ---- files that are both there ---- */

/* The original's own descriptor, or one for the moment. -1: it can't be opened. */
static int open_original(const struct tail_file *original)
{
    struct stat info;
    if (original->fd >= 0)
        return original->fd;
    if (original->path == NULL)
        return -1;
    int fd = open(original->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd >= 0 && (fstat(fd, &info) < 0 || info.st_dev != original->device ||
                    info.st_ino != original->inode)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static bool stands(int fd, const struct tail_file *file)
{
    const struct tail_place *place = &file->place;
    uint8_t edge[PLACE_EDGE];
    size_t len = place_edge_len(place);
    ssize_t got = read_bytes(fd, edge, len, file->hole + place->offset - len);
    return got >= 0 && place_edge_is(place, slice_of(edge, (size_t)got));
}

bool origin_is_whole(const struct tail_file *original)
{
    const struct tail_place *place = &original->place;
    return (place->offset >= PLACE_EDGE || place->at.line >= ACCIDENT_LINES) &&
           place->offset == tail_file_text_size(original);
}

enum origin_sameness origin_compare(struct files *files, struct tail_file *original,
                                    struct slice text, uint64_t from)
{
    uint8_t piece[PIECE];
    enum origin_sameness same = SAMENESS_YES;
    int fd = original->compressed ? -1 : open_original(original);
    if (fd < 0)
        return SAMENESS_UNKNOWN;
    for (size_t at = 0; at < text.len && same == SAMENESS_YES;) {
        size_t len = text.len - at < PIECE ? text.len - at : PIECE;
        ssize_t got = read_bytes(fd, piece, len, original->hole + from + at);
        if (got < 0)
            same = SAMENESS_UNKNOWN;
        else if ((size_t)got < len || memcmp(piece, text.data + at, len) != 0)
            same = SAMENESS_NO;
        at += len;
    }
    /* Only now: it may be truncated at any time. */
    if (!stands(fd, original)) {
        same = SAMENESS_UNKNOWN;
        files_queue(files, original);
    }
    if (fd != original->fd)
        close(fd);
    return same;
}

/* What stands behind the place in both, and what the file ends with. */
static enum origin_sameness compare_plain(struct files *files, const struct tail_file *file,
                                          struct tail_file *original)
{
    uint8_t piece[PIECE];
    uint64_t end = tail_file_text_size(file);
    uint64_t behind = original->place.offset < end ? original->place.offset : end;
    uint64_t from[] = {behind, end < PLACE_EDGE ? 0 : end - PLACE_EDGE};
    enum origin_sameness same = SAMENESS_YES;
    for (size_t i = 0; i < 2 && same == SAMENESS_YES; i++) {
        size_t len = end - from[i] < PIECE ? (size_t)(end - from[i]) : PIECE;
        ssize_t got = read_bytes(file->fd, piece, len, file->hole + from[i]);
        same = got == (ssize_t)len ? origin_compare(files, original, slice_of(piece, len), from[i])
                                   : SAMENESS_UNKNOWN; /* it changes just now */
    }
    return same;
}

/* ---- whose it is ---- */

struct search {
    struct tail_file *best;
    bool unknown;   /* of the best: what it is shows later */
    bool shorter;   /* than the best's place */
    bool longer;    /* than all of the best's file */
    bool doubtful;  /* another begins alike and goes on otherwise */
    bool not_known; /* too short to be told from another */
};

/* False: the file does not read. */
static bool try_one(struct files *files, const struct tail_file *file,
                    const struct place_head *head, struct tail_file *at, struct search *search)
{
    uint8_t edge[PLACE_EDGE];
    enum origin_sameness same = SAMENESS_YES;
    enum place_likeness likeness = place_compare(&at->place, head, tail_file_text_size(file));
    search->not_known = search->not_known || likeness == PLACE_NOT_KNOWN;
    if (likeness == PLACE_ALIKE && is_better(at, search->best)) {
        size_t len = place_edge_len(&at->place);
        ssize_t got = read_bytes(file->fd, edge, len, file->hole + at->place.offset - len);
        if (got < 0)
            return false;
        if (!place_edge_is(&at->place, slice_of(edge, (size_t)got)))
            return true;
    } else if (likeness != PLACE_SHORTER || !is_better(at, search->best)) {
        return true;
    }
    if (tail_file_gives(at))
        same = compare_plain(files, file, at);
    /* One that lost its name may have been replaced by what goes on behind it. */
    bool longer = same == SAMENESS_NO && likeness == PLACE_ALIKE && origin_is_whole(at);
    if (same == SAMENESS_NO && !longer && (at->gone_at_ms == 0 || likeness == PLACE_SHORTER)) {
        search->doubtful = true;
        return true;
    }
    search->best = at;
    search->unknown = same != SAMENESS_YES;
    search->shorter = likeness == PLACE_SHORTER;
    search->longer = longer && at->gone_at_ms == 0;
    return true;
}

/* What goes on otherwise or is too short gets a moment: the other may follow. */
static enum origin decide(const struct search *search, struct tail_file *file, int64_t now_ms)
{
    bool doubtful = search->doubtful || search->longer;
    if (doubtful && file->doubt_at_ms == 0)
        file->doubt_at_ms = now_ms;
    int64_t until_ms = 0;
    if (doubtful)
        until_ms = file->doubt_at_ms + DOUBT_MS;
    if (search->not_known && file->changed_at_ms + DOUBT_MS > until_ms)
        until_ms = file->changed_at_ms + DOUBT_MS;
    if (now_ms >= until_ms)
        return search->longer ? ORIGIN_BEHIND : ORIGIN_NONE;
    file->look_at_ms = until_ms;
    return ORIGIN_WAIT;
}

enum origin origin_of_plain(struct files *files, struct tail_file *file, struct slice head,
                            int64_t now_ms, struct tail_file **original)
{
    struct place_head sums = {0};
    struct search search = {0};
    place_head_add(&sums, head);
    for (struct tail_file *at = files->all; at != NULL; at = at->next) {
        if (is_candidate(at, file) && !try_one(files, file, &sums, at, &search))
            return ORIGIN_FAULTY;
    }
    *original = search.best;
    if (search.best == NULL || (search.longer && !search.best->held))
        return decide(&search, file, now_ms);
    bool gives = tail_file_gives(search.best);
    if (search.unknown)
        file->look_at_ms = now_ms + (search.best->compressed ? AGAIN_COMPRESSED_MS : AGAIN_MS);
    if (search.shorter || (gives && !search.longer))
        return ORIGIN_COPY;
    if (!search.best->held)
        return ORIGIN_BEHIND;
    file->look_at_ms = now_ms; /* another copy follows it just now */
    return ORIGIN_WAIT;
}
