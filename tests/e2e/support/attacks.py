"""Tries things that a sandbox must not allow: attacks.py NAME... prints {"NAME": "ok" | "EPERM" | "SIGSYS" | ...}.

Each attack runs in a process of its own, so that one that is killed for it is reported as well. "ok" means that the
attack worked. Numbers are those of x86_64.
"""
import ctypes, errno, json, mmap, os, signal, socket, stat, struct, sys

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
NEWNS, NEWUSER = 0x20000, 0x10000000


def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[a if not isinstance(a, int) else ctypes.c_long(a) for a in arguments])
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result


def read_init_memory():
    with open("/proc/1/maps") as maps:
        start = int(maps.readline().split("-")[0], 16)
    fd = os.open("/proc/1/mem", os.O_RDWR)
    os.pread(fd, 16, start)


def vm_write_init():
    buffer = ctypes.create_string_buffer(8)
    local = struct.pack("QQ", ctypes.addressof(buffer), 8)
    remote = struct.pack("QQ", 0x400000, 8)
    try:
        call(311, 1, local, 1, remote, 1, 0)
    except OSError as e:
        if e.errno != errno.EFAULT:  # allowed, but nothing is mapped there
            raise


def ptrace(pid):
    call(101, 0x4206, pid, 0, 0)  # PTRACE_SEIZE


def ptrace_own_child():
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        ptrace(pid)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def clone3(flags):
    arguments = struct.pack("11Q", flags, 0, 0, 0, signal.SIGCHLD, 0, 0, 0, 0, 0, 0)
    pid = call(435, arguments, len(arguments))
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def clone(flags):
    pid = call(56, flags | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def prlimit_init():
    """Core dumps of no size, which hurts nobody; no descriptors or no time would end pid 1."""
    call(302, 1, 4, struct.pack("QQ", 0, 0), None)


def look_into_init():
    """Whatever of /proc/1 leads out of the sandbox, or into its memory."""
    for name in ("root/etc", "cwd/.", "exe", "fd", "map_files", "environ", "auxv", "maps", "mem", "stack", "syscall", "io", "ns/mnt", "task/1/root/etc"):
        path = "/proc/1/" + name
        try:
            os.listdir(path) if os.path.isdir(path) else open(path, "rb").read(1)
            return
        except OSError as e:
            if e.errno not in (errno.EACCES, errno.EPERM):
                raise
    raise OSError(errno.EACCES, "")


def any_socket(allowed):
    """One of a kind that is not allowed: all families, all protocols of netlink, all of the internet ones."""
    wanted = [(family, kind, 0) for family in range(64) if family not in (1, 2, 10, 16) for kind in (1, 2, 3, 4, 5)]
    wanted += [(16, kind, protocol) for protocol in range(1, 32) for kind in (2, 3)]
    wanted += [(family, kind, protocol) for family in (2, 10) for kind in (1, 2, 3, 4, 5, 6, 10) for protocol in range(264)]
    for family, kind, protocol in wanted:
        if (family, kind, protocol) in allowed:
            continue
        try:
            socket.socket(family, kind, protocol)
            return
        except OSError:
            pass
    raise OSError(errno.EACCES, "")


# TCP, MPTCP, UDP, ICMP echo, and UDP and TCP as the only ones of their kind.
SOCKETS = {(family, kind, protocol) for family in (2, 10)
           for kind, protocol in ((1, 0), (1, 6), (1, 262), (2, 0), (2, 17), (2, 1 if family == 2 else 58))}


def privileged_file(make):
    """A file that would give privileges to whoever finds it on the host."""
    name = "wardian-privileged"
    make(name)
    mode = os.lstat(name).st_mode
    if mode & 0o6000 or stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or "security.capability" in os.listxattr(name):
        return
    raise OSError(errno.EPERM, "")


def touched(name):
    if os.path.lexists(name):
        os.unlink(name)
    with open(name, "w"):
        os.chmod(name, 0o755)
    return name


def set_capability(name):
    # VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE, cap_setuid
    os.setxattr(touched(name), "security.capability", struct.pack("<5I", 0x02000001, 1 << 7, 0, 0, 0))


def set_capability_from_below(name):
    """As the superuser of a further namespace, who has all capabilities over it."""
    touched(name)
    call(272, NEWUSER)
    for file, text in (("setgroups", "deny"), ("uid_map", f"0 {UID} 1"), ("gid_map", f"0 {GID} 1")):
        with open("/proc/self/" + file, "w") as opened:
            opened.write(text)
    set_capability(name)


def fresh(name):
    if os.path.lexists(name):
        os.unlink(name)
    return name.encode()


def openat2(name):
    how = struct.pack("QQQ", os.O_CREAT | os.O_WRONLY, 0o4755, 0)
    call(437, -100, fresh(name), how, len(how))


def whiteout(name):
    os.rename(touched(name), name + ".from")
    call(316, -100, (name + ".from").encode(), -100, (name + ".to").encode(), 4)
    os.rename(name + ".from", name)


UID, GID = os.getuid(), os.getgid()
PRIVILEGED = {
    "chmod": lambda name: call(90, touched(name).encode(), 0o4755),
    "chmod_group": lambda name: call(90, touched(name).encode(), 0o2755),
    "fchmod": lambda name: call(91, os.open(touched(name), os.O_RDONLY), 0o4755),
    "fchmodat": lambda name: call(268, -100, touched(name).encode(), 0o4755),
    "fchmodat2": lambda name: call(452, -100, touched(name).encode(), 0o4755, 0),
    "creat": lambda name: call(85, fresh(name), 0o4755),
    "open": lambda name: call(2, fresh(name), os.O_CREAT | os.O_WRONLY, 0o4755),
    "openat": lambda name: call(257, -100, fresh(name), os.O_CREAT | os.O_WRONLY, 0o4755),
    "openat2": openat2,
    "mknod": lambda name: call(133, fresh(name), 0o104755, 0),
    "mknodat": lambda name: call(259, -100, fresh(name), 0o104755, 0),
    "device": lambda name: call(133, fresh(name), 0o20666, 0),
    "device_at": lambda name: call(259, -100, fresh(name), 0o20666, 0),
    "whiteout": whiteout,
    "capability": set_capability,
    "capability_from_below": set_capability_from_below,
}


def setns(path):
    fd = os.open(path, os.O_RDONLY)
    call(308, fd, 0)


def mount(source, target, kind, flags=0, data=None):
    call(165, source, target, kind, flags, data)


def pidfd_getfd():
    fd = call(434, 1, 0)
    for other in range(0, 32):
        try:
            call(438, fd, other, 0)
            return
        except OSError as e:
            if e.errno != errno.EBADF:
                raise
    raise OSError(errno.EBADF, "")


def foreign_abi():
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")  # mov eax, 20 (getpid); int 0x80; ret
    function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    result = function()
    if result < 0:
        raise OSError(-result, "")


def bpf_map():
    call(321, 0, struct.pack("IIIII", 2, 4, 4, 1, 0) + bytes(100), 72)  # BPF_MAP_CREATE of an array


def perf():
    attribute = struct.pack("IIQ", 1, 128, 0) + bytes(112)  # a software event: cpu clock
    call(298, attribute, 0, -1, -1, 0)


def userfaultfd():
    call(323, 0)


def io_uring():
    call(425, 4, ctypes.create_string_buffer(120))


def cgroup_escape():
    """CVE-2022-0492: write a release_agent, in the hierarchies that are there or in one of our own."""
    found = []
    for directory, _, files in os.walk("/sys/fs/cgroup"):
        if "release_agent" in files:
            found.append(directory + "/release_agent")
    for path in found:
        with open(path, "r+") as file:
            before = file.read()
            file.seek(0)
            file.write(before or "\n")
        return
    raise OSError(errno.ENOENT, "")


def block_device():
    os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0))


def netlink_write():
    """RTM_NEWADDR on the loopback interface."""
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack("BBBBI", 2, 32, 0, 0, 1) + struct.pack("HH", 8, 2) + bytes([192, 0, 2, 99])
    s.send(struct.pack("IHHII", 16 + len(body), 20, 5 | 0x600, 1, 0) + body)
    code = struct.unpack_from("i", s.recv(4096), 16)[0]
    if code:
        raise OSError(-code, "")


def netlink_read():
    s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
    body = struct.pack("BxHiII", 0, 0, 0, 0, 0)
    s.send(struct.pack("IHHII", 16 + len(body), 18, 0x301, 1, 0) + body)
    if struct.unpack_from("H", s.recv(65536), 4)[0] != 16:
        raise OSError(errno.EPERM, "")


def tty_ioctl(request):
    """As given, upper bits included: libc's wrapper and the kernel differ in what they look at."""
    call(16, 0, request, ctypes.create_string_buffer(b"#", 8))


def socket_of(family, kind=socket.SOCK_RAW, protocol=0):
    return lambda: socket.socket(family, kind, protocol)


ATTACKS = {
    "ptrace_init": lambda: ptrace(1),
    "ptrace_own_child": ptrace_own_child,
    "read_init_memory": read_init_memory,
    "vm_write_init": vm_write_init,
    "pidfd_getfd_init": pidfd_getfd,
    "prlimit_init": prlimit_init,
    "look_into_init": look_into_init,
    "unshare_user": lambda: call(272, NEWUSER),
    "unshare_mount": lambda: call(272, NEWNS),
    "unshare_net": lambda: call(272, 0x40000000),
    "unshare_pid": lambda: call(272, 0x20000000),
    "unshare_ipc": lambda: call(272, 0x8000000),
    "unshare_uts": lambda: call(272, 0x4000000),
    "unshare_cgroup": lambda: call(272, 0x2000000),
    "unshare_time": lambda: call(272, 0x80),
    "clone_user": lambda: clone(NEWUSER),
    "clone_user_high_bits": lambda: clone(NEWUSER | 1 << 33),
    "clone3_user": lambda: clone3(NEWUSER),
    "setns_init_mount": lambda: setns("/proc/1/ns/mnt"),
    "setns_init_net": lambda: setns("/proc/1/ns/net"),
    "mount_tmpfs": lambda: mount(b"none", b"/mnt", b"tmpfs"),
    "mount_proc": lambda: mount(b"none", b"/mnt", b"proc"),
    "mount_bind": lambda: mount(b"/usr", b"/mnt", None, 4096),
    "remount_root": lambda: mount(None, b"/", None, 32 | 4096),
    "umount_proc": lambda: call(166, b"/proc", 2),
    "fsopen": lambda: call(430, b"tmpfs", 0),
    "open_tree": lambda: call(428, -100, b"/", 1),
    "open_tree_attr": lambda: call(467, -100, b"/", 1, None, 0),
    "fspick": lambda: call(433, -100, b"/", 0),
    "mount_setattr": lambda: call(442, -100, b"/", 0, bytes(32), 32),
    "move_mount": lambda: call(429, -100, b"/usr", -100, b"/mnt", 0),
    "pivot_root": lambda: call(155, b"/", b"/mnt"),
    "chroot": lambda: call(161, b"/usr"),
    "cgroup_release_agent": cgroup_escape,
    "io_uring": io_uring,
    "bpf": bpf_map,
    "perf_event_open": perf,
    "userfaultfd": userfaultfd,
    "add_key": lambda: call(248, b"user", b"wardian", b"x", 1, -2),
    "keyctl": lambda: call(250, 0, -3, 1),
    "request_key": lambda: call(249, b"user", b"wardian-none", None, 0),
    "init_module": lambda: call(175, b"x", 1, b""),
    "finit_module": lambda: call(313, 0, b"", 0),
    "delete_module": lambda: call(176, b"wardian_none", 0),
    "kexec_load": lambda: call(246, 0, 0, 0, 0),
    "kexec_file_load": lambda: call(320, 0, 0, 0, b"", 0),
    "reboot": lambda: call(169, 0xFEE1DEAD, 672274793, 0, None),
    "swapon": lambda: call(167, b"/etc/passwd", 0),
    "acct": lambda: call(163, None),
    "sethostname": lambda: call(170, b"wardian", 7),
    "settimeofday": lambda: call(164, struct.pack("QQ", 1800000000, 0), None),
    "syslog": lambda: call(103, 10, None, 0),
    "iopl": lambda: call(172, 3),
    "open_by_handle": lambda: call(304, -100, struct.pack("II", 8, 1) + bytes(8), 0),
    "block_device": block_device,
    "af_packet": socket_of(17),
    "af_inet_raw": socket_of(2, socket.SOCK_RAW, 1),
    "af_inet6_raw": socket_of(10, socket.SOCK_RAW, 58),
    "af_ping": socket_of(2, socket.SOCK_DGRAM, 1),
    "af_alg": socket_of(38, socket.SOCK_SEQPACKET),
    "af_vsock": socket_of(40, socket.SOCK_STREAM),
    "af_key": socket_of(15, socket.SOCK_RAW, 2),
    "af_xdp": socket_of(44),
    "af_bluetooth": socket_of(31, socket.SOCK_RAW, 1),
    "af_tipc": socket_of(30, socket.SOCK_SEQPACKET),
    "netlink_audit": socket_of(16, socket.SOCK_RAW, 9),
    "netlink_netfilter": socket_of(16, socket.SOCK_RAW, 12),
    "any_socket": lambda: any_socket(SOCKETS),
    "netlink_write": netlink_write,
    "netlink_read": netlink_read,
    "foreign_abi": foreign_abi,
    "x32_abi": lambda: call(0x40000000 + 39),
    "tiocsti": lambda: tty_ioctl(0x5412),
    "tiocsti_high_bits": lambda: tty_ioctl(0x100005412),
    "tioclinux": lambda: tty_ioctl(0x541C),
}


ATTACKS.update({"file_by_" + name: (lambda make: lambda: privileged_file(make))(make) for name, make in PRIVILEGED.items()})


def attempt(attack):
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            attack()
            outcome = "ok"
        except OSError as e:
            outcome = errno.errorcode.get(e.errno, str(e.errno))
        os.write(write, outcome.encode())
        os._exit(0)
    os.close(write)
    outcome = b""
    while chunk := os.read(read, 64):
        outcome += chunk
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else outcome.decode()


if __name__ == "__main__":
    names = sys.argv[1:] or list(ATTACKS)
    print(json.dumps({name: attempt(ATTACKS[name]) for name in names}))
