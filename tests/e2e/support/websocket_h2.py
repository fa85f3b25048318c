"""WebSockets on streams of one HTTP/2 connection (RFC 8441): websocket_h2.py HOST. Prints what each step gave. Runs on
the tests' own Python with its h2 package."""
import os, socket, ssl, struct, sys

import h2.config, h2.connection, h2.events, h2.settings

host = sys.argv[1]
context = ssl.create_default_context()
context.set_alpn_protocols(["h2"])
stream = context.wrap_socket(socket.create_connection((host, 443), 5), server_hostname=host)
stream.settimeout(10)
connection = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
connection.initiate_connection()
statuses, received, ended, resets = {}, {}, set(), []


def pump():
    """Sends what is due and takes in what comes, once."""
    stream.sendall(connection.data_to_send())
    data = stream.recv(65536)
    assert data, "the connection ended"
    for event in connection.receive_data(data):
        if isinstance(event, h2.events.ResponseReceived):
            statuses[event.stream_id] = dict(event.headers)[":status"]
        elif isinstance(event, h2.events.DataReceived):
            received[event.stream_id] = received.get(event.stream_id, b"") + event.data
            connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            ended.add(event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            resets.append(event.stream_id)
    stream.sendall(connection.data_to_send())


def until(done):
    while not done():
        pump()


def ask(path, websocket):
    number = connection.get_next_available_stream_id()
    method = "CONNECT" if websocket else "GET"
    head = [(":method", method), (":scheme", "https"), (":path", path), (":authority", host)]
    extra = [(":protocol", "websocket"), ("sec-websocket-version", "13")] if websocket else []
    connection.send_headers(number, head + extra, end_stream=not websocket)
    until(lambda: number in statuses)
    return number


def send(number, opcode, payload):
    """One masked frame (RFC 6455 section 5.2), as the window allows."""
    length = len(payload)
    size = struct.pack("!B", 128 | length) if length < 126 else struct.pack("!BH", 254, length) if length < 65536 else struct.pack("!BQ", 255, length)
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    rest = bytes([128 | opcode]) + size + mask + masked
    while rest:
        room = min(connection.local_flow_control_window(number), connection.max_outbound_frame_size)
        if room:
            connection.send_data(number, rest[:room])
            rest = rest[room:]
            stream.sendall(connection.data_to_send())
        else:
            pump()


def frame(number):
    """The next unmasked frame of the other side."""
    def parsed():
        data = received.get(number, b"")
        if len(data) < 2:
            return None
        length, at = data[1] & 127, 2
        if length > 125:
            at = 4 if length == 126 else 10
            if len(data) < at:
                return None
            length = int.from_bytes(data[2:at], "big")
        return (data[0] & 15, data[at : at + length], at + length) if len(data) >= at + length else None
    until(parsed)
    opcode, payload, end = parsed()
    received[number] = received[number][end:]
    return opcode, payload


until(lambda: connection.remote_settings.enable_connect_protocol)
plain = ask("/echo", False)
first = ask("/websocket", True)
print("opened", statuses[plain], statuses[first])
send(first, 1, b"text")
print("text", frame(first) == (1, b"text"))
denied = ask("/denied", True)
until(lambda: denied in ended or denied in resets)
print("denied", statuses[denied], b"no_rule_for_request" in received[denied])
second = ask("/websocket", True)
large = bytes(range(256)) * 4000
send(second, 2, large)
send(first, 2, b"beside it")
print("beside", frame(first) == (2, b"beside it"), frame(second) == (2, large))
send(first, 9, b"are you there")
print("pong", frame(first) == (10, b"are you there"))
send(first, 8, struct.pack("!H", 1000))
print("closing", frame(first) == (8, struct.pack("!H", 1000)))
connection.end_stream(first)
until(lambda: first in ended)
send(second, 1, b"still here")
print("other", frame(second) == (1, b"still here"))
connection.reset_stream(second, 8)
after = ask("/echo", False)
until(lambda: after in ended)
print("after", statuses[after], resets)
