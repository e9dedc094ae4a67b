"""An end-user system, written from the public contract with httpx and PyJWT.

For each pattern it registers a system, asks a customer for a system user, waits until the customer has approved
(and for agents adds the client), and takes a token. It asks Altinn, as the service owner would, whether the system user
may act for the party, and for its neighbour; then it calls the service for both.

In, a line of JSON: the task. Out, for each pattern {"confirm": URL, "id": ID}; then it reads {"person": TOKEN} when
somebody has approved. At last {"results": {PATTERN: {"decisions": […], "calls": [[STATUS, PROBLEM], …]}}}, each for the
party and for its neighbour.
"""

import json
import sys
import time
import uuid

import httpx
import jwt

ISSUER = "https://test.maskinporten.no/"
ALTINN = "https://platform.tt02.altinn.no"
SERVICE = "http://api.skattesentralen.example"
AUTHENTICATION = ALTINN + "/authentication/api/v1"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
REQUESTS = (
    "altinn:authentication/systemregister.write altinn:authentication/systemuser.request.read "
    "altinn:authentication/systemuser.request.write"
)

task = json.loads(sys.stdin.readline())
web = httpx.Client(timeout=30)


def token(client, scope, owner=None):
    """A token by the JWT bearer grant."""
    now = int(time.time())
    claims = {"aud": ISSUER, "iss": client["id"], "scope": scope, "iat": now, "exp": now + 100, "jti": str(uuid.uuid4())}
    if owner:
        organization = {"authority": "iso6523-actorid-upis", "ID": "0192:" + owner}
        claims["authorization_details"] = [{"type": "urn:altinn:systemuser", "systemuser_org": organization}]
    key = jwt.PyJWK(client["jwk"], algorithm="RS256")
    assertion = jwt.encode(claims, key.key, algorithm="RS256", headers={"kid": client["jwk"]["kid"]})
    metadata = web.get(ISSUER + ".well-known/oauth-authorization-server").raise_for_status().json()
    answer = web.post(metadata["token_endpoint"], data={"grant_type": GRANT, "assertion": assertion})
    return answer.raise_for_status().json()["access_token"]


def bearer(value):
    return {"Authorization": "Bearer " + value}


def verified_user(value):
    """The system user in a token whose signature is checked with the issuer's published keys."""
    metadata = web.get(ISSUER + ".well-known/oauth-authorization-server").raise_for_status().json()
    keys = jwt.PyJWKSet.from_dict(web.get(metadata["jwks_uri"]).raise_for_status().json())
    key = keys[jwt.get_unverified_header(value)["kid"]]
    claims = jwt.decode(value, key.key, algorithms=["RS256"], issuer=ISSUER, options={"verify_aud": False})
    return claims["authorization_details"][0]["systemuser_id"][0]


def register(pattern, headers):
    system = f"{task['vendor']['organization']}_py_{pattern['name']}"
    name = {language: "Fra Python" for language in ("nb", "nn", "en")}
    body = {
        "id": system,
        "vendor": {"ID": "0192:" + task["vendor"]["organization"]},
        "name": name,
        "description": name,
        "accessPackages": [{"urn": "urn:altinn:accesspackage:" + pattern["package"]}],
        "clientId": [pattern["client"]["id"]],
        "isVisible": False,
    }
    web.post(AUTHENTICATION + "/systemregister/vendor", headers=headers, json=body).raise_for_status()
    return system


def ask(pattern, system, headers):
    kind = "/agent" if pattern["agent"] else ""
    packages = [{"urn": "urn:altinn:accesspackage:" + pattern["package"]}]
    body = {"systemId": system, "partyOrgNo": pattern["customer"], "accessPackages": packages}
    answer = web.post(AUTHENTICATION + "/systemuser/request/vendor" + kind, headers=headers, json=body)
    asked = answer.raise_for_status().json()
    print(json.dumps({"confirm": asked["confirmUrl"], "id": asked["id"]}), flush=True)
    person = json.loads(sys.stdin.readline())["person"]
    read = web.get(f"{AUTHENTICATION}/systemuser/request/vendor{kind}/{asked['id']}", headers=headers)
    assert read.raise_for_status().json()["status"] == "Accepted", read.text
    if pattern["agent"]:
        query = {"agent": asked["id"], "client": pattern["client_uuid"]}
        clients = AUTHENTICATION + "/enduser/systemuser/clients"
        web.post(clients, params=query, headers=bearer(person)).raise_for_status()
    return asked["id"]


def decide(pattern, user, party):
    raw = token(task["owner"], "altinn:authorization/authorize")
    altinn = web.get(AUTHENTICATION + "/exchange/maskinporten", headers=bearer(raw)).raise_for_status().text.strip('"')

    def attribute(name, value):
        return {"Attribute": [{"AttributeId": name, "Value": value}]}

    resource = attribute("urn:altinn:resource", pattern["resource"])
    resource["Attribute"] += attribute("urn:altinn:organization:identifier-no", party)["Attribute"]
    body = {
        "Request": {
            "AccessSubject": [attribute("urn:altinn:systemuser:uuid", user)],
            "Action": [attribute("urn:oasis:names:tc:xacml:1.0:action:action-id", pattern["action"])],
            "Resource": [resource],
        }
    }
    headers = bearer(altinn) | {"Ocp-Apim-Subscription-Key": task["subscription_key"]}
    answer = web.post(ALTINN + "/authorization/api/v1/authorize", headers=headers, json=body)
    return answer.raise_for_status().json()["response"][0]["decision"]


def call(pattern, value, party):
    """Status and problem of the service that all this is for."""
    place = {"party": party}
    body = pattern["body"] and {name: text.format(**place) for name, text in pattern["body"].items()}
    answer = web.request(pattern["method"], SERVICE + pattern["path"].format(**place), headers=bearer(value), json=body)
    problem = answer.json().get("type") if answer.is_error else None
    return [answer.status_code, problem]


def walk(pattern):
    headers = bearer(token(task["vendor"], REQUESTS))
    user = ask(pattern, register(pattern, headers), headers)
    mine = token(pattern["client"], pattern["scope"], pattern["customer"])
    named = verified_user(mine)
    assert named == user, (named, user)
    parties = [pattern["party"], pattern["neighbour"]]
    return {
        "decisions": [decide(pattern, user, party) for party in parties],
        "calls": [call(pattern, mine, party) for party in parties],
    }


results = {pattern["name"]: walk(pattern) for pattern in task["patterns"]}
print(json.dumps({"results": results}), flush=True)
