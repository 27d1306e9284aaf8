"""Scoring while sampling goes on: groups are judged in the background as soon as they have ended.

Which functions take part is theirs to say (`aha.rewards.table.OverlappingReward`): those that wait for other processes,
and whose verdict on a rollout is the same whatever it is judged together with. All others are asked once, after
sampling, for all rollouts: cheap rules would gain nothing beside a thread, and a reward model's scores depend, by
rounding, on the batch that they are computed in.
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


class Scorer:
    """Scores the groups of one sampling; a context manager, after which nothing is scored any more."""

    def __init__(self, table: RewardTable) -> None:
        """Take a table; no thread starts before there is something to do."""
        self._table = table
        self._waiting: deque[tuple[int, Sequence[Pair]]] = deque()
        self._known: dict[int, list[dict[RewardFunction, Verdict | None]]] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="scorer")
        self._futures: list[Future[None]] = []
        self._stopped = Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End; where sampling failed, the function that is asked at this moment is the last."""
        self._stopped.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, place: int, pairs: Sequence[Pair]) -> None:
        """Begin to judge a group that has ended.

        Args:
            place: number of the group.
            pairs: its problem, with each rollout.
        """
        if any(overlaps(function) for problem, _ in pairs for function in self._table.get(problem.domain, ())):
            self._waiting.append((place, pairs))
            self._futures.append(self._pool.submit(self._judge_waiting))

    def rewards(self, groups: Sequence[Sequence[Pair]]) -> list[list[Reward]]:
        """The rewards of all groups, in order: waits for what is in the background, and judges the rest.

        Args:
            groups: all groups of the sampling, by number; one that was not taken is judged now.

        Raises:
            ValueError: as `aha.rewards.table.score` does. What a reward function raised is raised here.
        """
        for future in self._futures:
            future.result()
        known = [
            verdicts
            for place, pairs in enumerate(groups)
            for verdicts in self._known.get(place, [{} for _ in range(len(pairs))])
        ]
        found = iter(score_all(self._table, [pair for pairs in groups for pair in pairs], known))
        return [[next(found) for _ in pairs] for pairs in groups]

    def _judge_waiting(self) -> None:
        """Judge all groups that wait, together; in the background."""
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        pairs = [pair for _, group in taken for pair in group]
        rows = [self._table.get(problem.domain, {}) for problem, _ in pairs]
        known: list[dict[RewardFunction, Verdict | None]] = [{} for _ in pairs]
        for function in dict.fromkeys(function for row in rows for function in row if overlaps(function)):
            if self._stopped.is_set():
                return
            places = [place for place, row in enumerate(rows) if function in row]
            for place, verdict in zip(places, judge(function, [pairs[place] for place in places]), strict=True):
                known[place][function] = verdict
        left = iter(known)
        self._known.update({place: [next(left) for _ in group] for place, group in taken})
