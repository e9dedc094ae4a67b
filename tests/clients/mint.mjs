// Makes keys and mints tokens with jose. In and out as mint.py.
// The folder of node_modules is the first argument: it need not lie beside this file.
import { webcrypto } from "node:crypto";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

// Node 18, as Debian 12 has it, keeps Web Crypto out of the global names that jose looks for.
globalThis.crypto ??= webcrypto;
globalThis.CryptoKey ??= webcrypto.CryptoKey;

const require = createRequire(process.argv[2] + "/");
const jose = await import(pathToFileURL(require.resolve("jose")));
const { claims } = JSON.parse(await new Promise((read) => createInterface(process.stdin).once("line", read)));
const pair = (alg) => jose.generateKeyPair(alg, { extractable: true });
const [rsa, stranger, ec] = [await pair("RS256"), await pair("RS256"), await pair("ES256")];
const jwk = async (key, kid) => ({ ...(await jose.exportJWK(key)), kid, use: "sig" });
// One key for every algorithm of its kind, as Maskinporten's.
const again = async (alg) => jose.importJWK(await jose.exportJWK(rsa.privateKey), alg);
const pem = await jose.exportSPKI(rsa.publicKey);

const mint = (key, alg, kid = "rsa", changes = {}) =>
  new jose.SignJWT({ ...claims, ...changes }).setProtectedHeader({ alg, kid }).sign(key);

const tokens = {};
for (const alg of ["RS256", "RS384", "RS512", "PS256", "PS512"]) tokens[alg] = await mint(await again(alg), alg);
tokens["ES256"] = await mint(ec.privateKey, "ES256", "ec");
tokens["ES256 under the RSA key"] = await mint(ec.privateKey, "ES256");
tokens["HS256 with the public key"] = await mint(new TextEncoder().encode(pem), "HS256");
tokens["none"] = new jose.UnsecuredJWT(claims).encode();
tokens["stranger"] = await mint(stranger.privateKey, "RS256");
tokens["expired"] = await mint(rsa.privateKey, "RS256", "rsa", { exp: claims.iat - 60, iat: claims.iat - 180 });
tokens["other issuer"] = await mint(rsa.privateKey, "RS256", "rsa", { iss: "https://maskinporten.no/" });

const keys = [await jwk(ec.publicKey, "ec"), await jwk(rsa.publicKey, "rsa")];
console.log(JSON.stringify({ jwks: { keys }, tokens }));
process.exit(0);
