/* SPDX-License-Identifier: Apache-2.0
 *
 * A stack of idle easy handles. Each keeps its connections, so the one that was used last is
 * taken first: its connection is the most likely to be alive.
 */
#include "lib/http_client/http_client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

enum {
    IDLE_MAX = 64,
    CONNECT_MS = 10000,
    STALL_MS = 60000,
    ANSWER_MS = 900000,
    STOP_MS = 5000,
    STOP_AGAIN_MS = 1000,
    STOP_BYTES_LEAST = 16 << 10, /* in a second, of a call that may go on */
    LOOK_MS = 200,
    HEAD_BYTES_MAX = 64 << 10,
    ANSWER_BYTES = 1 << 20,
    REFUSAL_BYTES_MAX = 256 << 10,
    RETRY_AFTER_MS_MAX = 3600000,
};
static const int64_t date_s_max = INT64_C(253402300799); /* the last second of the year 9999 */

struct http_client {
    char *user_agent;
    char *ca_file;
    char *proxy;
    int64_t connect_ms;
    int64_t stall_ms;
    int64_t answer_ms;
    bool (*stop)(void *context);
    void *stop_context;
    int64_t stop_ms;
    atomic_bool gave_up; /* a call, at a stop: its server has had its chance */

    pthread_mutex_t lock;
    /* guarded by lock */
    CURL *idle[IDLE_MAX];
    size_t idle_count;
};

/* One call under way. */
struct call {
    const struct http_call *asked;
    struct http_client *client;
    CURL *easy;
    struct http_reply *reply;
    struct http_client_source source;
    struct slice bytes; /* what `source` reads when the body lies in memory */
    uint64_t offset;
    int64_t answer_at_ms; /* monotonic, of the first byte behind our last one; 0: none yet */
    int64_t answer_bytes;
    int status; /* of the head that came last */
    bool head_whole;
    int64_t look_at_ms;     /* monotonic, as is the next: of on_progress */
    int64_t still_since_ms; /* not much has moved since then; 0: nothing is to stop */
    int64_t most_ms;        /* so long it may be still, as it was when the stop began */
    curl_off_t moved;       /* until then */
    bool cut;               /* the body, since it is long and no success's */
    int rc;                 /* of a callback */
    struct error *err;
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
        abort();
}

int http_client_open(struct http_client **out, const struct http_client_options *options,
                     struct error *err)
{
    (void)err;
    pthread_once(&curl_once, curl_start);
    struct http_client *client = memory_alloc(1, sizeof *client);
    client->user_agent = memory_copy_cstr(options->user_agent != NULL ? options->user_agent
                                                                      : "bidlake/" BIDLAKE_VERSION);
    client->ca_file = memory_copy_or_null(options->ca_file);
    client->proxy = memory_copy_or_null(options->proxy);
    client->connect_ms = options->connect_ms > 0 ? options->connect_ms : CONNECT_MS;
    client->stall_ms = options->stall_ms > 0 ? options->stall_ms : STALL_MS;
    client->answer_ms = options->answer_ms > 0 ? options->answer_ms : ANSWER_MS;
    client->stop = options->stop;
    client->stop_context = options->stop_context;
    client->stop_ms = options->stop_ms > 0 ? options->stop_ms : STOP_MS;
    pthread_mutex_init(&client->lock, NULL);
    *out = client;
    return OK;
}

void http_client_close(struct http_client *client)
{
    if (client == NULL)
        return;
    for (size_t i = 0; i < client->idle_count; i++)
        curl_easy_cleanup(client->idle[i]);
    pthread_mutex_destroy(&client->lock);
    free(client->user_agent);
    free(client->ca_file);
    free(client->proxy);
    free(client);
}

static CURL *handle_take(struct http_client *client)
{
    pthread_mutex_lock(&client->lock);
    CURL *easy = client->idle_count > 0 ? client->idle[--client->idle_count] : NULL;
    pthread_mutex_unlock(&client->lock);
    if (easy == NULL)
        easy = curl_easy_init();
    if (easy == NULL)
        abort();
    return easy;
}

static void handle_give(struct http_client *client, CURL *easy)
{
    curl_easy_reset(easy); /* options go, connections stay */
    pthread_mutex_lock(&client->lock);
    bool kept = client->idle_count < IDLE_MAX;
    if (kept)
        client->idle[client->idle_count++] = easy;
    pthread_mutex_unlock(&client->lock);
    if (!kept)
        curl_easy_cleanup(easy);
}

/* ---- what libcurl calls ---- */

static int bytes_read(void *context, uint64_t offset, void *to, size_t *len, struct error *err)
{
    (void)err;
    const struct slice *bytes = context;
    size_t left = offset < bytes->len ? bytes->len - (size_t)offset : 0;
    *len = *len < left ? *len : left;
    if (*len > 0)
        memcpy(to, bytes->data + offset, *len);
    return OK;
}

static size_t on_read(char *to, size_t size, size_t count, void *context)
{
    struct call *call = context;
    uint64_t left = call->source.size - call->offset;
    size_t len = size * count < left ? size * count : (size_t)left;
    if (len == 0)
        return 0;
    if (call->source.piece_bytes_max > 0 && len > call->source.piece_bytes_max)
        len = call->source.piece_bytes_max;
    size_t asked = len;
    call->rc = call->source.read(call->source.context, call->offset, to, &len, call->err);
    if (call->rc == OK && len < asked)
        call->rc = error_set(call->err, ERROR_IO, "the body ends %llu bytes before its size",
                             (unsigned long long)(left - len));
    if (call->rc != OK)
        return CURL_READFUNC_ABORT;
    call->offset += len;
    call->answer_at_ms = 0; /* what came so far is a 100 Continue, at most */
    call->answer_bytes = 0;
    call->reply->sent = true;
    return len;
}

static int on_seek(void *context, curl_off_t offset, int origin)
{
    struct call *call = context;
    if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > call->source.size)
        return CURL_SEEKFUNC_FAIL;
    call->offset = (uint64_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* A server that sends a byte now and then is never silent. */
static bool is_too_slow(struct call *call, size_t len)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    if (call->answer_at_ms == 0)
        call->answer_at_ms = now_ms;
    call->answer_bytes += (int64_t)len;
    int64_t most_ms = call->client->answer_ms + call->answer_bytes / 1024 * 1000;
    if (now_ms - call->answer_at_ms <= most_ms)
        return false;
    call->rc = error_set(call->err, ERROR_RETRY, "the answer is slower than 1 KiB a second");
    return true;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *context)
{
    struct call *call = context;
    struct buf *body = &call->reply->body;
    size_t len = size * count;
    if (is_too_slow(call, len))
        return 0;
    size_t room = body->max < REFUSAL_BYTES_MAX ? body->max : REFUSAL_BYTES_MAX;
    if (call->status >= 300 && len > room - body->len) {
        len = room - body->len;
        call->cut = true;
    }
    buf_put(body, bytes, len);
    if (!buf_failed(body))
        return call->cut ? 0 : len;
    call->cut = false;
    call->rc = error_set(call->err, ERROR_LIMIT, "the answer is longer than %zu bytes",
                         call->reply->body.max);
    return 0;
}

/* Of "HTTP/1.1 200 OK"; 0: it is none. */
static int status_read(const char *line, size_t len)
{
    const char *at = memchr(line, ' ', len);
    int status = 0;
    for (int i = 1; at != NULL && i <= 3; i++) {
        if ((size_t)(at - line) + (size_t)i >= len || !isdigit((unsigned char)at[i]))
            return 0;
        status = status * 10 + (at[i] - '0');
    }
    return status;
}

/* A line of the head. A status line begins a new one: 100 Continue and a proxy's answer to
 * CONNECT come before the one that counts. */
static size_t on_head(char *bytes, size_t size, size_t count, void *context)
{
    struct call *call = context;
    struct buf *head = &call->reply->head;
    size_t start = head->len;
    size_t len = size * count;
    call->reply->sent = true;
    if (is_too_slow(call, len))
        return 0;
    if (len >= 5 && memcmp(bytes, "HTTP/", 5) == 0) {
        buf_reset(head);
        call->status = status_read(bytes, len);
        call->head_whole = false;
        return len;
    }
    call->head_whole = call->head_whole || bytes[0] == '\r' || bytes[0] == '\n';
    const char *colon = memchr(bytes, ':', len);
    if (colon == NULL)
        return len;
    for (const char *p = bytes; p < colon; p++)
        buf_put_u8(head, (uint8_t)tolower((unsigned char)*p));
    buf_put_cstr(head, ": ");
    const char *value = colon + 1;
    const char *end = bytes + len;
    while (value < end && isspace((unsigned char)*value))
        value++;
    while (end > value && isspace((unsigned char)end[-1]))
        end--;
    buf_put(head, value, (size_t)(end - value));
    buf_put_u8(head, '\n');
    if (!buf_failed(head))
        return len;
    head->len = start; /* whole lines alone: the caller may look at them */
    call->rc = error_set(call->err, ERROR_RETRY, "the answer's head is longer than %d bytes",
                         HEAD_BYTES_MAX);
    return 0;
}

/* libcurl calls it once a second at least, whatever it waits for. */
static int on_progress(void *context, curl_off_t in_total, curl_off_t in, curl_off_t out_total,
                       curl_off_t out)
{
    struct call *call = context;
    struct http_client *client = call->client;
    int64_t now_ms = clock_mono_ms(&clock_system);
    (void)in_total;
    (void)out_total;
    if (call->rc != OK || now_ms < call->look_at_ms)
        return 0;
    call->look_at_ms = now_ms + LOOK_MS;
    if (!client->stop(client->stop_context)) {
        call->still_since_ms = 0; /* the next stop is another one */
        if (atomic_load(&client->gave_up))
            atomic_store(&client->gave_up, false);
        return 0;
    }
    /* Not cut short by another call that gives up: this one's answer may be there already, for
     * libcurl calls this once more as a transfer ends. */
    bool begins = call->still_since_ms == 0;
    if (begins) {
        bool again = atomic_load(&client->gave_up) && client->stop_ms > STOP_AGAIN_MS;
        call->most_ms = again ? STOP_AGAIN_MS : client->stop_ms;
    }
    if (in + out < call->moved)
        call->moved = in + out; /* it was rewound */
    if (begins || in + out - call->moved >= STOP_BYTES_LEAST * call->most_ms / 1000) {
        call->still_since_ms = now_ms;
        call->moved = in + out;
    }
    if (now_ms - call->still_since_ms < call->most_ms)
        return 0;
    atomic_store(&client->gave_up, true);
    /* A name service that hangs is not waited for: its thread ends by itself. */
    curl_easy_setopt(call->easy, CURLOPT_QUICK_EXIT, 1L);
    call->rc = error_set(call->err, ERROR_RETRY, "given up at a stop: no answer within %lld ms",
                         (long long)(now_ms - call->still_since_ms));
    return 1;
}

/* ---- a call ---- */

static void set_method(CURL *easy, struct call *call)
{
    const char *method = call->asked->method;
    bool has_body = strcmp(method, "PUT") == 0 || strcmp(method, "POST") == 0;
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (has_body) {
        /* UPLOAD reads by callback, whatever the method is called. */
        curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
        curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)call->source.size);
        curl_easy_setopt(easy, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(easy, CURLOPT_READDATA, call);
        curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(easy, CURLOPT_SEEKDATA, call);
        curl_easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
    } else {
        ASSERT(call->source.size == 0 || strcmp(method, "DELETE") == 0);
        curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
    }
}

static void set_options(const struct http_client *client, CURL *easy, struct call *call)
{
    const struct http_call *asked = call->asked;
    curl_easy_setopt(easy, CURLOPT_URL, asked->url);
    curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(easy, CURLOPT_PATH_AS_IS, 1L); /* a key may hold ".." */
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_USERAGENT, client->user_agent);
    if (client->ca_file != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, client->ca_file);
    else if (getenv("SSL_CERT_FILE") != NULL)
        curl_easy_setopt(easy, CURLOPT_CAINFO, getenv("SSL_CERT_FILE"));
    if (asked->no_proxy)
        curl_easy_setopt(easy, CURLOPT_PROXY, "");
    else if (client->proxy != NULL)
        curl_easy_setopt(easy, CURLOPT_PROXY, client->proxy);
    curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)client->connect_ms);
    int64_t stall_ms = client->stall_ms > asked->timeout_ms ? client->stall_ms : asked->timeout_ms;
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(easy, CURLOPT_LOW_SPEED_TIME, (long)((stall_ms + 999) / 1000));
    if (asked->timeout_ms > 0)
        curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)asked->timeout_ms);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, asked->fresh ? 1L : 0L);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, call);
    curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_head);
    curl_easy_setopt(easy, CURLOPT_HEADERDATA, call);
    curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    if (client->stop != NULL) {
        curl_easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(easy, CURLOPT_XFERINFODATA, call);
    }
    set_method(easy, call);
}

static struct curl_slist *list_add(struct curl_slist *list, const char *text)
{
    struct curl_slist *longer = curl_slist_append(list, text);
    if (longer == NULL)
        abort();
    return longer;
}

static struct curl_slist *call_fields(const struct http_call *asked)
{
    struct curl_slist *list = NULL;
    bool has_type = false;
    for (size_t i = 0; i < asked->field_count; i++) {
        ASSERT(strpbrk(asked->fields[i], "\r\n") == NULL);
        has_type |= strncasecmp(asked->fields[i], "content-type", 12) == 0;
        list = list_add(list, asked->fields[i]);
    }
    /* No waiting for 100 Continue: some servers never say it. */
    list = list_add(list, "Expect:");
    if (!has_type)
        list = list_add(list, "Content-Type:");
    return list;
}

/* Up to '?', for messages. */
static int url_len(const char *url)
{
    size_t len = strcspn(url, "?");
    return (int)(len < 200 ? len : 200);
}

static int call_failed(CURLcode code, const struct call *call, const char *detail)
{
    struct error *err = call->err;
    enum error_code what = ERROR_RETRY;
    /* libcurl calls an answer that is no HTTP an unsupported protocol, too. */
    if (!call->reply->sent && (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL))
        what = ERROR_INPUT;
    else if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
        what = ERROR_DENIED;
    const char *text = detail[0] != 0 ? detail : curl_easy_strerror(code);
    /* There libcurl repeats the proxy's URL, which may hold a password. */
    if (strncmp(detail, "Unsupported proxy", 17) == 0)
        text = "the proxy's URL is none";
    (void)error_set(err, what, "%s %.*s: %s", call->asked->method, url_len(call->asked->url),
                    call->asked->url, text);
    err->cause = (int)code;
    return what;
}

static int call_perform(struct call *call)
{
    CURL *easy = call->easy;
    char detail[CURL_ERROR_SIZE] = "";
    struct curl_slist *fields = call_fields(call->asked);
    set_options(call->client, easy, call);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, fields);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
    CURLcode code = curl_easy_perform(easy);

    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, NULL);
    curl_slist_free_all(fields);
    long request_bytes = 0;
    curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &request_bytes);
    call->reply->sent |= request_bytes > 0;
    call->reply->status = (int)status;
    if (call->cut)
        return OK;
    if (call->rc != OK)
        return error_wrap(call->err, "%s %.*s", call->asked->method, url_len(call->asked->url),
                          call->asked->url);
    /* Some servers answer a body that they don't want and close: the answer counts. */
    if (code == CURLE_SEND_ERROR && status >= 400)
        return OK;
    /* Without a length an answer ends with its connection, to libcurl also one within its head. */
    if (code == CURLE_OK && !call->head_whole)
        return error_set(call->err, ERROR_RETRY, "%s %.*s: the answer ends in its head",
                         call->asked->method, url_len(call->asked->url), call->asked->url);
    return code == CURLE_OK ? OK : call_failed(code, call, detail);
}

int http_client_call(struct http_client *client, const struct http_call *asked,
                     struct http_reply *reply, struct error *err)
{
    struct call call = {
        .asked = asked, .client = client, .reply = reply, .bytes = asked->body, .err = err};
    if (asked->source != NULL)
        call.source = *asked->source;
    else
        call.source = (struct http_client_source){
            .size = asked->body.len, .read = bytes_read, .context = &call.bytes};
    reply->sent = false;
    reply->status = 0;
    buf_reset(&reply->body);
    buf_reset(&reply->head);
    reply->body.max = asked->answer_bytes_max > 0 ? asked->answer_bytes_max : ANSWER_BYTES;
    reply->head.max = HEAD_BYTES_MAX;

    call.easy = handle_take(client);
    int rc = call_perform(&call);
    handle_give(client, call.easy);
    return rc;
}

void http_reply_free(struct http_reply *reply)
{
    buf_free(&reply->body);
    buf_free(&reply->head);
    *reply = (struct http_reply){0};
}

void http_reply_wipe(struct http_reply *reply)
{
    buf_wipe(&reply->body);
    buf_wipe(&reply->head);
    *reply = (struct http_reply){0};
}

/* ---- of an answer ---- */

struct slice http_reply_field(const struct http_reply *reply, const char *name)
{
    size_t name_len = strlen(name);
    const char *line = (const char *)reply->head.data;
    size_t left = reply->head.len;
    while (left > 0) {
        const char *end = memchr(line, '\n', left);
        size_t len = (size_t)(end - line);
        if (len >= name_len + 2 && memcmp(line, name, name_len) == 0 && line[name_len] == ':')
            return slice_of(line + name_len + 2, len - name_len - 2);
        line = end + 1;
        left -= len + 1;
    }
    return slice_of(NULL, 0);
}

/* curl_getdate knows the three forms of RFC 9110 5.6.7, and years that they have no room for. */
static int64_t date_ms(struct slice text)
{
    if (text.data == NULL || text.len > 64)
        return 0;
    char *copy = memory_copy_slice(text);
    time_t seconds = curl_getdate(copy, NULL);
    free(copy);
    return seconds > 0 && seconds <= date_s_max ? (int64_t)seconds * 1000 : 0;
}

int64_t http_reply_time_ms(const struct http_reply *reply, const char *name)
{
    return date_ms(http_reply_field(reply, name));
}

int64_t http_reply_date_ms(const struct http_reply *reply)
{
    return http_reply_time_ms(reply, "date");
}

int64_t http_reply_retry_after_ms(const struct http_reply *reply, int64_t now_ms)
{
    struct slice text = http_reply_field(reply, "retry-after");
    if (text.data == NULL || text.len == 0)
        return -1;
    int64_t span = 0;
    size_t digits = 0;
    while (digits < text.len && isdigit(text.data[digits])) {
        span = span < RETRY_AFTER_MS_MAX ? span * 10 + (text.data[digits] - '0') : span;
        digits++;
    }
    if (digits == text.len) {
        span = span < RETRY_AFTER_MS_MAX ? span * 1000 : span;
    } else {
        int64_t at = date_ms(text);
        int64_t server_ms = http_reply_date_ms(reply);
        int64_t from_ms = server_ms > 0 ? server_ms : now_ms;
        if (at == 0)
            return -1;
        span = at > from_ms ? at - from_ms : 0;
    }
    return span < RETRY_AFTER_MS_MAX ? span : RETRY_AFTER_MS_MAX;
}

int http_client_host(const char *url, struct buf *out, struct error *err)
{
    char *host = NULL;
    char *port = NULL;
    CURLU *parts = curl_url();
    if (parts == NULL)
        abort();
    bool fine = curl_url_set(parts, CURLUPART_URL, url, 0) == CURLUE_OK &&
                curl_url_get(parts, CURLUPART_HOST, &host, 0) == CURLUE_OK;
    if (fine)
        buf_put_cstr(out, host);
    if (fine && curl_url_get(parts, CURLUPART_PORT, &port, CURLU_NO_DEFAULT_PORT) == CURLUE_OK)
        buf_printf(out, ":%s", port);
    curl_free(host);
    curl_free(port);
    curl_url_cleanup(parts);
    return fine ? OK : error_set(err, ERROR_INPUT, "\"%.*s\" is no URL", url_len(url), url);
}

void http_client_encode(struct slice text, bool slashes, struct buf *out)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool plain = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~' || (slashes && c == '/');
        if (plain) {
            buf_put_u8(out, c);
        } else {
            buf_put_u8(out, '%');
            buf_put_u8(out, (uint8_t)digits[c >> 4]);
            buf_put_u8(out, (uint8_t)digits[c & 15]);
        }
    }
}
