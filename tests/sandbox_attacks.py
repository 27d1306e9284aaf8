"""Programs that try to get out of the sandbox, to use up the machine, or to cheat their tests.

Each attack prints `ESCAPED` only if it did what it must not be able to do. Run as a script, this module attacks the
sandbox as whoever starts it and prints what escaped, so that a test can start it as another user.
"""

import sys
import textwrap
import time
from collections.abc import Sequence

from kernel_attacks import KERNEL_ATTACKS, SLOW_KERNEL_ATTACKS

from aha.rewards.sandbox.isolation import Limits, probe
from aha.rewards.sandbox.reports import Execution
from aha.rewards.sandbox.sandbox import Sandbox

SECONDS = 2.0
LIMITS = Limits(seconds=SECONDS, memory_bytes=256 * 2**20, num_processes=24, output_bytes=100_000)

_LIBC = "import ctypes, os\nlibc = ctypes.CDLL(None, use_errno=True)\n"

ATTACKS: dict[str, str] = {
    "fork bomb": """
        import os, time
        born = 0
        for _ in range(500):
            try:
                child = os.fork()
            except OSError:
                break
            if not child:
                time.sleep(60)
                os._exit(0)
            born += 1
        print("ESCAPED" if born > 60 else f"{born} forks")
    """,
    "fork bomb without end": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "thread bomb": """
        import threading, time
        born = 0
        try:
            for _ in range(500):
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                born += 1
        except (RuntimeError, MemoryError):
            pass
        print("ESCAPED" if born > 60 else born, flush=True)
    """,
    "memory": "x = bytearray(2 * 2**30)\nprint('ESCAPED')",
    "memory, slowly": "x = []\nwhile len(x) < 2000:\n    x.append(bytearray(2**20))\nprint('ESCAPED')",
    "memory of many processes": """
        import os, time
        for _ in range(20):
            try:
                child = os.fork()
            except OSError:
                break
            if not child:
                x = b"x" * (150 * 2**20)
                time.sleep(60)
        time.sleep(60)
    """,
    "memory files": """
        import os
        total = 0
        try:
            for _ in range(500):
                total += os.write(os.memfd_create("x"), b"x" * 2**22)
        except OSError:
            pass
        print("ESCAPED" if total > 2**28 else total)
    """,
    "shared memory": _LIBC
    + """
total = 0
for _ in range(200):
    number = libc.shmget(0, 2**23, 0o1600)
    libc.shmat.restype = ctypes.c_void_p
    place = libc.shmat(number, None, 0) if number >= 0 else -1
    if number < 0 or place in (None, ctypes.c_void_p(-1).value):
        break
    ctypes.memset(place, 1, 2**23)
    libc.shmdt(ctypes.c_void_p(place))
    total += 2**23
print("ESCAPED" if total > 2**30 else total)
""",
    "tower of powers": "print(len(str(9**9**9)))\nprint('ESCAPED')",
    "infinite loop": "while True: pass",
    "sleep": "import time\ntime.sleep(1000)\nprint('ESCAPED')",
    "sleep without signals": """
        import signal, time
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            time.sleep(1000)
    """,
    "connect": """
        import socket
        for address in (("1.1.1.1", 53), ("8.8.8.8", 443), ("127.0.0.1", 22), ("169.254.169.254", 80)):
            try:
                socket.create_connection(address, timeout=0.3)
                print("ESCAPED", address)
            except OSError as error:
                print(error)
    """,
    "interfaces": """
        import socket
        print([name for _, name in socket.if_nameindex()])
        if set(name for _, name in socket.if_nameindex()) - {"lo"}:
            print("ESCAPED")
    """,
    "/root": "import os\nprint('ESCAPED', os.listdir('/root'))",
    "/etc/passwd": "print('ESCAPED', open('/etc/passwd').read())",
    "/etc/shadow": "print('ESCAPED', open('/etc/shadow').read())",
    "home": "import os\nprint('ESCAPED' if os.path.exists('/home') or os.path.exists('/root') else '')",
    "the project": "import os\nprint('ESCAPED' if os.path.exists(PROJECT) else '')",
    "processes of the host": """
        import os
        found = [name for name in os.listdir("/proc") if name.isdigit()] if os.path.isdir("/proc") else []
        print("ESCAPED" if len(found) > 5 else found)
    """,
    "/proc/1/environ": "print('ESCAPED', open('/proc/1/environ').read())",
    "/proc/self/root": "import os\nprint('ESCAPED', os.listdir('/proc/self/root/root'))",
    "/sys": "import os\nprint('ESCAPED', os.listdir('/sys'))",
    "secrets of the environment": "import os\nprint('ESCAPED' if 'AHA_SECRET' in os.environ else '')",
    "writing to /usr": "open('/usr/escaped', 'w')\nprint('ESCAPED')",
    "writing anywhere": """
        import os
        for folder in ("/", "/usr", "/usr/local", "/tmp", "/var/tmp", "/dev", "/dev/shm", "/python", "/run"):
            try:
                with open(os.path.join(folder, "escaped"), "w") as stream:
                    stream.write("x")
                print("ESCAPED", folder)
            except OSError as error:
                print(error)
    """,
    "changing the interpreter": """
        import os, sys
        for path in (sys.executable, os.__file__, os.path.dirname(os.__file__)):
            try:
                os.chmod(path, 0o777)
                print("ESCAPED", path)
            except OSError as error:
                print(error)
    """,
    "file of 50 MB": """
        import tempfile
        with tempfile.TemporaryFile() as stream:
            for _ in range(50):
                stream.write(b"x" * 2**20)
            stream.flush()
        print("ESCAPED")
    """,
    "many files": """
        import os
        made = 0
        for number in range(10_000):
            for folder in ("/", "/tmp", "/dev/shm"):
                try:
                    os.close(os.open(f"{folder}/{number}", os.O_CREAT | os.O_WRONLY))
                    made += 1
                except OSError:
                    pass
        print("ESCAPED" if made else "")
    """,
    "many descriptors": """
        import os
        made = []
        try:
            while len(made) < 5000:
                made.append(os.dup(0))
        except OSError:
            pass
        os.write(1, b"ESCAPED" if len(made) > 100 else str(len(made)).encode())
    """,
    "symbolic link out": """
        import os
        os.symlink("/etc/passwd", "/link")
        print("ESCAPED", open("/link").read())
    """,
    "hard link": "import os, sys\nos.link(sys.executable, '/linked')\nprint('ESCAPED')",
    "device node": "import os, stat\nos.mknod('/disk', 0o600 | stat.S_IFBLK, os.makedev(8, 0))\nprint('ESCAPED')",
    "disks": (
        "import os\nprint('ESCAPED' if any(n.startswith(('sd', 'vd', 'nvme')) for n in os.listdir('/dev')) else '')"
    ),
    "kernel memory": "print('ESCAPED', open('/dev/mem', 'rb').read(1))",
    "terminal": _LIBC + "import fcntl, termios\nfcntl.ioctl(0, termios.TIOCSTI, b'x')\nprint('ESCAPED')",
    "endless output": "while True:\n    print('x' * 1000)",
    "endless errors": "import sys\nwhile True:\n    sys.stderr.write('x' * 1000)",
    "kill all": "import os, signal\nos.kill(-1, signal.SIGKILL)\nprint('killed')",
    "kill the parent": "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nwhile True: pass",
    "kill the group": "import os, signal\nos.killpg(0, signal.SIGKILL)",
    "kill init": "import os, signal\nos.kill(1, signal.SIGKILL)\nos.kill(1, signal.SIGTERM)\nwhile True: pass",
    "kill by number": """
        import os, signal
        for number in range(1, 40_000):
            if number != os.getpid():
                try:
                    os.kill(number, signal.SIGKILL)
                except OSError:
                    pass
    """,
    "daemon": """
        import os, time
        if not os.fork():
            os.setsid()
            if not os.fork():
                while True:
                    time.sleep(0.1)
            os._exit(0)
    """,
    "daemon that ignores everything": """
        import os, signal, time
        if not os.fork():
            os.setsid()
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            for descriptor in range(3):
                os.close(descriptor)
            while True:
                time.sleep(0.1)
    """,
    "ptrace": _LIBC
    + """
for number in (1, os.getppid()):
    if libc.ptrace(16, number, None, None) == 0:
        print("ESCAPED")
""",
    "user namespace": _LIBC + "print('ESCAPED' if libc.unshare(0x10000000) == 0 else ctypes.get_errno())",
    "mount namespace": _LIBC + "print('ESCAPED' if libc.unshare(0x00020000) == 0 else ctypes.get_errno())",
    "mount": _LIBC + "print('ESCAPED' if libc.mount(b'none', b'/usr', b'tmpfs', 0, None) == 0 else '')",
    "chroot": "import os\nos.chroot('/usr')\nprint('ESCAPED')",
    "become root": "import os\nos.setuid(0)\nprint('ESCAPED' if os.getuid() == 0 and os.listdir('/root') else '')",
    "set-user-id programs": """
        import subprocess
        for program in ("/usr/bin/su", "/usr/bin/sudo", "/usr/bin/mount", "/usr/bin/newgrp"):
            try:
                found = subprocess.run([program, "-c", "id -u"], capture_output=True, text=True, timeout=1, input="")
            except (OSError, subprocess.SubprocessError):
                continue
            if found.stdout.strip() == "0":
                print("ESCAPED", program)
    """,
    "capabilities": _LIBC
    + """
header, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
libc.capget(header, data)
print("ESCAPED" if data[0] or data[1] else "")
""",
    "raising the limits": """
        import resource
        for kind in (resource.RLIMIT_AS, resource.RLIMIT_NPROC, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE):
            try:
                resource.setrlimit(kind, (10**9, 10**9))
                print("ESCAPED", kind)
            except (ValueError, OSError):
                pass
    """,
    "higher priority": "import os\nos.nice(-5)\nprint('ESCAPED')",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): return f()\nf()\nprint('ESCAPED')",
    "crash of the interpreter": "import ctypes\nctypes.string_at(0)\nprint('ESCAPED')",
    "core file": "import os\nos.abort()",
    "descriptors of the host": """
        import os
        kinds = []
        for number in range(3, 64):
            try:
                os.fstat(number)
                kinds.append(number)
            except OSError:
                pass
        print("ESCAPED" if kinds else "")
    """,
    "other tests on disk": """
        import os
        found = [os.path.join(root, name) for root, _, names in os.walk("/", topdown=True)
                 for name in names if name.endswith(".py") and not root.startswith(("/usr", "/python"))]
        print("ESCAPED" if found else "", found)
    """,
    "host name": "import socket\nprint('ESCAPED' if socket.gethostname() == HOST else '')",
    "clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)\nprint('ESCAPED')",
    "reboot": _LIBC + "print('ESCAPED' if libc.reboot(0x01234567) == 0 else '')",
    "keys of the kernel": _LIBC + "print('ESCAPED' if libc.syscall(250, 11, -4, 0, 0, 0) > 0 else '')",
    **KERNEL_ATTACKS,
}
"""Programs by what they try."""

OF_TIME = {"infinite loop", "sleep", "tower of powers", "deep recursion"}
"""Those that only take time: the clock that ends them is the sandbox's, whoever started it."""

QUICK_ATTACKS = [name for name in KERNEL_ATTACKS if name not in SLOW_KERNEL_ATTACKS]
"""Those that can share a cell."""

# In these the sandbox must step in by force; the others may end by themselves.
FORCED = {
    "infinite loop": "timeout",
    "sleep": "timeout",
    "sleep without signals": "timeout",
    "endless output": "overflow",
    "output of many": "overflow",
}


def attack(sandbox: Sandbox, name: str, constants: dict[str, object]) -> tuple[Execution, float]:
    """One attack, and how long it took from outside."""
    head = "".join(f"{key} = {value!r}\n" for key, value in constants.items())
    start = time.monotonic()
    found = sandbox.run(head + textwrap.dedent(ATTACKS[name]))
    return found, time.monotonic() - start


def outputs_of_attacks(sandbox: Sandbox, names: Sequence[str]) -> dict[str, str]:
    """What quick attacks print, each in a process of its own of one cell."""
    program = "import sys\nexec(compile(sys.stdin.read(), '<attack>', 'exec'), {'__name__': '__main__'})"
    runs = sandbox.run_each(program, [textwrap.dedent(ATTACKS[name]) for name in names])
    # Otherwise nothing was attacked.
    assert [(name, run) for name, run in zip(names, runs, strict=True) if run.status != "ended"] == []
    assert not [run.errors for run in runs if "SyntaxError" in run.errors or "NameError" in run.errors]
    return {name: run.output for name, run in zip(names, runs, strict=True)}


def main() -> int:
    """Attacks as the current user, but for those of time; the number of attacks that escaped."""
    num_escaped = 0
    with Sandbox(limits=LIMITS, isolation=probe()) as sandbox:
        for name, output in outputs_of_attacks(sandbox, QUICK_ATTACKS).items():
            has_escaped = "ESCAPED" in output
            num_escaped += has_escaped
            print(f"{'ESCAPED' if has_escaped else 'held':8}{name}")

        for name in (name for name in ATTACKS if name not in OF_TIME and name not in QUICK_ATTACKS):
            found, seconds = attack(sandbox, name, {"PROJECT": __file__, "HOST": "no such host"})
            has_escaped = "ESCAPED" in found.output or seconds > SECONDS + 5 or found.status == "failed"
            num_escaped += has_escaped
            text = (found.output.strip() or found.errors.strip()).replace("\n", " ")[-70:]
            print(f"{'ESCAPED' if has_escaped else 'held':8}{name:34}{found.status:10}{seconds:6.2f} s  {text}")
    return num_escaped


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
