/* SPDX-License-Identifier: Apache-2.0
 *
 * decode.h: checks that all documents of this folder share. Private.
 *
 * What is decoded is hostile: each helper bounds what it lets through and says in
 * the error which member of what is wrong.
 */
#ifndef LIB_ANNOUNCE_DECODE_H
#define LIB_ANNOUNCE_DECODE_H

#include "lib/announce/announce.h"
#include "lib/json/json.h"

enum {
    TABLE_NAME_MAX = 255,
    AGENT_NAME_MAX = 128,
    REASON_MAX = 1000,
    PATH_MAX_BYTES = 800, /* leaves room for "<namespace>/<table>/" in a key */
    UUID_BYTES = 36,
    LOST_RANGES_MAX = 100000,
};

/* 9999-12-31T23:59:59.999Z: a time beyond it is no time. */
#define TIME_MS_MAX INT64_C(253402300799999)

/* May these bytes be parsed? `values_max` bounds the memory that their tree may take: a value
 * of two bytes in the text is a hundred in the tree. */
int document_bound(const char *what, struct slice bytes, size_t bytes_max, size_t values_max,
                   struct error *err) MUST_USE;
/* A JSON document of "v":1, within those bounds. */
int document_decode(json_t **out, const char *what, struct slice bytes, size_t bytes_max,
                    size_t values_max, struct error *err) MUST_USE;

/* An integer from 0 to INT64_MAX that must be there. */
int decode_count(const json_t *object, const char *what, const char *key, uint64_t *out,
                 struct error *err) MUST_USE;
int decode_time(const json_t *object, const char *what, const char *key, int64_t *out,
                struct error *err) MUST_USE;
/* Borrowed: 1 to len_max bytes, none of them a control character. */
int decode_text(const json_t *object, const char *what, const char *key, size_t len_max,
                const char **out, struct error *err) MUST_USE;
/* NULL when it is absent or null, else 36 characters of hex digits and dashes. */
int decode_uuid_or_null(const json_t *object, const char *what, const char *key, const char **out,
                        struct error *err) MUST_USE;

/* The ranges of `list` (NULL: none), borrowed texts, to be freed: ordered, apart, within
 * [from, to), each with at most as many events as positions. */
int decode_lost(const json_t *list, const char *what, uint64_t from, uint64_t to,
                struct lost_range **out, size_t *count, struct error *err) MUST_USE;
/* A new object; `base` (may be NULL) gives the keys that we don't know. */
json_t *encode_lost(const struct lost_range *lost, const json_t *base);

/* "<namespace>.<table>": no empty part, blanks, slashes or control characters. */
bool table_name_check(const char *table);

/* json_integer of a count, which must fit. */
json_t *encode_count(uint64_t value);
/* json_string; the text must be UTF-8, as all that we make and decode is. */
json_t *encode_text(const char *text);
json_t *encode_text_or_null(const char *text);
/* For a reason, which may quote what somebody sent, cut anywhere: what is no text in
 * it becomes '?'. NULL and "" are "unknown". */
json_t *encode_reason(const char *reason);

#endif
