/* SPDX-License-Identifier: Apache-2.0
 *
 * The tree is built from libyaml's events, one node an event. Depth is bounded before
 * each step down, so recursion is; libyaml's own nesting follows ours, since we stop it.
 */
#include "lib/yaml/yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <yaml.h>

#include "lib/base/assert.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"

struct builder {
    struct yaml_tree *tree;
    yaml_parser_t parser;
    struct error *err;
};

int yaml_error(const struct yaml_tree *tree, int line, struct error *err, const char *format, ...)
{
    char text[sizeof err->text];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return error_set(err, ERROR_INPUT, "%s:%d: %s", tree->name, line, text);
}

int yaml_error_unknown(const struct yaml_tree *tree, int line, const char *what, const char *wrong,
                       const char *const *known, size_t known_count, struct error *err)
{
    const char *near = yaml_nearest(wrong, known, known_count);
    if (near == NULL)
        return yaml_error(tree, line, err, "unknown %s \"%.100s\"", what, wrong);
    return yaml_error(tree, line, err, "unknown %s \"%.100s\", did you mean \"%.100s\"?", what,
                      wrong, near);
}

static int next_event(struct builder *builder, yaml_event_t *event)
{
    if (yaml_parser_parse(&builder->parser, event))
        return OK;
    const yaml_parser_t *parser = &builder->parser;
    bool reader = parser->error == YAML_READER_ERROR;
    size_t line = reader ? parser->mark.line : parser->problem_mark.line;
    return yaml_error(builder->tree, (int)line + 1, builder->err, "not YAML: %s%s%s",
                      parser->problem != NULL ? parser->problem : "no memory",
                      parser->context != NULL ? ", " : "",
                      parser->context != NULL ? parser->context : "");
}

static int event_line(const yaml_event_t *event)
{
    return (int)event->start_mark.line + 1;
}

/* What a reader of the file would not see at its place: refused. */
static int refuse_indirect(struct builder *builder, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_ALIAS_EVENT) {
        anchor = event->data.alias.anchor;
    } else if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    }
    if (anchor != NULL)
        return yaml_error(builder->tree, event_line(event), builder->err,
                          "anchors and aliases are not taken: write the value out");
    if (tag != NULL)
        return yaml_error(builder->tree, event_line(event), builder->err,
                          "tags are not taken: \"%.100s\"", (const char *)tag);
    return OK;
}

static int scalar_text(struct builder *builder, const yaml_event_t *event, const char **out)
{
    struct slice text = slice_of(event->data.scalar.value, event->data.scalar.length);
    if (memchr(text.data, 0, text.len) != NULL)
        return yaml_error(builder->tree, event_line(event), builder->err, "a NUL in a text");
    *out = arena_copy_cstr(&builder->tree->arena, text);
    return OK;
}

static int build_node(struct builder *builder, yaml_event_t *event, unsigned depth,
                      struct yaml_node *out);

/* Entries grow by doubling in the arena: what is left behind is bounded by the file. */
static struct yaml_entry *add_entry(struct builder *builder, struct yaml_node *node, int line)
{
    if (node->count == YAML_ENTRIES_MAX) {
        yaml_error(builder->tree, line, builder->err, "more than %d entries", YAML_ENTRIES_MAX);
        return NULL;
    }
    if ((node->count & (node->count - 1)) == 0) {
        size_t cap = node->count == 0 ? 1 : node->count * 2;
        struct yaml_entry *grown = arena_alloc(&builder->tree->arena, cap, sizeof *grown);
        if (node->count > 0)
            memcpy(grown, node->entries, node->count * sizeof *grown);
        node->entries = grown;
    }
    struct yaml_entry *entry = &node->entries[node->count++];
    entry->line = line;
    return entry;
}

static int read_key(struct builder *builder, const struct yaml_node *map, yaml_event_t *event,
                    const char **key)
{
    int line = event_line(event);
    int rc = refuse_indirect(builder, event);
    if (rc != OK)
        return rc;
    if (event->type != YAML_SCALAR_EVENT)
        return yaml_error(builder->tree, line, builder->err, "a key must be a plain text");
    rc = scalar_text(builder, event, key);
    if (rc != OK)
        return rc;
    for (size_t i = 0; i < map->count; i++)
        if (strcmp(map->entries[i].key, *key) == 0)
            return yaml_error(builder->tree, line, builder->err,
                              "\"%.100s\" stands here twice, first in line %d", *key,
                              map->entries[i].line);
    return OK;
}

static int build_entries(struct builder *builder, yaml_event_type_t end, unsigned depth,
                         struct yaml_node *out)
{
    for (;;) {
        yaml_event_t event;
        int rc = next_event(builder, &event);
        if (rc != OK)
            return rc;
        if (event.type == end) {
            yaml_event_delete(&event);
            return OK;
        }
        const char *key = NULL;
        int line = event_line(&event);
        if (out->kind == YAML_MAP) {
            rc = read_key(builder, out, &event, &key);
            yaml_event_delete(&event);
            if (rc != OK)
                return rc;
            rc = next_event(builder, &event);
            if (rc != OK)
                return rc;
        }
        struct yaml_entry *entry = add_entry(builder, out, line);
        if (entry == NULL) {
            yaml_event_delete(&event);
            return ERROR_INPUT;
        }
        entry->key = key;
        rc = build_node(builder, &event, depth + 1, &entry->value);
        if (rc != OK)
            return rc;
    }
}

/* Takes the event. */
static int build_node(struct builder *builder, yaml_event_t *event, unsigned depth,
                      struct yaml_node *out)
{
    int rc = refuse_indirect(builder, event);
    if (rc == OK && depth > YAML_DEPTH_MAX)
        rc = yaml_error(builder->tree, event_line(event), builder->err, "nested more than %d deep",
                        YAML_DEPTH_MAX);
    out->line = event_line(event);
    yaml_event_type_t end = YAML_NO_EVENT;
    if (rc == OK) {
        switch (event->type) {
        case YAML_SEQUENCE_START_EVENT:
            out->kind = YAML_LIST;
            end = YAML_SEQUENCE_END_EVENT;
            break;
        case YAML_MAPPING_START_EVENT:
            out->kind = YAML_MAP;
            end = YAML_MAPPING_END_EVENT;
            break;
        default:
            ASSERT(event->type == YAML_SCALAR_EVENT);
            out->kind = YAML_TEXT;
            out->empty = event->data.scalar.length == 0 &&
                         event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
            rc = scalar_text(builder, event, &out->text);
        }
    }
    yaml_event_delete(event);
    if (rc != OK || end == YAML_NO_EVENT)
        return rc;
    return build_entries(builder, end, depth, out);
}

/* The next event must be of this type; it is dropped. */
static int pass_event(struct builder *builder, yaml_event_type_t type, const char *otherwise)
{
    yaml_event_t event;
    int rc = next_event(builder, &event);
    if (rc != OK)
        return rc;
    int line = event_line(&event);
    bool fits = event.type == type;
    if (fits && type == YAML_DOCUMENT_START_EVENT) {
        fits = event.data.document_start.version_directive == NULL &&
               event.data.document_start.tag_directives.start ==
                   event.data.document_start.tag_directives.end;
        otherwise = "directives are not taken";
    }
    yaml_event_delete(&event);
    return fits ? OK : yaml_error(builder->tree, line, builder->err, "%s", otherwise);
}

static int build_document(struct builder *builder)
{
    int rc = pass_event(builder, YAML_STREAM_START_EVENT, "not YAML");
    if (rc == OK)
        rc = pass_event(builder, YAML_DOCUMENT_START_EVENT, "the file is empty");
    if (rc != OK)
        return rc;
    yaml_event_t event;
    rc = next_event(builder, &event);
    if (rc == OK)
        rc = build_node(builder, &event, 0, &builder->tree->root);
    if (rc == OK)
        rc = pass_event(builder, YAML_DOCUMENT_END_EVENT, "not YAML");
    if (rc == OK)
        rc = pass_event(builder, YAML_STREAM_END_EVENT, "a second document is not taken");
    if (rc == OK && builder->tree->root.kind != YAML_MAP)
        rc = yaml_error(builder->tree, builder->tree->root.line, builder->err,
                        "the file must be a mapping of keys to values");
    return rc;
}

int yaml_tree_parse(struct yaml_tree *out, const char *name, struct slice text, struct error *err)
{
    *out = (struct yaml_tree){0};
    out->name = arena_copy_cstr(&out->arena, slice_cstr(name));
    if (text.len > YAML_BYTES_MAX) {
        int rc = yaml_error(out, 1, err, "longer than %d bytes", YAML_BYTES_MAX);
        yaml_tree_free(out);
        return rc;
    }
    struct builder builder = {.tree = out, .err = err};
    int made = yaml_parser_initialize(&builder.parser);
    ASSERT(made);
    static const uint8_t nothing = 0;
    yaml_parser_set_input_string(&builder.parser, text.len > 0 ? text.data : &nothing, text.len);
    yaml_parser_set_encoding(&builder.parser, YAML_UTF8_ENCODING);
    int rc = build_document(&builder);
    yaml_parser_delete(&builder.parser);
    if (rc != OK)
        yaml_tree_free(out);
    return rc;
}

int yaml_tree_load(struct yaml_tree *out, const char *path, struct error *err)
{
    struct buf text = {0};
    *out = (struct yaml_tree){0};
    int rc = file_read(path, YAML_BYTES_MAX, &text, err);
    if (rc == OK)
        rc = yaml_tree_parse(out, path, buf_slice(&text), err);
    buf_free(&text);
    return rc;
}

void yaml_tree_free(struct yaml_tree *tree)
{
    arena_free(&tree->arena);
    *tree = (struct yaml_tree){0};
}
