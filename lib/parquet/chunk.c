/* SPDX-License-Identifier: Apache-2.0
 *
 * A chunk begins with a dictionary, unless its type or field forbids one. The
 * dictionary page comes first in the file but is complete last, so the (compressed)
 * pages of indexes wait in memory until it is.
 *
 * A value that would make the dictionary too large ends it: what the page at hand
 * had put into it is taken out again, dictionary and waiting pages are written, and
 * from this page on all are PLAIN. When that, or finding that indexes and dictionary
 * are no smaller than the values, happens in the first page that has values, the
 * chunk is begun again without a dictionary.
 */
#include "lib/parquet/chunk.h"

#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/memory.h"
#include "lib/parquet/hybrid.h"

enum {
    TRIAL_VALUES = 8192, /* of the first page, after which a dictionary may be given up */
    HOPELESS = 4,        /* times too large */
};

/* One call of chunk_encode. */
struct chunk {
    struct chunk_encoder *encoder;
    const struct parquet_field *field;
    const struct parquet_column *column;
    size_t row_count;
    struct output *output;
    struct chunk_meta *meta;
    struct range *range;
    bool indexed;      /* pages still go through the dictionary */
    uint64_t data_len; /* of the data pages made so far */
};

void chunk_encoder_init(struct chunk_encoder *encoder, const struct parquet_options *options)
{
    *encoder = (struct chunk_encoder){
        .page_rows_max = options->page_rows_max > 0 ? options->page_rows_max : 20000,
        .page_bytes_max = options->page_bytes_max > 0 ? options->page_bytes_max : 1 << 20,
    };
    page_packer_init(&encoder->packer, options->zstd_level > 0 ? options->zstd_level : 1);
    dictionary_init(&encoder->dictionary,
                    options->dictionary_bytes_max > 0 ? options->dictionary_bytes_max : 1 << 20);
}

void chunk_encoder_free(struct chunk_encoder *encoder)
{
    page_packer_free(&encoder->packer);
    dictionary_free(&encoder->dictionary);
    bloom_free(&encoder->bloom);
    view_free(&encoder->view);
    buf_free(&encoder->body);
    buf_free(&encoder->pending);
    free(encoder->indexes);
    free(encoder->pages);
}

static void chunk_begin(struct chunk *chunk, bool indexed)
{
    struct chunk_encoder *encoder = chunk->encoder;
    int64_t offset = (int64_t)chunk->output->offset;
    *chunk->meta = (struct chunk_meta){.offset = offset, .data_offset = offset};
    *chunk->range = (struct range){0};
    encoder->page_count = 0;
    buf_reset(&encoder->pending);
    chunk->data_len = 0;
    chunk->indexed = indexed;
    if (indexed)
        dictionary_begin(&encoder->dictionary, view_number_width(chunk->field->type),
                         chunk->column->codes != NULL ? chunk->column->distinct_count : 0);
}

/* Whether a dictionary after its trial will be full long before the chunk ends: it would be
 * if it grew on like this, and the second half of the trial, which began with `half`
 * entries, had hardly fewer new values than the first. So it is with ids, also where each
 * comes some times in a row; of ten thousand values that come in any order a tenth of the
 * trial's second half is known already, and they get their dictionary. */
static bool is_hopeless(const struct chunk *chunk, uint32_t half)
{
    const struct dictionary *dictionary = &chunk->encoder->dictionary;
    uint64_t whole = (uint64_t)dictionary->bytes.len * (chunk->row_count / TRIAL_VALUES);
    return whole / HOPELESS > dictionary->bytes_max &&
           (uint64_t)(dictionary->count - half) * 10 >= (uint64_t)half * 9;
}

/* The index of each value of the view; false when the dictionary got too large. */
static bool find_indexes(const struct chunk *chunk)
{
    struct chunk_encoder *encoder = chunk->encoder;
    const struct view *view = &encoder->view;
    const struct parquet_column *column = view->column;
    struct dictionary *dictionary = &encoder->dictionary;
    bool full = false;
    bool trial = dictionary->count == 0;
    uint32_t half = 0;
    if (view->value_count > encoder->index_cap) {
        free(encoder->indexes);
        encoder->indexes = memory_alloc_raw(view->value_count, sizeof *encoder->indexes);
        encoder->index_cap = view->value_count;
    }
    for (size_t k = 0; k < view->value_count && !full; k++) {
        size_t at = view_at(view, k);
        uint32_t index;
        if (column->codes != NULL) {
            ASSERT(column->codes[at] < column->distinct_count);
            index = dictionary_put_code(dictionary, column->codes[at], column->distinct);
        } else if (column->strings != NULL) {
            if (k + VIEW_FETCH_AHEAD < view->value_count)
                __builtin_prefetch(column->strings[view_at(view, k + VIEW_FETCH_AHEAD)].data);
            index = dictionary_put_string(dictionary, column->strings[at]);
        } else if (column->ints != NULL) {
            index = dictionary_put_number(dictionary, (uint32_t)column->ints[at]);
        } else if (column->longs != NULL) {
            index = dictionary_put_number(dictionary, (uint64_t)column->longs[at]);
        } else {
            uint64_t bits;
            memcpy(&bits, &column->doubles[at], sizeof bits);
            index = dictionary_put_number(dictionary, bits);
        }
        encoder->indexes[k] = index;
        full = index == DICTIONARY_FULL;
        if (trial && k + 1 == TRIAL_VALUES / 2)
            half = dictionary->count;
        if (trial && k + 1 == TRIAL_VALUES)
            full = full || is_hopeless(chunk, half);
    }
    return !full;
}

/* The range of a page of strings from the entries that it uses, each looked at once. */
static void add_indexed_range(struct chunk_encoder *encoder, struct range *range)
{
    struct dictionary *dictionary = &encoder->dictionary;
    uint32_t number = (uint32_t)encoder->page_count + 1;
    for (size_t k = 0; k < encoder->view.value_count; k++) {
        uint32_t index = encoder->indexes[k];
        if (dictionary->pages[index] == number)
            continue;
        dictionary->pages[index] = number;
        range_add_string(range, dictionary->entries[index].string);
    }
}

/* Notes the page for the indexes and adds it to the chunk's sums. */
static void record_page(struct chunk *chunk, const struct range *range, size_t size)
{
    struct chunk_encoder *encoder = chunk->encoder;
    const struct view *view = &encoder->view;
    if (encoder->page_count == encoder->page_cap) {
        encoder->page_cap = encoder->page_cap == 0 ? 16 : encoder->page_cap * 2;
        encoder->pages = memory_resize(encoder->pages, encoder->page_cap, sizeof *encoder->pages);
    }
    struct chunk_page *page = &encoder->pages[encoder->page_count++];
    *page = (struct chunk_page){
        .offset = (int64_t)chunk->data_len,
        .size = (int32_t)size,
        .all_null = view->value_count == 0,
        .first_row = (int64_t)view->row_begin,
        .null_count = (int64_t)(view->entry_count - view->value_count),
        .nan_count = view_count_nan(view),
    };
    page->has_bounds = bounds_encode(range, chunk->field->type, &page->min, &page->max);
    chunk->data_len += size;
    chunk->meta->entry_count += (int64_t)view->entry_count;
    chunk->meta->null_count += page->null_count;
    chunk->meta->nan_count += page->nan_count;
    range_merge(chunk->range, range, chunk->field->type);
}

/* Packs encoder->body as a data page and writes it, or lets it wait. */
static int put_page(struct chunk *chunk, const struct range *range, struct error *err)
{
    struct chunk_encoder *encoder = chunk->encoder;
    ASSERT(!buf_failed(&encoder->body) && encoder->body.len <= PAGE_BYTES_LIMIT);
    struct page page = {
        .type = PAGE_DATA,
        .encoding = chunk->indexed ? ENCODING_RLE_DICTIONARY : ENCODING_PLAIN,
        .entries = encoder->view.entry_count,
        .body = buf_slice(&encoder->body),
    };
    struct packed_page packed;
    int rc = page_pack(&encoder->packer, &page, &packed, err);
    if (rc != OK)
        return rc;
    record_page(chunk, range, packed.bytes.len);
    chunk->meta->uncompressed_len += (int64_t)packed.uncompressed_len;
    chunk->meta->compressed_len += (int64_t)packed.bytes.len;
    if (!chunk->indexed) {
        chunk->meta->plain_pages++;
        return output_write(chunk->output, packed.bytes, err);
    }
    chunk->meta->dictionary_pages++;
    buf_put_slice(&encoder->pending, packed.bytes);
    return OK;
}

/* The values of all pages that wait for the dictionary, each once. */
static void add_dictionary_to_bloom(struct chunk_encoder *encoder, enum parquet_type type)
{
    const struct dictionary *dictionary = &encoder->dictionary;
    for (size_t i = 0; i < dictionary->count; i++) {
        union dictionary_entry entry = dictionary->entries[i];
        if (type == PARQUET_STRING)
            bloom_add_string(&encoder->bloom, entry.string);
        else if (type == PARQUET_DOUBLE)
            bloom_add_double(&encoder->bloom, entry.number);
        else
            bloom_add_number(&encoder->bloom, entry.number, dictionary->width);
    }
}

/* Writes the dictionary and the pages that waited for it. */
static int dictionary_finish(struct chunk *chunk, struct error *err)
{
    struct chunk_encoder *encoder = chunk->encoder;
    struct page page = {
        .type = PAGE_DICTIONARY,
        .encoding = ENCODING_PLAIN,
        .entries = encoder->dictionary.count,
        .body = buf_slice(&encoder->dictionary.bytes),
    };
    ASSERT(page.entries > 0);
    struct packed_page packed;
    int rc = page_pack(&encoder->packer, &page, &packed, err);
    if (rc != OK)
        return rc;
    chunk->meta->data_offset += (int64_t)packed.bytes.len;
    chunk->meta->uncompressed_len += (int64_t)packed.uncompressed_len;
    chunk->meta->compressed_len += (int64_t)packed.bytes.len;
    rc = output_write(chunk->output, packed.bytes, err);
    if (rc != OK)
        return rc;
    chunk->indexed = false;
    if (chunk->field->bloom)
        add_dictionary_to_bloom(encoder, chunk->field->type);
    return output_write(chunk->output, buf_slice(&encoder->pending), err);
}

/* Makes the body of a page of indexes. False: the page does not fit the dictionary,
 * or, being the first, gains nothing by it; the dictionary is as it was before. */
static bool make_indexed_body(struct chunk *chunk)
{
    struct chunk_encoder *encoder = chunk->encoder;
    struct dictionary *dictionary = &encoder->dictionary;
    uint32_t count_before = dictionary->count;
    size_t len_before = dictionary->bytes.len;
    if (!find_indexes(chunk)) {
        dictionary_cut(dictionary, count_before, len_before);
        return false;
    }
    /* A dictionary of one could have width 0, which old readers do not know. */
    unsigned width = dictionary->count > 2 ? hybrid_width(dictionary->count - 1) : 1;
    buf_reset(&encoder->body);
    view_put_levels(&encoder->view, &encoder->body);
    size_t start = encoder->body.len;
    buf_put_u8(&encoder->body, (uint8_t)width);
    hybrid_put(&encoder->body, encoder->indexes, encoder->view.value_count, width);
    bool first = count_before == 0 && encoder->view.value_count > 0;
    size_t indexed_len = dictionary->bytes.len + encoder->body.len - start;
    if (first && indexed_len >= view_plain_len(&encoder->view)) {
        dictionary_cut(dictionary, 0, 0);
        return false;
    }
    return true;
}

/* One page from `row` on; *end is where the next begins. With indexes, *refused says
 * that the page must be made again without. */
static int encode_page(struct chunk *chunk, size_t row, size_t *end, bool *refused,
                       struct error *err)
{
    struct chunk_encoder *encoder = chunk->encoder;
    const struct parquet_field *field = chunk->field;
    size_t mark = (row / encoder->page_rows_max + 1) * encoder->page_rows_max;
    size_t cost = 0;
    *refused = false;
    *end =
        view_find_end(field, chunk->column, row, mark < chunk->row_count ? mark : chunk->row_count,
                      encoder->page_bytes_max, chunk->indexed, &cost);
    if (cost > PAGE_BYTES_LIMIT)
        return error_set(err, ERROR_LIMIT, "a row of %zu bytes, the most is %zu", cost,
                         PAGE_BYTES_LIMIT);
    view_set(&encoder->view, field, chunk->column, row, *end);
    if (field->required && encoder->view.value_count < *end - row)
        return error_set(err, ERROR_INPUT, "null, but required");

    struct range range = {0};
    if (!chunk->indexed) {
        buf_reset(&encoder->body);
        view_put_levels(&encoder->view, &encoder->body);
        view_put_plain(&encoder->view, &encoder->body, field->no_bounds ? NULL : &range,
                       field->bloom ? &encoder->bloom : NULL);
        return put_page(chunk, &range, err);
    }
    *refused = !make_indexed_body(chunk);
    if (*refused)
        return OK;
    if (!field->no_bounds && field->type == PARQUET_STRING)
        add_indexed_range(encoder, &range);
    else if (!field->no_bounds)
        view_add_range(&encoder->view, &range);
    return put_page(chunk, &range, err);
}

int chunk_encode(struct chunk_encoder *encoder, const struct parquet_field *field,
                 const struct parquet_column *column, size_t row_count, struct output *output,
                 struct chunk_meta *meta, struct range *range, struct error *err)
{
    struct chunk chunk = {.encoder = encoder,
                          .field = field,
                          .column = column,
                          .row_count = row_count,
                          .output = output,
                          .meta = meta,
                          .range = range};
    int rc = OK;
    size_t row = 0;
    if (field->bloom)
        bloom_begin(&encoder->bloom, row_count);
    chunk_begin(&chunk, !field->plain && field->type != PARQUET_BOOLEAN);
    while (rc == OK && row < row_count) {
        size_t end = 0;
        bool refused = false;
        rc = encode_page(&chunk, row, &end, &refused, err);
        bool last = !refused && end == row_count;
        bool unused = chunk.indexed && encoder->dictionary.count == 0;
        if (rc == OK && unused && (refused || last)) {
            chunk_begin(&chunk, false);
            end = 0;
        } else if (rc == OK && chunk.indexed && (refused || last)) {
            rc = dictionary_finish(&chunk, err);
        }
        row = refused ? (unused ? 0 : row) : end;
    }
    if (rc != OK)
        return error_wrap(err, "column %s", field->name);
    /* DuckDB takes `x <= max` for true in all rows then, also where x is NaN. */
    meta->has_bounds =
        meta->nan_count == 0 && bounds_encode(range, field->type, &meta->min, &meta->max);
    return OK;
}
