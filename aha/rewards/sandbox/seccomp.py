"""A filter of system calls for the sandbox: what no honest program needs, and what has opened kernels before.

Denied are tracing, memory that no limit counts (System V and memory files), new namespaces, mounts, keys, modules,
`bpf`, `io_uring`, `userfaultfd` and their like; every socket that is neither local nor of the internet protocols, since
a network namespace does not close in all the others (AF_VSOCK reaches the host of a virtual machine from any of them);
and every system call that is newer than this list. The filter is a second wall behind the namespaces: bubblewrap loads
it into the sandbox last, and programs inside cannot remove it.
"""

import errno
import platform
import struct
from dataclasses import dataclass

__all__ = ["system_call_filter"]

_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_NOT_PERMITTED, _NOT_IMPLEMENTED = _ERROR | errno.EPERM, _ERROR | errno.ENOSYS
_NO_SUCH_FAMILY = _ERROR | errno.EAFNOSUPPORT
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_NEW_NAMESPACES = 0x7E020000
_CLONE3 = 435

# AF_UNIX, AF_INET, AF_INET6.
_FAMILIES = (1, 2, 10)

# The first number that Linux 5.15 does not have. On x86-64, 0x40000000 opens a second door to every call (x32).
_FIRST_UNKNOWN = 449

# io_uring, the newer calls for mounts, pidfd_getfd, process_madvise, memfd_secret: the same number on every machine.
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 447)


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of system calls on one kind of machine.

    Attributes:
        audit: the kernel's number of the architecture.
        clone: makes processes and threads.
        sockets: `socket` and `socketpair`.
        free: numbers below the first unknown one that Linux 5.15 has no call for.
        denied: what no program may call.
    """

    audit: int
    clone: int
    sockets: tuple[int, int]
    free: tuple[range, ...]
    denied: dict[str, tuple[int, ...]]


_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        clone=56,
        sockets=(41, 53),
        free=(range(335, 424),),
        denied={
            "ptrace, process_vm_*, kcmp": (101, 310, 311, 312),
            "shmget, shmat, shmctl, semget, msgget, mq_open, memfd_create": (29, 30, 31, 64, 68, 240, 319),
            "unshare, setns, chroot, pivot_root, mount, umount2": (272, 308, 161, 155, 165, 166),
            "add_key, request_key, keyctl": (248, 249, 250),
            "bpf, perf_event_open, userfaultfd, fanotify_init, vmsplice": (321, 298, 323, 300, 278),
            "init_module, delete_module, finit_module, kexec_load, kexec_file_load": (175, 176, 313, 246, 320),
            "syslog, acct, reboot, swapon, swapoff, quotactl, personality": (103, 163, 169, 167, 168, 179, 135),
            "mbind, set_mempolicy, migrate_pages, move_pages": (237, 238, 256, 279),
            "name_to_handle_at, open_by_handle_at, lookup_dcookie, modify_ldt": (303, 304, 212, 154),
            "iopl, ioperm": (172, 173),
        },
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        clone=220,
        sockets=(198, 199),
        free=(range(244, 260), range(295, 424)),
        denied={
            "ptrace, process_vm_*, kcmp": (117, 270, 271, 272),
            "shmget, shmat, shmctl, semget, msgget, mq_open, memfd_create": (194, 196, 195, 190, 186, 180, 279),
            "unshare, setns, chroot, pivot_root, mount, umount2": (97, 268, 51, 41, 40, 39),
            "add_key, request_key, keyctl": (217, 218, 219),
            "bpf, perf_event_open, userfaultfd, fanotify_init, vmsplice": (280, 241, 282, 262, 75),
            "init_module, delete_module, finit_module, kexec_load, kexec_file_load": (105, 106, 273, 104, 294),
            "syslog, acct, reboot, swapon, swapoff, quotactl, personality": (116, 89, 142, 224, 225, 60, 92),
            "mbind, set_mempolicy, migrate_pages, move_pages": (235, 237, 238, 239),
            "name_to_handle_at, open_by_handle_at, lookup_dcookie": (264, 265, 18),
        },
    ),
}


def system_call_filter(machine: str = platform.machine()) -> bytes:
    """The filter as the kernel reads it: an array of classic BPF instructions.

    Args:
        machine: kind of processor, as `uname -m` has it.

    Returns:
        The filter; empty for a machine whose numbers are not known here.
    """
    known = _MACHINES.get(machine)
    if known is None:
        return b""
    denied = sorted(number for group in known.denied.values() for number in group) + list(_EVERYWHERE)
    first_argument = _instruction(_LOAD, 0, 0, _FIRST_ARGUMENT)

    steps = [
        # A program that speaks with another architecture's numbers is no honest one.
        _instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _unless(_JUMP_EQUAL, known.audit, _KILL),
        _instruction(_LOAD, 0, 0, _NUMBER),
        # Of what is not known here, the C library is told that it does not exist, so that it takes an older call.
        _if(_JUMP_FROM, _FIRST_UNKNOWN, _NOT_IMPLEMENTED),
        *(_if_within(numbers, _NOT_IMPLEMENTED) for numbers in known.free),
        *(_if(_JUMP_EQUAL, number, _NOT_PERMITTED) for number in denied),
        # The flags of clone3 lie in memory, where a filter cannot look; the C library falls back to `clone`.
        _if(_JUMP_EQUAL, _CLONE3, _NOT_IMPLEMENTED),
    ]

    families = [_if(_JUMP_EQUAL, family, _ALLOW) for family in _FAMILIES]
    for number in known.sockets:
        steps += _for_call(number, [first_argument, *families, _instruction(_RETURN, 0, 0, _NO_SUCH_FAMILY)])

    no_namespaces = [_if(_JUMP_BITS, _NEW_NAMESPACES, _NOT_PERMITTED), _instruction(_RETURN, 0, 0, _ALLOW)]
    steps += _for_call(known.clone, [first_argument, *no_namespaces])

    return b"".join([*steps, _instruction(_RETURN, 0, 0, _ALLOW)])


def _instruction(code: int, on_true: int, on_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, on_true, on_false, value)


def _if(jump: int, value: int, action: int) -> bytes:
    """Ends with an action where the comparison holds."""
    return _instruction(jump, 0, 1, value) + _instruction(_RETURN, 0, 0, action)


def _unless(jump: int, value: int, action: int) -> bytes:
    """Ends with an action where the comparison does not hold."""
    return _instruction(jump, 1, 0, value) + _instruction(_RETURN, 0, 0, action)


def _if_within(numbers: range, action: int) -> bytes:
    """Ends with an action for the numbers of a range."""
    return (
        _instruction(_JUMP_FROM, 0, 2, numbers.start)
        + _instruction(_JUMP_FROM, 1, 0, numbers.stop)
        + _instruction(_RETURN, 0, 0, action)
    )


def _for_call(number: int, steps: list[bytes]) -> list[bytes]:
    """Goes through steps, the last of which ends it, for one call; goes on behind them for all others."""
    num_instructions = len(b"".join(steps)) // len(_instruction(_RETURN, 0, 0, 0))
    return [_instruction(_JUMP_EQUAL, 0, num_instructions, number), *steps]
