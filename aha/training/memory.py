"""What training needs of memory and time, before it starts.

All figures are bytes. P is the number of parameters, w their size (4 for float32, 2 for bfloat16), P' the number of
those that are trained: all, or the adapters'.

| part | formula |
|---|---|
| weights | w P, and 4 P' for adapters |
| reference | w P; 4 P' beside shared weights for adapters |
| gradients | 4 P' |
| optimizer | 8 P' for float32 moments, 12 P' with float32 copies (bfloat16 weights, adapters, host) |
| | 2 P' for 8-bit moments, 4 P' beside bfloat16 weights |
| copies | while sampling: w times the adapted projections, which are merged; all once more for kernels on the CPU |
| cache | w times the numbers of `CacheSpec`, for each row and token, and 24 V a row to draw its token |
| activations | see `activation_bytes` |
| logits | a chunk of float32 logits, half of one again for bfloat16, and the embedding's gradient where it is dense |

Sampling and updating take turns, so the peak is the larger of the two.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch

from aha.kernels.cpu.compiled import has_gpu_kernels
from aha.kernels.cpu.training import has_kernel
from aha.policy.blocks import SPARSE_ABOVE
from aha.policy.config import HFConfig, PolicyConfig
from aha.policy.families import make_policy
from aha.policy.fast.paths import has_packed_sizes
from aha.policy.lora import adapted_projections
from aha.policy.scoring import chunk_tokens
from aha.training.config import OptimizerConfig

__all__ = ["GIB", "Estimate", "Workload", "activation_bytes", "available_bytes", "decoded_rows", "describe", "estimate"]

GIB = 1 << 30
CPU = torch.device("cpu")

RECOMPUTE_ABOVE = 2 * GIB
"""Activations of a micro-batch above which layers are recomputed on a GPU that is not here, in an estimate for it."""

CACHE_BYTES = 4 * GIB
"""Largest key-value cache; more rows are decoded in several waves."""

CACHE_SHARE = 0.3
"""The same on a GPU, as a share of its memory."""

MAX_ROWS = 512
"""Rows that are decoded at once on the CPU, whatever their memory; on a GPU twice as many."""

FILLED_SHARE = {"cuda": 0.9, "cpu": 0.5}
"""Share of the memory above which layers are recomputed: it changes memory and time, and no result. A computer has
other programs to serve, a card has not."""

CONTAINER_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Where Linux says how much a container may take: control groups of version 2, then of version 1."""

RUNTIME = GIB // 2
"""What the program itself needs: Python, torch, its kernels' buffers, and memory that is kept between calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """How much is computed at once.

    Attributes:
        micro_batch_tokens: tokens of a micro-batch.
        sequence_tokens: tokens of the longest prompt with its response.
        num_rows: responses sampled at once; 0 where nothing is sampled.
        has_reference: whether a reference policy is held.
        num_processes: processes that share the memory of a CPU; each has a GPU of its own.
        num_tokens: tokens to compute in all, for the time; 0 where it is not known.
        tokens_per_second: how many are computed a second; 0 where it is not known.
    """

    micro_batch_tokens: int
    sequence_tokens: int
    num_rows: int = 0
    has_reference: bool = False
    num_processes: int = 1
    num_tokens: int = 0
    tokens_per_second: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a stage needs, in bytes by part.

    Attributes:
        weights: of the policy.
        reference: of the reference policy.
        optimizer: moments, and float32 copies of weights.
        gradients: while updating.
        activations: while updating.
        logits: while updating.
        cache: keys, values and logits while sampling.
        copies: while sampling: merged projections, and weights as the C kernels read them.
        host_optimizer: the part of the optimizer that lies in the host's memory instead.
        recomputes: whether layers are recomputed in the backward pass.
        seconds: time to compute all tokens; 0 where it is not known.
    """

    weights: int
    reference: int
    optimizer: int
    gradients: int
    activations: int
    logits: int
    cache: int
    copies: int
    host_optimizer: int
    recomputes: bool
    seconds: float

    @property
    def peak(self) -> int:
        """The most that is held at once, where the model is."""
        always = self.weights + self.reference + self.optimizer
        updating = self.gradients + self.activations + self.logits
        sampling = self.cache + self.copies
        return always + max(updating, sampling) + RUNTIME


def activation_bytes(
    config: PolicyConfig, num_tokens: int, *, size: int = 4, recomputes: bool = False, device: torch.device = CPU
) -> int:
    """What a forward pass keeps for its gradient.

    A layer keeps 4 D + 2 (H + J) (K + M) + 4 I figures a token, with D the width, H heads and J key-value heads, K and
    M the sizes of keys and values, and I the width of the feed-forward layer: the inputs of two norms and of seven
    projections, queries, keys and values as they are and as the attention lays them, its result, and the two factors
    of the feed-forward layer. Where `aha.kernels.ops` has kernels it is 4 D + (H + J) (K + M) + 3 I. Qwen3's norms of
    queries and keys keep (H + J) K more. Where layers are recomputed, every layer keeps its input (D), and one keeps
    all.

    Args:
        config: shape of the policy.
        num_tokens: tokens of a micro-batch.
        size: bytes of a figure.
        recomputes: whether layers are recomputed.
        device: where the policy is.
    """
    is_fused = _has_kernels(config, size, device)
    spec = config.cache_spec()
    num_heads = config.num_attention_heads + spec.num_heads

    # Kernels read queries, keys and values as they lie, and compute one of the two factors again.
    attention_copies = 1 if is_fused else 2
    num_inner = 3 if is_fused else 4
    attention = attention_copies * num_heads * (spec.key_size + spec.value_size)
    norms = num_heads * spec.key_size if config.model_type == "qwen3" else 0
    feed_forward = num_inner * config.intermediate_size
    layer = 4 * config.hidden_size + attention + norms + feed_forward
    num_layers = config.num_hidden_layers

    # While a layer is differentiated, the gradients of its figures are there too: as much as one layer more.
    per_token = (num_layers + 1) * layer
    if recomputes:
        layer_inputs = num_layers * config.hidden_size
        per_token = layer_inputs + 2 * layer
    return num_tokens * size * per_token


def _has_kernels(config: PolicyConfig, size: int, device: torch.device) -> bool:
    """Whether kernels compute what is no matrix product: in C, or on a GPU those of half precision."""
    # `transformers` computes all but the attention itself.
    if isinstance(config, HFConfig):
        return False
    if device.type == "cuda":
        return size == 2 and has_gpu_kernels()
    spec = config.cache_spec()
    return (
        size == 4
        and has_kernel("norm", config.hidden_size)
        and spec.key_size == spec.value_size
        and has_kernel("attention", spec.key_size)
        and has_kernel("swiglu", config.intermediate_size)
    )


def _mask_bytes(config: PolicyConfig, load: Workload, size: int) -> int:
    """The attention's bias, quadratic in a sequence, and once more for each query head that shares a key head."""
    repeat = config.num_attention_heads // config.cache_spec().num_heads
    num_tokens = max(load.micro_batch_tokens, load.sequence_tokens)
    return num_tokens * load.sequence_tokens * (4 + size * repeat)


def _optimizer_bytes(config: OptimizerConfig, num_trained: int) -> int:
    """Moments, and what makes bfloat16 weights float32."""
    is_half = config.precision == "bfloat16"
    if config.state == "8-bit":
        return num_trained * (4 if is_half else 2)
    has_copies = is_half or config.state == "host" or config.lora.rank
    return num_trained * (12 if has_copies else 8)


def _logits_bytes(config: PolicyConfig, num_tokens: int, size: int, device: torch.device, is_trained: bool) -> int:
    """A chunk of logits, and the embedding's gradient while it waits to be added; bfloat16 is there in both types."""
    chunk = min(num_tokens, chunk_tokens(config.vocab_size, is_on_cpu=device.type == "cpu"))

    # The embedding's gradient is dense where the tokens of a micro-batch may name much of the vocabulary.
    num_rows = chunk
    is_dense = size == 2 or isinstance(config, HFConfig) or config.vocab_size <= SPARSE_ABOVE * num_tokens
    if is_trained and is_dense:
        num_rows += config.hidden_size

    # Logits are float32; half precision has them, and the gradient, in its own type too.
    bytes_per_number = 6 if size == 2 else 4
    return bytes_per_number * config.vocab_size * num_rows


def estimate(config: PolicyConfig, optimizer: OptimizerConfig, load: Workload, device: torch.device = CPU) -> Estimate:
    """What training a policy needs; see the module's table.

    Args:
        config: shape of the policy.
        optimizer: how it is trained.
        load: how much is computed at once.
        device: where the policy is.
    """
    # On the meta device a model has shapes and no memory.
    with torch.device("meta"):
        model = make_policy(config)
    count = sum(weight.numel() for weight in model.parameters())
    size = 2 if optimizer.precision == "bfloat16" else 4

    # The two matrices of an adapter are [rank, inputs] and [outputs, rank].
    rank = optimizer.lora.rank
    projections = adapted_projections(model, optimizer.lora.targets) if rank else []
    adapted = [linear.weight.shape for _, linear in projections]
    num_adapters = sum(rank * sum(shape) for shape in adapted)
    num_trained = num_adapters if rank else count

    # The reference of adapters shares the frozen weights.
    weights = size * count
    reference = 0
    if load.has_reference:
        reference = 4 * num_adapters if rank else weights

    state = _optimizer_bytes(optimizer, num_trained)
    state_here = 0 if optimizer.state == "host" else state
    tokens = max(load.micro_batch_tokens, load.sequence_tokens)
    logits = _logits_bytes(config, tokens, size, device, not rank)

    # Layers are recomputed where the activations do not fit beside everything else.
    others = weights + 4 * num_adapters + reference + 4 * num_trained + logits + RUNTIME + state_here
    unspared = activation_bytes(config, tokens, size=size, device=device)
    recomputes = _is_tight(unspared, others, device, load.num_processes)
    activations = activation_bytes(config, tokens, size=size, recomputes=recomputes, device=device)
    if not _has_kernels(config, size, device):
        activations += _mask_bytes(config, load, size)

    # Whether sampling copies the weights, as `can_be_packed` will decide it.
    is_copied = device.type == "cpu" and size == 4 and not rank and has_packed_sizes(config, weights)
    num_merged = sum(shape.numel() for shape in adapted)
    num_copied = num_merged + (count if is_copied else 0)

    seconds = load.num_tokens / load.tokens_per_second if load.tokens_per_second else 0.0
    return Estimate(
        weights=weights + 4 * num_adapters,
        reference=reference,
        optimizer=state_here,
        gradients=4 * num_trained,
        activations=activations,
        logits=logits,
        cache=load.num_rows * _row_bytes(config, load.sequence_tokens, size),
        copies=size * num_copied,
        host_optimizer=state - state_here,
        recomputes=recomputes,
        seconds=seconds,
    )


def _is_tight(activations: int, others: int, device: torch.device, num_processes: int) -> bool:
    """Whether layers are to be recomputed: where else they would not fit."""
    needed = others + activations
    if device.type != "cuda":
        return needed > FILLED_SHARE["cpu"] * available_bytes(device) / num_processes
    if not torch.cuda.is_available():
        return activations > RECOMPUTE_ABOVE
    return needed > FILLED_SHARE["cuda"] * available_bytes(device)


def _row_bytes(config: PolicyConfig, num_tokens: int, size: int) -> int:
    """Keys and values of a response, and its logits, log-probabilities and their sums (float64) while one is drawn."""
    return size * config.cache_spec().numbers_per_token * num_tokens + 24 * config.vocab_size


def decoded_rows(config: PolicyConfig, num_tokens: int, *, size: int = 4, device: torch.device = CPU) -> int:
    """Responses to decode at once.

    Key-value cache and logits keep within `CACHE_BYTES`, on a GPU within `CACHE_SHARE` of its memory.

    Args:
        config: shape of the policy.
        num_tokens: tokens of the longest prompt with its response.
        size: bytes of a figure.
        device: where they are decoded.
    """
    if device.type == "cpu":
        max_rows = MAX_ROWS
        capacity = CACHE_BYTES
    else:
        max_rows = 2 * MAX_ROWS
        capacity = int(CACHE_SHARE * available_bytes(device))

    num_fitting = capacity // _row_bytes(config, num_tokens, size)
    return max(1, min(max_rows, num_fitting))


def available_bytes(device: torch.device) -> int:
    """Memory of a device, or of this machine or of the container that the program runs in."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])

    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in CONTAINER_LIMITS:
        # Without a limit the file holds `max`, or a number beyond all memory.
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():
            limit = min(limit, int(text))
    return limit


def describe(needed: Estimate, limit_bytes: int = 0) -> str:
    """An estimate in words, in a few lines.

    Args:
        needed: the estimate.
        limit_bytes: memory that is there; 0 where it is not known.
    """
    sections = {
        "held": {"weights": needed.weights, "reference": needed.reference, "optimizer": needed.optimizer},
        "while updating": {
            "gradients": needed.gradients,
            "activations": needed.activations,
            "logits": needed.logits,
        },
        "while sampling": {"cache": needed.cache, "copied weights": needed.copies},
    }
    limit = f" of {limit_bytes / GIB:.1f}" if limit_bytes else ""
    lines = [f"memory: about {needed.peak / GIB:.1f}{limit} GiB"]
    for title, parts in sections.items():
        # What would be shown as 0.00 is left out.
        shown = [f"{name} {value / GIB:.2f}" for name, value in parts.items() if value > GIB // 200]
        if shown:
            lines.append(f"  {title}: {', '.join(shown)}")

    if needed.recomputes:
        lines.append("  layers are recomputed in the backward pass")
    if needed.host_optimizer:
        lines.append(f"  in the host's memory: optimizer {needed.host_optimizer / GIB:.2f}")
    if needed.seconds:
        lines.append(f"time: about {needed.seconds / 3600:.1f} hours")
    if limit_bytes and needed.peak > limit_bytes:
        lines.append(
            "  this does not fit: use --optimizer.state 8-bit, --optimizer.precision bfloat16, --optimizer.lora.rank "
            "16, or a lower length cap"
        )
    return "\n".join(lines)
