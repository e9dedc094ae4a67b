"""Load on a sandbox, as load tests of other programs put on it, and a look at whether it grows.

    load.py PROGRAM [--seconds 600] [--rate 100] [--users 10000] [--workers 16]     starts PROGRAM (portvakt-sandbox)
    load.py --address HOST:PORT ...                                                 loads one that runs

Adds customers with a system user each to the world, then asks `rate` times a second: tokens by real grants, decisions
(single and of many questions), authorized parties, look-ups, lists page by page, the registry, and now and then a right
that is given and taken. Every answer is judged by what it must say, so that an error in one of 60,000 is seen.

Prints a line of JSON. Ends with 1 if an answer was wrong, if something that is to be bounded passed its bound, or, for
a PROGRAM and at least a minute, if it grew or did not keep the rate.
"""

import argparse
import collections
import http.client
import itertools
import json
import subprocess
import sys
import threading
import time
import urllib.parse
import uuid

import jwt

CLIENT = "c1000000-0000-4000-8000-0000000000"
VENDOR, OWN, SYSTEM = "310000205", CLIENT + "01", "310000205_nordlys"
PACKAGE = "merverdiavgift"
SUBSCRIPTION = {"Ocp-Apim-Subscription-Key": "sandbox-subscription-key"}
PAGE = 50
# Memory moves by this much without growing: the allocator keeps and gives back.
SLACK_KIB = 4096


def numbers():
    """Organisation numbers with a good check digit, none of which is in the seed."""
    for body in range(29000000, 32000000):
        weighed = sum(int(digit) * weight for digit, weight in zip(str(body), (3, 2, 7, 6, 5, 4, 3, 2)))
        if 31000000 <= body < 31000100 or weighed % 11 == 1:
            continue
        yield f"{body}{(11 - weighed % 11) % 11}"


class Wrong(Exception):
    pass


class Web:
    """One connection, opened anew when it broke between two calls."""

    def __init__(self, address):
        self.address = address
        self.connection = None

    def call(self, method, path, headers=(), body=None, kind="application/json"):
        if self.connection is None:
            self.connection = http.client.HTTPConnection(self.address, timeout=60)
        try:
            self.connection.request(method, path, body=body, headers={"Content-Type": kind, **dict(headers)})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except Exception:
            self.connection.close()
            self.connection = None
            raise

    def json(self, method, path, headers=(), body=None, status=200):
        text = None if body is None else json.dumps(body)
        got, told = self.call(method, path, headers, text)
        if got != status:
            raise Wrong(f"{method} {path}: {got} {told[:200]!r}")
        return json.loads(told) if told else None


def bearer(token):
    return {"Authorization": "Bearer " + token}


def expect(good, what):
    if not good:
        raise Wrong(what)


def user_id(number):
    return f"5e200000-0000-4000-8000-{number:012}"


class Load:
    def __init__(self, address, users):
        self.address = address
        self.customers = list(itertools.islice(numbers(), users))
        web = Web(address)
        jwk = web.json("GET", f"/sandbox/clients/{CLIENT}11/jwk")
        self.kid, self.key = jwk["kid"], jwt.PyJWK(jwk, algorithm="RS256").key
        self.issuer = web.json("GET", "/.well-known/oauth-authorization-server")["issuer"]
        self.tokens = {}
        self.lock = threading.Lock()
        # Where each walk through a list stands: the path of the next page.
        self.pages = {}

    def seed(self):
        """The customers, each with a system user that holds one package."""
        organizations = [
            {"number": number, "name": f"KUNDE {at} AS", "unit_type": "AS", "party_id": 60000000 + at}
            for at, number in enumerate(self.customers)
        ]
        users = [
            {
                "id": user_id(at), "kind": "standard", "system": SYSTEM, "owner": number,
                "delegations": [{"party": number, "packages": [PACKAGE]}],
            }
            for at, number in enumerate(self.customers)
        ]
        # Scopes that only Altinn's own parts hold.
        inner = ["altinn:maskinporten/systemuser.read", "altinn:authentication/systemuser.admin"]
        scopes = [{"name": name, "lifetime_seconds": 120} for name in inner]
        world = {"organizations": organizations, "system_users": users, "scopes": scopes}
        Web(self.address).json("PATCH", "/sandbox/world", body=world)

    def token(self, web, client, scope, exchanged=False):
        """A token that is used again until it is half as old as it gets."""
        with self.lock:
            held = self.tokens.get((scope, exchanged))
            if held and held[1] > time.monotonic():
                return held[0]
        token = web.json("POST", "/sandbox/token", body={"client_id": client, "scope": scope})["access_token"]
        if exchanged:
            status, text = web.call("GET", "/authentication/api/v1/exchange/maskinporten", bearer(token))
            expect(status == 200, f"exchange: {status}")
            token = text.decode().strip('"')
        with self.lock:
            self.tokens[scope, exchanged] = (token, time.monotonic() + 60)
        return token

    def altinn(self, web, scope):
        return bearer(self.token(web, OWN, scope, exchanged=True)) | SUBSCRIPTION

    # --- the kinds of calls

    def grant(self, web, at):
        now = int(time.time())
        organization = {"authority": "iso6523-actorid-upis", "ID": "0192:" + self.customers[at]}
        claims = {
            "aud": self.issuer, "iss": CLIENT + "11", "scope": "skatteetaten:mva", "iat": now, "exp": now + 100,
            "jti": str(uuid.uuid4()),
            "authorization_details": [{"type": "urn:altinn:systemuser", "systemuser_org": organization}],
        }
        assertion = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.kid})
        form = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
        kind = "application/x-www-form-urlencoded"
        status, text = web.call("POST", "/token", (), urllib.parse.urlencode(form), kind)
        expect(status == 200, f"token: {status} {text[:200]!r}")
        told = jwt.decode(json.loads(text)["access_token"], options={"verify_signature": False})
        named = told["authorization_details"][0]["systemuser_id"]
        expect(named == [user_id(at)], f"token for {named}")

    def question(self, web, at, parties):
        def attribute(name, value):
            return {"AttributeId": name, "Value": value}

        resources = [
            {"Id": f"r{n}", "Attribute": [
                attribute("urn:altinn:resource", "ske-mva-melding"),
                attribute("urn:altinn:organization:identifier-no", party),
            ]}
            for n, party in enumerate(parties)
        ]
        request = {
            "AccessSubject": [{"Id": "s", "Attribute": [attribute("urn:altinn:systemuser:uuid", user_id(at))]}],
            "Action": [{"Id": "a", "Attribute": [attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", "read")]}],
            "Resource": resources,
        }
        if len(parties) > 1:
            references = [{"ReferenceId": ["s", "a", one["Id"]]} for one in resources]
            request["MultiRequests"] = {"RequestReference": references}
        headers = self.altinn(web, "altinn:authorization/authorize")
        answer = web.json("POST", "/authorization/api/v1/authorize", headers, {"Request": request})
        decisions = [result["decision"] for result in answer["response"]]
        wanted = ["Permit" if party == self.customers[at] else "NotApplicable" for party in parties]
        expect(decisions == wanted, f"decisions {decisions}, not {wanted}")

    def decision(self, web, at):
        self.question(web, at, [self.customers[at]])

    def neighbour(self, web, at):
        self.question(web, at, [self.customers[at - 1]])

    def decisions(self, web, at):
        self.question(web, at, [self.customers[(at + n) % len(self.customers)] for n in range(10)])

    def parties(self, web, at):
        headers = self.altinn(web, "altinn:accessmanagement/authorizedparties.resourceowner")
        body = {"type": "urn:altinn:systemuser:uuid", "value": user_id(at)}
        path = "/accessmanagement/api/v1/resourceowner/authorizedparties?includeAccessPackages=true"
        rows = web.json("POST", path, headers, body)
        told = [(row["organizationNumber"], row["authorizedAccessPackages"]) for row in rows]
        expect(told == [(self.customers[at], [PACKAGE])], f"parties {told}")

    def look_up(self, web, at):
        headers = bearer(self.token(web, CLIENT + "11", "altinn:maskinporten/systemuser.read"))
        query = {"clientId": CLIENT + "11", "systemProviderOrgNo": VENDOR, "systemUserOwnerOrgNo": self.customers[at]}
        path = "/authentication/api/v1/systemuser/byExternalId?" + urllib.parse.urlencode(query)
        expect(web.json("GET", path, headers)["id"] == user_id(at), "another system user")

    def query(self, web, at):
        headers = bearer(self.token(web, CLIENT + "11", "altinn:authentication/systemuser.request.write"))
        query = {"system-id": SYSTEM, "orgno": self.customers[at]}
        path = "/authentication/api/v1/systemuser/vendor/byquery?" + urllib.parse.urlencode(query)
        expect(web.json("GET", path, headers)["id"] == user_id(at), "another system user")

    def page(self, web, first, scope):
        """The next page of a list; from the beginning after the last."""
        with self.lock:
            path = self.pages.get(first, first)
        told = web.json("GET", path, bearer(self.token(web, CLIENT + "11", scope)))
        following = told["links"].get("next") if told["data"] else None
        expect(told["data"] or path != first, f"{first} is empty")
        with self.lock:
            self.pages[first] = following.partition(self.address)[2] if following else first

    def vendors_list(self, web, at):
        path = f"/authentication/api/v1/systemuser/vendor/bysystem/{SYSTEM}"
        self.page(web, path, "altinn:authentication/systemregister.write")

    def stream(self, web, at):
        path = "/authentication/api/v1/systemuser/internal/systemusers/stream"
        self.page(web, path, "altinn:authentication/systemuser.admin")

    def changes(self, web, at):
        told = web.json("GET", "/resourceregistry/api/v1/resource/changes?limit=5")
        expect(len(told["data"]) == 5, "a page of the feed")

    def policy(self, web, at):
        status, text = web.call("GET", "/resourceregistry/api/v1/resource/ske-mva-melding/policy")
        expect(status == 200 and b"deny-overrides" in text, f"policy: {status}")

    def keys(self, web, at):
        expect(len(web.json("GET", "/jwk")["keys"]) > 1, "keys")

    def rights(self, web, at):
        right = {"system_user": user_id(at), "party": self.customers[at], "package": "skattegrunnlag"}
        web.json("POST", "/sandbox/rights/grant", body=right)
        web.json("POST", "/sandbox/rights/revoke", body=right)


# How often each kind comes in a hundred calls.
MIX = {
    "grant": 20, "decision": 25, "neighbour": 10, "decisions": 5, "parties": 15, "look_up": 6, "query": 4,
    "vendors_list": 5, "stream": 3, "changes": 2, "policy": 2, "keys": 2, "rights": 1,
}


def plan():
    """A hundred kinds in an order in which each is spread out."""
    turns = [(n / count, kind) for kind, count in MIX.items() for n in range(count)]
    return [kind for _, kind in sorted(turns)]


def drive(load, rate, seconds, workers):
    """Calls at fixed times, whether or not earlier ones are answered; gives what went wrong and how long each took."""
    kinds, wrong, took, late = plan(), [], collections.defaultdict(list), []
    count, start = int(rate * seconds), time.monotonic() + 0.2
    turns = iter(range(count))
    lock = threading.Lock()

    def work():
        web = Web(load.address)
        while True:
            with lock:
                turn = next(turns, None)
            if turn is None:
                return
            due = start + turn / rate
            time.sleep(max(0, due - time.monotonic()))
            kind, began = kinds[turn % len(kinds)], time.monotonic()
            late.append(began - due)
            try:
                # The same customer comes again for each kind, but not soon.
                getattr(load, kind)(web, (turn * 7919) % len(load.customers))
            except Exception as error:  # noqa: BLE001 - whatever it is, it counts
                wrong.append(f"{kind}: {type(error).__name__}: {error}")
            took[kind].append(time.monotonic() - began)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return wrong, took, late, count / (time.monotonic() - start)


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


class Watch(threading.Thread):
    """Looks at the program's memory every second."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.ended, self.samples = pid, threading.Event(), []

    def run(self):
        while not self.ended.wait(1):
            self.samples.append(resident_kib(self.pid))

    def quarters(self):
        """The greatest of each quarter of the time."""
        at = max(1, len(self.samples) // 4)
        return [max(self.samples[n * at : (n + 1) * at] or [0]) for n in range(4)]


def milliseconds(times):
    times = sorted(times)
    return {"p50": round(times[len(times) // 2] * 1000, 1), "p99": round(times[len(times) * 99 // 100] * 1000, 1)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?")
    parser.add_argument("--address")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rate", type=float, default=100)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=16)
    options = parser.parse_args()
    child, watch = None, None
    try:
        address = options.address
        if options.program:
            words = [options.program, "--port", "0", "--caches"]
            child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            address = json.loads(child.stdout.readline())["address"]
        load = Load(address, options.users)
        load.seed()
        if child:
            watch = Watch(child.pid)
            watch.start()
        wrong, took, late, rate = drive(load, options.rate, options.seconds, options.workers)
        held = Web(address).json("GET", "/sandbox/held")
    finally:
        if watch:
            watch.ended.set()
        if child:
            child.terminate()
            child.wait()
    over = [name for name, row in held.items() if row["held"] > row["most"]]
    told = {
        "calls": sum(map(len, took.values())), "errors": len(wrong), "first_errors": wrong[:5], "over_bound": over,
        "rate": round(rate, 1), "late_ms": milliseconds(late), "held": held,
        "ms": {kind: milliseconds(times) for kind, times in took.items()},
    }
    good = not wrong and not over
    if watch and options.seconds >= 60:
        told["resident_kib_by_quarter"] = quarters = watch.quarters()
        # The first quarter fills what is bounded.
        grew = quarters[3] > quarters[1] * 1.03 + SLACK_KIB
        told["grew"], told["kept_rate"] = grew, rate > options.rate * 0.99
        good = good and not grew and told["kept_rate"]
    print(json.dumps(told))
    sys.exit(0 if good else 1)


main()
