/* SPDX-License-Identifier: Apache-2.0
 *
 * objstore.h: one interface to object stores: file:// (the embedded default),
 * s3://, memory: (tests, with injected faults), later gs://.
 *
 * A store is opened on a warehouse URL; keys are relative to it ("_bidlake/...",
 * "db/bid_requests/data/..."), without a leading slash, without "." or ".."
 * segments, up to 900 bytes; others are ERROR_INPUT.
 *
 * Durability  a put that returned OK survives a power cut, whole or not at all;
 *             a reader never sees half an object. One that was put with
 *             PUT_UNSYNCED does so once an objstore_sync behind it returned OK.
 * Errors      ERROR_RETRY: transient or unknown: a put may have been applied.
 *             ERROR_CONFLICT: PUT_IF_ABSENT and the key exists. With the cause ETIMEDOUT
 *             no answer came, and the key exists now: by this very put, maybe.
 *             ERROR_DENIED, ERROR_INPUT, ERROR_IO, ERROR_LIMIT as in error.h.
 *             "Not found" is no error: info.found says it.
 *             No call retries by itself but objstore_each, and a put the parts of its
 *             upload: the loop that decides does, not before err->retry_after_ms have passed.
 * Waits       those two wait in place, also for a time that the store names (half a minute
 *             at a time at most); any request to a store in a cloud waits while too many are
 *             under way. options->stop and a body's pace end both within a second, and
 *             options->stop a request that hangs within a few.
 * Threads     any number of threads may use one store.
 */
#ifndef LIB_OBJSTORE_OBJSTORE_H
#define LIB_OBJSTORE_OBJSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum { OBJSTORE_KEY_MAX = 900, OBJSTORE_REMOVE_MAX = 1000 };

struct objstore;
struct throttle;

enum put_condition {
    PUT_ALWAYS,
    PUT_IF_ABSENT, /* fails with ERROR_CONFLICT when the key exists */
    /* Beside either of them (|): until the next objstore_sync a power cut may leave of it
     * the old bytes, the new ones, some of them or none. For hints, which anybody may lose,
     * and for many objects that one sync then makes durable. Stores in a cloud don't care. */
    PUT_UNSYNCED = 2,
};

/* Body: `file` (a path, read from offset 0 for `file_size` bytes; large ones go in
 * parts) or, when NULL, `bytes`.
 *
 * A store calls `pace` (NULL: never) before it sends so many bytes more of the body, also when it
 * sends them again, and with 0 bytes some times a second while it waits to be let on by the store;
 * an error ends the put, in the first case with it. One that may wait there, for the sake of others
 * on the network, says so by `pace_waits`, and is called by the putting thread alone; else it may
 * be called by several threads at once, which end before the put does. */
struct objstore_body {
    struct slice bytes;
    const char *file;
    uint64_t file_size;
    int (*pace)(void *context, size_t bytes, struct error *err);
    void *pace_context;
    bool pace_waits;
    size_t pace_bytes_max; /* of one call of it; 0: what suits the store. The file store asks for
                            * `bytes` at once, whatever this says. */
};

struct objstore_info {
    bool found;
    uint64_t size;
    bool has_crc32c;
    uint32_t crc32c;       /* of the object as the store holds it, not as somebody said */
    int64_t modified_ms;   /* by the store's clock */
    int64_t store_time_ms; /* the store's clock at the answer (HTTP Date) */
};

/* Keys in ascending byte order; one page. Free with objstore_list_free. */
struct objstore_entry {
    char *key;
    uint64_t size;
    int64_t modified_ms;
};
struct objstore_list {
    size_t count;
    struct objstore_entry *entries;
    bool more; /* ask again with `after` = the last key */
};

/* Credentials as a catalog lends them, by Iceberg's names for them ("s3.access-key-id",
 * "gcs.oauth2.token"): each store takes those that it knows. All zero is empty. */
struct objstore_property {
    char *name;
    char *value;
};
struct objstore_lent {
    size_t count;
    struct objstore_property *properties;
    int64_t expires_ms; /* epoch; 0: they don't say */
};
/* Both are copied. */
void objstore_lent_add(struct objstore_lent *lent, const char *name, const char *value);
/* NULL: there is none, or it is "". */
const char *objstore_lent_find(const struct objstore_lent *lent, const char *name);
void objstore_lent_free(struct objstore_lent *lent); /* wipes the values */

/* Where credentials for a part of a store come from. */
struct objstore_loan {
    const char *prefix; /* of keys: "db/clicks/" */
    /* Gives others than it gave before, into what is empty; `out` is to be freed after an error,
     * too. Called by one thread of a prefix at a time. */
    int (*take)(void *context, struct objstore_lent *out, struct error *err);
    void *context; /* the caller's, for as long as the store is used */
};

/* One table a store; a member may block on disk or network. */
struct objstore_ops {
    const char *scheme;
    /* crc32c: of the whole body; the store verifies it where it can. */
    int (*put)(void *impl, const char *key, const struct objstore_body *body, uint32_t crc32c,
               enum put_condition condition, struct error *err);
    int (*head)(void *impl, const char *key, struct objstore_info *out, struct error *err);
    /* Appends the object to `out`; longer than bytes_max is ERROR_LIMIT. A range
     * begins at `offset` (negative: that many bytes from the end) and has at most
     * `len` bytes (0: to the end). */
    int (*get)(void *impl, const char *key, int64_t offset, uint64_t len, size_t bytes_max,
               struct buf *out, struct objstore_info *info, struct error *err);
    int (*list)(void *impl, const char *prefix, const char *after, size_t count_max,
                struct objstore_list *out, struct error *err);
    /* Of a key that isn't there: OK. */
    int (*remove)(void *impl, const char *key, struct error *err);
    /* The same for up to OBJSTORE_REMOVE_MAX of them in one request. *known false: the store takes
     * no such request, they are to be removed one by one. NULL: it never does. */
    int (*remove_many)(void *impl, const char *const *keys, size_t count, bool *known,
                       struct error *err);
    int (*copy)(void *impl, const char *from, const char *to, enum put_condition condition,
                struct error *err);
    /* NULL: whatever was put is durable. */
    int (*sync)(void *impl, struct error *err);
    /* NULL: nothing is left behind when the last object goes. */
    int (*tidy)(void *impl, const char *prefix, int64_t age_ms, struct error *err);
    /* What must be among lent credentials for this store to work by them, NULL behind it.
     * NULL, as `lend`: the store takes none. */
    const char *const *borrows;
    int (*lend)(void *impl, const struct objstore_loan *loan, struct error *err);
    /* Borrowed: what bounds the requests to a store in a cloud. NULL: it is none. */
    struct throttle *(*throttle)(void *impl);
    void (*close)(void *impl);
};

/* Of s3://; NULL and "" are what isn't set. s3_options.def has a row for each. */
struct objstore_s3 {
    const char *region;     /* else AWS_REGION and so on; another store than Amazon's: us-east-1 */
    const char *endpoint;   /* "https://host[:port]"; else AWS_ENDPOINT_URL_S3, Amazon's */
    const char *path_style; /* "auto", "yes", "no" */
    const char *profile;    /* of the shared files of AWS; else its SDKs' chain */
    const char *ca_file;    /* authorities to trust; else AWS_CA_BUNDLE, the system's */
    const char *proxy;      /* else https_proxy and so on */
    const char *sse;        /* "AES256", "aws:kms", "aws:kms:dsse" */
    const char *kms_key_id;
    int64_t part_bytes;  /* 0: 16 MiB; a body beyond two of them goes in parts */
    int64_t concurrency; /* 0: 4 parts at a time */
    const char *(*getenv)(const char *name); /* NULL: libc's; for tests */
};

struct objstore_options {
    const struct clock *clock; /* NULL: the system's */
    unsigned parallel;         /* of objstore_each; 0: 32 for s3://, else one after the other */
    /* Asked by any thread; true for a while, or for good. NULL: never. Over a store in a cloud it
     * ends with ERROR_RETRY what waits because the store wants it to (asked five times a second at
     * least), and a request that hangs for five seconds more, or for one once another did: it may
     * have been applied. What moves on goes on. */
    bool (*stop)(void *context);
    void *stop_context;
    const struct objstore_s3 *s3;
};

/* By URL: "file:///abs/dir" or a plain path (made absolute), "s3://bucket/prefix", "memory:".
 * The directory of a file store is made when it isn't there; a store in a cloud is asked
 * nothing yet. */
int objstore_open(struct objstore **out, const char *url, const struct objstore_options *options,
                  struct error *err) MUST_USE;
/* Over an implementation of the caller's own, with the URL it answers to. */
struct objstore *objstore_wrap(const struct objstore_ops *ops, void *impl, const char *url);
void objstore_close(struct objstore *store);

/* Without a trailing slash: "file:///abs/dir". */
const char *objstore_url_borrow(const struct objstore *store);
/* The absolute URL of a key, as tables name their files. */
void objstore_url_of(const struct objstore *store, const char *key, struct buf *out);
/* The key of an absolute URL below the warehouse; false when it lies elsewhere.
 * file:/x, file:///x and /x are the same place; so are s3://, s3a:// and s3n://. */
bool objstore_key_of(const struct objstore *store, const char *url,
                     char out[OBJSTORE_KEY_MAX + 1]) MUST_USE;

int objstore_put(struct objstore *store, const char *key, const struct objstore_body *body,
                 uint32_t crc32c, enum put_condition condition, struct error *err) MUST_USE;
/* The same for bytes in memory; computes the checksum. */
int objstore_put_bytes(struct objstore *store, const char *key, struct slice bytes,
                       enum put_condition condition, struct error *err) MUST_USE;
int objstore_head(struct objstore *store, const char *key, struct objstore_info *out,
                  struct error *err) MUST_USE;
int objstore_get(struct objstore *store, const char *key, size_t bytes_max, struct buf *out,
                 struct objstore_info *info, struct error *err) MUST_USE;
int objstore_get_range(struct objstore *store, const char *key, int64_t offset, uint64_t len,
                       struct buf *out, struct objstore_info *info, struct error *err) MUST_USE;
int objstore_list(struct objstore *store, const char *prefix, const char *after, size_t count_max,
                  struct objstore_list *out, struct error *err) MUST_USE;
void objstore_list_free(struct objstore_list *list);
int objstore_remove(struct objstore *store, const char *key, struct error *err) MUST_USE;
int objstore_copy(struct objstore *store, const char *from, const char *to,
                  enum put_condition condition, struct error *err) MUST_USE;
/* Removes them in as few requests as the store takes. Of keys that aren't there: OK. After an
 * error any of them may be gone. */
int objstore_remove_many(struct objstore *store, const char *const *keys, size_t count,
                         struct error *err) MUST_USE;

/* Calls one(context, i) for each i below count, as many at a time as the store was opened for,
 * to keep requests under way where each takes long: `one` works on the store and on what is
 * i's alone. Returns when all are done. The first that fails ends it (others may have been
 * done by then): its error is returned. Over a store in a cloud one that fails by ERROR_RETRY is
 * called up to three times more, within seconds, and up to seven times more where the store says
 * "slow down" (503, 429), after the time that it names but half a minute each at most: so it must
 * bear that. Such a store is asked by fewer at a time from then on. Over a store of the caller's
 * own: in order, by the calling thread. */
typedef int objstore_one(void *context, size_t index, struct error *err);
int objstore_each(struct objstore *store, size_t count, objstore_one *one, void *context,
                  struct error *err) MUST_USE;

/* The names of the properties, NULL behind them, without which what is lent is nothing to this
 * store. NULL: it takes no credentials. */
const char *const *objstore_borrows(const struct objstore *store);
/* What is asked about keys below loan->prefix goes from now on with what is lent, not with the
 * store's own credentials; of several prefixes the longest counts. A prefix that was lent for
 * already stays as it is. */
int objstore_lend(struct objstore *store, const struct objstore_loan *loan,
                  struct error *err) MUST_USE;

/* Makes durable whatever was put, copied or found to exist with PUT_UNSYNCED before. It may
 * wait for what others wrote to the same disk: for a few objects plain puts are cheaper. */
int objstore_sync(struct objstore *store, struct error *err) MUST_USE;

/* Removes what a store keeps below `prefix` (to a slash) for objects that are gone: empty
 * directories unchanged for age_ms. A put that meets it is ERROR_RETRY. */
int objstore_tidy(struct objstore *store, const char *prefix, int64_t age_ms,
                  struct error *err) MUST_USE;

/* Puts `key` twice with PUT_IF_ABSENT and removes it: ERROR_INPUT when the store
 * lets the second one through (there a name could come to stand for other bytes). */
int objstore_probe(struct objstore *store, const char *key, struct error *err) MUST_USE;

#endif
