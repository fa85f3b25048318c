"""What a program may and may not say in HTTP/2, row by row and with the answer that RFC 9113 and RFC 7541 ask for. The
sections are those of the h2spec suite (RFC 7540). h2_frames.py HOST: prints a line for each row, `SECTION NAME: fine` or
what came instead. Runs on the tests' own Python with its hpack package."""
import socket, ssl, struct, sys, time

import hpack

HOST = sys.argv[1]
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 1
END_HEADERS, PADDED, PRIORITIZED = 4, 8, 32
NO_ERROR, PROTOCOL, INTERNAL, FLOW_CONTROL, _, STREAM_CLOSED, FRAME_SIZE, REFUSED, CANCEL, COMPRESSION = range(10)
ENHANCE = 11
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MOST = 2**31 - 1


def frame(kind, flags=0, stream=0, payload=b""):
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


def settings(*pairs, flags=0, stream=0):
    return frame(SETTINGS, flags, stream, b"".join(struct.pack("!HI", *pair) for pair in pairs))


class Case:
    """One connection, and what came back on it."""

    def __init__(self, path):
        self.path, self.encoder, self.decoder = path, hpack.Encoder(), hpack.Decoder()
        self.status, self.resets, self.goaway, self.ended = {}, {}, None, set()
        self.body, self.acks, self.pongs, self.closed, self.rest = {}, 0, 0, False, b""
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        self.socket = context.wrap_socket(socket.create_connection((HOST, 443), 5), server_hostname=HOST)

    def fields(self, *more, **pseudo):
        head = {"method": "GET", "scheme": "https", "path": self.path, "authority": HOST} | pseudo
        return [(":" + name, value) for name, value in head.items() if value is not None] + list(more)

    def block(self, *more, **pseudo):
        return self.encoder.encode(self.fields(*more, **pseudo), huffman=False)

    def head(self, *more, stream=1, end=True, **pseudo):
        return frame(HEADERS, END_HEADERS | end, stream, self.block(*more, **pseudo))

    def post(self, *more, **pseudo):
        return self.head(*more, end=False, method="POST", **pseudo)

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # What was said before the end is still to be read.

    def receive(self, done, seconds=3.0):
        """Reads until `done` says so, the other side closes, or time is up."""
        until = time.monotonic() + seconds
        while not done() and not self.closed and time.monotonic() < until:
            self.socket.settimeout(max(until - time.monotonic(), 0.01))
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return
            except OSError:
                data = b""
            self.closed = not data
            self.rest += data
            while len(self.rest) >= 9 and len(self.rest) >= 9 + int.from_bytes(self.rest[:3], "big"):
                end = 9 + int.from_bytes(self.rest[:3], "big")
                head, payload, self.rest = self.rest[:9], self.rest[9:end], self.rest[end:]
                self.take(head[3], head[4], int.from_bytes(head[5:], "big"), payload)

    def take(self, kind, flags, stream, payload):
        if kind == HEADERS:
            for name, value in self.decoder.decode(payload):
                if name == ":status":
                    self.status[stream] = value
        elif kind == DATA:
            self.body[stream] = self.body.get(stream, b"") + payload
        elif kind == RST_STREAM:
            self.resets[stream] = int.from_bytes(payload, "big")
        elif kind == GOAWAY:
            self.goaway = int.from_bytes(payload[4:8], "big")
        elif kind == SETTINGS:
            self.acks += flags & ACK
        elif kind == PING:
            self.pongs += flags & ACK
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self.ended.add(stream)

    def told(self):
        parts = [f"stream {n} status {s}" for n, s in self.status.items()]
        parts += [f"stream {n} reset {code}" for n, code in self.resets.items()]
        parts += [f"goaway {self.goaway}"] * (self.goaway is not None) + ["closed" if self.closed else "open"]
        return ", ".join(parts)


def answered(case):
    """The request was served, and the connection goes on."""
    case.receive(lambda: case.status and len(case.ended) >= len(case.status))
    case.send(frame(PING, 0, 0, b"alright?"))
    before = case.pongs
    case.receive(lambda: case.pongs > before)
    return set(case.status.values()) == {"200"} and case.goaway is None and case.pongs > before and not case.resets


def alive(case):
    """No request was made; the connection goes on."""
    case.send(frame(PING, 0, 0, b"alright?"))
    before = case.pongs
    case.receive(lambda: case.pongs > before)
    return case.goaway is None and case.pongs > before and not case.resets


def ends(*codes):
    """The connection ends. PROTOCOL_ERROR, the most general of codes, may stand for a more precise one."""

    def check(case):
        case.receive(lambda: False)
        return case.closed and (case.goaway in (PROTOCOL, *codes) or (not codes and case.goaway is None))

    return check


def resets(*codes, stream=1):
    """The stream is reset (or the connection ends, which is stricter), or the door answers that the request is bad."""

    def check(case):
        case.receive(lambda: stream in case.resets or case.status.get(stream, "").startswith("4"))
        refused = case.status.get(stream, "").startswith("4")
        return case.resets.get(stream) in codes or (case.closed and case.goaway in (PROTOCOL, *codes)) or refused

    return check


def gets(octets, stream=1):
    """Exactly this many bytes of a body came, and no more for a while."""

    def check(case):
        case.receive(lambda: False, 0.7)
        return len(case.body.get(stream, b"")) == octets and case.goaway is None

    return check


ROWS = []


def row(section, name, expected, arrives="no", preface=PREFACE + settings()):
    """`arrives`: whether a request of the row reaches the origin: it must, it may, or `no`."""

    def add(say):
        ROWS.append((section, name, expected, arrives, preface, say))
        return say

    return add


def plain(section, name, expected, say, **more):
    row(section, name, expected, **more)(say)


FINE = {"arrives": "must"}
MAY = {"arrives": "may"}
EMPTY = {"preface": b""}

# Generic: what must work.
plain("generic 1", "a preface", alive, lambda c: b"")
plain("generic 2", "PRIORITY on an idle stream", answered, lambda c: frame(PRIORITY, 0, 1, b"\0\0\0\0\x0f") + c.head(), **FINE)
plain("generic 2", "WINDOW_UPDATE on a half-closed stream", answered, lambda c: c.head() + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\x0a"), **FINE)
plain("generic 2", "PRIORITY on a half-closed stream", answered, lambda c: c.head() + frame(PRIORITY, 0, 1, b"\0\0\0\0\x0f"), **FINE)
plain("generic 2", "RST_STREAM on a half-closed stream", alive, lambda c: c.head() + frame(RST_STREAM, 0, 1, b"\0\0\0\x08"), **MAY)
plain("generic 3.1", "several DATA frames", answered, lambda c: c.post() + frame(DATA, 0, 1, b"ab") + frame(DATA, 1, 1, b"c"), **FINE)
plain("generic 3.1", "padded DATA", answered, lambda c: c.post() + frame(DATA, 1 | PADDED, 1, b"\x06test" + b"\0" * 6), **FINE)
plain("generic 3.2", "padded HEADERS", answered, lambda c: frame(HEADERS, 5 | PADDED, 1, b"\x06" + c.block() + b"\0" * 6), **FINE)
plain("generic 3.2", "HEADERS with a priority", answered, lambda c: frame(HEADERS, 5 | PRIORITIZED, 1, b"\0\0\0\0\xff" + c.block()), **FINE)
plain("generic 3.3", "an exclusive PRIORITY", answered, lambda c: frame(PRIORITY, 0, 3, b"\x80\0\0\1\xff") + c.head(), **FINE)
plain("generic 3.5", "SETTINGS are acknowledged", lambda c: (c.receive(lambda: c.acks >= 2), c.acks >= 2)[1], lambda c: settings((3, 100)))
plain("generic 3.7", "PING is answered", lambda c: (c.receive(lambda: c.pongs), c.pongs == 1)[1], lambda c: frame(PING, 0, 0, b"12345678"))
plain("generic 3.8", "GOAWAY ends after its streams", lambda c: (c.receive(lambda: False), c.closed and c.status.get(1) == "200")[1], lambda c: c.head() + frame(GOAWAY, 0, 0, b"\0" * 8), **MAY)
plain("generic 3.10", "several CONTINUATIONs", answered, lambda c: (lambda b: frame(HEADERS, 1, 1, b[:3]) + frame(CONTINUATION, 0, 1, b[3:9]) + frame(CONTINUATION, 4, 1, b[9:]))(c.block()), **FINE)
plain("generic 4", "HEAD", answered, lambda c: c.head(method="HEAD"), **FINE)
plain("generic 4", "POST with trailers", answered, lambda c: c.post(("trailer", "x-t")) + frame(DATA, 0, 1, b"abc") + frame(HEADERS, 5, 1, c.encoder.encode([("x-t", "1")])), **FINE)
plain("generic 5", "indexed and never-indexed literals, Huffman", answered, lambda c: frame(HEADERS, 5, 1, c.encoder.encode([*map(tuple, c.fields()), hpack.NeverIndexedHeaderTuple("x-secret", "1")], huffman=True)), **FINE)
plain("generic 5", "a table size update at the beginning", answered, lambda c: frame(HEADERS, 5, 1, b"\x20\x3f\xe1\x1f" + c.block()), **FINE)

plain("3.5", "no preface", ends(), lambda c: b"INVALID CONNECTION PREFACE\r\n\r\n", **EMPTY)
plain("3.5", "HTTP/1.1 instead of a preface", ends(), lambda c: b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n", **EMPTY)
# Not an end, but nothing that two could read differently either.
plain("3.5", "a preface without SETTINGS", lambda c: answered(c) or ends()(c), lambda c: PREFACE + frame(PING, 0, 0, b"12345678") + c.head(), arrives="may", **EMPTY)

plain("4.1", "a frame of unknown type", answered, lambda c: frame(0xEE, 0xFF, 0, b"abc") + c.head(), **FINE)
plain("4.1", "an undefined flag", answered, lambda c: frame(PING, 0x16, 0, b"12345678") + c.head(), **FINE)
plain("4.1", "a reserved bit", answered, lambda c: frame(PING, 0, 2**31, b"12345678") + c.head(), **FINE)
plain("4.2", "DATA as large as allowed", answered, lambda c: c.post() + frame(DATA, 1, 1, b"x" * 16384), **FINE)
plain("4.2", "DATA larger than allowed", ends(FRAME_SIZE), lambda c: c.post() + frame(DATA, 1, 1, b"x" * 16385), **MAY)
plain("4.2", "HEADERS larger than allowed", ends(FRAME_SIZE), lambda c: c.head(*[(f"x-{n}", "y" * 4000) for n in range(5)]))
plain("4.3", "a block that cannot be decoded", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, b"\x01\x04\x05test\xff"))
plain("4.3", "PRIORITY inside a block", ends(PROTOCOL), lambda c: frame(HEADERS, 1, 1, c.block()) + frame(PRIORITY, 0, 1, b"\0\0\0\0\xff"))
plain("4.3", "HEADERS of another stream inside a block", ends(PROTOCOL), lambda c: frame(HEADERS, 1, 1, c.block()) + c.head(stream=3))

for kind, name, payload in [(DATA, "DATA", b"x"), (RST_STREAM, "RST_STREAM", b"\0\0\0\x08"), (WINDOW_UPDATE, "WINDOW_UPDATE", b"\0\0\0\x64"), (CONTINUATION, "CONTINUATION", b"\x82")]:
    plain("5.1", f"{name} on an idle stream", ends(PROTOCOL), lambda c, k=kind, p=payload: frame(k, 0, 1, p))
plain("5.1", "DATA on a half-closed stream", resets(STREAM_CLOSED), lambda c: c.head() + frame(DATA, 1, 1, b"x"), **MAY)
plain("5.1", "HEADERS on a half-closed stream", resets(STREAM_CLOSED), lambda c: c.head() + c.head(), **MAY)
plain("5.1", "CONTINUATION on a half-closed stream", ends(STREAM_CLOSED), lambda c: c.head() + frame(CONTINUATION, 4, 1, b"\x82"), **MAY)
CANCELLED = frame(RST_STREAM, 0, 1, b"\0\0\0\x08")
plain("5.1", "DATA on a stream that was reset", lambda c: resets(STREAM_CLOSED)(c) or c.goaway is None and not c.status, lambda c: c.post() + CANCELLED + frame(DATA, 1, 1, b"x"), **MAY)
plain("5.1", "HEADERS on a stream that was reset", lambda c: resets(STREAM_CLOSED)(c) or c.goaway is None and not c.status, lambda c: c.post() + CANCELLED + c.head(), **MAY)
plain("5.1", "CONTINUATION on a stream that was reset", ends(STREAM_CLOSED), lambda c: c.post() + CANCELLED + frame(CONTINUATION, 4, 1, b"\x82"), **MAY)


def served(case):
    case.send(case.head())
    case.receive(lambda: 1 in case.ended)
    return b""


plain("5.1", "DATA on a closed stream", lambda c: ends(STREAM_CLOSED)(c) or c.resets.get(1) == STREAM_CLOSED, lambda c: served(c) + frame(DATA, 1, 1, b"x"), **FINE)
plain("5.1", "HEADERS on a closed stream", lambda c: ends(STREAM_CLOSED)(c) or c.resets.get(1) == STREAM_CLOSED, lambda c: served(c) + c.head(), **FINE)
plain("5.1", "CONTINUATION on a closed stream", ends(STREAM_CLOSED), lambda c: served(c) + frame(CONTINUATION, 4, 1, b"\x82"), **FINE)
plain("5.1.1", "an even stream", ends(PROTOCOL), lambda c: c.head(stream=2))
plain("5.1.1", "a stream below the last one", ends(STREAM_CLOSED), lambda c: c.head(stream=5) + c.head(stream=3), **MAY)
plain("5.1.2", "more streams than allowed", resets(REFUSED, stream=279), lambda c: b"".join(c.head(stream=2 * n + 1, end=False, method="POST") for n in range(140)), **MAY)
plain("5.3.1", "HEADERS that depend on themselves", lambda c: resets(PROTOCOL)(c) or answered(c), lambda c: frame(HEADERS, 5 | PRIORITIZED, 1, b"\0\0\0\1\xff" + c.block()), **MAY)
plain("5.3.1", "PRIORITY that depends on itself", lambda c: resets(PROTOCOL)(c) or alive(c), lambda c: frame(PRIORITY, 0, 1, b"\0\0\0\1\xff"))
plain("5.4.1", "the connection is closed behind an error", ends(PROTOCOL), lambda c: frame(PING, 0, 1, b"12345678") + c.head(stream=3))
plain("5.5", "an unknown frame inside a block", ends(PROTOCOL), lambda c: frame(HEADERS, 1, 1, c.block()) + frame(0xEE, 0, 0, b"x"))

plain("6.1", "DATA on stream 0", ends(PROTOCOL), lambda c: frame(DATA, 1, 0, b"x"))
plain("6.1", "DATA with too much padding", ends(PROTOCOL), lambda c: c.post() + frame(DATA, 1 | PADDED, 1, b"\x06test"), **MAY)
plain("6.1", "DATA with no room for its padding's length", ends(FRAME_SIZE), lambda c: c.post() + frame(DATA, 1 | PADDED, 1), **MAY)
plain("6.2", "HEADERS on stream 0", ends(PROTOCOL), lambda c: c.head(stream=0))
plain("6.2", "HEADERS with too much padding", ends(PROTOCOL), lambda c: frame(HEADERS, 5 | PADDED, 1, b"\xff" + c.block()))
plain("6.2", "HEADERS with no room for a priority", ends(FRAME_SIZE), lambda c: frame(HEADERS, 5 | PRIORITIZED, 1, b"\0\0"))
plain("6.3", "PRIORITY on stream 0", ends(PROTOCOL), lambda c: frame(PRIORITY, 0, 0, b"\0\0\0\0\xff"))
plain("6.3", "PRIORITY of 4 octets", lambda c: resets(FRAME_SIZE)(c) or ends(FRAME_SIZE)(c), lambda c: frame(PRIORITY, 0, 1, b"\0\0\0\0"))
plain("6.4", "RST_STREAM on stream 0", ends(PROTOCOL), lambda c: frame(RST_STREAM, 0, 0, b"\0\0\0\x08"))
plain("6.4", "RST_STREAM of 3 octets", ends(FRAME_SIZE), lambda c: c.post() + frame(RST_STREAM, 0, 1, b"\0\0\0"), **MAY)
plain("6.5", "SETTINGS with ACK and a payload", ends(FRAME_SIZE), lambda c: settings((3, 1), flags=ACK))
plain("6.5", "SETTINGS on a stream", ends(PROTOCOL), lambda c: settings((3, 1), stream=1))
plain("6.5", "SETTINGS of 3 octets", ends(FRAME_SIZE), lambda c: frame(SETTINGS, 0, 0, b"\0\3\0"))
plain("6.5.2", "ENABLE_PUSH of 2", ends(PROTOCOL), lambda c: settings((2, 2)))
plain("6.5.2", "an initial window above the maximum", ends(FLOW_CONTROL), lambda c: settings((4, 2**31)))
plain("6.5.2", "a frame size below the least", ends(PROTOCOL), lambda c: settings((5, 16383)))
plain("6.5.2", "a frame size above the most", ends(PROTOCOL), lambda c: settings((5, 2**24)))
plain("6.5.2", "an unknown setting", answered, lambda c: settings((0xFF, 1)) + c.head(), **FINE)
plain("6.5.2", "a second extended CONNECT setting of 2", lambda c: ends(PROTOCOL)(c) or alive(c), lambda c: settings((8, 2)))
plain("6.5.3", "the last of two values counts", gets(1), lambda c: settings((4, 100), (4, 1)) + c.head(), **FINE)
plain("6.7", "a PING that is an answer", lambda c: alive(c) and c.pongs == 1, lambda c: frame(PING, ACK, 0, b"12345678"))
plain("6.7", "PING on a stream", ends(PROTOCOL), lambda c: frame(PING, 0, 1, b"12345678"))
plain("6.7", "PING of 6 octets", ends(FRAME_SIZE), lambda c: frame(PING, 0, 0, b"123456"))
plain("6.8", "GOAWAY on a stream", ends(PROTOCOL), lambda c: frame(GOAWAY, 0, 1, b"\0" * 8))
plain("6.8", "GOAWAY of 7 octets", ends(FRAME_SIZE), lambda c: frame(GOAWAY, 0, 0, b"\0" * 7))
plain("6.9", "WINDOW_UPDATE of 0", ends(PROTOCOL), lambda c: frame(WINDOW_UPDATE, 0, 0, b"\0" * 4))
plain("6.9", "WINDOW_UPDATE of 0 on a stream", resets(PROTOCOL), lambda c: c.post() + frame(WINDOW_UPDATE, 0, 1, b"\0" * 4), **MAY)
plain("6.9", "WINDOW_UPDATE of 3 octets", ends(FRAME_SIZE), lambda c: frame(WINDOW_UPDATE, 0, 0, b"\0\0\1"))
plain("6.9.1", "a window of 1 octet is kept", gets(1), lambda c: settings((4, 1)) + c.head(), **FINE)
plain("6.9.1", "a window above 2^31-1", ends(FLOW_CONTROL), lambda c: frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", MOST)) * 2)
plain("6.9.1", "a stream's window above 2^31-1", resets(FLOW_CONTROL), lambda c: c.post() + frame(WINDOW_UPDATE, 0, 1, struct.pack("!I", MOST)) * 2, **MAY)
plain("6.9.1", "more DATA than the window", lambda c: ends(FLOW_CONTROL)(c) or c.resets.get(1) == FLOW_CONTROL or c.status.get(1, "").startswith("5"), lambda c: c.post() + frame(DATA, 0, 1, b"x" * 16384) * 200, **MAY)


@row("6.9.2", "a window that opens later", gets(1), **FINE)
def opens_later(case):
    case.send(settings((4, 0)) + case.head())
    case.receive(lambda: 1 in case.status)
    return settings((4, 1))


@row("6.9.2", "a window that becomes negative", gets(4), **FINE)
def becomes_negative(case):
    case.send(settings((4, 3)) + case.head())
    case.receive(lambda: len(case.body.get(1, b"")) == 3)
    return settings((4, 2)) + frame(WINDOW_UPDATE, 0, 1, b"\0\0\0\2")


plain("6.9.2", "settings that overflow a window", ends(FLOW_CONTROL), lambda c: c.post() + frame(WINDOW_UPDATE, 0, 1, struct.pack("!I", MOST - 65535)) + settings((4, 65536)), **MAY)
plain("6.10", "CONTINUATION and then DATA", ends(PROTOCOL), lambda c: frame(HEADERS, 0, 1, c.block()) + frame(CONTINUATION, 0, 1) + frame(DATA, 1, 1, b"x"))
plain("6.10", "CONTINUATION on stream 0", ends(PROTOCOL), lambda c: frame(HEADERS, 1, 1, c.block()) + frame(CONTINUATION, 4, 0))
plain("6.10", "CONTINUATION behind the end of HEADERS", ends(PROTOCOL), lambda c: c.post() + frame(CONTINUATION, 4, 1, b"\x82"), **MAY)
plain("6.10", "CONTINUATION behind its own end", ends(PROTOCOL), lambda c: frame(HEADERS, 0, 1, c.block(method="POST")) + frame(CONTINUATION, 4, 1) + frame(CONTINUATION, 4, 1, b"\x82"), **MAY)
plain("6.10", "CONTINUATION behind DATA", ends(PROTOCOL), lambda c: c.post() + frame(DATA, 0, 1, b"x") + frame(CONTINUATION, 4, 1, b"\x82"), **MAY)
plain("7", "an unknown error in GOAWAY", lambda c: (c.receive(lambda: c.closed), c.goaway in (None, NO_ERROR))[1], lambda c: frame(GOAWAY, 0, 0, b"\0\0\0\0\0\0\0\xff"))
plain("7", "an unknown error in RST_STREAM", alive, lambda c: c.post() + frame(RST_STREAM, 0, 1, b"\0\0\0\xff"), **MAY)

plain("8.1", "second HEADERS without END_STREAM", resets(PROTOCOL), lambda c: c.post() + frame(DATA, 0, 1, b"x") + frame(HEADERS, 4, 1, c.encoder.encode([("x-t", "1")])) + frame(DATA, 1, 1, b"y"), **MAY)
plain("8.1.2", "an upper-case name", resets(PROTOCOL), lambda c: c.head(("X-Upper", "y")))
plain("8.1.2.1", "an unknown pseudo-field", resets(PROTOCOL), lambda c: c.head(**{"secret": "y"}))
plain("8.1.2.1", "a response's pseudo-field", resets(PROTOCOL), lambda c: c.head(status="200"))
plain("8.1.2.1", "a pseudo-field behind a field", resets(PROTOCOL), lambda c: frame(HEADERS, 5, 1, c.encoder.encode([("x", "y"), *c.fields()])))
# Dropped rather than refused.
plain("8.1.2.1", "a pseudo-field in trailers", lambda c: answered(c) or resets(PROTOCOL)(c), lambda c: c.post() + frame(DATA, 0, 1, b"x") + frame(HEADERS, 5, 1, c.encoder.encode([(":method", "GET")])), **MAY)
for name, value in [("connection", "keep-alive"), ("proxy-connection", "close"), ("keep-alive", "5"), ("transfer-encoding", "chunked"), ("upgrade", "h2c"), ("te", "gzip"), ("te", "trailers, deflate")]:
    plain("8.1.2.2", f"{name}: {value}", resets(PROTOCOL), lambda c, f=(name, value): c.head(f))
plain("8.1.2.3", "an empty path", resets(PROTOCOL), lambda c: c.head(path=""))
for name in ["method", "scheme", "path"]:
    plain("8.1.2.3", f"no {name}", resets(PROTOCOL), lambda c, n=name: c.head(**{n: None}))
for name, value in [(":method", "POST"), (":scheme", "http"), (":path", "/other"), (":authority", "denied.test")]:
    plain("8.1.2.3", f"two of {name}", resets(PROTOCOL), lambda c, f=(name, value): frame(HEADERS, 5, 1, c.encoder.encode([*c.fields()[:4], f])))
plain("8.1.2.3", "a path that is no path", resets(PROTOCOL), lambda c: c.head(path="x/y"))
plain("8.1.2.6", "a body that is too long", resets(PROTOCOL), lambda c: c.post(("content-length", "1")) + frame(DATA, 1, 1, b"test"), **MAY)
plain("8.1.2.6", "a body that is too long in two frames", resets(PROTOCOL), lambda c: c.post(("content-length", "1")) + frame(DATA, 0, 1, b"test") + frame(DATA, 1, 1, b"test"), **MAY)
plain("8.1.2.6", "a body that is too short", resets(PROTOCOL), lambda c: c.post(("content-length", "9")) + frame(DATA, 1, 1, b"test"), **MAY)
plain("8.1.2.6", "no body where a length is said", resets(PROTOCOL), lambda c: c.head(("content-length", "9"), method="POST"), **MAY)
plain("8.2", "PUSH_PROMISE", ends(PROTOCOL), lambda c: c.post() + frame(PUSH_PROMISE, 4, 1, b"\0\0\0\2" + c.block()), **MAY)

plain("hpack 2.3.3", "an index beyond the table", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\xc6"))
plain("hpack 2.3.3", "a literal whose name's index is beyond the table", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x7f\x07\x04test"))
plain("hpack 4.2", "a table size update at the end", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x3f\xe1\x1f"))
plain("hpack 5.2", "Huffman padding of more than 7 bits", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x84\x49\x50\x9f\xff"))
plain("hpack 5.2", "Huffman padding of zeros", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x00\x85\xf2\xb2\x4a\x84\xff\x83\x49\x50\x90"))
plain("hpack 5.2", "Huffman with an end of string", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x00\x85\xf2\xb2\x4a\x87\xff\xff\xff\xfa\x25\x84\x7f"))
plain("hpack 6.1", "index 0", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x80"))
plain("hpack 6.3", "a table larger than allowed", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, b"\x3f\xe2\x1f" + c.block()))
plain("hpack 5.1", "an integer without end", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\xff" + b"\xff" * 20 + b"\x01"))
plain("hpack 5.2", "a string longer than its block", ends(COMPRESSION), lambda c: frame(HEADERS, 5, 1, c.block() + b"\x00\x01x\x7f\x80\x80\x01y"))

for number, (section, name, expected, arrives, preface, say) in enumerate(ROWS):
    case = Case(f"/{arrives}/{number}")
    case.send(preface)
    case.send(say(case))
    fine = expected(case)
    print(f"{section} {name} [/{arrives}/{number}]:", "fine" if fine else case.told(), flush=True)
    case.socket.close()
