/* SPDX-License-Identifier: Apache-2.0
 *
 * The embedded catalog: the two tables that PyIceberg's SqlCatalog and Java's
 * JdbcCatalog share, so that both open it as it is.
 *
 *   iceberg_tables(catalog_name, table_namespace, table_name, metadata_location,
 *                  previous_metadata_location, iceberg_type)
 *   iceberg_namespace_properties(catalog_name, namespace, property_key, property_value)
 *
 * We make the V1 form and write 'TABLE'; a V0 file (without iceberg_type) is used as it
 * is. A row with another iceberg_type is a view and not seen.
 *
 * A swap is one UPDATE whose WHERE names the old location byte by byte, in a transaction
 * that took the write lock at its begin, in WAL with synchronous=FULL. SQLITE_BUSY: not
 * applied. An error at COMMIT itself: unknown, so ERROR_RETRY: the caller loads again.
 * Before each transaction and before its COMMIT the path must still be the file that we
 * opened: a commit into a file that was moved away would be lost.
 */
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cloud/catalog/metadata_file.h"
#include "cloud/catalog/sqlite.h"
#include "cloud/catalog/table_cache.h"
#include "lib/base/assert.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/iceberg/iceberg.h"

enum {
    LOCATION_MAX = 1000,
    /* From the begin of a commit to its swap. A process that was frozen in between is told
     * to begin anew: clean-ups may have taken what it wrote. */
    COMMIT_MS_MAX = 10 * 60 * 1000,
};

struct sqlite_catalog {
    sqlite3 *db;
    char *path;
    char *name;
    struct objstore *store;
    const struct clock *clock;
    dev_t device;
    ino_t inode;
    bool v0;                  /* no column iceberg_type */
    struct table_cache known; /* struct catalog_table */
};

static const char *const schema_sql =
    "CREATE TABLE IF NOT EXISTS iceberg_tables ("
    "catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, "
    "table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), "
    "previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5), "
    "PRIMARY KEY (catalog_name, table_namespace, table_name));"
    "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties ("
    "catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, "
    "property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT NULL, "
    "PRIMARY KEY (catalog_name, namespace, property_key));";

static int sqlite_error(const struct sqlite_catalog *catalog, int code, const char *what,
                        struct error *err)
{
    const char *text = catalog->db != NULL ? sqlite3_errmsg(catalog->db) : sqlite3_errstr(code);
    int cause = catalog->db != NULL ? sqlite3_system_errno(catalog->db) : 0;
    enum error_code ours = ERROR_IO;
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        text = "locked by another process";
        ours = ERROR_RETRY;
        break;
    case SQLITE_FULL:
        text = "No space left on device; make room, nothing was changed";
        ours = ERROR_LIMIT;
        break;
    case SQLITE_IOERR: /* of the files beside: the same full disk, or worse */
        if (cause == ENOSPC || cause == EDQUOT) {
            text = "No space left on device; make room";
            ours = ERROR_LIMIT;
        }
        break;
    case SQLITE_PERM:
    case SQLITE_AUTH:
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
        ours = ERROR_DENIED;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        ours = ERROR_CORRUPT;
        break;
    case SQLITE_CONSTRAINT:
        ours = ERROR_CONFLICT;
        break;
    default:
        break;
    }
    error_set(err, ours, "catalog %s: %s: %s", catalog->path, what, text);
    err->cause = code;
    return (int)ours;
}

static int file_check_unmoved(const struct sqlite_catalog *catalog, struct error *err)
{
    struct stat at;
    int moved = 0;
    bool same = stat(catalog->path, &at) == 0 && at.st_dev == catalog->device &&
                at.st_ino == catalog->inode;
    if (same)
        sqlite3_file_control(catalog->db, "main", SQLITE_FCNTL_HAS_MOVED, &moved);
    if (same && !moved)
        return OK;
    return error_set(err, ERROR_IO,
                     "catalog %s: the file was moved or replaced while it was in use; nothing was "
                     "changed",
                     catalog->path);
}

static int execute(const struct sqlite_catalog *catalog, const char *sql, const char *what,
                   struct error *err)
{
    int code = sqlite3_exec(catalog->db, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? OK : sqlite_error(catalog, code, what, err);
}

static void rollback(const struct sqlite_catalog *catalog)
{
    /* Without a transaction this is an error that changes nothing. */
    sqlite3_exec(catalog->db, "ROLLBACK", NULL, NULL, NULL);
}

/* Binds `count` texts to a statement that was just prepared; NULL binds NULL. */
static int prepare(const struct sqlite_catalog *catalog, sqlite3_stmt **out, const char *sql,
                   const char *const *texts, size_t count, struct error *err)
{
    int code = sqlite3_prepare_v2(catalog->db, sql, -1, out, NULL);
    for (size_t i = 0; i < count && code == SQLITE_OK; i++)
        code = sqlite3_bind_text(*out, (int)i + 1, texts[i], -1, SQLITE_TRANSIENT);
    return code == SQLITE_OK ? OK : sqlite_error(catalog, code, "prepare", err);
}

/* A statement without rows; *changed (NULL is fine) is how many rows it touched. */
static int run(const struct sqlite_catalog *catalog, const char *sql, const char *const *texts,
               size_t count, int *changed, struct error *err)
{
    sqlite3_stmt *statement = NULL;
    int rc = prepare(catalog, &statement, sql, texts, count, err);
    if (rc == OK) {
        int code = sqlite3_step(statement);
        if (code != SQLITE_DONE)
            rc = sqlite_error(catalog, code, "write", err);
        else if (changed != NULL)
            *changed = sqlite3_changes(catalog->db);
    }
    sqlite3_finalize(statement);
    return rc;
}

/* The write lock is taken at once: a reader that turns writer could meet a deadlock. */
static int begin(const struct sqlite_catalog *catalog, struct error *err)
{
    int rc = file_check_unmoved(catalog, err);
    return rc == OK ? execute(catalog, "BEGIN IMMEDIATE", "begin", err) : rc;
}

static int end(const struct sqlite_catalog *catalog, struct error *err)
{
    int rc = file_check_unmoved(catalog, err);
    if (rc != OK)
        return rc;
    int code = sqlite3_exec(catalog->db, "COMMIT", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return OK;
    rc = sqlite_error(catalog, code, "commit", err);
    if ((code & 0xff) == SQLITE_IOERR ||
        rc == ERROR_IO) { /* the log may hold the commit or not: only a fresh read knows */
        err->code = ERROR_RETRY;
        rc = error_wrap(err, "outcome unknown");
    }
    return rc;
}

static int names_collect(const struct sqlite_catalog *catalog, const char *sql,
                         const char *const *texts, size_t count, struct catalog_names *out,
                         struct error *err)
{
    *out = (struct catalog_names){0};
    sqlite3_stmt *statement = NULL;
    int rc = file_check_unmoved(catalog, err);
    if (rc == OK)
        rc = prepare(catalog, &statement, sql, texts, count, err);
    size_t cap = 0;
    while (rc == OK) {
        int code = sqlite3_step(statement);
        if (code == SQLITE_DONE)
            break;
        if (code != SQLITE_ROW) {
            rc = sqlite_error(catalog, code, "read", err);
            break;
        }
        if (out->count == cap) {
            cap = cap == 0 ? 16 : cap * 2;
            out->names = memory_resize(out->names, cap, sizeof *out->names);
        }
        const char *text = (const char *)sqlite3_column_text(statement, 0);
        out->names[out->count++] = memory_copy_cstr(text != NULL ? text : "");
    }
    sqlite3_finalize(statement);
    if (rc != OK)
        catalog_names_free(out);
    return rc;
}

static int sqlite_list_namespaces(void *impl, struct catalog_names *out, struct error *err)
{
    struct sqlite_catalog *catalog = impl;
    const char *texts[] = {catalog->name, catalog->name};
    return names_collect(catalog,
                         "SELECT table_namespace FROM iceberg_tables WHERE catalog_name = ? UNION "
                         "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = "
                         "? ORDER BY 1",
                         texts, 2, out, err);
}

static int sqlite_list_tables(void *impl, const char *ns, struct catalog_names *out,
                              struct error *err)
{
    struct sqlite_catalog *catalog = impl;
    const char *texts[] = {catalog->name, ns};
    return names_collect(
        catalog,
        catalog->v0 ? "SELECT table_name FROM iceberg_tables WHERE catalog_name = ? AND "
                      "table_namespace = ? ORDER BY 1"
                    : "SELECT table_name FROM iceberg_tables WHERE catalog_name = ? AND "
                      "table_namespace = ? AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL) "
                      "ORDER BY 1",
        texts, 2, out, err);
}

static int sqlite_create_namespace(void *impl, const char *ns, struct error *err)
{
    struct sqlite_catalog *catalog = impl;
    const char *texts[] = {catalog->name, ns};
    int rc = begin(catalog, err);
    if (rc == OK)
        rc = run(catalog,
                 "INSERT OR IGNORE INTO iceberg_namespace_properties (catalog_name, namespace, "
                 "property_key, property_value) VALUES (?, ?, 'exists', 'true')",
                 texts, 2, NULL, err);
    if (rc == OK)
        rc = end(catalog, err);
    if (rc != OK)
        rollback(catalog);
    return rc;
}

/* *location NULL: no such table. */
static int location_read(const struct sqlite_catalog *catalog, const char *ns, const char *table,
                         char **location, struct error *err)
{
    const char *texts[] = {catalog->name, ns, table};
    struct catalog_names names;
    int rc = names_collect(
        catalog,
        catalog->v0 ? "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND "
                      "table_namespace = ? AND table_name = ?"
                    : "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND "
                      "table_namespace = ? AND table_name = ? AND (iceberg_type = 'TABLE' OR "
                      "iceberg_type IS NULL)",
        texts, 3, &names, err);
    if (rc != OK)
        return rc;
    *location = names.count > 0 ? memory_copy_cstr(names.names[0]) : NULL;
    catalog_names_free(&names);
    return OK;
}

/* A metadata file never changes: while the pointer stays it need not be read again. */
static json_t *known_find(const struct sqlite_catalog *catalog, const char *ns, const char *table,
                          const char *location)
{
    const struct catalog_table *known = table_cache_find(&catalog->known, ns, table);
    if (known == NULL || strcmp(known->metadata_location, location) != 0)
        return NULL;
    return json_incref(known->metadata);
}

static void known_keep(struct sqlite_catalog *catalog, const char *ns, const char *table,
                       const char *location, json_t *metadata)
{
    struct catalog_table *known = memory_alloc(1, sizeof *known);
    known->metadata_location = memory_copy_cstr(location);
    known->metadata = json_incref(metadata);
    table_cache_put(&catalog->known, ns, table, known);
}

static void known_release(void *value)
{
    catalog_table_free(value);
    free(value);
}

static int sqlite_load_table(void *impl, const char *ns, const char *table,
                             struct catalog_table *out, bool *found, struct error *err)
{
    struct sqlite_catalog *catalog = impl;
    char *location = NULL;
    json_t *metadata = NULL;
    *found = false;
    int rc = location_read(catalog, ns, table, &location, err);
    if (rc != OK || location == NULL)
        return rc;
    metadata = known_find(catalog, ns, table, location);
    if (metadata == NULL) {
        rc = metadata_file_read(catalog->store, location, &metadata, err);
        if (rc != OK) {
            free(location);
            return error_wrap(err, "table %s.%s", ns, table);
        }
        known_keep(catalog, ns, table, location, metadata);
    }
    *out = (struct catalog_table){.metadata_location = location, .metadata = metadata};
    *found = true;
    return OK;
}

static int location_check(const char *location, struct error *err)
{
    if (strlen(location) <= LOCATION_MAX)
        return OK;
    return error_set(err, ERROR_INPUT, "metadata location longer than %d: %.80s...", LOCATION_MAX,
                     location);
}

static int row_insert(const struct sqlite_catalog *catalog, const char *ns, const char *table,
                      const char *location, struct error *err)
{
    const char *texts[] = {catalog->name, ns, table, location};
    int rc = begin(catalog, err);
    if (rc == OK)
        rc = run(catalog,
                 catalog->v0 ? "INSERT INTO iceberg_tables (catalog_name, table_namespace, "
                               "table_name, metadata_location) VALUES (?, ?, ?, ?)"
                             : "INSERT INTO iceberg_tables (catalog_name, table_namespace, "
                               "table_name, metadata_location, iceberg_type) VALUES (?, ?, ?, ?, "
                               "'TABLE')",
                 texts, 4, NULL, err);
    if (rc == OK)
        rc = end(catalog, err);
    if (rc != OK)
        rollback(catalog);
    return rc;
}

static int sqlite_create_table(void *impl, const char *ns, const char *table, const json_t *request,
                               struct catalog_table *out, struct error *err)
{
    struct sqlite_catalog *catalog = impl;
    char *existing = NULL;
    char *location = NULL;
    json_t *metadata = NULL;
    char uuid[UUID_TEXT_SIZE];
    char file_uuid[UUID_TEXT_SIZE];
    char *place = table_location_make(catalog->store, ns, table, request);

    int rc = location_read(catalog, ns, table, &existing, err);
    if (rc == OK && existing != NULL)
        rc = error_set(err, ERROR_CONFLICT, "table %s.%s exists", ns, table);
    if (rc != OK)
        goto out;
    uuid_v4(uuid);
    uuid_v4(file_uuid);
    rc = metadata_create(&metadata, request, uuid, place, clock_wall_ms(catalog->clock), err);
    if (rc == OK)
        rc = metadata_file_write(catalog->store, metadata, NULL, file_uuid, &location, err);
    if (rc == OK)
        rc = location_check(location, err);
    if (rc == OK)
        rc = fault_point("catalog.sqlite.before_create", err);
    if (rc == OK)
        rc = row_insert(catalog, ns, table, location, err);
    if (rc != OK)
        goto out;
    *out = (struct catalog_table){.metadata_location = location, .metadata = metadata};
    location = NULL;
    metadata = NULL;
out:
    free(existing);
    free(place);
    free(location);
    json_decref(metadata);
    return rc;
}

static int pointer_swap(const struct sqlite_catalog *catalog, const char *ns, const char *table,
                        const char *old, const char *new, int64_t deadline_ms, struct error *err)
{
    const char *texts[] = {new, old, catalog->name, ns, table, old};
    int changed = 0;
    int rc = begin(catalog, err);
    if (rc == OK)
        rc = run(catalog,
                 catalog->v0
                     ? "UPDATE iceberg_tables SET metadata_location = ?, "
                       "previous_metadata_location = ? WHERE catalog_name = ? AND "
                       "table_namespace = ? AND table_name = ? AND metadata_location = ?"
                     : "UPDATE iceberg_tables SET metadata_location = ?, "
                       "previous_metadata_location = ? WHERE catalog_name = ? AND "
                       "table_namespace = ? AND table_name = ? AND metadata_location = ? AND "
                       "(iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
                 texts, 6, &changed, err);
    if (rc == OK && changed != 1)
        rc =
            error_set(err, ERROR_CONFLICT, "table %s.%s: somebody else committed first", ns, table);
    if (rc == OK && clock_mono_ms(catalog->clock) > deadline_ms)
        rc = error_set(err, ERROR_RETRY, "table %s.%s: the commit took too long", ns, table);
    if (rc == OK)
        rc = end(catalog, err);
    if (rc != OK)
        rollback(catalog);
    return rc;
}

static int sqlite_commit(void *impl, const char *ns, const char *table,
                         const struct catalog_table *base, const json_t *requirements,
                         const json_t *updates, struct catalog_table *out, struct error *err)
{
    struct sqlite_catalog *catalog = impl;
    char *location = NULL;
    json_t *metadata = NULL;
    char uuid[UUID_TEXT_SIZE];
    int64_t deadline_ms = clock_mono_ms(catalog->clock) + COMMIT_MS_MAX;

    int rc = metadata_check_requirements(base->metadata, requirements, err);
    if (rc == OK)
        rc = metadata_apply(&metadata, base->metadata, base->metadata_location, updates,
                            clock_wall_ms(catalog->clock), err);
    if (rc != OK)
        goto out;
    uuid_v4(uuid);
    rc = metadata_file_write(catalog->store, metadata, base->metadata_location, uuid, &location,
                             err);
    if (rc == OK)
        rc = location_check(location, err);
    if (rc == OK)
        rc = fault_point("catalog.sqlite.before_swap", err);
    if (rc == OK)
        rc = pointer_swap(catalog, ns, table, base->metadata_location, location, deadline_ms, err);
    if (rc == OK)
        rc = fault_point("catalog.sqlite.after_swap", err);
    if (rc != OK)
        goto out;
    known_keep(catalog, ns, table, location, metadata);
    metadata_files_prune(catalog->store, base->metadata, metadata);
    if (out != NULL) {
        *out = (struct catalog_table){.metadata_location = location, .metadata = metadata};
        location = NULL;
        metadata = NULL;
    }
out:
    free(location);
    json_decref(metadata);
    return rc;
}

static void sqlite_close(void *impl)
{
    struct sqlite_catalog *catalog = impl;
    int code = sqlite3_close(catalog->db);
    ASSERT(code == SQLITE_OK); /* else a statement of ours was not finalized */
    table_cache_free(&catalog->known);
    free(catalog->path);
    free(catalog->name);
    free(catalog);
}

static const struct catalog_ops sqlite_ops = {
    .type = "sqlite",
    .create_namespace = sqlite_create_namespace,
    .list_namespaces = sqlite_list_namespaces,
    .list_tables = sqlite_list_tables,
    .load_table = sqlite_load_table,
    .create_table = sqlite_create_table,
    .commit = sqlite_commit,
    .close = sqlite_close,
};

static int directory_make(const char *path, struct error *err)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return OK;
    char *directory = memory_copy_slice(slice_of(path, (size_t)(slash - path)));
    int rc = file_make_directories(directory, 0755, err);
    free(directory);
    return rc;
}

static int file_require(const char *path, struct error *err)
{
    struct stat at;
    if (stat(path, &at) == 0)
        return OK;
    if (errno != ENOENT)
        return error_errno(err, path);
    /* The machine lacks it (a volume that is not mounted): a failure, no mistake of usage. */
    return error_set(err, ERROR_IO, "catalog %s: no such file; bidlake-commit init makes a new one",
                     path);
}

/* A V0 file has no column iceberg_type. */
static void version_probe(struct sqlite_catalog *catalog)
{
    sqlite3_stmt *probe = NULL;
    catalog->v0 = sqlite3_prepare_v2(catalog->db, "SELECT iceberg_type FROM iceberg_tables LIMIT 0",
                                     -1, &probe, NULL) != SQLITE_OK;
    sqlite3_finalize(probe);
}

static int schema_prepare(struct sqlite_catalog *catalog, struct error *err)
{
    /* WAL first: the switch cannot be made inside a transaction. */
    int rc = execute(catalog, "PRAGMA journal_mode = WAL", "journal_mode", err);
    if (rc == OK)
        rc = execute(catalog, "PRAGMA synchronous = FULL", "synchronous", err);
    if (rc == OK)
        rc = execute(catalog, "BEGIN IMMEDIATE", "begin", err);
    if (rc == OK)
        rc = execute(catalog, schema_sql, "create tables", err);
    if (rc == OK)
        rc = execute(catalog, "COMMIT", "commit", err);
    if (rc != OK) {
        rollback(catalog);
        return rc;
    }
    return OK;
}

int catalog_sqlite_open(struct catalog **out, const char *path,
                        const struct catalog_options *options, struct error *err)
{
    struct sqlite_catalog *catalog = memory_alloc(1, sizeof *catalog);
    catalog->known.release = known_release;
    catalog->path = memory_copy_cstr(path);
    catalog->name = memory_copy_cstr(options->name != NULL ? options->name : "bidlake");
    catalog->store = options->store;
    catalog->clock = options->clock != NULL ? options->clock : &clock_system;
    int64_t wait_ms = options->busy_timeout_ms > 0 ? options->busy_timeout_ms : 10000;
    struct stat at;

    int flags = SQLITE_OPEN_READWRITE | (options->must_exist ? 0 : SQLITE_OPEN_CREATE);
    int rc = options->must_exist ? file_require(path, err) : directory_make(path, err);
    if (rc != OK)
        goto out;
    int code = sqlite3_open_v2(path, &catalog->db, flags, NULL);
    if (code != SQLITE_OK) {
        rc = sqlite_error(catalog, code, "open", err);
        goto out;
    }
    sqlite3_extended_result_codes(catalog->db, 1);
    sqlite3_busy_timeout(catalog->db, wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms);
    rc = options->only_read ? OK : schema_prepare(catalog, err);
    if (rc != OK)
        goto out;
    version_probe(catalog);
    if (stat(path, &at) != 0) {
        rc = error_errno(err, path);
        goto out;
    }
    catalog->device = at.st_dev;
    catalog->inode = at.st_ino;
    *out = catalog_wrap(&sqlite_ops, catalog);
    catalog = NULL;
out:
    if (catalog != NULL)
        sqlite_close(catalog);
    return rc;
}
