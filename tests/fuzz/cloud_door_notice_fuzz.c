/* SPDX-License-Identifier: Apache-2.0
 *
 * What anybody may send to the commit service's port as a notice. */
#include <string.h>

#include "cloud/door/notice.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct notice notice;
    struct error err;
    if (notice_decode(&notice, slice_of(data, size), &err) != OK) {
        ASSERT(notice.count == 0 && notice.objects == NULL);
        return 0;
    }
    ASSERT(notice.count <= NOTICE_OBJECTS_MAX);
    size_t bytes = 0;
    for (size_t i = 0; i < notice.count; i++)
        bytes += strlen(notice.objects[i].bucket) + strlen(notice.objects[i].key);
    ASSERT(bytes <= size);
    static const char *const tables[] = {"db.clicks"};
    const struct notice_place place = {.warehouse = "s3://b", .tables = tables, .table_count = 1};
    bool wanted = true;
    ASSERT(notice_tables(&notice, &place, &wanted) == wanted);
    notice_free(&notice);
    return 0;
}
