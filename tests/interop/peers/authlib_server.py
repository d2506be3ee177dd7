# SPDX-License-Identifier: Apache-2.0
"""usage: authlib_server.py PORT SECONDS. What is asked and answered at /token and
/token/introspection is Authlib's, but for what Iceberg's clients exchange tokens by; here stands who
may ask."""
import secrets
import sys
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.jose import jwt
from authlib.oauth2.rfc6749 import ClientMixin, TokenEndpointMixin, errors, grants
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from flask import Flask

PORT, SECONDS = int(sys.argv[1]), int(sys.argv[2])
SECRETS = {"bidlake": "s3cr:t&", "catalog": "catalog-secret"}
issued = {}


class Client(ClientMixin):
    def __init__(self, name):
        self.name = name

    def get_client_id(self):
        return self.name

    def get_default_redirect_uri(self):
        return None

    def get_allowed_scope(self, scope):
        return "catalog" if scope == "catalog" else ""

    def check_client_secret(self, secret):
        return secret == SECRETS[self.name]

    def check_endpoint_auth_method(self, method, endpoint):
        return method in ("client_secret_basic", "client_secret_post", "bearer")

    def check_grant_type(self, grant_type):
        return self.name == "bidlake"


class Token:
    def __init__(self, text):
        self.text, self.end = text, time.time() + SECONDS

    def is_expired(self):
        return time.time() >= self.end

    def is_revoked(self):
        return False


class Introspection(IntrospectionEndpoint):
    def query_token(self, text, hint):
        return issued.get(text)

    def check_permission(self, token, client, request):
        return client.name == "catalog"

    def introspect_token(self, token):
        return {"active": True, "exp": int(token.end)}


class ClientCredentials(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post"]


class TokenExchange(grants.BaseGrant, TokenEndpointMixin):
    """RFC 8693, as far as Iceberg's clients go: a token for a fresh one of the same, signed in by
    the old one as it is given in Authorization."""
    GRANT_TYPE = "urn:ietf:params:oauth:grant-type:token-exchange"
    TOKEN_ENDPOINT_AUTH_METHODS = ["bearer"]
    TOKEN_TYPE = "urn:ietf:params:oauth:token-type:access_token"

    def validate_token_request(self):
        self.request.client = self.authenticate_token_endpoint_client()
        form = self.request.payload.data
        if form.get("subject_token_type") != self.TOKEN_TYPE:
            raise errors.InvalidRequestError("subject_token_type")
        if form.get("subject_token") != bearer_of(self.request):
            raise errors.InvalidGrantError("subject_token")
        self.validate_requested_scope()

    def create_token_response(self):
        token = self.generate_token(scope=self.request.payload.scope, include_refresh_token=False)
        self.save_token(token)
        return 200, {**token, "issued_token_type": self.TOKEN_TYPE}, self.TOKEN_RESPONSE_HEADER


def bearer_of(request):
    return request.headers.get("Authorization", "").removeprefix("Bearer ")


def by_bearer(query_client, request):
    token = issued.get(bearer_of(request))
    return query_client("bidlake") if token and not token.is_expired() else None


def access_token(client, grant_type, user, scope):
    return jwt.encode({"alg": "HS256"}, {"exp": int(time.time()) + SECONDS, "scope": scope,
                                         "jti": secrets.token_hex(8)}, "key").decode()


def save(token, request):
    issued[token["access_token"]] = Token(token["access_token"])


app = Flask("tokens")
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": SECONDS,
                                         TokenExchange.GRANT_TYPE: SECONDS}
app.config["OAUTH2_ACCESS_TOKEN_GENERATOR"] = access_token
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["catalog"]
server = AuthorizationServer(
    app, query_client=lambda name: Client(name) if name in SECRETS else None, save_token=save)
server.register_client_auth_method("bearer", by_bearer)
server.register_grant(ClientCredentials)
server.register_grant(TokenExchange)
server.register_endpoint(Introspection)


@app.post("/token")
def give():
    return server.create_token_response()


@app.post("/token/introspection")
def look():
    return server.create_endpoint_response(Introspection.ENDPOINT_NAME)


app.run("127.0.0.1", PORT, threaded=True)
