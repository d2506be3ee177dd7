# SPDX-License-Identifier: Apache-2.0
"""usage: authlib_server.py PORT SECONDS. What is asked and answered at /token and
/token/introspection is Authlib's; here stands who may ask."""
import sys
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, grants
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
        return method in ("client_secret_basic", "client_secret_post")

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


def save(token, request):
    issued[token["access_token"]] = Token(token["access_token"])


app = Flask("tokens")
app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": SECONDS}
app.config["OAUTH2_SCOPES_SUPPORTED"] = ["catalog"]
server = AuthorizationServer(
    app, query_client=lambda name: Client(name) if name in SECRETS else None, save_token=save)
server.register_grant(ClientCredentials)
server.register_endpoint(Introspection)


@app.post("/token")
def give():
    return server.create_token_response()


@app.post("/token/introspection")
def look():
    return server.create_endpoint_response(Introspection.ENDPOINT_NAME)


app.run("127.0.0.1", PORT, threaded=True)
