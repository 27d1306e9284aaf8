"""Requests are submitted, told of as they grow, and cancelled, step by step; none changes another's response."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import pytest
import torch
from tiny import letters_tokenizer, requests_for, tiny_config, tiny_policy
from torch import Tensor

from aha.engines.compiled import CompiledDecoder
from aha.engines.decoder import Capacity, Prompt, Work
from aha.engines.engine import Decoding, Request, RequestId, sample
from aha.engines.local import LocalEngine
from aha.engines.plain import PlainDecoder
from aha.policy.fast.paths import can_be_packed
from aha.policy.transformer import Transformer
from aha.types import Rollout

CAP = 14
PROMPTS = ["a b c d", "a b", "e e e", "h g f e d c b a"]
LARGE = Capacity(max_prompt_tokens=20, max_new_tokens=30)


class RareLooks(PlainDecoder):
    """Rows that have ended go on unread for some steps, as on a GPU."""

    look_every = 5

    def __init__(self, policy: Transformer, work: Work) -> None:
        super().__init__(policy, replace(work, max_new_tokens=work.max_new_tokens + self.look_every))


Kind = type[PlainDecoder] | type[CompiledDecoder]


@pytest.fixture(params=[CompiledDecoder, PlainDecoder, RareLooks])
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each way to compute; with the kernels all bits are the same, with torch all but the last."""
    if request.param is CompiledDecoder and not can_be_packed(small_policy()):
        pytest.skip("there is no C compiler")
    assert issubclass(request.param, PlainDecoder | CompiledDecoder)
    return request.param


def small_policy(seed: int = 0) -> Transformer:
    """A policy that the kernels can compute on any processor."""
    return tiny_policy(tiny_config(hidden_size=64, head_dim=16), seed=seed)


def engine_of(kind: Kind = PlainDecoder, *, max_rows: int = 512, capacity: Capacity | None = None) -> LocalEngine:
    return LocalEngine(small_policy(), letters_tokenizer(), max_rows=max_rows, capacity=capacity, decoder=kind)


def asked(num_samples: int, decoding: Decoding | None = None) -> list[Request]:
    """A group for each prompt, one request after the other."""
    groups = requests_for(PROMPTS, decoding or Decoding(max_new_tokens=CAP, temperature=1.3))
    return [replace(request, index=index) for request in groups for index in range(num_samples)]


def finish(engine: LocalEngine, *, within: int = 1000) -> dict[int, Rollout]:
    """Step until all has ended: the rollouts by their requests."""
    rollouts: dict[int, Rollout] = {}
    for _ in range(within):
        for rollout in engine.step():
            assert rollout.request_id is not None
            rollouts[rollout.request_id] = rollout
    return rollouts


def all_of(engine: LocalEngine, requests: Sequence[Request]) -> list[Rollout]:
    """The rollouts of requests that are submitted together."""
    ids = [engine.submit(request) for request in requests]
    rollouts = finish(engine, within=200)
    return [rollouts[request_id] for request_id in ids]


def alone(kind: Kind, request: Request) -> Rollout:
    """The rollout of a request that is the engine's only one."""
    [[rollout]] = sample(engine_of(kind), [request], 1)
    return rollout


def same(kind: Kind, one: Rollout, other: Rollout) -> bool:
    if one.tokens.tolist() != other.tokens.tolist() or (one.text, one.finish) != (other.text, other.finish):
        return False
    if kind is CompiledDecoder:
        return torch.equal(one.logp, other.logp)
    return torch.allclose(one.logp, other.logp, rtol=0, atol=1e-5)


@cache
def long_request(num_tokens: int) -> Request:
    """A request whose response goes on to its cap."""
    decoding = Decoding(max_new_tokens=num_tokens)
    requests = [Request(id="long", prompt="a b c", seed=("long", n), decoding=decoding) for n in range(200)]
    groups = sample(engine_of(), requests, 1)
    return next(request for request, [one] in zip(requests, groups, strict=True) if one.finish == "length")


@pytest.mark.full
@pytest.mark.parametrize("max_rows", [3, 512])
def test_requests_that_come_while_others_run_get_the_same(kind: Kind, max_rows: int) -> None:
    requests = asked(2)
    together = all_of(engine_of(kind, max_rows=max_rows), requests)

    for capacity in (None, LARGE):
        engine = engine_of(kind, max_rows=max_rows, capacity=capacity)
        rollouts: dict[int, Rollout] = {}
        for request in requests:
            engine.submit(request)
            rollouts |= finish(engine, within=2)
        rollouts |= finish(engine, within=400)
        assert sorted(rollouts) == list(range(len(requests)))
        for number, (request, expected) in enumerate(zip(requests, together, strict=True)):
            assert rollouts[number].problem_id == request.id
            assert same(kind, rollouts[number], expected), capacity


@pytest.mark.full
def test_with_a_capacity_later_requests_join_the_running_ones_and_without_they_wait() -> None:
    first = long_request(20)
    second = Request(id="later", prompt="h h h", seed=("later",), decoding=Decoding(max_new_tokens=2))
    for capacity, order in ((LARGE, ["later", "long"]), (None, ["long", "later"])):
        engine, ended = engine_of(capacity=capacity), list[str]()
        engine.submit(first)
        engine.step()
        engine.submit(second)
        for _ in range(40):
            ended += [rollout.problem_id for rollout in engine.step()]
        assert ended == order


def test_requests_beyond_the_capacity_wait_and_are_not_overtaken() -> None:
    engine = engine_of(capacity=Capacity(max_prompt_tokens=4, max_new_tokens=4))
    short = Decoding(max_new_tokens=1)
    engine.submit(long_request(12))
    engine.step()
    for name, prompt, decoding in (
        ("cap", "a", Decoding(max_new_tokens=13)),
        ("next", "a", short),
        ("last", "b", short),
    ):
        engine.submit(Request(id=name, prompt=prompt, seed=(name,), decoding=decoding))
    ended = [[rollout.problem_id for rollout in engine.step()] for _ in range(40)]
    assert [names for names in ended if names][:2] == [["long"], ["next", "last"]]


def test_different_decodings_in_one_batch_are_each_as_alone(kind: Kind) -> None:
    decodings = [
        Decoding(max_new_tokens=CAP, temperature=1.5),
        Decoding(max_new_tokens=CAP, temperature=0.0),
        Decoding(max_new_tokens=CAP, temperature=0.8),
        Decoding(max_new_tokens=CAP, temperature=1.5, top_p=0.6),
        Decoding(max_new_tokens=2, temperature=1.5),
        Decoding(max_new_tokens=30, temperature=1.5),
        Decoding(max_new_tokens=CAP, temperature=1.5, stop=("b c", "e")),
        Decoding(max_new_tokens=CAP, temperature=1.5, stop=("g",)),
    ]
    requests = [request for decoding in decodings for request in requests_for(PROMPTS[:2], decoding)]
    by_themselves = [alone(kind, request) for request in requests]
    for max_rows in (4, 512):
        together = all_of(engine_of(kind, max_rows=max_rows), requests)
        for rollout, expected in zip(together, by_themselves, strict=True):
            assert same(kind, rollout, expected), max_rows
    by_decoding = {request.decoding: rollout for request, rollout in zip(requests, by_themselves, strict=True)}
    assert len({tuple(rollout.tokens.tolist()) for rollout in by_decoding.values()}) > 4


@pytest.mark.parametrize("max_rows", [3, 512])
def test_a_listener_is_told_exactly_the_rollout(kind: Kind, max_rows: int) -> None:
    engine = engine_of(kind, max_rows=max_rows)
    told: dict[int, list[tuple[list[int], list[float]]]] = {}

    def listen(request_id: RequestId, token_ids: list[int], logp: list[float]) -> None:
        told.setdefault(request_id, []).append((token_ids, logp))

    requests = asked(3, Decoding(max_new_tokens=CAP, temperature=1.5, stop=("b c", "e")))
    for number, request in enumerate(requests):
        engine.submit(request, listen if number % 3 else None)
    rollouts = finish(engine, within=200)
    assert sorted(told) == [number for number in range(len(requests)) if number % 3]
    for number, parts in told.items():
        assert [token for tokens, _ in parts for token in tokens] == rollouts[number].tokens.tolist()
        assert [value for _, logp in parts for value in logp] == rollouts[number].logp.tolist()
        assert all(tokens for tokens, _ in parts)
    if kind is not RareLooks:
        assert all(len(tokens) == 1 for parts in told.values() for tokens, _ in parts)


@pytest.mark.full
def test_what_is_cancelled_gives_no_rollout_and_changes_no_other(kind: Kind) -> None:
    requests = asked(2)
    engine = engine_of(kind, max_rows=3)
    told: list[int] = []
    ids = [engine.submit(request, lambda request_id, *_: told.append(request_id)) for request in requests]
    rollouts = finish(engine, within=1)
    # One that runs, and two that wait.
    cancelled = [ids[1], ids[3], ids[7]]
    for request_id in cancelled:
        engine.cancel(request_id)
    told.clear()
    rollouts |= finish(engine, within=200)
    assert sorted(rollouts) == sorted(set(ids) - set(cancelled))
    assert not set(told) & set(cancelled)
    for number, rollout in rollouts.items():
        assert same(kind, rollout, alone(kind, requests[number]))


def test_a_cancelled_request_leaves_its_slot_to_another() -> None:
    engine, told = engine_of(max_rows=1), list[str]()
    first = engine.submit(long_request(12))
    second = replace(long_request(12), id="second")
    engine.submit(second, lambda *_: told.append("second"))
    finish(engine, within=3)
    assert not told
    engine.cancel(first)
    finish(engine, within=3)
    assert told


class Counted(PlainDecoder):
    """Notes which prompts are computed, and how many are kept."""

    computed: list[int] = []  # noqa: RUF012  # the test's own, cleared by it
    latest: "Counted | None" = None

    def __init__(self, policy: Transformer, work: Work) -> None:
        super().__init__(policy, work)
        type(self).latest = self

    def _compute(self, prompts: Sequence[Prompt]) -> None:
        self.computed.extend(len(prompt.tokens) for prompt in prompts)
        super()._compute(prompts)

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        assert len(self._prompts) <= 1
        return super().admit(prompts)


def test_the_prompt_of_a_group_is_computed_once_and_kept_no_longer_than_needed() -> None:
    Counted.computed.clear()
    engine = engine_of(Counted, max_rows=2)
    requests = asked(5)
    ids = [engine.submit(request) for request in requests]
    engine.step()
    assert Counted.computed == [4]
    # Nobody waits for the first prompt any more, so that it is forgotten before the next is admitted.
    for request_id in ids[2:5]:
        engine.cancel(request_id)
    assert Counted.latest is not None
    assert not Counted.latest._prompts
    finish(engine, within=200)
    assert Counted.computed == [4, 2, 3, 8]


def test_weights_are_not_exchanged_under_what_waits_or_runs() -> None:
    engine, other = engine_of(), small_policy(seed=5)
    first, second = (engine.submit(request) for request in asked(1)[:2])
    with pytest.raises(ValueError, match="version 3 cannot be loaded while 2 requests are waiting or running"):
        engine.load(other, 3)
    engine.step()
    with pytest.raises(ValueError, match="while 2 requests"):
        engine.load(other, 3)
    engine.cancel(first)
    engine.cancel(second)
    engine.load(other, 3)
    assert [rollout.policy_version for rollout in all_of(engine, asked(1))] == [3] * 4


def test_requests_are_numbered_on_and_only_known_ones_are_cancelled() -> None:
    engine = engine_of()
    assert [engine.submit(request) for request in asked(1)] == [0, 1, 2, 3]
    ended = finish(engine, within=50)
    engine.cancel(RequestId(1))
    assert sorted(ended) == [0, 1, 2, 3]
    assert engine.submit(asked(1)[0]) == 4
    for unknown in (5, -1):
        with pytest.raises(ValueError, match=f"there is no request {unknown}; 5 have been submitted"):
            engine.cancel(RequestId(unknown))


def test_without_requests_a_step_does_nothing() -> None:
    assert engine_of().step() == []


def test_a_listener_may_cancel_and_one_that_fails_stops_nobody_else() -> None:
    engine, told = engine_of(), list[int]()

    def hang_up(request_id: RequestId, *_: object) -> None:
        told.append(request_id)
        engine.cancel(request_id)
        raise ConnectionError

    engine.submit(long_request(12), hang_up)
    expected = long_request(9)
    other = engine.submit(expected)
    with pytest.raises(ConnectionError):
        engine.step()
    rollouts = finish(engine, within=50)
    assert told == [0]
    assert list(rollouts) == [other]
    assert same(PlainDecoder, rollouts[other], alone(PlainDecoder, expected))


class Failing(PlainDecoder):
    """Has no memory for a second step."""

    def step(self, tokens_B: Tensor) -> Tensor:
        raise MemoryError


def test_a_batch_that_fails_is_given_up_and_the_engine_goes_on() -> None:
    engine = engine_of(Failing)
    with pytest.raises(MemoryError):
        sample(engine, asked(1, Decoding(max_new_tokens=4)), 2)
    engine.load(small_policy(), 1)
    [rollout] = all_of(engine, asked(1, Decoding(max_new_tokens=1))[:1])
    assert (len(rollout.tokens), rollout.policy_version) == (1, 1)


def test_groups_are_not_sampled_among_the_requests_of_others() -> None:
    engine = engine_of()
    engine.submit(replace(asked(1)[0], id="other", decoding=Decoding(max_new_tokens=1)))
    with pytest.raises(ValueError, match=r"request 0 \('other'\), which was submitted before"):
        sample(engine, [long_request(9)], 2)
    engine.load(small_policy(), 1)


def test_a_refused_request_leaves_nothing_behind() -> None:
    engine = engine_of()
    with pytest.raises(ValueError, match="'p3' has 8 tokens"):
        sample(engine, asked(1, Decoding(max_new_tokens=249)), 2)
    engine.load(small_policy(), 1)


def test_a_capacity_is_checked_when_it_is_made() -> None:
    with pytest.raises(ValueError, match="both lengths must be at least 1"):
        Capacity(max_prompt_tokens=0, max_new_tokens=4)
