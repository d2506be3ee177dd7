/* SPDX-License-Identifier: Apache-2.0
 *
 * xml.h: an XML answer as a small bounded tree, over libexpat.
 *
 * For the answers of S3 and STS: names without their prefixes, no attributes, and the text of
 * elements that have no children. A document type is refused, and with it every entity of a
 * stranger's making.
 *
 * Ownership  xml_decode gives the document, xml_free takes it back; nodes and texts are its.
 * Errors     ERROR_INPUT with line and column; ERROR_LIMIT beyond the bounds.
 */
#ifndef LIB_XML_XML_H
#define LIB_XML_XML_H

#include "lib/base/buf.h"
#include "lib/base/error.h"
#include "lib/base/slice.h"

enum { XML_BYTES_MAX = 16 << 20, XML_NODES_MAX = 100000, XML_DEPTH_MAX = 32 };

struct xml;

struct xml_node {
    const char *name;             /* behind the last ':' */
    const char *text;             /* UTF-8, never NULL; blanks as they came */
    const struct xml_node *child; /* the first */
    const struct xml_node *next;  /* of the same parent */
};

/* Blanks before an XML declaration, with which servers keep a connection alive, are skipped. */
int xml_decode(struct xml **out, struct slice bytes, struct error *err) MUST_USE;
void xml_free(struct xml *xml); /* NULL is fine */

const struct xml_node *xml_root(const struct xml *xml);

/* The first child of that name, the next one beside it; NULL: none. `node` may be NULL. */
const struct xml_node *xml_child(const struct xml_node *node, const char *name);
const struct xml_node *xml_next(const struct xml_node *node, const char *name);
/* Down by first children, "Credentials/AccessKeyId"; NULL: not there. */
const char *xml_text(const struct xml_node *node, const char *path);

/* As the text of an element. Control characters become references; NUL has none and goes. */
void xml_put_text(struct buf *out, struct slice text);

#endif
