"""What the fault scripts share: the real program between the sandbox and an upstream that counts, everything on free
ports of loopback, and steady traffic whose every answer is known beforehand.

A script is a docstring that says what is injected, what is promised and how it is seen, and a function that `run` gives
a `Stage`. Python's standard library is all it needs. The programs are those of $PORTVAKT and $PORTVAKT_SANDBOX, or of
target/debug.
"""

import asyncio
import collections
import contextlib
import http.client
import json
import logging
import os
import pathlib
import re
import resource
import signal
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug"
PROGRAM = os.environ.get("PORTVAKT", str(TARGET / "portvakt"))
SANDBOX = os.environ.get("PORTVAKT_SANDBOX", str(TARGET / "portvakt-sandbox"))
FAKETIME = f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1"

# Connections of the upstream are simply dropped at the end.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)

# Of the sandbox's seed world.
OWN, NORDLYS = "c1000000-0000-4000-8000-000000000001", "c1000000-0000-4000-8000-000000000011"
BAKKEN, BAKKEN_USER, STRAND = "310000507", "5e000000-0000-4000-8000-000000000001", "310000604"
SCOPES = "skatteetaten:mva skatteetaten:kravogbetalinger"

ROUTES = """
routes:
  - id: read
    match: { methods: [GET], path: "/v1/parties/{party}/returns/{id}" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: read
    party: { path: party }
  - id: submit
    match: { methods: [POST], path: "/v1/parties/{party}/returns" }
    scopes: { all_of: ["skatteetaten:mva"] }
    resource: ske-mva-melding
    action: write
    party: { path: party }
  - id: claims
    match: { methods: [POST], path: "/v1/parties/{party}/claims" }
    scopes: { all_of: ["skatteetaten:kravogbetalinger"] }
    resource: ske-krav-og-betalinger
    action: write
    party: { path: party }
  - id: scopes-only
    match: { methods: [GET], path: "/v1/scopes" }
    access: scopes
    scopes: { any_of: ["skatteetaten:mva"] }
  - id: open
    match: { methods: [GET, POST], path: "/open/*" }
    access: anonymous
"""


class Broken(Exception):
    """A promise that was not kept."""


class Skip(Exception):
    """What is missing on this machine, and could be installed."""


class Forbidden(Skip):
    """What this machine does not let us do."""


def expect(kept, what):
    if not kept:
        raise Broken(what)


def until(what, reached, seconds=20):
    """Looks until `reached` gives something, and gives that."""
    end = time.monotonic() + seconds
    while True:
        found = reached()
        if found:
            return found
        expect(time.monotonic() < end, f"waited {seconds} s in vain: {what}")
        time.sleep(0.02)


def root():
    if os.geteuid() != 0:
        raise Forbidden("needs root")


def descriptors(least):
    """Has this process have so many; they are the program's as well, unless it is given fewer."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < least:
        raise Forbidden(f"needs {least} file descriptors, and may have {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (least, hard))


class Child:
    """A program, its output read line by line."""

    def __init__(self, words, environment=(), most_files=None):
        def limit():
            if most_files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (most_files, most_files))

        # In a group of its own, so that what ends a script from the keyboard leaves it to `end`.
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | dict(environment), preexec_fn=limit, start_new_session=True,
        )
        self.out, self.err = collections.deque(maxlen=2000), collections.deque(maxlen=20000)
        for pipe, lines in (self.process.stdout, self.out), (self.process.stderr, self.err):
            threading.Thread(target=self._read, args=(pipe, lines), daemon=True).start()

    @staticmethod
    def _read(pipe, lines):
        for line in pipe:
            lines.append(line.rstrip("\n"))

    @property
    def pid(self):
        return self.process.pid

    def running(self):
        return self.process.poll() is None

    def first(self, lines, found):
        """The first line of JSON that `found` takes."""
        def look():
            for line in list(lines):
                with contextlib.suppress(ValueError):
                    told = json.loads(line)
                    if found(told):
                        return told
            expect(self.running(), f"{self.process.args[0]} ended: " + "\n".join(list(self.err)[-5:]))
            return None
        return until("a line of " + str(self.process.args[0]), look)

    def end(self, seconds=45):
        """Asks it to stop, and gives its exit code."""
        if self.running():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def call(address, method, path, headers=(), body=None, timeout=10):
    """One call on a connection of its own: status and text."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        connection.request(method, path, body=body, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


class Upstream:
    """Answers every request with its id, and remembers the ids. Below /open/hang it never answers."""

    def __init__(self, host="127.0.0.1"):
        self.seen, self.host, self.connections = set(), host, 0
        # Ids of requests that change something and came twice; connections.
        self.twice, self.writers = [], set()
        ready = threading.Event()
        self.loop = asyncio.new_event_loop()

        async def serve():
            server = await asyncio.start_server(self._serve, host, 0, backlog=4096)
            self.port = server.sockets[0].getsockname()[1]
            ready.set()
            await server.serve_forever()

        threading.Thread(target=lambda: self.loop.run_until_complete(serve()), daemon=True).start()
        ready.wait()

    async def _serve(self, reader, writer):
        self.connections += 1
        self.writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
                if "content-length" in fields:
                    left = int(fields["content-length"])
                    while left:
                        left -= len(await reader.read(min(left, 65536))) or left
                elif fields.get("transfer-encoding") == "chunked":
                    while (size := int((await reader.readline()).split(b";")[0], 16)) or not await reader.readline():
                        await reader.readexactly(size + 2)
                given = fields.get("x-id", "")
                if given and given in self.seen and head.startswith("post"):
                    self.twice.append(given)
                self.seen.add(given)
                if " /open/hang" in head:
                    await asyncio.Event().wait()
                told = json.dumps({"id": given}).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, ValueError):
            pass
        finally:
            self.connections -= 1
            self.writers.discard(writer)
            writer.close()

    def forget(self):
        """Ends every connection with a reset, as a host does that was started anew."""
        def end():
            for writer in list(self.writers):
                made = writer.get_extra_info("socket")
                made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        self.loop.call_soon_threadsafe(end)


# What is asked, over and over: method, path, whose token, and the one right answer. Each of those that are let in has
# neighbours that are not.
KINDS = {
    "read": ("GET", f"/v1/parties/{BAKKEN}/returns/1", "bakken", 200),
    "write": ("POST", f"/v1/parties/{BAKKEN}/returns", "bakken", 200),
    "scope": ("GET", "/v1/scopes", "bakken", 200),
    "another party": ("GET", f"/v1/parties/{STRAND}/returns/1", "bakken", 403),
    "no right": ("POST", f"/v1/parties/{STRAND}/claims", "strand", 403),
    "another scope": ("GET", f"/v1/parties/{BAKKEN}/returns/1", "narrow", 403),
    "forged": ("GET", f"/v1/parties/{BAKKEN}/returns/1", "forged", 401),
    "nobody": ("GET", "/v1/scopes", None, 401),
    "no route": ("GET", "/v2/scopes", "bakken", 404),
}


class Phase:
    """What is borne with for a while: statuses in place of a 200, and of a refusal; `broken` is no answer at all."""

    def __init__(self, name, instead=(), refused=()):
        self.name, self.instead, self.refused = name, set(instead), set(refused)
        self.told = collections.Counter()


class Traffic:
    """Requests at a steady rate from several connections; a share of them on new ones."""

    def __init__(self, stage, rate=40, workers=4, new_connections=4):
        self.stage, self.rate, self.every = stage, rate, new_connections
        self.phase = Phase("before")
        self.phases, self.wrong, self.lock = [self.phase], [], threading.Lock()
        self.slowest, self.stopped, self.count = collections.Counter(), threading.Event(), 0
        self.threads = [threading.Thread(target=self._drive, args=(n, workers), daemon=True) for n in range(workers)]
        for thread in self.threads:
            thread.start()

    def enter(self, name, **borne):
        """From now on these are borne with; a request that began before is judged by either."""
        self.phase = Phase(name, **borne)
        self.phases.append(self.phase)

    def stop(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()

    def _drive(self, n, workers):
        connection, kinds, turn = None, list(KINDS), 0
        due = time.monotonic() + n / self.rate
        while not self.stopped.wait(max(0, due - time.monotonic())):
            # Without a burst for what a stall held up.
            due = max(due + workers / self.rate, time.monotonic() - 1)
            kind = kinds[(turn * workers + n) % len(kinds)]
            turn += 1
            if connection is None or turn % self.every == 0:
                if connection:
                    connection.close()
                connection = http.client.HTTPConnection(self.stage.address, timeout=self.stage.patience)
            if not self._ask(connection, kind, f"{n}-{turn}"):
                connection.close()
                connection = None

    def _ask(self, connection, kind, given):
        method, path, whose, right = KINDS[kind]
        before, began = self.phase, time.monotonic()
        headers = {"X-Id": given}
        if whose:
            headers["Authorization"] = "Bearer " + self.stage.tokens[whose]
        text = b""
        try:
            connection.request(method, path, body=b"{}" if kind == "write" else None, headers=headers)
            answer = connection.getresponse()
            status, text = answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            status = "broken"
            why = type(error).__name__
        took = time.monotonic() - began
        after = self.phase
        reached = given in self.stage.upstream.seen
        with self.lock:
            self.count += 1
            after.told[f"{kind}: {status}"] += 1
            self.slowest[after.name] = max(self.slowest[after.name], took)
            if right == 200:
                if status == 200:
                    kept = text == json.dumps({"id": given}).encode()
                else:
                    kept = status in before.instead | after.instead
            else:
                kept = not reached and (status == right or status in before.refused | after.refused)
            if not kept:
                detail = why if status == "broken" else text[:160]
                self.wrong.append(f"{after.name}: {kind}: {status} after {took:.2f} s, upstream {reached}: {detail}")
        return status != "broken"

    def figures(self):
        served = sum(n for phase in self.phases for told, n in phase.told.items() if told.endswith(": 200"))
        return {"requests": self.count, "served": served, "wrong": len(self.wrong)}


class Stage:
    """The program, what is around it, and what is asked of it."""

    def __init__(self, options, patience=15):
        self.short, self.patience, self.figures, self.program, self.before = options["short"], patience, {}, None, (0, 0)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="portvakt-fault-"))
        self.upstream = None
        # What is to be done when the program has ended.
        self.afterwards = []
        self.sandbox = Child([SANDBOX, "--port", "0"])
        self.urls = self.sandbox.first(self.sandbox.out, lambda told: told.get("ready"))
        self.tokens = {}

    def knob(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        status, told = call(self.urls["address"], method, f"/sandbox/{path}", body=text, timeout=30)
        expect(status == 200, f"{path}: {status} {told}")
        return json.loads(told)

    def fault(self, endpoint, **fault):
        self.knob("PUT", f"faults/{endpoint}", fault)

    def heal(self):
        self.knob("DELETE", "faults")

    def calls(self, endpoint):
        return self.knob("GET", "calls")["counts"][endpoint]

    def token(self, organisation, scope=SCOPES, **more):
        wish = {"client_id": NORDLYS, "scope": scope, "systemuser_org": organisation, "lifetime_seconds": 3600}
        return self.knob("POST", "token", wish | more)["access_token"]

    def mint(self, **more):
        """The tokens of the steady traffic."""
        good = self.token(BAKKEN, **more)
        head, _, signature = good.rpartition(".")
        self.tokens = {
            "bakken": good,
            "strand": self.token(STRAND, **more),
            "narrow": self.token(BAKKEN, "skatteetaten:kravogbetalinger", **more),
            "forged": head + "." + ("B" if signature[0] == "A" else "A") + signature[1:],
        }

    def start(self, sections="", under=(), environment=(), most_files=None, upstream=None, log="warn,portvakt=info"):
        """Starts the program with more configuration, and waits until it permits."""
        self.upstream = self.upstream or Upstream()
        upstream = upstream or f'upstream: {{ url: "http://127.0.0.1:{self.upstream.port}" }}'
        usual = {
            "environment": "environment: custom",
            "custom": f'custom: {{ issuer: "{self.urls["issuer"]}", altinn: "{self.urls["altinn"]}" }}',
            "listen": 'listen: { address: "127.0.0.1:0", workers: 2 }',
            "admin": 'admin: { address: "127.0.0.1:0" }',
            "upstream": upstream,
            "altinn": "altinn: { subscription_key: sandbox-subscription-key, requests_per_second: 1000 }",
            "maskinporten": f'maskinporten: {{ client_id: "{OWN}", key_env: PROXY_JWK }}',
            "shutdown": "shutdown: { wait: 0s }",
            "audit": f'audit: {{ output: {{ file: "{self.folder}/audit.jsonl" }} }}',
            "log": f'log: {{ filter: "{log}" }}',
        }
        given = {line.split(":")[0] for line in sections.splitlines() if re.match(r"\w+:", line)}
        text = "\n".join(line for name, line in usual.items() if name not in given)
        path = self.folder / "portvakt.yaml"
        path.write_text(f"{text}\n{sections}\n{ROUTES}")
        if not self.tokens:
            self.mint()
        own = json.dumps(self.knob("GET", f"clients/{OWN}/jwk"))
        environment = {"PROXY_JWK": own} | dict(environment)
        self.program = Child([*under, PROGRAM, "run", "--config", str(path)], environment, most_files)
        told = self.program.first(self.program.err, lambda line: line.get("message") == "listening")
        self.address, self.admin_address = told["address"], told["admin"]
        until("ready", lambda: self.admin("/readyz")[0] == 200)
        # What the register knows makes the answers quick ones; until then each is asked of the PDP.
        until("served", lambda: self.permitted() and self.permitted("write"))
        self.before = self.memory()

    def admin(self, path, timeout=5):
        return call(self.admin_address, "GET", path, timeout=timeout)

    def metric(self, sample):
        for line in self.admin("/metrics")[1].splitlines():
            if line.startswith(sample + " "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def permitted(self, kind="read", timeout=5):
        """Whether a request on a new connection is let through."""
        method, path, whose, _ = KINDS[kind]
        headers = {"Authorization": "Bearer " + self.tokens[whose]}
        try:
            return call(self.address, method, path, headers, b"{}" if method == "POST" else None, timeout)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def recovers(self, seconds):
        """How long it takes until what is permitted is let through again, without a hand."""
        began = time.monotonic()
        # Several times over, since each worker finds out for itself.
        kinds = ["read", "write", "scope"] * 4
        until("all is served again", lambda: all(self.permitted(kind) for kind in kinds), seconds)
        self.figures["recovered_s"] = round(time.monotonic() - began, 2)

    def memory(self):
        """Resident memory, now and at the most since `reset_peak`, in MiB."""
        with open(f"/proc/{self.program.pid}/status") as status:
            found = dict(re.findall(r"^(VmRSS|VmHWM):\s+(\d+)", status.read(), re.M))
        return tuple(round(int(found[name]) / 1024, 1) for name in ("VmRSS", "VmHWM"))

    def reset_peak(self):
        with open(f"/proc/{self.program.pid}/clear_refs", "w") as refs:
            refs.write("5")

    def spent(self):
        """Seconds of processors that the program has taken."""
        with open(f"/proc/{self.program.pid}/stat") as stat:
            fields = stat.read().rpartition(") ")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self):
        code = self.program.end() if self.program else 0
        self.sandbox.end()
        for step in self.afterwards:
            step()
        return code


def run(main, **stage):
    """Runs a script, prints a line of figures, and ends with what became of the promises."""
    options = {"short": "--short" in sys.argv[1:]}
    name = pathlib.Path(sys.argv[0]).name
    broken, traffic, made = [], None, None
    try:
        for program in PROGRAM, SANDBOX:
            if not os.path.exists(program):
                raise Skip(f"{program} is missing: cargo build --workspace --bins")
        made = Stage(options, **stage)
        made.traffic = lambda **more: started(made, **more)

        def started(made, **more):
            nonlocal traffic
            traffic = Traffic(made, **more)
            return traffic

        main(made)
    except Skip as why:
        print(f"SKIPPED {name}: {why}", flush=True)
        in_ci = os.environ.get("CI") == "true"
        sys.exit(1 if in_ci and not isinstance(why, Forbidden) else 0)
    except Broken as what:
        broken.append(str(what))
    except (OSError, http.client.HTTPException) as error:
        # Such as an admin listener that does not answer.
        broken.append("".join(traceback.format_exception(error)[-3:]))
    finally:
        if traffic:
            traffic.stop()
        if made:
            alive = made.program is not None and made.program.running()
            if alive:
                made.figures["rss_mib"] = {"before": made.before[0], "after": made.memory()[0]}
            code = made.close()
            if made.program and not alive:
                broken.append(f"the program had ended with {code}: " + "\n".join(list(made.program.err)[-3:]))
            elif code:
                broken.append(f"the stop ended with {code}")
    if traffic:
        made.figures |= traffic.figures()
        if traffic.wrong:
            broken.append("; ".join(traffic.wrong[:5]))
        elif not made.figures["served"]:
            broken.append("nothing was served")
    if made and not broken:
        shutil.rmtree(made.folder)
    panics = [line for line in made.program.err if "panicked" in line] if made.program else []
    broken += panics[:1]
    if traffic and (broken or "--verbose" in sys.argv):
        for phase in traffic.phases:
            print(f"  {phase.name}: {dict(phase.told)}, slowest {traffic.slowest[phase.name]:.2f} s", flush=True)
    print(("BROKEN " if broken else "ok ") + name + " " + json.dumps(made.figures), flush=True)
    for what in broken:
        print(f"  {what}", flush=True)
    sys.exit(1 if broken else 0)
