/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/yaml/yaml.h"

static struct yaml_tree parse(const char *text)
{
    struct yaml_tree tree;
    struct error err;
    if (yaml_tree_parse(&tree, "f.yaml", slice_cstr(text), &err) != OK)
        fail_msg("%s", err.text);
    return tree;
}

static void refuses(const char *text, const char *message)
{
    struct yaml_tree tree;
    struct error err;
    assert_int_equal(yaml_tree_parse(&tree, "f.yaml", slice_cstr(text), &err), ERROR_INPUT);
    if (strstr(err.text, message) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    yaml_tree_free(&tree); /* after a failure it is empty */
}

/* A message that names the wrong line sends the operator to the wrong place. */
static void lines_and_values_are_those_of_the_file(void **state)
{
    (void)state;
    struct yaml_tree tree = parse("# first\na: 1\nb:\n  c: [x, 'y z']\n  d: \"\"\n  e:\n");
    assert_int_equal(yaml_find(&tree.root, "a")->line, 2);
    const struct yaml_node *c = yaml_find_dotted(&tree.root, "b.c");
    assert_int_equal(c->line, 4);
    assert_int_equal(c->count, 2);
    assert_string_equal(c->entries[1].value.text, "y z");
    assert_false(yaml_find_dotted(&tree.root, "b.d")->empty);
    assert_true(yaml_find_dotted(&tree.root, "b.e")->empty);
    assert_null(yaml_find_dotted(&tree.root, "b.c.x"));
    assert_null(yaml_find_dotted(&tree.root, "b.f"));
    assert_null(yaml_find(&tree.root, "c"));
    yaml_tree_free(&tree);
}

/* `NO` is Norway and `on` a word: a guess at types would put false into a column. */
static void scalars_stay_text(void **state)
{
    (void)state;
    struct yaml_tree tree = parse("a: no\nb: 0x10\nc: 1_000\nd: null\ne: ~\n");
    assert_string_equal(yaml_find(&tree.root, "a")->text, "no");
    assert_string_equal(yaml_find(&tree.root, "b")->text, "0x10");
    assert_string_equal(yaml_find(&tree.root, "c")->text, "1_000");
    assert_string_equal(yaml_find(&tree.root, "d")->text, "null");
    assert_string_equal(yaml_find(&tree.root, "e")->text, "~");
    yaml_tree_free(&tree);
}

/* A file must mean what it shows: the last of two keys must not win unseen. */
static void what_hides_its_meaning_is_refused(void **state)
{
    (void)state;
    refuses("a: 1\nb: 2\na: 3\n", "f.yaml:3: \"a\" stands here twice, first in line 1");
    refuses("a: {b: 1, b: 2}\n", "f.yaml:1: \"b\" stands here twice");
    refuses("a: &x 1\nb: *x\n", "f.yaml:1: anchors and aliases");
    refuses("a: !!int 1\n", "f.yaml:1: tags are not taken");
    refuses("a: ! 1\n", "tags are not taken");
    refuses("a: !!map {}\n", "tags are not taken");
    refuses("a: 1\n---\nb: 2\n", "f.yaml:2: a second document");
    refuses("%TAG ! tag:x,2000:\n---\na: 1\n", "directives are not taken");
    refuses("? [a]\n: b\n", "a key must be a plain text");
    refuses("a: \"x\\0y\"\n", "f.yaml:1: a NUL in a text");
    refuses("", "the file is empty");
    refuses("# nothing\n", "the file is empty");
    refuses("- a\n", "must be a mapping");
    refuses("a\n", "must be a mapping");
}

static void broken_text_names_its_line(void **state)
{
    (void)state;
    refuses("a: 1\nb: [1\nc: 2\n", "f.yaml:3: not YAML");
    refuses("a: \"x\n", "not YAML");
    refuses("a: \xff\n", "not YAML");
    refuses("a: b: c\n", "f.yaml:1: not YAML");
}

/* A hostile file must not take the stack, the memory or an hour. */
static void depth_size_and_counts_are_bounded(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_put_cstr(&text, "a: ");
    for (int i = 0; i < 100000; i++)
        buf_put_u8(&text, '[');
    refuses(buf_cstr(&text), "nested more than 16 deep");
    buf_reset(&text);
    buf_put_cstr(&text, "a: [0");
    for (int i = 0; i < 5000; i++)
        buf_put_cstr(&text, ",1");
    buf_put_cstr(&text, "]\n");
    refuses(buf_cstr(&text), "more than 4096 entries");
    buf_reset(&text);
    buf_put_cstr(&text, "a: ");
    for (int i = 0; i < YAML_BYTES_MAX; i++)
        buf_put_u8(&text, 'x');
    refuses(buf_cstr(&text), "longer than 1048576 bytes");
    buf_free(&text);
}

/* A key that is read by nobody is a setting that silently does not hold. */
static void unknown_keys_name_the_nearest(void **state)
{
    (void)state;
    static const char *const known[] = {"warehouse", "spool.bytes", "spool.directory", "roll.age"};
    struct error err;
    struct yaml_tree tree = parse("warehouse: x\nspool:\n  byts: 1\n");
    assert_int_equal(yaml_check_dotted(&tree, known, 4, &err), ERROR_INPUT);
    assert_string_equal(err.text,
                        "f.yaml:3: unknown key \"spool.byts\", did you mean \"spool.bytes\"?");
    yaml_tree_free(&tree);

    tree = parse("wharehouse: x\n");
    assert_int_equal(yaml_check_keys(&tree, &tree.root, known, 4, &err), ERROR_INPUT);
    assert_string_equal(err.text,
                        "f.yaml:1: unknown key \"wharehouse\", did you mean \"warehouse\"?");
    yaml_tree_free(&tree);

    /* As messages and manuals name it: the same name as an answer would be no help. */
    tree = parse("spool.bytes: 1\n");
    assert_int_equal(yaml_check_dotted(&tree, known, 4, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:1: the key \"spool.bytes\" goes in levels here: "
                                  "spool: {bytes: ...}");
    yaml_tree_free(&tree);

    tree = parse("completely_different: x\n");
    assert_int_equal(yaml_check_dotted(&tree, known, 4, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:1: unknown key \"completely_different\"");
    yaml_tree_free(&tree);

    tree = parse("roll: 5\n");
    assert_int_equal(yaml_check_dotted(&tree, known, 4, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:1: roll must be a mapping of keys to values");
    yaml_tree_free(&tree);

    tree = parse("spool.bytes: 5\n");
    assert_int_equal(yaml_check_dotted(&tree, known, 4, &err), ERROR_INPUT);
    yaml_tree_free(&tree);

    tree = parse("warehouse: x\nspool: {bytes: 1, directory: d}\nroll: {age: 1s}\n");
    assert_int_equal(yaml_check_dotted(&tree, known, 4, &err), OK);
    yaml_tree_free(&tree);
}

/* `roll: 60` of what? A wrong guess of the unit is off by a thousand. */
static void numbers_need_their_units(void **state)
{
    (void)state;
    static const struct {
        enum yaml_unit unit;
        const char *text;
        int64_t value; /* -1: refused */
    } cases[] = {
        {YAML_MS, "60s", 60000},
        {YAML_MS, "5m", 300000},
        {YAML_MS, "1h", 3600000},
        {YAML_MS, "7d", 604800000},
        {YAML_MS, "250ms", 250},
        {YAML_MS, "0", 0},
        {YAML_MS, "60", -1},
        {YAML_MS, "1.5s", -1},
        {YAML_MS, "-1s", -1},
        {YAML_MS, "1 s", -1},
        {YAML_MS, "s", -1},
        {YAML_MS, "1MiB", -1},
        {YAML_BYTES, "256MiB", 256 << 20},
        {YAML_BYTES, "20GiB", INT64_C(20) << 30},
        {YAML_BYTES, "1kB", 1000},
        {YAML_BYTES, "17B", 17},
        {YAML_BYTES, "0", 0},
        {YAML_BYTES, "17", -1},
        {YAML_BYTES, "1mb", -1},
        {YAML_BYTES, "8388607TiB", INT64_C(8388607) << 40},
        {YAML_BYTES, "8388608TiB", -1},
        {YAML_COUNT, "9223372036854775807", INT64_MAX},
        {YAML_COUNT, "9223372036854775808", -1},
        {YAML_COUNT, "1k", -1},
        {YAML_COUNT, "", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t value = -1;
        bool taken = yaml_number_parse(cases[i].unit, cases[i].text, &value);
        if (taken != (cases[i].value >= 0) || (taken && value != cases[i].value))
            fail_msg("%s gives %lld", cases[i].text, (long long)value);
    }
}

static void values_out_of_range_name_the_bounds(void **state)
{
    (void)state;
    struct error err;
    struct yaml_tree tree = parse("roll:\n  age: 2d\n  bytes: 1MiB\n  on: maybe\n  to:\n  l: []\n");
    struct yaml_range age = {YAML_MS, 1000, 3600000};
    int64_t value = 0;
    const struct yaml_node *node = yaml_find_dotted(&tree.root, "roll.age");
    assert_int_equal(yaml_to_number(&tree, node, "roll.age", &age, &value, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:2: roll.age is out of range: 2d is not in 1s to 1h");
    node = yaml_find_dotted(&tree.root, "roll.bytes");
    assert_int_equal(yaml_to_number(&tree, node, "roll.bytes", &age, &value, &err), ERROR_INPUT);
    assert_string_equal(err.text,
                        "f.yaml:3: roll.bytes must be a time with its unit, as 60s, not \"1MiB\"");
    struct yaml_range bytes = {YAML_BYTES, 0, INT64_C(1) << 30};
    assert_int_equal(yaml_to_number(&tree, node, "roll.bytes", &bytes, &value, &err), OK);
    assert_int_equal(value, 1 << 20);

    bool flag = false;
    node = yaml_find_dotted(&tree.root, "roll.on");
    assert_int_equal(yaml_to_bool(&tree, node, "roll.on", &flag, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:4: roll.on must be true or false, not \"maybe\"");
    const char *text = NULL;
    node = yaml_find_dotted(&tree.root, "roll.to");
    assert_int_equal(yaml_to_text(&tree, node, "roll.to", &text, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:5: roll.to has no value");
    node = yaml_find_dotted(&tree.root, "roll.l");
    assert_int_equal(yaml_to_text(&tree, node, "roll.l", &text, &err), ERROR_INPUT);
    assert_string_equal(err.text, "f.yaml:6: roll.l must be a text");

    static const char *const words[] = {"refuse", "drop_oldest"};
    size_t choice = 9;
    node = yaml_find_dotted(&tree.root, "roll.on");
    assert_int_equal(yaml_to_choice(&tree, node, "policy", words, 2, &choice, &err), ERROR_INPUT);
    assert_string_equal(err.text,
                        "f.yaml:4: unknown policy \"maybe\": it is one of refuse, drop_oldest");
    yaml_tree_free(&tree);
}

/* "did you mean" that proposes another word is worse than none. */
static void nearest_is_a_slip_not_another_word(void **state)
{
    (void)state;
    static const char *const names[] = {"string", "country", "timestamptz", "int", "site_domain"};
    assert_string_equal(yaml_nearest("strng", names, 5), "string");
    assert_string_equal(yaml_nearest("STRING", names, 5), "string");
    assert_string_equal(yaml_nearest("timestamp", names, 5), "timestamptz");
    assert_string_equal(yaml_nearest("stie_domain", names, 5), "site_domain");
    assert_null(yaml_nearest("integer", names, 5));
    assert_null(yaml_nearest("", names, 5));
    assert_null(yaml_nearest("decimal", names, 5));
    assert_null(yaml_nearest("x", names, 0));
}

/* A missing file and a broken one ask for different acts. */
static void a_missing_file_is_named(void **state)
{
    (void)state;
    struct yaml_tree tree;
    struct error err;
    assert_int_not_equal(yaml_tree_load(&tree, "/nowhere/agent.yaml", &err), OK);
    assert_non_null(strstr(err.text, "/nowhere/agent.yaml"));
    assert_non_null(strstr(err.text, "No such file"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_and_values_are_those_of_the_file),
        cmocka_unit_test(scalars_stay_text),
        cmocka_unit_test(what_hides_its_meaning_is_refused),
        cmocka_unit_test(broken_text_names_its_line),
        cmocka_unit_test(depth_size_and_counts_are_bounded),
        cmocka_unit_test(unknown_keys_name_the_nearest),
        cmocka_unit_test(numbers_need_their_units),
        cmocka_unit_test(values_out_of_range_name_the_bounds),
        cmocka_unit_test(nearest_is_a_slip_not_another_word),
        cmocka_unit_test(a_missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
