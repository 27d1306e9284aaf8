"""AdamW whose state fits: moments in 8 bits, or in float32 in the memory of the host.

Both train bfloat16 weights as if they were float32. What is lost by rounding the weights stays in the state: 16 bits a
weight beside 8-bit moments, a float32 copy beside whole ones.

Source: AdamW, arXiv:1711.05101; 8-bit optimizers via block-wise quantization, arXiv:2110.02861.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.optim.adamw import adamw as torch_adamw

__all__ = ["FUSED_ON", "AdamW8bit", "MasterAdamW", "dequantise", "join", "quantise", "split"]

BLOCK = 256
"""Entries that share a scale."""

WHOLE = 4096
"""Weights of fewer entries keep float32 moments: they are norms and biases, and cost nothing."""

INDEX_BITS = 18
"""Leading bits of a float32 number that decide its code: sign, exponent and 9 of the mantissa."""

FUSED_ON = ("cpu", "cuda")
"""Devices on which torch has an AdamW that passes over memory once."""

CHUNK = 1 << 22
"""Entries whose moments are float32 at once during an update, a multiple of `BLOCK`."""


@cache
def _codes(is_signed: bool, device: torch.device | str = "cpu") -> Tensor:
    """The 256 values of dynamic quantisation in rising order, the largest 1.

    Decades from 1 down to 1e-6, each cut evenly, the higher ones more finely. Ours: the unsigned values leave out 0.

    Source: Dettmers 2016, arXiv:1511.04561, section 2.2; arXiv:2110.02861, section 2.2 and appendix F.
    """
    num_exponents = 7
    num_bits = 7 if is_signed else 8
    values: list[float] = []
    for exponent in range(num_exponents):
        count = 2 ** (exponent + num_bits - num_exponents)
        edges = torch.linspace(0.1, 1.0, count + 1, dtype=torch.float64)
        decade = 10.0 ** (exponent - num_exponents + 1)
        means = (edges[:-1] + edges[1:]) / 2 * decade
        values += means.tolist()
        if is_signed:
            values += (-means).tolist()

    # Where the source has 0, the unsigned values have the lower end of the smallest decade: AdamW divides by them.
    smallest = 0.0 if is_signed else 10.0**-num_exponents
    values += [1.0, smallest]
    return torch.tensor(sorted(values), dtype=torch.float32, device=device)


@cache
def _nearest(is_signed: bool, device: torch.device) -> Tensor:
    """The code nearest to each float32 number, by its first 18 bits: one look-up where a search takes eight."""
    # Each entry stands for the number in the middle of those with its leading bits.
    num_other_bits = 32 - INDEX_BITS
    leading = torch.arange(1 << INDEX_BITS, dtype=torch.int64) << num_other_bits
    bits = leading + (1 << (num_other_bits - 1))

    # Bits from 2^31 on are those of negative numbers, which int32 counts from -2^31.
    signed_bits = torch.where(bits >= 1 << 31, bits - (1 << 32), bits)
    numbers = signed_bits.to(torch.int32).view(torch.float32).nan_to_num()

    codes = _codes(is_signed)
    borders = (codes[1:] + codes[:-1]) / 2
    nearest = torch.bucketize(numbers, borders)
    return nearest.to(device=device, dtype=torch.uint8)


def quantise(values_M: Tensor, *, is_signed: bool) -> tuple[Tensor, Tensor]:
    """The nearest of 256 values for each entry, relative to the largest of its block.

    Args:
        values_M: float32, flat; not negative where `is_signed` is False.
        is_signed: which values. The unsigned ones have no 0: an entry rounds to it only where its whole block is 0.

    Returns:
        Codes [M], uint8, and the scale of each block [ceil(M / 256)], float32.
    """
    padded_KB = _blocks(values_M)
    scales_K = padded_KB.abs().amax(1)

    # A block of zeros has a scale of 0, and must not be divided by it.
    divisors_K = scales_K.clamp(min=torch.finfo(torch.float32).tiny)
    relative_KB = padded_KB / divisors_K[:, None]
    relative_M = relative_KB.flatten()[: len(values_M)]

    # A shift of a negative int32 fills in ones, which are masked out.
    index_M = relative_M.view(torch.int32) >> (32 - INDEX_BITS)
    index_M.bitwise_and_((1 << INDEX_BITS) - 1)
    nearest = _nearest(is_signed, values_M.device)
    return nearest[index_M], scales_K


def dequantise(codes_M: Tensor, scales_K: Tensor, *, is_signed: bool) -> Tensor:
    """The values that the codes stand for, [M], float32."""
    # torch takes an index of type uint8 for a mask.
    values = _codes(is_signed, codes_M.device)
    relative_M = values[codes_M.int()]

    scaled_KB = _blocks(relative_M) * scales_K[:, None]
    return scaled_KB.flatten()[: len(codes_M)]


def _blocks(values_M: Tensor) -> Tensor:
    """Values in rows of one block each, the last row filled up with zeros."""
    num_missing = -len(values_M) % BLOCK
    return F.pad(values_M, (0, num_missing)).view(-1, BLOCK)


def split(values_M: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 tensor as the nearest bfloat16 one, and what that leaves out as int16: `join` puts them together."""
    # The bits of a bfloat16 number are the upper half of a float32 one.
    rounded_M = values_M.to(torch.bfloat16)
    upper_M = rounded_M.view(torch.int16).int() << 16
    rest_M = values_M.view(torch.int32) - upper_M

    # A tie that rounds down leaves 32768, one more than fits: the value loses its last bit.
    return rounded_M, rest_M.clamp_(max=32767).to(torch.int16)


def join(rounded_M: Tensor, rest_M: Tensor) -> Tensor:
    """The float32 tensor that was split."""
    upper_M = rounded_M.view(torch.int16).int() << 16
    return (upper_M + rest_M).view(torch.float32)


class AdamW8bit(Optimizer):
    """AdamW with moments of 8 bits: 2 bytes a weight instead of 8, and 2 more for bfloat16 weights.

    The second moment is kept as its root, which the update divides by: seven decades of it are fourteen of the moment,
    and none rounds to 0, where a quotient would explode.

    Source: arXiv:2110.02861. Ours: blocks of 256 (the paper has 2,048), the root, and no 0 among its values; the
    embedding has 8-bit moments like all others.
    """

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, *, betas: tuple[float, float], eps: float = 1e-8
    ) -> None:
        """Take groups of weights, each with its `weight_decay`."""
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure is called
        """One update of every weight that has a gradient."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    _update(weight, self.state[weight], group)

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave, every entry in its own type: torch would make them the weights'."""
        _load(self, state_dict)


def _update(weight: Tensor, state: dict[str, Tensor], group: Mapping[str, Any]) -> None:
    """Update one weight, a chunk at a time."""
    if not state:
        state.update(_initial_state(weight))
    state["step"] += 1
    step = int(state["step"])

    assert weight.grad is not None
    flat = weight.view(-1)
    flat_grad = weight.grad.reshape(-1)
    rest = state.get("rest")

    # Chunk by chunk, so that the float32 moments of a large weight never exist all at once.
    for start in range(0, flat.numel(), CHUNK):
        part = slice(start, start + CHUNK)
        blocks = slice(start // BLOCK, (start + CHUNK) // BLOCK)
        values = flat[part] if rest is None else join(flat[part], rest[part])
        grad = flat_grad[part].float()

        first, root = _moments(state, part, blocks)
        _descend(values, grad, first, root, step, group)
        _store_moments(state, first, root, part, blocks)

        # Float32 weights were updated where they lie.
        if rest is not None:
            flat[part], rest[part] = split(values)


def _initial_state(weight: Tensor) -> dict[str, Tensor]:
    """State before the first update.

    Raises:
        ValueError: the weight is neither float32 nor bfloat16.
    """
    if weight.dtype not in (torch.float32, torch.bfloat16):
        raise ValueError(f"8-bit moments are for float32 and bfloat16 weights, not {weight.dtype}")

    device = weight.device
    count = weight.numel()
    state = {"step": torch.zeros((), dtype=torch.int64)}
    for name in ("first", "root"):
        if count < WHOLE:
            state[name] = torch.zeros(count, device=device)
        else:
            # With scales of 0 all codes stand for 0.
            num_blocks = -(-count // BLOCK)
            state[name] = torch.zeros(count, dtype=torch.uint8, device=device)
            state[f"{name}_scales"] = torch.zeros(num_blocks, device=device)

    if weight.dtype == torch.bfloat16:
        state["rest"] = torch.zeros(count, dtype=torch.int16, device=device)
    return state


def _moments(state: Mapping[str, Tensor], part: slice, blocks: slice) -> tuple[Tensor, Tensor]:
    """First moment and root of the second, float32, of a part."""
    if "first_scales" not in state:
        return state["first"][part], state["root"][part]
    first = dequantise(state["first"][part], state["first_scales"][blocks], is_signed=True)
    root = dequantise(state["root"][part], state["root_scales"][blocks], is_signed=False)
    return first, root


def _store_moments(state: Mapping[str, Tensor], first: Tensor, root: Tensor, part: slice, blocks: slice) -> None:
    """Write the moments of a part back."""
    # Float32 moments were updated where they lie.
    if "first_scales" not in state:
        return
    state["first"][part], state["first_scales"][blocks] = quantise(first, is_signed=True)
    state["root"][part], state["root_scales"][blocks] = quantise(root, is_signed=False)


def _descend(values: Tensor, grad: Tensor, first: Tensor, root: Tensor, step: int, group: Mapping[str, Any]) -> None:
    """AdamW's update, in place: values, first moment, root of the second.

    Source: arXiv:1711.05101, Algorithm 2.
    """
    beta1, beta2 = group["betas"]
    rate = group["lr"]
    values.mul_(1 - rate * group["weight_decay"])

    first.lerp_(grad, 1 - beta1)
    root.square_().mul_(beta2).addcmul_(grad, grad, value=1 - beta2).sqrt_()

    # Both moments start at 0; dividing by 1 - beta^step takes that bias out.
    first_correction = 1 - beta1**step
    root_correction = (1 - beta2**step) ** 0.5
    denominator = (root / root_correction).add_(group["eps"])
    values.addcdiv_(first, denominator, value=-rate / first_correction)


class MasterAdamW(Optimizer):
    """torch's AdamW on float32 copies of the weights, which may lie on another device than the weights.

    On the host, the weights' device holds weights and gradients alone; each weight's gradient visits the host by
    itself. Its updates are those of torch's AdamW on the copies, bit for bit.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float],
        eps: float = 1e-8,
        device: torch.device | str | None = None,
    ) -> None:
        """Take groups of weights, each with its `weight_decay`.

        Args:
            params: the groups.
            lr: learning rate.
            betas: decays of the moments.
            eps: added to the root of the second moment.
            device: where copies and moments lie; with the weights where None.
        """
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})
        self._device = torch.device(device) if device is not None else None
        weights = [weight for group in self.param_groups for weight in group["params"]]
        for weight in weights:
            device = self._device or weight.device
            dtype = torch.promote_types(weight.dtype, torch.float32)
            master = weight.detach().to(device=device, dtype=dtype, copy=True)

            # The fused update reads the count of steps where the moments are.
            step = torch.zeros((), device=device)
            self.state[weight] = {
                "step": step,
                "master": master,
                "exp_avg": torch.zeros_like(master),
                "exp_avg_sq": torch.zeros_like(master),
            }

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no closure is called
        """One update of every weight that has a gradient."""
        del closure
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group)

    def _update(self, weight: Tensor, group: Mapping[str, Any]) -> None:
        """Update the copy of one weight, and round the weight from it."""
        state = self.state[weight]
        beta1, beta2 = group["betas"]
        assert weight.grad is not None
        grad = weight.grad.to(state["master"])
        torch_adamw(
            [state["master"]],
            [grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
            fused=grad.device.type in FUSED_ON,
        )
        weight.copy_(state["master"])

    @torch.no_grad()
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave, and give the weights the values of their copies."""
        _load(self, state_dict, self._device)
        for weight, state in self.state.items():
            weight.copy_(state["master"])


def _load(optimizer: Optimizer, saved: Mapping[str, Any], device: torch.device | None = None) -> None:
    """Give an optimizer the state and the settings that its `state_dict` returned."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for index, saved_state in saved["state"].items():
        weight = weights[index]
        state: dict[str, Tensor] = {}
        for name, value in saved_state.items():
            # A count that Python reads stays on the CPU; one that the fused update reads lies with the moments.
            target = device or weight.device
            if value.dtype == torch.int64:
                target = value.device

            # Copied, or the next update would change what was saved.
            state[name] = value.to(target, copy=True)
        optimizer.state[weight] = state

    for group, saved_group in zip(optimizer.param_groups, saved["param_groups"], strict=True):
        settings = {name: value for name, value in saved_group.items() if name != "params"}
        group.update(settings)
