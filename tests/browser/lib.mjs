// What the stories in a browser share: visitors who notice what no page may do, and a look at a page by axe and at
// several widths.
//
// Arguments of each story: SANDBOX_URL [FOLDER_FOR_SCREENSHOTS]. It ends with 0 if everything was as it must be.
// CHROMIUM names the browser, MODULES the folder of packages.

import { createRequire } from "node:module";
import { mkdirSync } from "node:fs";
import path from "node:path";

const modules = path.resolve(process.env.MODULES ?? "node_modules");
const require = createRequire(path.join(modules, "x.js"));
const { chromium } = require("playwright-core");
const { AxeBuilder } = require("@axe-core/playwright");

export const base = (process.argv[2] ?? "http://127.0.0.1:8400").replace(/\/$/, "");
const shots = process.argv[3];
if (shots) mkdirSync(shots, { recursive: true });

const failures = [];
export const check = (good, what) => {
  if (!good) failures.push(what);
  console.log(`${good ? "ok  " : "FAIL"} ${what}`);
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run"],
});

// A redirect URL of the seed's vendor; nobody answers there but the test itself.
export const BACK = "https://nordlys.example/kvittering";
const WIDTHS = [1280, 360, 320];
let pictures = 0;
// Before the names of this story's pictures, so that they stand in order and apart.
let story = "";
export const begin = (name) => (story = name);

// Nothing may come from outside, and no page may complain.
export async function visitor(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  page.on("request", (request) => {
    const known = [base, BACK, process.env.ADMIN].some((it) => it && request.url().startsWith(it));
    if (!known) failures.push(`request to the outside: ${request.url()}`);
  });
  page.on("console", (message) => {
    // A refusal that we ask for is logged by the browser as a failed load.
    const expected = message.text().includes("Failed to load resource");
    if (message.type() === "error" && !expected) failures.push(`console: ${message.text()} on ${page.url()}`);
  });
  page.on("pageerror", (error) => failures.push(`script: ${error.message}`));
  return page;
}

// axe and the widths on the page as it is. Strict: whatever axe finds is too much.
export async function look(page, name, { strict = false } = {}) {
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    const overflow = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
    check(overflow <= 0, `${name}: no sideways scrolling at ${width} px (${overflow})`);
    if (shots && width !== 320) {
      pictures += 1;
      const file = `${story}${String(pictures).padStart(2, "0")}-${name}-${width}.png`;
      await page.screenshot({ path: path.join(shots, file), fullPage: true });
    }
  }
  await page.setViewportSize({ width: 1280, height: 900 });
  const result = await new AxeBuilder({ page }).analyze();
  const grave = result.violations.filter((it) => strict || ["serious", "critical"].includes(it.impact));
  for (const it of result.violations) {
    console.log(`     axe ${it.impact}: ${it.id} (${it.nodes.length}) ${it.nodes[0]?.target} ${it.nodes[0]?.html.slice(0, 120)}`);
  }
  check(grave.length === 0, `${name}: no ${strict ? "" : "serious "}violation`);
  check(await page.locator("h1").count() === 1, `${name}: one first heading`);
  return result.violations.length;
}

export const main = (page) => page.locator("main").innerText();
export const has = async (page, text, what) => check((await main(page)).includes(text), `${what}: “${text}”`);

// Does what leads to a new page, and comes back when that page is there.
export async function follow(page, act) {
  const there = page.waitForEvent("load");
  await act();
  await there;
}
export const click = (page, locator) => follow(page, () => locator.click());

// Becomes a person by the start page.
export async function be(page, name) {
  await page.goto(`${base}/?lang=nb`);
  await click(page, page.getByRole("button", { name: `Vær ${name}` }));
}

// A vendor's way of asking: by the API, with a token of a client. Clients are named by their last two digits.
const API = "/authentication/api/v1/systemuser";
const SCOPES = ["systemregister.write", "systemuser.request.read", "systemuser.request.write"]
  .map((scope) => `altinn:authentication/${scope}`).join(" ");

export async function vendor(page, client) {
  const call = async (method, path, data, token) => {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const answer = await page.request.fetch(`${base}${path}`, { method, data, headers });
    if (!answer.ok()) throw new Error(`${method} ${path}: ${answer.status()} ${await answer.text()}`);
    const text = await answer.text();
    return text && JSON.parse(text);
  };
  const client_id = `c1000000-0000-4000-8000-0000000000${client}`;
  const { access_token: token } = await call("POST", "/sandbox/token", { client_id, scope: SCOPES });
  // The link that the customer gets, at the sandbox of this run.
  const linked = (asked) => {
    const { pathname, search } = new URL(asked.confirmUrl);
    return { ...asked, link: `${base}${pathname}${search}` };
  };
  const packages = (codes) => codes.map((code) => ({ urn: `urn:altinn:accesspackage:${code}` }));
  return {
    register: (system) => call("POST", "/authentication/api/v1/systemregister/vendor", system, token),
    withdraw: (id) => call("DELETE", `${API}/request/vendor/${id}`, undefined, token),
    read: (path) => call("GET", `${API}/${path}`, undefined, token),
    ask: async (system, party, reference, codes, more = {}, agent = "") => linked(await call("POST",
      `${API}/request/vendor${agent}`, { systemId: system, partyOrgNo: party, externalRef: reference,
        accessPackages: packages(codes), ...more }, token)),
    change: async (user, required, unwanted = [], more = {}) => linked(await call("POST",
      `${API}/changerequest/vendor?correlation-id=${crypto.randomUUID()}&system-user-id=${user}`,
      { requiredAccessPackages: packages(required), unwantedAccessPackages: packages(unwanted), ...more }, token)),
  };
}

// Ends the story, and tells whether all was well.
export async function end() {
  await browser.close();
  console.log(failures.length ? `\n${failures.length} failed:\n  ${failures.join("\n  ")}` : "\nall is well");
  process.exit(failures.length ? 1 : 0);
}
