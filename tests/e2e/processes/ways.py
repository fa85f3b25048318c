"""Each way to execute a program, once, as its first argument says; under `true` by another name each."""
import ctypes
import os
import subprocess
import sys
import threading

libc = ctypes.CDLL(None, use_errno=True)
TRUE = "/bin/true"


def child(execute):
    pid = os.fork()
    if pid == 0:
        execute()
        os._exit(99)
    assert os.waitpid(pid, 0)[1] == 0


def from_a_thread():
    threading.Thread(target=os.execv, args=(TRUE, ["from-a-thread"])).start()
    threading.Event().wait()


def hidden():
    libc.prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
    os.execv(TRUE, ["hidden"])


def elsewhere():
    os.chdir("/usr")
    os.execv("bin/true", ["elsewhere", "an\udcff\nargument"])


child(lambda: os.execv(TRUE, ["forked"]))
os.waitpid(os.posix_spawn(TRUE, ["spawned"], {}), 0)
subprocess.run(["by-vfork"], executable=TRUE, check=True)
child(lambda: os.execve(os.open(TRUE, os.O_RDONLY), ["by-descriptor"], {}))
child(from_a_thread)
child(hidden)
child(elsewhere)
child(lambda: os.execv(TRUE, ["many"] + ["x" * 100] * 1000))
child(lambda: os.execv("/proc/self/exe", ["/proc/self/exe", "-c", "pass"]))
child(lambda: os.execvpe("true", ["looked-up"], {"PATH": "/nowhere:/usr/sbin:/root:/usr/bin"}))
