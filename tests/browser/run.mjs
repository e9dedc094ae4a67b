// Starts an API, the sandbox and the proxy in front of the API, and lets a browser tell the stories of the sandbox's
// pages and of the proxy's own for operators: all of them, or those that are named.
//
//   node run.mjs FOLDER_OF_PROGRAMS [FOLDER_FOR_SCREENSHOTS [STORY ...]]

import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const programs = path.resolve(process.argv[2] ?? "target/debug");
const shots = process.argv[3];
const STORIES = ["story", "answers", "agents", "english", "keyboard", "operators"];
const told = process.argv.length > 4 ? process.argv.slice(4) : STORIES;

async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

const children = [];
function start(program, args, env = {}) {
  const child = spawn(path.join(programs, program), args, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "ignore", "ignore"],
  });
  children.push(child);
}

async function until(url, what) {
  for (let tries = 0; tries < 150; tries += 1) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer?.ok) return answer;
    await sleep(200);
  }
  throw new Error(`${what} did not start`);
}

const api = http.createServer((request, response) => {
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify({ path: request.url }));
}).listen(0, "127.0.0.1");
await once(api, "listening");
const [sandbox, proxy, admin] = [await freePort(), await freePort(), await freePort()];
// What opens the operators' pages.
const token = randomBytes(24).toString("hex");
const folder = mkdtempSync(path.join(os.tmpdir(), "portvakt-browser-"));
let code = 1;
try {
  const base = `http://127.0.0.1:${sandbox}`;
  start("portvakt-sandbox", ["--port", String(sandbox), "--proxy", `http://127.0.0.1:${proxy}`]);
  await until(`${base}/jwk`, "the sandbox");
  const key = await until(`${base}/sandbox/clients/c1000000-0000-4000-8000-000000000001/jwk`, "the key");
  const config = readFileSync(path.join(here, "../../config/sandbox.yaml"), "utf8")
    .replaceAll("127.0.0.1:8400", `127.0.0.1:${sandbox}`)
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${proxy}`)
    .replaceAll('address: "127.0.0.1:9090"', `address: "127.0.0.1:${admin}", token_env: PORTVAKT_ADMIN_TOKEN`)
    .replaceAll("127.0.0.1:3000", `127.0.0.1:${api.address().port}`);
  const file = path.join(folder, "portvakt.yaml");
  writeFileSync(file, config);
  start("portvakt", ["run", "--config", file], {
    PORTVAKT_SANDBOX_JWK: await key.text(),
    PORTVAKT_ADMIN_TOKEN: token,
  });
  await until(`http://127.0.0.1:${admin}/readyz`, "the proxy");
  code = 0;
  const env = {
    ...process.env, PROXY: `http://127.0.0.1:${proxy}`, ADMIN: `http://127.0.0.1:${admin}`, ADMIN_TOKEN: token,
  };
  for (const name of told) {
    console.log(`\n--- ${name}`);
    const args = [path.join(here, `${name}.mjs`), base, ...(shots ? [shots] : [])];
    const story = spawn(process.execPath, args, { stdio: "inherit", env });
    children.push(story);
    const [ended] = await once(story, "exit");
    code ||= ended ?? 1;
  }
} finally {
  for (const child of children) child.kill();
  api.close();
  rmSync(folder, { recursive: true });
}
process.exit(code ?? 1);
