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

/* ERROR_INPUT with the reason for which it is refused. `metadata`: of the table. */
int announcement_check(const struct announcement *announcement, const char *table,
                       const json_t *metadata, struct error *err) MUST_USE;

#endif
