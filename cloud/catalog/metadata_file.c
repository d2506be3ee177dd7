/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/catalog/metadata_file.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/iceberg/iceberg.h"

int metadata_file_read(struct objstore *store, const char *location, json_t **out,
                       struct error *err)
{
    char key[OBJSTORE_KEY_MAX + 1];
    if (!objstore_key_of(store, location, key))
        return error_set(err, ERROR_INPUT, "metadata %s lies outside of the warehouse %s", location,
                         objstore_url_borrow(store));
    struct buf bytes;
    buf_init(&bytes, METADATA_BYTES_MAX);
    struct objstore_info info = {0};
    int rc = objstore_get(store, key, METADATA_BYTES_MAX, &bytes, &info, err);
    if (rc == OK && !info.found)
        rc = error_set(err, ERROR_CORRUPT, "the catalog points at a file that is not there");
    if (rc == OK)
        rc = metadata_decode(out, buf_slice(&bytes), err);
    if (rc == ERROR_INPUT)
        rc = err->code = ERROR_CORRUPT;
    buf_free(&bytes);
    return rc == OK ? OK : error_wrap(err, "metadata %s", location);
}

int metadata_file_write(struct objstore *store, const json_t *metadata, const char *base_location,
                        const char *uuid, char **location, struct error *err)
{
    struct buf url = {0};
    struct buf bytes;
    buf_init(&bytes, METADATA_BYTES_MAX);
    int rc = OK;
    char key[OBJSTORE_KEY_MAX + 1];

    metadata_directory(metadata, &url);
    buf_put_cstr(&url, "/");
    metadata_file_name(base_location, uuid, &url);
    if (!objstore_key_of(store, buf_cstr(&url), key)) {
        rc = error_set(err, ERROR_INPUT, "metadata %s would lie outside of the warehouse %s",
                       buf_cstr(&url), objstore_url_borrow(store));
        goto out;
    }
    metadata_encode(metadata, &bytes);
    if (buf_failed(&bytes)) {
        rc = error_set(err, ERROR_LIMIT, "metadata: more than %d bytes; expire snapshots",
                       METADATA_BYTES_MAX);
        goto out;
    }
    rc = objstore_put_bytes(store, key, buf_slice(&bytes), PUT_IF_ABSENT, err);
    if (rc != OK) {
        /* A name with a fresh UUID that exists is a lost answer of our own: the next
         * attempt takes another name. */
        if (rc == ERROR_CONFLICT)
            rc = err->code = ERROR_RETRY;
        goto out;
    }
    *location = memory_copy_cstr(buf_cstr(&url));
out:
    buf_free(&url);
    buf_free(&bytes);
    return rc;
}

char *table_location_make(struct objstore *store, const char *ns, const char *table,
                          const json_t *request)
{
    const char *asked = json_string_value(json_object_get(request, "location"));
    if (asked == NULL)
        return memory_printf("%s/%s/%s", objstore_url_borrow(store), ns, table);
    size_t len = strlen(asked);
    while (len > 0 && asked[len - 1] == '/')
        len--;
    return memory_copy_slice(slice_of(asked, len));
}

static bool log_names(const json_t *log, const char *file)
{
    size_t i;
    json_t *entry;
    json_array_foreach(log, i, entry)
    {
        const char *name = json_string_value(json_object_get(entry, "metadata-file"));
        if (name != NULL && strcmp(name, file) == 0)
            return true;
    }
    return false;
}

void metadata_files_prune(struct objstore *store, const json_t *old, const json_t *new)
{
    if (!metadata_property_bool(new, "write.metadata.delete-after-commit.enabled", false))
        return;
    const json_t *kept = json_object_get(new, "metadata-log");
    size_t i;
    json_t *entry;
    json_array_foreach(json_object_get(old, "metadata-log"), i, entry)
    {
        const char *file = json_string_value(json_object_get(entry, "metadata-file"));
        char key[OBJSTORE_KEY_MAX + 1];
        struct error err; /* best effort: what stays is an orphan, and harmless */
        if (file == NULL || log_names(kept, file) || !objstore_key_of(store, file, key) ||
            objstore_remove(store, key, &err) == OK)
            continue;
        if (err.code == ERROR_DENIED)
            log_event(LOG_LEVEL_WARN, "catalog", "old metadata files stay", "error=\"%s\"",
                      err.text);
        return;
    }
}
