/* SPDX-License-Identifier: Apache-2.0
 *
 * Paths of the REST protocol. The prefix goes out as it came in: some servers send several
 * segments, others one that is encoded already, and nobody can tell which from the text.
 */
#include <string.h>

#include "cloud/catalog/rest.h"

int rest_namespace_put(const char *ns, const char *separator, struct buf *out, struct error *err)
{
    for (;;) {
        size_t len = strcspn(ns, ".");
        if (len == 0)
            return error_set(err, ERROR_INPUT, "namespace: a level is empty");
        http_client_encode(slice_of(ns, len), false, out);
        if (ns[len] == 0)
            return OK;
        buf_put_cstr(out, separator);
        ns += len + 1;
    }
}

int rest_path_make(const struct rest_config *config, const char *ns, const char *table,
                   const char *behind, struct buf *out, struct error *err)
{
    int rc = OK;
    buf_put_cstr(out, "/v1/");
    if (*config->prefix != 0)
        buf_printf(out, "%s/", config->prefix);
    buf_put_cstr(out, "namespaces");
    if (ns != NULL) {
        buf_put_cstr(out, "/");
        rc = rest_namespace_put(ns, config->separator, out, err);
    }
    if (table != NULL) {
        buf_put_cstr(out, "/tables/");
        http_client_encode(slice_cstr(table), false, out);
    }
    if (behind != NULL)
        buf_put_cstr(out, behind);
    return rc;
}

int rest_url_check(const char *url, struct buf *out, struct error *err)
{
    const char *host = strncmp(url, "https://", 8) == 0  ? url + 8
                       : strncmp(url, "http://", 7) == 0 ? url + 7
                                                         : NULL;
    size_t len = strlen(url);
    if (host == NULL || *host == 0 || *host == '/')
        return error_set(err, ERROR_INPUT, "\"%.100s\" is no http:// or https:// URL", url);
    for (const char *p = url; *p != 0; p++)
        if (*p <= ' ' || *p >= 0x7f || *p == '?' || *p == '#' || *p == '@')
            return error_set(err, ERROR_INPUT,
                             "a URL with '@', '?', '#', a blank or a foreign character");
    while (len > 0 && url[len - 1] == '/')
        len--;
    /* As libcurl makes Host of it: whoever signs that must see the same. */
    size_t head = (size_t)(host - url) + strcspn(host, "/");
    buf_put(out, url, (size_t)(host - url));
    int rc = http_client_host(url, out, err);
    if (rc == OK && len > head)
        buf_put(out, url + head, len - head);
    return rc;
}
