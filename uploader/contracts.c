/* SPDX-License-Identifier: Apache-2.0 */
#include "uploader/contracts.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { CONTRACT_REFRESH_MS = 60000 };

struct contract_entry {
    struct contract_entry *next;
    char *table;
    bool have;
    struct contract contract;
    int64_t refresh_at_ms;
    struct error
        unusable; /* what the store last answered is no contract; .code OK: it is, or none */
};

void contracts_free(struct contracts *contracts)
{
    while (contracts->entries != NULL) {
        struct contract_entry *entry = contracts->entries;
        contracts->entries = entry->next;
        if (entry->have)
            contract_free(&entry->contract);
        free(entry->table);
        free(entry);
    }
}

static struct contract_entry *contract_entry_of(struct contracts *contracts, const char *table)
{
    for (struct contract_entry *entry = contracts->entries; entry != NULL; entry = entry->next) {
        if (strcmp(entry->table, table) == 0)
            return entry;
    }
    struct contract_entry *entry = memory_alloc(1, sizeof *entry);
    entry->table = memory_copy_cstr(table);
    entry->refresh_at_ms = INT64_MIN;
    entry->next = contracts->entries;
    contracts->entries = entry;
    return entry;
}

static int contract_fetch(struct contracts *contracts, struct contract_entry *entry,
                          struct error *err)
{
    struct buf key = {0};
    struct buf bytes;
    struct objstore_info info = {0};
    struct contract fresh = {0};
    buf_init(&bytes, CONTRACT_BYTES_MAX);
    key_of_contract(entry->table, &key);
    int rc = objstore_get(contracts->store, buf_cstr(&key), CONTRACT_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && info.found)
        rc = contract_decode(&fresh, buf_slice(&bytes), err);
    if (rc == OK && info.found) {
        if (entry->have)
            contract_free(&entry->contract);
        entry->contract = fresh;
        entry->have = true;
    }
    buf_free(&bytes);
    buf_free(&key);
    return rc == OK ? OK : error_wrap(err, "contract of %s", entry->table);
}

int contracts_borrow(struct contracts *contracts, const char *table, const struct contract **out,
                     struct error *err)
{
    struct contract_entry *entry = contract_entry_of(contracts, table);
    int64_t now_ms = clock_mono_ms(contracts->clock);
    int rc = OK;
    contracts->silent = false;
    if (contracts->asks && now_ms >= entry->refresh_at_ms) {
        rc = contract_fetch(contracts, entry, err);
        contracts->silent = rc == ERROR_RETRY;
        /* Offline: an old contract, or the preset's own ids, do as well. But who never gets to
         * see one builds files that a table made otherwise refuses. */
        if (rc == ERROR_DENIED)
            log_event(LOG_LEVEL_WARN, "uploader", "goes on without the table's contract",
                      "error=\"%s\"", err->text);
        if (rc == OK)
            entry->unusable = (struct error){0};
        else if (rc == ERROR_INPUT || rc == ERROR_CORRUPT)
            entry->unusable = *err;
        else
            rc = OK;
        if (rc == OK)
            entry->refresh_at_ms = now_ms + CONTRACT_REFRESH_MS;
    }
    /* Nor does a stop, or a store that is silent by now, make it one. */
    if (entry->unusable.code != OK) {
        *err = entry->unusable;
        rc = err->code;
    }
    *out = entry->have ? &entry->contract : NULL;
    return rc;
}

void contracts_forget(struct contracts *contracts, const char *table)
{
    contract_entry_of(contracts, table)->refresh_at_ms = INT64_MIN;
}
