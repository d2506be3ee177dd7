/* SPDX-License-Identifier: Apache-2.0
 *
 * Names: streams, keys in the store, data files (PROTOCOL.md, section 3). All of them are
 * made from stream, range and partition, never from a clock, so that the same range
 * gets the same names on every attempt.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "lib/announce/announce.h"
#include "lib/announce/decode.h"
#include "lib/base/assert.h"
#include "lib/base/digest.h"

#define INBOX_PREFIX "_bidlake/inbox/"
#define REFUSED_PREFIX "_bidlake/refused/"
#define DATA_PREFIX "data/"
#define DATA_SUFFIX ".parquet"

enum { OWN_SLASHES = 2, KAFKA_SLASHES = 5 };

bool table_name_check(const char *table)
{
    size_t part_len = 0;
    size_t dots = 0;
    size_t len = strlen(table);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)table[i];
        if (c <= 0x20 || c == 0x7f || c == '/' || c == '\\')
            return false;
        if (c == '.' && part_len == 0)
            return false;
        dots += c == '.';
        part_len = c == '.' ? 0 : part_len + 1;
    }
    return dots > 0 && part_len > 0 && len <= TABLE_NAME_MAX;
}

static bool agent_name_check(const char *agent, size_t len)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    if (len == 0 || len > AGENT_NAME_MAX || strspn(agent, allowed) < len)
        return false;
    /* It is a segment of the probe's key. */
    return strspn(agent, ".") < len;
}

static bool epoch_check(const char *epoch, size_t len)
{
    if (len != UUID_BYTES)
        return false;
    for (size_t i = 0; i < len; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? epoch[i] != '-' : strchr("0123456789abcdef", epoch[i]) == NULL)
            return false;
    }
    return true;
}

static size_t slashes_count(const char *text)
{
    size_t count = 0;
    for (; *text != 0; text++)
        count += *text == '/';
    return count;
}

int stream_name_make(char out[STREAM_NAME_MAX + 1], const char *agent, const char *epoch,
                     const char *table, struct error *err)
{
    if (!agent_name_check(agent, strlen(agent)))
        return error_set(err, ERROR_INPUT,
                         "agent id \"%.150s\": 1 to %d of A-Z a-z 0-9 . _ - are allowed", agent,
                         AGENT_NAME_MAX);
    if (!epoch_check(epoch, strlen(epoch)))
        return error_set(err, ERROR_INPUT, "epoch \"%.40s\" is no UUID", epoch);
    if (!table_name_check(table))
        return error_set(err, ERROR_INPUT, "\"%.200s\" is not <namespace>.<table>", table);
    int n = snprintf(out, STREAM_NAME_MAX + 1, "%s/%s/%s", agent, epoch, table);
    ASSERT(n > 0 && n <= STREAM_NAME_MAX);
    return OK;
}

struct slice stream_epoch(const char *stream)
{
    const char *slash = strchr(stream, '/');
    if (slash == NULL || slashes_count(stream) != OWN_SLASHES)
        return slice_of(NULL, 0);
    const char *epoch = slash + 1;
    size_t len = strcspn(epoch, "/");
    return epoch_check(epoch, len) ? slice_of(epoch, len) : slice_of(NULL, 0);
}

/* kafka/<cluster-id>/<topic>/<topic-id>/<partition>/<table> */
static bool kafka_name_check(const char *stream)
{
    if (strncmp(stream, "kafka/", 6) != 0 || slashes_count(stream) != KAFKA_SLASHES)
        return false;
    const char *part = stream;
    for (size_t i = 0; i < KAFKA_SLASHES; i++) {
        size_t len = strcspn(part, "/");
        if (len == 0)
            return false;
        if (i == 4 && (strspn(part, "0123456789") != len || len > 10))
            return false;
        part += len + 1;
    }
    return true;
}

bool stream_name_check(const char *stream, const char **table)
{
    size_t len = strlen(stream);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)stream[i] < 0x20 || stream[i] == 0x7f)
            return false;
    }
    const char *last = strrchr(stream, '/');
    if (len > STREAM_NAME_MAX || last == NULL)
        return false;
    *table = last + 1;
    bool own = stream_epoch(stream).data != NULL && agent_name_check(stream, strcspn(stream, "/"));
    return (own || kafka_name_check(stream)) && table_name_check(*table);
}

void stream_hash(const char *stream, char out[STREAM_HASH_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    sha256(slice_cstr(stream), digest);
    hex_encode(slice_of(digest, (STREAM_HASH_SIZE - 1) / 2), out);
}

/* ---- keys ---- */

void key_of_table(const char *table, struct buf *out)
{
    const char *dot = strrchr(table, '.');
    ASSERT(dot != NULL);
    buf_put(out, table, (size_t)(dot - table));
    buf_put_u8(out, '/');
    buf_put_cstr(out, dot + 1);
}

void key_of_data_file(const char *table, const char *path, struct buf *out)
{
    key_of_table(table, out);
    buf_put_u8(out, '/');
    buf_put_cstr(out, path);
}

void key_of_inbox(const char *table, struct buf *out)
{
    buf_printf(out, INBOX_PREFIX "%s/", table);
}

static void put_range_key(const char *stream, uint64_t from, struct buf *out)
{
    char hash[STREAM_HASH_SIZE];
    stream_hash(stream, hash);
    buf_printf(out, "%s/%020" PRIu64 ".json", hash, from);
}

void key_of_announcement(const char *table, const char *stream, uint64_t from, struct buf *out)
{
    key_of_inbox(table, out);
    put_range_key(stream, from, out);
}

void key_of_contract(const char *table, struct buf *out)
{
    buf_printf(out, "_bidlake/tables/%s.json", table);
}

void key_of_receipt(const char *stream, struct buf *out)
{
    char hash[STREAM_HASH_SIZE];
    stream_hash(stream, hash);
    buf_printf(out, "_bidlake/receipts/%s.json", hash);
}

void key_of_ledgers(const char *table, struct buf *out)
{
    buf_printf(out, "_bidlake/ledger/%s/", table);
}

void key_of_ledger(const char *table, int64_t snapshot_id, const char *random, struct buf *out)
{
    key_of_ledgers(table, out);
    buf_printf(out, "%" PRId64 "-%s.json.zst", snapshot_id, random);
}

void key_of_refusals(const char *table, struct buf *out)
{
    buf_printf(out, REFUSED_PREFIX "%s/", table);
}

void key_of_refused(const char *table, const char *stream, uint64_t from, struct buf *out)
{
    key_of_refusals(table, out);
    put_range_key(stream, from, out);
}

void key_of_refused_copy(const char *inbox_key, struct buf *out)
{
    ASSERT(strncmp(inbox_key, INBOX_PREFIX, strlen(INBOX_PREFIX)) == 0);
    buf_printf(out, REFUSED_PREFIX "%s", inbox_key + strlen(INBOX_PREFIX));
}

void key_of_dropped(const char *table, struct buf *out)
{
    buf_printf(out, "_bidlake/dropped/%s/", table);
}

void key_of_dropped_note(const char *table, int64_t snapshot_id, const char *random,
                         struct buf *out)
{
    key_of_dropped(table, out);
    buf_printf(out, "%" PRId64 "-%s.json", snapshot_id, random);
}

void key_of_probe(const char *agent, struct buf *out)
{
    buf_printf(out, "_bidlake/probe/%s", agent);
}

/* ---- data files ---- */

void data_file_path(const char *partition_path, const char *stream, uint64_t from, uint64_t to,
                    unsigned n, struct buf *out)
{
    char hash[STREAM_HASH_SIZE];
    stream_hash(stream, hash);
    buf_put_cstr(out, DATA_PREFIX);
    if (partition_path != NULL && *partition_path != 0) {
        buf_put_cstr(out, partition_path);
        buf_put_u8(out, '/');
    }
    buf_printf(out, "%s-%" PRIu64 "-%" PRIu64 "-%u" DATA_SUFFIX, hash, from, to, n);
}

/* Steps over a decimal as "%llu" writes it: no sign, no leading zero, within max. */
static bool decimal_take(const char **at, uint64_t max, uint64_t *out)
{
    const char *start = *at;
    uint64_t value = 0;
    for (; **at >= '0' && **at <= '9'; (*at)++) {
        uint64_t digit = (uint64_t)(**at - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    size_t len = (size_t)(*at - start);
    *out = value;
    return len > 0 && (len == 1 || *start != '0');
}

/* "<hash>-<from>-<to>-<n>.parquet"; where n stands and what it is. */
static bool file_name_take(const char *name, const char **n_at, uint64_t *n)
{
    uint64_t from = 0;
    uint64_t to = 0;
    const char *at = name + STREAM_HASH_SIZE - 1;
    if (strspn(name, "0123456789abcdef") != STREAM_HASH_SIZE - 1 || *at++ != '-')
        return false;
    if (!decimal_take(&at, INT64_MAX, &from) || *at++ != '-')
        return false;
    if (!decimal_take(&at, INT64_MAX, &to) || *at++ != '-' || from >= to)
        return false;
    *n_at = at;
    return decimal_take(&at, UINT32_MAX, n) && strcmp(at, DATA_SUFFIX) == 0;
}

/* Partition paths are URL-encoded, so nothing in them needs care in a URL. */
static bool path_characters_check(const char *path)
{
    for (; *path != 0; path++) {
        unsigned char c = (unsigned char)*path;
        if (c <= 0x20 || c == 0x7f || strchr("?#\\\"<>", c) != NULL)
            return false;
    }
    return true;
}

static bool path_segments_check(const char *path)
{
    for (;;) {
        size_t len = strcspn(path, "/");
        if (len == 0 || (len <= 2 && strspn(path, ".") >= len))
            return false;
        if (path[len] == 0)
            return true;
        path += len + 1;
    }
}

/* The last segment of a path that is well-formed, else NULL. */
static const char *data_file_name(const char *path)
{
    if (strlen(path) > PATH_MAX_BYTES || strncmp(path, DATA_PREFIX, strlen(DATA_PREFIX)) != 0)
        return NULL;
    if (!path_characters_check(path) || !path_segments_check(path))
        return NULL;
    return strrchr(path, '/') + 1;
}

bool data_file_path_check(const char *path, const char *stream)
{
    char hash[STREAM_HASH_SIZE];
    const char *n_at = NULL;
    uint64_t n = 0;
    const char *name = data_file_name(path);
    stream_hash(stream, hash);
    return name != NULL && strncmp(name, hash, strlen(hash)) == 0 &&
           file_name_take(name, &n_at, &n);
}

bool data_file_path_next(const char *path, struct buf *out)
{
    const char *n_at = NULL;
    uint64_t n = 0;
    const char *name = data_file_name(path);
    if (name == NULL || !file_name_take(name, &n_at, &n) || n >= UINT32_MAX)
        return false;
    buf_put(out, path, (size_t)(n_at - path));
    buf_printf(out, "%" PRIu64 DATA_SUFFIX, n + 1);
    return true;
}
