"""The built-in world as what R1 is made from.

Source: DeepSeek-R1, arXiv:2501.12948v2, section 3 and B.3.
"""

from dataclasses import replace
from functools import partial

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import READABLE
from aha.problems.world.general import GENERAL_DOMAINS, GeneralProblems, every_prompt
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.problems.world.writers import DEMONSTRATION_SHARES, write
from aha.prompts.templates import r1, r1_zero
from aha.recipes.r1.assistant import BUILT_IN, Assistant
from aha.recipes.r1.examination import built_in_examination, watched_problems
from aha.recipes.r1.material import GeneralPrompts, Material
from aha.recipes.r1.rewards import num_examined, preference_prompts, reward_models
from aha.recipes.r1.scales import R1Config
from aha.rewards.accuracy import COMPARERS
from aha.rewards.language import language_reward
from aha.rewards.summary import format_reward
from aha.rewards.table import RULES, RewardTable, merge_tables, rules
from aha.runs.seeds import generator
from aha.stages.evaluate import true_worth
from aha.stages.harvests.rejection import Rejection, Sampling
from aha.stages.task import Task, Validation
from aha.types import Demonstration, Problem

__all__ = ["JUDGED_DOMAINS", "built_in_material", "check_prompts", "problems_to_harvest"]

R1_RULES = rules(COMPARERS, format_reward)
"""Accuracy and R1's format, for reasoning."""

LANGUAGE: RewardTable = {domain: {language_reward: 1.0} for domain in (*COMPARERS, *GENERAL_DOMAINS)}
"""The language-consistency reward, for reasoning and general data alike. Source: R1 v2 Eq. 7."""

FORMAT: RewardTable = {domain: {format_reward: 1.0} for domain in GENERAL_DOMAINS}
"""R1's format, for general data. Source: R1 v2 Eq. 9."""

COLD_START = Rejection(source="cold start", limits=replace(READABLE, min_consistency=0.5), ending="answer")
"""R1-Zero's right answers that are not mostly in another language, rewritten: the editor translates the rest."""

RIGHT_AND_READABLE = Rejection(source="Dev2")
"""Dev2's right answers, in one language and without loops, long paragraphs and code. Source: R1 v2 B.3.3.

Rules decide what is right; where a domain has none, the assistant's judge does."""

JUDGED_DOMAINS = ("fact", "advice")
"""Domains of the general questions whose responses a judge compares with a reference answer.

Ours: those that the built-in world asks to be thought about in one language. The filters drop thinking in two, as a
translation needs it, and responses without any, as to a greeting; a line to be written, and harm, have no right answer.
"""

JUDGED_SHARE = 0.1
"""General questions for each reasoning problem of rejection sampling, where there is a judge and as far as the world
has so many. The paper does not report it."""


def built_in_material(scale: R1Config, *, seed: int, assistant: Assistant = BUILT_IN) -> Material:
    """What R1 is made from in the built-in world.

    Args:
        scale: how much of everything.
        seed: run seed.
        assistant: rewrites the cold start, judges answers and compares responses.

    Raises:
        ValueError: the world has fewer prompts than are asked for.
    """
    exam = built_in_examination(scale.zero.evaluation)
    validation = Validation(problems=watched_problems(scale.zero.validation), config=scale.zero.validation)
    stream = TrainingProblems(seed=seed)
    held_out = Contamination(problem.question for problem in (*exam.problems, *exam.prompts, *validation.problems))

    cold = replace(COLD_START, num_kept=scale.cold.num_kept, contamination=held_out, editor=assistant.editor)
    kept = replace(RIGHT_AND_READABLE, num_kept=scale.kept.num_kept, contamination=held_out, judge=assistant.judge)
    is_judged = assistant.judge is not None
    return Material(
        zero=Task(problems=stream, reward=RULES, validation=validation, template=r1_zero),
        reasoning=Task(problems=stream, reward=merge_tables(R1_RULES, LANGUAGE), validation=validation, template=r1),
        rules=R1_RULES,
        exam=exam,
        cold=Sampling(
            problems=held_out_problems("train", scale.cold.num_problems, seed=seed), keep=cold, template=r1_zero
        ),
        # A seed of its own: the cold start has drawn its problems from the same split.
        kept=Sampling(
            problems=problems_to_harvest(scale.kept.num_problems, seed=seed + 1, is_judged=is_judged), keep=kept
        ),
        general=_general(seed, scale.num_general),
        # The truth is no reward. It shows on the page whether the learned rewards are hacked.
        prompts=GeneralPrompts(
            problems=GeneralProblems(seed=seed), reward=merge_tables(FORMAT, LANGUAGE), truth=true_worth
        ),
        reward_models=partial(reward_models, scale=scale.rewards, assistant=assistant),
        prompt=lambda _: r1,
        compares=True,
        makes_students=True,
    )


def check_prompts(scale: R1Config, *, seed: int) -> None:
    """Draw all prompts whose responses are sampled and kept: too few would end a run when their stage begins.

    Raises:
        ValueError: the built-in world has fewer than are asked for; names the option.
    """
    helpful, safety = scale.rewards.helpful, scale.rewards.safety
    for_helpful = partial(preference_prompts, seed=seed, is_helpful=True)
    for_safety = partial(preference_prompts, seed=seed, is_helpful=False)

    # The quickest to be refused come first.
    draws = [
        ("rewards.safety", partial(for_safety, "train", safety.num_problems)),
        ("rewards.safety", partial(for_safety, "validation", num_examined(safety))),
        ("rewards.helpful", partial(for_helpful, "train", helpful.num_problems)),
        ("rewards.helpful", partial(for_helpful, "validation", num_examined(helpful))),
        ("cold", partial(held_out_problems, "train", scale.cold.num_problems, seed=seed)),
        ("kept", partial(held_out_problems, "train", scale.kept.num_problems, seed=seed + 1)),
    ]
    for option, draw in draws:
        try:
            draw()
        except ValueError as error:
            raise ValueError(f"--{option}.num-problems: {error}: lower it") from None


def problems_to_harvest(count: int, *, seed: int, is_judged: bool) -> list[Problem]:
    """The problems of rejection sampling: reasoning problems and, with a judge, general questions.

    The general questions come last, so that the samples of the reasoning problems are the same with and without them.

    Args:
        count: reasoning problems; general questions are added to them.
        seed: draws both, from training splits alone.
        is_judged: whether there is a judge for questions that no rule can check.

    Raises:
        ValueError: there are fewer different reasoning problems.

    Source: DeepSeek-R1, arXiv:2501.12948v2, B.3.3: the data that rules can check are enlarged by data of which a model
    judges the responses beside the true answer.
    """
    reasoning = held_out_problems("train", count, seed=seed)
    if not is_judged:
        return reasoning

    questions = [prompt for domain in JUDGED_DOMAINS for prompt in every_prompt(domain, "train")]
    num_judged = min(len(questions), max(1, round(JUDGED_SHARE * count)))
    return [*reasoning, *generator(seed, "judged").sample(questions, num_judged)]


def _general(seed: int, count: int) -> list[Demonstration]:
    """Demonstrations for general prompts of the built-in world, written by many hands."""
    prompts = GeneralProblems(seed=seed)
    written = []
    # Number -1 lies before the stream that reinforcement asks, so the prompts are drawn otherwise.
    for index, problem in enumerate(prompts(-1, count)):
        text = write(generator(seed, "general", index), problem, DEMONSTRATION_SHARES)
        written.append(
            Demonstration(
                problem_id=problem.id,
                question=problem.question,
                response=f"<think> {text.thinking} </think> {text.summary}",
                domain=problem.domain,
                language=problem.language,
                source=text.hand,
            )
        )
    return written
