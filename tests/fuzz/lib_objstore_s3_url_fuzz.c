/* SPDX-License-Identifier: Apache-2.0
 *
 * Two lines: a warehouse's URL, an endpoint. What is taken makes a host and a path that hold
 * nothing by which a request could go elsewhere than where its signature says.
 */
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/objstore/s3_url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(const struct s3_endpoint *endpoint, const struct s3_place *place)
{
    static const char key[] = "a b/%2F=\xc3\xa9";
    struct buf path = {0};
    s3_path_put(endpoint, place, key, &path);
    const char *text = buf_cstr(&path);
    ASSERT(text[0] == '/' && text[1] != '/' && strlen(text) == path.len);
    for (size_t i = 0; i < path.len; i++)
        ASSERT(text[i] > 0x20 && text[i] < 0x7f && strchr("?#\\\"<>", text[i]) == NULL);
    ASSERT(strstr(text, "/../") == NULL && strstr(text, "//") == NULL);
    static const char end[] = "a%20b/%252F%3D%C3%A9";
    ASSERT(path.len >= sizeof end && strcmp(text + path.len - (sizeof end - 1), end) == 0);
    buf_free(&path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct s3_place place;
    struct s3_endpoint endpoint;
    struct error err;
    char *url = memory_copy_slice(slice_of(data, size));
    char *other = strchr(url, '\n');
    if (other != NULL)
        *other++ = 0;
    struct aws_endpoint at = {.url = other};
    int rc = s3_place_parse(&place, url, &err);
    ASSERT(rc == OK || rc == ERROR_INPUT);
    if (rc == OK) {
        ASSERT(strncmp(url + 5, place.bucket, strlen(place.bucket)) == 0);
        for (int style = S3_STYLE_AUTO; style <= S3_STYLE_HOST; style++) {
            rc = s3_endpoint_make(&endpoint, &at, "us-east-1", &place, (enum s3_style)style, &err);
            ASSERT(rc == OK || rc == ERROR_INPUT);
            if (rc != OK)
                continue;
            ASSERT(endpoint.host[0] != 0 && strpbrk(endpoint.host, "/?#@% \r\n\\") == NULL);
            check_path(&endpoint, &place);
        }
    }
    free(url);
    return 0;
}
