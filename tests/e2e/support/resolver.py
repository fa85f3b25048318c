"""A DNS server on 127.0.0.1:53: resolver.py ANSWERS LOG. ANSWERS is JSON: for each name a list of addresses, of which
each question of a name gets the next; the last one stays. Other names do not exist. LOG gets a JSON line a question."""
import ipaddress, json, socket, sys

answers, log = json.loads(sys.argv[1]), open(sys.argv[2], "a", buffering=1)
turns = {}
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
while True:
    query, peer = server.recvfrom(4096)
    at, labels = 12, []
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace"))
        at += query[at] + 1
    kind = int.from_bytes(query[at + 1 : at + 3], "big")
    question, name = query[12 : at + 5], ".".join(labels).lower()
    log.write(json.dumps({"name": name, "type": kind}) + "\n")
    given, found = answers.get(name), b""
    if given:
        fitting = [a for a in given if ipaddress.ip_address(a).version == (6 if kind == 28 else 4)] if kind in (1, 28) else []
        if fitting:
            turn = turns.get((name, kind), 0)
            turns[name, kind] = turn + 1
            address = ipaddress.ip_address(fitting[min(turn, len(fitting) - 1)]).packed
            found = b"\xc0\x0c" + question[-4:] + bytes(4) + len(address).to_bytes(2, "big") + address
    flags = b"\x81\x80" if given else b"\x81\x83"
    server.sendto(query[:2] + flags + b"\0\1" + (b"\0\1" if found else b"\0\0") + bytes(4) + question + found, peer)
