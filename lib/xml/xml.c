/* SPDX-License-Identifier: Apache-2.0
 *
 * libexpat tells of elements; here they are hung into a tree whose parts lie in one arena. The
 * path to the element that is open is an array, so depth costs no stack.
 */
#include "lib/xml/xml.h"

#include <expat.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/arena.h"
#include "lib/base/assert.h"
#include "lib/base/memory.h"

struct xml {
    struct arena arena;
    const struct xml_node *root;
};

/* The element that is open at one depth, and its last child so far. */
struct level {
    struct xml_node *node;
    struct xml_node *last;
};

struct reading {
    struct xml *xml;
    XML_Parser parser;
    struct level levels[XML_DEPTH_MAX];
    size_t depth;
    size_t node_count;
    struct buf text;       /* since the latest element began */
    enum error_code rc;    /* why we stopped the parser */
    const char *complaint; /* a literal */
};

static void stop(struct reading *reading, enum error_code rc, const char *complaint)
{
    if (reading->rc != OK)
        return;
    reading->rc = rc;
    reading->complaint = complaint;
    XML_StopParser(reading->parser, XML_FALSE);
}

static void on_start(void *context, const XML_Char *name, const XML_Char **attributes)
{
    (void)attributes;
    struct reading *reading = context;
    if (reading->rc != OK)
        return; /* libexpat may still tell of what it had read */
    if (reading->depth == XML_DEPTH_MAX) {
        stop(reading, ERROR_LIMIT, "too deep");
        return;
    }
    if (++reading->node_count > XML_NODES_MAX) {
        stop(reading, ERROR_LIMIT, "too many elements");
        return;
    }
    const char *colon = strrchr(name, ':');
    struct xml_node *node = arena_alloc(&reading->xml->arena, 1, sizeof *node);
    node->name =
        arena_copy_cstr(&reading->xml->arena, slice_cstr(colon != NULL ? colon + 1 : name));
    node->text = "";
    if (reading->depth == 0) {
        reading->xml->root = node;
    } else {
        struct level *parent = &reading->levels[reading->depth - 1];
        if (parent->last == NULL)
            parent->node->child = node;
        else
            parent->last->next = node;
        parent->last = node;
    }
    reading->levels[reading->depth++] = (struct level){.node = node};
    buf_reset(&reading->text);
}

static void on_end(void *context, const XML_Char *name)
{
    (void)name;
    struct reading *reading = context;
    if (reading->rc != OK)
        return;
    ASSERT(reading->depth > 0);
    struct xml_node *node = reading->levels[--reading->depth].node;
    if (node->child == NULL && reading->text.len > 0)
        node->text = arena_copy_cstr(&reading->xml->arena, buf_slice(&reading->text));
}

static void on_text(void *context, const XML_Char *text, int len)
{
    struct reading *reading = context;
    if (reading->rc == OK)
        buf_put(&reading->text, text, (size_t)len);
}

static void on_doctype(void *context, const XML_Char *name, const XML_Char *system,
                       const XML_Char *public, int has_internal)
{
    (void)name;
    (void)system;
    (void)public;
    (void)has_internal;
    stop(context, ERROR_INPUT, "a document type");
}

static int parse(struct reading *reading, struct slice bytes, struct error *err)
{
    XML_Parser parser = reading->parser;
    XML_SetUserData(parser, reading);
    XML_SetElementHandler(parser, on_start, on_end);
    XML_SetCharacterDataHandler(parser, on_text);
    XML_SetStartDoctypeDeclHandler(parser, on_doctype);
    if (XML_Parse(parser, (const char *)bytes.data, (int)bytes.len, 1) == XML_STATUS_OK)
        return OK;
    const char *what =
        reading->rc != OK ? reading->complaint : XML_ErrorString(XML_GetErrorCode(parser));
    return error_set(err, reading->rc != OK ? reading->rc : ERROR_INPUT,
                     "XML, line %lu, column %lu: %s",
                     (unsigned long)XML_GetCurrentLineNumber(parser),
                     (unsigned long)XML_GetCurrentColumnNumber(parser) + 1, what);
}

int xml_decode(struct xml **out, struct slice bytes, struct error *err)
{
    *out = NULL;
    if (bytes.len > XML_BYTES_MAX)
        return error_set(err, ERROR_LIMIT, "XML of %zu bytes", bytes.len);
    while (bytes.len > 0 && strchr(" \t\r\n", bytes.data[0]) != NULL && bytes.data[0] != 0)
        bytes = slice_of(bytes.data + 1, bytes.len - 1);
    struct reading reading = {.xml = memory_alloc(1, sizeof *reading.xml),
                              .parser = XML_ParserCreate(NULL)};
    if (reading.parser == NULL)
        abort();
    int rc = parse(&reading, bytes, err);
    XML_ParserFree(reading.parser);
    buf_free(&reading.text);
    if (rc != OK) {
        xml_free(reading.xml);
        return rc;
    }
    ASSERT(reading.xml->root != NULL && reading.depth == 0);
    *out = reading.xml;
    return OK;
}

void xml_free(struct xml *xml)
{
    if (xml == NULL)
        return;
    arena_free(&xml->arena);
    free(xml);
}

const struct xml_node *xml_root(const struct xml *xml)
{
    return xml->root;
}

static const struct xml_node *find(const struct xml_node *node, struct slice name)
{
    while (node != NULL && !slice_is(name, node->name))
        node = node->next;
    return node;
}

const struct xml_node *xml_child(const struct xml_node *node, const char *name)
{
    return node == NULL ? NULL : find(node->child, slice_cstr(name));
}

const struct xml_node *xml_next(const struct xml_node *node, const char *name)
{
    return node == NULL ? NULL : find(node->next, slice_cstr(name));
}

const char *xml_text(const struct xml_node *node, const char *path)
{
    while (node != NULL && *path != 0) {
        size_t len = strcspn(path, "/");
        node = find(node->child, slice_of(path, len));
        path += len + (path[len] == '/');
    }
    return node == NULL ? NULL : node->text;
}

void xml_put_text(struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '&')
            buf_put_cstr(out, "&amp;");
        else if (c == '<')
            buf_put_cstr(out, "&lt;");
        else if (c == '>')
            buf_put_cstr(out, "&gt;");
        else if (c >= ' ')
            buf_put_u8(out, c);
        else if (c != 0)
            buf_printf(out, "&#x%X;", c);
    }
}
