/* SPDX-License-Identifier: Apache-2.0
 *
 * One shredder for each variant that this machine has, to be held against the plain one:
 * the same rows to the byte, the same refusals to the column, the same counts.
 */
#ifndef TESTS_UNIT_LIB_SHRED_VARIANTS_H
#define TESTS_UNIT_LIB_SHRED_VARIANTS_H

#include "tests/unit/lib_shred_support.h"

static const struct test_column variant_columns[] = {
    {.name = "id", .type = TYPE_STRING, .from = "id", .required = true},
    {.name = "seat", .type = TYPE_STRING, .from = "a[].s | s", .default_text = "d"},
    {.name = "bid", .type = TYPE_LONG, .from = "a[].b[].i | a[].b[].l[0].i"},
    {.name = "p", .type = TYPE_DOUBLE, .from = "a[].b[].p | a[].p | p"},
    {.name = "cat", .type = TYPE_STRING, .from = "a[].b[].c | c", .list = true},
    {.name = "ints", .type = TYPE_INT, .from = "n | n.n", .list = true},
    {.name = "int", .type = TYPE_INT, .from = "i"},
    {.name = "ok", .type = TYPE_BOOLEAN, .from = "o"},
    {.name = "country", .type = TYPE_STRING, .from = "g.c", .coercion = COERCE_COUNTRY},
    {.name = "first", .type = TYPE_STRING, .from = "a[0].b[1].c[0] | l[2][0]"},
    {.name = "odd key", .type = TYPE_STRING, .from = "k\xc3\xa9y"},
    {.name = "event_timestamp", .type = TYPE_TIMESTAMPTZ, .from = "ts | $received_at"},
    {.name = "raw", .type = TYPE_STRING, .from = "$raw"},
};
enum { VARIANT_COLUMNS = sizeof variant_columns / sizeof variant_columns[0] };

struct variants {
    struct mapping mapping;
    struct shredder *shredders[SHRED_VARIANT_COUNT]; /* NULL: not here */
    struct shred_batch batches[SHRED_VARIANT_COUNT];
};

static inline void variants_init(struct variants *out)
{
    struct error err;
    *out = (struct variants){0};
    test_mapping_make(&out->mapping, variant_columns, VARIANT_COLUMNS, "a[].b[]");
    for (unsigned i = 0; i < SHRED_VARIANT_COUNT; i++) {
        struct shred_options options = {.variant = (enum shred_variant)i, .bytes_max = 1 << 22};
        if (!shred_variant_is_here(options.variant))
            continue;
        int rc = shredder_open(&out->shredders[i], &out->mapping, &options, &err);
        ASSERT(rc == OK);
    }
}

static inline void variants_free(struct variants *variants)
{
    for (unsigned i = 0; i < SHRED_VARIANT_COUNT; i++) {
        shredder_close(variants->shredders[i]);
        shred_batch_free(&variants->batches[i]);
    }
    test_mapping_free(&variants->mapping);
}

static inline bool variants_same_refusal(const struct refusal *a, const struct refusal *b)
{
    return a->reason == b->reason && a->line == b->line && a->column == b->column &&
           strcmp(a->text, b->text) == 0;
}

static inline bool variants_same_counts(const struct shred_statistics *a,
                                        const struct shred_statistics *b)
{
    return a->event_count == b->event_count && a->row_count == b->row_count &&
           memcmp(a->refused, b->refused, sizeof a->refused) == 0 &&
           memcmp(a->coerced_to_null, b->coerced_to_null, VARIANT_COLUMNS * sizeof(uint64_t)) ==
               0 &&
           a->replaced_utf8 == b->replaced_utf8 && a->clamped_time == b->clamped_time &&
           a->unmapped_fields == b->unmapped_fields && a->duplicate_keys == b->duplicate_keys;
}

/* False: some variant differs from the plain one; it says how on stderr. */
static inline bool variants_agree(struct variants *variants, struct slice json)
{
    struct shred_context context = {
        .received_at_us = 1769860800000000, .source_time_us = INT64_MIN, .partition = -1};
    struct refusal refusals[SHRED_VARIANT_COUNT];
    bool taken[SHRED_VARIANT_COUNT];
    const unsigned plain = SHRED_PLAIN;
    for (unsigned i = 0; i < SHRED_VARIANT_COUNT; i++) {
        if (variants->shredders[i] == NULL)
            continue;
        shred_batch_reset(&variants->batches[i]);
        taken[i] = shredder_event(variants->shredders[i], json, &context, &variants->batches[i],
                                  &refusals[i]);
    }
    for (unsigned i = 0; i < SHRED_VARIANT_COUNT; i++) {
        const char *what = NULL;
        if (variants->shredders[i] == NULL || i == plain)
            continue;
        if (taken[i] != taken[plain])
            what =
                taken[i] ? "takes what the plain one refuses" : "refuses what the plain one takes";
        else if (!taken[i] && !variants_same_refusal(&refusals[i], &refusals[plain]))
            what = "gives another reason";
        else if (!slice_equal(buf_slice(&variants->batches[i].rows),
                              buf_slice(&variants->batches[plain].rows)))
            what = "makes other rows";
        else if (!variants_same_counts(shredder_statistics_borrow(variants->shredders[i]),
                                       shredder_statistics_borrow(variants->shredders[plain])))
            what = "counts otherwise";
        if (what == NULL)
            continue;
        struct buf text = {0};
        test_put_text(&text, json);
        fprintf(stderr, "variant %u %s: %s\n", i, what, buf_cstr(&text));
        if (!taken[i])
            fprintf(stderr, "%u:%u %s\n", refusals[i].line, refusals[i].column, refusals[i].text);
        if (!taken[plain])
            fprintf(stderr, "plain: %u:%u %s\n", refusals[plain].line, refusals[plain].column,
                    refusals[plain].text);
        buf_free(&text);
        return false;
    }
    return true;
}

#endif
