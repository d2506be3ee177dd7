/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/catalog/catalog.h"

#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "cloud/catalog/sqlite.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

struct catalog {
    const struct catalog_ops *ops;
    void *impl;
};

void catalog_table_free(struct catalog_table *table)
{
    free(table->metadata_location);
    json_decref(table->metadata);
    *table = (struct catalog_table){0};
}

void catalog_names_free(struct catalog_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct catalog_names){0};
}

struct catalog *catalog_wrap(const struct catalog_ops *ops, void *impl)
{
    struct catalog *catalog = memory_alloc(1, sizeof *catalog);
    catalog->ops = ops;
    catalog->impl = impl;
    return catalog;
}

int catalog_open(struct catalog **out, const char *spec, const struct catalog_options *options,
                 struct error *err)
{
    ASSERT(options->store != NULL);
    if (strncmp(spec, "sqlite:", 7) == 0 && spec[7] != 0)
        return catalog_sqlite_open(out, spec + 7, options, err);
    if (strncmp(spec, "rest:", 5) == 0 && spec[5] != 0)
        return catalog_rest_open(out, spec + 5, options, err);
    return error_set(err, ERROR_INPUT,
                     "catalog \"%.200s\": not known; sqlite:PATH and rest:URL are", spec);
}

void catalog_close(struct catalog *catalog)
{
    if (catalog == NULL)
        return;
    catalog->ops->close(catalog->impl);
    free(catalog);
}

int catalog_create_namespace(struct catalog *catalog, const char *ns, struct error *err)
{
    return catalog->ops->create_namespace(catalog->impl, ns, err);
}

int catalog_list_namespaces(struct catalog *catalog, struct catalog_names *out, struct error *err)
{
    return catalog->ops->list_namespaces(catalog->impl, out, err);
}

int catalog_list_tables(struct catalog *catalog, const char *ns, struct catalog_names *out,
                        struct error *err)
{
    return catalog->ops->list_tables(catalog->impl, ns, out, err);
}

int catalog_load_table(struct catalog *catalog, const char *ns, const char *table,
                       struct catalog_table *out, bool *found, struct error *err)
{
    return catalog->ops->load_table(catalog->impl, ns, table, out, found, err);
}

int catalog_create_table(struct catalog *catalog, const char *ns, const char *table,
                         const json_t *request, struct catalog_table *out, struct error *err)
{
    return catalog->ops->create_table(catalog->impl, ns, table, request, out, err);
}

int catalog_commit(struct catalog *catalog, const char *ns, const char *table,
                   const struct catalog_table *base, const json_t *requirements,
                   const json_t *updates, struct catalog_table *out, struct error *err)
{
    return catalog->ops->commit(catalog->impl, ns, table, base, requirements, updates, out, err);
}
