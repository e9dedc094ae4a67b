// A real browser tells the story of a system user on the sandbox's pages: a vendor asks, a customer approves, the
// vendor calls. On the way every page is looked at by axe, at several widths. Arguments as in lib.mjs.

import { BACK, base, be, check, click, end, follow, has, look, main, visitor } from "./lib.mjs";

const vendor = await visitor();
await vendor.request.post(`${base}/sandbox/reset`);
const reference = "nettleser";

// --- the vendor asks
await vendor.goto(`${base}/`);
await look(vendor, "start");
await vendor.goto(`${base}/ui/vendor`);
await look(vendor, "vendor");
await vendor.getByLabel("Kunde", { exact: true }).selectOption("310000507");
await vendor.getByLabel("Ekstern referanse").fill(reference);
await vendor.getByLabel("Tilgangspakke: Særavgifter").uncheck();
await click(vendor, vendor.getByRole("button", { name: "Send forespørsel" }));
await has(vendor, "Forespørselen er opprettet", "the vendor's request");
await look(vendor, "vendor-asked");
const confirm = new URL(await vendor.locator("main a.long").getAttribute("href"), base).href;

// --- somebody who may not approve, and somebody who has nothing to do with it
const stranger = await visitor();
await stranger.goto(confirm);
await has(stranger, "Velg en person først", "the confirm page wants a person");
await look(stranger, "confirm-login");
await click(stranger, stranger.getByRole("button", { name: "Vær Siv Strand" }));
await has(stranger, "Du har ingen rolle i BAKKEN HANDEL AS", "a stranger is refused");
await look(stranger, "confirm-stranger");

// --- the customer approves, with the keyboard alone
const customer = await visitor();
await customer.goto(confirm);
await click(customer, customer.getByRole("button", { name: "Vær Kari Bakken" }));
await has(customer, "NORDLYS SYSTEMER AS ber om", "the customer sees who asks");
await has(customer, "Mva-melding", "the customer sees what is asked for");
await look(customer, "confirm");
await customer.keyboard.press("Tab");
check(await customer.evaluate(() => document.activeElement.className) === "ds-skip-link", "the first tab is the skip link");
await customer.keyboard.press("Enter");
await customer.keyboard.press("Tab");
const focused = await customer.evaluate(() => document.activeElement.textContent);
check(focused === "Godkjenn", `after it comes the approval (${focused})`);
await follow(customer, () => customer.keyboard.press("Enter"));
await has(customer, "Systemtilgangen er opprettet", "approval");
await look(customer, "confirm-approved");
await customer.goto(confirm.replace("request?", "request?lang=en&"));
await has(customer, "The request is approved", "the same in English");
await look(customer, "confirm-english");
await customer.goto(`${base}/?lang=nb`);

// --- my system users: list, look, create, be refused, delete
await customer.goto(`${base}/accessmanagement/ui/systemuser/overview`);
await look(customer, "overview");
await click(customer, customer.getByRole("link", { name: "Opprett systemtilgang" }));
await look(customer, "create");
await customer.getByLabel("Nordlys Skatt").check();
await click(customer, customer.getByRole("button", { name: "Neste" }));
await look(customer, "create-accept");
await click(customer, customer.getByRole("button", { name: "Godta og opprett" }));
await has(customer, "har allerede en slik systemtilgang", "a second one is refused");
await customer.goto(`${base}/accessmanagement/ui/systemuser/overview`);
await click(customer, customer.getByRole("link", { name: "Se på Nordlys Skatt" }).first());
await look(customer, "details");

// --- an access manager without the rights is told why
const asks = { systemId: "310000205_nordlys", partyOrgNo: "310000604", externalRef: "nei",
  accessPackages: [{ urn: "urn:altinn:accesspackage:merverdiavgift" }] };
const minted = await (await vendor.request.post(`${base}/sandbox/token`, { data: {
  client_id: "c1000000-0000-4000-8000-000000000011", scope: "altinn:authentication/systemuser.request.write" } })).json();
const asked = await (await vendor.request.post(`${base}/authentication/api/v1/systemuser/request/vendor`, {
  headers: { authorization: `Bearer ${minted.access_token}` }, data: asks })).json();
const manager = await visitor();
await be(manager, "Ola Strand");
await look(manager, "overview-waiting");
await click(manager, manager.getByRole("link", { name: "Se på Nordlys Skatt" }).first());
await has(manager, "Du kan ikke gi denne", "what cannot be given is marked");
await click(manager, manager.getByRole("button", { name: "Godkjenn" }));
await has(manager, "du har ikke alle tilgangspakkene selv", "approval without the package is refused");
await look(manager, "confirm-refused");
const employee = await visitor();
await be(employee, "Siv Strand");
await employee.goto(new URL(new URL(asked.confirmUrl).pathname + new URL(asked.confirmUrl).search, base).href);
await look(employee, "confirm-employee");
await click(employee, employee.getByRole("button", { name: "Send videre til en tilgangsstyrer" }));
await has(employee, "sendt videre", "an employee hands on");
await manager.goto(employee.url());
await click(manager, manager.getByRole("button", { name: "Avvis" }));
await has(manager, "Forespørselen er avvist", "rejection");

// --- after an answer the browser goes back to the vendor, which the policy of the page must allow
await customer.route(`${BACK}**`, (route) => route.fulfill({ contentType: "text/html", body: "<title>Nordlys</title>" }));
const back = await (await vendor.request.post(`${base}/authentication/api/v1/systemuser/request/vendor`, {
  headers: { authorization: `Bearer ${minted.access_token}` },
  data: { ...asks, partyOrgNo: "310000507", externalRef: "tilbake", redirectUrl: BACK } })).json();
await customer.goto(new URL(new URL(back.confirmUrl).pathname + new URL(back.confirmUrl).search, base).href);
await click(customer, customer.getByRole("button", { name: "Godkjenn" }));
await customer.waitForURL(`${BACK}**`, { timeout: 10_000 }).catch(() => {});
check(customer.url() === BACK, `back at the vendor after approval (${customer.url()})`);

// --- the vendor takes a token and calls
await vendor.goto(`${base}/ui/vendor`);
await has(vendor, "Godkjent", "the vendor sees the approval");
const user = vendor.getByLabel("Systemtilgang", { exact: true });
const mine = await user.locator("option", { hasText: reference }).getAttribute("value");
await user.selectOption(mine);
await vendor.getByLabel("skatteetaten:mva").check();
await vendor.getByLabel("skatteetaten:innsyn").uncheck();
await vendor.getByLabel("skatteetaten:kravogbetalinger").uncheck();
await click(vendor, vendor.getByRole("button", { name: "Hent token" }));
await has(vendor, "authorization_details", "the token is decoded");
await look(vendor, "token");
await click(vendor, vendor.getByRole("button", { name: "Kall", exact: true }));
await has(vendor, "Permit", "the call for the customer itself is permitted");
const proxied = !(await main(vendor)).includes("Sandkassen kjenner ingen proxy");
if (proxied) await has(vendor, "Portvakt svarte 200", "and comes through the proxy");
else console.log("SKIPPED: calls through the proxy, for want of one");
await look(vendor, "call");
await vendor.getByLabel("Hvem kallet gjelder").selectOption("310000604");
await click(vendor, vendor.getByRole("button", { name: "Kall", exact: true }));
await has(vendor, "NotApplicable", "the call for another is refused");
if (proxied) {
  await has(vendor, "Portvakt svarte 403", "by the proxy, too");
  await has(vendor, "no_right", "with its reason");
}
await look(vendor, "call-refused");

// --- the customer takes it back
await customer.goto(`${base}/accessmanagement/ui/systemuser/details?id=${mine}`);
await click(customer, customer.getByRole("link", { name: "Slett", exact: true }));
await look(customer, "delete");
await click(customer, customer.getByRole("button", { name: "Slett systemtilgangen" }));
await has(customer, "Systemtilgangen er slettet", "deletion");

// --- an accountant's client administrator
const accountant = await visitor();
await be(accountant, "Klara Klient");
await look(accountant, "clients");
await click(accountant, accountant.getByRole("button", { name: "Legg til ODDEN FISK AS" }));
check(await accountant.getByRole("button", { name: "Fjern ODDEN FISK AS" }).count() === 1, "a client is added");
await click(accountant, accountant.getByRole("button", { name: "Fjern ODDEN FISK AS" }));
check(await accountant.getByRole("button", { name: "Legg til ODDEN FISK AS" }).count() === 1, "and removed");
await employee.goto(`${base}/accessmanagement/ui/systemuser/clients`);
await has(employee, "Bare en klientadministrator", "others may not");

// --- testers and service owners
await vendor.goto(`${base}/ui/resources`);
await look(vendor, "resources");
await vendor.goto(`${base}/ui/live`);
if (proxied) await has(vendor, "NotApplicable", "the live view tells what Altinn was asked");
check(await vendor.locator("#live-switch").isVisible(), "the live view can be paused");
await look(vendor, "live");
await vendor.goto(`${base}/ui/controls`);
await look(vendor, "controls");
await vendor.getByLabel("Antall ganger").fill("1");
await click(vendor, vendor.getByRole("button", { name: "Sett feilen" }));
await has(vendor, "503", "a fault is set");
await click(vendor, vendor.getByRole("button", { name: "Fjern alle feil" }));
await has(vendor, "Ingen feil er satt", "and cleared");
await click(vendor, vendor.getByRole("button", { name: "En time frem" }));
await has(vendor, "flyttet 3600 sekunder", "the clock moves");
await vendor.goto(`${base}/nothing`);
await look(vendor, "not-found");

// --- without scripts
const plain = await visitor({ javaScriptEnabled: false });
await plain.goto(`${base}/ui/live`);
check(await plain.getByRole("link", { name: "Oppdater" }).isVisible(), "the live view works without scripts");
check(!(await plain.locator("#live-switch").isVisible()), "and shows no switch that would do nothing");

await vendor.request.post(`${base}/sandbox/reset`);
await end();
