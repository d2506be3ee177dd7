/* SPDX-License-Identifier: Apache-2.0
 *
 * s3.h: what the files of the S3 store share.
 */
#ifndef LIB_OBJSTORE_S3_H
#define LIB_OBJSTORE_S3_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/aws/aws.h"
#include "lib/base/clock.h"
#include "lib/http_client/http_client.h"
#include "lib/objstore/s3_error.h"
#include "lib/objstore/s3_url.h"
#include "lib/objstore/store.h"

enum {
    S3_ANSWER_BYTES_MAX = 8 << 20, /* of XML: a page of 1,000 keys has 2 MiB at most */
    S3_REQUEST_FIELDS_MAX = 8,
    S3_LOANS_MAX = 1024,
};

struct s3_loan; /* s3_loan.c */

struct s3_store {
    struct s3_place place;
    enum s3_style style;
    struct aws_endpoint endpoint;
    char *sse_field; /* "x-amz-server-side-encryption: ..."; NULL: the bucket's own way */
    char *kms_field;
    uint64_t part_bytes;
    unsigned concurrency;
    const struct clock *clock;
    struct throttle *throttle; /* each request has a place in it */
    struct http_client *http;
    struct aws_provider *provider; /* of the store's own */
    atomic_bool copies_unasked;    /* the store knows no condition of a copy */
    atomic_llong sweep_at_ms;      /* monotonic: the next s3_sweep */

    pthread_mutex_t lock;
    /* guarded by lock */
    char region[AWS_REGION_SIZE]; /* "": not found out yet */
    int64_t clock_offset_ms;      /* the store's clock against ours, once it was seen to matter */
    size_t loan_count;
    struct s3_loan **loans; /* none goes before the store is closed */
};

/* One request. `name` is the operation's, and with "s3:" before it (or `right`) the right that
 * it takes. */
struct s3_request {
    const char *name;
    const char *right; /* NULL: as the name */
    const char *method;
    const char *key;   /* below the prefix; NULL: the bucket itself */
    const char *scope; /* where the key is NULL: a key or prefix that it is about, or NULL */
    const char *query; /* as it goes out; NULL: none */
    const char *fields[S3_REQUEST_FIELDS_MAX];
    size_t field_count;
    struct slice body;
    const struct http_client_source *source; /* instead of body */
    const char *source_hash;                 /* SHA-256 of it, hex: where the wire is plain */
    size_t answer_bytes_max;                 /* 0: S3_ANSWER_BYTES_MAX */
    throttle_look *look; /* NULL: none; asked while the request waits for its place */
    void *look_context;
    /* The root of a success's body; NULL: the status says it all. Where the store works long it
     * sends 200 first: an <Error> may follow, or nothing. */
    const char *result;
};

struct s3_answer {
    struct http_reply reply;
    struct s3_problem problem; /* of one that isn't a success */
};

/* Signs, sends and judges, once it has a place in the throttle. OK: the status is a success. Any
 * other one is an error: its cause is the status, and `out` has what came. A wrong region, a clock
 * that is off and credentials that ran out are put right, and the request sent anew, each once. */
int s3_send(struct s3_store *store, const struct s3_request *request, struct s3_answer *out,
            struct error *err) MUST_USE;
void s3_answer_free(struct s3_answer *answer);
/* Whether that answer says "no such object". */
bool s3_says_absent(const struct s3_answer *answer);
/* Nothing hides the wire: bodies are signed by their SHA-256. */
bool s3_is_plain(const struct s3_store *store);

/* "x-amz-checksum-crc32c: ..." */
enum { S3_CRC_FIELD_SIZE = 40 };
void s3_crc_field(uint32_t crc32c, char out[S3_CRC_FIELD_SIZE]);
/* Of an answer, for the whole object; false: none, or one that is made of parts'. */
bool s3_crc_read(struct slice text, uint32_t *out);

/* Whose credentials a request about this key goes by: those of the longest prefix that was lent
 * for, else the store's own. NULL: about no key. */
struct aws_provider *s3_provider_find(struct s3_store *store, const char *key);

/* objstore_ops' own. */
extern const char *const s3_borrows[];
int s3_lend(void *impl, const struct objstore_loan *loan, struct error *err) MUST_USE;
void s3_loans_free(struct s3_store *store);

/* How the store is to encrypt what is written. */
void s3_sse_fields(const struct s3_store *store, struct s3_request *request);

/* Puts a body: in one request, or in parts where it is large. */
int s3_put_body(struct s3_store *store, const char *key, const struct objstore_body *body,
                uint32_t crc32c, enum put_condition condition, struct error *err) MUST_USE;
/* DeleteObjects; *known false: it isn't known here, and nothing was removed. */
int s3_remove_many(struct s3_store *store, const char *const *keys, size_t count, bool *known,
                   struct error *err) MUST_USE;
/* For objects that are too large for one request. */
int s3_copy_parts(struct s3_store *store, const char *from, const char *to,
                  const struct objstore_info *info, enum put_condition condition,
                  struct error *err) MUST_USE;
int s3_head(struct s3_store *store, const char *key, struct objstore_info *out,
            struct error *err) MUST_USE;

/* How a body is cut: all parts have part_bytes but for the last. */
enum { S3_PARTS_MAX = 10000, S3_PART_BYTES_MIN = 5 << 20 };
#define S3_SINGLE_BYTES_MAX (UINT64_C(5) << 30)
struct s3_plan {
    uint64_t part_bytes;
    size_t count;
};
/* part_bytes: as configured. */
struct s3_plan s3_plan_parts(uint64_t size, uint64_t part_bytes);

#endif
