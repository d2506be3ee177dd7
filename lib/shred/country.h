/* SPDX-License-Identifier: Apache-2.0
 *
 * country.h: ISO 3166-1 codes.
 */
#ifndef LIB_SHRED_COUNTRY_H
#define LIB_SHRED_COUNTRY_H

#include <stdbool.h>

#include "lib/base/slice.h"

/* Upper case alpha-3 for an officially assigned alpha-2 or alpha-3 code in either
 * case: constant storage, three characters. NULL for all else. */
const char *country_alpha3(struct slice code);

#endif
