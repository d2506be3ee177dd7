/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an XML answer. A tree that is taken is within its bounds and, written again from
 * names and texts alone, decodes to the same.
 */
#include <stdbool.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/xml/xml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool is_ascii(const char *text)
{
    for (; *text != 0; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* Returns whether all names are ASCII. */
static bool write_tree(const struct xml_node *root, struct buf *out)
{
    bool plain = true;
    const struct xml_node *path[XML_DEPTH_MAX];
    size_t depth = 0;
    size_t count = 0;
    const struct xml_node *node = root;
    while (node != NULL) {
        ASSERT(++count <= XML_NODES_MAX && depth < XML_DEPTH_MAX);
        ASSERT(node->child == NULL || node->text[0] == 0);
        plain = plain && is_ascii(node->name);
        buf_printf(out, "<%s>", node->name);
        xml_put_text(out, slice_cstr(node->text));
        path[depth++] = node;
        node = node->child;
        while (node == NULL && depth > 0) {
            buf_printf(out, "</%s>", path[--depth]->name);
            node = path[depth]->next;
        }
    }
    return plain;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct xml *xml = NULL;
    struct xml *again = NULL;
    struct error err;
    int rc = xml_decode(&xml, slice_of(data, size), &err);
    if (rc != OK) {
        ASSERT(xml == NULL && (rc == ERROR_INPUT || rc == ERROR_LIMIT) && err.text[0] != 0);
        return 0;
    }
    struct buf first = {0};
    struct buf second = {0};
    bool plain = write_tree(xml_root(xml), &first);
    rc = xml_decode(&again, buf_slice(&first), &err);
    /* "a:1" is a name, "1" is none; and libexpat takes letters for a name in UTF-16 (U+00AA) that
     * it doesn't in UTF-8. */
    if (rc == OK) {
        (void)write_tree(xml_root(again), &second);
        ASSERT(slice_equal(buf_slice(&first), buf_slice(&second)));
    } else {
        ASSERT(!plain || memchr(data, ':', size) != NULL);
    }
    xml_free(xml);
    xml_free(again);
    buf_free(&first);
    buf_free(&second);
    return 0;
}
