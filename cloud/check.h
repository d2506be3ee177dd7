/* SPDX-License-Identifier: Apache-2.0
 *
 * check.h: may this announcement go into this table? Everything an announcement says is
 * checked that can be checked without its files.
 */
#ifndef CLOUD_CHECK_H
#define CLOUD_CHECK_H

#include <jansson.h>

#include "lib/announce/announce.h"
#include "lib/base/error.h"

struct check_field;

/* A table as announcements are checked against it. Borrows the metadata of one load. */
struct table_check {
    const json_t *metadata;
    const json_t *schema; /* its current one */
    size_t field_count;
    struct check_field *fields; /* by id */
    json_t *fitting;            /* the last announced schema that fits; own reference */
};
void table_check_init(struct table_check *out, const json_t *metadata);
void table_check_free(struct table_check *check);

/* ERROR_INPUT with the reason for which it is refused. */
int announcement_check(struct table_check *check, const struct announcement *announcement,
                       const char *table, struct error *err) MUST_USE;

#endif
