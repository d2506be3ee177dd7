/* SPDX-License-Identifier: Apache-2.0
 *
 * What an announcement may say of its files: it goes into manifests as it stands, and
 * readers prune by it for as long as the table lives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cloud/check.h"
#include "lib/iceberg/iceberg.h"

#define TABLE "db.t"
#define STREAM "edge/01900000-0000-7000-8000-000000000001/" TABLE

enum { DAY = 20717, ROWS = 10 };
#define DAY_US (INT64_C(86400) * 1000000)

static const char schema_text[] =
    "{'type':'struct','schema-id':0,'fields':["
    "{'id':1,'name':'id','required':true,'type':'string'},"
    "{'id':2,'name':'country','required':false,'type':'string'},"
    "{'id':3,'name':'at','required':false,'type':'timestamptz'},"
    "{'id':4,'name':'n','required':false,'type':'long'},"
    "{'id':5,'name':'small','required':false,'type':'int'},"
    "{'id':6,'name':'price','required':false,'type':'double'},"
    "{'id':7,'name':'flag','required':false,'type':'boolean'},"
    "{'id':8,'name':'cat','required':false,'type':{'type':'list','element-id':9,"
    "'element':'string','element-required':false}}]}";

struct place {
    json_t *metadata;
    json_t *schema;
    struct table_check check;
    char path[200];
    struct data_file file;
    struct announcement announcement;
};

static json_t *parse(const char *text)
{
    json_error_t error;
    char *copy = strdup(text);
    for (char *at = copy; *at != 0; at++)
        *at = *at == '\'' ? '"' : *at;
    json_t *out = json_loads(copy, 0, &error);
    if (out == NULL)
        fail_msg("%s", error.text);
    free(copy);
    return out;
}

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    p->schema = parse(schema_text);
    p->metadata = parse("{'table-uuid':'u','current-schema-id':0,"
                        "'sort-orders':[{'order-id':1,'fields':[]}],'partition-specs':["
                        "{'spec-id':0,'fields':[{'source-id':3,'field-id':1000,'name':'at_day',"
                        "'transform':'day'},{'source-id':2,'field-id':1001,'name':'country',"
                        "'transform':'identity'}]},{'spec-id':1,'fields':[]},"
                        "{'spec-id':2,'fields':[{'source-id':7,'field-id':1002,'name':'flag',"
                        "'transform':'identity'}]}]}");
    json_object_set_new(p->metadata, "schemas", json_pack("[O]", p->schema));
    table_check_init(&p->check, p->metadata);
    struct buf path = {0};
    data_file_path("at_day=2026-09-21/country=USA", STREAM, 0, ROWS, 0, &path);
    snprintf(p->path, sizeof p->path, "%s", buf_cstr(&path));
    buf_free(&path);
    p->file = (struct data_file){
        .path = p->path,
        .size = 4000,
        .rows = ROWS,
        .sort = 1,
        .partition_count = 2,
        .partition = {{.number = DAY}, {.is_text = true, .text = slice_cstr("USA")}}};
    p->announcement = (struct announcement){.stream = STREAM,
                                            .table = TABLE,
                                            .to = ROWS,
                                            .events = ROWS,
                                            .rows = ROWS,
                                            .schema = json_incref(p->schema),
                                            .file_count = 1,
                                            .files = &p->file};
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    table_check_free(&p->check);
    announcement_free(&p->announcement);
    json_decref(p->schema);
    json_decref(p->metadata);
    free(p);
    return 0;
}

/* `words` NULL: it is fine. */
static void expect(struct place *p, const char *words, const char *what)
{
    struct error err = {0};
    int rc = announcement_check(&p->check, &p->announcement, TABLE, &err);
    if (words == NULL && rc != OK)
        fail_msg("%s: refused: %s", what, err.text);
    if (words != NULL && (rc != ERROR_INPUT || strstr(err.text, words) == NULL))
        fail_msg("%s: wanted \"%s\", is %d, \"%s\"", what, words, rc, rc != OK ? err.text : "");
}

#define BYTES(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }
#define LONG(a) a "\0\0\0\0\0\0\0"
#define DOUBLE_MINUS_ONE "\0\0\0\0\0\0\xf0\xbf"
#define DOUBLE_ONE "\0\0\0\0\0\0\xf0\x3f"
#define DOUBLE_NAN "\0\0\0\0\0\0\xf8\x7f"

struct bounds {
    int32_t field;
    struct slice lower;
    struct slice upper;
    const char *words;
};

static const struct bounds bounds[] = {
    {1, BYTES("a"), BYTES("b"), NULL},
    {1, BYTES("b"), BYTES("b"), NULL},
    {1, BYTES("b"), BYTES("a"), "above"},
    {1, BYTES("a"), BYTES("a\xff"), "no string"},
    {1, BYTES("\xc3\x28"), BYTES("\xe2\x82\xac"), "no string"},
    {4, BYTES(LONG("\x01")), BYTES(LONG("\x02")), NULL},
    {4, BYTES(LONG("\x02")), BYTES(LONG("\x01")), "above"},
    /* As bytes the upper one is the smaller; as numbers it isn't. */
    {4, BYTES(LONG("\x02")), BYTES("\x00\x01\0\0\0\0\0\0"), NULL},
    {4, BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), BYTES(LONG("\x01")), NULL},
    {4, BYTES(LONG("\x01")), BYTES("\xff\xff\xff\xff\xff\xff\xff\xff"), "above"},
    {4, BYTES("\xff\xff\xff\xff"), BYTES(LONG("\x01")), NULL}, /* -1, from when it was an int */
    {4, BYTES("\x01"), BYTES(LONG("\x01")), "no long"},
    {5, BYTES("\x01\0\0\0"), BYTES("\x02\0\0\0"), NULL},
    {5, BYTES("\x01\0\0\0"), BYTES("\0\0\0\x80"), "above"},
    {5, BYTES(LONG("\x01")), BYTES(LONG("\x02")), "no int"},
    {6, BYTES(DOUBLE_MINUS_ONE), BYTES(DOUBLE_ONE), NULL},
    {6, BYTES(DOUBLE_ONE), BYTES(DOUBLE_MINUS_ONE), "above"},
    {6, BYTES(DOUBLE_NAN), BYTES(DOUBLE_ONE), "lower bound is no double"},
    {6, BYTES(DOUBLE_ONE), BYTES(DOUBLE_NAN), "upper bound is no double"},
    {6, BYTES("\0\0\0\0\0\0\0\x80"), BYTES("\0\0\0\0\0\0\0\0"), NULL}, /* -0 to 0 */
    {6, BYTES("\0\0\x80\x3f"), BYTES("\0\0\x80\xbf"), "above"},        /* floats: 1 to -1 */
    {7, BYTES("\0"), BYTES("\1"), NULL},
    {7, BYTES("\1"), BYTES("\0"), "above"},
    {7, BYTES("\2"), BYTES("\2"), "no boolean"},
    {7, BYTES(""), BYTES("\1"), "no boolean"},
    {8, BYTES("a"), BYTES("b"), "list"},
    {9, BYTES("a"), BYTES("b"), "list"},
    {77, BYTES("a"), BYTES("b"), "doesn't have"},
};

/* A bound that lies hides rows from queries; one that doesn't decode makes them fail. */
static void bounds_must_be_of_their_type_and_in_order(void **state)
{
    struct place *p = *state;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        struct file_metric metric = {.field_id = bounds[i].field,
                                     .values = -1,
                                     .nulls = -1,
                                     .nans = -1,
                                     .has_lower = true,
                                     .has_upper = true,
                                     .lower = bounds[i].lower,
                                     .upper = bounds[i].upper};
        char what[40];
        p->file.metric_count = 1;
        p->file.metrics = &metric;
        snprintf(what, sizeof what, "case %zu, field %d", i, bounds[i].field);
        expect(p, bounds[i].words, what);
    }
}

static void put_time(uint8_t out[8], int64_t time_us)
{
    for (size_t i = 0; i < 8; i++)
        out[i] = (uint8_t)((uint64_t)time_us >> (8 * i));
}

/* One file's time column, between two instants. */
static void expect_times(struct place *p, int64_t lower_us, int64_t upper_us, const char *words)
{
    uint8_t lower[8];
    uint8_t upper[8];
    put_time(lower, lower_us);
    put_time(upper, upper_us);
    struct file_metric metric = {.field_id = 3,
                                 .values = ROWS,
                                 .nulls = 0,
                                 .nans = -1,
                                 .has_lower = true,
                                 .has_upper = true,
                                 .lower = {lower, 8},
                                 .upper = {upper, 8}};
    p->file.metric_count = 1;
    p->file.metrics = &metric;
    expect(p, words, "times");
}

/* A file in the partition of a day that holds rows of another: a query for that other day
 * never opens it. */
static void partition_must_hold_what_the_metrics_tell(void **state)
{
    struct place *p = *state;
    int64_t begin = DAY * DAY_US;
    expect_times(p, begin, begin + DAY_US - 1, NULL);
    expect_times(p, begin - 1, begin + 5, "at_day");
    expect_times(p, begin, begin + DAY_US, "at_day");
    p->file.partition[0].number = -1;
    expect_times(p, -DAY_US, -1, NULL);
    expect_times(p, -DAY_US - 1, -1, "at_day");
    expect_times(p, -DAY_US, 0, "at_day");
    p->file.partition[0].null = true;
    expect_times(p, -DAY_US, -1, "at_day");
}

static void expect_country(struct place *p, const char *lower, const char *upper, int64_t nulls,
                           const char *words)
{
    struct file_metric metric = {.field_id = 2, .values = ROWS, .nulls = nulls, .nans = -1};
    metric.has_lower = lower != NULL;
    metric.has_upper = upper != NULL;
    metric.lower = slice_cstr(lower != NULL ? lower : "");
    metric.upper = slice_cstr(upper != NULL ? upper : "");
    p->file.metric_count = 1;
    p->file.metrics = &metric;
    expect(p, words, "country");
}

static void partition_text_must_lie_within_its_bounds(void **state)
{
    struct place *p = *state;
    expect_country(p, "USA", "USA", 0, NULL);
    expect_country(p, "US", "UT", 0, NULL); /* cut: they enclose it */
    expect_country(p, "DEU", "DEU", 0, "country");
    expect_country(p, "USB", "USC", 0, "country");
    expect_country(p, "USA", "USA", 1, "country");
    p->file.partition[1] = (struct partition_value){.null = true};
    expect_country(p, NULL, NULL, ROWS, NULL);
    expect_country(p, "USA", "USA", 0, "country");
    expect_country(p, NULL, NULL, ROWS - 1, "country");
    p->file.partition[1] =
        (struct partition_value){.is_text = true, .text = slice_of("\xc3\x28", 2)};
    p->file.metric_count = 0;
    expect(p, "country", "a partition that is no UTF-8");
}

/* A number as the partition of a boolean: no reader could read it. */
static void partition_of_a_type_that_is_not_written(void **state)
{
    struct place *p = *state;
    p->file.spec = 2;
    p->file.partition_count = 1;
    expect(p, "flag", "a boolean partition");
}

/* The schema is compared once for all that have the same, and anew for the next that hasn't. */
static void other_schema_after_a_fitting_one_is_refused(void **state)
{
    struct place *p = *state;
    expect(p, NULL, "as the table has it");
    json_t *other = json_deep_copy(p->schema);
    json_object_set_new(json_array_get(json_object_get(other, "fields"), 1), "name",
                        json_string("land"));
    json_decref(p->announcement.schema);
    p->announcement.schema = other;
    expect(p, "schema", "another name");
    expect(p, "schema", "another name, again");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* All of a range was dropped while the contract could not be read: the agent names no columns. If
 * that were refused, all of the stream behind it would wait. */
static void a_loss_needs_no_columns(void **state)
{
    struct place *p = *state;
    struct lost_range lost = {.from = 0, .to = ROWS, .events = ROWS, .reason = "disk_full"};
    json_decref(p->announcement.schema);
    p->announcement.schema = parse("{'type':'struct','schema-id':0,'fields':[]}");
    expect(p, "may not be left out", "a file without columns");
    p->announcement.lost = &lost;
    p->announcement.lost_count = 1;
    p->announcement.file_count = 0;
    p->announcement.events = p->announcement.rows = 0;
    expect(p, NULL, "a range that is lost");
    p->announcement.rows = 1;
    expect(p, "1 rows announced", "rows without a file");
    p->announcement.lost_count = 0;
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(bounds_must_be_of_their_type_and_in_order),
        TEST(partition_must_hold_what_the_metrics_tell),
        TEST(partition_text_must_lie_within_its_bounds),
        TEST(partition_of_a_type_that_is_not_written),
        TEST(other_schema_after_a_fitting_one_is_refused),
        TEST(a_loss_needs_no_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
