// SPDX-License-Identifier: Apache-2.0
// usage: oidc_provider.mjs PORT SECONDS
import { unlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import Provider from 'oidc-provider';

unlinkSync(fileURLToPath(import.meta.url)); // a copy beside the modules, read by now
const [port, seconds] = process.argv.slice(2).map(Number);
const client = (id, secret, grants) => ({
  client_id: id, client_secret: secret, grant_types: grants, redirect_uris: [],
  response_types: [], token_endpoint_auth_method: 'client_secret_basic',
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [client('bidlake', 's3cr:t&', ['client_credentials']), client('catalog', 'catalog-secret', [])],
  scopes: ['catalog'],
  features: {
    clientCredentials: { enabled: true },
    introspection: { enabled: true, allowedPolicy: () => true },
    devInteractions: { enabled: false },
    resourceIndicators: { // who names a resource gets a JWT with that audience, whatever it is
      enabled: true,
      getResourceServerInfo: (_, resource) => ({
        scope: 'catalog', audience: resource.split(':').pop(), accessTokenFormat: 'jwt',
      }),
    },
  },
  ttl: { ClientCredentials: seconds },
});
provider.listen(port, '127.0.0.1');
