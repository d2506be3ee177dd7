/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/source/worker.h"

#include <pthread.h>
#include <stdlib.h>

#include "lib/base/assert.h"
#include "lib/base/clock.h"
#include "lib/base/memory.h"

struct worker {
    struct desk desk; /* the thread's */
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    /* guarded by lock */
    struct request *first;
    struct request *last;
    unsigned count;
    bool stopping;
};

/* NULL: the end. */
static struct request *next_request(struct worker *worker)
{
    pthread_mutex_lock(&worker->lock);
    while (worker->first == NULL && !worker->stopping)
        pthread_cond_wait(&worker->changed, &worker->lock);
    struct request *request = worker->first;
    if (request != NULL) {
        worker->first = request->next;
        worker->count--;
    }
    pthread_mutex_unlock(&worker->lock);
    return request;
}

/* A sender that waited for so long has given up, or may as well wait where he is. */
static bool is_late(const struct request *request)
{
    return clock_mono_ms(&clock_system) - request->queued_at_ms >= WORKER_WAIT_MS;
}

static void *run(void *context)
{
    struct worker *worker = context;
    struct request *request;
    while ((request = next_request(worker)) != NULL) {
        if (is_late(request))
            request_refuse(request, 503, "full", "too many large requests wait");
        else if (request_take(request, &worker->desk) == REQUEST_WAITS)
            continue;
        http_resume(request->http); /* the request may be gone behind this */
    }
    return NULL;
}

bool worker_put(struct worker *worker, struct request *request)
{
    pthread_mutex_lock(&worker->lock);
    bool room = worker->count < WORKER_REQUESTS_MAX;
    if (!room) {
        request_refuse(request, 503, "full", "too many large requests wait");
    } else {
        request->own_head = http_head_copy(request->head);
        request->head = request->own_head;
        request->queued_at_ms = clock_mono_ms(&clock_system);
        request->next = NULL;
        if (worker->first == NULL)
            worker->first = request;
        else
            worker->last->next = request;
        worker->last = request;
        worker->count++;
        pthread_cond_signal(&worker->changed);
    }
    pthread_mutex_unlock(&worker->lock);
    return room;
}

int worker_open(struct worker **out, struct capture *capture, struct error *err)
{
    struct worker *worker = memory_alloc(1, sizeof *worker);
    pthread_mutex_init(&worker->lock, NULL);
    pthread_cond_init(&worker->changed, NULL);
    int rc = desk_open(&worker->desk, capture, SIZE_MAX, err);
    if (rc != OK) {
        worker_close(worker);
        return rc;
    }
    int failed = pthread_create(&worker->thread, NULL, run, worker);
    ASSERT(failed == 0);
    pthread_setname_np(worker->thread, "http-large");
    worker->running = true;
    *out = worker;
    return OK;
}

void worker_close(struct worker *worker)
{
    if (worker == NULL)
        return;
    pthread_mutex_lock(&worker->lock);
    ASSERT(worker->first == NULL);
    worker->stopping = true;
    pthread_cond_signal(&worker->changed);
    pthread_mutex_unlock(&worker->lock);
    if (worker->running)
        pthread_join(worker->thread, NULL);
    desk_close(&worker->desk);
    pthread_cond_destroy(&worker->changed);
    pthread_mutex_destroy(&worker->lock);
    free(worker);
}
