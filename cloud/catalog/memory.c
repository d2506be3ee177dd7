/* SPDX-License-Identifier: Apache-2.0
 *
 * Behaves like a server catalog: a commit is judged by its requirements against the
 * table as it is when the request is applied, not by the pointer that the client read.
 * So a request that was lost on the way and arrives late is judged late.
 */
#include "cloud/catalog/memory.h"

#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/metadata_file.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/iceberg/iceberg.h"

struct memory_table {
    char *ns;
    char *name;
    struct catalog_table now;
    struct catalog_table before; /* its last change; empty for a new one */
    uint64_t version;            /* counts changes */
};

struct late_commit {
    struct memory_table *table;
    struct objstore *store;
    json_t *requirements;
    json_t *updates;
    int64_t wall_ms;
};

struct memory_catalog {
    struct random random; /* names and uuids: the same in every run */
    struct objstore *store;
    size_t namespace_count;
    char **namespaces;
    size_t table_count;
    struct memory_table **tables;
    size_t late_count;
    struct late_commit *late;
};

struct memory_handle {
    struct memory_catalog *shared;
    struct objstore *store;
    const struct clock *clock;
    catalog_hook *hook;
    void *context;
};

struct memory_catalog *memory_catalog_make(void)
{
    struct memory_catalog *shared = memory_alloc(1, sizeof *shared);
    random_seed(&shared->random, 1);
    return shared;
}

void memory_catalog_set_store(struct memory_catalog *shared, struct objstore *store)
{
    shared->store = store;
}

static void late_free(struct late_commit *late)
{
    json_decref(late->requirements);
    json_decref(late->updates);
}

void memory_catalog_free(struct memory_catalog *shared)
{
    if (shared == NULL)
        return;
    for (size_t i = 0; i < shared->namespace_count; i++)
        free(shared->namespaces[i]);
    for (size_t i = 0; i < shared->table_count; i++) {
        struct memory_table *table = shared->tables[i];
        catalog_table_free(&table->now);
        catalog_table_free(&table->before);
        free(table->ns);
        free(table->name);
        free(table);
    }
    for (size_t i = 0; i < shared->late_count; i++)
        late_free(&shared->late[i]);
    free(shared->namespaces);
    free(shared->tables);
    free(shared->late);
    free(shared);
}

static enum catalog_fault ask(struct memory_handle *handle, enum catalog_operation operation)
{
    return handle->hook == NULL ? CATALOG_FAULT_NONE : handle->hook(handle->context, operation);
}

static struct memory_table *find(const struct memory_catalog *shared, const char *ns,
                                 const char *table)
{
    for (size_t i = 0; i < shared->table_count; i++) {
        struct memory_table *at = shared->tables[i];
        if (strcmp(at->ns, ns) == 0 && strcmp(at->name, table) == 0)
            return at;
    }
    return NULL;
}

static void table_copy(struct catalog_table *out, const struct catalog_table *from)
{
    out->metadata_location = memory_copy_cstr(from->metadata_location);
    out->metadata = json_incref(from->metadata);
}

static void name_add(char ***names, size_t *count, const char *name)
{
    *names = memory_resize(*names, *count + 1, sizeof **names);
    (*names)[(*count)++] = memory_copy_cstr(name);
}

static bool namespace_known(const struct memory_catalog *shared, const char *ns)
{
    for (size_t i = 0; i < shared->namespace_count; i++)
        if (strcmp(shared->namespaces[i], ns) == 0)
            return true;
    return false;
}

static int memory_create_namespace(void *impl, const char *ns, struct error *err)
{
    (void)err;
    struct memory_catalog *shared = ((struct memory_handle *)impl)->shared;
    if (!namespace_known(shared, ns))
        name_add(&shared->namespaces, &shared->namespace_count, ns);
    return OK;
}

static int memory_list_namespaces(void *impl, struct catalog_names *out, struct error *err)
{
    (void)err;
    struct memory_catalog *shared = ((struct memory_handle *)impl)->shared;
    *out = (struct catalog_names){0};
    for (size_t i = 0; i < shared->namespace_count; i++)
        name_add(&out->names, &out->count, shared->namespaces[i]);
    return OK;
}

static int memory_list_tables(void *impl, const char *ns, struct catalog_names *out,
                              struct error *err)
{
    (void)err;
    struct memory_catalog *shared = ((struct memory_handle *)impl)->shared;
    *out = (struct catalog_names){0};
    for (size_t i = 0; i < shared->table_count; i++)
        if (strcmp(shared->tables[i]->ns, ns) == 0)
            name_add(&out->names, &out->count, shared->tables[i]->name);
    return OK;
}

static int memory_load_table(void *impl, const char *ns, const char *name,
                             struct catalog_table *out, bool *found, struct error *err)
{
    struct memory_handle *handle = impl;
    enum catalog_fault fault = ask(handle, CATALOG_LOAD);
    *found = false;
    if (fault == CATALOG_FAULT_BEFORE || fault == CATALOG_FAULT_AFTER)
        return error_set(err, ERROR_RETRY, "load %s.%s: no answer", ns, name);
    const struct memory_table *table = find(handle->shared, ns, name);
    if (table == NULL)
        return OK;
    bool stale = fault == CATALOG_FAULT_STALE && table->before.metadata != NULL;
    table_copy(out, stale ? &table->before : &table->now);
    *found = true;
    return OK;
}

/* The server's own store when it was given one, so that a client's faults don't hit
 * files that a server writes. */
static struct objstore *store_of(const struct memory_catalog *shared, struct objstore *handles)
{
    return shared->store != NULL ? shared->store : handles;
}

/* Takes `metadata`. ERROR_CONFLICT when another actor had its turn during the write of
 * the file and changed the table: the caller judges again. */
static int table_change(struct memory_catalog *shared, struct memory_table *table,
                        struct objstore *store, json_t *metadata, int64_t wall_ms,
                        struct error *err)
{
    char uuid[UUID_TEXT_SIZE];
    char *location = NULL;
    uint64_t version = table->version;
    uuid_v7_from(uuid, wall_ms, &shared->random);
    int rc = metadata_file_write(store_of(shared, store), metadata, table->now.metadata_location,
                                 uuid, &location, err);
    if (rc == OK && table->version != version)
        rc = error_set(err, ERROR_CONFLICT, "the table has changed");
    if (rc != OK) {
        json_decref(metadata);
        free(location);
        return rc;
    }
    catalog_table_free(&table->before);
    table->before = table->now;
    table->now = (struct catalog_table){.metadata_location = location, .metadata = metadata};
    table->version++;
    return OK;
}

static int memory_create_table(void *impl, const char *ns, const char *name, const json_t *request,
                               struct catalog_table *out, struct error *err)
{
    struct memory_handle *handle = impl;
    struct memory_catalog *shared = handle->shared;
    enum catalog_fault fault = ask(handle, CATALOG_CREATE);
    if (fault == CATALOG_FAULT_BEFORE || fault == CATALOG_FAULT_LATE)
        return error_set(err, ERROR_RETRY, "create %s.%s: no answer", ns, name);
    if (!namespace_known(shared, ns))
        return error_set(err, ERROR_INPUT, "no namespace %s", ns);
    if (find(shared, ns, name) != NULL)
        return error_set(err, ERROR_CONFLICT, "table %s.%s exists", ns, name);

    char uuid[UUID_TEXT_SIZE];
    int64_t now_ms = clock_wall_ms(handle->clock);
    uuid_v7_from(uuid, now_ms, &shared->random);
    char *place = table_location_make(store_of(shared, handle->store), ns, name, request);
    json_t *metadata = NULL;
    int rc = metadata_create(&metadata, request, uuid, place, now_ms, err);
    free(place);
    if (rc != OK)
        return rc;
    struct memory_table *table = memory_alloc(1, sizeof *table);
    rc = table_change(shared, table, handle->store, metadata, now_ms, err);
    if (rc != OK) {
        free(table);
        return rc;
    }
    table->ns = memory_copy_cstr(ns);
    table->name = memory_copy_cstr(name);
    shared->tables = memory_resize(shared->tables, shared->table_count + 1, sizeof *shared->tables);
    shared->tables[shared->table_count++] = table;
    if (fault == CATALOG_FAULT_AFTER)
        return error_set(err, ERROR_RETRY, "create %s.%s: answer lost", ns, name);
    table_copy(out, &table->now);
    return OK;
}

static int judge(struct memory_catalog *shared, struct memory_table *table, struct objstore *store,
                 const json_t *requirements, const json_t *updates, int64_t wall_ms,
                 struct error *err)
{
    for (;;) {
        json_t *metadata = NULL;
        uint64_t version = table->version;
        int rc = metadata_check_requirements(table->now.metadata, requirements, err);
        if (rc == OK)
            rc = metadata_apply(&metadata, table->now.metadata, table->now.metadata_location,
                                updates, wall_ms, err);
        if (rc == OK)
            rc = table_change(shared, table, store, metadata, wall_ms, err);
        if (rc != ERROR_CONFLICT || table->version == version)
            return rc;
    }
}

static void late_add(struct memory_handle *handle, struct memory_table *table,
                     const json_t *requirements, const json_t *updates)
{
    struct memory_catalog *shared = handle->shared;
    shared->late = memory_resize(shared->late, shared->late_count + 1, sizeof *shared->late);
    shared->late[shared->late_count++] = (struct late_commit){
        .table = table,
        .store = handle->store,
        .requirements = json_deep_copy(requirements),
        .updates = json_deep_copy(updates),
        .wall_ms = clock_wall_ms(handle->clock),
    };
}

static int memory_commit(void *impl, const char *ns, const char *name,
                         const struct catalog_table *base, const json_t *requirements,
                         const json_t *updates, struct catalog_table *out, struct error *err)
{
    (void)base; /* a server judges by the requirements alone */
    struct memory_handle *handle = impl;
    enum catalog_fault fault = ask(handle, CATALOG_COMMIT);
    if (fault == CATALOG_FAULT_BEFORE)
        return error_set(err, ERROR_RETRY, "commit %s.%s: no answer", ns, name);
    if (fault == CATALOG_FAULT_REFUSED)
        return error_set(err, ERROR_INPUT, "commit %s.%s: refused", ns, name);
    struct memory_table *table = find(handle->shared, ns, name);
    if (table == NULL)
        return error_set(err, ERROR_INPUT, "no table %s.%s", ns, name);
    if (fault == CATALOG_FAULT_LATE) {
        late_add(handle, table, requirements, updates);
        return error_set(err, ERROR_RETRY, "commit %s.%s: timeout", ns, name);
    }
    int64_t now_ms = clock_wall_ms(handle->clock);
    int rc = judge(handle->shared, table, handle->store, requirements, updates, now_ms, err);
    if (rc == OK && fault == CATALOG_FAULT_AFTER)
        return error_set(err, ERROR_RETRY, "commit %s.%s: answer lost", ns, name);
    if (rc == OK && fault == CATALOG_FAULT_DUPLICATE)
        return error_set(err, ERROR_CONFLICT, "commit %s.%s: main has moved", ns, name);
    if (rc == OK && out != NULL)
        table_copy(out, &table->now);
    return rc;
}

size_t memory_catalog_late_count(const struct memory_catalog *shared)
{
    return shared->late_count;
}

void memory_catalog_apply_late(struct memory_catalog *shared, size_t index)
{
    ASSERT(index < shared->late_count);
    struct late_commit late = shared->late[index];
    shared->late_count--;
    memmove(&shared->late[index], &shared->late[index + 1],
            (shared->late_count - index) * sizeof late);
    struct error unheard; /* the client that asked has given up */
    int rc = judge(shared, late.table, late.store, late.requirements, late.updates, late.wall_ms,
                   &unheard);
    (void)rc;
    late_free(&late);
}

static void memory_close(void *impl)
{
    free(impl);
}

static const struct catalog_ops memory_ops = {
    .type = "memory",
    .create_namespace = memory_create_namespace,
    .list_namespaces = memory_list_namespaces,
    .list_tables = memory_list_tables,
    .load_table = memory_load_table,
    .create_table = memory_create_table,
    .commit = memory_commit,
    .close = memory_close,
};

struct catalog *memory_catalog_attach(struct memory_catalog *shared,
                                      const struct catalog_options *options, catalog_hook *hook,
                                      void *context)
{
    ASSERT(options->store != NULL);
    struct memory_handle *handle = memory_alloc(1, sizeof *handle);
    handle->shared = shared;
    handle->store = options->store;
    handle->clock = options->clock != NULL ? options->clock : &clock_system;
    handle->hook = hook;
    handle->context = context;
    return catalog_wrap(&memory_ops, handle);
}
