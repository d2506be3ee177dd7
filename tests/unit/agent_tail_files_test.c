/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>

#include "agent/tail/files.h"
#include "agent/tail/origin.h"
#include "tests/unit/spool_support.h"

#define DAY_MS (24 * INT64_C(3600000))

static struct {
    int64_t wall_ms;
    int64_t mono_ms;
} now = {.wall_ms = 1767225600000, .mono_ms = 1000000};

static int64_t wall_us(void *context)
{
    (void)context;
    return now.wall_ms * 1000;
}

static int64_t mono_ms(void *context)
{
    (void)context;
    return now.mono_ms;
}

static const struct clock clock_here = {.wall_us = wall_us, .mono_ms = mono_ms};

static void store(struct fixture *fixture, const char *key, struct slice value)
{
    struct error err;
    struct spool_checkpoint checkpoint = {.key = slice_cstr(key), .value = value};
    must(spool_append(fixture->spool, NULL, 0, &checkpoint, 1, NULL, &err), &err);
}

static void store_place(struct fixture *fixture, const char *key, const struct tail_place *place)
{
    uint8_t bytes[PLACE_SIZE];
    place_encode(place, bytes);
    store(fixture, key, slice_of(bytes, sizeof bytes));
}

static uint64_t stored_count(struct fixture *fixture)
{
    struct error err;
    uint64_t count = 0;
    must(spool_checkpoint_count(fixture->spool, slice_cstr("tail/clicks/"), &count, &err), &err);
    return count;
}

static void open_files(struct fixture *fixture, struct files *files)
{
    struct error err;
    struct source_options options = {.spool = fixture->spool,
                                     .clock = &clock_here,
                                     .address = "/nowhere/at/all/*",
                                     .table = "clicks"};
    must(files_open(files, &options, &err), &err);
}

static struct tail_place place_of(const char *text)
{
    struct tail_place place = {.stored_at_ms = now.wall_ms};
    place_advance(&place, slice_cstr(text), strlen(text));
    return place;
}

/* What every rotation leaves would fill the spool in a year; what is forgotten too early is
 * taken again when its compressed copy turns up. */
static void places_are_forgotten_in_time(void **state)
{
    (void)state;
    struct fixture fixture;
    struct files files;
    fixture_init(&fixture);
    fixture_open(&fixture);
    struct tail_place place = place_of("{\"id\":\"a\"}\n");
    store_place(&fixture, "tail/clicks/1/a/0", &place);
    store_place(&fixture, "tail/other/1/a/0", &place);
    open_files(&fixture, &files);
    files_scan(&files, now.mono_ms);
    now.wall_ms += 8 * DAY_MS;
    files_scan(&files, now.mono_ms + 3599999);
    assert_int_equal(files.count, 1);
    now.wall_ms -= 2 * DAY_MS;
    files_scan(&files, now.mono_ms + 2 * DAY_MS);
    assert_int_equal(stored_count(&fixture), 1);
    now.wall_ms += DAY_MS;
    /* A copy that lies there would come again at the next start. */
    struct tail_file *copy = files_add(&files, 1, 0xb);
    files_set_descriptor(&files, copy, open("/dev/null", O_RDONLY));
    copy->original = files_find(&files, 1, 0xa);
    files_scan(&files, now.mono_ms + 3600000);
    assert_int_equal(stored_count(&fixture), 1);
    copy->original = NULL;
    files_scan(&files, now.mono_ms + 3600000);
    assert_int_equal(stored_count(&fixture), 0);
    assert_ptr_equal(files_next(&files, false), copy);
    files_close_descriptor(&files, copy);
    files_scan(&files, now.mono_ms + 10 * 3600000);
    assert_int_equal(files.count, 0);
    assert_int_equal(stored_count(&fixture), 0);
    files_close(&files);
    fixture_free(&fixture);
}

/* A damaged place must not keep the agent from starting, nor take others with it. */
static void places_that_are_none_are_left_alone(void **state)
{
    (void)state;
    struct fixture fixture;
    struct files files;
    fixture_init(&fixture);
    fixture_open(&fixture);
    struct tail_place place = place_of("{\"id\":\"a\"}\n");
    store(&fixture, "tail/clicks/1/b/0", slice_cstr("nonsense"));
    static const char *const keys[] = {"tail/clicks/1/0c/0", "tail/clicks/1/c", "tail/clicks/1/0/0",
                                       "tail/clicks/1/c/0/x", "tail/clicks/x"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        store_place(&fixture, keys[i], &place);
    store_place(&fixture, "tail/clicks/1/d/ffffffff", &place);
    open_files(&fixture, &files);
    assert_int_equal(files.count, 1);
    assert_non_null(files_find(&files, 1, 0xd));
    files_scan(&files, now.mono_ms);
    assert_int_equal(stored_count(&fixture), 7);
    files_close(&files);
    fixture_free(&fixture);
}

/* Of an inode's contents one is there; the others are known for the sake of their copies. */
static void the_last_generation_is_there(void **state)
{
    (void)state;
    struct fixture fixture;
    struct files files;
    bool shorter = false;
    static const char old[] = "{\"id\":\"old old old old\"}\n";
    static const char new[] = "{\"id\":\"new\"}\n";
    fixture_init(&fixture);
    fixture_open(&fixture);
    struct tail_place first = place_of(old);
    struct tail_place second = place_of(new);
    store_place(&fixture, "tail/clicks/1/a/9", &first);
    store_place(&fixture, "tail/clicks/1/a/10", &second);
    open_files(&fixture, &files);
    struct tail_file *file = files_find(&files, 1, 0xa);
    assert_int_equal(file->generation, 0x10);
    assert_int_equal(file->place.offset, strlen(new));
    struct tail_file *copy = files_add(&files, 1, 0xb);
    assert_int_equal(copy->generation, 0);
    struct place_head head = {0};
    place_head_add(&head, slice_cstr(old));
    struct tail_file *original =
        origin_find(&files, copy, &head, strlen(old), UINT64_MAX, &shorter);
    assert_true(original->past && !shorter);
    assert_int_equal(original->generation, 9);
    /* Two that are as far: the one that is still there gives the rest, so it is waited for. */
    copy->place = first;
    struct tail_file *other = files_add(&files, 1, 0xc);
    assert_ptr_equal(origin_find(&files, other, &head, strlen(old), UINT64_MAX, &shorter), copy);
    assert_ptr_equal(origin_find_at(&files, other, &head, strlen(old), slice_cstr(old)), copy);
    assert_null(origin_find(&files, other, &head, strlen(old), strlen(old), &shorter));
    files_close(&files);
    fixture_free(&fixture);
}

/* A spool that was set aside takes all places with it: after the next start whole files
 * would come again. */
static void places_outlive_their_spool(void **state)
{
    (void)state;
    enum { COUNT = 150 };
    struct fixture fixture;
    struct fixture other;
    struct files files;
    char key[64];
    fixture_init(&fixture);
    fixture_open(&fixture);
    fixture_init(&other);
    fixture_open(&other);
    struct tail_place place = place_of("{\"id\":\"a\"}\n");
    for (int i = 1; i <= COUNT; i++) {
        snprintf(key, sizeof key, "tail/clicks/1/%x/0", (unsigned)i);
        store_place(&fixture, key, &place);
    }
    open_files(&fixture, &files);
    struct tail_file *busy = files_find(&files, 1, 7);
    files_add(&files, 1, COUNT + 1)->place = place; /* taken over, not stored yet */
    files_scan(&files, now.mono_ms);
    files.spool = other.spool;
    busy->busy = true;
    files_scan(&files, now.mono_ms);
    assert_int_equal(stored_count(&other), COUNT - 1);
    assert_true(busy->dirty);
    busy->busy = false;
    files_close(&files);
    open_files(&other, &files);
    assert_int_equal(files.count, COUNT - 1);
    assert_int_equal(files_find(&files, 1, 8)->place.offset, place.offset);
    files_close(&files);
    fixture_free(&fixture);
    fixture_free(&other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(places_are_forgotten_in_time),
        cmocka_unit_test(places_that_are_none_are_left_alone),
        cmocka_unit_test(the_last_generation_is_there),
        cmocka_unit_test(places_outlive_their_spool),
    };
    return cmocka_run_group_tests_name("agent/tail/files", tests, NULL, NULL);
}
