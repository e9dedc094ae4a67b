// The main path of each role with the keyboard alone: after the first address nothing is clicked. Arguments as in
// lib.mjs.

import { base, begin, check, end, follow, has, look, main, vendor as asker, visitor } from "./lib.mjs";

begin("keyboard-");
const portal = `${base}/accessmanagement/ui/systemuser`;

// What has the focus: its text or label, and whether one can see that it has it.
const focused = (page) => page.evaluate(() => {
  const one = document.activeElement;
  const label = one.labels?.[0]?.textContent ?? "";
  const { outlineStyle, outlineWidth } = getComputedStyle(one);
  const text = (one.matches("input, select") ? label : one.textContent).trim();
  const seen = outlineStyle !== "none" && outlineWidth !== "0px";
  return { text, seen, pressed: one.matches("a, button, summary") };
});

// Goes from one to the next until something of this name, or whose name matches, has the focus.
async function to(page, name, toPress = false) {
  for (let steps = 0; steps < 120; steps += 1) {
    await page.keyboard.press("Tab");
    const { text, seen, pressed } = await focused(page);
    if (toPress && !pressed) continue;
    if (typeof name === "string" ? text !== name : !name.test(text)) continue;
    check(seen, `“${text}” shows that it has the focus`);
    return;
  }
  check(false, `“${name}” is reached with the tab key`);
  throw new Error(`“${name}” cannot be reached on ${page.url()}`);
}

async function press(page, name) {
  await to(page, name, true);
  await follow(page, () => page.keyboard.press("Enter"));
}

async function type(page, name, text) {
  await to(page, name);
  await page.keyboard.type(text);
}

// --- a customer: chooses who to be, deletes, and creates anew
const customer = await visitor();
await customer.request.post(`${base}/sandbox/reset`);
await customer.goto(`${base}/?lang=nb`);
await press(customer, "Vær Kari Bakken");
await customer.goto(`${portal}/overview`);
await press(customer, "Se på Nordlys Skatt");
await press(customer, "Slett");
await press(customer, "Slett systemtilgangen");
await has(customer, "Systemtilgangen er slettet", "deletion by keyboard");
await press(customer, "Opprett systemtilgang");
await to(customer, /^Nordlys Skatt –/);
await customer.keyboard.press("Space");
await press(customer, "Neste");
await press(customer, "Godta og opprett");
await has(customer, "Systemtilgangen er opprettet", "creation by keyboard");

// --- a vendor asks
const vendor = await visitor();
await vendor.goto(`${base}/ui/vendor?lang=nb`);
await to(vendor, "Kunde");
await vendor.keyboard.type("BAKKEN HANDEL AS (");
await type(vendor, "Ekstern referanse", "tastatur");
await press(vendor, "Send forespørsel");
await has(vendor, "Forespørselen er opprettet", "a request by keyboard");
const confirm = new URL(await vendor.locator("main a.long").getAttribute("href"), base).href;

// --- the customer rejects it
await customer.goto(confirm);
await press(customer, "Avvis");
await has(customer, "Forespørselen er avvist", "rejection by keyboard");

// --- the vendor takes a token for the one that was created, and calls
await vendor.goto(`${base}/ui/vendor`);
await press(vendor, "Hent token");
await has(vendor, "authorization_details", "a token by keyboard");
await press(vendor, "Kall");
await has(vendor, "Steg for steg", "a call by keyboard");

// --- a client administrator
const accountant = await visitor();
await accountant.goto(`${base}/?lang=nb`);
await press(accountant, "Vær Klara Klient");
await accountant.goto(`${portal}/clients`);
await press(accountant, "Legg til ODDEN FISK AS");
await press(accountant, "Fjern ODDEN FISK AS");
await to(accountant, "Legg til ODDEN FISK AS");

// --- an employee hands a request on; the access manager is refused with the reason, and rejects
const nordlys = await asker(customer, 11);
const handed = await nordlys.ask("310000205_nordlys", "310000604", "tastatur", ["merverdiavgift"]);
const employee = await visitor();
await employee.goto(handed.link);
await press(employee, "Vær Siv Strand");
await press(employee, "Send videre til en tilgangsstyrer");
await has(employee, "sendt videre", "escalation by keyboard");
const manager = await visitor();
await manager.goto(`${base}/?lang=nb`);
await press(manager, "Vær Ola Strand");
await press(manager, "Se på Nordlys Skatt (tastatur)");
await press(manager, "Godkjenn");
await has(manager, "du har ikke alle tilgangspakkene selv", "a refused approval by keyboard");
await press(manager, "Avvis");
await has(manager, "Forespørselen er avvist", "rejection of what was handed on, by keyboard");

// --- a change: refused to the one, approved by the other
const change = await nordlys.change("5e000000-0000-4000-8000-000000000003", ["saravgifter"]);
await manager.goto(change.link);
await press(manager, "Godkjenn");
await has(manager, "du har ikke alle tilgangspakkene selv", "a refused change by keyboard");
await press(manager, "Avvis");
await has(manager, "Endringen er avvist", "a rejected change by keyboard");
const mine = await nordlys.read("vendor/byquery?system-id=310000205_nordlys&orgno=310000507");
const more = await nordlys.change(mine.id, [], ["saravgifter"]);
await customer.goto(`${portal}/overview`);
await press(customer, "Se på endringen for Nordlys Skatt");
await has(customer, "Mister", "the change by keyboard");
await press(customer, "Godkjenn");
await has(customer, "Endringen er godkjent", "an approved change by keyboard");
check((await nordlys.read(`changerequest/vendor/${more.id}`)).status === "Accepted", "the vendor sees it");

// --- an agent: approved, a client added, deletion refused
const brekke = await asker(customer, 21);
const agent = await brekke.ask("310000213_brekke_byra", "310000302", "tastatur", ["regnskapsforer-lonn"], {}, "/agent");
const leader = await visitor();
await leader.goto(agent.link);
await press(leader, "Vær Frida Fjell");
await press(leader, "Godkjenn");
await has(leader, "Systemtilgangen er opprettet", "an agent approved by keyboard");
await to(leader, "Mine systemtilganger");
await leader.goto(`${portal}/clients?id=${agent.id}`);
await press(leader, "Legg til LIA SNEKKERI AS");
await press(leader, "Fjern LIA SNEKKERI AS");
await press(leader, "Legg til LIA SNEKKERI AS");
await leader.goto(`${portal}/delete?id=${agent.id}`);
await press(leader, "Slett systemtilgangen");
await has(leader, "har fortsatt klienter", "a refused deletion by keyboard");
check(!(await main(leader)).includes("er slettet"), "and nothing was deleted");

// --- a tester
const tester = await visitor();
await tester.goto(`${base}/ui/controls?lang=nb`);
await press(tester, "En time frem");
await has(tester, "flyttet 3600 sekunder", "the clock by keyboard");

// --- the menu on a phone
const phone = await visitor({ viewport: { width: 360, height: 740 } });
await phone.goto(`${base}/?lang=nb`);
const places = phone.locator("nav").getByRole("link", { name: "Ressurser" });
check((await places.count()) === 0, "the menu of a phone is closed at first");
await to(phone, "Meny");
await phone.keyboard.press("Enter");
check((await places.count()) === 1, "and opens");
await look(phone, "menu");
await phone.setViewportSize({ width: 360, height: 740 });
await press(phone, "Ressurser");
check(phone.url() === `${base}/ui/resources`, "the menu of a phone leads on");

await customer.request.post(`${base}/sandbox/reset`);
await end();
