/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/xml/xml.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct xml *decoded(const char *text)
{
    struct xml *xml = NULL;
    struct error err;
    assert_int_equal(xml_decode(&xml, slice_cstr(text), &err), OK);
    return xml;
}

/* The harm: a listing that is read in part, a key that is another one. */
static void a_listing_is_a_tree(void **state)
{
    (void)state;
    struct xml *xml = decoded(
        "\n \r\n<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a:ListBucketResult xmlns:a=\"x\" "
        "b='1'>\n  <Name>b</Name>\n"
        "  <Contents><Key>a&amp;b&#xe9;<!-- --><![CDATA[<c>]]> </Key><Size>7</Size></Contents>\n"
        "  <Prefix/>\n  <Contents><Key>second</Key></Contents>\n</a:ListBucketResult>\n");
    const struct xml_node *root = xml_root(xml);
    assert_string_equal(root->name, "ListBucketResult");
    assert_string_equal(root->text, "");
    assert_string_equal(xml_text(root, "Name"), "b");
    assert_string_equal(xml_text(root, "Contents/Key"), "a&b\xc3\xa9<c> ");
    assert_string_equal(xml_text(root, "Prefix"), "");
    assert_null(xml_text(root, "Contents/Nothing"));
    assert_null(xml_text(root, "Con"));
    assert_null(xml_text(root, "Name/Name"));
    const struct xml_node *contents = xml_child(root, "Contents");
    assert_string_equal(xml_text(contents, "Size"), "7");
    contents = xml_next(contents, "Contents");
    assert_string_equal(xml_text(contents, "Key"), "second");
    assert_null(xml_next(contents, "Contents"));
    assert_null(xml_child(NULL, "Key"));
    assert_null(xml_text(NULL, "Key"));
    xml_free(xml);
    xml_free(NULL);
}

/* The harm: an answer that was cut passes for a whole one. */
static void what_is_no_document_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "<a>",
        "<a></b>",
        "<a/><b/>",
        "<a/>tail",
        "{\"a\":1}",
        "<a>&nothing;</a>",
        "<a>\xff</a>",
        "<a>&#0;</a>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY b \"bbbb\"><!ENTITY c \"&b;&b;&b;\">]><a>&c;</a>",
        "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><a>&b;</a>",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct xml *xml = NULL;
        struct error err;
        assert_int_equal(xml_decode(&xml, slice_cstr(texts[i]), &err), ERROR_INPUT);
        assert_null(xml);
        assert_non_null(strstr(err.text, "XML, line 1, column "));
    }
}

/* The harm: a peer takes all memory. */
static void bounds_are_held(void **state)
{
    (void)state;
    struct buf text = {0};
    struct xml *xml = NULL;
    struct error err;
    for (int depth = XML_DEPTH_MAX; depth <= XML_DEPTH_MAX + 1; depth++) {
        buf_reset(&text);
        for (int i = 0; i < depth; i++)
            buf_put_cstr(&text, "<a>");
        for (int i = 0; i < depth; i++)
            buf_put_cstr(&text, "</a>");
        assert_int_equal(xml_decode(&xml, buf_slice(&text), &err),
                         depth == XML_DEPTH_MAX ? OK : ERROR_LIMIT);
        xml_free(xml);
    }
    buf_reset(&text);
    buf_put_cstr(&text, "<a>");
    for (int i = 0; i < XML_NODES_MAX; i++)
        buf_put_cstr(&text, "<b/>");
    buf_put_cstr(&text, "</a>");
    assert_int_equal(xml_decode(&xml, buf_slice(&text), &err), ERROR_LIMIT);
    while (text.len <= XML_BYTES_MAX)
        buf_put_cstr(&text, "                                                                ");
    assert_int_equal(xml_decode(&xml, buf_slice(&text), &err), ERROR_LIMIT);
    buf_free(&text);
}

/* The harm: a key with a mark of XML in it ends the element it stands in. */
static void a_text_comes_back_as_it_was_put(void **state)
{
    (void)state;
    static const char key[] = "a<b>&c;\r\n\t\"d'\xc3\xa9]]>";
    struct buf text = {0};
    buf_put_cstr(&text, "<a>");
    xml_put_text(&text, slice_of(key, sizeof key)); /* with its NUL, which goes */
    buf_put_cstr(&text, "</a>");
    struct xml *xml = decoded(buf_cstr(&text));
    assert_string_equal(xml_root(xml)->text, key);
    xml_free(xml);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_listing_is_a_tree),
        cmocka_unit_test(what_is_no_document_is_refused),
        cmocka_unit_test(bounds_are_held),
        cmocka_unit_test(a_text_comes_back_as_it_was_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
