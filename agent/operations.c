/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/operations.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "agent/source/source.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

#include "agent/page.inc"

enum { BACKLOG = 64, CONNECTIONS_MAX = 64, IDLE_SECONDS = 30 };

struct operations {
    struct operations_options options;
    struct MHD_Daemon *daemon;
    struct buf policy; /* of the page: its own style and script and nothing else */
};

static const char plain[] = "text/plain; charset=utf-8";
static const char json[] = "application/json";
static const char html[] = "text/html; charset=utf-8";

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, const char *type,
                               struct slice text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        text.len, (void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- the page ---- */

static void put_hash(struct buf *policy, const char *open, const char *close)
{
    uint8_t hash[SHA256_SIZE];
    const char *from = strstr(page_index, open);
    ASSERT(from != NULL);
    from += strlen(open);
    const char *to = strstr(from, close);
    ASSERT(to != NULL);
    sha256(slice_of(from, (size_t)(to - from)), hash);
    buf_put_cstr(policy, "'sha256-");
    base64_encode(slice_of(hash, sizeof hash), policy);
    buf_put_cstr(policy, "'");
}

/* Should text that came from elsewhere ever get into the page as markup, nothing of it runs
 * and nothing leaves the machine. */
static void make_policy(struct buf *policy)
{
    buf_put_cstr(policy, "default-src 'none'; connect-src 'self'; img-src data:; style-src ");
    put_hash(policy, "<style>", "</style>");
    buf_put_cstr(policy, "; script-src ");
    put_hash(policy, "<script>", "</script>");
    buf_put_cstr(policy, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
}

static enum MHD_Result respond_page(struct operations *operations,
                                    struct MHD_Connection *connection)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        sizeof page_index - 1, (void *)(uintptr_t)page_index, MHD_RESPMEM_PERSISTENT);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, html);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-cache");
    MHD_add_response_header(response, "Content-Security-Policy", buf_cstr(&operations->policy));
    MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    MHD_add_response_header(response, "Cross-Origin-Opener-Policy", "same-origin");
    enum MHD_Result result = MHD_queue_response(connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

/* ---- commands ---- */

/* A name that somebody points at this machine makes a page of his one of ours; an address
 * does not. */
static bool host_is_address(struct MHD_Connection *connection)
{
    const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Host");
    if (host == NULL)
        return true;
    size_t len = strcspn(host, ":");
    return host[0] == '[' || (len == 9 && strncasecmp(host, "localhost", len) == 0) ||
           (len > 0 && strspn(host, "0123456789.") == len);
}

static enum MHD_Result command(struct operations *operations, struct MHD_Connection *connection,
                               const char *path)
{
    const struct operations_options *options = &operations->options;
    bool flush = strcmp(path, "/v1/flush") == 0;
    if (!flush && strcmp(path, "/v1/drain") != 0)
        return respond(connection, MHD_HTTP_NOT_FOUND, plain,
                       slice_cstr("commands are /v1/flush, /v1/drain\n"));
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Bidlake-Operation") == NULL)
        return respond(connection, MHD_HTTP_FORBIDDEN, plain,
                       slice_cstr("the header X-Bidlake-Operation is missing\n"));
    if (!host_is_address(connection))
        return respond(connection, MHD_HTTP_FORBIDDEN, plain,
                       slice_cstr("commands go to an address or localhost, not to a name\n"));
    if (flush)
        options->flush(options->context);
    else
        options->drain(options->context);
    return respond(connection, MHD_HTTP_ACCEPTED, plain, slice_cstr("begun\n"));
}

/* ---- what is to be seen ---- */

static bool wants_json(struct MHD_Connection *connection)
{
    const char *accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
    const char *format = MHD_lookup_connection_value(connection, MHD_GET_ARGUMENT_KIND, "format");
    return (format != NULL && strcmp(format, "json") == 0) ||
           (accept != NULL && strstr(accept, json) != NULL);
}

static enum MHD_Result show(struct operations *operations, struct MHD_Connection *connection,
                            const char *path)
{
    const struct operations_options *options = &operations->options;
    if (strcmp(path, "/") == 0)
        return respond_page(operations, connection);
    if (strcmp(path, "/healthz") == 0)
        return respond(connection, MHD_HTTP_OK, plain, slice_cstr("ok\n"));
    struct buf text = {0};
    enum MHD_Result result = MHD_NO;
    if (strcmp(path, "/readyz") == 0) {
        bool as_json = wants_json(connection);
        bool ready = options->ready(options->context, as_json, &text);
        result = respond(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                         as_json ? json : plain, buf_slice(&text));
    } else if (strcmp(path, "/metrics") == 0) {
        options->metrics(options->context, &text);
        result = respond(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                         buf_slice(&text));
    } else if (strcmp(path, "/v1/status") == 0) {
        options->status(options->context, &text);
        result = respond(connection, MHD_HTTP_OK, json, buf_slice(&text));
    } else if (strcmp(path, "/v1/history") == 0) {
        options->history(options->context, &text);
        result = respond(connection, MHD_HTTP_OK, json, buf_slice(&text));
    } else {
        result = respond(
            connection, MHD_HTTP_NOT_FOUND, plain,
            slice_cstr("paths are /, /healthz, /readyz, /metrics, /v1/status, /v1/history\n"));
    }
    buf_free(&text);
    return result;
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *len, void **request)
{
    static int seen;
    struct operations *operations = context;
    (void)version;
    (void)data;
    if (*request == NULL) {
        *request = &seen; /* the headers alone: the answer comes with the next call */
        return MHD_YES;
    }
    if (*len > 0) {
        *len = 0;
        return MHD_YES;
    }
    if (strcmp(method, "POST") == 0)
        return command(operations, connection, path);
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return respond(connection, MHD_HTTP_METHOD_NOT_ALLOWED, plain, slice_cstr("GET\n"));
    return show(operations, connection, path);
}

int operations_open(struct operations **out, const struct operations_options *options,
                    struct error *err)
{
    int fd = -1;
    char bound[SOURCE_ADDRESS_MAX];
    int rc = source_listen(options->address, BACKLOG, &fd, bound, err);
    if (rc != OK)
        return error_wrap(err, "operations");
    struct operations *operations = memory_alloc(1, sizeof *operations);
    operations->options = *options;
    make_policy(&operations->policy);
    operations->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, operations,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    if (operations->daemon == NULL) {
        close(fd);
        buf_free(&operations->policy);
        free(operations);
        return error_set(err, ERROR_IO, "operations %s: the server does not start",
                         options->address);
    }
    log_event(LOG_LEVEL_INFO, "daemon", "listening", "kind=operations address=%s", bound);
    *out = operations;
    return OK;
}

void operations_close(struct operations *operations)
{
    if (operations == NULL)
        return;
    MHD_stop_daemon(operations->daemon);
    buf_free(&operations->policy);
    free(operations);
}
