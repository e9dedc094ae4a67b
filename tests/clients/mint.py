"""Makes keys and mints tokens with PyJWT.

In, a line of JSON: {"claims": {...}}. Out, the same: {"jwks": {...}, "tokens": {NAME: TOKEN}}.
"""

import json
import sys

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

claims = json.loads(sys.stdin.readline())["claims"]
rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
ec_key = ec.generate_private_key(ec.SECP256R1())

rsa_jwk = json.loads(RSAAlgorithm.to_jwk(rsa_key.public_key())) | {"kid": "rsa", "use": "sig"}
rsa_jwk.pop("key_ops", None)
ec_jwk = json.loads(ECAlgorithm.to_jwk(ec_key.public_key())) | {"kid": "ec", "use": "sig"}
ec_jwk.pop("key_ops", None)


def mint(key, algorithm, kid="rsa", **changes):
    return jwt.encode(claims | changes, key, algorithm=algorithm, headers={"kid": kid})


json.dump(
    {
        "jwks": {"keys": [ec_jwk, rsa_jwk]},
        "tokens": {
            "RS256": mint(rsa_key, "RS256"),
            "RS384": mint(rsa_key, "RS384"),
            "RS512": mint(rsa_key, "RS512"),
            "PS256": mint(rsa_key, "PS256"),
            "PS512": mint(rsa_key, "PS512"),
            "ES256": mint(ec_key, "ES256", "ec"),
            "ES256 under the RSA key": mint(ec_key, "ES256"),
            "HS256 with the modulus": mint(rsa_jwk["n"], "HS256"),
            "none": mint(None, "none"),
            "stranger": mint(stranger, "RS256"),
            "expired": mint(rsa_key, "RS256", exp=claims["iat"] - 60, iat=claims["iat"] - 180),
            "other issuer": mint(rsa_key, "RS256", iss="https://maskinporten.no/"),
        },
    },
    sys.stdout,
)
