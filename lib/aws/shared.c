/* SPDX-License-Identifier: Apache-2.0
 *
 * ~/.aws/credentials and ~/.aws/config. Both hold profiles; where both have a key, credentials
 * counts. A profile that takes a role names whose credentials it takes it by: another profile,
 * which may do the same. That way is walked down first, then the roles are taken upwards.
 */
#include <errno.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/aws/ini.h"
#include "lib/aws/internal.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/base/memory.h"

enum { SHARED_BYTES_MAX = 1 << 20, DEPTH_MAX = 5, ROLE_S_MIN = 900, ROLE_S_MAX = 43200 };
enum { CREDENTIALS, CONFIG };

struct shared {
    const struct aws_sources *sources;
    char *paths[2];
    struct buf texts[2];
    struct ini files[2];
    bool missing[2];
    bool closed; /* one of those is there, perhaps */
};

/* ---- the files ---- */

static char *home(const struct aws_sources *sources)
{
    const char *set = sources_env(sources, "HOME");
    if (set != NULL)
        return memory_copy_cstr(set);
    char text[4096];
    struct passwd entry;
    struct passwd *found = NULL;
    if (getpwuid_r(getuid(), &entry, text, sizeof text, &found) != 0 || found == NULL)
        return memory_copy_cstr("/");
    return memory_copy_cstr(found->pw_dir);
}

static char *shared_path(const struct aws_sources *sources, const char *name, const char *otherwise)
{
    const char *set = sources_env(sources, name);
    if (set != NULL && strncmp(set, "~/", 2) != 0)
        return memory_copy_cstr(set);
    char *base = home(sources);
    char *path = memory_printf("%s/%s", base, set != NULL ? set + 2 : otherwise);
    free(base);
    return path;
}

static void shared_free(struct shared *shared)
{
    for (size_t i = 0; i < 2; i++) {
        buf_wipe(&shared->texts[i]);
        ini_free(&shared->files[i]);
        free(shared->paths[i]);
    }
}

static const char *profile_name(const struct aws_sources *sources, bool *is_asked)
{
    const char *name = sources->profile;
    if (name == NULL)
        name = sources_env(sources, "AWS_PROFILE");
    *is_asked = name != NULL;
    return name != NULL ? name : "default";
}

/* A file that nobody asked for and that we may not look at is none: a service whose HOME is
 * another user's still is an instance with a role. */
static bool is_missing(const struct aws_sources *sources, const char *file_variable,
                       const struct error *err)
{
    static atomic_bool is_said;
    bool is_asked;
    (void)profile_name(sources, &is_asked);
    if (err->cause == ENOENT || err->cause == ENOTDIR)
        return true;
    if (is_asked || sources_env(sources, file_variable) != NULL ||
        (err->cause != EACCES && err->cause != EPERM && err->cause != ELOOP))
        return false;
    if (!atomic_exchange(&is_said, true))
        log_event(LOG_LEVEL_INFO, "aws", "a shared file may not be read, as if there were none",
                  "error=\"%s\"", err->text);
    return true;
}

static int shared_read(struct shared *shared, const struct aws_sources *sources, struct error *err)
{
    static const struct {
        const char *variable;
        const char *otherwise;
    } places[2] = {[CREDENTIALS] = {"AWS_SHARED_CREDENTIALS_FILE", ".aws/credentials"},
                   [CONFIG] = {"AWS_CONFIG_FILE", ".aws/config"}};
    *shared = (struct shared){.sources = sources};
    for (size_t i = 0; i < 2; i++)
        shared->paths[i] = shared_path(sources, places[i].variable, places[i].otherwise);
    int rc = OK;
    for (size_t i = 0; i < 2 && rc == OK; i++) {
        rc = file_read(shared->paths[i], SHARED_BYTES_MAX, &shared->texts[i], err);
        shared->missing[i] = rc != OK && is_missing(sources, places[i].variable, err);
        shared->closed |= shared->missing[i] && err->cause != ENOENT && err->cause != ENOTDIR;
        if (shared->missing[i])
            rc = OK;
        else if (rc == OK &&
                 (rc = ini_decode(&shared->files[i], buf_slice(&shared->texts[i]), err)) != OK)
            (void)error_wrap(err, "%s", shared->paths[i]);
    }
    return rc;
}

/* "word name", the name quoted or not. */
static bool is_named(struct slice section, const char *word, const char *name)
{
    size_t len = strlen(word);
    if (section.len <= len || memcmp(section.data, word, len) != 0 ||
        (section.data[len] != ' ' && section.data[len] != '\t'))
        return false;
    while (len < section.len && (section.data[len] == ' ' || section.data[len] == '\t'))
        len++;
    struct slice rest = slice_of(section.data + len, section.len - len);
    if (rest.len >= 2 && (rest.data[0] == '"' || rest.data[0] == '\'') &&
        rest.data[rest.len - 1] == rest.data[0])
        rest = slice_of(rest.data + 1, rest.len - 2);
    return slice_is(rest, name);
}

/* [name] in credentials; [default], [profile name] in config. */
static bool is_profile(struct slice section, size_t file, const char *name)
{
    if (file == CREDENTIALS || slice_is(section, "default"))
        return slice_is(section, name);
    return is_named(section, "profile", name);
}

/* The last of that name, credentials before config; data NULL: none. An empty one is none. `key`
 * NULL asks for the profile itself. */
static struct slice find(const struct shared *shared, const char *profile, const char *key)
{
    for (size_t file = 0; file < 2; file++) {
        const struct ini *ini = &shared->files[file];
        for (size_t i = ini->count; i > 0; i--) {
            const struct ini_entry *entry = &ini->entries[i - 1];
            if (entry->parent.len > 0 || !is_profile(entry->section, file, profile))
                continue;
            if (key == NULL)
                return entry->section;
            if (slice_is_word(entry->key, key) && entry->value.len > 0)
                return entry->value;
        }
    }
    return slice_of(NULL, 0);
}

static bool has(const struct shared *shared, const char *profile, const char *key)
{
    return find(shared, profile, key).data != NULL;
}

/* NULL when there is none. */
static char *copy(const struct shared *shared, const char *profile, const char *key)
{
    struct slice found = find(shared, profile, key);
    return found.data == NULL ? NULL : memory_copy_slice(found);
}

/* ---- roles ---- */

static int region_of(const struct shared *shared, const char *profile, char out[AWS_REGION_SIZE],
                     struct error *err)
{
    int rc = sources_region(shared->sources, out, err);
    struct slice region = find(shared, profile, "region");
    if (rc != OK || out[0] != 0 || region.data == NULL)
        return rc;
    if (region.len < AWS_REGION_SIZE)
        snprintf(out, AWS_REGION_SIZE, "%.*s", (int)region.len, (const char *)region.data);
    if (!aws_region_is_valid(out))
        return error_set(err, ERROR_DENIED, "its region is none");
    return OK;
}

static int duration_of(const struct shared *shared, const char *profile, int64_t *out,
                       struct error *err)
{
    struct slice text = find(shared, profile, "duration_seconds");
    int64_t value = 0;
    *out = 0;
    if (text.data == NULL)
        return OK;
    for (size_t i = 0; i < text.len && value <= ROLE_S_MAX; i++)
        value = text.data[i] >= '0' && text.data[i] <= '9' ? 10 * value + text.data[i] - '0'
                                                           : ROLE_S_MAX + 1;
    if (value < ROLE_S_MIN || value > ROLE_S_MAX)
        return error_set(err, ERROR_DENIED, "duration_seconds is not between %d and %d", ROLE_S_MIN,
                         ROLE_S_MAX);
    *out = value;
    return OK;
}

/* The role of `profile`, by the token in `token_file` or, if that is NULL, by the credentials in
 * *credentials, which are replaced. */
static int take_role(const struct shared *shared, const char *profile, const char *token_file,
                     struct aws_credentials *credentials, struct error *err)
{
    char region[AWS_REGION_SIZE];
    char *arn = copy(shared, profile, "role_arn");
    char *session = copy(shared, profile, "role_session_name");
    char *external_id = copy(shared, profile, "external_id");
    struct sts_role role = {
        .arn = arn, .session = session, .external_id = external_id, .region = region};
    struct aws_credentials made = {0};
    int rc = region_of(shared, profile, region, err);
    if (rc == OK)
        rc = duration_of(shared, profile, &role.duration_s, err);
    if (rc == OK && has(shared, profile, "mfa_serial"))
        rc = error_set(err, ERROR_DENIED, "role %s asks for an MFA code, which nobody types here",
                       arn);
    if (rc == OK && token_file != NULL)
        rc = sts_web_identity(shared->sources, &role, token_file, &made, err);
    else if (rc == OK)
        rc = sts_assume_role(shared->sources, &role, credentials, &made, err);
    if (rc == OK)
        aws_credentials_copy(credentials, &made);
    aws_credentials_free(&made);
    free(arn);
    free(session);
    free(external_id);
    return rc;
}

/* ---- where a profile's way ends ---- */

static void static_keys(const struct shared *shared, const char *profile,
                        struct aws_credentials *out)
{
    out->access_key = copy(shared, profile, "aws_access_key_id");
    out->secret = copy(shared, profile, "aws_secret_access_key");
    out->token = copy(shared, profile, "aws_session_token");
}

static int credential_source(const struct shared *shared, const char *profile,
                             struct aws_credentials *out, struct error *err)
{
    static const struct {
        const char *name;
        aws_member *fetch;
    } members[] = {{"Environment", environment_fetch},
                   {"EcsContainer", container_fetch},
                   {"Ec2InstanceMetadata", instance_fetch}};
    struct slice name = find(shared, profile, "credential_source");
    for (size_t i = 0; i < 3; i++) {
        if (!slice_is(name, members[i].name))
            continue;
        struct fetched fetched = {0};
        int rc = members[i].fetch(shared->sources, &fetched, err);
        if (rc == OK && fetched.credentials.access_key == NULL)
            rc = error_set(err, fetched.unanswered ? ERROR_RETRY : ERROR_DENIED,
                           "credential_source: %s", fetched.absent);
        *out = fetched.credentials;
        return rc;
    }
    return error_set(err, ERROR_DENIED,
                     "credential_source is not Environment, EcsContainer or Ec2InstanceMetadata");
}

/* Of a profile without a role that another one's credentials take. Nothing set: it has none. */
static int own_credentials(const struct shared *shared, const char *profile,
                           struct aws_credentials *out, struct error *err)
{
    if (has(shared, profile, "aws_access_key_id") ||
        has(shared, profile, "aws_secret_access_key")) {
        static_keys(shared, profile, out);
        return credentials_check(out, "its keys", err);
    }
    char *command = copy(shared, profile, "credential_process");
    if (command != NULL) {
        int rc = process_fetch(shared->sources, command, out, err);
        free(command);
        return rc;
    }
    if (has(shared, profile, "sso_session") || has(shared, profile, "sso_start_url"))
        return error_set(err, ERROR_DENIED,
                         "it signs in by SSO, which takes a person and a browser: give it a role, "
                         "keys or a credential_process");
    return OK;
}

/* ---- the way ---- */

struct way {
    char *names[DEPTH_MAX]; /* each takes its role by the next one's credentials */
    size_t count;
};

static void way_free(struct way *way)
{
    for (size_t i = 0; i < way->count; i++)
        free(way->names[i]);
}

static int way_add(struct way *way, char *name, struct error *err)
{
    for (size_t i = 0; i < way->count; i++) {
        if (strcmp(way->names[i], name) != 0)
            continue;
        free(name);
        return error_set(err, ERROR_DENIED, "source_profile leads back to %s", way->names[i]);
    }
    if (way->count == DEPTH_MAX) {
        free(name);
        return error_set(err, ERROR_DENIED, "more than %d profiles one behind the other",
                         DEPTH_MAX);
    }
    way->names[way->count++] = name;
    return OK;
}

/* The credentials that the last profile of the way begins with. *next: the one to go on with. */
static int step(const struct shared *shared, const char *profile, bool *takes_role, char **next,
                struct aws_credentials *out, struct error *err)
{
    *next = NULL;
    *takes_role = has(shared, profile, "role_arn");
    if (!has(shared, profile, NULL))
        return error_set(err, ERROR_DENIED, "no profile %s in %s or %s", profile,
                         shared->paths[CREDENTIALS], shared->paths[CONFIG]);
    if (!*takes_role)
        return own_credentials(shared, profile, out, err);
    char *token_file = copy(shared, profile, "web_identity_token_file");
    if (token_file != NULL) {
        *takes_role = false;
        int rc = take_role(shared, profile, token_file, out, err);
        free(token_file);
        return rc;
    }
    char *source = copy(shared, profile, "source_profile");
    if (source == NULL && has(shared, profile, "credential_source"))
        return credential_source(shared, profile, out, err);
    if (source == NULL)
        return error_set(err, ERROR_DENIED,
                         "profile %s has role_arn, but neither source_profile, credential_source "
                         "nor web_identity_token_file",
                         profile);
    if (strcmp(source, profile) != 0) {
        *next = source;
        return OK;
    }
    free(source); /* itself: its own keys take its role */
    return own_credentials(shared, profile, out, err);
}

static int walk(const struct shared *shared, const char *profile, struct aws_credentials *out,
                struct error *err)
{
    struct way way = {0};
    bool takes_role = false;
    char *next = memory_copy_cstr(profile);
    int rc = OK;
    while (rc == OK && next != NULL) {
        rc = way_add(&way, next, err);
        next = NULL;
        if (rc == OK)
            rc = step(shared, way.names[way.count - 1], &takes_role, &next, out, err);
    }
    if (rc == OK && out->access_key == NULL && (takes_role || way.count > 1))
        rc =
            error_set(err, ERROR_DENIED, "profile %s has no credentials", way.names[way.count - 1]);
    size_t roles = takes_role ? way.count : way.count - (way.count > 0);
    while (rc == OK && roles > 0)
        rc = take_role(shared, way.names[--roles], NULL, out, err);
    way_free(&way);
    return rc;
}

int shared_fetch(const struct aws_sources *sources, struct fetched *out, struct error *err)
{
    struct shared shared;
    bool is_asked;
    const char *name = profile_name(sources, &is_asked);
    snprintf(out->kind, sizeof out->kind, "profile %s", name);
    int rc = shared_read(&shared, sources, err);
    if (rc == OK && (is_asked || has(&shared, name, NULL)))
        rc = walk(&shared, name, &out->credentials, err);
    if (rc == OK && shared.missing[CREDENTIALS] && shared.missing[CONFIG])
        snprintf(out->absent, sizeof out->absent, "%s and config: %s", shared.paths[CREDENTIALS],
                 shared.closed ? "not ours to read" : "no such file");
    else
        snprintf(out->absent, sizeof out->absent, "profile %s: no credentials", name);
    shared_free(&shared);
    return rc == OK ? OK : error_wrap(err, "profile %s", name);
}

/* Of [services NAME]: what it has for one. *known false: there is no such section. */
static struct slice find_service(const struct shared *shared, const char *services,
                                 const char *service, const char *key, bool *known)
{
    const struct ini *ini = &shared->files[CONFIG];
    *known = false;
    for (size_t i = ini->count; i > 0; i--) {
        const struct ini_entry *entry = &ini->entries[i - 1];
        if (!is_named(entry->section, "services", services))
            continue;
        *known = true;
        if (slice_is_word(entry->parent, service) && slice_is_word(entry->key, key) &&
            entry->value.len > 0)
            return entry->value;
    }
    return slice_of(NULL, 0);
}

int shared_setting(const struct aws_sources *sources, const char *service, const char *key,
                   char **out, struct error *err)
{
    struct shared shared;
    bool is_asked;
    bool known = true;
    const char *name = profile_name(sources, &is_asked);
    struct slice found = {0};
    *out = NULL;
    int rc = shared_read(&shared, sources, err);
    char *services = rc == OK && service != NULL ? copy(&shared, name, "services") : NULL;
    if (rc == OK && service == NULL)
        found = find(&shared, name, key);
    else if (services != NULL)
        found = find_service(&shared, services, service, key, &known);
    if (found.data != NULL)
        *out = memory_copy_slice(found);
    if (!known)
        rc = error_set(err, ERROR_INPUT, "profile %s: no section [services %s]", name, services);
    if (rc != OK && rc != ERROR_INPUT && rc != ERROR_LIMIT)
        rc = OK;
    free(services);
    shared_free(&shared);
    return rc;
}

int shared_region(const struct aws_sources *sources, char out[AWS_REGION_SIZE], struct error *err)
{
    struct shared shared;
    bool is_asked;
    const char *name = profile_name(sources, &is_asked);
    out[0] = 0;
    int rc = shared_read(&shared, sources, err);
    if (rc == OK)
        rc = region_of(&shared, name, out, err);
    shared_free(&shared);
    return rc == OK ? OK : error_wrap(err, "profile %s", name);
}
