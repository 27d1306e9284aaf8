"""A filter of system calls for the sandbox: it denies what no honest program needs, and what attacks on kernels use.

It denies tracing, memory that no limit counts (System V and memory files), new namespaces, mounts, keys, modules,
`bpf`, `io_uring`, `userfaultfd` and similar calls; every socket that is neither local nor of the internet protocols,
since a network namespace does not confine all the others (AF_VSOCK reaches the host of a virtual machine from any of
them); and every system call that is newer than this list. The filter is a second line of defence behind the namespaces:
bubblewrap loads it last, and programs inside cannot remove it.
"""

import errno
import platform
import struct
from dataclasses import dataclass

__all__ = ["system_call_filter"]

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_FROM = 0x35
_JUMP_BITS = 0x45
_RETURN = 0x06
_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_ERROR = 0x00050000
_NOT_PERMITTED = _ERROR | errno.EPERM
_NOT_IMPLEMENTED = _ERROR | errno.ENOSYS
_NO_SUCH_FAMILY = _ERROR | errno.EAFNOSUPPORT
_NUMBER = 0
_ARCHITECTURE = 4
_FIRST_ARGUMENT = 16
_NEW_NAMESPACES = 0x7E020000
_CLONE3 = 435

# AF_UNIX, AF_INET, AF_INET6.
_FAMILIES = (1, 2, 10)

# The first number that Linux 5.15 does not have. On x86-64 this also denies numbers from 0x40000000 on, by which every
# call can be made in a second way (x32).
_FIRST_UNKNOWN = 449

# io_uring, the newer calls for mounts, pidfd_getfd, process_madvise, memfd_secret: the same number on every machine.
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 440, 442, 443, 447)


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of system calls on one kind of machine.

    Attributes:
        audit: the kernel's number of the architecture.
        clone: `clone`, which makes processes and threads.
        sockets: `socket` and `socketpair`.
        free: numbers below `_FIRST_UNKNOWN` that Linux 5.15 does not use.
        denied: numbers of calls that no program may make, by the names of the calls.
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
    """The filter in the form that the kernel loads: an array of classic BPF instructions.

    Args:
        machine: kind of processor, as in `uname -m`.

    Returns:
        The filter; empty for a kind of machine that is not in `_MACHINES`.
    """
    calls = _MACHINES.get(machine)
    if calls is None:
        return b""

    denied = sorted(number for group in calls.denied.values() for number in group)
    load_first_argument = _instruction(_LOAD, 0, 0, _FIRST_ARGUMENT)
    allow = _instruction(_RETURN, 0, 0, _ALLOW)

    steps = [
        # An honest program does not use the numbers of another architecture.
        _instruction(_LOAD, 0, 0, _ARCHITECTURE),
        _unless(_JUMP_EQUAL, calls.audit, _KILL),
        _instruction(_LOAD, 0, 0, _NUMBER),
        # Unknown calls "do not exist", so that the C library falls back to an older one.
        _if(_JUMP_FROM, _FIRST_UNKNOWN, _NOT_IMPLEMENTED),
        *(_if_within(numbers, _NOT_IMPLEMENTED) for numbers in calls.free),
        *(_if(_JUMP_EQUAL, number, _NOT_PERMITTED) for number in (*denied, *_EVERYWHERE)),
        # The flags of clone3 lie in memory, where a filter cannot look; the C library falls back to `clone`.
        _if(_JUMP_EQUAL, _CLONE3, _NOT_IMPLEMENTED),
    ]

    families = [_if(_JUMP_EQUAL, family, _ALLOW) for family in _FAMILIES]
    no_such_family = _instruction(_RETURN, 0, 0, _NO_SUCH_FAMILY)
    for number in calls.sockets:
        steps += _for_call(number, [load_first_argument, *families, no_such_family])

    deny_namespaces = _if(_JUMP_BITS, _NEW_NAMESPACES, _NOT_PERMITTED)
    steps += _for_call(calls.clone, [load_first_argument, deny_namespaces, allow])

    return b"".join([*steps, allow])


def _instruction(code: int, on_true: int, on_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, on_true, on_false, value)


def _if(jump: int, value: int, action: int) -> bytes:
    """Instructions that end the filter with an action where a comparison holds."""
    return _instruction(jump, 0, 1, value) + _instruction(_RETURN, 0, 0, action)


def _unless(jump: int, value: int, action: int) -> bytes:
    """Instructions that end the filter with an action where a comparison does not hold."""
    return _instruction(jump, 1, 0, value) + _instruction(_RETURN, 0, 0, action)


def _if_within(numbers: range, action: int) -> bytes:
    """Instructions that end the filter with an action for the numbers of a range."""
    return (
        _instruction(_JUMP_FROM, 0, 2, numbers.start)
        + _instruction(_JUMP_FROM, 1, 0, numbers.stop)
        + _instruction(_RETURN, 0, 0, action)
    )


def _for_call(number: int, steps: list[bytes]) -> list[bytes]:
    """Instructions that run steps for one call and skip them for all others; the last step must end the filter."""
    num_instructions = len(b"".join(steps)) // len(_instruction(_RETURN, 0, 0, 0))
    return [_instruction(_JUMP_EQUAL, 0, num_instructions, number), *steps]
