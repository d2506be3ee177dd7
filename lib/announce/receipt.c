/* SPDX-License-Identifier: Apache-2.0
 *
 * Receipt: {"v":1,"stream":"<stream>","next":400000,"committed_at":0,"missing":null,
 * "refused":null}, or "missing":123, or "refused":{"from":123,"reason":"..."}.
 */
#include "lib/announce/decode.h"
#include "lib/base/assert.h"

enum { RECEIPT_VALUES_MAX = 10000 };

void receipt_init(struct receipt *out)
{
    *out = (struct receipt){0};
}

void receipt_free(struct receipt *receipt)
{
    json_decref(receipt->document);
    arena_free(&receipt->arena);
    receipt_init(receipt);
}

void receipt_encode(const struct receipt *receipt, struct buf *out)
{
    ASSERT(receipt->stream != NULL);
    json_t *document = receipt->document != NULL ? json_copy(receipt->document) : json_object();
    json_t *refused = json_null();
    if (receipt->has_refused) {
        const json_t *known = json_object_get(receipt->document, "refused");
        refused = json_is_object(known) ? json_copy((json_t *)(uintptr_t)known) : json_object();
        json_object_set_new(refused, "from", encode_count(receipt->refused_from));
        json_object_set_new(refused, "reason", encode_reason(receipt->refused_reason));
    }
    json_object_set_new(document, "v", json_integer(1));
    json_object_set_new(document, "stream", encode_text(receipt->stream));
    json_object_set_new(document, "next", encode_count(receipt->next));
    json_object_set_new(document, "committed_at", json_integer(receipt->committed_at_ms));
    json_object_set_new(document, "missing",
                        receipt->has_missing ? encode_count(receipt->missing_from) : json_null());
    json_object_set_new(document, "refused", refused);
    json_encode(document, out);
    json_decref(document);
}

static int refused_decode(struct receipt *out, struct error *err)
{
    const json_t *refused = json_object_get(out->document, "refused");
    if (refused == NULL || json_is_null(refused))
        return OK;
    if (!json_is_object(refused))
        return error_set(err, ERROR_INPUT, "receipt: \"refused\" is not an object");
    out->has_refused = true;
    int rc = decode_count(refused, "refused", "from", &out->refused_from, err);
    if (rc == OK)
        rc = decode_text(refused, "refused", "reason", REASON_MAX, &out->refused_reason, err);
    return rc;
}

static int receipt_fill(struct receipt *out, struct error *err)
{
    static const char what[] = "receipt";
    const char *table = NULL;
    int rc = decode_text(out->document, what, "stream", STREAM_NAME_MAX, &out->stream, err);
    if (rc == OK && !stream_name_check(out->stream, &table))
        rc = error_set(err, ERROR_INPUT, "%s: \"stream\" is no stream's name", what);
    if (rc == OK)
        rc = decode_count(out->document, what, "next", &out->next, err);
    if (rc == OK)
        rc = decode_time(out->document, what, "committed_at", &out->committed_at_ms, err);
    const json_t *missing = json_object_get(out->document, "missing");
    if (rc == OK && missing != NULL && !json_is_null(missing)) {
        out->has_missing = true;
        rc = decode_count(out->document, what, "missing", &out->missing_from, err);
    }
    return rc == OK ? refused_decode(out, err) : rc;
}

int receipt_decode(struct receipt *out, struct slice bytes, struct error *err)
{
    receipt_init(out);
    int rc = document_decode(&out->document, "receipt", bytes, RECEIPT_BYTES_MAX,
                             RECEIPT_VALUES_MAX, err);
    if (rc == OK)
        rc = receipt_fill(out, err);
    if (rc != OK)
        receipt_free(out);
    return rc;
}
