"""Asks to execute one program while another thread writes the name of the other over it."""
import ctypes
import os
import threading
import time

TRIES = 60


def attack(number):
    path = ctypes.create_string_buffer(b"./one")
    arguments = (ctypes.c_char_p * 3)(b"a program", b"4", None)
    libc = ctypes.CDLL(None)
    # memcpy by a thread that waits for no lock of the interpreter's while it runs.
    names = ctypes.create_string_buffer(b"one" + b"two")

    def switch():
        while True:
            for offset in (0, 3):
                ctypes.memmove(ctypes.addressof(path) + 2, ctypes.addressof(names) + offset, 3)

    threading.Thread(target=switch, daemon=True).start()
    time.sleep(0.001 * (number % 7))
    libc.execve(ctypes.byref(path), arguments, None)
    os._exit(1)


children = []
for number in range(TRIES):
    child = os.fork()
    if child == 0:
        attack(number)
    children.append(child)
    if len(children) % 10 == 0:
        # All of them live for four seconds: what they run can be seen.
        time.sleep(1)
        for child in children[-10:]:
            try:
                runs = os.readlink(f"/proc/{child}/exe")
            except FileNotFoundError:
                continue  # It asked for a name that is half of either.
            if "python" not in runs:
                print(child, os.path.basename(runs), flush=True)
for child in children:
    os.waitpid(child, 0)
