"""HTTP/2 as bytes, as no client would send them (RFC 9113, RFC 7541)."""

import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def integer(value, prefix, first=0):
    """RFC 7541 section 5.1."""
    most = (1 << prefix) - 1
    if value < most:
        return bytes([first | value])
    told, value = bytearray([first | most]), value - most
    while value >= 128:
        told.append(value % 128 + 128)
        value //= 128
    told.append(value)
    return bytes(told)


def field(name, value, indexed=False):
    """A literal field; put into the table of what was said before where `indexed`."""
    name, value = name.encode(), value.encode()
    first = b"\x40" if indexed else b"\x00"
    return first + integer(len(name), 7) + name + integer(len(value), 7) + value


def table(index):
    """A field by its number in the table; the first that was put there is 62."""
    return integer(index, 7, 0x80)


def request(path="/v1/scopes", method="GET", more=()):
    fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "a"), *more]
    return b"".join(field(name, value) for name, value in fields)


def opening(*settings):
    return PREFACE + frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in settings))


def read(buffer):
    """The whole frames of a buffer, and what is left of it."""
    found = []
    while len(buffer) >= 9:
        length = int.from_bytes(buffer[:3], "big")
        if len(buffer) < 9 + length:
            break
        stream = int.from_bytes(buffer[5:9], "big") & 0x7FFF_FFFF
        found.append((buffer[3], buffer[4], stream, buffer[9 : 9 + length]))
        buffer = buffer[9 + length :]
    return found, buffer
