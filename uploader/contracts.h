/* SPDX-License-Identifier: Apache-2.0
 *
 * contracts.h: the tables' contracts as the store has them, each read again at most once a minute.
 * Private to uploader/.
 */
#ifndef UPLOADER_CONTRACTS_H
#define UPLOADER_CONTRACTS_H

#include "lib/announce/announce.h"
#include "lib/base/clock.h"
#include "lib/base/error.h"
#include "lib/objstore/objstore.h"

struct contract_entry;

struct contracts {
    struct objstore *store; /* borrowed, as the clock */
    const struct clock *clock;
    struct contract_entry *entries;
    bool asks;   /* false: the store is not asked any more */
    bool silent; /* the last look got no answer */
};
void contracts_free(struct contracts *contracts);

/* As uploader_contract_borrow says. */
int contracts_borrow(struct contracts *contracts, const char *table, const struct contract **out,
                     struct error *err) MUST_USE;
/* The next look asks the store. */
void contracts_forget(struct contracts *contracts, const char *table);

#endif
