"""A person at a terminal: terminal.py STEPS -- COMMAND... runs COMMAND on a pseudo-terminal of its own.

STEPS is JSON: ["expect", TEXT] waits until TEXT was shown, ["send", TEXT] types, ["resize", ROWS, COLUMNS] changes the
window, ["kill", SIGNAL] sends a signal to COMMAND, ["wait", SECONDS] waits. At the end, prints JSON: all that was shown,
how COMMAND ended, and whether the terminal's settings are what they were.
"""
import fcntl, json, os, pty, re, select, signal, struct, sys, termios, time

steps = json.loads(sys.argv[1])
command = sys.argv[3:]
master, slave = pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
before = termios.tcgetattr(slave)
pid = os.fork()
if pid == 0:
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.closerange(3, 64)
    # As a login shell would have it, whatever the test runner ignores or blocks.
    for name in ("SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGPIPE", "SIGXFSZ", "SIGINT", "SIGQUIT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvp(command[0], command)

shown, mark, failed, ended = b"", 0, None, None


def pump(seconds):
    """Reads what is shown for a while; returns False when COMMAND has ended and all was read."""
    global shown, ended
    ready, _, _ = select.select([master], [], [], seconds)
    if ready:
        shown += os.read(master, 65536)
        return True
    if ended is None:
        done, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
        if done and not os.WIFSTOPPED(status):
            ended = status
    return ended is None


for step in steps:
    if step[0] == "send":
        os.write(master, step[1].encode())
    elif step[0] == "resize":
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", step[1], step[2], 0, 0))
        os.kill(pid, signal.SIGWINCH)
    elif step[0] == "kill":
        os.kill(pid, getattr(signal, step[1]))
    elif step[0] == "wait":
        until = time.time() + step[1]
        while time.time() < until:
            pump(0.05)
    elif step[0] == "expect":
        until = time.time() + 15
        while step[1].encode() not in shown[mark:]:
            if time.time() > until or not pump(0.05):
                failed = step[1]
                break
        else:
            mark = shown.index(step[1].encode(), mark) + len(step[1].encode())
    if failed:
        break

until = time.time() + 15
while pump(0.05) and time.time() < until:
    pass
if ended is None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
after = termios.tcgetattr(slave)
print(json.dumps({
    "shown": shown.decode(errors="replace"),
    "failed": failed,
    "exit": None if ended is None else os.waitstatus_to_exitcode(ended),
    "restored": before == after,
}))
