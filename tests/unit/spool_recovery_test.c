/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/spool_support.h"

#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* What the child saw, in memory that outlives it. */
struct answers {
    uint64_t begun;    /* appends begun */
    uint64_t answered; /* events answered */
    uint64_t next;     /* of the last trim begun */
    char stream[SPOOL_STREAM_NAME_MAX + 1];
};

/* The life of a stream, until the kill: append, seal, announce, trim. */
static void live(struct fixture *fixture, struct answers *answers)
{
    struct error err;
    fixture_open(fixture);
    memcpy(answers->stream, fixture->stream, sizeof answers->stream);
    for (uint64_t i = 0; i < 12; i++) {
        uint64_t first = 0;
        bool sealed = false;
        answers->begun++;
        must(append_to(fixture->spool, fixture->stream, 7, i * 10, 10, 3000, i < 6 ? 1 : 2, &first,
                       &err),
             &err);
        answers->answered += 10;
        if (i % 3 != 2)
            continue;
        must(spool_seal(fixture->spool, fixture->stream, NULL, &sealed, &err), &err);
        announce(fixture, fixture->stream);
        answers->next = answers->answered - (i == 11 ? 30 : 15);
        must(spool_trim(fixture->spool, fixture->stream, answers->next, 1, &err), &err);
        must(spool_let_go(fixture->spool, i == 11 ? UINT64_MAX : 1, &err), &err);
    }
    fixture_close(fixture);
}

/* Every answered event is either below next (committed), let go after its announcement,
 * or read back in order; and nothing that was never sent is there. */
static void check_life(struct fixture *fixture, const struct answers *answers)
{
    struct error err;
    struct arena arena = {0};
    struct spool_segment *segments = NULL;
    fixture_open(fixture);
    assert_string_not_equal(fixture->stream, answers->stream);
    assert_int_equal(damage_of(fixture->spool), 0);
    struct spool_stream stream = stream_of(fixture->spool, answers->stream, &arena);
    if (stream.name == NULL) {
        assert_int_equal(answers->answered, 0);
        fixture_close(fixture);
        arena_free(&arena);
        return;
    }
    assert_null(strstr(stream.name, spool_epoch_borrow(fixture->spool)));
    assert_true(stream.begin <= answers->next);
    assert_true(stream.end == answers->answered || stream.end == answers->begun * 10);
    assert_int_equal(stream.sealed, stream.end);
    size_t count = segments_of(fixture->spool, answers->stream, &arena, &segments);
    for (size_t i = 0; i < count; i++) {
        struct spool_reader *reader = NULL;
        struct spool_block block = {0};
        bool more = true;
        uint64_t at = segments[i].from;
        assert_int_not_equal(segments[i].state, SEGMENT_BUILT);
        must(spool_reader_open(&reader, fixture->spool, answers->stream, segments[i].from,
                               segments[i].to, &err),
             &err);
        for (;;) {
            must(spool_reader_next(reader, &block, &more, &err), &err);
            if (!more)
                break;
            assert_true(block.first <= at);
            assert_int_equal(block.schema_key, segments[i].schema_key);
            assert_int_equal(get_u64le(block.rows.data + 8), block.first);
            at = block.first + block.event_count;
        }
        spool_reader_close(reader);
        assert_true(at == segments[i].to || segments[i].records_gone);
        assert_true(!segments[i].records_gone || segments[i].payload.len > 0);
    }
    fixture_close(fixture);
    arena_free(&arena);
}

static bool run_killed(struct fixture *fixture, const char *fault, struct answers *answers)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error err;
        in_child = true;
        setenv("BIDLAKE_FAULT", fault, 1);
        if (fault_from_environment(&err) != OK)
            _exit(2);
        live(fixture, answers);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true((WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) ||
                (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
}

/* A kill between any two steps, then the ordinary start: an answered event that is gone
 * or a position given twice here is money lost. */
static void kills_at_every_point_lose_nothing(void **state)
{
    struct fixture *fixture = *state;
    static const char *const points[] = {
        "spool.open.before_commit",   "spool.open.committed",       "spool.append.before_commit",
        "spool.append.committed",     "spool.seal.before_commit",   "spool.seal.committed",
        "spool.update.before_commit", "spool.update.committed",     "spool.trim.before_commit",
        "spool.trim.committed",       "spool.let_go.before_commit", "spool.let_go.committed"};
    fixture_close(fixture);
    size_t kills = 0;
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        for (int nth = 1; nth <= 5; nth += 2) {
            struct answers *answers = mmap(NULL, sizeof *answers, PROT_READ | PROT_WRITE,
                                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
            assert_true(answers != MAP_FAILED);
            char *fault = memory_printf("kill:%s:%d", points[i], nth);
            bool killed = run_killed(fixture, fault, answers);
            assert_true(killed || nth > 1); /* the point is passed at all */
            kills += killed;
            check_life(fixture, answers);
            free(fault);
            munmap(answers, sizeof *answers);
        }
    }
    assert_true(kills >= 24);
}

enum { MANY = 1200 };

static void trim_many(struct fixture *fixture, struct answers *answers)
{
    struct error err;
    static struct spool_batch batches[MANY];
    static uint64_t firsts[MANY];
    fixture_open(fixture);
    memcpy(answers->stream, fixture->stream, sizeof answers->stream);
    for (size_t i = 0; i < MANY; i++)
        batches[i] = (struct spool_batch){.stream = fixture->stream,
                                          .schema = slice_cstr("schema one"),
                                          .schema_key = 1,
                                          .rows = slice_cstr("row"),
                                          .event_count = 1,
                                          .row_count = 1};
    must(spool_append(fixture->spool, batches, MANY, NULL, 0, firsts, &err), &err);
    seal(fixture);
    announce(fixture, fixture->stream);
    must(spool_trim(fixture->spool, fixture->stream, MANY, 1, &err), &err);
}

/* A removal that a kill parted must be ended by the next start, or the disk fills with
 * blocks that no stream counts. */
static void parted_removals_are_ended(void **state)
{
    struct fixture *fixture = *state;
    static const char *const points[] = {"spool.trim.committed", "spool.sweep.committed"};
    fixture_close(fixture);
    for (size_t i = 0; i < 2; i++) {
        struct arena arena = {0};
        struct answers *answers =
            mmap(NULL, sizeof *answers, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        assert_true(answers != MAP_FAILED);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
            struct error err;
            in_child = true;
            char *fault = memory_printf("kill:%s", points[i]);
            setenv("BIDLAKE_FAULT", fault, 1);
            must(fault_from_environment(&err), &err);
            trim_many(fixture, answers);
            _exit(0);
        }
        int status = 0;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status));
        fixture_open(fixture);
        struct spool_stream stream = stream_of(fixture->spool, answers->stream, &arena);
        assert_int_equal(stream.begin, MANY);
        assert_int_equal(stream.bytes, 0);
        assert_int_equal(damage_of(fixture->spool), 0);
        fixture_close(fixture);
        arena_free(&arena);
        munmap(answers, sizeof *answers);
    }
}

static void copy_file(const char *from_directory, const char *to_directory, const char *name)
{
    struct error err;
    struct buf bytes = {0};
    char *from = memory_printf("%s/%s", from_directory, name);
    char *to = memory_printf("%s/%s", to_directory, name);
    must(file_read(from, 1 << 30, &bytes, &err), &err);
    must(file_replace(to, buf_slice(&bytes), 0640, &err), &err);
    buf_free(&bytes);
    free(from);
    free(to);
}

/* Two machines from one image, or a disk put back to an earlier state: both go on from
 * the same bytes, and their next events must not have the same names. */
static void copies_go_on_under_other_names(void **state)
{
    struct fixture *fixture = *state;
    struct fixture copy;
    struct arena arena = {0};
    append(fixture, 10, 100);
    char *old = memory_copy_cstr(fixture->stream);
    fixture_close(fixture);
    fixture_init(&copy);
    copy_file(fixture->directory, copy.directory, "data.mdb");
    fixture_open(fixture);
    fixture_open(&copy);
    assert_string_not_equal(fixture->stream, copy.stream);
    assert_true(strcmp(old, copy.stream) < 0 && strcmp(old, fixture->stream) < 0);
    struct spool_segment *segments = NULL;
    assert_int_equal(segments_of(copy.spool, old, &arena, &segments), 1);
    assert_int_equal(segments[0].to, 10);
    assert_int_equal(append(&copy, 5, 100), 0);
    assert_int_equal(append(fixture, 5, 100), 0);
    fixture_free(&copy);
    free(old);
    arena_free(&arena);
}

/* Without forgetting, each restart would leave a stream to list for ever. */
static void streams_with_nothing_left_are_forgotten(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    append(fixture, 10, 100);
    seal(fixture);
    announce(fixture, fixture->stream);
    must(spool_trim(fixture->spool, fixture->stream, 10, 1, &err), &err);
    assert_int_equal(stream_of(fixture->spool, fixture->stream, &arena).end, 10);
    fixture_close(fixture);
    fixture_open(fixture);
    struct spool_streams streams = {0};
    must(spool_list_streams(fixture->spool, &arena, &streams, &err), &err);
    assert_int_equal(streams.count, 0);
    arena_free(&arena);
}

/* Two agents on one spool would give positions twice; a status tool must still see. */
static void one_writes_others_look(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    append(fixture, 10, 100);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        /* A process of its own, not a fork that holds the lock: exec would be that. */
        char *command = memory_printf("exec 9>%s/lock; flock -n 9 && echo free || echo held",
                                      fixture->directory);
        char line[16] = {0};
        FILE *out = popen(command, "r");
        bool held = fgets(line, sizeof line, out) != NULL && strcmp(line, "held\n") == 0;
        pclose(out);
        free(command);
        _exit(held ? 0 : 1);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct spool *beside = NULL;
        struct arena arena = {0};
        size_t damaged = 0;
        struct spool_options options = {.directory = fixture->directory, .agent_id = "a1"};
        bool ok = spool_open(&beside, &options, &err) == ERROR_CONFLICT &&
                  strstr(err.text, "process") != NULL;
        options.read_only = true;
        options.agent_id = NULL;
        ok = ok && spool_open(&beside, &options, &err) == OK;
        ok = ok && stream_of(beside, fixture->stream, &arena).end == 10;
        ok = ok && strcmp(spool_epoch_borrow(beside), spool_epoch_borrow(fixture->spool)) == 0;
        ok = ok && spool_check(beside, NULL, NULL, &damaged, &err) == OK && damaged == 0;
        arena_free(&arena);
        spool_close(beside);
        _exit(ok ? 0 : 1);
    }
    waitpid(pid, &status, 0);
    assert_int_equal(status, 0);
    assert_int_equal(append(fixture, 10, 100), 10);
}

static void put_format(const struct fixture *fixture, uint32_t version)
{
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi dbi = 0;
    uint8_t bytes[4];
    char name[] = "format";
    put_u32le(bytes, version);
    MDB_val key = {.mv_size = strlen(name), .mv_data = name};
    MDB_val value = {.mv_size = sizeof bytes, .mv_data = bytes};
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
    assert_int_equal(mdb_env_open(env, fixture->directory, 0, 0640), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "meta", 0, &dbi), 0);
    assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
}

static struct buf data_of(const struct fixture *fixture)
{
    struct error err;
    struct buf bytes = {0};
    char *path = memory_printf("%s/data.mdb", fixture->directory);
    must(file_read(path, 1 << 30, &bytes, &err), &err);
    free(path);
    return bytes;
}

/* An older program on a newer spool, or another agent's: it must say so and touch
 * nothing, or going back a version costs the spool. */
static void foreign_spools_are_refused_untouched(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    append(fixture, 10, 100);
    fixture_close(fixture);
    put_format(fixture, 2);
    struct buf before = data_of(fixture);
    assert_int_equal(fixture_try_open(fixture, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "newer"));
    struct buf after = data_of(fixture);
    assert_true(slice_equal(buf_slice(&before), buf_slice(&after)));
    put_format(fixture, 1);
    struct spool_options options = {.directory = fixture->directory, .agent_id = "b2"};
    struct spool *other = NULL;
    assert_int_equal(spool_open(&other, &options, &err), ERROR_INPUT);
    assert_non_null(strstr(err.text, "agent a1"));
    fixture_open(fixture);
    buf_free(&before);
    buf_free(&after);
}

/* A host that got another name must go on where it was: nobody chose the old one. Of a new spool
 * the given name is taken all the same. */
static void default_name_gives_way(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    append(fixture, 10, 100);
    fixture_close(fixture);
    struct spool_options options = {
        .directory = fixture->directory, .agent_id = "b2", .agent_id_is_default = true};
    must(spool_open(&fixture->spool, &options, &err), &err);
    assert_string_equal(spool_agent_id_borrow(fixture->spool), "a1");
    assert_int_equal(stream_of(fixture->spool, fixture->stream, &arena).end, 10);
    must(spool_reopen(fixture->spool, NULL, &err), &err);
    assert_string_equal(spool_agent_id_borrow(fixture->spool), "a1");
    fixture_close(fixture);
    char *fresh = memory_printf("%s/fresh", fixture->directory);
    options.directory = fresh;
    must(spool_open(&fixture->spool, &options, &err), &err);
    assert_string_equal(spool_agent_id_borrow(fixture->spool), "b2");
    fixture_close(fixture);
    free(fresh);
    fixture_open(fixture);
    arena_free(&arena);
}

static void bad_places_are_refused_clearly(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct spool *spool = NULL;
    char *file = memory_printf("%s/data.mdb/x", fixture->directory);
    struct spool_options options = {.directory = file, .agent_id = "a1"};
    assert_int_not_equal(spool_open(&spool, &options, &err), OK);
    free(file);
    char *empty = memory_printf("%s/none", fixture->directory);
    options = (struct spool_options){.directory = empty, .read_only = true};
    assert_int_equal(spool_open(&spool, &options, &err), ERROR_INPUT);
    assert_int_equal(access(empty, F_OK), -1);
    free(empty);
}

/* The disk filled up while the file was begun: nothing can be in it, so it is begun anew. A
 * short file that is none of ours stays as it is. */
static void unfinished_files_are_begun_anew(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    char path[128];
    uint64_t first = 0;
    fixture_close(fixture);
    snprintf(path, sizeof path, "%s/data.mdb", fixture->directory);
    assert_int_equal(truncate(path, 4096), 0);
    fixture_open(fixture);
    must(append_to(fixture->spool, fixture->stream, 7, 0, 10, 100, 1, &first, &err), &err);
    assert_int_equal(damage_of(fixture->spool), 0);
    fixture_close(fixture);

    /* where no spool was opened before, as its lock and folders would tell */
    must(file_remove_tree(fixture->directory, &err), &err);
    must(file_make_directories(fixture->directory, 0750, &err), &err);
    struct slice foreign = slice_cstr("a file of somebody else, and a short one");
    struct buf found = {0};
    must(file_replace(path, foreign, 0640, &err), &err);
    assert_int_equal(fixture_try_open(fixture, &err), ERROR_CORRUPT);
    must(file_read(path, 1000, &found, &err), &err);
    assert_true(slice_equal(buf_slice(&found), foreign));
    buf_free(&found);
    must(file_remove_tree(fixture->directory, &err), &err);
    fixture_open(fixture);
}

/* Positions of one epoch are given twice when a machine's memory is woken twice; what can
 * be seen of that is a leap of its clocks. */
static void leaps_and_silence_want_a_new_epoch(void **state)
{
    (void)state;
    struct spool_epoch_watch watch = {0};
    int64_t day_ms = 86400000;
    assert_false(spool_epoch_is_due(&watch, 5000000, 1000));
    assert_false(spool_epoch_is_due(&watch, 5001000, 2000));
    assert_false(spool_epoch_is_due(&watch, 5004000, 3000)); /* slewed, not leapt */
    assert_true(spool_epoch_is_due(&watch, 5011000, 4000));
    assert_false(spool_epoch_is_due(&watch, 5012000, 5000));
    assert_true(spool_epoch_is_due(&watch, 1012000, 6000)); /* back */
    assert_false(spool_epoch_is_due(&watch, 1012000 + day_ms - 1, 6000 + day_ms - 1));
    assert_true(spool_epoch_is_due(&watch, 1012000 + 2 * day_ms, 6000 + 2 * day_ms));
}

/* What the old epoch holds goes out under its name; nothing is taken for it any more. */
static void new_epoch_begins_new_streams(void **state)
{
    struct fixture *fixture = *state;
    struct error err;
    struct arena arena = {0};
    uint64_t first = 0;
    char before[SPOOL_STREAM_NAME_MAX + 1];
    append(fixture, 4, 100);
    memcpy(before, fixture->stream, sizeof before);
    must(spool_renew_epoch(fixture->spool, &err), &err);
    assert_int_equal(append_to(fixture->spool, before, 1, 0, 4, 100, 1, &first, &err), ERROR_INPUT);
    snprintf(fixture->stream, sizeof fixture->stream, "a1/%s/db.t",
             spool_epoch_borrow(fixture->spool));
    assert_true(strcmp(fixture->stream, before) > 0);
    append(fixture, 3, 100);
    assert_int_equal(stream_of(fixture->spool, before, &arena).end, 4);
    assert_int_equal(stream_of(fixture->spool, fixture->stream, &arena).end, 3);
    fixture_close(fixture);
    fixture_open(fixture);
    assert_true(strcmp(fixture->stream, before) > 0);
    assert_int_equal(stream_of(fixture->spool, before, &arena).sealed, 4);
    arena_free(&arena);
}

/* A segment is read by rows in their sorted order. Where memory is little, what the kernel reads
 * around each takes the file cache from the segment itself, which is never done then. */
static void the_map_is_read_by_single_pages(void **state)
{
    struct fixture *fixture = *state;
    char line[4096];
    bool ours = false;
    bool random = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (strchr(line, '-') != NULL) /* a mapping begins: addresses, and the file */
            ours = strstr(line, fixture->directory) != NULL && strstr(line, "data.mdb") != NULL;
        random = random || (ours && strncmp(line, "VmFlags:", 8) == 0 && strstr(line, " rr"));
    }
    fclose(maps);
    assert_true(random);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(kills_at_every_point_lose_nothing),
        SPOOL_TEST(parted_removals_are_ended),
        SPOOL_TEST(copies_go_on_under_other_names),
        SPOOL_TEST(streams_with_nothing_left_are_forgotten),
        SPOOL_TEST(one_writes_others_look),
        SPOOL_TEST(foreign_spools_are_refused_untouched),
        SPOOL_TEST(default_name_gives_way),
        SPOOL_TEST(unfinished_files_are_begun_anew),
        SPOOL_TEST(bad_places_are_refused_clearly),
        cmocka_unit_test(leaps_and_silence_want_a_new_epoch),
        SPOOL_TEST(new_epoch_begins_new_streams),
        SPOOL_TEST(the_map_is_read_by_single_pages),
    };
    return cmocka_run_group_tests_name("spool recovery", tests, NULL, NULL);
}
