"""Who rewrites the cold start, judges answers and compares responses: the built-in world, a rule, or another model.

Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.2, where DeepSeek-V3 and people rewrite the cold start.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from aha.engines.endpoint import Endpoint
from aha.problems.world.editing import edit
from aha.problems.world.general import quality
from aha.runs.folder import RunFolder
from aha.runs.ledger import Ledger
from aha.stages.harvests.assistance import comparing, judging, rewriting
from aha.stages.harvests.labelling import Label
from aha.stages.harvests.rejection import Editor, Judge
from aha.types import Draft, Problem

__all__ = ["BUILT_IN", "Assistant", "OtherModel", "helpfulness_labels", "summed_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assistant:
    """The parts of the recipe that another model may take over.

    Attributes:
        editor: rewrites R1-Zero's samples for the cold start.
        judge: judges answers that no rule can check; None where there is none: then only problems with a rule are
            sampled for the reasoning data.
        helpfulness: labels responses for the helpful reward model.
        is_judge: whether these labels come from a judge, who prefers long responses, so that lengths are balanced.
        close: ends its connections.
    """

    editor: Editor
    judge: Judge | None
    helpfulness: Label
    is_judge: bool
    close: Callable[[], None] = lambda: None


def helpfulness_labels(problem: Problem, summaries: Sequence[str]) -> list[float]:
    """How helpful each summary truly is, as a labeller who never errs would say: a `Label`."""
    return [quality(problem, summary).helpfulness for summary in summaries]


def summed_up(drafts: Sequence[Draft]) -> list[str | None]:
    r"""Put each draft of the user's own problems into R1's format: an `Editor`.

    The thinking stays as it is. The summary is the answer in a `\boxed{}`, as the released models write it; an answer
    that has a block of code or a box, and the letter of a multiple-choice question, stays as it is too.
    """
    return [f"<think>\n{draft.thinking}\n</think>\n\n{_summary(draft)}" for draft in drafts]


def _summary(draft: Draft) -> str:
    answer = draft.answer
    if "```" in answer or r"\boxed" in answer or draft.problem.domain == "choice":
        return answer
    return rf"The final answer is \boxed{{{answer}}}."


BUILT_IN = Assistant(editor=edit, judge=None, helpfulness=helpfulness_labels, is_judge=False)
"""The built-in world's own: rules that rewrite, and the known truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherModel:
    """A model behind an OpenAI-compatible endpoint.

    Attributes:
        base_url: address, up to and with the version.
        model: its name there.
        per_minute: most requests per minute; None for no limit.
    """

    base_url: str
    model: str
    per_minute: float | None = None

    def connect(self, folder: RunFolder, stack: ExitStack) -> Endpoint:
        """The endpoint; what it has answered is kept in the run folder, `answers.jsonl`.

        Args:
            folder: the run folder: an interrupted run asks nothing twice.
            stack: closes the connections and the file.

        Raises:
            ValueError: the address is none, or the answers kept are damaged.
            RuntimeError: the extra `endpoint` is not installed.
        """
        # Two processes must not write one file.
        ledger = stack.enter_context(Ledger(folder.path / "answers.jsonl")) if folder.is_writer else None
        endpoint = Endpoint(self.base_url, self.model, requests_per_minute=self.per_minute, ledger=ledger)
        return stack.enter_context(endpoint)

    def assistant(self, folder: RunFolder, seed: int) -> Assistant:
        """The parts that it takes over.

        Args:
            folder: the run folder, which keeps what it has answered.
            seed: run seed.

        Raises:
            ValueError: the address is none, or the answers kept are damaged.
            RuntimeError: the extra `endpoint` is not installed.
        """
        with ExitStack() as stack:
            endpoint = self.connect(folder, stack)
            return Assistant(
                editor=rewriting(endpoint, seed=seed),
                judge=judging(endpoint),
                helpfulness=comparing(endpoint, seed=seed),
                is_judge=True,
                # From here on whoever has the assistant closes it.
                close=stack.pop_all().close,
            )
