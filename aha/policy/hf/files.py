"""Models of `transformers` in and out of model folders, with a check that they compute what they compute there."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aha.policy.config import HFConfig
from aha.policy.hf.attention import NAME
from aha.policy.hf.library import causal_model, in_words, library_for, quiet, settings_of
from aha.policy.hf.model import HFPolicy
from aha.policy.layout import pack
from aha.policy.weights import Dtype, read_weights, stored_dtype

__all__ = ["architecture_name", "check_equal", "read_backbone", "read_hf_policy", "write_hf_weights"]

CHECKED_LENGTHS = (6, 3)
"""Tokens of the sequences with which a model is checked when it is read."""

CHECKED_ERROR = 1e-3
"""Largest difference of logits, in units of the largest logit (or of 1): that of two orders of adding up float32."""

HALF_ERROR = 0.1
"""The same of half precision, whose rounding is far coarser."""


def read_hf_policy(folder: Path, config: HFConfig, *, device: torch.device | str, dtype: Dtype) -> HFPolicy:
    """Read a policy, and make sure that it computes what `transformers` computes.

    Args:
        folder: the model folder.
        config: its shape.
        device: where the parameters go.
        dtype: their type, whatever the file's; `auto` takes the file's.

    Raises:
        ValueError: a missing or broken file, weights that do not fit, or a model that computes something else.
    """
    weights = read_weights(folder, dtype=stored_dtype(folder) if dtype == "auto" else dtype)
    policy = _policy_with(weights, config, folder)
    check_equal(policy, folder)
    policy.to(device=device)
    return policy


def read_backbone(
    folder: Path, config: HFConfig, *, device: torch.device | str, dtype: torch.dtype
) -> tuple[HFPolicy, Tensor]:
    """Read a policy without its output head, and the head of a reward model, from a folder of a reward model.

    Args:
        folder: the model folder.
        config: its shape.
        device: where the parameters go.
        dtype: their type, whatever the file's.

    Returns:
        The policy, and the weight of the other head, `score.weight`.

    Raises:
        ValueError: a missing or broken file, or weights that do not fit.
    """
    weights = read_weights(folder, dtype=dtype)
    if "score.weight" not in weights:
        raise ValueError(f"the weights in {folder} have no score.weight: they are those of no reward model")

    head = weights.pop("score.weight")
    policy = _policy_with(weights, config, folder, is_headless=True)
    delattr(policy, policy.head_name)
    policy.to(device=device)
    return policy, head.to(device)


def _policy_with(
    weights: Mapping[str, Tensor], config: HFConfig, folder: Path, *, is_headless: bool = False
) -> HFPolicy:
    """A policy with these weights, which are named as in its files; the output head may be missing in them.

    Raises:
        ValueError: the weights do not fit.
    """
    settings = settings_of(config.described, is_tied=config.tie_word_embeddings)
    misfit = f"the weights in {folder} do not fit its config.json: "
    try:
        model, report = causal_model(settings, weights)
    # The library's errors for a strange file are those of whatever it stumbles over.
    except Exception as error:
        raise ValueError(f"{misfit}{in_words(error)}") from error

    policy = HFPolicy(config, model)

    # What is read without its head has none in the files, and gets one that is thrown away.
    missing = sorted(report["missing_keys"])
    if is_headless:
        missing = [name for name in missing if name != f"{policy.head_name}.weight"]
    unexpected = sorted(report["unexpected_keys"])
    misshapen = sorted(str(entry) for entry in report["mismatched_keys"])
    if missing or unexpected or misshapen:
        raise ValueError(
            f"{misfit}missing {missing[:3]}, unexpected {unexpected[:3]}, of another shape {misshapen[:3]}"
        )

    # With two different matrices `transformers` unties them, and one of the two would not be written.
    is_tied = policy.head_VD is policy.library_model.get_input_embeddings().weight
    if is_tied != config.tie_word_embeddings and not is_headless:
        raise ValueError(
            f"{folder} has an output head of its own, but config.json ties it to the embedding: set "
            "tie_word_embeddings to false there to keep it"
        )
    return policy


@torch.no_grad()
def check_equal(policy: HFPolicy, folder: Path) -> None:
    """Make sure that a policy computes the logits of `transformers`: of two short sequences, end to end and each alone.

    What no setting tells of is found so: tokens that see others beside attention, positions that are counted in another
    way, logits that are not those of the output head.

    Args:
        policy: the policy, on the CPU.
        folder: where it was read, for the message.

    Raises:
        ValueError: it computes something else.
    """
    words = len(policy.head_VD)
    num_tokens = sum(CHECKED_LENGTHS)
    tokens_N = (torch.arange(num_tokens) * 7919 + 1) % words
    sequences = torch.split(tokens_N, list(CHECKED_LENGTHS))
    tokens_BT = torch.nn.utils.rnn.pad_sequence(list(sequences), batch_first=True)
    layout = pack(tokens_BT, torch.tensor(CHECKED_LENGTHS))
    hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
    logits_NV = hidden_ND @ policy.head_VD.T

    kind = policy.config.model_type
    for row, sequence in enumerate(sequences):
        try:
            expected_TV, head_TV = _their_logits(policy, sequence)
        except Exception as error:
            raise ValueError(f"{folder}: {kind}: transformers itself cannot run it ({in_words(error)})") from error

        if not torch.allclose(expected_TV, head_TV, rtol=0, atol=0, equal_nan=True):
            raise ValueError(
                f"{folder}: {kind}: the logits are not what the output head computes: something is done with them "
                "afterwards, which is not supported"
            )

        # Weights that are not finite are found out by who looks for them.
        found_TV = logits_NV[layout.where_BT[row, : len(sequence)]]
        gap = float((found_TV - expected_TV).abs().max())
        share = HALF_ERROR if found_TV.element_size() == 2 else CHECKED_ERROR
        allowed = share * max(1.0, float(expected_TV.abs().max()))
        if math.isfinite(gap) and gap > allowed:
            raise ValueError(
                f"{folder}: {kind}: the logits differ from those of transformers by {gap:.2g}: the architecture needs "
                "something that a policy here does not have"
            )


def _their_logits(policy: HFPolicy, tokens_T: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of one sequence by `transformers` alone, and what the output head computed on the way, [T, V] each."""
    model = policy.library_model
    heads: list[Tensor] = []
    hook = policy.get_submodule(policy.head_name).register_forward_hook(lambda _, __, out: heads.append(out))
    try:
        with _with_their_attention(policy):
            logits_TV: Tensor = model(tokens_T[None], use_cache=False).logits[0]
    finally:
        hook.remove()
    return logits_TV, heads[0][0].to(logits_TV.dtype)


@contextmanager
def _with_their_attention(policy: HFPolicy) -> Iterator[None]:
    """A context in which the model computes attention as `transformers` does, in the plainest way."""
    model = policy.library_model
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(NAME)


def write_hf_weights(policy: HFPolicy, weights: Mapping[str, Tensor], folder: Path, *, max_shard_bytes: int) -> None:
    """Write weights into an existing folder, under the names that the files of this architecture have.

    Args:
        policy: the policy whose weights they are.
        weights: by the names of the policy's parameters.
        folder: where; `transformers` also writes a config.json, which is to be replaced.
        max_shard_bytes: largest file of weights.
    """
    on_cpu = {name: weight.detach().cpu() for name, weight in weights.items()}
    with quiet(library_for(policy.config.model_type)):
        policy.library_model.save_pretrained(folder, state_dict=on_cpu, max_shard_size=max_shard_bytes)


def architecture_name(policy: HFPolicy, kind: str) -> str:
    """What a config.json calls the architecture of a policy.

    Args:
        policy: the policy.
        kind: `ForCausalLM` or `ForSequenceClassification`. Where `transformers` has no such class, it is the name of
            the model without a head.
    """
    model: Any = policy.library_model
    if kind == "ForCausalLM":
        return type(model).__name__

    library = library_for(policy.config.model_type)
    classifiers = library.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    chosen = classifiers[type(model.config)] if type(model.config) in classifiers else type(model.base_model)
    return str(chosen.__name__)
