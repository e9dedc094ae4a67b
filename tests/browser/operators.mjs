// The operators' pages at Portvakt's admin listener, guarded by a token: calls that pass and calls that do not, and
// each page at a desk's and a phone's width, light and dark. Arguments as in lib.mjs; PROXY, ADMIN and ADMIN_TOKEN are
// the addresses of the proxy's two listeners, and the token that opens the pages.

import { base, begin, check, click, end, has, look, main, visitor } from "./lib.mjs";

begin("operators-");
const { PROXY: proxy, ADMIN: admin, ADMIN_TOKEN: token } = process.env;
const NORDLYS = "c1000000-0000-4000-8000-000000000011";
const strict = { strict: true };

const operator = await visitor({ httpCredentials: { username: "anybody", password: token } });

// --- calls: some pass, some do not
async function bearer(wish) {
  const answer = await operator.request.post(`${base}/sandbox/token`, { data: { client_id: NORDLYS, ...wish } });
  return (await answer.json()).access_token;
}
const call = async (path, bearer, options = {}) => {
  const headers = { ...(bearer && { authorization: `Bearer ${bearer}` }), ...options.headers };
  return fetch(`${proxy}${path}`, { ...options, headers });
};
await operator.request.post(`${base}/sandbox/reset`);
const good = await bearer({ scope: "skatteetaten:mva", systemuser_org: "310000507" });
const plain = await bearer({ scope: "skatteetaten:mva" });
const returns = "/v1/parties/310000507/vat-returns";
for (let times = 0; times < 12; times += 1) check((await call(returns, good)).status === 200, "a call passes");
check((await call(returns)).status === 401, "a call without a token does not");
check((await call(returns, "a.b.c")).status === 401, "nor with none that could be one");
check((await call(returns, plain)).status === 403, "nor without a system user");
check((await call("/v1/metadata/<script>alert(1)<%2Fscript>", good)).status >= 400, "nor by a hostile path");
check((await call("/v1/nowhere/%C3%A6/01010750160", good)).status === 404, "nor without a route");
check((await call("/v1/parties/310000507/claims", good)).status === 403, "nor without the scope");
const refused = await call("/v1/parties/310000604/vat-returns", good);
const { traceId } = await refused.json();
check(refused.status === 403 && traceId?.length === 32, "nor for another party");

// --- nobody without the token
const stranger = await visitor();
for (const path of ["/", "/ui/refusals", `/ui/refusals/${traceId}`, "/ui/style.css", "/refusals", "/register"]) {
  check((await stranger.request.get(`${admin}${path}`)).status() === 401, `${path} is closed without the token`);
}
for (const path of ["/livez", "/readyz", "/metrics"]) {
  check((await stranger.request.get(`${admin}${path}`)).status() === 200, `${path} is open`);
}
const wrong = await visitor({ httpCredentials: { username: token, password: "another" } });
check((await wrong.request.get(`${admin}/`)).status() === 401, "another password does not open it");

// --- each page
const shown = await operator.goto(`${admin}/`);
check(shown.headers()["content-security-policy"].includes("default-src 'none'"), "nothing but ours is loaded");
await has(operator, "Ready", "the overview tells that it is ready");
await has(operator, "no_right", "and of what was refused");
await has(operator, "310000205", "and of whom");
await has(operator, "Calls by minute", "and of calls to Altinn");
const styled = await operator.evaluate(() => getComputedStyle(document.querySelector("section")).borderStyle);
check(styled === "solid", "with its style");
await look(operator, "overview", strict);
await operator.locator("details").first().locator("summary").click();
await has(operator, "Minutes ago", "and the same in numbers");

await click(operator, operator.getByRole("link", { name: "no_right" }).first());
check(operator.url().endsWith(traceId), "a refusal leads to its explanation");
await has(operator, "The customer has not delegated the right", "which tells what to do");
await has(operator, "refused here", "and which step refused");
await has(operator, "The system user does not hold the right", "and what the caller was told");
await look(operator, "refusal", strict);

await click(operator, operator.getByRole("link", { name: "Refusals", exact: true }));
await has(operator, "token_missing", "all refusals are listed");
check(!(await operator.content()).includes("alert(1)"), "and no path that a client chose");
check(!(await main(operator)).includes("01010750160"), "nor a person's number");
await look(operator, "refusals", strict);

await click(operator, operator.getByRole("link", { name: "Routes", exact: true }));
await has(operator, "vat-return-read", "routes are told apart");
await look(operator, "routes", strict);

await click(operator, operator.getByRole("link", { name: "Configuration", exact: true }));
await has(operator, "vat-return-submit", "the configuration in force is told");
const content = await operator.content();
check(!content.includes("sandbox-subscription-key") && !content.includes(token), "without secrets");
await look(operator, "configuration", strict);

await operator.goto(`${admin}/ui/refusals/00000000000000000000000000000000`);
await has(operator, "are remembered", "a refusal that is not remembered is told so");
await look(operator, "forgotten", strict);

// --- in the dark, and read anew if one wants it
const night = await visitor({ colorScheme: "dark", httpCredentials: { username: "", password: token } });
await night.goto(`${admin}/`);
await look(night, "overview-dark", strict);
await night.goto(`${admin}/ui/refusals/${traceId}`);
await look(night, "refusal-dark", strict);
await night.goto(`${admin}/`);
await click(night, night.getByRole("link", { name: "Every 30 seconds" }));
await has(night, "Ready", "a page that reads itself anew");
check(await night.getByRole("link", { name: "Stop" }).count() === 1, "and can be stopped");

// --- by the keyboard
await operator.goto(`${admin}/`);
await operator.keyboard.press("Tab");
check(await operator.evaluate(() => document.activeElement.textContent) === "Skip to content", "the first stop skips ahead");

await end();
