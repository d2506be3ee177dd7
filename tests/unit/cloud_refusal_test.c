/* SPDX-License-Identifier: Apache-2.0
 *
 * A catalog that says 400 where 409 is meant, as Apache's server does of a sequence number that
 * another branch has taken: who else commits must be told apart from what is wrong.
 */
#include "tests/unit/cloud_fixture.h"

/* Before the fixture's catalog. */
struct strict {
    struct fixture *f;
    const char *moves; /* namespace whose table moves before a commit, once it comes */
    unsigned passes;   /* commits before that one */
    bool refuses;      /* all, for good */
    unsigned commits;
    int last_id; /* of a snapshot on the branch */
    struct committer committer;
};

/* Somebody commits to another branch, and takes the sequence number. */
static void branch_moves(struct strict *strict, const char *ns)
{
    const struct fixture *f = strict->f;
    int id = ++strict->last_id;
    struct catalog_table table = {0};
    struct error err;
    bool found = false;
    assert_int_equal(catalog_load_table(f->catalog, ns, "t", &table, &found, &err), OK);
    json_t *requirements = json_array();
    json_t *updates =
        json_pack("[{s:s,s:{s:i,s:I,s:I,s:s,s:{s:s}}},{s:s,s:s,s:s,s:i}]", "action", "add-snapshot",
                  "snapshot", "snapshot-id", id, "sequence-number",
                  (json_int_t)metadata_last_sequence_number(table.metadata) + 1, "timestamp-ms",
                  (json_int_t)(f->wall_us / 1000), "manifest-list", "memory:///theirs.avro",
                  "summary", "operation", "append", "action", "set-snapshot-ref", "ref-name",
                  "audit", "type", "branch", "snapshot-id", id);
    assert_non_null(updates);
    if (catalog_commit(f->catalog, ns, "t", &table, requirements, updates, NULL, &err) != OK)
        fail_msg("%s", err.text);
    catalog_table_free(&table);
    json_decref(requirements);
    json_decref(updates);
}

static int strict_namespace(void *impl, const char *ns, struct error *err)
{
    return catalog_create_namespace(((struct strict *)impl)->f->catalog, ns, err);
}

static int strict_load(void *impl, const char *ns, const char *table, struct catalog_table *out,
                       bool *found, struct error *err)
{
    return catalog_load_table(((struct strict *)impl)->f->catalog, ns, table, out, found, err);
}

static int strict_create(void *impl, const char *ns, const char *table, const json_t *request,
                         struct catalog_table *out, struct error *err)
{
    return catalog_create_table(((struct strict *)impl)->f->catalog, ns, table, request, out, err);
}

static int strict_commit(void *impl, const char *ns, const char *table,
                         const struct catalog_table *base, const json_t *requirements,
                         const json_t *updates, struct catalog_table *out, struct error *err)
{
    struct strict *strict = impl;
    unsigned passed = strict->commits++;
    if (strict->refuses)
        return error_set(err, ERROR_INPUT, "I don't like it");
    if (strict->moves != NULL && passed == strict->passes) {
        branch_moves(strict, strict->moves);
        strict->moves = NULL;
    }
    int rc = catalog_commit(strict->f->catalog, ns, table, base, requirements, updates, out, err);
    if (rc == ERROR_CONFLICT)
        rc = err->code = ERROR_INPUT;
    return rc;
}

static void strict_close(void *impl)
{
    (void)impl;
}

static void strict_open(struct strict *strict, struct fixture *f)
{
    static const struct catalog_ops ops = {.type = "strict",
                                           .create_namespace = strict_namespace,
                                           .load_table = strict_load,
                                           .create_table = strict_create,
                                           .commit = strict_commit,
                                           .close = strict_close};
    *strict = (struct strict){.f = f, .committer = f->committer};
    strict->committer.catalog = catalog_wrap(&ops, strict);
}

/* The harm: announcements stay, or a person is told that the catalog refuses what it only wants
 * to be asked again. */
static void a_race_is_run_again(void **state)
{
    struct fixture *f = *state;
    struct strict strict;
    struct error err;
    uint64_t from = 0;
    strict_open(&strict, f);
    strict.moves = "db";
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn_by(f, &strict.committer), OK);
    assert_int_equal(next_of(f, STREAM), 10);
    assert_int_equal(strict.commits, 2);
    strict.commits = 0;
    strict.moves = "db";
    if (commit_skip(&strict.committer, TABLE, STREAM, 20, &from, &f->report, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(next_of(f, STREAM), 20);
    assert_int_equal(strict.commits, 2);
    strict.commits = 0;
    strict.moves = "other";
    strict.passes = 1; /* the first is of a partition spec, which no sequence number stops */
    if (commit_init_table(&strict.committer, "other", &f->mapping, &f->report, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(strict.commits, 3);
    catalog_close(strict.committer.catalog);
}

/* And what is wrong is said at once. */
static void a_refusal_stays_one(void **state)
{
    struct fixture *f = *state;
    struct strict strict;
    struct error err;
    uint64_t from = 0;
    strict_open(&strict, f);
    strict.refuses = true;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn_by(f, &strict.committer), ERROR_INPUT);
    assert_int_equal(commit_skip(&strict.committer, TABLE, STREAM, 20, &from, &f->report, &err),
                     ERROR_INPUT);
    assert_non_null(strstr(err.text, "I don't like it"));
    assert_int_equal(commit_init_table(&strict.committer, "other", &f->mapping, &f->report, &err),
                     ERROR_INPUT);
    assert_non_null(strstr(err.text, "I don't like it"));
    assert_int_equal(strict.commits, 3);
    catalog_close(strict.committer.catalog);
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_race_is_run_again),
        T(a_refusal_stays_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
