/* SPDX-License-Identifier: Apache-2.0
 *
 * shred.h: from an event's JSON text to row images, driven by a mapping.
 *
 * One pass over the text, no tree, no allocation an event. The whole text is
 * validated by RFC 8259, also where no column looks. An event is one JSON
 * object: valid to its end, no BOM, depth at most 64, at most bytes_max long.
 * Duplicate keys: the last wins whole. Invalid UTF-8 becomes one U+FFFD for each
 * maximal subpart, each unpaired surrogate one. The required column must get a
 * value. Everything else is refused, and nothing of it stays in the batch.
 *
 * Threads: one shredder belongs to one thread; its mapping may be shared.
 */
#ifndef LIB_SHRED_SHRED_H
#define LIB_SHRED_SHRED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"
#include "lib/row/row.h"
#include "lib/schema/mapping.h"

struct shredder;

/* How the text is looked through. Rows and refusals are the same with each. */
enum shred_variant {
    SHRED_BEST, /* of those that this machine has */
    SHRED_PLAIN,
    SHRED_SSE2,
    SHRED_AVX2,
    SHRED_AVX512, /* with VBMI2 */
    SHRED_VARIANT_COUNT
};
bool shred_variant_is_here(enum shred_variant variant);

struct shred_options {
    enum shred_variant variant; /* one that is here: for tests */
    size_t bytes_max;           /* 0: 1 MiB */
    int64_t time_past_us;       /* an event_timestamp further back becomes received_at; 0: off */
    int64_t time_future_us;     /* the same, ahead */
};

/* Where `$` sources come from. A slice with NULL data is null. */
struct shred_context {
    int64_t received_at_us;
    int64_t source_time_us; /* INT64_MIN: the source has none */
    struct slice host;
    struct slice topic;
    struct slice key;
    int64_t partition; /* -1: none */
    int64_t offset;    /* -1: none */
    /* $header.NAME and $query.NAME; NULL: none. data NULL in *out: not there. */
    void (*lookup)(void *context, enum source_kind kind, const char *name, struct slice *out);
    void *lookup_context;
};

/* Row images of many events, and what the spool wants to know of them. */
struct shred_batch {
    struct buf rows;
    uint32_t event_count;
    uint32_t row_count;
    int64_t time_min_us; /* of the schema's time column; INT64_MAX when there is none */
    int64_t time_max_us; /* INT64_MIN */
};
void shred_batch_reset(struct shred_batch *batch);
void shred_batch_free(struct shred_batch *batch);

enum refusal_reason {
    REFUSED_SYNTAX,    /* not RFC 8259 */
    REFUSED_NO_OBJECT, /* valid JSON, but no object; or empty */
    REFUSED_TRAILING,  /* something after the object */
    REFUSED_DEPTH,
    REFUSED_SIZE,
    REFUSED_BOM,
    REFUSED_REQUIRED, /* the required column got no value */
    REFUSED_ROWS,     /* explodes into more than 65,536 rows, or more bytes than fit */
    REFUSED_REASON_COUNT
};
const char *refusal_reason_name(enum refusal_reason reason); /* "syntax", "no_object", ... */

struct refusal {
    enum refusal_reason reason;
    uint32_t line;   /* within the event's text, from 1 */
    uint32_t column; /* bytes, from 1 */
    char text[160];  /* "expected ':' after a key"; never the event's own content */
};

int shredder_open(struct shredder **out, const struct mapping *mapping,
                  const struct shred_options *options, struct error *err) MUST_USE;
void shredder_close(struct shredder *shredder);
const struct row_layout *shredder_layout_borrow(const struct shredder *shredder);

/* True: the event's rows are in the batch, as event number batch->event_count
 * before the call. False: refused, the batch is as before. */
bool shredder_event(struct shredder *shredder, struct slice json,
                    const struct shred_context *context, struct shred_batch *batch,
                    struct refusal *refusal) MUST_USE;

/* Counted since open; borrowed until close. */
struct shred_statistics {
    uint64_t event_count;
    uint64_t row_count;
    uint64_t refused[REFUSED_REASON_COUNT];
    uint64_t *coerced_to_null; /* by column: a value was there and became null */
    uint64_t replaced_utf8;    /* U+FFFD written */
    uint64_t clamped_time;     /* event_timestamp out of bounds, became received_at */
    uint64_t unmapped_fields;  /* with unmapped: count */
    uint64_t duplicate_keys;
};
const struct shred_statistics *shredder_statistics_borrow(const struct shredder *shredder);

#endif
