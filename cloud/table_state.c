/* SPDX-License-Identifier: Apache-2.0
 *
 * What one load of a table shows, and its alarms: a property that is missing
 * on a table whose contract names its uuid, a ledger file that is gone, a ledger of
 * another table. None of them is ever taken for an empty ledger.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cloud/snapshot.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"

static const int64_t default_clock_skew_ms = 30 * 1000;

int table_name_parse(struct table_name *out, const char *full, struct error *err)
{
    const char *dot = strrchr(full, '.');
    size_t ns_len = dot != NULL ? (size_t)(dot - full) : 0;
    if (ns_len == 0 || dot[1] == 0 || ns_len > NAME_MAX_BYTES || strlen(dot + 1) > NAME_MAX_BYTES)
        return error_set(err, ERROR_INPUT, "table \"%s\": not NAMESPACE.TABLE", full);
    *out = (struct table_name){.full = full};
    memcpy(out->ns, full, ns_len);
    memcpy(out->name, dot + 1, strlen(dot + 1));
    return OK;
}

/* The store's clock is the check on ours: a snapshot's time that goes back, or runs ahead,
 * makes other engines refuse the table. */
static int clock_check(const struct committer *committer, const struct table_name *table,
                       int64_t before_ms, int64_t store_ms, struct commit_report *report,
                       struct error *err)
{
    int64_t allowed =
        committer->clock_skew_ms > 0 ? committer->clock_skew_ms : default_clock_skew_ms;
    int64_t after_ms = clock_wall_ms(committer_clock(committer));
    if (store_ms <= 0 || (store_ms >= before_ms - allowed && store_ms <= after_ms + allowed))
        return OK;
    report_note(report, NOTE_ALARM, table->full, "", 0,
                "this machine's clock and the store's differ by %" PRId64 " s: no commit",
                (after_ms - store_ms) / 1000);
    return error_set(err, ERROR_DENIED, "clock is %" PRId64 " s off the store's",
                     (after_ms - store_ms) / 1000);
}

int contract_state_read(const struct committer *committer, const char *table,
                        struct contract_state *out, struct error *err)
{
    struct buf key = {0};
    struct buf bytes;
    struct objstore_info info = {0};
    buf_init(&bytes, CONTRACT_BYTES_MAX);
    *out = (struct contract_state){0};
    key_of_contract(table, &key);
    int rc = objstore_get(committer->store, buf_cstr(&key), CONTRACT_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && info.found) {
        rc = contract_decode(&out->contract, buf_slice(&bytes), err);
        out->found = rc == OK;
        if (rc == ERROR_INPUT)
            rc = err->code = ERROR_CORRUPT;
    }
    if (rc != OK)
        rc = error_wrap(err, "contract %s", buf_cstr(&key));
    buf_free(&key);
    buf_free(&bytes);
    return rc;
}

void contract_state_free(struct contract_state *state)
{
    if (state->found)
        contract_free(&state->contract);
    *state = (struct contract_state){0};
}

void table_state_free(struct table_state *state)
{
    catalog_table_free(&state->loaded);
    ledger_free(state->ledger);
    free(state->ledger_key);
    *state = (struct table_state){0};
}

/* The property holds the key below the warehouse; a whole URL is fine too. */
static int ledger_key_parse(const struct committer *committer, const char *property, char **out,
                            struct error *err)
{
    char key[OBJSTORE_KEY_MAX + 1];
    if (strstr(property, "://") == NULL && property[0] != '/') {
        *out = memory_copy_cstr(property);
        return OK;
    }
    if (!objstore_key_of(committer->store, property, key))
        return error_set(err, ERROR_CORRUPT, "bidlake.ledger points outside of the warehouse: %s",
                         property);
    *out = memory_copy_cstr(key);
    return OK;
}

static int ledger_read(const struct committer *committer, const struct table_name *table,
                       struct table_state *state, bool *found, struct commit_report *report,
                       struct error *err)
{
    struct buf bytes;
    struct objstore_info info = {0};
    buf_init(&bytes, LEDGER_BYTES_MAX);
    int64_t before_ms = clock_wall_ms(committer_clock(committer));
    int rc =
        objstore_get(committer->store, state->ledger_key, LEDGER_BYTES_MAX, &bytes, &info, err);
    *found = rc == OK && info.found;
    if (rc == OK)
        rc = clock_check(committer, table, before_ms, info.store_time_ms, report, err);
    if (rc == OK && *found) {
        rc = ledger_decode(&state->ledger, buf_slice(&bytes), err);
        if (rc == ERROR_INPUT)
            rc = err->code = ERROR_CORRUPT;
        if (rc == ERROR_CORRUPT)
            report_note(report, NOTE_ALARM, table->full, "", 0, "ledger %s does not read: %s",
                        state->ledger_key, err->text);
    }
    buf_free(&bytes);
    return rc == OK ? OK : error_wrap(err, "ledger %s", state->ledger_key);
}

static int no_property(const struct table_name *table, const struct contract_state *contract,
                       const char *uuid, bool fresh_is_fine, struct commit_report *report,
                       struct error *err)
{
    const char *named = contract->found ? contract->contract.table_uuid : NULL;
    if (named != NULL && strcmp(named, uuid) == 0) {
        report_note(report, NOTE_ALARM, table->full, "", 0,
                    "the property bidlake.ledger is missing on a table that had it; nothing is "
                    "taken until a person puts it back");
        return error_set(err, ERROR_CORRUPT, "the property bidlake.ledger is missing");
    }
    if (fresh_is_fine)
        return OK;
    return error_set(err, ERROR_INPUT, "no ledger yet: run bidlake-commit init");
}

static int load_once(const struct committer *committer, const struct table_name *table,
                     const struct contract_state *contract, bool fresh_is_fine,
                     struct table_state *out, bool *ledger_gone, struct commit_report *report,
                     struct error *err)
{
    bool found = false;
    *out = (struct table_state){0};
    *ledger_gone = false;
    int rc =
        catalog_load_table(committer->catalog, table->ns, table->name, &out->loaded, &found, err);
    if (rc == OK && !found)
        rc = error_set(err, ERROR_INPUT, "no such table in the catalog: run bidlake-commit init");
    if (rc == OK)
        rc = iceberg_check_writable(out->loaded.metadata, err);
    if (rc != OK)
        return rc;
    const char *uuid = metadata_uuid_borrow(out->loaded.metadata);
    const char *property = metadata_property_borrow(out->loaded.metadata, "bidlake.ledger");
    if (property == NULL)
        return no_property(table, contract, uuid, fresh_is_fine, report, err);
    rc = ledger_key_parse(committer, property, &out->ledger_key, err);
    if (rc == OK)
        rc = ledger_read(committer, table, out, &found, report, err);
    if (rc != OK)
        return rc;
    *ledger_gone = !found;
    if (!found)
        return error_set(err, ERROR_CORRUPT, "ledger %s is gone", out->ledger_key);
    if (strcmp(ledger_table_uuid_borrow(out->ledger), uuid) == 0)
        return OK;
    report_note(report, NOTE_ALARM, table->full, "", 0,
                "the ledger %s belongs to table %s, this one is %s: a copied or re-registered "
                "table; nothing is taken",
                out->ledger_key, ledger_table_uuid_borrow(out->ledger), uuid);
    return error_set(err, ERROR_CORRUPT, "the ledger belongs to another table");
}

int table_state_load(const struct committer *committer, const struct table_name *table,
                     const struct contract_state *contract, bool fresh_is_fine,
                     struct table_state *out, struct commit_report *report, struct error *err)
{
    bool gone = false;
    int rc = load_once(committer, table, contract, fresh_is_fine, out, &gone, report, err);
    if (gone) {
        /* Between the load and the read another committer may have moved on and pruned;
         * only a pointer that stays and leads nowhere is an alarm. */
        char *key = memory_copy_cstr(out->ledger_key);
        table_state_free(out);
        rc = load_once(committer, table, contract, fresh_is_fine, out, &gone, report, err);
        if (gone && strcmp(key, out->ledger_key) == 0)
            report_note(report, NOTE_ALARM, table->full, "", 0,
                        "the ledger file %s is gone; nothing is taken", key);
        else if (gone)
            rc = err->code = ERROR_RETRY;
        free(key);
    }
    if (rc != OK) {
        table_state_free(out);
        return error_wrap(err, "table %s", table->full);
    }
    return OK;
}
