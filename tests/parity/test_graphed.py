"""Decoding with the kernels for GPUs is decoding with torch, and engine and learner agree on a GPU."""

from collections.abc import Sequence

import pytest
import torch
from gpu_marks import DEVICE, needs_gpu, needs_triton, quiet
from tiny import PROMPTS, SHAPES, letters_tokenizer, requests_for, tiny_config, tiny_policy

from aha.engines.decoder import DecoderFactory
from aha.engines.engine import Decoding, sample
from aha.engines.graphed import GraphedDecoder
from aha.engines.local import LocalEngine
from aha.engines.plain import PlainDecoder
from aha.policy.fast.paths import can_be_graphed
from aha.policy.layout import rows
from aha.policy.transformer import Transformer
from aha.training.batch import stack
from aha.training.learner import reference_logp
from aha.types import Rollout

pytestmark = [needs_triton, quiet]

SOME = PROMPTS[next(iter(PROMPTS))][:2]


def policy_of(shape: str, dtype: torch.dtype = torch.float32) -> Transformer:
    config = tiny_config(shape, hidden_size=64, head_dim=16)
    return tiny_policy(config).to(device=DEVICE, dtype=dtype)


def sampled(
    policy: Transformer, decoding: Decoding, *, prompts: Sequence[str] = SOME, max_rows: int = 512, plain: bool = False
) -> list[Rollout]:
    decoder: DecoderFactory = PlainDecoder if plain else GraphedDecoder
    engine = LocalEngine(policy, letters_tokenizer(), max_rows=max_rows, decoder=decoder)
    return [o for group in sample(engine, requests_for(prompts, decoding), 3) for o in group]


@needs_gpu
def test_stop_strings_end_the_same_responses_at_the_same_tokens() -> None:
    """The host looks at the rows every sixteen steps; what was written behind the string is not read."""
    policy, decoding = policy_of("qwen2-grouped"), Decoding(max_new_tokens=20, temperature=1.5, stop=("b", "c d"))
    graphed, plain = sampled(policy, decoding), sampled(policy, decoding, plain=True)
    assert [o.tokens.tolist() for o in graphed] == [o.tokens.tolist() for o in plain]
    assert [o.finish for o in graphed] == [o.finish for o in plain]
    assert any("b" in o.text for o in graphed)


@pytest.mark.full
@pytest.mark.parametrize("shape", ["qwen2-grouped", "qwen3-grouped"])
def test_the_interpreter_samples_what_torch_does(shape: str) -> None:
    policy, decoding = policy_of(shape), Decoding(max_new_tokens=3)
    few = [sampled(policy, decoding, prompts=SOME[:1], max_rows=2, plain=plain) for plain in (False, True)]
    assert [o.tokens.tolist() for o in few[0]] == [o.tokens.tolist() for o in few[1]]
    assert max(float((a.logp - b.logp).abs().max()) for a, b in zip(*few, strict=True)) < 2e-5


@needs_gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_both_decoders_sample_the_same(shape: str) -> None:
    decoding = Decoding(max_new_tokens=24, temperature=0.8)
    policy = policy_of(shape)
    fast, plain = sampled(policy, decoding), sampled(policy, decoding, plain=True)
    assert [o.tokens.tolist() for o in fast] == [o.tokens.tolist() for o in plain]
    assert max(float((a.logp - b.logp).abs().max()) for a, b in zip(fast, plain, strict=True)) < 2e-5


@needs_gpu
@pytest.mark.parametrize("max_rows", [1, 2, 5])
def test_slots_are_used_again(max_rows: int) -> None:
    decoding, policy = Decoding(max_new_tokens=40, temperature=1.5), policy_of("qwen2-grouped")
    few, all_at_once = sampled(policy, decoding, max_rows=max_rows), sampled(policy, decoding)
    assert [o.tokens.tolist() for o in few] == [o.tokens.tolist() for o in all_at_once]


@needs_gpu
def test_rows_end_where_they_end_though_the_engine_looks_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, policy = Decoding(max_new_tokens=20, temperature=1.5), policy_of("llama-grouped")
    rarely = sampled(policy, decoding, max_rows=4)
    monkeypatch.setattr(GraphedDecoder, "look_every", 1)
    assert [o.tokens.tolist() for o in sampled(policy, decoding, max_rows=4)] == [o.tokens.tolist() for o in rarely]
    assert {o.finish for o in rarely} >= {"stop"}


@needs_gpu
def test_parameters_stay_parameters_and_learn_on() -> None:
    policy = policy_of("qwen2-grouped")
    before = {name: weight.detach().clone() for name, weight in policy.named_parameters()}
    parameters = dict(policy.named_parameters())
    first = sampled(policy, Decoding(max_new_tokens=4))
    assert all(weight is parameters[name] for name, weight in policy.named_parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in policy.named_parameters())
    with torch.no_grad():
        for weight in policy.parameters():
            weight.mul_(1.5)
    changed = sampled(policy, Decoding(max_new_tokens=4))
    plain = sampled(policy, Decoding(max_new_tokens=4), plain=True)
    assert [o.tokens.tolist() for o in changed] == [o.tokens.tolist() for o in plain]
    assert [o.logp.tolist() for o in changed] != [o.logp.tolist() for o in first]
    tokens_N = torch.arange(4, device=DEVICE)
    policy(tokens_N, tokens_N, rows(tokens_N[None])).sum().backward()
    assert all(weight.grad is not None for name, weight in policy.named_parameters() if "mlp" in name)


def test_a_policy_on_the_cpu_is_not_for_graphs() -> None:
    assert not can_be_graphed(policy_of("qwen2-grouped").cpu())


@needs_gpu
@pytest.mark.parametrize("shape", SHAPES)
def test_engine_and_learner_agree_in_half_precision(shape: str) -> None:
    policy = policy_of(shape, torch.bfloat16)
    assert can_be_graphed(policy)
    rollouts = sampled(policy, Decoding(max_new_tokens=24), prompts=[p for some in PROMPTS.values() for p in some])
    batch = stack([o.prompt_tokens for o in rollouts], [o.tokens for o in rollouts])
    logp_BT = reference_logp(policy, batch, temperature=1.0)
    gap = torch.cat([o.logp for o in rollouts]) - logp_BT[batch.mask_BT]
    assert gap.abs().mean() < 1e-2


@needs_gpu
def test_equal_calls_give_equal_bits() -> None:
    policy, decoding = policy_of("qwen3-grouped", torch.bfloat16), Decoding(max_new_tokens=40)
    one, other = (sampled(policy, decoding, max_rows=5) for _ in range(2))
    assert all(torch.equal(a.tokens, b.tokens) and torch.equal(a.logp, b.logp) for a, b in zip(one, other, strict=True))
