"""R1: the whole recipe of the paper's Figure 2, with Dev1, Dev2, Dev3 and R1 as checkpoints, and distillation.

Source: DeepSeek-R1, arXiv:2501.12948v2, Figure 2 and section 3; v1, 2.3 and 2.4.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial

from aha.evaluation.contamination import Contamination
from aha.evaluation.readability import READABLE
from aha.problems.mixture import Mixture
from aha.problems.world.general import GENERAL_DOMAINS, GeneralProblems, every_prompt
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.problems.world.writers import DEMONSTRATION_SHARES, write
from aha.prompts.templates import r1, r1_zero
from aha.recipes.r1.assistant import BUILT_IN, Assistant
from aha.recipes.r1.examination import Examination
from aha.recipes.r1.rewards import num_examined, preference_prompts, reward_models
from aha.recipes.r1.scales import R1Config
from aha.recipes.r1.students import distil
from aha.recipes.r1_zero import train_zero
from aha.rewards.accuracy import COMPARERS
from aha.rewards.language import language_reward
from aha.rewards.summary import format_reward
from aha.rewards.table import RULES, RewardTable, merge_tables, rules
from aha.runs.seeds import generator
from aha.stages.evaluate import true_worth
from aha.stages.harvests.harvest import write_demonstrations
from aha.stages.harvests.rejection import Rejection, rejection
from aha.stages.rl import rl
from aha.stages.run import Run
from aha.stages.sft import sft
from aha.stages.task import Task
from aha.types import Checkpoint, Dataset, Demonstration, Problem

__all__ = ["JUDGED_DOMAINS", "check_prompts", "problems_to_harvest", "train_r1"]

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

GENERAL_SHARE = 0.5
"""Share of general prompts in the last part of the second stage. The paper does not report it."""


def train_r1(
    run: Run,
    base: Checkpoint,
    scale: R1Config,
    students: Sequence[Checkpoint] = (),
    assistant: Assistant = BUILT_IN,
) -> Checkpoint:
    """Train R1 from a base model, with every model on the way, and distil it; evaluate them all.

    Args:
        run: the run.
        base: the base model.
        scale: the numbers.
        students: a Qwen2-shaped and a Llama-shaped base model; the built-in ones are pretrained where none are given.
        assistant: rewrites, judges and compares.

    Returns:
        R1.
    """
    exam = Examination(run=run, scale=scale.zero)
    rewards = merge_tables(R1_RULES, LANGUAGE)
    stream = TrainingProblems(seed=run.seed)
    reasoning = Task(problems=stream, reward=rewards, validation=exam.validation, template=r1)
    held_out = Contamination(problem.question for problem in exam.held_out)
    exam.take("start", base, template=r1_zero)

    # R1-Zero learns from rules alone, in a prompt of its own. Source: R1 v1, Table 1; v2, Eq. 4.
    zero_task = replace(reasoning, reward=RULES, template=r1_zero)
    zero = train_zero(run, base, scale.zero, zero_task)
    exam.take("zero", zero, template=r1_zero)

    # Dev1 starts from the base again: R1-Zero gives the data, not the weights.
    cold = rejection(
        run,
        "cold",
        policy=zero,
        problems=held_out_problems("train", scale.cold.num_problems, seed=run.seed),
        keep=replace(COLD_START, num_kept=scale.cold.num_kept, contamination=held_out, editor=assistant.editor),
        config=scale.cold,
        template=r1_zero,
    )
    dev1 = sft(run, "dev1", policy=base, data=[cold], config=scale.dev1)
    exam.take("dev1", dev1)
    dev2 = rl(run, "dev2", policy=dev1, task=reasoning, config=scale.dev2)
    exam.take("dev2", dev2)

    # What the language reward is worth: the same stage without it. Source: R1 v2 B.6.
    plain_task = replace(reasoning, reward=R1_RULES)
    plain = rl(run, "dev2-plain", policy=dev1, task=plain_task, config=scale.dev2)
    exam.take("dev2-plain", plain)

    # A seed of its own: the cold start has drawn its problems from the same split.
    is_judged = assistant.judge is not None
    harvested = rejection(
        run,
        "kept",
        policy=dev2,
        problems=problems_to_harvest(scale.kept.num_problems, seed=run.seed + 1, is_judged=is_judged),
        keep=replace(RIGHT_AND_READABLE, num_kept=scale.kept.num_kept, contamination=held_out, judge=assistant.judge),
        config=scale.kept,
    )
    general = _general(run, scale.num_general)
    # From the base once more, now with the data of Dev2. Source: R1 v1 2.3.3.
    dev3 = sft(run, "dev3", policy=base, data=[harvested, general], config=scale.dev3)
    exam.take("dev3", dev3)

    learned = reward_models(run, dev3, scale.rewards, assistant)
    final = _second_stage(run, dev3, scale, reasoning, learned)
    exam.take("r1", final)

    distil(run, students, [harvested, general], scale.students, task=reasoning, exam=exam)
    return final


def _second_stage(run: Run, dev3: Checkpoint, scale: R1Config, reasoning: Task, learned: RewardTable) -> Checkpoint:
    """The second stage of reinforcement learning: one training in two parts.

    General data and the reward models join in the last part, so that there is little time to hack them.

    Source: DeepSeek-R1, arXiv:2501.12948v2, 3.2.2.
    """
    warm = rl(run, "reasoning", policy=dev3, task=reasoning, config=scale.reasoning)

    # The stream of reasoning problems goes on where the first part has come to.
    num_asked = scale.reasoning.iterations * scale.reasoning.problems_per_iteration
    scenarios = _all_scenarios(reasoning, learned, run.seed, num_asked)
    has_begun = scale.reasoning.iterations > 0
    return rl(run, "r1", policy=warm, task=scenarios, config=scale.scenarios, continues=has_begun)


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


def _all_scenarios(reasoning: Task, learned: RewardTable, seed: int, num_asked: int) -> Task:
    """Reasoning and general prompts, each with the rewards of its domain; `num_asked` of the former came before.

    Reward = R_reasoning + R_general + R_language, with R_general = R_reward_model + R_format

    Source: DeepSeek-R1, arXiv:2501.12948v2, Eq. 8 to 10.
    """
    problems = Mixture(
        first=GeneralProblems(seed=seed), second=reasoning.problems, share=GENERAL_SHARE, joins_after=num_asked
    )
    # `reasoning` has the language reward already: a table names a function once for each domain, so it counts once.
    reward = merge_tables(reasoning.reward, learned, FORMAT, LANGUAGE)
    # The truth is no reward. It shows on the page whether the learned rewards are hacked.
    return replace(reasoning, problems=problems, reward=reward, truth=true_worth)


def _general(run: Run, count: int) -> Dataset:
    """Demonstrations for general prompts of the built-in world, written by many hands."""
    prompts = GeneralProblems(seed=run.seed)
    written = []
    # Number -1 lies before the stream that reinforcement asks, so the prompts are drawn otherwise.
    for index, problem in enumerate(prompts(-1, count)):
        text = write(generator(run.seed, "general", index), problem, DEMONSTRATION_SHARES)
        response = f"<think> {text.thinking} </think> {text.summary}"
        written.append(
            Demonstration(
                problem_id=problem.id,
                question=problem.question,
                response=response,
                domain=problem.domain,
                language=problem.language,
                source=text.hand,
            )
        )

    key = str([asdict(demonstration) for demonstration in written])
    return write_demonstrations(run, "general", written, key=key)
