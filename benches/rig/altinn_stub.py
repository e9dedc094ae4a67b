#!/usr/bin/env python3
"""Maskinporten and Altinn for the rig: metadata, keys, our own token, and the rig's register as a decision
point, as authorized parties and as a policy.

  altinn_stub.py PORT DATA

Ends with the process that started it. Answers on 127.0.0.1 only.
"""
import asyncio, csv, json, os, sys

PORT, DATA = int(sys.argv[1]), sys.argv[2]
BASE = f"http://127.0.0.1:{PORT}"
META = json.dumps({
    "issuer": json.load(open(f"{DATA}/meta.json"))["iss"],
    "token_endpoint": f"{BASE}/token", "jwks_uri": f"{BASE}/jwk",
}).encode()
JWKS = open(f"{DATA}/jwks.json", "rb").read()
TOKEN = open(f"{DATA}/valid.txt").readline().strip()
with open(f"{DATA}/register.csv") as rows:
    REGISTER = {user: org.removeprefix("0192:") for user, org, _ in csv.reader(rows)}
PERMIT, NOTHING = (
    json.dumps({"response": [{"decision": word, "obligations": None}]}).encode()
    for word in ("Permit", "NotApplicable")
)


MATCH = (
    '<AnyOf><AllOf><Match MatchId="urn:oasis:names:tc:xacml:1.0:function:string-equal"><AttributeValue '
    'DataType="http://www.w3.org/2001/XMLSchema#string">%s</AttributeValue><AttributeDesignator AttributeId="%s" '
    'Category="urn:oasis:names:tc:xacml:%s" DataType="http://www.w3.org/2001/XMLSchema#string" '
    'MustBePresent="false"/></Match></AllOf></AnyOf>'
)
POLICY = (
    '<Policy xmlns="urn:oasis:names:tc:xacml:3.0:core:schema:wd-17" PolicyId="rig" Version="1.0" '
    'RuleCombiningAlgId="urn:oasis:names:tc:xacml:3.0:rule-combining-algorithm:deny-overrides"><Target/>'
    '<Rule RuleId="read" Effect="Permit"><Target>%s%s%s</Target></Rule></Policy>'
    % (
        MATCH % ("rig", "urn:altinn:accesspackage", "1.0:subject-category:access-subject"),
        MATCH % ("bench-resource", "urn:altinn:resource", "3.0:attribute-category:resource"),
        MATCH % ("read", "urn:oasis:names:tc:xacml:1.0:action:action-id", "3.0:attribute-category:action"),
    )
).encode()
RESOURCE = json.dumps({"identifier": "bench-resource", "accessListMode": "Disabled"}).encode()
PACKAGES = json.dumps([{"areas": [{"packages": [{"code": "rig", "urn": "urn:altinn:accesspackage:rig"}]}]}]).encode()
CHANGES = json.dumps({"links": {}, "data": []}).encode()


def parties(body):
    org = REGISTER.get(json.loads(body)["value"])
    return json.dumps([] if org is None else [{
        "type": "Organization", "organizationNumber": org, "isDeleted": False,
        "onlyHierarchyElementWithNoAccess": False, "authorizedAccessPackages": ["rig"],
        "authorizedResources": [], "subunits": [],
    }]).encode()


def decide(body):
    request = json.loads(body)["Request"]
    values = {
        attribute["AttributeId"]: attribute["Value"]
        for category in ("AccessSubject", "Resource")
        for part in request[category]
        for attribute in part["Attribute"]
    }
    org = REGISTER.get(values["urn:altinn:systemuser:uuid"])
    return PERMIT if org == values["urn:altinn:organization:identifier-no"] else NOTHING


def answer(path, body):
    if path.startswith("/.well-known/"):
        return META
    if path == "/jwk":
        return JWKS
    if path == "/token":
        return json.dumps({"access_token": TOKEN, "token_type": "Bearer", "expires_in": 7200}).encode()
    if path.startswith("/authentication/"):
        return TOKEN.encode()
    if path.startswith("/accessmanagement/api/v1/meta/"):
        return PACKAGES
    if path.startswith("/accessmanagement/"):
        return parties(body)
    if path.startswith("/resourceregistry/api/v1/resource/changes"):
        return CHANGES
    if path.startswith("/resourceregistry/"):
        return POLICY if path.endswith("/policy") else RESOURCE
    return decide(body)


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
            told = answer(path, await reader.readexactly(length))
            kind = b"text/xml" if told is POLICY else b"application/json"
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(told), told))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def main():
    parent = os.getppid()
    server = await asyncio.start_server(serve, "127.0.0.1", PORT)
    while os.getppid() == parent:
        await asyncio.sleep(1)
    server.close()


asyncio.run(main())
