"""Rejection sampling: many responses for each problem, of which the right and readable ones are kept.

With an editor it is the cold start: what is kept is rewritten into the readable pattern, and checked again.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.3.1 and 2.3.3; v2, B.3.2 (cold start) and B.3.3 (graders and filters).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import READABLE, Limits, faults
from aha.prompts.parsing import Ending, parse_response
from aha.prompts.templates import Template, r1
from aha.rewards.accuracy import accuracy, has_rule
from aha.rewards.table import RewardTable
from aha.stages.config import RejectionConfig
from aha.stages.harvest import Field, Picked, harvest
from aha.stages.run import Run
from aha.types import Checkpoint, Dataset, Demonstration, Draft, Group, Problem, Rollout

__all__ = ["Editor", "Judge", "Rejection", "rejection"]

Editor = Callable[[Sequence[Draft]], list[str | None]]
"""Rewrites drafts into responses of R1's format; None for one that it cannot rewrite."""

Judge = Callable[[Problem, str], bool | None]
"""Whether a prediction says the same as the reference answer, for problems that no rule can check; None where no
verdict could be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """What rejection sampling keeps: a `Pick`.

    Attributes:
        source: name given to what is kept.
        num_kept: most responses kept of one problem.
        limits: what counts as readable.
        ending: format of the responses that are sampled.
        contamination: 10-grams of the evaluation sets; problems that share one with them are dropped.
        editor: rewrites what is kept; None keeps it as it is.
        judge: for domains without a rule; None compares their answers as text.
    """

    source: str
    num_kept: int = 1
    limits: Limits = READABLE
    ending: Ending = "summary"
    contamination: Contamination = field(default_factory=lambda: Contamination(()))
    editor: Editor | None = None
    judge: Judge | None = None

    @property
    def key(self) -> object:
        """What decides the choice."""
        functions = [part.__qualname__ for part in (self.editor, self.judge) if part is not None]
        return [self.source, self.num_kept, asdict(self.limits), self.ending, self.contamination.key, functions]

    def __call__(self, groups: Sequence[Group]) -> Picked:
        """The responses that are kept, as rows of `Demonstration`, and why the others are not."""
        dropped: Counter[str] = Counter()
        chosen: list[tuple[Problem, Rollout]] = []
        for group in groups:
            good = []
            for rollout in group.rollouts:
                fault = self._fault(group.problem, rollout)
                if fault:
                    dropped[fault] += 1
                else:
                    good.append((group.problem, rollout))
            dropped["surplus"] += max(0, len(good) - self.num_kept)
            chosen += good[: self.num_kept]
        rows = []
        for (problem, rollout), text in zip(chosen, self._edited(chosen), strict=True):
            fault = "not rewritten" if text is None else self._fault_of_edit(problem, rollout, text)
            if fault:
                dropped[fault] += 1
            else:
                rows.append(asdict(_demonstration(problem, text or "", self.source)))
        return Picked(rows=rows, dropped=dropped)

    def _fault(self, problem: Problem, rollout: Rollout) -> str:
        """Why a rollout is not kept; empty where it is."""
        if rollout.finish != "stop":
            return "cut"
        if self.contamination.overlaps(problem.question):
            return "contaminated"
        verdict = self._is_correct(problem, rollout)
        if not verdict:
            return "no verdict" if verdict is None else "incorrect"
        if not parse_response(rollout.text, ending=self.ending).is_well_formed:
            return "malformed"
        return next(iter(faults(rollout.text, problem.language, self.limits)), "")

    def _is_correct(self, problem: Problem, rollout: Rollout) -> bool | None:
        """The verdict of the rule, or of the judge where there is no rule."""
        if has_rule(problem.domain) or self.judge is None:
            return accuracy(problem, rollout).score == 1.0
        return self.judge(problem, parse_response(rollout.text).summary or "")

    def _edited(self, chosen: Sequence[tuple[Problem, Rollout]]) -> Sequence[str | None]:
        """The texts that are kept, rewritten where there is an editor."""
        if self.editor is None:
            return [rollout.text for _, rollout in chosen]
        parsed = [(problem, parse_response(rollout.text)) for problem, rollout in chosen]
        return self.editor(
            [
                Draft(problem=problem, thinking=parts.thinking or "", answer=parts.answer or parts.summary or "")
                for problem, parts in parsed
            ]
        )

    def _fault_of_edit(self, problem: Problem, rollout: Rollout, text: str) -> str:
        """Why a rewritten response is not kept: an editor must leave the answer right and the format whole."""
        if self.editor is None:
            return ""
        if not parse_response(text, ending="summary").is_well_formed:
            return "malformed by the editor"
        if not self._is_correct(problem, replace(rollout, text=text)):
            return "made wrong by the editor"
        return "unreadable after the editor" if faults(text, problem.language, self.limits) else ""


def _demonstration(problem: Problem, text: str, source: str) -> Demonstration:
    return Demonstration(
        problem_id=problem.id,
        question=problem.question,
        response=text,
        domain=problem.domain,
        language=problem.language,
        source=source,
    )


def rejection(
    run: Run,
    name: str,
    *,
    policy: Checkpoint,
    problems: Sequence[Problem],
    keep: Rejection,
    config: RejectionConfig,
    template: Template = r1,
) -> Dataset:
    """Sample every problem several times and keep the responses that are right and readable.

    Args:
        run: the run.
        name: of this stage.
        policy: samples.
        problems: different training problems.
        keep: what is kept.
        config: samples and shards.
        template: the prompt around a question.

    Returns:
        The demonstrations; the counts of what was dropped, by reason, stand in the shards and in `data.json`.

    Raises:
        ValueError: see `aha.stages.harvest.harvest`.
        Interrupted: the run was asked to stop; what was written stays.

    Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3.
    """
    unrewarded: RewardTable = {problem.domain: {} for problem in problems}
    where = Field(policy=policy, problems=problems, reward=unrewarded, template=template)
    return harvest(run, name, field=where, pick=keep, config=config)
