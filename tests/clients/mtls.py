"""GET over TLS by Python's own client, with a certificate if one is given: PORT NAME CA [CERTIFICATE KEY]."""

import http.client
import socket
import ssl
import sys

port, name, authority, *own = sys.argv[1:]
context = ssl.create_default_context(cafile=authority)
if own:
    context.load_cert_chain(*own)
plain = socket.create_connection(("127.0.0.1", int(port)), timeout=30)
with context.wrap_socket(plain, server_hostname=name) as secured:
    connection = http.client.HTTPConnection(name)
    connection.sock = secured
    connection.request("GET", "/open/x")
    print(connection.getresponse().status)
