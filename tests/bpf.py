"""An interpreter for the few classic BPF instructions of a seccomp filter, as the kernel's manual defines them."""

import struct
from collections.abc import Sequence

__all__ = ["Instruction", "instructions", "verdict"]

Instruction = tuple[int, int, int, int]
"""Code, jump where a comparison holds, jump where it does not, and the constant."""

_LOAD_WORD, _RETURN = 0x20, 0x06
_COMPARISONS = {
    0x15: lambda accumulator, constant: accumulator == constant,
    0x25: lambda accumulator, constant: accumulator > constant,
    0x35: lambda accumulator, constant: accumulator >= constant,
    0x45: lambda accumulator, constant: bool(accumulator & constant),
}


def instructions(program: bytes) -> list[Instruction]:
    """The instructions of a filter in the layout of the kernel's `struct sock_filter`."""
    return list(struct.iter_unpack("=HBBI", program))


def verdict(program: Sequence[Instruction], number: int, architecture: int, arguments: Sequence[int] = ()) -> str:
    """What the filter answers to one system call.

    Args:
        program: the filter.
        number: the number of the system call, 32 bits.
        architecture: the kernel's audit number of the architecture, 32 bits.
        arguments: up to six arguments, 64 bits each; the others are 0.

    Returns:
        `allow`, `kill` (of the whole process), or `errno` and its number.

    Raises:
        ValueError: the kernel would not accept the filter.
    """
    # `struct seccomp_data`: the number, the architecture, the instruction pointer, and six arguments.
    data = struct.pack("=IIQ6Q", number, architecture, 0, *(*arguments, 0, 0, 0, 0, 0, 0)[:6])
    accumulator, counter = 0, 0

    while counter < len(program):
        code, on_true, on_false, constant = program[counter]
        counter += 1

        if code == _LOAD_WORD:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code in _COMPARISONS:
            counter += on_true if _COMPARISONS[code](accumulator, constant) else on_false
        elif code == _RETURN:
            return _action(constant)
        else:
            raise ValueError(f"instruction {counter - 1} has the unknown code {code:#x}")

    raise ValueError("the filter ends without a verdict")


def _action(value: int) -> str:
    """The action in words; the upper half of the value is the action, the lower half its argument."""
    action, argument = value >> 16, value & 0xFFFF
    if action == 0x0005:
        return f"errno {argument}"
    return {0x7FFF: "allow", 0x8000: "kill"}.get(action, f"action {value:#x}")
