"""A filter of system calls for the sandbox: what no honest program needs, and what has opened kernels before.

Denied are tracing, memory that no limit counts (System V and memory files), new namespaces, mounts, keys, modules,
`bpf`, `io_uring`, `userfaultfd` and their like. The filter is a second wall behind the namespaces: bubblewrap loads it
into the sandbox last, and programs inside cannot remove it.
"""

import platform
import struct
from dataclasses import dataclass

__all__ = ["system_call_filter"]

_LOAD, _JUMP_EQUAL, _JUMP_FROM, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _NOT_PERMITTED, _NOT_IMPLEMENTED = 0x7FFF0000, 0x80000000, 0x00050001, 0x00050026
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_NEW_NAMESPACES = 0x7E020000
_CLONE3 = 435
# On x86-64, numbers from here on are a second door to the same calls.
_X32 = 0x40000000

# io_uring, the newer calls for mounts, pidfd_getfd, memfd_secret: the same number on every machine.
_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 443, 447)


@dataclass(frozen=True, slots=True)
class _Machine:
    """Numbers of system calls on one kind of machine."""

    audit: int
    clone: int
    denied: dict[str, tuple[int, ...]]


_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        clone=56,
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
        },
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        clone=220,
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
    return b"".join(
        [
            _instruction(_LOAD, 0, 0, _ARCHITECTURE),
            _unless(_JUMP_EQUAL, known.audit, _KILL),
            _instruction(_LOAD, 0, 0, _NUMBER),
            *([_if(_JUMP_FROM, _X32, _NOT_PERMITTED)] if machine == "x86_64" else []),
            *(_if(_JUMP_EQUAL, number, _NOT_PERMITTED) for number in denied),
            # Its flags lie in memory, where a filter cannot look; the C library falls back to `clone`.
            _if(_JUMP_EQUAL, _CLONE3, _NOT_IMPLEMENTED),
            _unless(_JUMP_EQUAL, known.clone, _ALLOW),
            _instruction(_LOAD, 0, 0, _FIRST_ARGUMENT),
            _if(_JUMP_BITS, _NEW_NAMESPACES, _NOT_PERMITTED),
            _instruction(_RETURN, 0, 0, _ALLOW),
        ]
    )


def _instruction(code: int, on_true: int, on_false: int, value: int) -> bytes:
    return struct.pack("=HBBI", code, on_true, on_false, value)


def _if(jump: int, value: int, action: int) -> bytes:
    """Ends with an action where the comparison holds."""
    return _instruction(jump, 0, 1, value) + _instruction(_RETURN, 0, 0, action)


def _unless(jump: int, value: int, action: int) -> bytes:
    """Ends with an action where the comparison does not hold."""
    return _instruction(jump, 1, 0, value) + _instruction(_RETURN, 0, 0, action)
