"""Programs that ask the kernel for what would lead out of the sandbox; part of `sandbox_attacks`.

Each prints `ESCAPED` only if it got what it must not get. Other lines say why it did not.
"""

__all__ = ["KERNEL_ATTACKS", "SLOW_KERNEL_ATTACKS"]

# Numbers of system calls on x86-64 and on 64-bit ARM.
_CALLS = """
import ctypes, os, platform, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
NUMBERS = {
    "add_key": (248, 217), "bpf": (321, 280), "clone": (56, 220), "clone3": (435, 435), "execveat": (322, 281),
    "fanotify_init": (300, 262), "fsopen": (430, 430), "io_uring_setup": (425, 425), "kcmp": (312, 272),
    "memfd_create": (319, 279), "mlockall": (151, 230), "mount_setattr": (442, 442), "move_mount": (429, 429),
    "mq_open": (240, 180), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "open_tree": (428, 428),
    "perf_event_open": (298, 241), "personality": (135, 92), "pidfd_getfd": (438, 438), "pidfd_open": (434, 434),
    "process_vm_readv": (310, 270), "ptrace": (101, 117), "semget": (64, 190), "setns": (308, 268),
    "userfaultfd": (323, 282),
}
def call(name, *arguments):
    number = NUMBERS[name][platform.machine() == "aarch64"] if isinstance(name, str) else name
    long_ones = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    libc.syscall.restype = ctypes.c_long
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *long_ones)
    print(name, os.strerror(ctypes.get_errno()))
    return result
"""

KERNEL_ATTACKS: dict[str, str] = {
    "sockets of the virtual machine": """
        import socket
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            try:
                server = socket.socket(40, kind)
                print("ESCAPED", server)
                server.bind((0xFFFFFFFF, 51973))
                server.listen()
            except OSError as error:
                print(error)
    """,
    "sockets of every other family": """
        import socket
        for family in range(64):
            for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
                if family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6):
                    continue
                for make in (socket.socket, socket.socketpair):
                    try:
                        print("ESCAPED", family, make(family, kind))
                    except OSError:
                        pass
    """,
    "raw sockets": """
        import socket
        for family in (socket.AF_INET, socket.AF_INET6):
            for kind, protocol in ((socket.SOCK_RAW, 1), (socket.SOCK_RAW, 255), (10, 0x300)):
                try:
                    print("ESCAPED", socket.socket(family, kind, protocol))
                except OSError as error:
                    print(error)
    """,
    "netlink": """
        import socket
        for protocol in range(24):
            try:
                print("ESCAPED", socket.socket(16, socket.SOCK_RAW, protocol))
            except OSError:
                pass
    """,
    "servers on disk": """
        import socket
        for path in ("/run/dbus/system_bus_socket", "/var/run/docker.sock", "/run/systemd/private", "/dev/log"):
            try:
                socket.socket(socket.AF_UNIX).connect(path)
                print("ESCAPED", path)
            except OSError as error:
                print(error)
    """,
    "descriptors in flight": """
        import os, socket
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        ours.setblocking(False)
        sent = 0
        try:
            while sent < 5000:
                socket.send_fds(ours, [b"x"], [0] * 50)
                sent += 50
        except OSError as error:
            print(error)
        print("ESCAPED" if sent > 1000 else sent)
    """,
    "asynchronous input and output": _CALLS
    + """
if call("io_uring_setup", 8, ctypes.create_string_buffer(256)) >= 0:
    print("ESCAPED")
""",
    "page faults": _CALLS
    + """
for flags in (0, 1, 0o2000000):
    if call("userfaultfd", flags) >= 0:
        print("ESCAPED")
""",
    "programs for the kernel": _CALLS
    + """
kinds = ctypes.create_string_buffer(struct.pack("IIIII", 1, 4, 4, 1, 0), 128)
if call("bpf", 0, kinds, 128) >= 0 or call("bpf", 5, kinds, 128) >= 0:
    print("ESCAPED")
""",
    "counters of the processor": _CALLS
    + """
about = ctypes.create_string_buffer(struct.pack("IIQ", 1, 112, 0), 112)
for process, processor in ((0, -1), (-1, 0)):
    if call("perf_event_open", about, process, processor, -1, 0) >= 0:
        print("ESCAPED")
""",
    "memory of the parent": _CALLS
    + """
here = ctypes.create_string_buffer(64)
pair = struct.pack("QQ", ctypes.addressof(here), 64)
for process in (1, os.getppid()):
    if process != os.getpid() and call("process_vm_readv", process, pair, 1, pair, 1, 0) >= 0:
        print("ESCAPED")
for path in ("/proc/self/mem", "/proc/1/mem", f"/proc/{os.getppid()}/mem", "/dev/mem", "/dev/kmem", "/proc/kcore"):
    try:
        open(path, "r+b")
        print("ESCAPED", path)
    except OSError:
        pass
""",
    "seizing the parent": _CALLS
    + """
for request in (16, 0x4206):
    for process in (1, os.getppid()):
        if process != os.getpid() and call("ptrace", request, process, 0, 0) == 0:
            print("ESCAPED")
# Somebody who lets himself be traced has nothing to hide behind either.
if call("ptrace", 0, 0, 0, 0) == 0:
    print("ESCAPED")
""",
    "descriptors of the parent": _CALLS
    + """
for process in (1, os.getppid()):
    handle = call("pidfd_open", process, 0)
    for number in range(8):
        if handle >= 0 and call("pidfd_getfd", handle, number, 0) >= 0:
            print("ESCAPED")
""",
    "comparing with the parent": _CALLS
    + """
if call("kcmp", os.getpid(), os.getppid(), 2, 0, 0) >= 0:
    print("ESCAPED")
""",
    "a program from memory": _CALLS
    + """
file = call("memfd_create", ctypes.c_char_p(b"x"), 0)
if file >= 0:
    print("ESCAPED")
    os.write(file, open("/bin/sh", "rb").read())
    call("execveat", file, ctypes.c_char_p(b""), (ctypes.c_char_p * 2)(b"sh"), (ctypes.c_char_p * 1)(), 0x1000)
""",
    "namespaces by clone": _CALLS
    + """
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000, 0x02000000, 0x04000000, 0x08000000):
    child = call("clone", flag | 17, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    if child > 0:
        print("ESCAPED", hex(flag))
""",
    "namespaces by clone3": _CALLS
    + """
for flag in (0, 0x10000000, 0x00020000, 0x40000000):
    child = call("clone3", ctypes.create_string_buffer(struct.pack("11Q", flag, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0), 88), 88)
    if child == 0:
        os._exit(0)
    if child > 0:
        print("ESCAPED", hex(flag))
""",
    "namespaces of others": _CALLS
    + """
for path in ("/proc/1/ns/net", "/proc/self/ns/user", "/"):
    try:
        if call("setns", os.open(path, os.O_RDONLY), 0) == 0:
            print("ESCAPED", path)
    except OSError as error:
        print(error)
handle = call("pidfd_open", 1, 0)
if handle >= 0 and call("setns", handle, 0x40000000) == 0:
    print("ESCAPED")
""",
    "mounts by descriptors": _CALLS
    + """
kinds = [call("fsopen", ctypes.c_char_p(name), 0) for name in (b"tmpfs", b"proc", b"sysfs", b"ext4", b"cgroup2")]
tree = call("open_tree", -100, ctypes.c_char_p(b"/"), 1 | 0x8000)
moved = call("move_mount", -100, ctypes.c_char_p(b"/usr"), -100, ctypes.c_char_p(b"/dev"), 0)
changed = call("mount_setattr", -100, ctypes.c_char_p(b"/"), 0, struct.pack("4Q", 0, 1, 0, 0), 32)
if max(kinds) >= 0 or tree >= 0 or moved == 0 or changed == 0:
    print("ESCAPED")
""",
    "files by their handles": _CALLS
    + """
handle, mount = ctypes.create_string_buffer(struct.pack("II", 128, 0), 136), ctypes.create_string_buffer(8)
if call("name_to_handle_at", -100, ctypes.c_char_p(b"/usr"), handle, mount, 0) == 0:
    print("ESCAPED")
# The root of most file systems has inode 2.
root = struct.pack("IiIII", 8, 1, 2, 0, 0)
if call("open_by_handle_at", os.open("/usr", os.O_RDONLY), root, 0) >= 0:
    print("ESCAPED")
if call("fanotify_init", 0, 0) >= 0 or call("fanotify_init", 0x200, 0) >= 0:
    print("ESCAPED")
""",
    "queues and semaphores": _CALLS
    + """
if call("mq_open", ctypes.c_char_p(b"x"), 0o102, 0o600, 0) >= 0 or call("semget", 0, 8, 0o1600) >= 0:
    print("ESCAPED")
""",
    "keys that stay": _CALLS
    + """
for ring in (-1, -2, -3, -4, -5):
    if call("add_key", ctypes.c_char_p(b"user"), ctypes.c_char_p(b"aha"), ctypes.c_char_p(b"x"), 1, ring) > 0:
        print("ESCAPED", ring)
""",
    "another personality": _CALLS
    + """
for kind in (0x0040000, 0x0008, 0x400000):
    if call("personality", kind) >= 0:
        print("ESCAPED")
""",
    "the second door of the kernel": _CALLS
    + """
# x32: `getpid`, `ptrace` and `unshare` by the numbers of x86-64 and by those that only x32 has.
for number in (39, 101, 272, 521, 539):
    if call(0x40000000 + number, 0x10000000, 0, 0, 0) >= 0:
        print("ESCAPED", number)
""",
    "the door for 32 bits": """
        import ctypes, mmap, os, platform
        # push rbx; mov eax, 20 (getpid of 32-bit x86); int 0x80; pop rbx; ret
        code = bytes.fromhex("53 b814000000 cd80 5b c3")
        if platform.machine() == "x86_64" and not os.fork():
            memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
            memory.write(code)
            place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
            found = ctypes.CFUNCTYPE(ctypes.c_long)(place)()
            print("ESCAPED" if found == os.getpid() else found, flush=True)
            os._exit(0)
    """,
    "calls of newer kernels": _CALLS
    + """
for number in range(449, 520):
    if call(number, -1, -1, -1, -1, -1, -1) >= 0 or ctypes.get_errno() != 38:
        print("ESCAPED", number)
""",
    "devices": """
        import os
        for name in ("kmsg", "fuse", "kvm", "vsock", "vhost-vsock", "net/tun", "loop-control", "mapper/control", "sda",
                     "vda", "nvme0", "nvidia0", "nvidiactl", "dri/card0", "uinput", "cuse", "port", "hpet", "console"):
            for flags in (os.O_RDONLY, os.O_RDWR):
                try:
                    os.open("/dev/" + name, flags)
                    print("ESCAPED", name)
                except OSError:
                    pass
    """,
    "the terminal of the caller": """
        import fcntl, os, termios
        for path in ("/dev/tty", "/dev/console", "/dev/tty1", "/dev/pts/0"):
            try:
                terminal = os.open(path, os.O_RDWR)
                fcntl.ioctl(terminal, termios.TIOCSTI, b"x")
                print("ESCAPED", path)
            except OSError as error:
                print(error)
    """,
    "new privileges": _CALLS
    + """
import stat
# PR_GET_NO_NEW_PRIVS
if libc.prctl(39, 0, 0, 0, 0) != 1:
    print("ESCAPED")
for change in (lambda: os.setgroups([0]), lambda: os.setresgid(0, 0, 0), lambda: os.setresuid(0, 0, 0)):
    try:
        change()
        print("ESCAPED", os.getresuid(), os.getgroups())
    except OSError as error:
        print(error)
""",
    "first in line for the processor": _CALLS
    + """
for policy in (os.SCHED_FIFO, os.SCHED_RR):
    try:
        os.sched_setscheduler(0, policy, os.sched_param(1))
        print("ESCAPED", policy)
    except OSError as error:
        print(error)
if call("mlockall", 3) == 0:
    print("ESCAPED")
""",
    "sparse files": """
        import os
        for folder in ("/", "/dev", "/dev/shm", "/dev/pts", "/tmp", "/usr", "/python", "/packages", "/etc"):
            for flags in (os.O_TMPFILE | os.O_RDWR, os.O_CREAT | os.O_RDWR):
                try:
                    path = folder if flags & os.O_TMPFILE == os.O_TMPFILE else folder + "/sparse"
                    os.ftruncate(os.open(path, flags, 0o600), 2**40)
                    print("ESCAPED", folder)
                except OSError:
                    pass
    """,
    "exchanging folders": """
        import os
        changes = (
            lambda: os.rename("/usr", "/old"), lambda: os.rename("/bin", "/usr/bin"), lambda: os.remove("/lib64"),
            lambda: os.symlink("/proc/self", "/self"), lambda: os.mkdir("/proc"), lambda: os.chmod("/", 0o777),
            lambda: os.utime("/usr"), lambda: os.setxattr("/usr", "user.x", b"x"), lambda: os.truncate("/bin/sh", 0),
            lambda: os.chown("/usr", 0, 0, follow_symlinks=False), lambda: os.rmdir("/etc"),
        )
        for number, change in enumerate(changes):
            try:
                change()
                print("ESCAPED", number)
            except OSError as error:
                print(error)
    """,
    "where cores go": """
        import resource
        for path in ("/proc/sys/kernel/core_pattern", "/proc/self/coredump_filter", "/proc/sysrq-trigger",
                     "/proc/self/oom_score_adj", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs"):
            try:
                open(path, "w")
                print("ESCAPED", path)
            except OSError as error:
                print(error)
        if resource.getrlimit(resource.RLIMIT_CORE) != (0, 0):
            print("ESCAPED")
    """,
    "memory in pipes": """
        import fcntl, os
        total = 0
        try:
            for _ in range(1000):
                into = os.pipe()[1]
                os.set_blocking(into, False)
                fcntl.fcntl(into, 1031, 2**20)
                total += os.write(into, bytes(2**20))
        except OSError as error:
            print(error)
        print("ESCAPED" if total > 2**27 else total)
    """,
    "huge arguments": """
        import os
        for size in (2**17 - 10, 2**17, 2**22):
            for count in (1, 30, 1000):
                child = 0
                try:
                    child = os.fork()
                    if not child:
                        os.execve("/bin/true", ["x" * size] * count, {})
                    os.waitpid(child, 0)
                except (OSError, MemoryError) as error:
                    print(error)
                    if not child:
                        os._exit(0)
    """,
    "time bomb": """
        import os, time
        if not os.fork():
            os.setsid()
            if not os.fork():
                time.sleep(1.0)
                print("ESCAPED", flush=True)
            os._exit(0)
        print("gone")
    """,
    "stopping the parent": """
        import os, signal, time
        for process in (1, os.getppid()):
            if process != os.getpid():
                os.kill(process, signal.SIGSTOP)
        os.kill(0, signal.SIGSTOP)
    """,
    "output of many": """
        import os
        for _ in range(4):
            os.fork()
        while True:
            os.write(1, b"x" * 4096)
    """,
    "errors of many": """
        import os
        for _ in range(4):
            os.fork()
        while True:
            os.write(2, b"x" * 4096)
    """,
}
"""Programs by what they try."""

SLOW_KERNEL_ATTACKS = {"stopping the parent", "output of many", "errors of many", "huge arguments", "time bomb"}
"""Those that take until the sandbox steps in, longer than a moment, or a cell of their own."""
