"""Runs a program that has the addresses of the real services in it, and lets it find the sandbox instead.

    resolve.py HOST:PORT PROGRAM

Does what a hosts file does, and moves the port: port 443 of the names below is HOST:PORT. The program is not
changed; SSL_CERT_FILE names the authority that it trusts.
"""

import runpy
import socket
import sys

NAMES = {"test.maskinporten.no", "platform.tt02.altinn.no"}
host, port = sys.argv[1].rsplit(":", 1)
real = socket.getaddrinfo


def getaddrinfo(name, service, *rest, **named):
    wanted = name.decode() if isinstance(name, bytes) else name
    if wanted in NAMES and service == 443:
        return real(host, int(port), *rest, **named)
    raise OSError(f"nothing else is to be called: {wanted}:{service}")


socket.getaddrinfo = getaddrinfo
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
