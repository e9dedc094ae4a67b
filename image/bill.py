"""The bill of materials of one program: bill.py SYFT PACKAGE VERSION TARGET. CycloneDX, to standard output.

syft reads the lock file, which also has what only tests and benches are made of, and the other workspace members; cargo knows
what this program is linked from, which differs by target. The same sources give the same bill: no time and no random number is in it.
"""

import json
import re
import subprocess
import sys


def main() -> None:
    syft, package, version, target = sys.argv[1:]
    tree = ["cargo", "tree", "--locked", "--package", package, "--target", target, "--edges", "normal", "--prefix", "none", "--format", "{p}"]
    linked = set()
    for line in subprocess.run(tree, check=True, capture_output=True, text=True).stdout.splitlines():
        found = re.match(r"(\S+) v(\S+)", line)
        if found:
            linked.add(found.groups())
    scan = [syft, "scan", "-q", "file:Cargo.lock", "-o", "cyclonedx-json"]
    bill = json.loads(subprocess.run(scan, check=True, capture_output=True, text=True).stdout)
    components = [it for it in bill["components"] if (it["name"], it.get("version", "")) in linked]
    missing = linked - {(it["name"], it["version"]) for it in components}
    assert not missing, f"not in the lock file: {missing}"
    bill["components"] = sorted(components, key=lambda it: (it["name"], it["version"]))
    kept = {it["bom-ref"] for it in components}
    bill["dependencies"] = [it for it in bill.get("dependencies", []) if it["ref"] in kept]
    bill.pop("serialNumber", None)
    bill["metadata"].pop("timestamp", None)
    bill["metadata"]["component"] = {
        "type": "application",
        "name": package,
        "version": version,
        "bom-ref": f"pkg:cargo/{package}@{version}",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    json.dump(bill, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
