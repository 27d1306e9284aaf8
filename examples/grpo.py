"""GRPO in one file: train the built-in base model to solve problems, from the first sample to the saved model.

Read it from top to bottom beside Algorithm 1 of DeepSeekMath (arXiv:2402.03300) and section 2 of DeepSeek-R1
(arXiv:2501.12948v2). With the same numbers it ends with the same weights, bit for bit, as

    aha run r1_zero --processes 1 --longer.iterations 0

Shape letters: P problems, G rollouts per problem, B = P * G sequences, T tokens.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import torch
import tyro

from aha.actors.local import LocalPolicy
from aha.actors.local_actors import LocalActors, TrainingPlan
from aha.actors.workload import PROMPT_TOKENS, Demand
from aha.advantages.group import group_advantages
from aha.engines.engine import Decoding, Request
from aha.objectives.grpo import grpo_loss
from aha.problems.world.questions import TrainingProblems, held_out_problems
from aha.prompts.templates import r1_zero
from aha.recipes.base_model import open_base
from aha.rewards.table import RULES, score
from aha.runs.seeds import generator
from aha.training.batch import select, stack
from aha.training.checkpoint import check_unoccupied, export_model
from aha.training.config import OptimizerConfig
from aha.types import Group, Problem

STAGE = "zero"
"""Names the draws of this training; the recipe calls its first stage so."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The numbers of a training; the defaults are those of the recipe's scale `tiny`."""

    out: Path = Path("grpo-model")  # Folder for the trained model; new or empty.
    seed: int = 0  # Every random draw derives from it.
    iterations: int = 60  # Iterations of sampling and updating.
    problems_per_iteration: int = 12  # Problems of an iteration (P).
    group_size: int = 16  # Responses to each problem (G), 2 or more.
    num_minibatches: int = 2  # Updates of an iteration, each on a random part of it, of two responses or more.
    max_new_tokens: int = 128  # Length cap of a response, tokens.
    clip_eps: float = 0.2  # Half-width of the interval that the ratio is clipped to (epsilon).
    kl_coef: float = 0.001  # Weight of the KL to the reference (beta), above 0.
    reference_every: int = 60  # Updates after which the reference becomes the policy.
    learning_rate: float = 3e-4  # Peak learning rate of AdamW.
    warmup_steps: int = 6  # Updates of linear warm-up.
    final_share: float = 0.6  # Share of the learning rate that a cosine reaches at the end.
    evaluate_every: int = 5  # Iterations between validations.
    num_validated: int = 40  # Problems of a validation.

    def __post_init__(self) -> None:
        """Refuse numbers for which an advantage or an update has no meaning."""
        num_responses = self.problems_per_iteration * self.group_size
        if self.group_size < 2:
            raise ValueError(f"--group-size {self.group_size}: there is nothing to compare; give 2 or more")
        if not 1 <= self.num_minibatches <= num_responses // 2:
            raise ValueError(
                f"--num-minibatches {self.num_minibatches}: {num_responses} responses an iteration make 1 to "
                f"{num_responses // 2} mini-batches of two or more"
            )


def train(settings: Settings) -> LocalPolicy:
    """Run Algorithm 1 and return the trained policy, printing a line for each iteration."""
    policy, reference = open_actors(settings)
    problem_stream = TrainingProblems(seed=settings.seed)
    validation_problems = held_out_problems("validation", settings.num_validated)
    loss = partial(grpo_loss, clip_eps=settings.clip_eps, kl_coef=settings.kl_coef)

    for iteration in range(settings.iterations):
        # Sample a group of G responses to each of P problems from the policy as it is now: the old policy.
        start = iteration * settings.problems_per_iteration
        problems = problem_stream(start, settings.problems_per_iteration)
        decoding = Decoding(max_new_tokens=settings.max_new_tokens)
        seed = (settings.seed, STAGE, iteration)
        groups = sample_groups(policy, problems, settings.group_size, decoding, seed)

        # Prompts and responses as one batch, with the log-probabilities that the old policy gave each token.
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        batch = stack(
            [rollout.prompt_tokens for rollout in rollouts],
            [rollout.tokens for rollout in rollouts],
            {"old_logp_BT": [rollout.logp for rollout in rollouts]},
        )

        # A_i = (r_i - mean(r)) / std(r) within each group, from all rollouts of the iteration, before they are split.
        # All tokens of a response share its advantage.
        rewards_PG = torch.tensor([[reward.total for reward in group.rewards] for group in groups])
        adv_B1 = group_advantages(rewards_PG).flatten()[:, None]
        adv_BT = adv_B1.expand(batch.mask_BT.shape).where(batch.mask_BT, 0.0)
        batch = replace(batch, signals={**batch.signals, "adv_BT": adv_BT})

        # One update with each random mini-batch. From the second on, the policy differs from the old one: that is what
        # the ratio and its clipping are for.
        for rows in split_at_random(len(rollouts), settings.num_minibatches, seed):
            # `share` orders the rows, equal prompts together; with several processes it would also divide them.
            minibatch = policy.share(select(batch, rows))
            ref_logp_BT = reference.score(minibatch)
            minibatch = replace(minibatch, signals={**minibatch.signals, "ref_logp_BT": ref_logp_BT})
            metrics = policy.update(minibatch, loss, name=f"iteration {iteration}")

            # The reference follows the policy in jumps (R1-Zero: every 400 updates).
            if policy.num_steps % settings.reference_every == 0:
                reference.load(policy)

        # The KL that is printed is the one of the last mini-batch.
        line = f"iteration {iteration + 1}: pass@1 {pass_at_1(groups):.3f}, reward {rewards_PG.mean():.3f}"
        line += f", {fmean(len(rollout.tokens) for rollout in rollouts):.1f} tokens, KL {metrics['kl']:.5f}"
        if (iteration + 1) % settings.evaluate_every == 0:
            line += f"; validation pass@1 {validate(policy, validation_problems, settings, iteration):.3f}"
        print(line, flush=True)

    return policy


def open_actors(settings: Settings) -> tuple[LocalPolicy, LocalPolicy]:
    """The policy with its optimizer, and the reference: both start as the built-in base model."""
    base = open_base()
    optimizer = OptimizerConfig(
        learning_rate=settings.learning_rate, warmup_steps=settings.warmup_steps, final_share=settings.final_share
    )
    # The demand is what memory is planned for: sequences of a prompt, of assumed length, and of the longest response.
    plan = TrainingPlan(
        name=STAGE,
        optimizer=optimizer,
        num_steps=settings.iterations * settings.num_minibatches,
        demand=Demand(sequence_tokens=PROMPT_TOKENS + settings.max_new_tokens),
        seed=settings.seed,
    )
    actors = LocalActors()
    policy = actors.trained_policy(base.path, saved=None, plan=plan)
    # The saved model names the prompt that it was trained with.
    policy.tokenizer = policy.tokenizer.trained_with(r1_zero)
    return policy, actors.reference(base.path, policy, plan)


def sample_groups(
    policy: LocalPolicy, problems: Sequence[Problem], group_size: int, decoding: Decoding, seed: tuple[int | str, ...]
) -> list[Group]:
    """Sample a group of responses to each problem, and reward each by rules: is it right, does it keep the format?"""
    requests = []
    times_asked: Counter[str] = Counter()
    for problem in problems:
        # The draws hang on the problem's name alone. When it is asked again in the same iteration they must differ.
        again = (times_asked[problem.id],) if times_asked[problem.id] else ()
        times_asked[problem.id] += 1
        prompt = r1_zero(problem.question)
        requests.append(Request(id=problem.id, prompt=prompt, seed=(*seed, problem.id, *again), decoding=decoding))

    groups = []
    for problem, rollouts in zip(problems, policy.sample(requests, group_size), strict=True):
        rewards = tuple(score(RULES, problem, rollout) for rollout in rollouts)
        groups.append(Group(problem=problem, rollouts=rollouts, rewards=rewards))
    return groups


def split_at_random(num_rows: int, num_minibatches: int, seed: tuple[int | str, ...]) -> list[list[int]]:
    """Rows 0 to num_rows - 1 in random mini-batches, whose sizes differ by one at most."""
    rows = list(range(num_rows))
    generator(*seed, "mini-batches").shuffle(rows)
    ends = [number * num_rows // num_minibatches for number in range(num_minibatches + 1)]
    return [sorted(rows[start:end]) for start, end in pairwise(ends)]


def validate(policy: LocalPolicy, problems: Sequence[Problem], settings: Settings, iteration: int) -> float:
    """pass@1 on held-out problems, four samples each, with the paper's decoding: temperature 0.6, top-p 0.95."""
    decoding = Decoding(max_new_tokens=settings.max_new_tokens, temperature=0.6, top_p=0.95)
    return pass_at_1(sample_groups(policy, problems, 4, decoding, (settings.seed, STAGE, iteration, "validation")))


def pass_at_1(groups: Sequence[Group]) -> float:
    """Share of the responses that are right."""
    return fmean(reward.parts["accuracy"] for group in groups for reward in group.rewards)


def main() -> None:
    """Train with the numbers of the command line, and save an ordinary Hugging Face model folder."""
    settings = tyro.cli(Settings, description=__doc__)
    try:
        check_unoccupied(settings.out)
    except ValueError as error:
        raise SystemExit(str(error)) from None

    # One thread, as each process of `aha run` has: sums over several threads are rounded in another order.
    torch.set_num_threads(1)
    policy = train(settings)
    export_model(policy.model, policy.tokenizer, settings.out, {"made_by": "examples/grpo.py", "seed": settings.seed})
    print(f"saved to {settings.out}; try: aha sample {settings.out}")


if __name__ == "__main__":
    main()
