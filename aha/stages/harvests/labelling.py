"""Preferences from samples: the responses of a group, each with a label, as rows that reward models learn from.

Source: DeepSeek-R1, arXiv:2501.12948v2, 3.1 (pairs judged by a model, safety labels); InstructGPT, arXiv:2203.02155,
3.2 (K responses to a prompt, ranked).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from aha.policy.reward_model import Reads
from aha.prompts.parsing import parse_response
from aha.prompts.templates import Template
from aha.stages.harvests.harvest import Selection
from aha.types import Group, Preference, Problem, Rollout

__all__ = ["Label", "Labelled"]

Label = Callable[[Problem, Sequence[str]], Sequence[float] | None]
"""From a prompt and its responses to a label each, higher is better; None where the labeller cannot tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """Labels what was sampled: a `Pick` whose rows are `Preference`s.

    Attributes:
        source: where the labels come from.
        reads: what of a response the labeller and the reward model see.
        template: the prompt around a question, for the reward model.
        label: the labeller.
        is_comparison: whether only differences between labels count, so that equal ones teach nothing.
        num_kept: most different responses kept of one prompt, the first ones in the order of sampling; 0 keeps all.
    """

    source: str
    reads: Reads
    template: Template
    label: Label
    is_comparison: bool
    num_kept: int = 0

    @property
    def key(self) -> object:
        """What decides the rows."""
        label = self.label.__qualname__
        return [self.source, self.reads, self.template(""), label, self.is_comparison, self.num_kept]

    def __call__(self, groups: Sequence[Group]) -> Selection:
        """One row for each group that teaches something; the responses of the others are counted by reason."""
        dropped: Counter[str] = Counter()
        rows = []
        for group in groups:
            texts = self._different_texts(group)
            dropped["unreadable or repeated"] += len(group.rollouts) - len(texts)

            # Before the labels: a labeller may cost a request for each pair.
            if self.num_kept:
                dropped["surplus"] += len(texts[self.num_kept :])
                texts = texts[: self.num_kept]

            labels = self.label(group.problem, texts) if texts else None
            if labels is None:
                dropped["not labelled"] += len(texts)
            elif self.is_comparison and len(set(labels)) < 2:
                dropped["equally good"] += len(texts)
            else:
                rows.append(asdict(self._preference(group.problem, texts, labels)))
        return Selection(rows=rows, dropped=dropped)

    def _different_texts(self, group: Group) -> list[str]:
        """The different texts that can be read, in the order of sampling."""
        texts = [self._text(rollout) for rollout in group.rollouts]

        # Not a set, whose order would change from run to run.
        readable_texts = [text for text in texts if text is not None]
        return list(dict.fromkeys(readable_texts))

    def _text(self, rollout: Rollout) -> str | None:
        """What is read of a response; None where there is nothing to read."""
        if self.reads == "response":
            return rollout.text or None
        return parse_response(rollout.text).summary or None

    def _preference(self, problem: Problem, texts: Sequence[str], labels: Sequence[float]) -> Preference:
        """The labelled texts of one problem, with the prompt that the reward model reads."""
        return Preference(
            problem_id=problem.id,
            prompt=self.template(problem.question),
            responses=tuple(texts),
            qualities=tuple(labels),
            source=self.source,
        )
