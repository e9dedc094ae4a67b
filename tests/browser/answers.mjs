// What customers answer besides yes, and what they are refused: a role or a package that they lack, with the reason on the
// page; changes refused and rejected; requests that are answered, withdrawn or timed out. Arguments as in lib.mjs.

import { BACK, base, begin, be, check, click, end, has, look, main, vendor, visitor } from "./lib.mjs";

begin("answers-");
const portal = `${base}/accessmanagement/ui/systemuser`;
const strand = "310000604";
const system = "310000205_nordlys";
const ola = await visitor();
await ola.request.post(`${base}/sandbox/reset`);
const nordlys = await vendor(ola, 11);
const brekke = await vendor(ola, 21);
const right = (id) => ({ resource: [{ id: "urn:altinn:resource", value: id }] });
const approve = { nb: "Godkjenn", en: "Approve" };

// The same refusal in both languages, each looked at; the buttons stay, so that one can still reject.
async function refused(page, link, name, why) {
  for (const language of ["en", "nb"]) {
    await page.goto(`${link}&lang=${language}`);
    await click(page, page.getByRole("button", { name: approve[language] }));
    await has(page, why[language], `${name} in ${language}`);
    check((await page.getByRole("alert").count()) === 1, `${name}: told as an alert`);
    await look(page, `${name}-${language}`);
  }
}

// --- a role that is lacking, a package that one of the rights demands
await be(ola, "Ola Strand");
const byRole = await nordlys.ask(system, strand, "rolle", [], { rights: [right("ske-forskuddsskatt")] });
await refused(ola, byRole.link, "lacking-role", {
  nb: "du mangler rollen som en av rettighetene krever. (AUTH-00016)",
  en: "you lack the role that one of the rights demands. (AUTH-00016)",
});
await has(ola, "Du kan ikke gi denne", "the right that cannot be given is marked");
await brekke.register({ id: "310000213_timer", vendor: { ID: "0192:310000213" },
  name: { nb: "Brekke Timer", nn: "Brekke Timer", en: "Brekke Hours" },
  description: { nb: "Timer", nn: "Timer", en: "Hours" }, isVisible: true, rights: [right("ske-a-melding")],
  clientId: ["c1000000-0000-4000-8000-000000000022"] });
const byPackage = await brekke.ask("310000213_timer", strand, "timer", [], { rights: [right("ske-a-melding")] });
await refused(ola, byPackage.link, "lacking-package", {
  nb: "du mangler tilgangspakken som en av rettighetene krever. (AUTH-00068)",
  en: "you lack the access package that one of the rights demands. (AUTH-00068)",
});
check((await brekke.read(`request/vendor/${byPackage.id}`)).status === "New", "a refused approval leaves the request open");

// --- the same when one chooses the system oneself
await ola.goto(`${portal}/create`);
await ola.getByLabel("Brekke Timer").check();
await click(ola, ola.getByRole("button", { name: "Neste" }));
await click(ola, ola.getByRole("button", { name: "Godta og opprett" }));
await has(ola, "(AUTH-00068)", "creation without the package is refused");
await look(ola, "create-refused");

// --- a change: what cannot be given is marked and refused, others may not answer, and it can be rejected
const user = "5e000000-0000-4000-8000-000000000003";
const held = async () => JSON.stringify((await (await ola.request.get(`${base}/sandbox/system-users/${user}`)).json()).delegations);
const before = await held();
const change = await nordlys.change(user, ["merverdiavgift"], [], { redirectUrl: BACK });
await ola.goto(`${portal}/overview`);
await has(ola, "Leverandøren ber om endrede rettigheter", "a change waits in the list");
await look(ola, "overview-change");
const links = await ola.locator("main").getByRole("link").allInnerTexts();
check(new Set(links).size === links.length, `every link on the page has a name of its own (${links})`);
await ola.goto(change.link);
await has(ola, "Du kan ikke gi denne", "a package that cannot be given is marked in a change, too");
await refused(ola, change.link, "change-refused", {
  nb: "du har ikke alle tilgangspakkene selv. (AUTH-00053)",
  en: "you do not hold all the access packages yourself. (AUTH-00053)",
});
const siv = await visitor();
await be(siv, "Siv Strand");
await siv.goto(change.link);
await has(siv, "Bare en tilgangsstyrer kan godkjenne eller avvise", "an employee may not answer a change");
check(await siv.locator("main").getByRole("button").count() === 0, "and has no button for it");
await look(siv, "change-employee");
const kari = await visitor();
await be(kari, "Kari Bakken");
await kari.goto(change.link);
await has(kari, "Du har ingen rolle i STRAND BYGG AS", "a stranger does not see a change");
await ola.route(`${BACK}**`, (route) => route.fulfill({ contentType: "text/html", body: "<title>Nordlys</title>" }));
await click(ola, ola.getByRole("button", { name: "Avvis" }));
await ola.waitForURL(`${BACK}**`, { timeout: 10_000 }).catch(() => {});
check(ola.url() === BACK, `back at the vendor after a rejected change (${ola.url()})`);
check((await nordlys.read(`changerequest/vendor/${change.id}`)).status === "Rejected", "the vendor sees the rejection");
check((await held()) === before, "nothing was given");
await ola.goto(change.link);
await has(ola, "Endringen er avvist. Rettighetene er som før.", "the page of a rejected change");
await look(ola, "change-rejected");

// --- answered in another window, withdrawn, timed out
const twice = await nordlys.ask(system, strand, "to vinduer", ["skattegrunnlag"]);
const other = await ola.context().newPage();
await ola.goto(twice.link);
await other.goto(twice.link);
await click(other, other.getByRole("button", { name: "Godkjenn" }));
await click(ola, ola.getByRole("button", { name: "Avvis" }));
await has(ola, "allerede besvart", "an answer that comes second is told so");
await look(ola, "answered-before");
const withdrawn = await nordlys.ask(system, strand, "trukket", ["skattegrunnlag"]);
await nordlys.withdraw(withdrawn.id);
await ola.goto(withdrawn.link);
await has(ola, "er trukket tilbake", "a withdrawn request is told so");
const old = await nordlys.ask(system, strand, "gammel", ["skattegrunnlag"]);
await ola.request.post(`${base}/sandbox/clock`, { data: { advance_seconds: 181 * 86_400 } });
await ola.goto(old.link);
await has(ola, "eldre enn 180 dager", "a request that timed out is told so");
await look(ola, "timed-out");
check(!(await main(ola)).includes("avvist"), "and is not called rejected");

await ola.request.post(`${base}/sandbox/reset`);
await end();
