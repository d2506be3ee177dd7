/* SPDX-License-Identifier: Apache-2.0
 *
 * json.h: jansson with bounds and with errors that name the place.
 *
 * For documents (announcements, ledgers, table metadata), never for events: those
 * are shredded from text (lib/shred). Integers are 64 bit; a number that was written
 * as a real never passes as an integer.
 */
#ifndef LIB_JSON_JSON_H
#define LIB_JSON_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

/* A whole document; trailing bytes, duplicate keys and nesting beyond 2,048 are
 * ERROR_INPUT with line and column. The caller owns *out. */
int json_decode(json_t **out, struct slice bytes, struct error *err) MUST_USE;

/* Compact, keys in the order they were set. */
void json_encode(const json_t *value, struct buf *out);
/* A string alone, in quotes, RFC 8259 section 7. Bytes that are no UTF-8 stay as they are:
 * for texts that only our own shredder reads, which mends them. */
void json_put_string(struct buf *out, struct slice text);
/* The same with sorted keys, so that equal values give equal bytes. */
void json_encode_sorted(const json_t *value, struct buf *out);

/* Typed members of an object. `what` names the object in messages ("snapshot"). A
 * member that is absent, null or of another type is ERROR_INPUT. Results are borrowed. */
int json_get_string(const json_t *object, const char *what, const char *key, const char **out,
                    struct error *err) MUST_USE;
int json_get_i64(const json_t *object, const char *what, const char *key, int64_t *out,
                 struct error *err) MUST_USE;
int json_get_object(const json_t *object, const char *what, const char *key, json_t **out,
                    struct error *err) MUST_USE;
int json_get_array(const json_t *object, const char *what, const char *key, json_t **out,
                   struct error *err) MUST_USE;
int json_get_bool(const json_t *object, const char *what, const char *key, bool *out,
                  struct error *err) MUST_USE;
/* The default when it is absent or null. */
int json_get_i64_or(const json_t *object, const char *what, const char *key, int64_t otherwise,
                    int64_t *out, struct error *err) MUST_USE;

#endif
