"""Judging while sampling goes on: a background thread judges each group as soon as its rollouts are complete.

A reward function says itself whether it takes part (`aha.rewards.table.OverlappingReward`): it should if it waits for
other processes, and if its verdict on a rollout does not depend on the rest of the batch. All other functions are
called once after sampling, for all rollouts: cheap rules gain nothing from a thread, and the scores of a reward model
depend, by rounding, on the batch in which they are computed.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Self

from aha.rewards.table import Pair, RewardFunction, RewardTable, judge, overlaps, score_all
from aha.types import Reward, Verdict

__all__ = ["Scorer"]

_Verdicts = dict[RewardFunction, Verdict | None]
"""The verdicts on one rollout by function; None where a function abstained."""


class Scorer:
    """Judges the groups of one iteration; a context manager, whose exit ends all judging."""

    def __init__(self, table: RewardTable) -> None:
        """Keeps the table; the thread starts with the first group that needs it."""
        self._table = table
        self._waiting: deque[tuple[int, Sequence[Pair]]] = deque()
        self._verdicts: dict[int, list[_Verdicts]] = {}

        # One thread: while it judges, further groups gather, and it takes all of them in one batch.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scorer")
        self._futures: list[Future[None]] = []
        self._stopped = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the thread; where sampling failed, no further function is called."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, number: int, pairs: Sequence[Pair]) -> None:
        """Begins to judge a group whose rollouts are complete.

        Args:
            number: number of the group.
            pairs: its problem, with each rollout.
        """
        for domain in {problem.domain for problem, _ in pairs}:
            # A domain without a row is an error, which `rewards` raises.
            if any(overlaps(function) for function in self._table.get(domain, ())):
                self._waiting.append((number, pairs))
                self._futures.append(self._pool.submit(self._judge_waiting))
                return

    def rewards(self, groups: Sequence[Sequence[Pair]]) -> list[list[Reward]]:
        """Waits for the background thread, judges what it did not, and returns the rewards of all groups.

        Args:
            groups: all groups of the iteration; the index of a group is its number in `take`. A group that was never
                taken is judged now.

        Returns:
            The rewards of each group, in order.

        Raises:
            ValueError: as `aha.rewards.table.score` does. An error of a reward function in the background is raised
                here.
        """
        # An error of the background is raised by `result`.
        for future in self._futures:
            future.result()

        all_pairs: list[Pair] = []
        verdicts: list[_Verdicts] = []
        for number, pairs in enumerate(groups):
            all_pairs += pairs
            verdicts += self._verdicts.get(number, [{} for _ in pairs])

        rewards = iter(score_all(self._table, all_pairs, verdicts))
        return [[next(rewards) for _ in pairs] for pairs in groups]

    def _judge_waiting(self) -> None:
        """Judges all waiting groups in one batch; runs in the background thread."""
        # By count, since the other thread may append meanwhile; those groups have a call of their own.
        groups = [self._waiting.popleft() for _ in range(len(self._waiting))]
        pairs = [pair for _, group in groups for pair in group]
        rows = [self._table.get(problem.domain, {}) for problem, _ in pairs]
        verdicts: list[_Verdicts] = [{} for _ in pairs]

        # Each function once, in the order of the table.
        overlapping = [function for row in rows for function in row if overlaps(function)]
        for function in dict.fromkeys(overlapping):
            if self._stopped.is_set():
                return

            indices = [index for index, row in enumerate(rows) if function in row]
            judged = judge(function, [pairs[index] for index in indices])
            for index, verdict in zip(indices, judged, strict=True):
                verdicts[index][function] = verdict

        # Only now are the verdicts published: a group is either judged by all of its functions or by none.
        remaining = iter(verdicts)
        for number, group in groups:
            self._verdicts[number] = [next(remaining) for _ in group]
