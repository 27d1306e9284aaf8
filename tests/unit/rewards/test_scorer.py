"""Groups are scored while others are sampled, with the rewards of scoring them all at once."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from aha.rewards.accuracy import accuracy
from aha.rewards.code import CodeReward
from aha.rewards.format import format_reward
from aha.rewards.learned import LearnedReward
from aha.rewards.scorer import Scorer
from aha.rewards.table import Pair, RewardTable, overlaps, score_all
from aha.rewards.verifier import MathVerifier
from aha.types import Problem, Rollout, Verdict

GOOD = "<think> a </think> <answer> 14 </answer>"
Make = Callable[[str], Rollout]
PATIENCE = 20


def problem(number: int, domain: str = "arithmetic") -> Problem:
    return Problem(id=f"p-{number}", question="compute 7 + 7", answer="14", domain=domain)


class Batched:
    """Judges by the length of the text, and remembers what it was asked together, and where."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.threads: set[int] = set()

    @property
    def __name__(self) -> str:
        return "waiting" if isinstance(self, Waiting) else "batched"

    def __call__(self, problem: Problem, rollout: Rollout) -> Verdict:
        return self.judge_all([(problem, rollout)])[0]

    def judge_all(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.calls.append([one.id for one, _ in pairs])
        self.threads.add(threading.get_ident())
        return [Verdict(score=float(len(rollout.text)), reason=one.id) for one, rollout in pairs]


class Waiting(Batched):
    """The same, but it says that it may be asked while sampling goes on, and can be made to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go, self.has_begun = threading.Event(), threading.Event()
        self.may_go.set()
        self.overlaps_sampling = True

    def judge_all(self, pairs: Sequence[Pair]) -> list[Verdict]:
        self.has_begun.set()
        assert self.may_go.wait(PATIENCE)
        return super().judge_all(pairs)


def some_groups(rollout: Make) -> list[list[Pair]]:
    texts = [[GOOD, "14"], ["<answer> 14 </answer>", ""], [GOOD, "abc"]]
    domains = ("arithmetic", "essay", "arithmetic")
    return [[(problem(n, domain), rollout(text)) for text in texts[n]] for n, domain in enumerate(domains)]


def some_table(*functions: Batched) -> RewardTable:
    return {
        "arithmetic": {format_reward: 1.0, **dict.fromkeys(functions, 0.5), accuracy: 2.0},
        "essay": dict.fromkeys(functions, -1.0),
    }


def scored(table: RewardTable, groups: Sequence[Sequence[Pair]], order: Sequence[int]) -> list[object]:
    """The rewards of groups that ended in some order."""
    with Scorer(table) as scorer:
        for place in order:
            scorer.take(place, groups[place])
        return [reward for rewards in scorer.rewards(groups) for reward in rewards]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1,), ()])
def test_rewards_are_those_of_all_at_once(order: tuple[int, ...], rollout: Make) -> None:
    groups, table = some_groups(rollout), some_table(Waiting(), Batched())
    assert scored(table, groups, order) == score_all(table, [pair for group in groups for pair in group])


def test_only_what_says_so_is_asked_in_the_background(rollout: Make) -> None:
    groups, waiting, batched = some_groups(rollout), Waiting(), Batched()
    scored(some_table(waiting, batched), groups, (0, 1, 2))
    assert threading.get_ident() not in waiting.threads
    assert len(waiting.threads) == 1
    assert batched.threads == {threading.get_ident()}


def test_a_function_whose_verdicts_depend_on_the_batch_gets_all_rollouts_in_one_call(rollout: Make) -> None:
    """So that the bits of a reward model's scores are those of scoring after sampling."""
    groups, batched = some_groups(rollout), Batched()
    scored(some_table(Waiting(), batched), groups, (2, 1, 0))
    assert batched.calls == [["p-0", "p-0", "p-1", "p-1", "p-2", "p-2"]]


def test_a_function_that_has_said_it_does_not_overlap_is_asked_afterwards(rollout: Make) -> None:
    groups, waiting = some_groups(rollout), Waiting()
    waiting.overlaps_sampling = False
    scored(some_table(waiting), groups, (0, 1, 2))
    assert waiting.threads == {threading.get_ident()}


def test_each_rollout_is_judged_once_and_groups_that_wait_are_judged_together(rollout: Make) -> None:
    groups, waiting = some_groups(rollout), Waiting()
    waiting.may_go.clear()
    with Scorer(some_table(waiting)) as scorer:
        scorer.take(1, groups[1])
        assert waiting.has_begun.wait(PATIENCE)
        scorer.take(2, groups[2])
        scorer.take(0, groups[0])
        waiting.may_go.set()
        scorer.rewards(groups)
    assert waiting.calls == [["p-1", "p-1"], ["p-2", "p-2", "p-0", "p-0"]]


def test_sampling_goes_on_while_a_group_is_judged(rollout: Make) -> None:
    groups, waiting = some_groups(rollout), Waiting()
    waiting.may_go.clear()
    with Scorer(some_table(waiting)) as scorer:
        scorer.take(0, groups[0])
        assert waiting.has_begun.wait(PATIENCE)
        assert waiting.calls == []
        waiting.may_go.set()
        assert len(scorer.rewards(groups)) == 3


def test_without_such_functions_there_is_no_thread(rollout: Make) -> None:
    before = threading.active_count()
    groups = some_groups(rollout)
    with Scorer(some_table(Batched())) as scorer:
        scorer.take(0, groups[0])
        assert threading.active_count() == before


class Broken(Waiting):
    """Fails on the second group."""

    def judge_all(self, pairs: Sequence[Pair]) -> list[Verdict]:
        if any(one.id == "p-1" for one, _ in pairs):
            raise LookupError("the reward is broken")
        return super().judge_all(pairs)


@pytest.mark.parametrize("order", [(0, 1, 2), (0,)])
def test_what_a_reward_raises_is_raised(order: tuple[int, ...], rollout: Make) -> None:
    with pytest.raises(LookupError, match="the reward is broken"):
        scored(some_table(Broken()), some_groups(rollout), order)


@pytest.mark.parametrize("order", [(0, 1, 2), ()])
def test_groups_are_refused_as_they_are_at_once(order: tuple[int, ...], rollout: Make) -> None:
    groups = some_groups(rollout)
    with pytest.raises(ValueError, match=r"'essay'.*arithmetic"):
        scored({"arithmetic": {Waiting(): 1.0}}, groups, order)
    with pytest.raises(ValueError, match="share a name: format, waiting, waiting"):
        scored(some_table(Waiting(), Waiting()), groups, order)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_scored_after_sampling_has_failed(error: type[BaseException], rollout: Make) -> None:
    groups, waiting = some_groups(rollout), Waiting()
    waiting.may_go.clear()
    before = threading.active_count()

    def fail() -> None:
        with Scorer(some_table(waiting)) as scorer:
            scorer.take(0, groups[0])
            assert waiting.has_begun.wait(PATIENCE)
            scorer.take(1, groups[1])
            threading.Timer(0.05, waiting.may_go.set).start()
            raise error

    with pytest.raises(error):
        fail()
    assert waiting.calls == [["p-0", "p-0"]]
    deadline = time.monotonic() + PATIENCE
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_what_waits_for_processes_overlaps_and_the_rest_does_not() -> None:
    assert not overlaps(MathVerifier())
    assert isinstance(vars(CodeReward)["overlaps_sampling"], property)
    assert "overlaps_sampling" not in dir(LearnedReward)
    assert not overlaps(accuracy)
    assert not overlaps(format_reward)


@pytest.mark.full
def test_a_verifier_says_the_same_group_by_group(rollout: Make) -> None:
    golds = ["x^2 + 2x + 1", "14", r"\frac{1}{2}"]
    answers = ["(x+1)^2", "14", "0.5", r"\sqrt{196}", "x", "{", ""]
    groups = [
        [
            (Problem(id=gold, question="", answer=gold, domain="math"), rollout(rf"\boxed{{{answer}}}"))
            for answer in answers
        ]
        for gold in golds
    ]
    found = scored({"math": {MathVerifier(): 1.0}}, groups, (1, 0, 2))
    assert found == score_all({"math": {MathVerifier(): 1.0}}, [pair for group in groups for pair in group])
