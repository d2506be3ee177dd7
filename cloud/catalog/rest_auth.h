/* SPDX-License-Identifier: Apache-2.0
 *
 * rest_auth.h: how requests to a REST catalog say who asks.
 *
 * rest_auth.c   which of them; what is the same for all
 * rest_token.c  a bearer token, given or fetched, and renewed; or nobody
 * rest_grant.c  what a token service is asked, and what it grants
 * rest_sign.c   AWS's signature, over it
 *
 * Secrets  stand in here alone, but for the token of one table, and are wiped; no text of an error
 *          holds one, also where a server repeats it or sends half an answer.
 */
#ifndef CLOUD_CATALOG_REST_AUTH_H
#define CLOUD_CATALOG_REST_AUTH_H

#include "cloud/catalog/catalog.h"
#include "lib/aws/aws.h"
#include "lib/http_client/http_client.h"

struct rest_auth;
struct rest_config;

/* What one request goes out with. All zero is empty. */
struct rest_proof {
    const char **fields; /* the call's and ours; the texts are theirs */
    char *authorization; /* "Authorization: Bearer ...", or Original-...; NULL: none */
    bool of_table;       /* it is the token of a table alone */
    struct aws_signed aws_fields;
    struct aws_credentials credentials; /* of the signature */
};
void rest_proof_free(struct rest_proof *proof);
/* Overwrites what of it a refusal's body repeats: that goes to a log. */
void rest_proof_hide(const struct rest_proof *proof, struct http_reply *reply);

struct rest_auth_ops {
    /* Before each request: that there is something to prove it with which has not expired. */
    int (*ready)(struct rest_auth *auth, struct error *err);
    /* What the server's configuration, that came from `base`, says about it. */
    int (*configure)(struct rest_auth *auth, const struct rest_config *config, const char *base,
                     struct error *err);
    /* The call's fields with ours, by `out`, which is freed first. `own`: a table's token that
     * goes before ours; NULL: none. */
    int (*prove)(struct rest_auth *auth, const char *own, struct http_call *call,
                 struct rest_proof *out, struct error *err);
    /* Of an answer to what went out with `used`: *again when it refuses that, has done nothing,
     * and there is another proof now. */
    int (*refused)(struct rest_auth *auth, const struct rest_proof *used,
                   const struct http_reply *reply, bool *again, struct error *err);
    /* Who asks, for messages: "client \"ID\"", "the token in FILE". */
    void (*principal_put)(const struct rest_auth *auth, struct buf *out);
    /* What a person is to look at when that is refused; NULL: nobody was named. */
    const char *(*check)(const struct rest_auth *auth);
    bool signs; /* as AWS has it; what is wrong is answered 403 */
    void (*close)(struct rest_auth *auth);
};

/* The first member of each kind. */
struct rest_auth {
    const struct rest_auth_ops *ops;
};

struct rest_auth_options {
    struct http_client *http;
    const struct clock *clock;
    int64_t timeout_ms;
    const char *base; /* the catalog's URL */
    const struct catalog_rest_options *given;
};

/* The options are borrowed for the call, client, clock and given->exchanged until it is closed,
 * which it is to be after an error too. */
int rest_auth_open(struct rest_auth **out, const struct rest_auth_options *options,
                   struct error *err) MUST_USE;
void rest_auth_close(struct rest_auth *auth); /* NULL is fine */
int rest_auth_configure(struct rest_auth *auth, const struct rest_config *config, const char *base,
                        struct error *err) MUST_USE;
/* What the user set, in the protocol's words: it goes over the server's defaults. */
void rest_auth_properties_put(const struct catalog_rest_options *given, json_t *properties);

int rest_token_open(struct rest_auth **out, const struct rest_auth_options *options,
                    struct error *err) MUST_USE;
int rest_sign_open(struct rest_auth **out, const struct rest_auth_options *options,
                   struct error *err) MUST_USE;

/* Does Glue itself answer there? */
bool rest_sign_is_own(const char *url);

/* Was a token refused? */
bool rest_is_unknown(int status);
/* What can stand behind "Bearer ". */
bool rest_bearer_is_fine(const char *bearer);

/* ---- a token service ---- */

struct rest_token_service {
    struct http_client *http;
    const struct clock *clock;
    int64_t timeout_ms;
    char *url;
    char *form; /* scope, audience, resource, encoded */
    bool basic; /* it wants the credential in Authorization */
};
/* It is to be freed after an error too. */
int rest_token_service_init(struct rest_token_service *service,
                            const struct rest_auth_options *options, struct error *err) MUST_USE;
void rest_token_service_free(struct rest_token_service *service);

struct rest_grant {
    char *bearer;
    int64_t life_ms;  /* from its answer on */
    const char *type; /* what it is called where it is exchanged; static */
};
/* Of a token that no service has told about. */
extern const char rest_token_type[];
/* For client credentials, "id:secret" or a secret alone. ERROR_DENIED: they are refused. */
int rest_grant_fetch(struct rest_token_service *service, const char *credential,
                     struct rest_grant *out, struct error *err) MUST_USE;
/* Another one for `bearer`, which has not ended (RFC 8693). ERROR_RETRY: maybe later; others: this
 * service gives none for it. */
int rest_grant_exchange(const struct rest_token_service *service, const char *bearer,
                        const char *type, struct rest_grant *out, struct error *err) MUST_USE;
/* As a JWT says it; 0: it doesn't; -1: it has ended. */
int64_t rest_bearer_life_ms(const char *bearer, int64_t wall_ms);
/* How long an answer's token lives; pure. */
int rest_grant_decode(struct rest_grant *out, struct slice bytes, int64_t wall_ms,
                      struct error *err) MUST_USE;
void rest_credential_principal_put(const char *credential, struct buf *out);

#endif
