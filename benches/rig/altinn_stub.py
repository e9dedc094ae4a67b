#!/usr/bin/env python3
"""Maskinporten and Altinn for the rig: metadata, keys, our own token, and a decision point that knows
the rig's register.

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
    return decide(body)


async def serve(reader, writer):
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            path = head.split(" ", 2)[1]
            length = next((int(line[15:]) for line in head.lower().split("\r\n") if line.startswith("content-length:")), 0)
            told = answer(path, await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
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
