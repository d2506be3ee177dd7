/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/operations.h"

#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/source/source.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { BACKLOG = 64, CONNECTIONS_MAX = 64, IDLE_SECONDS = 30 };

struct operations {
    struct operations_options options;
    struct MHD_Daemon *daemon;
};

static enum MHD_Result respond(struct MHD_Connection *connection, unsigned status, const char *type,
                               struct slice text)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        text.len, (void *)(uintptr_t)text.data, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static const char plain[] = "text/plain; charset=utf-8";

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
    if (flush)
        options->flush(options->context);
    else
        options->drain(options->context);
    return respond(connection, MHD_HTTP_ACCEPTED, plain, slice_cstr("begun\n"));
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *data,
                              size_t *len, void **request)
{
    static int seen;
    struct operations *operations = context;
    const struct operations_options *options = &operations->options;
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
    if (strcmp(path, "/healthz") == 0)
        return respond(connection, MHD_HTTP_OK, plain, slice_cstr("ok\n"));
    struct buf text = {0};
    enum MHD_Result result = MHD_NO;
    if (strcmp(path, "/readyz") == 0) {
        bool ready = options->ready(options->context, &text);
        result = respond(connection, ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, plain,
                         buf_slice(&text));
    } else if (strcmp(path, "/metrics") == 0) {
        options->metrics(options->context, &text);
        result = respond(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8",
                         buf_slice(&text));
    } else if (strcmp(path, "/v1/status") == 0) {
        options->status(options->context, &text);
        result = respond(connection, MHD_HTTP_OK, "application/json", buf_slice(&text));
    } else {
        result = respond(connection, MHD_HTTP_NOT_FOUND, plain,
                         slice_cstr("paths are /healthz, /readyz, /metrics, /v1/status\n"));
    }
    buf_free(&text);
    return result;
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
    operations->daemon = MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, operations,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_END);
    if (operations->daemon == NULL) {
        close(fd);
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
    free(operations);
}
