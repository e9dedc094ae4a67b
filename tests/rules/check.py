"""The rules, their tests, the runbook, the dashboard and docs/metrics.md fit together.

promtool says whether expressions can be read and alerts fire; this says whether they look at something that is there:
a matcher for a value that no label can have never fires, and nobody notices.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILES = ROOT / "helm/portvakt/files"
# Labels of targets, and those that Prometheus and its records add.
TARGET = {"namespace", "job", "instance", "le", "quantile"}
# What Prometheus itself has.
OTHERS = {"up", "ALERTS"}

problems = []


def wrong(what):
    problems.append(what)


def families():
    """Every family of docs/metrics.md: its kind, and its labels with their values, or None where the configuration names them."""
    found = {}
    for section in (ROOT / "docs/metrics.md").read_text().split("\n### ")[1:]:
        name, text = section.split("\n", 1)
        kind = re.search(r"^\*(\w+),", text, re.M).group(1)
        labels = {}
        for label, values in re.findall(r"^- `(\w+)`: (.*)$", text, re.M):
            outside = re.sub(r"\([^()]*\)", "", values)
            listed = outside.startswith("`")
            labels[label] = set(re.findall(r"`([^`]+)`", outside)) if listed else None
        found[name] = (kind, labels)
    return found


FAMILIES = families()


def family_of(name):
    if name in FAMILIES:
        return FAMILIES[name] if FAMILIES[name][0] != "histogram" else None
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return FAMILIES.get(base) if FAMILIES.get(base, ("",))[0] == "histogram" else None


def look_at(where, expr, records):
    """Names, labels and values of an expression."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    for name in set(re.findall(r"\b(?:portvakt|process)_\w+|\b\w+:[\w:]+\b", bare)):
        if ":" in name:
            if name not in records:
                wrong(f"{where}: nothing records {name}")
        elif not family_of(name):
            wrong(f"{where}: there is no {name} in docs/metrics.md")
    for name, matchers in re.findall(r"\b([a-zA-Z_:]+)\{([^}]*)\}", expr):
        family = family_of(name)
        for label, sign, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', matchers):
            known = set(family[1]) if family else records.get(name, set())
            if name not in OTHERS and label not in known | TARGET:
                wrong(f"{where}: {name} has no label {label}")
            values = family[1].get(label) if family else VALUES.get(label)
            if not values or "$" in value:
                continue
            parts = value.split("|") if "~" in sign else [value]
            for part in parts:
                test = re.compile(part if "~" in sign else re.escape(part))
                if not any(test.fullmatch(it) for it in values):
                    wrong(f"{where}: {label} of {name} is never {part}")


# Of records: the values that a label has in any family.
VALUES = {}
for _, labels in FAMILIES.values():
    for label, values in labels.items():
        VALUES.setdefault(label, set()).update(values or set())


def promtool(*arguments, **options):
    run = subprocess.run(["promtool", *arguments], capture_output=True, text=True, **options)
    if run.returncode:
        wrong(f"promtool {' '.join(map(str, arguments))}: {run.stdout}{run.stderr}")


def check_rules():
    rules = yaml.safe_load((FILES / "rules.yaml").read_text())
    every = [rule for group in rules["groups"] for rule in group["rules"]]
    records = {}
    for rule in every:
        if "record" in rule:
            by = re.search(r"by \(([^)]*)\)", rule["expr"])
            labels = set(re.split(r",\s*", by.group(1))) if by else set()
            records[rule["record"]] = labels | set(rule.get("labels", {}))
    for rule in every:
        look_at(rule.get("record") or rule["alert"], rule["expr"], records)
    promtool("check", "rules", FILES / "rules.yaml")
    return rules, [rule for rule in every if "alert" in rule], records


def check_runbook(alerts):
    text = (ROOT / "docs/runbook.md").read_text()
    sections = {part.split("\n", 1)[0]: part for part in text.split("\n### ")[1:]}
    names = {alert["alert"] for alert in alerts}
    for name in names ^ set(sections):
        wrong(f"{name} is an alert, or a section of the runbook, and not the other")
    for name, section in sections.items():
        for lead in ["Callers", "Look", "Mend", "Escalate"]:
            if f"**{lead}**:" not in section:
                wrong(f"runbook, {name}: no {lead}")
    for known in set(re.findall(r"\b(?:portvakt|process)_\w+", text)):
        if not any(name.startswith(known) or family_of(known) for name in FAMILIES):
            wrong(f"runbook: there is no {known}")
    for alert in alerts:
        name, notes = alert["alert"], alert.get("annotations", {})
        if alert.get("labels", {}).get("severity") not in {"critical", "warning"}:
            wrong(f"{name}: severity is critical or warning")
        if set(notes) != {"summary", "description", "runbook_url"}:
            wrong(f"{name}: annotations are summary, description and runbook_url")
        if notes.get("runbook_url") != f"docs/runbook.md#{name.lower()}":
            wrong(f"{name}: runbook_url is that of its section")


def check_tests(rules, alerts):
    """Runs the tests, and sees to it that every alert is tested on both sides."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            rule.pop("annotations", None)
    tested, labels_of = set(), {}
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "rules.yaml").write_text(yaml.safe_dump(rules))
        for file in sorted((ROOT / "tests/rules").glob("*.yaml")):
            (folder / file.name).write_text(file.read_text())
            promtool("test", "rules", file.name, cwd=folder)
            for test in yaml.safe_load(file.read_text())["tests"]:
                quiet = any("quiet" in series["series"] for series in test["input_series"])
                before = any(not it["exp_alerts"] for it in test["alert_rule_test"])
                for check in test["alert_rule_test"]:
                    for expected in check["exp_alerts"]:
                        labels, name = expected["exp_labels"], check["alertname"]
                        labels_of.setdefault(name, []).append(set(labels))
                        if (quiet or name == "PortvaktAbsent") and before:
                            tested.add((name, labels["severity"]))
    for alert in alerts:
        name = alert["alert"]
        if (name, alert["labels"]["severity"]) not in tested:
            wrong(f"{name}: no test in which it fires, is quiet before, and has a quiet neighbour")
    return labels_of


def check_texts(alerts, labels_of):
    """A label in a text must be one of the alert: else it reads as nothing."""
    for alert in alerts:
        texts = " ".join(alert.get("annotations", {}).values())
        for label in set(re.findall(r"\$labels\.(\w+)", texts)) - {"namespace"}:
            for labels in labels_of.get(alert["alert"], []):
                if label not in labels:
                    wrong(f"{alert['alert']}: its text has {label}, which it has not")


def check_dashboard(records):
    board = json.loads((FILES / "dashboard.json").read_text())
    rows = [panel["title"] for panel in board["panels"] if panel["type"] == "row"]
    asked = ["served", "refused", "Altinn well", "old", "cost"]
    if len(rows) != len(asked) or not all(word in row for word, row in zip(asked, rows)):
        wrong(f"dashboard: its rows answer, in this order: {asked}")
    variables = {it["name"] for it in board["templating"]["list"]}
    taken, ids, exprs = set(), set(), []
    for panel in board["panels"]:
        title, at = panel["title"], panel["gridPos"]
        if panel["id"] in ids or at["x"] + at["w"] > 24:
            wrong(f"dashboard, {title}: its id is taken, or it is too wide")
        ids.add(panel["id"])
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        if cells & taken:
            wrong(f"dashboard, {title}: lies over another")
        taken |= cells
        for alert in re.findall(r"\bPortvakt[A-Z]\w+", panel.get("description", "")):
            if f"\n### {alert}\n" not in (ROOT / "docs/runbook.md").read_text():
                wrong(f"dashboard, {title}: there is no alert {alert}")
        if panel["type"] != "row" and panel["datasource"]["uid"] != "${datasource}":
            wrong(f"dashboard, {title}: its source is the variable")
        for target in panel.get("targets", []):
            exprs.append((f"dashboard, {title}", target["expr"]))
    for it in board["templating"]["list"]:
        if it["type"] == "query":
            exprs.append((f"dashboard, ${it['name']}", re.sub(r"label_values\((.*), \w+\)", r"\1", it["definition"])))
    rules = []
    for number, (where, expr) in enumerate(exprs):
        look_at(where, expr, records)
        for name in re.findall(r"\$\{?(\w+)", expr):
            if name not in variables and not name.startswith("__"):
                wrong(f"{where}: there is no variable ${name}")
        plain = expr.replace("$__rate_interval", "5m")
        rules.append({"record": f"check:{number}", "expr": re.sub(r"\$\{?\w+\}?", ".*", plain)})
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}, file)
        file.flush()
        promtool("check", "rules", file.name)
    return len(exprs)


def main():
    rules, alerts, records = check_rules()
    check_runbook(alerts)
    labels_of = check_tests(rules, alerts)
    # The rules without annotations are for promtool only.
    alerts = [rule for group in yaml.safe_load((FILES / "rules.yaml").read_text())["groups"] for rule in group["rules"] if "alert" in rule]
    check_texts(alerts, labels_of)
    exprs = check_dashboard(records)
    if problems:
        sys.exit("\n".join(problems))
    print(f"{len(FAMILIES)} families, {len(records)} records, {len(alerts)} alerts, {exprs} expressions of the dashboard: all fit together")


if __name__ == "__main__":
    main()
