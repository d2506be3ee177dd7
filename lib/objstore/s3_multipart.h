/* SPDX-License-Identifier: Apache-2.0
 *
 * s3_multipart.h: uploads that were begun and not ended.
 */
#ifndef LIB_OBJSTORE_S3_MULTIPART_H
#define LIB_OBJSTORE_S3_MULTIPART_H

#include "lib/objstore/s3.h"

/* `upload`: its id as it goes into a query. One that isn't there is fine. */
int s3_abort(struct s3_store *store, const char *key, const char *upload,
             struct error *err) MUST_USE;

/* Aborts, once a day, what puts of our data files left more than a day ago: they crashed, or the
 * store could not be reached for an abort. What fails is left to the next one, or to a lifecycle
 * rule of the bucket; so is what is beyond S3_SWEEP_ABORTS_MAX: the put that it precedes waits.
 * `look` is asked before each request: true ends it, as a stop of the store's does. */
enum { S3_SWEEP_ABORTS_MAX = 100 };
void s3_sweep(struct s3_store *store, throttle_look *look, void *look_context);

/* Whether a put of ours could have begun it: "<32 hex digits>-...-<n>.parquet". */
bool s3_is_our_file(const char *key);

#endif
