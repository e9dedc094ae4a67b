// The main path of each role with the keyboard alone: after the first address nothing is clicked. Arguments as in
// lib.mjs.

import { base, begin, check, end, follow, has, look, visitor } from "./lib.mjs";

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
