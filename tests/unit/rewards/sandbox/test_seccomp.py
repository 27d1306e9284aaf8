"""Every rule of the filter of system calls, by an interpreter of the filter and by the kernel."""

import errno
import json
from collections.abc import Iterator

import pytest
from bpf import Instruction, instructions, verdict

from aha.rewards.sandbox.isolation import probe
from aha.rewards.sandbox.sandbox import Sandbox
from aha.rewards.sandbox.seccomp import system_call_filter

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# The numbers on x86-64 and on 64-bit ARM, from the kernel's `asm/unistd_64.h` and `asm-generic/unistd.h`.
# A call that one of the two does not have has no number there.
DENIED: dict[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    "memfd_create": (319, 279),
    "unshare": (272, 97),
    "setns": (308, 268),
    "chroot": (161, 51),
    "pivot_root": (155, 41),
    "mount": (165, 40),
    "umount2": (166, 39),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "fanotify_init": (300, 262),
    "vmsplice": (278, 75),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "syslog": (103, 116),
    "acct": (163, 89),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "quotactl": (179, 60),
    "personality": (135, 92),
    "mbind": (237, 235),
    "set_mempolicy": (238, 237),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "pidfd_getfd": (438, 438),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "memfd_secret": (447, 447),
    "process_madvise": (440, 440),
    "iopl": (172, None),
    "ioperm": (173, None),
}
# Numbers that the tables of Linux 5.15 leave free, where later kernels may put anything.
FREE = {"x86_64": [*range(335, 424)], "aarch64": [*range(244, 260), *range(295, 424)]}
FIRST_UNKNOWN = 449
SOCKET, SOCKETPAIR = {"x86_64": 41, "aarch64": 198}, {"x86_64": 53, "aarch64": 199}
# AF_UNIX, AF_INET and AF_INET6; among the others are AF_NETLINK (16), AF_PACKET (17), AF_ALG (38) and AF_VSOCK (40).
ALLOWED_FAMILIES = (1, 2, 10)
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
NEW_NAMESPACES = {
    "mount": 0x0002_0000,
    "cgroup": 0x0200_0000,
    "uts": 0x0400_0000,
    "ipc": 0x0800_0000,
    "user": 0x1000_0000,
    "pid": 0x2000_0000,
    "network": 0x4000_0000,
}
FORK, THREAD = 0x0120_0011, 0x003D_0F00
NOT_PERMITTED, NOT_IMPLEMENTED = f"errno {errno.EPERM}", f"errno {errno.ENOSYS}"
NO_SUCH_FAMILY = f"errno {errno.EAFNOSUPPORT}"
COMPARISONS, RETURN = (0x15, 0x35, 0x45), 0x06

Call = tuple[int, int, int]
"""A system call: its number, the architecture, its first argument."""


def expected_verdicts(machine: str) -> dict[Call, str]:
    """What the filter has to answer: to every number that a kernel may have, and to the calls at every edge."""
    architecture = ARCHITECTURES[machine]
    column = list(ARCHITECTURES).index(machine)
    expected: dict[Call, str] = {(number, architecture, 0): "allow" for number in range(FIRST_UNKNOWN)}
    expected |= {
        (numbers[column] or 0, architecture, 0): NOT_PERMITTED for numbers in DENIED.values() if numbers[column]
    }
    expected[CLONE3, architecture, 0] = NOT_IMPLEMENTED

    # New processes and threads may be made, new namespaces may not.
    clone = CLONE[machine]
    expected |= {(clone, architecture, flags): "allow" for flags in (FORK, THREAD)}
    expected |= {(clone, architecture, FORK | flag): NOT_PERMITTED for flag in NEW_NAMESPACES.values()}
    # The same bits mean nothing to any other call.
    expected |= {(clone + 1, architecture, flag): "allow" for flag in NEW_NAMESPACES.values()}

    # The kernel looks at the lower 32 bits of a family only.
    for call in (SOCKET[machine], SOCKETPAIR[machine]):
        for high in (0, 1 << 32):
            expected |= {(call, architecture, high | family): NO_SUCH_FAMILY for family in range(64)}
            expected |= {(call, architecture, high | family): "allow" for family in ALLOWED_FAMILIES}
    # Families mean nothing to the calls beside these two.
    for call in (SOCKET[machine] - 1, SOCKETPAIR[machine] + 1):
        expected |= {(call, architecture, family): expected[call, architecture, 0] for family in (16, 40)}

    # The C library takes an older call where one is not implemented. x32 has numbers of its own, from 0x40000000 on.
    unknown = [*FREE[machine], *range(FIRST_UNKNOWN, 700), 0x3FFF_FFFF, 0x4000_0000, 0x4000_0065, 0xFFFF_FFFF]
    expected |= {(number, architecture, 0): NOT_IMPLEMENTED for number in unknown}

    # 32-bit x86 and ARM reach the same kernel with other numbers.
    foreign = [0x4000_0003, 0x4000_0028, 0, *(other for other in ARCHITECTURES.values() if other != architecture)]
    expected |= {(number, other, 0): "kill" for other in foreign for number in (0, 1, 101, 435)}
    return expected


def has_fault(program: list[Instruction], expected: dict[Call, str]) -> bool:
    """One call is not answered as expected, or the kernel would not accept the filter."""
    try:
        return any(verdict(program, call[0], call[1], call[2:]) != answer for call, answer in expected.items())
    except ValueError:
        return True


def wrong_verdicts(program: list[Instruction], expected: dict[Call, str]) -> list[Call]:
    """The calls to which a filter does not answer as expected."""
    return [call for call, answer in expected.items() if verdict(program, call[0], call[1], call[2:]) != answer]


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_answers_every_call_as_it_should(machine: str) -> None:
    program = instructions(system_call_filter(machine))
    assert wrong_verdicts(program, expected_verdicts(machine)) == []


def mutants(program: list[Instruction]) -> Iterator[tuple[str, list[Instruction]]]:
    """Filters with one comparison that always holds or never does, or with one verdict turned around."""
    for index, (code, on_true, on_false, constant) in enumerate(program):
        others: dict[str, Instruction] = {}
        if code in COMPARISONS:
            others["holds always"] = (code, on_true, on_true, constant)
            others["never holds"] = (code, on_false, on_false, constant)
        elif code == RETURN:
            others["is turned around"] = (code, 0, 0, 0x0005_0001 if constant == 0x7FFF_0000 else 0x7FFF_0000)
        for what, other in others.items():
            yield f"step {index} {what}", [*program[:index], other, *program[index + 1 :]]


@pytest.mark.full
@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_a_filter_with_a_fault_is_noticed(machine: str) -> None:
    program = instructions(system_call_filter(machine))
    expected = expected_verdicts(machine)
    survivors = [what for what, mutant in mutants(program) if not has_fault(mutant, expected)]
    assert survivors == []


def test_the_filter_fits_into_the_kernel_and_is_empty_for_an_unknown_machine() -> None:
    # The kernel takes at most BPF_MAXINSNS of them.
    assert all(len(instructions(system_call_filter(machine))) <= 4096 for machine in ARCHITECTURES)
    assert system_call_filter("vax") == b""


def test_the_kernel_refuses_what_the_filter_denies() -> None:
    isolation = probe()
    machine = next((name for name in ARCHITECTURES if system_call_filter() == system_call_filter(name)), None)
    if isolation.strength != "full" or machine is None:
        pytest.skip(f"no filter is loaded here: {isolation.reason or 'the machine is not known'}")
    column = list(ARCHITECTURES).index(machine)
    calls = [(numbers[column] or 0, -1) for numbers in DENIED.values() if numbers[column]]
    # The kernel asks no filter about 335 and 336: they are its own, and end whoever else calls them.
    unknown = (FREE[machine][-1], FIRST_UNKNOWN, FIRST_UNKNOWN + 1, 0x4000_0065)
    calls += [(number, -1) for number in (CLONE3, *unknown)]
    calls += [(call[machine], family) for call in (SOCKET, SOCKETPAIR) for family in (16, 17, 38, 40)]

    # With these arguments, none of the calls does anything where it is let through.
    program = (
        "import ctypes, json\nlibc = ctypes.CDLL(None, use_errno=True)\nfound = []\n"
        f"for number, first in {calls}:\n"
        "    ctypes.set_errno(0)\n"
        "    libc.syscall(ctypes.c_long(number), ctypes.c_long(first), *[ctypes.c_long(-1)] * 5)\n"
        "    found.append(ctypes.get_errno())\nprint(json.dumps(found))"
    )
    with Sandbox(isolation=isolation) as sandbox:
        execution = sandbox.run(program)

    filter_of_calls = instructions(system_call_filter())
    answers = [verdict(filter_of_calls, number, ARCHITECTURES[machine], (first % 2**64,)) for number, first in calls]
    assert [f"errno {number}" for number in json.loads(execution.output or "[]")] == answers
