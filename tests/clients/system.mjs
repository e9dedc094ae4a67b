// An end-user system, written from the public contract with fetch and jose. What it does, and what it reads and
// writes, is told in system.py; the folder of node_modules is the first argument.
import { webcrypto } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;
const require = createRequire(process.argv[2] + "/");
const jose = await import(pathToFileURL(require.resolve("jose")));

const ISSUER = "https://test.maskinporten.no/";
const ALTINN = "https://platform.tt02.altinn.no";
const SERVICE = "http://api.skattesentralen.example";
const AUTHENTICATION = `${ALTINN}/authentication/api/v1`;
const GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const REQUESTS = "altinn:authentication/systemregister.write altinn:authentication/systemuser.request.read " +
  "altinn:authentication/systemuser.request.write";

const lines = createInterface(process.stdin)[Symbol.asyncIterator]();
const hear = async () => JSON.parse((await lines.next()).value);
const say = (value) => console.log(JSON.stringify(value));
const task = await hear();

async function call(method, url, { token, json, form, key } = {}) {
  const headers = {};
  if (token) headers.authorization = `Bearer ${token}`;
  if (key) headers["ocp-apim-subscription-key"] = key;
  if (json) headers["content-type"] = "application/json";
  const body = json ? JSON.stringify(json) : form && new URLSearchParams(form);
  const answer = await fetch(url, { method, headers, body });
  if (!answer.ok) throw new Error(`${method} ${url}: ${answer.status} ${await answer.text()}`);
  const text = await answer.text();
  try { return JSON.parse(text); } catch { return text; }
}

const metadata = () => call("GET", `${ISSUER}.well-known/oauth-authorization-server`);

async function token(client, scope, owner) {
  const claims = { scope, jti: webcrypto.randomUUID() };
  if (owner) {
    const systemuser_org = { authority: "iso6523-actorid-upis", ID: `0192:${owner}` };
    claims.authorization_details = [{ type: "urn:altinn:systemuser", systemuser_org }];
  }
  const assertion = await new jose.SignJWT(claims)
    .setProtectedHeader({ alg: "RS256", kid: client.jwk.kid })
    .setIssuer(client.id).setAudience(ISSUER).setIssuedAt().setExpirationTime("100s")
    .sign(await jose.importJWK(client.jwk, "RS256"));
  const { token_endpoint } = await metadata();
  return (await call("POST", token_endpoint, { form: { grant_type: GRANT, assertion } })).access_token;
}

async function verifiedUser(value) {
  const { jwks_uri } = await metadata();
  const keys = jose.createLocalJWKSet(await call("GET", jwks_uri));
  const { payload } = await jose.jwtVerify(value, keys, { issuer: ISSUER, algorithms: ["RS256"] });
  return payload.authorization_details[0].systemuser_id[0];
}

async function register(pattern, vendor) {
  const id = `${task.vendor.organization}_node_${pattern.name}`;
  const name = { nb: "Fra Node", nn: "Frå Node", en: "From Node" };
  await call("POST", `${AUTHENTICATION}/systemregister/vendor`, { token: vendor, json: {
    id, vendor: { ID: `0192:${task.vendor.organization}` }, name, description: name,
    accessPackages: [{ urn: `urn:altinn:accesspackage:${pattern.package}` }],
    clientId: [pattern.client.id], isVisible: false,
  } });
  return id;
}

async function ask(pattern, systemId, vendor) {
  const path = `${AUTHENTICATION}/systemuser/request/vendor${pattern.agent ? "/agent" : ""}`;
  const accessPackages = [{ urn: `urn:altinn:accesspackage:${pattern.package}` }];
  const asked = await call("POST", path, { token: vendor, json: { systemId, partyOrgNo: pattern.customer, accessPackages } });
  say({ confirm: asked.confirmUrl, id: asked.id });
  const { person } = await hear();
  const { status } = await call("GET", `${path}/${asked.id}`, { token: vendor });
  if (status !== "Accepted") throw new Error(status);
  if (pattern.agent) {
    const query = new URLSearchParams({ agent: asked.id, client: pattern.client_uuid });
    await call("POST", `${AUTHENTICATION}/enduser/systemuser/clients?${query}`, { token: person });
  }
  return asked.id;
}

async function decide(pattern, user, party) {
  const raw = await token(task.owner, "altinn:authorization/authorize");
  const altinn = await call("GET", `${AUTHENTICATION}/exchange/maskinporten`, { token: raw });
  const attribute = (AttributeId, Value) => ({ AttributeId, Value });
  const json = { Request: {
    AccessSubject: [{ Attribute: [attribute("urn:altinn:systemuser:uuid", user)] }],
    Action: [{ Attribute: [attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", pattern.action)] }],
    Resource: [{ Attribute: [
      attribute("urn:altinn:resource", pattern.resource),
      attribute("urn:altinn:organization:identifier-no", party),
    ] }],
  } };
  const answer = await call("POST", `${ALTINN}/authorization/api/v1/authorize`, { token: altinn, key: task.subscription_key, json });
  return answer.response[0].decision;
}

// Status and problem of the service that all this is for.
async function callService(pattern, value, party) {
  const fill = (text) => text.replace("{party}", party);
  const headers = { authorization: `Bearer ${value}`, "content-type": "application/json" };
  const named = pattern.body && Object.entries(pattern.body).map(([name, text]) => [name, fill(text)]);
  const body = named && JSON.stringify(Object.fromEntries(named));
  const answer = await fetch(SERVICE + fill(pattern.path), { method: pattern.method, headers, body });
  const told = await answer.text();
  return [answer.status, answer.ok ? null : JSON.parse(told).type];
}

const results = {};
for (const pattern of task.patterns) {
  const vendor = await token(task.vendor, REQUESTS);
  const user = await ask(pattern, await register(pattern, vendor), vendor);
  const mine = await token(pattern.client, pattern.scope, pattern.customer);
  const named = await verifiedUser(mine);
  if (named !== user) throw new Error(`${named} is not ${user}`);
  const [decisions, calls] = [[], []];
  for (const party of [pattern.party, pattern.neighbour]) {
    decisions.push(await decide(pattern, user, party));
    calls.push(await callService(pattern, mine, party));
  }
  results[pattern.name] = { decisions, calls };
}
say({ results });
process.exit(0);
