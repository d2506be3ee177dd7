/* SPDX-License-Identifier: Apache-2.0
 *
 * Sources: "Event message structure" of the S3 user guide, "Fanout to HTTP/S endpoints" of SNS's,
 * "EventBridge event message structure" of S3's, "Pub/Sub notifications" of Cloud Storage and
 * CloudEvents 1.0. Whoever sends one may be anybody: each member is looked at before it is used.
 */
#include "cloud/door/notice.h"

#include <stdlib.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/base/memory.h"
#include "lib/http/http.h"
#include "lib/json/json.h"

enum {
    WRAPPINGS_MAX = 3,
    /* SNS's have 350 to 400 characters; the log's line must hold it whole. */
    CONFIRM_URL_MAX = 1500,
};

static int read_document(struct notice *out, const json_t *document, unsigned depth,
                         struct error *err);

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void add(struct notice *out, const char *bucket, const char *key)
{
    if (bucket == NULL || key == NULL || out->count == NOTICE_OBJECTS_MAX)
        return;
    if ((out->count & (out->count - 1)) == 0)
        out->objects =
            memory_resize(out->objects, out->count == 0 ? 1 : out->count * 2, sizeof *out->objects);
    out->objects[out->count++] =
        (struct notice_object){.bucket = memory_copy_cstr(bucket), .key = memory_copy_cstr(key)};
}

static void add_form_encoded(struct notice *out, const char *bucket, const char *key)
{
    struct buf plain = {0};
    if (key != NULL)
        http_percent_decode(slice_cstr(key), true, &plain);
    if (plain.len > 0 && memchr(plain.data, 0, plain.len) == NULL)
        add(out, bucket, buf_cstr(&plain));
    buf_free(&plain);
}

/* A document's memory is by its values: of a MiB of "{}," it would be 80 MiB. Marks within texts
 * count, too. */
static int decode(json_t **out, struct slice text, struct error *err)
{
    size_t marks = 0;
    for (size_t i = 0; i < text.len; i++)
        marks += text.data[i] == '{' || text.data[i] == '[' || text.data[i] == ',';
    return marks <= NOTICE_VALUES_MAX
               ? json_decode(out, text, err)
               : error_set(err, ERROR_LIMIT, "a notice of more than %d values", NOTICE_VALUES_MAX);
}

static int read_text(struct notice *out, const char *text, unsigned depth, struct error *err)
{
    json_t *document = NULL;
    if (depth >= WRAPPINGS_MAX)
        return error_set(err, ERROR_INPUT, "a notice wrapped more than %d times", WRAPPINGS_MAX);
    int rc = decode(&document, slice_cstr(text), err);
    if (rc == OK)
        rc = read_document(out, document, depth + 1, err);
    json_decref(document);
    return rc;
}

/* One of Records: S3's own, or SQS's or SNS's with S3's as a text in it. */
static int read_record(struct notice *out, const json_t *record, unsigned depth, struct error *err)
{
    const json_t *s3 = json_object_get(record, "s3");
    const char *body = text_of(record, "body");
    const char *message = text_of(json_object_get(record, "Sns"), "Message");
    if (s3 != NULL) {
        const char *what = text_of(record, "eventName");
        /* MinIO and Versity's gateway send the names by which one asks for events. */
        if (what != NULL && strncmp(what, "s3:", 3) == 0)
            what += 3;
        if (what != NULL && strncmp(what, "ObjectCreated:", 14) == 0)
            add_form_encoded(out, text_of(json_object_get(s3, "bucket"), "name"),
                             text_of(json_object_get(s3, "object"), "key"));
        return OK;
    }
    if (body != NULL || message != NULL)
        return read_text(out, body != NULL ? body : message, depth, err);
    return error_set(err, ERROR_INPUT, "a record that is neither of S3, SQS nor SNS");
}

static int read_records(struct notice *out, const json_t *records, unsigned depth,
                        struct error *err)
{
    size_t i;
    json_t *record;
    int rc = OK;
    json_array_foreach(records, i, record)
    {
        rc = read_record(out, record, depth, err);
        if (rc != OK)
            return rc;
    }
    return rc;
}

/* It goes to a log, and a person may open it. */
static bool is_url(const char *text)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "-._~:/?#[]@!$&'()*+,;=%";
    bool known = strncmp(text, "https://", 8) == 0 || strncmp(text, "http://", 7) == 0;
    size_t len = strspn(text, plain);
    return known && text[len] == 0 && len <= CONFIRM_URL_MAX;
}

static int read_sns(struct notice *out, const json_t *document, const char *type, unsigned depth,
                    struct error *err)
{
    const char *message = text_of(document, "Message");
    const char *url = text_of(document, "SubscribeURL");
    if (strcmp(type, "SubscriptionConfirmation") == 0 && url != NULL && is_url(url) &&
        out->confirm_url == NULL) {
        out->confirm_url = memory_copy_cstr(url);
        return OK;
    }
    if (strcmp(type, "UnsubscribeConfirmation") == 0)
        return OK;
    if (strcmp(type, "Notification") == 0 && message != NULL)
        return read_text(out, message, depth, err);
    return error_set(err, ERROR_INPUT, "a message of SNS without what it should have");
}

static void read_event_bridge(struct notice *out, const json_t *detail, const char *type)
{
    if (strcmp(type, "Object Created") == 0)
        add(out, text_of(json_object_get(detail, "bucket"), "name"),
            text_of(json_object_get(detail, "object"), "key"));
}

static void read_pubsub(struct notice *out, const json_t *attributes)
{
    const char *type = text_of(attributes, "eventType");
    if (type != NULL && strcmp(type, "OBJECT_FINALIZE") == 0)
        add(out, text_of(attributes, "bucketId"), text_of(attributes, "objectId"));
}

static int read_document(struct notice *out, const json_t *document, unsigned depth,
                         struct error *err)
{
    const json_t *records = json_object_get(document, "Records");
    const char *sns = text_of(document, "Type");
    const json_t *detail = json_object_get(document, "detail");
    const char *detail_type = text_of(document, "detail-type");
    const json_t *attributes = json_object_get(json_object_get(document, "message"), "attributes");
    const json_t *data = json_object_get(document, "data");
    const char *event = text_of(document, "Event");

    if (json_is_array(records))
        return read_records(out, records, depth, err);
    if (sns != NULL)
        return read_sns(out, document, sns, depth, err);
    if (detail != NULL && detail_type != NULL) {
        read_event_bridge(out, detail, detail_type);
        return OK;
    }
    if (attributes != NULL) {
        read_pubsub(out, attributes);
        return OK;
    }
    if (event != NULL && strcmp(event, "s3:TestEvent") == 0)
        return OK;
    if (json_is_object(data) && text_of(document, "specversion") != NULL)
        document = data;
    if (text_of(document, "bucket") != NULL && text_of(document, "name") != NULL) {
        add(out, text_of(document, "bucket"), text_of(document, "name"));
        return OK;
    }
    return error_set(err, ERROR_INPUT,
                     "no notice that is known: of S3, SNS, SQS, EventBridge, Pub/Sub or Eventarc");
}

int notice_decode(struct notice *out, struct slice body, struct error *err)
{
    json_t *document = NULL;
    *out = (struct notice){0};
    int rc = body.len <= NOTICE_BYTES_MAX
                 ? decode(&document, body, err)
                 : error_set(err, ERROR_LIMIT, "a notice of more than %d bytes", NOTICE_BYTES_MAX);
    if (rc == OK)
        rc = read_document(out, document, 0, err);
    json_decref(document);
    if (rc != OK)
        notice_free(out);
    return rc;
}

void notice_free(struct notice *notice)
{
    for (size_t i = 0; i < notice->count; i++) {
        free(notice->objects[i].bucket);
        free(notice->objects[i].key);
    }
    free(notice->objects);
    free(notice->confirm_url);
    *notice = (struct notice){0};
}

/* "s3://bucket/a/b": "bucket" and "a/b". False: it is in no bucket. */
static bool take_apart(const char *url, struct slice *bucket, struct slice *prefix)
{
    const char *behind = strstr(url, "://");
    if (behind == NULL || strncmp(url, "file:", 5) == 0)
        return false;
    const char *start = behind + 3;
    size_t len = strcspn(start, "/");
    size_t end = strlen(start);
    while (end > len && start[end - 1] == '/')
        end--;
    *bucket = slice_of(start, len);
    *prefix = end > len ? slice_of(start + len + 1, end - len - 1) : (struct slice){0};
    return len > 0;
}

static bool came_into(const struct notice *notice, struct slice bucket, struct slice folder)
{
    for (size_t i = 0; i < notice->count; i++) {
        struct slice key = slice_cstr(notice->objects[i].key);
        if (slice_is(bucket, notice->objects[i].bucket) && key.len >= folder.len &&
            memcmp(key.data, folder.data, folder.len) == 0)
            return true;
    }
    return false;
}

bool notice_tables(const struct notice *notice, const struct notice_place *place, bool *wanted)
{
    struct slice bucket;
    struct slice prefix;
    bool any = false;
    bool somewhere = take_apart(place->warehouse, &bucket, &prefix);
    for (size_t i = 0; i < place->table_count; i++) {
        struct buf inbox = {0};
        if (somewhere && prefix.len > 0) {
            buf_put_slice(&inbox, prefix);
            buf_put_u8(&inbox, '/');
        }
        key_of_inbox(place->tables[i], &inbox);
        wanted[i] = somewhere && came_into(notice, bucket, buf_slice(&inbox));
        any = any || wanted[i];
        buf_free(&inbox);
    }
    return any;
}
