/* SPDX-License-Identifier: Apache-2.0 */
#include "cloud/manifests.h"

int url_get(struct objstore *store, const char *url, struct buf *out, bool *found,
            struct error *err)
{
    char key[OBJSTORE_KEY_MAX + 1];
    struct objstore_info info = {0};
    if (!objstore_key_of(store, url, key))
        return error_set(err, ERROR_INPUT, "it lies outside of the warehouse");
    int rc = objstore_get(store, key, MANIFEST_BYTES_MAX, out, &info, err);
    if (found != NULL)
        *found = rc == OK && info.found;
    else if (rc == OK && !info.found)
        rc = error_set(err, ERROR_CORRUPT, "it is not there");
    return rc;
}

int manifest_list_get(struct objstore *store, const char *url, struct arena *arena,
                      struct manifest_file **out, size_t *count, bool *found, struct error *err)
{
    struct buf bytes;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    *count = 0;
    int rc = url_get(store, url, &bytes, found, err);
    if (rc == OK && (found == NULL || *found)) {
        rc = manifest_list_decode(out, count, arena, buf_slice(&bytes), err);
        if (rc == ERROR_INPUT)
            rc = err->code = ERROR_CORRUPT;
    }
    buf_free(&bytes);
    return rc == OK ? OK : error_wrap(err, "manifest list %s", url);
}

int manifest_get(struct objstore *store, const struct manifest_file *manifest, struct arena *arena,
                 struct manifest_entry **out, size_t *count, struct error *err)
{
    struct buf bytes;
    buf_init(&bytes, MANIFEST_BYTES_MAX);
    *count = 0;
    int rc = url_get(store, manifest->path, &bytes, NULL, err);
    if (rc == OK)
        rc = manifest_decode(out, count, arena, manifest, buf_slice(&bytes), err);
    buf_free(&bytes);
    return rc == OK ? OK : error_wrap(err, "manifest %s", manifest->path);
}
