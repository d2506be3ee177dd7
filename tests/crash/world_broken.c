/* SPDX-License-Identifier: Apache-2.0
 *
 * Negative controls: a store that ignores "must not exist", a catalog that ignores what
 * its client asserts. Under each the simulation must find a violation, or it checks
 * nothing.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"
#include "tests/crash/world.h"
#include "tests/unit/store_over.h"

/* ---- the store ---- */

static int broken_put(void *impl, const char *key, const struct objstore_body *body,
                      uint32_t crc32c, enum put_condition condition, struct error *err)
{
    (void)condition;
    return over_put(impl, key, body, crc32c, PUT_ALWAYS, err);
}

static void broken_store_close(void *impl)
{
    free(impl); /* the actor closes what is below */
}

struct objstore *world_broken_store(struct objstore *inner)
{
    static const struct objstore_ops ops = {.put = broken_put, .close = broken_store_close};
    struct store_over *over = memory_alloc(1, sizeof *over);
    over->inner = inner;
    return store_over_wrap(over, &ops);
}

/* ---- the catalog ---- */

static int broken_load(void *impl, const char *ns, const char *table, struct catalog_table *out,
                       bool *found, struct error *err)
{
    return catalog_load_table(impl, ns, table, out, found, err);
}

/* The sequence number is made to fit, as a catalog does that gives it itself. */
static void renumber(struct catalog *catalog, const char *ns, const char *table, json_t *updates)
{
    size_t i;
    json_t *update;
    bool found = false;
    struct error err;
    struct catalog_table now = {0};
    if (catalog_load_table(catalog, ns, table, &now, &found, &err) != OK || !found)
        return;
    json_array_foreach(updates, i, update)
    {
        json_t *snapshot = json_object_get(update, "snapshot");
        if (snapshot != NULL)
            json_object_set_new(snapshot, "sequence-number",
                                json_integer(metadata_last_sequence_number(now.metadata) + 1));
    }
    catalog_table_free(&now);
}

static int broken_commit(void *impl, const char *ns, const char *table,
                         const struct catalog_table *base, const json_t *requirements,
                         const json_t *updates, struct catalog_table *out, struct error *err)
{
    json_t *none = json_array();
    json_t *changed = json_deep_copy(updates);
    (void)requirements;
    renumber(impl, ns, table, changed);
    int rc = catalog_commit(impl, ns, table, base, none, changed, out, err);
    json_decref(none);
    json_decref(changed);
    return rc;
}

static void broken_catalog_close(void *impl)
{
    (void)impl;
}

struct catalog *world_broken_catalog(struct catalog *inner)
{
    static const struct catalog_ops ops = {.type = "memory",
                                           .load_table = broken_load,
                                           .commit = broken_commit,
                                           .close = broken_catalog_close};
    return catalog_wrap(&ops, inner);
}
