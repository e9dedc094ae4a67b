"""Faults that a Rust test injects into the real program already: a script names them, and is not a second test.

In full the tests are run. With --short, as in tests/run, which has run them, it is looked that they are there still.
"""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def by(**tests):
    """Of each test binary these tests."""
    name, broken = pathlib.Path(sys.argv[0]).name, []
    for binary, named in tests.items():
        folder = ROOT / "tests" / binary
        files = [ROOT / f"tests/{binary}.rs", *(folder.glob("*.rs") if folder.is_dir() else [])]
        text = "".join(file.read_text() for file in files)
        broken += [f"tests/{binary}.rs has no test {test}" for test in named if not re.search(rf"\bfn {test}\(", text)]
    if not broken and "--short" not in sys.argv:
        for binary, named in tests.items():
            words = ["cargo", "test", "--locked", "--test", binary, "--", *named]
            ran = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, env=os.environ)
            passed = sum(int(count) for count in re.findall(r"(\d+) passed", ran.stdout))
            if ran.returncode != 0 or passed < len(named):
                broken.append(f"{' '.join(words)}: {passed} passed\n{ran.stdout[-2000:]}{ran.stderr[-500:]}")
    print(("BROKEN " if broken else "ok ") + name + " " + json.dumps({"shown_by": tests}), flush=True)
    for what in broken:
        print(f"  {what}", flush=True)
    sys.exit(1 if broken else 0)
