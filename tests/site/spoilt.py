"""What site/build must refuse, one spoilt tree at a time: a build that finds nothing wrong proves nothing.

    spoilt.py         with the Python of .tools/site (site/build makes it)
"""

import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = shutil.ignore_patterns("target", ".tools", ".git", "node_modules", "__pycache__")


def add(path, text):
    return lambda tree: (tree / path).write_text((tree / path).read_text() + text if (tree / path).exists() else text)


def replace(path, old, new):
    def change(tree):
        text = (tree / path).read_text()
        assert old in text, f"{path} has no {old!r}"
        (tree / path).write_text(text.replace(old, new))

    return change


def remove(path):
    return lambda tree: (tree / path).unlink()


# What is done to the tree, and what the build must say.
CASES = [
    ("nothing", lambda tree: None, None),
    ("a document that no menu has", add("docs/forgotten.md", "# Forgotten\n"), r"docs/forgotten\.md is not in site/navigation"),
    ("a link to no file", add("docs/vendor.md", "\n[x](nowhere.md)\n"), r"docs/vendor\.md: the link nowhere\.md leads nowhere"),
    ("a link out of the repository", add("docs/vendor.md", "\n[x](../../../etc/hostname)\n"), r"leads nowhere"),
    ("a link to no heading", add("docs/vendor.md", "\n[x](operator.md#nothing)\n"), r"#nothing: no such heading"),
    ("a link to no heading of the same page", add("docs/vendor.md", "\n[x](#nothing)\n"), r"#nothing: no such heading"),
    ("a script", add("docs/vendor.md", '\n<script src="https://cdn.example/x.js"></script>\n'), r"docs/vendor\.md: raw HTML"),
    ("a script in a line", add("docs/vendor.md", "\nSee <b onclick=x()>this</b>.\n"), r"docs/vendor\.md: raw HTML"),
    ("a picture from elsewhere", add("docs/vendor.md", "\n![x](https://cdn.example/x.png)\n"), r"docs/vendor\.md: an image"),
    ("a font from elsewhere", add("site/style.css", "@import 'https://fonts.example/x.css';\n"), r"style\.css: fetches something"),
    ("a script of the frame from elsewhere", replace("site/build.py", "<title>", '<script src="//cdn.example/x.js"></script><title>'), r"fetches //cdn\.example/x\.js"),
    ("a problem without its Norwegian page", remove("docs/vendor/problems/denied.nb.md"), r"denied\.nb\.md leads nowhere"),
    ("a problem without its English page", remove("docs/vendor/problems/denied.md"), r"denied\.nb\.md has no English page"),
    ("a problem that the list forgets", replace("docs/vendor/problems/README.md", "](denied.md)", "](no_right.md)"), r"denied\.md is missing in the list"),
    ("a decision that the list forgets", add("docs/decisions/9999-new.md", "# 9999. New\n"), r"9999-new\.md is missing in the list"),
    ("a menu with a page that is not there", replace("site/navigation.toml", "docs/glossary.md", "docs/words.md"), r"docs/words\.md is in site/navigation\.toml and not there"),
    ("a menu with a section that is not there", replace("README.md", "## Maskinporten test and TT02", "## Elsewhere"), r"has no section 'Maskinporten test and TT02'"),
    ("an alert without its section", replace("docs/runbook.md", "### PortvaktDown\n", "### PortvaktGone\n"), r"portvaktdown: no such heading on the built page"),
    ("an alert with another address", replace("helm/portvakt/files/rules.yaml", "docs/runbook.md#portvaktdown", "runbook.md#portvaktdown"), r"runbook_url runbook\.md#portvaktdown: no such heading"),
    ("a page in no language", replace("site/build.py", '<html lang="{page.language}">', "<html>"), r"its language is None"),
    ("a page whose other language does not lead back", replace("site/build.py", "page.other, english.other = english, page", "page.other = english"), r"does not lead back|is missing in the list"),
]


def main():
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        clean = pathlib.Path(folder) / "clean"
        shutil.copytree(ROOT, clean, ignore=SKIPPED)
        for name, spoil, expected in CASES:
            tree = pathlib.Path(folder) / "tree"
            shutil.copytree(clean, tree)
            spoil(tree)
            told, code = "", 0
            for step in ("build.py", "check.py"):
                if code == 0:
                    run = subprocess.run([sys.executable, tree / "site" / step, tree / "out"], capture_output=True, text=True)
                    told, code = told + run.stdout + run.stderr, run.returncode
            good = code == 0 if expected is None else code != 0 and re.search(expected, told)
            failed += not good
            print(f"{'ok  ' if good else 'FAIL'} {name}" + ("" if good else f": {told}"))
            shutil.rmtree(tree)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
