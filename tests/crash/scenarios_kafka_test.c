/* SPDX-License-Identifier: Apache-2.0
 *
 * Kafka's part of the protocol, as far as committer and ledger decide it: a stream
 * "kafka/<cluster>/<topic>/<topic id>/<partition>/<table>" whose positions are offsets.
 * The agents' part is played by hand: each scenario announces what an agent would, by
 * lib/announce/PROTOCOL.md, and the table must end up with each offset once. What a broker has
 * to be there for waits for the Kafka source; the README says what that is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lib/announce/announce.h"
#include "lib/base/bytes.h"
#include "lib/base/digest.h"
#include "lib/iceberg/iceberg.h"
#include "tests/crash/scenarios.h"

#define TOPIC "kafka/c1/requests/topicAAA/0/"
#define STREAM TOPIC "db.clicks"
#define WINS_STREAM TOPIC "db.wins"
enum { DAY = 20700 };

/* What an agent announces of a stream. */
struct piece {
    const char *stream;
    size_t table; /* CLICKS unless said */
    uint64_t from;
    uint64_t to;
    uint64_t rows;          /* 0: no file; fewer than offsets: markers, compaction */
    const char *bytes;      /* what tells this build from another; NULL: the same as always */
    struct lost_range lost; /* to > from: there is one */
    unsigned n;             /* 0: 1 */
};

static void put_object(struct scene *scene, const char *key, struct slice bytes)
{
    struct error err;
    assert_int_equal(objstore_put_bytes(scene->world.plain_store, key, bytes, PUT_ALWAYS, &err),
                     OK);
}

static struct file_metric *position_metric(struct scene *scene, const struct piece *piece,
                                           uint8_t bounds[16])
{
    static struct file_metric metric;
    const struct table_schema *schema = &scene->world.mapping[0][piece->table].schema;
    put_u64le(bounds, piece->from);
    put_u64le(bounds + 8, piece->to - 1);
    metric = (struct file_metric){
        .field_id = schema->columns[table_schema_find(schema, "position")].field_id,
        .values = (int64_t)piece->rows,
        .nulls = 0,
        .nans = -1,
        .has_lower = true,
        .has_upper = true,
        .lower = slice_of(bounds, 8),
        .upper = slice_of(bounds + 8, 8)};
    return &metric;
}

/* The file's bytes are a text: a committer asks for size and checksum, it reads no Parquet. */
static void put_data_file(struct scene *scene, const struct piece *piece, const char *path,
                          struct data_file *file)
{
    struct buf key = {0};
    struct buf bytes = {0};
    buf_printf(&bytes, "%s %llu %llu %s", piece->stream, (unsigned long long)piece->from,
               (unsigned long long)piece->to, piece->bytes != NULL ? piece->bytes : "");
    key_of_data_file(scene->world.table[piece->table], path, &key);
    put_object(scene, buf_cstr(&key), buf_slice(&bytes));
    *file = (struct data_file){.path = path,
                               .size = bytes.len,
                               .crc32c = crc32c(0, buf_slice(&bytes)),
                               .rows = piece->rows,
                               .sort = 1,
                               .partition_count = piece->table == CLICKS ? 1 : 2,
                               .partition = {{.number = DAY}, {.null = true}}};
    buf_free(&key);
    buf_free(&bytes);
}

static json_t *schema_of(struct scene *scene, size_t table)
{
    struct error err;
    struct catalog_table now = {0};
    bool found = false;
    assert_int_equal(catalog_load_table(scene->world.plain_catalog, "db",
                                        scene->world.mapping[0][table].schema.table, &now, &found,
                                        &err),
                     OK);
    json_t *schema = json_deep_copy(metadata_current_schema_borrow(now.metadata));
    catalog_table_free(&now);
    return schema;
}

static void announce(struct scene *scene, const struct piece *piece)
{
    struct announcement announcement;
    struct data_file file = {0};
    struct lost_range lost = piece->lost;
    struct buf path = {0};
    struct buf key = {0};
    struct buf bytes = {0};
    uint8_t bounds[16];
    announcement_init(&announcement);
    announcement.stream = piece->stream;
    announcement.agent = "edge";
    announcement.table = scene->world.table[piece->table];
    announcement.from = piece->from;
    announcement.to = piece->to;
    announcement.events = announcement.rows = piece->rows;
    announcement.writer = "bidlake test";
    announcement.sealed_at_ms = scene->world.wall_us / 1000;
    announcement.schema = schema_of(scene, piece->table);
    announcement.lost_count = lost.to > lost.from;
    announcement.lost = &lost;
    if (piece->rows > 0) {
        data_file_path("event_timestamp_day=2026-09-04", piece->stream, piece->from, piece->to,
                       piece->n > 0 ? piece->n : 1, &path);
        put_data_file(scene, piece, buf_cstr(&path), &file);
        file.metrics = position_metric(scene, piece, bounds);
        file.metric_count = 1;
        announcement.files = &file;
        announcement.file_count = 1;
    }
    announcement_encode(&announcement, &bytes);
    key_of_announcement(announcement.table, piece->stream, piece->from, &key);
    put_object(scene, buf_cstr(&key), buf_slice(&bytes));
    buf_free(&path);
    buf_free(&key);
    buf_free(&bytes);
    announcement_free(&announcement);
}

/* The receipt that an agent would start from: next, 0 when there is none. */
static uint64_t receipt_next(struct scene *scene, const char *stream)
{
    struct error err;
    struct buf key = {0};
    struct buf bytes = {0};
    struct objstore_info info = {0};
    struct receipt receipt;
    uint64_t next = 0;
    key_of_receipt(stream, &key);
    assert_int_equal(objstore_get(scene->world.plain_store, buf_cstr(&key), RECEIPT_BYTES_MAX,
                                  &bytes, &info, &err),
                     OK);
    if (info.found) {
        receipt_init(&receipt);
        assert_int_equal(receipt_decode(&receipt, buf_slice(&bytes), &err), OK);
        next = receipt.next;
        receipt_free(&receipt);
    }
    buf_free(&key);
    buf_free(&bytes);
    return next;
}

static void turn_is_quiet(struct scene *scene)
{
    assert_int_equal(scene_turn(scene, scene->committer), OK);
    assert_int_equal(scene->report.alarms, 0);
}

/* Ends a scenario: `rows` in the tables, `next` in ledger and receipt, every invariant. */
static void expect(struct scene *scene, const char *stream, uint64_t next, uint64_t rows)
{
    world_watch_ledgers(&scene->world);
    assert_int_equal(world_fate(&scene->world, stream)->next, next);
    assert_int_equal(receipt_next(scene, stream), next);
    assert_int_equal(scene_rows(scene), rows);
    assert_int_equal(world_count_objects(&scene->world, "_bidlake/inbox/"), 0);
    world_check(&scene->world, true);
    if (scene->world.failed)
        print_error("%s\n", scene->world.failure);
    assert_false(scene->world.failed);
}

/* ---- one agent after the other ---- */

/* An agent stopped past its session wakes with [10, 20) while its successor announced
 * [10, 25): whichever of the two is taken, the other's offsets must not come again, and what
 * it alone has must still come. */
static void kafka_zombie(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    turn_is_quiet(&scene);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 25, .rows = 15});
    turn_is_quiet(&scene);
    /* It wakes: its range is dead, though it overlaps. That is no alarm on Kafka: it hears
     * next = 25 and builds again what is behind it. */
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 30, .rows = 20});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.dead, 1);
    assert_int_equal(receipt_next(&scene, STREAM), 25);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 25, .to = 30, .rows = 5});
    turn_is_quiet(&scene);
    expect(&scene, STREAM, 30, 30);
    scene_drop(&scene);
}

/* It wakes earlier, its announcement takes the place of its successor's: the successor
 * hears next = 20 and builds what is behind it again. */
static void kafka_zombie_first(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    turn_is_quiet(&scene);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 25, .rows = 15});
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 20, .rows = 10});
    turn_is_quiet(&scene);
    assert_int_equal(receipt_next(&scene, STREAM), 20);
    /* The next of the successor's, already there, begins above 20: it waits, and alarms. */
    announce(&scene, &(struct piece){.stream = STREAM, .from = 25, .to = 30, .rows = 5});
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.waiting, 1);
    assert_true(scene.report.alarms > 0);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 20, .to = 25, .rows = 5});
    turn_is_quiet(&scene);
    expect(&scene, STREAM, 30, 30);
    scene_drop(&scene);
}

/* The zombie let its records go before; its file is gone, too. It announces them as lost,
 * but its successor, which has them from Kafka, was first: the ledger counts nothing lost. */
static void kafka_zombie_let_go(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    scene_remove_all(&scene, "db/clicks/data/");
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.missing, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 12, .rows = 12});
    turn_is_quiet(&scene);
    announce(&scene,
             &(struct piece){.stream = STREAM,
                             .from = 0,
                             .to = 10,
                             .lost = {.from = 0, .to = 10, .events = 10, .reason = "gone"}});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.lost_events, 0);
    assert_int_equal(world_lost(&scene.world), 0);
    expect(&scene, STREAM, 12, 12);
    scene_drop(&scene);
}

/* Fetched, spooled, disk gone: the group's offset is far ahead, the ledger's next isn't. Who
 * starts at the ledger's next loses nothing; who believed the group would leave a hole. */
static void kafka_disk_lost(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    turn_is_quiet(&scene);
    /* [10, 40) was on the disk. The group says 40: announced, it waits for ever. */
    announce(&scene, &(struct piece){.stream = STREAM, .from = 40, .to = 50, .rows = 10});
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.waiting, 1);
    assert_true(scene.report.alarms > 0);
    uint64_t next = receipt_next(&scene, STREAM);
    assert_int_equal(next, 10);
    announce(&scene, &(struct piece){.stream = STREAM, .from = next, .to = 40, .rows = 30});
    turn_is_quiet(&scene);
    expect(&scene, STREAM, 50, 50);
    scene_drop(&scene);
}

/* ---- where a stream begins and ends ---- */

/* The topic is older than we are, offsets 0 to 100 went by retention: the first segment
 * begins at 0 all the same. One that says 100 would be a hole to a ledger that knows nothing. */
static void kafka_first_seen(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 100, .to = 110, .rows = 10});
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.taken, 0);
    assert_int_equal(scene.report.waiting, 1);
    assert_true(scene.report.alarms > 0);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 110, .rows = 10});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.taken, 1);
    assert_int_equal(scene.report.dead, 1);
    expect(&scene, STREAM, 110, 10);
    scene_drop(&scene);
}

/* Offsets that Kafka had when we were to take them, and has no longer: lost, and counted. */
static void kafka_retention_overtook(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    turn_is_quiet(&scene);
    announce(
        &scene,
        &(struct piece){.stream = STREAM,
                        .from = 10,
                        .to = 60,
                        .rows = 5,
                        .lost = {.from = 10, .to = 55, .events = 45, .reason = "kafka_retention"}});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.lost_events, 45);
    scene.world.blocks_damaged = true; /* so something may be lost */
    expect(&scene, STREAM, 60, 15);
    scene_drop(&scene);
}

/* Aborted transactions, compaction, a range that ends on a marker, one of markers only: none
 * is a gap, and none has as many rows as offsets. */
static void kafka_markers(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 7});
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 13});
    announce(&scene, &(struct piece){.stream = STREAM, .from = 13, .to = 20, .rows = 1});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.taken, 3);
    expect(&scene, STREAM, 20, 8);
    scene_drop(&scene);
}

/* A position may be anything up to 2^63 - 1: no arithmetic on it may wrap. */
static void kafka_far_offsets(void **state)
{
    (void)state;
    struct scene scene;
    const uint64_t far = INT64_MAX - 10;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = far, .rows = 3});
    announce(&scene, &(struct piece){.stream = STREAM, .from = far, .to = far + 9, .rows = 9});
    turn_is_quiet(&scene);
    expect(&scene, STREAM, far + 9, 12);
    scene_drop(&scene);
}

/* ---- two that disagree ---- */

/* While a new mapping is rolled out, offset 5 is a dead letter to one agent and a row to the
 * other. The dead letter goes by the agent's own stream and before the range that leaves it
 * out: whichever range is taken, offset 5 is in the table once or in dead letters at least
 * once. (WINS stands for the table of dead letters.) */
static void rolling_mapping(bool old_first)
{
    struct scene scene;
    const struct piece old = {.stream = STREAM, .from = 0, .to = 10, .rows = 9, .bytes = "old"};
    const struct piece new = {
        .stream = STREAM, .from = 0, .to = 10, .rows = 10, .bytes = "new", .n = 2};
    scene_open(&scene, 2);
    scene_start(&scene);
    scene_append(&scene, WINS, 1); /* the dead letter, announced first */
    scene_flush(&scene);
    announce(&scene, old_first ? &old : &new);
    turn_is_quiet(&scene);
    announce(&scene, old_first ? &new : &old);
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.dead, 1);
    assert_int_equal(world_rows(&scene.world, CLICKS), old_first ? 9 : 10);
    assert_int_equal(world_rows(&scene.world, WINS), 1);
    scene_flush(&scene);
    expect(&scene, STREAM, 10, old_first ? 10 : 11);
    scene_drop(&scene);
}

static void kafka_rolling_mapping(void **state)
{
    (void)state;
    rolling_mapping(true);
    rolling_mapping(false);
}

/* ---- topics ---- */

/* The topic is deleted and made anew, shorter than next, then longer: its id is in the name,
 * so the new one begins at 0. Without it all that is below next would be dead unseen, and
 * what is above it would be a hole. */
static void kafka_topic_anew(void **state)
{
    (void)state;
    static const char *const shorter = "kafka/c1/requests/topicBBB/0/db.clicks";
    static const char *const longer = "kafka/c1/requests/topicCCC/0/db.clicks";
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 20, .rows = 20});
    turn_is_quiet(&scene);
    announce(&scene, &(struct piece){.stream = shorter, .from = 0, .to = 5, .rows = 5});
    announce(&scene, &(struct piece){.stream = longer, .from = 0, .to = 50, .rows = 50});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.taken, 2);
    expect(&scene, shorter, 5, 75);
    expect(&scene, longer, 50, 75);
    expect(&scene, STREAM, 20, 75);
    scene_drop(&scene);
}

/* One topic feeds two tables, one of which refuses for a while: the other goes on, each has
 * its own next, and the one behind gets all of it once it is mended. */
static void kafka_two_tables(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 2);
    announce(
        &scene,
        &(struct piece){.stream = WINS_STREAM, .table = WINS, .to = 10, .rows = 4, .bytes = "cut"});
    /* The file is not what was announced: a hand from outside. */
    scene.world.files_removed = true;
    assert_true(scene_keep(&scene, "db/wins/data/"));
    put_object(&scene, scene.key, slice_cstr("other bytes"));
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 6});
    assert_int_equal(scene_turn(&scene, scene.committer), OK);
    assert_int_equal(scene.report.taken, 1);
    assert_int_equal(scene.report.refused, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 30, .rows = 12});
    turn_is_quiet(&scene);
    assert_int_equal(receipt_next(&scene, WINS_STREAM), 0);
    assert_int_equal(receipt_next(&scene, STREAM), 30);
    announce(&scene,
             &(struct piece){.stream = WINS_STREAM, .table = WINS, .to = 30, .rows = 12, .n = 2});
    turn_is_quiet(&scene);
    expect(&scene, WINS_STREAM, 30, 30);
    expect(&scene, STREAM, 30, 30);
    scene_drop(&scene);
}

/* A partition that is silent for months: its stream isn't retired, its next is kept. */
static void kafka_never_retires(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene, 1);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    turn_is_quiet(&scene);
    world_pass_ms(&scene.world, 100LL * DAY_MS);
    scene_start(&scene); /* somebody else's commit is when streams would retire */
    scene_append(&scene, CLICKS, 2);
    scene_flush(&scene);
    turn_is_quiet(&scene);
    scene_flush(&scene);
    announce(&scene, &(struct piece){.stream = STREAM, .from = 0, .to = 10, .rows = 10});
    announce(&scene, &(struct piece){.stream = STREAM, .from = 10, .to = 15, .rows = 5});
    turn_is_quiet(&scene);
    assert_int_equal(scene.report.dead, 1);
    assert_int_equal(scene.report.taken, 1);
    expect(&scene, STREAM, 15, 17);
    scene_drop(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kafka_zombie),          cmocka_unit_test(kafka_zombie_first),
        cmocka_unit_test(kafka_zombie_let_go),   cmocka_unit_test(kafka_disk_lost),
        cmocka_unit_test(kafka_first_seen),      cmocka_unit_test(kafka_retention_overtook),
        cmocka_unit_test(kafka_markers),         cmocka_unit_test(kafka_far_offsets),
        cmocka_unit_test(kafka_rolling_mapping), cmocka_unit_test(kafka_topic_anew),
        cmocka_unit_test(kafka_two_tables),      cmocka_unit_test(kafka_never_retires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
