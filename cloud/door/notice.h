/* SPDX-License-Identifier: Apache-2.0
 *
 * notice.h: what stores and their messengers send when an object came, read down to bucket and
 * key, and from there to the table in whose inbox the object lies. A notice is only a hint to look:
 * what is in the inbox counts, not what a notice says.
 *
 * Known are S3's event notification (Records[].s3), as it is or within SQS's and SNS's (also as
 * a Lambda gets them), EventBridge's "Object Created", GCS's by Pub/Sub push (message.attributes)
 * and as CloudEvents (the object's resource, alone or as `data`). Keys of S3's own form are
 * form-encoded, all others plain. Webhooks of MinIO and Versity's gateway have S3's form.
 *
 * Pure: no I/O. Bounds: NOTICE_OBJECTS_MAX objects (more are left out), three wrappings,
 * NOTICE_VALUES_MAX values, which are some 15 MiB as a document. A record of S3 has thirty.
 */
#ifndef CLOUD_DOOR_NOTICE_H
#define CLOUD_DOOR_NOTICE_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/base/error.h"
#include "lib/base/slice.h"

enum { NOTICE_OBJECTS_MAX = 10000, NOTICE_BYTES_MAX = 1 << 20, NOTICE_VALUES_MAX = 1 << 16 };

struct notice_object {
    char *bucket;
    char *key;
};

struct notice {
    size_t count;
    struct notice_object *objects;
    char *confirm_url; /* SNS asks whether it may send: somebody must open this; NULL: no */
};

/* ERROR_INPUT: no JSON, or of none of these shapes; ERROR_LIMIT: too much of it. One of these
 * shapes about something else (a test event, an object removed) has no objects. */
int notice_decode(struct notice *out, struct slice body, struct error *err) MUST_USE;
void notice_free(struct notice *notice);

struct notice_place {
    const char *warehouse; /* URL; one that is in no bucket ("file:") has no notices */
    const char *const *tables;
    size_t table_count;
};
/* Sets wanted[] for each table: whether an object came into its inbox. True: into any. */
bool notice_tables(const struct notice *notice, const struct notice_place *place, bool *wanted);

#endif
