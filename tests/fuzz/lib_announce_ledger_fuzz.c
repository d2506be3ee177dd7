/* SPDX-License-Identifier: Apache-2.0
 *
 * A ledger from a stranger's bytes: refused, or read; and what was read is written
 * and read again to the same bytes.
 */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "lib/announce/announce.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore(void *context, const char *stream, uint64_t next, int64_t at_ms,
                   const struct lost_range *lost, size_t lost_count)
{
    uint64_t least = 0;
    (void)at_ms;
    ASSERT(ledger_next(context, stream, NULL) == next);
    for (size_t i = 0; i < lost_count; i++) {
        ASSERT(lost[i].from >= least && lost[i].from < lost[i].to && lost[i].to <= next);
        least = lost[i].to;
    }
}

static void try_bytes(struct slice bytes)
{
    struct error err;
    struct ledger *first = NULL;
    struct ledger *second = NULL;
    struct buf once = {0};
    struct buf twice = {0};
    if (ledger_decode(&first, bytes, &err) != OK)
        return;
    ledger_visit_streams(first, ignore, first);
    ledger_encode(first, &once);
    int rc = ledger_decode(&second, buf_slice(&once), &err);
    ASSERT(rc == OK);
    ledger_encode(second, &twice);
    ASSERT(slice_equal(buf_slice(&once), buf_slice(&twice)));
    ledger_retire(second, INT64_MAX);
    ledger_free(first);
    ledger_free(second);
    buf_free(&once);
    buf_free(&twice);
}

/* As it stands, and as the JSON within, which a fuzzer would not find through zstd. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf frame = {0};
    try_bytes(slice_of(data, size));
    size_t room = ZSTD_compressBound(size);
    uint8_t *at = buf_extend(&frame, room);
    frame.len = ZSTD_compress(at, room, data, size, 1);
    try_bytes(buf_slice(&frame));
    buf_free(&frame);
    return 0;
}
