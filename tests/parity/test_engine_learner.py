"""The engine samples from the distribution that the learner differentiates, token by token."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from tiny import (
    LETTERS,
    PROMPTS,
    SHAPES,
    letters_tokenizer,
    requests_for,
    tiny_config,
    tiny_policy,
    world_tokenizer,
)
from torch import Tensor

from aha.engines.engine import Decoding, sample
from aha.engines.local import LocalEngine
from aha.engines.sampling import sample_tokens
from aha.policy.layout import rows
from aha.policy.scoring import score
from aha.policy.transformer import Transformer
from aha.prompts.templates import r1_zero
from aha.runs.seeds import uniforms
from aha.training.batch import layout_of, stack
from aha.types import Rollout

TOLERANCE = 1e-5


def learner_logp(policy: Transformer, rollouts: Sequence[Rollout], temperature: float) -> list[Tensor]:
    """What the learner says of the rollouts' tokens."""
    batch = stack([o.prompt_tokens for o in rollouts], [o.tokens for o in rollouts])
    with torch.no_grad():
        logp_BT = score(policy, layout_of(batch), batch.tokens_BT, batch.mask_BT, temperature=temperature)
    return [logp_T[mask_T] for logp_T, mask_T in zip(logp_BT, batch.mask_BT, strict=True)]


def gap(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """The largest difference."""
    return max(float((a - b).abs().max()) for a, b in zip(found, expected, strict=True))


@torch.no_grad()
def plain_rollout(
    policy: Transformer, prompt: Tensor, draws: Tensor, decoding: Decoding
) -> tuple[list[int], list[float]]:
    """The same without any cache: the whole sequence is computed again for every token."""
    tokens, logps = prompt.tolist(), []
    for draw in draws:
        layout = rows(torch.tensor([tokens]))
        hidden_ND = policy(layout.tokens_N, layout.positions_N, layout)
        token, logp = sample_tokens(
            hidden_ND[-1:] @ policy.head_VD.T, draw[None], temperature=decoding.temperature, top_p=decoding.top_p
        )
        tokens.append(int(token))
        logps.append(float(logp))
        if tokens[-1] == letters_tokenizer().end_id:
            break
    return tokens[len(prompt) :], logps


@pytest.mark.parametrize("shape", SHAPES)
def test_engine_and_learner_agree_in_every_shape(shape: str) -> None:
    policy = tiny_policy(tiny_config(shape))
    engine, gaps = LocalEngine(policy, letters_tokenizer()), {}
    for name, prompts in PROMPTS.items():
        groups = sample(engine, requests_for(prompts, Decoding(max_new_tokens=16, temperature=0.7)), 4)
        rollouts = [rollout for group in groups for rollout in group]
        gaps[name] = gap([rollout.logp for rollout in rollouts], learner_logp(policy, rollouts, 0.7))
    print(f"{shape}: largest gap {max(gaps.values()):.1e} nats")
    assert max(gaps.values()) < TOLERANCE, gaps


def test_rows_leave_the_batch_as_they_end_and_the_others_go_on() -> None:
    policy = tiny_policy(tiny_config())
    requests = requests_for(PROMPTS["common beginning"], Decoding(max_new_tokens=16))
    groups = sample(LocalEngine(policy, letters_tokenizer()), requests, 8)
    rollouts = [rollout for group in groups for rollout in group]
    open_by_step = [sum(len(rollout.tokens) > step for rollout in rollouts) for step in range(16)]
    num_moves = sum(0 < later < len(rollouts) for later in set(open_by_step))
    assert num_moves > 5
    assert {rollout.finish for rollout in rollouts} == {"stop", "length"}
    assert gap([rollout.logp for rollout in rollouts], learner_logp(policy, rollouts, 1.0)) < TOLERANCE
    end = letters_tokenizer().end_id
    for rollout in rollouts:
        assert end not in rollout.tokens[:-1].tolist()
        assert (rollout.tokens[-1] == end) == (rollout.finish == "stop")
        assert rollout.finish == "stop" or len(rollout.tokens) == 16
        words = rollout.tokens[:-1] if rollout.finish == "stop" else rollout.tokens
        assert rollout.text == letters_tokenizer().decode(words)


def test_waves_change_nothing_but_the_last_bits() -> None:
    policy = tiny_policy(tiny_config("qwen2-grouped"))
    prompts = [*PROMPTS["common beginning"], *PROMPTS["no common beginning"]]
    requests = requests_for(prompts, Decoding(max_new_tokens=12, temperature=1.3))
    at_once = sample(LocalEngine(policy, letters_tokenizer()), requests, 4)
    for max_rows in (1, 5, 8):
        in_waves = sample(LocalEngine(policy, letters_tokenizer(), max_rows=max_rows), requests, 4)
        for group, other in zip(in_waves, at_once, strict=True):
            assert [o.problem_id for o in group] == [o.problem_id for o in other]
            assert [o.tokens.tolist() for o in group] == [o.tokens.tolist() for o in other], max_rows
            assert gap([o.logp for o in group], [o.logp for o in other]) < TOLERANCE, max_rows


@pytest.mark.parametrize("shape", SHAPES)
def test_cached_decoding_is_uncached_decoding(shape: str) -> None:
    policy = tiny_policy(tiny_config(shape), seed=1)
    for temperature in (0.0, 0.8):
        decoding = Decoding(max_new_tokens=6, temperature=temperature)
        requests = requests_for(PROMPTS["common beginning"], decoding)
        groups = sample(LocalEngine(policy, letters_tokenizer()), requests, 1)
        for request, [rollout] in zip(requests, groups, strict=True):
            draws = torch.from_numpy(uniforms(6, *request.seed, 0))
            tokens, logps = plain_rollout(policy, rollout.prompt_tokens, draws, decoding)
            assert rollout.tokens.tolist() == tokens, temperature
            assert gap([rollout.logp], [torch.tensor(logps)]) < TOLERANCE, temperature


words = st.lists(st.sampled_from(LETTERS[:2]), min_size=1, max_size=6).map(" ".join)


@pytest.mark.full
@with_settings(max_examples=15)
@given(
    prompts=st.lists(words, min_size=1, max_size=4),
    num_samples=st.integers(1, 4),
    max_new_tokens=st.integers(1, 7),
    max_rows=st.integers(1, 9),
)
def test_engine_and_learner_agree_whatever_is_asked(
    prompts: list[str], num_samples: int, max_new_tokens: int, max_rows: int
) -> None:
    policy = tiny_policy(tiny_config())
    decoding = Decoding(max_new_tokens=max_new_tokens, temperature=1.2)
    engine = LocalEngine(policy, letters_tokenizer(), max_rows=max_rows)
    groups = sample(engine, requests_for(prompts, decoding), num_samples)
    rollouts = [rollout for group in groups for rollout in group]
    assert [len(group) for group in groups] == [num_samples] * len(prompts)
    assert gap([rollout.logp for rollout in rollouts], learner_logp(policy, rollouts, 1.2)) < TOLERANCE


def test_a_rollout_does_not_depend_on_its_neighbours() -> None:
    policy = tiny_policy(tiny_config())
    engine, decoding = LocalEngine(policy, letters_tokenizer()), Decoding(max_new_tokens=30)
    requests = requests_for(PROMPTS["common beginning"], decoding)
    together = sample(engine, requests, 6)
    gaps = []
    for request, group in zip(requests, together, strict=True):
        (alone,) = sample(engine, [request], 6)
        assert [o.tokens.tolist() for o in alone] == [o.tokens.tolist() for o in group]
        gaps.append(gap([o.logp for o in alone], [o.logp for o in group]))
    print(f"alone or among others: the log-probabilities differ by at most {max(gaps):.1e} nats")
    assert max(gaps) < TOLERANCE


def test_a_group_may_be_sampled_in_parts() -> None:
    policy = tiny_policy(tiny_config())
    engine, decoding = LocalEngine(policy, letters_tokenizer()), Decoding(max_new_tokens=15)
    prompts = PROMPTS["no common beginning"]
    whole = sample(engine, requests_for(prompts, decoding), 4)
    parts = [sample(engine, requests_for(prompts, decoding, index=first), 2) for first in (0, 2)]
    for group, first, second in zip(whole, *parts, strict=True):
        assert [o.tokens.tolist() for o in group] == [o.tokens.tolist() for o in (*first, *second)]
    assert len({tuple(o.tokens.tolist()) for o in whole[0]}) == 4


def test_a_longer_cap_only_goes_on() -> None:
    policy = tiny_policy(tiny_config())
    engine = LocalEngine(policy, letters_tokenizer())
    prompts = PROMPTS["common beginning"]
    short, long = (sample(engine, requests_for(prompts, Decoding(max_new_tokens=cap)), 4) for cap in (6, 20))
    for a, b in zip((o for group in short for o in group), (o for group in long for o in group), strict=True):
        assert b.tokens.tolist()[: len(a.tokens)] == a.tokens.tolist()


@pytest.mark.parametrize("temperature", [0.6, 1.0])
def test_a_nucleus_bounds_the_tokens_and_leaves_the_log_probability_untruncated(temperature: float) -> None:
    policy = tiny_policy(tiny_config(), seed=2)
    engine, top_p = LocalEngine(policy, letters_tokenizer()), 0.6
    mass_before: dict[float, list[float]] = {}
    for nucleus in (top_p, 1.0):
        decoding = Decoding(max_new_tokens=20, temperature=temperature, top_p=nucleus)
        requests = requests_for(PROMPTS["common beginning"], decoding)
        rollouts = [o for group in sample(engine, requests, 6) for o in group]
        assert gap([o.logp for o in rollouts], learner_logp(policy, rollouts, temperature)) < TOLERANCE
        mass_before[nucleus] = []
        for rollout in rollouts:
            tokens_N = torch.cat((rollout.prompt_tokens, rollout.tokens))[:-1]
            layout = rows(tokens_N[None])
            with torch.no_grad():
                hidden_ND = policy(tokens_N, layout.positions_N, layout)[len(rollout.prompt_tokens) - 1 :]
            p_TV = (hidden_ND @ policy.head_VD.T / temperature).softmax(-1)
            chosen_T1 = p_TV.gather(-1, rollout.tokens[:, None])
            mass_before[nucleus] += p_TV.masked_fill(p_TV <= chosen_T1, 0.0).sum(-1).tolist()
    assert max(mass_before[top_p]) < top_p + 1e-6
    assert max(mass_before[1.0]) > top_p


def test_prompts_of_the_built_in_world() -> None:
    tokenizer = world_tokenizer()
    policy = tiny_policy(tiny_config(vocab_size=tokenizer.vocab_size))
    prompts = [r1_zero(q) for q in ("compute 3 + 4 - 2", "从 7 23 16 18 选两个得 41", "solve x ^ 2 - 5 x + 6 = 0")]
    groups = sample(LocalEngine(policy, tokenizer), requests_for(prompts, Decoding(max_new_tokens=30)), 4)
    rollouts = [rollout for group in groups for rollout in group]
    assert gap([rollout.logp for rollout in rollouts], learner_logp(policy, rollouts, 1.0)) < TOLERANCE
    assert [group[0].prompt_tokens.tolist() for group in groups] == [tokenizer.encode(p).tolist() for p in prompts]


def test_new_weights_are_sampled_from_at_once_and_the_version_is_told() -> None:
    policy, other = tiny_policy(tiny_config()), tiny_policy(tiny_config(), seed=9)
    engine = LocalEngine(policy, letters_tokenizer())
    requests = requests_for(PROMPTS["alone"], Decoding(max_new_tokens=8))
    before = sample(engine, requests, 3)[0]
    engine.load(other, 7)
    after = sample(engine, requests, 3)[0]
    assert [o.policy_version for o in (*before, *after)] == [0, 0, 0, 7, 7, 7]
    assert gap([o.logp for o in after], learner_logp(other, after, 1.0)) < TOLERANCE
    with torch.no_grad():
        other.head_VD.mul_(0.5)
    shared = sample(engine, requests, 3)[0]
    assert gap([o.logp for o in shared], learner_logp(other, shared, 1.0)) < TOLERANCE


def test_what_cannot_be_sampled_is_refused() -> None:
    engine = LocalEngine(tiny_policy(tiny_config(max_position_embeddings=10)), letters_tokenizer())
    decoding = Decoding(max_new_tokens=4)
    with pytest.raises(ValueError, match=r"'p1' has 7 tokens; with 4 new ones it must have 1 to 10"):
        sample(engine, requests_for(["a", "a b c d e f g"], decoding), 1)
    with pytest.raises(ValueError, match="has 0 tokens"):
        sample(engine, requests_for([" "], decoding), 1)
    with pytest.raises(ValueError, match="num_samples is 0"):
        sample(engine, requests_for(["a"], decoding), 0)
    assert sample(engine, [], 2) == []
    (exactly,) = sample(engine, requests_for(["a b c d e f"], decoding), 2)
    assert all(len(o.prompt_tokens) + len(o.tokens) <= 10 for o in exactly)
