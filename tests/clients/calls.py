"""Calls the program with http.client, httpx (HTTP/2), h2 and websockets.

First prints {"websocket": PORT}, where an echo server listens for the upgraded connections. Then reads
{"address", "good", "refused"} (two tokens) and prints {NAME: RESULT}.
"""

import http.client
import json
import socket
import sys
import threading

import h2.config
import h2.connection
import h2.events
import httpx
import websockets.exceptions
from websockets.sync.client import connect
from websockets.sync.server import serve


def echo(connection):
    for message in connection:
        connection.send(message)


server = serve(echo, "127.0.0.1", 0)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"websocket": server.socket.getsockname()[1]}), flush=True)

task = json.loads(sys.stdin.readline())
host, port = task["address"].split(":")
READ = "/v1/parties/310000507/returns/7"
SUBMIT = "/v1/parties/310000507/returns"
SOCKET = "/v1/parties/310000507/socket"
good = {"Authorization": "Bearer " + task["good"]}
refused = {"Authorization": "Bearer " + task["refused"]}
results = {}


def http_client():
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    statuses = []
    # All on one connection.
    for method, path, body, headers in [
        ("GET", READ, None, good),
        ("GET", READ, None, {}),
        ("GET", READ, None, refused),
        ("POST", SUBMIT, b"x" * 100_000, good),
        ("POST", SUBMIT, iter([b"one ", b"two"]), good),
        ("GET", "/v1/parties/310000507/returns/../7", None, good),
        ("HEAD", READ, None, good),
        ("GET", READ, None, good),
    ]:
        connection.request(method, path, body=body, headers=headers, encode_chunked=method == "POST" and not isinstance(body, bytes))
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
    connection.close()
    return statuses


def httpx_http2():
    with httpx.Client(http1=False, http2=True, base_url="http://" + task["address"], timeout=30) as client:
        answers = [
            client.get(READ, headers=good),
            client.get(READ),
            client.get(READ, headers=refused),
            client.post(SUBMIT, headers=good, content=b"x" * 100_000),
            client.post(SUBMIT, headers=good, content=iter([b"one ", b"two"])),
        ]
        problem = answers[1].json()
        return {
            "versions": sorted({answer.http_version for answer in answers}),
            "statuses": [answer.status_code for answer in answers],
            "told": answers[3].json()["bytes"],
            "problem": problem["type"],
            "challenge": answers[1].headers["www-authenticate"],
        }


def h2_raw():
    """Three streams at once, a PING between, and trailers after a body."""
    with socket.create_connection((host, int(port)), timeout=30) as wire:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        connection.initiate_connection()

        def head(method, path, headers):
            return [(":method", method), (":scheme", "http"), (":authority", "api.test"), (":path", path)] + [
                (name.lower(), value) for name, value in headers.items()
            ]

        connection.send_headers(1, head("GET", READ, good), end_stream=True)
        connection.send_headers(3, head("GET", READ, refused), end_stream=True)
        connection.send_headers(5, head("POST", SUBMIT, good | {"trailer": "x-checksum"}))
        connection.ping(b"12345678")
        connection.send_data(5, b"body")
        connection.send_headers(5, [("x-checksum", "1"), ("portvakt-party", "310000701")], end_stream=True)
        wire.sendall(connection.data_to_send())
        statuses, ended, pinged = {}, set(), False
        while len(ended) < 3:
            received = wire.recv(65536)
            if not received:
                break
            for event in connection.receive_data(received):
                if isinstance(event, h2.events.ResponseReceived):
                    statuses[event.stream_id] = dict(event.headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, h2.events.StreamEnded):
                    ended.add(event.stream_id)
                elif isinstance(event, h2.events.PingAckReceived):
                    pinged = True
            wire.sendall(connection.data_to_send())
        return {"statuses": [statuses.get(stream) for stream in (1, 3, 5)], "pinged": pinged}


def websocket():
    url = "ws://" + task["address"] + SOCKET
    with connect(url, additional_headers=good, open_timeout=30) as connection:
        echoed = []
        for message in ["hei", b"\x00\x01", "x" * 200_000]:
            connection.send(message)
            echoed.append(connection.recv(timeout=30) == message)
    statuses = []
    for headers, path in [({}, SOCKET), (refused, SOCKET), (good, READ)]:
        try:
            connect("ws://" + task["address"] + path, additional_headers=headers, open_timeout=30)
        except websockets.exceptions.InvalidStatus as error:
            statuses.append(error.response.status_code)
    return {"echoed": echoed, "closed": connection.close_code, "refused": statuses}


for call in (http_client, httpx_http2, h2_raw, websocket):
    results[call.__name__] = call()
print(json.dumps(results), flush=True)
