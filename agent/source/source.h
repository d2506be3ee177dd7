/* SPDX-License-Identifier: Apache-2.0
 *
 * source.h: the doors of the agent. One file behind this interface each: http.c, later
 * unix sockets, file tail, Kafka. A source has its own threads and intakes; it answers a
 * sender only when the ticket came back.
 *
 * Ownership  open gives the source, close takes it back.
 * Threads    open, pause and close: the daemon's main thread.
 * Stopping   pause: nothing new is taken, what was begun is answered. Then close.
 */
#ifndef AGENT_SOURCE_SOURCE_H
#define AGENT_SOURCE_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent/capture/capture.h"
#include "lib/base/error.h"
#include "spool/spool.h"

struct event_source;

/* The answers to Idempotency-Keys, in the spool: see dedup.h. One for all listeners, opened
 * before and closed after them. */
struct dedup;
enum { DEDUP_KEYS_MAX = 1000000 };
int dedup_open(struct dedup **out, struct spool *spool, const struct clock *clock,
               int64_t window_ms, uint64_t keys_max, struct error *err) MUST_USE;
void dedup_close(struct dedup *dedup);
uint64_t dedup_key_count(const struct dedup *dedup);

/* Several http sources at one address, each with threads of its own. */
enum source_share { SOURCE_ALONE, SOURCE_SHARES_FIRST, SOURCE_SHARES };

struct source_options {
    struct capture *capture;   /* borrowed, as the next */
    struct spool *spool;       /* for what a source remembers: keys, places in files */
    const struct clock *clock; /* NULL: the system's */
    const char *address;       /* "127.0.0.1:7180" */
    const char *host;          /* $host */
    const char *token_file;    /* "": no token is asked for */
    const char *table;         /* unix: where the events go */
    const char *mode;          /* unix: of the socket, octal; owner and group by name; "": as is */
    const char *owner;
    const char *group;
    bool ack_lines;            /* unix stream: how many lines are durable is written back */
    size_t event_bytes_max;    /* 0: 1 MiB */
    size_t body_bytes_max;     /* as sent */
    size_t held_bytes_max;     /* http: of all bodies that are not whole yet; 0: 64 MiB */
    size_t line_bytes_max;     /* unix streams: of what all keep, beside a line; 0: 64 MiB */
    size_t expanded_bytes_max; /* after gzip or zstd */
    unsigned connections_max;
    int64_t idle_ms;     /* of a connection without a request */
    int64_t head_ms;     /* from the first byte of a request's head to its last */
    int64_t body_ms;     /* unix streams: of a line's, while others wait for room */
    struct dedup *dedup; /* borrowed */
    enum source_share share;
};

enum { SOURCE_ADDRESS_MAX = 128 };

/* What kept a file from being read on; counted, and logged once a file. */
enum source_file_fault {
    FILE_UNREADABLE,
    FILE_BINARY,
    FILE_DAMAGED,   /* compressed data that is cut or corrupt */
    FILE_TRUNCATED, /* taken from its beginning again */
    FILE_REPLACED,  /* other content under the same inode: the same */
    FILE_GONE,      /* before it was read to its end */
    FILE_HOLE,      /* it begins with NULs: they are skipped */
    SOURCE_FILE_FAULT_COUNT
};

struct source_statistics {
    char address[SOURCE_ADDRESS_MAX]; /* where it listens; the port, when 0 was asked for */
    uint64_t requests;    /* of doors without: how often lines were handed in, together */
    uint64_t bytes;       /* as sent */
    uint64_t connections; /* open now */
    uint64_t turned_away; /* connections beyond the limit */
    uint64_t timed_out;   /* requests and answers that took too long */
    uint64_t answered[6]; /* by the status' first digit */
    uint64_t unresolved_macros;
    bool ended;            /* nothing will ever come any more */
    uint64_t files;        /* that are followed */
    uint64_t unread_bytes; /* of plain files, beyond what is durable */
    uint64_t file_faults[SOURCE_FILE_FAULT_COUNT];
};

/* A file that is followed. */
struct source_file {
    const char *path;
    const char *table;
    const char *state; /* "waiting", "reading", "copy", "finished", or a fault's name */
    uint64_t size;
    uint64_t offset; /* of the plain text: all before it is durable */
    uint64_t lines;
    bool compressed;
    bool safe_to_delete; /* all of it is durable, and nobody seems to write it */
};
typedef void source_file_list(void *context, const struct source_file *file);

struct source_ops {
    const char *kind; /* "http": the key in the configuration's `listen` */
    int (*open)(struct event_source **out, const struct source_options *options, struct error *err);
    /* Limits and token of new options, for requests from now on; number and times of
     * connections also for those that are open; the rest stays. When it fails nothing has
     * changed. */
    int (*reload)(struct event_source *source, const struct source_options *options,
                  struct error *err);
    void (*pause)(struct event_source *source);
    void (*close)(struct event_source *source);
    void (*statistics)(struct event_source *source, struct source_statistics *out);
    /* NULL where there are no files. */
    void (*files)(struct event_source *source, source_file_list *list, void *context);
};

extern const struct source_ops source_http;
extern const struct source_ops source_unix;
extern const struct source_ops source_unix_datagram;

/* Whether source_listen can make something of it. */
bool source_is_address(const char *address);
/* Whether not both can listen: port 0 is another one each time. */
bool source_is_same_address(const char *one, const char *other);
/* Whether a unix socket can be made there for them, as far as it can be known before:
 * ERROR_INPUT: the path is too long, it is another file's, its directory is missing (below /run it
 * may come yet), there is no such user or group. */
int source_check_path(const char *path, const char *owner, const char *group,
                      struct error *err) MUST_USE;
/* Whether a token can be read there; "": none is asked for. */
int source_check_token(const char *path, struct error *err) MUST_USE;

/* A listening socket at "127.0.0.1:7180" or "[::1]:7180"; names are not resolved: what
 * listens is told where. `bound` is the address with the port that port 0 became.
 * ERROR_INPUT: no such address. The caller closes *fd. */
int source_listen(const char *address, int backlog, enum source_share share, int *fd,
                  char bound[SOURCE_ADDRESS_MAX], struct error *err) MUST_USE;

/* A unix socket that systemd opened at this path (socket activation), -1: none. The file
 * stays systemd's: its owner and mode stand in the socket's unit, and nobody unlinks it. */
int source_inherited_path(const char *path, int type) MUST_USE;

/* Logs the sockets that systemd handed over and no source has taken. Once all are open. */
void source_name_unused(void);

#endif
