"""Low-rank adapters: a frozen policy of which only small matrices beside its projections learn.

W x becomes W x + (alpha / r) B A x, with A [r, in] and B [out, r]. Adapters are written and read in the format of
`peft`; the merged policy is an ordinary one.

Source: LoRA, arXiv:2106.09685, section 4.1.
"""

import copy
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CONFIG",
    "TARGETS",
    "WEIGHTS",
    "LoRALinear",
    "adapted_projections",
    "add_lora",
    "frozen_twin",
    "merged",
    "read_adapter",
    "write_adapter",
]

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""All projections of a layer. In a model that names its projections otherwise, all of these stand for all of those."""

_IN_A_LAYER = re.compile(r"\.\d+\.")
"""What the path of a projection has in it that is part of a list of layers."""

SomePolicy = TypeVar("SomePolicy", bound=nn.Module)

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What `peft` puts before the names of modules."""


class LoRALinear(nn.Module):
    """A frozen projection with an adapter.

    Attributes:
        weight: the projection, [out, in], frozen.
        bias: its bias, [out], frozen; None where it has none.
        lora_A: [r, in], float32 or better.
        lora_B: [out, r], of the same type, 0 at the start.
        scaling: alpha / r.
    """

    def __init__(self, linear: nn.Linear, *, rank: int, alpha: float, generator: torch.Generator) -> None:
        """Take over a projection's weights, without a copy, and freeze them."""
        super().__init__()
        self.weight = linear.weight.requires_grad_(False)
        self.bias = linear.bias
        if self.bias is not None:
            self.bias.requires_grad_(False)

        # The adapter of a bfloat16 policy is float32: its updates are smaller than bfloat16 can tell apart.
        device = self.weight.device
        dtype = torch.promote_types(self.weight.dtype, torch.float32)

        # Drawn on the CPU in float64, so that the adapter is the same on every device and for every type.
        num_out, num_in = self.weight.shape
        uniform_RI = torch.rand(rank, num_in, generator=generator, dtype=torch.float64)
        initial_RI = (uniform_RI * 2 - 1) * num_in**-0.5
        self.lora_A = nn.Parameter(initial_RI.to(device=device, dtype=dtype))

        # B is 0, so that the adapter changes nothing before its first update.
        self.lora_B = nn.Parameter(torch.zeros(num_out, rank, device=device, dtype=dtype))
        self.scaling = alpha / rank

    def forward(self, x_ND: Tensor) -> Tensor:
        """[N, in] -> [N, out]."""
        low_NR = F.linear(x_ND.to(self.lora_A.dtype), self.lora_A)
        update_NO = F.linear(low_NR, self.lora_B)
        update_NO = update_NO * self.scaling
        frozen_NO = F.linear(x_ND, self.weight, self.bias)
        return frozen_NO + update_NO.to(x_ND.dtype)

    def folded(self) -> nn.Linear:
        """An ordinary projection that does the same: W + (alpha / r) B A, added in the adapter's type."""
        merged_OI = (self.lora_B @ self.lora_A).detach()
        merged_OI.mul_(self.scaling).add_(self.weight)

        # On the meta device: its own initial weights are never needed.
        num_out, num_in = self.weight.shape
        linear = nn.Linear(num_in, num_out, bias=False, device="meta")
        linear.weight = nn.Parameter(merged_OI.to(self.weight.dtype), requires_grad=False)
        linear.bias = self.bias
        return linear


def add_lora(
    policy: nn.Module, *, rank: int, alpha: float, targets: Sequence[str] = TARGETS, generator: torch.Generator
) -> None:
    """Freeze a policy and put adapters beside its projections, in place; what it computes does not change yet.

    Args:
        policy: the policy.
        rank: r, at least 1.
        alpha: numerator of the scaling alpha / r.
        targets: last names of the projections that get an adapter, e.g. `q_proj`.
        generator: source of A, which is uniform in +-1/sqrt(in), as in peft; on the CPU.

    Raises:
        ValueError: the rank is below 1, the policy has adapters already, or a target is none of its projections.

    Source: LoRA, arXiv:2106.09685, section 4.1. B is 0. Ours: A uniform, as peft has it, where the paper has a normal.
    """
    if rank < 1:
        raise ValueError(f"the rank of an adapter is {rank}; it must be at least 1")
    if _adapted(policy):
        raise ValueError("the policy has adapters already: merge them first")

    # In the order of the policy, in which the adapters draw from the generator.
    projections = adapted_projections(policy, targets)
    policy.requires_grad_(False)
    for name, linear in projections:
        adapted = LoRALinear(linear, rank=rank, alpha=alpha, generator=generator)
        policy.set_submodule(name, adapted)


def adapted_projections(policy: nn.Module, targets: Sequence[str]) -> list[tuple[str, nn.Linear]]:
    """The projections of a policy that get an adapter, with their paths, in the order of the policy.

    Args:
        policy: the policy.
        targets: last names of the projections. Where these are all of `TARGETS`, and the policy lacks one of them, they
            are all projections of its layers.

    Raises:
        ValueError: a target is none of its projections.
    """
    linears = [(name, module) for name, module in policy.named_modules() if isinstance(module, nn.Linear)]
    in_layers = [(name, linear) for name, linear in linears if _IN_A_LAYER.search(name)]
    available = {_last_name(name) for name, _ in in_layers}
    unknown = sorted(set(targets) - available)
    if unknown and available and set(targets) == set(TARGETS):
        return in_layers
    if unknown:
        raise ValueError(
            f"the policy has no projection called {', '.join(unknown)}; it has {', '.join(sorted(available))}"
        )
    return [(name, linear) for name, linear in in_layers if _last_name(name) in targets]


def _last_name(path: str) -> str:
    """The name of a module within the module that holds it."""
    return path.rsplit(".", 1)[-1]


def _adapted(policy: nn.Module) -> list[tuple[str, LoRALinear]]:
    """The projections that have adapters, with their names, in the order of the policy."""
    return [(name, module) for name, module in policy.named_modules() if isinstance(module, LoRALinear)]


@contextmanager
def merged(policy: nn.Module) -> Iterator[None]:
    """A context in which a policy with adapters is an ordinary one with the merged weights, to sample from or to write.

    The frozen weights are put aside, not added to and subtracted from, so that afterwards every bit is as before. A
    policy without adapters stays as it is. Costs the memory of the adapted projections once more.
    """
    adapted = _adapted(policy)
    try:
        for name, module in adapted:
            policy.set_submodule(name, module.folded())
        yield
    finally:
        for name, module in adapted:
            policy.set_submodule(name, module)


def frozen_twin(policy: SomePolicy) -> SomePolicy:
    """A policy that shares the frozen weights of another and has adapters of its own, equal at first.

    With it as the reference, the KL to the start costs no second copy of the weights.
    """
    # What `deepcopy` finds in its memo it does not copy.
    memo: dict[int, Any] = {id(weight): weight for weight in policy.parameters() if not weight.requires_grad}
    return copy.deepcopy(policy, memo)


def write_adapter(policy: nn.Module, folder: Path, *, start: str = "") -> None:
    """Write a policy's adapters as `peft` does; the folder is made.

    Args:
        policy: a policy with adapters.
        folder: where.
        start: path or hub name of the policy that they belong to.

    Raises:
        ValueError: the policy has no adapters.
    """
    adapted = _adapted(policy)
    if not adapted:
        raise ValueError("the policy has no adapters to write")

    # All adapters of a policy have one rank and one scaling.
    first = adapted[0][1]
    rank = first.lora_A.shape[0]
    described = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": start,
        "r": rank,
        "lora_alpha": first.scaling * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "inference_mode": True,
        "target_modules": sorted({_last_name(name) for name, _ in adapted}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(described, indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")

    tensors: dict[str, Tensor] = {}
    for name, weight in _adapter_weights(policy).items():
        tensors[name] = weight.detach().cpu().contiguous()
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def _adapter_weights(policy: nn.Module) -> dict[str, Tensor]:
    """The weights of all adapters, by the names that `peft` gives them."""
    weights: dict[str, Tensor] = {}
    for name, module in _adapted(policy):
        weights[f"{PREFIX}{name}.lora_A.weight"] = module.lora_A
        weights[f"{PREFIX}{name}.lora_B.weight"] = module.lora_B
    return weights


def read_adapter(policy: nn.Module, folder: Path) -> None:
    """Give a policy without adapters those of a folder that this module or `peft` wrote, in place.

    Raises:
        ValueError: a file is missing or damaged, the adapter is of a kind that is not supported, or does not fit.
    """
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).exists():
            raise ValueError(f"{folder} has no {name}: it is not the folder of an adapter")

    try:
        described = dict(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
        tensors = load_file(folder / WEIGHTS)
        rank = int(described["r"])
        alpha = float(described["lora_alpha"])
        targets = described["target_modules"]
    except (TypeError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"the adapter in {folder} cannot be read ({error}): it is damaged") from None
    _check_plain(described, folder)

    # The initial values are drawn and then overwritten.
    generator = torch.Generator()
    add_lora(policy, rank=rank, alpha=alpha, targets=[str(name) for name in targets], generator=generator)
    weights = _adapter_weights(policy)

    wrong = sorted(weights.keys() ^ tensors.keys())
    for name in sorted(weights.keys() & tensors.keys()):
        if weights[name].shape != tensors[name].shape:
            wrong.append(name)
    if wrong:
        raise ValueError(f"the adapter in {folder} does not fit this policy: {', '.join(wrong[:3])}")

    with torch.no_grad():
        for name, weight in weights.items():
            weight.copy_(tensors[name])


def _check_plain(described: dict[str, Any], folder: Path) -> None:
    """Refuse the variants of peft that compute something else.

    Raises:
        ValueError: the adapter is such a variant.
    """
    variants = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "layers_to_transform", "modules_to_save")
    unsupported = [name for name in variants if described.get(name)]
    if described.get("bias", "none") != "none":
        unsupported.append("bias")

    # A text would be a pattern for the names of modules.
    if not isinstance(described["target_modules"], list):
        unsupported.append("target_modules")

    if not unsupported and described.get("peft_type") != "LORA":
        unsupported.append("peft_type")
    if unsupported:
        settings = ", ".join(f"{name} = {described.get(name)!r}" for name in unsupported)
        raise ValueError(f"{folder / CONFIG}: {settings} is not supported, only plain LoRA")
