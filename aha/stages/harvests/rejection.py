"""Rejection sampling: many responses for each problem, of which the right and readable ones are kept.

With an editor it is the cold start: what is kept is rewritten into the readable pattern, and checked again. With a
judge, problems that no rule can check may be among them: for each shard it is asked once about all samples that could
be kept, and once about all that the editor rewrote.

Source: DeepSeek-R1, arXiv:2501.12948v1, 2.3.1 and 2.3.3; v2, B.3.2 (cold start) and B.3.3 (graders and filters).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import READABLE, Limits, faults
from aha.prompts.parsing import Ending, parse_response
from aha.prompts.templates import Template, r1
from aha.rewards.accuracy import accuracy, has_rule
from aha.rewards.table import RewardFunction, identity
from aha.stages.config import RejectionConfig
from aha.stages.harvests.harvest import HarvestInputs, Selection, harvest
from aha.stages.run import Run
from aha.types import Checkpoint, Dataset, Demonstration, Draft, Group, Problem, Rollout

__all__ = ["Editor", "Judge", "Rejection", "Sampling", "rejection"]

Editor = Callable[[Sequence[Draft]], list[str | None]]
"""Rewrites drafts into responses of R1's format; None for one that it cannot rewrite."""

Judge = Callable[[Sequence[tuple[Problem, str]]], list[bool | None]]
"""Whether each prediction says the same as the reference answer of its problem, for problems that no rule can check;
None where no verdict could be had. It is asked about many predictions at once, and not at all where there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """What rejection sampling keeps: a `Pick`.

    Attributes:
        source: name given to what is kept.
        num_kept: most responses kept of one problem.
        limits: what counts as readable.
        ending: format of the responses that are sampled; None takes any, and looks at no thinking.
        contamination: 10-grams of the evaluation sets; problems that share one with them are dropped.
        editor: rewrites what is kept; None keeps it as it is.
        judge: for domains without a rule; None compares their answers as text.
        rules: the function that tells a right response, by domain; that of the built-in world for all others.
        wording: what is said around the questions of what is kept, where they will be asked in another prompt.
    """

    source: str
    num_kept: int = 1
    limits: Limits = READABLE
    ending: Ending | None = "summary"
    contamination: Contamination = field(default_factory=lambda: Contamination(()))
    editor: Editor | None = None
    judge: Judge | None = None
    rules: Mapping[str, RewardFunction] = field(default_factory=dict)
    wording: Callable[[Sequence[Problem]], Sequence[Problem]] = list

    @property
    def key(self) -> object:
        """What decides the choice."""
        functions = [part.__qualname__ for part in (self.editor, self.judge) if part is not None]
        key: list[object] = [self.source, self.num_kept, asdict(self.limits), self.ending]
        key += [self.contamination.key, functions]
        # Absent where there are none: folders from before there were rules of the user's problems keep their keys.
        if self.rules:
            key.append({domain: identity(rule) for domain, rule in self.rules.items()})
        if self.wording is not list:
            key.append(self.wording.__qualname__)
        return key

    def __call__(self, groups: Sequence[Group]) -> Selection:
        """The responses that are kept, as rows of `Demonstration`, and why the others are not."""
        # All samples of a shard at once, so that the judge is asked once; then taken apart into groups again.
        samples = [(group.problem, rollout) for group in groups for rollout in group.rollouts]
        faults_in_order = iter(self._faults(samples))

        dropped: Counter[str] = Counter()
        chosen: list[tuple[Problem, Rollout]] = []
        for group in groups:
            good = []
            for rollout in group.rollouts:
                fault = next(faults_in_order)
                if fault:
                    dropped[fault] += 1
                else:
                    good.append((group.problem, rollout))
            dropped["surplus"] += max(0, len(good) - self.num_kept)
            chosen += good[: self.num_kept]

        # Only what is kept is edited: an editor may cost a request for each draft.
        texts = self._final_texts(chosen)
        faults_of_edits = self._faults_of_edits(chosen, texts)
        rows = []
        problems = self.wording([problem for problem, _ in chosen])
        for problem, text, fault in zip(problems, texts, faults_of_edits, strict=True):
            if fault:
                dropped[fault] += 1
            else:
                rows.append(asdict(_demonstration(problem, text or "", self.source)))
        return Selection(rows=rows, dropped=dropped)

    def _faults(self, samples: Sequence[tuple[Problem, Rollout]]) -> list[str]:
        """Why each rollout is not kept; empty where it is."""
        faults_without_judge = [self._fault(problem, rollout) for problem, rollout in samples]
        responses = [(problem, rollout.text) for problem, rollout in samples]
        return self._add_verdicts(faults_without_judge, responses, wrong="incorrect")

    def _fault(self, problem: Problem, rollout: Rollout) -> str:
        """Why a rollout is not kept, as far as that can be said without the judge; empty where nothing is wrong.

        Each rollout is counted under its first fault, so the order of the checks decides the counts.
        """
        if rollout.finish == "error":
            return "no reply"
        if rollout.finish == "length":
            return "cut"
        if self.contamination.overlaps(problem.question):
            return "contaminated"
        if not self._is_judged(problem) and not self._is_right(problem, rollout):
            return "incorrect"
        # Where any format will do, there may be no thinking, which is what the filters look at.
        if self.ending is None:
            return ""
        if not parse_response(rollout.text, ending=self.ending).is_well_formed:
            return "malformed"

        unreadable = faults(rollout.text, problem.language, self.limits)
        return unreadable[0] if unreadable else ""

    def _is_right(self, problem: Problem, rollout: Rollout) -> bool:
        """Whether the rule of its domain finds a response right; one that abstains does not."""
        rule = self.rules.get(problem.domain, accuracy)
        verdict = rule(problem, rollout)
        return verdict is not None and verdict.score == 1.0

    def _is_judged(self, problem: Problem) -> bool:
        """Whether the judge decides what is right, because no rule does."""
        has_no_rule = problem.domain not in self.rules and not has_rule(problem.domain)
        return self.judge is not None and has_no_rule

    def _add_verdicts(
        self, faults_without_judge: list[str], responses: Sequence[tuple[Problem, str]], *, wrong: str
    ) -> list[str]:
        """The faults of responses, those that the judge finds included.

        Args:
            faults_without_judge: the fault of each response; empty where it could be kept.
            responses: problems, each with the whole text of a response.
            wrong: the fault of a response that the judge refuses.
        """
        # A question to the judge costs a request, so it is asked last, and all its questions are asked at once.
        could_be_kept: list[int] = []
        for index, (problem, _) in enumerate(responses):
            if not faults_without_judge[index] and self._is_judged(problem):
                could_be_kept.append(index)
        if self.judge is None or not could_be_kept:
            return faults_without_judge

        # Only the summary of a response is shown to the judge.
        judged_responses = [responses[index] for index in could_be_kept]
        predictions = [(problem, parse_response(text).summary or "") for problem, text in judged_responses]
        verdicts = self.judge(predictions)

        all_faults = list(faults_without_judge)
        for index, verdict in zip(could_be_kept, verdicts, strict=True):
            if not verdict:
                all_faults[index] = "no verdict" if verdict is None else wrong
        return all_faults

    def _final_texts(self, chosen: Sequence[tuple[Problem, Rollout]]) -> Sequence[str | None]:
        """The texts that are kept, rewritten where there is an editor; None where it could not rewrite one."""
        if self.editor is None:
            return [rollout.text for _, rollout in chosen]
        return self.editor([_draft(problem, rollout) for problem, rollout in chosen])

    def _faults_of_edits(self, chosen: Sequence[tuple[Problem, Rollout]], texts: Sequence[str | None]) -> Sequence[str]:
        """Why each rewritten response is not kept: an editor must leave the answer right and the format whole."""
        # Without an editor the texts are those that were examined before.
        if self.editor is None:
            return [""] * len(chosen)

        faults_without_judge: list[str] = []
        responses: list[tuple[Problem, str]] = []
        for (problem, rollout), text in zip(chosen, texts, strict=True):
            faults_without_judge.append(self._fault_of_edit(problem, rollout, text))
            responses.append((problem, text or ""))
        return self._add_verdicts(faults_without_judge, responses, wrong="made wrong by the editor")

    def _fault_of_edit(self, problem: Problem, rollout: Rollout, text: str | None) -> str:
        """Why a rewritten response is not kept, as far as that can be said without the judge."""
        if text is None:
            return "not rewritten"
        if not parse_response(text, ending="summary").is_well_formed:
            return "malformed by the editor"
        edited_rollout = replace(rollout, text=text)
        if not self._is_judged(problem) and not self._is_right(problem, edited_rollout):
            return "made wrong by the editor"
        if faults(text, problem.language, self.limits):
            return "unreadable after the editor"
        return ""


def _draft(problem: Problem, rollout: Rollout) -> Draft:
    """A sample as an editor sees it; one without an answer of its own is edited by its summary."""
    parts = parse_response(rollout.text)
    return Draft(problem=problem, thinking=parts.thinking or "", answer=parts.answer or parts.summary or "")


def _demonstration(problem: Problem, text: str, source: str) -> Demonstration:
    """A response as a row of the data."""
    return Demonstration(
        problem_id=problem.id,
        question=problem.question,
        response=text,
        domain=problem.domain,
        language=problem.language,
        source=source,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """What rejection sampling asks, and what it keeps.

    Attributes:
        problems: different training problems.
        keep: what is kept.
        template: the prompt around a question.
        stop: texts that end a response.
    """

    problems: Sequence[Problem]
    keep: Rejection
    template: Template = r1
    stop: tuple[str, ...] = ()


def rejection(run: Run, name: str, *, policy: Checkpoint, sampling: Sampling, config: RejectionConfig) -> Dataset:
    """Sample every problem several times and keep the responses that are right and readable.

    Args:
        run: the run.
        name: of this stage.
        policy: samples.
        sampling: what it is asked, and what is kept.
        config: samples and shards.

    Returns:
        The demonstrations; the counts of what was dropped, by reason, stand in the shards and in `data.json`.

    Raises:
        ValueError: see `aha.stages.harvests.harvest.harvest`.
        Interrupted: the run was asked to stop; what was written stays.

    Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3.
    """
    inputs = HarvestInputs(
        policy=policy,
        problems=sampling.problems,
        # It looks at texts, never at rewards, so that none is computed.
        reward={problem.domain: {} for problem in sampling.problems},
        template=sampling.template,
        stop=sampling.stop,
    )
    return harvest(run, name, inputs=inputs, pick=sampling.keep, config=config)
