// Every page in English: looked at as in Norwegian, and with no Norwegian word left in it. Arguments as in lib.mjs.

import { base, begin, be, check, click, end, look, main, visitor } from "./lib.mjs";

begin("english-");
const portal = `${base}/accessmanagement/ui/systemuser`;
const kari = await visitor();
await kari.request.post(`${base}/sandbox/reset`);

// A word in small letters with a letter that English has not: names begin with a capital, or are all capitals.
const NORWEGIAN = /(?<![\p{L}\d])[a-zæøå]*[æøå][a-zæøå]*(?![\p{L}\d])/gu;

async function read(page, address, name) {
  if (address) await page.goto(address);
  check((await page.locator("html").getAttribute("lang")) === "en", `${name} is in English`);
  const left = (await page.locator("body").innerText()).match(NORWEGIAN) ?? [];
  check(left.length === 0, `${name}: no Norwegian word (${left.slice(0, 5)})`);
  await look(page, name);
}

await be(kari, "Kari Bakken");
await read(kari, `${base}/?lang=en`, "start");
await read(kari, `${portal}/overview`, "overview");
await read(kari, `${portal}/create`, "create");
await kari.getByLabel("Nordlys Skatt").check();
await click(kari, kari.getByRole("button", { name: "Next" }));
await read(kari, undefined, "create-accept");
await click(kari, kari.getByRole("button", { name: "Accept and create" }));
await read(kari, undefined, "create-refused");
const user = "5e000000-0000-4000-8000-000000000001";
await read(kari, `${portal}/details?id=${user}`, "details");
await read(kari, `${portal}/delete?id=${user}`, "delete");

// A request, and a change request.
const api = async (method, path, token, data) =>
  (await kari.request.fetch(`${base}${path}`, { method, data, headers: token ? { authorization: `Bearer ${token}` } : {} })).json();
const scope = "altinn:authentication/systemuser.request.write";
const { access_token: token } = await api("POST", "/sandbox/token", undefined,
  { client_id: "c1000000-0000-4000-8000-000000000011", scope });
const requests = "/authentication/api/v1/systemuser";
const packages = [{ urn: "urn:altinn:accesspackage:skattegrunnlag" }];
const asked = await api("POST", `${requests}/request/vendor`, token,
  { systemId: "310000205_nordlys", partyOrgNo: "310000507", externalRef: "english", accessPackages: packages });
await read(kari, `${portal}/request?id=${asked.id}`, "request");
const query = `correlation-id=${crypto.randomUUID()}&system-user-id=${user}`;
const change = await api("POST", `${requests}/changerequest/vendor?${query}`, token,
  { requiredAccessPackages: [{ urn: "urn:altinn:accesspackage:saravgifter" }], unwantedAccessPackages: packages });
await read(kari, `${portal}/changerequest?id=${change.id}`, "change-request");
await click(kari, kari.getByRole("button", { name: "Approve" }));
check((await main(kari)).includes("approved"), "the change is approved");
await read(kari, undefined, "change-approved");

const klara = await visitor();
await be(klara, "Klara Klient");
await read(klara, `${portal}/clients?lang=en`, "clients");

// The pages of vendors, service owners and testers.
for (const [path, name] of [["/ui/login", "login"], ["/ui/vendor", "vendor"], ["/ui/resources", "resources"], ["/ui/live", "live"],
  ["/ui/controls", "controls"], ["/nothing", "not-found"]]) await read(kari, `${base}${path}`, name);
await kari.goto(`${base}/ui/vendor`);
await click(kari, kari.getByRole("button", { name: "Take a token" }));
await read(kari, undefined, "token");
await click(kari, kari.getByRole("button", { name: "Call", exact: true }));
await read(kari, undefined, "call");

await kari.request.post(`${base}/sandbox/reset`);
await end();
