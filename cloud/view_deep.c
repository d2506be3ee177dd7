/* SPDX-License-Identifier: Apache-2.0
 *
 * check --deep: manifests and footers agree with a file whose pages were damaged, or that
 * lost its middle to a disk; only its bytes tell.
 */
#include <inttypes.h>

#include "cloud/view.h"

enum { GROUP_BYTES_MAX = 1 << 30 };

/* From the first page of a row group to the last: chunks may stand in any order. */
static int group_read(const struct view *view, const char *key,
                      const struct parquet_footer_chunk *chunks, size_t count, int64_t *begin,
                      struct buf *out, struct error *err)
{
    int64_t end = 0;
    struct objstore_info info = {0};
    *begin = INT64_MAX;
    for (size_t i = 0; i < count; i++) {
        if (chunks[i].offset < *begin)
            *begin = chunks[i].offset;
        if (chunks[i].offset + chunks[i].size > end)
            end = chunks[i].offset + chunks[i].size;
    }
    if (end - *begin > GROUP_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "a row group of %" PRId64 " bytes is not read",
                         end - *begin);
    if (end == *begin)
        return OK;
    int rc = objstore_get_range(view->service->store, key, *begin, (uint64_t)(end - *begin), out,
                                &info, err);
    if (rc == OK && (!info.found || (int64_t)out->len != end - *begin))
        rc = error_set(err, ERROR_CORRUPT, "it is shorter than it was");
    return rc;
}

int view_pages_check(const struct view *view, const char *key, const struct parquet_footer *footer,
                     struct parquet_pages *pages, struct error *err)
{
    struct buf bytes;
    int rc = OK;
    buf_init(&bytes, GROUP_BYTES_MAX);
    for (size_t i = 0; i < footer->chunk_count && rc == OK; i += footer->leaf_count) {
        const struct parquet_footer_chunk *chunks = &footer->chunks[i];
        int64_t begin = 0;
        buf_reset(&bytes);
        rc = group_read(view, key, chunks, footer->leaf_count, &begin, &bytes, err);
        for (size_t k = 0; k < footer->leaf_count && rc == OK; k++) {
            struct slice all = buf_slice(&bytes);
            rc = parquet_chunk_check(
                slice_of(all.data + (chunks[k].offset - begin), (size_t)chunks[k].size), pages,
                err);
            if (rc != OK)
                rc = error_wrap(err, "row group %zu, field %d", i / footer->leaf_count,
                                footer->leaves[k].field_id);
        }
    }
    buf_free(&bytes);
    return rc;
}
