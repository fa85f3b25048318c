"""Executes a program under a filter with a listener that this process never answers."""
import ctypes
import os
import platform
import struct
import sys

SECCOMP = {"x86_64": 317, "aarch64": 277}[platform.machine()]
LISTENED_TO = 9999  # no call has this number
ALLOW, ASK = 0x7FFF0000, 0x7FC00000

libc = ctypes.CDLL(None, use_errno=True)


def instruction(code, then, otherwise, value):
    return struct.pack("HBBI", code, then, otherwise, value)


program = ctypes.create_string_buffer(
    instruction(0x20, 0, 0, 0)
    + instruction(0x15, 0, 1, LISTENED_TO)
    + instruction(0x06, 0, 0, ASK)
    + instruction(0x06, 0, 0, ALLOW)
)
described = ctypes.create_string_buffer(struct.pack("HxxxxxxP", 4, ctypes.addressof(program)))
assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
listener = libc.syscall(SECCOMP, 1, 8, described)  # SECCOMP_FILTER_FLAG_NEW_LISTENER
assert listener >= 0, os.strerror(ctypes.get_errno())
os.set_inheritable(listener, True)
os.execvp(sys.argv[1], sys.argv[1:])
