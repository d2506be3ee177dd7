/* SPDX-License-Identifier: Apache-2.0
 *
 * Ingests of small files into a spool and a file store of their own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "agent/ingest.h"
#include "agent/pipeline.h"
#include "lib/base/buf.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"

struct site {
    char directory[64];
    struct agent_config config;
    struct mapping_set set;
};

static void must(int rc, const struct error *err)
{
    if (rc != OK)
        fail_msg("%s: %s", error_code_name((enum error_code)rc), err->text);
}

static const char *path_in(struct site *site, const char *name)
{
    return arena_printf(&site->config.arena, "%s/%s", site->directory, name);
}

static void site_init(struct site *site)
{
    static const char *const tables[] = {"openrtb"};
    struct error err;
    *site = (struct site){0};
    snprintf(site->directory, sizeof site->directory, "/tmp/bidlake-ingest-XXXXXX");
    assert_non_null(mkdtemp(site->directory));
    agent_config_init(&site->config);
    site->config.agent_id = "a1";
    site->config.spool_directory = path_in(site, "spool");
    site->config.warehouse = path_in(site, "warehouse");
    site->config.spool_bytes = 64 << 20;
    must(mapping_set_load(&site->set, tables, 1, &err), &err);
}

static void site_free(struct site *site)
{
    struct error err;
    must(file_remove_tree(site->directory, &err), &err);
    mapping_set_free(&site->set);
    agent_config_free(&site->config);
}

static const char *write_clicks(struct site *site, const char *name, int from, int count)
{
    struct error err;
    struct buf text = {0};
    const char *path = path_in(site, name);
    for (int i = from; i < from + count; i++)
        buf_printf(&text, "{\"id\":\"c%d\",\"ts\":1760000000000}\n", i);
    must(file_replace(path, buf_slice(&text), 0640, &err), &err);
    buf_free(&text);
    return path;
}

static int run(struct site *site, const char *const *files, size_t count,
               struct ingest_report *report)
{
    struct error err = {0};
    struct ingest_options options = {.config = &site->config,
                                     .mapping = mapping_set_find(&site->set, "clicks"),
                                     .files = files,
                                     .file_count = count};
    return ingest_run(&options, report, &err);
}

static int fail_first_append(void *context, const char *name, struct error *err)
{
    int *left = context;
    if (strcmp(name, "spool.append.before_commit") != 0 || *left == 0)
        return OK;
    (*left)--;
    errno = ENOSPC;
    return error_errno(err, "injected");
}

/* Lines that found no room are read again by the next run. If they went along with the
 * next file's batch as well, they would be in the table twice. */
static void failed_append_leaves_nothing_for_the_next_file(void **state)
{
    (void)state;
    struct site site;
    struct ingest_report report;
    int left = 1;
    site_init(&site);
    const char *files[] = {write_clicks(&site, "one", 0, 5), write_clicks(&site, "two", 5, 3)};
    site.config.deliver_deadline_ms = 0;
    fault_install(fail_first_append, &left);
    assert_int_not_equal(run(&site, files, 2, &report), OK);
    fault_install(NULL, NULL);
    uint64_t events = report.events;
    ingest_report_free(&report);
    site.config.deliver_deadline_ms = 60000;
    assert_int_equal(run(&site, files, 2, &report), OK);
    assert_int_equal(events + report.events, 8);
    ingest_report_free(&report);
    site_free(&site);
}

/* One file that is not there must not keep the others out; and it is told. */
static void missing_file_does_not_keep_the_others_out(void **state)
{
    (void)state;
    struct site site;
    struct ingest_report report;
    site_init(&site);
    const char *files[] = {path_in(&site, "absent"), write_clicks(&site, "two", 0, 3)};
    assert_int_not_equal(run(&site, files, 2, &report), OK);
    assert_int_equal(report.events, 3);
    ingest_report_free(&report);
    site_free(&site);
}

/* A second run must not take a file twice; one that grew goes on where it ended. */
static void file_is_taken_once_and_goes_on_when_it_grew(void **state)
{
    (void)state;
    struct site site;
    struct ingest_report report;
    site_init(&site);
    const char *files[] = {write_clicks(&site, "one", 0, 4)};
    assert_int_equal(run(&site, files, 1, &report), OK);
    assert_int_equal(report.events, 4);
    ingest_report_free(&report);
    assert_int_equal(run(&site, files, 1, &report), OK);
    assert_int_equal(report.events, 0);
    assert_int_equal(report.files_skipped, 1);
    ingest_report_free(&report);
    FILE *file = fopen(files[0], "ae");
    assert_non_null(file);
    fputs("{\"id\":\"new\"}\n", file);
    fclose(file);
    assert_int_equal(run(&site, files, 1, &report), OK);
    assert_int_equal(report.events, 1);
    ingest_report_free(&report);
    site_free(&site);
}

/* A file that is still being written may end in half an event. It is refused and named, as
 * it stands; once its writer is done it must be taken, not passed over. */
static void half_a_last_line_is_taken_when_it_is_whole(void **state)
{
    (void)state;
    struct site site;
    struct ingest_report report;
    site_init(&site);
    const char *files[] = {write_clicks(&site, "one", 0, 2)};
    FILE *file = fopen(files[0], "ae");
    assert_non_null(file);
    fputs("{\"id\":\"cut", file);
    fflush(file);
    assert_int_equal(run(&site, files, 1, &report), OK);
    assert_int_equal(report.events, 2);
    assert_int_equal(report.refused, 1);
    ingest_report_free(&report);
    fputs("\"}\n", file);
    fclose(file);
    assert_int_equal(run(&site, files, 1, &report), OK);
    assert_int_equal(report.events, 1);
    assert_int_equal(report.refused, 0);
    ingest_report_free(&report);
    site_free(&site);
}

/* A spool that is full of records that nobody sealed yet must not wait for roll.age (up to
 * an hour) before it delivers them and has room again. */
static void full_spool_is_sealed_before_its_time(void **state)
{
    (void)state;
    enum { COUNT = 150000 }; /* of more than 100 bytes each: more than the budget */
    struct site site;
    struct ingest_report report;
    site_init(&site);
    site.config.spool_bytes = 16 << 20;
    site.config.roll_age_ms = 3600000;
    site.config.deliver_deadline_ms = 20000;
    const char *files[] = {write_clicks(&site, "one", 0, COUNT)};
    assert_int_equal(run(&site, files, 1, &report), OK);
    assert_int_equal(report.events, COUNT);
    ingest_report_free(&report);
    site_free(&site);
}

/* Blanks around an event are none of its bytes: a file with CRLF must not lose the events
 * that are exactly as large as the limit allows, and one byte more must not get in. */
static void blanks_around_an_event_do_not_count(void **state)
{
    (void)state;
    struct site site;
    struct ingest_report report;
    site_init(&site);
    site.config.event_bytes_max = 1024;
    const char *path = path_in(&site, "crlf");
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "  {\"id\":\"%0*d\"} \r\n", 1024 - 9, 1);
    fprintf(file, "{\"id\":\"%0*d\"}\r\n", 1024 - 8, 2);
    fclose(file);
    assert_int_equal(run(&site, &path, 1, &report), OK);
    assert_int_equal(report.events, 1);
    assert_int_equal(report.refused_by_reason[REFUSED_SIZE], 1);
    ingest_report_free(&report);
    site_free(&site);
}

/* An idle bidder must not produce a file a minute: age alone never rolls nothing. */
static void roll_age_without_rows_is_not_due(void **state)
{
    (void)state;
    struct roll_policy policy = {.bytes_max = 4096, .rows_max = 10, .age_max_ms = 1000};
    assert_false(roll_due(&policy, 0, 0, 3600000));
    assert_true(roll_due(&policy, 1, 1, 1000));
    assert_true(roll_due(&policy, 4096, 1, 0));
    assert_true(roll_due(&policy, 1, 10, 0));
    assert_false(roll_due(&policy, 4095, 9, 999));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failed_append_leaves_nothing_for_the_next_file),
        cmocka_unit_test(missing_file_does_not_keep_the_others_out),
        cmocka_unit_test(file_is_taken_once_and_goes_on_when_it_grew),
        cmocka_unit_test(half_a_last_line_is_taken_when_it_is_whole),
        cmocka_unit_test(full_spool_is_sealed_before_its_time),
        cmocka_unit_test(blanks_around_an_event_do_not_count),
        cmocka_unit_test(roll_age_without_rows_is_not_due),
    };
    return cmocka_run_group_tests_name("agent/ingest", tests, NULL, NULL);
}
