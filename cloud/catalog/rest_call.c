/* SPDX-License-Identifier: Apache-2.0
 *
 * One request to the server. It is sent again in one case alone: who asks was refused (401, 419,
 * a signature), so nothing was done, and there is another proof now: a token, credentials, or the
 * server's time.
 *
 * What changes something goes on a connection of its own, because libcurl would send it again,
 * unseen, on a dead one. When its answer does not come, or comes from somebody in between (5xx),
 * nobody knows whether it was applied: ERROR_RETRY, and the caller looks at the table.
 */
#include <stdlib.h>
#include <string.h>

#include "cloud/catalog/rest.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"
#include "lib/json/json.h"

enum { OWN_FIELDS_MAX = 4 };

/* The key is the same when a request goes out again, so the server knows it for the same. */
struct sending {
    const struct rest_request *request;
    struct buf url;
    struct buf body;
    struct buf etag;
    char key[sizeof "Idempotency-Key: " + UUID_TEXT_SIZE];
    struct rest_proof proof; /* of the last time it went out */
};

static void sending_make(struct rest *rest, struct sending *sending)
{
    const struct rest_request *request = sending->request;
    buf_printf(&sending->url, "%s%s", rest->base, request->path);
    if (request->body != NULL)
        json_encode(request->body, &sending->body);
    if (request->etag != NULL)
        buf_printf(&sending->etag, "If-None-Match: %s", request->etag);
    if (request->once && rest->config.idempotent) {
        char uuid[UUID_TEXT_SIZE];
        uuid_v7(uuid, clock_wall_ms(rest->clock));
        memcpy(sending->key, "Idempotency-Key: ", 17);
        memcpy(sending->key + 17, uuid, sizeof uuid);
    }
}

static int send_once(struct rest *rest, struct sending *sending, struct http_reply *reply,
                     struct error *err)
{
    const struct rest_request *request = sending->request;
    const char *fields[REST_FIELDS_MAX + OWN_FIELDS_MAX];
    size_t count = 0;
    for (size_t i = 0; i < rest->field_count; i++)
        fields[count++] = rest->fields[i];
    fields[count++] = "Accept: application/json";
    if (request->body != NULL)
        fields[count++] = "Content-Type: application/json";
    if (sending->etag.len > 0)
        fields[count++] = buf_cstr(&sending->etag);
    if (sending->key[0] != 0)
        fields[count++] = sending->key;
    struct http_call call = {.method = request->method,
                             .url = buf_cstr(&sending->url),
                             .fields = fields,
                             .field_count = count,
                             .body = buf_slice(&sending->body),
                             .answer_bytes_max = request->answer_bytes_max,
                             .timeout_ms = rest->timeout_ms,
                             .fresh = request->once};
    const char *own = request->table != NULL ? request->table->bearer : NULL;
    int rc = rest->auth->ops->prove(rest->auth, own, &call, &sending->proof, err);
    reply->sent = false;
    if (rc == OK)
        rc = http_client_call(rest->http, &call, reply, err);
    if (rc == OK)
        rest_proof_hide(&sending->proof, reply);
    /* Nothing that went wrong on the way back says that it was not applied. */
    if (rc != OK && request->once && reply->sent)
        rc = err->code = ERROR_RETRY;
    return rc;
}

/* A table's token that is refused goes; the catalog's own asks for the table, whole, so that
 * the answer has another one. False: there was none. */
static bool table_token_drop(struct sending *sending)
{
    struct rest_table *table = sending->request->table;
    if (!sending->proof.of_table)
        return false;
    memory_wipe(&table->bearer);
    free(table->etag);
    table->etag = NULL;
    buf_reset(&sending->etag);
    return true;
}

int rest_call(struct rest *rest, const struct rest_request *request, struct http_reply *reply,
              struct error *err)
{
    struct sending sending = {.request = request};
    bool again = false;
    int rc = rest->auth->ops->ready(rest->auth, err);
    if (rc == OK) {
        sending_make(rest, &sending);
        rc = send_once(rest, &sending, reply, err);
    }
    if (rc == OK && rest_is_unknown(reply->status) && table_token_drop(&sending))
        rc = send_once(rest, &sending, reply, err);
    if (rc == OK)
        rc = rest->auth->ops->refused(rest->auth, &sending.proof, reply, &again, err);
    if (rc == OK && again)
        rc = send_once(rest, &sending, reply, err);
    buf_free(&sending.url);
    buf_free(&sending.body);
    buf_free(&sending.etag);
    rest_proof_free(&sending.proof);
    return rc;
}

/* ---- what a status means ---- */

static enum error_code code_of(int status, bool once)
{
    switch (status) {
    case 401:
    case 403:
    case 407:
    case 419:
        return ERROR_DENIED;
    case 408: /* the server, or somebody before it, gave up waiting */
    case 425:
    case 429:
        return ERROR_RETRY;
    case 409:
    case 412:
        return ERROR_CONFLICT;
    case 501:
        return ERROR_INPUT;
    default:
        break;
    }
    if (status >= 500)
        return ERROR_RETRY;
    if (status >= 300)
        return ERROR_INPUT;
    return once ? ERROR_RETRY : ERROR_CORRUPT; /* a success that is none of the protocol's */
}

bool rest_is_missing(const struct http_reply *reply)
{
    return reply->status == 404 && rest_error_is(buf_slice(&reply->body));
}

/* What a person looks at, behind "; ". */
static void advice_put(const struct rest *rest, const struct http_reply *reply, struct buf *out)
{
    int status = reply->status;
    const struct rest_auth_ops *auth = rest->auth->ops;
    const char *check = auth->check(rest->auth);
    bool unknown = rest_is_unknown(status);
    if (check == NULL && (unknown || status == 403)) {
        buf_put_cstr(out, "; nobody was named: set catalog.credential_file, catalog.token_file or "
                          "catalog.signing_name");
    } else if (unknown || status == 403) {
        buf_put_cstr(out, unknown ? "; it does not take " : "; it does not allow this to ");
        auth->principal_put(rest->auth, out);
        buf_put_cstr(out, unknown ? ": check " : ": check the rights there");
        if (!unknown && auth->signs)
            buf_put_cstr(out, ", and ");
        if (unknown || auth->signs)
            buf_put_cstr(out, check);
    } else if (status == 405 || status == 406 || status == 501) {
        buf_put_cstr(out, "; the catalog doesn't offer this");
    } else if (status == 404 && !rest_is_missing(reply)) {
        buf_put_cstr(out, "; that is no catalog's answer: check catalog.uri, and what stands "
                          "before the catalog");
    } else if (status >= 300 && status < 400) {
        buf_put_cstr(out, "; the catalog is elsewhere: set catalog.uri");
    }
}

int rest_refusal(const struct rest *rest, const struct http_reply *reply, bool once,
                 struct error *err)
{
    struct buf text = {0};
    rest_error_put(buf_slice(&reply->body), &text);
    struct buf advice = {0};
    advice_put(rest, reply, &advice);
    enum error_code code = code_of(reply->status, once);
    if (reply->status == 404 && !once && !rest_is_missing(reply))
        code = ERROR_DENIED; /* nobody said that it isn't there */
    int rc = error_set(err, code, "the catalog answers %d%s%s%s", reply->status,
                       text.len > 0 ? " " : "", buf_cstr(&text), buf_cstr(&advice));
    err->cause = reply->status;
    if (code == ERROR_RETRY) {
        int64_t after_ms = http_reply_retry_after_ms(reply, clock_wall_ms(rest->clock));
        err->retry_after_ms = after_ms > 0 ? after_ms : 0;
    }
    buf_free(&text);
    buf_free(&advice);
    return rc;
}
