"""A family that the package does not know is sampled from, scored, trained and resumed like the dense one.

`mla_toy` has latent attention. Nothing in engines, training or stages knows it: all that they ask is `Policy`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from mla_toy import LatentPolicy, latent_config
from tiny import PROMPTS, letters_tokenizer, random_tokens, randomise, requests_for, tiny_config
from torch import Tensor

from aha.engines.decoder import work_for
from aha.engines.engine import Decoding, sample
from aha.engines.graphed import GraphedDecoder
from aha.engines.local import LocalEngine, fastest_decoder
from aha.engines.plain import PlainDecoder
from aha.objectives.grpo import grpo_loss
from aha.policy.checkpointing import checkpoint_activations
from aha.policy.families import make_policy
from aha.policy.fast.paths import can_be_graphed, can_be_packed
from aha.policy.layout import Layout, pack, rows
from aha.policy.pretrained import write_policy
from aha.policy.scoring import score
from aha.training.batch import layout_of, stack
from aha.training.config import OptimizerConfig
from aha.training.learner import Learner, log_probabilities, reference_logp
from aha.training.memory import CACHE_BYTES, decoded_rows
from aha.training.optimizer import adamw
from aha.types import Batch, Rollout

TOLERANCE = 1e-5

LAYOUTS: dict[str, Callable[[Batch], Layout]] = {
    "padded": lambda batch: rows(batch.tokens_BT),
    "packed": lambda batch: pack(batch.tokens_BT, batch.lengths_B),
    "prefix-shared": layout_of,
}

absorbed_and_expanded = pytest.mark.parametrize("absorbs", [True, False], ids=["absorbed", "expanded"])


def latent_policy(*, dtype: torch.dtype = torch.float32, **changes: object) -> LatentPolicy:
    policy = LatentPolicy(latent_config(**changes))
    randomise(policy, seed=0)
    return policy.to(dtype)


def sampled(policy: LatentPolicy, prompts: list[str], *, max_rows: int = 64, version: int = 0) -> list[Rollout]:
    engine = LocalEngine(policy, letters_tokenizer(), max_rows=max_rows)
    engine.load(policy, version)
    decoding = Decoding(max_new_tokens=8, temperature=0.8)
    groups = sample(engine, requests_for(prompts, decoding), 3)
    return [rollout for group in groups for rollout in group]


def batch_of(rollouts: list[Rollout]) -> Batch:
    return stack([rollout.prompt_tokens for rollout in rollouts], [rollout.tokens for rollout in rollouts])


@absorbed_and_expanded
def test_cached_decoding_is_the_full_forward_pass(absorbs: bool) -> None:
    """All rows at once, and for one group of prompts in waves."""
    policy = latent_policy(absorbs=absorbs)
    for name, max_rows in (*((name, 64) for name in PROMPTS), ("common beginning", 3)):
        prompts = PROMPTS[name]
        rollouts = sampled(policy, prompts, max_rows=max_rows)
        batch = batch_of(rollouts)
        logp_BT = reference_logp(policy, batch, temperature=0.8)
        for rollout, logp_T, mask_T in zip(rollouts, logp_BT, batch.mask_BT, strict=True):
            assert float((rollout.logp - logp_T[mask_T]).abs().max()) < TOLERANCE, name
        assert len({tuple(rollout.tokens.tolist()) for rollout in rollouts}) > len(prompts), name


def test_both_ways_to_the_same_attention_sample_the_same() -> None:
    """One key-value head whose value is a part of its key, and four whose values are smaller than their keys."""
    absorbed, expanded = (sampled(latent_policy(absorbs=absorbs), PROMPTS["alone"]) for absorbs in (True, False))
    assert [rollout.tokens.tolist() for rollout in absorbed] == [rollout.tokens.tolist() for rollout in expanded]
    gaps = [float((a.logp - b.logp).abs().max()) for a, b in zip(absorbed, expanded, strict=True)]
    assert max(gaps) < TOLERANCE


def value_and_gradient(policy: LatentPolicy, batch: Batch, layout: Layout) -> list[Tensor]:
    logp_BT = score(policy, layout, batch.tokens_BT, batch.mask_BT)
    weights_M = torch.linspace(-1.0, 1.0, int(batch.mask_BT.sum()), dtype=logp_BT.dtype)
    gradient = torch.autograd.grad((logp_BT[batch.mask_BT] * weights_M).sum(), list(policy.parameters()))
    return [logp_BT.detach(), *gradient]


def six_sequences() -> Batch:
    prompts = [torch.tensor(prompt) for prompt in [[3, 4, 5]] * 3 + [[3, 4]] * 2 + [[9]]]
    return stack(prompts, random_tokens([7, 1, 4, 2, 9, 5]))


@absorbed_and_expanded
def test_all_layouts_give_the_same_value_and_gradient(absorbs: bool) -> None:
    policy, batch = latent_policy(absorbs=absorbs, dtype=torch.float64), six_sequences()
    results = {name: value_and_gradient(policy, batch, make(batch)) for name, make in LAYOUTS.items()}
    for name in ("packed", "prefix-shared"):
        for found, expected in zip(results[name], results["padded"], strict=True):
            assert torch.isfinite(found).all()
            assert torch.allclose(found, expected, rtol=0, atol=1e-11)
    assert all((gradient != 0).any() for gradient in results["padded"])


@pytest.mark.full
def test_recomputed_layers_give_the_same_bits() -> None:
    policy, batch = latent_policy(), six_sequences()
    before = value_and_gradient(policy, batch, layout_of(batch))
    checkpoint_activations(policy)
    after = value_and_gradient(policy, batch, layout_of(batch))
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def learner_of(policy: LatentPolicy) -> Learner[LatentPolicy]:
    return Learner(
        policy,
        adamw(policy, OptimizerConfig(learning_rate=1e-2)),
        factor=lambda step: 1.0,
        grad_clip=1.0,
        forward=partial(log_probabilities, temperature=0.8),
        max_tokens=64,
    )


def train(learner: Learner[LatentPolicy], steps: range) -> list[dict[str, float]]:
    """Sample and update; even tokens are rewarded."""
    metrics = []
    for step in steps:
        rollouts = sampled(learner.model, PROMPTS["common beginning"], version=step)
        batch = batch_of(rollouts)
        reference_BT = reference_logp(learner.model, batch, temperature=0.8)
        scores_B = torch.stack([(rollout.tokens % 2 == 0).float().mean() for rollout in rollouts])
        advantages_BT = (scores_B - scores_B.mean())[:, None] * batch.mask_BT
        signals = {"old_logp_BT": reference_BT, "ref_logp_BT": reference_BT, "adv_BT": advantages_BT}
        learned = Batch(tokens_BT=batch.tokens_BT, mask_BT=batch.mask_BT, lengths_B=batch.lengths_B, signals=signals)
        objective = partial(grpo_loss, clip_eps=0.2, kl_coef=0.01)
        metrics.append({**learner.step(learned, objective, name=f"step {step}"), "reward": float(scores_B.mean())})
    return metrics


@pytest.mark.full
def test_it_learns_what_is_rewarded() -> None:
    rewards = [metrics["reward"] for metrics in train(learner_of(latent_policy()), range(12))]
    assert sum(rewards[-3:]) / 3 > sum(rewards[:3]) / 3 + 0.2, rewards


@pytest.mark.full
def test_a_resumed_training_is_the_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = learner_of(latent_policy())
    metrics = train(undisturbed, range(3))

    interrupted = learner_of(latent_policy())
    first = train(interrupted, range(2))
    (optimizer,) = interrupted.optimizers
    torch.save({"policy": interrupted.model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "saved")

    saved = torch.load(tmp_path / "saved", weights_only=True)
    policy = LatentPolicy(latent_config())
    policy.load_state_dict(saved["policy"])
    resumed = learner_of(policy)
    resumed.optimizers[0].load_state_dict(saved["optimizer"])
    resumed.num_steps = 2
    assert first + train(resumed, range(2, 3)) == metrics
    weights, others = undisturbed.model.state_dict(), policy.state_dict()
    assert all(torch.equal(weights[name], others[name]) for name in weights)
    assert not torch.equal(weights["lm_head.weight"], latent_policy().lm_head.weight)


def test_no_fast_path_takes_what_it_does_not_know() -> None:
    policy = latent_policy(hidden_size=64, intermediate_size=64)
    assert not can_be_packed(policy)
    assert not can_be_graphed(policy)
    work = work_for([torch.tensor([1, 2])], num_slots=1, max_new_tokens=1)
    assert isinstance(fastest_decoder(policy, work), PlainDecoder)
    with pytest.raises(ValueError, match="plain policies of the dense family"):
        GraphedDecoder(policy, work)


def test_what_only_the_dense_family_has_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="checkpoints of 'latent' are not written, only those of qwen2"):
        write_policy(latent_policy(), tmp_path, end_id=1, pad_id=0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match=r"no family of policies for a LatentConfig \('latent'\)"):
        make_policy(latent_config())


def test_the_memory_plan_asks_what_is_kept_of_a_token() -> None:
    """Of a latent and of all heads' keys and values; of the dense family's likewise."""
    num_tokens = 1 << 17
    absorbed, expanded = (latent_config(absorbs=absorbs, num_hidden_layers=32) for absorbs in (True, False))
    for config, numbers in ((absorbed, 32 * 22), (expanded, 32 * 4 * (14 + 10)), (tiny_config(), 2 * 2 * 2 * 8)):
        row = 4 * numbers * num_tokens + 24 * 11
        assert decoded_rows(config, num_tokens) == min(512, CACHE_BYTES // row)
