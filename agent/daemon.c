/* SPDX-License-Identifier: Apache-2.0
 *
 * Start: configuration, store, spool, pipeline, capture, sources, operations; each needs
 * those before it. Stop: the other way round, and each stage empties into the next: sources
 * answer what they began, capture commits what waits, the pipeline delivers what is there.
 */
#include "agent/daemon.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/capture/capture.h"
#include "agent/descriptors.h"
#include "agent/ending.h"
#include "agent/flow.h"
#include "agent/freshness.h"
#include "agent/history.h"
#include "agent/metrics.h"
#include "agent/memory.h"
#include "agent/memory_limit.h"
#include "agent/neighbour.h"
#include "agent/notify.h"
#include "agent/operations.h"
#include "agent/overlap.h"
#include "agent/parts.h"
#include "agent/pipeline.h"
#include "agent/source/source.h"
#include "agent/status.h"
#include "agent/tail/tail.h"
#include "agent/trouble.h"
#include "agent/view.h"
#include "lib/base/assert.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"
#include "lib/base/plain.h"

enum {
    STEP_WAIT_MS = 200,
    STOP_MORE_MS = 60000, /* beyond the deadline: what is under way then is finished */
    TELL_MS = 10000,      /* who drains asks several times a second what it came to */
    BUSY_WAIT_MS = 20,
    DELIVERER_HANGS_MS = 15 * 60000, /* an upload of a large segment may take its time */
};

struct daemon {
    const struct agent_config *config;
    struct agent_config reloaded; /* of it only mappings and limits hold */
    bool is_reloaded;
    struct memory_shares memory;
    unsigned connections_max; /* of a listener */
    const struct mapping_set *mappings;
    const struct daemon_reload *reload;
    const sigset_t *signals; /* blocked, for sigtimedwait */
    char host[256];
    struct agent_parts parts;
    struct capture *capture;
    struct view_sources sources;
    struct flow *flow;
    struct overlap overlap;  /* the main thread looks */
    struct history *history; /* the main thread notes */
    int64_t started_at_ms;   /* wall clock */
    int64_t started_mono_ms;
    struct operations *operations;
    pthread_mutex_t parts_lock; /* before `lock`; for operations, while parts go */
    pthread_t deliverer;
    bool delivering;
    atomic_bool stopping;
    atomic_bool is_up;             /* from then on the main thread takes the signals */
    _Atomic int64_t give_up_at_ms; /* monotonic: of the delivery; INT64_MAX until all stops */
    struct ending ending;
    int64_t end_within_ms; /* the delivery's time, once all stops */
    size_t set_aside;      /* environments that the start found so */
    int64_t notify_at_ms;  /* monotonic; the main thread's: WATCHDOG=1 is due */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    bool stop;              /* nothing comes any more: deliver all, then end */
    uint64_t flushes_asked; /* each: seal what is open now and announce it */
    uint64_t flushes_done;
    int deliver_rc; /* of the last step: the spool failed */
    char deliver_text[400];
    struct pipeline_backlog backlog;
    struct uploader_statistics uploads;
    struct roller_statistics rolls;
    struct freshness_statistics freshness;
    int64_t step_at_ms; /* monotonic: when the deliverer last came by */
    bool delivered;     /* the deliverer has ended */
    bool hurry;         /* somebody asked for the end again: no more steps */
};

/* ---- delivery ---- */

/* Whether a store that holds us up, or hangs, is waited for no longer; by any thread. The start
 * asks the store, too, and the signal that comes meanwhile is pending. */
static bool patience_is_over(void *context)
{
    struct daemon *daemon = context;
    sigset_t pending;
    if (atomic_load(&daemon->is_up))
        return clock_mono_ms(&clock_system) >= atomic_load(&daemon->give_up_at_ms);
    sigemptyset(&pending);
    sigpending(&pending);
    return sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1;
}

static void give_up_at(struct daemon *daemon, int64_t mono_ms)
{
    atomic_store(&daemon->give_up_at_ms, mono_ms);
    pipeline_give_up_at(daemon->parts.pipeline, mono_ms);
}

static bool all_delivered(const struct pipeline_backlog *backlog)
{
    return backlog->open_streams == 0 && backlog->unannounced == 0;
}

/* What is to be done in a step, taken before it, and what it came to. */
struct delivery {
    bool stop;
    bool hurry;
    bool sealing; /* a flush that has not sealed yet */
    uint64_t flushes_asked;
    struct pipeline_backlog backlog;
    struct freshness *freshness;
};

static struct delivery next_delivery(struct daemon *daemon, uint64_t flushes_sealed)
{
    pthread_mutex_lock(&daemon->lock);
    struct delivery out = {
        .stop = daemon->stop, .hurry = daemon->hurry, .flushes_asked = daemon->flushes_asked};
    pthread_mutex_unlock(&daemon->lock);
    out.sealing = out.flushes_asked > flushes_sealed;
    return out;
}

/* Shorter when something is wanted that this delivery did not know of. */
static void wait_a_moment(struct daemon *daemon, const struct delivery *delivery, int64_t ms)
{
    pthread_mutex_lock(&daemon->lock);
    if (daemon->stop == delivery->stop && daemon->flushes_asked == delivery->flushes_asked)
        clock_condition_wait(&daemon->changed, &daemon->lock, ms);
    pthread_mutex_unlock(&daemon->lock);
}

/* As ASCII: names and a server's words need not be UTF-8, and text that was cut is not. */
static void note_delivery(struct daemon *daemon, const struct delivery *delivery, int rc,
                          const struct error *err)
{
    pthread_mutex_lock(&daemon->lock);
    if (rc == OK)
        daemon->backlog = delivery->backlog;
    plain_ascii(daemon->backlog.last_failure);
    daemon->freshness = *freshness_borrow(delivery->freshness);
    daemon->uploads = *pipeline_uploader_statistics_borrow(daemon->parts.pipeline);
    daemon->rolls = *pipeline_roller_statistics_borrow(daemon->parts.pipeline);
    daemon->deliver_rc = rc;
    daemon->step_at_ms = clock_mono_ms(&clock_system);
    memcpy(daemon->deliver_text, err->text, sizeof daemon->deliver_text);
    plain_ascii(daemon->deliver_text);
    /* What a flush found open was sealed by the step that saw it. */
    if (rc == OK && delivery->backlog.unannounced == 0)
        daemon->flushes_done = delivery->flushes_asked;
    pthread_mutex_unlock(&daemon->lock);
}

/* What the step left, by one list of the streams. */
static int look_at_streams(struct daemon *daemon, struct pipeline_backlog *backlog,
                           struct freshness *freshness, struct error *err)
{
    struct arena arena = {0};
    struct spool_streams streams = {0};
    int rc = spool_list_streams(daemon->parts.spool, &arena, &streams, err);
    if (rc == OK)
        rc = pipeline_backlog(daemon->parts.pipeline, &streams, backlog, err);
    if (rc == OK) {
        if (freshness != NULL)
            freshness_look(freshness, &streams, clock_wall_ms(&clock_system));
        flow_look(daemon->flow, &streams);
    }
    arena_free(&arena);
    return rc;
}

/* One step, behind what must be mended before it. */
static int take_step(struct daemon *daemon, struct trouble *trouble, struct delivery *delivery,
                     struct error *err)
{
    int rc = trouble_mend(trouble, daemon->parts.spool, err);
    if (rc == OK)
        rc = pipeline_step(daemon->parts.pipeline, delivery->stop || delivery->sealing, err);
    if (rc == OK)
        rc = look_at_streams(daemon, &delivery->backlog, delivery->freshness, err);
    return rc;
}

/* Until told to stop, then until all is announced or the deadline passed. */
static void *deliver(void *context)
{
    struct daemon *daemon = context;
    uint64_t flushes_sealed = 0;
    struct trouble trouble = {0};
    struct freshness *freshness = freshness_open();
    pthread_setname_np(pthread_self(), "deliverer");
    neighbour_stand_back(daemon->config);
    for (bool done = false; !done;) {
        struct delivery delivery = next_delivery(daemon, flushes_sealed);
        struct error err = {0};
        int64_t now_ms = clock_mono_ms(&clock_system);
        delivery.freshness = freshness;
        if (now_ms >= trouble.retry_at_ms && !delivery.hurry) {
            int rc = take_step(daemon, &trouble, &delivery, &err);
            trouble_note(&trouble, rc, &err, clock_mono_ms(&clock_system));
            note_delivery(daemon, &delivery, rc, &err);
            if (rc == OK)
                flushes_sealed = delivery.flushes_asked;
        }
        bool well = trouble.failures == 0;
        bool busy = well && !delivery.backlog.failing &&
                    (delivery.stop || delivery.backlog.unannounced > 0);
        done = delivery.hurry || (delivery.stop && ((well && all_delivered(&delivery.backlog)) ||
                                                    now_ms >= atomic_load(&daemon->give_up_at_ms)));
        if (!done)
            wait_a_moment(daemon, &delivery, busy ? BUSY_WAIT_MS : STEP_WAIT_MS);
    }
    freshness_close(freshness);
    pthread_mutex_lock(&daemon->lock);
    daemon->delivered = true;
    pthread_mutex_unlock(&daemon->lock);
    return NULL;
}

/* ---- for those who run it ---- */

/* What is to be seen now; parts_lock is held until look_away. */
static void look(struct daemon *daemon, struct agent_view *view)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    pthread_mutex_lock(&daemon->parts_lock);
    *view = (struct agent_view){.config = daemon->config,
                                .capture = daemon->capture,
                                .spool = daemon->parts.spool,
                                .flow = daemon->flow,
                                .files_shared = atomic_load(&daemon->overlap.files),
                                .sources = &daemon->sources,
                                .roll_bytes = pipeline_roll_bytes(daemon->parts.pipeline),
                                .started_at_ms = daemon->started_at_ms,
                                .uptime_ms = now_ms - daemon->started_mono_ms,
                                .stopping = atomic_load(&daemon->stopping)};
    pthread_mutex_lock(&daemon->lock);
    view->flushes_asked = daemon->flushes_asked;
    view->flushes_done = daemon->flushes_done;
    view->step_age_ms = now_ms - daemon->step_at_ms;
    view->deliver_rc = daemon->deliver_rc;
    memcpy(view->deliver_text, daemon->deliver_text, sizeof view->deliver_text);
    view->backlog = daemon->backlog;
    view->uploads = daemon->uploads;
    view->rolls = daemon->rolls;
    view->freshness = daemon->freshness;
    pthread_mutex_unlock(&daemon->lock);
    /* A step may take minutes, and what waits grows older meanwhile. */
    if (view->freshness.oldest_ms > 0)
        view->freshness.oldest_ms += view->step_age_ms;
    if (view->freshness.oldest_unannounced_ms > 0)
        view->freshness.oldest_unannounced_ms += view->step_age_ms;
}

static void look_away(struct daemon *daemon)
{
    pthread_mutex_unlock(&daemon->parts_lock);
}

static bool write_ready(void *context, bool json, struct buf *out)
{
    struct agent_view view;
    struct status_check checks[STATUS_CHECKS];
    look(context, &view);
    bool ready = status_checks(&view, checks);
    look_away(context);
    if (json)
        status_write_checks_json(checks, ready, out);
    else
        status_write_checks_text(checks, out);
    return ready;
}

static void write_metrics(void *context, struct buf *out)
{
    struct agent_view view;
    look(context, &view);
    metrics_write(&view, out);
    look_away(context);
}

static void write_status(void *context, struct buf *out)
{
    struct agent_view view;
    look(context, &view);
    status_write(&view, out);
    look_away(context);
}

static void write_history(void *context, struct buf *out)
{
    struct daemon *daemon = context;
    history_write(daemon->history, clock_mono_ms(&clock_system), out);
}

static void note_history(struct daemon *daemon, int64_t now_ms)
{
    struct agent_view view;
    if (daemon->operations == NULL || !history_is_due(daemon->history, now_ms))
        return;
    look(daemon, &view);
    history_note(daemon->history, &view, now_ms);
    look_away(daemon);
}

static void ask_flush(void *context)
{
    struct daemon *daemon = context;
    pthread_mutex_lock(&daemon->lock);
    daemon->flushes_asked++;
    pthread_cond_signal(&daemon->changed);
    pthread_mutex_unlock(&daemon->lock);
}

static void ask_drain(void *context, int64_t within_ms)
{
    struct daemon *daemon = context;
    ending_drain(&daemon->ending, within_ms);
    kill(getpid(), SIGUSR1); /* wakes the main thread, which waits for signals */
}

static void write_ending(void *context, bool is_told, struct buf *out)
{
    struct daemon *daemon = context;
    int64_t now_ms = clock_mono_ms(&clock_system);
    ending_write(&daemon->ending, is_told ? &now_ms : NULL, out);
}

/* ---- start and stop ---- */

static const struct source_ops *find_source(const char *kind)
{
    static const struct source_ops *const all[] = {
        &source_http, &source_unix, &source_unix_datagram, &source_stdin, &source_tail};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        if (strcmp(all[i]->kind, kind) == 0)
            return all[i];
    }
    return NULL;
}

static struct capture_limits limits_of(const struct agent_config *config)
{
    return (struct capture_limits){.event_bytes_max = (size_t)config->event_bytes_max,
                                   .time_past_us = config->event_past_ms * 1000,
                                   .time_future_us = config->event_future_ms * 1000};
}

/* The one whose mappings and limits hold. */
static const struct agent_config *limits_config(const struct daemon *daemon)
{
    return daemon->is_reloaded ? &daemon->reloaded : daemon->config;
}

static struct source_options source_options_of(struct daemon *daemon,
                                               const struct agent_config *config,
                                               const struct memory_shares *memory,
                                               unsigned connections_max)
{
    return (struct source_options){.capture = daemon->capture,
                                   .spool = daemon->parts.spool,
                                   .host = daemon->host,
                                   .token_file = config->http_token_file,
                                   .body_bytes_max = (size_t)config->http_body_bytes,
                                   .held_bytes_max = memory->held_bytes,
                                   .line_bytes_max = memory->line_bytes,
                                   .expanded_bytes_max = (size_t)config->http_expanded_bytes,
                                   .connections_max = connections_max,
                                   .event_bytes_max = (size_t)config->event_bytes_max,
                                   .dedup = daemon->sources.dedup,
                                   .idle_ms = config->http_idle_ms,
                                   .head_ms = config->http_head_ms,
                                   .body_ms = config->http_body_ms};
}

/* One source, or as many as it has threads; those behind the first go where that one listens. */
static int open_listener(struct daemon *daemon, const struct agent_listener *listener,
                         struct source_options *options, struct error *err)
{
    unsigned threads = agent_listener_threads(listener);
    struct view_source *first = &daemon->sources.open[daemon->sources.count];
    options->address = listener->address;
    options->table = listener->table;
    options->mode = listener->mode;
    options->owner = listener->owner;
    options->group = listener->group;
    options->ack_lines = listener->ack[0] != 0;
    for (unsigned i = 0; i < threads; i++) {
        struct view_source *source = &daemon->sources.open[daemon->sources.count];
        struct source_statistics statistics;
        options->share = threads == 1 ? SOURCE_ALONE : i == 0 ? SOURCE_SHARES_FIRST : SOURCE_SHARES;
        source->more = i > 0;
        source->ops = find_source(listener->kind);
        ASSERT(source->ops != NULL); /* the configuration knows no others */
        int rc = source->ops->open(&source->source, options, err);
        if (rc != OK)
            return error_wrap(err, "%s: listen: %s", listener->origin, listener->kind);
        daemon->sources.count++;
        source->ops->statistics(source->source, &statistics);
        memcpy(source->address, statistics.address, sizeof source->address);
        if (threads > 1)
            options->address = first->address;
    }
    log_event(LOG_LEVEL_INFO, "daemon", "listening", "kind=%s address=%s threads=%u",
              listener->kind, first->address, threads);
    return OK;
}

static int open_sources(struct daemon *daemon, struct error *err)
{
    const struct agent_config *config = daemon->config;
    int rc = dedup_open(&daemon->sources.dedup, daemon->parts.spool, &clock_system,
                        config->dedup_window_ms, DEDUP_KEYS_MAX, err);
    struct source_options options =
        source_options_of(daemon, config, &daemon->memory, daemon->connections_max);
    size_t count = 0;
    for (size_t i = 0; i < config->listener_count; i++)
        count += agent_listener_threads(&config->listeners[i]);
    daemon->sources.open = memory_alloc(count + 1, sizeof *daemon->sources.open);
    for (size_t i = 0; rc == OK && i < config->listener_count; i++)
        rc = open_listener(daemon, &config->listeners[i], &options, err);
    if (rc == OK)
        source_name_unused();
    return rc;
}

static int open_all(struct daemon *daemon, struct error *err)
{
    const struct agent_config *config = daemon->config;
    struct agent_patience patience = {.is_over = patience_is_over, .context = daemon};
    int rc = memory_share(config, &daemon->memory, err);
    if (rc == OK)
        rc = agent_parts_open(&daemon->parts, config, &patience, err);
    if (rc != OK)
        return rc;
    daemon->set_aside = spool_count_set_aside(daemon->parts.spool);
    struct capture_options capture = {
        .spool = daemon->parts.spool,
        .mappings = daemon->mappings,
        .agent_id = daemon->parts.agent_id,
        .namespace = config->namespace,
        .spool_drops = strcmp(config->spool_when_full, "drop_oldest") == 0,
        .linger_ms = config->spool_linger_ms,
        .commits_per_second_max = (unsigned)config->commits_per_second_max,
        .open_bytes_max = daemon->memory.open_bytes,
        .request_bytes_max = daemon->memory.request_bytes,
        .limits = limits_of(config)};
    rc = capture_open(&daemon->capture, &capture, err);
    if (rc != OK)
        return rc;
    daemon->history = history_open();
    daemon->flow = flow_open(spool_epoch_borrow(daemon->parts.spool));
    daemon->step_at_ms = clock_mono_ms(&clock_system);
    int failed = pthread_create(&daemon->deliverer, NULL, deliver, daemon);
    ASSERT(failed == 0);
    daemon->delivering = true;
    struct operations_options operations = {.address = config->operations,
                                            .host = daemon->host,
                                            .ready = write_ready,
                                            .metrics = write_metrics,
                                            .status = write_status,
                                            .history = write_history,
                                            .flush = ask_flush,
                                            .drain = ask_drain,
                                            .ending = write_ending,
                                            .context = daemon};
    rc = open_sources(daemon, err);
    if (rc == OK && config->operations[0] != 0)
        rc = operations_open(&daemon->operations, &operations, err);
    return rc;
}

/* Whether both ways are walked: to the durable answer, and from there to the store. A disk
 * that takes none of its syncs back for so long holds the whole agent up. */
static bool is_alive(struct daemon *daemon, int64_t now_ms, int64_t watchdog_ms)
{
    struct capture_statistics capture = {0};
    int64_t delivered_ms = pipeline_paced_at_ms(daemon->parts.pipeline);
    pthread_mutex_lock(&daemon->lock);
    if (daemon->step_at_ms > delivered_ms)
        delivered_ms = daemon->step_at_ms;
    pthread_mutex_unlock(&daemon->lock);
    bool delivers = now_ms - delivered_ms < DELIVERER_HANGS_MS;
    if (daemon->capture != NULL)
        capture_statistics(daemon->capture, &capture);
    bool captures = capture.busy_since_ms == 0 || now_ms - capture.busy_since_ms < watchdog_ms;
    return delivers && captures;
}

/* For the main thread: waits for one of the signals; 0: a moment passed without. */
static int next_signal(struct daemon *daemon, int64_t moment_ms)
{
    int64_t watchdog_ms = notify_watchdog_ms();
    int64_t wait_ms = watchdog_ms > 0 && watchdog_ms < moment_ms ? watchdog_ms : moment_ms;
    struct timespec wait = {.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000L};
    int number = sigtimedwait(daemon->signals, NULL, &wait);
    int64_t now_ms = clock_mono_ms(&clock_system);
    note_history(daemon, now_ms);
    overlap_look(&daemon->overlap, &daemon->sources, now_ms);
    if (watchdog_ms > 0 && now_ms >= daemon->notify_at_ms &&
        is_alive(daemon, now_ms, watchdog_ms)) {
        daemon->notify_at_ms = now_ms + watchdog_ms;
        notify_send("WATCHDOG=1");
    }
    return number > 0 ? number : 0;
}

static bool has_delivered(struct daemon *daemon)
{
    pthread_mutex_lock(&daemon->lock);
    bool delivered = daemon->delivered;
    pthread_mutex_unlock(&daemon->lock);
    return delivered;
}

/* Asked for the end once more, it goes without delivering the rest: that stays in the spool. */
static void wait_for_deliverer(struct daemon *daemon)
{
    while (daemon->delivering && !has_delivered(daemon)) {
        int number = next_signal(daemon, BUSY_WAIT_MS);
        if (number != SIGTERM && number != SIGINT)
            continue;
        log_event(LOG_LEVEL_WARN, "daemon", "asked again to stop, the rest stays in the spool",
                  "signal=%d", number);
        pthread_mutex_lock(&daemon->lock);
        daemon->hurry = true;
        give_up_at(daemon, clock_mono_ms(&clock_system));
        pthread_cond_signal(&daemon->changed);
        pthread_mutex_unlock(&daemon->lock);
    }
    if (daemon->delivering)
        pthread_join(daemon->deliverer, NULL);
}

static uint64_t events_left(struct daemon *daemon)
{
    struct flow_table *tables = NULL;
    uint64_t sum = 0;
    size_t count = flow_copy(daemon->flow, &tables);
    for (size_t i = 0; i < count; i++)
        sum += tables[i].open + tables[i].sealed;
    free(tables);
    return sum;
}

/* What the delivery came to, by the spool itself: the deliverer's last step may have failed. */
static void note_end(struct daemon *daemon)
{
    struct error err = {0};
    struct pipeline_backlog backlog = {0};
    /* A drain's caller gives the disk away as well: whatever lies there counts. */
    size_t known = ending_is_drained(&daemon->ending) ? 0 : daemon->set_aside;
    bool aside = spool_count_set_aside(daemon->parts.spool) > known;
    int rc = look_at_streams(daemon, &backlog, NULL, &err);
    if (rc == OK && all_delivered(&backlog) && !aside) {
        ending_complete(&daemon->ending);
        return;
    }
    const char *why = rc != OK          ? err.text
                      : aside           ? "what did not read lies in the spool's set-aside/, and "
                                          "may hold more: a person must look, and move it away"
                      : backlog.failing ? backlog.last_failure
                                        : "there was no more time";
    uint64_t left = events_left(daemon);
    ending_incomplete(&daemon->ending, left, why);
    log_event(LOG_LEVEL_WARN, "daemon", "stopped before all was delivered, the rest stays",
              "events=%llu segments=%zu why=\"%s\"", (unsigned long long)left, backlog.unannounced,
              why);
}

/* Who drains hears what it came to before there is nobody left to ask. */
static void wait_until_told(struct daemon *daemon)
{
    int64_t now_ms = clock_mono_ms(&clock_system);
    int64_t until_ms = now_ms + TELL_MS;
    for (; daemon->operations != NULL && !daemon->hurry && now_ms < until_ms &&
           ending_is_to_be_told(&daemon->ending, now_ms);
         now_ms = clock_mono_ms(&clock_system)) {
        int number = next_signal(daemon, BUSY_WAIT_MS);
        if (number == SIGTERM || number == SIGINT)
            return;
    }
}

static void close_all(struct daemon *daemon)
{
    atomic_store(&daemon->stopping, true);
    for (size_t i = 0; i < daemon->sources.count; i++)
        daemon->sources.open[i].ops->pause(daemon->sources.open[i].source);
    pthread_mutex_lock(&daemon->parts_lock);
    for (size_t i = 0; i < daemon->sources.count; i++)
        daemon->sources.open[i].ops->close(daemon->sources.open[i].source);
    daemon->sources.count = 0;
    dedup_close(daemon->sources.dedup);
    daemon->sources.dedup = NULL;
    pthread_mutex_unlock(&daemon->parts_lock);
    pthread_mutex_lock(&daemon->lock);
    daemon->stop = true;
    if (daemon->parts.pipeline != NULL)
        give_up_at(daemon, clock_mono_ms(&clock_system) + daemon->end_within_ms);
    pthread_cond_signal(&daemon->changed);
    pthread_mutex_unlock(&daemon->lock);
    wait_for_deliverer(daemon);
    if (daemon->delivering)
        note_end(daemon);
    wait_until_told(daemon);
    /* Until here, so that who asked for the end can see it come. */
    operations_close(daemon->operations);
    capture_close(daemon->capture); /* nothing waits in it; its counts were to be seen */
    history_close(daemon->history);
    flow_close(daemon->flow);
    agent_parts_close(&daemon->parts);
    free(daemon->sources.open);
}

/* All of them, or none: those that took the new ones go back to what they had. */
static int reload_sources(struct daemon *daemon, const struct agent_config *config,
                          const struct memory_shares *memory, unsigned connections_max,
                          struct error *err)
{
    struct source_options options = source_options_of(daemon, config, memory, connections_max);
    struct source_options before =
        source_options_of(daemon, limits_config(daemon), &daemon->memory, daemon->connections_max);
    struct error ignored;
    int rc = OK;
    size_t done = 0;
    for (; rc == OK && done < daemon->sources.count; done++)
        rc = daemon->sources.open[done].ops->reload(daemon->sources.open[done].source, &options,
                                                    err);
    for (size_t i = 0; rc != OK && i + 1 < done; i++) {
        int back =
            daemon->sources.open[i].ops->reload(daemon->sources.open[i].source, &before, &ignored);
        if (back != OK)
            log_event(LOG_LEVEL_ERROR, "daemon", "a door does not go back to its old limits",
                      "kind=%s error=\"%s\"", daemon->sources.open[i].ops->kind, ignored.text);
    }
    return rc;
}

/* The rest of the new configuration's memory holds from the next start on. */
static void reload_delivery(struct daemon *daemon, const struct agent_config *config)
{
    struct agent_config now = *daemon->config;
    now.roll_bytes = config->roll_bytes;
    pipeline_set_roll_bytes(daemon->parts.pipeline, memory_limit_roll_bytes_now(&now));
    pipeline_set_roll_age(daemon->parts.pipeline, config->roll_age_ms);
    pipeline_set_bandwidth(daemon->parts.pipeline, (uint64_t)config->upload_bandwidth);
}

static void reload(struct daemon *daemon)
{
    struct agent_config config;
    struct mapping_set mappings = {0};
    struct generation *generation = NULL;
    struct memory_shares memory = daemon->memory;
    unsigned connections_max = 0;
    struct error err;
    notify_reloading();
    agent_config_init(&config);
    struct capture_limits limits;
    int rc = daemon->reload->load(daemon->reload->context, &config, &mappings, &err);
    if (rc == OK)
        rc = memory_share_again(daemon->config, &config, &memory, &err);
    if (rc == OK) {
        limits = limits_of(&config);
        connections_max = descriptors_share_again(daemon->config, &config);
        rc = capture_prepare(daemon->capture, &mappings, &limits, &generation, &err);
    }
    if (rc == OK)
        rc = reload_sources(daemon, &config, &memory, connections_max, &err);
    if (rc == OK) {
        capture_apply(daemon->capture, generation);
        daemon->memory = memory;
        daemon->connections_max = connections_max;
        reload_delivery(daemon, &config);
        agent_config_free(&daemon->reloaded);
        daemon->reloaded = config;
        daemon->is_reloaded = true;
        log_event(LOG_LEVEL_INFO, "daemon", "mappings and limits were read again", "tables=%zu",
                  capture_table_count(daemon->capture));
        agent_config_name_unreloaded(daemon->config, &daemon->reloaded);
    } else {
        if (generation != NULL)
            capture_discard(daemon->capture, generation);
        agent_config_free(&config);
        plain_ascii(err.text);
        log_event(LOG_LEVEL_ERROR, "daemon",
                  "the configuration is refused, all goes on as before; mend it and send SIGHUP",
                  "error=\"%s\"", err.text);
    }
    mapping_set_free(&mappings);
    notify_reloaded(rc == OK ? NULL : err.text);
}

/* What was piped into the agent is read to its end, and there is no other door. */
static bool all_sources_ended(const struct view_sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        struct source_statistics statistics;
        if (sources->open[i].ops->files != NULL)
            return false; /* more may always come; and its statistics count all files */
        sources->open[i].ops->statistics(sources->open[i].source, &statistics);
        if (!statistics.ended)
            return false;
    }
    return sources->count > 0;
}

/* True: nobody asked for it, all that was to come has come. */
static bool wait_for_end(struct daemon *daemon)
{
    for (;;) {
        int number = next_signal(daemon, 1000);
        if (number == SIGTERM || number == SIGINT || ending_is_drained(&daemon->ending))
            return false;
        if (all_sources_ended(&daemon->sources))
            return true;
        if (number == SIGHUP)
            reload(daemon);
    }
}

int daemon_run(const struct agent_config *config, const struct mapping_set *mappings,
               const struct daemon_reload *reload, struct error *err)
{
    sigset_t signals;
    struct daemon daemon = {.config = config,
                            .mappings = mappings,
                            .reload = reload,
                            .signals = &signals,
                            .started_at_ms = clock_wall_ms(&clock_system),
                            .started_mono_ms = clock_mono_ms(&clock_system),
                            .give_up_at_ms = INT64_MAX,
                            .end_within_ms = config->stop_deadline_ms};
    bool by_itself = false;
    daemon.connections_max = descriptors_share(config, descriptors_raise());
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1); /* of our own: ask_drain */
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    ending_init(&daemon.ending);
    pthread_mutex_init(&daemon.lock, NULL);
    pthread_mutex_init(&daemon.parts_lock, NULL);
    clock_condition_init(&daemon.changed);
    if (gethostname(daemon.host, sizeof daemon.host - 1) < 0)
        daemon.host[0] = 0;
    int rc = open_all(&daemon, err);
    atomic_store(&daemon.is_up, true);
    if (rc == OK) {
        log_event(LOG_LEVEL_INFO, "daemon", "ready", "version=%s agent_id=%s warehouse=%s",
                  BIDLAKE_VERSION, daemon.parts.agent_id, config->warehouse);
        notify_send("READY=1");
        by_itself = wait_for_end(&daemon);
        daemon.end_within_ms = ending_begin(&daemon.ending, config->stop_deadline_ms,
                                            limits_config(&daemon)->deliver_deadline_ms);
        notify_stopping(daemon.end_within_ms + STOP_MORE_MS);
        log_event(LOG_LEVEL_INFO, "daemon", "stopping", "deadline_ms=%lld",
                  (long long)daemon.end_within_ms);
    }
    close_all(&daemon);
    if (by_itself)
        rc = ending_outcome(&daemon.ending, err);
    agent_config_free(&daemon.reloaded);
    pthread_cond_destroy(&daemon.changed);
    pthread_mutex_destroy(&daemon.parts_lock);
    pthread_mutex_destroy(&daemon.lock);
    ending_free(&daemon.ending);
    return rc;
}
