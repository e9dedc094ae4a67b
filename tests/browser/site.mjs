// The documentation's site in a browser: each reader's pages at the widths of a desk and of a phone, the search, and the way
// there from a refusal of the real program. Nothing may come from elsewhere, and no page may complain.
//
//   node site.mjs SITE FOLDER_OF_PROGRAMS [FOLDER_FOR_SCREENSHOTS]
//
// MODULES and CHROMIUM as in lib.mjs.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import http from "node:http";
import os from "node:os";
import path from "node:path";

const [site, programs, shots] = [path.resolve(process.argv[2]), path.resolve(process.argv[3]), process.argv[4]];
// Below a path, as a service owner may publish it.
const BELOW = "/docs/portvakt";
const KINDS = { ".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript", ".json": "application/json", ".svg": "image/svg+xml" };

// A server of files as they are, and nothing more.
const server = http.createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://site");
  const asked = path.join(site, decodeURIComponent(pathname.slice(BELOW.length)));
  const file = asked.endsWith("/") ? path.join(asked, "index.html") : asked;
  if (!pathname.startsWith(`${BELOW}/`) || !file.startsWith(site) || !existsSync(file) || statSync(file).isDirectory()) {
    response.writeHead(404).end();
    return;
  }
  response.writeHead(200, { "content-type": KINDS[path.extname(file)] ?? "text/plain" }).end(readFileSync(file));
}).listen(0, "127.0.0.1");
await once(server, "listening");
const base = `http://127.0.0.1:${server.address().port}${BELOW}`;

process.argv.splice(2, 3, base, ...(shots ? [shots] : []));
const { begin, check, end, follow, look, visitor } = await import("./lib.mjs");
begin("site-");

const page = await visitor();
async function open(where, name, heading) {
  const answer = await page.goto(`${base}/${where}`);
  check(answer.status() === 200, `${name}: is there`);
  const text = (await page.locator("h1").innerText()).trim();
  check(text === heading, `${name}: “${heading}” (${text})`);
  check(await look(page, name) === 0, `${name}: no violation at all`);
}

// --- the three doors, and a page behind each
await open("", "home", "Portvakt: documentation");
check(await page.locator(".doors section").count() >= 3, "home: three doors");
await open("start/", "service-owner-start", "Start in five minutes");
await open("service-owner/", "service-owner-routes", "For service owners");
await open("configuration/", "configuration", "Configuration");
await open("operator/", "operator", "For operators");
await open("runbook/", "runbook", "Runbook");
await open("metrics/", "metrics", "Metrics");
await open("vendor/", "vendor", "For vendors: why was I refused?");
await open("vendor/problems/", "problems", "Every problem");
await open("decisions/", "decisions", "Decisions");
await open("files/config/reference.yaml/", "file", "config/reference.yaml");

// --- a problem in both languages, and from one to the other
await open("vendor/problems/no_right/", "problem-en", "The system user does not hold the right");
const spoken = () => page.evaluate(() => document.documentElement.lang);
check(await spoken() === "en", "the English page says that it is");
const other = page.locator("header a.language");
check(await other.getAttribute("lang") === "nb" && await other.getAttribute("hreflang") === "nb", "the way to Norwegian is marked as such");
await follow(page, () => other.click());
check(page.url() === `${base}/vendor/problems/no_right/nb/`, "it leads to the same page in Norwegian");
check(await spoken() === "nb", "the Norwegian page says that it is");
await open("vendor/problems/no_right/nb/", "problem-nb", "Systembrukeren har ikke rettigheten");
await follow(page, () => page.locator("header a.language").click());
check(page.url() === `${base}/vendor/problems/no_right/`, "and back");
await open("vendor/problems/nb/", "problems-nb", "Hvorfor ble kallet avvist?");
check(await page.locator("nav#menu a[href*=nb]").count() > 20, "the Norwegian pages have a menu of their own");

// --- an alert leads to its place
await page.goto(`${base}/runbook/#portvaktowncredentials`);
const seen = await page.locator("#portvaktowncredentials").evaluate((it) => it.getBoundingClientRect().top);
check(seen >= 0 && seen < 900, `the alert's section is in sight (${seen})`);

// --- search
async function search(words, from = "") {
  await page.goto(`${base}/${from}`);
  await page.locator("header input").fill(words);
  await follow(page, () => page.locator("header button").click());
  await page.locator("#told", { hasText: /found|treff/ }).waitFor();
  return page.locator("#found a").evaluateAll((links) => links.map((it) => it.href));
}
const found = await search("urn:portvakt:problem:no_right");
check(found.some((it) => it.startsWith(`${base}/vendor/problems/no_right/`)), "a type that was pasted is found");
check((await search("fasilitator")).includes(`${base}/glossary/`), "a Norwegian word is found in the glossary");
check(await look(page, "search") === 0, "search: no violation at all");
check((await search("tilgangspakke", "vendor/problems/nb/"))[0].endsWith("/nb/#hvorfor"), "who reads Norwegian finds Norwegian first");
check(await spoken() === "nb" && await look(page, "search-nb") === 0, "and is told so in Norwegian; no violation at all");
check((await search("zzzz-nothing")).length === 0, "what is nowhere is not found");
await search("<img src=x onerror=alert(1)>");
check(await page.locator("main img").count() === 0, "what is searched for becomes no markup");

// --- with the keyboard, and in the dark
await page.goto(`${base}/operator/`);
await page.keyboard.press("Tab");
await page.keyboard.press("Enter");
check(await page.evaluate(() => document.activeElement.id) === "content", "the first stop leads to the content");
const dark = await visitor({ colorScheme: "dark" });
await dark.goto(`${base}/vendor/problems/cannot_decide/`);
check(await look(dark, "problem-dark") === 0, "dark: no violation at all");

// --- from a refusal of the real program to the page of its problem
const folder = mkdtempSync(path.join(os.tmpdir(), "portvakt-site-"));
const socket = path.join(folder, "proxy.sock");
let proxy;
try {
  const config = path.join(folder, "portvakt.yaml");
  writeFileSync(config, `
environment: custom
custom: { issuer: "http://127.0.0.1:9/", altinn: "http://127.0.0.1:9" }
listen: { address: "unix:${socket}" }
admin: { address: "127.0.0.1:0" }
upstream: { url: "http://127.0.0.1:9" }
refusals: { problem_type: "${base}/vendor/problems/{code}/" }
routes:
  - { id: open, match: { methods: [GET], path: /open }, access: anonymous }
  - { id: scopes, match: { methods: [GET], path: /scopes }, access: scopes, scopes: { all_of: ["skatteetaten:mva"] } }
`);
  proxy = spawn(path.join(programs, "portvakt"), ["run", "--config", config], { stdio: "ignore" });
  const ask = (target) => new Promise((resolve, reject) => {
    http.get({ socketPath: socket, path: target, headers: { host: "api.example.no", "accept-language": "en" } }, async (answer) => {
      let text = "";
      for await (const part of answer) text += part;
      resolve(JSON.parse(text));
    }).on("error", reject);
  });
  // The program listens some seconds after its start, since there are no keys of the issuer.
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline && !(await ask("/nowhere").catch(() => undefined))) {
    await new Promise((done) => setTimeout(done, 100));
  }
  for (const [target, code] of [["/nowhere", "no_route"], ["/scopes", "token_missing"], ["/open", "upstream_unavailable"], ["/a//b", "bad_request"]]) {
    const problem = await ask(target);
    check(problem.code === code, `${target} is refused as ${code} (${problem.code})`);
    const answer = await page.goto(problem.type);
    check(answer.status() === 200, `${problem.type} is there`);
    const heading = (await page.locator("h1").innerText()).trim();
    check(heading === problem.title, `and it is about “${problem.title}” (${heading})`);
  }
} catch (error) {
  check(false, `from a refusal to its page: ${error}`);
} finally {
  proxy?.kill();
  rmSync(folder, { recursive: true });
}

server.close();
await end();
