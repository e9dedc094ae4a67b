// The stories of those who act for clients, an auditor (REVI), an accountant (REGN) and a supplier: the vendor's request
// approved, rejected and handed on, clients added and removed, and a system user with clients that cannot be deleted.
// Arguments as in lib.mjs.

import { base, begin, be, check, click, end, has, look, main, vendor, visitor } from "./lib.mjs";

begin("agents-");
const portal = `${base}/accessmanagement/ui/systemuser`;
const [auditor, accountant, supplier] = ["310000310", "310000302", "310000329"];
const rune = await visitor();
await rune.request.post(`${base}/sandbox/reset`);
const brekke = await vendor(rune, 21);
const in_all = (text) => ({ nb: text, nn: text, en: text });
const register = (id, name, codes, client) => brekke.register({ id, vendor: { ID: "0192:310000213" }, name: in_all(name),
  description: in_all(name), isVisible: false, clientId: [`c1000000-0000-4000-8000-0000000000${client}`],
  accessPackages: codes.map((code) => ({ urn: `urn:altinn:accesspackage:${code}` })) });

// --- an auditor: nothing to administer before a vendor has asked
await register("310000213_revisjon", "Brekke Revisjon", ["ansvarlig-revisor"], 25);
await be(rune, "Rune Hei");
await rune.goto(`${portal}/clients`);
await has(rune, "ingen systemtilgang for klienter ennå", "an auditor without an agent is told so");
await has(rune, "LIA SNEKKERI AS: revisor (REVI)", "and sees whose auditor he is");
await look(rune, "auditor-none");

// --- the request: a stranger is refused, the general manager approves
const asked = await brekke.ask("310000213_revisjon", auditor, "oppdrag", ["ansvarlig-revisor"],
  { integrationTitle: "Revisjon 2026" }, "/agent");
const vera = await visitor();
await be(vera, "Vera Vik");
await vera.goto(asked.link);
await has(vera, "Du har ingen rolle i HEI REVISJON AS", "a stranger does not see an agent's request");
check(await vera.getByRole("button", { name: "Godkjenn" }).count() === 0, "and has no button to approve it");
await rune.goto(asked.link);
await has(rune, "for å handle for klienter", "the request says that it is for clients");
await has(rune, "opprettes systemtilgangen uten klienter", "and that approval includes none");
await has(rune, "Ansvarlig revisor", "and which package each client must offer");
await look(rune, "agentrequest");
await rune.goto(`${asked.link}&lang=en`);
await has(rune, "No client is included until", "the same in English");
await look(rune, "agentrequest-english");
await rune.goto(`${asked.link}&lang=nb`);
await click(rune, rune.getByRole("button", { name: "Godkjenn" }));
await has(rune, "Systemtilgangen er opprettet", "an agent's request approved");
await look(rune, "agentrequest-approved");
check((await brekke.read(`request/vendor/agent/${asked.id}`)).status === "Accepted", "the vendor sees the approval");

// --- clients: from the receipt on, added, and in the way of deletion
await click(rune, rune.locator("main").getByRole("link", { name: "Klientadministrasjon" }));
await has(rune, "Klienter i Revisjon 2026", "the auditor's new system user");
await look(rune, "auditor");
await click(rune, rune.getByRole("button", { name: "Legg til LIA SNEKKERI AS" }));
check(await rune.getByRole("button", { name: "Fjern LIA SNEKKERI AS" }).count() === 1, "an auditor adds a client");
await look(rune, "auditor-added");
await rune.goto(`${rune.url()}&lang=en`);
await has(rune, "auditor (REVI)", "the same in English");
await look(rune, "auditor-english");
await rune.goto(`${portal}/overview?lang=nb`);
await click(rune, rune.getByRole("link", { name: "Se på Revisjon 2026" }));
await has(rune, "LIA SNEKKERI AS", "the system user's page names its clients");
await look(rune, "agent-details");
const details = rune.url();
await click(rune, rune.getByRole("link", { name: "Slett", exact: true }));
await click(rune, rune.getByRole("button", { name: "Slett systemtilgangen" }));
await has(rune, "har fortsatt klienter. Fjern dem først. (AUTH-00035)", "an agent with clients is not deleted");
await look(rune, "delete-refused");
await rune.goto(`${details.replace("/details", "/delete")}&lang=en`);
await click(rune, rune.getByRole("button", { name: "Delete the system user" }));
await has(rune, "still has clients. Remove them first.", "the same in English");
await look(rune, "delete-refused-english");
await rune.goto(`${details}&lang=nb`);
await click(rune, rune.locator("main").getByRole("link", { name: "Klientadministrasjon" }));

// --- a relation that ended: what was delegated stays written, without effect
const relation = { client: "310000701", facilitator: auditor };
await rune.request.delete(`${base}/sandbox/relations`, { data: relation });
await rune.reload();
await has(rune, "uten virkning", "a client whose relation has ended is marked");
await look(rune, "auditor-ended");
await click(rune, rune.getByRole("button", { name: "Fjern LIA SNEKKERI AS" }));
check(!(await main(rune)).includes("LIA SNEKKERI"), "and can still be taken away");
await rune.goto(details.replace("/details", "/delete"));
await click(rune, rune.getByRole("button", { name: "Slett systemtilgangen" }));
await has(rune, "Systemtilgangen er slettet", "without clients it is deleted");

// --- an accountant: the client administrator may not approve, and hands on; the general manager rejects
const second = await brekke.ask("310000213_brekke_byra", accountant, "nei", ["regnskapsforer-lonn"], {}, "/agent");
const klara = await visitor();
await be(klara, "Klara Klient");
await klara.goto(second.link);
await has(klara, "Bare en tilgangsstyrer kan godkjenne", "a client administrator may not approve");
check(await klara.getByRole("button", { name: "Godkjenn" }).count() === 0, "and has no button for it");
await look(klara, "agentrequest-employee");
await click(klara, klara.getByRole("button", { name: "Send videre til en tilgangsstyrer" }));
await has(klara, "sendt videre", "but hands an agent's request on");
await look(klara, "agentrequest-escalated");
const frida = await visitor();
await be(frida, "Frida Fjell");
await has(frida, "sendt videre til en tilgangsstyrer", "who it was handed to sees it in the list");
await frida.goto(second.link);
await click(frida, frida.getByRole("button", { name: "Avvis" }));
await has(frida, "Forespørselen er avvist", "an agent's request rejected");
await look(frida, "agentrequest-rejected");
check((await brekke.read(`request/vendor/agent/${second.id}`)).status === "Rejected", "the vendor sees the rejection");

// --- a supplier: the client does not offer all that is needed
await register("310000213_tjenester", "Brekke Tjenester", ["skattegrunnlag", "merverdiavgift"], 23);
const third = await brekke.ask("310000213_tjenester", supplier, "to", ["skattegrunnlag", "merverdiavgift"], {}, "/agent");
await vera.goto(third.link);
await click(vera, vera.getByRole("button", { name: "Godkjenn" }));
await vera.goto(`${portal}/clients`);
await has(vera, "Tilbyr ikke: Merverdiavgift", "a client that gave too little is marked with what is lacking");
check(await vera.getByRole("button", { name: /^Legg til/ }).count() === 0, "and cannot be added");
await look(vera, "supplier-lacks");
await vera.goto(`${portal}/clients?lang=en`);
await look(vera, "supplier-lacks-english");

await rune.request.post(`${base}/sandbox/reset`);
await end();
