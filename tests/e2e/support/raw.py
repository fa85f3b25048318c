"""Sends bytes as they are: raw.py HOST PORT tls|plain BYTES [SNI [ALPN]]. BYTES may hold Python escapes. Prints the
status line of each answer until the other side closes or is silent for two seconds, and then how it ended."""
import re, socket, ssl, sys

host, port, kind, data = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4].encode().decode("unicode_escape").encode("latin1")
name = sys.argv[5] if len(sys.argv) > 5 else host
received, end = b"", "closed"
try:
    stream = socket.create_connection((host, port), 5)
    if kind == "tls":
        context = ssl.create_default_context()
        context.check_hostname = False
        if len(sys.argv) > 6:
            context.set_alpn_protocols([sys.argv[6]])
        stream = context.wrap_socket(stream, server_hostname=name or None)
    stream.settimeout(2)
    stream.sendall(data)
    while chunk := stream.recv(65536):
        received += chunk
except TimeoutError:
    end = "open"
except (ConnectionError, ssl.SSLError) as e:
    end = "reset"
except OSError as e:
    end = type(e).__name__
for line in re.findall(rb"HTTP/1\.[01] [0-9]{3}", received):
    print(line[9:].decode())
print(end)
