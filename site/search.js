// The page of results: reads the site's own index, and shows the pieces of pages that have every word. Nothing that is
// searched for leaves the browser, and nothing of it becomes markup.

const MOST = 40;
const WORDS = {
  en: { found: "found", shown: "the first {} shown", empty: "Write what you look for in the field at the top.", failed: "The index could not be read." },
  nb: { found: "treff", shown: "de første {} vises", empty: "Skriv det du leter etter, i feltet øverst.", failed: "Registeret kunne ikke leses." },
};
const ours = document.documentElement.lang;
const say = WORDS[ours] ?? WORDS.en;
const list = document.getElementById("found");
const tell = (text) => { document.getElementById("told").textContent = text; };
const words = (text) => text.toLowerCase().split(/[^\p{L}\p{N}_-]+/u).filter((it) => it);

// A heading weighs more than what stands below it, and the page's own more than both; of equals, the reader's language.
function weight(row, asked) {
  const [, language, title, heading, body] = row.map((it) => it.toLowerCase());
  let sum = 0;
  for (const word of asked) {
    const here = (title.includes(word) ? 8 : 0) + (heading.includes(word) ? 5 : 0) + (body.includes(word) ? 1 : 0);
    if (!here) return 0;
    sum += here;
  }
  return language === ours ? sum + 0.5 : sum;
}

// Some words around the first that was asked for, with all of them marked.
function excerpt(body, asked) {
  const lower = body.toLowerCase();
  const first = Math.min(...asked.map((it) => lower.indexOf(it)).filter((at) => at >= 0), body.length);
  const start = Math.max(0, first - 60);
  const text = (start ? "… " : "") + body.slice(start, start + 220) + (body.length > start + 220 ? " …" : "");
  const line = document.createElement("p");
  let rest = text;
  while (rest) {
    const at = asked.map((it) => [rest.toLowerCase().indexOf(it), it.length]).filter(([found]) => found >= 0).sort(([a], [b]) => a - b)[0];
    if (!at) break;
    const mark = document.createElement("mark");
    mark.textContent = rest.slice(at[0], at[0] + at[1]);
    line.append(rest.slice(0, at[0]), mark);
    rest = rest.slice(at[0] + at[1]);
  }
  line.append(rest);
  return line;
}

function show(rows, asked) {
  const found = rows.map((row) => [weight(row, asked), row]).filter(([sum]) => sum).sort(([a], [b]) => b - a);
  tell(`${found.length} ${say.found}${found.length > MOST ? `, ${say.shown.replace("{}", MOST)}` : ""}`);
  for (const [, [where, language, title, heading, body]] of found.slice(0, MOST)) {
    const item = document.createElement("li");
    const link = document.createElement("a");
    link.href = list.dataset.root + where;
    link.hreflang = language;
    link.textContent = heading === title ? title : `${title}: ${heading}`;
    item.lang = language;
    item.append(link, excerpt(body, asked));
    list.append(item);
  }
}

const query = new URLSearchParams(location.search).get("q") ?? "";
for (const field of document.getElementsByName("q")) field.value = query;
const asked = words(query);
if (asked.length) {
  fetch(`${list.dataset.root}search-index.json`)
    .then((answer) => answer.json())
    .then((rows) => show(rows, asked))
    .catch(() => tell(say.failed));
} else {
  tell(say.empty);
}
