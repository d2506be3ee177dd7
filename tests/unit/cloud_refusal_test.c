/* SPDX-License-Identifier: Apache-2.0
 *
 * Catalogs that say 400 where 409 is meant, as Apache's does of a sequence number that another
 * branch has taken: who else commits must be told apart from what is wrong.
 */
#include "tests/unit/cloud_fixture.h"

/* Somebody commits to another branch. */
static void branch_moves(struct fixture *f, const char *ns)
{
    struct catalog_table table = {0};
    struct error err;
    bool found = false;
    assert_int_equal(catalog_load_table(f->catalog, ns, "t", &table, &found, &err), OK);
    json_int_t number = metadata_last_sequence_number(table.metadata) + 1;
    json_t *requirements = json_array();
    json_t *updates =
        json_pack("[{s:s,s:{s:I,s:I,s:I,s:s,s:{s:s}}},{s:s,s:s,s:s,s:I}]", "action", "add-snapshot",
                  "snapshot", "snapshot-id", number, "sequence-number", number, "timestamp-ms",
                  (json_int_t)(f->wall_us / 1000), "manifest-list", "memory:///theirs.avro",
                  "summary", "operation", "append", "action", "set-snapshot-ref", "ref-name",
                  "audit", "type", "branch", "snapshot-id", number);
    assert_non_null(updates);
    if (catalog_commit(f->catalog, ns, "t", &table, requirements, updates, NULL, &err) != OK)
        fail_msg("%s", err.text);
    catalog_table_free(&table);
    json_decref(requirements);
    json_decref(updates);
}

/* Theirs is a commit too, before the one that is refused. */
static void branch_of_db_moves(struct fixture *f)
{
    branch_moves(f, "db");
    f->commit_fault_in = 1;
}

static void branch_of_other_moves(struct fixture *f)
{
    branch_moves(f, "other");
    f->commit_fault_in = 1;
}

/* The first commit of init is of a partition spec. */
static void then_branch_of_other_moves(struct fixture *f)
{
    f->before_commit = branch_of_other_moves;
}

/* The harm: announcements stay, or a person is told that the catalog refuses what it only wants
 * to be asked again. */
static void a_race_is_run_again(void **state)
{
    struct fixture *f = *state;
    struct error err;
    uint64_t from = 0;
    f->commit_fault = CATALOG_FAULT_REFUSED;
    f->before_commit = branch_of_db_moves;
    announce(f, STREAM, 0, 10);
    assert_int_equal(turn(f), OK);
    assert_int_equal(next_of(f, STREAM), 10);
    f->before_commit = branch_of_db_moves;
    if (commit_skip(&f->committer, TABLE, STREAM, 20, &from, &f->report, &err) != OK)
        fail_msg("%s", err.text);
    assert_int_equal(next_of(f, STREAM), 20);
    f->before_commit = branch_of_other_moves;
    if (commit_init_table(&f->committer, "other", &f->mapping, &f->report, &err) != OK)
        fail_msg("%s", err.text);
    assert_null(f->before_commit);
}

static void a_race_for_the_first_ledger_is_run_again(void **state)
{
    struct fixture *f = *state;
    struct error err;
    f->commit_fault = CATALOG_FAULT_REFUSED;
    f->before_commit = then_branch_of_other_moves;
    if (commit_init_table(&f->committer, "other", &f->mapping, &f->report, &err) != OK)
        fail_msg("%s", err.text);
    assert_null(f->before_commit);
}

/* And what is wrong is said at once. */
static void a_refusal_stays_one(void **state)
{
    struct fixture *f = *state;
    struct error err;
    uint64_t from = 0;
    f->commit_fault = CATALOG_FAULT_REFUSED;
    announce(f, STREAM, 0, 10);
    f->commit_fault_in = 1;
    assert_int_equal(turn(f), ERROR_INPUT);
    f->commit_fault_in = 1;
    assert_int_equal(commit_skip(&f->committer, TABLE, STREAM, 20, &from, &f->report, &err),
                     ERROR_INPUT);
    assert_non_null(strstr(err.text, "refused"));
    for (int i = 1; i <= 2; i++) { /* the spec, then the ledger */
        f->commit_fault_in = i;
        assert_int_equal(
            commit_init_table(&f->committer, i == 1 ? "one" : "two", &f->mapping, &f->report, &err),
            ERROR_INPUT);
        assert_non_null(strstr(err.text, "refused"));
    }
}

#define T(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_race_is_run_again),
        T(a_race_for_the_first_ledger_is_run_again),
        T(a_refusal_stays_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
