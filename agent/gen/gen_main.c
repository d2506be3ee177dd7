/* SPDX-License-Identifier: Apache-2.0
 *
 * bidlake-gen: writes the funnel's events to files, one table's to stdout, or sends them to an
 * agent, as fast as it can or at a rate. One thread: make a batch into four buffers, write them
 * out, wait.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/gen/gen.h"
#include "agent/gen/sender.h"
#include "agent/gen/settings.h"
#include "lib/base/clock.h"
#include "lib/base/fault.h"
#include "lib/base/file.h"
#include "lib/base/memory.h"
#include "lib/base/random.h"

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
#define TIME_END_MS INT64_C(7258118400000) /* 2200-01-01 */
#define CLICK_ROOM_MS INT64_C(3600000)     /* the last click comes well within it */
enum {
    FLUSH_BYTES = 1 << 20,
    BATCH_REQUESTS = 256,
    DRAIN_EVENTS = 256,
    SEND_WAIT_MS = 5,
    STOP_SECONDS = 10
};

struct output {
    int fds[GEN_TABLES];   /* -1: not wanted */
    struct sender *sender; /* instead of files; NULL: none */
    int only_table;        /* of --table with --to; -1: all */
    struct buf bufs[GEN_TABLES];
};

static volatile sig_atomic_t stopped;

/* Who reads our pipe, and does no more, must not hold us up: SIGALRM ends that. */
static void on_signal(int signal_number)
{
    (void)signal_number;
    stopped = 1;
    alarm(STOP_SECONDS);
}

static void handle_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

static int table_of(const char *name)
{
    for (int table = 0; table < GEN_TABLES; table++) {
        if (strcmp(gen_table_name((enum gen_table)table), name) == 0)
            return table;
    }
    return -1;
}

/* What doesn't go together, said before anything is written. */
static int settings_check(const struct settings *settings, struct error *err)
{
    bool http = strncmp(settings->to, "http://", 7) == 0;
    if (settings->to[0] != 0 && !http)
        return error_set(err, ERROR_INPUT,
                         "\"%s\" (--to, KAFKA_BOOTSTRAP_SERVERS): Kafka is not supported in this "
                         "build; use --to http://HOST:PORT, --out or --table",
                         settings->to);
    if (http && settings->out[0] != 0)
        return error_set(err, ERROR_INPUT, "--to and --out don't go together");
    if (!http && (settings->out[0] != 0) == (settings->table[0] != 0))
        return error_set(err, ERROR_INPUT, "one of --to URL, --out DIR and --table NAME is needed");
    if (settings->table[0] != 0 && table_of(settings->table) < 0)
        return error_set(err, ERROR_INPUT,
                         "--table: \"%s\" is none of bid_requests, bid_responses, impressions, "
                         "clicks",
                         settings->table);
    if (settings->out[0] != 0 && settings->events_per_second == 0 && settings->count == 0)
        return error_set(err, ERROR_INPUT,
                         "files at full speed would fill the disk: --count or a rate is needed");
    return OK;
}

static void gen_options_from(struct gen_options *out, const struct settings *settings,
                             const struct clock *clock)
{
    uint64_t seed = (uint64_t)settings->seed;
    if (settings->seed == SETTING_NOT_GIVEN) {
        random_system(&seed, sizeof seed);
        seed >>= 12; /* so that any reader of the JSON summary gets it whole */
    }
    double rate = settings->time_rate;
    if (rate == 0)
        rate = settings->events_per_second > 0 ? settings->events_per_second : 1000;
    int64_t start_ms = settings->start_ms;
    if (start_ms == SETTING_NOT_GIVEN) {
        start_ms = clock_wall_ms(clock);
        /* All at once: as if the last click had come just now. */
        if (settings->events_per_second == 0 && settings->count > 0) {
            double back_ms = (double)settings->count * 1000 / rate + 11 * 60000;
            start_ms = back_ms < (double)start_ms ? start_ms - (int64_t)back_ms : 0;
        }
    }
    *out = (struct gen_options){
        .seed = seed,
        .start_ms = start_ms,
        .time_rate = rate,
        .response_rate = settings->response_rate,
        .win_rate = settings->win_rate,
        .click_rate = settings->click_rate,
    };
}

/* How many requests keep their event time before 2200, where the tables' times end. */
static uint64_t requests_max(const struct gen_options *options)
{
    int64_t room_ms = TIME_END_MS - options->start_ms - CLICK_ROOM_MS;
    double requests = (double)room_ms / 1000 * options->time_rate;
    return requests < 1 ? 0 : requests < 1e15 ? (uint64_t)requests : (uint64_t)1e15;
}

static int output_open(struct output *output, const struct settings *settings, struct error *err)
{
    output->only_table = settings->table[0] != 0 ? table_of(settings->table) : -1;
    if (settings->to[0] != 0) {
        struct sender_options options = {.url = settings->to,
                                         .connections = (size_t)settings->connections,
                                         .batch_events = (size_t)settings->batch};
        return sender_open(&output->sender, &options, err);
    }
    if (settings->table[0] != 0) {
        output->fds[table_of(settings->table)] = STDOUT_FILENO;
        return OK;
    }
    int rc = file_make_directories(settings->out, 0755, err);
    for (int table = 0; table < GEN_TABLES && rc == OK; table++) {
        char *path =
            memory_printf("%s/%s.ndjson", settings->out, gen_table_name((enum gen_table)table));
        output->fds[table] = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        if (output->fds[table] < 0)
            rc = error_errno(err, path);
        free(path);
    }
    return rc;
}

/* To the agent; more is made only when the connections have taken what is there. */
static int output_send(struct output *output, struct error *err)
{
    for (int table = 0; table < GEN_TABLES; table++) {
        struct buf *buf = &output->bufs[table];
        if (buf->len > 0 && (output->only_table < 0 || output->only_table == table))
            sender_put(output->sender, gen_table_name((enum gen_table)table), buf_slice(buf));
        buf_reset(buf);
    }
    int rc = OK;
    do
        rc = sender_step(output->sender, sender_is_full(output->sender) ? SEND_WAIT_MS : 0, err);
    while (rc == OK && sender_is_full(output->sender) && !stopped);
    return rc;
}

/* Writes what has passed `bytes_min`; what nobody wants is dropped. */
static int output_flush(struct output *output, size_t bytes_min, struct error *err)
{
    if (output->sender != NULL)
        return output_send(output, err);
    for (int table = 0; table < GEN_TABLES; table++) {
        struct buf *buf = &output->bufs[table];
        if (buf->len < bytes_min || buf->len == 0)
            continue;
        int rc = OK;
        if (output->fds[table] >= 0)
            rc = file_write_all(output->fds[table], buf_slice(buf), err);
        if (rc != OK)
            return error_wrap(err, "%s", gen_table_name((enum gen_table)table));
        buf_reset(buf);
    }
    return OK;
}

static void output_close(struct output *output)
{
    sender_close(output->sender);
    for (int table = 0; table < GEN_TABLES; table++) {
        if (output->fds[table] > STDERR_FILENO)
            close(output->fds[table]);
        buf_free(&output->bufs[table]);
    }
}

/* How many requests are due by now; all of them at full speed. */
static uint64_t requests_due(const struct settings *settings, int64_t elapsed_ns, uint64_t limit)
{
    if (settings->events_per_second == 0)
        return limit;
    double due = (double)elapsed_ns * 1e-9 * settings->events_per_second + 1;
    return due < (double)limit ? (uint64_t)due : limit;
}

static int run(struct gen *gen, struct output *output, const struct settings *settings,
               uint64_t limit, const struct clock *clock, struct error *err)
{
    int64_t start_ns = clock_mono_ns();
    uint64_t done = 0;
    int rc = OK;
    while (done < limit && !stopped && rc == OK) {
        uint64_t due = requests_due(settings, clock_mono_ns() - start_ns, limit);
        if (due <= done) {
            /* Caught up: a reader on the other side must not wait for a full buffer. */
            rc = output_flush(output, 1, err);
            if (rc == OK && output->sender != NULL)
                rc = sender_step(output->sender, SEND_WAIT_MS, err);
            if (output->sender == NULL || sender_is_idle(output->sender))
                clock_sleep_ms(clock, output->sender == NULL ? 10 : 1);
            continue;
        }
        for (uint64_t i = 0; i < BATCH_REQUESTS && done < due; i++, done++)
            gen_step(gen, output->bufs);
        rc = output_flush(output, FLUSH_BYTES, err);
    }
    while (rc == OK && gen_drain(gen, output->bufs, DRAIN_EVENTS))
        rc = output_flush(output, FLUSH_BYTES, err);
    if (rc == OK)
        rc = output_flush(output, 1, err);
    while (rc == OK && output->sender != NULL && !sender_is_idle(output->sender) && !stopped)
        rc = sender_step(output->sender, 10 * SEND_WAIT_MS, err);
    return rc;
}

static void summary_json(struct buf *out, const struct gen *gen, const struct gen_options *options,
                         double seconds)
{
    const struct gen_count *counts = gen_counts(gen);
    buf_printf(out, "{\"seed\":%llu,\"start_ms\":%lld,\"seconds\":%.3f,\"tables\":{",
               (unsigned long long)options->seed, (long long)options->start_ms, seconds);
    for (int table = 0; table < GEN_TABLES; table++) {
        const struct gen_count *count = &counts[table];
        buf_printf(out,
                   "%s\"%s\":{\"events\":%llu,\"rows\":%llu,\"bytes\":%llu,\"price_micros\":%llu}",
                   table > 0 ? "," : "", gen_table_name((enum gen_table)table),
                   (unsigned long long)count->events, (unsigned long long)count->rows,
                   (unsigned long long)count->bytes, (unsigned long long)count->price_micros);
    }
    buf_put_cstr(out, "},\"countries\":{");
    const struct gen_country_count *countries = gen_countries(gen);
    for (uint32_t i = 0; i < gen_country_count(gen); i++) {
        const struct gen_country_count *country = &countries[i];
        buf_printf(out,
                   "%s\"%s\":{\"request_rows\":%llu,\"impressions\":%llu,"
                   "\"impression_price_micros\":%llu,\"clicks\":%llu}",
                   i > 0 ? "," : "", country->code, (unsigned long long)country->request_rows,
                   (unsigned long long)country->impressions,
                   (unsigned long long)country->impression_price_micros,
                   (unsigned long long)country->clicks);
    }
    buf_put_cstr(out, "}");
}

static void summary_sent_tables(struct buf *out, const struct sender *sender)
{
    buf_put_cstr(out, ",\"tables\":{");
    for (int table = 0; table < GEN_TABLES; table++) {
        const char *name = gen_table_name((enum gen_table)table);
        uint64_t accepted = 0;
        uint64_t refused = 0;
        sender_counts(sender, name, &accepted, &refused);
        buf_printf(out, "%s\"%s\":{\"accepted\":%llu,\"refused\":%llu}", table > 0 ? "," : "", name,
                   (unsigned long long)accepted, (unsigned long long)refused);
    }
    buf_put_cstr(out, "}}");
}

/* What became of the requests, with --to. */
static void summary_sent(struct buf *out, const struct sender *sender, bool json)
{
    struct sender_statistics sent;
    sender_statistics(sender, &sent);
    buf_printf(out,
               json ? ",\"http\":{\"requests\":%llu,\"accepted\":%llu,\"refused\":%llu,"
                      "\"unanswered\":%llu,\"retried\":%llu,\"latency_ms\":{\"p50\":%.3f,"
                      "\"p90\":%.3f,\"p99\":%.3f,\"max\":%.3f}"
                    : "%llu requests: %llu events accepted, %llu refused, %llu unanswered; %llu "
                      "turned away and sent again\nanswers after ms: p50 %.3f p90 %.3f p99 %.3f "
                      "max %.3f\n",
               (unsigned long long)sent.requests, (unsigned long long)sent.accepted,
               (unsigned long long)sent.refused, (unsigned long long)sent.unanswered,
               (unsigned long long)sent.retried, sent.latency_ms[0], sent.latency_ms[1],
               sent.latency_ms[2], sent.latency_ms[3]);
    if (json)
        summary_sent_tables(out, sender);
}

static void summary_text(struct buf *out, const struct gen *gen, const struct gen_options *options,
                         double seconds)
{
    const struct gen_count *counts = gen_counts(gen);
    for (int table = 0; table < GEN_TABLES; table++) {
        const struct gen_count *count = &counts[table];
        buf_printf(out, "%-14s %10llu events %10llu rows %12llu bytes\n",
                   gen_table_name((enum gen_table)table), (unsigned long long)count->events,
                   (unsigned long long)count->rows, (unsigned long long)count->bytes);
    }
    buf_printf(out, "seed %llu, %.2f s, %.0f requests/s\n", (unsigned long long)options->seed,
               seconds, seconds > 0 ? (double)counts[GEN_BID_REQUESTS].events / seconds : 0);
}

/* With --table the events have stdout: only a summary that was asked for is written. */
static int summary_write(const struct gen *gen, const struct output *output,
                         const struct settings *settings, const struct gen_options *options,
                         double seconds, struct error *err)
{
    struct buf text = {0};
    bool to_files = settings->out[0] != 0;
    bool sent = output->sender != NULL;
    if (settings->json)
        summary_json(&text, gen, options, seconds);
    else if (to_files || sent)
        summary_text(&text, gen, options, seconds);
    if (sent)
        summary_sent(&text, output->sender, settings->json);
    if (settings->json)
        buf_put_cstr(&text, "}\n");
    int fd = to_files || sent ? STDOUT_FILENO : STDERR_FILENO;
    int rc = text.len > 0 ? file_write_all(fd, buf_slice(&text), err) : OK;
    buf_free(&text);
    return rc;
}

static int generate(const struct settings *settings, struct error *err)
{
    struct gen *gen = NULL;
    struct gen_options options;
    struct output output = {.fds = {-1, -1, -1, -1}};
    int64_t start_ns = clock_mono_ns();
    gen_options_from(&options, settings, &clock_system);
    uint64_t limit = requests_max(&options);
    if (limit < (uint64_t)settings->count)
        return error_set(err, ERROR_INPUT, "--start, --time-rate: event time would pass 2199");
    if (settings->count > 0)
        limit = (uint64_t)settings->count;
    gen_open(&gen, &options);
    int rc = output_open(&output, settings, err);
    if (rc == OK)
        rc = run(gen, &output, settings, limit, &clock_system, err);
    if (rc == OK) {
        double seconds = (double)(clock_mono_ns() - start_ns) * 1e-9;
        rc = summary_write(gen, &output, settings, &options, seconds, err);
    }
    output_close(&output);
    gen_close(gen);
    return rc;
}

static void print_help(void)
{
    struct buf text = {0};
    buf_put_cstr(&text,
                 "usage: bidlake-gen --out DIR | --table NAME | --to URL [options]\n\n"
                 "Makes up the events of an ad server: bid requests, bid responses,\n"
                 "impressions and clicks whose ids join, as NDJSON: to files, to stdout, or\n"
                 "to a running agent (with --table only that table's).\n\n");
    settings_describe(&text);
    buf_put_cstr(&text, "  --help, --version\n\n"
                        "Event time goes by the rate, not by the clock. After the last request\n"
                        "come the impressions and clicks that are still due.\n"
                        "Exit: 0 done, 1 failed, 2 usage.\n");
    fputs(buf_cstr(&text), stdout);
    buf_free(&text);
}

int main(int argc, char **argv)
{
    struct error err = {0};
    struct settings settings;
    const char *(*lookup)(const char *) = (const char *(*)(const char *))getenv;
    int rc = fault_from_environment(&err);
    if (rc == OK)
        rc = settings_parse(&settings, argc, argv, lookup, &err);
    if (rc == OK && settings.help) {
        print_help();
        return EXIT_DONE;
    }
    if (rc == OK && settings.version) {
        puts("bidlake-gen " BIDLAKE_VERSION);
        return EXIT_DONE;
    }
    if (rc == OK)
        rc = settings_check(&settings, &err);
    if (rc != OK) {
        fprintf(stderr, "bidlake-gen: %s\nTry bidlake-gen --help.\n", err.text);
        return EXIT_USAGE;
    }
    handle_signals();
    rc = generate(&settings, &err);
    if (rc != OK) {
        fprintf(stderr, "bidlake-gen: %s\n", err.text);
        return rc == ERROR_INPUT ? EXIT_USAGE : EXIT_FAILED;
    }
    return EXIT_DONE;
}
