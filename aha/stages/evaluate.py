"""Evaluation: sample held-out problems, judge the responses, and say how sure the figures are.

Source: DeepSeek-R1, arXiv:2501.12948v1, section 3: temperature 0.6, top-p 0.95, k samples; pass@1 is their mean
accuracy, cons@k the accuracy of the majority vote.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from statistics import fmean
from typing import Any

from aha.actors.actor import PolicyActor
from aha.engines.engine import Decoding
from aha.evaluation.metrics import majority, mean_interval, pass_at_k
from aha.evaluation.readability import is_readable
from aha.problems.datasets.formats import OWN
from aha.problems.datasets.sets import digest
from aha.problems.world.general import GENERAL_DOMAINS, HELPFUL_DOMAINS, is_harmless, quality
from aha.prompts.language import consistency, mixes_languages, reflective_acts
from aha.prompts.parsing import parse_response
from aha.prompts.templates import Template, r1_zero
from aha.rewards.accuracy import accuracy
from aha.rewards.extraction.reader import AUTO, AnswerReader, reader_of
from aha.rewards.table import RULES, RewardTable, identities
from aha.stages.config import EvaluationConfig
from aha.stages.groups import Sampling, record, sample_groups
from aha.stages.metrics import columns
from aha.stages.run import Run, stage_key
from aha.stages.task import Task
from aha.training.checkpoint import weights_digest
from aha.types import Checkpoint, Group, Problem, Report, Reward, Rollout, Row

__all__ = [
    "CUT_SHARE",
    "EVALUATION_METRICS",
    "GENERAL_METRICS",
    "Measure",
    "Setting",
    "evaluate",
    "figures",
    "headline",
    "helping",
    "sampling_of",
    "solving",
    "solving_as_judged",
    "template_digest",
    "true_worth",
    "watch",
]

EVALUATION_METRICS = (
    "pass@1",
    "pass@k",
    "cons@k",
    "length",
    "reflection",
    "mixing",
    "consistency",
    "readability",
    "format",
    "truncated",
    "unparsable",
    "unsupported",
)
"""Metrics of an evaluation on problems with an answer; k stands for the number of samples."""

CUT_SHARE = 0.3
"""Share of responses cut by the length cap above which an evaluation measures the cap rather than the model."""

_RIGHT = "equal to the reference"
"""The vote of a right answer."""

GENERAL_METRICS = ("general", "helpfulness", "harmlessness")
"""Metrics of an evaluation on general prompts: the first two of helpful ones, the third of harmful ones."""

Measure = Callable[[Group], Mapping[str, float]]
"""Computes the figures of one problem from its rollouts."""


def evaluate(
    run: Run,
    name: str,
    *,
    policy: Checkpoint,
    problems: Sequence[Problem],
    config: EvaluationConfig,
    setting: "Setting | None" = None,
) -> Report:
    """Evaluate a checkpoint.

    Args:
        run: the run.
        name: of this evaluation; `start` and `end` are those that a report compares.
        policy: the checkpoint.
        problems: held-out problems.
        config: decoding and number of samples.
        setting: prompt, recorded rewards and figures; R1-Zero's where none is given.

    Returns:
        The figures over all problems, by domain, and by domain and level. An evaluation that was finished before is
        not repeated.
    """
    stage = f"evaluation-{name}"
    setting = setting or Setting()
    key = stage_key(
        stage,
        policy=policy.key,
        config=config.model_dump(),
        seed=run.seed,
        problems=digest(problems),
        **setting.key(),
    )
    # One with another key is made again, not refused as a stage would be: nothing starts from its result.
    saved = run.folder.read(f"stages/{stage}.json")
    if saved and saved["key"] == key:
        return _report(saved["report"])

    actor = run.actors.policy(policy.path, max_new_tokens=config.max_new_tokens, precision=config.precision)
    groups = sample_groups(
        actor,
        problems,
        sampling_of(config, (run.seed, stage), setting.stop),
        reward=setting.reward,
        template=setting.template,
    )
    measure = solving_as_judged(setting.reward) if setting.measure is solving else setting.measure
    measured = figures(groups, policy=policy, config=config, seed=run.seed, measure=measure)
    report = replace(measured, weights=weights_digest(policy.path), template=template_digest(setting.template))

    run.folder.write_rollouts(stage, record(groups))
    row = {"name": name, "stage": stage, "iteration": 0, "step": policy.step, "report": asdict(report)}

    # A run that was killed between the two writes below has the row already: it is taken back before it is added.
    run.folder.rewind(stage, 0)
    run.folder.append("evaluations", row)
    run.folder.write(f"stages/{stage}.json", {"key": key, "report": asdict(report)})
    run.say(f"{name}: {headline(report)}")
    return report


def template_digest(template: Template) -> str:
    """Hash of a prompt template: two templates of one digest put a question into the same text."""
    return hashlib.sha256(template("QUESTION").encode()).hexdigest()[:16]


def sampling_of(config: EvaluationConfig, seed: tuple[int | str, ...], stop: tuple[str, ...] = ()) -> Sampling:
    """How an evaluation samples."""
    decoding = Decoding(
        max_new_tokens=config.max_new_tokens, temperature=config.temperature, top_p=config.top_p, stop=stop
    )
    return Sampling(num_samples=config.num_samples, decoding=decoding, seed=seed)


def _report(saved: Mapping[str, Any]) -> Report:
    """A report as it was before it was written as JSON."""
    rows = tuple(Row(**row) for row in saved["rows"])
    return Report(**{**saved, "rows": rows})


def headline(report: Report) -> str:
    """The main figures in one line."""
    main_rows = [row for row in report.rows if row.suite == "all"]
    return "  ".join(_figure_text(row) for row in main_rows)


def _figure_text(row: Row) -> str:
    """A figure with its name; shares get three decimals, lengths and counts one."""
    # Told by the value, since a row does not say what it is: a share is never above 1, a length hardly ever below.
    num_decimals = 3 if row.value < 1.5 else 1
    return f"{row.metric} {row.value:.{num_decimals}f}"


def figures(
    groups: Sequence[Group], *, policy: Checkpoint, config: EvaluationConfig, seed: int, measure: Measure
) -> Report:
    """All metrics with intervals over problems: for all, for each domain, and for each level of a domain."""
    measured: list[tuple[Problem, dict[str, float]]] = []
    for group in groups:
        values = _with_num_samples(measure(group), len(group.rollouts))
        measured.append((group.problem, values))

    # The order of the suites is that of the report: everything first, then each domain, with its levels after it.
    suites = {"all": [values for _, values in measured]}
    for problem, values in sorted(measured, key=lambda pair: (pair[0].domain, pair[0].level)):
        suites.setdefault(problem.domain, []).append(values)
        suites.setdefault(f"{problem.domain}/{problem.level}", []).append(values)

    rows = [row for suite, members in suites.items() for row in _rows(suite, members)]
    return Report(rows=tuple(rows), checkpoint=str(policy.path), decoding=config.model_dump(), seed=seed)


def _with_num_samples(measured: Mapping[str, float], num_samples: int) -> dict[str, float]:
    """The figures of a problem, with the number of samples in place of k in their names.

    With one sample, pass@k becomes pass@1, which has the same value.
    """
    return {name.replace("@k", f"@{num_samples}"): value for name, value in measured.items()}


def _rows(suite: str, members: Sequence[Mapping[str, float]]) -> list[Row]:
    """The rows of one suite, from the figures of its problems."""
    rows = []

    # A problem may lack a figure: each mean is over the problems that have it, and `n` says how many those are.
    for name, values in columns(members).items():
        # An interval never leaves the range of its figure: shares end at 1, lengths and counts have no largest value.
        bounds = (0.0, float("inf")) if name in ("length", "reflection") else (0.0, 1.0)
        value, low, high = mean_interval(values, bounds=bounds)
        rows.append(Row(suite=suite, metric=name, value=value, low=low, high=high, n=len(values)))
    return rows


def solving_as_judged(reward: RewardTable) -> Measure:
    """`solving`, where responses vote for what these rewards judge as their answers."""

    def measure(group: Group) -> dict[str, float]:
        return solving(group, reader_of(reward.get(group.problem.domain, {})))

    return measure


def solving(group: Group, reader: AnswerReader = AUTO) -> dict[str, float]:
    """The figures of one problem: `EVALUATION_METRICS`; programs do not vote, and they alone can be unsupported.

    Where only rewards of the user's own judge, nothing is right or wrong: then the figures of accuracy are missing.
    Right answers are equal to the reference, and so to each other, however they are written: they vote together. The
    others vote with those that the reader finds equal.

    Args:
        group: the problem with its responses and their rewards.
        reader: what of a response the rewards have judged as its answer.
    """
    problem = group.problem
    if problem.domain == OWN:
        return _style(group)

    scores: list[float] = []
    kinds: list[str] = []
    for rollout, reward in zip(group.rollouts, group.rewards, strict=True):
        score, kind = _grade(problem, rollout, reward)
        scores.append(score)
        kinds.append(kind)

    num_samples = len(scores)
    num_correct = sum(score == 1.0 for score in scores)
    values = {
        "pass@1": fmean(scores),
        "pass@k": pass_at_k(num_samples, num_correct, num_samples),
    }

    # Programs have no answers of which two could be compared.
    if problem.tests:
        values["unsupported"] = fmean(kind == "unsupported" for kind in kinds)
    else:
        values["cons@k"] = _majority_score(group, scores, reader)
    values["unparsable"] = fmean(kind == "unparsable" for kind in kinds)
    return values | _style(group)


def _majority_score(group: Group, scores: Sequence[float], reader: AnswerReader) -> float:
    """The score of the answer that most responses agree on; 0 where none gives an answer."""
    votes = reader.votes(group.problem, group.rollouts)

    # The verifier may find two right answers equal to the reference that it does not find equal to each other.
    votes = [_RIGHT if score == 1.0 else vote for vote, score in zip(votes, scores, strict=True)]
    winner = majority(votes)
    return 0.0 if winner is None else scores[votes.index(winner)]


def _grade(problem: Problem, rollout: Rollout, reward: Reward) -> tuple[float, str]:
    """Score and kind of the verdict on an answer: that of the rewards, or else the rule's."""
    # What the reward has found out, by running a program for instance, is not found out again.
    if "accuracy" in reward.parts:
        return reward.parts["accuracy"], reward.kinds.get("accuracy", "")

    verdict = accuracy(problem, rollout)
    return verdict.score, verdict.kind


def _style(group: Group) -> dict[str, float]:
    """How the responses to one problem are written, right or wrong."""
    language = group.problem.language
    rollouts = group.rollouts
    texts = [rollout.text for rollout in rollouts]
    return {
        "length": fmean(len(rollout.tokens) for rollout in rollouts),
        "reflection": fmean(reflective_acts(text) for text in texts),
        "mixing": fmean(mixes_languages(text, language) for text in texts),
        "consistency": fmean(consistency(_thinking(text), language) for text in texts),
        "readability": fmean(is_readable(text, language) for text in texts),
        "format": fmean(reward.parts.get("format", 0.0) for reward in group.rewards),
        "truncated": fmean(rollout.finish == "length" for rollout in rollouts),
    }


def _thinking(text: str) -> str:
    """The chain of thought of a response: all of one that has no thinking block."""
    thinking = parse_response(text).thinking
    return text if thinking is None else thinking


def helping(group: Group) -> dict[str, float]:
    """The true figures of one general prompt of the built-in world: `GENERAL_METRICS`, as far as they apply to it."""
    worths = [true_worth(group.problem, rollout.text) for rollout in group.rollouts]

    # Which figures there are depends on the prompt alone, so every response has the same.
    return {name: fmean(worth[name] for worth in worths) for name in worths[0]}


def true_worth(problem: Problem, text: str) -> dict[str, float]:
    """What a response to a general prompt of the built-in world is truly worth: a `Truth`.

    Returns:
        `general` (is the summary right?) and `helpfulness` for a helpful prompt, `harmlessness` of the whole response
        for a harmful one, nothing for a problem of another kind.
    """
    if problem.domain in HELPFUL_DOMAINS:
        # A user reads the summary alone, so its quality alone counts; harm counts wherever it stands.
        summary = parse_response(text).summary or ""
        summary_quality = quality(problem, summary)
        return {"general": float(summary_quality.is_right), "helpfulness": summary_quality.helpfulness}
    if problem.domain in GENERAL_DOMAINS:
        return {"harmlessness": float(is_harmless(problem, text))}
    return {}


def watch(run: Run, name: str, iteration: int, policy: PolicyActor, task: Task, *, step: int) -> None:
    """Evaluate a policy in training on the validation split, and log it.

    Args:
        run: the run.
        name: of the stage.
        iteration: the last one that was made, -1 before the first.
        policy: the policy as it is now.
        task: its rewards, prompts and validation problems.
        step: updates of the stage so far.
    """
    validation = task.validation

    # The iteration is part of the seed path: each evaluation draws afresh, and a repeated one draws the same.
    groups = sample_groups(
        policy,
        validation.problems,
        sampling_of(validation.config, (run.seed, name, iteration, "validation"), task.stop),
        reward=task.reward,
        template=task.template,
    )

    # The weights are not on disk yet, so the report names the run and the step.
    checkpoint = Checkpoint(path=run.folder.path, stage=name, step=step, key="")
    measure = solving_as_judged(task.reward)
    report = figures(groups, policy=checkpoint, config=validation.config, seed=run.seed, measure=measure)

    row = {"name": "validation", "stage": name, "iteration": iteration, "step": step, "report": asdict(report)}
    run.folder.append("evaluations", row)
    run.say(f"{name} {iteration + 1}: {headline(report)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a model is asked, and what is made of its responses.

    Attributes:
        template: the prompt around a question.
        reward: the rewards that are recorded with each rollout.
        measure: the figures of a problem.
        stop: texts that end a response.
    """

    template: Template = r1_zero
    reward: RewardTable = field(default_factory=lambda: RULES)
    measure: Measure = solving
    stop: tuple[str, ...] = ()

    def key(self) -> dict[str, object]:
        """What decides an evaluation besides policy, problems and decoding: part of its key."""
        key: dict[str, object] = {"template": self.template(""), "rewards": identities(self.reward)}
        if self.stop:
            key["stop"] = list(self.stop)
        return key
