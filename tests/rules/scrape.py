"""A real Prometheus scrapes the real program, with the sandbox as Maskinporten and Altinn.

Everything on ports of the system's choice. Asserted: what is scraped is in docs/metrics.md, name by name and value by value;
every rule is evaluated without an error and every record has a value; nothing is alerted about while all is well; and, with
windows of seconds instead of minutes, an outage of Altinn fires the alerts that the runbook has for it, and they end with it.
"""

import contextlib
import http.server
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

from check import FAMILIES, ROOT

RULES = (ROOT / "helm/portvakt/files/rules.yaml").read_text()
BOARD = json.loads((ROOT / "helm/portvakt/files/dashboard.json").read_text())
SEED = "c1000000-0000-4000-8000-0000000000"
BAKKEN, STRAND = "310000507", "310000604"
# Only where something is wrong, or where the configuration has certificates, or routes in shadow.
NOT_HERE = {
    "portvakt_register_derivation_off",
    "portvakt_shadow_refusals_total",
    "portvakt_tls_certificate_not_after_timestamp_seconds",
}

CONFIG = """
environment: custom
custom: {{ issuer: "{issuer}", altinn: "{altinn}" }}
listen: {{ address: "127.0.0.1:0", workers: 1 }}
admin: {{ address: "127.0.0.1:0" }}
upstream: {{ url: "{upstream}" }}
altinn: {{ subscription_key: sandbox-subscription-key }}
maskinporten: {{ client_id: {seed}01, key_file: "{folder}/key.json" }}
register: {{ snapshot: {{ file: "{folder}/register" }} }}
audit: {{ output: {{ file: "{folder}/audit.jsonl" }} }}
routes:
  - id: read
    match: {{ methods: [GET], path: "/v1/parties/{{party}}/returns" }}
    scopes: {{ all_of: ["skatteetaten:mva"] }}
    resource: ske-mva-melding
    action: read
    party: {{ path: party }}
"""


def wait(what, found, seconds=60):
    """Looks until `found` gives something."""
    end = time.monotonic() + seconds
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > end:
            raise SystemExit(f"waited {seconds} s in vain: {what}")
        time.sleep(0.1)


def call(url, body=None, method=None, token=None):
    """Status and text."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Upstream(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Program:
    """A program that was started here, and the lines that it says."""

    def __init__(self, stack, stream, *arguments):
        pipes = {stream: subprocess.PIPE, "stderr" if stream == "stdout" else "stdout": subprocess.DEVNULL}
        self.child = subprocess.Popen([str(it) for it in arguments], text=True, **pipes)
        stack.callback(self.end)
        self.lines = []
        threading.Thread(target=self.read, args=[getattr(self.child, stream)], daemon=True).start()

    def read(self, pipe):
        for line in pipe:
            self.lines.append(line)

    def end(self):
        self.child.kill()
        self.child.wait()

    def said(self, pattern):
        def look():
            if self.child.poll() is not None:
                raise SystemExit("it ended: " + "".join(self.lines))
            return next(filter(None, (re.search(pattern, line) for line in list(self.lines))), None)

        return wait(pattern, look)


class Stage:
    def __init__(self, stack, programs):
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        sandbox = Program(stack, "stdout", programs / "portvakt-sandbox", "--listen", "127.0.0.1:0")
        told = json.loads(sandbox.said(r"\{.*\"ready\":true.*\}").group(0))
        self.knobs = told["knobs"]
        (folder / "key.json").write_text(call(f"{self.knobs}/clients/{SEED}01/jwk")[1])
        config = folder / "portvakt.yaml"
        values = {"issuer": told["issuer"], "altinn": told["altinn"], "seed": SEED, "folder": folder}
        config.write_text(CONFIG.format(upstream=f"http://127.0.0.1:{upstream.server_port}", **values))
        program = Program(stack, "stderr", programs / "portvakt", "run", "--config", config)
        listening = json.loads(program.said(r'\{.*"message":"listening".*\}').group(0))
        self.url, self.admin = f"http://{listening['address']}", f"http://{listening['admin']}"
        wait("ready", lambda: call(f"{self.admin}/readyz")[0] == 200)
        self.rules = folder / "rules.yaml"
        self.rules.write_text(RULES)
        (folder / "prometheus.yaml").write_text(
            json.dumps(
                {
                    "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                    "scrape_configs": [{"job_name": "portvakt", "static_configs": [{"targets": [listening["admin"]]}]}],
                    "rule_files": [str(self.rules)],
                }
            )
        )
        prometheus = Program(
            stack,
            "stderr",
            "prometheus",
            f"--config.file={folder}/prometheus.yaml",
            f"--storage.tsdb.path={folder}/data",
            "--web.listen-address=127.0.0.1:0",
            "--web.enable-lifecycle",
        )
        self.prometheus = "http://" + prometheus.said(r'msg="Listening on" address=(\S+)').group(1)
        wait("Prometheus is ready", lambda: call(f"{self.prometheus}/-/ready")[0] == 200)

    def token(self, organisation):
        wish = {"client_id": f"{SEED}11", "scope": "skatteetaten:mva", "systemuser_org": organisation}
        return json.loads(call(f"{self.knobs}/token", wish)[1])["access_token"]

    def get(self, party, token):
        return call(f"{self.url}/v1/parties/{party}/returns", token=token)[0]

    def ask(self, path, **query):
        url = f"{self.prometheus}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        answer = json.loads(call(url)[1])
        if answer["status"] != "success":
            raise SystemExit(f"{path} {query}: {answer}")
        return answer["data"]

    def query(self, expr):
        return self.ask("query", query=expr)["result"]

    def alerts(self, *states):
        return {it["labels"]["alertname"] for it in self.ask("alerts")["alerts"] if it["state"] in states}

    def reload(self, rules):
        self.rules.write_text(rules)
        status, text = call(f"{self.prometheus}/-/reload", method="POST")
        assert status == 200, text


def expect(found, expected, what):
    if found != expected:
        raise SystemExit(f"{what}: expected {expected}, found {found}")


def check_metrics(stage):
    text = call(f"{stage.admin}/metrics")[1]
    run = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    expect((run.returncode, run.stdout + run.stderr), (0, ""), "promtool check metrics")
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M))
    expect(set(FAMILIES) - set(kinds), NOT_HERE, "in docs/metrics.md and not scraped")
    expect({name: FAMILIES[name][0] for name in kinds}, kinds, "kinds")
    for name, labels in re.findall(r"^([a-z_]+)(?:\{(.*)\})? \S+$", text, re.M):
        base = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            values = FAMILIES[base][1].get(label) if label != "le" else None
            if label != "le" and label not in FAMILIES[base][1] or values and value not in values:
                raise SystemExit(f"{name} with {label}={value}: not in docs/metrics.md")
    return len(kinds)


def check_rules(stage):
    def rules():
        return [rule for group in stage.ask("rules")["groups"] for rule in group["rules"]]

    expected = RULES.count("- record:") + RULES.count("- alert:")
    wait("every rule is evaluated", lambda: all(it["health"] != "unknown" for it in rules()))
    found = rules()
    expect(len(found), expected, "rules")
    expect([it for it in found if it["health"] != "ok"], [], "rules in error")
    for name in sorted(set(re.findall(r"- record: (\S+)", RULES))):
        wait(f"{name} has a value", lambda: stage.query(name))
    return len(found)


def check_dashboard(stage):
    """Every question can be asked, and most have an answer when all is well."""
    empty, asked = [], 0
    for panel in BOARD["panels"]:
        for target in panel.get("targets", []):
            expr = target["expr"].replace("$__rate_interval", "1m")
            asked += 1
            if not stage.query(re.sub(r"\$\{?\w+\}?", ".*", expr)):
                empty.append(target["expr"])
    # Where nothing is wrong, and no certificate configured, these have nothing to show.
    excused = re.compile(r"> 0|_certificate_")
    unexpected = [expr for expr in empty if not excused.search(expr)]
    expect(unexpected, [], "panels without an answer")
    return asked - len(empty), asked


def quick(rules):
    """Windows of seconds, and no patience."""
    rules = re.sub(r"\[(\d+)m\]", "[10s]", rules)
    return re.sub(r"^ +for: .*\n", "", rules, flags=re.M)


def outage(stage, token):
    # A no is asked for again each time: it is not held for long, and an outage is no no.
    wait("nothing fires", lambda: not stage.alerts("firing"))
    for endpoint in ["pdp", "parties"]:
        call(f"{stage.knobs}/faults/{endpoint}", {"status": 503}, "PUT")
    expected = {"PortvaktCannotTell", "PortvaktAltinnFailing"}

    def fires():
        stage.get(STRAND, token)
        return expected <= stage.alerts("firing")

    wait(f"{expected} fire", fires)
    expect(stage.get(BAKKEN, token), 200, "what is known is served in the outage")
    expect(call(f"{stage.admin}/readyz")[0], 200, "ready in the outage")
    call(f"{stage.knobs}/faults", method="DELETE")

    def ended():
        stage.get(STRAND, token)
        return not stage.alerts("firing")

    wait("they end with the outage", ended, 120)


def main():
    programs = pathlib.Path(sys.argv[1]).absolute()
    with contextlib.ExitStack() as stack:
        stage = Stage(stack, programs)
        token = stage.token(BAKKEN)
        expect(stage.get(BAKKEN, token), 200, "a right that is held")

        def known():
            stage.get(BAKKEN, token)
            return stage.query('portvakt_permits_total{basis="derived"} > 0')

        wait("the register knows it", known)
        evaluated = check_rules(stage)
        wait("no alert while all is well", lambda: not stage.alerts("firing", "pending"))
        expect(stage.get(STRAND, token), 403, "a right that is not held")
        expect(stage.get(BAKKEN, "no-token"), 401, "no token of Maskinporten")
        expect(call(f"{stage.url}/elsewhere")[0], 404, "no route")
        families = check_metrics(stage)
        answered, asked = check_dashboard(stage)
        stage.reload(quick(RULES))
        outage(stage, token)
    print(
        f"{families} families scraped, {evaluated} rules evaluated, {answered} of {asked} expressions of the dashboard answered; "
        "an outage fired its alerts, and they ended with it"
    )


if __name__ == "__main__":
    main()
