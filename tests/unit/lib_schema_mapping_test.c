/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/base/buf.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/schema/mapping.h"

static struct mapping parse(const char *text)
{
    struct mapping mapping;
    struct error err;
    if (mapping_parse(&mapping, "m.yaml", slice_cstr(text), &err) != OK)
        fail_msg("%s", err.text);
    return mapping;
}

static void refuses(const char *text, const char *message)
{
    struct mapping mapping;
    struct error err;
    int rc = mapping_parse(&mapping, "m.yaml", slice_cstr(text), &err);
    if (rc == OK)
        fail_msg("taken, but should say \"%s\"", message);
    assert_int_equal(rc, ERROR_INPUT);
    if (strstr(err.text, message) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, message);
    mapping_free(&mapping); /* after a failure it is empty */
}

/* A column in a table "t" with an enum, a time and a text beside it. */
static void refuses_column(const char *column, const char *message)
{
    char *text = memory_printf("table: t\nexplode: imp\ncolumns:\n  x: %s\n", column);
    refuses(text, message);
    free(text);
}

static void takes_column(const char *column)
{
    char *text = memory_printf("table: t\nexplode: imp\ncolumns:\n  x: %s\n", column);
    struct mapping mapping = parse(text);
    mapping_free(&mapping);
    free(text);
}

static const struct mapping_column *rule(const struct mapping *mapping, const char *name)
{
    size_t at = table_schema_find(&mapping->schema, name);
    assert_true(at != SIZE_MAX);
    return &mapping->columns[at];
}

/* The path as a mapping file writes it, for comparison. */
static void put_source(struct buf *out, const struct source *source)
{
    static const char *const dollars[] = {
        "",           "$received_at", "$source_time", "$stream",  "$position", "$host", "$topic",
        "$partition", "$offset",      "$key",         "$header.", "$query.",   "$raw"};
    buf_put_cstr(out, dollars[source->kind]);
    if (source->name != NULL)
        buf_put_cstr(out, source->name);
    for (size_t i = 0; i < source->step_count; i++) {
        const struct path_step *step = &source->steps[i];
        if (step->kind == STEP_KEY)
            buf_printf(out, "%s%s", i > 0 ? "." : "", step->key);
        else if (step->kind == STEP_INDEX)
            buf_printf(out, "[%u]", (unsigned)step->index);
        else
            buf_put_cstr(out, "[]");
    }
}

static void assert_sources(const struct mapping *mapping, const char *name, const char *expected)
{
    const struct mapping_column *column = rule(mapping, name);
    struct buf text = {0};
    for (size_t i = 0; i < column->source_count; i++) {
        buf_put_cstr(&text, i > 0 ? " | " : "");
        put_source(&text, &column->sources[i]);
    }
    assert_string_equal(buf_cstr(&text), expected);
    buf_free(&text);
}

static void put_columns(struct buf *out, const struct mapping *mapping)
{
    for (size_t i = 0; i < mapping->schema.column_count; i++) {
        const struct column *column = &mapping->schema.columns[i];
        const struct mapping_column *from = &mapping->columns[i];
        buf_printf(out, "%d %s %s%s%s%s%s%s", (int)column->field_id, column->name,
                   column->list ? "list " : "",
                   from->coercion == COERCE_COUNTRY ? "country" : type_name(column->type),
                   column->required ? " required" : "", column->bloom ? " bloom" : "",
                   column->personal ? " personal" : "", column->list ? " e" : "");
        if (column->list)
            buf_printf(out, "%d", (int)column->element_id);
        buf_put_cstr(out, ":");
        for (size_t s = 0; s < from->source_count; s++) {
            buf_put_cstr(out, s > 0 ? " | " : " ");
            put_source(out, &from->sources[s]);
        }
        if (from->default_text != NULL)
            buf_printf(out, " = %s", from->default_text);
        buf_put_cstr(out, "\n");
    }
}

static const struct {
    const char *name;
    const char *columns;
} preset_columns[] = {
    {"openrtb/bid_requests",
     "1 request_id string required bloom: id\n"
     "2 imp_id string: imp[].id\n"
     "3 imp_banner_w int: imp[].banner.w | imp[].banner.format[0].w\n"
     "4 imp_banner_h int: imp[].banner.h | imp[].banner.format[0].h\n"
     "5 imp_bidfloor double: imp[].bidfloor\n"
     "6 site_id string: site.id | app.id\n"
     "7 site_domain string: site.domain | app.domain | app.bundle\n"
     "8 site_cat list string e22: site.cat | app.cat\n"
     "9 publisher_id string: site.publisher.id | app.publisher.id\n"
     "10 device_type int: device.devicetype\n"
     "11 device_os string: device.os\n"
     "12 device_geo_country country: device.geo.country\n"
     "13 device_geo_region string: device.geo.region\n"
     "14 user_id string personal: user.id\n"
     "15 auction_type int: at\n"
     "16 tmax int: tmax\n"
     "17 currency string: cur[0]\n"
     "18 is_coppa boolean: regs.coppa\n"
     "19 is_gdpr boolean: regs.gdpr | regs.ext.gdpr\n"
     "20 event_timestamp timestamptz: ext.ts | $source_time | $received_at\n"
     "21 received_at timestamptz: $received_at\n"},
    {"openrtb/bid_responses",
     "1 request_id string required bloom: id\n"
     "2 bid_response_id string: bidid\n"
     "3 seat string: seatbid[].seat\n"
     "4 bid_id string: seatbid[].bid[].id\n"
     "5 imp_id string: seatbid[].bid[].impid\n"
     "6 price double: seatbid[].bid[].price\n"
     "7 currency string: cur = USD\n"
     "8 ad_id string: seatbid[].bid[].adid\n"
     "9 campaign_id string: seatbid[].bid[].cid\n"
     "10 creative_id string: seatbid[].bid[].crid\n"
     "11 deal_id string: seatbid[].bid[].dealid\n"
     "12 adomain list string e19: seatbid[].bid[].adomain\n"
     "13 cat list string e20: seatbid[].bid[].cat\n"
     "14 w int: seatbid[].bid[].w\n"
     "15 h int: seatbid[].bid[].h\n"
     "16 nbr int: nbr\n"
     "17 event_timestamp timestamptz: ext.ts | $source_time | $received_at\n"
     "18 received_at timestamptz: $received_at\n"},
    {"openrtb/impressions",
     "1 impression_id string required bloom: id\n"
     "2 request_id string bloom: request_id\n"
     "3 imp_id string: imp_id\n"
     "4 bid_id string: bid_id\n"
     "5 seat string: seat\n"
     "6 campaign_id string: campaign_id\n"
     "7 creative_id string: creative_id\n"
     "8 site_domain string: site_domain\n"
     "9 publisher_id string: publisher_id\n"
     "10 device_type int: device_type\n"
     "11 device_geo_country country: device_geo_country\n"
     "12 user_id string personal: user_id\n"
     "13 price double: price\n"
     "14 currency string: currency\n"
     "15 event_timestamp timestamptz: ts | ext.ts | $source_time | $received_at\n"
     "16 received_at timestamptz: $received_at\n"},
    {"openrtb/clicks", "1 click_id string required bloom: id\n"
                       "2 impression_id string bloom: impression_id\n"
                       "3 request_id string bloom: request_id\n"
                       "4 imp_id string: imp_id\n"
                       "5 bid_id string: bid_id\n"
                       "6 campaign_id string: campaign_id\n"
                       "7 creative_id string: creative_id\n"
                       "8 site_domain string: site_domain\n"
                       "9 device_geo_country country: device_geo_country\n"
                       "10 user_id string personal: user_id\n"
                       "11 landing_page string: landing_page\n"
                       "12 event_timestamp timestamptz: ts | ext.ts | $source_time | $received_at\n"
                       "13 received_at timestamptz: $received_at\n"},
    {"openrtb/dead_letters", "1 received_at timestamptz: received_at | $received_at\n"
                             "2 source string: source\n"
                             "3 table string: table\n"
                             "4 position long: position\n"
                             "5 reason string: reason\n"
                             "6 body string: body\n"},
};

/* The tables are a contract: a column that moved would give it another field id. */
static void presets_are_the_designs_tables(void **state)
{
    (void)state;
    for (size_t i = 0; i < 5; i++) {
        struct mapping mapping;
        struct error err;
        assert_int_equal(mapping_load_preset(&mapping, preset_columns[i].name, &err), OK);
        assert_string_equal(presets[i].name, preset_columns[i].name);
        assert_string_equal(mapping.schema.table, preset_columns[i].name + strlen("openrtb/"));
        struct buf text = {0};
        put_columns(&text, &mapping);
        assert_string_equal(buf_cstr(&text), preset_columns[i].columns);
        buf_free(&text);
        mapping_free(&mapping);
    }
    assert_null(presets[5].name);
}

/* "fields / fields; sort", with names and ids. */
static void put_layout(struct buf *out, const struct table_schema *schema)
{
    for (size_t s = 0; s < schema->spec_count; s++) {
        buf_printf(out, "%s%d:", s > 0 ? " / " : "", (int)schema->specs[s].spec_id);
        for (size_t i = 0; i < schema->specs[s].field_count; i++)
            buf_printf(out, " %s=%d", schema->specs[s].fields[i].name,
                       (int)schema->specs[s].fields[i].field_id);
    }
    buf_printf(out, "; %d:", (int)schema->sort.order_id);
    for (size_t i = 0; i < schema->sort.column_count; i++)
        buf_printf(out, " %s", schema->columns[schema->sort.columns[i]].name);
}

/* Readers prune by these: another partition or order is another table. */
static void presets_have_the_designs_partitions(void **state)
{
    (void)state;
    static const char *const both = "0: event_timestamp_day=1000 device_geo_country=1001 / "
                                    "1: event_timestamp_day=1000; "
                                    "1: site_domain device_geo_country event_timestamp";
    const struct {
        const char *name;
        const char *layout;
        const char *time;
    } tables[] = {
        {"openrtb/bid_requests", both, "event_timestamp"},
        {"openrtb/bid_responses", "0: event_timestamp_day=1000; 1: event_timestamp",
         "event_timestamp"},
        {"openrtb/impressions", both, "event_timestamp"},
        {"openrtb/clicks", both, "event_timestamp"},
        {"openrtb/dead_letters", "0: received_at_day=1000; 0:", "received_at"},
    };
    for (size_t i = 0; i < 5; i++) {
        struct mapping mapping;
        struct error err;
        assert_int_equal(mapping_load_preset(&mapping, tables[i].name, &err), OK);
        struct buf text = {0};
        put_layout(&text, &mapping.schema);
        assert_string_equal(buf_cstr(&text), tables[i].layout);
        assert_int_equal(mapping.schema.time_column,
                         table_schema_find(&mapping.schema, tables[i].time));
        buf_free(&text);
        mapping_free(&mapping);
    }
}

static void explode_has_its_levels(void **state)
{
    (void)state;
    struct mapping mapping;
    struct error err;
    assert_int_equal(mapping_load_preset(&mapping, "openrtb/bid_responses", &err), OK);
    assert_int_equal(mapping.explode_level_count, 2);
    struct buf text = {0};
    put_source(&text, &mapping.explode);
    assert_string_equal(buf_cstr(&text), "seatbid[].bid[]");
    buf_free(&text);
    assert_int_equal(rule(&mapping, "seat")->sources[0].each_count, 1);
    assert_int_equal(rule(&mapping, "price")->sources[0].each_count, 2);
    assert_int_equal(rule(&mapping, "nbr")->sources[0].each_count, 0);
    mapping_free(&mapping);

    mapping = parse("table: t\nexplode: a.b[]\ncolumns: {x: {type: int, from: \"a.b[].c\"}}\n");
    assert_int_equal(mapping.explode_level_count, 1);
    assert_int_equal(mapping.explode.step_count, 3);
    mapping_free(&mapping);
}

/* A replaced column that moved behind would get another field id: old files would give
 * its values to another column. */
static void extends_replaces_in_place_and_adds_behind(void **state)
{
    (void)state;
    struct mapping mapping = parse("table: mine\n"
                                   "extends: openrtb/bid_requests\n"
                                   "partition: [day(received_at)]\n"
                                   "unmapped: count\n"
                                   "columns:\n"
                                   "  exchange: {type: string, from: $header.X-Exchange}\n"
                                   "  tmax: {type: long, from: ext.tmax, default: 100}\n"
                                   "  body: {type: string, from: $raw}\n");
    const struct table_schema *schema = &mapping.schema;
    assert_string_equal(schema->table, "mine");
    assert_int_equal(mapping.unmapped, UNMAPPED_COUNT);
    assert_int_equal(mapping.priority, PRIORITY_LOW);
    assert_int_equal(mapping.explode_level_count, 1);
    assert_int_equal(schema->column_count, 23);
    assert_int_equal(table_schema_find(schema, "tmax"), 15);
    assert_int_equal(schema->columns[15].type, TYPE_LONG);
    assert_int_equal(schema->columns[15].field_id, 16);
    assert_string_equal(rule(&mapping, "tmax")->default_text, "100");
    assert_int_equal(rule(&mapping, "tmax")->line, 7);
    assert_sources(&mapping, "exchange", "$header.x-exchange");
    assert_int_equal(schema->columns[22].field_id, 23);
    assert_int_equal(schema->columns[7].element_id, 24);
    assert_int_equal(schema->spec_count, 1);
    assert_string_equal(schema->specs[0].fields[0].name, "received_at_day");
    assert_int_equal(schema->sort.column_count, 3);
    mapping_free(&mapping);

    mapping = parse("extends: openrtb/clicks\n");
    assert_int_equal(mapping.priority, PRIORITY_HIGH);
    assert_string_equal(mapping.schema.table, "clicks");
    assert_int_equal(mapping.schema.column_count, 13);
    mapping_free(&mapping);
}

static void files_that_are_no_mapping_are_refused(void **state)
{
    (void)state;
    refuses("columns: {x: {type: int, from: x}}\n", "m.yaml:1: no `table`");
    refuses("table: t\n", "m.yaml:1: no `columns`");
    refuses("table: t\ncolumns: {}\n", "no `columns`");
    refuses("table: t\ncolumns: [x]\n", "m.yaml:2: columns must be a mapping");
    refuses("table: ../etc\ncolumns: {x: {type: int, from: x}}\n", "m.yaml:1: \"../etc\" is no");
    refuses("table: T\ncolumns: {x: {type: int, from: x}}\n", "is no table name");
    refuses("table: a.b\ncolumns: {x: {type: int, from: x}}\n", "is no table name");
    refuses("tabel: t\n", "m.yaml:1: unknown key \"tabel\", did you mean \"table\"?");
    refuses("table: t\nextends: openrtb/bid_request\n",
            "m.yaml:2: unknown preset \"openrtb/bid_request\", did you mean "
            "\"openrtb/bid_requests\"?");
    refuses("table: t\nunmapped: evolve\ncolumns: {x: {type: int, from: x}}\n",
            "m.yaml:2: unknown unmapped \"evolve\": it is one of ignore, count");
    refuses("table: t\npriority: hihg\ncolumns: {x: {type: int, from: x}}\n",
            "m.yaml:2: unknown priority \"hihg\", did you mean \"high\"?");
}

/* What is wrong with a column must be told at the start, not found out from a table. */
static void wrong_columns_are_refused(void **state)
{
    (void)state;
    refuses_column("{type: strng, from: x}",
                   "m.yaml:4: unknown type \"strng\", did you mean \"string\"?");
    refuses_column("{type: list<strng>, from: x}", "did you mean \"string\"?");
    refuses_column("{type: list<list<int>>, from: x}", "unknown type \"list<int>\"");
    refuses_column("{type: list<, from: x}", "unknown type \"list<\"");
    refuses_column("{type: decimal, from: x}", "unknown type \"decimal\"");
    refuses_column("{from: x}", "m.yaml:4: column \"x\": no type");
    refuses_column("{type: int}", "m.yaml:4: column \"x\": no `from`");
    refuses_column("int", "m.yaml:4: x must be a mapping");
    refuses_column("{type: int, form: x}", "unknown key \"form\", did you mean \"from\"?");
    refuses_column("{type: int, from: x, required: 1}", "required must be true or false");
    refuses_column("{type: boolean, from: x, bloom: true}", "no Bloom filter");
    refuses_column("{type: list<string>, from: x, bloom: true}", "no Bloom filter");
    refuses_column("{type: int, from: x, unit: s}", "unit is for timestamptz");
    refuses_column("{type: timestamptz, from: x, unit: ns}", "unknown unit \"ns\"");
    refuses_column("{type: int, from: x, enum: [1]}", "enum is for strings");
    refuses_column("{type: country, from: x, enum: [USA]}", "enum is for strings");
    refuses_column("{type: string, from: x, enum: []}", "enum holds 1 to 1000 values");
    refuses_column("{type: string, from: x, enum: [a, b, a]}", "enum names a value twice");
    refuses("table: t\ncolumns:\n  a: {type: int, from: x}\n  a: {type: int, from: y}\n",
            "m.yaml:4: \"a\" stands here twice, first in line 3");
    refuses("table: t\ncolumns:\n  a: {type: int, from: x}\n  A: {type: int, from: y}\n",
            "m.yaml:4: columns \"a\" and \"A\" differ only by case");
    refuses("extends: openrtb/clicks\ncolumns:\n  Seat: {type: int, from: x}\n"
            "  User_Id: {type: int, from: y}\n",
            "m.yaml:4: columns \"user_id\" and \"User_Id\" differ only by case");
    refuses("table: t\ncolumns:\n  a-b: {type: int, from: x}\n", "m.yaml:3: \"a-b\" is no column");
    refuses("table: t\ncolumns:\n  \"\": {type: int, from: x}\n", "is no column name");
    refuses("table: t\ncolumns:\n  event_timestamp: {type: long, from: x}\n",
            "m.yaml:3: column \"event_timestamp\": must be a timestamptz");
}

static void impossible_paths_are_refused(void **state)
{
    (void)state;
    static const char *const broken[] = {"",
                                         ".a",
                                         "a.",
                                         "a..b",
                                         "a[",
                                         "a[x]",
                                         "a[-1]",
                                         "a[0",
                                         "a]",
                                         "[0]",
                                         "a[0]b",
                                         "a b",
                                         "a |",
                                         "| a",
                                         "a || b",
                                         "a[70000]",
                                         "a[99999999999]",
                                         "a[].b[].c[].d",
                                         "imp[]",
                                         "imp[][0]",
                                         "imp[][].a"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        char *column = memory_printf("{type: int, from: \"%s\"}", broken[i]);
        refuses_column(column, "m.yaml:4: column \"x\": impossible path");
        free(column);
    }
    refuses_column("{type: int, from: a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q}", "more than 16 steps");
    refuses_column("{type: int, from: a|b|c|d|e|f|g|h|i}", "more than 8 alternatives");
    refuses_column("{type: int, from: \"seat[].id\"}", "its [] is not the list that explode walks");
    refuses_column("{type: int, from: \"imp[].pmp.deals[].id\"}", "its [] is not the list");
    refuses_column("{type: int, from: \"a | imp[].id\", required: true}",
                   "a required column can't come from the exploded list");
    refuses("table: t\ncolumns:\n  x: {type: int, from: \"imp[].id\"}\n",
            "m.yaml:3: column \"x\": impossible path: it walks a list, but nothing is exploded");
    refuses("table: t\nexplode: a[].b[].c\ncolumns:\n  x: {type: int, from: a}\n",
            "m.yaml:2: explode: explode goes at most two levels deep");
    refuses("table: t\nexplode: a[0].b\ncolumns:\n  x: {type: int, from: a}\n",
            "m.yaml:2: explode: explode walks keys");
    refuses("table: t\nexplode: a..b\ncolumns:\n  x: {type: int, from: a}\n",
            "m.yaml:2: explode: impossible path");
    takes_column("{type: int, from: a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p}");
    takes_column("{type: int, from: a|b|c|d|e|f|g|h}");
    takes_column("{type: int, from: \"a[0][1].b[65535]\"}");
    takes_column("{type: int, from: \"imp[0].id\"}");
    takes_column("{type: int, from: x-y_z.\xc3\xbc}");
}

static void dollar_sources_fit_their_columns(void **state)
{
    (void)state;
    refuses_column("{type: string, from: $recieved_at}",
                   "m.yaml:4: column \"x\": unknown source \"$recieved_at\", did you mean "
                   "\"$received_at\"?");
    refuses_column("{type: string, from: $header}", "$header needs a name");
    refuses_column("{type: string, from: $header.}", "$header needs a name");
    refuses_column("{type: string, from: $host.x}", "$host takes no name");
    refuses_column("{type: string, from: $received_at}", "impossible source");
    refuses_column("{type: string, from: $position}", "impossible source");
    refuses_column("{type: int, from: $raw}", "impossible source");
    refuses_column("{type: list<string>, from: $query.a}", "impossible source");
    refuses_column("{type: long, from: $position | a}", "stand alone");
    refuses_column("{type: long, from: $position, default: 1}", "always there");
    refuses_column("{type: string, from: $stream, required: true}", "always there");
    struct mapping mapping =
        parse("table: t\ncolumns:\n"
              "  a: {type: long, from: $position}\n"
              "  b: {type: string, from: $stream}\n"
              "  c: {type: int, from: $query.Price | $header.X-Price | $key}\n"
              "  d: {type: string, from: $host | $topic}\n"
              "  e: {type: int, from: $partition}\n"
              "  f: {type: long, from: $offset}\n"
              "  event_timestamp: {type: timestamptz, from: $source_time | t, unit: us}\n");
    assert_int_equal(mapping.schema.columns[0].fill, FILL_POSITION);
    assert_int_equal(mapping.schema.columns[1].fill, FILL_STREAM);
    assert_sources(&mapping, "c", "$query.Price | $header.x-price | $key");
    assert_sources(&mapping, "d", "$host | $topic");
    assert_sources(&mapping, "event_timestamp", "$source_time | t | $received_at");
    assert_int_equal(rule(&mapping, "event_timestamp")->unit, UNIT_US);
    assert_int_equal(mapping.schema.time_column, SIZE_MAX);
    assert_int_equal(mapping.schema.spec_count, 1);
    assert_int_equal(mapping.schema.specs[0].field_count, 0);
    mapping_free(&mapping);
}

/* A default that is no value of its type would be a null that nobody asked for. */
static void defaults_fit_their_types(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        const char *taken;
        const char *refused;
    } cases[] = {
        {"int", "2147483647 -2147483648 0 007", "2147483648 -2147483649 1.0 1e2 +1 - a 0x1"},
        {"long", "9223372036854775807 -9223372036854775808",
         "9223372036854775808 -9223372036854775809 99999999999999999999 --1"},
        {"double", "1 -1.5 1e3 2E-3", "1. .5 1e 1e400 inf nan +1 0x1p3 1e+3 1,5"},
        {"boolean", "true false 1 0", "yes no TRUE 2"},
        {"country", "USA us Deu", "U USAA U1 12 ZZ XK UK"},
        {"timestamptz",
         "0 1767225600000 2026-01-01T00:00:00Z 2026-01-01T00:00:00.123456+02:00 "
         "1970-01-01T01:00:00+01:00",
         "-1 7258118400000 1970-01-01T00:00:00+01:00 2026-02-30T00:00:00Z 2026-13-01T00:00:00Z "
         "2026-01-01 2026-01-01T00:00:00 2200-01-01T00:00:00Z 2026-01-01T00:00:00.Z "
         "2026-01-01T24:00:00Z 2026-01-01T00:00:60Z 2026-01-01T00:00:00+1:000 "
         "2026-01-01T00:00:00+24:00 2026-1-01T00:00:00Z +026-01-01T00:00:00Z now"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (int refused = 0; refused < 2; refused++) {
            char *words = memory_copy_cstr(refused ? cases[i].refused : cases[i].taken);
            char *rest = words;
            for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
                char *column =
                    memory_printf("{type: %s, from: y, default: \"%s\"}", cases[i].type, word);
                if (refused)
                    refuses_column(column, "default");
                else
                    takes_column(column);
                free(column);
            }
            free(words);
        }
    }
    refuses_column("{type: int, from: y, default: USD}",
                   "m.yaml:4: column \"x\": default \"USD\" is no int");
    refuses_column("{type: int, from: y, default: }", "default has no value");
    refuses_column("{type: list<int>, from: y, default: a}", "default \"a\" is no int");
    refuses_column("{type: list<int>, from: y, default: [1]}", "default must be a text");
    refuses_column("{type: int, from: y, default: []}", "default must be a text");
    takes_column("{type: list<int>, from: y, default: 1}");
    takes_column("{type: list<string>, from: y, default: []}");
    refuses_column("{type: string, from: y, enum: [ios, android], default: andriod}",
                   "unknown default \"andriod\", did you mean \"android\"?");
    takes_column("{type: string, from: y, enum: [ios, android], default: ios}");
    takes_column("{type: string, from: y, default: \"\"}");
}

static void refuses_layout(const char *layout, const char *message)
{
    char *text = memory_printf("table: t\n%s\ncolumns:\n"
                               "  site_domain: {type: string, from: d}\n"
                               "  os: {type: string, from: o, enum: [ios, android]}\n"
                               "  odd: {type: string, from: o, enum: [\"null\", a]}\n"
                               "  country: {type: country, from: c}\n"
                               "  cats: {type: list<int>, from: e}\n"
                               "  price: {type: double, from: p}\n"
                               "  secret: {type: int, from: s, personal: true}\n"
                               "  ts_day: {type: int, from: t}\n"
                               "  at: {type: int, from: at}\n"
                               "  flag: {type: boolean, from: f}\n"
                               "  place: {type: long, from: $position}\n"
                               "  ts: {type: timestamptz, from: t}\n"
                               "  time: {type: timestamptz, from: t}\n"
                               "  late: {type: timestamptz, from: t}\n",
                               layout);
    if (message != NULL) {
        refuses(text, message);
    } else {
        struct mapping mapping = parse(text);
        mapping_free(&mapping);
    }
    free(text);
}

/* A partition by free text is a file for each text that a stranger sends. */
static void wrong_partitions_are_refused(void **state)
{
    (void)state;
    refuses_layout("partition: [site_domain]",
                   "m.yaml:2: column \"site_domain\" can't be a partition: its values are not");
    refuses_layout("partition: [price]", "not bounded");
    refuses_layout("partition: [place]", "not bounded");
    refuses_layout("partition: [cats]", "not bounded");
    refuses_layout("partition: [time]", "not bounded");
    refuses_layout("partition: [odd]", "would share a path with null");
    refuses_layout("partition: [secret]", "is personal");
    refuses_layout("partition: [day(at)]", "day(at): the column is no timestamptz");
    refuses_layout("partition: [month(time)]", "unknown transform \"month(time)\"");
    refuses_layout("partition: [day(time]", "unknown transform");
    refuses_layout("partition: [\"day()\"]", "unknown column \"\"");
    refuses_layout("partition: [contry]",
                   "m.yaml:2: unknown column \"contry\", did you mean \"country\"?");
    refuses_layout("partition: [day(ts)]", "partition field \"ts_day\" has a column's name");
    refuses_layout("partition: [day(time), day(late)]", "m.yaml:2: a partition by two days");
    refuses_layout("partition: [os, os]", "clash");
    refuses_layout("partition: [os, country, at, flag, day(time)]", "more than 4 partition fields");
    refuses_layout("partition: os", "m.yaml:2: partition must be a list");
    refuses_layout("partition: [os, country, flag, day(time)]", NULL);
    refuses_layout("partition: []", NULL);
}

static void wrong_sort_orders_are_refused(void **state)
{
    (void)state;
    refuses_layout("sort: [site_domian]",
                   "m.yaml:2: unknown column \"site_domian\", did you mean \"site_domain\"?");
    refuses_layout("sort: [nothing_like_it]", "m.yaml:2: unknown column \"nothing_like_it\"");
    refuses_layout("sort: [cats]", "m.yaml:2: rows can't be sorted by column \"cats\"");
    refuses_layout("sort: [place]", "rows can't be sorted by column \"place\"");
    refuses_layout("sort: [os, at, os]", "sorted twice by column \"os\"");
    refuses_layout("sort: [os, at, flag, country, ts, time, late, price, secret]",
                   "more than 8 columns");
    refuses_layout("sort: [os, at, flag, country, ts, time, late, price]", NULL);
    refuses_layout("sort: []", NULL);
}

static void columns_are_bounded(void **state)
{
    (void)state;
    struct buf text = {0};
    buf_put_cstr(&text, "table: t\ncolumns:\n");
    for (int i = 0; i < COLUMNS_MAX; i++)
        buf_printf(&text, "  c%d: {type: int, from: c%d}\n", i, i);
    struct mapping mapping = parse(buf_cstr(&text));
    assert_int_equal(mapping.schema.column_count, COLUMNS_MAX);
    mapping_free(&mapping);
    buf_put_cstr(&text, "  more: {type: int, from: x}\n");
    refuses(buf_cstr(&text), "m.yaml:1003: more than 1000 columns");
    buf_free(&text);
}

/* Two mappings for one table would make two streams that write it differently. */
static void sets_hold_each_table_once(void **state)
{
    (void)state;
    struct mapping_set set;
    struct error err;
    const char *family[] = {"openrtb", "openrtb/clicks"};
    assert_int_equal(mapping_set_load(&set, family, 1, &err), OK);
    assert_int_equal(set.count, 5);
    assert_non_null(mapping_set_find(&set, "clicks"));
    assert_null(mapping_set_find(&set, "click"));
    mapping_set_free(&set);
    assert_int_equal(mapping_set_load(&set, family, 2, &err), ERROR_INPUT);
    assert_string_equal(err.text, "openrtb/clicks: table \"clicks\" is there already");
    assert_int_equal(mapping_set_load(&set, family + 1, 1, &err), OK);
    assert_int_equal(set.count, 2);
    assert_non_null(mapping_set_find(&set, "dead_letters"));
    mapping_set_free(&set);
    assert_int_equal(mapping_set_load(&set, NULL, 0, &err), OK);
    assert_int_equal(set.count, 1);
    mapping_set_free(&set);
    const char *wrong[] = {"openrtb/click", "opnrtb", "/nowhere/mine.yaml"};
    assert_int_equal(mapping_set_load(&set, wrong, 1, &err), ERROR_INPUT);
    assert_string_equal(err.text,
                        "unknown preset \"openrtb/click\", did you mean \"openrtb/clicks\"?");
    assert_int_equal(mapping_set_load(&set, wrong + 1, 1, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "\"opnrtb\""));
    assert_int_not_equal(mapping_set_load(&set, wrong + 2, 1, &err), OK);
    assert_non_null(strstr(err.text, "/nowhere/mine.yaml"));
    mapping_set_free(&set);
}

static void files_are_loaded_and_named(void **state)
{
    (void)state;
    char path[] = "/tmp/mapping-XXXXXX.yaml";
    struct error err;
    int fd = mkstemps(path, 5);
    assert_true(fd >= 0);
    const char *text = "table: t\ncolumns:\n  x: {type: it, from: x}\n";
    assert_int_equal(file_write_all(fd, slice_cstr(text), &err), OK);
    close(fd);
    struct mapping mapping;
    int rc = mapping_load_file(&mapping, path, &err);
    unlink(path);
    assert_int_equal(rc, ERROR_INPUT);
    char *expected = memory_printf("%s:3: unknown type \"it\", did you mean \"int\"?", path);
    assert_string_equal(err.text, expected);
    free(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(presets_are_the_designs_tables),
        cmocka_unit_test(presets_have_the_designs_partitions),
        cmocka_unit_test(explode_has_its_levels),
        cmocka_unit_test(extends_replaces_in_place_and_adds_behind),
        cmocka_unit_test(files_that_are_no_mapping_are_refused),
        cmocka_unit_test(wrong_columns_are_refused),
        cmocka_unit_test(impossible_paths_are_refused),
        cmocka_unit_test(dollar_sources_fit_their_columns),
        cmocka_unit_test(defaults_fit_their_types),
        cmocka_unit_test(wrong_partitions_are_refused),
        cmocka_unit_test(wrong_sort_orders_are_refused),
        cmocka_unit_test(columns_are_bounded),
        cmocka_unit_test(sets_hold_each_table_once),
        cmocka_unit_test(files_are_loaded_and_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
