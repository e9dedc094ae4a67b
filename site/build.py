"""Builds the site: docs/ and a few documents beside it, in the order of navigation.toml, into plain files.

Each page is a folder with an index.html, so that its address says nothing of how it was made, and links are relative, so that
the site may lie below any path. Markdown is that of CommonMark with tables, and headings are linked to as on GitHub: the same
files read well there. What is refused: a document that navigation.toml does not know, a link to what is not there, raw HTML.
Whether the built pages hang together is asked of them by check.py.
"""

import html
import json
import pathlib
import re
import shutil
import sys
import tomllib

from markdown_it import MarkdownIt

ROOT = pathlib.Path(__file__).resolve().parents[1]
HERE = pathlib.Path(__file__).resolve().parent

# The words of the frame, by the language of the page.
WORDS = {
    "en": {
        "skip": "To the content", "search": "Search", "search_in": "Search the documentation", "menu": "All pages",
        "on_page": "On this page", "next": "Next", "before": "Before", "other": "Norsk (bokmål)", "no_script": "Searching needs a script of this site; the list of all pages does not.",
    },
    "nb": {
        "skip": "Til innholdet", "search": "Søk", "search_in": "Søk i dokumentasjonen", "menu": "Alle sidene",
        "on_page": "På denne siden", "next": "Neste", "before": "Forrige", "other": "English", "no_script": "Søket trenger et skript fra dette nettstedet; listen over alle sidene gjør det ikke.",
    },
}

problems = []


def wrong(what):
    problems.append(what)


def slug(text):
    """The name by which GitHub links to a heading."""
    kept = "".join(it for it in text.lower() if it.isalnum() or it in " -_")
    return kept.strip().replace(" ", "-")


class Page:
    """One page: where it comes from, where it goes, and what is in it."""

    def __init__(self, source, path=None, title=None, part=None, sections=None):
        self.source, self.part, self.sections = source, part, sections
        self.language = "nb" if source.name.endswith(".nb.md") else "en"
        self.path = path if path is not None else default_path(source)
        self.other = None  # the same page in the other language
        self.below = []  # pages that the navigation shows below this one
        self.text = source.read_text() if source.suffix == ".md" else ""
        first = re.search(r"^# (.+)$", self.text, re.M)
        self.heading = title if sections else (first.group(1).replace("`", "") if first else title)
        self.title = title or self.heading
        self.leads = set()  # pages that its text links to
        self.contents, self.pieces, self.body = [], [], ""
        if sections:
            self.text = f"# {title}\n\n" + "".join(self.section(name) for name in sections)

    def section(self, name):
        found = re.search(rf"^## {re.escape(name)}\n.*?(?=^## |\Z)", self.text, re.M | re.S)
        if not found:
            wrong(f"{self.where()}: has no section {name!r}, which site/navigation.toml names")
            return ""
        return found.group(0)

    def where(self):
        return self.source.relative_to(ROOT).as_posix()

    def to(self, path, anchor=""):
        """The relative address of another path of the site."""
        return (self.asset(f"{path}/" if path else "") or "./") + (f"#{anchor}" if anchor else "")

    def asset(self, name):
        """The relative address of a file of the site."""
        return "../" * len([it for it in self.path.split("/") if it]) + name


def default_path(source):
    below = source.relative_to(ROOT / "docs").as_posix().removesuffix(".md")
    if below.endswith(".nb"):
        below = below.removesuffix(".nb").removesuffix("README").rstrip("/") + "/nb"
    return below.removesuffix("README").rstrip("/")


class Site:
    """Every page, and what links lead to."""

    def __init__(self):
        navigation = tomllib.loads((HERE / "navigation.toml").read_text())
        self.pages, self.parts = {}, []
        self.files = {}  # sources that are shown as they are: path in the repository -> page
        self.home = self.add(Page(ROOT / navigation["home"], path=""))
        for part in navigation["part"]:
            pages = []
            for entry in part["pages"]:
                if not (ROOT / entry["source"]).is_file():
                    wrong(f'{entry["source"]} is in site/navigation.toml and not there')
                    continue
                page = self.add(Page(ROOT / entry["source"], entry.get("path"), entry.get("title"), part["title"], entry.get("sections")))
                pages.append(page)
                if "below" in entry:
                    for source in sorted(ROOT.glob(entry["below"])):
                        if source != page.source:
                            page.below.append(self.add(Page(source, part=part["title"])))
            self.parts.append((part["title"], pages))
            # In the order of the list on the page that they are below.
            for page in pages:
                page.below.sort(key=lambda child: page.text.find(f"({child.source.name.replace('.nb.md', '.md')})"))
        for source in sorted((ROOT / "docs").rglob("*.md")):
            if source not in self.pages:
                wrong(f"{source.relative_to(ROOT)} is not in site/navigation.toml")
        for page in self.pages.values():
            if page.language == "nb":
                english = self.pages.get(page.source.with_name(page.source.name.replace(".nb.md", ".md")))
                if english is None:
                    wrong(f"{page.where()} has no English page")
                else:
                    page.other, english.other = english, page

    def add(self, page):
        if page.source in self.pages:
            wrong(f"{page.where()} stands twice in site/navigation.toml")
        self.pages[page.source] = page
        return page

    def check_lists(self):
        """A page below another stands in the list of that one, in its language."""
        for page in self.pages.values():
            for child in page.below:
                index = page if child.language == page.language else page.other
                if index and child is not index and child not in index.leads:
                    wrong(f"{child.where()} is missing in the list of {index.where()}")

    def order(self):
        """The pages as one would read them, without those below another."""
        return [self.home] + [page for _, pages in self.parts for page in pages]

    def link(self, page, target):
        """What a link of a document becomes on the site."""
        if re.match(r"(https?|mailto):", target):
            return target
        path, _, anchor = target.partition("#")
        source = (page.source.parent / path).resolve() if path else page.source
        if source == ROOT / "README.md":
            # It is on the site only with some of its sections.
            known = self.pages.get(source)
            if known and anchor and anchor in {slug(name) for name in known.sections}:
                return page.to(known.path, anchor)
            if not anchor:
                return page.to("")
        elif source in self.pages:
            known = self.pages[source]
            page.leads.add(known)
            return f"#{anchor}" if known is page and anchor else page.to(known.path, anchor)
        elif source.is_dir() and source / "README.md" in self.pages:
            return page.to(self.pages[source / "README.md"].path)
        elif source.exists() and ROOT in source.parents and not anchor:
            return page.to(self.shown(source).path)
        wrong(f"{page.where()}: the link {target} leads nowhere")
        return target

    def shown(self, source):
        """A page for a file of the repository, or for the files of a folder, that a document links to."""
        if source not in self.files:
            name = source.relative_to(ROOT).as_posix()
            page = Page(source, f"files/{name}", name)
            self.files[source] = page
            if source.is_dir():
                inside = [it for it in sorted(source.rglob("*")) if it.is_file() and not hidden(it.relative_to(source))]
                rows = [f'<li><a href="{page.to(self.shown(it).path)}">{html.escape(it.relative_to(source).as_posix())}</a></li>' for it in inside]
                page.body = f"<h1>{html.escape(name)}</h1>\n<ul>\n" + "\n".join(rows) + "\n</ul>\n"
            else:
                page.body = f'<h1>{html.escape(name)}</h1>\n<pre tabindex="0"><code>{html.escape(source.read_text())}</code></pre>\n'
        return self.files[source]


def hidden(path):
    return any(part.startswith(".") or part == "node_modules" for part in path.parts)


def plain(inline):
    """The text of a heading or a cell, without its marks."""
    kinds = {"text", "code_inline"}
    return "".join(it.content if it.type in kinds else " " for it in inline.children or [] if it.type in kinds | {"softbreak", "hardbreak"})


def render(site, page):
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = markdown.parse(page.text)
    level, taken, under = 0, {}, ""
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            text = plain(tokens[index + 1])
            name = slug(text)
            taken[name] = taken.get(name, -1) + 1
            name += f"-{taken[name]}" if taken[name] else ""
            token.attrSet("id", name)
            level, under = int(token.tag[1]), text
            if level > 1:
                page.contents.append((level, name, text))
            page.pieces.append([name if level > 1 else "", text, []])
        elif token.type == "inline" and page.pieces:
            if tokens[index - 1].type != "heading_open":
                page.pieces[-1][2].append(plain(token))
            for child in token.children:
                if child.type == "link_open":
                    target = (page.source.parent / child.attrGet("href").partition("#")[0]).resolve()
                    if target in site.pages and site.pages[target].language != page.language:
                        child.attrSet("lang", site.pages[target].language)
                        child.attrSet("hreflang", site.pages[target].language)
                    child.attrSet("href", site.link(page, child.attrGet("href")))
                elif child.type == "image":
                    wrong(f"{page.where()}: an image; say it in words, or teach site/build.py to carry it")
                elif child.type == "html_inline":
                    wrong(f"{page.where()}: raw HTML: {child.content}")
        elif token.type == "fence":
            page.pieces[-1][2].append(token.content)
        elif token.type == "table_open":
            token.meta["label"] = under
        elif token.type == "html_block":
            if not re.fullmatch(r"<!--.*-->\s*", token.content, re.S):
                wrong(f"{page.where()}: raw HTML: {token.content}")
            token.content = ""
    add_rules(markdown)
    page.body = tidy_tables(markdown.renderer.render(tokens, markdown.options, {}))


def add_rules(markdown):
    """What scrolls sideways is reached with the keyboard."""

    def code(_, tokens, index, options, env):
        kind = tokens[index].info.split()[0] if tokens[index].info.strip() else ""
        name = f' class="language-{html.escape(kind)}"' if kind else ""
        return f'<pre tabindex="0"><code{name}>{html.escape(tokens[index].content)}</code></pre>\n'

    def table(_, tokens, index, options, env):
        return f'<div class="table" role="group" tabindex="0" aria-label="{html.escape(tokens[index].meta["label"])}">\n<table>\n'

    markdown.add_render_rule("fence", code)
    markdown.add_render_rule("code_block", code)
    markdown.add_render_rule("table_open", table)
    markdown.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")


def tidy_tables(text):
    """Markdown has no table without a head: one of empty cells is left out, and an empty cell is no heading."""
    text = re.sub(r"<thead>\s*<tr>(\s*<th[^>]*></th>)+\s*</tr>\s*</thead>\s*", "", text)
    return re.sub(r"<th[^>]*></th>", "<td></td>", text)


def entry(page, target, title=None):
    here = ' aria-current="page"' if target is page else ""
    return f'<a href="{page.to(target.path)}"{here}>{html.escape(title or target.title)}</a>'


def menu(site, page):
    """The navigation: all parts in English; of the pages in Norwegian, those."""
    rows = []
    if page.language == "nb":
        index = next(it for it in site.pages.values() if it.language == "nb" and it.source.name == "README.nb.md")
        own = [it for it in index.other.below if it.language == "nb" and it is not index]
        rows.append(f'<p>{entry(page, index)}</p>\n<ul>')
        rows += [f"<li>{entry(page, it)}</li>" for it in own]
        rows.append(f'</ul>\n<p><a href="{page.to("")}" hreflang="en" lang="en">Documentation in English</a></p>')
        return "\n".join(rows)
    for title, pages in site.parts:
        rows.append(f"<p>{html.escape(title)}</p>\n<ul>")
        for it in pages:
            children = [child for child in it.below if child.language == "en"]
            show = page is it or page in it.below
            inner = "".join(f"\n<li>{entry(page, child)}</li>" for child in children) if show else ""
            rows.append(f"<li>{entry(page, it)}" + (f"\n<ul>{inner}\n</ul>" if inner else "") + "</li>")
        rows.append("</ul>")
    return "\n".join(rows)


def contents(page, words):
    """The headings of a long page."""
    if len(page.contents) < 8 or page.part is None:
        return ""
    rows = [f'<li class="h{level}"><a href="#{name}">{html.escape(text)}</a></li>' for level, name, text in page.contents if level < 4]
    return f'<details class="contents"><summary>{words["on_page"]}</summary>\n<ul>\n' + "\n".join(rows) + "\n</ul></details>\n"


def neighbours(site, page, words):
    order = site.order()
    if page not in order:
        return ""
    at, rows = order.index(page), []
    for step, name in ((at - 1, "before"), (at + 1, "next")):
        if 0 <= step < len(order):
            rows.append(f'<span>{words[name]}: {entry(page, order[step], "Home" if step == 0 else None)}</span>')
    return f'<p class="neighbours">{" ".join(rows)}</p>\n'


def doors(body):
    """The sections of the home page, side by side."""
    head, *sections = re.split(r"(?=<h2)", body)
    return head + '<div class="doors">\n' + "".join(f"<section>\n{it}</section>\n" for it in sections) + "</div>\n"


def whole(site, page, version, extra=""):
    words = WORDS[page.language]
    body = page.body
    if page is site.home:
        body = doors(body)
    listing = contents(page, words)
    if listing:
        body = body.replace("</h1>\n", f"</h1>\n{listing}", 1)
    other, alternates = "", ""
    if page.other:
        link = page.to(page.other.path)
        tag = page.other.language
        other = f'<a class="language" href="{link}" hreflang="{tag}" lang="{tag}">{words["other"]}</a>'
        alternates = f'<link rel="alternate" hreflang="{tag}" href="{link}">\n'
    name = page.heading if page is site.home else f"{page.heading} – Portvakt"
    return f"""<!doctype html>
<html lang="{page.language}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>{html.escape(name)}</title>
<link rel="icon" href="{page.asset("icon.svg")}" type="image/svg+xml">
<link rel="stylesheet" href="{page.asset("style.css")}">
{alternates}{extra}</head>
<body>
<a class="skip" href="#content">{words["skip"]}</a>
<header>
<a class="name" href="{page.to("")}"{' hreflang="en"' if page.language == "nb" else ""}>Portvakt</a>
<a class="to-menu" href="#menu">{words["menu"]}</a>
{other}
<form action="{page.to("search" if page.language == "en" else "search/nb")}" role="search" aria-label="{words["search_in"]}">
<input type="search" name="q" aria-label="{words["search_in"]}" placeholder="{words["search"]}" autocomplete="off">
<button>{words["search"]}</button>
</form>
</header>
<div class="columns">
<main id="content" tabindex="-1">
{body}{neighbours(site, page, words)}</main>
<nav id="menu" aria-label="{words["menu"]}">
{menu(site, page)}
</nav>
</div>
<footer><p>Portvakt {version}</p></footer>
</body>
</html>
"""


def search_pages():
    """The pages of results, one for each language of the frame; search.js fills them."""
    pages = []
    for language, words in WORDS.items():
        page = Page(HERE / "search.js", "search" if language == "en" else f"search/{language}", words["search"])
        page.language = language
        page.body = (
            f'<h1>{words["search"]}</h1>\n<noscript><p>{words["no_script"]}</p></noscript>\n'
            f'<p id="told" role="status"></p>\n<ol id="found" data-root="{page.asset("")}"></ol>\n'
        )
        pages.append(page)
    return pages


def index(site):
    """What search.js reads: each piece of a page below a heading."""
    rows = []
    for page in site.pages.values():
        for anchor, heading, text in page.pieces:
            body = re.sub(r"\s+", " ", " ".join(text)).strip()
            where = (page.path + "/" if page.path else "") + (f"#{anchor}" if anchor else "")
            rows.append([where, page.language, page.heading, heading, body])
    return json.dumps(rows, ensure_ascii=False, separators=(",", ":"))


def main():
    out = pathlib.Path(sys.argv[1]).resolve()
    site = Site()
    for page in site.pages.values():
        render(site, page)
    site.check_lists()
    if problems:
        sys.exit("\n".join(problems))
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    searches = search_pages()
    # A folder that this did not make is not removed.
    if out.exists() and any(out.iterdir()) and not (out / "search-index.json").exists():
        sys.exit(f"{out} is there and is no site: name another folder, or remove it")
    shutil.rmtree(out, ignore_errors=True)
    for page in [*site.pages.values(), *site.files.values(), *searches]:
        file = out / page.path / "index.html"
        file.parent.mkdir(parents=True, exist_ok=True)
        extra = f'<script src="{page.asset("search.js")}" defer></script>\n' if page in searches else ""
        file.write_text(whole(site, page, version, extra))
    for name in ("style.css", "search.js", "icon.svg"):
        shutil.copy(HERE / name, out / name)
    (out / "search-index.json").write_text(index(site))
    print(f"{len(site.pages)} pages and {len(site.files)} files of the repository in {out}")


if __name__ == "__main__":
    main()
