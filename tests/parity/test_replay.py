"""An update that begins at kept activations is the update with a forward pass, and sampling does not notice."""

from collections.abc import Sequence
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import PROMPTS, SHAPES, letters_tokenizer, requests_for, tiny_config, tiny_policy
from torch import Tensor

from aha.objectives.grpo import grpo_loss
from aha.policy import attention, fused
from aha.policy.activations import Activations
from aha.policy.checkpointing import checkpoint_activations
from aha.policy.compiled import library
from aha.policy.lora import add_lora
from aha.policy.packed import kept_fields
from aha.policy.transformer import Transformer
from aha.rollouts.engine import Decoding
from aha.rollouts.local import LocalEngine
from aha.training.batch import select, stack
from aha.training.learner import ANEW, Learner, log_probabilities
from aha.types import Batch, Rollout

pytestmark = pytest.mark.skipif(library("decode") is None, reason="there is no C compiler")

MIB = 1 << 20
ALL_PROMPTS = [prompt for prompts in PROMPTS.values() for prompt in prompts]
TEMPERATURE = 0.8


def policy_of(shape: str = "qwen3-grouped", **changes: object) -> Transformer:
    """A policy that the kernels can compute on any processor."""
    return tiny_policy(tiny_config(shape, hidden_size=64, head_dim=16, **changes))


def sampled(
    policy: Transformer,
    activations: Activations | None,
    *,
    prompts: Sequence[str] = ALL_PROMPTS,
    max_rows: int = 512,
    cap: int = 20,
    num_samples: int = 4,
) -> list[Rollout]:
    """Some responses to each prompt."""
    engine = LocalEngine(policy, letters_tokenizer(), max_rows=max_rows, activations=activations)
    decoding = Decoding(max_new_tokens=cap, temperature=TEMPERATURE)
    groups = engine.sample(requests_for(prompts), num_samples, decoding)
    return [o for group in groups for o in group]


def kept_of(policy: Transformer, **more: object) -> tuple[Activations, list[Rollout]]:
    """Activations, and the responses while which they were kept."""
    activations = Activations(8 * MIB)
    activations.begin(policy)
    return activations, sampled(policy, activations, **more)  # type: ignore[arg-type]


def batch_of(rollouts: Sequence[Rollout]) -> Batch:
    """The rollouts, with advantages of either sign."""
    signals = {
        "old_logp_BT": [o.logp for o in rollouts],
        "ref_logp_BT": [o.logp + 0.3 for o in rollouts],
        "adv_BT": [torch.full((len(o.tokens),), float(row % 3 - 1)) for row, o in enumerate(rollouts)],
    }
    return stack([o.prompt_tokens for o in rollouts], [o.tokens for o in rollouts], signals)


def known_rows(activations: Activations, policy: Transformer, batch: Batch) -> list[int]:
    """Rows of which everything is kept."""
    found = activations.find(policy, batch.tokens_BT, batch.lengths_B)
    return [row for row, places in enumerate(found) if places is not None]


def value_and_gradients(
    policy: Transformer, batch: Batch, activations: Activations | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Log-probabilities, and the gradients of an objective of them."""
    for weight in policy.parameters():
        weight.grad = torch.zeros_like(weight)
    logp_BT = log_probabilities(policy, batch, temperature=TEMPERATURE, activations=activations)
    loss = grpo_loss(logp_BT, mask_BT=batch.mask_BT, clip_eps=0.2, kl_coef=0.1, **batch.signals)
    loss.total.backward()  # type: ignore[no-untyped-call]
    grads = {name: weight.grad for name, weight in policy.named_parameters() if weight.grad is not None}
    return logp_BT.detach(), grads


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative to the largest entry."""
    return float((found.double() - expected.double()).abs().max() / expected.abs().max())


SHAPES_AND_BIASED = {name: (name, {}) for name in SHAPES} | {
    "llama-biased": ("llama-grouped", {"attention_bias": True}),
    "untied": ("qwen2-grouped", {"tie_word_embeddings": False}),
    "one layer": ("qwen3-grouped", {"num_hidden_layers": 1}),
}


@pytest.mark.parametrize("name", SHAPES_AND_BIASED)
def test_values_and_gradients_are_those_of_a_forward_pass(name: str) -> None:
    shape, changes = SHAPES_AND_BIASED[name]
    policy = policy_of(shape, **changes)
    activations, rollouts = kept_of(policy)
    batch = batch_of(rollouts)
    rows = known_rows(activations, policy, batch)
    assert len(rows) > len(rollouts) / 2
    batch = select(batch, rows)
    logp, grads = value_and_gradients(policy, batch, activations)
    exact_policy = policy_of(shape, **changes).double()
    exact_logp, exact_grads = value_and_gradients(exact_policy, batch, None)
    plain_grads = value_and_gradients(policy, batch, None)[1]
    assert float((logp.double() - exact_logp).abs().max()) < 1e-5
    for weight, exact in exact_grads.items():
        assert float(exact.abs().max()) > 0, weight
        assert distance(grads[weight], exact) < max(2e-5, 4 * distance(plain_grads[weight], exact)), weight


def test_no_layer_is_computed_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for module in (fused, attention):
        call = module.call

        def watched(name: str, *arguments: object, call=call) -> int:  # type: ignore[no-untyped-def]
            called.append(name)
            return call(name, *arguments)

        monkeypatch.setattr(module, "call", watched)
    policy = policy_of()
    activations, rollouts = kept_of(policy)
    batch = batch_of(rollouts)
    batch = select(batch, known_rows(activations, policy, batch))
    value_and_gradients(policy, batch, activations)
    assert called.count("attention_backward") == policy.config.num_hidden_layers
    assert "attention" not in called
    called.clear()
    value_and_gradients(policy, batch, None)
    assert called.count("attention") == policy.config.num_hidden_layers


def test_a_batch_with_a_row_that_is_not_kept_is_computed_anew() -> None:
    policy = policy_of()
    activations, rollouts = kept_of(policy)
    batch = batch_of(rollouts)
    activations.forget(batch.tokens_BT[1, : batch.lengths_B[1]])
    mixed = select(batch, [1, *known_rows(activations, policy, batch)[:2]])
    assert len(known_rows(activations, policy, mixed)) == 2
    found, plain = (value_and_gradients(policy, mixed, kept)[0] for kept in (activations, None))
    assert torch.equal(found, plain)


@with_settings(max_examples=20)
@given(max_rows=st.integers(1, 40), cap=st.integers(1, 24), kib=st.integers(0, 800))
def test_sampling_does_not_notice_and_no_place_is_lost(max_rows: int, cap: int, kib: int) -> None:
    policy, activations = policy_of("qwen2-grouped"), Activations(kib << 10)
    activations.begin(policy)
    num_places = activations.num_free
    found = sampled(policy, activations, max_rows=max_rows, cap=cap)
    plain = sampled(policy, None, cap=cap)
    for one, other in zip(found, plain, strict=True):
        assert torch.equal(one.tokens, other.tokens)
        assert torch.equal(one.logp, other.logp)
    batch = batch_of(found)
    places = [p for p in activations.find(policy, batch.tokens_BT, batch.lengths_B) if p is not None]
    used = set(torch.cat(places).tolist()) if places else set()
    assert used.isdisjoint(activations._free_P[: activations.num_free].tolist())
    assert len(set(activations._free_P[: activations.num_free].tolist())) == activations.num_free
    # What is neither free nor part of a kept response belongs to a prompt.
    num_prompt_tokens = sum(len(letters_tokenizer().encode_prompt(prompt)) for prompt in ALL_PROMPTS)
    assert 0 <= num_places - activations.num_free - len(used) <= num_prompt_tokens
    for row in known_rows(activations, policy, batch)[:6]:
        one = select(batch, [row])
        known, anew = (value_and_gradients(policy, one, given)[0] for given in (activations, None))
        assert float((known - anew).abs().max()) < 1e-5


def test_where_there_is_room_all_are_kept_and_one_in_some_is_computed_anew() -> None:
    policy = policy_of()
    activations, rollouts = kept_of(policy, prompts=["a b c d e", "b c d", "c", "d e"] * 6)
    batch, learner = batch_of(rollouts), learner_of(policy, activations)
    assert learner.has_activations(batch).all()
    is_anew_B = learner.compute_some_anew(batch)
    assert torch.equal(is_anew_B, ~learner.has_activations(batch))
    assert is_anew_B[::ANEW].all()
    equal = {tuple(tokens.tolist()) for tokens in batch.tokens_BT[::ANEW]}  # what equals one that is forgotten is too
    assert [tuple(tokens.tolist()) in equal for tokens in batch.tokens_BT] == is_anew_B.tolist()


def test_only_what_is_wanted_is_kept() -> None:
    policy, activations = policy_of(), Activations(8 * MIB)
    wanted = {0, 3, 17, 40, 41}
    activations.begin(policy, wanted)
    rollouts = sampled(policy, activations, prompts=["a b c d e f g h", "h g f e d c", "d e d e"] * 4, max_rows=10)
    batch = batch_of(rollouts)
    equal = {tuple(batch.tokens_BT[row].tolist()) for row in wanted}
    expected = [row for row, tokens in enumerate(batch.tokens_BT) if tuple(tokens.tolist()) in equal]
    assert known_rows(activations, policy, batch) == expected
    assert len(expected) < len(rollouts) / 2


def test_equal_responses_are_kept_once() -> None:
    policy, activations = policy_of(), Activations(8 * MIB)
    activations.begin(policy)
    num_places = activations.num_free
    rollouts = sampled(policy, activations, prompts=["a b"], cap=3, num_samples=100)
    assert len({tuple(o.tokens.tolist()) for o in rollouts}) < 90
    batch = batch_of(rollouts)
    places = [p for p in activations.find(policy, batch.tokens_BT, batch.lengths_B) if p is not None]
    assert num_places - activations.num_free == len(set(torch.cat(places).tolist()))


@pytest.mark.parametrize("num_missing", [0, 1])
def test_nothing_is_kept_where_one_response_has_no_room(num_missing: int) -> None:
    policy, prompt, cap = policy_of(), "a b c d", 12
    num_tokens = len(letters_tokenizer().encode_prompt(prompt)) + cap - num_missing
    token_bytes = 4 * policy.config.num_hidden_layers * kept_fields(policy.config)["all"].stop
    activations = Activations(num_tokens * token_bytes)
    activations.begin(policy)
    assert activations.num_free == num_tokens
    sampled(policy, activations, prompts=[prompt], cap=cap)
    assert (activations.num_free < num_tokens) == (num_missing == 0)


def test_threads_keep_the_same() -> None:
    policy, grads = policy_of(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            activations, rollouts = kept_of(policy)
            torch.set_num_threads(1)
            batch = batch_of(rollouts)
            batch = select(batch, known_rows(activations, policy, batch))
            grads.append(value_and_gradients(policy, batch, activations)[1])
    finally:
        torch.set_num_threads(1)
    assert all(torch.equal(grads[0][name], grads[1][name]) for name in grads[0])


def learner_of(policy: Transformer, activations: Activations, max_tokens: int = 64) -> Learner[Transformer]:
    """A learner in small micro-batches."""
    learner = Learner(
        policy,
        [torch.optim.SGD([{"params": list(policy.parameters()), "base_lr": 1.0}])],  # Adam would enlarge what is 0
        factor=lambda step: 1.0,
        grad_clip=1.0,
        forward=partial(log_probabilities, temperature=TEMPERATURE, activations=activations),
        max_tokens=max_tokens,
    )
    learner.activations = activations
    return learner


def test_an_update_is_the_same_and_forgets() -> None:
    objective = partial(grpo_loss, clip_eps=0.2, kl_coef=0.1)
    policies, metrics = [policy_of(), policy_of()], []
    activations, rollouts = kept_of(policies[0])
    batch = batch_of(rollouts)
    for policy, kept in zip(policies, (activations, Activations(0)), strict=True):
        learner = learner_of(policy, kept)
        assert learner.has_activations(batch).any() == (kept is activations)
        metrics.append(learner.step(batch, objective, name="a batch"))
        assert not learner.has_activations(batch).any()
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-4, abs=1e-6)
    for one, other in zip(*(policy.parameters() for policy in policies), strict=True):
        assert float((one - other).detach().abs().max()) < 1e-6
    assert sampled(policies[0], activations)  # nothing is kept of it: nobody asked
    assert activations.num_free == 0


def test_activations_of_other_weights_are_not_used() -> None:
    policy = policy_of()
    activations, rollouts = kept_of(policy)
    batch = batch_of(rollouts)
    assert known_rows(activations, policy, batch)
    assert not known_rows(activations, policy_of(), batch)
    with torch.no_grad():
        policy.model.norm.weight.mul_(1.5)
    assert not known_rows(activations, policy, batch)


def test_layers_that_are_recomputed_need_not_be() -> None:
    policy = policy_of()
    checkpoint_activations(policy)
    activations, rollouts = kept_of(policy)
    batch = batch_of(rollouts)
    batch = select(batch, known_rows(activations, policy, batch))
    grads, plain = (value_and_gradients(policy, batch, given)[1] for given in (activations, None))
    assert all(distance(grads[name], plain[name]) < 1e-4 for name in grads)


def test_nothing_is_kept_of_what_cannot_be_replayed() -> None:
    adapted, frozen, half = policy_of(), policy_of(), policy_of().bfloat16()
    add_lora(adapted, rank=2, alpha=4.0, generator=torch.Generator().manual_seed(0))
    frozen.model.norm.weight.requires_grad_(False)
    for policy in (adapted, frozen, half):
        activations, rollouts = kept_of(policy)
        assert activations.num_free == 0
        assert not known_rows(activations, policy, batch_of(rollouts))
