"""Runs a program that has the addresses of the real services in it, and lets it find the sandbox and the proxy instead.

    resolve.py SANDBOX PROXY PROGRAM          both as HOST:PORT

Does what a hosts file does, and moves the port. The program is not changed; SSL_CERT_FILE names the authority that it
trusts.
"""

import runpy
import socket
import sys

sandbox, proxy = (address.rsplit(":", 1) for address in sys.argv[1:3])
PLACES = {
    ("test.maskinporten.no", 443): sandbox,
    ("platform.tt02.altinn.no", 443): sandbox,
    ("api.skattesentralen.example", 80): proxy,
}
real = socket.getaddrinfo


def getaddrinfo(name, service, *rest, **named):
    wanted = name.decode() if isinstance(name, bytes) else name
    if (wanted, service) not in PLACES:
        raise OSError(f"nothing else is to be called: {wanted}:{service}")
    host, port = PLACES[wanted, service]
    return real(host, int(port), *rest, **named)


socket.getaddrinfo = getaddrinfo
sys.argv = sys.argv[3:]
runpy.run_path(sys.argv[0], run_name="__main__")
