// An identity provider for tests: panva's oidc-provider with a few people, clients and the keys of a file.
// Arguments: the package's folder, its own URL, a file with a set of private keys, the URL that browsers come back to,
// and for https files with a certificate and its key.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { pathToFileURL } from "node:url";

const [packageFolder, own, keys, home, certificate, key] = process.argv.slice(2);
const { hostname, port } = new URL(own);
const { Provider } = await import(pathToFileURL(`${packageFolder}/lib/index.js`));

const PEOPLE = {
  alice: { email: "alice@example.com", email_verified: true, groups: ["staff"], company: "acme" },
  mallory: { email: "alice@example.com", email_verified: false, groups: ["admins "], company: "evil" },
  root: { email: "root@example.com", email_verified: true, groups: ["staff", "admins"], company: "acme" },
};
const RESOURCE = "urn:headrace:api";

const browser = {
  redirect_uris: [`${home}/auth/callback`],
  post_logout_redirect_uris: [`${home}/`],
  grant_types: ["authorization_code"],
  response_types: ["code"],
};
const machine = { redirect_uris: [], response_types: [], grant_types: ["client_credentials"], client_secret: "s3cret" };

const provider = new Provider(own, {
  clients: [
    { client_id: "public", token_endpoint_auth_method: "none", ...browser },
    { client_id: "other", token_endpoint_auth_method: "none", ...browser },
    { client_id: "confidential", client_secret: "s3:cret%/", ...browser, id_token_signed_response_alg: "ES256" },
    { client_id: "machine", ...machine },
  ],
  jwks: JSON.parse(readFileSync(keys, "utf8")),
  cookies: { keys: ["of a provider that lives as long as its tests"] },
  pkce: { required: () => true },
  conformIdTokenClaims: false,
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups", "company"] },
  findAccount: (ctx, id) => (PEOPLE[id] ? { accountId: id, claims: () => ({ sub: id, ...PEOPLE[id] }) } : undefined),
  extraTokenClaims: () => ({ groups: ["robots"], company: "acme" }),
  features: {
    clientCredentials: { enabled: true },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: (ctx, resource) => {
        if (!resource.startsWith("urn:")) throw new Error("no such resource");
        return { scope: "", audience: resource, accessTokenFormat: "jwt", jwt: { sign: { alg: "ES256" } } };
      },
    },
  },
});
if (certificate) {
  const tls = { cert: readFileSync(certificate), key: readFileSync(key) };
  createServer(tls, provider.callback()).listen(Number(port), hostname);
} else {
  provider.listen(Number(port), hostname);
}
