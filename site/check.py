"""Checks a built site, as a browser would meet it: every link and anchor leads somewhere, every page can be reached from the
home page, nothing is fetched from elsewhere, every page says its language and has one first heading, and pages in two languages
lead to each other. Every alert of the rules has its place in the runbook.

    check.py FOLDER
"""

import pathlib
import re
import sys
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

ROOT = pathlib.Path(__file__).resolve().parents[1]
# What a browser fetches without being asked.
FETCHED = {("link", "href"), ("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("form", "action"), ("object", "data")}

problems = []


def wrong(what):
    problems.append(what)


class Reader(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.fetched, self.ids, self.first, self.language, self.alternates = [], [], [], 0, None, {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        if tag == "html":
            self.language = known.get("lang")
        self.first += tag == "h1"
        if "id" in known:
            self.ids.append(known["id"])
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        if tag == "link" and known.get("rel") == "alternate":
            self.alternates[known["hreflang"]] = known["href"]
            return
        self.fetched += [known[name] for kind, name in FETCHED if kind == tag and name in known]
        for name in known:
            if name.startswith("on") or name == "style":
                wrong(f"an attribute {name}, which the pages' own policy forbids")


def target(site, page, href):
    """The file that an address means, or None."""
    path = unquote(urlsplit(href).path)
    file = (page.parent / path).resolve() if path else page
    if site not in [file, *file.parents]:
        return None
    if file.is_dir():
        # Without the slash relative links of the page would lead astray, until the server redirects.
        return file / "index.html" if path.endswith("/") else None
    return file if file.exists() else None


def main():
    site = pathlib.Path(sys.argv[1]).resolve()
    pages = {file: Reader(file.read_text()) for file in sorted(site.rglob("*.html"))}
    links = 0
    leads = {page: set() for page in pages}
    for page, read in pages.items():
        name = page.relative_to(site).as_posix()
        for href in read.fetched:
            if re.match(r"[a-z]+:|//", href) or not target(site, page, href):
                wrong(f"{name}: fetches {href}, which is not of this site")
        for href in read.links:
            if re.match(r"(https?|mailto):", href):
                continue
            links += 1
            file, anchor = target(site, page, href), unquote(urlsplit(href).fragment)
            if file is None:
                wrong(f"{name}: {href} leads nowhere")
            elif anchor and file in pages and anchor not in pages[file].ids:
                wrong(f"{name}: {href}: no such heading")
            if file in pages:
                leads[page].add(file)
        for again in {it for it in read.ids if read.ids.count(it) > 1}:
            wrong(f"{name}: the id {again} is there twice")
        if read.first != 1:
            wrong(f"{name}: {read.first} first headings")
        if read.language not in {"en", "nb"}:
            wrong(f"{name}: its language is {read.language}")
        for language, href in read.alternates.items():
            other = pages.get(target(site, page, href))
            back = other and other.alternates.get(read.language)
            if not other or other.language != language or not back or target(site, target(site, page, href), back) != page:
                wrong(f"{name}: {href} is not this page in {language}, or does not lead back")
    seen, ahead = set(), [site / "index.html"]
    while ahead:
        page = ahead.pop()
        if page not in seen:
            seen.add(page)
            ahead += leads[page]
    # The page of results is reached by the form on every page.
    for page in sorted(set(pages) - seen - {site / "search/index.html", site / "search/nb/index.html"}):
        wrong(f"{page.relative_to(site)}: no link leads there from the home page")
    for sheet in site.rglob("*.css"):
        if re.search(r"@import|url\(", sheet.read_text()):
            wrong(f"{sheet.relative_to(site)}: fetches something")
    problem_pages(site, pages)
    alerts = runbook(site, pages)
    if links < 500 or len(pages) < 60:
        wrong(f"only {links} links on {len(pages)} pages: were they read?")
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(pages)} pages, {links} links, {alerts} alerts: all lead somewhere, and nothing comes from outside")


def problem_pages(site, pages):
    """Each problem has its page in both languages, at the address that its `type` is made of."""
    sources = {file.name.split(".")[0] for file in (ROOT / "docs/vendor/problems").glob("*.md")} - {"README"}
    if len(sources) < 20:
        wrong(f"only {len(sources)} problems")
    for code in sources:
        for language, path in (("en", f"vendor/problems/{code}"), ("nb", f"vendor/problems/{code}/nb")):
            page = pages.get(site / path / "index.html")
            if not page or page.language != language or len(page.alternates) != 1:
                wrong(f"{path}/ is not there in {language}, or does not lead to the other language")


def runbook(site, pages):
    """Each alert's `runbook_url` is a heading of the runbook."""
    rules = (ROOT / "helm/portvakt/files/rules.yaml").read_text()
    alerts, urls = re.findall(r"- alert: (\w+)", rules), re.findall(r"runbook_url: \"?([^\s\"]+)", rules)
    if len(alerts) < 20 or len(urls) != len(alerts):
        wrong(f"{len(alerts)} alerts, {len(urls)} of them with a runbook_url")
    ids = pages[site / "runbook/index.html"].ids
    for url in set(urls):
        path, _, anchor = url.partition("#")
        if path != "docs/runbook.md" or anchor not in ids:
            wrong(f"runbook_url {url}: no such heading on the built page")
    return len(set(alerts))


if __name__ == "__main__":
    main()
