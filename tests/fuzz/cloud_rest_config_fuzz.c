/* SPDX-License-Identifier: Apache-2.0
 *
 * A REST catalog's configuration, and the paths that are made by it: whatever the server says,
 * a path stays one line below /v1/, and cannot climb.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void path_check(const char *path)
{
    ASSERT(strncmp(path, "/v1/", 4) == 0);
    ASSERT(strstr(path, "/../") == NULL && strstr(path, "/./") == NULL);
    for (const char *p = path; *p != 0; p++)
        ASSERT(*p > ' ' && *p < 0x7f && *p != '?' && *p != '#');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rest_config config;
    struct catalog_names names = {0};
    struct error err = {0};
    struct buf path = {0};
    char *token = NULL;
    json_t *client = json_pack("{s:s}", "warehouse", "w");
    int rc = rest_config_decode(&config, client, slice_of(data, size), &err);
    if (rc == OK) {
        rc = rest_path_make(&config, "a.b", "t/..", NULL, &path, &err);
        ASSERT(rc == OK);
        path_check(buf_cstr(&path));
        rest_config_free(&config);
    } else {
        ASSERT(rc == ERROR_INPUT && err.text[0] != 0);
    }
    for (int what = REST_LIST_NAMESPACES; what <= REST_LIST_TABLES; what++) {
        rc = rest_page_decode((enum rest_list)what, slice_of(data, size), &names, &token, &err);
        ASSERT(rc == OK || token == NULL);
        for (size_t i = 0; i < names.count; i++)
            ASSERT(names.names[i][0] != 0);
        catalog_names_free(&names);
        free(token);
    }
    json_decref(client);
    buf_free(&path);
    return 0;
}
